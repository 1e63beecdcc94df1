/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>
#include <time.h>

#include "backends/block/file.h"
#include "backends/block/uring.h"
#include "base/defs.h"

/* Reads that skip the page cache after misses in a row: up to this many. */
#define SKIP_MAX          64u
/* Longer copies out of the page cache or into it are for a thread, not for a worker. */
#define COPY_MAX          (1u << 20)
/* The largest write that is made inline where it could block, and what it must be a multiple of. */
#define INLINE_WRITE_MAX  (256u << 10)
#define INLINE_WRITE_UNIT 4096u
/* An inline write that takes longer has been held back, and how many times as long nobody else
 * shall be. */
#define INLINE_WRITE_NS   1000000u
#define INLINE_PAUSE      16u

static bool flag(const bool *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

bool file_io_aligned(const struct file *file, const struct block_io *io)
{
	const struct iovec *iov;
	unsigned int num;

	if (!file->direct)
		return true;
	if ((io->off + io->pos) & (file->off_align - 1))
		return false;
	iov = file_io_iov(io, &num);
	for (unsigned int i = 0; i < num; i++) {
		if ((uintptr_t)iov[i].iov_base & (file->mem_align - 1) ||
		    iov[i].iov_len & (file->off_align - 1))
			return false;
	}
	return true;
}

int file_io_advance(struct block_io *io, size_t num)
{
	struct iovec *iov;

	io->pos += num;
	if (!io->rest) {
		io->rest = malloc(io->iovcnt * sizeof(*io->rest));
		if (!io->rest)
			return -ENOMEM;
		memcpy(io->rest, io->iov, io->iovcnt * sizeof(*io->rest));
		io->restcnt = io->iovcnt;
	}
	for (iov = io->rest; num && num >= iov->iov_len; iov++, io->restcnt--)
		num -= iov->iov_len;
	if (num) {
		iov->iov_base = (uint8_t *)iov->iov_base + num;
		iov->iov_len -= num;
	}
	memmove(io->rest, iov, io->restcnt * sizeof(*iov));
	return 0;
}

/* ---- engines */

static void run_io(struct threads_job *job)
{
	struct block_io *io = container_of(job, struct block_io, job);

	io->err = file_sync_io(to_file_queue(io->queue)->file, io);
}

static void io_done(struct threads_job *job)
{
	struct block_io *io = container_of(job, struct block_io, job);

	file_io_end(io, io->err);
}

/* What followed from it: the next range of a discard, say. */
static void batch_end(void *arg)
{
	struct file_queue *fq = arg;

	file_kick(&fq->queue);
}

static int start_threads(struct file_queue *fq, struct block_io *io)
{
	int err;

	if (!fq->threads) {
		err = threads_alloc(fq->worker, fq->pool, "blk-io", batch_end, fq, &fq->threads);
		if (err)
			return err;
	}
	io->job.run = run_io;
	io->job.done = io_done;
	threads_add(fq->threads, &io->job);
	return BLOCK_PENDING;
}

static int start(struct file_queue *fq, struct block_io *io)
{
	bool ring = io->op == BLOCK_FLUSH;

	if (io->op == BLOCK_READ || io->op == BLOCK_WRITE)
		ring = fq->file->direct ? file_io_aligned(fq->file, io) : io->len <= COPY_MAX;
	if (!fq->uring || !ring)
		return start_threads(fq, io);
	uring_add(fq->uring, io);
	return BLOCK_PENDING;
}

static void mark_written(struct file *file)
{
	__atomic_fetch_add(&file->written, 1, __ATOMIC_RELEASE);
}

/* A flush has put on the medium what had been written at `mark`, or has failed to. */
static void mark_synced(struct file *file, uint64_t mark, int err)
{
	uint64_t old = __atomic_load_n(&file->synced, __ATOMIC_RELAXED);

	if (err) {
		/* It has not begun where there was no memory or no thread. */
		if (!file->direct && err != -ENOMEM && err != -EAGAIN)
			__atomic_store_n(&file->lost, true, __ATOMIC_RELAXED);
		return;
	}
	while (old < mark && !__atomic_compare_exchange_n(&file->synced, &old, mark, true,
							  __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		;
}

void file_io_end(struct block_io *io, int err)
{
	struct file_queue *fq = to_file_queue(io->queue);

	free(io->rest);
	io->rest = NULL;
	if (io->op == BLOCK_FLUSH) {
		mark_synced(fq->file, io->mark, err);
	} else if (io->op != BLOCK_READ) {
		mark_written(fq->file);
	}
	io->done(io, err);
}

/* Start it once more, with what is left. */
static void again(struct block_io *io, bool threads)
{
	struct file_queue *fq = to_file_queue(io->queue);
	int err;

	err = threads ? start_threads(fq, io) : start(fq, io);
	if (err != BLOCK_PENDING)
		file_io_end(io, err);
}

void file_io_result(struct block_io *io, int res)
{
	int err;

	if (res == -EINTR || res == -EAGAIN) {
		again(io, res == -EAGAIN);
	} else if (res < 0 || io->op == BLOCK_FLUSH) {
		file_io_end(io, res);
	} else if (!res) {
		/* The file ends before the disk does. */
		file_io_end(io, -EIO);
	} else if ((uint32_t)res >= io->len - io->pos) {
		file_io_end(io, 0);
	} else {
		err = file_io_advance(io, (size_t)res);
		if (err)
			file_io_end(io, err);
		else
			again(io, false);
	}
}

/* ---- inline */

/* Done as far as it went; an engine gets the rest. */
static int inline_result(struct file_queue *fq, struct block_io *io, ssize_t num)
{
	int err = 0;

	if ((uint64_t)num == io->len)
		return 0;
	if (num > 0)
		err = file_io_advance(io, (size_t)num);
	if (!err)
		err = start(fq, io);
	if (err != BLOCK_PENDING) {
		free(io->rest);
		io->rest = NULL;
	}
	return err;
}

static int submit_read(struct file_queue *fq, struct block_io *io)
{
	struct file *file = fq->file;
	ssize_t num;

	if (!flag(&file->nowait_read) || io->len > COPY_MAX)
		return start(fq, io);
	if (fq->skip) {
		fq->skip--;
		return start(fq, io);
	}
	num = preadv2(file->fd, io->iov, (int)io->iovcnt, (off_t)io->off,
		      file->memory ? 0 : RWF_NOWAIT);
	if (likely((uint64_t)num == io->len)) {
		fq->misses = 0;
		return 0;
	}
	if (num < 0 && errno == EOPNOTSUPP)
		__atomic_store_n(&file->nowait_read, false, __ATOMIC_RELAXED);
	if (fq->misses < SKIP_MAX)
		fq->misses = fq->misses ? 2 * fq->misses : 1;
	fq->skip = fq->misses - 1;
	return inline_result(fq, io, num);
}

/* A write that the kernel may hold back: see file.h. */
static bool may_write(const struct file_queue *fq, const struct block_io *io, uint64_t now)
{
	return now >= fq->write_after && io->len <= INLINE_WRITE_MAX &&
	       !((io->off | io->len) & (INLINE_WRITE_UNIT - 1));
}

static ssize_t write_inline(struct file_queue *fq, struct block_io *io, int flags)
{
	return pwritev2(fq->file->fd, io->iov, (int)io->iovcnt, (off_t)io->off, flags);
}

static int submit_write(struct file_queue *fq, struct block_io *io)
{
	struct file *file = fq->file;
	uint64_t before, took;
	ssize_t num = -1;

	if (file->direct || io->len > COPY_MAX || (io->flags & BLOCK_FUA && !file->memory))
		return start(fq, io);
	if (file->memory) {
		num = write_inline(fq, io, 0);
	} else if (flag(&file->nowait_write)) {
		num = write_inline(fq, io, RWF_NOWAIT);
		if (num < 0 && errno == EOPNOTSUPP)
			__atomic_store_n(&file->nowait_write, false, __ATOMIC_RELAXED);
	} else {
		before = now_ns();
		if (!may_write(fq, io, before))
			return start(fq, io);
		num = write_inline(fq, io, 0);
		took = now_ns() - before;
		if (took > INLINE_WRITE_NS)
			fq->write_after = before + took + INLINE_PAUSE * took;
	}
	if (num > 0)
		mark_written(file);
	return inline_result(fq, io, num);
}

/* Is there anything that a flush has to do?  1, 0, or -errno. */
static int begin_flush(struct file *file, struct block_io *io)
{
	if (flag(&file->lost))
		return -EIO;
	io->mark = __atomic_load_n(&file->written, __ATOMIC_ACQUIRE);
	return !file->memory && !file->block.info.readonly &&
	       io->mark != __atomic_load_n(&file->synced, __ATOMIC_ACQUIRE);
}

static int submit_flush(struct file_queue *fq, struct block_io *io)
{
	int err = begin_flush(fq->file, io);

	return err > 0 ? start(fq, io) : err;
}

int file_sync(struct block *block)
{
	struct file *file = to_file(block);
	struct block_io io = {.op = BLOCK_FLUSH};
	int err = begin_flush(file, &io);

	if (err <= 0)
		return err;
	err = file_sync_io(file, &io);
	mark_synced(file, io.mark, err);
	return err;
}

int file_submit(struct block_queue *queue, struct block_io *io)
{
	struct file_queue *fq = to_file_queue(queue);

	io->queue = queue;
	io->pos = 0;
	io->rest = NULL;
	switch (io->op) {
	case BLOCK_READ:
		return submit_read(fq, io);
	case BLOCK_WRITE:
		return submit_write(fq, io);
	case BLOCK_FLUSH:
		return submit_flush(fq, io);
	case BLOCK_DISCARD:
		return fq->file->block.info.discard ? start(fq, io) : 0;
	case BLOCK_WRITE_ZEROES:
		return start(fq, io);
	}
	return -EINVAL;
}

void file_kick(struct block_queue *queue)
{
	struct file_queue *fq = to_file_queue(queue);

	if (fq->uring)
		uring_kick(fq->uring);
}
