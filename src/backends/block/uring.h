/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One io_uring for each worker.  It serves reads, writes and flushes of all file queues there;
 * results go to file_io_result().  Everything but uring_probe() is called on the worker.
 */
#ifndef BACKENDS_BLOCK_URING_H
#define BACKENDS_BLOCK_URING_H

#include "backends/block/block.h"

struct uring;

#ifdef HAVE_LIBURING
/* Can this process have one?  0 or -errno.  Any thread. */
int uring_probe(void);
/* The worker's ring; made when first asked for, ends with the worker.  0 or -errno. */
int uring_get(struct worker *worker, struct uring **ret);
/* Gather a request; it may wait for room. */
void uring_add(struct uring *uring, struct block_io *io);
/* Begin what was gathered, and end what is done already. */
void uring_kick(struct uring *uring);
#else
#include <errno.h>

static inline int uring_probe(void)
{
	return -ENOSYS;
}

static inline int uring_get(struct worker *worker, struct uring **ret)
{
	return -ENOSYS;
}

/* There is none that these could be called with. */
static inline void uring_add(struct uring *uring, struct block_io *io)
{
}

static inline void uring_kick(struct uring *uring)
{
}
#endif

#endif
