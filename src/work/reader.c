/* The thread, and the lists between it and the loop. State: struct bt_reader; see the header. */
#include "work/reader.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct bt_reader {
    pthread_t thread;
    int done_fd; /* eventfd: how many are in done */
    pthread_mutex_t lock;
    pthread_cond_t work;
    /* under lock */
    struct bt_list todo, done;
    bool closing;
};

/* Which model a name means only the loop can tell. */
static const struct bt_openai_model *chosen(void *arg, const char *name, char *why, size_t size) {
    const struct bt_reading *one = arg;
    (void)name;
    if (!one->model)
        snprintf(why, size, "%s", one->why);
    return one->model;
}

static void read_it(struct bt_reading *one) {
    const struct bt_openai_models models = {chosen, one};
    one->ok = bt_speech_parse(&one->request, one->payload.data, one->payload.len, &models, &one->error);
}

static void *reader_main(void *arg) {
    struct bt_reader *p = arg;
    uint64_t one_more = 1;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        while (bt_list_empty(&p->todo) && !p->closing)
            pthread_cond_wait(&p->work, &p->lock);
        if (p->closing)
            break;
        struct bt_reading *one = BT_CONTAINER(p->todo.next, struct bt_reading, link);
        bt_list_remove(&one->link);
        pthread_mutex_unlock(&p->lock);
        read_it(one);
        pthread_mutex_lock(&p->lock);
        bt_list_append(&p->done, &one->link);
        (void)!write(p->done_fd, &one_more, sizeof one_more);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* The rest is on the loop's thread. */

int bt_reader_fd(const struct bt_reader *p) {
    return p->done_fd;
}

void bt_reader_add(struct bt_reader *p, struct bt_reading *one) {
    pthread_mutex_lock(&p->lock);
    bt_list_append(&p->todo, &one->link);
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
}

struct bt_reading *bt_reader_next(struct bt_reader *p) {
    struct bt_reading *one = NULL;
    uint64_t count;
    pthread_mutex_lock(&p->lock);
    if (!bt_list_empty(&p->done)) {
        one = BT_CONTAINER(p->done.next, struct bt_reading, link);
        bt_list_remove(&one->link);
        (void)!read(p->done_fd, &count, sizeof count);
    }
    pthread_mutex_unlock(&p->lock);
    return one;
}

bool bt_reader_withdraw(struct bt_reader *p, struct bt_reading *one) {
    bool waits = false;
    pthread_mutex_lock(&p->lock);
    for (struct bt_list *n = p->todo.next; n != &p->todo && !waits; n = n->next)
        waits = n == &one->link;
    if (waits)
        bt_list_remove(&one->link);
    pthread_mutex_unlock(&p->lock);
    return waits;
}

static void reader_free(struct bt_reader *p) {
    if (p->done_fd >= 0)
        close(p->done_fd);
    pthread_cond_destroy(&p->work);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

baton_status bt_reader_open(struct bt_reader **reader, baton_error *err) {
    struct bt_reader *p = *reader = calloc(1, sizeof *p);
    if (!p)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the reading of tasks");
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->work, NULL);
    bt_list_init(&p->todo);
    bt_list_init(&p->done);
    p->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    int code = p->done_fd < 0 ? errno : bt_thread_start(&p->thread, reader_main, p);
    if (code == 0)
        return BATON_OK;
    *reader = NULL;
    reader_free(p);
    return bt_fail(err, BATON_NO_MEMORY, "no thread for the reading of tasks: %s", strerror(code));
}

void bt_reader_close(struct bt_reader **reader) {
    struct bt_reader *p = *reader;
    *reader = NULL;
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    p->closing = true;
    pthread_cond_signal(&p->work);
    pthread_mutex_unlock(&p->lock);
    pthread_join(p->thread, NULL);
    reader_free(p);
}
