/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <time.h>

#include "base/defs.h"
#include "loop/lane.h"
#include "loop/threads.h"
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
	const char *name;
	void (*batch_end)(void *arg);
	void *arg;
	unsigned int num; /* lanes that there are */
	struct slot slots[THREADS_MAX];

	pthread_mutex_t lock;
	pthread_cond_t work;
	pthread_cond_t ended;
	/* Below: lock. */
	STAILQ_HEAD(, threads_job) todo;
	STAILQ_HEAD(, threads_job) done;
	unsigned int num_todo, num_idle, num_running;
	bool stop;
};

/* ---- threads */

/* A job, or NULL when the thread shall end. */
static struct threads_job *take_locked(struct threads *threads)
{
	struct timespec until;
	struct threads_job *job;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += THREADS_LINGER;
	threads->num_idle++;
	while (STAILQ_EMPTY(&threads->todo) && !threads->stop && !err)
		err = pthread_cond_timedwait(&threads->work, &threads->lock, &until);
	threads->num_idle--;
	job = STAILQ_FIRST(&threads->todo);
	if (job) {
		STAILQ_REMOVE_HEAD(&threads->todo, entry);
		threads->num_todo--;
	}
	return job;
}

static void finish_locked(struct threads *threads, struct threads_job *job)
{
	bool first = STAILQ_EMPTY(&threads->done);

	STAILQ_INSERT_TAIL(&threads->done, job, entry);
	if (first)
		worker_source_wake(&threads->src);
}

static void serve(struct lane_job *lane_job)
{
	struct slot *slot = container_of(lane_job, struct slot, job);
	struct threads *threads = slot->threads;
	struct threads_job *job;

	pthread_mutex_lock(&threads->lock);
	while ((job = take_locked(threads)) != NULL) {
		pthread_mutex_unlock(&threads->lock);
		job->run(job);
		pthread_mutex_lock(&threads->lock);
		finish_locked(threads, job);
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
	slot->lane = lane_alloc(threads->pool, threads->name);
	if (!slot->lane)
		return NULL;
	slot->threads = threads;
	slot->job.fn = serve;
	threads->num++;
	return slot;
}

void threads_add(struct threads *threads, struct threads_job *job)
{
	struct slot *slot = NULL;

	pthread_mutex_lock(&threads->lock);
	STAILQ_INSERT_TAIL(&threads->todo, job, entry);
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
	STAILQ_HEAD(, threads_job) done = STAILQ_HEAD_INITIALIZER(done);
	struct threads_job *job;
	bool found;

	pthread_mutex_lock(&threads->lock);
	STAILQ_CONCAT(&done, &threads->done);
	pthread_mutex_unlock(&threads->lock);
	found = !STAILQ_EMPTY(&done);
	while ((job = STAILQ_FIRST(&done)) != NULL) {
		STAILQ_REMOVE_HEAD(&done, entry);
		job->done(job);
	}
	if (found && threads->batch_end)
		threads->batch_end(threads->arg);
	return found;
}

static const struct worker_source_ops threads_source_ops = {.poll = threads_poll};

int threads_alloc(struct worker *worker, struct lane_pool *pool, const char *name,
		  void (*batch_end)(void *arg), void *arg, struct threads **ret)
{
	struct threads *threads = calloc(1, sizeof(*threads));
	pthread_condattr_t attr;
	int err;

	if (!threads)
		return -ENOMEM;
	threads->pool = pool;
	threads->name = name;
	threads->batch_end = batch_end;
	threads->arg = arg;
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
	/* A job must find a lane that can be trusted to take it sooner or later. */
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
