/* The `baton` command: finds the subcommand and runs it. */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("baton %s\n", BATON_VERSION);
        return 0;
    }
    fprintf(stderr, "usage: baton --version\n");
    return 2;
}
