/* owner = process in somebody else's program: one that ignores SIGCHLD, one that reaps whatever it finds, one that
 * blocks all signals and forks. Its owners are killed in mid-answer; the answers are whole, and nothing is left behind.
 */
#include "api_bodies.h"
#include "owner_pids.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <time.h>

enum { ASKERS = 4, KILLS = 3 };

static void nothing_to_host(void) {
}

/* Answers under a policy that takes no process, and then in processes that are killed. `meanwhile` is what the host
 * does between two kills. */
static void answers_are_whole(void (*meanwhile)(void)) {
    static struct api_asker alone[ASKERS], a[ASKERS];
    const char *model = "fake:len=60,step_us=500";
    baton_policy policy = api_policy(0);
    baton_llama *m = api_open(model, &policy, 256);
    pid_t owner = 0;
    for (int i = 0; i < ASKERS; i++) {
        alone[i] = (struct api_asker){.m = m, .number = i, .temperature = 0.9f};
        api_ask(&alone[i]);
    }
    baton_llama_close(&m);
    policy = api_policy(5);
    m = api_open(model, &policy, 256);
    assert_int_equal(owners(&owner), policy.contexts);
    for (int i = 0; i < ASKERS; i++) {
        a[i] = (struct api_asker){.m = m, .number = i, .temperature = 0.9f, .streaming = i % 2};
        assert_int_equal(pthread_create(&a[i].thread, NULL, api_ask, &a[i]), 0);
    }
    for (int k = 0; k < KILLS; k++) {
        if (owners(&owner) > 0)
            kill(owner, SIGKILL);
        meanwhile();
        usleep(3000);
    }
    for (int i = 0; i < ASKERS; i++) {
        pthread_join(a[i].thread, NULL);
        assert_int_equal(a[i].outcome.status, BATON_OK);
        assert_string_equal(a[i].text, alone[i].text);
    }
    baton_llama_close(&m);
    assert_int_equal(owners(&owner), 0);
}

static void reap_all(void) {
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

static pid_t lingering[KILLS];
static int n_lingering;

static void fork_one(void) {
    pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    lingering[n_lingering++] = child;
}

static void ignoring_host(void) {
    signal(SIGCHLD, SIG_IGN);
    answers_are_whole(nothing_to_host);
}

static void reaping_host(void) {
    answers_are_whole(reap_all);
}

static void forking_host(void) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    answers_are_whole(fork_one);
    for (int i = 0; i < n_lingering; i++)
        kill(lingering[i], SIGKILL);
}

static void plain_host(void) {
    answers_are_whole(nothing_to_host);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* no zombie is left to it */
    assert_int_equal(errno, ECHILD);
}

static void killed_owners_are_not_noticed_in_any_host(void **state) {
    static void (*const hosts[])(void) = {plain_host, ignoring_host, reaping_host, forking_host};
    (void)state;
    for (size_t i = 0; i < sizeof hosts / sizeof hosts[0]; i++) {
        int status;
        pid_t host = fork();
        if (host == 0) {
            alarm(60);
            hosts[i]();
            _exit(42);
        }
        assert_int_equal(waitpid(host, &status, 0), host);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 42)
            fail_msg("host %zu: %x", i, (unsigned)status);
    }
}

static void a_hostile_path_is_an_error_and_no_more(void **state) {
    (void)state;
    baton_policy policy = api_policy(5);
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *m;
    baton_error err;
    params.policy = &policy;
    assert_int_equal(baton_llama_open(&m, "/no/such/model.gguf", &params, &err), BATON_NOT_FOUND);
    assert_int_equal(baton_llama_open(&m, "fake:load_fail=1", &params, &err), BATON_BAD_MODEL);
    assert_int_equal(baton_llama_open(&m, "fake:die=segv", &params, &err), BATON_CRASHED); /* in its self-test */
    print_message("%s\n", err.text);
    setenv("BATON_OWNER", "/no/such/program", 1);
    assert_int_equal(baton_llama_open(&m, "fake:", &params, &err), BATON_NOT_FOUND);
    unsetenv("BATON_OWNER");
    assert_non_null(strstr(err.text, "BATON_OWNER"));
}

static baton_llama *endless_in_a_process(baton_stream **s) {
    baton_policy policy = BATON_POLICY;
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_delta d;
    policy.owner = BATON_OWNER_PROCESS;
    baton_llama *m = api_open("fake:len=1000000,step_us=200", &policy, 65536);
    ask.prompt = "endless";
    assert_int_equal(baton_llama_stream(m, &ask, s, NULL), BATON_OK);
    assert_int_equal(baton_stream_next(*s, -1, &d), BATON_OK);
    return m;
}

struct caller {
    baton_llama *m;
    baton_stream *s;
    baton_status status;
    char text[BATON_ERROR_TEXT_MAX];
    _Atomic bool over;
};

static void *reset_elsewhere(void *arg) {
    struct caller *r = arg;
    baton_request request = BATON_REQUEST;
    baton_error err = {BATON_OK, ""};
    request.when_full = BATON_WAIT;
    r->status = baton_llama_reset(r->m, &request, &err);
    snprintf(r->text, sizeof r->text, "%s", err.text);
    atomic_store(&r->over, true);
    return NULL;
}

/* It waits for an answer without end; an owner that ends meanwhile is empty, and so is the one after it. */
static void a_reset_is_done_when_the_owner_that_was_asked_ends(void **state) {
    static struct caller r;
    baton_stream *s;
    pthread_t thread;
    pid_t owner;
    (void)state;
    baton_llama *m = endless_in_a_process(&s);
    r = (struct caller){.m = m};
    assert_int_equal(pthread_create(&thread, NULL, reset_elsewhere, &r), 0);
    while (!atomic_load(&r.over)) { /* one that ended before it was asked is another one's turn */
        if (owners(&owner) == 1)
            kill(owner, SIGKILL);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
    }
    pthread_join(thread, NULL);
    if (r.status)
        fail_msg("%s: %s", baton_status_name(r.status), r.text);
    assert_int_equal(baton_stream_close(&s, NULL), BATON_CANCELLED);
    baton_llama_close(&m);
}

static void *save_elsewhere(void *arg) {
    struct caller *r = arg;
    void *state;
    size_t size;
    baton_error err = {BATON_OK, ""};
    r->status = baton_llama_save_state(r->s, &state, &size, &err);
    snprintf(r->text, sizeof r->text, "%s", err.text);
    baton_free(state);
    return NULL;
}

/* The owner stands still, so that it is asked and does not answer before it is killed. */
static void a_save_whose_owner_ends_is_to_be_tried_again(void **state) {
    enum { TRIES = 5 };
    static struct caller r;
    baton_stream *s;
    baton_delta d;
    pthread_t thread;
    pid_t owner;
    (void)state;
    baton_llama *m = endless_in_a_process(&s);
    for (int i = 0; i < TRIES; i++) {
        assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
        while (owners(&owner) != 1)
            nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        kill(owner, SIGSTOP);
        r = (struct caller){.s = s};
        assert_int_equal(pthread_create(&thread, NULL, save_elsewhere, &r), 0);
        nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        kill(owner, SIGKILL);
        pthread_join(thread, NULL);
        if (r.status && r.status != BATON_AGAIN) /* one that came late asks the next owner */
            fail_msg("%s: %s", baton_status_name(r.status), r.text);
    }
    assert_int_equal(baton_stream_next(s, -1, &d), BATON_OK);
    assert_int_equal(baton_stream_close(&s, NULL), BATON_CANCELLED);
    baton_llama_close(&m);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reset_is_done_when_the_owner_that_was_asked_ends),
        cmocka_unit_test(a_save_whose_owner_ends_is_to_be_tried_again),
        cmocka_unit_test(killed_owners_are_not_noticed_in_any_host),
        cmocka_unit_test(a_hostile_path_is_an_error_and_no_more),
    };
    return bt_test_run(tests, argc, argv);
}
