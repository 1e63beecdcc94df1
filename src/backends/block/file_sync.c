/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "backends/block/file.h"
#include "base/defs.h"
#include "vdpa/virtqueue.h"

/* Pieces in which data is copied that does not suit direct I/O, and zeros are written. */
#define PIECE (256u << 10)

static int write_flags(const struct block_io *io)
{
	return io->flags & BLOCK_FUA ? RWF_DSYNC : 0;
}

static int sync_rw(const struct file *file, struct block_io *io)
{
	while (io->pos < io->len) {
		unsigned int cnt;
		const struct iovec *iov = file_io_iov(io, &cnt);
		off_t off = (off_t)(io->off + io->pos);
		ssize_t num;
		int err;

		if (io->op == BLOCK_READ)
			num = preadv(file->fd, iov, (int)cnt, off);
		else
			num = pwritev2(file->fd, iov, (int)cnt, off, write_flags(io));
		if (num < 0 && errno == EINTR)
			continue;
		if (num <= 0)
			return num ? -errno : -EIO;
		if ((uint64_t)num == io->len - io->pos)
			return 0;
		err = file_io_advance(io, (size_t)num);
		if (err)
			return err;
	}
	return 0;
}

/* One piece, whole.  The file's end inside it is an error, as direct I/O cannot go on from there.
 */
static int rw_piece(const struct file *file, struct block_io *io, void *buf, size_t len)
{
	off_t off = (off_t)(io->off + io->pos);
	struct iovec iov = {buf, len};
	ssize_t num;

	do {
		if (io->op == BLOCK_READ)
			num = pread(file->fd, buf, len, off);
		else
			num = pwritev2(file->fd, &iov, 1, off, write_flags(io));
	} while (num < 0 && errno == EINTR);
	if (num < 0)
		return -errno;
	return (size_t)num == len ? 0 : -EIO;
}

static size_t piece_len(const struct block_io *io)
{
	return io->len - io->pos < PIECE ? io->len - io->pos : PIECE;
}

/* Through a buffer that suits direct I/O. */
static int sync_bounced(const struct file *file, struct block_io *io)
{
	size_t align = file->mem_align > 4096 ? file->mem_align : 4096;
	void *buf vdpa_cleanup(freep) = aligned_alloc(align, align_up(PIECE, align));
	int err = 0;

	if (!buf)
		return -ENOMEM;
	/* An engine may have done a part already: from here on, pos counts in the whole. */
	while (!err && io->pos < io->len) {
		size_t len = piece_len(io);

		if (io->op == BLOCK_WRITE)
			vdpa_iov_to_buf(io->iov, io->iovcnt, io->pos, buf, len);
		err = rw_piece(file, io, buf, len);
		if (!err && io->op == BLOCK_READ)
			vdpa_iov_from_buf(io->iov, io->iovcnt, io->pos, buf, len);
		io->pos += len;
	}
	return err;
}

static int sync_flush(const struct file *file)
{
	int err;

	do
		err = fdatasync(file->fd);
	while (err && errno == EINTR);
	return err ? -errno : 0;
}

static int try_fallocate(const struct file *file, int mode, const struct block_io *io)
{
	int err;

	do
		err = fallocate(file->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)io->off,
				(off_t)io->len);
	while (err && errno == EINTR);
	return err ? -errno : 0;
}

static int sync_discard(const struct file *file, const struct block_io *io)
{
	uint64_t range[2] = {io->off, io->len};
	int err;

	if (file->regular)
		err = try_fallocate(file, FALLOC_FL_PUNCH_HOLE, io);
	else
		err = ioctl(file->fd, BLKDISCARD, range) ? -errno : 0;
	/* Not in whole blocks of what lies below: a discard is a hint, and nothing has to happen.
	 */
	return err == -EINVAL ? 0 : err;
}

static int write_zeros(const struct file *file, struct block_io *io)
{
	size_t align = file->mem_align > 4096 ? file->mem_align : 4096;
	void *buf vdpa_cleanup(freep) = aligned_alloc(align, align_up(PIECE, align));
	int err = 0;

	if (!buf)
		return -ENOMEM;
	memset(buf, 0, PIECE);
	while (!err && io->pos < io->len) {
		size_t len = piece_len(io);

		err = rw_piece(file, io, buf, len);
		io->pos += len;
	}
	return err;
}

/* A mode that turns out not to be there is not tried again. */
static bool zero_by(const struct file *file, bool *has, int mode, const struct block_io *io,
		    int *err)
{
	if (!__atomic_load_n(has, __ATOMIC_RELAXED))
		return false;
	*err = try_fallocate(file, mode, io);
	/* A device whose blocks are larger than ours does not take this range: the page cache does.
	 */
	if (*err == -EINVAL)
		return false;
	if (*err != -EOPNOTSUPP)
		return true;
	__atomic_store_n(has, false, __ATOMIC_RELAXED);
	return false;
}

static int sync_zero(struct file *file, struct block_io *io)
{
	int err;

	if (io->flags & BLOCK_UNMAP && zero_by(file, &file->punch, FALLOC_FL_PUNCH_HOLE, io, &err))
		return err;
	if (zero_by(file, &file->zero_range, FALLOC_FL_ZERO_RANGE, io, &err))
		return err;
	return write_zeros(file, io);
}

int file_sync_io(struct file *file, struct block_io *io)
{
	int err;

	switch (io->op) {
	case BLOCK_READ:
	case BLOCK_WRITE:
		return file_io_aligned(file, io) ? sync_rw(file, io) : sync_bounced(file, io);
	case BLOCK_FLUSH:
		return sync_flush(file);
	case BLOCK_DISCARD:
		err = sync_discard(file, io);
		break;
	case BLOCK_WRITE_ZEROES:
		err = sync_zero(file, io);
		break;
	default:
		return -EINVAL;
	}
	return !err && io->flags & BLOCK_FUA ? sync_flush(file) : err;
}
