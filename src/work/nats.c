/* The parent's side of a worker on stdio whose tasks come from JetStream.
 *
 * Two threads of ours: the loop owns everything but `lock`'s; the fetcher waits for messages, one at a time and only
 * while a worker is free, and hands them over under the lock. libnats has its own threads and guards its objects.
 *
 * A message is acknowledged after its outcome was published, on the same connection, so that at worst a task is done
 * twice, and never lost. */
#include "work/nats.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/list.h"
#include "task/json.h"
#include "task/signals.h"
#include "task/worker.h"
#include "work/child.h"
#include "work/nats_conn.h"

enum { FETCH_MS = 400, NAK_MS = 1000, NAK_MAX_MS = 60000, LEAVE_MS = 1500, REPLY_MAX = 1000 };

struct task {
    struct bt_list link;
    natsMsg *message;
    char id[24]; /* its sequence in the stream, as a JSON string */
    const char *reply;
    int64_t attempt; /* from 0 */
};

struct bt_nats_worker {
    struct bt_nats_worker_params params;
    struct bt_nats nats;
    natsSubscription *subscription;
    /* the loop's */
    struct bt_work_child child;
    struct bt_list tasks;
    bool ready, stopping, ended;
    int64_t progress_ns, cancel_ns;
    struct bt_buf scratch;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    int want; /* messages that there is a worker for */
    natsMsg *come[BT_WORKERS_MAX];
    int n_come;
    bool closing, lost; /* lost: libnats has given the connection up */
    /* fixed after open */
    int wake; /* eventfd: messages have come */
    pthread_t fetcher;
    bool fetching;
};

/* A second, or less: while the server is not there. */
static void wait_a_little(struct bt_nats_worker *w) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec++;
    pthread_mutex_lock(&w->lock);
    if (!w->closing)
        pthread_cond_timedwait(&w->wanted, &w->lock, &until);
    pthread_mutex_unlock(&w->lock);
}

static bool wait_wanted(struct bt_nats_worker *w) {
    pthread_mutex_lock(&w->lock);
    while (w->want == 0 && !w->closing)
        pthread_cond_wait(&w->wanted, &w->lock);
    bool go_on = !w->closing;
    pthread_mutex_unlock(&w->lock);
    return go_on;
}

/* Anything but messages. False: there is nothing to wait for. */
static bool fetch_failed(struct bt_nats_worker *w, natsStatus s) {
    uint64_t one = 1;
    if (s != NATS_CONNECTION_CLOSED) {
        if (s != NATS_TIMEOUT)
            wait_a_little(w);
        return true;
    }
    pthread_mutex_lock(&w->lock);
    w->lost = true;
    pthread_mutex_unlock(&w->lock);
    (void)!write(w->wake, &one, sizeof one);
    return false;
}

static void *fetch(void *arg) {
    struct bt_nats_worker *w = arg;
    while (wait_wanted(w)) {
        natsMsgList list = {0};
        natsStatus s = natsSubscription_Fetch(&list, w->subscription, 1, FETCH_MS, NULL);
        if (s == NATS_OK && list.Count == 1) {
            uint64_t one = 1;
            pthread_mutex_lock(&w->lock);
            w->want--;
            w->come[w->n_come++] = list.Msgs[0];
            pthread_mutex_unlock(&w->lock);
            list.Msgs[0] = NULL;
            (void)!write(w->wake, &one, sizeof one);
        } else if (!fetch_failed(w, s)) {
            break;
        }
        natsMsgList_Destroy(&list);
    }
    return NULL;
}

static void want(struct bt_nats_worker *w, int n) {
    pthread_mutex_lock(&w->lock);
    w->want += n;
    pthread_cond_signal(&w->wanted);
    pthread_mutex_unlock(&w->lock);
}

/* The loop. */

static void publish(struct bt_nats_worker *w, const char *subject, const struct bt_buf *b) {
    if (!subject || b->failed)
        return;
    natsStatus s = natsConnection_Publish(w->nats.connection, subject, b->data, (int)b->len);
    if (s != NATS_OK)
        bt_log(BATON_LOG_WARN, "a reply cannot be published: %s", natsStatus_GetText(s));
}

static void tell(struct bt_nats_worker *w, const struct task *t, const char *event, const char *members,
                 struct bt_text value) {
    struct bt_buf *b = &w->scratch;
    b->len = 0;
    bt_buf_addf(b, "{\"event\":\"%s\",\"task\":%s,\"attempt\":%" PRId64 ",%s", event, t->id, t->attempt, members);
    bt_buf_add(b, value.data, value.len);
    bt_buf_adds(b, "}");
    publish(w, t->reply, b);
}

static void forget(struct bt_nats_worker *w, struct task *t) {
    bt_list_remove(&t->link);
    natsMsg_Destroy(t->message);
    free(t);
    if (!w->stopping)
        want(w, 1);
}

/* Nobody will do it: it is kept where somebody can look, with why. False: it stays where it is, for somebody to look.
 */
static bool bury(struct bt_nats_worker *w, const struct task *t, struct bt_text error) {
    struct bt_buf b = BT_BUF_INIT;
    jsErrCode code = 0;
    bt_buf_addf(&b, "{\"task\":%s,\"attempts\":%" PRId64 ",\"error\":%.*s,\"payload\":", t->id, t->attempt + 1,
                (int)error.len, error.data);
    bt_buf_add(&b, natsMsg_GetData(t->message), (size_t)natsMsg_GetDataLength(t->message));
    bt_buf_adds(&b, "}");
    bool kept = !b.failed && js_Publish(NULL, w->nats.js, w->nats.dead, b.data, (int)b.len, NULL, &code) == NATS_OK;
    if (!kept)
        bt_log(BATON_LOG_WARN, "a task that was given up cannot be kept in %s: it stays in %s, number %s", w->nats.dead,
               w->nats.stream, t->id);
    bt_buf_free(&b);
    return kept;
}

static void failed(struct bt_nats_worker *w, struct task *t, struct bt_text error, bool again) {
    bool last = t->attempt + 1 >= w->params.nats.max_deliver;
    if (again && !last) {
        int64_t delay = BT_MIN((int64_t)NAK_MS << BT_MIN(t->attempt, 6), (int64_t)NAK_MAX_MS);
        tell(w, t, "again", "\"error\":", error);
        if (w->stopping) /* it would come back to us, who have asked for one more: hand_back does it, at the end */
            return;
        natsMsg_NakWithDelay(t->message, delay, NULL);
    } else {
        tell(w, t, "done", "\"result\":null,\"error\":", error);
        if (!again || bury(w, t, error))
            natsMsg_Term(t->message, NULL);
    }
    forget(w, t);
}

static struct task *find(struct bt_nats_worker *w, struct bt_text id) {
    for (struct bt_list *n = w->tasks.next; n != &w->tasks; n = n->next) {
        struct task *t = BT_CONTAINER(n, struct task, link);
        if (strlen(t->id) == id.len && memcmp(t->id, id.data, id.len) == 0)
            return t;
    }
    return NULL;
}

static void take_answer(struct bt_nats_worker *w, const struct bt_reply_line *r) {
    struct task *t = find(w, r->id);
    if (!t)
        return;
    if (r->error.len > 0) {
        failed(w, t, r->error, r->retry);
        return;
    }
    if (r->result.len + 256 > (size_t)natsConnection_GetMaxPayload(w->nats.connection) && t->reply) {
        static const struct bt_text too_long = {
            "\"BATON_TOO_LONG: the answer is longer than a message of this NATS server may be\"", 80};
        failed(w, t, too_long, false);
        return;
    }
    tell(w, t, "done", "\"error\":null,\"result\":", r->result);
    natsMsg_Ack(t->message, NULL);
    forget(w, t);
}

static void take_line(struct bt_nats_worker *w, struct bt_text line) {
    struct bt_reply_line r;
    bt_reply_line_parse(line, &r);
    if (r.kind == BT_REPLY_READY && !w->ready) {
        w->ready = true;
        bt_log(BATON_LOG_INFO, "ready for tasks of %s", w->nats.subject);
        want(w, w->params.workers);
    }
    if (r.kind == BT_REPLY_ERROR)
        bt_log(BATON_LOG_ERROR, "the worker is not ready: %.*s", (int)BT_MIN(r.error.len, 500u), r.error.data);
    if (r.kind == BT_REPLY_ANSWER)
        take_answer(w, &r);
    struct task *t = r.kind == BT_REPLY_LOG ? find(w, bt_json_find(line, "task")) : NULL;
    if (t && t->reply) {
        w->scratch.len = 0;
        bt_buf_add(&w->scratch, line.data, line.len);
        publish(w, t->reply, &w->scratch);
    }
}

/* Whether it is one value of JSON, which cannot become anything else in the middle of a line. */
static bool is_payload(natsMsg *m) {
    struct bt_json j;
    struct bt_text all = {natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m)}, value;
    bt_json_start(&j, all);
    return bt_utf8_valid(all.data, all.len) && bt_json_value(&j, &value) && bt_json_over(&j);
}

/* Where its client listens. A subject that is none would cost us the connection; one of the server's own, or of our
 * queues, would have us do what the client may not. */
static const char *reply_of(natsMsg *m, const char *id) {
    static const char *const never[] = {"$", "baton.", "."}; /* begins with */
    const char *subject = NULL;
    if (natsMsgHeader_Get(m, BT_NATS_REPLY_HEADER, &subject) != NATS_OK || !subject || !subject[0])
        return NULL;
    size_t n = strlen(subject);
    bool sound = n < REPLY_MAX && !strstr(subject, "..") && subject[n - 1] != '.' && !strpbrk(subject, "*>");
    for (const char *c = subject; *c && sound; c++)
        sound = *c > ' ' && *c <= '~';
    for (size_t i = 0; i < BT_COUNT(never) && sound; i++)
        sound = strncmp(subject, never[i], strlen(never[i])) != 0;
    if (!sound)
        bt_log(BATON_LOG_WARN, "task %s has a " BT_NATS_REPLY_HEADER " to which nothing is sent: expected an inbox",
               id);
    return sound ? subject : NULL;
}

/* A message becomes a task, and its line. One that was delivered too often has killed its workers: it is not tried. */
static void take_message(struct bt_nats_worker *w, natsMsg *m) {
    static const struct bt_text deadly = {"\"BATON_CRASHED: it was begun as often as it may be, and never ended\"", 68};
    static const struct bt_text no_json = {"\"BATON_INVALID: the task is not one value of valid JSON\"", 56};
    jsMsgMetaData *meta = NULL;
    struct task *t = calloc(1, sizeof *t);
    if (!t || natsMsg_GetMetaData(&meta, m) != NATS_OK) {
        free(t);
        natsMsg_Destroy(m); /* it comes again */
        want(w, 1);
        return;
    }
    snprintf(t->id, sizeof t->id, "\"%" PRIu64 "\"", meta->Sequence.Stream);
    t->attempt = (int64_t)meta->NumDelivered - 1;
    t->message = m;
    jsMsgMetaData_Destroy(meta);
    t->reply = reply_of(m, t->id);
    struct task *older = find(w, (struct bt_text){t->id, strlen(t->id)});
    if (older)
        forget(w, older); /* its worker is told by the line below */
    bt_list_append(&w->tasks, &t->link);
    if (t->attempt >= w->params.nats.max_deliver) {
        failed(w, t, deadly, true);
        return;
    }
    if (!is_payload(m)) {
        failed(w, t, no_json, false);
        return;
    }
    struct bt_buf *to = &w->child.to;
    bt_buf_addf(to,
                "{\"task_id\":%s,\"type\":\"task\",\"retry_count\":%" PRId64 ",\"queue\":\"%s\",\"payload\":", t->id,
                t->attempt, w->params.nats.name);
    size_t at = to->len;
    bt_buf_add(to, natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m));
    for (; at < to->len; at++) /* a line break can stand only where a space can */
        if (to->data[at] == '\n' || to->data[at] == '\r')
            to->data[at] = ' ';
    bt_buf_adds(to, "}\n");
}

/* False: there will be no more. */
static bool take_messages(struct bt_nats_worker *w) {
    natsMsg *come[BT_WORKERS_MAX];
    pthread_mutex_lock(&w->lock);
    int n = w->n_come;
    bool lost = w->lost;
    memcpy(come, w->come, (size_t)n * sizeof *come);
    w->n_come = 0;
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < n; i++) {
        if (w->stopping) {
            natsMsg_Nak(come[i], NULL);
            natsMsg_Destroy(come[i]);
        } else {
            take_message(w, come[i]);
        }
    }
    return !lost;
}

static void take_lines(struct bt_nats_worker *w) {
    struct bt_text line;
    baton_status s;
    while ((s = bt_lines_next(&w->child.lines, &line)) != BATON_AGAIN)
        if (s == BATON_OK)
            take_line(w, line);
}

/* The server hands a task to somebody else unless it hears of it. */
static void tell_progress(struct bt_nats_worker *w) {
    if (bt_now_ns() < w->progress_ns)
        return;
    w->progress_ns = bt_deadline(bt_now_ns(), w->params.nats.ack_wait_ms / 3);
    for (struct bt_list *n = w->tasks.next; n != &w->tasks; n = n->next)
        natsMsg_InProgress(BT_CONTAINER(n, struct task, link)->message, NULL);
}

static void stop_fetching(struct bt_nats_worker *w) {
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_signal(&w->wanted);
    pthread_mutex_unlock(&w->lock);
}

/* The child drains by itself, and says of each task what becomes of it. */
static void stop(struct bt_nats_worker *w) {
    if (w->stopping)
        return;
    w->stopping = true;
    w->cancel_ns = bt_deadline(bt_now_ns(), w->params.drain_ms + LEAVE_MS);
    stop_fetching(w);
    bt_work_child_ask_to_end(&w->child);
}

static baton_status closed(struct bt_nats_worker *w, baton_error *err) {
    const char *why = NULL;
    natsConnection_GetLastError(w->nats.connection, &why);
    return bt_fail(err, BATON_IO, "NATS has closed the connection for good: %.200s",
                   why && *why ? why : "no reason given");
}

static baton_status pump(struct bt_nats_worker *w, const struct pollfd *fds, baton_error *err) {
    uint64_t count;
    if (fds[0].revents && read(w->wake, &count, sizeof count) > 0 && !take_messages(w))
        return closed(w, err);
    if (fds[1].revents) {
        w->ended = !bt_work_child_read(&w->child);
        take_lines(w);
    }
    if (fds[2].revents)
        bt_work_child_read_log(&w->child);
    bt_work_child_write(&w->child);
    w->ended |= (fds[4].revents & POLLIN) != 0;
    if (fds[5].revents)
        bt_signals_hush();
    if (bt_signals_seen() > 0)
        stop(w);
    return BATON_OK;
}

static baton_status loop(struct bt_nats_worker *w, baton_error *err) {
    while (!w->ended) {
        struct bt_work_child *c = &w->child;
        struct pollfd fds[] = {{w->wake, POLLIN, 0},   {c->out, POLLIN, 0},
                               {c->log, POLLIN, 0},    {c->to.len > 0 ? c->in : -1, POLLOUT, 0},
                               {c->end_fd, POLLIN, 0}, {bt_signals_fd(), POLLIN, 0}};
        int64_t next = BT_MIN(w->progress_ns, w->stopping ? w->cancel_ns : BT_NEVER_NS);
        if (poll(fds, BT_COUNT(fds), (int)BT_MAX((next - bt_now_ns()) / BT_NS_PER_MS + 1, 0)) < 0 && errno != EINTR)
            return bt_fail(err, BATON_IO, "poll failed: %s", strerror(errno));
        baton_status status = pump(w, fds, err);
        if (status)
            return status;
        tell_progress(w);
        if (bt_signals_seen() > 1 || (w->stopping && bt_now_ns() >= w->cancel_ns))
            return bt_fail(err, BATON_CANCELLED, "the worker was ended before its tasks were");
    }
    return w->stopping ? BATON_OK : bt_fail(err, BATON_CRASHED, "the worker behind the queue has ended");
}

/* What has no outcome goes to somebody else, at once. */
static void hand_back(struct bt_nats_worker *w) {
    w->stopping = true;
    (void)take_messages(w);
    while (!bt_list_empty(&w->tasks)) {
        struct task *t = BT_CONTAINER(w->tasks.next, struct task, link);
        natsMsg_Nak(t->message, NULL);
        forget(w, t);
    }
    natsConnection_FlushTimeout(w->nats.connection, 1000);
}

static baton_status subscribe(struct bt_nats_worker *w, baton_error *err) {
    jsConsumerConfig config;
    jsSubOptions options;
    jsErrCode code = 0;
    jsConsumerConfig_Init(&config);
    config.Durable = "workers";
    config.AckPolicy = js_AckExplicit;
    config.AckWait = w->params.nats.ack_wait_ms * BT_NS_PER_MS;
    config.MaxDeliver = w->params.nats.max_deliver + 1; /* the last delivery is for burying it */
    natsStatus s = js_AddConsumer(NULL, w->nats.js, w->nats.stream, &config, NULL, &code);
    if (s != NATS_OK)
        return bt_nats_failed(s, "no consumer (its settings must be those of the other workers)", err);
    jsSubOptions_Init(&options);
    options.Stream = w->nats.stream;
    options.Consumer = "workers";
    s = js_PullSubscribe(&w->subscription, w->nats.js, NULL, "workers", NULL, &options, &code);
    return s == NATS_OK ? BATON_OK : bt_nats_failed(s, "no subscription", err);
}

static baton_status start(struct bt_nats_worker *w, baton_error *err) {
    baton_status status = bt_nats_open(&w->nats, &w->params.nats, err);
    if (status == BATON_OK)
        status = subscribe(w, err);
    w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (status == BATON_OK && w->wake < 0)
        status = bt_fail(err, BATON_IO, "no eventfd: %s", strerror(errno));
    if (status == BATON_OK)
        status = bt_work_child_start(&w->child, 0, w->params.workers, w->params.child, err);
    if (status == BATON_OK && bt_thread_start(&w->fetcher, fetch, w) != 0)
        status = bt_fail(err, BATON_NO_MEMORY, "no thread to be had");
    w->fetching = status == BATON_OK;
    return status;
}

static void end(struct bt_nats_worker *w) {
    char how[40];
    stop_fetching(w);
    if (w->fetching)
        pthread_join(w->fetcher, NULL);
    bt_work_child_end(&w->child, how, sizeof how);
    natsSubscription_Destroy(w->subscription);
    if (w->nats.connection)
        hand_back(w);
    bt_work_child_free(&w->child);
    bt_nats_close(&w->nats);
    if (w->wake >= 0)
        close(w->wake);
    bt_buf_free(&w->scratch);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wanted);
    free(w);
}

baton_status bt_nats_work(const struct bt_nats_worker_params *params, baton_error *err) {
    struct bt_nats_worker *w = calloc(1, sizeof *w);
    if (!w)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the worker");
    w->params = *params;
    w->child = (struct bt_work_child){.end_fd = -1, .in = -1, .out = -1, .log = -1};
    bt_list_init(&w->tasks);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wanted, NULL);
    bt_worker_signals_take();
    baton_status status = start(w, err);
    bt_signals_to_loop();
    if (status == BATON_OK)
        status = loop(w, err);
    end(w);
    bt_worker_signals_give_back();
    return status;
}
