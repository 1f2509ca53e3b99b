/* The thread, and the lists between it and the loop. State: struct bt_aside; see the header. */
#include "work/aside.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct bt_aside {
    pthread_t thread;
    int done_fd; /* eventfd: how many are in done */
    pthread_mutex_t lock;
    pthread_cond_t work;
    /* under lock */
    struct bt_list todo, done;
    bool closing;
};

static void *aside_main(void *arg) {
    struct bt_aside *a = arg;
    uint64_t one_more = 1;
    pthread_mutex_lock(&a->lock);
    for (;;) {
        while (bt_list_empty(&a->todo) && !a->closing)
            pthread_cond_wait(&a->work, &a->lock);
        if (a->closing)
            break;
        struct bt_piece *one = BT_CONTAINER(a->todo.next, struct bt_piece, link);
        bt_list_remove(&one->link);
        pthread_mutex_unlock(&a->lock);
        one->run(one);
        pthread_mutex_lock(&a->lock);
        bt_list_append(&a->done, &one->link);
        (void)!write(a->done_fd, &one_more, sizeof one_more);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* The rest is on the loop's thread. */

int bt_aside_fd(const struct bt_aside *a) {
    return a->done_fd;
}

void bt_aside_add(struct bt_aside *a, struct bt_piece *one) {
    pthread_mutex_lock(&a->lock);
    bt_list_append(&a->todo, &one->link);
    pthread_cond_signal(&a->work);
    pthread_mutex_unlock(&a->lock);
}

struct bt_piece *bt_aside_next(struct bt_aside *a) {
    struct bt_piece *one = NULL;
    uint64_t count;
    pthread_mutex_lock(&a->lock);
    if (!bt_list_empty(&a->done)) {
        one = BT_CONTAINER(a->done.next, struct bt_piece, link);
        bt_list_remove(&one->link);
        (void)!read(a->done_fd, &count, sizeof count);
    }
    pthread_mutex_unlock(&a->lock);
    return one;
}

bool bt_aside_withdraw(struct bt_aside *a, struct bt_piece *one) {
    bool waits = false;
    pthread_mutex_lock(&a->lock);
    for (struct bt_list *n = a->todo.next; n != &a->todo && !waits; n = n->next)
        waits = n == &one->link;
    if (waits)
        bt_list_remove(&one->link);
    pthread_mutex_unlock(&a->lock);
    return waits;
}

static void aside_free(struct bt_aside *a) {
    if (a->done_fd >= 0)
        close(a->done_fd);
    pthread_cond_destroy(&a->work);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

baton_status bt_aside_open(struct bt_aside **aside, baton_error *err) {
    struct bt_aside *a = *aside = calloc(1, sizeof *a);
    if (!a)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for what is done beside the loop");
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->work, NULL);
    bt_list_init(&a->todo);
    bt_list_init(&a->done);
    a->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    int code = a->done_fd < 0 ? errno : bt_thread_start(&a->thread, aside_main, a);
    if (code == 0)
        return BATON_OK;
    *aside = NULL;
    aside_free(a);
    return bt_fail(err, BATON_NO_MEMORY, "no thread beside the loop: %s", strerror(code));
}

void bt_aside_close(struct bt_aside **aside) {
    struct bt_aside *a = *aside;
    *aside = NULL;
    if (!a)
        return;
    pthread_mutex_lock(&a->lock);
    a->closing = true;
    pthread_cond_signal(&a->work);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    aside_free(a);
}
