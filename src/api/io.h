/* owner = thread, for programs without an event loop of baton's: one thread per model that owns the front, takes
 * commands from any thread and hands answers to streams.
 *
 * Who may touch what: the front and its requests belong to the I/O thread alone. Everything else goes through a command
 * (under the command lock) or a stream's own lock; no thread ever holds two locks, and none is held while the front, a
 * socket or somebody's code is called. */
#ifndef BT_IO_H
#define BT_IO_H

#include "baton/baton.h"
#include "ipc/front.h"

struct bt_io;
struct bt_io_stream;

/* Loads the model, starts owners and the I/O thread. Blocks. */
baton_status bt_io_open(const struct bt_front_params *params, struct bt_io **io, baton_error *err);

/* Cancels what runs, ends the threads: from here on every call says CLOSED. Once. Streams that are still held live on,
 * ended. */
void bt_io_close(struct bt_io *io);
/* Lets go of what bt_io_open gave. */
void bt_io_unref(struct bt_io *io);

const struct bt_front_info *bt_io_info(const struct bt_io *io);

/* This thread cannot wait for that model: it is the one that is waited for. */
baton_status bt_io_check_thread(const struct bt_io *io, baton_error *err);

/* Submits from any thread; s is borrowed for the call. Refusals are returned here. */
baton_status bt_io_submit(struct bt_io *io, struct bt_submit *s, const struct bt_limits *limits,
                          struct bt_io_stream **stream, baton_error *err);

bool bt_io_cancel(struct bt_io *io, uint64_t id);
void bt_io_counts(struct bt_io *io, struct bt_counts *counts);
/* As bt_front_snapshot, and the threads' names. _CLOSED; _REENTRANT on the I/O thread. */
baton_status bt_io_snapshot(struct bt_io *io, baton_snapshot *s, baton_error *err);

/* Runs `run` on the owner thread of the least loaded context, between its native calls. BATON_REENTRANT when this
 * thread is an owner of this model. */
baton_status bt_io_visit(struct bt_io *io, void (*run)(void *arg, void *native), void *arg, baton_error *err);

/* Asks an owner what needs no slot (wire/frame.h): `context` as in bt_front_call; the result is appended. _REENTRANT
 * from inside a visit of this model; _QUEUE_TIMEOUT when there is no reply by then. Blocks. */
baton_status bt_io_call(struct bt_io *io, int context, struct bt_call *call, int64_t deadline_ns, struct bt_buf *result,
                        baton_error *err);

/* Who has the slots, added to a text of BATON_BUSY. */
void bt_io_who(struct bt_io *io, baton_error *err);

/* The next text: everything that has come since, appended to `text`. As baton_stream_next. */
baton_status bt_io_stream_next(struct bt_io_stream *s, int64_t timeout_ms, struct bt_buf *text, uint32_t *tokens);
/* `want` bytes of a result that is no text, appended to `out`, when they have come; _END: it is over before; _AGAIN:
 * the time is. */
baton_status bt_io_stream_data(struct bt_io_stream *s, size_t want, int64_t deadline_ns, struct bt_buf *out);
/* All that has come since: of a result that is no text, appended to `data`, and the first message about the work, in
 * the place of what is in `news`. Waits until there is one of the two; _END: it is over, and there is neither. Messages
 * are left out while more than 32 MiB of them wait. */
baton_status bt_io_stream_take(struct bt_io_stream *s, struct bt_buf *data, struct bt_buf *news);
/* More inputs for one that was asked with `open`. Blocks for a moment. */
baton_status bt_io_stream_more(struct bt_io_stream *s, const struct bt_more *more, baton_error *err);
/* The conversation with the first `tokens` of its answer, which its reader has, as bytes (owner/saved.h). _AGAIN:
 * nothing was generated yet; _STALE: it is over and was not kept. Blocks. */
baton_status bt_io_stream_save(struct bt_io_stream *s, uint32_t tokens, struct bt_buf *out, baton_error *err);
int bt_io_stream_fd(struct bt_io_stream *s);
uint64_t bt_io_stream_id(const struct bt_io_stream *s);
/* Ends it: cancels if it runs, and drops the caller's hold. *outcome is the last word. */
void bt_io_stream_close(struct bt_io_stream *s, baton_outcome *outcome);

#endif
