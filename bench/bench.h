/* The parts of `baton_bench`; main.c runs those it is asked for. Each prints a table on stdout and may be run alone. */
#ifndef BT_BENCH_H
#define BT_BENCH_H

/* What the guard and the lease cost beside pthread's locks, alone and contended. About ten seconds. */
void bt_bench_gate(void);

#endif
