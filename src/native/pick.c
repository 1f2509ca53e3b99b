/* Picking a token from numbers. Pure; owns no state. */
#include "native/pick.h"

#include <math.h>
#include <string.h>

/* 16 bytes: what every x86-64 and arm64 has; wider ones the compiler takes apart into single numbers. */
typedef float lanes __attribute__((vector_size(16)));
typedef int32_t lane_mask __attribute__((vector_size(16)));
enum { LANES = 4, CHAINS = 4, BLOCK = 4096 };

static lanes larger(lanes a, const float *x) {
    lanes v;
    memcpy(&v, x, sizeof v);
    lane_mask more = v > a; /* false for NaN */
    return (lanes)(((lane_mask)v & more) | ((lane_mask)a & ~more));
}

static float largest(const float *x, int32_t n) {
    const lanes none = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
    lanes a[CHAINS] = {none, none, none, none};
    float max = -INFINITY;
    int32_t i = 0;
    for (; i + CHAINS * LANES <= n; i += CHAINS * LANES)
        for (int k = 0; k < CHAINS; k++)
            a[k] = larger(a[k], x + i + (ptrdiff_t)k * LANES);
    for (; i < n; i++)
        max = x[i] > max ? x[i] : max;
    for (int k = 0; k < CHAINS * LANES; k++)
        max = a[k / LANES][k % LANES] > max ? a[k / LANES][k % LANES] : max;
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
