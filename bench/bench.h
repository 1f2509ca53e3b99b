/* The benches, one function each; bench/main.c prints them in one run of one process. */
#ifndef BT_BENCH_H
#define BT_BENCH_H

#include "base/base.h"

enum { BT_BENCH_CLIENTS_MAX = 32, BT_BENCH_TOKENS = 128, BT_BENCH_CTX = 256 };

/* The same prompts for everybody: client i's in that round, never twice in a run, so that nobody profits from a prefix.
 * They ask for stories, which the built-in model tells without end. */
void bt_bench_prompt(char *text, size_t size, int client, int round);

/* Tokens per second of llama_decode over `sequences` side by side. */
double bt_bench_raw(const char *path, int sequences, int rounds);

/* Tokens per second of `clients` requests at a time through an owner thread, or process, without HTTP; *first_ms: from
 * asking to the first token, the median. */
double bt_bench_front(const char *path, int sequences, int clients, int rounds, bool process, double *first_ms);

/* Tokens per second of `clients` streaming HTTP clients, one connection each, against `baton serve` in a child. */
double bt_bench_http(const char *program, const char *path, int sequences, int clients, int rounds);

/* What each layer adds to the native calls below it. */
void bt_bench_layers(const char *path);
/* Owners on threads beside owners in processes, and what a killed one costs; prints. */
void bt_bench_owner(const char *path);

/* Guard, gate and lease beside pthread's. */
void bt_bench_gate(void);

#endif
