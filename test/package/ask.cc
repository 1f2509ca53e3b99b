/* An installed baton, from C++. State: main's. */
#include <baton/llama.h>
#include <iostream>

int main() {
    baton_policy policy = BATON_POLICY;
    policy.owner = BATON_OWNER_THREAD;
    policy.when_full = BATON_WAIT;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    params.policy = &policy;
    baton_llama *llama;
    baton_error error;
    if (baton_llama_open(&llama, nullptr, &params, &error)) {
        std::cerr << error.text << "\n";
        return 1;
    }
    baton_llama_ask ask = BATON_LLAMA_ASK;
    ask.prompt = "Once upon a time";
    ask.max_tokens = 16;
    baton_result result;
    baton_status status = baton_llama_generate(llama, &ask, &result, &error);
    std::cout << result.text << "\n";
    baton_result_free(&result);
    baton_llama_close(&llama);
    return status;
}
