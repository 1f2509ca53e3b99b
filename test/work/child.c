/* A program of somebody's that works off tasks with handlers of its own, for handlers.py and exec.py. State: counters.
 *
 *     child [WORKERS [DRAIN_MS [events]]] */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "baton/work.h"

static _Atomic int running, most;

static int number(const char *text) {
    return text ? (int)strtol(text, NULL, 10) : 0;
}

static baton_status echo(void *arg, baton_task *task, baton_error *err) {
    size_t len;
    const char *payload = baton_task_payload(task, &len);
    (void)arg;
    if (strlen(payload) != len)
        return BATON_FAILED;
    return baton_task_reply(task, payload, len, err);
}

/* Until `most` tasks have been at it at once, or it is cancelled. */
static baton_status meet(void *arg, baton_task *task, baton_error *err) {
    int now = atomic_fetch_add(&running, 1) + 1, n = number(baton_task_text(task, "n")), max;
    (void)arg;
    for (max = atomic_load(&most); max < now && !atomic_compare_exchange_weak(&most, &max, now);)
        ;
    while (atomic_load(&most) < n && !baton_task_cancelled(task))
        usleep(1000);
    atomic_fetch_sub(&running, 1);
    if (atomic_load(&most) < n)
        return BATON_CANCELLED;
    return baton_task_reply_text(task, baton_task_id(task), err);
}

static baton_status tell(void *arg, baton_task *task, baton_error *err) {
    (void)arg;
    int n = number(baton_task_text(task, "n"));
    for (int i = 0; i < n; i++) {
        char json[40];
        snprintf(json, sizeof json, "{\"done\": %d}\n", i);
        if (baton_task_event(task, "progress", json, err))
            return err->status;
    }
    if (!baton_task_event(task, "not a name", "1", err) || !baton_task_event(task, "x", "{", err))
        return BATON_FAILED;
    return baton_task_reply(task, "[\n1,\n2]", 7, err);
}

static baton_status fails(void *arg, baton_task *task, baton_error *err) {
    const char *how = baton_task_text(task, "how");
    (void)arg;
    if (!how)
        return BATON_OK; /* without an answer */
    if (strcmp(how, "exit0") == 0)
        _exit(0);
    if (strcmp(how, "abort") == 0)
        abort();
    if (strcmp(how, "hang") == 0)
        for (;;)
            sleep(1);
    if (strcmp(how, "json") == 0)
        return baton_task_reply(task, "{", 1, err);
    if (strcmp(how, "utf8") == 0)
        return baton_task_reply(task, "\"\xff\"", 3, err);
    if (strcmp(how, "big") == 0) {
        char *text = malloc(12 << 20);
        if (!text)
            return BATON_NO_MEMORY;
        memset(text, 'x', (12 << 20) - 1);
        text[(12 << 20) - 1] = '\0';
        baton_status status = baton_task_reply_text(task, text, err);
        free(text);
        return status;
    }
    snprintf(err->text, sizeof err->text, "as asked: %s", how);
    return strcmp(how, "busy") == 0 ? BATON_BUSY : BATON_INVALID;
}

static baton_status prints(void *arg, baton_task *task, baton_error *err) {
    (void)arg;
    printf("{\"task_id\":\"%s\",\"result\":\"printed\"}\n", baton_task_id(task));
    fflush(stdout);
    return baton_task_reply_text(task, getenv("BATON_WORKERS") ? getenv("BATON_WORKERS") : "unset", err);
}

int main(int argc, char **argv) {
    static const baton_work_handler handlers[] = {
        {"echo", echo, NULL},  {"meet", meet, NULL},    {"tell", tell, NULL},
        {"fail", fails, NULL}, {"print", prints, NULL},
    };
    baton_work_params params = BATON_WORK_PARAMS;
    baton_error err;
    params.workers = argc > 1 ? number(argv[1]) : 1;
    params.drain_ms = argc > 2 ? number(argv[2]) : 8000;
    params.events = argc > 3 && strcmp(argv[3], "events") == 0;
    if (baton_work_run(handlers, 0, &params, &err) != BATON_MISUSE)
        return 3;
    baton_status status = baton_work_run(handlers, sizeof handlers / sizeof handlers[0], &params, &err);
    if (status == BATON_OK && baton_work_run(handlers, 1, &params, &err) != BATON_MISUSE)
        return 3;
    if (status != BATON_OK)
        fprintf(stderr, "%s: %s\n", baton_status_name(status), err.text);
    return status == BATON_OK ? 0 : status == BATON_INVALID ? 2 : 1;
}
