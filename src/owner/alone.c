/* One request alone, in the caller's thread: a generator pulled to its end. The caller holds the context's lease for
 * the whole of it; nothing is kept between calls. */
#include <stdlib.h>
#include <string.h>

#include "owner/owner.h"

baton_status bt_run_alone(struct bt_context *c, const struct bt_model *m, int seq, const struct bt_run *run,
                          struct bt_run_result *result, baton_error *err) {
    struct bt_generator *g;
    struct bt_delta d;
    memset(result, 0, sizeof *result);
    baton_status status = bt_generator_open(m, c->ops->capacity(c), seq, run, &g, err);
    if (status)
        return status;
    while ((status = bt_generator_next(g, c, &d, err)) == BATON_OK)
        if (run->on_token && !run->on_token(run->arg, d.token, d.text, d.len))
            bt_generator_stop(g, BATON_END, "stopped by on_token");
    bt_generator_take(g, result);
    bt_generator_free(g);
    return status == BATON_END ? BATON_OK : status;
}

void bt_run_result_free(struct bt_run_result *r) {
    bt_buf_free(&r->text);
    free(r->tokens);
    memset(r, 0, sizeof *r);
}
