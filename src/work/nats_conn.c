/* Connecting, and the streams. State: none but the connection, which libnats guards by itself. */
#include "work/nats_conn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const int64_t CONNECT_MS = 5000;

enum { URLS_MAX = 2000, SERVERS_MAX = 16 };

/* What libnats says, without the line of its source that it begins with, and no text twice. */
baton_status bt_nats_failed(natsStatus status, const char *what, baton_error *err) {
    const char *text = natsStatus_GetText(status), *detail = nats_GetLastError(NULL);
    const char *behind = detail && detail[0] == '(' ? strstr(detail, "): ") : NULL;
    if (behind)
        detail = behind + 3;
    if (detail && strcmp(detail, text) == 0)
        detail = NULL;
    return bt_fail(err, status == NATS_NO_MEMORY ? BATON_NO_MEMORY : BATON_IO, "%s: %s%s%.200s", what, text,
                   detail ? ": " : "", detail ? detail : "");
}

/* The servers without what is secret about them. Where there is a secret at all, only what stands behind an @ is
 * certain to be none: a comma may belong to a password. */
static void tell_servers(const char *urls, char *text, size_t size) {
    bool secrets = strchr(urls, '@') != NULL;
    size_t len = 0;
    text[0] = '\0';
    for (const char *u = urls; *u && len + 1 < size; u += *u == ',') {
        const char *end = u + strcspn(u, ","), *mark = secrets ? "@" : "://", *from = u, *behind;
        for (const char *c = u; (behind = strstr(c, mark)) && behind < end; c = from)
            from = behind + strlen(mark);
        if (secrets && from == u)
            len += (size_t)snprintf(text + len, size - len, "%s...", len ? ", " : "");
        else
            len += (size_t)snprintf(text + len, size - len, "%s%.*s", len ? ", " : "", (int)(end - from), from);
        u = end;
    }
}

static baton_status check_files(const struct bt_nats_params *p, baton_error *err) {
    const struct {
        const char *option, *path;
    } files[] = {{"--nats-creds", p->credentials},
                 {"--nats-ca", p->ca},
                 {"--nats-cert", p->certificate},
                 {"--nats-key", p->key}};
    for (size_t i = 0; i < BT_COUNT(files); i++)
        if (files[i].path && access(files[i].path, R_OK) != 0)
            return bt_fail(err, BATON_NOT_FOUND, "%s: cannot read %s: %s", files[i].option, files[i].path,
                           strerror(errno));
    if (!p->certificate != !p->key)
        return bt_fail(err, BATON_INVALID, "--nats-cert and --nats-key belong together: %s is missing",
                       p->key ? "--nats-cert" : "--nats-key");
    return BATON_OK;
}

/* Neither repeated by us nor by libnats: there may be a password in it. */
static baton_status url_refused(natsStatus s, baton_error *err) {
    return bt_fail(
        err, s == NATS_NO_MEMORY ? BATON_NO_MEMORY : BATON_INVALID,
        "--nats (not told here, for its password): %s: expected nats://host:4222, or up to %d of them with commas",
        natsStatus_GetText(s), SERVERS_MAX);
}

static baton_status set_servers(natsOptions *o, const char *text, baton_error *err) {
    char urls[URLS_MAX], *list[SERVERS_MAX + 1], *rest = NULL;
    int n = 0;
    if (strlen(text) >= sizeof urls)
        return bt_fail(err, BATON_INVALID, "--nats has %zu bytes: at most %d are possible", strlen(text), URLS_MAX - 1);
    snprintf(urls, sizeof urls, "%s", text);
    for (char *u = strtok_r(urls, ",", &rest); u && n <= SERVERS_MAX; u = strtok_r(NULL, ",", &rest))
        list[n++] = u;
    natsStatus s = n == 0 || n > SERVERS_MAX ? NATS_INVALID_ARG : natsOptions_SetServers(o, (const char **)list, n);
    explicit_bzero(urls, sizeof urls);
    return s == NATS_OK ? BATON_OK : url_refused(s, err);
}

/* libnats' threads: it tells of each loss that it mends by itself. */
static void on_lost(natsConnection *c, void *arg) {
    (void)arg;
    if (natsConnection_Status(c) == NATS_CONN_STATUS_RECONNECTING)
        bt_log(BATON_LOG_WARN, "the connection to NATS is lost: trying again until it is there");
}

static void on_back(natsConnection *c, void *arg) {
    (void)c;
    (void)arg;
    bt_log(BATON_LOG_INFO, "the connection to NATS is back");
}

static natsStatus set_options(natsOptions *o, const struct bt_nats_params *p) {
    natsStatus s = natsOptions_SetTimeout(o, CONNECT_MS);
    if (s == NATS_OK)
        s = natsOptions_SetMaxReconnect(o, -1);
    if (s == NATS_OK)
        s = natsOptions_SetDisconnectedCB(o, on_lost, NULL);
    if (s == NATS_OK)
        s = natsOptions_SetReconnectedCB(o, on_back, NULL);
    if (s == NATS_OK && p->credentials)
        s = natsOptions_SetUserCredentialsFromFiles(o, p->credentials, NULL);
    if (s == NATS_OK && (p->ca || p->certificate))
        s = natsOptions_SetSecure(o, true);
    if (s == NATS_OK && p->ca)
        s = natsOptions_LoadCATrustedCertificates(o, p->ca);
    if (s == NATS_OK && p->certificate)
        s = natsOptions_LoadCertificatesChain(o, p->certificate, p->key);
    return s;
}

static baton_status connect_failed(natsStatus s, const struct bt_nats_params *p, baton_error *err) {
    char what[500], servers[200];
    if (s == NATS_INVALID_ARG)
        return url_refused(s, err);
    tell_servers(p->url, servers, sizeof servers);
    const char *cure = s == NATS_CONNECTION_AUTH_FAILED ? " (are user and password, token or credentials those of it?)"
                       : s == NATS_NO_SERVER            ? " (is it running?)"
                                                        : "";
    snprintf(what, sizeof what, "no connection to NATS at %s%s%.200s%s", servers, p->credentials ? " with " : "",
             p->credentials ? p->credentials : "", cure);
    return bt_nats_failed(s, what, err);
}

static baton_status connect_to(struct bt_nats *n, const struct bt_nats_params *p, baton_error *err) {
    natsOptions *o = NULL;
    baton_status status = check_files(p, err);
    if (status)
        return status;
    natsStatus s = natsOptions_Create(&o);
    if (s == NATS_OK)
        status = set_servers(o, p->url, err);
    if (s == NATS_OK && status == BATON_OK && (s = set_options(o, p)) != NATS_OK) {
        bt_nats_failed(s, "the files of TLS cannot be used", err);
        status = s == NATS_NO_MEMORY ? BATON_NO_MEMORY : (err->status = BATON_INVALID);
    }
    if (s == NATS_OK && status == BATON_OK)
        s = natsConnection_Connect(&n->connection, o);
    natsOptions_Destroy(o);
    return status || s == NATS_OK ? status : connect_failed(s, p, err);
}

static natsStatus make_stream(jsCtx *js, const char *name, const char *subject, jsRetentionPolicy retention) {
    jsStreamConfig config;
    jsErrCode code = 0;
    const char *subjects[] = {subject};
    jsStreamConfig_Init(&config);
    config.Name = name;
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Retention = retention;
    natsStatus s = js_AddStream(NULL, js, &config, NULL, &code);
    return code == JSStreamNameExistErr ? NATS_OK : s; /* somebody made it otherwise: theirs is as good */
}

static bool is_name(const char *name) {
    size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return n > 0 && n < 100 && name[n] == '\0';
}

baton_status bt_nats_open(struct bt_nats *n, const struct bt_nats_params *params, baton_error *err) {
    *n = (struct bt_nats){0};
    if (!is_name(params->name))
        return bt_fail(err, BATON_INVALID, "the queue is called \"%.60s\": expected letters, digits, _ and -",
                       params->name);
    snprintf(n->stream, sizeof n->stream, "BATON_TASKS_%s", params->name);
    snprintf(n->subject, sizeof n->subject, "baton.tasks.%s", params->name);
    snprintf(n->dead, sizeof n->dead, "baton.dead.%s", params->name);
    baton_status status = connect_to(n, params, err);
    if (status)
        return status;
    natsStatus s = natsConnection_JetStream(&n->js, n->connection, NULL);
    if (s == NATS_OK)
        s = make_stream(n->js, n->stream, n->subject, js_WorkQueuePolicy);
    if (s == NATS_OK)
        s = make_stream(n->js, "BATON_DEAD", "baton.dead.>", js_LimitsPolicy);
    if (s == NATS_OK)
        return BATON_OK;
    bt_nats_failed(s, "the streams cannot be made (is JetStream on, and may this user use it?)", err);
    bt_nats_close(n);
    return BATON_IO;
}

void bt_nats_close(struct bt_nats *n) {
    jsCtx_Destroy(n->js);
    natsConnection_Destroy(n->connection);
    *n = (struct bt_nats){0};
}
