/* The pieces of tasks that take long (aside.h): reading what is asked of a model that hears, megabytes of JSON, base64
 * and samples; and writing images, millions of pixels, as PNGs. State: the structs'. */
#ifndef BT_WORK_SLOW_H
#define BT_WORK_SLOW_H

#include "serve/draw_out.h"
#include "serve/speech_in.h"
#include "work/aside.h"

struct bt_reading {
    struct bt_piece piece;
    /* in */
    struct bt_text payload;
    const struct bt_openai_model *model; /* of the name in it; NULL: `why` there is none */
    char why[BATON_ERROR_TEXT_MAX];
    /* out: as of bt_speech_parse */
    bool ok;
    struct bt_speech_request request;
    struct bt_api_error error;
};
void bt_reading_run(struct bt_piece *piece);

struct bt_writing {
    struct bt_piece piece;
    /* in */
    const struct bt_draw_out *drawn;
    time_t created;
    size_t most; /* bytes */
    /* out: as of bt_draw_out_whole */
    baton_status status;
    struct bt_buf body;
    baton_error err;
};
void bt_writing_run(struct bt_piece *piece);

#endif
