/* Steps of a transcription under one lease, and a stay by hand between them. */
#include "baton/whisper.h"

int f(baton_whisper *whisper, const float *samples, size_t n, float *logits);

int f(baton_whisper *whisper, const float *samples, size_t n, float *logits) {
    baton_lease lease = BATON_LEASE;
    const int32_t start = 1;
    void *state;
    int frames, failed = 1;
    if (baton_whisper_acquire(whisper, NULL, &lease, NULL))
        return 1;
    if (baton_whisper_pcm_to_mel(&lease, samples, n, BATON_WHISPER_RATE, 0, &frames, NULL) == BATON_OK &&
        baton_whisper_encode(&lease, 0, 0, NULL) == BATON_OK)
        failed = baton_whisper_decode(&lease, &start, 1, 0, 0, logits, NULL) != BATON_OK;
    if (baton_lease_begin(&lease, BATON_OP_USER, &state, NULL) == 0) {
        failed |= baton_whisper_state(&lease) != state;
        baton_lease_end(&lease);
    }
    return baton_lease_release(&lease, BATON_RESET, NULL) || failed;
}
