/* A transcription as a stream: a thread hears, whoever reads takes its segments.
 *
 * Invariant: the hearing thread owns the request and its lease from its start to its end; after `ended` was set it
 * touches the stream no more but to unlock it, and close joins it before it frees anything. What passes from one to the
 * other is the list of segments, under the stream's lock. The hearing thread never waits for the reader: segments are
 * small beside the audio that they are made of, and where they are not, it stops. */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "api/whisper_int.h"
#include "base/list.h"
#include "baton/guard.h"

enum { KEPT_MIN = 1 << 20 }; /* bytes that may lie unread, however short the audio */

struct piece {
    struct bt_list link;
    size_t size;
    baton_whisper_segment segment; /* what it points to is behind it in the same block */
};

struct baton_whisper_stream {
    /* set at open */
    uint64_t id;
    baton_whisper *owned; /* its owner is elsewhere: referenced; else NULL */
    pthread_t thread;
    float *samples;
    char *language, *initial_prompt;
    /* the hearing thread; the opening one before, the closing one after */
    struct bt_hearing hearing;
    struct bt_lease parcel;
    baton_whisper_outcome outcome;
    bool no_memory;
    /* any thread */
    _Atomic int percent;
    _Atomic uint32_t busy; /* the thread that is in a call; 0: none */
    /* whoever is in a call */
    struct piece *shown;
    /* under the lock */
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct bt_list pieces;
    size_t kept, kept_max; /* bytes of the pieces */
    size_t heard;          /* pieces so far */
    bool ended;
    int fd; /* -1: nobody asked for one */
};

/* Under the lock: the descriptor can be read while next would not wait. */
static void signal_fd(const struct baton_whisper_stream *s) {
    const uint64_t one = 1;
    uint64_t drained;
    ssize_t n;
    if (s->fd < 0)
        return;
    do
        n = s->ended || !bt_list_empty(&s->pieces) ? write(s->fd, &one, sizeof one)
                                                   : read(s->fd, &drained, sizeof drained);
    while (n < 0 && errno == EINTR);
}

static size_t text_room(const baton_whisper_segment *g) {
    size_t room = strlen(g->text) + 1;
    for (size_t i = 0; i < g->n_tokens; i++)
        room += strlen(g->tokens[i].text) + 1;
    return room;
}

static struct piece *copy_piece(const baton_whisper_segment *g) {
    size_t size = sizeof(struct piece) + g->n_tokens * sizeof *g->tokens + text_room(g);
    struct piece *p = malloc(size);
    if (!p)
        return NULL;
    p->size = size;
    baton_whisper_token *tokens = (baton_whisper_token *)(p + 1);
    char *at = (char *)(tokens + g->n_tokens);
    p->segment = *g;
    p->segment.text = bt_whisper_put_text(&at, g->text);
    p->segment.tokens = tokens;
    for (size_t i = 0; i < g->n_tokens; i++) {
        tokens[i] = g->tokens[i];
        tokens[i].text = bt_whisper_put_text(&at, g->tokens[i].text);
    }
    return p;
}

static bool on_segment(void *arg, const baton_whisper_segment *segment, size_t index) {
    struct baton_whisper_stream *s = arg;
    struct piece *p = copy_piece(segment);
    (void)index;
    if (!p) {
        s->no_memory = true;
        return false;
    }
    pthread_mutex_lock(&s->lock);
    if (atomic_load(&s->hearing.hoarded)) { /* it is being cancelled: this one and those behind it are not told */
        pthread_mutex_unlock(&s->lock);
        free(p);
        return true;
    }
    if (bt_list_empty(&s->pieces))
        atomic_store(&s->hearing.unread_ns, bt_now_ns());
    bt_list_append(&s->pieces, &p->link);
    s->heard++;
    s->kept += p->size;
    if (s->kept > s->kept_max)
        atomic_store(&s->hearing.hoarded, true);
    signal_fd(s);
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->lock);
    return true;
}

static void on_progress(void *arg, int percent) {
    struct baton_whisper_stream *s = arg;
    atomic_store(&s->percent, percent);
}

/* Not analysed: the lease comes as a parcel. */
static BATON_NO_ANALYSIS void hear(struct baton_whisper_stream *s) {
    struct bt_whisper_result made;
    baton_error err, ignored;
    if (s->owned) {
        bt_owned_finish(&s->hearing, NULL, &made, &s->outcome, &err);
        bt_whisper_result_free(&made);
        return;
    }
    baton_status status = bt_lease_take(&s->parcel, &s->hearing.lease, &err);
    if (status) {
        bt_lease_release(&s->parcel, BT_RESET, &ignored);
        bt_hearing_refused(&s->hearing, status, &s->outcome, &err);
        bt_hear_unref(s->hearing.whisper);
        return;
    }
    bt_hearing_run(&s->hearing, BT_OP_STREAM, &made, &s->outcome, &err);
    bt_whisper_result_free(&made);
}

static void *run(void *arg) {
    struct baton_whisper_stream *s = arg;
    pthread_setname_np(pthread_self(), "baton-whisper");
    hear(s);
    s->outcome.segments = s->heard;
    if (s->no_memory) {
        s->outcome.status = BATON_NO_MEMORY;
        s->outcome.more = false;
        memcpy(s->outcome.text, "no memory for a segment", sizeof "no memory for a segment");
    }
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    signal_fd(s);
    pthread_cond_signal(&s->news);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

static void stream_free(struct baton_whisper_stream *s) {
    while (!bt_list_empty(&s->pieces)) {
        struct piece *p = BT_CONTAINER(s->pieces.next, struct piece, link);
        bt_list_remove(&p->link);
        free(p);
    }
    if (s->fd >= 0)
        close(s->fd);
    pthread_cond_destroy(&s->news);
    pthread_mutex_destroy(&s->lock);
    free(s->shown);
    free(s->samples);
    free(s->language);
    free(s->initial_prompt);
    free(s);
}

static struct baton_whisper_stream *stream_new(void) {
    struct baton_whisper_stream *s = calloc(1, sizeof *s);
    pthread_condattr_t monotonic;
    if (!s)
        return NULL;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&s->news, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&s->lock, NULL);
    bt_list_init(&s->pieces);
    s->fd = -1;
    return s;
}

static bool copy_text(const char **text, char **copy) {
    *copy = *text ? strdup(*text) : NULL;
    bool good = !*text || *copy;
    *text = *copy;
    return good;
}

/* What the thread needs when the call that opened it has returned. */
static bool keep_ask(struct baton_whisper_stream *s) {
    struct bt_hearing *h = &s->hearing;
    s->samples = malloc(h->audio.n * sizeof *s->samples);
    if (!s->samples)
        return false;
    memcpy(s->samples, h->audio.samples, h->audio.n * sizeof *s->samples);
    h->audio.samples = s->samples;
    s->kept_max = BT_MAX(h->audio.n * sizeof *s->samples, (size_t)KEPT_MIN);
    h->on_segment = on_segment;
    h->on_progress = on_progress;
    h->arg = s;
    bool language = copy_text(&h->params.language, &s->language);
    return copy_text(&h->params.initial_prompt, &s->initial_prompt) && language;
}

/* Not analysed: the lease goes to another thread. */
static BATON_NO_ANALYSIS baton_status start(struct baton_whisper_stream *s, baton_error *err) {
    struct bt_hearing *h = &s->hearing;
    baton_error ignored;
    baton_status status = bt_hearing_start(h, err);
    if (status)
        return status;
    s->id = h->request.id;
    status = bt_lease_give(&h->lease, &s->parcel, err);
    int failed = status ? 0 : bt_thread_start(&s->thread, run, s);
    if (failed)
        status = bt_fail(err, BATON_NO_MEMORY, "no thread for a stream: %s", strerror(failed));
    if (status) {
        atomic_fetch_add_explicit(&h->whisper->failed, 1, memory_order_relaxed);
        bt_lease_release(&s->parcel, BT_RESET, &ignored);
        bt_hear_unref(h->whisper);
    }
    return status;
}

static baton_status start_there(struct baton_whisper_stream *s, baton_error *err) {
    struct bt_hearing *h = &s->hearing;
    baton_outcome ignored;
    baton_status status = bt_owned_start(h, false, err);
    if (status)
        return status;
    s->id = h->request.id;
    s->owned = h->whisper;
    bt_hear_ref(s->owned);
    int failed = bt_thread_start(&s->thread, run, s);
    if (!failed)
        return BATON_OK;
    bt_io_stream_close(h->stream, &ignored);
    bt_hear_unref(h->whisper);
    bt_hear_unref(s->owned);
    return bt_fail(err, BATON_NO_MEMORY, "no thread for a stream: %s", strerror(failed));
}

baton_status baton_whisper_stream_open(baton_whisper *whisper, const baton_whisper_ask *ask,
                                       baton_whisper_stream **stream, baton_error *err) {
    if (!stream)
        return bt_misuse(err, BATON_MISUSE, "baton_whisper_stream_open needs a place for the stream");
    *stream = NULL;
    struct baton_whisper_stream *s = stream_new();
    if (!s)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for a stream");
    baton_status status = bt_hearing_take(&s->hearing, whisper, ask, true, err);
    if (!status && (s->hearing.on_segment || s->hearing.on_progress))
        status = bt_misuse(err, BATON_MISUSE,
                           "a stream is pulled and has no callbacks: baton_whisper_stream_next gives the segments, "
                           "baton_whisper_stream_progress the progress; or use baton_whisper_full");
    if (!status && !keep_ask(s))
        status = bt_fail(err, BATON_NO_MEMORY, "no memory for a copy of %zu samples", s->hearing.audio.n);
    if (!status)
        status = whisper->io ? start_there(s, err) : start(s, err);
    if (status)
        stream_free(s);
    else
        *stream = s;
    return status;
}

/* Under the lock: until there is a segment, the end, or the deadline has passed. */
static void wait_for_news(struct baton_whisper_stream *s, int64_t deadline_ns) {
    struct timespec at = {.tv_sec = deadline_ns / BT_NS_PER_S, .tv_nsec = deadline_ns % BT_NS_PER_S};
    while (!s->ended && bt_list_empty(&s->pieces))
        if (deadline_ns == BT_NEVER_NS)
            pthread_cond_wait(&s->news, &s->lock);
        else if (pthread_cond_timedwait(&s->news, &s->lock, &at) == ETIMEDOUT)
            break;
}

baton_status baton_whisper_stream_next(baton_whisper_stream *stream, int64_t timeout_ms,
                                       const baton_whisper_segment **segment) {
    uint32_t nobody = 0;
    BT_NEED(segment, "a place for the segment", NULL);
    *segment = NULL;
    BT_NEED(stream, "a stream", NULL);
    if (!atomic_compare_exchange_strong(&stream->busy, &nobody, baton_guard_self()))
        return BATON_BUSY;
    free(stream->shown);
    stream->shown = NULL;
    pthread_mutex_lock(&stream->lock);
    wait_for_news(stream, bt_deadline(bt_now_ns(), timeout_ms));
    baton_status status = BATON_OK;
    if (!bt_list_empty(&stream->pieces)) {
        stream->shown = BT_CONTAINER(stream->pieces.next, struct piece, link);
        bt_list_remove(&stream->shown->link);
        stream->kept -= stream->shown->size;
        atomic_store(&stream->hearing.unread_ns, bt_list_empty(&stream->pieces) ? 0 : bt_now_ns());
        *segment = &stream->shown->segment;
        signal_fd(stream);
    } else {
        status = stream->ended ? BATON_END : BATON_AGAIN;
    }
    pthread_mutex_unlock(&stream->lock);
    atomic_store(&stream->busy, 0);
    return status;
}

int baton_whisper_stream_fd(baton_whisper_stream *stream) {
    BT_NEED_OR(stream, "a stream", -1);
    pthread_mutex_lock(&stream->lock);
    if (stream->fd < 0)
        stream->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    signal_fd(stream);
    int fd = stream->fd;
    pthread_mutex_unlock(&stream->lock);
    return fd;
}

uint64_t baton_whisper_stream_id(const baton_whisper_stream *stream) {
    BT_NEED_OR(stream, "a stream", 0);
    return stream->id;
}

int baton_whisper_stream_progress(const baton_whisper_stream *stream) {
    BT_NEED_OR(stream, "a stream", 0);
    return atomic_load(&stream->percent);
}

baton_status baton_whisper_stream_close(baton_whisper_stream **stream, baton_whisper_outcome *outcome) {
    if (!stream || !*stream)
        return BATON_OK;
    struct baton_whisper_stream *s = *stream;
    *stream = NULL;
    atomic_store(&s->hearing.closing, true);
    if (s->owned)
        bt_io_cancel(s->owned->io, s->id);
    pthread_join(s->thread, NULL);
    if (s->owned)
        bt_hear_unref(s->owned);
    if (outcome)
        *outcome = s->outcome;
    baton_status status = s->outcome.status;
    stream_free(s);
    return status;
}
