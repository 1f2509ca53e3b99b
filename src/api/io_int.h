/* What the files of the I/O thread share: see io.c for who may touch what. */
#ifndef BT_IO_INT_H
#define BT_IO_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "api/io.h"
#include "base/list.h"

struct bt_io {
    /* fixed after open */
    pthread_t thread;
    int wake; /* eventfd: a command or news */
    struct bt_front_info info;
    /* the I/O thread's */
    struct bt_front *front;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t done;
    struct bt_list commands, news;
    struct bt_list
        saveable; /* of streams: what is saved is asked for by the id, which is theirs until they are closed */
    bool closing;
    /* anybody */
    _Atomic int refs;
};

struct bt_io_stream {
    struct bt_io *io;
    uint64_t id;
    unsigned tid; /* who asked */
    _Atomic int refs;
    /* the I/O thread's */
    struct bt_request *request; /* NULL: over */
    /* under io->lock */
    struct bt_list news, saveable;
    /* under lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct bt_buf text; /* come and not yet read */
    struct bt_buf data; /* the same of a result that is no text */
    int context;        /* that it ran on, when it is over */
    uint32_t tokens, unread, taken;
    int64_t first_ns; /* when the first token came */
    bool over, dropped;
    int fd; /* eventfd, readable while next would not block; -1: nobody asked for one */
    baton_outcome outcome;
};

/* Runs `run` on the I/O thread and waits for it. False: the thread is ending and did not. */
bool bt_io_run(struct bt_io *io, void (*run)(struct bt_io *io, void *arg), void *arg);

/* Until s->changed, under s->lock; false when the time is up. */
bool bt_io_wait(pthread_cond_t *changed, pthread_mutex_t *lock, int64_t deadline_ns);

#endif
