/* The fake native's context and sampler. A context's plain fields belong to whoever is inside a call on it; the one
 * atomic word finds out whether that is only one thread. */
#include "native/fake_internal.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "native/pick.h"

struct sequence {
    struct bt_fake_cell *cells;
    int32_t n;
};

struct fake_context {
    struct bt_context base;
    /* fixed at creation */
    struct bt_fake_model *model;
    int sequences, capacity, batch;
    enum bt_pooling pooling;
    /* any thread */
    _Atomic int64_t inside;
    /* whoever is inside */
    struct sequence *seqs;
    int *added;    /* rows per sequence in the decode at hand */
    float *logits; /* overwritten by every decode, as libllama's are */
    int *output;   /* row -> place in logits, -1: it wanted none */
    int n_rows;
    uint64_t salt; /* of its adapters; 0: none */
    bool (*abort)(void *arg);
    void *abort_arg;
};

static struct fake_context *of(const struct bt_context *c) {
    return (struct fake_context *)BT_CONTAINER(c, const struct fake_context, base);
}

/* Invariant: `inside` counts the calls within the context; a second one is the fault that this fake exists to find.
 * It and the counters are relaxed, so that they order nothing: ThreadSanitizer must see only the order that the callers
 * make themselves, or a hand-over that forgets it would look well. */
static struct fake_context *enter(const struct bt_context *base) {
    struct fake_context *c = of(base);
    struct bt_fake_place *place = c->model->place;
    bool found = bt_fake_count(&c->inside, 1) != 0;
    if (place && bt_fake_count(&place->inside, 1) != 0 && place->alone)
        found = true;
    if (found) {
        bt_fake_count(&bt_fake_counters.overlaps, 1);
        if (c->model->abort_on_overlap) {
            static const char text[] = "fake native: two calls overlap in one context\n";
            ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
            (void)n;
            abort();
        }
    }
    return c;
}

static void leave(struct fake_context *c) {
    if (c->model->place)
        bt_fake_count(&c->model->place->inside, -1);
    bt_fake_count(&c->inside, -1);
}

static enum bt_decode check_rows(struct fake_context *c, const struct bt_row *rows, int n) {
    if (n < 1 || n > c->batch || c->pooling != BT_POOL_OFF)
        return BT_DECODE_INVALID;
    memset(c->added, 0, (size_t)c->sequences * sizeof *c->added);
    bool full = false;
    int wanted = 0;
    for (int i = 0; i < n; i++) {
        const struct bt_row *r = &rows[i];
        wanted += r->want_logits;
        if (r->seq < 0 || r->seq >= c->sequences || r->token < 0 || r->token >= c->model->vocab)
            return BT_DECODE_INVALID;
        int32_t next = c->seqs[r->seq].n + c->added[r->seq]++;
        if (r->pos != next)
            return BT_DECODE_INVALID;
        full |= next >= c->capacity;
    }
    if (wanted > BT_LOGITS_MAX(c->sequences))
        return BT_DECODE_INVALID;
    return full ? BT_DECODE_FULL : BT_DECODE_OK;
}

/* The time that computing takes. True: the abort hook said stop. */
static bool spend(struct fake_context *c, int64_t us, bool forever) {
    const int64_t slice = INT64_C(500) * 1000;
    for (int64_t left = us * 1000; left > 0 || forever; left -= slice) {
        if (c->abort && c->abort(c->abort_arg))
            return true;
        struct timespec t = {.tv_nsec = forever ? slice : BT_MIN(left, slice)};
        nanosleep(&t, NULL);
    }
    return c->abort && c->abort(c->abort_arg);
}

/* What the sequences of this decode hold with it, as text. */
static void carried_text(const struct fake_context *c, const struct bt_row *rows, int n, struct bt_buf *text) {
    char piece[16];
    for (int seq = 0; seq < c->sequences; seq++) {
        for (int32_t i = 0; c->added[seq] && i < c->seqs[seq].n; i++)
            bt_buf_add(text, piece, bt_fake_piece(c->seqs[seq].cells[i].last, piece));
        for (int i = 0; i < n; i++)
            if (rows[i].seq == seq)
                bt_buf_add(text, piece, bt_fake_piece(rows[i].token, piece));
        bt_buf_add(text, "", 1);
    }
}

static void faults(struct fake_context *c, const struct bt_row *rows, int n, int64_t number) {
    struct bt_fake_model *m = c->model;
    struct bt_buf text = BT_BUF_INIT;
    if (m->poison[0])
        carried_text(c, rows, n, &text);
    if (!m->image_die)
        bt_fake_maybe_die(m, number, &text);
    bt_buf_free(&text);
    if (number == m->crash_at)
        abort();
    if (number == m->segv_at)
        raise(SIGSEGV);
    if (number == m->exit_at)
        _exit(3);
}

static void apply(struct fake_context *c, const struct bt_row *rows, int n) {
    int outputs = 0;
    for (int i = 0; i < n; i++) {
        struct sequence *s = &c->seqs[rows[i].seq];
        struct bt_fake_cell *before = s->n ? &s->cells[s->n - 1] : NULL;
        s->cells[s->n] = bt_fake_next_cell(before, rows[i].pos, rows[i].token);
        if (c->salt)
            s->cells[s->n].hash = bt_mix64(s->cells[s->n].hash ^ c->salt);
        s->n++;
        c->output[i] = rows[i].want_logits ? outputs++ : -1;
        if (rows[i].want_logits)
            bt_fake_logits(c->model, &s->cells[s->n - 1], c->logits + (size_t)c->output[i] * (size_t)c->model->vocab);
    }
    c->n_rows = n;
}

static enum bt_decode decode_inside(struct fake_context *c, const struct bt_row *rows, int n, int64_t number) {
    const struct bt_fake_model *m = c->model;
    enum bt_decode result = check_rows(c, rows, n);
    if (result == BT_DECODE_OK && number == m->full_at)
        result = BT_DECODE_FULL;
    if (result != BT_DECODE_OK)
        return result;
    faults(c, rows, n, number);
    if (spend(c, m->step_us + m->token_us * n, number == m->hang_at)) {
        apply(c, rows, n / 2);
        return BT_DECODE_ABORTED;
    }
    if (number == m->fail_at) {
        apply(c, rows, n / 2);
        return BT_DECODE_FAILED;
    }
    apply(c, rows, n);
    return BT_DECODE_OK;
}

static enum bt_decode context_decode(struct bt_context *base, const struct bt_row *rows, int n) {
    struct fake_context *c = enter(base);
    struct bt_fake_counters *k = &bt_fake_counters;
    struct bt_fake_event event = {.call = BT_FAKE_DECODE_BEGIN, .context = base, .rows = rows, .n = n};
    event.number = (uint64_t)bt_fake_count(&c->model->decodes, 1) + 1;
    bt_fake_count(&k->decodes, 1);
    bt_fake_count(&k->rows, BT_MAX(n, 0));
    bt_fake_raise(&k->rows_max, BT_MAX(n, 0));
    bt_fake_raise(&k->decoding_max, bt_fake_count(&k->decoding, 1) + 1);
    bt_fake_tell(&event);
    event.result = decode_inside(c, rows, n, (int64_t)event.number);
    event.call = BT_FAKE_DECODE_END;
    bt_fake_tell(&event);
    bt_fake_count(&k->decoding, -1);
    leave(c);
    return event.result;
}

/* One decode for all of an image. What is aborted leaves half of its places. */
static enum bt_decode context_image(struct bt_context *base, const struct bt_chunks *chunks, size_t i, int seq,
                                    int32_t pos) {
    struct fake_context *c = enter(base);
    struct sequence *s = seq >= 0 && seq < c->sequences ? &c->seqs[seq] : NULL;
    bool sound = s && c->model->sees && i < chunks->n && !chunks->list[i].tokens && pos == s->n;
    int32_t n = sound ? chunks->list[i].n : 0;
    enum bt_decode result = !sound || (chunks->list[i].whole && n > c->batch) ? BT_DECODE_INVALID
                            : n > c->capacity - pos                           ? BT_DECODE_FULL
                                                                              : BT_DECODE_OK;
    c->n_rows = 0;
    bt_fake_raise(&bt_fake_counters.decoding_max, bt_fake_count(&bt_fake_counters.decoding, 1) + 1);
    if (result == BT_DECODE_OK && c->model->image_die)
        bt_fake_maybe_die(c->model, (int64_t)bt_fake_count(&c->model->images, 1) + 1, &(struct bt_buf)BT_BUF_INIT);
    if (result == BT_DECODE_OK && spend(c, c->model->step_us + c->model->token_us * n, false)) {
        result = BT_DECODE_ABORTED;
        n /= 2;
    }
    for (int32_t k = 0; k < n && (result == BT_DECODE_OK || result == BT_DECODE_ABORTED); k++) {
        struct bt_fake_cell *before = s->n ? &s->cells[s->n - 1] : NULL;
        s->cells[s->n] = bt_fake_next_cell(before, pos + k, BT_TOKEN_IMAGE);
        s->cells[s->n].hash = bt_mix64(s->cells[s->n].hash ^ bt_fake_picture(chunks, i) ^ c->salt);
        s->n++;
    }
    bt_fake_count(&bt_fake_counters.decoding, -1);
    leave(c);
    return result;
}

static const float *context_logits(struct bt_context *base, int row) {
    struct fake_context *c = enter(base);
    bool have = row >= 0 && row < c->n_rows && c->output[row] >= 0;
    const float *logits = have ? c->logits + (size_t)c->output[row] * (size_t)c->model->vocab : NULL;
    leave(c);
    return logits;
}

static bt_token context_sample(struct bt_context *base, struct bt_sampler *s, int row, uint64_t index) {
    struct fake_context *c = enter(base);
    bool have = row >= 0 && row < c->n_rows && c->output[row] >= 0;
    bt_token token = -1;
    if (have)
        token = bt_fake_sampler_pick(s, c->logits + (size_t)c->output[row] * (size_t)c->model->vocab,
                                     (int32_t)c->model->vocab, index);
    leave(c);
    return token;
}

static bool context_seq_rm(struct bt_context *base, int seq, int32_t from, int32_t to) {
    struct fake_context *c = enter(base);
    struct sequence *s = seq >= 0 && seq < c->sequences ? &c->seqs[seq] : NULL;
    bool done = false;
    if (s) {
        int32_t first = BT_MAX(from, 0), last = to < 0 ? s->n : BT_MIN(to, s->n);
        /* Cells hold what came before them, so only a tail can go; a recurrent state goes whole or not at all. */
        done = first >= last || (last == s->n && (first == 0 || !c->model->recurrent));
        if (done && first < last)
            s->n = first;
    }
    bt_fake_tell(&(struct bt_fake_event){.call = BT_FAKE_SEQ_RM, .context = base, .seq = seq, .to = from});
    leave(c);
    return done;
}

static void context_seq_cp(struct bt_context *base, int from, int to) {
    struct fake_context *c = enter(base);
    if (from != to && from >= 0 && to >= 0 && from < c->sequences && to < c->sequences) {
        const struct sequence *s = &c->seqs[from];
        memcpy(c->seqs[to].cells, s->cells, (size_t)s->n * sizeof *s->cells);
        c->seqs[to].n = s->n;
    }
    bt_fake_tell(&(struct bt_fake_event){.call = BT_FAKE_SEQ_CP, .context = base, .seq = from, .to = to});
    leave(c);
}

static int32_t context_pos_max(struct bt_context *base, int seq) {
    struct fake_context *c = enter(base);
    int32_t pos = seq >= 0 && seq < c->sequences ? c->seqs[seq].n - 1 : -1;
    leave(c);
    return pos;
}

static void context_set_abort(struct bt_context *base, bool (*abort_hook)(void *arg), void *arg) {
    struct fake_context *c = enter(base);
    c->abort = abort_hook;
    c->abort_arg = arg;
    leave(c);
}

/* The fake's states: a head, and the cells as they are. */
struct state_head {
    uint64_t magic, salt, sum;
    int64_t n, sequences;
};
enum { STATE_MAGIC = 0xba70f };

static uint64_t sum_of(const struct bt_fake_cell *cells, int64_t n) {
    uint64_t sum = (uint64_t)n;
    for (int64_t i = 0; i < n; i++)
        sum = bt_mix64(bt_mix64(bt_mix64(sum ^ cells[i].hash) ^ cells[i].prompt) ^
                       ((uint64_t)(uint32_t)cells[i].answered << 32 | (uint32_t)cells[i].last));
    return sum;
}

static size_t context_state_size(struct bt_context *base, int seq) {
    struct fake_context *c = enter(base);
    bool have = seq >= 0 && seq < c->sequences && c->pooling == BT_POOL_OFF;
    size_t size = have ? sizeof(struct state_head) + (size_t)c->seqs[seq].n * sizeof(struct bt_fake_cell) : 0;
    leave(c);
    return size;
}

static size_t context_state_get(struct bt_context *base, int seq, unsigned char *to, size_t size) {
    size_t need = context_state_size(base, seq);
    if (need == 0 || size < need)
        return 0;
    struct fake_context *c = enter(base);
    const struct sequence *s = &c->seqs[seq];
    struct state_head head = {STATE_MAGIC, c->salt, sum_of(s->cells, s->n) ^ bt_mix64((uint64_t)c->sequences), s->n,
                              c->sequences};
    memcpy(to, &head, sizeof head);
    memcpy(to + sizeof head, s->cells, (size_t)s->n * sizeof *s->cells);
    leave(c);
    return need;
}

static baton_status check_state(const struct fake_context *c, int seq, const unsigned char *from, size_t size,
                                struct bt_fake_cell *cells, size_t n, baton_error *err) {
    struct state_head head;
    if (seq < 0 || seq >= c->sequences)
        return bt_fail(err, BATON_INVALID, "there is no sequence %d to restore into", seq);
    memcpy(&head, from, sizeof head);
    memcpy(cells, from + sizeof head, n * sizeof *cells);
    if (head.magic != STATE_MAGIC || head.n != (int64_t)n ||
        head.sum != (sum_of(cells, head.n) ^ bt_mix64((uint64_t)head.sequences)))
        return bt_fail(err, BATON_INVALID, "the saved state of %zu bytes is damaged or cut off", size);
    if (head.salt != c->salt)
        return bt_fail(err, BATON_INVALID, "the saved state was made with other adapters than this context has");
    if (head.sequences != c->sequences)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "the saved state is of a context with %lld sequences and this one has %d",
                       (long long)head.sequences, c->sequences);
    if (head.n > c->capacity)
        return bt_fail(err, BATON_TOO_LONG, "the saved state has %lld tokens and the context holds %d",
                       (long long)head.n, c->capacity);
    return BATON_OK;
}

static baton_status context_state_set(struct bt_context *base, int seq, const unsigned char *from, size_t size,
                                      baton_error *err) {
    size_t n = size >= sizeof(struct state_head) ? (size - sizeof(struct state_head)) / sizeof(struct bt_fake_cell) : 0;
    if (size < sizeof(struct state_head) || size != sizeof(struct state_head) + n * sizeof(struct bt_fake_cell))
        return bt_fail(err, BATON_INVALID, "%zu bytes are no saved state: it is cut off", size);
    struct bt_fake_cell *cells = malloc(n * sizeof *cells + 1);
    if (!cells)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a state of %zu tokens", n);
    struct fake_context *c = enter(base);
    baton_status status = check_state(c, seq, from, size, cells, n, err);
    if (!status) {
        memcpy(c->seqs[seq].cells, cells, n * sizeof *cells);
        c->seqs[seq].n = (int32_t)n;
        c->n_rows = 0;
    }
    leave(c);
    free(cells);
    return status;
}

static baton_status context_set_adapters(struct bt_context *base, struct bt_adapter *const *adapters,
                                         const float *scales, size_t n, baton_error *err) {
    struct fake_context *c = enter(base);
    baton_status status = BATON_OK;
    uint64_t salt = 0;
    for (size_t i = 0; i < n && !status; i++) {
        uint32_t bits;
        memcpy(&bits, &scales[i], sizeof bits);
        if (!adapters[i] || adapters[i]->model != &c->model->base)
            status = bt_fail(err, BATON_INVALID, "adapter %zu was opened for another model", i);
        else
            salt = bt_mix64(salt ^ BT_CONTAINER(adapters[i], const struct bt_fake_adapter, base)->salt ^ bits);
    }
    if (!status && salt != c->salt) {
        c->salt = salt;
        c->n_rows = 0;
        for (int i = 0; i < c->sequences; i++)
            c->seqs[i].n = 0;
    }
    leave(c);
    return status;
}

static int context_embed_width(const struct bt_context *base) {
    const struct fake_context *c = of(base);
    return c->pooling == BT_POOL_OFF ? 0 : c->pooling == BT_POOL_RANK ? (int)c->model->scores : BT_FAKE_WIDTH;
}

static void vector_of(uint64_t hash, int width, bool normalise, float *out) {
    double length = 0;
    for (int i = 0; i < width; i++) {
        out[i] = (float)(bt_mix64(hash + (uint64_t)i) >> 40) * 0x1p-23f - 1;
        length += (double)out[i] * out[i];
    }
    for (int i = 0; normalise && length > 0 && i < width; i++)
        out[i] = (float)(out[i] / sqrt(length));
}

static baton_status embed_one(struct fake_context *c, const struct bt_input *input, size_t number, bool normalise,
                              float **out, baton_error *err) {
    int width = context_embed_width(&c->base);
    uint64_t hash = c->salt ^ (uint64_t)c->pooling;
    if (input->n == 0)
        return bt_fail(err, BATON_INVALID, "input %zu has no tokens", number);
    if (input->n > (size_t)c->capacity)
        return bt_fail(err, BATON_TOO_LONG, "input %zu has %zu tokens and the context holds %d", number, input->n,
                       c->capacity);
    if (spend(c, c->model->step_us + c->model->token_us * (int64_t)input->n, false))
        return bt_fail(err, BATON_CANCELLED, "embedding was aborted");
    for (size_t i = 0; i < input->n; i++) {
        hash = bt_mix64(hash ^ (uint64_t)(uint32_t)input->tokens[i]);
        if (c->pooling == BT_POOL_NONE || i + 1 == input->n) {
            vector_of(hash, width, normalise && c->pooling != BT_POOL_RANK, *out);
            *out += width;
        }
    }
    return BATON_OK;
}

static baton_status context_embed(struct bt_context *base, const struct bt_input *inputs, size_t n, bool normalise,
                                  float *out, baton_error *err) {
    struct fake_context *c = enter(base);
    baton_status status = BATON_OK;
    if (c->pooling == BT_POOL_OFF)
        status = bt_fail(err, BATON_UNSUPPORTED, "this context generates: open one with a pooling to embed");
    for (size_t i = 0; i < n && !status; i++)
        status = embed_one(c, &inputs[i], i, normalise, &out, err);
    leave(c);
    return status;
}

static int context_capacity(const struct bt_context *base) {
    return of(base)->capacity;
}

static void release(struct fake_context *c) {
    for (int i = 0; c->seqs && i < c->sequences; i++)
        free(c->seqs[i].cells);
    free(c->seqs);
    free(c->added);
    free(c->logits);
    free(c->output);
    free(c);
}

static void context_free(struct bt_context *base) {
    struct fake_context *c = enter(base);
    leave(c);
    release(c);
    bt_fake_count(&bt_fake_counters.contexts, -1);
}

static uint64_t context_memory(const struct bt_context *base) {
    const struct fake_context *c = of(base);
    return (uint64_t)c->sequences * (uint64_t)context_capacity(base) * sizeof(bt_token);
}

static void *context_native(struct bt_context *base) {
    return of(base)->model->shown ? base : NULL;
}

static const struct bt_context_ops context_ops = {
    .free = context_free,
    .capacity = context_capacity,
    .memory = context_memory,
    .decode = context_decode,
    .logits = context_logits,
    .sample = context_sample,
    .seq_rm = context_seq_rm,
    .seq_cp = context_seq_cp,
    .pos_max = context_pos_max,
    .native = context_native,
    .set_abort = context_set_abort,
    .state_size = context_state_size,
    .state_get = context_state_get,
    .state_set = context_state_set,
    .set_adapters = context_set_adapters,
    .embed_width = context_embed_width,
    .embed = context_embed,
    .image = context_image,
};

static bool allocate(struct fake_context *c) {
    c->seqs = calloc((size_t)c->sequences, sizeof *c->seqs);
    c->added = calloc((size_t)c->sequences, sizeof *c->added);
    c->logits = calloc((size_t)BT_LOGITS_MAX(c->sequences) * (size_t)c->model->vocab, sizeof *c->logits);
    c->output = calloc((size_t)c->batch, sizeof *c->output);
    if (!c->seqs || !c->added || !c->logits || !c->output)
        return false;
    for (int i = 0; i < c->sequences; i++)
        if (!(c->seqs[i].cells = calloc((size_t)c->capacity, sizeof *c->seqs[i].cells)))
            return false;
    return true;
}

baton_status bt_fake_context_open(struct bt_model *base, const struct bt_context_params *params,
                                  struct bt_context **out, baton_error *err) {
    struct bt_fake_model *m = BT_CONTAINER(base, struct bt_fake_model, base);
    *out = NULL;
    if (params->sequences < 1 || params->ctx < 0 || params->chunk < 0)
        return bt_fail(err, BATON_INVALID,
                       "a context needs at least one sequence (got %d) and no negative size (%d, %d)",
                       params->sequences, params->ctx, params->chunk);
    if (params->pooling == BT_POOL_RANK && m->scores == 0)
        return bt_fail(err, BATON_UNSUPPORTED, "the fake has no rank head: the knob scores gives it one");
    if (m->context_fail)
        return bt_fail(err, BATON_NO_MEMORY, "the knob context_fail says that no context can be made");
    struct fake_context *c = calloc(1, sizeof *c);
    if (!c)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a fake context");
    c->base.ops = &context_ops;
    c->model = m;
    c->sequences = params->sequences;
    c->pooling = params->pooling;
    c->capacity = params->ctx ? params->ctx : (int)m->ctx_train;
    c->batch = BT_MAX(params->chunk ? params->chunk : 512, params->sequences);
    if (!allocate(c)) {
        release(c);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a fake context of %d sequences of %d cells",
                       params->sequences, params->ctx);
    }
    bt_fake_count(&bt_fake_counters.contexts, 1);
    *out = &c->base;
    return BATON_OK;
}
