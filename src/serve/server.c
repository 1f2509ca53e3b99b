/* The shell around front, API and HTTP: descriptors, deadlines, signals, the start and the end.
 *
 * `settle` runs behind the callbacks that have told the front something: it asks for the front's next deadline, once,
 * however many requests it was told about.
 *
 * State: the event loop's thread owns all of it. */
#include "serve/server.h"

#include "serve/api.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

struct server {
    const struct bt_serve_params *params;
    struct event_base *base;
    struct bt_front *front;
    struct bt_http *http;
    struct bt_api api;
    struct bt_keys *keys;
    struct event model, settle, deadline, sigint, sigterm, drain;
    int64_t deadline_at;
    bool events_made;
};

/* Descriptors that are not connections: the model, the contexts' sockets, epoll, the log. */
enum { OTHER_DESCRIPTORS = 64 + 2 * BT_CONTEXTS_MAX };

static void poke(void *arg) {
    struct server *s = arg;
    event_active(&s->settle, EV_TIMEOUT, 0);
}

static void on_front(evutil_socket_t fd, short what, void *arg) {
    struct server *s = arg;
    (void)fd;
    (void)what;
    baton_status st = bt_front_pump(s->front);
    if (st != BATON_OK)
        bt_log(BATON_LOG_ERROR, "an owner is gone: %s", baton_status_text(st));
    poke(s);
}

static void stop_when_idle(struct server *s) {
    if (s->api.stopping && bt_list_empty(&s->api.answers) && bt_http_busy(s->http) == 0)
        event_base_loopexit(s->base, NULL);
}

static void on_settle(evutil_socket_t fd, short what, void *arg) {
    struct server *s = arg;
    (void)fd;
    (void)what;
    int64_t next = bt_front_tick(s->front);
    if (next != s->deadline_at) {
        int64_t wait = BT_MAX(next - bt_now_ns(), 0) / 1000 + 1; /* past it, not just before */
        struct timeval tv = {wait / 1000000, wait % 1000000};
        s->deadline_at = next;
        if (next == BT_NEVER_NS)
            evtimer_del(&s->deadline);
        else
            evtimer_add(&s->deadline, &tv);
    }
    stop_when_idle(s);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg) {
    struct server *s = arg;
    s->deadline_at = 0; /* it has fired: whatever tick says now is news */
    on_settle(fd, what, arg);
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
    poke(s);
}

static void make_events(struct server *s) {
    event_assign(&s->model, s->base, bt_front_fd(s->front), EV_READ | EV_PERSIST, on_front, s);
    evtimer_assign(&s->deadline, s->base, on_deadline, s);
    evtimer_assign(&s->drain, s->base, on_drain, s);
    evsignal_assign(&s->sigint, s->base, SIGINT, on_signal, s);
    evsignal_assign(&s->sigterm, s->base, SIGTERM, on_signal, s);
    s->events_made = true;
}

static baton_status add_events(struct server *s, baton_error *err) {
    bool ok =
        evsignal_add(&s->sigint, NULL) == 0 && evsignal_add(&s->sigterm, NULL) == 0 && event_add(&s->model, NULL) == 0;
    return ok ? BATON_OK : bt_fail(err, BATON_IO, "cannot watch signals and the model");
}

/* Raises the limit of descriptors to what we may have, and lowers the limit of connections to what that allows. */
static int connections_possible(int wanted) {
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return wanted;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0 || getrlimit(RLIMIT_NOFILE, &r) != 0)
        return wanted;
    if (r.rlim_cur > (rlim_t)wanted + OTHER_DESCRIPTORS)
        return wanted;
    int possible = BT_MAX((int)r.rlim_cur - OTHER_DESCRIPTORS, 1);
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
    evtimer_assign(&s->settle, s->base, on_settle, s);
    struct bt_http_params http = {
        .base = s->base,
        .host = s->params->host,
        .port = s->params->port,
        .limits = s->params->limits,
        .handler = bt_api_handler(&s->api),
    };
    http.limits.connections = connections_possible(http.limits.connections);
    baton_status st = bt_http_open(&http, &s->http, err);
    s->api.http = s->http;
    return st;
}

static void say_what_is_served(const struct server *s) {
    const struct bt_front_info *info = bt_front_info(s->front);
    const struct bt_frame_ready *r = &info->ready;
    const char *host = s->params->host;
    bool v6 = strchr(host, ':') != NULL;
    bt_log(BATON_LOG_INFO, "model %s (%s), exact: %s", r->info.name, r->info.description, r->exact ? "yes" : "no");
    bt_log(BATON_LOG_INFO, "%d context%s x %" PRIu32 " sequence%s x %" PRIu32 " tokens: %.1f MiB of KV memory",
           info->contexts, info->contexts == 1 ? "" : "s", r->sequences, r->sequences == 1 ? "" : "s", r->ctx,
           (double)r->memory * info->contexts / (1 << 20));
    printf("listening on http://%s%s%s:%d\n", v6 ? "[" : "", host, v6 ? "]" : "", bt_http_port(s->http));
    if (fflush(stdout) != 0)
        bt_log(BATON_LOG_WARN, "stdout cannot be written: the server goes on, on port %d", bt_http_port(s->http));
    clearerr(stdout);
}

static baton_status serve(struct server *s, baton_error *err) {
    s->api.poke = poke;
    s->api.poke_arg = s;
    s->api.origins = s->params->origins;
    s->api.body_max = s->params->limits.body_max;
    bt_list_init(&s->api.answers);
    baton_status st = s->params->key_file ? bt_keys_load(s->params->key_file, &s->keys, err) : BATON_OK;
    s->api.keys = s->keys;
    if (st == BATON_OK)
        st = open_http(s, err);
    if (st == BATON_OK)
        st = bt_front_open(&s->params->front, &s->front, err);
    if (st != BATON_OK)
        return st;
    bt_api_init(&s->api, s->front, s->params->front.model.path);
    make_events(s);
    st = add_events(s, err);
    if (st == BATON_OK)
        st = bt_http_listen(s->http, err);
    if (st != BATON_OK)
        return st;
    say_what_is_served(s);
    poke(s);
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
        event_del(&s->model);
        event_del(&s->deadline);
        event_del(&s->drain);
        event_del(&s->sigint);
        event_del(&s->sigterm);
    }
    if (s->front)
        bt_front_close(&s->front);
    if (s->base) {
        event_del(&s->settle);
        event_base_free(s->base);
    }
    bt_api_free(&s->api);
    bt_keys_free(&s->keys);
    free(s);
    return st;
}
