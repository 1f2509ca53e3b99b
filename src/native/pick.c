/* Picking a token from numbers. Pure; owns no state. */
#include "native/pick.h"

#include <math.h>
#include <string.h>

typedef float lanes __attribute__((vector_size(32)));
typedef int32_t lane_mask __attribute__((vector_size(32)));
enum { LANES = 8 };

/* Two passes, because a vector maximum is cheap and carrying the index along is not: the greedy pick is on the path
 * of every token, over up to a few hundred thousand numbers. */
int32_t bt_argmax(const float *x, int32_t n) {
    lanes best = {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY};
    float max = -INFINITY;
    int32_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        lanes v;
        memcpy(&v, x + i, sizeof v);
        lane_mask more = v > best;
        best = (lanes)(((lane_mask)v & more) | ((lane_mask)best & ~more));
    }
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (int k = 0; k < LANES; k++)
        max = best[k] > max ? best[k] : max;
    for (i = 0; i < n; i++)
        if (x[i] == max)
            return i;
    return -1;
}
