/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What backends share that answer each request inside submit: no queue of theirs has a state, so
 * all queues of a disk are one.
 */
#ifndef BACKENDS_BLOCK_PLAIN_H
#define BACKENDS_BLOCK_PLAIN_H

#include <stddef.h>

#include "backends/block/block.h"

/* The first member of the backend's own. */
struct block_plain {
	struct block block;
	struct block_queue queue;
};

/*
 * Make a disk of `bytes` bytes, zeroed but for this part, with what the attributes 'size',
 * 'block-size' and 'readonly' say; it may discard and unmap.  Freed by free().
 * 0, -EINVAL, -ERANGE, -ENOMEM.
 */
int block_plain_alloc(size_t bytes, const struct block_ops *ops, const struct vdpa_attrs *attrs,
		      struct block_plain **ret, struct vdpa_extack *ack);

/* For the table of ops. */
int block_plain_attach(struct block *block, struct worker *worker, struct lane_pool *pool,
		       struct block_queue **ret, struct vdpa_extack *ack);
void block_plain_detach(struct block_queue *queue);

#endif
