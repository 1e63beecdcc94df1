/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/eventfd.h>

#include "backends/block/file.h"
#include "backends/block/uring.h"
#include "base/defs.h"
#include "loop/worker.h"

/* Requests that are begun by one system call, and those that may be under way. */
#define URING_SQ     128
#define URING_CQ     4096
#define URING_BATCH  64
/* Requests that wait for each other before they are begun: a medium that is kept waiting for a
 * large batch costs more than the calls. */
#define URING_SUBMIT 2

struct uring {
	struct io_uring ring;
	struct worker_source src;        /* its descriptor is signalled with each result */
	unsigned int inflight;           /* including those not yet submitted */
	unsigned int gathered;           /* not yet submitted */
	STAILQ_HEAD(, block_io) waiting; /* for room */
};

/* Best first: older kernels refuse flags that they do not know. */
static const unsigned int setups[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	0,
};

static int init_ring(struct io_uring *ring, unsigned int sq, unsigned int cq)
{
	int err = -EINVAL;

	for (size_t i = 0; err == -EINVAL && i < ARRAY_SIZE(setups); i++) {
		struct io_uring_params params = {
			.flags = setups[i] | IORING_SETUP_CQSIZE,
			.cq_entries = cq,
		};

		err = io_uring_queue_init_params(sq, ring, &params);
		if (!err && !(params.features & IORING_FEAT_NODROP)) {
			io_uring_queue_exit(ring);
			err = -ENOSYS;
		}
	}
	return err;
}

int uring_probe(void)
{
	struct io_uring ring;
	int err = init_ring(&ring, 2, 4);

	if (!err)
		io_uring_queue_exit(&ring);
	return err;
}

static void prep(struct io_uring_sqe *sqe, struct block_io *io)
{
	int fd = to_file_queue(io->queue)->file->fd;
	uint64_t off = io->off + io->pos;
	const struct iovec *iov;
	unsigned int num;

	iov = file_io_iov(io, &num);
	if (io->op == BLOCK_FLUSH)
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	else if (io->op == BLOCK_READ && num == 1)
		io_uring_prep_read(sqe, fd, iov->iov_base, (unsigned int)iov->iov_len, off);
	else if (io->op == BLOCK_READ)
		io_uring_prep_readv(sqe, fd, iov, num, off);
	else if (num == 1)
		io_uring_prep_write(sqe, fd, iov->iov_base, (unsigned int)iov->iov_len, off);
	else
		io_uring_prep_writev(sqe, fd, iov, num, off);
	if (io->op == BLOCK_WRITE && io->flags & BLOCK_FUA)
		sqe->rw_flags = RWF_DSYNC;
	io_uring_sqe_set_data(sqe, io);
}

static void submit(struct uring *uring)
{
	int num;

	if (!uring->gathered)
		return;
	num = io_uring_submit(&uring->ring);
	if (num > 0)
		uring->gathered -=
			(unsigned int)num < uring->gathered ? (unsigned int)num : uring->gathered;
	/* The kernel is short of memory or room: again in the next round. */
	if (uring->gathered)
		worker_source_wake(&uring->src);
}

static struct io_uring_sqe *get_sqe(struct uring *uring)
{
	struct io_uring_sqe *sqe;

	if (uring->inflight >= URING_CQ)
		return NULL;
	sqe = io_uring_get_sqe(&uring->ring);
	if (!sqe) {
		submit(uring);
		sqe = io_uring_get_sqe(&uring->ring);
	}
	if (sqe) {
		uring->inflight++;
		uring->gathered++;
	}
	return sqe;
}

void uring_add(struct uring *uring, struct block_io *io)
{
	struct io_uring_sqe *sqe = STAILQ_EMPTY(&uring->waiting) ? get_sqe(uring) : NULL;

	if (sqe)
		prep(sqe, io);
	else
		STAILQ_INSERT_TAIL(&uring->waiting, io, wait);
	if (uring->gathered >= URING_SUBMIT)
		submit(uring);
}

static void add_waiting(struct uring *uring)
{
	struct io_uring_sqe *sqe;
	struct block_io *io;

	while ((io = STAILQ_FIRST(&uring->waiting)) != NULL) {
		sqe = get_sqe(uring);
		if (!sqe)
			break;
		STAILQ_REMOVE_HEAD(&uring->waiting, wait);
		prep(sqe, io);
	}
}

struct result {
	struct block_io *io;
	int res;
};

/* Results are copied first: ending a request may add others, and look for results again. */
static bool reap(struct uring *uring)
{
	struct io_uring_cqe *cqes[URING_BATCH];
	struct result results[URING_BATCH];
	unsigned int num = io_uring_peek_batch_cqe(&uring->ring, cqes, URING_BATCH);

	for (unsigned int i = 0; i < num; i++)
		results[i] = (struct result){io_uring_cqe_get_data(cqes[i]), cqes[i]->res};
	io_uring_cq_advance(&uring->ring, num);
	uring->inflight -= num;
	for (unsigned int i = 0; i < num; i++)
		file_io_result(results[i].io, results[i].res);
	return num;
}

static bool uring_poll(struct worker_source *src)
{
	struct uring *uring = container_of(src, struct uring, src);
	bool found = reap(uring);

	add_waiting(uring);
	submit(uring);
	return found;
}

void uring_kick(struct uring *uring)
{
	if (!uring->gathered)
		return;
	submit(uring);
	reap(uring);
	/* What followed from it: the rest of a request that was cut short. */
	submit(uring);
	if (uring->inflight && !uring->src.active && worker_poll_us(uring->src.worker))
		worker_source_wake(&uring->src);
}

/* ---- one for each worker */

static const struct worker_source_ops uring_source_ops = {.poll = uring_poll};

static void uring_free(void *object)
{
	struct uring *uring = object;

	worker_detach_local(&uring->src);
	io_uring_queue_exit(&uring->ring);
	close(uring->src.fd);
	free(uring);
}

static int init_source(struct uring *uring, struct worker *worker)
{
	int err;

	uring->src.ops = &uring_source_ops;
	uring->src.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (uring->src.fd < 0)
		return -errno;
	err = io_uring_register_eventfd(&uring->ring, uring->src.fd);
	if (!err)
		err = worker_attach_local(worker, &uring->src);
	if (err)
		close(uring->src.fd);
	return err;
}

static void *uring_make(struct worker *worker)
{
	struct uring *uring = calloc(1, sizeof(*uring));
	int err = -ENOMEM;

	if (uring) {
		STAILQ_INIT(&uring->waiting);
		err = init_ring(&uring->ring, URING_SQ, URING_CQ);
	}
	if (!err) {
		err = init_source(uring, worker);
		if (err)
			io_uring_queue_exit(&uring->ring);
	}
	if (err) {
		free(uring);
		errno = -err;
		return NULL;
	}
	return uring;
}

int uring_get(struct worker *worker, struct uring **ret)
{
	static const char key;
	struct uring *uring;

	errno = ENOMEM;
	uring = worker_local(worker, &key, uring_make, uring_free);
	if (!uring)
		return -errno;
	*ret = uring;
	return 0;
}
