/* Picking a token from numbers, shared by every implementation. Pure; owns no state. */
#ifndef BT_PICK_H
#define BT_PICK_H

#include "native/native.h"

/* The index of the largest number, the lowest such index on a tie; NaN is never picked. -1: there is no number. */
int32_t bt_argmax(const float *x, int32_t n);

#endif
