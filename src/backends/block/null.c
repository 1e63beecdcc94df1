/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk without data, to measure everything else.  Writes are dropped.  Reads leave the buffer as
 * it is (so nothing of this process reaches the client), or fill it with zeros where `zeroes` is
 * on.
 */
#include <stdlib.h>

#include "backends/block/plain.h"
#include "base/defs.h"
#include "vdpa/virtqueue.h"

static void null_close(struct block *block)
{
	free(container_of(block, struct block_plain, block));
}

static int null_resize(struct block *block, uint64_t size, struct vdpa_extack *ack)
{
	int err = block_check_size(size, block->info.block_size, ack);

	if (!err)
		__atomic_store_n(&block->info.size, size, __ATOMIC_RELAXED);
	return err;
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
	.attach = block_plain_attach,
	.detach = block_plain_detach,
	.submit = null_submit,
};

static const struct block_ops zero_ops = {
	.name = "null",
	.close = null_close,
	.resize = null_resize,
	.attach = block_plain_attach,
	.detach = block_plain_detach,
	.submit = zero_submit,
};

int block_null_open(struct vdpa_attrs *attrs, struct block **ret, struct vdpa_extack *ack)
{
	const struct block_ops *ops =
		vdpa_attrs_bool(attrs, "zeroes", false) ? &zero_ops : &null_ops;
	struct block_plain *disk;
	int err = block_plain_alloc(sizeof(*disk), ops, attrs, &disk, ack);

	if (!err)
		*ret = &disk->block;
	return err;
}
