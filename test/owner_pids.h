/* Which owner processes this program has, for tests that end them. */
#ifndef BT_OWNER_PIDS_H
#define BT_OWNER_PIDS_H

#include "harness.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

/* The owner processes of this one: how many; the first `max` of them are listed. */
static inline int owners_list(pid_t *list, int max) {
    int n = 0;
    struct dirent *e;
    DIR *proc = opendir("/proc");
    assert_non_null(proc);
    while ((e = readdir(proc))) {
        char path[300], comm[64] = "", state = ' ';
        int parent = 0;
        if (!isdigit((unsigned char)e->d_name[0]))
            continue;
        snprintf(path, sizeof path, "/proc/%s/stat", e->d_name);
        FILE *f = fopen(path, "r");
        if (!f)
            continue;
        if (fscanf(f, "%*d (%63[^)]) %c %d", comm, &state, &parent) == 3 && parent == (int)getpid() && state != 'Z' &&
            strncmp(comm, "baton-owner", 11) == 0) {
            if (n < max)
                list[n] = (pid_t)strtol(e->d_name, NULL, 10);
            n++;
        }
        fclose(f);
    }
    closedir(proc);
    return n;
}

static inline int owners(pid_t *any) {
    return owners_list(any, 1);
}

#endif
