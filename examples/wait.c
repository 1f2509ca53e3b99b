/* Policy wait: one context, and who comes later queues, in order of arrival, in a queue with a bound and with a bound
 * on the time. For programs whose every question wants an answer.
 *
 *     wait [model.gguf]
 *
 * State: main's task. */
#include "task.h"

int main(int argc, char **argv) {
    baton_policy policy = BATON_POLICY;
    policy.when_full = BATON_WAIT;
    policy.queue = 8;           /* the ninth in the queue is refused: BATON_QUEUE_FULL */
    policy.queue_ms = 60000;    /* who has waited for a minute gives up: BATON_QUEUE_TIMEOUT */
    policy.run_ms = 10 * 60000; /* an answer that runs for ten is cut: BATON_RUN_TIMEOUT */
    baton_llama *llama = open_model(argc > 1 ? argv[1] : NULL, &policy);
    struct task task;
    int waited = 0;

    run_task(&task, llama);
    for (int i = 0; i < QUESTIONS; i++)
        waited += task.answers[i].result.outcome.queue_ns > 1000000;
    int without = print_answers(&task);
    fprintf(stderr, "wait: %d answers, %d of them after more than a millisecond in the queue\n", QUESTIONS - without,
            waited);
    baton_llama_close(&llama);
    return without != 0;
}
