/* The batch planner. Pure functions over views of the sequences; owns no state. */
#include "owner/plan.h"

/* A hole between decoding sequences splits the batch (measured at 1.9 times the step), a move copies cells once. Moving
 * when the steps already lost equal the copy is at most twice the best choice, whatever comes (ski rental: Karlin,
 * Manasse, Rudolph, Sleator 1988). One step lost is taken as the copy of this many cells. */
enum { CELLS_PER_LOST_STEP = 32 };

static void plan_move(const struct bt_seq_view *seqs, int n, int32_t lost_steps, struct bt_plan *plan) {
    int low = -1, high = -1, hole = -1;
    for (int i = 0; i < n; i++) {
        if (seqs[i].phase != BT_PHASE_DECODE)
            continue;
        if (low < 0)
            low = i;
        high = i;
    }
    for (int i = low + 1; low >= 0 && i < high && hole < 0; i++)
        if (seqs[i].phase == BT_PHASE_FREE)
            hole = i;
    plan->holes = hole >= 0;
    if (hole < 0 || (int64_t)lost_steps * CELLS_PER_LOST_STEP < seqs[high].cells)
        return;
    plan->move_from = high;
    plan->move_to = hole;
}

static int oldest_unserved(const struct bt_seq_view *seqs, int n, const int32_t *share) {
    int best = -1;
    for (int i = 0; i < n; i++)
        if (seqs[i].phase == BT_PHASE_PREFILL && share[i] == 0 && (best < 0 || seqs[i].arrived < seqs[best].arrived))
            best = i;
    return best;
}

void bt_plan_step(const struct bt_seq_view *seqs, int n, int32_t chunk, int32_t budget, int32_t lost_steps,
                  struct bt_plan *plan) {
    plan->n_decode = plan->n_prefill = 0;
    plan->move_from = plan->move_to = -1;
    plan_move(seqs, n, lost_steps, plan);
    for (int i = 0; i < n; i++) {
        plan->share[i] = 0;
        if (seqs[i].phase == BT_PHASE_DECODE && plan->n_decode < chunk)
            plan->decode[plan->n_decode++] = i;
    }
    int32_t left = plan->n_decode > 0 ? BT_MIN(budget, chunk) : chunk;
    for (int i; left > 0 && (i = oldest_unserved(seqs, n, plan->share)) >= 0;) {
        plan->share[i] = BT_MIN(left, seqs[i].todo);
        left -= plan->share[i];
    }
    for (int i = 0; i < n; i++)
        if (plan->share[i] > 0)
            plan->prefill[plan->n_prefill++] = i;
}

static int32_t common_prefix(const bt_token *a, int32_t na, const bt_token *b, int32_t nb) {
    int32_t n = BT_MIN(na, nb), i = 0;
    while (i < n && a[i] == b[i] && a[i] != BT_TOKEN_IMAGE) /* which image, they do not tell */
        i++;
    return i;
}

int bt_plan_place(const struct bt_seq_view *seqs, const struct bt_seq_cache *caches, int n, const bt_token *prompt,
                  int32_t n_prompt, uint64_t flow, bool can_trim, int32_t *reuse) {
    int best = -1, lowest = -1;
    *reuse = 0;
    for (int i = 0; i < n; i++) {
        if (seqs[i].phase != BT_PHASE_FREE)
            continue;
        if (lowest < 0)
            lowest = i;
        if (caches[i].flow != flow)
            continue;
        int32_t same = common_prefix(caches[i].tokens, caches[i].n, prompt, n_prompt - 1);
        if (!can_trim && same < caches[i].n)
            continue;
        if (same >= BT_REUSE_MIN && same > *reuse) {
            *reuse = same;
            best = i;
        }
    }
    return best >= 0 ? best : lowest;
}
