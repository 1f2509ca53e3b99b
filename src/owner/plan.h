/* The batch planner: which rows of which sequences the next native calls carry. Pure: takes what the sequences are
 * at, returns what to do.
 *
 * Rules (measured: docs/notes/0002-batching.md): a decode step first, then one prefill chunk, as separate native calls;
 * rows in ascending sequence id; the lowest free id for a new request; a move to a lower id only when the holes cost
 * more than the move. State: none. */
#ifndef BT_PLAN_H
#define BT_PLAN_H

#include "base/base.h"
#include "native/native.h"

enum { BT_SEQUENCES_MAX = 256 };

enum bt_phase {
    BT_PHASE_FREE,    /* may still hold cells of a finished request, to be reused */
    BT_PHASE_PREFILL, /* `todo` tokens of its prompt are not in yet */
    BT_PHASE_DECODE,  /* has a token to feed */
    BT_PHASE_PAUSED,  /* its reader is slow, or an image is next, which is a call of its own: nothing to do here */
};

struct bt_seq_view {
    enum bt_phase phase;
    int32_t todo;     /* prefill: tokens left, >= 1 */
    uint64_t arrived; /* prefill: smaller is served first */
    int32_t cells;    /* in the cache: what a move would copy */
};

struct bt_plan {
    int n_decode; /* sequences that get one row each, ascending */
    int decode[BT_SEQUENCES_MAX];
    int n_prefill; /* sequences whose prompts share the chunk, ascending; the oldest request is served first */
    int prefill[BT_SEQUENCES_MAX];
    int32_t share[BT_SEQUENCES_MAX]; /* by sequence: how many of its tokens are in this chunk */
    bool holes;                      /* free ids lie between decoding ones: the step costs more */
    int move_from, move_to;          /* before both: move that sequence to a lower free id; -1: no move */
};

/* `chunk`: the most rows of one native call. `budget`: the most prefill rows while somebody decodes.
 * `lost_steps`: how many steps in a row have had holes. */
void bt_plan_step(const struct bt_seq_view *seqs, int n, int32_t chunk, int32_t budget, int32_t lost_steps,
                  struct bt_plan *plan);

/* A sequence for a new request. Among the free ones of the same flow: the one whose cached tokens share the longest
 * prefix with the prompt, if it is at least BT_REUSE_MIN; else the lowest free id. *reuse: how many tokens stay. At
 * least one token of the prompt is always left to feed. -1: none is free. */
enum { BT_REUSE_MIN = 16 };
struct bt_seq_cache {
    const bt_token *tokens; /* in the cache, from position 0 */
    int32_t n;
    uint64_t flow;
};
int bt_plan_place(const struct bt_seq_view *seqs, const struct bt_seq_cache *caches, int n, const bt_token *prompt,
                  int32_t n_prompt, uint64_t flow, bool can_trim, int32_t *reuse);

#endif
