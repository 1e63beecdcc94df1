/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/file.h"
#include "backends/block/uring.h"
#include "base/defs.h"

static void file_close(struct block *block)
{
	struct file *file = to_file(block);

	close(file->fd);
	free(file->path);
	free(file);
}

/* Make a shorter file so long; nothing is ever cut. */
static int set_size(struct file *file, uint64_t size, struct vdpa_extack *ack)
{
	uint64_t present = file_present_size(file);
	int err = block_check_size(size, file->block.info.block_size, ack);

	if (err)
		return err;
	if (size > present && !file->regular)
		return vdpa_extack_set(ack, -EINVAL, "'%s' has %" PRIu64 " bytes, not %" PRIu64,
				       file->path, present, size);
	if (size > present && file->block.info.readonly)
		return vdpa_extack_set(ack, -EROFS,
				       "'%s' has %" PRIu64 " bytes and is read-only: it cannot be "
				       "extended to %" PRIu64,
				       file->path, present, size);
	if (size > present && ftruncate(file->fd, (off_t)size))
		return vdpa_extack_set(ack, -errno, "cannot extend '%s' to %" PRIu64 " bytes: %s",
				       file->path, size, strerror(errno));
	__atomic_store_n(&file->block.info.size, size, __ATOMIC_RELAXED);
	return 0;
}

static int file_resize(struct block *block, uint64_t size, struct vdpa_extack *ack)
{
	struct file *file = to_file(block);

	if (!size)
		size = file_present_size(file) & ~(uint64_t)(block->info.block_size - 1);
	if (!size)
		return vdpa_extack_set(ack, -EINVAL, "'%s' is empty", file->path);
	return set_size(file, size, ack);
}

static void file_show(struct block *block, struct vdpa_info *info)
{
	struct file *file = to_file(block);

	vdpa_info_str(info, "file", file->path);
	vdpa_info_bool(info, "direct", file->direct);
	vdpa_info_str(info, "cache", block_cache_modes[!block->info.writeback]);
	if (__atomic_load_n(&file->lost, __ATOMIC_RELAXED))
		vdpa_info_bool(info, "flush-failed", true);
	vdpa_info_str(info, "aio", block_aio_modes[file->uring ? 1 : 2]);
}

static int file_attach(struct block *block, struct worker *worker, struct lane_pool *pool,
		       struct block_queue **ret, struct vdpa_extack *ack)
{
	struct file *file = to_file(block);
	struct file_queue *fq = calloc(1, sizeof(*fq));
	int err = 0;

	if (!fq)
		return -ENOMEM;
	fq->queue.ops = block->ops;
	fq->queue.block = block;
	fq->file = file;
	fq->worker = worker;
	fq->pool = pool;
	if (file->uring)
		err = uring_get(worker, &fq->uring);
	if (err && file->must_uring) {
		free(fq);
		return vdpa_extack_set(ack, err,
				       "cannot set up an io_uring: %s; 'aio threads' does "
				       "without",
				       strerror(-err));
	}
	*ret = &fq->queue;
	return 0;
}

static void file_detach(struct block_queue *queue)
{
	struct file_queue *fq = to_file_queue(queue);

	threads_free(fq->threads);
	free(fq);
}

const struct block_ops file_block_ops = {
	.name = "file",
	.close = file_close,
	.resize = file_resize,
	.sync = file_sync,
	.show = file_show,
	.attach = file_attach,
	.detach = file_detach,
	.submit = file_submit,
	.kick = file_kick,
};
