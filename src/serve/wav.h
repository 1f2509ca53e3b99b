/* The samples of a WAV file in memory. Pure functions over bytes of anybody's. */
#ifndef BT_WAV_H
#define BT_WAV_H

#include "base/base.h"

/* Mono, PCM of 16 bits, `rate` samples a second; nothing is resampled. BATON_OK: *samples (malloc'd, -1 to 1) are the
 * caller's. _INVALID: its text says what was found and what was expected; _NO_MEMORY. */
baton_status bt_wav_read(const unsigned char *bytes, size_t len, unsigned rate, float **samples, size_t *n,
                         baton_error *err);

#endif
