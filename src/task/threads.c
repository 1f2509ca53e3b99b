/* The threads, and what passes between them and the loop. State: struct bt_threads; see the header. */
#include "task/threads.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS_MAX = 256 << 10 /* bytes of one call that are on their way */ };

struct bt_threads {
    /* fixed after open */
    struct bt_worker *worker;
    bt_job_check_fn *check;
    bt_job_fn *run;
    void *arg;
    int wake; /* eventfd: done or telling is not empty */
    /* the loop's */
    pthread_t threads[BT_WORKERS_MAX];
    int n;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t work, room;
    struct bt_list todo, done, telling;
    int running;
    bool closing;
};

static void ring(struct bt_threads *t) {
    uint64_t one = 1;
    (void)!write(t->wake, &one, sizeof one);
}

static void *thread(void *arg) {
    struct bt_threads *t = arg;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        while (bt_list_empty(&t->todo) && !t->closing)
            pthread_cond_wait(&t->work, &t->lock);
        if (bt_list_empty(&t->todo))
            break;
        struct bt_job *c = BT_CONTAINER(t->todo.next, struct bt_job, link);
        bt_list_remove(&c->link);
        t->running++;
        pthread_mutex_unlock(&t->lock);
        t->run(t->arg, c);
        pthread_mutex_lock(&t->lock);
        t->running--;
        bt_list_append(&t->done, &c->link);
        ring(t);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

baton_status bt_job_event(struct bt_job *c, const void *line, size_t len) {
    struct bt_threads *t = c->threads;
    baton_status status = BATON_OK;
    pthread_mutex_lock(&t->lock);
    while (c->events.len > EVENTS_MAX && !atomic_load(&c->cancelled))
        pthread_cond_wait(&t->room, &t->lock);
    if (atomic_load(&c->cancelled)) {
        status = BATON_CANCELLED;
    } else if (!bt_buf_reserve(&c->events, len + 1)) {
        bt_buf_free(&c->events);
        status = BATON_NO_MEMORY;
    } else {
        bt_buf_add(&c->events, line, len);
        bt_buf_add(&c->events, "\n", 1);
        if (!c->tells) {
            c->tells = true;
            bt_list_append(&t->telling, &c->telling);
            ring(t);
        }
    }
    pthread_mutex_unlock(&t->lock);
    return status;
}

/* The rest is on the loop's thread. */

static baton_status start(void *arg, struct bt_task *task, baton_error *err) {
    struct bt_threads *t = arg;
    baton_status status = t->check(t->arg, &task->is, err);
    if (status)
        return status;
    struct bt_job *c = calloc(1, sizeof *c);
    if (!c)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the task");
    c->threads = t;
    c->task = task;
    bt_list_init(&c->link);
    bt_list_init(&c->telling);
    task->run = c;
    pthread_mutex_lock(&t->lock);
    bt_list_append(&t->todo, &c->link);
    pthread_cond_signal(&t->work);
    pthread_mutex_unlock(&t->lock);
    return BATON_OK;
}

/* Whoever cancelled it need not wait for the handler, which may not look: the answer is told now, and what the handler
 * says is dropped. At the end of the worker's time it is the other way round: an answer that comes still counts. */
static void cancel(void *arg, struct bt_task *task, baton_status reason) {
    struct bt_threads *t = arg;
    struct bt_job *c = task->run;
    pthread_mutex_lock(&t->lock);
    atomic_store(&c->cancelled, true);
    pthread_cond_broadcast(&t->room);
    pthread_mutex_unlock(&t->lock);
    if (reason == BATON_CANCELLED)
        bt_worker_answer(t->worker, task, &(struct bt_answer){.status = reason});
}

static void tell(struct bt_threads *t, struct bt_job *c) {
    struct bt_buf lines;
    pthread_mutex_lock(&t->lock);
    lines = c->events;
    c->events = (struct bt_buf)BT_BUF_INIT;
    c->tells = false;
    bt_list_remove(&c->telling);
    pthread_cond_broadcast(&t->room);
    pthread_mutex_unlock(&t->lock);
    if (lines.len > 0 && !c->task->answered)
        bt_worker_line(t->worker, (struct bt_text){(const char *)lines.data, lines.len - 1});
    bt_buf_free(&lines);
}

static void finish(struct bt_threads *t, struct bt_job *c) {
    static const struct bt_text null = {"null", 4};
    struct bt_answer a = {.status = c->status, .error = c->error.text, .result = null};
    tell(t, c);
    if (c->result.len > 0)
        a.result = (struct bt_text){(const char *)c->result.data, c->result.len};
    struct bt_task *task = c->task;
    bt_worker_answer(t->worker, task, &a);
    bt_buf_free(&c->result);
    free(c);
    bt_worker_ended(t->worker, task);
}

/* The first of a list, NULL if it is empty; out of it if `out`. */
static struct bt_job *first(struct bt_threads *t, struct bt_list *list, bool done) {
    struct bt_job *c = NULL;
    pthread_mutex_lock(&t->lock);
    if (!bt_list_empty(list)) {
        c = done ? BT_CONTAINER(list->next, struct bt_job, link) : BT_CONTAINER(list->next, struct bt_job, telling);
        if (done)
            bt_list_remove(&c->link);
    }
    pthread_mutex_unlock(&t->lock);
    return c;
}

static void tell_all(void *arg) {
    struct bt_threads *t = arg;
    struct bt_job *c;
    while (bt_worker_room(t->worker) && (c = first(t, &t->telling, false)))
        tell(t, c);
}

static void watch(void *arg, struct bt_watch *w) {
    struct bt_threads *t = arg;
    bt_watch_add(w, t->wake, POLLIN);
}

static baton_status pump(void *arg, const struct pollfd *fds, size_t n, baton_error *err) {
    struct bt_threads *t = arg;
    struct bt_job *c;
    uint64_t count;
    (void)err;
    if (n == 0 || !fds[0].revents)
        return BATON_OK;
    (void)!read(t->wake, &count, sizeof count);
    tell_all(t);
    while ((c = first(t, &t->done, true)))
        finish(t, c);
    return BATON_OK;
}

static int64_t tick(void *arg) {
    (void)arg;
    return BT_NEVER_NS;
}

struct bt_runner bt_threads_runner(struct bt_threads *threads) {
    return (struct bt_runner){
        .arg = threads, .start = start, .cancel = cancel, .watch = watch, .pump = pump, .tick = tick, .room = tell_all};
}

static void end_threads(struct bt_threads *t) {
    pthread_mutex_lock(&t->lock);
    t->closing = true;
    pthread_cond_broadcast(&t->work);
    pthread_mutex_unlock(&t->lock);
    for (int i = 0; i < t->n; i++)
        pthread_join(t->threads[i], NULL);
}

static void free_calls(struct bt_list *list) {
    while (!bt_list_empty(list)) {
        struct bt_job *c = BT_CONTAINER(list->next, struct bt_job, link);
        bt_list_remove(&c->link);
        bt_buf_free(&c->result);
        bt_buf_free(&c->events);
        free(c);
    }
}

bool bt_threads_close(struct bt_threads **threads) {
    struct bt_threads *t = *threads;
    *threads = NULL;
    if (!t)
        return true;
    pthread_mutex_lock(&t->lock);
    while (!bt_list_empty(&t->todo)) { /* not begun: never */
        struct bt_list *n = t->todo.next;
        bt_list_remove(n);
        bt_list_append(&t->done, n);
    }
    bool busy = t->running > 0;
    pthread_mutex_unlock(&t->lock);
    if (busy)
        return false;
    end_threads(t);
    free_calls(&t->done);
    close(t->wake);
    pthread_cond_destroy(&t->work);
    pthread_cond_destroy(&t->room);
    pthread_mutex_destroy(&t->lock);
    free(t);
    return true;
}

baton_status bt_threads_open(int n, bt_job_check_fn *check, bt_job_fn *run, void *arg, struct bt_worker *worker,
                             struct bt_threads **threads, baton_error *err) {
    struct bt_threads *t = *threads = calloc(1, sizeof *t);
    if (!t)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the workers");
    t->worker = worker;
    t->check = check;
    t->run = run;
    t->arg = arg;
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->work, NULL);
    pthread_cond_init(&t->room, NULL);
    bt_list_init(&t->todo);
    bt_list_init(&t->done);
    bt_list_init(&t->telling);
    t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int code = t->wake < 0 ? errno : 0;
    while (code == 0 && t->n < n && (code = bt_thread_start(&t->threads[t->n], thread, t)) == 0)
        t->n++;
    if (code == 0)
        return BATON_OK;
    (void)bt_threads_close(threads);
    return bt_fail(err, BATON_NO_MEMORY, "%d threads for the workers cannot be had: %s", n, strerror(code));
}
