/* A pool: as many contexts as threads, so that nobody waits for anybody; each thread's native code runs on its own
 * thread. The weights are there once, a cache for each context: look at what it costs before more contexts are made.
 *
 *     pool [model.gguf]
 *
 * State: main's task. */
#include "task.h"

int main(int argc, char **argv) {
    baton_policy policy = BATON_POLICY;
    policy.contexts = THREADS;
    policy.when_full = BATON_WAIT; /* for the fourth that comes */
    baton_llama *llama = open_model(argc > 1 ? argv[1] : NULL, &policy);
    baton_llama_info info = {.size = sizeof info};
    struct task task;

    baton_llama_get_info(llama, &info);
    run_task(&task, llama);
    int without = print_answers(&task);
    fprintf(stderr, "pool: %d answers on %d contexts, %.1f MiB of weights and %.1f MiB of caches\n",
            QUESTIONS - without, info.contexts, (double)info.weight_bytes / (1 << 20),
            (double)info.context_bytes / (1 << 20));
    baton_llama_close(&llama);
    return without != 0;
}
