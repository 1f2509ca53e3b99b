/* What every folder may use: errors, time, bytes, random draws. Depends on nothing; owns no state. */
#ifndef BT_BASE_H
#define BT_BASE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "baton/baton.h"

#define BT_LIKELY(x) __builtin_expect(!!(x), 1)
#define BT_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define BT_COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define BT_MIN(a, b) ((a) < (b) ? (a) : (b))
#define BT_MAX(a, b) ((a) > (b) ? (a) : (b))
#define BT_CONTAINER(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))

#define BT_NS_PER_MS INT64_C(1000000)
#define BT_NS_PER_S INT64_C(1000000000)
#define BT_NEVER_NS INT64_MAX /* a deadline that never comes */

/* Fills *err (may be NULL) and returns status, so that a failure is one statement: return bt_fail(err, ...). */
BATON_PRINTF(3, 4) baton_status bt_fail(baton_error *err, baton_status status, const char *format, ...);

/* CLOCK_MONOTONIC. Deadlines are absolute times of this clock; bt_deadline saturates at BT_NEVER_NS,
 * and a negative or huge delay means never. */
int64_t bt_now_ns(void);
int64_t bt_now_coarse_ns(void); /* within a tick (4 ms), at a tenth of the price */
int64_t bt_deadline(int64_t now_ns, int64_t delay_ms);

/* The element of a histogram (baton_snapshot) that counts the value. */
static inline int bt_bucket(uint64_t value) {
    int bits = value ? 64 - __builtin_clzll(value) : 0;
    return BT_MIN(bits, BATON_BUCKETS - 1);
}

/* "worker-b", from /proc; "exited" when the thread is gone. */
void bt_thread_name(unsigned tid, char *name, size_t size);

/* A thread with all signals blocked: the host program's handlers never run on ours. Returns 0 or an errno value. */
int bt_thread_start(pthread_t *thread, void *(*run)(void *), void *arg);

/* A piece of text that belongs to somebody else. */
struct bt_text {
    const char *data; /* where it came out of a frame, a NUL follows data[len - 1] */
    size_t len;
};

/* Growable bytes. A failed allocation sets `failed`, drops what follows, and is checked once at the end. */
struct bt_buf {
    unsigned char *data;
    size_t len, cap;
    bool failed;
};
#define BT_BUF_INIT                                                                                                    \
    { 0 }
void bt_buf_free(struct bt_buf *b);
bool bt_buf_reserve(struct bt_buf *b, size_t extra); /* room for `extra` more bytes at data + len */
void bt_buf_add(struct bt_buf *b, const void *data, size_t len);
void bt_buf_adds(struct bt_buf *b, const char *text);
BATON_PRINTF(2, 3) void bt_buf_addf(struct bt_buf *b, const char *format, ...);
void bt_buf_base64(struct bt_buf *b, const unsigned char *bytes, size_t len);
void bt_buf_drop(struct bt_buf *b, size_t len); /* removes the first len bytes */

/* Appends s as the inside of a JSON string (no quotes). Bytes that are not UTF-8 become U+FFFD. */
void bt_json_escape(struct bt_buf *b, const char *s, size_t len);
/* Appends s quoted and escaped. */
void bt_json_string(struct bt_buf *b, const char *s, size_t len);

/* How many bytes at the end of s are the beginning of an unfinished UTF-8 character: 0 to 3. */
size_t bt_utf8_unfinished(const char *s, size_t len);
bool bt_utf8_valid(const char *s, size_t len);
/* Removes, in place, each byte that belongs to no character: what is left of one where a text was cut. */
void bt_utf8_mend(char *s);
/* The same, and what is no part of a line, or what a terminal would obey, becomes a space: C0, DEL and C1. */
void bt_line_clean(char *s);
/* Appends s as valid UTF-8: each byte that belongs to no character becomes U+FFFD. */
void bt_utf8_clean(struct bt_buf *b, const char *s, size_t len);

/* Counter-based random draw in [0, 1): depends on seed and index alone, so that a resumed or re-batched request
 * draws what it would have drawn. SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014) over both words. */
double bt_draw(uint64_t seed, uint64_t index);
uint64_t bt_mix64(uint64_t x);
/* Tells damaged bytes from whole ones; no protection against somebody who wants to deceive. */
uint64_t bt_sum64(const void *data, size_t size);

/* A seed or an id that nobody can guess: getrandom(2). */
uint64_t bt_random64(void);

/* One line, "warning: …", on stderr or to the handler. Never a prompt, never a key. Any thread. */
BATON_PRINTF(2, 3) void bt_log(baton_log_level level, const char *format, ...);
void bt_log_set_level(baton_log_level level);
baton_log_level bt_log_level(void);
/* Whether such a line would be made: for paths where making its words would be felt. */
extern int bt_log_level_now;
static inline bool bt_log_wants(baton_log_level level) {
    return __atomic_load_n(&bt_log_level_now, __ATOMIC_RELAXED) >= (int)level;
}
void bt_log_set_handler(void (*handler)(void *arg, baton_log_level level, const char *line), void *arg);

#endif
