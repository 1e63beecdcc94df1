/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lanes: serial queues of jobs that may block.  A lane borrows a thread from its pool only while it
 * has jobs, so a thousand idle devices cost no thread, and one device that hangs holds one thread
 * and nobody else.
 */
#ifndef LOOP_LANE_H
#define LOOP_LANE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

struct lane_pool;
struct lane;
struct lane_job;

typedef void lane_job_fn(struct lane_job *job);

struct lane_job {
	lane_job_fn *fn; /* may free the job */
	STAILQ_ENTRY(lane_job) entry;
};

/*
 * Threads are made on demand; idle ones beyond keep_idle end at once, the others after linger_ms.
 * 0 or -errno.
 */
int lane_pool_alloc(unsigned int keep_idle, unsigned int linger_ms, struct lane_pool **ret);

/*
 * All lanes have been put.  Run the jobs that are left, wait up to timeout_ms until all threads
 * have ended, then free.  Returns 0, or the number of threads that still hang in a job: they and
 * the pool are left behind (and freed by the last of them).
 */
unsigned int lane_pool_free(struct lane_pool *pool, unsigned int timeout_ms);

/* name: copied, for the thread's name while it serves the lane.  NULL: out of memory. */
struct lane *lane_alloc(struct lane_pool *pool, const char *name);
/* ANY THREAD.  The lane goes when its last job has run; posting is not allowed after this. */
void lane_put(struct lane *lane);

/*
 * ANY THREAD: run job->fn after all jobs posted before.  If no thread can be made the job waits for
 * one of the others; a pool keeps at least one thread while any job waits.
 */
void lane_post(struct lane *lane, struct lane_job *job);
/* Is the caller running on this lane? */
bool lane_current(const struct lane *lane);
/* Jobs waiting or running. */
size_t lane_busy(struct lane *lane);

#endif
