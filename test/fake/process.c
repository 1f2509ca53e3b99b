/* Owner processes over the fake native: what they are handed and what they are not, every way to end, and what becomes
 * of one whose front is gone. The self-test takes decodes 1 to 10: faults are set to come after it. */
#include "child_util.h"
#include "frontrun.h"
#include "orphans.h"

#include <signal.h>

#include "ipc/spawn_program.h"

static void greet_child(struct child *c) {
    struct bt_frame_ready ready;
    baton_error err;
    if (!child_ready(c, &ready, &err))
        fail_msg("no READY: %s", err.text);
}

static void answers_equal_their_lone_run(void **state) {
    (void)state;
    enum { N = 12 };
    struct bt_front_params p = {.model = {.path = "fake:"},
                                .context = {.sequences = 2, .ctx = 256, .threads = 1, .exact = true},
                                .contexts = 2,
                                .when_full = BT_WAIT,
                                .queue_max = N,
                                .queue_ms = -1,
                                .run_ms = -1,
                                .owner = BT_OWNER_PROCESS};
    struct bt_front *f;
    baton_error err;
    struct answer a[N];
    struct bt_submit asks[N];
    char prompts[N][32];
    if (bt_front_open(&p, &f, &err))
        fail_msg("%s", err.text);
    assert_non_null(strstr(bt_front_info(f)->sandbox, "no_new_privs"));
    print_message("sandbox: %s\n", bt_front_info(f)->sandbox);
    for (int i = 0; i < N; i++) {
        snprintf(prompts[i], sizeof prompts[i], "question %d", i);
        asks[i] = ask_text(prompts[i], 40, i % 2 ? 0.9f : 0, (uint64_t)i);
        assert_int_equal(answer_ask(&a[i], f, &asks[i]), BATON_OK);
    }
    answers_wait(f, a, N);
    for (int i = 0; i < N; i++) {
        struct bt_buf lone = BT_BUF_INIT;
        assert_int_equal(a[i].outcome.status, BATON_OK);
        lone_text("fake:", &asks[i], 256, &lone);
        assert_same_text(&a[i].text, &lone);
        bt_buf_free(&lone);
        answer_free(&a[i]);
    }
    bt_front_close(&f);
}

static const char *attempt_to_see; /* its projector */

/* What an attempt comes to, in a child like the server's, or in one without its sandbox. */
static void attempt(enum bt_fake_attempt what, bool no_sandbox, char said[128]) {
    char model[64];
    struct child c;
    struct bt_frame_ready ready;
    baton_error err;
    snprintf(model, sizeof model, "fake:attempt=%d", (int)what);
    struct bt_spawn_params params = child_params(model);
    params.no_sandbox = no_sandbox;
    params.model.mmproj = attempt_to_see;
    child_open_with(&c, &params);
    if (!child_ready(&c, &ready, &err))
        fail_msg("no READY: %s", err.text);
    memcpy(said, ready.info.description, 128);
    child_close(&c);
}

static void probe_P43_what_a_hostile_model_tries_fails(void **state) {
    (void)state;
    static const struct {
        enum bt_fake_attempt what;
        const char *name, *without; /* the sandbox; NULL: no EPERM; "": this machine may forbid it anyway */
    } attempts[] = {
        {BT_FAKE_TRY_SOCKET, "socket", "done"}, {BT_FAKE_TRY_CONNECT, "connect", NULL},
        {BT_FAKE_TRY_READ, "read", "done"},     {BT_FAKE_TRY_CREATE, "create", "done"},
        {BT_FAKE_TRY_EXEC, "exec", "ENOENT"},   {BT_FAKE_TRY_PTRACE, "ptrace", "ESRCH"},
        {BT_FAKE_TRY_KILL, "kill", "done"},     {BT_FAKE_TRY_FORK, "fork", "done"},
        {BT_FAKE_TRY_MEMORY, "memory", ""},     {BT_FAKE_TRY_LIMIT, "limit", "done"},
        {BT_FAKE_TRY_FRONT, "front", "done"},   {BT_FAKE_TRY_STEAL, "steal", ""},
    };
    for (size_t i = 0; i < BT_COUNT(attempts); i++) {
        char with[128], without[128];
        attempt(attempts[i].what, false, with);
        attempt(attempts[i].what, true, without);
        print_message("%s: %s, without the sandbox %s\n", attempts[i].name, with, without);
        if (strcmp(with, "EPERM") != 0 && strcmp(with, "EACCES") != 0)
            fail_msg("%s: %s", attempts[i].name, with);
        if (attempts[i].without && attempts[i].without[0])
            assert_string_equal(without, attempts[i].without);
        else if (!attempts[i].without)
            assert_string_not_equal(without, "EPERM");
    }
}

static void it_has_the_descriptors_and_variables_that_it_was_handed(void **state) {
    (void)state;
    char said[128];
    int leak = dup2(STDIN_FILENO, 77); /* not close-on-exec */
    setenv("BATON_TEST_SECRET", "do not pass", 1);
    setenv("OMP_DYNAMIC", "false", 1);
    attempt(BT_FAKE_TELL_DESCRIPTORS, false, said);
    assert_string_equal(said, "0 1 2 3 4 5 ");
    attempt_to_see = "fake"; /* a projector is one more */
    attempt(BT_FAKE_TELL_DESCRIPTORS, false, said);
    assert_string_equal(said, "0 1 2 3 4 5 6 ");
    attempt(BT_FAKE_TRY_READ, false, said);
    assert_string_equal(said, "EPERM");
    attempt_to_see = NULL;
    attempt(BT_FAKE_TELL_ENVIRONMENT, false, said);
    print_message("environment: %s\n", said);
    assert_null(strstr(said, "SECRET"));
    assert_null(strstr(said, "PATH "));
    assert_non_null(strstr(said, "OMP_DYNAMIC "));
    assert_non_null(strstr(said, "OMP_NUM_THREADS "));
    assert_non_null(strstr(said, "GGML_NO_BACKTRACE "));
    unsetenv("BATON_TEST_SECRET");
    unsetenv("OMP_DYNAMIC");
    close(leak);
}

static const char *variable(char **environment, const char *name) {
    for (char **e = environment; *e; e++)
        if (strncmp(*e, name, strlen(name)) == 0 && (*e)[strlen(name)] == '=')
            return *e + strlen(name) + 1;
    return NULL;
}

/* Threads of one context that wait by spinning stand in the way of the others', where there are more than processors.
 * What people have set is theirs. */
static void threads_spin_where_each_has_a_processor(void **state) {
    (void)state;
    static const struct {
        int contexts, threads;
        const char *set, *wait;
    } cases[] = {{1, 1, NULL, NULL}, {4096, 1, NULL, NULL}, {4096, 2, NULL, "passive"}, {4096, 2, "active", "active"}};
    for (size_t i = 0; i < BT_COUNT(cases); i++) {
        char **environment, threads[16];
        unsetenv("OMP_WAIT_POLICY");
        unsetenv("OMP_NUM_THREADS");
        if (cases[i].set)
            setenv("OMP_WAIT_POLICY", cases[i].set, 1);
        environment = bt_owner_environment(cases[i].contexts, cases[i].threads);
        assert_non_null(environment);
        const char *wait = variable(environment, "OMP_WAIT_POLICY");
        assert_int_equal(!wait, !cases[i].wait);
        if (wait)
            assert_string_equal(wait, cases[i].wait);
        snprintf(threads, sizeof threads, "%d", cases[i].threads);
        assert_string_equal(variable(environment, "OMP_NUM_THREADS"), threads);
        bt_owner_environment_free(environment);
    }
    unsetenv("OMP_WAIT_POLICY");
}

static void probe_P41_every_way_to_end_is_told(void **state) {
    (void)state;
    static const struct {
        const char *model;
        int kind, code;
        const char *text;
    } ways[] = {
        {"fake:die=segv@12", BT_END_SIGNALLED, SIGSEGV, ""},
        {"fake:die=abort@12", BT_END_SIGNALLED, SIGABRT, ""},
        {"fake:die=assert@12", BT_END_SIGNALLED, SIGABRT, "FAKE_ASSERT(poison == none) failed"},
        {"fake:die=exit0@12", BT_END_EXITED, 0, ""},
        {"fake:die=exit1@12", BT_END_EXITED, 1, ""},
        {"fake:die=partial@12", BT_END_EXITED, 1, ""},
        {"fake:die=exit1@12,print=1", BT_END_EXITED, 1, "a decode, on stderr"},
    };
    for (size_t i = 0; i < BT_COUNT(ways); i++) {
        struct child c;
        struct bt_frame f;
        child_open(&c, ways[i].model);
        greet_child(&c);
        child_ask(&c, 1, "who are you");
        while (hear(&c.peer, &f))
            assert_int_not_equal(f.type, BT_FRAME_DONE);
        struct bt_owner_end end = child_end(&c);
        print_message("%s: %d %d '%s'\n", ways[i].model, (int)end.kind, end.code, end.text);
        assert_int_equal(end.kind, ways[i].kind);
        assert_int_equal(end.code, ways[i].code);
        if (ways[i].text[0] ? !strstr(end.text, ways[i].text) : end.text[0] != '\0')
            fail_msg("last words: '%s'", end.text);
        child_close(&c);
    }
}

static void a_hang_is_ended_by_a_kill_and_the_next_owner_answers(void **state) {
    (void)state;
    struct child c;
    struct bt_owner_end end;
    struct heard h;
    child_open(&c, "fake:die=hang@12,lives=1,len=8");
    greet_child(&c);
    child_ask(&c, 1, "who are you");
    assert_false(bt_spawn_reap(c.spawn, 0, &end));
    bt_spawn_kill(c.spawn, 0);
    end = child_end(&c);
    assert_int_equal(end.kind, BT_END_SIGNALLED);
    assert_int_equal(end.code, SIGKILL);
    assert_false(bt_spawn_reap(c.spawn, 0, &end));
    child_hang_up(&c);
    child_start(&c);
    greet_child(&c);
    child_ask(&c, 1, "who are you");
    hear_answer(&c.peer, &h);
    assert_int_equal(h.done.outcome, BATON_OK);
    child_close(&c);
}

static void a_model_that_cannot_be_loaded_is_told_by_the_child(void **state) {
    (void)state;
    struct child c;
    struct bt_frame_ready ready;
    baton_error err;
    child_open(&c, "fake:load_fail=1");
    assert_false(child_ready(&c, &ready, &err));
    assert_int_equal(err.status, BATON_BAD_MODEL);
    assert_non_null(strstr(err.text, "load_fail"));
    child_end(&c);
    child_close(&c);
}

static void a_front_that_closes_does_not_wait_for_a_load(void **state) {
    (void)state;
    struct child c;
    child_open(&c, "fake:load_us=2000000");
    child_hang_up(&c);
    struct bt_owner_end end = child_end(&c);
    assert_int_equal(end.kind, BT_END_EXITED); /* by itself: nobody had to kill it */
    bt_spawn_close(&c.spawn);
}

static void the_program_that_is_missing_is_named(void **state) {
    (void)state;
    struct bt_spawn_params params = child_params("fake:");
    struct bt_spawn *s;
    baton_error err;
    setenv("BATON_OWNER", "/no/such/program", 1);
    assert_int_equal(bt_spawn_open(&params, &s, &err), BATON_NOT_FOUND);
    unsetenv("BATON_OWNER");
    assert_non_null(strstr(err.text, "/no/such/program"));
    assert_non_null(strstr(err.text, "BATON_OWNER"));
}

/* Something that starts and is no owner: the end tells. */
static void another_program_is_an_owner_that_ended(void **state) {
    (void)state;
    struct child c;
    struct bt_frame_ready ready;
    baton_error err;
    setenv("BATON_OWNER", "/bin/true", 1);
    child_open(&c, "fake:");
    unsetenv("BATON_OWNER");
    assert_false(child_ready(&c, &ready, &err));
    struct bt_owner_end end = child_end(&c);
    assert_int_equal(end.kind, BT_END_EXITED);
    child_close(&c);
}

/* In a child of this process, so that what it does to signals stays there. True: `body` returned. */
static bool in_a_host(void (*body)(void)) {
    pid_t host = fork();
    int status;
    if (host == 0) {
        alarm(60);
        body();
        _exit(42);
    }
    assert_int_equal(waitpid(host, &status, 0), host);
    return WIFEXITED(status) && WEXITSTATUS(status) == 42;
}

static void ends_are_seen_without_sigchld(void) {
    struct child c;
    signal(SIGCHLD, SIG_IGN); /* the kernel reaps */
    child_open(&c, "fake:die=segv@12");
    greet_child(&c);
    child_ask(&c, 1, "who are you");
    struct bt_owner_end end = child_end(&c);
    assert_int_equal(end.kind, BT_END_UNKNOWN);
    child_hang_up(&c);
    child_start(&c);
    greet_child(&c);
    child_close(&c);
}

static void ends_are_seen_when_the_host_reaps(void) {
    struct child c;
    int status;
    child_open(&c, "fake:die=exit1@12");
    greet_child(&c);
    child_ask(&c, 1, "who are you");
    while (waitpid(-1, &status, 0) < 0)
        ;
    struct bt_owner_end end = child_end(&c);
    assert_int_equal(end.kind, BT_END_UNKNOWN);
    child_close(&c);
}

static void faults_end_it_though_the_host_blocks_signals(void) {
    struct child c;
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    signal(SIGSEGV, SIG_IGN);
    child_open(&c, "fake:die=segv@12");
    greet_child(&c);
    child_ask(&c, 1, "who are you");
    assert_int_equal(child_end(&c).code, SIGSEGV);
    child_close(&c);
}

/* A forked child of the host keeps copies of everything. */
static void closing_ends_it_though_a_fork_holds_the_sockets(void) {
    struct child c;
    child_open(&c, "fake:");
    greet_child(&c);
    pid_t lingers = fork();
    if (lingers == 0) {
        pause();
        _exit(0);
    }
    child_hang_up(&c);
    struct bt_owner_end end = child_end(&c);
    kill(lingers, SIGKILL);
    waitpid(lingers, NULL, 0);
    assert_int_equal(end.kind, BT_END_EXITED);
    assert_int_equal(end.code, 0);
    bt_spawn_close(&c.spawn);
}

/* Copies in a forked child keep watches alive: a front that forgot one would be woken for ever by what is long over. */
static void nothing_over_wakes_a_front_in_a_host_that_forks(void) {
    struct bt_front_params p = {.model = {.path = "fake:die=exit1@14,print=1,lives=1"},
                                .context = {.sequences = 1, .ctx = 256, .threads = 1, .exact = true},
                                .contexts = 1,
                                .queue_ms = -1,
                                .run_ms = -1,
                                .owner = BT_OWNER_PROCESS};
    struct bt_front *f;
    struct answer a;
    struct bt_submit s = ask_text("who are you", 40, 0, 1);
    baton_error err;
    bt_log_set_level(BATON_LOG_ERROR);
    if (bt_front_open(&p, &f, &err))
        fail_msg("%s", err.text);
    pid_t lingers = fork();
    if (lingers == 0) {
        pause();
        _exit(0);
    }
    assert_int_equal(answer_ask(&a, f, &s), BATON_OK);
    answers_wait(f, &a, 1);
    assert_int_equal(a.outcome.status, BATON_OK); /* by the second owner: the first has died */
    struct pollfd fd = {bt_front_fd(f), POLLIN, 0};
    for (int i = 0; i < 200 && poll(&fd, 1, 0) == 1; i++) /* what is still to be said of the answer, then nothing */
        bt_front_run_once(f, 0);
    int left = poll(&fd, 1, 0);
    kill(lingers, SIGKILL);
    waitpid(lingers, NULL, 0);
    assert_int_equal(left, 0);
    bt_front_close(&f);
    answer_free(&a);
}

static void it_is_at_home_in_any_host(void **state) {
    (void)state;
    assert_true(in_a_host(ends_are_seen_without_sigchld));
    assert_true(in_a_host(ends_are_seen_when_the_host_reaps));
    assert_true(in_a_host(faults_end_it_though_the_host_blocks_signals));
    assert_true(in_a_host(closing_ends_it_though_a_fork_holds_the_sockets));
    assert_true(in_a_host(nothing_over_wakes_a_front_in_a_host_that_forks));
}

/* A host whose owner hangs in a decode, with a forked child that holds all descriptors; tells who that is when it is
 * so. */
static void host_with_a_hung_owner(int told) {
    struct child c;
    char text[4096];
    size_t lines = 0;
    child_open(&c, "fake:print=1,die=hang@12");
    greet_child(&c);
    child_ask(&c, 1, "who are you");
    pid_t lingers = fork();
    if (lingers == 0) {
        pause();
        _exit(0);
    }
    while (lines < 2 * 12) { /* it prints one on each of fd 1 and 2 before decode 12 hangs */
        struct pollfd fd = {bt_spawn_log_fd(c.spawn, 0), POLLIN, 0};
        poll(&fd, 1, -1);
        ssize_t n = read(fd.fd, text, sizeof text);
        for (ssize_t i = 0; i < n; i++)
            lines += text[i] == '\n';
    }
    if (write(told, &lingers, sizeof lingers) == (ssize_t)sizeof lingers)
        pause();
}

static void probe_P45_a_killed_front_leaves_nothing_running(void **state) {
    (void)state;
    int status;
    pid_t lingers = host_killed(host_with_a_hung_owner);
    assert_int_not_equal(orphan_ended(), lingers);
    assert_int_equal(kill(lingers, SIGKILL), 0);
    assert_int_equal(waitpid(-1, &status, 0), lingers);
    no_orphans();
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_equal_their_lone_run),
        cmocka_unit_test(probe_P43_what_a_hostile_model_tries_fails),
        cmocka_unit_test(it_has_the_descriptors_and_variables_that_it_was_handed),
        cmocka_unit_test(threads_spin_where_each_has_a_processor),
        cmocka_unit_test(probe_P41_every_way_to_end_is_told),
        cmocka_unit_test(a_hang_is_ended_by_a_kill_and_the_next_owner_answers),
        cmocka_unit_test(a_model_that_cannot_be_loaded_is_told_by_the_child),
        cmocka_unit_test(a_front_that_closes_does_not_wait_for_a_load),
        cmocka_unit_test(the_program_that_is_missing_is_named),
        cmocka_unit_test(another_program_is_an_owner_that_ended),
        cmocka_unit_test(it_is_at_home_in_any_host),
        cmocka_unit_test(probe_P45_a_killed_front_leaves_nothing_running),
    };
    return bt_test_run(tests, argc, argv);
}
