/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads of the library: small stacks, and no signal of the program's ever runs on them (those
 * that a thread causes itself, such as SIGBUS, still do).
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>

/* name: for the thread, cut to 15 characters.  Joinable.  0 or -errno. */
int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *arg), void *arg);
/* Name the calling thread; cut to 15 characters. */
void thread_set_name(const char *name);

#endif
