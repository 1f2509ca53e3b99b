/* A task worker of one's own: one model, loaded once and shared by as many tasks as there are workers.
 *
 *     worker [model.gguf]          then lines as {"task_id":"1","payload":{"kind":"ask","question":"What is a key?"}}
 *
 * State: none but the model, which its policy guards. */
#include <baton/llama.h>
#include <baton/work.h>
#include <stdio.h>

static baton_status ask(void *arg, baton_task *task, baton_error *err) {
    baton_message message = {"user", baton_task_text(task, "question")};
    baton_llama_ask what = BATON_LLAMA_ASK;
    baton_result result;
    if (!message.content) {
        snprintf(err->text, sizeof err->text, "payload.question is missing");
        return BATON_INVALID;
    }
    what.messages = &message;
    what.n_messages = 1;
    what.max_tokens = 48;
    baton_status status = baton_llama_generate(arg, &what, &result, err);
    if (status == BATON_OK)
        status = baton_task_reply_text(task, result.text, err);
    baton_result_free(&result);
    return status;
}

int main(int argc, char **argv) {
    baton_policy policy = BATON_POLICY;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_work_params work = BATON_WORK_PARAMS;
    baton_llama *llama;
    baton_error err;
    policy.owner = BATON_OWNER_THREAD; /* tasks at once are sequences of one batch */
    policy.sequences = work.workers = 4;
    policy.when_full = BATON_WAIT;
    params.policy = &policy;
    if (baton_llama_open(&llama, argc > 1 ? argv[1] : NULL, &params, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    const baton_work_handler handlers[] = {{"ask", ask, llama}};
    if (baton_work_run(handlers, 1, &work, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    baton_llama_close(&llama);
    return 0;
}
