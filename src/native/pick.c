/* Picking a token from numbers. Pure; owns no state. */
#include "native/pick.h"

#include <math.h>
#include <string.h>

typedef float lanes __attribute__((vector_size(32)));
typedef int32_t lane_mask __attribute__((vector_size(32)));
enum { LANES = 8, BLOCK = 4096 };

static float largest(const float *x, int32_t n) {
    lanes a = {-INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY, -INFINITY}, b = a;
    float max = -INFINITY;
    int32_t i = 0;
    for (; i + 2 * LANES <= n; i += 2 * LANES) {
        lanes v, w;
        memcpy(&v, x + i, sizeof v);
        memcpy(&w, x + i + LANES, sizeof w);
        lane_mask more = v > a, also = w > b; /* false for NaN */
        a = (lanes)(((lane_mask)v & more) | ((lane_mask)a & ~more));
        b = (lanes)(((lane_mask)w & also) | ((lane_mask)b & ~also));
    }
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (int k = 0; k < LANES; k++) {
        max = a[k] > max ? a[k] : max;
        max = b[k] > max ? b[k] : max;
    }
    return max;
}

/* On the path of every greedy token, over up to a few hundred thousand numbers: a vector maximum is cheap and carrying
 * the index along is not, so the index is looked for in the one block that has the maximum first. */
int32_t bt_argmax(const float *x, int32_t n) {
    float max = -INFINITY;
    int32_t from = 0, to = n;
    for (int32_t at = 0; at < n; at += BLOCK) {
        int32_t end = n - at < BLOCK ? n : at + BLOCK;
        float here = largest(x + at, end - at);
        if (here > max) {
            max = here;
            from = at;
            to = end;
        }
    }
    for (int32_t i = from; i < to; i++)
        if (x[i] == max)
            return i;
    return -1;
}
