/* The CPU-light task of bench/work.py as a worker in C: counts the words of a text. State: none. */
#include <stdio.h>
#include <stdlib.h>

#include "baton/work.h"

static baton_status count(void *arg, baton_task *task, baton_error *err) {
    const char *text = baton_task_text(task, "text");
    char answer[40];
    int words = 0;
    (void)arg;
    for (const char *c = text ? text : ""; *c; c++)
        words += *c != ' ' && (c == text || c[-1] == ' ');
    int n = snprintf(answer, sizeof answer, "{\"words\":%d}", words);
    return baton_task_reply(task, answer, (size_t)n, err);
}

int main(int argc, char **argv) {
    static const baton_work_handler handlers[] = {{"count", count, NULL}};
    baton_work_params params = BATON_WORK_PARAMS;
    baton_error err;
    params.workers = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 1;
    params.backlog = 1 << 16;
    if (baton_work_run(handlers, 1, &params, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    return 0;
}
