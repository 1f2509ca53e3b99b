/* What is asked of models that hear: from JSON to what an owner is asked. Strict as openai_in.h. The fields are those
 * of OpenAI's transcriptions, but for "audio": a WAV file as base64 where that has "file". Pure functions. */
#ifndef BT_SPEECH_IN_H
#define BT_SPEECH_IN_H

#include "serve/openai_in.h"

struct bt_speech_request {
    struct bt_submit submit; /* its text lives as long as this struct */
    const struct bt_openai_model *model;
    bool verbose, stream;
    int64_t audio_ms;
    struct bt_buf ask; /* memory behind `submit` */
};

/* False: *e says why, and nothing is kept. */
bool bt_speech_parse(struct bt_speech_request *r, const char *body, size_t len, const struct bt_openai_models *models,
                     struct bt_api_error *e);
void bt_speech_request_free(struct bt_speech_request *r);

#endif
