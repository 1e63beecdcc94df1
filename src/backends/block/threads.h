/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that carry out requests of one queue by calls that block.  They come when they are
 * needed, up to a bound, and go when there was nothing to do for a while.  Called on the queue's
 * worker.
 */
#ifndef BACKENDS_BLOCK_THREADS_H
#define BACKENDS_BLOCK_THREADS_H

#include "backends/block/block.h"

struct threads;

/* 0 or -errno.  pool: lends the threads. */
int threads_alloc(struct worker *worker, struct lane_pool *pool, struct threads **ret);
/* No request is left.  NULL is allowed. */
void threads_free(struct threads *threads);
/* file_io_end() follows, from a source of the worker. */
void threads_add(struct threads *threads, struct block_io *io);

#endif
