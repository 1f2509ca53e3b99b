/* `make bench`: what each layer costs, beside the raw loop, in one run. Ratios are what to read: machines differ. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "native/native.h"

void bt_bench_prompt(char *text, size_t size, int client) {
    static const char *const heroes[] = {"a ferry", "a key", "a queue", "a runner", "a fox", "a clock", "a bridge", "a bell"};
    snprintf(text, size, "<|im_start|>user\nTell me a story about %s and number %d.<|im_end|>\n<|im_start|>assistant\n",
             heroes[client % 8], client);
}

static void streams(const char *path) {
    static const int clients[] = {1, 8, 32};
    printf("%8s %10s %12s %10s %7s\n", "clients", "sequences", "raw tok/s", "owner", "share");
    for (size_t i = 0; i < BT_COUNT(clients); i++) {
        int sequences = BT_MIN(clients[i], 8), rounds = 64 / sequences;
        double raw = bt_bench_raw(path, sequences, rounds), front = 0;
        front = bt_bench_front(path, sequences, clients[i], 64 / clients[i]);
        printf("%8d %10d %12.0f %10.0f %6.0f%%\n", clients[i], sequences, raw, front, 100 * front / raw);
    }
}

int main(int argc, char **argv) {
    const char *path = argc > 1 ? argv[1] : bt_builtin_model_path();
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
    streams(path);
    model->ops->free(model);
    return 0;
}
