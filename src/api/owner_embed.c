/* Vectors and scores from an owner: asked for like an answer, and read as they come. What a call needs is on its stack.
 */
#include <stdlib.h>
#include <string.h>

#include "api/embed.h"

static baton_status submit(baton_llama *llama, const baton_request *request, struct bt_submit *s,
                           struct bt_io_stream **stream, baton_error *err) {
    baton_request mine;
    baton_status status = bt_llama_request(llama, request, &mine, err);
    if (status)
        return status;
    const struct bt_limits limits = {mine.when_full == BATON_WAIT ? BT_WAIT : BT_REFUSE, mine.priority, mine.queue_ms,
                                     mine.run_ms, -1};
    s->id = mine.id;
    s->flow = mine.flow;
    return bt_llama_verdict(llama, bt_io_submit(llama->io, s, &limits, stream, err), err);
}

/* The next record. _END: the request is over, and its outcome says why. */
static baton_status record(struct bt_io_stream *s, int dim, struct bt_buf *scratch, float *values, uint32_t *tokens,
                           baton_error *err) {
    uint32_t ignored;
    scratch->len = 0;
    baton_status status = bt_io_stream_data(s, BT_RECORD_BYTES(dim), BT_NEVER_NS, scratch);
    if (status == BATON_NO_MEMORY)
        return bt_fail(err, status, "no memory for a vector of %d", dim);
    if (!status && !bt_get_record(scratch->data, (size_t)dim, tokens ? tokens : &ignored, values))
        return bt_fail(err, BATON_FAILED, "the native library computed a vector that is no numbers");
    return status;
}

/* It is over, or is ended here. `status`: what is known; _END: its outcome is what counts. */
static baton_status finish(struct bt_io_stream *s, baton_status status, baton_error *err) {
    baton_outcome o;
    struct bt_buf none = BT_BUF_INIT;
    if (status == BATON_OK) { /* all of it is here, but for the word that it is all */
        bt_io_stream_data(s, SIZE_MAX, BT_NEVER_NS, &none);
        bt_buf_free(&none);
    }
    bt_io_stream_close(s, &o);
    if (status && status != BATON_END)
        return status;
    if (status == BATON_END && o.status == BATON_OK)
        return bt_fail(err, BATON_PROTOCOL, "the owner sent fewer vectors than were asked for");
    return o.status ? bt_fail(err, o.status, "%s", o.text) : BATON_OK;
}

baton_status bt_owner_embed(baton_llama *llama, const baton_request *request, const char *query,
                            const char *const *texts, size_t n, bool normalise, int dim, float *values,
                            uint32_t *tokens, baton_error *err) {
    struct bt_io_stream *stream;
    struct bt_buf scratch = BT_BUF_INIT;
    struct bt_frame_input *inputs = calloc(n ? n : 1, sizeof *inputs);
    baton_status status = inputs ? BATON_OK : bt_fail(err, BATON_NO_MEMORY, "no memory for %zu texts", n);
    for (size_t i = 0; i < n && !status; i++) {
        if (!texts[i])
            status = bt_misuse(err, BATON_MISUSE, "text %zu is NULL", i);
        else
            inputs[i].text = (struct bt_text){texts[i], strlen(texts[i])};
    }
    struct bt_submit s = {.what = query ? BT_WHAT_SCORE : BT_WHAT_EMBED,
                          .text = {query ? query : "", query ? strlen(query) : 0},
                          .inputs = inputs,
                          .n_inputs = n,
                          .normalise = normalise};
    if (!status && n > 0)
        status = submit(llama, request, &s, &stream, err);
    if (!status && n > 0) {
        for (size_t i = 0; i < n && !status; i++)
            status = record(stream, dim, &scratch, values + i * (size_t)dim, tokens ? &tokens[i] : NULL, err);
        status = finish(stream, status, err);
    }
    bt_buf_free(&scratch);
    free(inputs);
    return status;
}

static const char *next_text(baton_llama *llama, const struct bt_each *e) {
    struct bt_callback c;
    bt_callback_enter(llama, &c);
    const char *text = e->next(e->arg);
    bt_callback_leave(llama, &c);
    return text;
}

static bool give(baton_llama *llama, const struct bt_each *e) {
    struct bt_callback c;
    bt_callback_enter(llama, &c);
    bool more = e->on_vector(e->arg, e->vector, e->dim);
    bt_callback_leave(llama, &c);
    return more;
}

/* One text after the other, on the one slot. */
static baton_status embed_all(baton_llama *llama, struct bt_io_stream *stream, const struct bt_each *e,
                              baton_error *err) {
    struct bt_buf scratch = BT_BUF_INIT;
    baton_status status = BATON_OK;
    const char *text;
    for (size_t i = 0; !status && (text = next_text(llama, e)); i++) {
        struct bt_frame_input input = {{text, strlen(text)}, NULL, 0};
        status = bt_io_stream_more(stream, &(struct bt_more){&input, 1, true}, err);
        if (!status)
            status = record(stream, e->dim, &scratch, e->vector, NULL, err);
        if (!status && !give(llama, e))
            status = bt_fail(err, BATON_CANCELLED, "on_vector stopped after %zu texts", i + 1);
    }
    bt_buf_free(&scratch);
    return status ? status : bt_io_stream_more(stream, &(struct bt_more){NULL, 0, false}, err);
}

baton_status bt_owner_embed_each(baton_llama *llama, const baton_request *request, const struct bt_each *each,
                                 baton_error *err) {
    struct bt_io_stream *stream;
    struct bt_submit s = {.what = BT_WHAT_EMBED, .text = {"", 0}, .normalise = each->normalise, .open = true};
    baton_status status = submit(llama, request, &s, &stream, err);
    return status ? status : finish(stream, embed_all(llama, stream, each, err), err);
}
