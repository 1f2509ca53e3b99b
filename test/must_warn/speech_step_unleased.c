/* A step of a transcription on a lease that was released, and inside of a begin of one's own.
 *
 * expect: calling function 'baton_whisper_encode' requires holding lease 'lease'
 * expect: cannot call function 'baton_whisper_encode' while context 'lease\.pool' is held */
#include "baton/whisper.h"

int f(baton_whisper *whisper);

int f(baton_whisper *whisper) {
    baton_lease lease = BATON_LEASE;
    void *state;
    if (baton_whisper_acquire(whisper, NULL, &lease, NULL))
        return 1;
    if (baton_lease_begin(&lease, BATON_OP_USER, &state, NULL) == 0) {
        (void)!baton_whisper_encode(&lease, 0, 0, NULL); /* here */
        baton_lease_end(&lease);
    }
    if (baton_lease_release(&lease, BATON_RESET, NULL))
        return 1;
    return baton_whisper_encode(&lease, 0, 0, NULL) != BATON_OK; /* here */
}
