/* Bodies on baton/sd.h: short requests, and some on threads of their own. */
#ifndef BT_DRAWING_UTIL_H
#define BT_DRAWING_UTIL_H

#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/prctl.h>

#include "baton/sd.h"
#include "harness.h"

static inline baton_sd *open_sd(const baton_policy *policy, const char *model, const char *upscaler) {
    baton_sd_params p = BATON_SD_PARAMS;
    baton_sd *sd;
    baton_error err;
    p.model = model;
    p.upscaler = upscaler;
    p.policy = policy;
    if (baton_sd_open(&sd, &p, &err))
        fail_msg("%s", err.text);
    return sd;
}

static inline baton_sd_ask short_ask(const char *prompt) {
    baton_sd_ask ask = BATON_SD_ASK;
    ask.prompt = prompt;
    ask.width = ask.height = 16;
    ask.steps = 4;
    ask.seed = 1;
    return ask;
}

/* A request on a thread of its own, which may be held inside its first step. */
struct painter {
    baton_sd *sd;
    baton_sd_ask ask;
    bool held;
    bool video;
    sem_t inside, leave;
    pthread_t thread;
    baton_status status;
    baton_error err;
    baton_sd_result result;
};

static inline bool stay(void *arg, int step, int steps) {
    struct painter *p = arg;
    (void)steps;
    if (step == 1 && p->held) {
        sem_post(&p->inside);
        sem_wait(&p->leave);
        p->held = false;
    }
    return true;
}

static inline void *paint(void *arg) {
    struct painter *p = arg;
    prctl(PR_SET_NAME, "the-painter");
    p->status = p->video ? baton_sd_generate_video(p->sd, &p->ask, &p->result, &p->err)
                         : baton_sd_generate_image(p->sd, &p->ask, &p->result, &p->err);
    return NULL;
}

static inline void paint_start_as(struct painter *p, baton_sd *sd, const baton_sd_ask *ask, bool held, bool video) {
    memset(p, 0, sizeof *p);
    p->sd = sd;
    p->ask = *ask;
    p->ask.on_progress = stay;
    p->ask.arg = p;
    p->held = held;
    p->video = video;
    sem_init(&p->inside, 0, 0);
    sem_init(&p->leave, 0, 0);
    assert_int_equal(pthread_create(&p->thread, NULL, paint, p), 0);
    if (held)
        sem_wait(&p->inside);
}

static inline void paint_start(struct painter *p, baton_sd *sd, const baton_sd_ask *ask, bool held) {
    paint_start_as(p, sd, ask, held, false);
}

static inline baton_status paint_end(struct painter *p) {
    sem_post(&p->leave);
    pthread_join(p->thread, NULL);
    sem_destroy(&p->inside);
    sem_destroy(&p->leave);
    return p->status;
}

static inline bool stop_at_two(void *arg, int step, int steps) {
    (void)arg, (void)steps;
    return step < 2;
}

static inline void same(const baton_sd_result *a, const baton_sd_result *b) {
    assert_int_equal(a->n, b->n);
    for (size_t i = 0; i < a->n; i++)
        assert_memory_equal(a->images[i].data, b->images[i].data, 16 * 16 * 3);
}

#endif
