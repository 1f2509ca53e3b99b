/* whisper.h by hand: leases on a model's states, and the steps of a transcription under one. State: the pool's. */
#include "api/whisper_int.h"

/* Not followed by Clang's analysis: a lease under another name is another lease to it. */
BATON_NO_ANALYSIS baton_status baton_whisper_acquire(baton_whisper *whisper, const baton_request *request,
                                                     baton_lease *lease, baton_error *err) {
    baton_request mine;
    baton_error local;
    if (!whisper || !lease)
        return bt_misuse(err, BATON_MISUSE, "baton_whisper_acquire needs a model and a place for the lease");
    *lease = (baton_lease)BATON_LEASE;
    err = err ? err : &local;
    if (whisper->io)
        return bt_owned_unsupported(whisper, "to hold one, open the model with BATON_OWNER_CALLER", err);
    baton_status status = bt_take_request(request, &whisper->policy, &mine, err);
    if (status)
        return status;
    struct bt_ask ask = {.when_full = mine.when_full == BATON_WAIT ? BT_WAIT : BT_REFUSE,
                         .queue_ms = mine.queue_ms,
                         .id = mine.id,
                         .flow = mine.flow,
                         .priority = mine.priority};
    bt_hear_ref(whisper);
    status = bt_told(bt_lease_acquire(whisper->states, &ask, (struct bt_lease *)lease, err), err);
    bt_hear_unref(whisper);
    return status;
}

BATON_NO_ANALYSIS struct whisper_state *baton_whisper_state(const baton_lease *lease) {
    struct bt_lease *inner = (struct bt_lease *)lease;
    struct bt_hearer *h = lease ? bt_lease_context(inner) : NULL;
    if (BT_LIKELY(h && bt_pool_native(inner->pool) == bt_hear_native))
        return bt_hear_native(h);
    bt_misuse(NULL, BATON_MISUSE,
              "baton_whisper_state outside of begin and end on this thread, or of a lease that is not on a whisper "
              "state");
    return NULL;
}

/* A native call under the lease of the program's: *h is what it is for, until leave. */
static BATON_NO_ANALYSIS baton_status enter(const baton_lease *lease, enum bt_op op, struct bt_hearer **h,
                                            baton_error *err) {
    struct bt_lease *inner = (struct bt_lease *)lease;
    baton_error local;
    err = err ? err : &local;
    baton_status status = bt_lease_begin(inner, op, (void **)h, err);
    if (status)
        return bt_told(status, err);
    if (bt_pool_native(inner->pool) == bt_hear_native)
        return BATON_OK;
    bt_lease_end(inner);
    return bt_misuse(err, BATON_MISUSE, "this lease is not on a whisper state: baton_whisper_acquire gives such ones");
}

static BATON_NO_ANALYSIS void leave(const baton_lease *lease) {
    bt_lease_end((struct bt_lease *)lease);
}

static int threads_of(const struct bt_hearer *h, int threads) {
    return threads ? threads : h->whisper->threads;
}

BATON_NO_ANALYSIS baton_status baton_whisper_pcm_to_mel(const baton_lease *lease, const float *samples, size_t n,
                                                        int rate, int threads, int *frames, baton_error *err) {
    const struct bt_audio audio = {samples, n, rate};
    struct bt_hearer *h;
    if (!frames)
        return bt_misuse(err, BATON_MISUSE, "baton_whisper_pcm_to_mel needs a place for the number of frames");
    *frames = 0;
    baton_status status = enter(lease, BT_OP_ENCODE, &h, err);
    if (status)
        return status;
    status = h->state->ops->mel(h->state, &audio, threads_of(h, threads), frames, err);
    leave(lease);
    return status;
}

BATON_NO_ANALYSIS baton_status baton_whisper_set_mel(const baton_lease *lease, const float *data, int frames, int mels,
                                                     baton_error *err) {
    struct bt_hearer *h;
    if (!data)
        return bt_misuse(err, BATON_MISUSE, "baton_whisper_set_mel needs a spectrogram");
    baton_status status = enter(lease, BT_OP_ENCODE, &h, err);
    if (status)
        return status;
    status = h->state->ops->set_mel(h->state, data, frames, mels, err);
    leave(lease);
    return status;
}

BATON_NO_ANALYSIS baton_status baton_whisper_encode(const baton_lease *lease, int first_frame, int threads,
                                                    baton_error *err) {
    struct bt_hearer *h;
    baton_error local;
    err = err ? err : &local;
    baton_status status = enter(lease, BT_OP_ENCODE, &h, err);
    if (status)
        return status;
    status = bt_told(h->state->ops->encode(h->state, first_frame, threads_of(h, threads), err), err);
    leave(lease);
    return status;
}

BATON_NO_ANALYSIS baton_status baton_whisper_decode(const baton_lease *lease, const int32_t *tokens, int n, int past,
                                                    int threads, float *logits, baton_error *err) {
    struct bt_hearer *h;
    baton_error local;
    err = err ? err : &local;
    if (!tokens || !logits)
        return bt_misuse(err, BATON_MISUSE, "baton_whisper_decode needs tokens, and a place for the logits");
    baton_status status = enter(lease, BT_OP_DECODE, &h, err);
    if (status)
        return status;
    status = bt_told(h->state->ops->decode(h->state, tokens, n, past, threads_of(h, threads), logits, err), err);
    leave(lease);
    return status;
}
