/* The PULSE frame, both ways. Pure. */
#include "wire/frame.h"
#include "wire/wire_int.h"

enum { HEAD = 8 + 8 + 1 + 4, ENTRY = 8 + 1 };

static void store(unsigned char *to, uint64_t x, int bytes) {
    for (int i = 0; i < bytes; i++)
        to[i] = (unsigned char)(x >> (8 * i));
}

void bt_put_pulse(struct bt_buf *b, const struct bt_pulse *p) {
    size_t n = p->listed ? p->n : 0, size = HEAD + n * ENTRY;
    if (!bt_buf_reserve(b, BT_FRAME_HEADER + size))
        return;
    unsigned char *at = b->data + b->len;
    store(at, size + 1, 4);
    at[4] = BT_FRAME_PULSE;
    at += BT_FRAME_HEADER;
    store(at, p->steps, 8);
    store(at + 8, (uint64_t)p->call_ns, 8);
    at[16] = p->listed;
    store(at + 17, n, 4);
    at += HEAD;
    for (size_t i = 0; i < n; i++, at += ENTRY) {
        store(at, p->list[i].id, 8);
        at[8] = (unsigned char)p->list[i].standing;
    }
    b->len += BT_FRAME_HEADER + size;
}

baton_status bt_get_pulse(const struct bt_frame *f, struct bt_pulse *p) {
    p->n = 0;
    if (f->len < HEAD)
        return BATON_PROTOCOL;
    uint64_t call_ns = bt_load(f->payload + 8, 8), n = bt_load(f->payload + 17, 4);
    if (call_ns > INT64_MAX || f->payload[16] > 1 || n > BT_PULSE_MAX || f->len != HEAD + n * ENTRY)
        return BATON_PROTOCOL;
    p->steps = bt_load(f->payload, 8);
    p->call_ns = (int64_t)call_ns;
    p->listed = f->payload[16];
    p->n = (size_t)n;
    for (size_t i = 0; i < p->n; i++) {
        const unsigned char *at = f->payload + HEAD + i * ENTRY;
        if (at[8] > BT_STANDING_STEPPING || !p->listed)
            return BATON_PROTOCOL;
        p->list[i].id = bt_load(at, 8);
        p->list[i].standing = (enum bt_standing)at[8];
    }
    return BATON_OK;
}
