/* Connecting, and the streams. State: none but the connection, which libnats guards by itself. */
#include "work/nats_conn.h"

#include <stdio.h>
#include <string.h>

static const int64_t CONNECT_MS = 5000;

baton_status bt_nats_failed(natsStatus status, const char *what, baton_error *err) {
    const char *detail = nats_GetLastError(NULL);
    return bt_fail(err, status == NATS_NO_MEMORY ? BATON_NO_MEMORY : BATON_IO, "%s: %s%s%.200s", what,
                   natsStatus_GetText(status), detail ? ": " : "", detail ? detail : "");
}

static natsStatus set_options(natsOptions *o, const struct bt_nats_params *p) {
    char urls[1000], *list[16], *rest = NULL;
    int n = 0;
    snprintf(urls, sizeof urls, "%s", p->url);
    for (char *u = strtok_r(urls, ",", &rest); u && n < 16; u = strtok_r(NULL, ",", &rest))
        list[n++] = u;
    natsStatus s = natsOptions_SetServers(o, (const char **)list, n);
    if (s == NATS_OK)
        s = natsOptions_SetTimeout(o, CONNECT_MS);
    if (s == NATS_OK)
        s = natsOptions_SetMaxReconnect(o, -1);
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
    natsOptions *o = NULL;
    *n = (struct bt_nats){0};
    if (!is_name(params->name))
        return bt_fail(err, BATON_INVALID, "the queue is called \"%.60s\": expected letters, digits, _ and -",
                       params->name);
    snprintf(n->stream, sizeof n->stream, "BATON_TASKS_%s", params->name);
    snprintf(n->subject, sizeof n->subject, "baton.tasks.%s", params->name);
    snprintf(n->dead, sizeof n->dead, "baton.dead.%s", params->name);
    natsStatus s = natsOptions_Create(&o);
    if (s == NATS_OK)
        s = set_options(o, params);
    if (s == NATS_OK)
        s = natsConnection_Connect(&n->connection, o);
    natsOptions_Destroy(o);
    if (s != NATS_OK)
        return bt_nats_failed(s, "no connection to NATS", err);
    s = natsConnection_JetStream(&n->js, n->connection, NULL);
    if (s == NATS_OK)
        s = make_stream(n->js, n->stream, n->subject, js_WorkQueuePolicy);
    if (s == NATS_OK)
        s = make_stream(n->js, "BATON_DEAD", "baton.dead.>", js_LimitsPolicy);
    if (s == NATS_OK)
        return BATON_OK;
    bt_nats_failed(s, "the streams cannot be made (is JetStream on?)", err);
    bt_nats_close(n);
    return BATON_IO;
}

void bt_nats_close(struct bt_nats *n) {
    jsCtx_Destroy(n->js);
    natsConnection_Destroy(n->connection);
    *n = (struct bt_nats){0};
}
