/* baton-owner: a process that owns one context. Started by ipc/spawn_process.c, with its descriptors as wire/start.h
 * says. It takes its own rights away before it looks at the model, and ends with its front.
 *
 * Everything here runs on the first thread; state: the process's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "child/child.h"
#include "child/sandbox.h"
#include "native/fake.h"
#include "owner/draw.h"
#include "owner/hear.h"
#include "owner/owner.h"
#include "wire/start.h"

_Static_assert(BT_FAKE_SOCKET == (int)BT_START_SOCKET && BT_FAKE_PARENT == (int)BT_START_PARENT,
               "the fake finds the front where the owner does");

/* The front learns why there will be no owner. */
static int give_up(const baton_error *why) {
    struct bt_buf out = BT_BUF_INIT;
    bt_put_hello(&out);
    bt_put_fatal(&out, why->status, why->text);
    if (!out.failed) {
        ssize_t n = send(BT_START_SOCKET, out.data, out.len, MSG_NOSIGNAL);
        (void)n;
    }
    bt_buf_free(&out);
    return 1;
}

static void report(const struct bt_buf *line) {
    ssize_t n = line->failed ? 0 : write(BT_START_REPORT, line->data, line->len);
    (void)n;
}

/* Before the sandbox: afterwards no library can be opened, and nothing about the processor be read. */
static baton_status load_libraries(const struct bt_start *start, baton_error *err) {
    struct bt_buf versions = BT_BUF_INIT;
    if (start->library == BT_LIBRARY_SD) /* it brings what it needs */
        return bt_sd_load(err);
    baton_status status = bt_native_start(err);
    bt_native_versions(&versions);
    bt_buf_free(&versions);
    return strncmp(start->path.data, "fake:", 5) == 0 ? BATON_OK : status;
}

/* A lone model is read from its descriptor, the projector and whatever draws by a path. Without Landlock that would let
 * whoever took over the parser read every file of this user's, where a model alone could read none: that is not done
 * unasked. */
static baton_status enter_sandbox(const struct bt_start *start, baton_error *err) {
    struct bt_buf told = BT_BUF_INIT;
    int files[BT_FILES_MAX + 1];
    size_t n = start->n_files;
    bool closed = true, draws = start->library == BT_LIBRARY_SD;
    memcpy(files, start->files, n * sizeof *files);
    if (start->has_mmproj)
        files[n++] = start->mmproj_file;
    if (start->flags & BT_START_NO_SANDBOX)
        bt_buf_adds(&told, "none: switched off");
    else
        closed = bt_sandbox_enter(&(struct bt_sandbox){.files = files,
                                                       .n_files = n,
                                                       .opens = draws,
                                                       .gpu = start->gpu_layers != 0,
                                                       .core = (start->flags & BT_START_CORE) != 0},
                                  &told);
    bt_buf_adds(&told, "\n");
    report(&told);
    bt_buf_free(&told);
    if (((start->has_mmproj && start->n_files == 1) || draws) && start->gpu_layers == 0 && !closed)
        return bt_fail(err, BATON_UNSUPPORTED,
                       "this kernel has no Landlock, without which an owner process that loads %s%s could open other "
                       "files: switch Landlock on, or, with files that you trust, the sandbox off, or take an owner "
                       "thread",
                       draws ? "" : "the projector ", draws ? start->path.data : start->mmproj.data);
    return BATON_OK;
}

/* A front that closes while a model is loading is not kept waiting. */
static bool front_listens(void *arg, float done) {
    char byte;
    (void)arg;
    (void)done;
    ssize_t n = recv(BT_START_SOCKET, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

static baton_status open_model(const struct bt_start *start, struct bt_model **model, baton_error *err) {
    struct bt_lora *loras = calloc(start->n_loras + 1, sizeof *loras);
    int *lora_files = calloc(start->n_loras + 1, sizeof *lora_files);
    baton_status status = BATON_NO_MEMORY;
    if (loras && lora_files) {
        for (size_t i = 0; i < start->n_loras; i++) {
            loras[i] = (struct bt_lora){start->loras[i].path.data, start->loras[i].scale};
            lora_files[i] = start->loras[i].fd;
        }
        struct bt_model_params params = {.path = start->path.data,
                                         .chat_template = start->has_chat_template ? start->chat_template.data : NULL,
                                         .gpu_layers = start->gpu_layers,
                                         .progress = front_listens,
                                         .loras = loras,
                                         .n_loras = start->n_loras,
                                         .files = start->files,
                                         .n_files = start->n_files,
                                         .lora_files = lora_files,
                                         .mmproj = start->has_mmproj ? start->mmproj.data : NULL,
                                         .mmproj_file = start->has_mmproj ? &start->mmproj_file : NULL,
                                         .threads = start->context.threads,
                                         .starts = (int)(start->flags >> BT_START_BEFORE_SHIFT)};
        status = bt_model_open(&params, model, err);
    } else {
        bt_fail(err, status, "no memory for %zu adapters", start->n_loras);
    }
    free(loras);
    free(lora_files);
    return status;
}

static baton_status generate(const struct bt_start *start, baton_error *err) {
    struct bt_model *model;
    baton_status status = open_model(start, &model, err);
    if (status)
        return status;
    const struct bt_owner_params params = {model, start->context, BT_START_SOCKET, -1};
    bt_owner_run(&params);
    bt_model_close(model);
    return BATON_OK;
}

static baton_status hear(const struct bt_start *start, baton_error *err) {
    struct bt_whisper *model;
    const struct bt_whisper_model_params ear = {.path = start->path.data,
                                                .gpu = start->gpu_layers > 0,
                                                .gpu_device = start->gpu_layers - 1,
                                                .file = start->n_files ? start->files : NULL};
    baton_status status = bt_whisper_open(&ear, &model, err);
    if (status)
        return status;
    bt_hear_run(&(struct bt_hear_params){model, start->context.threads, BT_START_SOCKET});
    model->ops->free(model);
    return BATON_OK;
}

/* The library is given its files by their descriptors, and people are told of them by their names. */
static void name_files(const struct bt_start *start, char handed[][32], baton_error *err) {
    for (size_t i = start->n_files; i-- > 0;) { /* N before NN would not be the same */
        struct bt_buf text = BT_BUF_INIT;
        size_t part = 0;
        for (size_t seen = 0; part < BT_SD_PARTS && seen <= i; part++)
            seen += start->parts[part].len > 0;
        for (const char *at = err->text, *hit; *at; at = hit + strlen(handed[i])) {
            hit = strstr(at, handed[i]);
            bt_buf_add(&text, at, hit ? (size_t)(hit - at) : strlen(at));
            if (!hit)
                break;
            bt_buf_adds(&text, start->parts[part - 1].data);
        }
        bt_buf_add(&text, "", 1);
        if (!text.failed)
            bt_fail(err, err->status, "%s", (char *)text.data);
        bt_buf_free(&text);
    }
}

static baton_status draw(const struct bt_start *start, baton_error *err) {
    char handed[BT_SD_PARTS][32];
    struct bt_sd_params params = {.threads = start->context.threads, .flash_attention = start->flash_attention};
    struct bt_sd *sd;
    size_t n = 0;
    for (size_t i = 0; i < BT_SD_PARTS; i++) {
        if (start->parts[i].len == 0 || n == start->n_files)
            continue;
        snprintf(handed[n], sizeof handed[n], "/proc/self/fd/%d", start->files[n]);
        params.parts[i] = handed[n++];
    }
    baton_status status = bt_sd_open(&params, &sd, err);
    if (status) {
        name_files(start, handed, err);
        return status;
    }
    bt_draw_run(&(struct bt_draw_params){sd, start->path.data, BT_START_SOCKET});
    bt_sd_close(sd);
    return BATON_OK;
}

static int own(const struct bt_start *start) {
    baton_error err;
    bt_child_close_rest(start);
    bt_log_set_level((baton_log_level)(start->flags >> BT_START_LEVEL_SHIFT & BT_START_LEVEL_MASK));
    baton_status status = load_libraries(start, &err);
    if (status)
        return give_up(&err);
    bt_native_last_words(BT_START_REPORT);
    status = enter_sandbox(start, &err);
    if (!status)
        status = bt_child_watch(&err);
    if (!status)
        status = start->library == BT_LIBRARY_SD        ? draw(start, &err)
                 : start->library == BT_LIBRARY_WHISPER ? hear(start, &err)
                                                        : generate(start, &err);
    return status ? give_up(&err) : 0;
}

int main(void) {
    baton_error err;
    struct bt_start start;
    struct bt_buf in = BT_BUF_INIT;
    int type;
    socklen_t size = sizeof type;
    if (getsockopt(BT_START_SOCKET, SOL_SOCKET, SO_TYPE, &type, &size) != 0) {
        fprintf(stderr, "baton-owner is a part of baton: `baton serve` and libbaton start it\n");
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, 0); /* what is printed before a crash is to be seen */
    baton_status status = bt_child_start(&in, &start, &err);
    int code = status == BATON_OK ? own(&start) : give_up(&err);
    fflush(stdout);
    _exit(code); /* past the destructors of libraries whose threads may still run */
}
