/* The signals that end a worker, as a count and a descriptor. State: the process's; see signals.c. */
#ifndef BT_TASK_SIGNALS_H
#define BT_TASK_SIGNALS_H

int bt_signals_fd(void);       /* readable when one has come; -1: not taken */
void bt_signals_hush(void);    /* no longer, until the next */
int bt_signals_seen(void);     /* how many */
void bt_signals_to_loop(void); /* from now on they are the loop's business, and no longer end the process */

#endif
