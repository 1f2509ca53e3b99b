/* What front and owner process agree on before the first frame: where descriptors lie, what the flags of START mean,
 * and what a report is. */
#ifndef BT_START_H
#define BT_START_H

/* The descriptors of an owner process. 0 is /dev/null, 1 and 2 the log pipe. */
enum {
    BT_START_SOCKET = 3,
    BT_START_REPORT = 4, /* a pipe to the front: one line of what the sandbox is, then last words, a line each */
    BT_START_PARENT = 5, /* a pidfd of the front's process */
    BT_START_FILES = 6,  /* the first of the model's files, then the adapters', then the projector's */
};

/* bt_start.flags */
enum {
    BT_START_NO_SANDBOX = 1,
    BT_START_CORE = 2,
    BT_START_LEVEL_SHIFT = 8, /* 4 bits: the log level */
    BT_START_LEVEL_MASK = 15,
    BT_START_BEFORE_SHIFT = 16, /* 16 bits: how many owners of this context came before */
};

#endif
