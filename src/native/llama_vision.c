/* Images through libmtmd. An mtmd_context belongs to one llama_context, which its owner has to itself; cutting and
 * resizing (chunks) reads what is fixed in it, from any thread (mtmd.h: "thread-safe (shared ctx)").
 *
 * The model's first one is made with the model, so that prompts can be prepared before there is a context, and lent to
 * the first context that asks: one context costs one projector. */
#include "native/llama_internal.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mtmd-helper.h>
#include <mtmd.h>

#include "native/image.h"

struct bt_llama_eye {
    struct mtmd_context *ctx;
    /* any thread */
    _Atomic bool lent; /* the model's first: a context has it */
    /* whoever owns the context */
    bool (*abort)(void *arg);
    void *abort_arg;
    bool stopped; /* the encoding under way was told to stop */
};

struct picture_chunks {
    struct bt_chunks base;
    mtmd_input_chunks *native;
};

bool bt_llama_has_vision(void) {
    return true;
}

static pthread_once_t logging = PTHREAD_ONCE_INIT;

static void start_logging(void) {
    mtmd_helper_log_set(bt_native_log, NULL);
}

/* Called by ggml while an encoding is planned (ask) and after the nodes that were asked for: norms, a few in each
 * layer. False ends the encoding there. */
static bool between_nodes(struct ggml_tensor *t, bool ask, void *arg) {
    struct bt_llama_eye *eye = arg;
    if (ask)
        return t->op == GGML_OP_NORM || t->op == GGML_OP_RMS_NORM;
    if (eye->abort && eye->abort(eye->abort_arg))
        eye->stopped = true;
    return !eye->stopped;
}

static baton_status check_projector(const struct bt_llama_model *m, const struct bt_llama_eye *eye, baton_error *err) {
    if (!mtmd_support_vision(eye->ctx))
        return bt_fail(err, BATON_UNSUPPORTED, "the projector %s makes no vectors of images", m->mmproj);
    if (mtmd_decode_use_mrope(eye->ctx))
        return bt_fail(err, BATON_UNSUPPORTED,
                       "%s numbers the places of an image in three dimensions (M-RoPE), which this version does not "
                       "keep count of: open it without its projector, or use another model",
                       m->path);
    return BATON_OK;
}

static void eye_free(struct bt_llama_eye *eye) {
    if (eye && eye->ctx)
        mtmd_free(eye->ctx);
    free(eye);
}

static baton_status eye_open(const struct bt_llama_model *m, int threads, struct bt_llama_eye **out, baton_error *err) {
    char handed[32]; /* libmtmd takes a projector by path only */
    *out = NULL;
    struct bt_llama_eye *eye = calloc(1, sizeof *eye);
    if (!eye)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a projector");
    struct mtmd_context_params p = mtmd_context_params_default();
    p.use_gpu = m->on_gpu;
    p.n_threads = bt_native_threads(threads);
    p.print_timings = false;
    p.flash_attn_type = m->on_gpu ? LLAMA_FLASH_ATTN_TYPE_AUTO : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    p.cb_eval = between_nodes;
    p.cb_eval_user_data = eye;
    struct bt_buf causes = BT_BUF_INIT;
    bt_llama_listen(&causes);
    snprintf(handed, sizeof handed, "/proc/self/fd/%d", m->mmproj_file);
    eye->ctx = mtmd_init_from_file(m->mmproj_file < 0 ? m->mmproj : handed, m->model, p);
    const char *cause = bt_llama_heard(&causes);
    baton_status status = BATON_OK;
    if (!eye->ctx)
        status = bt_fail(err, BATON_BAD_MODEL,
                         "the projector %s cannot be loaded (is it whole, and made for %s, whose embeddings have %d "
                         "numbers?): %s",
                         m->mmproj, m->path, llama_model_n_embd_inp(m->model), cause);
    bt_buf_free(&causes);
    status = status ? status : check_projector(m, eye, err);
    if (status)
        eye_free(eye);
    else
        *out = eye;
    return status;
}

baton_status bt_llama_vision_open(struct bt_llama_model *m, const struct bt_model_params *params, baton_error *err) {
    m->mmproj = strdup(params->mmproj);
    m->on_gpu = params->gpu_layers != 0;
    if (!m->mmproj)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the name of a projector");
    if (params->facts_only)
        return BATON_OK;
    pthread_once(&logging, start_logging);
    m->mmproj_file = params->mmproj_file ? *params->mmproj_file : -1;
    int fd = -1;
    baton_status status = params->mmproj_file ? bt_llama_check_file(m->mmproj, m->mmproj_file, err)
                                              : bt_mmproj_file_open(m->mmproj, &fd, err);
    if (fd >= 0 && !status)
        close(fd);
    return status ? status : eye_open(m, params->threads, &m->eye, err);
}

void bt_llama_vision_close(struct bt_llama_model *m) {
    eye_free(m->eye);
    free(m->mmproj);
}

baton_status bt_llama_eye_get(const struct bt_llama_model *m, int threads, struct bt_llama_eye **eye,
                              baton_error *err) {
    *eye = NULL;
    if (!m->eye)
        return BATON_OK;
    if (atomic_exchange(&m->eye->lent, true))
        return eye_open(m, threads, eye, err);
    *eye = m->eye;
    return BATON_OK;
}

void bt_llama_eye_give(const struct bt_llama_model *m, struct bt_llama_eye *eye) {
    if (eye != m->eye)
        eye_free(eye);
    else if (eye) {
        eye->abort = NULL;
        atomic_store(&eye->lent, false);
    }
}

void bt_llama_eye_abort(struct bt_llama_eye *eye, bool (*abort_hook)(void *arg), void *arg) {
    eye->abort = abort_hook;
    eye->abort_arg = arg;
}

static void chunks_free(struct bt_chunks *base) {
    struct picture_chunks *c = BT_CONTAINER(base, struct picture_chunks, base);
    mtmd_input_chunks_free(c->native);
    free(base->list);
    free(c);
}

static baton_status fill(struct picture_chunks *c, bool whole, baton_error *err) {
    size_t n = mtmd_input_chunks_size(c->native);
    c->base.list = calloc(n ? n : 1, sizeof *c->base.list);
    if (!c->base.list)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a prompt in %zu parts", n);
    for (size_t i = 0; i < n; i++) {
        const mtmd_input_chunk *chunk = mtmd_input_chunks_get(c->native, i);
        struct bt_chunk *mine = &c->base.list[c->base.n++];
        size_t places = mtmd_input_chunk_get_n_tokens(chunk);
        if (places > INT32_MAX)
            return bt_fail(err, BATON_TOO_LONG, "a prompt of %zu tokens is more than a context can number", places);
        mine->n = (int32_t)places;
        if (mtmd_input_chunk_get_type(chunk) == MTMD_INPUT_CHUNK_TYPE_TEXT)
            mine->tokens = mtmd_input_chunk_get_tokens_text(chunk, &places);
        else
            mine->whole = whole;
    }
    return BATON_OK;
}

/* The helper hands what it cannot decode to ffprobe and ffmpeg; there are none below this. */
static const char no_programs[] = "/dev/null";

static baton_status decode_images(const struct bt_llama_model *m, const struct bt_image *images, size_t n,
                                  mtmd_bitmap **bitmaps, baton_error *err) {
    struct mtmd_helper_init_opt opt = mtmd_helper_init_opt_default();
    struct bt_image_shape shape;
    opt.video_params.ffmpeg_bin_dir = no_programs;
    for (size_t i = 0; i < n; i++) {
        baton_status status = bt_image_look(&images[i], i, &shape, err);
        if (status)
            return status;
        bitmaps[i] = mtmd_helper_bitmap_init_from_buf(m->eye->ctx, images[i].bytes, images[i].len, false, opt).bitmap;
        if (!bitmaps[i])
            return bt_fail(err, BATON_INVALID, "image %zu is a damaged %s: it cannot be decoded", i,
                           shape.jpeg ? "JPEG" : "PNG");
        if (mtmd_bitmap_get_nx(bitmaps[i]) != shape.width || mtmd_bitmap_get_ny(bitmaps[i]) != shape.height)
            return bt_fail(err, BATON_INVALID, "image %zu was decoded to another size than it tells", i);
    }
    return BATON_OK;
}

static baton_status tokenize(const struct bt_llama_model *m, const struct bt_text *texts, mtmd_bitmap *const *bitmaps,
                             size_t n, struct picture_chunks *c, baton_error *err) {
    struct mtmd_input_text words[BT_IMAGES_MAX + 1];
    struct mtmd_input_part parts[2 * BT_IMAGES_MAX + 1];
    const struct mtmd_input_part *list[2 * BT_IMAGES_MAX + 1];
    size_t count = 0;
    for (size_t i = 0; i <= n; i++) {
        words[i] = (struct mtmd_input_text){texts[i].data, texts[i].len, false, true};
        if (texts[i].len)
            parts[count++] = (struct mtmd_input_part){.text = &words[i]};
        if (i < n)
            parts[count++] = (struct mtmd_input_part){.bitmap = bitmaps[i]};
    }
    for (size_t i = 0; i < count; i++)
        list[i] = &parts[i];
    struct bt_buf causes = BT_BUF_INIT;
    bt_llama_listen(&causes);
    c->native = mtmd_input_chunks_init();
    int32_t rc = mtmd_tokenize_from_parts(m->eye->ctx, c->native, list, count, true);
    const char *cause = bt_llama_heard(&causes);
    baton_status status = BATON_OK;
    if (rc)
        status = bt_fail(err, BATON_INVALID, "the images cannot be prepared for the model: %s", cause);
    bt_buf_free(&causes);
    return status ? status : fill(c, mtmd_decode_use_non_causal(m->eye->ctx, NULL), err);
}

baton_status bt_llama_chunks(const struct bt_model *base, const char *text, size_t len, const char *mark,
                             const struct bt_image *images, size_t n, struct bt_chunks **out, baton_error *err) {
    const struct bt_llama_model *m = bt_llama_model_of(base);
    struct bt_text texts[BT_IMAGES_MAX + 1];
    mtmd_bitmap *bitmaps[BT_IMAGES_MAX] = {NULL};
    *out = NULL;
    baton_status status = bt_image_texts(text, len, mark, n, m->eye != NULL, texts, err);
    if (status)
        return status;
    struct picture_chunks *c = calloc(1, sizeof *c);
    if (!c)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a prompt with images");
    c->base.free = chunks_free;
    status = decode_images(m, images, n, bitmaps, err);
    if (!status)
        status = tokenize(m, texts, bitmaps, n, c, err);
    for (size_t i = 0; i < n; i++)
        if (bitmaps[i])
            mtmd_bitmap_free(bitmaps[i]);
    if (status)
        chunks_free(&c->base);
    else
        *out = &c->base;
    return status;
}

/* The helper leaves attention as a failed decode found it. */
static int32_t decode_vectors(struct bt_llama_context *c, const mtmd_input_chunk *chunk, int seq, int32_t pos) {
    bool causal = llama_get_causal_attn(c->ctx);
    llama_pos after;
    int32_t rc = mtmd_helper_decode_image_chunk(c->eye->ctx, c->ctx, chunk, mtmd_get_output_embd(c->eye->ctx), pos, seq,
                                                c->rows_max, &after, NULL, NULL);
    if (llama_get_causal_attn(c->ctx) != causal)
        llama_set_causal_attn(c->ctx, causal);
    return rc;
}

enum bt_decode bt_llama_image(struct bt_context *base, const struct bt_chunks *chunks, size_t i, int seq, int32_t pos) {
    struct bt_llama_context *c = bt_llama_context_of(base);
    c->batch.n_tokens = 0; /* no logits to be read */
    if (!c->eye || i >= chunks->n || chunks->list[i].tokens || seq < 0 || seq >= c->sequences || pos < 0)
        return BT_DECODE_INVALID;
    const struct bt_chunk *mine = &chunks->list[i];
    if (mine->whole && mine->n > c->rows_max)
        return BT_DECODE_INVALID;
    if (mine->n > (int32_t)llama_n_ctx_seq(c->ctx) - pos)
        return BT_DECODE_FULL;
    const struct picture_chunks *pictures = BT_CONTAINER(chunks, const struct picture_chunks, base);
    const mtmd_input_chunk *chunk = mtmd_input_chunks_get(pictures->native, i);
    struct bt_llama_eye *eye = c->eye;
    eye->stopped = false;
    int32_t rc = mtmd_encode_chunk(eye->ctx, chunk);
    if (eye->stopped)
        return BT_DECODE_ABORTED;
    if (rc == 0)
        rc = decode_vectors(c, chunk, seq, pos);
    if (rc == 0)
        return BT_DECODE_OK;
    return eye->abort && eye->abort(eye->abort_arg) ? BT_DECODE_ABORTED : BT_DECODE_FAILED;
}
