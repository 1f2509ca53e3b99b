/* The fake native's ways to die, for tests of what stands around an owner process. State: none but the model's. */
#include "native/fake_internal.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static const char *const names[] = {
    [BT_FAKE_SEGV] = "segv",       [BT_FAKE_ABORT] = "abort",     [BT_FAKE_ASSERT] = "assert",
    [BT_FAKE_EXIT0] = "exit0",     [BT_FAKE_EXIT1] = "exit1",     [BT_FAKE_HANG] = "hang",
    [BT_FAKE_GARBAGE] = "garbage", [BT_FAKE_PARTIAL] = "partial", [BT_FAKE_FLOOD] = "flood"};

static baton_status set_kind(struct bt_fake_model *m, const char *value, baton_error *err) {
    size_t len = strcspn(value, ",@");
    m->death_at = 1;
    for (size_t i = 1; i < BT_COUNT(names); i++)
        if (strlen(names[i]) == len && strncmp(names[i], value, len) == 0)
            m->death = (enum bt_fake_death)i;
    if (value[len] == '@') {
        char *end;
        m->death_at = strtoll(value + len + 1, &end, 10);
        if ((*end != ',' && *end != '\0') || m->death_at < 1)
            m->death = BT_FAKE_LIVES;
    }
    return m->death
               ? BATON_OK
               : bt_fail(err, BATON_INVALID,
                         "fake knob die is %s: segv, abort, assert, exit0, exit1, hang, garbage, partial or flood, "
                         "and perhaps @ and the number of a decode",
                         value);
}

bool bt_fake_set_death(struct bt_fake_model *m, const char *name, size_t len, const char *value, baton_status *status,
                       baton_error *err) {
    size_t n = strcspn(value, ",");
    if (len == 3 && memcmp(name, "die", 3) == 0) {
        *status = set_kind(m, value, err);
        return true;
    }
    if (len != 6 || memcmp(name, "poison", 6) != 0)
        return false;
    *status = n > 0 && n < sizeof m->poison
                  ? BATON_OK
                  : bt_fail(err, BATON_INVALID, "fake knob poison has %zu bytes: 1 to %zu", n, sizeof m->poison - 1);
    if (!*status)
        memcpy(m->poison, value, n);
    return true;
}

static void print_to(int fd, const char *line) {
    ssize_t n = write(fd, line, strlen(line));
    (void)n;
}

static void flood(void) {
    enum { LINES = 64 << 10 };
    static const char line[] = "fake native: a line of a flood that says nothing, of 64 bytes.\n";
    for (int i = 0; i < LINES; i++) {
        print_to(STDOUT_FILENO, line);
        print_to(STDERR_FILENO, line);
    }
}

static void die(enum bt_fake_death death) {
    static const unsigned char garbage[] = {9, 0, 0, 0, 0xfe, 'n', 'o', ' ', 'f', 'r', 'a', 'm', 'e'},
                               partial[] = {200, 0, 0, 0, 8, 'h', 'a', 'l', 'f'};
    switch (death) {
    case BT_FAKE_SEGV:
        sigaction(SIGSEGV, &(struct sigaction){.sa_handler = SIG_DFL}, NULL); /* a sanitizer has one of its own */
        raise(SIGSEGV);
        break;
    case BT_FAKE_ASSERT:
        bt_native_say_last("fake.c:1: FAKE_ASSERT(poison == none) failed");
        abort();
    case BT_FAKE_ABORT:
        abort();
    case BT_FAKE_EXIT0:
    case BT_FAKE_EXIT1:
        _exit(death == BT_FAKE_EXIT1);
    case BT_FAKE_HANG:
        for (;;)
            nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
    case BT_FAKE_GARBAGE:
        send(BT_FAKE_SOCKET, garbage, sizeof garbage, MSG_NOSIGNAL);
        break;
    case BT_FAKE_PARTIAL:
        send(BT_FAKE_SOCKET, partial, sizeof partial, MSG_NOSIGNAL);
        _exit(1);
    case BT_FAKE_FLOOD:
        flood();
        break;
    case BT_FAKE_LIVES:
        break;
    }
}

/* As libraries do: unasked, with and without stdio. */
void bt_fake_print(int64_t bytes) {
    static const char words[] = "\n{\"task_id\":\"a1\",\"result\":\"printed\",\"error\":null,\"retry\":false}\n";
    printf("%s", words);
    (void)!fflush(stdout);
    for (int64_t n = 0; n < bytes; n += (int64_t)sizeof words - 1)
        (void)!write(STDOUT_FILENO, words, sizeof words - 1);
}

void bt_fake_maybe_die(struct bt_fake_model *m, int64_t number, const struct bt_buf *carried) {
    if (m->prints)
        bt_fake_print(m->prints);
    if (m->print) {
        print_to(STDOUT_FILENO, "fake native: a decode\n");
        print_to(STDERR_FILENO, "fake native: a decode, on stderr\n");
    }
    if (m->death == BT_FAKE_LIVES || m->immortal)
        return;
    if (m->poison[0]) {
        if (!carried->len || !memmem(carried->data, carried->len, m->poison, strlen(m->poison)))
            return;
        number = bt_fake_count(&m->poisoned, 1) + 1;
    }
    if (number == m->death_at)
        die(m->death);
}
