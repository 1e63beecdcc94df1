/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk in memory.  Pages come with the first write and go with a discard; what was never written
 * reads as zeros and costs nothing.  Copies are made inline.
 *
 * The memory is a row of extents: growing a disk in use adds one, and nothing moves.  Workers see
 * the row through an atomic pointer; rows of before stay until the disk is closed (a few bytes for
 * each time it grew).
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "backends/block/plain.h"
#include "base/defs.h"

/* Anonymous memory for as long as the machine has some: the size of a disk is a promise, not a
 * claim. */
#define RAM_MAP_FLAGS (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

struct ram_extent {
	uint8_t *mem;
	uint64_t off, len;
};

struct ram_map {
	struct ram_map *prev; /* the row before: the same but for the last extent */
	uint64_t size;
	unsigned int num;
	struct ram_extent extents[];
};

struct ram {
	struct block_plain plain;
	struct ram_map *map; /* atomic */
};

static struct ram_map *ram_map(struct ram *ram)
{
	return __atomic_load_n(&ram->map, __ATOMIC_ACQUIRE);
}

/* Appends memory for [size of the present row, size). */
static int ram_grow(struct ram *ram, uint64_t size, struct vdpa_extack *ack)
{
	struct ram_map *old = ram->map;
	uint64_t start = old ? old->size : 0;
	unsigned int num = old ? old->num : 0;
	struct ram_map *map;
	void *mem;

	size = align_up(size, (uint64_t)sysconf(_SC_PAGESIZE));
	if (size <= start)
		return 0;
	map = malloc(sizeof(*map) + (num + 1) * sizeof(map->extents[0]));
	if (!map)
		return -ENOMEM;
	mem = mmap(NULL, size - start, PROT_READ | PROT_WRITE, RAM_MAP_FLAGS, -1, 0);
	if (mem == MAP_FAILED) {
		free(map);
		return vdpa_extack_set(ack, -errno, "cannot map %" PRIu64 " bytes of memory: %s",
				       size - start, strerror(errno));
	}
	if (num)
		memcpy(map->extents, old->extents, num * sizeof(map->extents[0]));
	map->extents[num] = (struct ram_extent){.mem = mem, .off = start, .len = size - start};
	map->num = num + 1;
	map->size = size;
	map->prev = old;
	__atomic_store_n(&ram->map, map, __ATOMIC_RELEASE);
	return 0;
}

static void ram_close(struct block *block)
{
	struct ram *ram = container_of(block, struct ram, plain.block);
	struct ram_map *map = ram->map;

	for (unsigned int i = 0; map && i < map->num; i++)
		munmap(map->extents[i].mem, map->extents[i].len);
	while (map) {
		struct ram_map *prev = map->prev;

		free(map);
		map = prev;
	}
	free(ram);
}

/* The memory at off, and how much of len follows there in one piece. */
static uint8_t *ram_at(const struct ram_map *map, uint64_t off, uint64_t len, uint64_t *part)
{
	const struct ram_extent *e = map->extents;

	while (off - e->off >= e->len)
		e++;
	*part = e->len - (off - e->off);
	if (*part > len)
		*part = len;
	return e->mem + (off - e->off);
}

static void ram_zero_piece(uint8_t *mem, uint64_t len)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uint64_t head = -(uintptr_t)mem & (page - 1);
	uint64_t whole;

	if (head > len)
		head = len;
	memset(mem, 0, head);
	whole = (len - head) & ~(uint64_t)(page - 1);
	/* Locked memory cannot be given back. */
	if (whole && madvise(mem + head, whole, MADV_DONTNEED))
		memset(mem + head, 0, whole);
	memset(mem + head + whole, 0, len - head - whole);
}

static void ram_zero(const struct ram_map *map, uint64_t off, uint64_t len)
{
	while (len) {
		uint64_t part;
		uint8_t *mem = ram_at(map, off, len, &part);

		ram_zero_piece(mem, part);
		off += part;
		len -= part;
	}
}

static void ram_copy(const struct ram_map *map, const struct block_io *io)
{
	uint64_t off = io->off;

	for (unsigned int i = 0; i < io->iovcnt; i++) {
		uint8_t *base = io->iov[i].iov_base;
		uint64_t len = io->iov[i].iov_len;

		while (len) {
			uint64_t part;
			uint8_t *mem = ram_at(map, off, len, &part);

			if (io->op == BLOCK_READ)
				memcpy(base, mem, part);
			else
				memcpy(mem, base, part);
			base += part;
			off += part;
			len -= part;
		}
	}
}

static int ram_submit(struct block_queue *queue, struct block_io *io)
{
	struct ram *ram = container_of(queue, struct ram, plain.queue);
	const struct ram_map *map = ram_map(ram);

	if (io->op == BLOCK_FLUSH)
		return 0;
	if (!range_fits(io->off, io->len, map->size))
		return -EIO;
	if (io->op == BLOCK_READ || io->op == BLOCK_WRITE)
		ram_copy(map, io);
	else if (io->op == BLOCK_WRITE_ZEROES || ram->plain.block.info.discard)
		ram_zero(map, io->off, io->len);
	return 0;
}

static int ram_resize(struct block *block, uint64_t size, struct vdpa_extack *ack)
{
	struct ram *ram = container_of(block, struct ram, plain.block);
	uint64_t old = block->info.size;
	int err = block_check_size(size, block->info.block_size, ack);

	if (!err)
		err = ram_grow(ram, size, ack);
	if (err)
		return err;
	/*
	 * What is cut off goes now.  A write that was under way may have come later, so what is
	 * gained is zeroed again.
	 */
	if (size < old)
		ram_zero(ram->map, size, ram->map->size - size);
	else
		ram_zero(ram->map, old, size - old);
	__atomic_store_n(&block->info.size, size, __ATOMIC_RELAXED);
	return 0;
}

static const struct block_ops ram_ops = {
	.name = "ram",
	.close = ram_close,
	.resize = ram_resize,
	.attach = block_plain_attach,
	.detach = block_plain_detach,
	.submit = ram_submit,
};

int block_ram_open(struct vdpa_attrs *attrs, struct block **ret, struct vdpa_extack *ack)
{
	struct block_plain *plain;
	struct ram *ram;
	int err;

	err = block_plain_alloc(sizeof(*ram), &ram_ops, attrs, &plain, ack);
	if (err)
		return err;
	ram = container_of(plain, struct ram, plain);
	plain->block.info.discard = vdpa_attrs_bool(attrs, "discard", true);
	err = ram_grow(ram, plain->block.info.size, ack);
	if (err)
		free(ram);
	else
		*ret = &plain->block;
	return err;
}
