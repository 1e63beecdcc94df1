/* SPDX-License-Identifier: BSD-2-Clause */
#include "backends/block/plain.h"

#include <errno.h>
#include <stdlib.h>

#include "base/defs.h"

int block_plain_alloc(size_t bytes, const struct block_ops *ops, const struct vdpa_attrs *attrs,
		      struct block_plain **ret, struct vdpa_extack *ack)
{
	uint64_t size = vdpa_attrs_u64(attrs, "size", 0);
	struct block_plain *plain;
	uint32_t block_size;
	int err;

	err = block_attr_block_size(attrs, 512, &block_size, ack);
	if (!err)
		err = block_check_size(size, block_size, ack);
	if (err)
		return err;
	plain = calloc(1, bytes);
	if (!plain)
		return -ENOMEM;
	block_info_init(&plain->block.info, block_size);
	plain->block.info.size = size;
	plain->block.info.readonly = vdpa_attrs_bool(attrs, "readonly", false);
	plain->block.info.discard = plain->block.info.unmap = true;
	plain->block.ops = plain->queue.ops = ops;
	plain->queue.block = &plain->block;
	*ret = plain;
	return 0;
}

int block_plain_attach(struct block *block, struct worker *worker, struct lane_pool *pool,
		       struct block_queue **ret, struct vdpa_extack *ack)
{
	*ret = &container_of(block, struct block_plain, block)->queue;
	return 0;
}

void block_plain_detach(struct block_queue *queue)
{
}
