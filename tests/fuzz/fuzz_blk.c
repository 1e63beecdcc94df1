/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parser of block requests, with chains of any content and any layout on a small disk in
 * memory.
 *
 * Input: pairs of records, each a byte of flags and a list of pieces.  Flags: 1 read-only, 2 a disk
 * with 4096-byte blocks, 4 discard and write-zeroes were not negotiated, 8 writethrough.  A piece
 * is a byte of length (low 6 bits: 0 to 62, 63: 512 times the next byte), bit 6: the device writes
 * it, bit 7: the last one of its request; then, unless the device writes it, its content as far as
 * the input goes, else zeros.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz_input.h"
#include "parents/soft/blk_request.h"

#define MAX_PIECES 64
#define DISK       "64K"

static const struct vdpa_attr_desc table[] = {BLOCK_ATTRS, {0}};

static struct block *open_disk(const char *block_size, const char *readonly)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct block *block = NULL;

	if (!attrs || vdpa_attrs_add(attrs, "backend", "ram", NULL, NULL) ||
	    vdpa_attrs_add(attrs, "size", DISK, NULL, NULL) ||
	    vdpa_attrs_add(attrs, "block-size", block_size, NULL, NULL) ||
	    vdpa_attrs_add(attrs, "readonly", readonly, NULL, NULL) ||
	    vdpa_attrs_check(attrs, table, NULL, false, NULL) || block_open(attrs, &block, NULL))
		abort();
	vdpa_attrs_free(attrs);
	return block;
}

/* Pieces that are read come first in a chain, as the walker sees to it. */
struct chain {
	struct vdpa_vq_elem elem;
	struct iovec iov[MAX_PIECES];
};

static bool add_piece(struct chain *c, struct input *in)
{
	uint8_t head = next(in);
	size_t len = head & 0x3f, have;
	bool write = head & 0x40 || c->elem.in_num;
	uint8_t *mem;

	if (len == 0x3f)
		len = 512u * next(in);
	mem = calloc(1, len ? len : 1);
	if (!mem)
		abort();
	if (!write) {
		have = len < in->len ? len : in->len;
		memcpy(mem, in->data, have);
		in->data += have;
		in->len -= have;
	}
	c->iov[c->elem.out_num + c->elem.in_num] = (struct iovec){mem, len};
	*(write ? &c->elem.in_num : &c->elem.out_num) += 1;
	*(write ? &c->elem.in_len : &c->elem.out_len) += (uint32_t)len;
	return !(head & 0x80) && in->len && c->elem.out_num + c->elem.in_num < MAX_PIECES;
}

static void done(struct blk_request *r, enum blk_result result)
{
	abort(); /* memory takes no time */
}

static void check(const struct chain *c, enum blk_result result)
{
	const struct iovec *iov = &c->iov[c->elem.out_num + c->elem.in_num];
	uint8_t status;

	if (result == BLK_BROKEN) {
		if (c->elem.in_len && c->elem.out_len >= sizeof(struct virtio_blk_outhdr))
			abort();
		return;
	}
	do
		iov--;
	while (!iov->iov_len);
	status = ((uint8_t *)iov->iov_base)[iov->iov_len - 1];
	if (status > VIRTIO_BLK_S_UNSUPP || (result == BLK_OK) != (status == VIRTIO_BLK_S_OK))
		abort();
}

static void run(const struct blk_disk *disk, struct block_queue *queue, struct input *in)
{
	struct chain c = {0};
	struct blk_request r = {.disk = disk, .queue = queue, .elem = &c.elem, .done = done};

	c.elem.iov = c.iov;
	while (add_piece(&c, in))
		;
	check(&c, blk_request_start(&r));
	for (int i = 0; i < c.elem.out_num + c.elem.in_num; i++)
		free(c.iov[i].iov_base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	uint8_t flags = next(&in);
	struct block *block = open_disk(flags & 2 ? "4096" : "512", flags & 1 ? "on" : "off");
	struct block_queue *queue;
	struct blk_disk disk = {
		.capacity = block->info.size,
		.readonly = block->info.readonly,
		.discard = !(flags & 4),
		.write_zeroes = !(flags & 4),
		.unmap = true,
		.writethrough = flags & 8,
		.block_size = block->info.block_size,
		.max_discard = 64,
		.max_write_zeroes = 64,
		.serial = "fuzz",
	};

	if (block_attach(block, NULL, NULL, &queue, NULL))
		abort();
	while (in.len)
		run(&disk, queue, &in);
	block_detach(queue);
	block_close(block);
	return 0;
}
