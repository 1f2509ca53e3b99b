/* The task that refuse.c, wait.c, pool.c and batch.c share: three threads ask six questions of one model. What differs
 * is the policy that the model is opened with, and nothing else; so are the answers the same.
 * State: the caller's struct task; each answer belongs to the thread that asks for it, until the threads are joined. */
#ifndef TASK_H
#define TASK_H

#include <baton/llama.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 3
#define QUESTIONS 6

static const char *const questions[QUESTIONS] = {
    "Tell me a story about a key.",    "What is a lease?",   "Tell me a story about a bridge.",
    "Tell me a story about a runner.", "What is a context?", "Tell me a story about a bell.",
};

struct answer {
    baton_status status;
    baton_error error; /* when status is not BATON_OK: one line with the cure in it */
    baton_result result;
};

struct task {
    baton_llama *llama;
    struct answer answers[QUESTIONS];
};

static baton_llama *open_model(const char *path, const baton_policy *policy) {
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *llama;
    baton_error error;
    params.ctx = 512;
    params.threads = 1;
    params.policy = policy;
    if (baton_llama_open(&llama, path, &params, &error)) { /* path NULL: the built-in model */
        fprintf(stderr, "%s\n", error.text);
        exit(1);
    }
    return llama;
}

static void ask(struct task *task, int number) {
    struct answer *answer = &task->answers[number];
    baton_message message = {"user", questions[number]};
    baton_llama_ask what = BATON_LLAMA_ASK;
    what.messages = &message;
    what.n_messages = 1;
    what.max_tokens = 48;
    answer->status = baton_llama_generate(task->llama, &what, &answer->result, &answer->error);
}

struct asker {
    struct task *task;
    int number;
    pthread_t thread;
};

static void *ask_in_turn(void *arg) {
    struct asker *asker = arg;
    for (int i = asker->number; i < QUESTIONS; i += THREADS)
        ask(asker->task, i);
    return NULL;
}

static void run_task(struct task *task, baton_llama *llama) {
    struct asker askers[THREADS];
    task->llama = llama;
    for (int i = 0; i < THREADS; i++) {
        askers[i].task = task;
        askers[i].number = i;
        if (pthread_create(&askers[i].thread, NULL, ask_in_turn, &askers[i])) {
            fprintf(stderr, "no thread to be had\n");
            exit(1);
        }
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(askers[i].thread, NULL);
}

/* Prints and frees; returns how many questions have no answer. */
static int print_answers(struct task *task) {
    int without = 0;
    for (int i = 0; i < QUESTIONS; i++) {
        struct answer *answer = &task->answers[i];
        if (answer->status == BATON_OK)
            printf("%s\n  %s\n", questions[i], answer->result.text);
        else
            printf("%s\n  (%s) %s\n", questions[i], baton_status_name(answer->status), answer->error.text);
        without += answer->status != BATON_OK;
        baton_result_free(&answer->result);
    }
    return without;
}

#endif
