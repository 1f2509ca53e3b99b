/* Owners as processes that end: what the requests on them come to. Bodies for the fake and for libllama. */
#ifndef BT_CRASHES_H
#define BT_CRASHES_H

#include <signal.h>
#include <unistd.h>

#include "frontrun.h"
#include "ipc/dispatch.h"

static inline struct bt_front_params crash_params(const char *model, int contexts, int sequences) {
    return (struct bt_front_params){.model = {.path = model, .gpu_layers = 0},
                                    .context = {.sequences = sequences, .ctx = 512, .threads = 1, .exact = true},
                                    .contexts = contexts,
                                    .when_full = BT_WAIT,
                                    .queue_max = 64,
                                    .queue_ms = -1,
                                    .run_ms = -1,
                                    .owner = BT_OWNER_PROCESS};
}

static inline struct bt_front *crash_open(const struct bt_front_params *p) {
    struct bt_front *f;
    baton_error err;
    if (bt_front_open(p, &f, &err))
        fail_msg("%s", err.text);
    return f;
}

/* The children of this program; a test has no others but owners. */
static inline int owners_alive(pid_t *pids, int most) {
    char path[64];
    int n = 0, pid;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    while (n < most && fscanf(file, "%d", &pid) == 1)
        pids[n++] = pid;
    fclose(file);
    return n;
}

static inline struct bt_front_counts counts_of(const struct bt_front *f) {
    struct bt_front_counts c;
    bt_front_counts(f, &c);
    return c;
}

static inline const char *state_of(const struct bt_front *f, int context) {
    struct bt_front_health h;
    bt_front_health(f, context, &h);
    return h.state;
}

/* Requests, and what each says when nobody else is there and nothing dies. */
enum { CROWD_MAX = 32 };
struct crowd {
    int n;
    char prompts[CROWD_MAX][96];
    struct bt_submit asks[CROWD_MAX];
    struct bt_buf lone[CROWD_MAX];
    struct answer answers[CROWD_MAX];
};

static inline void crowd_init(struct crowd *c, const char *healthy, int n, int tokens, float temperature) {
    static const char *const openings[] = {"The ferry waits",  "One key, two doors:", "A queue is",
                                           "The runner takes", "Once upon a time",    "What is a lease?",
                                           "Count from 1 to",  "In the morning"};
    memset(c, 0, sizeof *c);
    c->n = n;
    for (int i = 0; i < n; i++) {
        snprintf(c->prompts[i], sizeof c->prompts[i], "%s number %d ", openings[i % 8], i);
        c->asks[i] = ask_text(c->prompts[i], tokens + i, temperature, 77 + (uint64_t)i);
        lone_text(healthy, &c->asks[i], 512, &c->lone[i]);
        assert_true(c->lone[i].len > 0);
    }
}

static inline void crowd_ask(struct crowd *c, struct bt_front *f) {
    for (int i = 0; i < c->n; i++) {
        c->asks[i].id = 0;
        assert_int_equal(answer_ask(&c->answers[i], f, &c->asks[i]), BATON_OK);
    }
}

static inline void crowd_is_whole(struct crowd *c, struct bt_front *f) {
    answers_wait(f, c->answers, c->n);
    for (int i = 0; i < c->n; i++) {
        if (c->answers[i].outcome.status)
            fail_msg("request %d: %s", i, c->answers[i].error);
        assert_int_equal(c->answers[i].done, 1);
        assert_same_text(&c->answers[i].text, &c->lone[i]);
        answer_free(&c->answers[i]);
    }
}

static inline void crowd_free(struct crowd *c) {
    for (int i = 0; i < c->n; i++)
        bt_buf_free(&c->lone[i]);
}

/* Kills an owner after every few pieces, at moments that a seed draws, until `kills` have been; answers all equal their
 * lone runs. */
static inline void killed_owners_are_not_noticed(const char *model, int contexts, int n, int tokens, int kills,
                                                 float temperature) {
    static struct crowd c;
    uint64_t seed = bt_test_seed(), draws = 0;
    struct bt_front_params p = crash_params(model, contexts, (n + contexts - 1) / contexts);
    struct bt_front *f = crash_open(&p);
    int killed = 0;
    crowd_init(&c, model, n, tokens, temperature);
    do {
        crowd_ask(&c, f);
        int since = 0, next = 1 + (int)(bt_draw(seed, draws++) * n * tokens / 8);
        for (bool busy = true; busy;) {
            int pieces = 0;
            bt_front_run_once(f, 10000);
            busy = false;
            for (int i = 0; i < n; i++) {
                pieces += c.answers[i].pieces;
                busy |= !c.answers[i].done;
            }
            pid_t pids[BT_CONTEXTS_MAX];
            int alive = owners_alive(pids, BT_CONTEXTS_MAX);
            if (!busy || killed == kills || pieces - since < next || alive < 1)
                continue;
            since = pieces;
            next = 1 + (int)(bt_draw(seed, draws++) * n * tokens / 8);
            assert_int_equal(kill(pids[(int)(bt_draw(seed, draws++) * alive)], SIGKILL), 0);
            killed++;
        }
        crowd_is_whole(&c, f);
    } while (killed < kills);
    struct bt_front_counts so_far = counts_of(f);
    print_message("%d kills, %d restarts, %d answers\n", killed, (int)so_far.restarts, (int)so_far.completed);
    assert_int_equal(so_far.quarantined, 0);
    assert_true(so_far.restarts > 0);
    bt_front_close(&f);
    crowd_free(&c);
}

/* All but `who` finish as if nothing had been; it is told what it did, and keeps what it had. */
static inline void all_but_one(struct crowd *c, struct bt_front *f, int who, baton_status status) {
    struct answer *a = &c->answers[who];
    answers_wait(f, c->answers, c->n);
    assert_int_equal(a->outcome.status, status);
    assert_int_equal(a->done, 1);
    assert_true(a->text.len <= c->lone[who].len);
    assert_memory_equal(a->text.data, c->lone[who].data, a->text.len);
    a->outcome.status = BATON_OK;
    bt_buf_add(&a->text, c->lone[who].data + a->text.len, c->lone[who].len - a->text.len);
    crowd_is_whole(c, f);
}

/* Stopped in the middle of an answer: silent, then hung, and the next one goes on with it. */
static inline void an_owner_that_is_stopped_is_not_kept(const char *model) {
    static struct crowd c;
    struct bt_front_params p = crash_params(model, 1, 2);
    struct bt_front_health h;
    pid_t pid = 0;
    p.hang_ms = BT_HANG_MIN_MS;
    struct bt_front *f = crash_open(&p);
    crowd_init(&c, model, 2, 40, 0.8f);
    assert_true(bt_front_ready(f));
    assert_int_equal(owners_alive(&pid, 1), 1);
    crowd_ask(&c, f);
    while (c.answers[0].pieces < 3 || c.answers[1].pieces < 3)
        bt_front_run_once(f, 1000);
    assert_int_equal(kill(pid, SIGSTOP), 0);
    bool silent = false;
    do {
        bt_front_run_once(f, 50);
        bt_front_health(f, 0, &h);
        silent |= strcmp(h.state, "silent") == 0;
    } while (h.restarts == 0 && (h.ready || strcmp(h.state, "silent") == 0));
    assert_true(silent);
    assert_false(bt_front_ready(f));
    assert_true(h.retry_ns > 0);
    crowd_is_whole(&c, f);
    while (!bt_front_ready(f))
        bt_front_run_once(f, 1000);
    bt_front_health(f, 0, &h);
    assert_int_equal(h.restarts, 1);
    assert_non_null(strstr(h.last_end, "hung"));
    assert_int_equal(counts_of(f).quarantined, 0); /* it does not come again */
    bt_front_close(&f);
    crowd_free(&c);
}

/* Who is alone in its owner, on trial, and known to be there. */
static inline bool somebody_is_on_trial(const struct crowd *c) {
    for (int i = 0; i < c->n; i++) {
        const struct bt_request *r = c->answers[i].request;
        if (r && r->at == BT_RUNNING && r->on_trial && r->seen)
            return true;
    }
    return false;
}

static inline bool all_have_begun(const struct crowd *c) {
    for (int i = 0; i < c->n; i++)
        if (c->answers[i].pieces < 3)
            return false;
    return true;
}

/* A fault while eight run, and others whenever one of them is there alone, until one of those has met its request: that
 * one it is. A trial is short, and may be over before the fault comes. Returns who; -1: all got through. */
static inline int convict_one(struct crowd *c, struct bt_front *f) {
    pid_t pid = 0, killed = 0;
    crowd_ask(c, f);
    while (!all_have_begun(c))
        bt_front_run_once(f, 1000);
    for (bool first = true; counts_of(f).quarantined == 0; first = false) {
        if ((first || somebody_is_on_trial(c)) && owners_alive(&pid, 1) == 1 && pid != killed) {
            assert_int_equal(kill(pid, SIGSEGV), 0);
            killed = pid;
        }
        bt_front_run_once(f, 1000);
        int done = 0;
        for (int i = 0; i < c->n; i++)
            done += c->answers[i].done;
        if (done == c->n && counts_of(f).quarantined == 0)
            return -1;
    }
    int who = 0;
    while (!c->answers[who].done || c->answers[who].outcome.status == BATON_OK)
        who++;
    return who;
}

static inline void who_is_there_at_two_faults_is_quarantined(const char *model) {
    enum { N = 8, ROUNDS = 20 };
    static struct crowd c;
    struct bt_front_params p = crash_params(model, 1, N);
    struct bt_front *f = crash_open(&p);
    int who = -1, rounds = 0;
    crowd_init(&c, model, N, 30, 0.8f);
    for (; who < 0 && rounds < ROUNDS; rounds++) {
        who = convict_one(&c, f);
        if (who < 0)
            crowd_is_whole(&c, f);
    }
    assert_true(who >= 0);
    print_message("request %d, in round %d: %s\n", who, rounds, c.answers[who].error);
    assert_non_null(strstr(c.answers[who].error, "alone"));
    all_but_one(&c, f, who, BATON_CRASHED);
    assert_int_equal(counts_of(f).quarantined, 1);
    while (!bt_front_ready(f))
        bt_front_run_once(f, 1000);
    assert_string_equal(state_of(f, 0), "ready");
    bt_front_close(&f);
    crowd_free(&c);
}

/* Vectors of many texts, as they come from owners of which so many are killed on the way. */
static inline void vectors_of_killed_owners(struct bt_front *f, int kills, struct answer *a) {
    enum { TEXTS = 48 };
    static char texts[TEXTS][32];
    struct bt_frame_input inputs[TEXTS];
    struct bt_submit s = {.what = BT_WHAT_EMBED,
                          .text = {"", 0},
                          .state = {"", 0},
                          .inputs = inputs,
                          .n_inputs = TEXTS,
                          .normalise = true};
    const struct bt_handler h = {NULL, answer_done, a, answer_data, NULL};
    size_t since = 0;
    for (int i = 0; i < TEXTS; i++) {
        snprintf(texts[i], sizeof texts[i], "the text of number %d", i);
        inputs[i] = (struct bt_frame_input){{texts[i], strlen(texts[i])}, NULL, 0};
    }
    memset(a, 0, sizeof *a);
    assert_int_equal(bt_front_submit(f, &s, NULL, &h, &a->request, NULL), BATON_OK);
    while (!a->done) {
        pid_t pid = 0;
        bt_front_run_once(f, 1000);
        if (kills == 0 || a->done || a->text.len == since || owners_alive(&pid, 1) != 1)
            continue;
        assert_int_equal(kill(pid, SIGKILL), 0);
        since = a->text.len;
        kills--;
    }
}

static inline void killed_owners_cost_no_vector(const char *model) {
    enum { KILLS = 5 };
    struct bt_front_params p = crash_params(model, 1, 2);
    struct answer whole, cut;
    p.context.pooling = BT_POOL_MEAN;
    struct bt_front *f = crash_open(&p);
    vectors_of_killed_owners(f, 0, &whole);
    assert_int_equal(whole.outcome.status, BATON_OK);
    vectors_of_killed_owners(f, KILLS, &cut);
    assert_int_equal(cut.outcome.status, BATON_OK);
    assert_int_equal(cut.done, 1);
    assert_same_text(&cut.text, &whole.text);
    assert_true(whole.text.len > 0 && counts_of(f).restarts > 0);
    print_message("%d restarts, attempt %d\n", (int)counts_of(f).restarts, (int)cut.outcome.attempts);
    assert_int_equal(counts_of(f).quarantined, 0);
    bt_front_close(&f);
    answer_free(&whole);
    answer_free(&cut);
}

#endif
