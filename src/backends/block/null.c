/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk without data, to measure everything else.  Writes are dropped.  Reads leave the buffer as
 * it is (so nothing of this process reaches the client), or fill it with zeros where `zeroes` is
 * on.
 */
#include <errno.h>
#include <stdlib.h>

#include "backends/block/block.h"
#include "base/defs.h"
#include "vdpa/virtqueue.h"

struct null_disk {
	struct block block;
	struct block_queue queue; /* has no state, so all queues are this one */
};

static void null_close(struct block *block)
{
	free(container_of(block, struct null_disk, block));
}

static int null_resize(struct block *block, uint64_t size, struct vdpa_extack *ack)
{
	int err = block_check_size(size, block->info.block_size, ack);

	if (!err)
		__atomic_store_n(&block->info.size, size, __ATOMIC_RELAXED);
	return err;
}

static int null_attach(struct block *block, struct worker *worker, struct lane_pool *pool,
		       struct block_queue **ret, struct vdpa_extack *ack)
{
	*ret = &container_of(block, struct null_disk, block)->queue;
	return 0;
}

static void null_detach(struct block_queue *queue)
{
}

static int null_submit(struct block_queue *queue, struct block_io *io)
{
	return 0;
}

static int zero_submit(struct block_queue *queue, struct block_io *io)
{
	if (io->op == BLOCK_READ)
		vdpa_iov_set(io->iov, io->iovcnt, 0, 0, io->len);
	return 0;
}

static const struct block_ops null_ops = {
	.name = "null",
	.close = null_close,
	.resize = null_resize,
	.attach = null_attach,
	.detach = null_detach,
	.submit = null_submit,
};

static const struct block_ops zero_ops = {
	.name = "null",
	.close = null_close,
	.resize = null_resize,
	.attach = null_attach,
	.detach = null_detach,
	.submit = zero_submit,
};

int block_null_open(struct vdpa_attrs *attrs, struct block **ret, struct vdpa_extack *ack)
{
	const struct block_ops *ops =
		vdpa_attrs_bool(attrs, "zeroes", false) ? &zero_ops : &null_ops;
	uint64_t size = vdpa_attrs_u64(attrs, "size", 0);
	struct null_disk *disk;
	uint32_t block_size;
	int err;

	err = block_attr_block_size(attrs, 512, &block_size, ack);
	if (!err)
		err = block_check_size(size, block_size, ack);
	if (err)
		return err;
	disk = calloc(1, sizeof(*disk));
	if (!disk)
		return -ENOMEM;
	block_info_init(&disk->block.info, block_size);
	disk->block.info.size = size;
	disk->block.info.readonly = vdpa_attrs_bool(attrs, "readonly", false);
	disk->block.info.discard = disk->block.info.unmap = true;
	disk->block.ops = disk->queue.ops = ops;
	disk->queue.block = &disk->block;
	*ret = &disk->block;
	return 0;
}
