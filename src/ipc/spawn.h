/* Starting owners, one per context of a model: as threads of this process over one loaded model, or as processes that
 * load it each (its pages are shared through the page cache). The caller gets a socket to each, and what there is to
 * know of its end; it need not know which kind it is.
 *
 * A bt_spawn belongs to one thread, but for what says otherwise. An owner is started, ends (by itself, by
 * bt_spawn_kill, by a fault), is reaped, and may then be started again; nothing is restarted here unasked. */
#ifndef BT_SPAWN_H
#define BT_SPAWN_H

#include "native/native.h"
#include "native/sd.h"

struct bt_spawn;

enum bt_owner_kind { BT_OWNER_THREAD, BT_OWNER_PROCESS };

struct bt_spawn_params {
    struct bt_model_params model;
    struct bt_context_params context;
    int contexts;
    enum bt_owner_kind owner;
    bool hears; /* the model is a recogniser of speech. model: its path, and gpu_layers - 1 its GPU (0: none);
                 * context: threads; the rest of both says nothing */
    const struct bt_sd_params *draws; /* the model is one of libstable-diffusion; NULL: it is not. An owner thread has
                                       * the process's only one. model: gpu_layers, whether a GPU may be used */
    bool no_sandbox;                  /* of a process: it keeps the rights of this one */
    bool core;                        /* of a process: it may leave a core file, with prompts and answers in it */
};

/* How an owner ended. */
struct bt_owner_end {
    enum { BT_END_UNKNOWN, BT_END_EXITED, BT_END_SIGNALLED } kind; /* UNKNOWN: somebody else reaped the process */
    int code;                                                      /* the exit status or the signal */
    char
        text[256]; /* its last words, one line: the text of a failed assertion, else its last line on fd 2; may be "" */
};

/* Makes ready to start: loads the model for threads, or opens its file and finds the program for processes; starts
 * nothing. params are borrowed for the call. Blocks while a model is loaded. */
baton_status bt_spawn_open(const struct bt_spawn_params *params, struct bt_spawn **spawn, baton_error *err);

/* Starts the owner of that context, for the first time or after bt_spawn_reap said true. *fd is the front's end of its
 * socket, non-blocking, close-on-exec, the caller's to close. */
baton_status bt_spawn_start(struct bt_spawn *s, int context, int *fd, baton_error *err);

/* Readable once the owner has ended, whoever else holds copies of its descriptors; -1 for a thread, and before start
 * and after reap. The spawn's, to be watched and no more. */
int bt_spawn_pidfd(const struct bt_spawn *s, int context);

/* What it prints on fd 1 and 2; -1 as above. Whoever watches it calls bt_spawn_read_log when it is readable; nobody has
 * to: a full pipe loses lines, it does not stop the owner. */
int bt_spawn_log_fd(const struct bt_spawn *s, int context);

/* Logs what has been printed, as lines with the model's name; never blocks. A flood is cut, and that is said. */
void bt_spawn_read_log(struct bt_spawn *s, int context);

/* SIGKILL. A thread is left alone. */
void bt_spawn_kill(struct bt_spawn *s, int context);

/* False: it has not ended yet (never blocks). True: it has, once: *end says how, its last lines are logged, and the
 * context may be started again. A thread ends as if exited with 0. Visits that it did not receive end here. */
bool bt_spawn_reap(struct bt_spawn *s, int context, struct bt_owner_end *end);

/* "landlock, seccomp, no_new_privs": what holds the owner of that context back and what this kernel lacks for it; ""
 * for a thread, and until its READY. Lives until the context is started again. */
const char *bt_spawn_sandbox(const struct bt_spawn *s, int context);

/* Sends a visit to that owner. Its done is called on the owner's thread, or from bt_spawn_reap or _close; at once, with
 * false, where the owner is a process. Any thread. */
struct bt_visit;
void bt_spawn_visit(struct bt_spawn *spawn, int context, struct bt_visit *visit);

/* True on a thread that is one of these owners. Any thread. */
bool bt_spawn_is_owner(const struct bt_spawn *spawn);

/* After the caller has closed the sockets (shut down first: a forked child of this program may hold copies). Waits for
 * the last native call of each thread; a process that does not end by itself soon is killed. Frees the model. */
void bt_spawn_close(struct bt_spawn **spawn);

#endif
