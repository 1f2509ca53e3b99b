/* The owner loop's state, shared by its two halves: loop.c (frames, life of requests) and step.c (native calls).
 * All of it belongs to the loop's thread. */
#ifndef BT_OWNER_LOOP_H
#define BT_OWNER_LOOP_H

#include "owner/owner.h"
#include "owner/plan.h"
#include "owner/request.h"

/* Invariant: the cache of sequence i holds exactly tokens[0, fed) of its request, or, when it is free, cached tokens of
 * its last one. Restored after every failed native call before anything else happens. */
struct bt_owner_seq {
    struct bt_owner_request *request; /* NULL: free */
    bt_token *cached;                 /* while free: what is left in the cache, for reuse */
    int32_t n_cached;
    uint64_t flow;
};

struct bt_loop {
    struct bt_model *model;
    struct bt_context *context;
    struct bt_model_info info;
    int fd, visits, sequences, capacity, chunk;

    struct bt_buf in, out;
    struct bt_bodies bodies;
    struct bt_prepare *prepare;
    int n_preparing;
    struct bt_list fresh;   /* not given to the prepare thread yet: the front is told of them first */
    struct bt_list waiting; /* prepared requests without a sequence */
    struct bt_owner_seq *seqs;
    struct bt_owner_request *alive[BT_SEQUENCES_MAX * 4];
    int n_alive;
    uint64_t arrivals;
    bool greeted, draining, ending, peer_gone;

    /* of the native call that is running */
    struct bt_owner_request *alone; /* the one request whose prefill it is; NULL: several, or a decode */
    int64_t looked_ns;              /* when the abort hook last looked at the socket */
    uint64_t steps;
    int64_t call_ns;    /* what a call takes: the longest of late */
    int32_t lost_steps; /* in a row, to holes between the sequences */

    /* what the front knows of us */
    bool restand;      /* some request stands otherwise than it was told */
    int64_t pulsed_ns; /* the last PULSE */
    struct bt_pulse pulse;

    struct bt_row *rows;
    struct bt_plan plan;
    struct bt_seq_view views[BT_SEQUENCES_MAX];
    struct bt_seq_cache caches[BT_SEQUENCES_MAX];
    struct bt_buf piece, text; /* scratch */
};

/* The scratch buffers belong to no request: who finds one failed ends its request and gives the buffer back. */
static inline bool bt_loop_text_lost(const struct bt_loop *l, const struct bt_owner_request *r) {
    return l->piece.failed || l->text.failed || r->text.pending.failed;
}

/* step.c */
void bt_loop_place(struct bt_loop *l); /* sequences for those who wait */
bool bt_loop_step(struct bt_loop *l);  /* one round of native calls; false: there was nothing to do */

/* loop.c */
void bt_loop_finish(struct bt_loop *l, struct bt_owner_request *r, baton_status outcome, enum bt_finish finish,
                    const char *error);
bool bt_loop_read(struct bt_loop *l); /* socket to l->in; false: the peer has gone */
void bt_loop_flush(struct bt_loop *l);
void bt_loop_stand(struct bt_loop *l, struct bt_owner_request *r, enum bt_standing standing);
/* Before native code sees anything new: who is in it, should it never return. */
void bt_loop_tell(struct bt_loop *l);

#endif
