/* States of one model in a pool: several at once are right, each one is used by one at a time, and one audio over
 * several. */
#include <pthread.h>
#include <stdatomic.h>

#include "lease/lease.h"
#include "overlap.h"
#include "speech_util.h"

enum { AUDIOS = 4, STATES_MAX = 4 };

static struct bt_whisper *w;
static struct bt_audio audios[AUDIOS];
static struct bt_whisper_result lone[AUDIOS];

static const struct bt_ask refuse = {.when_full = BT_REFUSE, .priority = 1};
static const struct bt_ask wait_long = {.when_full = BT_WAIT, .queue_ms = -1, .priority = 1};

static void destroy(void *context) {
    struct bt_whisper_state *s = context;
    s->ops->free(s);
}

static struct bt_pool *open_pool(int n) {
    void *states[STATES_MAX];
    struct bt_pool *pool;
    for (int i = 0; i < n; i++)
        states[i] = open_state(w);
    const struct bt_pool_params params = {
        .name = "whisper state", .contexts = states, .n_contexts = n, .queue_max = 16, .destroy = destroy};
    assert_int_equal(bt_pool_open(&params, &pool, NULL), BATON_OK);
    return pool;
}

/* A thread that transcribes under leases. */
struct speaker {
    struct bt_pool *pool;
    struct bt_ask ask;
    int audio, rounds;
    int wrong, done;
    uint64_t order;     /* of its last grant */
    _Atomic bool *hold; /* waited for inside the native call; NULL: not at all */
    _Atomic bool inside;
    struct bt_lease lease;
    baton_status reentered;
    pthread_t thread;
};
static _Atomic uint64_t grants;
static _Atomic int at_once, most_at_once;

static bool on_segment(void *arg, const struct bt_whisper_segment *segment, size_t index) {
    struct speaker *s = arg;
    void *again;
    (void)segment;
    if (index > 0)
        return true;
    s->inside = true;
    s->reentered = bt_lease_begin(&s->lease, BT_OP_TRANSCRIBE, &again, NULL);
    if (s->hold)
        overlap_wait_until(*s->hold);
    return true;
}

static void enter(void) {
    int n = atomic_fetch_add(&at_once, 1) + 1;
    for (int most = most_at_once; most < n && !atomic_compare_exchange_weak(&most_at_once, &most, n);)
        ;
}

static baton_status speak(struct speaker *s, int audio) {
    struct bt_whisper_state *state;
    struct bt_whisper_params p = english();
    struct bt_whisper_result r = {0};
    p.on_segment = on_segment;
    p.arg = s;
    baton_status status = bt_lease_acquire(s->pool, &s->ask, &s->lease, NULL);
    if (status)
        return status;
    s->order = ++grants;
    status = bt_lease_begin(&s->lease, BT_OP_TRANSCRIBE, (void **)&state, NULL);
    enter();
    if (!status)
        status = state->ops->full(state, &audios[audio], &p, &r, NULL);
    at_once--;
    bt_lease_end(&s->lease);
    bt_lease_release(&s->lease, BT_KEEP, NULL);
    s->wrong += status || !same_result(&r, &lone[audio]); /* after the lease: the result is ours */
    s->done++;
    bt_whisper_result_free(&r);
    return status;
}

static void *run(void *arg) {
    struct speaker *s = arg;
    for (int i = 0; i < s->rounds; i++)
        speak(s, (s->audio + i) % AUDIOS);
    return NULL;
}

static void start(struct speaker *s) {
    assert_int_equal(pthread_create(&s->thread, NULL, run, s), 0);
}

static void states_at_once(int n, int rounds) {
    struct bt_pool *pool = open_pool(n);
    struct speaker speakers[STATES_MAX] = {0};
    _Atomic bool all_in = false;
    most_at_once = 0;
    for (int i = 0; i < n; i++) {
        speakers[i].pool = pool;
        speakers[i].ask = refuse; /* there is one for each */
        speakers[i].audio = i;
        speakers[i].rounds = rounds;
        speakers[i].hold = &all_in;
        start(&speakers[i]);
    }
    for (int i = 0; i < n; i++)
        overlap_wait_until(speakers[i].inside);
    all_in = true;
    for (int i = 0; i < n; i++)
        pthread_join(speakers[i].thread, NULL);
    for (int i = 0; i < n; i++) {
        assert_int_equal(speakers[i].done, rounds);
        assert_int_equal(speakers[i].wrong, 0);
    }
    assert_int_equal(most_at_once, n);
    assert_int_equal(bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL), BATON_OK);
}

static void probe_P06_two_states_at_once_equal_their_lone_runs(void **state) {
    (void)state;
    states_at_once(2, 3);
}
static void probe_P06_four_states_at_once_equal_their_lone_runs(void **state) {
    (void)state;
    states_at_once(4, 2);
}

static void probe_P01_a_state_in_use_is_refused_and_its_answer_is_right(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1);
    _Atomic bool go = false;
    struct speaker first = {.pool = pool, .ask = refuse, .rounds = 1, .hold = &go};
    struct bt_lease lease;
    baton_error err;
    start(&first);
    overlap_wait_until(first.inside);
    assert_int_equal(bt_lease_acquire(pool, &refuse, &lease, &err), BATON_BUSY);
    assert_non_null(strstr(err.text, "in transcribe"));
    go = true;
    pthread_join(first.thread, NULL);
    assert_int_equal(first.wrong, 0);
    assert_int_equal(first.reentered, BATON_REENTRANT); /* from its own callback */
    struct speaker second = {.pool = pool, .ask = refuse};
    assert_int_equal(speak(&second, 1), BATON_OK);
    assert_int_equal(second.wrong, 0);
    assert_int_equal(bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL), BATON_OK);
}

static void probe_P02_those_who_wait_for_a_state_come_in_order(void **state) {
    (void)state;
    struct bt_pool *pool = open_pool(1);
    _Atomic bool go = false;
    struct speaker s[4] = {0};
    for (int i = 0; i < 4; i++) {
        s[i] = (struct speaker){.pool = pool, .ask = wait_long, .audio = i, .rounds = 1};
        s[i].hold = i == 0 ? &go : NULL;
        start(&s[i]);
        if (i == 0)
            overlap_wait_until(s[0].inside);
        else
            overlap_wait_until(bt_pool_queued(pool) == i);
    }
    most_at_once = 0;
    go = true;
    for (int i = 0; i < 4; i++)
        pthread_join(s[i].thread, NULL);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(s[i].done, 1);
        assert_int_equal(s[i].wrong, 0);
        assert_true(i == 0 || s[i].order == s[i - 1].order + 1);
    }
    assert_int_equal(most_at_once, 1);
    assert_int_equal(bt_pool_close(&pool, BT_CLOSE_DRAIN, NULL), BATON_OK);
}

static void more_states_than_are_safe_are_not_made(void **state) {
    (void)state;
    struct bt_whisper_state *s[BT_WHISPER_STATES_MAX], *more;
    baton_error err;
    for (int i = 0; i < BT_WHISPER_STATES_MAX; i++)
        s[i] = open_state(w);
    assert_int_equal(w->ops->state(w, &more, &err), BATON_UNSUPPORTED);
    assert_non_null(strstr(err.text, "issue 2521"));
    assert_null(more);
    s[0]->ops->free(s[0]);
    s[0] = open_state(w);
    for (int i = 0; i < BT_WHISPER_STATES_MAX; i++)
        s[i]->ops->free(s[i]);
}

/* What the parts make of it, one after the other. */
static struct bt_whisper_result by_hand(const struct bt_audio *a, int n, const struct bt_whisper_params *p) {
    struct bt_whisper_result all = {.language = -1};
    size_t each = a->n / (size_t)n;
    all.segments = calloc(1000, sizeof *all.segments);
    assert_non_null(all.segments);
    for (int i = 0; i < n; i++) {
        struct bt_audio part = {a->samples + (size_t)i * each, each, a->rate};
        struct bt_whisper_result r = lone_run(w, &part, p);
        for (size_t k = 0; k < r.n_segments; k++) {
            struct bt_whisper_segment *s = &all.segments[all.n_segments++];
            int64_t before = all.n_segments > 1 ? s[-1].t1_ms : 0;
            *s = r.segments[k];
            s->t0_ms = BT_MAX(s->t0_ms + (int64_t)((size_t)i * each / 16), before);
            s->t1_ms = BT_MAX(s->t1_ms + (int64_t)((size_t)i * each / 16), s->t0_ms);
        }
        all.language = r.language;
        r.n_segments = 0;
        bt_whisper_result_free(&r);
    }
    return all;
}

struct heard {
    size_t segments, stop_after;
    int percent;
};
static bool count_segment(void *arg, const struct bt_whisper_segment *s, size_t index) {
    struct heard *h = arg;
    assert_int_equal(index, h->segments++);
    assert_non_null(s->text);
    return h->segments != h->stop_after;
}
static void count_percent(void *arg, int percent) {
    struct heard *h = arg;
    assert_true(percent > h->percent && percent <= 100);
    h->percent = percent;
}
static bool always(void *arg) {
    (void)arg;
    return true;
}

static void one_audio_over_several_states(void **state) {
    (void)state;
    struct bt_whisper_state *states[] = {open_state(w), open_state(w), open_state(w)};
    struct bt_audio a = make_audio(440, 12);
    struct bt_whisper_params p = english(), listening = english();
    struct heard heard = {.percent = -1};
    struct bt_whisper_result expected = by_hand(&a, 3, &p), r;
    baton_error err;
    listening.on_segment = count_segment;
    listening.on_progress = count_percent;
    listening.arg = &heard;
    assert_int_equal(bt_whisper_parallel(states, 3, &a, &listening, &r, &err), BATON_OK);
    assert_true(same_result(&r, &expected));
    assert_true(r.n_segments > 3 && heard.segments == r.n_segments);
    assert_int_equal(heard.percent, 100);
    bt_whisper_result_free(&r);

    heard = (struct heard){.percent = -1, .stop_after = 2};
    assert_int_equal(bt_whisper_parallel(states, 3, &a, &listening, &r, &err), BATON_OK);
    assert_true(r.more && r.n_segments == 2 && heard.segments == 2 && heard.percent < 100);
    bt_whisper_result_free(&r);

    p.cancelled = always;
    assert_int_equal(bt_whisper_parallel(states, 3, &a, &p, &r, &err), BATON_CANCELLED);
    assert_int_equal(r.n_segments, 0);
    p = english();
    p.language = "auto";
    assert_int_equal(bt_whisper_parallel(states, 2, &a, &p, &r, &err), BATON_OK);
    struct bt_whisper_result alone = lone_run(w, &(struct bt_audio){a.samples, a.n / 2, a.rate}, &p);
    assert_int_equal(r.language, alone.language);
    bt_whisper_result_free(&alone);
    bt_whisper_result_free(&r);
    p.duration_ms = 250;
    assert_int_equal(bt_whisper_parallel(states, 3, &a, &p, &r, &err), BATON_INVALID);
    p.duration_ms = 0;
    p.vad = true;
    assert_int_equal(bt_whisper_parallel(states, 3, &a, &p, &r, &err), BATON_UNSUPPORTED);
    for (size_t i = 0; i < BT_COUNT(states); i++)
        states[i]->ops->free(states[i]);
    bt_whisper_result_free(&expected);
    free_audio(&a);
}

static int open_all(void **state) {
    (void)state;
    struct bt_whisper_params p = english();
    w = open_whisper("whisper.bin");
    for (int i = 0; i < AUDIOS; i++) {
        audios[i] = make_audio(300 + 70 * i, 4 + i);
        lone[i] = lone_run(w, &audios[i], &p);
    }
    return 0;
}
static int close_all(void **state) {
    (void)state;
    for (int i = 0; i < AUDIOS; i++) {
        free_audio(&audios[i]);
        bt_whisper_result_free(&lone[i]);
    }
    w->ops->free(w);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probe_P06_two_states_at_once_equal_their_lone_runs),
        cmocka_unit_test(probe_P06_four_states_at_once_equal_their_lone_runs),
        cmocka_unit_test(probe_P01_a_state_in_use_is_refused_and_its_answer_is_right),
        cmocka_unit_test(probe_P02_those_who_wait_for_a_state_come_in_order),
        cmocka_unit_test(more_states_than_are_safe_are_not_made),
        cmocka_unit_test(one_audio_over_several_states),
    };
    bt_test_filter(argc, argv);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
