/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queue workers: threads that serve any number of sources (virtqueues, completion queues).
 *
 * A source has a descriptor that wakes the worker, and a poll function that does what there is to
 * do.  After activity the worker goes on polling its active sources for up to poll_us microseconds
 * before it asks for notifications again and sleeps; a worker with nothing to do costs nothing.  A
 * source that had work in the last round stays in the round; others wait for their descriptor, so
 * that a thousand idle queues do not slow down one busy queue.
 *
 * How long a source is polled without work (its window) adapts: it shrinks when the next
 * notification comes long after, so that polling was in vain, and is poll_us again when one comes
 * soon after.
 *
 * poll() never blocks, and handles a bounded batch: sources take turns.
 *
 * The descriptor is watched for edges, and read so that nothing blocks, whatever its flags say: one
 * that its other side keeps readable, or that cannot be read (an io_uring), costs no more than the
 * events it makes.
 */
#ifndef LOOP_WORKER_H
#define LOOP_WORKER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "loop/loop.h"

struct worker;
struct worker_source;

struct worker_source_ops {
	/* Do a batch.  Returns true when there was something to do.  Worker thread. */
	bool (*poll)(struct worker_source *src);
	/*
	 * About to sleep: ask for notifications.  Returns true when work came in meanwhile (the
	 * worker polls again).  Worker thread.  Optional.
	 */
	bool (*arm)(struct worker_source *src);
	/* Polling goes on: notifications are not needed.  Worker thread.  Optional. */
	void (*disarm)(struct worker_source *src);
	/* The descriptor woke us; it has been read.  Worker thread.  Optional: for counting. */
	void (*woken)(struct worker_source *src);
};

struct worker_source {
	const struct worker_source_ops *ops;
	int fd; /* eventfd or such, borrowed; -1: only worker_source_wake() wakes it */

	/* The worker's own. */
	struct worker *worker;
	bool active; /* in the round */
	bool armed;
	bool again;      /* woken since it was polled */
	bool busy;       /* had work since the clock was read */
	uint64_t worked; /* when it last had work, nanoseconds */
	uint64_t window; /* how long it is polled without work, nanoseconds */
	uint64_t limit;  /* the worker's poll_us when window was set, nanoseconds */
	TAILQ_ENTRY(worker_source) entry;
	struct loop_watch watch;
	struct loop_call wake;
};

struct worker_stats {
	uint64_t busy_ns; /* time in rounds that found something; clocked, a few rounds at once */
	uint64_t polls;   /* rounds that found nothing */
	uint64_t sleeps;
	uint64_t wakeups;
};

/*
 * Start a thread.  name: at most 15 characters, for the thread.  cpu: -1 anywhere, else pinned.
 * 0 or -errno.
 */
int worker_alloc(const char *name, int cpu, uint32_t poll_us, struct worker **ret);
/* All sources have been detached.  Joins the thread. */
void worker_free(struct worker *worker);

/*
 * Serve a source / stop serving it.  Returns when the worker has done so: after detach no function
 * of the source runs or will run.  Any thread but the worker's own; worker threads use the _local
 * forms.
 *
 * A source is zeroed but for ops and fd before it is first attached; it may be attached again, to
 * any worker. 0, -EBUSY when it is attached, or -errno: the descriptor cannot be watched.
 */
int worker_attach(struct worker *worker, struct worker_source *src);
void worker_detach(struct worker_source *src);
int worker_attach_local(struct worker *worker, struct worker_source *src);
void worker_detach_local(struct worker_source *src);

/*
 * Change the descriptor of an attached source; it is polled once after.  Any thread, acknowledged.
 * On failure it has none.  0 or -errno.
 */
int worker_set_fd(struct worker_source *src, int fd);

/* ANY THREAD: have the source polled soon.  It is attached, and stays so until this returns. */
void worker_source_wake(struct worker_source *src);

/* Run fn(arg) on the worker's thread and wait for it.  Any thread; on the worker itself it runs at
 * once. */
void worker_call(struct worker *worker, void (*fn)(void *arg), void *arg);

/* The loop of the worker, for timers and further descriptors of what it serves.  Worker thread. */
struct loop *worker_loop(struct worker *worker);
bool worker_current(const struct worker *worker);

void worker_set_poll_us(struct worker *worker, uint32_t poll_us); /* ANY THREAD */
uint32_t worker_poll_us(const struct worker *worker);
int worker_set_cpu(struct worker *worker, int cpu);                             /* ANY THREAD */
void worker_get_stats(const struct worker *worker, struct worker_stats *stats); /* ANY THREAD */

/*
 * A place for one object for each worker that serves many sources (an io_uring).  The key is the
 * address of a constant.  make() runs once, on the worker; unmake() when the worker ends.  Worker
 * thread.
 */
void *worker_local(struct worker *worker, const void *key, void *(*make)(struct worker *worker),
		   void (*unmake)(void *object));

#endif
