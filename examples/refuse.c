/* Policy refuse: one context, and whoever comes while somebody is in is told so at once, with the name of the one who
 * is. For programs in which two at once is a mistake, or that know something better to do than to wait.
 *
 *     refuse [model.gguf]
 *
 * State: main's task. */
#include "task.h"

int main(int argc, char **argv) {
    baton_policy policy = BATON_POLICY; /* 1 context, refuse, on the caller's thread: the default */
    baton_llama *llama = open_model(argc > 1 ? argv[1] : NULL, &policy);
    struct task task;
    int refused = 0;

    run_task(&task, llama);
    for (int i = 0; i < QUESTIONS; i++) {
        if (task.answers[i].status != BATON_BUSY)
            continue;
        /* Nothing was run. What to do now is the program's business; here the question is asked again when the threads
         * are through. Asking again in a loop would be waiting, only worse: see wait.c. */
        if (refused++ == 0)
            fprintf(stderr, "the first refusal: %s\n", task.answers[i].error.text);
        baton_result_free(&task.answers[i].result);
        ask(&task, i);
    }
    int without = print_answers(&task);
    fprintf(stderr, "refuse: %d answers, %d of them refused at first\n", QUESTIONS - without, refused);
    baton_llama_close(&llama);
    return without != 0;
}
