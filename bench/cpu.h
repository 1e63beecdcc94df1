/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Processors: where threads run, what they use, how far the two are from each other.
 */
#ifndef BENCH_BLK_CPU_H
#define BENCH_BLK_CPU_H

#include <stdint.h>
#include <sys/types.h>

/* The calling thread.  cpu -1: anywhere.  0 or -errno */
int cpu_pin(int cpu);
/* A clock that is cheap to read, and its ticks in a nanosecond. */
uint64_t cpu_ticks(void);
double cpu_ticks_per_ns(void);
/* Processor time of all threads of a process, nanoseconds; 0 when it cannot be read. */
uint64_t cpu_time_of(pid_t pid);
/* Nanoseconds that a cache line takes from this processor to the other and back; 0: not measured.
 */
double cpu_round_trip(int here, int there);

#endif
