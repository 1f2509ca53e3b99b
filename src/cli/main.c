/* The `baton` command: finds the subcommand and runs it. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *about;
} COMMANDS[] = {
    {"ask", bt_cmd_ask, "ask a model, with the answer streamed to the terminal"},
    {"demo", bt_cmd_demo, "show what goes wrong on a shared context, and that nothing does under baton"},
    {"serve", bt_cmd_serve, "serve a model over HTTP with OpenAI's API"},
    {"submit", bt_cmd_submit, "give a task to workers on other machines, over NATS"},
    {"work", bt_cmd_work, "work off tasks that come as lines on stdin, several at once"},
};

static void usage(FILE *to) {
    fprintf(to, "usage: baton COMMAND [options]\n\n");
    for (size_t i = 0; i < BT_COUNT(COMMANDS); i++)
        fprintf(to, "  %-8s %s\n", COMMANDS[i].name, COMMANDS[i].about);
    fprintf(to, "\nbaton COMMAND --help tells all about one; baton --version says which baton this is\n");
}

/* A standard descriptor that is closed would be given to the first socket, and what is printed sent there. These fail
 * as a closed one does. */
static void hold_standard_descriptors(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
            (void)!open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

static int run(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "--version") == 0) {
        struct bt_buf versions = BT_BUF_INIT;
        bt_native_versions(&versions);
        printf("baton %s\n%.*s\n", BATON_VERSION, (int)versions.len, (const char *)versions.data);
        bt_buf_free(&versions);
        return 0;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        usage(stdout);
        return 0;
    }
    for (size_t i = 0; i < BT_COUNT(COMMANDS); i++)
        if (strcmp(name, COMMANDS[i].name) == 0)
            return COMMANDS[i].run(argc - 1, argv + 1);
    if (name[0])
        fprintf(stderr, "baton: there is no command %.60s\n\n", name);
    usage(stderr);
    return 2;
}

int main(int argc, char **argv) {
    hold_standard_descriptors();
    int code = run(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "baton: stdout cannot be written: some of the output is lost\n");
        code = BT_MAX(code, 1);
    }
    return code;
}
