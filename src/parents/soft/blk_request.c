/* SPDX-License-Identifier: BSD-2-Clause */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "parents/soft/blk_request.h"
#include "virtqueue/iov.h"

#define HDR_LEN sizeof(struct virtio_blk_outhdr)

struct blk_range {
	uint64_t off, len;
	uint32_t flags;
};

/* The status is the last byte that the device may write. */
static void put_status(const struct vdpa_vq_elem *elem, uint8_t status)
{
	const struct iovec *iov = &elem->iov[elem->out_num + elem->in_num];

	do
		iov--;
	while (!iov->iov_len);
	((uint8_t *)iov->iov_base)[iov->iov_len - 1] = status;
}

static enum blk_result finish(struct blk_request *r, uint8_t status)
{
	put_status(r->elem, status);
	free(r->pieces);
	free(r->ranges);
	r->pieces = NULL;
	r->ranges = NULL;
	return status == VIRTIO_BLK_S_OK ? BLK_OK : BLK_FAILED;
}

static enum blk_result finish_err(struct blk_request *r, int err)
{
	r->err = err;
	if (!err)
		return finish(r, VIRTIO_BLK_S_OK);
	return finish(r, err == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR);
}

static void io_done(struct block_io *io, int err);

/* ---- data */

static int cut_pieces(struct blk_request *r, const struct iovec *iov, unsigned int num, size_t skip,
		      size_t len)
{
	r->io.iov = r->pieces = iov_cut(iov, num, skip, len, &r->io.iovcnt);
	return r->pieces ? 0 : -ENOMEM;
}

static int set_data(struct blk_request *r, bool write, uint32_t len)
{
	const struct vdpa_vq_elem *elem = r->elem;
	const struct iovec *in = &elem->iov[elem->out_num];

	r->io.iov = write ? elem->iov + 1 : in;
	if (write && elem->iov[0].iov_len == HDR_LEN)
		r->io.iovcnt = elem->out_num - 1u;
	else if (!write && in[elem->in_num - 1].iov_len == 1)
		r->io.iovcnt = elem->in_num - 1u;
	else if (write)
		return cut_pieces(r, elem->iov, elem->out_num, HDR_LEN, len);
	else
		return cut_pieces(r, in, elem->in_num, 0, len);
	return 0;
}

static bool range_ok(const struct blk_disk *disk, uint64_t sector, uint64_t len)
{
	return sector <= UINT64_MAX / BLK_SECTOR &&
	       block_range_ok(disk->block_size, __atomic_load_n(&disk->capacity, __ATOMIC_RELAXED),
			      sector * BLK_SECTOR, len);
}

static uint32_t write_flags(const struct blk_disk *disk)
{
	return __atomic_load_n(&disk->writethrough, __ATOMIC_RELAXED) ? BLOCK_FUA : 0;
}

static enum blk_result start_rw(struct blk_request *r, bool write, uint64_t sector)
{
	const struct blk_disk *disk = r->disk;
	uint32_t len = write ? r->elem->out_len - (uint32_t)HDR_LEN : r->elem->in_len - 1;
	int err;

	if ((write && disk->readonly) || !range_ok(disk, sector, len))
		return finish(r, VIRTIO_BLK_S_IOERR);
	if (!len)
		return finish(r, VIRTIO_BLK_S_OK);
	err = set_data(r, write, len);
	if (err)
		return finish_err(r, err);
	r->io.op = write ? BLOCK_WRITE : BLOCK_READ;
	r->io.flags = write ? write_flags(disk) : 0;
	r->io.off = sector * BLK_SECTOR;
	r->io.len = len;
	r->io.done = io_done;
	err = block_submit(r->queue, &r->io);
	return err == BLOCK_PENDING ? BLK_PENDING : finish_err(r, err);
}

static enum blk_result start_flush(struct blk_request *r)
{
	int err;

	r->io.op = BLOCK_FLUSH;
	r->io.flags = 0;
	r->io.off = r->io.len = 0;
	r->io.done = io_done;
	err = block_submit(r->queue, &r->io);
	return err == BLOCK_PENDING ? BLK_PENDING : finish_err(r, err);
}

/* ---- discard and write-zeroes */

/* Start the ranges that are left, until one takes its time.  BLOCK_PENDING, or the result of all.
 */
static int next_ranges(struct blk_request *r, const struct blk_range *ranges)
{
	int err = 0;

	while (!err && r->range < r->num_ranges) {
		const struct blk_range *range = &ranges[r->range++];

		if (!range->len)
			continue;
		r->io.off = range->off;
		r->io.len = range->len;
		r->io.flags = range->flags;
		err = block_submit(r->queue, &r->io);
	}
	return err;
}

static uint8_t check_range(const struct blk_disk *disk, bool zeroes,
			   const struct virtio_blk_discard_write_zeroes *seg, struct blk_range *ret)
{
	uint64_t sector = le64toh(seg->sector);
	uint32_t num = le32toh(seg->num_sectors);
	uint32_t flags = le32toh(seg->flags);
	bool unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;

	if (flags & ~VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP || (unmap && !zeroes))
		return VIRTIO_BLK_S_UNSUPP;
	if (num > (zeroes ? disk->max_write_zeroes : disk->max_discard) ||
	    !range_ok(disk, sector, (uint64_t)num * BLK_SECTOR))
		return VIRTIO_BLK_S_IOERR;
	ret->off = sector * BLK_SECTOR;
	ret->len = (uint64_t)num * BLK_SECTOR;
	ret->flags = write_flags(disk) | (unmap && disk->unmap ? BLOCK_UNMAP : 0);
	return VIRTIO_BLK_S_OK;
}

static uint8_t read_ranges(struct blk_request *r, bool zeroes, struct blk_range *ranges)
{
	const struct vdpa_vq_elem *elem = r->elem;
	struct virtio_blk_discard_write_zeroes seg;

	for (uint32_t i = 0; i < r->num_ranges; i++) {
		uint8_t status;

		vdpa_iov_to_buf(elem->iov, elem->out_num, HDR_LEN + i * sizeof(seg), &seg,
				sizeof(seg));
		status = check_range(r->disk, zeroes, &seg, &ranges[i]);
		if (status != VIRTIO_BLK_S_OK)
			return status;
	}
	return VIRTIO_BLK_S_OK;
}

static enum blk_result start_ranges(struct blk_request *r, bool zeroes)
{
	size_t seg_len = sizeof(struct virtio_blk_discard_write_zeroes);
	uint32_t len = r->elem->out_len - (uint32_t)HDR_LEN;
	struct blk_range one, *ranges = &one;
	uint8_t status;
	int err;

	if (!(zeroes ? r->disk->write_zeroes : r->disk->discard))
		return finish(r, VIRTIO_BLK_S_UNSUPP);
	if (r->disk->readonly || !len || len % seg_len || len / seg_len > BLK_MAX_RANGES)
		return finish(r, VIRTIO_BLK_S_IOERR);
	r->num_ranges = len / (uint32_t)seg_len;
	r->range = 0;
	if (r->num_ranges > 1) {
		ranges = r->ranges = malloc(r->num_ranges * sizeof(*ranges));
		if (!ranges)
			return finish_err(r, -ENOMEM);
	}
	status = read_ranges(r, zeroes, ranges);
	if (status != VIRTIO_BLK_S_OK)
		return finish(r, status);
	r->io.op = zeroes ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD;
	r->io.done = io_done;
	err = next_ranges(r, ranges);
	return err == BLOCK_PENDING ? BLK_PENDING : finish_err(r, err);
}

static void io_done(struct block_io *io, int err)
{
	struct blk_request *r = container_of(io, struct blk_request, io);

	if (!err && r->ranges)
		err = next_ranges(r, r->ranges);
	if (err == BLOCK_PENDING)
		return;
	r->done(r, finish_err(r, err));
}

static enum blk_result get_id(struct blk_request *r)
{
	const struct vdpa_vq_elem *elem = r->elem;
	size_t room = elem->in_len - 1;

	vdpa_iov_from_buf(&elem->iov[elem->out_num], elem->in_num, 0, r->disk->serial,
			  room < VIRTIO_BLK_ID_BYTES ? room : VIRTIO_BLK_ID_BYTES);
	return finish(r, VIRTIO_BLK_S_OK);
}

enum blk_result blk_request_start(struct blk_request *r)
{
	const struct vdpa_vq_elem *elem = r->elem;
	struct virtio_blk_outhdr hdr;

	r->err = 0;
	r->io.iov = NULL;
	r->io.iovcnt = 0;
	r->pieces = NULL;
	r->ranges = NULL;
	if (!elem->in_len || vdpa_iov_to_buf(elem->iov, elem->out_num, 0, &hdr, HDR_LEN) != HDR_LEN)
		return BLK_BROKEN;
	switch (le32toh(hdr.type)) {
	case VIRTIO_BLK_T_IN:
		return start_rw(r, false, le64toh(hdr.sector));
	case VIRTIO_BLK_T_OUT:
		return start_rw(r, true, le64toh(hdr.sector));
	case VIRTIO_BLK_T_FLUSH:
		return start_flush(r);
	case VIRTIO_BLK_T_GET_ID:
		return get_id(r);
	case VIRTIO_BLK_T_DISCARD:
		return start_ranges(r, false);
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return start_ranges(r, true);
	default:
		return finish(r, VIRTIO_BLK_S_UNSUPP);
	}
}
