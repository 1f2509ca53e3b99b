/* The shell around fronts, API and HTTP: descriptors, deadlines, signals, the start and the end.
 *
 * `settle` runs behind the callbacks that have told a front something: it asks that front, and no other, for its next
 * deadline, once, however many requests it was told about.
 *
 * State: the event loop's thread owns all of it. */
#include "serve/server.h"

#include "serve/api.h"
#include "serve/tls.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

/* A front, and when it is to be looked after. */
struct model {
    struct server *server;
    struct bt_front *front;
    struct event io, settle, deadline;
    int64_t deadline_at;
    bool watched;
};

struct server {
    const struct bt_serve_params *params;
    struct event_base *base;
    struct bt_http *http;
    struct bt_api api;
    struct bt_keys *keys;
    struct bt_tls *tls;
    struct model *models; /* as many as params has; served[i] is models[i] */
    struct bt_served *served;
    struct event idle, sigint, sigterm, drain;
    bool events_made;
};

/* Descriptors that are not connections: epoll, the log, a model's files; of each context its socket and its pipe. */
enum { OTHER_DESCRIPTORS = 64, OF_A_MODEL = 8, OF_A_CONTEXT = 4 };

static void poke(void *arg) {
    struct model *m = arg;
    event_active(&m->settle, EV_TIMEOUT, 0);
}

static void on_front(evutil_socket_t fd, short what, void *arg) {
    struct model *m = arg;
    (void)fd;
    (void)what;
    baton_status st = bt_front_pump(m->front);
    if (st != BATON_OK)
        bt_log(BATON_LOG_ERROR, "%s: an owner is gone: %s", m->server->served[m - m->server->models].names[0],
               baton_status_text(st));
    poke(m);
}

static void stop_when_idle(struct server *s) {
    if (s->api.stopping && bt_list_empty(&s->api.answers) && bt_list_empty(&s->api.vectors) &&
        bt_http_busy(s->http) == 0)
        event_base_loopexit(s->base, NULL);
}

static void on_settle(evutil_socket_t fd, short what, void *arg) {
    struct model *m = arg;
    (void)fd;
    (void)what;
    int64_t next = bt_front_tick(m->front);
    if (next != m->deadline_at) {
        int64_t wait = BT_MAX(next - bt_now_ns(), 0) / 1000 + 1; /* past it, not just before */
        struct timeval tv = {wait / 1000000, wait % 1000000};
        m->deadline_at = next;
        if (next == BT_NEVER_NS)
            evtimer_del(&m->deadline);
        else
            evtimer_add(&m->deadline, &tv);
    }
    stop_when_idle(m->server);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg) {
    struct model *m = arg;
    m->deadline_at = 0; /* it has fired: whatever tick says now is news */
    on_settle(fd, what, arg);
}

static void on_idle(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    stop_when_idle(arg);
}

static void wake_idle(void *arg) {
    struct server *s = arg;
    event_active(&s->idle, EV_TIMEOUT, 0);
}

/* Answers have not ended in time: they are cancelled, and what is still there a second later is left behind. */
static void on_drain(evutil_socket_t fd, short what, void *arg) {
    struct server *s = arg;
    struct timeval second = {1, 0};
    (void)fd;
    (void)what;
    bt_log(BATON_LOG_WARN, "stopping: the answers still under way are cancelled");
    bt_api_cancel_all(&s->api);
    event_base_loopexit(s->base, &second);
}

static void on_signal(evutil_socket_t fd, short what, void *arg) {
    struct server *s = arg;
    struct timeval tv = {s->params->drain_ms / 1000, s->params->drain_ms % 1000 * 1000};
    (void)what;
    if (s->api.stopping) {
        event_base_loopbreak(s->base);
        return;
    }
    bt_log(BATON_LOG_INFO, "%s: stopping; a second one ends at once", fd == SIGINT ? "SIGINT" : "SIGTERM");
    s->api.stopping = true;
    bt_http_stop(s->http);
    evtimer_add(&s->drain, &tv);
    wake_idle(s);
}

static baton_status watch_signals(struct server *s, baton_error *err) {
    evtimer_assign(&s->drain, s->base, on_drain, s);
    evsignal_assign(&s->sigint, s->base, SIGINT, on_signal, s);
    evsignal_assign(&s->sigterm, s->base, SIGTERM, on_signal, s);
    s->events_made = true;
    if (evsignal_add(&s->sigint, NULL) != 0 || evsignal_add(&s->sigterm, NULL) != 0)
        return bt_fail(err, BATON_IO, "cannot watch signals");
    return BATON_OK;
}

static baton_status watch_model(struct server *s, struct model *m, baton_error *err) {
    event_assign(&m->io, s->base, bt_front_fd(m->front), EV_READ | EV_PERSIST, on_front, m);
    evtimer_assign(&m->settle, s->base, on_settle, m);
    evtimer_assign(&m->deadline, s->base, on_deadline, m);
    m->watched = true;
    if (event_add(&m->io, NULL) != 0)
        return bt_fail(err, BATON_IO, "cannot watch a model");
    return BATON_OK;
}

static baton_status load_models(struct server *s, baton_error *err) {
    const struct bt_serve_params *p = s->params;
    s->models = calloc((size_t)p->n_models, sizeof *s->models);
    s->served = calloc((size_t)p->n_models, sizeof *s->served);
    if (!s->models || !s->served)
        return bt_fail(err, BATON_NO_MEMORY, "out of memory for %d models", p->n_models);
    s->api.served.models = s->served;
    for (int i = 0; i < p->n_models; i++) {
        struct model *m = &s->models[i];
        const struct bt_serve_model *given = &p->models[i];
        m->server = s;
        baton_error why;
        baton_status st = bt_front_open(&given->front, &m->front, &why);
        if (st != BATON_OK)
            return given->name ? bt_fail(err, st, "model %s: %s", given->name, why.text)
                               : bt_fail(err, st, "%s", why.text);
        s->served[i].poke = poke;
        s->served[i].poke_arg = m;
        bt_served_init(&s->served[i], m->front, given->name, given->front.model.path);
        s->api.served.n++;
        st = watch_model(s, m, err);
        if (st != BATON_OK)
            return st;
    }
    for (int i = 0; i < p->n_models; i++) /* what a front heard while the others loaded, before it looks at its clock */
        on_front(-1, 0, &s->models[i]);
    return bt_served_resolve(&s->api.served, p->roles, p->n_roles, err);
}

static void unload_models(struct server *s) {
    for (int i = 0; s->models && i < s->params->n_models; i++) {
        struct model *m = &s->models[i];
        if (m->watched) {
            event_del(&m->io);
            event_del(&m->deadline);
        }
        if (m->front)
            bt_front_close(&m->front);
        if (m->watched)
            event_del(&m->settle);
    }
    bt_served_free(&s->api.served);
    free(s->models);
    free(s->served);
}

/* Raises the limit of descriptors to what we may have, and lowers the limit of connections to what that allows. */
static int connections_possible(const struct bt_serve_params *p, int wanted) {
    struct rlimit r;
    rlim_t others = OTHER_DESCRIPTORS;
    for (int i = 0; i < p->n_models; i++)
        others += (rlim_t)(OF_A_MODEL + OF_A_CONTEXT * p->models[i].front.contexts);
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return wanted;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0 || getrlimit(RLIMIT_NOFILE, &r) != 0)
        return wanted;
    if (r.rlim_cur > (rlim_t)wanted + others)
        return wanted;
    int possible = BT_MAX((int)r.rlim_cur - (int)others, 1);
    bt_log(BATON_LOG_WARN, "%d connections at most: the limit of open files is %d (ulimit -n)", possible,
           (int)r.rlim_cur);
    return possible;
}

static baton_status open_http(struct server *s, baton_error *err) {
    struct event_config *config = event_config_new();
    if (!config)
        return bt_fail(err, BATON_NO_MEMORY, "out of memory for the event loop");
    event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE);
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    s->base = event_base_new_with_config(config);
    event_config_free(config);
    if (!s->base)
        return bt_fail(err, BATON_UNSUPPORTED, "libevent has no epoll here: it is needed to see clients leave");
    evtimer_assign(&s->idle, s->base, on_idle, s);
    struct bt_http_params http = {
        .base = s->base,
        .host = s->params->host,
        .port = s->params->port,
        .limits = s->params->limits,
        .handler = bt_api_handler(&s->api),
        .tls = s->tls,
    };
    http.limits.connections = connections_possible(s->params, http.limits.connections);
    baton_status st = bt_http_open(&http, &s->http, err);
    s->api.http = s->http;
    return st;
}

static void say_model(const struct bt_served *m) {
    const struct bt_front_info *info = bt_front_info(m->front);
    const struct bt_frame_ready *r = &info->ready;
    bt_log(BATON_LOG_INFO, "model %s (%s), exact: %s", m->names[0], r->info.description, r->exact ? "yes" : "no");
    bt_log(BATON_LOG_INFO, "%d context%s x %" PRIu32 " sequence%s x %" PRIu32 " tokens: %.1f MiB of KV memory",
           info->contexts, info->contexts == 1 ? "" : "s", r->sequences, r->sequences == 1 ? "" : "s", r->ctx,
           (double)r->memory * info->contexts / (1 << 20));
}

static void say_what_is_served(const struct server *s) {
    const char *host = s->params->host;
    bool v6 = strchr(host, ':') != NULL;
    for (int i = 0; i < s->params->n_models; i++)
        say_model(&s->served[i]);
    printf("listening on http%s://%s%s%s:%d\n", s->tls ? "s" : "", v6 ? "[" : "", host, v6 ? "]" : "",
           bt_http_port(s->http));
    if (fflush(stdout) != 0)
        bt_log(BATON_LOG_WARN, "stdout cannot be written: the server goes on, on port %d", bt_http_port(s->http));
    clearerr(stdout);
}

static baton_status serve(struct server *s, baton_error *err) {
    s->api.idle = wake_idle;
    s->api.idle_arg = s;
    s->api.created = time(NULL);
    s->api.origins = s->params->origins;
    s->api.body_max = s->params->limits.body_max;
    bt_list_init(&s->api.answers);
    bt_list_init(&s->api.vectors);
    baton_status st = s->params->key_file ? bt_keys_load(s->params->key_file, &s->keys, err) : BATON_OK;
    s->api.keys = s->keys;
    if (st == BATON_OK && s->params->tls_cert)
        st = bt_tls_open(s->params->tls_cert, s->params->tls_key, &s->tls, err);
    if (st == BATON_OK)
        st = open_http(s, err);
    if (st == BATON_OK)
        st = load_models(s, err);
    if (st == BATON_OK)
        st = watch_signals(s, err);
    if (st == BATON_OK)
        st = bt_http_listen(s->http, err);
    if (st != BATON_OK)
        return st;
    say_what_is_served(s);
    if (event_base_dispatch(s->base) < 0)
        return bt_fail(err, BATON_IO, "the event loop failed");
    return BATON_OK;
}

baton_status bt_serve(const struct bt_serve_params *params, baton_error *err) {
    struct server *s = calloc(1, sizeof *s);
    if (!s)
        return bt_fail(err, BATON_NO_MEMORY, "out of memory for the server");
    s->params = params;
    baton_status st = serve(s, err);
    bt_http_close(&s->http);
    if (s->events_made) {
        event_del(&s->drain);
        event_del(&s->sigint);
        event_del(&s->sigterm);
    }
    unload_models(s);
    if (s->base) {
        event_del(&s->idle);
        event_base_free(s->base);
    }
    bt_api_free(&s->api);
    bt_keys_free(&s->keys);
    bt_tls_close(&s->tls);
    free(s);
    return st;
}
