/* Streams in an event loop: one thread, three answers under way at once, and poll() says which of them has text. The
 * thread never blocks in baton, so the same loop can serve sockets and timers.
 *
 *     eventloop [model.gguf]
 *
 * It needs an owner thread: with the owner on the caller's thread native code would run inside next() and stop the loop
 * for a token each time (baton_stream_fd returns -1 then).
 *
 * State: main's; one thread. */
#include <baton/llama.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define STREAMS 3
#define TEXT 2048

static const char *const prompts[STREAMS] = {"Tell me a story about a key.", "What is a lease?",
                                             "Tell me a story about a bell."};

struct answer {
    baton_stream *stream;
    char text[TEXT];
    size_t len;
    int pieces;
};

/* Takes what is there without waiting. False: it has ended. */
static bool read_some(struct answer *a) {
    baton_delta delta;
    baton_status status;
    while ((status = baton_stream_next(a->stream, 0, &delta)) == BATON_OK) {
        a->pieces++;
        if (a->len + delta.len < TEXT) {
            memcpy(a->text + a->len, delta.text, delta.len + 1);
            a->len += delta.len;
        }
    }
    return status == BATON_AGAIN;
}

static int open_all(baton_llama *llama, struct answer *answers) {
    for (int i = 0; i < STREAMS; i++) {
        baton_message message = {"user", prompts[i]};
        baton_llama_ask ask = BATON_LLAMA_ASK;
        baton_error error;
        ask.messages = &message;
        ask.n_messages = 1;
        ask.max_tokens = 48;
        if (baton_llama_stream(llama, &ask, &answers[i].stream, &error)) {
            fprintf(stderr, "%s\n", error.text);
            return -1;
        }
    }
    return 0;
}

/* Returns how many answers were complete. */
static int serve(struct answer *answers) {
    struct pollfd fds[STREAMS];
    int open = STREAMS, complete = 0;
    for (int i = 0; i < STREAMS; i++)
        fds[i] = (struct pollfd){baton_stream_fd(answers[i].stream), POLLIN, 0};
    while (open > 0) {
        poll(fds, STREAMS, -1); /* sockets and timers of the program's own stand beside */
        for (int i = 0; i < STREAMS; i++) {
            if (fds[i].fd < 0 || !fds[i].revents || read_some(&answers[i]))
                continue;
            baton_outcome outcome;
            fds[i].fd = -1; /* poll leaves it out; the descriptor is the stream's and closed with it */
            complete += baton_stream_close(&answers[i].stream, &outcome) == BATON_OK;
            if (outcome.status)
                fprintf(stderr, "%s\n", outcome.text);
            open--;
        }
    }
    return complete;
}

int main(int argc, char **argv) {
    static struct answer answers[STREAMS];
    baton_policy policy = BATON_POLICY;
    baton_llama_params params = BATON_LLAMA_PARAMS;
    baton_llama *llama;
    baton_error error;
    int complete = 0;
    policy.sequences = STREAMS;
    policy.owner = BATON_OWNER_THREAD;
    policy.when_full = BATON_WAIT;
    params.ctx = 512;
    params.threads = 1;
    params.policy = &policy;
    if (baton_llama_open(&llama, argc > 1 ? argv[1] : NULL, &params, &error)) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    if (open_all(llama, answers) == 0)
        complete = serve(answers);
    for (int i = 0; i < STREAMS; i++) {
        baton_stream_close(&answers[i].stream, NULL); /* harmless for those that are closed */
        printf("%s\n  %s\n", prompts[i], answers[i].text);
        fprintf(stderr, "stream %d: %d pieces\n", i, answers[i].pieces);
    }
    fprintf(stderr, "eventloop: %d of %d answers complete, on one thread\n", complete, STREAMS);
    baton_llama_close(&llama);
    return complete != STREAMS;
}
