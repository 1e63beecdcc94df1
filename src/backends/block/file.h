/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk in a regular file or on a block device.
 *
 * - file_open.c: what the file is and can do; its lock
 * - file.c:      the life of disk and queues; size
 * - file_io.c:   requests: what is done inline, what goes to which engine, and how it ends
 * - uring.c:     the engine that does not block; one io_uring for all queues of a worker
 * - loop/threads.h: the engine for what has to block, and for where io_uring is not allowed
 * - file_sync.c: a request from beginning to end, for a thread that may block
 *
 * What a worker does inline:
 *
 * - Reads out of the page cache, by RWF_NOWAIT.  A read that the cache does not have goes to the
 * engine, and so do the next ones, for longer with each miss in a row.
 * - Writes into the page cache, by RWF_NOWAIT where the file system has it.  Where it has not
 * (ext4), small writes of whole pages are made all the same: they need not read first, and are
 * several times faster than through the engine, which would run them in a thread.  They block only
 * when the kernel holds back whoever makes pages dirty, or waits for the journal; a write that took
 * long keeps the next ones out for sixteen times that long, so a queue loses a seventeenth of its
 * time at most.
 * - Everything on a file system in memory.
 */
#ifndef BACKENDS_BLOCK_FILE_H
#define BACKENDS_BLOCK_FILE_H

#include <sys/queue.h>

#include "backends/block/block.h"

struct threads;
struct uring;

struct file {
	struct block block;
	char *path; /* for people */
	int fd;
	bool regular; /* else a block device */
	bool memory;  /* tmpfs and such: there is no medium to wait for */
	bool direct;
	bool uring;         /* else threads */
	bool must_uring;    /* the user wants no other */
	uint32_t mem_align; /* direct: of each piece's address */
	uint32_t off_align; /* direct: of offset and each piece's length */

	/* Atomic: what the file system turned out not to have. */
	bool nowait_read, nowait_write;
	bool punch, zero_range;
	/*
	 * Atomic: how many writes have ended, and up to which of them a flush has seen to it that
	 * they are on the medium.  Begins with one that nobody has flushed: what a process before
	 * us has left in the page cache.
	 */
	uint64_t written, synced;
	bool lost; /* atomic: a flush failed, and the kernel does not know any more which pages it
		      lost */
};

struct file_queue {
	struct block_queue queue;
	struct file *file;
	struct worker *worker;
	struct lane_pool *pool;
	struct uring *uring;     /* NULL: threads do everything */
	struct threads *threads; /* made when first needed */
	unsigned int misses;     /* inline reads in a row that found nothing */
	unsigned int skip;       /* reads that go to the engine at once */
	uint64_t write_after;    /* monotonic ns: no inline write before */
};

#define to_file(b)       container_of(b, struct file, block)
#define to_file_queue(q) container_of(q, struct file_queue, queue)

/* file.c */
extern const struct block_ops file_block_ops;

/* file_open.c */
uint64_t file_present_size(const struct file *file);

/* file_io.c */
int file_submit(struct block_queue *queue, struct block_io *io);
void file_kick(struct block_queue *queue);
/* A flush, for a lane. */
int file_sync(struct block *block);
/* Engines: the request has transferred res bytes, or ended with an error. */
void file_io_result(struct block_io *io, int res);
/* Engines: the request has ended. */
void file_io_end(struct block_io *io, int err);
/* What is left of a read or write. */
static inline const struct iovec *file_io_iov(const struct block_io *io, unsigned int *num)
{
	*num = io->rest ? io->restcnt : io->iovcnt;
	return io->rest ? io->rest : io->iov;
}
/* num bytes more are done.  0 or -ENOMEM. */
int file_io_advance(struct block_io *io, size_t num);
/* Do address and length of each piece suit direct I/O? */
bool file_io_aligned(const struct file *file, const struct block_io *io);

/* file_sync.c.  Blocks.  0 or -errno. */
int file_sync_io(struct file *file, struct block_io *io);

#endif
