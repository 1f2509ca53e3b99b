/* Fuzzing the frames between front and owner: whatever a broken peer sends is refused or decoded within its bytes, and
 * what was decoded says the same when it is encoded and decoded again. State: none. */
#include <string.h>

#include "fuzz.h"
#include "wire/assemble.h"
#include "wire/drawing.h"
#include "wire/frame.h"

static void same(const struct bt_buf *a, const struct bt_buf *b) {
    FUZZ_ASSERT(!a->failed && !b->failed && a->len == b->len && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0));
}

static bool first_frame(const struct bt_buf *b, struct bt_frame *f) {
    return bt_frame_peek(b->data, b->len, f) == BATON_OK;
}

/* Each decodes; where that is fine it encodes, and the frame that comes out decodes and encodes to itself. */
#define ROUND_TRIP(NAME, TYPE, FREE)                                                                                   \
    static void trip_##NAME(const struct bt_frame *f) {                                                                \
        struct TYPE *v = calloc(2, sizeof *v);                                                                         \
        struct bt_buf one = BT_BUF_INIT, two = BT_BUF_INIT;                                                            \
        struct bt_frame again;                                                                                         \
        if (v && bt_get_##NAME(f, &v[0]) == BATON_OK) {                                                                \
            bt_put_##NAME(&one, &v[0]);                                                                                \
            FUZZ_ASSERT(first_frame(&one, &again) && again.type == f->type);                                           \
            FUZZ_ASSERT(bt_get_##NAME(&again, &v[1]) == BATON_OK);                                                     \
            bt_put_##NAME(&two, &v[1]);                                                                                \
            same(&one, &two);                                                                                          \
            FREE(&v[0]);                                                                                               \
            FREE(&v[1]);                                                                                               \
        }                                                                                                              \
        bt_buf_free(&one);                                                                                             \
        bt_buf_free(&two);                                                                                             \
        free(v);                                                                                                       \
    }
#define NOTHING(x) (void)(x)
ROUND_TRIP(ready, bt_frame_ready, NOTHING)
ROUND_TRIP(token, bt_frame_token, NOTHING)
ROUND_TRIP(done, bt_frame_done, NOTHING)
ROUND_TRIP(pulse, bt_pulse, NOTHING)
ROUND_TRIP(data, bt_frame_data, NOTHING)
ROUND_TRIP(news, bt_frame_news, NOTHING)
ROUND_TRIP(reply, bt_frame_reply, NOTHING)
ROUND_TRIP(start, bt_start, bt_start_free)

static void trip_small(const struct bt_frame *f) {
    struct bt_text text;
    baton_status status;
    baton_log_level level;
    uint64_t id;
    uint32_t n;
    bool drain;
    struct bt_buf b = BT_BUF_INIT;
    if (f->type == BT_FRAME_HELLO)
        (void)bt_get_hello(f, &n);
    if (f->type == BT_FRAME_CANCEL && bt_get_cancel(f, &id, &status) == BATON_OK)
        bt_put_cancel(&b, id, status);
    if (f->type == BT_FRAME_ACK && bt_get_ack(f, &id, &n) == BATON_OK)
        bt_put_ack(&b, id, n);
    if (f->type == BT_FRAME_CLOSE && bt_get_close(f, &drain) == BATON_OK)
        bt_put_close(&b, drain);
    if (f->type == BT_FRAME_FATAL && bt_get_fatal(f, &status, &text) == BATON_OK)
        bt_put_fatal(&b, status, text.data);
    if (f->type == BT_FRAME_LOG && bt_get_log(f, &level, &text) == BATON_OK)
        bt_put_log(&b, level, text.data);
    struct bt_frame again;
    FUZZ_ASSERT(b.len == 0 || (first_frame(&b, &again) && again.type == f->type));
    bt_buf_free(&b);
}

static void trip_lists(struct bt_text bytes) {
    bt_token *tokens;
    struct bt_chat_message *pairs;
    size_t n;
    if (bt_get_tokens((const unsigned char *)bytes.data, bytes.len, &tokens, &n) == BATON_OK)
        free(tokens);
    if (bt_get_pairs((const unsigned char *)bytes.data, bytes.len, &pairs, &n) == BATON_OK)
        free(pairs);
}

static void trip_drawing(struct bt_text bytes) {
    static struct bt_draw_news news;
    struct bt_draw_ask ask;
    struct bt_sd_result result = {.n = 0};
    struct bt_buf in = BT_BUF_INIT;
    if (bt_draw_ask_decode(bytes, &ask) == BATON_OK)
        bt_draw_ask_free(&ask);
    (void)bt_draw_news_decode(bytes, &news);
    bt_buf_add(&in, bytes.data, bytes.len);
    (void)bt_draw_take(&in, &result);
    for (size_t i = 0; i < result.n; i++)
        free(result.images[i].data);
    free(result.images);
    free(result.samples);
    bt_buf_free(&in);
}

static void trip_submit(const struct bt_frame_body *h, const unsigned char *body, size_t len) {
    struct bt_submit s, t;
    struct bt_buf one = BT_BUF_INIT, two = BT_BUF_INIT;
    if (bt_get_submit(h, body, len, &s) == BATON_OK) {
        bt_submit_encode(&one, &s);
        FUZZ_ASSERT(bt_get_submit(h, one.data, one.len, &t) == BATON_OK);
        bt_submit_encode(&two, &t);
        same(&one, &two);
        trip_drawing(s.text);
        bt_submit_free(&s);
        bt_submit_free(&t);
    }
    bt_buf_free(&one);
    bt_buf_free(&two);
}

static void trip_body(const struct bt_body *w) {
    const struct bt_frame_body *h = &w->head;
    const unsigned char *bytes = w->bytes.data;
    struct bt_more m;
    struct bt_call c;
    if (w->type == BT_FRAME_SUBMIT)
        trip_submit(h, bytes, w->bytes.len);
    if (w->type == BT_FRAME_MORE && bt_get_more(bytes, w->bytes.len, &m) == BATON_OK)
        bt_more_free(&m);
    if (w->type == BT_FRAME_CALL && bt_get_call(h, bytes, w->bytes.len, &c) == BATON_OK)
        trip_lists(c.bytes);
}

static void take(const struct bt_frame *f, struct bt_bodies *bodies) {
    struct bt_body *whole;
    switch (f->type) {
    case BT_FRAME_SUBMIT:
    case BT_FRAME_MORE:
    case BT_FRAME_CALL:
    case BT_FRAME_PART:
        if (bt_bodies_take(bodies, f, &whole) == BATON_OK) {
            trip_body(whole);
            bt_body_free(whole);
        }
        break;
    case BT_FRAME_READY:
        trip_ready(f);
        break;
    case BT_FRAME_TOKEN:
        trip_token(f);
        break;
    case BT_FRAME_DONE:
        trip_done(f);
        break;
    case BT_FRAME_PULSE:
        trip_pulse(f);
        break;
    case BT_FRAME_DATA:
        trip_data(f);
        break;
    case BT_FRAME_NEWS:
        trip_news(f);
        break;
    case BT_FRAME_REPLY:
        trip_reply(f);
        break;
    case BT_FRAME_START:
        trip_start(f);
        break;
    default:
        trip_small(f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct bt_bodies bodies;
    struct bt_frame f;
    size_t at = 0;
    bt_bodies_init(&bodies, 8);
    while (bt_frame_peek(data + at, size - at, &f) == BATON_OK) {
        FUZZ_ASSERT(f.size > 0 && f.size <= size - at && f.payload + f.len <= data + at + f.size);
        take(&f, &bodies);
        at += f.size;
    }
    bt_bodies_free(&bodies);
    return 0;
}
