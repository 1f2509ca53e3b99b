/* The options of subcommands that speak to NATS. */
#ifndef BT_CLI_NATS_H
#define BT_CLI_NATS_H

#include "cli/cli.h"
#include "work/nats.h"

#define BT_NATS_OPTIONS                                                                                                \
    { .name = "default", .max_deliver = 5, .ack_wait_ms = 30000 }

/* `worker`: those of the side that works, too. All are called --nats or --nats-SOMETHING, and have a value. */
struct bt_option_group bt_nats_option_group(struct bt_nats_params *p, bool worker);
/* What the worker's side was given belongs together. */
baton_status bt_nats_options_check(const struct bt_nats_params *p, bool one_shot, baton_error *err);

#endif
