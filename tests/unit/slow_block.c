/* SPDX-License-Identifier: BSD-2-Clause */
#include "slow_block.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#include "loop/worker.h"

#define PATIENCE_S 20

struct slow {
	struct block block;
	struct block *behind;
};

struct slow_queue {
	struct block_queue queue;
	struct block_queue *behind;
	struct worker *worker;
};

/* One for all disks of the program. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t come = PTHREAD_COND_INITIALIZER;
static STAILQ_HEAD(, block_io) kept = STAILQ_HEAD_INITIALIZER(kept);
static unsigned int num_kept;
static bool keeping;

block_open_fn __real_block_open;
block_open_fn __wrap_block_open;

static struct slow *to_slow(struct block *block)
{
	return container_of(block, struct slow, block);
}

static struct slow_queue *to_slow_queue(struct block_queue *queue)
{
	return container_of(queue, struct slow_queue, queue);
}

/* ---- the backend */

static void slow_close(struct block *block)
{
	block_close(to_slow(block)->behind);
	free(to_slow(block));
}

static int slow_resize(struct block *block, uint64_t size, struct vdpa_extack *ack)
{
	struct slow *slow = to_slow(block);
	int err = block_resize(slow->behind, size, ack);

	block->info.size = slow->behind->info.size;
	return err;
}

static const struct block_ops slow_ops;

static int slow_attach(struct block *block, struct worker *worker, struct lane_pool *pool,
		       struct block_queue **ret, struct vdpa_extack *ack)
{
	struct slow_queue *sq = calloc(1, sizeof(*sq));

	if (!sq)
		return -ENOMEM;
	if (block_attach(to_slow(block)->behind, worker, pool, &sq->behind, ack)) {
		free(sq);
		return -ENOMEM;
	}
	sq->queue = (struct block_queue){.ops = &slow_ops, .block = block};
	sq->worker = worker;
	*ret = &sq->queue;
	return 0;
}

static void slow_detach(struct block_queue *queue)
{
	block_detach(to_slow_queue(queue)->behind);
	free(to_slow_queue(queue));
}

static int slow_submit(struct block_queue *queue, struct block_io *io)
{
	bool keep;

	io->queue = queue;
	pthread_mutex_lock(&lock);
	keep = keeping;
	if (keep) {
		STAILQ_INSERT_TAIL(&kept, io, wait);
		num_kept++;
		pthread_cond_signal(&come);
	}
	pthread_mutex_unlock(&lock);
	return keep ? BLOCK_PENDING : block_submit(to_slow_queue(queue)->behind, io);
}

static const struct block_ops slow_ops = {
	.name = "slow",
	.close = slow_close,
	.resize = slow_resize,
	.attach = slow_attach,
	.detach = slow_detach,
	.submit = slow_submit,
};

int __wrap_block_open(struct vdpa_attrs *attrs, struct block **ret, struct vdpa_extack *ack)
{
	struct slow *slow = calloc(1, sizeof(*slow));
	int err = slow ? __real_block_open(attrs, &slow->behind, ack) : -ENOMEM;

	if (err) {
		free(slow);
		return err;
	}
	slow->block = (struct block){.ops = &slow_ops, .info = slow->behind->info};
	*ret = &slow->block;
	return 0;
}

/* ---- the test */

void slow_keep(bool on)
{
	pthread_mutex_lock(&lock);
	keeping = on;
	pthread_mutex_unlock(&lock);
}

void slow_wait(unsigned int num)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += PATIENCE_S;
	pthread_mutex_lock(&lock);
	while (num_kept < num && !err)
		err = pthread_cond_timedwait(&come, &lock, &until);
	pthread_mutex_unlock(&lock);
	if (err)
		fail_msg("%u requests did not come", num);
}

unsigned int slow_num(void)
{
	unsigned int num;

	pthread_mutex_lock(&lock);
	num = num_kept;
	pthread_mutex_unlock(&lock);
	return num;
}

struct end {
	struct block_io *io;
	int err;
};

static void end_on_worker(void *arg)
{
	struct end *end = arg;
	struct block_queue *queue = end->io->queue;

	if (!end->err)
		end->err = block_submit(to_slow_queue(queue)->behind, end->io);
	end->io->done(end->io, end->err);
}

void slow_fail(int err)
{
	struct end end = {.err = err};

	slow_wait(1);
	pthread_mutex_lock(&lock);
	end.io = STAILQ_FIRST(&kept);
	STAILQ_REMOVE_HEAD(&kept, wait);
	num_kept--;
	pthread_mutex_unlock(&lock);
	worker_call(to_slow_queue(end.io->queue)->worker, end_on_worker, &end);
}

void slow_end(void)
{
	slow_fail(0);
}
