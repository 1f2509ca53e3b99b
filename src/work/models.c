/* From a task to a request at the front and back to the task's answer. A job is its task's, from start to ended.
 * State: struct bt_work_models. */
#include "work/models.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/list.h"
#include "serve/draw_in.h"
#include "serve/embed_out.h"
#include "serve/openai_out.h"
#include "serve/served.h"
#include "serve/speech_out.h"
#include "task/json.h"
#include "work/slow.h"

struct bt_work_models {
    struct bt_work_models_params params;
    struct bt_worker *worker;
    struct bt_served models[BT_CONFIG_MODELS_MAX];
    struct bt_serve_role roles[BT_CONFIG_ROLES_MAX];
    struct bt_served_set served; /* of those */
    struct bt_list jobs;
    struct bt_aside *aside; /* since the first transcription or image */
    struct bt_buf scratch;
};

/* Of a transcription; its text is in `out`. */
struct speech {
    struct bt_speech_out out;
    bool verbose;
    int64_t audio_ms;
    struct bt_reading asked; /* until there is a request */
    baton_status lost;       /* what came makes no sense, or there was no memory for it */
};

struct drawing {
    struct bt_draw_out out;
    struct bt_writing answer; /* once there is a result */
    baton_status lost;        /* as of speech */
};

struct job {
    struct bt_work_models *models;
    struct bt_task *task;
    struct bt_request *request;
    struct bt_openai_out out;
    struct bt_embed_request *asked; /* vectors or scores; NULL: text */
    struct speech *speech;          /* NULL: something else */
    struct drawing *drawing;        /* likewise */
    const struct bt_served *model;
    struct bt_buf text;       /* or the records */
    uint32_t pieces, unacked; /* unacked: taken, and told to the front once the parent has made room */
    bool events, too_long;
    struct bt_list link;
};

static void job_free(struct job *j) {
    bt_list_remove(&j->link);
    if (j->asked)
        bt_embed_request_free(j->asked);
    free(j->asked);
    if (j->speech) {
        bt_speech_out_free(&j->speech->out);
        bt_speech_request_free(&j->speech->asked.request);
    }
    free(j->speech);
    if (j->drawing) {
        bt_draw_out_free(&j->drawing->out);
        bt_buf_free(&j->drawing->answer.body);
    }
    free(j->drawing);
    bt_openai_out_free(&j->out);
    bt_buf_free(&j->text);
    free(j);
}

static void tell_piece(struct job *j, const char *text, size_t len) {
    struct bt_buf *b = &j->models->scratch;
    b->len = 0;
    bt_buf_addf(b, ",\"index\":%" PRIu32 ",\"text\":", j->pieces);
    bt_json_string(b, text, len);
    if (!b->failed)
        bt_worker_event(j->models->worker, j->task, "token", (struct bt_text){(const char *)b->data, b->len});
}

static void on_text(void *arg, const char *text, size_t len) {
    struct job *j = arg;
    bt_buf_add(&j->text, text, len);
    if (j->events && len > 0)
        tell_piece(j, text, len);
    j->pieces++;
    if (j->text.len > BT_LINE_OUT_MAX && !j->too_long) {
        j->too_long = true;
        bt_request_cancel(j->request, BATON_CANCELLED);
    }
    if (bt_worker_room(j->models->worker))
        bt_request_consumed(j->request, 1);
    else
        j->unacked++;
}

static void on_data(void *arg, const char *bytes, size_t len) {
    struct job *j = arg;
    bt_buf_add(&j->text, bytes, len);
}

/* Segments have no window as tokens have: there are no more than the audio has. */
static void on_heard(void *arg, const char *bytes, size_t len) {
    struct job *j = arg;
    struct speech *s = j->speech;
    struct bt_buf *b = &j->models->scratch;
    if (s->lost)
        return;
    bt_speech_out_add(&s->out, bytes, len);
    while (b->len = 0, (s->lost = bt_speech_out_next(&s->out, b)) == BATON_OK)
        if (j->events)
            bt_worker_event(j->models->worker, j->task, "segment", (struct bt_text){(const char *)b->data, b->len});
    if (s->lost == BATON_AGAIN)
        s->lost = BATON_OK;
    else
        bt_request_cancel(j->request, BATON_CANCELLED);
}

static void on_drawn(void *arg, const char *bytes, size_t len) {
    struct job *j = arg;
    struct drawing *d = j->drawing;
    if (d->lost)
        return;
    d->lost = bt_draw_out_add(&d->out, bytes, len);
    if (d->lost)
        bt_request_cancel(j->request, BATON_CANCELLED);
}

/* Of steps a parent that does not read misses some. */
static void on_step(void *arg, const char *bytes, size_t len) {
    struct job *j = arg;
    struct bt_buf *b = &j->models->scratch;
    b->len = 0;
    if (j->events && bt_worker_room(j->models->worker) && bt_draw_out_news(bytes, len, b) == BATON_OK && !b->failed)
        bt_worker_event(j->models->worker, j->task, "step", (struct bt_text){(const char *)b->data, b->len});
}

static baton_status put_answer(const struct job *j, const struct bt_outcome *o, struct bt_buf *b) {
    struct bt_text text = {(const char *)j->text.data, j->text.len};
    if (j->asked)
        return bt_embed_out(j->asked, j->model->names[0], bt_front_info(j->model->front)->ready.width, text, o, b);
    if (j->speech)
        bt_speech_out_whole(&j->speech->out, j->speech->verbose, j->speech->audio_ms, b);
    else
        bt_openai_whole(&j->out, o, text.data, text.len, b);
    return BATON_OK;
}

static void answer_ok(struct job *j, const struct bt_outcome *o) {
    struct bt_buf *b = &j->models->scratch;
    b->len = 0;
    baton_status status = j->text.failed ? BATON_NO_MEMORY : put_answer(j, o, b);
    struct bt_answer a = {
        .status = status, .result = {(const char *)b->data, b->len}, .error = "the native library computed no numbers"};
    if (b->failed || status == BATON_NO_MEMORY)
        a = (struct bt_answer){.status = BATON_NO_MEMORY, .error = "no memory for the answer"};
    bt_worker_answer(j->models->worker, j->task, &a);
}

/* What there is of an answer's text. */
static struct bt_text said(const struct job *j) {
    const struct bt_buf *b = j->speech ? &j->speech->out.text : &j->text;
    return (struct bt_text){(const char *)b->data, j->asked ? 0 : b->len};
}

static void ended(struct job *j) {
    struct bt_worker *worker = j->models->worker;
    struct bt_task *t = j->task;
    struct bt_buf *scratch = &j->models->scratch;
    if (scratch->failed || scratch->cap > BT_OUT_HIGH)
        bt_buf_free(scratch);
    job_free(j);
    bt_worker_ended(worker, t);
}

static baton_status lost(const struct job *j) {
    return j->speech ? j->speech->lost : j->drawing ? j->drawing->lost : BATON_OK;
}

static void was_written(struct job *j) {
    struct bt_writing *w = &j->drawing->answer;
    struct bt_answer a = {
        .status = w->status, .result = {(const char *)w->body.data, w->body.len}, .error = w->err.text};
    if (w->status == BATON_TOO_LONG)
        a.error = "the answer does not fit into a line of 10 MiB: ask for fewer images, or smaller ones";
    bt_worker_answer(j->models->worker, j->task, &a);
    ended(j);
}

static void write_images(struct job *j) {
    struct drawing *d = j->drawing;
    d->answer = (struct bt_writing){.piece = {.run = bt_writing_run, .arg = j},
                                    .drawn = &d->out,
                                    .created = time(NULL),
                                    .most = BT_LINE_OUT_MAX - BT_LINE_HEAD};
    bt_aside_add(j->models->aside, &d->answer.piece);
}

static void on_done(void *arg, const struct bt_outcome *o) {
    struct job *j = arg;
    struct bt_work_models *m = j->models;
    struct bt_answer cut = {.status = o->status, .error = o->error, .partial = said(j)};
    j->request = NULL;
    if (j->too_long) {
        cut.status = BATON_TOO_LONG;
        cut.error = "the answer does not fit into a line of 10 MiB: lower max_tokens";
        bt_worker_answer(m->worker, j->task, &cut);
    } else if (lost(j)) {
        cut.status = lost(j) == BATON_NO_MEMORY ? BATON_NO_MEMORY : BATON_FAILED;
        cut.error = "what came of it could not be kept";
        bt_worker_answer(m->worker, j->task, &cut);
    } else if (o->status == BATON_OK && j->drawing) {
        write_images(j);
        return;
    } else if (o->status == BATON_OK) {
        answer_ok(j, o);
    } else {
        bt_worker_answer(m->worker, j->task, &cut);
    }
    ended(j);
}

enum kind { CHAT, COMPLETION, EMBED, SCORE, TRANSCRIBE, IMAGE };

#define KINDS "\"chat\", \"completion\", \"embed\", \"score\", \"transcribe\" or \"image\""

/* What the payload asks for, or why it cannot be had. */
static baton_status kind_of(const struct bt_task_line *is, enum kind *kind, baton_error *err) {
    static const char *const names[] = {[CHAT] = "chat",   [COMPLETION] = "completion", [EMBED] = "embed",
                                        [SCORE] = "score", [TRANSCRIBE] = "transcribe", [IMAGE] = "image"};
    if (is->payload.data[0] == 'n')
        return bt_fail(err, BATON_INVALID,
                       "payload is null: expected an object with kind (runqy sends null where the payload was no JSON, "
                       "and when it retries a task of the legacy form)");
    if (is->payload.data[0] != '{')
        return bt_fail(err, BATON_INVALID, "payload is %.*s: expected an object with kind",
                       (int)BT_MIN(is->payload.len, 40u), is->payload.data);
    if (is->work_kind.len == 0)
        return bt_fail(err, BATON_INVALID, "payload.kind is missing: expected " KINDS);
    for (size_t i = 0; i < BT_COUNT(names); i++)
        if (bt_json_says(is->work_kind, names[i])) {
            *kind = (enum kind)i;
            return BATON_OK;
        }
    return bt_fail(err, BATON_INVALID, "payload.kind is %.*s: expected " KINDS, (int)BT_MIN(is->work_kind.len, 40u),
                   is->work_kind.data);
}

static baton_status status_of(const struct bt_api_error *e, baton_error *err) {
    baton_status status = e->status == 404                                      ? BATON_NOT_FOUND
                          : e->status >= 500                                    ? BATON_NO_MEMORY
                          : e->code && strncmp(e->code, "unsupported", 11) == 0 ? BATON_UNSUPPORTED
                                                                                : BATON_INVALID;
    return bt_fail(err, status, "%s", e->text);
}

struct choice {
    const struct bt_served_set *set;
    bool hears, draws; /* what is asked */
};

/* Who names none means the first that can; without such a one, the first says why it cannot. */
static const struct bt_openai_model *choose(void *arg, const char *name, char *why, size_t size) {
    const struct choice *c = arg;
    for (int i = 0; i < c->set->n && !name; i++)
        if (c->set->models[i].openai.hears == c->hears && c->set->models[i].openai.draws == c->draws)
            return &c->set->models[i].openai;
    return bt_served_choose((void *)c->set, name, why, size);
}

/* For what is neither speech nor images. */
static baton_status check_reads(const struct bt_openai_model *model, baton_error *err) {
    if (!model->hears && !model->draws)
        return BATON_OK;
    return bt_fail(err, BATON_UNSUPPORTED, "%s is a model of kind = %s: ask it with kind \"%s\", or another",
                   BT_CONTAINER(model, const struct bt_served, openai)->names[0], model->hears ? "speech" : "image",
                   model->hears ? "transcribe" : "image");
}

static bool tells(const struct job *j, bool asked) {
    enum bt_work_events events = j->models->params.events;
    return events == BT_EVENTS_ALL || (events == BT_EVENTS_ASKED && asked);
}

static baton_status submit_text(struct job *j, struct bt_openai_request *r, baton_error *err) {
    const struct bt_handler handler = {.on_text = on_text, .on_done = on_done, .arg = j};
    j->events = tells(j, r->stream);
    if (!bt_openai_out_init(&j->out, r->chat, false, bt_random64(), time(NULL), j->model->names[0]))
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the task");
    r->submit.window = BT_WINDOW;
    r->submit.flow = j->task->waiter.flow;
    return bt_front_submit(j->model->front, &r->submit, NULL, &handler, &j->request, err);
}

static baton_status submit_vectors(struct job *j, baton_error *err) {
    const struct bt_handler handler = {.on_done = on_done, .on_data = on_data, .arg = j};
    struct bt_api_error e;
    if (!bt_embed_fits(j->asked, j->model->names[0], bt_front_info(j->model->front)->ready.width, &e))
        return status_of(&e, err);
    j->asked->submit.flow = j->task->waiter.flow;
    return bt_front_submit(j->model->front, &j->asked->submit, NULL, &handler, &j->request, err);
}

static struct job *job_new(struct bt_work_models *m, struct bt_task *t, const struct bt_openai_model *model) {
    struct job *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    *j = (struct job){.models = m, .task = t, .model = BT_CONTAINER(model, struct bt_served, openai)};
    bt_list_append(&m->jobs, &j->link);
    return j;
}

/* Takes the job if it was begun; frees it if not. */
static baton_status began(struct job *j, baton_status status) {
    if (status == BATON_OK)
        j->task->run = j;
    else
        job_free(j);
    return status;
}

static baton_status start_text(struct bt_work_models *m, struct bt_task *t, bool chat, baton_error *err) {
    struct choice choice = {&m->served, false, false};
    const struct bt_openai_models models = {choose, &choice};
    struct bt_openai_request r;
    struct bt_api_error e;
    if (!bt_openai_parse(&r, chat, t->is.payload.data, t->is.payload.len, &models, bt_random64(), &e))
        return status_of(&e, err);
    baton_status status = check_reads(r.model, err);
    struct job *j = status ? NULL : job_new(m, t, r.model);
    if (!status)
        status = j ? began(j, submit_text(j, &r, err)) : bt_fail(err, BATON_NO_MEMORY, "no memory for the task");
    bt_openai_request_free(&r);
    return status;
}

static baton_status start_vectors(struct bt_work_models *m, struct bt_task *t, bool score, baton_error *err) {
    struct choice choice = {&m->served, false, false};
    const struct bt_openai_models models = {choose, &choice};
    struct bt_text p = t->is.payload;
    struct bt_embed_request r;
    struct bt_api_error e;
    if (!(score ? bt_rerank_parse : bt_embed_parse)(&r, p.data, p.len, &models, &e))
        return status_of(&e, err);
    if (check_reads(r.model, err)) {
        bt_embed_request_free(&r);
        return err->status;
    }
    struct job *j = job_new(m, t, r.model);
    struct bt_embed_request *asked = j ? malloc(sizeof *asked) : NULL;
    if (!asked) {
        bt_embed_request_free(&r);
        if (j)
            job_free(j);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the task");
    }
    *asked = r;
    j->asked = asked;
    return began(j, submit_vectors(j, err));
}

static baton_status submit_speech(struct job *j, baton_error *err) {
    const struct bt_handler handler = {.on_done = on_done, .on_data = on_heard, .arg = j};
    struct speech *s = j->speech;
    struct bt_speech_request *r = &s->asked.request;
    if (!s->asked.ok)
        return status_of(&s->asked.error, err);
    s->verbose = r->verbose;
    s->audio_ms = r->audio_ms;
    j->events = tells(j, r->stream);
    r->submit.flow = j->task->waiter.flow;
    baton_status status = bt_front_submit(j->model->front, &r->submit, NULL, &handler, &j->request, err);
    bt_speech_request_free(r);
    return status;
}

/* What was asked has been read. */
static void was_read(struct job *j) {
    baton_error err = {.text = ""};
    baton_status status = j->task->cancelled ? bt_fail(&err, j->task->cancelled, "%s", "") : submit_speech(j, &err);
    if (status == BATON_OK)
        return;
    bt_worker_answer(j->models->worker, j->task, &(struct bt_answer){.status = status, .error = err.text});
    ended(j);
}

static void was_done(struct job *j) {
    if (j->speech)
        was_read(j);
    else
        was_written(j);
}

/* The model of a payload, or why there is none: what only the loop can tell. False: out of memory. */
static bool choose_for(struct bt_work_models *m, struct bt_reading *one) {
    struct choice choice = {&m->served, true, false};
    struct bt_text named = bt_json_find(one->payload, "model");
    struct bt_buf name = BT_BUF_INIT;
    if (bt_json_is_string(named))
        bt_json_decode(named, &name);
    bt_buf_add(&name, "", 1);
    bool ok = !name.failed;
    if (ok)
        one->model = choose(&choice, name.len > 1 ? (const char *)name.data : NULL, one->why, sizeof one->why);
    bt_buf_free(&name);
    return ok;
}

static baton_status start_speech(struct bt_work_models *m, struct bt_task *t, baton_error *err) {
    if (!m->aside && bt_aside_open(&m->aside, err))
        return err->status;
    struct job *j = job_new(m, t, &m->models[0].openai);
    struct speech *s = j ? calloc(1, sizeof *s) : NULL;
    if (s) {
        j->speech = s;
        s->asked.payload = t->is.payload;
        s->asked.piece = (struct bt_piece){.run = bt_reading_run, .arg = j};
    }
    if (!s || !choose_for(m, &s->asked)) {
        if (j)
            job_free(j);
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the task");
    }
    if (s->asked.model)
        j->model = BT_CONTAINER(s->asked.model, struct bt_served, openai);
    bt_aside_add(m->aside, &s->asked.piece);
    return began(j, BATON_OK);
}

static baton_status submit_drawing(struct job *j, struct bt_draw_request *r, baton_error *err) {
    const struct bt_handler handler = {.on_done = on_done, .on_data = on_drawn, .arg = j, .on_news = on_step};
    struct drawing *d = j->drawing = calloc(1, sizeof *d);
    if (!d)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the task");
    d->out.seed = r->seed;
    d->out.count = r->count;
    j->events = tells(j, r->stream);
    r->submit.flow = j->task->waiter.flow;
    return bt_front_submit(j->model->front, &r->submit, NULL, &handler, &j->request, err);
}

static baton_status start_drawing(struct bt_work_models *m, struct bt_task *t, baton_error *err) {
    struct choice choice = {&m->served, false, true};
    const struct bt_openai_models models = {choose, &choice};
    struct bt_draw_request r;
    struct bt_api_error e;
    if (!m->aside && bt_aside_open(&m->aside, err))
        return err->status;
    if (!bt_draw_parse(&r, t->is.payload.data, t->is.payload.len, &models, bt_random64(), &e))
        return status_of(&e, err);
    struct job *j = job_new(m, t, r.model);
    baton_status status =
        j ? began(j, submit_drawing(j, &r, err)) : bt_fail(err, BATON_NO_MEMORY, "no memory for the task");
    bt_draw_request_free(&r);
    return status;
}

static baton_status start(void *arg, struct bt_task *t, baton_error *err) {
    struct bt_work_models *m = arg;
    enum kind kind = CHAT;
    baton_status status = kind_of(&t->is, &kind, err);
    if (status)
        return status;
    if (kind == TRANSCRIBE)
        return start_speech(m, t, err);
    if (kind == IMAGE)
        return start_drawing(m, t, err);
    return kind == EMBED || kind == SCORE ? start_vectors(m, t, kind == SCORE, err)
                                          : start_text(m, t, kind == CHAT, err);
}

static void cancel(void *arg, struct bt_task *t, baton_status reason) {
    struct bt_work_models *m = arg;
    struct job *j = t->run;
    if (j->request) {
        bt_request_cancel(j->request, reason);
        return;
    }
    /* what it says is being read, or what came of it written, or will be */
    bt_worker_answer(m->worker, t, &(struct bt_answer){.status = reason});
    if (bt_aside_withdraw(m->aside, j->speech ? &j->speech->asked.piece : &j->drawing->answer.piece))
        ended(j);
}

static void watch(void *arg, struct bt_watch *w) {
    struct bt_work_models *m = arg;
    for (int i = 0; i < m->served.n; i++)
        bt_watch_add(w, bt_front_fd(m->models[i].front), POLLIN);
    bt_watch_add(w, m->aside ? bt_aside_fd(m->aside) : -1, POLLIN);
}

static baton_status pump(void *arg, const struct pollfd *fds, size_t n, baton_error *err) {
    struct bt_work_models *m = arg;
    struct bt_piece *piece;
    if (n > 0 && fds[n - 1].revents) /* the last one, by watch */
        while ((piece = bt_aside_next(m->aside)))
            was_done(piece->arg);
    for (size_t i = 0; i + 1 < n; i++) {
        struct bt_front_counts counts;
        struct bt_front *f = m->models[i].front;
        baton_status status = fds[i].revents ? bt_front_pump(f) : BATON_OK;
        if (status)
            bt_log(BATON_LOG_ERROR, "an owner of %s is gone: %s", m->models[i].names[0], baton_status_text(status));
        bt_front_counts(f, &counts);
        if (counts.dead_contexts == bt_front_info(f)->contexts)
            return bt_fail(err, BATON_CRASHED, "no owner of %s is left", m->models[i].names[0]);
    }
    return BATON_OK;
}

static int64_t tick(void *arg) {
    struct bt_work_models *m = arg;
    int64_t next = BT_NEVER_NS;
    for (int i = 0; i < m->served.n; i++) {
        int64_t one = bt_front_tick(m->models[i].front);
        next = BT_MIN(next, one);
    }
    return next;
}

static void room(void *arg) {
    struct bt_work_models *m = arg;
    for (struct bt_list *n = m->jobs.next; n != &m->jobs; n = n->next) {
        struct job *j = BT_CONTAINER(n, struct job, link);
        uint32_t taken = j->unacked;
        j->unacked = 0;
        if (taken > 0 && j->request)
            bt_request_consumed(j->request, taken);
    }
}

struct bt_runner bt_work_models_runner(struct bt_work_models *models) {
    return (struct bt_runner){
        .arg = models, .start = start, .cancel = cancel, .watch = watch, .pump = pump, .tick = tick, .room = room};
}

static baton_status open_model(struct bt_work_models *m, const struct bt_model_settings *settings, baton_error *err) {
    struct bt_front *opened;
    struct bt_front_params front;
    memset(&front, 0, sizeof front);
    bt_model_settings_front(settings, &front);
    baton_status status = bt_front_open(&front, &opened, err);
    if (status)
        return status;
    struct bt_served *s = &m->models[m->served.n++];
    bt_served_init(s, opened, settings->name, settings->file);
    s->openai.hears = settings->kind == BT_MODEL_SPEECH;
    s->openai.draws = settings->kind == BT_MODEL_IMAGE;
    return BATON_OK;
}

baton_status bt_work_models_open(const struct bt_work_models_params *params, struct bt_worker *worker,
                                 struct bt_work_models **models, baton_error *err) {
    struct bt_work_models *m = *models = calloc(1, sizeof *m);
    if (!m)
        return bt_fail(err, BATON_NO_MEMORY, "no memory for the worker's models");
    m->worker = worker;
    m->params = *params;
    m->served.models = m->models;
    bt_list_init(&m->jobs);
    baton_status status = BATON_OK;
    for (int i = 0; status == BATON_OK && i < params->n_models; i++)
        status = open_model(m, &params->models[i], err);
    for (int i = 0; i < params->n_roles; i++)
        m->roles[i] = (struct bt_serve_role){params->roles[i].name, params->roles[i].targets, params->roles[i].n};
    status = status ? status : bt_served_resolve(&m->served, m->roles, params->n_roles, err);
    if (status)
        bt_work_models_close(models);
    return status;
}

void bt_work_models_close(struct bt_work_models **models) {
    struct bt_work_models *m = *models;
    *models = NULL;
    if (!m)
        return;
    bt_aside_close(&m->aside);
    for (int i = 0; i < m->served.n; i++)
        bt_front_close(&m->models[i].front);
    bt_served_free(&m->served);
    bt_buf_free(&m->scratch);
    free(m);
}
