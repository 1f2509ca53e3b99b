/* A grammar as libllama follows it. It belongs to its sampler; its state is what accept has fed to it. */
#include "native/llama_internal.h"

#include <math.h>

#include "native/gbnf.h"

baton_status bt_llama_grammar_open(const struct bt_llama_model *m, const char *text, struct llama_sampler **out,
                                   baton_error *err) {
    baton_status status = bt_gbnf_check(text, err);
    if (status)
        return status;
    struct bt_buf causes = BT_BUF_INIT;
    bt_llama_listen(&causes);
    *out = llama_sampler_init_grammar(m->vocab, text, "root");
    const char *cause = bt_llama_heard(&causes);
    if (!*out)
        status = bt_fail(err, BATON_INVALID, "libllama refuses the grammar: %s", cause);
    bt_buf_free(&causes);
    return status;
}

bool bt_llama_grammar_admits(struct llama_sampler *grammar, bt_token token) {
    llama_token_data one = {.id = token};
    llama_token_data_array a = {.data = &one, .size = 1, .selected = -1};
    llama_sampler_apply(grammar, &a);
    return !isinf(one.logit);
}

size_t bt_llama_grammar_filter(struct llama_sampler *grammar, llama_token_data *candidates, size_t n) {
    llama_token_data_array a = {.data = candidates, .size = n, .selected = -1};
    size_t kept = 0;
    llama_sampler_apply(grammar, &a);
    for (size_t i = 0; i < n; i++)
        if (!isinf(candidates[i].logit) || candidates[i].logit > 0)
            candidates[kept++] = candidates[i];
    return kept;
}
