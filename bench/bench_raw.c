/* The ceiling: llama_decode in a loop over N sequences, greedy by argmax, no text, no request, no neighbour to mind.
 * Written against llama.h directly, as anybody would. */
#include <llama.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "native/native.h"

static llama_token argmax(const float *logits, int n) {
    int best = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[best])
            best = i;
    return best;
}

static void put(struct llama_batch *b, llama_token token, int pos, int seq, bool logits) {
    b->token[b->n_tokens] = token;
    b->pos[b->n_tokens] = pos;
    b->n_seq_id[b->n_tokens] = 1;
    b->seq_id[b->n_tokens][0] = seq;
    b->logits[b->n_tokens++] = logits;
}

/* Rounds of `sequences` prompts side by side, each followed by BT_BENCH_TOKENS tokens. */
static void rounds(struct llama_context *ctx, const struct llama_vocab *vocab, int sequences, int n_rounds) {
    struct llama_batch b = llama_batch_init(512, 0, 1);
    int n_vocab = llama_vocab_n_tokens(vocab);
    llama_token prompt[64], last[BT_BENCH_CLIENTS_MAX];
    for (int round = 0; round < n_rounds; round++) {
        llama_memory_clear(llama_get_memory(ctx), true);
        int pos[BT_BENCH_CLIENTS_MAX], row[BT_BENCH_CLIENTS_MAX];
        b.n_tokens = 0;
        for (int s = 0; s < sequences; s++) {
            char text[128];
            bt_bench_prompt(text, sizeof text, s, round);
            int n = llama_tokenize(vocab, text, (int)strlen(text), prompt, 64, true, true);
            for (int i = 0; i < n; i++)
                put(&b, prompt[i], i, s, i == n - 1);
            pos[s] = n;
            row[s] = b.n_tokens - 1;
        }
        if (llama_decode(ctx, b))
            abort();
        for (int s = 0; s < sequences; s++)
            last[s] = argmax(llama_get_logits_ith(ctx, row[s]), n_vocab);
        for (int t = 1; t < BT_BENCH_TOKENS; t++) {
            b.n_tokens = 0;
            for (int s = 0; s < sequences; s++)
                put(&b, last[s], pos[s]++, s, true);
            if (llama_decode(ctx, b))
                abort();
            for (int s = 0; s < sequences; s++)
                last[s] = argmax(llama_get_logits_ith(ctx, s), n_vocab);
        }
    }
    llama_batch_free(b);
}

double bt_bench_raw(const char *path, int sequences, int n_rounds) {
    struct llama_model_params mp = llama_model_default_params();
    struct llama_context_params cp = llama_context_default_params();
    mp.n_gpu_layers = 0;
    struct llama_model *model = llama_model_load_from_file(path, mp);
    cp.n_seq_max = (uint32_t)sequences;
    cp.n_ctx = BT_BENCH_CTX * (uint32_t)sequences;
    cp.n_batch = cp.n_ubatch = 512;
    cp.n_threads = cp.n_threads_batch = 1;
    cp.kv_unified = false;
    cp.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_DISABLED;
    cp.no_perf = true;
    struct llama_context *ctx = model ? llama_init_from_model(model, cp) : NULL;
    if (!ctx)
        abort();
    const struct llama_vocab *vocab = llama_model_get_vocab(model);
    rounds(ctx, vocab, sequences, 1);
    int64_t start = bt_now_ns();
    rounds(ctx, vocab, sequences, n_rounds);
    double seconds = (double)(bt_now_ns() - start) / 1e9;
    llama_free(ctx);
    llama_model_free(model);
    return (double)sequences * n_rounds * BT_BENCH_TOKENS / seconds;
}
