/* Fuzzing the front's deciding part with an owner that lies: whatever it says, and whatever its requests' handlers do
 * meanwhile, the books are right after every frame, and every request has one outcome, of those that there can be.
 * A byte of the input says what happens next, two more how long a frame's payload is. State: one run's. */
#include <signal.h>
#include <string.h>

#include "fuzz.h"
#include "ipc/dispatch.h"

enum { READERS = 8, FIRST = 3, CALL = 99, CTX = 64, WIDTH = 4, VOCABULARY = 256, BIG = 1 << 20 };
enum { TIME = 0xf0, TAKE, CONSUME, END, ANOTHER, CALL_AGAIN }; /* what is no frame */
enum { READS, CANCELS, LEAVES, ASKS, MODES };

struct reader {
    struct run *run;
    struct bt_request *request; /* NULL: over, or left */
    bool asked, left, done;
    uint8_t mode;
    uint32_t pieces;
};

struct run {
    struct bt_dispatch d;
    struct bt_buf out;
    int64_t now_ns;
    struct reader readers[READERS];
    uint8_t mode;
    bool called, to_start;
};

static int64_t op_now(void *arg) {
    return ((struct run *)arg)->now_ns;
}
static void op_write(void *arg, int context) {
    (void)arg;
    (void)context;
}
static baton_status op_start(void *arg, int context, baton_error *err) {
    (void)context;
    (void)err;
    ((struct run *)arg)->to_start = true;
    return BATON_OK;
}
static void op_kill(void *arg, int context) {
    (void)arg;
    (void)context;
}
static const struct bt_dispatch_ops OPS = {op_now, op_write, op_start, op_kill};

static void ask(struct run *run, uint8_t mode);

static void act(struct reader *r) {
    struct bt_request *request = r->request;
    if (r->mode == CANCELS)
        bt_request_cancel(request, BATON_CANCELLED);
    if (r->mode == ASKS)
        ask(r->run, READS);
    if (r->mode == LEAVES) {
        r->request = NULL;
        r->left = true;
        bt_request_abandon(request);
    }
}

static void on_text(void *arg, const char *text, size_t len) {
    struct reader *r = arg;
    FUZZ_ASSERT(!r->done && !r->left && bt_utf8_valid(text, len));
    r->pieces++;
    act(r);
}

static void on_data(void *arg, const char *bytes, size_t len) {
    struct reader *r = arg;
    FUZZ_ASSERT(!r->done && !r->left && bytes && len > 0);
    act(r);
}

static bool can_be(baton_status status) {
    return status <= BATON_FAILED
               ? status != BATON_END && status != BATON_AGAIN && status != BATON_BUSY && status != BATON_QUEUE_FULL
               : baton_status_family_of(status) == BATON_FAMILY_WORLD;
}

static void on_done(void *arg, const struct bt_outcome *o) {
    struct reader *r = arg;
    FUZZ_ASSERT(!r->done && !r->left && can_be(o->status));
    FUZZ_ASSERT((o->status == BATON_OK) == (o->finish != BT_FINISH_NONE));
    FUZZ_ASSERT(o->answer_tokens <= CTX && strpbrk(o->error, "\n\r\x1b") == NULL);
    r->done = true;
    r->request = NULL;
}

static void ask(struct run *run, uint8_t mode) {
    static const struct bt_frame_input inputs[] = {{{"a", 1}, NULL, 0}, {{"b", 1}, NULL, 0}};
    static char big[BIG];
    const struct bt_handler h = {on_text, on_done, NULL, on_data, NULL};
    const struct bt_limits limits = {BT_WAIT, 1, 5000, 60000, -1};
    for (size_t i = 0; i < READERS; i++) {
        struct reader *r = &run->readers[i];
        struct bt_handler mine = h;
        struct bt_submit s = {.id = i + 1, .text = {"x", 1}, .state = {"", 0}, .max_tokens = i % 2 ? 8 : -1};
        if (r->asked)
            continue;
        s.what = i == 1 ? BT_WHAT_EMBED : i == 2 ? BT_WHAT_TRANSCRIBE : BT_WHAT_GENERATE;
        if (s.what == BT_WHAT_EMBED) {
            s.inputs = (struct bt_frame_input *)inputs;
            s.n_inputs = BT_COUNT(inputs);
        }
        if (i == 4) /* does not leave at once, and whoever is behind it waits */
            s.text = (struct bt_text){big, BIG};
        *r = (struct reader){.run = run, .asked = true, .mode = mode};
        mine.arg = r;
        if (bt_dispatch_submit(&run->d, &s, &limits, &mine, &r->request, NULL) != BATON_OK)
            *r = (struct reader){.asked = true, .done = true};
        return;
    }
}

static void on_reply(void *arg, baton_status status, const char *text) {
    struct run *run = arg;
    FUZZ_ASSERT(run->called && text && (can_be(status) || status == BATON_STALE));
    run->called = false;
}

static void on_call_data(void *arg, const char *bytes, size_t len) {
    struct run *run = arg;
    FUZZ_ASSERT(run->called && bytes && len > 0);
    if (run->mode == LEAVES) {
        run->called = false;
        bt_dispatch_call_drop(&run->d, CALL);
    }
}

static void call(struct run *run) {
    const struct bt_call_handler h = {on_call_data, on_reply, run};
    const struct bt_call c = {.id = CALL, .op = BT_CALL_TOKENIZE, .bytes = {"text", 4}};
    if (run->called || bt_dispatch_calls(&run->d, CALL))
        return;
    run->called = true;
    if (bt_dispatch_call(&run->d, -1, &c, &h, NULL) != BATON_OK)
        run->called = false;
}

static void say(struct run *run, const struct bt_buf *b) {
    struct bt_frame f;
    if (!b->failed && bt_frame_peek(b->data, b->len, &f) == BATON_OK)
        bt_dispatch_frame(&run->d, 0, &f);
}

static void is_ready(struct run *run) {
    const struct bt_frame_ready ready = {
        .sequences = 3, .ctx = CTX, .width = WIDTH, .info = {.vocab_size = VOCABULARY}, .versions = {"", 0}};
    struct bt_buf b = BT_BUF_INIT;
    run->to_start = false;
    run->out.len = 0;
    bt_put_ready(&b, &ready);
    say(run, &b);
    bt_buf_free(&b);
}

static void end(struct run *run, int code) {
    bt_dispatch_ended(&run->d, 0, &(struct bt_owner_end){.kind = BT_END_SIGNALLED, .code = code, .text = "words"});
    run->now_ns += 20 * BT_NS_PER_S;
    bt_dispatch_tick(&run->d);
    if (run->to_start)
        is_ready(run);
}

static void happens(struct run *run, uint8_t what, size_t n) {
    switch (what) {
    case TIME:
        run->now_ns += (int64_t)n * BT_NS_PER_MS;
        bt_dispatch_tick(&run->d);
        break;
    case TAKE:
        run->out.len = 0;
        bt_dispatch_send(&run->d, 0);
        break;
    case CONSUME:
        if (run->readers[n % READERS].request)
            bt_request_consumed(run->readers[n % READERS].request, run->readers[n % READERS].pieces);
        run->readers[n % READERS].pieces = 0;
        break;
    case END:
        end(run, n % 2 ? SIGSEGV : SIGKILL);
        break;
    case ANOTHER:
        ask(run, n % MODES);
        break;
    default:
        call(run);
    }
}

/* How many bytes of the input that was. */
static size_t one(struct run *run, const uint8_t *data, size_t size) {
    size_t n = size < 3 ? 0 : (size_t)data[1] | (size_t)data[2] << 8, head = BT_MIN(size, (size_t)3);
    if (data[0] >= TIME) {
        happens(run, data[0], n);
        return head;
    }
    struct bt_buf b = BT_BUF_INIT;
    n = BT_MIN(n, size - head);
    const uint8_t frame[] = {(uint8_t)(n + 1), (uint8_t)((n + 1) >> 8), (uint8_t)((n + 1) >> 16), 0,
                             (uint8_t)(1 + data[0] % (BT_FRAME_END - 1))};
    bt_buf_add(&b, frame, sizeof frame);
    bt_buf_add(&b, data + head, n);
    say(run, &b);
    bt_buf_free(&b);
    if (!bt_dispatch_listens(&run->d, 0))
        end(run, SIGKILL);
    return head + n;
}

static void on_line(void *arg, baton_log_level level, const char *line) {
    (void)arg;
    FUZZ_ASSERT(level <= BATON_LOG_DEBUG && strpbrk(line, "\n\r\x1b") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static struct run run;
    const struct bt_dispatch_params p = {.contexts = 1,
                                         .sequences = 3,
                                         .queue_max = READERS,
                                         .restarts = true,
                                         .resume = size == 0 || data[0] % 4 != 3,
                                         .hang_ms = 30000,
                                         .start_ms = 60000,
                                         .seed = 1};
    memset(&run, 0, sizeof run);
    run.now_ns = BT_NS_PER_S;
    run.mode = size ? data[0] / 4 % MODES : READS;
    bt_log_set_handler(on_line, NULL);
    bt_dispatch_init(&run.d, &p, &OPS, &run);
    run.d.contexts[0].out = &run.out;
    bt_dispatch_tick(&run.d);
    is_ready(&run);
    for (int i = 0; i < FIRST; i++)
        ask(&run, run.mode);
    call(&run);
    for (size_t at = size > 0; at < size;) {
        at += one(&run, data + at, size - at);
        const char *wrong = bt_dispatch_check(&run.d);
        if (wrong)
            fprintf(stderr, "%s\n", wrong);
        FUZZ_ASSERT(!wrong);
    }
    bt_dispatch_close(&run.d);
    bt_dispatch_ended(&run.d, 0, NULL);
    FUZZ_ASSERT(bt_dispatch_closed(&run.d));
    for (int i = 0; i < READERS; i++)
        FUZZ_ASSERT(!run.readers[i].asked || run.readers[i].done || run.readers[i].left);
    FUZZ_ASSERT(!run.called);
    bt_buf_free(&run.out);
    return 0;
}
