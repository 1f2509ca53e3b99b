/* TLS under the connections of http.c: two functions that do what recv(2) and send(2) do, over OpenSSL. Nothing here
 * waits, and no signal is raised.
 *
 * State: all of it belongs to the thread that runs the event loop. */
#ifndef BT_TLS_H
#define BT_TLS_H

#include <sys/types.h>

#include "base/base.h"

struct bt_tls;
struct bt_tls_conn;

/* A certificate, with those that lead to its root behind it, and its key: PEM files. TLS 1.2 and later. _INVALID names
 * the file and what is wrong with it. */
baton_status bt_tls_open(const char *cert, const char *key, struct bt_tls **tls, baton_error *err);
void bt_tls_close(struct bt_tls **tls);

/* For a connection that was accepted; the descriptor stays the caller's. NULL: out of memory. */
struct bt_tls_conn *bt_tls_accept(struct bt_tls *tls, int fd);
/* As recv and send. -1 with EAGAIN: again when the descriptor can be read or can be written, whichever comes first;
 * what was to be sent is then sent again, perhaps with more behind it. 0 from recv: the client says that it has ended.
 */
ssize_t bt_tls_recv(struct bt_tls_conn *c, void *to, size_t size);
ssize_t bt_tls_send(struct bt_tls_conn *c, const void *data, size_t len);
/* Tells the client that this is all. Without it the client knows that it was cut off. */
void bt_tls_end(struct bt_tls_conn *c);
void bt_tls_free(struct bt_tls_conn **c);

#endif
