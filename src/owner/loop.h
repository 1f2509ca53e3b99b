/* The owner loop's state, shared by its parts: loop.c (frames, life of requests), step.c (native calls that generate),
 * embed.c (those that embed) and calls.c (questions, saved states). All of it belongs to the loop's thread. */
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
    uint64_t last; /* while free: whose cache it is; 0: nobody's */
};

/* A conversation that is over and may still be saved. */
struct bt_kept {
    uint64_t id; /* 0: none */
    bt_token *tokens;
    int32_t n_tokens, n_prompt, n_before;
    int seq; /* where its cache was: still is, if that says so */
};

enum { BT_KEPT_MAX = 64, BT_CALLS_MAX = 1024, BT_OUT_MAX = 8 << 20 };

struct bt_loop {
    struct bt_model *model;
    struct bt_context *context;
    struct bt_model_info info;
    int fd, visits, sequences, capacity, chunk;
    enum bt_pooling pooling; /* OFF: it generates */
    bool one_by_one;         /* inputs, so that each is what it is alone */

    struct bt_buf in, out; /* with BT_OUT_MAX bytes in `out` nothing is computed until the peer has taken some */
    struct bt_bodies bodies;
    struct bt_prepare *prepare;
    int n_preparing;
    struct bt_list fresh;   /* not given to the prepare thread yet: the front is told of them first */
    struct bt_list waiting; /* prepared requests without a sequence; with a pooling all that are prepared */
    struct bt_list replies; /* calls that are answered, until the peer has the answer */
    struct bt_list resets;  /* calls that wait for requests under way */
    int n_calls;
    struct bt_kept kept[BT_KEPT_MAX];
    unsigned kept_next;
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
    struct bt_input *inputs;   /* of one native call */
    float *vectors;
    int width;
};

/* The scratch buffers belong to no request: who finds one failed ends its request and gives the buffer back. */
static inline bool bt_loop_text_lost(const struct bt_loop *l, const struct bt_owner_request *r) {
    return l->piece.failed || l->text.failed || r->text.pending.failed;
}

enum { BT_CALL_MEMORY = 64 };
/* A native call took so long. */
static inline void bt_loop_took(struct bt_loop *l, int64_t ns) {
    l->call_ns = BT_MAX(l->call_ns - l->call_ns / BT_CALL_MEMORY, ns);
}

/* step.c */
void bt_loop_place(struct bt_loop *l); /* sequences for those who wait */
bool bt_loop_step(struct bt_loop *l);  /* one round of native calls; false: there was nothing to do */

/* embed.c */
bool bt_loop_embed(struct bt_loop *l); /* one native call for the inputs whose turn it is; false: there are none */
baton_status bt_loop_more(struct bt_loop *l, struct bt_body *body); /* takes it */
void bt_loop_took_more(struct bt_loop *l, struct bt_owner_more *m);
bool bt_loop_embedded(struct bt_loop *l, struct bt_owner_request *r); /* ends it if there is nothing left to do */

/* calls.c */
baton_status bt_loop_call(struct bt_loop *l, struct bt_body *body); /* takes it */
void bt_loop_reply(struct bt_loop *l, struct bt_owner_call *c);     /* takes it, answered */
void bt_loop_send_replies(struct bt_loop *l);                       /* as long as there is room in `out` */
void bt_loop_keep(struct bt_loop *l, const struct bt_owner_request *r);
void bt_loop_wipe(struct bt_loop *l, int seq); /* of a free sequence, what is left in its cache */
bool bt_loop_wipes(const struct bt_loop *l, const struct bt_owner_request *r); /* a reset waits for it */
void bt_loop_check_resets(struct bt_loop *l);                                  /* a request has gone */
void bt_loop_free_calls(struct bt_loop *l);

/* loop.c */
struct bt_owner_request *bt_loop_find(const struct bt_loop *l, uint64_t id);
void bt_loop_finish(struct bt_loop *l, struct bt_owner_request *r, baton_status outcome, enum bt_finish finish,
                    const char *error);
bool bt_loop_read(struct bt_loop *l); /* socket to l->in; false: the peer has gone */
void bt_loop_flush(struct bt_loop *l);
void bt_loop_prepare_fresh(struct bt_loop *l); /* those that are new go to the prepare thread */
void bt_loop_stand(struct bt_loop *l, struct bt_owner_request *r, enum bt_standing standing);
/* Before native code sees anything new: who is in it, should it never return. */
void bt_loop_tell(struct bt_loop *l);

#endif
