/* One allocation of this program fails: the linker sends them, though not those of its shared libraries, through here
 * (test/CMakeLists.txt: tests whose names begin with nomem). Included by one file of a program. */
#ifndef BT_NOMEM_H
#define BT_NOMEM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);

static _Atomic long nomem_left; /* allocations until one fails; 0: that was it, or none is to fail */

static bool nomem_fails(void) {
    long n = atomic_load(&nomem_left);
    while (n > 0 && !atomic_compare_exchange_weak(&nomem_left, &n, n - 1))
        ;
    return n == 1;
}
void *__wrap_malloc(size_t size) {
    return nomem_fails() ? NULL : __real_malloc(size);
}
void *__wrap_calloc(size_t n, size_t size) {
    return nomem_fails() ? NULL : __real_calloc(n, size);
}
void *__wrap_realloc(void *old, size_t size) {
    return nomem_fails() ? NULL : __real_realloc(old, size);
}
char *__wrap_strdup(const char *text) {
    return nomem_fails() ? NULL : __real_strdup(text);
}
char *__wrap_strndup(const char *text, size_t n) {
    return nomem_fails() ? NULL : __real_strndup(text, n);
}

/* From here on the at-th one fails (0: none). */
static inline void nomem_arm(long at) {
    atomic_store(&nomem_left, at);
}
/* True if one has failed. */
static inline bool nomem_disarm(void) {
    return atomic_exchange(&nomem_left, 0) == 0;
}

#endif
