/* P01 for the whole of baton/whisper.h: while another thread is inside every state, each call that needs one is
 * refused, and its text names thread, operation and cure; each call that needs none goes through. The list of calls is
 * read from the header, so that a new one without an entry here fails. */
#include "header_calls.h"
#include "speech_more.h"

#include <sched.h>

struct scene {
    baton_whisper *w;           /* held */
    baton_lease lease;          /* on another model's state: another thread is inside with a copy */
    baton_whisper_stream *read; /* another thread is in next */
    float logits[4096];
};

static baton_status call_full(struct scene *s, baton_error *err) {
    baton_whisper_ask ask = ask_for(0);
    baton_whisper_result r;
    baton_status status = baton_whisper_full(s->w, &ask, &r, err);
    assert_int_equal(r.outcome.status, status);
    baton_whisper_result_free(&r);
    return status;
}
static baton_status call_full_parallel(struct scene *s, baton_error *err) {
    baton_whisper_ask ask = ask_for(0);
    baton_whisper_result r;
    baton_status status = baton_whisper_full_parallel(s->w, &ask, &r, err);
    assert_int_equal(r.outcome.status, status);
    baton_whisper_result_free(&r);
    return status;
}
static baton_status call_detect(struct scene *s, baton_error *err) {
    baton_whisper_ask ask = ask_for(0);
    int language;
    return baton_whisper_detect(s->w, &ask, &language, NULL, err);
}
static baton_status call_stream_open(struct scene *s, baton_error *err) {
    baton_whisper_ask ask = ask_for(0);
    baton_whisper_stream *stream;
    baton_status status = baton_whisper_stream_open(s->w, &ask, &stream, err);
    if (status)
        assert_null(stream);
    else
        (void)!baton_whisper_stream_close(&stream, NULL);
    return status;
}
static baton_status call_acquire(struct scene *s, baton_error *err) {
    baton_lease lease = BATON_LEASE;
    baton_status status = baton_whisper_acquire(s->w, NULL, &lease, err);
    if (!status)
        status = baton_lease_release(&lease, BATON_RESET, err);
    return status;
}

static baton_status call_pcm_to_mel(struct scene *s, baton_error *err) {
    int frames;
    return baton_whisper_pcm_to_mel(&s->lease, sounds[0].samples, sounds[0].n, BATON_WHISPER_RATE, 0, &frames, err);
}
static baton_status call_set_mel(struct scene *s, baton_error *err) {
    static float mel[80];
    return baton_whisper_set_mel(&s->lease, mel, 1, 80, err);
}
static baton_status call_encode(struct scene *s, baton_error *err) {
    return baton_whisper_encode(&s->lease, 0, 0, err);
}
static baton_status call_decode(struct scene *s, baton_error *err) {
    int32_t token = 1;
    return baton_whisper_decode(&s->lease, &token, 1, 0, 0, s->logits, err);
}

static baton_status call_stream_next(struct scene *s, baton_error *err) {
    const baton_whisper_segment *g;
    (void)err;
    return baton_whisper_stream_next(s->read, 0, &g);
}

static baton_status call_get_info(struct scene *s, baton_error *err) {
    baton_whisper_info info = {.size = sizeof info};
    (void)err;
    baton_whisper_get_info(s->w, &info);
    return info.vocab_size > 0 ? BATON_OK : BATON_FAILED;
}
static baton_status call_get_counts(struct scene *s, baton_error *err) {
    (void)err;
    return speech_counts(s->w).slots == 1 ? BATON_OK : BATON_FAILED;
}
static baton_status call_snapshot(struct scene *s, baton_error *err) {
    baton_snapshot shot = {.size = sizeof shot};
    baton_status status = baton_whisper_snapshot(s->w, &shot, err);
    baton_snapshot_free(&shot);
    return status;
}
static baton_status call_language(struct scene *s, baton_error *err) {
    (void)err;
    return baton_whisper_language(s->w, "german") == 1 ? BATON_OK : BATON_FAILED;
}
static baton_status call_language_name(struct scene *s, baton_error *err) {
    (void)err;
    return baton_whisper_language_name(s->w, 1) ? BATON_OK : BATON_FAILED;
}
static baton_status call_token_text(struct scene *s, baton_error *err) {
    (void)err;
    return baton_whisper_token_text(s->w, 1) ? BATON_OK : BATON_FAILED;
}
static baton_status call_version(struct scene *s, baton_error *err) {
    (void)s, (void)err;
    (void)baton_whisper_version(); /* NULL in a build without libwhisper */
    return BATON_OK;
}
static baton_status call_context(struct scene *s, baton_error *err) {
    (void)err;
    return baton_whisper_context(s->w) ? BATON_OK : BATON_FAILED;
}
static baton_status call_cancel(struct scene *s, baton_error *err) {
    (void)err;
    return baton_whisper_cancel(s->w, 4711) ? BATON_FAILED : BATON_OK;
}
static baton_status call_stream_fd(struct scene *s, baton_error *err) {
    (void)err;
    return baton_whisper_stream_fd(s->read) >= 0 ? BATON_OK : BATON_FAILED;
}
static baton_status call_stream_id(struct scene *s, baton_error *err) {
    (void)err;
    return baton_whisper_stream_id(s->read) ? BATON_OK : BATON_FAILED;
}
static baton_status call_stream_progress(struct scene *s, baton_error *err) {
    (void)err;
    return baton_whisper_stream_progress(s->read) < 100 ? BATON_OK : BATON_FAILED;
}

enum kind {
    MUTATES, /* refused while another thread is inside every state */
    LEASED,  /* refused while another thread is inside with a copy of the lease */
    READ,    /* refused while another thread is in a call on the stream */
    FREE,    /* goes through */
    ENDS     /* nobody else has the handle, the lease's inside or the result, or may have */
};
static const struct entry {
    const char *name;
    enum kind kind;
    baton_status (*call)(struct scene *s, baton_error *err);
} entries[] = {
    {"open", ENDS, NULL},
    {"close", ENDS, NULL},
    {"stream_close", ENDS, NULL},
    {"result_free", ENDS, NULL},
    {"state", ENDS, NULL},
    {"get_info", FREE, call_get_info},
    {"get_counts", FREE, call_get_counts},
    {"snapshot", FREE, call_snapshot},
    {"language", FREE, call_language},
    {"language_name", FREE, call_language_name},
    {"token_text", FREE, call_token_text},
    {"version", FREE, call_version},
    {"context", FREE, call_context},
    {"cancel", FREE, call_cancel},
    {"stream_fd", FREE, call_stream_fd},
    {"stream_id", FREE, call_stream_id},
    {"stream_progress", FREE, call_stream_progress},
    {"full", MUTATES, call_full},
    {"full_parallel", MUTATES, call_full_parallel},
    {"detect", MUTATES, call_detect},
    {"stream_open", MUTATES, call_stream_open},
    {"acquire", MUTATES, call_acquire},
    {"pcm_to_mel", LEASED, call_pcm_to_mel},
    {"set_mel", LEASED, call_set_mel},
    {"encode", LEASED, call_encode},
    {"decode", LEASED, call_decode},
    {"stream_next", READ, call_stream_next},
};
enum { ENTRIES = sizeof entries / sizeof entries[0] };

static const char *entry_name(int i) {
    return entries[i].name;
}

static void probe_P01_every_call_of_the_header_has_an_entry(void **state) {
    (void)state;
    every_call_has_an_entry("whisper.h", "baton_whisper_", entry_name, ENTRIES);
}

static void expect_named(const struct entry *e, baton_status status, const baton_error *err, const char *op) {
    if (status != BATON_BUSY)
        fail_msg("baton_whisper_%s: %s where another thread is inside", e->name, baton_status_name(status));
    const char *const words[] = {"the-holder", op, "Try again", " ms"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (!strstr(err->text, words[i]))
            fail_msg("baton_whisper_%s: '%s' is not in: %s", e->name, words[i], err->text);
}

/* A thread that is inside with a copy of a lease. */
struct intruder {
    baton_lease lease;
    _Atomic bool inside, go;
    pthread_t thread;
};
static void *intrude(void *arg) {
    struct intruder *h = arg;
    void *context;
    prctl(PR_SET_NAME, "the-holder");
    if (baton_lease_begin(&h->lease, BATON_OP_USER, &context, NULL) == BATON_OK) {
        h->inside = true;
        overlap_wait_until(h->go);
        baton_lease_end(&h->lease);
    }
    return NULL;
}

static void *read_for_long(void *arg) {
    const baton_whisper_segment *g;
    while (baton_whisper_stream_next(arg, -1, &g) == BATON_BUSY) /* the other one was in for a moment */
        sched_yield();
    return NULL;
}

static void call_all(struct scene *s, const char *where) {
    baton_error err;
    for (int i = 0; i < ENTRIES; i++) {
        if (entries[i].kind == ENDS || entries[i].kind == READ)
            continue;
        baton_status status = entries[i].call(s, &err);
        if (status)
            fail_msg("baton_whisper_%s, %s: %s", entries[i].name, where, err.text);
    }
}

static void probe_P01_each_call_is_refused_by_name_while_another_thread_is_inside(void **state) {
    (void)state;
    const char *path = on.path;
    static struct scene s;
    struct speaker holder;
    struct intruder copy;
    baton_error err;
    pthread_t reader;
    s.w = speech_open(NULL);
    on.path = "fake:hang_at=1";
    baton_whisper *leased = speech_open(NULL), *hangs = speech_open(NULL);
    on.path = path;
    s.read = stream_of(hangs, 0, 0);
    s.lease = encoded(leased, 0);
    call_all(&s, "alone");
    baton_log_set(BATON_LOG_INFO, ignore_line, NULL);
    memset(&copy, 0, sizeof copy);
    copy.lease = s.lease;
    assert_int_equal(pthread_create(&copy.thread, NULL, intrude, &copy), 0);
    overlap_wait_until(copy.inside);
    speaker_hold(&holder, s.w, 0, 0);
    assert_int_equal(pthread_create(&reader, NULL, read_for_long, s.read), 0);
    for (int i = 0; i < ENTRIES; i++) {
        const struct entry *e = &entries[i];
        if (e->kind == MUTATES)
            expect_named(e, e->call(&s, &err), &err, "transcribe");
        else if (e->kind == LEASED)
            expect_named(e, e->call(&s, &err), &err, "user code");
        else if (e->kind == FREE && e->call(&s, &err))
            fail_msg("baton_whisper_%s needs no state and was refused", e->name);
        while (e->kind == READ && e->call(&s, &err) != BATON_BUSY) /* the reader is not in yet */
            sched_yield();
    }
    copy.go = true;
    pthread_join(copy.thread, NULL);
    baton_log_set(BATON_LOG_INFO, NULL, NULL);
    s.lease = encoded(leased, 0); /* the other one ended with the thread that was in it last */
    assert_int_equal(speaker_end(&holder), BATON_OK);
    baton_whisper_close(&hangs);
    pthread_join(reader, NULL);
    call_all(&s, "afterwards"); /* the refusals left nothing behind */
    assert_int_equal(baton_whisper_stream_close(&s.read, NULL), BATON_CANCELLED);
    assert_int_equal(baton_lease_release(&s.lease, BATON_RESET, NULL), BATON_OK);
    baton_whisper_close(&leased);
    baton_whisper_close(&s.w);
}

/* What a lease is not good for. */
static void a_step_under_another_lease_is_misuse(void **state) {
    (void)state;
    int mine = 0;
    void *context = &mine;
    baton_pool_params params = BATON_POOL_PARAMS;
    baton_pool *pool;
    baton_lease lease = BATON_LEASE;
    baton_error err;
    params.name = "something else";
    params.contexts = &context;
    params.n = 1;
    assert_int_equal(baton_whisper_encode(&lease, 0, 0, &err), BATON_STALE);
    assert_int_equal(baton_pool_open(&pool, &params, NULL), BATON_OK);
    assert_int_equal(baton_lease_acquire(pool, NULL, &lease, NULL), BATON_OK);
    assert_int_equal(baton_whisper_encode(&lease, 0, 0, &err), BATON_MISUSE);
    assert_non_null(strstr(err.text, "baton_whisper_acquire"));
    assert_int_equal(baton_lease_begin(&lease, BATON_OP_USER, &context, NULL), BATON_OK);
    assert_null(baton_whisper_state(&lease));
    assert_int_equal(baton_whisper_encode(&lease, 0, 0, &err), BATON_REENTRANT);
    baton_lease_end(&lease);
    assert_int_equal(baton_lease_release(&lease, BATON_KEEP, NULL), BATON_OK);
    assert_int_equal(baton_pool_close(&pool, BATON_DRAIN, NULL), BATON_OK);
    baton_whisper *w = speech_open(NULL);
    assert_int_equal(baton_whisper_acquire(w, NULL, &lease, NULL), BATON_OK);
    assert_null(baton_whisper_state(&lease)); /* not inside */
    assert_int_equal(baton_lease_begin(&lease, BATON_OP_USER, &context, NULL), BATON_OK);
    assert_ptr_equal(baton_whisper_state(&lease), context);
    baton_lease_end(&lease);
    assert_int_equal(baton_lease_release(&lease, BATON_RESET, NULL), BATON_OK);
    baton_whisper_close(&w);
}

static int set_up(void **state) {
    (void)state;
    on.path = "fake:";
    on.seconds = 3;
    make_sounds();
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P01_every_call_of_the_header_has_an_entry),
        cmocka_unit_test(probe_P01_each_call_is_refused_by_name_while_another_thread_is_inside),
        cmocka_unit_test(a_step_under_another_lease_is_misuse),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, set_up, free_sounds);
}
