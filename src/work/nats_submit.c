/* A client: one task, its text as it comes, its outcome. State: struct client, on the caller's stack. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "task/json.h"
#include "work/nats_conn.h"

enum { LOOK_MS = 3000 }; /* between looks whether the task is still there */

struct client {
    const struct bt_nats_submit_params *params;
    struct bt_nats *nats;
    uint64_t sequence; /* the task's, in its stream */
    bool gone;         /* it was not there any more, when last looked */
    int64_t attempt;   /* the newest that has been heard of */
    size_t at;         /* bytes of its text so far */
    struct bt_buf printed;
};

static void print(const void *data, size_t len) {
    fwrite(data, 1, len, stdout);
    (void)!fflush(stdout);
}

/* Text of an attempt. A newer one begins anew: what it says is printed from where it says something else. */
static void take_text(struct client *c, int64_t attempt, struct bt_text text) {
    if (attempt < c->attempt)
        return;
    if (attempt > c->attempt)
        c->at = 0;
    c->attempt = attempt;
    size_t known = c->at < c->printed.len ? BT_MIN(text.len, c->printed.len - c->at) : 0;
    if (known > 0 && memcmp(c->printed.data + c->at, text.data, known) != 0) {
        printf("\n[attempt %" PRId64 "]\n%.*s", attempt + 1, (int)c->at, (const char *)c->printed.data);
        c->printed.len = c->at;
        known = 0;
    }
    print(text.data + known, text.len - known);
    bt_buf_add(&c->printed, text.data + known, text.len - known);
    c->at += text.len;
}

/* BATON_AGAIN: it goes on. */
static baton_status outcome(struct client *c, struct bt_text message, baton_error *err) {
    struct bt_text error = bt_json_find(message, "error");
    struct bt_buf text = BT_BUF_INIT;
    if (!bt_json_is_string(error)) {
        if (!c->params->events)
            print("\n", 1);
        return BATON_OK;
    }
    bt_json_decode(error, &text);
    baton_status status = bt_fail(err, BATON_FAILED, "%.*s", (int)text.len, text.data ? (const char *)text.data : "");
    bt_buf_free(&text);
    return status;
}

static baton_status take(struct client *c, struct bt_text message, baton_error *err) {
    struct bt_text event = bt_json_find(message, "event"), text = bt_json_find(message, "text");
    struct bt_buf b = BT_BUF_INIT;
    int64_t attempt = 0;
    if (c->params->events) {
        print(message.data, message.len);
        print("\n", 1);
    }
    if (bt_json_says(event, "done"))
        return outcome(c, message, err);
    bool says = bt_json_says(event, "token") || bt_json_says(event, "segment");
    if (!c->params->events && says && bt_json_is_string(text) &&
        bt_json_int(bt_json_find(message, "attempt"), &attempt)) {
        bt_json_decode(text, &b);
        take_text(c, attempt, (struct bt_text){b.data ? (char *)b.data : "", b.len});
        bt_buf_free(&b);
    }
    return BATON_AGAIN;
}

static natsStatus send_task(struct client *c, const char *inbox) {
    const struct bt_nats_submit_params *p = c->params;
    struct bt_nats *n = c->nats;
    natsMsg *m = NULL;
    jsPubAck *ack = NULL;
    jsPubOptions options;
    jsErrCode code = 0;
    char id[24];
    jsPubOptions_Init(&options);
    snprintf(id, sizeof id, "%016" PRIx64, bt_random64());
    options.MsgId = id; /* a publish that libnats repeats is one task */
    natsStatus s = natsMsg_Create(&m, n->subject, NULL, p->payload, (int)strlen(p->payload));
    if (s == NATS_OK)
        s = natsMsgHeader_Set(m, BT_NATS_REPLY_HEADER, inbox);
    if (s == NATS_OK)
        s = js_PublishMsg(&ack, n->js, m, &options, &code);
    if (s == NATS_OK)
        c->sequence = ack->Sequence;
    jsPubAck_Destroy(ack);
    natsMsg_Destroy(m);
    return s;
}

/* Nothing was heard for a while. A task that is over, and has been for as long, was told of while nobody listened: an
 * outcome is sent once. */
static baton_status look(struct client *c, baton_error *err) {
    natsMsg *m = NULL;
    jsErrCode code = 0;
    natsStatus s = js_GetMsg(&m, c->nats->js, c->nats->stream, c->sequence, NULL, &code);
    natsMsg_Destroy(m);
    if (s == NATS_NOT_FOUND && c->gone)
        return bt_fail(err, BATON_IO,
                       "the task is over, and its outcome was lost on the way (the connection was): submit it again");
    c->gone = s == NATS_NOT_FOUND;
    return BATON_AGAIN;
}

static baton_status listen_to(struct client *c, natsSubscription *sub, baton_error *err) {
    int64_t until = bt_deadline(bt_now_ns(), c->params->wait_ms);
    baton_status status = BATON_AGAIN;
    while (status == BATON_AGAIN) {
        natsMsg *m = NULL;
        int64_t left = until == BT_NEVER_NS ? LOOK_MS : BT_MIN((until - bt_now_ns()) / BT_NS_PER_MS, (int64_t)LOOK_MS);
        natsStatus s = left > 0 ? natsSubscription_NextMsg(&m, sub, left) : NATS_TIMEOUT;
        if (s == NATS_OK)
            status = take(c, (struct bt_text){natsMsg_GetData(m), (size_t)natsMsg_GetDataLength(m)}, err);
        else if (s != NATS_TIMEOUT)
            status = bt_nats_failed(s, "the outcome cannot be heard", err);
        else if (until != BT_NEVER_NS && bt_now_ns() >= until)
            status = bt_fail(err, BATON_RUN_TIMEOUT, "no outcome in time: the task goes on, and nobody hears of it");
        else if (left == LOOK_MS)
            status = look(c, err);
        natsMsg_Destroy(m);
    }
    return status;
}

baton_status bt_nats_submit(const struct bt_nats_submit_params *params, baton_error *err) {
    struct bt_nats n;
    struct client c = {.params = params, .nats = &n};
    natsInbox *inbox = NULL;
    natsSubscription *sub = NULL;
    baton_status status = bt_nats_open(&n, &params->nats, err);
    if (status)
        return status;
    natsStatus s = natsInbox_Create(&inbox);
    if (s == NATS_OK)
        s = natsConnection_SubscribeSync(&sub, n.connection, inbox);
    if (s == NATS_OK)
        s = send_task(&c, inbox);
    status = s == NATS_OK ? listen_to(&c, sub, err) : bt_nats_failed(s, "the task cannot be submitted", err);
    natsSubscription_Destroy(sub);
    natsInbox_Destroy(inbox);
    bt_nats_close(&n);
    bt_buf_free(&c.printed);
    return status;
}
