/* Between the bindings and the I/O thread. State: none. */
#include "api/owned.h"

struct bt_front_params bt_owned_front(const baton_policy *policy, int threads, bool retry) {
    return (struct bt_front_params){
        .context = {.sequences = 1, .threads = threads},
        .contexts = policy->contexts,
        .when_full = policy->when_full == BATON_WAIT ? BT_WAIT : BT_REFUSE,
        .queue_max = policy->queue,
        .queue_ms = policy->queue_ms,
        .run_ms = policy->run_ms,
        .owner = policy->owner == BATON_OWNER_PROCESS ? BT_OWNER_PROCESS : BT_OWNER_THREAD,
        .no_resume = !retry,
    };
}

baton_status bt_owned_metadata(struct bt_io *io, struct bt_buf *bytes, baton_error *err) {
    struct bt_call call = {.op = BT_CALL_METADATA, .bytes = {"", 0}};
    return bt_io_call(io, -1, &call, BT_NEVER_NS, bytes, err);
}

baton_status bt_owned_submit(struct bt_io *io, enum bt_what what, struct bt_buf *asked, baton_request *request,
                             struct bt_io_stream **stream, baton_error *err) {
    const struct bt_limits limits = {request->when_full == BATON_WAIT ? BT_WAIT : BT_REFUSE, request->priority,
                                     request->queue_ms, request->run_ms, -1};
    struct bt_submit s = {.id = request->id,
                          .flow = request->flow,
                          .what = what,
                          .kind = BT_PROMPT_TEXT,
                          .text = {(const char *)asked->data, asked->len},
                          .max_tokens = -1};
    baton_status status = asked->failed ? bt_fail(err, BATON_NO_MEMORY, "no memory for what is asked")
                                        : bt_told(bt_io_submit(io, &s, &limits, stream, err), err);
    bt_buf_free(asked);
    if (!status)
        request->id = s.id;
    return status;
}
