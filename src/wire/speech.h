/* What goes into frames when an owner hears instead of generating: the text of a SUBMIT (an ask), the bytes of its DATA
 * (records, one after the other), and the result of BT_CALL_METADATA (what the model is). The same rules as in frame.h:
 * pure functions over bytes of a peer that may be broken; a decoded thing borrows, where its comment does not say
 * malloc. State: none. */
#ifndef BT_WIRE_SPEECH_H
#define BT_WIRE_SPEECH_H

#include "native/whisper.h"
#include "wire/frame.h"

struct bt_speech_ask {
    bool detect; /* the language alone */
    struct bt_whisper_params params;
    int rate;
    struct bt_text samples; /* floats as they lie in memory, at any address */
};
void bt_speech_ask_encode(struct bt_buf *b, const struct bt_audio *audio, const struct bt_whisper_params *params,
                          bool detect);
baton_status bt_speech_ask_decode(struct bt_text bytes, struct bt_speech_ask *ask);

enum bt_speech_kind { BT_SPEECH_SEGMENT, BT_SPEECH_PERCENT, BT_SPEECH_LANGUAGE, BT_SPEECH_MORE, BT_SPEECH_END };
enum { BT_SPEECH_HEAD = 5 }; /* bytes of a record before its content: kind, length of the content */
void bt_speech_put_segment(struct bt_buf *b, const struct bt_whisper_segment *s);
void bt_speech_put_percent(struct bt_buf *b, int percent);
/* probabilities: n of them; 0: none were asked for. */
void bt_speech_put_language(struct bt_buf *b, int language, const char *name, const float *probabilities, size_t n);
void bt_speech_put_more(struct bt_buf *b); /* the run ended, well, before the audio did */

/* BATON_PROTOCOL: no such kind, or over BT_FRAME_MAX. */
baton_status bt_speech_head(const unsigned char head[BT_SPEECH_HEAD], enum bt_speech_kind *kind, size_t *len);
/* One block, to be freed by its `tokens`, as in bt_whisper_result_free. */
baton_status bt_speech_get_segment(const unsigned char *content, size_t len, struct bt_whisper_segment *s);
baton_status bt_speech_get_percent(const unsigned char *content, size_t len, int *percent);
/* probabilities: room for `most`; as many as came are written. */
baton_status bt_speech_get_language(const unsigned char *content, size_t len, int *language, char name[8],
                                    float *probabilities, size_t most);

/* A model as its owner knows it. */
struct bt_speech_model {
    struct bt_whisper_info info;
    const char **languages; /* malloc: code and name of each, by id; borrow from the bytes */
    const char **tokens;    /* malloc: the bytes of each */
};
void bt_speech_model_encode(struct bt_buf *b, const struct bt_whisper *w);
baton_status bt_speech_model_decode(struct bt_text bytes, struct bt_speech_model *m);
void bt_speech_model_free(struct bt_speech_model *m);

#endif
