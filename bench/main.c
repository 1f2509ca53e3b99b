/* `make bench`: what each layer costs, beside the raw loop, in one run. Ratios are what to read: machines differ.
 * baton_bench MODEL gate|layers|streams: one part alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "native/native.h"

void bt_bench_prompt(char *text, size_t size, int client, int round) {
    static const char *const heroes[] = {"ferry", "key", "queue", "runner", "fox", "clock", "bridge", "bell"};
    snprintf(text, size, "<|im_start|>user\n%d: tell me a story about a %s.<|im_end|>\n<|im_start|>assistant\n",
             round * 100 + client, heroes[client % 8]);
}

static void streams(const char *path, const char *program) {
    static const int clients[] = {1, 8, 32};
    printf("\nStreams: tokens/s, %d tokens an answer, prefill included, one ggml thread, exact; first: ms to the first "
           "token\n",
           BT_BENCH_TOKENS);
    printf("%8s %10s %12s %18s %7s %18s %7s %18s\n", "clients", "sequences", "llama_decode", "owner thread", "first",
           "owner process", "first", "HTTP, streaming");
    for (size_t i = 0; i < BT_COUNT(clients); i++) {
        int n = clients[i], sequences = BT_MIN(n, 8), rounds = 64 / n;
        double raw = 0, http = 0, front[2] = {0, 0}, first[2] = {1e9, 1e9};
        for (int turn = 0; turn < 3; turn++) { /* in turn, best of each: the machine's speed drifts */
            raw = BT_MAX(raw, bt_bench_raw(path, sequences, 64 / sequences));
            for (int process = 0; process < 2; process++) {
                double ms, tokens = bt_bench_front(path, sequences, n, rounds, process, &ms);
                front[process] = BT_MAX(front[process], tokens);
                first[process] = BT_MIN(first[process], ms);
            }
            http = BT_MAX(http, bt_bench_http(program, path, sequences, n, rounds));
        }
        printf("%8d %10d %12.0f %11.0f %5.0f%% %7.2f %11.0f %5.0f%% %7.2f %11.0f %5.0f%%\n", n, sequences, raw,
               front[0], 100 * front[0] / raw, first[0], front[1], 100 * front[1] / raw, first[1], http,
               100 * http / raw);
        fflush(stdout);
    }
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : bt_builtin_model_path(), *program = getenv("BATON_PROGRAM");
    if (!program)
        program = "build/release/bin/baton";
    if (!path) {
        fprintf(stderr, "bench: the built-in model is not there: set BATON_MODEL_DIR\n");
        return 1;
    }
    struct bt_model *model; /* held while the benches run: it has loaded the backends for the raw loop too */
    struct bt_model_params params = {.path = path};
    baton_error err;
    if (bt_model_open(&params, &model, &err)) {
        fprintf(stderr, "bench: %s\n", err.text);
        return 1;
    }
    const char *only = argc > 2 ? argv[2] : NULL;
    if (!only || strcmp(only, "gate") == 0)
        bt_bench_gate();
    if (!only || strcmp(only, "layers") == 0)
        bt_bench_layers(path);
    if (!only || strcmp(only, "streams") == 0)
        streams(path, program);
    if (!only || strcmp(only, "owner") == 0)
        bt_bench_owner(path);
    bt_model_close(model);
    return 0;
}
