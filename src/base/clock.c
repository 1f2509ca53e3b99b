/* Time, thread names, randomness: what the kernel knows. Stateless. */
#include "base/base.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

int64_t bt_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * BT_NS_PER_S + t.tv_nsec;
}

int64_t bt_now_coarse_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
    return t.tv_sec * BT_NS_PER_S + t.tv_nsec;
}

int64_t bt_deadline(int64_t now_ns, int64_t delay_ms) {
    if (delay_ms < 0 || delay_ms > (BT_NEVER_NS - now_ns) / BT_NS_PER_MS)
        return BT_NEVER_NS;
    return now_ns + delay_ms * BT_NS_PER_MS;
}

void bt_thread_name(unsigned tid, char *name, size_t size) {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/task/%u/comm", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, name, size - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0) {
        snprintf(name, size, "exited");
        return;
    }
    name[n] = '\0';
    name[strcspn(name, "\n")] = '\0';
}

uint64_t bt_mix64(uint64_t x) {
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t bt_sum64(const void *data, size_t size) {
    const unsigned char *bytes = data;
    uint64_t sum = size, word;
    for (; size >= sizeof word; bytes += sizeof word, size -= sizeof word) {
        memcpy(&word, bytes, sizeof word);
        sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 32;
    }
    word = 0;
    memcpy(&word, bytes, size);
    return bt_mix64(sum ^ word);
}

double bt_draw(uint64_t seed, uint64_t index) {
    /* two rounds: with one, seeds that differ by the golden increment would be shifted copies of each other */
    uint64_t x = bt_mix64(bt_mix64(seed) ^ index);
    return (double)(x >> 11) * 0x1.0p-53;
}

uint64_t bt_random64(void) {
    uint64_t x;
    if (getrandom(&x, sizeof x, 0) == (ssize_t)sizeof x)
        return x;
    return bt_mix64((uint64_t)bt_now_ns() ^ ((uint64_t)getpid() << 40));
}
