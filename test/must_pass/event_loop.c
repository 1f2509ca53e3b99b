/* Asks, goes away, and is told later: a ticket. */
#include "lease/lease.h"

void use(struct bt_lease *lease) BATON_REQUIRES(lease);
void serve(struct bt_lease *lease) BATON_RELEASE(lease);
int ask(struct bt_pool *pool, struct bt_ticket **ticket);
int ready(struct bt_ticket **ticket);

void serve(struct bt_lease *lease) {
    use(lease);
    bt_lease_release(lease, BT_RESET, NULL);
}

int ask(struct bt_pool *pool, struct bt_ticket **ticket) {
    static const struct bt_ask waiting = {.when_full = BT_WAIT, .queue_ms = 1000, .priority = 1};
    struct bt_lease lease;
    baton_status status = bt_lease_ask(pool, &waiting, &lease, ticket, NULL);
    if (status)
        return status == BATON_AGAIN ? 0 : -1;
    serve(&lease);
    return 1;
}

int ready(struct bt_ticket **ticket) {
    struct bt_lease lease;
    baton_status status = bt_lease_poll(ticket, &lease, NULL);
    if (!status)
        serve(&lease);
    return status;
}
