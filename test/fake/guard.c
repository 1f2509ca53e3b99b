/* baton/guard.h: the word, entering and leaving, the texts, fork, exclusion under load. */
#include "harness.h"

#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "baton/guard.h"
#include "overlap.h"

#ifdef __SANITIZE_THREAD__
#define SLOW 10
#else
#define SLOW 1
#endif

enum { DECODE = 7, TEXT = BATON_GUARD_TEXT_MAX + 64 };

static void the_word_carries_thread_operation_and_time(void **state) {
    (void)state;
    for (unsigned op = 0; op <= BATON_GUARD_OP_MAX; op += 93) {
        baton_guard_word word = baton_guard_make(BATON_GUARD_TID_MAX, op);
        assert_int_equal(baton_guard_tid(word), BATON_GUARD_TID_MAX);
        assert_int_equal(baton_guard_op(word), op);
        assert_true(baton_guard_ms(word) < 60000);
        word = (word & ~(uint64_t)UINT32_MAX) | (uint32_t)(BATON_GUARD_CLOCK_MS() - 90000u);
        assert_true(baton_guard_ms(word) >= 90000 && baton_guard_ms(word) < 150000);
        word = (word & ~(uint64_t)UINT32_MAX) | (uint32_t)(BATON_GUARD_CLOCK_MS() + 30000u);
        assert_int_equal(baton_guard_ms(word), 0); /* published later than the clock was read */
    }
    assert_int_equal(baton_guard_tid(BATON_GUARD_NOBODY), 0);
    assert_int_equal(baton_guard_self(), syscall(SYS_gettid));
}

static void who_comes_second_gets_the_holders_word_and_changes_nothing(void **state) {
    (void)state;
    baton_guard g = BATON_GUARD_INIT;
    assert_int_equal(baton_guard_read(&g), 0);
    assert_int_equal(baton_guard_enter(&g, DECODE), 0);
    baton_guard_word held = baton_guard_read(&g);
    assert_int_equal(baton_guard_tid(held), baton_guard_self());
    assert_int_equal(baton_guard_op(held), DECODE);
    assert_int_equal(baton_guard_enter(&g, 3), held);
    assert_int_equal(baton_guard_read(&g), held);
    assert_int_equal(baton_guard_mark(&g, BATON_GUARD_IDLE), 0);
    assert_int_equal(baton_guard_op(baton_guard_read(&g)), BATON_GUARD_IDLE);
    assert_int_equal(baton_guard_leave(&g), 0);
    assert_int_equal(baton_guard_read(&g), 0);
    assert_int_equal(baton_guard_leave(&g), BATON_GUARD_NOBODY);
    assert_int_equal(baton_guard_mark(&g, 1), BATON_GUARD_NOBODY);
    assert_int_equal(baton_guard_take(&g, held, 1), BATON_GUARD_NOBODY);
    assert_int_equal(baton_guard_enter(&g, 1), 0);
}

struct visit {
    baton_guard *guard;
    pthread_barrier_t met;
    baton_guard_word enter, leave, mark, take_old, take_new;
    char text[TEXT], leave_text[TEXT];
};

static void *refused(void *arg) {
    struct visit *v = arg;
    pthread_setname_np(pthread_self(), "worker-a");
    v->enter = baton_guard_enter(v->guard, 1);
    baton_guard_explain(v->enter, "llama context 'tiny'", "decode", v->text, sizeof v->text);
    v->leave = baton_guard_leave(v->guard);
    baton_guard_explain_leave(v->leave, "llama context 'tiny'", v->leave_text, sizeof v->leave_text);
    v->mark = baton_guard_mark(v->guard, 1);
    return NULL;
}

static void a_refusal_names_thread_operation_time_and_cure(void **state) {
    (void)state;
    baton_guard g = BATON_GUARD_INIT;
    struct visit v = {.guard = &g};
    pthread_t thread;
    char old[16], number[32];
    pthread_getname_np(pthread_self(), old, sizeof old);
    pthread_setname_np(pthread_self(), "worker\nb");
    snprintf(number, sizeof number, "thread %u '", baton_guard_self());
    assert_int_equal(baton_guard_enter(&g, DECODE), 0);
    baton_guard_word held = baton_guard_read(&g);
    assert_int_equal(pthread_create(&thread, NULL, refused, &v), 0);
    pthread_join(thread, NULL);
    pthread_setname_np(pthread_self(), old);
    assert_int_equal(v.enter, held);
    assert_int_equal(v.leave, held); /* a stranger's leave is refused, and the holder stays in */
    assert_int_equal(v.mark, held);
    assert_int_equal(baton_guard_read(&g), held);
    assert_non_null(strstr(v.text, "llama context 'tiny' is in use: "));
    assert_non_null(strstr(v.text, number));
    assert_non_null(strstr(v.text, "has been in decode for "));
    assert_non_null(strstr(v.text, " ms. Try again"));
    assert_non_null(strstr(v.leave_text, number));
    assert_non_null(strstr(v.leave_text, "is in it. Leave on the thread that entered"));
    assert_null(strchr(v.text, '\n'));
    assert_int_equal(baton_guard_leave(&g), 0);
}

static void every_case_has_its_own_text_and_is_cut_to_size(void **state) {
    (void)state;
    char text[TEXT], small[12];
    baton_guard_explain(0, NULL, NULL, text, sizeof text);
    assert_string_equal(text, "the context is free");
    baton_guard_explain(baton_guard_make(baton_guard_self(), DECODE), NULL, NULL, text, sizeof text);
    assert_non_null(strstr(text, "inside it, in operation 7"));
    assert_non_null(strstr(text, "callback"));
    baton_guard_explain(baton_guard_make(baton_guard_self(), BATON_GUARD_IDLE), NULL, NULL, text, sizeof text);
    assert_non_null(strstr(text, "this very thread"));
    assert_non_null(strstr(text, "idle"));
    baton_guard_explain(baton_guard_make(BATON_GUARD_TID_MAX, DECODE), "x", "y", text, sizeof text);
    assert_non_null(strstr(text, "'exited' has been in y for"));
    baton_guard_explain(baton_guard_make(BATON_GUARD_TID_MAX, BATON_GUARD_IDLE), "x", NULL, text, sizeof text);
    assert_non_null(strstr(text, "idle now"));
    baton_guard_explain_leave(BATON_GUARD_NOBODY, "x", text, sizeof text);
    assert_non_null(strstr(text, "nobody is in it"));
    assert_true(baton_guard_explain(0, NULL, NULL, small, sizeof small) > (int)sizeof small);
    assert_string_equal(small, "the context");
}

static void *takes_over(void *arg) {
    struct visit *v = arg;
    baton_guard_word seen = baton_guard_read(v->guard);
    v->take_old = baton_guard_take(v->guard, seen ^ 1, 1);
    v->take_new = baton_guard_take(v->guard, seen, 1);
    v->leave = baton_guard_leave(v->guard);
    return NULL;
}

static void probe_P03_a_context_goes_from_thread_to_thread(void **state) {
    (void)state;
    baton_guard g = BATON_GUARD_INIT;
    struct visit v = {.guard = &g};
    pthread_t thread;
    for (int i = 0; i < 3; i++) { /* in turn, by entering */
        assert_int_equal(pthread_create(&thread, NULL, refused, &v), 0);
        pthread_join(thread, NULL);
        assert_int_equal(v.enter, 0);
        assert_int_equal(v.leave, 0);
        assert_int_equal(baton_guard_enter(&g, 1), 0);
        assert_int_equal(baton_guard_leave(&g), 0);
    }
    assert_int_equal(baton_guard_enter(&g, BATON_GUARD_IDLE), 0); /* and while held, by taking over */
    assert_int_equal(pthread_create(&thread, NULL, takes_over, &v), 0);
    pthread_join(thread, NULL);
    assert_int_not_equal(v.take_old, 0);
    assert_int_equal(v.take_new, 0);
    assert_int_equal(v.leave, 0);
    assert_int_equal(baton_guard_leave(&g), BATON_GUARD_NOBODY);
}

static void a_forked_child_has_its_own_id(void **state) {
    (void)state;
    unsigned parent = baton_guard_self();
    pid_t child = fork();
    if (child == 0)
        _exit(baton_guard_self() == (unsigned)syscall(SYS_gettid) && baton_guard_self() != parent ? 0 : 1);
    int status = -1;
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(baton_guard_self(), parent);
}

struct crowd {
    baton_guard guard;
    struct overlap context;
    _Atomic int entered, refused, misnamed;
};

enum { CROWD = 4, TRIES = 200000 / SLOW };

static void *crowds(void *arg) {
    struct crowd *c = arg;
    unsigned op = 1 + baton_guard_self() % 1000;
    for (int i = 0; i < TRIES; i++) {
        baton_guard_word who = baton_guard_enter(&c->guard, op);
        if (who) {
            c->refused++;
            /* thread and operation of one instant: they belong together */
            c->misnamed += baton_guard_op(who) != 1 + baton_guard_tid(who) % 1000;
            continue;
        }
        overlap_enter(&c->context);
        c->context.state++;
        overlap_leave(&c->context);
        if (i % 64 == 0)
            overlap_decode(&c->context, (uint64_t)i); /* now and then a long one */
        c->entered += 1 + (i % 64 == 0);
        if (baton_guard_leave(&c->guard) != 0)
            c->misnamed++;
    }
    return NULL;
}

static void probe_P01_the_guard_never_lets_two_in(void **state) {
    (void)state;
    static struct crowd c;
    pthread_t threads[CROWD];
    for (int i = 0; i < CROWD; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, crowds, &c), 0);
    for (int i = 0; i < CROWD; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(c.context.overlaps, 0);
    assert_int_equal(c.misnamed, 0);
    assert_int_equal(c.context.state, c.entered);
    assert_true(c.refused > 0);
}

/* Two that come at the same instant, again and again; nobody leaves before both have tried. */
struct duel {
    baton_guard guard;
    _Atomic int arrived[3];
    _Atomic int first, both, none;
};
enum { DUELS = 40000 / SLOW };

static void meet(_Atomic int *arrived, int round) {
    atomic_fetch_add(arrived, 1);
    for (int spins = 0; atomic_load(arrived) < 2 * (round + 1); spins++)
        if (spins > 2000)
            sched_yield();
}

static void *duels(void *arg) {
    struct duel *d = arg;
    static _Atomic int in;
    for (int round = 0; round < DUELS; round++) {
        meet(&d->arrived[0], round);
        /* who arrives last goes on first: all the ways to make up for that, one after the other */
        for (int spins = atomic_fetch_xor(&d->first, 1) ? round % 97 : round / 97 % 97; spins > 0; spins--)
            __asm__ volatile("" ::: "memory");
        bool mine = baton_guard_enter(&d->guard, 1) == 0;
        atomic_fetch_add(&in, mine);
        meet(&d->arrived[1], round);
        d->both += in == 2;
        d->none += in == 0;
        meet(&d->arrived[2], round);
        atomic_fetch_sub(&in, mine);
        if (mine)
            baton_guard_leave(&d->guard);
    }
    return NULL;
}

static void probe_P01_of_two_that_come_at_once_exactly_one_gets_in(void **state) {
    (void)state;
    static struct duel d;
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, duels, &d), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(d.both, 0);
    assert_int_equal(d.none, 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_word_carries_thread_operation_and_time),
        cmocka_unit_test(who_comes_second_gets_the_holders_word_and_changes_nothing),
        cmocka_unit_test(a_refusal_names_thread_operation_time_and_cure),
        cmocka_unit_test(every_case_has_its_own_text_and_is_cut_to_size),
        cmocka_unit_test(probe_P03_a_context_goes_from_thread_to_thread),
        cmocka_unit_test(a_forked_child_has_its_own_id),
        cmocka_unit_test(probe_P01_the_guard_never_lets_two_in),
        cmocka_unit_test(probe_P01_of_two_that_come_at_once_exactly_one_gets_in),
    };
    return bt_test_run(tests, argc, argv);
}
