/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Threads that carry out the jobs of one queue that block, or take long.  They come when they are
 * needed, up to a bound, and go when there was nothing to do for a while.  Called on the queue's
 * worker.
 */
#ifndef LOOP_THREADS_H
#define LOOP_THREADS_H

#include <sys/queue.h>

struct lane_pool;
struct threads;
struct worker;

/* Embedded in what is to be done.  The threads' from threads_add() to done(). */
struct threads_job {
	void (*run)(struct threads_job *job);  /* on a thread */
	void (*done)(struct threads_job *job); /* then on the worker; may free it */
	STAILQ_ENTRY(threads_job) entry;
};

/*
 * 0 or -errno.  name: of the threads, a constant.  pool: lends them.  batch_end(arg): after each
 * batch of done(), on the worker; NULL: nothing.
 */
int threads_alloc(struct worker *worker, struct lane_pool *pool, const char *name,
		  void (*batch_end)(void *arg), void *arg, struct threads **ret);
/* No job is left.  NULL is allowed. */
void threads_free(struct threads *threads);
void threads_add(struct threads *threads, struct threads_job *job);

#endif
