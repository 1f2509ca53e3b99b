/* Pieces of tasks, on the thread beside the loop. State: each piece's own. */
#include "work/slow.h"

#include <stdio.h>

/* Which model a name means only the loop can tell. */
static const struct bt_openai_model *chosen(void *arg, const char *name, char *why, size_t size) {
    const struct bt_reading *one = arg;
    (void)name;
    if (!one->model)
        snprintf(why, size, "%s", one->why);
    return one->model;
}

void bt_reading_run(struct bt_piece *piece) {
    struct bt_reading *one = BT_CONTAINER(piece, struct bt_reading, piece);
    const struct bt_openai_models models = {chosen, one};
    one->ok = bt_speech_parse(&one->request, one->payload.data, one->payload.len, &models, &one->error);
}

void bt_writing_run(struct bt_piece *piece) {
    struct bt_writing *one = BT_CONTAINER(piece, struct bt_writing, piece);
    one->status = bt_draw_out_whole(one->drawn, one->created, one->most, &one->body, &one->err);
}
