/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "backends/block/file.h"
#include "backends/block/threads.h"
#include "base/defs.h"
#include "loop/lane.h"
#include "loop/worker.h"

#define THREADS_MAX    16
#define THREADS_LINGER 2 /* seconds */

/* A lane is a thread of the pool for as long as serve() runs on it. */
struct slot {
	struct threads *threads;
	struct lane *lane;
	struct lane_job job;
	bool running; /* threads->lock */
};

struct threads {
	struct worker_source src;
	struct lane_pool *pool;
	unsigned int num; /* lanes that there are */
	struct slot slots[THREADS_MAX];

	pthread_mutex_t lock;
	pthread_cond_t work;
	pthread_cond_t ended;
	/* Below: lock. */
	STAILQ_HEAD(, block_io) todo;
	STAILQ_HEAD(, block_io) done;
	unsigned int num_todo, num_idle, num_running;
	bool stop;
};

/* ---- threads */

/* A request, or NULL when the thread shall end. */
static struct block_io *take_locked(struct threads *threads)
{
	struct timespec until;
	struct block_io *io;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += THREADS_LINGER;
	threads->num_idle++;
	while (STAILQ_EMPTY(&threads->todo) && !threads->stop && !err)
		err = pthread_cond_timedwait(&threads->work, &threads->lock, &until);
	threads->num_idle--;
	io = STAILQ_FIRST(&threads->todo);
	if (io) {
		STAILQ_REMOVE_HEAD(&threads->todo, wait);
		threads->num_todo--;
	}
	return io;
}

static void finish_locked(struct threads *threads, struct block_io *io)
{
	bool first = STAILQ_EMPTY(&threads->done);

	STAILQ_INSERT_TAIL(&threads->done, io, wait);
	if (first)
		worker_source_wake(&threads->src);
}

static void serve(struct lane_job *job)
{
	struct slot *slot = container_of(job, struct slot, job);
	struct threads *threads = slot->threads;
	struct block_io *io;

	pthread_mutex_lock(&threads->lock);
	while ((io = take_locked(threads)) != NULL) {
		pthread_mutex_unlock(&threads->lock);
		io->err = file_sync_io(to_file_queue(io->queue)->file, io);
		pthread_mutex_lock(&threads->lock);
		finish_locked(threads, io);
	}
	slot->running = false;
	threads->num_running--;
	pthread_cond_signal(&threads->ended);
	pthread_mutex_unlock(&threads->lock);
}

/* ---- the worker */

/* A lane that does not run, or NULL when there is none, which is no harm as long as one runs. */
static struct slot *free_slot_locked(struct threads *threads)
{
	struct slot *slot;

	for (unsigned int i = 0; i < threads->num; i++) {
		if (!threads->slots[i].running)
			return &threads->slots[i];
	}
	if (threads->num == THREADS_MAX)
		return NULL;
	slot = &threads->slots[threads->num];
	slot->lane = lane_alloc(threads->pool, "blk-io");
	if (!slot->lane)
		return NULL;
	slot->threads = threads;
	slot->job.fn = serve;
	threads->num++;
	return slot;
}

void threads_add(struct threads *threads, struct block_io *io)
{
	struct slot *slot = NULL;

	pthread_mutex_lock(&threads->lock);
	STAILQ_INSERT_TAIL(&threads->todo, io, wait);
	threads->num_todo++;
	if (threads->num_idle)
		pthread_cond_signal(&threads->work);
	if (threads->num_todo > threads->num_idle)
		slot = free_slot_locked(threads);
	if (slot) {
		slot->running = true;
		threads->num_running++;
	}
	pthread_mutex_unlock(&threads->lock);
	if (slot)
		lane_post(slot->lane, &slot->job);
}

static bool threads_poll(struct worker_source *src)
{
	struct threads *threads = container_of(src, struct threads, src);
	STAILQ_HEAD(, block_io) done = STAILQ_HEAD_INITIALIZER(done);
	struct block_io *io;
	bool found;

	pthread_mutex_lock(&threads->lock);
	STAILQ_CONCAT(&done, &threads->done);
	pthread_mutex_unlock(&threads->lock);
	found = !STAILQ_EMPTY(&done);
	while ((io = STAILQ_FIRST(&done)) != NULL) {
		struct block_queue *queue = io->queue;
		bool last = !STAILQ_NEXT(io, wait);

		STAILQ_REMOVE_HEAD(&done, wait);
		file_io_end(io, io->err);
		/* What followed from it: the next range of a discard, say. */
		if (last)
			file_kick(queue);
	}
	return found;
}

static const struct worker_source_ops threads_source_ops = {.poll = threads_poll};

int threads_alloc(struct worker *worker, struct lane_pool *pool, struct threads **ret)
{
	struct threads *threads = calloc(1, sizeof(*threads));
	pthread_condattr_t attr;
	int err;

	if (!threads)
		return -ENOMEM;
	threads->pool = pool;
	threads->src.ops = &threads_source_ops;
	threads->src.fd = -1;
	STAILQ_INIT(&threads->todo);
	STAILQ_INIT(&threads->done);
	pthread_mutex_init(&threads->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&threads->work, &attr);
	pthread_condattr_destroy(&attr);
	pthread_cond_init(&threads->ended, NULL);
	/* A request must find a lane that can be trusted to take it sooner or later. */
	err = free_slot_locked(threads) ? worker_attach_local(worker, &threads->src) : -ENOMEM;
	if (err) {
		threads_free(threads);
		return err;
	}
	*ret = threads;
	return 0;
}

void threads_free(struct threads *threads)
{
	if (!threads)
		return;
	worker_detach_local(&threads->src);
	pthread_mutex_lock(&threads->lock);
	threads->stop = true;
	pthread_cond_broadcast(&threads->work);
	while (threads->num_running)
		pthread_cond_wait(&threads->ended, &threads->lock);
	pthread_mutex_unlock(&threads->lock);
	for (unsigned int i = 0; i < threads->num; i++)
		lane_put(threads->slots[i].lane);
	pthread_cond_destroy(&threads->ended);
	pthread_cond_destroy(&threads->work);
	pthread_mutex_destroy(&threads->lock);
	free(threads);
}
