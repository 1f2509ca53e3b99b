/* Little-endian integers, shared by the two halves of the codec. */
#ifndef BT_WIRE_INT_H
#define BT_WIRE_INT_H

#include <stdint.h>

static inline uint64_t bt_load(const unsigned char *p, int bytes) {
    uint64_t x = 0;
    for (int i = 0; i < bytes; i++)
        x |= (uint64_t)p[i] << (8 * i);
    return x;
}

#endif
