/* What an owner process is started as: which program, in what environment. */
#ifndef BT_SPAWN_PROGRAM_H
#define BT_SPAWN_PROGRAM_H

#include <limits.h>

#include "native/native.h"

/* Where baton-owner lies; _NOT_FOUND names every place that was looked at. */
baton_status bt_owner_program(char path[PATH_MAX], baton_error *err);

/* The environment for `contexts` owners of so many threads each: a malloc'd list of malloc'd texts that ends with NULL.
 * NULL: no memory. Nothing of this process's is in it but what the list in spawn_program.c names. */
char **bt_owner_environment(int contexts, int threads);
void bt_owner_environment_free(char **list);

#endif
