/* What the boundary of a process costs, against owners on threads in the same run; and what a killed owner costs.
 *
 * Method. Throughput and time to the first token: `clients` requests at a time, each followed by the next, 64 answers
 * of 128 tokens over min(clients, 8) sequences of one context; threads and processes in turn, three times, the best of
 * each; of the times to the first token (from the submit, the queue included) the median. The fake model computes next
 * to nothing: its rows are the boundary itself. Kills: eight streams, the owner is sent SIGKILL in their middle; from
 * then to the first token that comes of any of them, and to its socket's READY; median and worst. Waiting threads: an
 * owner process, 8 clients over 8 sequences, ggml on 1 thread and on as many as there are processors, which spin where
 * they wait for each other, or sleep (OMP_WAIT_POLICY); on the machine as it is, and beside a process that never
 * sleeps; all cases in turn, three times, the best of each. */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "ipc/front.h"

enum { ANSWERS = 64, KILLS = 20 };

struct client {
    struct bt_front *front;
    struct bt_request *request;
    int number, left;
    int64_t asked_ns, first_ns;
    struct tally *tally;
};

struct tally {
    uint64_t tokens, answers;
    double first_ms[ANSWERS * 2];
    int n_first;
    int64_t last_token_ns;
};

static void ask(struct client *c);

static void on_text(void *arg, const char *text, size_t len) {
    struct client *c = arg;
    int64_t now = bt_now_ns();
    (void)text;
    (void)len;
    c->tally->last_token_ns = now;
    if (c->first_ns == 0 && c->tally->n_first < (int)BT_COUNT(c->tally->first_ms))
        c->tally->first_ms[c->tally->n_first++] = (double)(now - c->asked_ns) / 1e6;
    c->first_ns = c->first_ns ? c->first_ns : now;
    bt_request_consumed(c->request, 1);
}

static void on_done(void *arg, const struct bt_outcome *outcome) {
    struct client *c = arg;
    c->tally->tokens += outcome->answer_tokens;
    c->tally->answers += outcome->status == BATON_OK;
    c->request = NULL;
    if (c->left > 0)
        ask(c);
}

static void ask(struct client *c) {
    char text[128];
    baton_error err;
    bt_bench_prompt(text, sizeof text, c->number, c->left);
    struct bt_submit s = {.kind = BT_PROMPT_TEXT,
                          .text = {text, strlen(text)},
                          .max_tokens = BT_BENCH_TOKENS,
                          .flow = (uint64_t)c->number + 1};
    s.sampling = (struct bt_sampling)BT_SAMPLING_DEFAULT;
    struct bt_handler handler = {.on_text = on_text, .on_done = on_done, .arg = c};
    c->left--;
    c->asked_ns = bt_now_ns();
    c->first_ns = 0;
    if (bt_front_submit(c->front, &s, NULL, &handler, &c->request, &err)) {
        bt_log(BATON_LOG_ERROR, "%s", err.text);
        abort();
    }
}

static struct bt_front *open_front(const char *path, int sequences, enum bt_owner_kind owner, int threads) {
    struct bt_front_params p = {
        .model = {.path = path},
        .context = {.sequences = sequences, .ctx = BT_BENCH_CTX, .threads = threads, .exact = true},
        .contexts = 1,
        .when_full = BT_WAIT,
        .queue_max = BT_BENCH_CLIENTS_MAX,
        .queue_ms = -1,
        .run_ms = -1,
        .owner = owner};
    struct bt_front *f;
    baton_error err;
    if (bt_front_open(&p, &f, &err)) {
        bt_log(BATON_LOG_ERROR, "%s", err.text);
        abort();
    }
    return f;
}

static bool busy(const struct client *c, int n) {
    for (int i = 0; i < n; i++)
        if (c[i].request)
            return true;
    return false;
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, by_size);
    return n ? x[n / 2] : 0;
}

struct result {
    double rate, first_ms;
};

static struct result measure(const char *path, int clients, enum bt_owner_kind owner, int threads) {
    static struct tally t;
    struct client c[BT_BENCH_CLIENTS_MAX];
    struct bt_front *f = open_front(path, BT_MIN(clients, 8), owner, threads);
    int64_t began = bt_now_ns();
    memset(&t, 0, sizeof t);
    for (int i = 0; i < clients; i++) {
        c[i] = (struct client){.front = f, .number = i, .left = ANSWERS / clients, .tally = &t};
        ask(&c[i]);
    }
    while (busy(c, clients))
        bt_front_run_once(f, -1);
    struct result r = {(double)t.tokens / ((double)(bt_now_ns() - began) / 1e9), median(t.first_ms, t.n_first)};
    bt_front_close(&f);
    return r;
}

static void boundary(const char *name, const char *path) {
    static const int clients[] = {1, 8, 32};
    for (size_t i = 0; i < BT_COUNT(clients); i++) {
        struct result best[2] = {{0, 1e9}, {0, 1e9}};
        for (int turn = 0; turn < 3; turn++)
            for (int kind = 0; kind < 2; kind++) {
                struct result r = measure(path, clients[i], kind ? BT_OWNER_PROCESS : BT_OWNER_THREAD, 1);
                best[kind].rate = BT_MAX(best[kind].rate, r.rate);
                best[kind].first_ms = BT_MIN(best[kind].first_ms, r.first_ms);
            }
        printf("%-9s %7d %12.0f %12.0f %6.1f%% %12.2f %10.2f %10.2f\n", name, clients[i], best[0].rate, best[1].rate,
               100 * best[1].rate / best[0].rate, 1e6 / best[1].rate - 1e6 / best[0].rate, best[0].first_ms,
               best[1].first_ms);
        fflush(stdout);
    }
}

/* The only child of this program is the owner. */
static pid_t owner_pid(void) {
    char path[64];
    int pid = 0;
    snprintf(path, sizeof path, "/proc/self/task/%d/children", (int)getpid());
    FILE *file = fopen(path, "re");
    if (!file || fscanf(file, "%d", &pid) != 1)
        pid = 0;
    if (file)
        fclose(file);
    return pid;
}

static void kills(const char *path) {
    static struct tally t;
    struct client c[8];
    double ready_ms[KILLS], token_ms[KILLS];
    struct bt_front *f = open_front(path, 8, BT_OWNER_PROCESS, 1);
    struct bt_front_health h;
    for (int k = 0; k < KILLS; k++) {
        memset(&t, 0, sizeof t);
        for (int i = 0; i < 8; i++) {
            c[i] = (struct client){.front = f, .number = i, .left = 1, .tally = &t};
            ask(&c[i]);
        }
        while (t.n_first < 8 && busy(c, 8))
            bt_front_run_once(f, -1);
        bt_front_health(f, 0, &h);
        uint32_t restarts = h.restarts;
        pid_t pid = owner_pid();
        if (pid <= 0 || kill(pid, SIGKILL))
            break;
        int64_t killed = bt_now_ns();
        do { /* what it had said before is read */
            bt_front_run_once(f, -1);
            bt_front_health(f, 0, &h);
        } while (h.restarts == restarts || !h.ready);
        ready_ms[k] = (double)(bt_now_ns() - killed) / 1e6;
        t.last_token_ns = 0;
        while (t.last_token_ns == 0 && busy(c, 8))
            bt_front_run_once(f, -1);
        token_ms[k] = (double)(t.last_token_ns - killed) / 1e6;
        while (busy(c, 8))
            bt_front_run_once(f, -1);
    }
    bt_front_close(&f);
    double ready = median(ready_ms, KILLS), token = median(token_ms, KILLS);
    printf("\nkill -9 of the owner under 8 streams, %d times: ready again after %.0f ms (worst %.0f), the next token "
           "after %.0f ms (worst %.0f)\n",
           KILLS, ready, ready_ms[KILLS - 1], token, token_ms[KILLS - 1]);
}

/* A process that never sleeps. */
static pid_t neighbour(void) {
    pid_t pid = fork();
    if (pid == 0)
        for (volatile unsigned n = 0;; n++)
            ;
    return pid;
}

static void waits(const char *path) {
    static const char *const policies[] = {"active", "passive"};
    cpu_set_t set;
    int cpus = sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set), threads[] = {1, cpus};
    double best[2][2][2] = {{{0}}}; /* [threads][beside a neighbour][policy] */
    for (int i = 0; i < 3 * 8; i++) {
        int t = i & 1, busy = i >> 1 & 1, policy = i >> 2 & 1;
        setenv("OMP_WAIT_POLICY", policies[policy], 1);
        pid_t pid = busy ? neighbour() : -1;
        double rate = measure(path, 8, BT_OWNER_PROCESS, threads[t]).rate;
        best[t][busy][policy] = BT_MAX(best[t][busy][policy], rate);
        if (pid > 0) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
        }
    }
    unsetenv("OMP_WAIT_POLICY");
    printf("\nThreads that wait, of an owner process on %d processors: tokens/s\n%7s %12s %12s %18s %18s\n", cpus,
           "threads", "spin", "sleep", "spin, busy machine", "sleep, busy machine");
    for (int t = 0; t < 2; t++)
        printf("%7d %12.0f %12.0f %18.0f %18.0f\n", threads[t], best[t][0][0], best[t][0][1], best[t][1][0],
               best[t][1][1]);
}

void bt_bench_owner(const char *path) {
    bt_log_set_level(BATON_LOG_ERROR);
    printf("\nOwners on a thread and in a process: tokens/s, what a token costs more, time to the first token\n");
    printf("%-9s %7s %12s %12s %7s %12s %10s %10s\n", "model", "clients", "thread", "process", "", "us/token more",
           "ms thread", "ms process");
    boundary("fake", "fake:len=100000");
    boundary("built-in", path);
    kills(path);
    waits(path);
}
