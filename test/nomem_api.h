/* What the tests share that make each allocation of each public call fail once: attempts, the handle that must go on,
 * the table of what is tried. */
#ifndef BT_NOMEM_API_H
#define BT_NOMEM_API_H

#include "api_bodies.h"

#include "native/fake.h"
#include "nomem.h"

static const char path[] = "fake:len=24";
static long at; /* the allocation that fails in this attempt */
static bool failed;

/* What is between the two is what is tried. */
static inline void arm(void) {
    nomem_arm(at);
}
static inline void disarm(void) {
    failed = nomem_disarm();
}
static inline baton_status disarmed(baton_status status) {
    disarm();
    return status;
}
#define TRY(call) (arm(), disarmed(call))

static inline baton_llama *open_with(baton_owner owner, int contexts, baton_pooling pooling) {
    baton_policy policy = BATON_POLICY;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m;
    baton_error err;
    policy.owner = owner;
    policy.contexts = contexts;
    policy.when_full = BATON_WAIT;
    params.policy = &policy;
    params.pooling = pooling;
    params.exact = 0;
    if (baton_llama_open(&m, pooling == BATON_POOLING_RANK ? "fake:scores=1" : path, &params, &err))
        fail_msg("%s", err.text);
    return m;
}

static inline baton_llama_ask question(void) {
    static const char *const stops[] = {"never said"};
    static const baton_logit_bias bias[] = {{5, 1}};
    static baton_sampling sampling = BATON_SAMPLING;
    static const baton_message chat[] = {{"user", "spare me a word"}};
    baton_llama_ask ask = BATON_LLAMA_ASK;
    sampling.temperature = 0.8f;
    sampling.bias = bias;
    sampling.n_bias = 1;
    ask.messages = chat;
    ask.n_messages = 1;
    ask.stops = stops;
    ask.n_stops = 1;
    ask.sampling = &sampling;
    return ask;
}

/* The answer of an undisturbed handle; the same for every handle of this file. An owner thread that had no memory for
 * its own state has ended, then or a little later. */
static char whole[4096];
static inline void answers_as_ever(baton_llama *m, baton_owner owner) {
    baton_llama_ask ask = question();
    baton_result r;
    baton_error err;
    baton_status status = baton_llama_generate(m, &ask, &r, &err);
    bool owner_may_be_gone =
        failed && (status == BATON_CRASHED || status == BATON_CLOSED) && owner == BATON_OWNER_THREAD;
    if (status && !owner_may_be_gone)
        fail_msg("allocation %ld: afterwards %s", at, err.text);
    if (status) {
        baton_result_free(&r);
        return;
    }
    if (!whole[0])
        snprintf(whole, sizeof whole, "%s", r.text);
    assert_string_equal(r.text, whole);
    baton_result_free(&r);
}

struct trial {
    const char *covers; /* public functions, without baton_ */
    baton_status (*run)(baton_error *err);
    bool
        threads; /* an owner that has no memory for its own state ends: CRASHED (of what is saved STALE), then CLOSED */
};

static baton_llama *words; /* for calls that change nothing */

static inline bool covered(const char *name, const struct trial *trials, size_t n, const char *no_allocation) {
    char word[96];
    snprintf(word, sizeof word, " %s ", name);
    if (strstr(no_allocation, word))
        return true;
    for (size_t i = 0; i < n; i++) {
        char list[512];
        snprintf(list, sizeof list, " %s ", trials[i].covers);
        if (strstr(list, word))
            return true;
    }
    return false;
}

static inline void every_public_call_is_here(const char *const *headers, size_t n_headers, const struct trial *trials,
                                             size_t n, const char *no_allocation, int at_least) {
    char file[512], line[512], name[64];
    int calls = 0;
    for (size_t i = 0; i < n_headers; i++) {
        snprintf(file, sizeof file, "%s/../include/baton/%s.h", getenv("BATON_TOOLS"), headers[i]);
        FILE *f = fopen(file, "r");
        assert_non_null(f);
        while (fgets(line, sizeof line, f)) {
            const char *paren = strncmp(line, "BATON_API", 9) == 0 ? strchr(line, '(') : NULL;
            const char *from = paren;
            while (from && from > line && from[-1] != ' ' && from[-1] != '*')
                from--;
            if (!from || sscanf(from, "baton_%63[a-z_]", name) != 1)
                continue;
            calls++;
            if (!covered(name, trials, n, no_allocation))
                fail_msg("baton_%s has no entry: say what it does without memory", name);
        }
        fclose(f);
    }
    assert_true(calls >= at_least);
}

static inline void every_allocation_of_every_call_may_fail(const struct trial *trials, size_t n) {
    words = open_with(BATON_OWNER_CALLER, 1, BATON_POOLING_OFF);
    answers_as_ever(words, BATON_OWNER_CALLER);
    for (size_t i = 0; i < n; i++) {
        long told = 0;
        for (at = 1;; at++) {
            baton_error err = {BATON_OK, ""};
            failed = false;
            alarm(20);
            baton_status status = trials[i].run(&err);
            alarm(0);
            if (!failed) {
                if (status)
                    fail_msg("%s: without a failure %s: %s", trials[i].covers, baton_status_name(status), err.text);
                break;
            }
            told += status == BATON_NO_MEMORY;
            if (status != BATON_OK && status != BATON_NO_MEMORY &&
                !((status == BATON_CRASHED || status == BATON_CLOSED || status == BATON_STALE) && trials[i].threads))
                fail_msg("%s: allocation %ld failed: %s: %s", trials[i].covers, at, baton_status_name(status),
                         err.text);
            if (status && !err.text[0])
                fail_msg("%s: allocation %ld failed without a text", trials[i].covers, at);
        }
        print_message("%4ld allocations, %4ld told: %.60s\n", at - 1, told, trials[i].covers);
        assert_true(told > 0 || at == 1 ||
                    trials[i].threads); /* at 1: it allocates nothing; owners do when they like */
    }
    baton_llama_close(&words);
    struct bt_fake_stats s;
    bt_fake_stats(&s);
    assert_int_equal(s.models + s.contexts + s.samplers, 0);
    assert_int_equal(s.overlaps, 0);
}

#endif
