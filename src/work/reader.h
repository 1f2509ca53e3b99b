/* Reading what is asked of a model that hears takes long: megabytes of JSON, base64, samples. A thread does it, one
 * after the other, so that the worker's loop, and with it every other task, goes on meanwhile.
 *
 * State: struct bt_reader; its lists are under its lock. A reading is the loop's, but for the time from add to
 * next or withdraw, and what it borrows must live as long. */
#ifndef BT_WORK_READER_H
#define BT_WORK_READER_H

#include "base/list.h"
#include "serve/speech_in.h"

struct bt_reader;

struct bt_reading {
    /* in */
    struct bt_text payload;
    const struct bt_openai_model *model; /* of the name in it; NULL: `why` there is none */
    char why[BATON_ERROR_TEXT_MAX];
    void *arg; /* the caller's */
    /* out: as of bt_speech_parse */
    bool ok;
    struct bt_speech_request request;
    struct bt_api_error error;
    struct bt_list link;
};

baton_status bt_reader_open(struct bt_reader **reader, baton_error *err);
/* Waits for the one under way; the others are forgotten. */
void bt_reader_close(struct bt_reader **reader);
/* Readable while bt_reader_next has something. */
int bt_reader_fd(const struct bt_reader *p);
void bt_reader_add(struct bt_reader *p, struct bt_reading *one);
/* One that is done, or NULL. */
struct bt_reading *bt_reader_next(struct bt_reader *p);
/* False: it is under way, or done. */
bool bt_reader_withdraw(struct bt_reader *p, struct bt_reading *one);

#endif
