/* The fake owners: everything that a real one says and does, and ways to die. State: the world's. */
#include "world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/assemble.h"

void owner_start(struct world *w, int i) {
    struct owner *o = &w->owners[i];
    owner_free(o);
    memset(o, 0, sizeof *o);
    o->state = LOADING;
    o->is_thread = w->threads;
    bool never = !w->quiet && w->failures > 0 && world_chance(w, 5);
    w->failures -= never;
    o->loaded_ns = w->now_ns + (int64_t)world_draw(w, 200) * BT_NS_PER_MS;
    o->ready_ns = never ? BT_NEVER_NS : w->now_ns + (int64_t)world_draw(w, 300) * BT_NS_PER_MS;
    world_say(w, "owner %d starts%s", i, never ? ", and will never be ready" : "");
}

void owner_free(struct owner *o) {
    bt_buf_free(&o->to);
    bt_buf_free(&o->in);
    bt_buf_free(&o->out);
    bt_buf_free(&o->pipe);
    bt_buf_free(&o->got);
}

static void flush(struct owner *o) {
    bt_buf_add(&o->pipe, o->out.data, o->out.len);
    o->out.len = 0;
}

void owner_dies(struct world *w, int i, int kind, int code, const char *words) {
    struct owner *o = &w->owners[i];
    o->state = DEAD;
    o->n_jobs = 0;
    o->out.len = o->out.len > 0 ? world_draw(w, o->out.len) : 0;
    flush(o);
    o->end.kind = w->echild ? BT_END_UNKNOWN : kind;
    o->end.code = code;
    snprintf(o->end.text, sizeof o->end.text, "%s", words);
    world_say(w, "owner %d dies: %s", i, words);
}

/* Of one of its requests: an outcome that is the front's to tell. */
static void lies(struct world *w, int i) {
    static const baton_status lies[] = {BATON_QUEUE_TIMEOUT, BATON_CRASHED, BATON_CLOSED, BATON_CANCELLED, BATON_END};
    struct owner *o = &w->owners[i];
    const struct job *j = &o->jobs[world_draw(w, (uint64_t)o->n_jobs)];
    world_say(w, "owner %d lies about request %d", i, j->client);
    bt_put_done(&o->pipe, &(struct bt_frame_done){.id = (uint64_t)j->client + 1,
                                                  .attempt = j->attempt,
                                                  .outcome = lies[world_draw(w, BT_COUNT(lies))],
                                                  .text = {"", 0},
                                                  .error = {"", 0}});
    o->state = STUCK;
}

static void sins(struct world *w, int i, enum vice vice) {
    static const unsigned char garbage[] = {9, 0, 0, 0, 250, 1, 2, 3};
    struct owner *o = &w->owners[i];
    switch (vice) {
    case SEGV:
        owner_dies(w, i, BT_END_SIGNALLED, SIGSEGV, "segv");
        break;
    case ABRT:
        owner_dies(w, i, BT_END_SIGNALLED, SIGABRT, "assert");
        break;
    case EXIT0:
        owner_dies(w, i, BT_END_EXITED, 0, "exit 0");
        break;
    case HANG:
        world_say(w, "owner %d hangs", i);
        o->state = STUCK;
        break;
    case LIE:
        lies(w, i);
        break;
    default:
        world_say(w, "owner %d talks garbage", i);
        bt_buf_add(&o->pipe, garbage, sizeof garbage);
        o->state = STUCK;
    }
}

static void pulse(struct world *w, int i, bool listed) {
    static struct bt_pulse p;
    struct owner *o = &w->owners[i];
    p.steps = 1;
    p.call_ns = BT_NS_PER_MS;
    p.listed = listed;
    p.n = 0;
    for (int k = 0; k < o->n_jobs && listed; k++) {
        p.list[p.n].id = (uint64_t)o->jobs[k].client + 1;
        p.list[p.n++].standing = o->jobs[k].told;
    }
    bt_put_pulse(&o->out, &p);
    flush(o);
    o->pulsed_ns = w->now_ns;
}

void owner_pulses(struct world *w, int i) {
    if (w->owners[i].state == LIVE)
        pulse(w, i, false);
}

static void remove_job(struct owner *o, int k) {
    o->jobs[k] = o->jobs[--o->n_jobs];
}

static void finish(struct owner *o, int k, baton_status status, enum bt_finish finish) {
    struct job *j = &o->jobs[k];
    char text[TEXT + 1] = "";
    if (j->n > 0 && held_at(j->n - 1))
        text_of(j->client, j->n - 1, text);
    bt_put_done(&o->out, &(struct bt_frame_done){.id = (uint64_t)j->client + 1,
                                                 .attempt = j->attempt,
                                                 .outcome = status,
                                                 .finish = finish,
                                                 .answer_tokens = (uint32_t)j->n,
                                                 .text = {text, strlen(text)},
                                                 .error = {"", 0}});
    remove_job(o, k);
}

/* What is resumed must be what was made. */
static void check_resume(struct world *w, int client, const struct bt_submit *s) {
    for (size_t t = 0; t < s->n_resume; t++)
        world_expect(w, s->resume[t] == token_of(client, (int32_t)t), "a resume carries the tokens that were made");
    world_expect(
        w, s->n_resume * TEXT >= w->clients[client].len && s->n_resume * TEXT <= w->clients[client].len + 2 * TEXT,
        "a resume carries as much as was delivered");
}

static void take_submit(struct world *w, int i, const struct bt_frame *f) {
    struct owner *o = &w->owners[i];
    struct bt_bodies bodies;
    struct bt_body *body;
    struct bt_submit s;
    bt_bodies_init(&bodies, 1);
    if (bt_bodies_take(&bodies, f, &body) != BATON_OK ||
        bt_get_submit(&body->head, body->bytes.data, body->bytes.len, &s) != BATON_OK) {
        world_expect(w, false, "a SUBMIT can be read");
        return;
    }
    world_expect(w, o->n_jobs < w->sequences, "an owner has no more requests than sequences");
    int client = (int)s.id - 1;
    for (int k = 0; k < o->n_jobs; k++)
        world_expect(w, o->jobs[k].client != client, "a request is once on an owner");
    if (!w->clients[client].abandoned)
        check_resume(w, client, &s);
    if (o->n_jobs < JOBS_MAX)
        o->jobs[o->n_jobs++] = (struct job){.client = client,
                                            .attempt = s.attempt,
                                            .n = (int32_t)s.n_resume,
                                            .max_tokens = s.max_tokens,
                                            .window = s.window,
                                            .sent = (uint32_t)s.n_resume,
                                            .acked = (uint32_t)s.n_resume - s.resume_unread};
    world_say(w, "owner %d takes request %d, attempt %u, %zu tokens, at most %d", i, client, s.attempt, s.n_resume,
              s.max_tokens);
    bt_submit_free(&s);
    bt_body_free(body);
    bt_bodies_free(&bodies);
}

static struct job *job_of(struct owner *o, uint64_t id) {
    for (int k = 0; k < o->n_jobs; k++)
        if (o->jobs[k].client + 1 == (int)id)
            return &o->jobs[k];
    return NULL;
}

static void take(struct world *w, int i, const struct bt_frame *f) {
    struct owner *o = &w->owners[i];
    baton_status reason;
    uint64_t id;
    uint32_t n;
    struct job *j;
    bool drain;
    switch (f->type) {
    case BT_FRAME_HELLO:
        break;
    case BT_FRAME_SUBMIT:
        take_submit(w, i, f);
        break;
    case BT_FRAME_CANCEL:
        if (bt_get_cancel(f, &id, &reason) == BATON_OK && (j = job_of(o, id)))
            j->cancelled = reason;
        break;
    case BT_FRAME_ACK:
        if (bt_get_ack(f, &id, &n) == BATON_OK && (j = job_of(o, id)))
            j->acked += BT_MIN(n, j->sent - j->acked);
        break;
    case BT_FRAME_CLOSE:
        o->closing = bt_get_close(f, &drain) == BATON_OK;
        break;
    default:
        world_expect(w, false, "the front says what owners understand");
    }
}

static bool reads(struct world *w, int i) {
    struct owner *o = &w->owners[i];
    struct bt_frame f;
    size_t at = 0;
    bool any = false;
    if (o->to.len == 0)
        return false;
    bt_buf_add(&o->in, o->to.data, o->to.len);
    o->to.len = 0;
    for (; bt_frame_peek(o->in.data + at, o->in.len - at, &f) == BATON_OK; at += f.size, any = true)
        take(w, i, &f);
    bt_buf_drop(&o->in, at);
    for (int k = 0; k < o->n_jobs; k++)
        if (o->jobs[k].phase == FRESH) {
            o->jobs[k].phase = PREPARING;
            o->jobs[k].told = BT_STANDING_PREPARING;
        }
    if (any)
        pulse(w, i, true);
    return true;
}

static bool prepares(struct world *w, int i) {
    struct owner *o = &w->owners[i];
    for (int k = 0; k < o->n_jobs; k++) {
        const struct client *c = &w->clients[o->jobs[k].client];
        if (o->jobs[k].phase != PREPARING)
            continue;
        if (c->vice && c->vice_at < 0) {
            world_say(w, "request %d in preparation:", o->jobs[k].client);
            sins(w, i, c->vice);
        } else {
            o->jobs[k].phase = PREPARED;
        }
        return true;
    }
    return false;
}

static bool ends_cancelled(struct world *w, int i) {
    struct owner *o = &w->owners[i];
    for (int k = 0; k < o->n_jobs; k++)
        if (o->jobs[k].cancelled && o->jobs[k].phase == PREPARED) {
            world_say(w, "owner %d ends request %d, cancelled", i, o->jobs[k].client);
            finish(o, k, o->jobs[k].cancelled, BT_FINISH_NONE);
            flush(o);
            return true;
        }
    return false;
}

static void draw_token(struct world *w, struct owner *o, int k) {
    struct job *j = &o->jobs[k];
    const struct client *c = &w->clients[j->client];
    char text[2 * TEXT + 1] = "";
    if (j->n == c->length) {
        finish(o, k, BATON_OK, BT_FINISH_STOP);
        return;
    }
    if (!held_at(j->n)) {
        if (j->n > 0 && held_at(j->n - 1))
            text_of(j->client, j->n - 1, text);
        text_of(j->client, j->n, text + strlen(text));
    }
    bt_put_token(&o->out, &(struct bt_frame_token){(uint64_t)j->client + 1,
                                                   j->attempt,
                                                   (uint32_t)j->n,
                                                   token_of(j->client, j->n),
                                                   held_at(j->n) ? TEXT : 0,
                                                   {text, strlen(text)}});
    j->n++;
    j->sent++;
    if (j->n == j->max_tokens)
        finish(o, k, BATON_OK, BT_FINISH_LENGTH);
}

/* Who takes part: whose reader keeps up, and a prompt now and then has to wait for its turn. */
static int choose(struct world *w, struct owner *o, bool *changed) {
    int n = 0;
    *changed = false;
    for (int k = 0; k < o->n_jobs; k++) {
        struct job *j = &o->jobs[k];
        if (j->phase != PREPARED)
            continue;
        j->in_step = j->sent - j->acked < j->window && !world_chance(w, 10);
        enum bt_standing standing = j->in_step ? BT_STANDING_STEPPING : BT_STANDING_RESTING;
        *changed |= standing != j->told;
        j->told = standing;
        n += j->in_step;
    }
    return n;
}

static bool steps(struct world *w, int i) {
    struct owner *o = &w->owners[i];
    bool changed;
    for (int k = o->n_jobs - 1; k >= 0; k--)
        if (o->jobs[k].phase == PREPARED && o->jobs[k].n == o->jobs[k].max_tokens)
            finish(o, k, BATON_OK, BT_FINISH_LENGTH);
    int n = choose(w, o, &changed);
    if (changed)
        pulse(w, i, true);
    if (!w->quiet && n > 0 && w->faults > 0 && !bt_dispatch_probation(&w->dispatch, i) && world_chance(w, 4)) {
        w->faults--;
        world_say(w, "a fault that is nobody's:");
        owner_dies(w, i, BT_END_SIGNALLED, SIGSEGV, "segv");
        return true;
    }
    for (int k = 0; k < o->n_jobs; k++) {
        const struct client *c = &w->clients[o->jobs[k].client];
        if (o->jobs[k].in_step && o->jobs[k].phase == PREPARED && c->vice && c->vice_at == o->jobs[k].n) {
            world_say(w, "request %d at token %d:", o->jobs[k].client, o->jobs[k].n);
            sins(w, i, c->vice);
            return true;
        }
    }
    for (int k = o->n_jobs - 1; k >= 0; k--)
        if (o->jobs[k].phase == PREPARED && o->jobs[k].in_step)
            draw_token(w, o, k);
    if (n > 0)
        world_say(w, "owner %d steps with %d", i, n);
    if (!world_chance(w, 20))
        flush(o);
    return n > 0 || o->out.len > 0;
}

static bool loads(struct world *w, int i) {
    struct owner *o = &w->owners[i];
    if (!o->loaded && w->now_ns >= o->loaded_ns) {
        world_say(w, "owner %d has loaded", i);
        o->loaded = true;
        pulse(w, i, false);
        return true;
    }
    if (w->now_ns < o->ready_ns)
        return false;
    bt_put_hello(&o->out);
    bt_put_ready(&o->out, &(struct bt_frame_ready){.sequences = (uint32_t)w->sequences,
                                                   .ctx = 64,
                                                   .info = {.vocab_size = 1 << 16},
                                                   .versions = {"", 0}});
    flush(o);
    o->state = LIVE;
    o->pulsed_ns = w->now_ns;
    world_say(w, "owner %d is ready", i);
    return true;
}

bool owner_acts(struct world *w, int i) {
    struct owner *o = &w->owners[i];
    if (o->state == LOADING)
        return loads(w, i);
    if (o->state != LIVE)
        return false;
    if (o->closing) {
        while (o->n_jobs > 0)
            finish(o, o->n_jobs - 1, BATON_CLOSED, BT_FINISH_NONE);
        flush(o);
        owner_dies(w, i, BT_END_EXITED, 0, "closed");
        return true;
    }
    switch (world_draw(w, 4)) {
    case 0:
        return reads(w, i) || prepares(w, i) || steps(w, i);
    case 1:
        return prepares(w, i) || reads(w, i) || steps(w, i);
    case 2:
        return ends_cancelled(w, i) || reads(w, i) || prepares(w, i);
    default:
        return steps(w, i) || reads(w, i) || prepares(w, i);
    }
}

/* As front.c does it: frames to the dispatch, what is none to it as garbage. */
static void hear(struct world *w, int i, size_t bytes) {
    struct owner *o = &w->owners[i];
    struct bt_frame f;
    size_t at = 0;
    baton_status status;
    bt_buf_add(&o->got, o->pipe.data, bytes);
    bt_buf_drop(&o->pipe, bytes);
    if (!bt_dispatch_listens(&w->dispatch, i)) {
        o->got.len = 0;
        return;
    }
    while ((status = bt_frame_peek(o->got.data + at, o->got.len - at, &f)) == BATON_OK) {
        at += f.size;
        bt_dispatch_frame(&w->dispatch, i, &f);
    }
    if (status != BATON_AGAIN) {
        bt_dispatch_garbage(&w->dispatch, i);
        at = o->got.len;
    }
    bt_buf_drop(&o->got, at);
}

bool owner_is_heard(struct world *w, int i, bool all) {
    struct owner *o = &w->owners[i];
    if (o->state == NOBODY)
        return false;
    if (o->pipe.len > 0 && !o->parted) {
        hear(w, i, all ? o->pipe.len : 1 + world_draw(w, o->pipe.len));
        return true;
    }
    if (o->state != DEAD || o->told_dead)
        return false;
    if (!o->parted && !o->is_thread && world_chance(w, 50)) {
        world_say(w, "the socket of owner %d has ended", i);
        o->parted = true;
        bt_dispatch_parted(&w->dispatch, i);
        return true;
    }
    struct bt_owner_end end = o->end;
    o->told_dead = true;
    o->state = NOBODY;
    o->to.len = 0;
    world_say(w, "the end of owner %d is known", i);
    bt_dispatch_ended(&w->dispatch, i, o->is_thread ? NULL : &end);
    return true;
}
