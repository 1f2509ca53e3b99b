/* An installed baton, from C: one answer, one stream, one refusal. State: main's. */
#include <baton/guard.h>
#include <baton/llama.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    baton_llama *llama;
    baton_error error;
    baton_llama_ask ask = BATON_LLAMA_ASK;
    baton_result result;
    baton_stream *stream;
    baton_delta delta;
    char text[4096] = "";
    if (strcmp(baton_version(), BATON_VERSION) != 0 || baton_llama_open(&llama, NULL, NULL, &error)) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    ask.prompt = "Once upon a time";
    ask.max_tokens = 16;
    if (baton_llama_stream(llama, &ask, &stream, &error))
        return 2;
    if (baton_llama_generate(llama, &ask, &result, &error) != BATON_BUSY)
        return 3;
    baton_result_free(&result);
    while (baton_stream_next(stream, -1, &delta) == BATON_OK)
        strncat(text, delta.text, sizeof text - strlen(text) - 1);
    if (baton_stream_close(&stream, NULL) || baton_llama_generate(llama, &ask, &result, &error))
        return 4;
    printf("%s\n", result.text);
    int same = strcmp(text, result.text) == 0 && result.len > 8;
    baton_result_free(&result);
    baton_llama_close(&llama);
    return same ? 0 : 5;
}
