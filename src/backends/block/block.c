/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "backends/block/block.h"
#include "base/choice.h"
#include "base/defs.h"

const char *const block_backend_names[] = {"file", "ram", "null", NULL};
const char *const block_cache_modes[] = {"writeback", "writethrough", NULL};
const char *const block_aio_modes[] = {"auto", "io_uring", "threads", NULL};

static const struct choice backends[] = {
	{"file", {"file", "direct", "aio", "lock", "discard"}},
	{"ram", {"discard"}},
	{"null", {"zeroes"}},
};
static block_open_fn *const open_backend[ARRAY_SIZE(backends)] = {
	block_file_open,
	block_ram_open,
	block_null_open,
};

int block_open(struct vdpa_attrs *attrs, struct block **ret, struct vdpa_extack *ack)
{
	const char *name = vdpa_attrs_str(attrs, "backend", NULL);
	int idx;

	if (!name && !vdpa_attrs_has(attrs, "file"))
		return vdpa_extack_set(
			ack, -EINVAL,
			"where is the data? give 'file PATH', 'backend ram size SIZE' "
			"or 'backend null size SIZE'");
	if (!name)
		name = "file";
	idx = choice_find(backends, ARRAY_SIZE(backends), name, attrs, ack);
	return idx < 0 ? idx : open_backend[idx](attrs, ret, ack);
}

void block_close(struct block *block)
{
	if (block)
		block->ops->close(block);
}

int block_resize(struct block *block, uint64_t size, struct vdpa_extack *ack)
{
	return block->ops->resize(block, size, ack);
}

int block_resize_shared(struct block *block, uint64_t size, uint64_t *capacity,
			struct vdpa_extack *ack)
{
	uint64_t old = *capacity;
	int err;

	if (size && size < old)
		__atomic_store_n(capacity, size, __ATOMIC_RELAXED);
	err = block_resize(block, size, ack);
	__atomic_store_n(capacity, err ? old : block->info.size, __ATOMIC_RELAXED);
	return err;
}

int block_sync(struct block *block)
{
	return block->ops->sync ? block->ops->sync(block) : 0;
}

void block_show(struct block *block, struct vdpa_info *info)
{
	vdpa_info_str(info, "backend", block->ops->name);
	vdpa_info_u64(info, "size", __atomic_load_n(&block->info.size, __ATOMIC_RELAXED));
	vdpa_info_u64(info, "block_size", block->info.block_size);
	vdpa_info_bool(info, "readonly", block->info.readonly);
	if (block->ops->show)
		block->ops->show(block, info);
}

int block_attr_block_size(const struct vdpa_attrs *attrs, uint32_t def, uint32_t *ret,
			  struct vdpa_extack *ack)
{
	uint64_t size = vdpa_attrs_u64(attrs, "block-size", def);

	if (!is_power_of_2(size) || size < 512 || size > 65536)
		return vdpa_extack_set(
			ack, -EINVAL,
			"block-size %" PRIu64 " is not one of 512, 1024, 2048 ... 65536", size);
	*ret = (uint32_t)size;
	return 0;
}

int block_check_size(uint64_t size, uint32_t block_size, struct vdpa_extack *ack)
{
	if (!size)
		return vdpa_extack_set(ack, -EINVAL, "'size' is missing, such as 'size 64M'");
	if (size > INT64_MAX)
		return vdpa_extack_set(ack, -ERANGE, "size %" PRIu64 " is too large", size);
	if (size % block_size)
		return vdpa_extack_set(ack, -EINVAL,
				       "size %" PRIu64 " is not a multiple of the block size, %u",
				       size, block_size);
	return 0;
}

void block_info_init(struct block_info *info, uint32_t block_size)
{
	memset(info, 0, sizeof(*info));
	info->block_size = block_size;
	info->physical_size = block_size > 4096 ? block_size : 4096;
	info->discard_align = info->physical_size;
	info->max_discard = info->max_write_zeroes = 16 << 20;
	info->writeback = true;
}
