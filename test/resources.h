/* What a process has: for tests that nothing is left behind and nothing grows. */
#ifndef BT_RESOURCES_H
#define BT_RESOURCES_H

#include "harness.h"

#include <dirent.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MEMORY_COUNTS = 0 }; /* the sanitizer keeps what was freed, and its own books */
#else
enum { MEMORY_COUNTS = 1 };
#endif

/* The processes that this one has started, at most n. */
static inline int children(pid_t *list, int n) {
    DIR *tasks = opendir("/proc/self/task");
    int found = 0;
    assert_non_null(tasks);
    for (struct dirent *e; (e = readdir(tasks));) {
        char path[300];
        snprintf(path, sizeof path, "/proc/self/task/%s/children", e->d_name);
        FILE *f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        while (f && found < n && fscanf(f, "%d", &list[found]) == 1)
            found++;
        if (f)
            fclose(f);
    }
    closedir(tasks);
    return found;
}

static inline long resident_kib_of(pid_t pid) {
    long pages = 0, resident = 0;
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &pages, &resident), 2);
    fclose(f);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* Of this process and its owners. */
static inline long resident_kib(void) {
    pid_t list[8];
    long sum = resident_kib_of(getpid());
    for (int n = children(list, 8); n > 0; n--)
        sum += resident_kib_of(list[n - 1]);
    return sum;
}

/* Since `before`, but for what an allocator keeps back. */
static inline void memory_is_flat(long before, const char *after_what) {
    long grown = resident_kib() - before;
    if (MEMORY_COUNTS && grown > 512)
        fail_msg("%s took %ld KiB that were not given back", after_what, grown);
}

static inline int threads_alive(void) {
    DIR *dir = opendir("/proc/self/task");
    int n = 0;
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

/* One that was joined may have yet to be buried. */
static inline void no_more_threads_than(int before) {
    for (int tries = 0; threads_alive() > before && tries < 2000; tries++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(threads_alive(), before);
}

/* The thread waits for something: what it does on its way there is done. */
static inline bool asleep(int tid) {
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
    (void)fclose(file);
    return state == 'S';
}

#endif
