/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One lock for a pool and its lanes: jobs are control-path work, and it is never held while one
 * runs.
 *
 * A lane is on the ready list when it has jobs and no thread serves it.  The pool sees to it that
 * there are at least as many idle threads (or such that are about to start) as ready lanes, so that
 * no lane ever waits for another's job; and it keeps one idle thread for good, for the time when
 * none can be made.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/defs.h"
#include "base/thread.h"
#include "loop/lane.h"

struct lane {
	struct lane_pool *pool;
	char name[16];
	/* Below: the pool's lock. */
	STAILQ_HEAD(, lane_job) jobs; /* without the one that runs */
	size_t busy;
	bool served; /* a thread runs a job, or is about to */
	bool put;
	pthread_t thread; /* while served */
	TAILQ_ENTRY(lane) entry;
};

struct lane_thread {
	struct lane_pool *pool;
	pthread_t id;
	LIST_ENTRY(lane_thread) entry;
};

struct lane_pool {
	unsigned int keep_idle;
	unsigned int linger_ms;

	pthread_mutex_t lock;
	pthread_cond_t work;  /* a lane became ready, or the pool ends */
	pthread_cond_t ended; /* a thread ended */
	/* Below: lock. */
	TAILQ_HEAD(, lane) ready;
	LIST_HEAD(, lane_thread) threads;
	unsigned int num_ready;
	unsigned int num_idle; /* waiting, or about to start */
	unsigned int num_threads;
	struct lane_thread *zombie; /* ended, not joined */
	bool ending;
	bool left_behind;
};

static void deadline_after(struct timespec *ts, unsigned int ms)
{
	clock_gettime(CLOCK_MONOTONIC, ts);
	ts->tv_sec += ms / 1000;
	ts->tv_nsec += (long)(ms % 1000) * 1000000;
	if (ts->tv_nsec >= 1000000000) {
		ts->tv_nsec -= 1000000000;
		ts->tv_sec++;
	}
}

/* ---- threads; "_locked": the pool's */

static void set_ready_locked(struct lane *lane)
{
	TAILQ_INSERT_TAIL(&lane->pool->ready, lane, entry);
	lane->pool->num_ready++;
}

static struct lane *take_ready_locked(struct lane_pool *pool)
{
	struct lane *lane = TAILQ_FIRST(&pool->ready);

	if (lane) {
		TAILQ_REMOVE(&pool->ready, lane, entry);
		pool->num_ready--;
	}
	return lane;
}

/* Run the lane's first job.  The lane may be gone afterwards. */
static void run_job_locked(struct lane_pool *pool, struct lane *lane)
{
	struct lane_job *job = STAILQ_FIRST(&lane->jobs);

	STAILQ_REMOVE_HEAD(&lane->jobs, entry);
	lane->served = true;
	lane->thread = pthread_self();
	pthread_mutex_unlock(&pool->lock);

	thread_set_name(lane->name);
	job->fn(job);

	pthread_mutex_lock(&pool->lock);
	lane->served = false;
	lane->busy--;
	/* At the end of the list: where threads are short, lanes take turns. */
	if (lane->busy)
		set_ready_locked(lane);
	else if (lane->put)
		free(lane);
}

/* Returns false when the thread shall end. */
static bool wait_idle_locked(struct lane_pool *pool)
{
	unsigned int keep = pool->keep_idle ? pool->keep_idle : 1;
	struct timespec until;
	int err = 0;

	if (pool->ending || pool->num_idle >= keep)
		return false;

	thread_set_name("lane");
	deadline_after(&until, pool->linger_ms);
	pool->num_idle++;
	while (!pool->num_ready && !pool->ending) {
		/* The last one waits for ever, and wakes nobody up. */
		if (pool->num_idle == 1)
			pthread_cond_wait(&pool->work, &pool->lock);
		else if (err)
			break;
		else
			err = pthread_cond_timedwait(&pool->work, &pool->lock, &until);
	}
	pool->num_idle--;
	return pool->num_ready;
}

static void pool_destroy(struct lane_pool *pool)
{
	pthread_cond_destroy(&pool->ended);
	pthread_cond_destroy(&pool->work);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

static void join_thread(struct lane_thread *thread)
{
	if (!thread)
		return;
	pthread_join(thread->id, NULL);
	free(thread);
}

/* Each thread that ends joins the one that ended before, so there is never more than one to join.
 */
static void end_thread(struct lane_pool *pool, struct lane_thread *self)
{
	struct lane_thread *before = NULL;
	bool destroy = false;

	LIST_REMOVE(self, entry);
	pool->num_threads--;
	if (pool->left_behind) {
		destroy = !pool->num_threads;
		free(self);
	} else {
		before = pool->zombie;
		pool->zombie = self;
		pthread_cond_signal(&pool->ended);
	}
	pthread_mutex_unlock(&pool->lock);
	join_thread(before);
	if (destroy)
		pool_destroy(pool);
}

static void cover_ready_locked(struct lane_pool *pool);

static void *lane_thread_run(void *arg)
{
	struct lane_thread *self = arg;
	struct lane_pool *pool = self->pool;
	struct lane *lane;

	pthread_mutex_lock(&pool->lock);
	pool->num_idle--;
	do {
		while ((lane = take_ready_locked(pool)) != NULL) {
			cover_ready_locked(pool);
			run_job_locked(pool, lane);
		}
	} while (wait_idle_locked(pool));
	end_thread(pool, self);
	return NULL;
}

static int add_thread_locked(struct lane_pool *pool)
{
	struct lane_thread *thread = calloc(1, sizeof(*thread));
	int err;

	if (!thread)
		return -ENOMEM;
	thread->pool = pool;
	err = thread_start(&thread->id, "lane", lane_thread_run, thread);
	if (err) {
		free(thread);
		return err;
	}
	if (pool->left_behind)
		pthread_detach(thread->id);
	LIST_INSERT_HEAD(&pool->threads, thread, entry);
	pool->num_threads++;
	pool->num_idle++;
	return 0;
}

/* Should no thread be made, the lanes wait for those that there are; each of them tries again. */
static void cover_ready_locked(struct lane_pool *pool)
{
	if (pool->num_ready > pool->num_idle)
		add_thread_locked(pool);
}

/* ---- the pool */

static int pool_init(struct lane_pool *pool)
{
	pthread_condattr_t attr;
	int err;

	err = pthread_condattr_init(&attr);
	if (err)
		return -err;
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&pool->work, &attr);
	pthread_cond_init(&pool->ended, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&pool->lock, NULL);
	TAILQ_INIT(&pool->ready);
	LIST_INIT(&pool->threads);
	return 0;
}

int lane_pool_alloc(unsigned int keep_idle, unsigned int linger_ms, struct lane_pool **ret)
{
	struct lane_pool *pool = calloc(1, sizeof(*pool));
	int err;

	if (!pool)
		return -ENOMEM;
	pool->keep_idle = keep_idle;
	pool->linger_ms = linger_ms;
	err = pool_init(pool);
	if (err) {
		free(pool);
		return err;
	}

	pthread_mutex_lock(&pool->lock);
	err = add_thread_locked(pool);
	pthread_mutex_unlock(&pool->lock);
	if (err) {
		pool_destroy(pool);
		return err;
	}
	*ret = pool;
	return 0;
}

unsigned int lane_pool_free(struct lane_pool *pool, unsigned int timeout_ms)
{
	struct lane_thread *thread, *zombie;
	struct timespec until;
	unsigned int left;
	int err = 0;

	if (!pool)
		return 0;
	deadline_after(&until, timeout_ms);
	pthread_mutex_lock(&pool->lock);
	pool->ending = true;
	pthread_cond_broadcast(&pool->work);
	while (pool->num_threads && !err)
		err = pthread_cond_timedwait(&pool->ended, &pool->lock, &until);

	left = pool->num_threads;
	zombie = pool->zombie;
	pool->zombie = NULL;
	if (left) {
		pool->left_behind = true;
		LIST_FOREACH (thread, &pool->threads, entry)
			pthread_detach(thread->id);
	}
	pthread_mutex_unlock(&pool->lock);
	join_thread(zombie);
	if (!left)
		pool_destroy(pool);
	return left;
}

/* ---- lanes */

struct lane *lane_alloc(struct lane_pool *pool, const char *name)
{
	struct lane *lane = calloc(1, sizeof(*lane));

	if (!lane)
		return NULL;
	lane->pool = pool;
	snprintf(lane->name, sizeof(lane->name), "%s", name);
	STAILQ_INIT(&lane->jobs);
	return lane;
}

void lane_put(struct lane *lane)
{
	struct lane_pool *pool;

	if (!lane)
		return;
	pool = lane->pool;
	pthread_mutex_lock(&pool->lock);
	lane->put = true;
	if (!lane->busy)
		free(lane);
	pthread_mutex_unlock(&pool->lock);
}

void lane_post(struct lane *lane, struct lane_job *job)
{
	struct lane_pool *pool = lane->pool;

	pthread_mutex_lock(&pool->lock);
	STAILQ_INSERT_TAIL(&lane->jobs, job, entry);
	if (!lane->busy++) {
		set_ready_locked(lane);
		cover_ready_locked(pool);
		pthread_cond_signal(&pool->work);
	}
	pthread_mutex_unlock(&pool->lock);
}

bool lane_current(const struct lane *lane)
{
	bool current;

	pthread_mutex_lock(&lane->pool->lock);
	current = lane->served && pthread_equal(lane->thread, pthread_self());
	pthread_mutex_unlock(&lane->pool->lock);
	return current;
}

size_t lane_busy(struct lane *lane)
{
	size_t busy;

	pthread_mutex_lock(&lane->pool->lock);
	busy = lane->busy;
	pthread_mutex_unlock(&lane->pool->lock);
	return busy;
}
