/* Batching: one context with a sequence for each thread, on a thread of baton's that decodes all answers under way in
 * one native call. The most answers for the memory and the cores, and the callers' own threads only wait for text.
 *
 *     batch [model.gguf]
 *
 * State: main's task. */
#include "task.h"

int main(int argc, char **argv) {
    baton_policy policy = BATON_POLICY;
    policy.sequences = THREADS;
    policy.owner = BATON_OWNER_THREAD; /* more than one sequence needs it */
    policy.when_full = BATON_WAIT;
    baton_llama *llama = open_model(argc > 1 ? argv[1] : NULL, &policy);
    baton_llama_info info = {.size = sizeof info};
    struct task task;

    baton_llama_get_info(llama, &info);
    run_task(&task, llama);
    int without = print_answers(&task);
    fprintf(stderr, "batch: %d answers on %d context of %d sequences\n", QUESTIONS - without, info.contexts,
            info.sequences);
    baton_llama_close(&llama);
    return without != 0;
}
