/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory of others that vanishes under us: a peer that cuts the file behind a mapping turns each
 * access to it into SIGBUS.  With the handler installed, the access finds zeroes, and the range
 * says so.
 *
 * The handler and its list are the process's, not a bus's: signals are.
 */
#ifndef BASE_SIGBUS_H
#define BASE_SIGBUS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A mapping of whole pages; embedded in its owner. */
struct sigbus_range {
	uintptr_t start;
	size_t len;
	bool lost; /* atomic: zero pages are there now */
	struct sigbus_range *next;
};

/* How many ranges were lost since the process began.  Cheap: to be compared, then looked closer. */
extern unsigned int sigbus_losses;
static inline unsigned int sigbus_count(void)
{
	return __atomic_load_n(&sigbus_losses, __ATOMIC_RELAXED);
}

/* ANY THREAD. */
void sigbus_add(struct sigbus_range *range);
/* ANY THREAD.  Waits until no handler looks at the range.  Before it is unmapped. */
void sigbus_remove(struct sigbus_range *range);
static inline bool sigbus_lost(const struct sigbus_range *range)
{
	return __atomic_load_n(&range->lost, __ATOMIC_ACQUIRE);
}

#endif
