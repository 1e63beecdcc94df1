/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An event loop: descriptors, timers and calls from other threads, dispatched by one thread.
 *
 * The loop is itself one descriptor (loop_fd()), so it nests in anybody's poll().  Watches, timers
 * and calls are embedded in their owner's structs: adding one allocates nothing.
 *
 * Unless said otherwise a function is called by the thread that dispatches the loop (or before it
 * does).
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct loop;
struct loop_watch;
struct loop_timer;
struct loop_call;

/* 0 or -errno. */
int loop_alloc(struct loop **ret);
/* Calls that are still posted are dropped, not run.  No watch may be left. */
void loop_free(struct loop *loop);

/* Readable when loop_dispatch() has something to do.  Borrowed. */
int loop_fd(const struct loop *loop);

/*
 * Wait up to timeout_ms (-1 for ever, 0 not at all), then run what is ready: calls, timers,
 * watches, each at most once.  A handler may add, change and delete any watch, timer or call, its
 * own and others'; it does not dispatch the same loop again. Returns the number of handlers run, or
 * -errno (EINTR counts as 0).
 */
int loop_dispatch(struct loop *loop, int timeout_ms);

/* Monotonic nanoseconds. */
uint64_t loop_now(const struct loop *loop);
/* Tests bring their own clock; NULL: the system's.  With one, timers fire on loop_dispatch() only.
 */
void loop_set_clock(struct loop *loop, uint64_t (*now)(void *arg), void *arg);

/* ---- descriptors */

typedef void loop_watch_fn(struct loop_watch *watch,
			   uint32_t events); /* EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP */

struct loop_watch {
	loop_watch_fn *fn;
	int fd; /* borrowed; -1: not added */
	uint32_t events;
	struct loop *loop;
};

#define LOOP_WATCH_INIT(f) ((struct loop_watch){.fn = (f), .fd = -1})

/* events: EPOLLIN and so on; EPOLLONESHOT allowed (re-arm by loop_watch_set).  0 or -errno. */
int loop_watch_add(struct loop *loop, struct loop_watch *watch, int fd, uint32_t events);
/* Change what is watched.  ANY THREAD may re-arm an EPOLLONESHOT watch that is not being deleted.
 */
int loop_watch_set(struct loop_watch *watch, uint32_t events);
/* After return fn is not called again, not even for what this dispatch had already found.  Not
 * added: no-op. */
void loop_watch_del(struct loop_watch *watch);

/* ---- timers */

typedef void loop_timer_fn(struct loop_timer *timer);

struct loop_timer {
	loop_timer_fn *fn;
	uint64_t when; /* nanoseconds of loop_now() */
	bool armed;
	struct loop *loop;
	TAILQ_ENTRY(loop_timer) entry;
};

/* (Re)arm for loop_now() + delay_ns.  Fires once. */
void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ns);
void loop_timer_cancel(struct loop_timer *timer);

/* ---- calls from any thread */

typedef void loop_call_fn(struct loop_call *call);

struct loop_call {
	loop_call_fn *fn;
	bool posted;
	TAILQ_ENTRY(loop_call) entry;
};

/* ANY THREAD: run call->fn on the loop's thread, in the order of posting.  Posted already: once is
 * enough. */
void loop_post(struct loop *loop, struct loop_call *call);
/* ANY THREAD: take it back; returns false if it was not posted any more (it may be running). */
bool loop_call_cancel(struct loop *loop, struct loop_call *call);

/* Is a call waiting?  One load: for threads that poll something else meanwhile. */
bool loop_posted(const struct loop *loop);
/*
 * on: the caller looks at loop_posted() all the time, so loop_post() does without the system call,
 * and loop_fd() tells nothing of calls.  Switch it off before waiting; calls that are there already
 * count.
 */
void loop_set_polled(struct loop *loop, bool on);

#endif
