/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <time.h>

#include "base/defs.h"
#include "loop/loop.h"

#define LOOP_BATCH   64
#define NSEC_PER_SEC 1000000000ULL
#define NEVER        UINT64_MAX

TAILQ_HEAD(call_list, loop_call);
TAILQ_HEAD(timer_list, loop_timer);

struct loop {
	int epfd;
	int timerfd;
	int callfd;

	/* The dispatching thread's own. */
	struct timer_list timers; /* the earliest first */
	uint64_t programmed;      /* when timerfd goes off */
	uint64_t (*clock)(void *arg);
	void *clock_arg;
	struct epoll_event events[LOOP_BATCH];
	int num_events, next_event; /* this dispatch's; a deleted watch is blotted out */

	pthread_mutex_t lock;
	struct call_list calls; /* lock */
	bool posted;            /* calls came in since they were last run; written under lock */
	bool polled;            /* lock */
};

/* ---- timers */

static uint64_t system_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NSEC_PER_SEC + (uint64_t)ts.tv_nsec;
}

uint64_t loop_now(const struct loop *loop)
{
	return loop->clock ? loop->clock(loop->clock_arg) : system_clock();
}

/* Setting also clears what timerfd has counted, so it is never read. */
static void program_timer(struct loop *loop, uint64_t when)
{
	struct itimerspec its = {0};

	if (when != NEVER) {
		its.it_value.tv_sec = (time_t)(when / NSEC_PER_SEC);
		its.it_value.tv_nsec = (long)(when % NSEC_PER_SEC);
	}
	timerfd_settime(loop->timerfd, TFD_TIMER_ABSTIME, &its, NULL);
	loop->programmed = when;
}

static uint64_t next_timer(const struct loop *loop)
{
	const struct loop_timer *first = TAILQ_FIRST(&loop->timers);

	return first ? first->when : NEVER;
}

void loop_set_clock(struct loop *loop, uint64_t (*now)(void *arg), void *arg)
{
	loop->clock = now;
	loop->clock_arg = arg;
	program_timer(loop, now ? NEVER : next_timer(loop));
}

/* Behind those of the same time.  From the end: most timers of a program have the same few delays.
 */
static void insert_timer(struct loop *loop, struct loop_timer *timer)
{
	struct loop_timer *before;

	TAILQ_FOREACH_REVERSE(before, &loop->timers, timer_list, entry)
	{
		if (before->when <= timer->when)
			break;
	}
	if (before)
		TAILQ_INSERT_AFTER(&loop->timers, before, timer, entry);
	else
		TAILQ_INSERT_HEAD(&loop->timers, timer, entry);
}

void loop_timer_set(struct loop *loop, struct loop_timer *timer, uint64_t delay_ns)
{
	uint64_t now = loop_now(loop);

	loop_timer_cancel(timer);
	timer->loop = loop;
	timer->when = delay_ns < NEVER - now ? now + delay_ns : NEVER - 1;
	timer->armed = true;
	insert_timer(loop, timer);
	if (!loop->clock && timer->when < loop->programmed)
		program_timer(loop, timer->when);
}

/* timerfd stays as it is: one wake-up too many costs less than a system call each time. */
void loop_timer_cancel(struct loop_timer *timer)
{
	if (!timer->armed)
		return;
	TAILQ_REMOVE(&timer->loop->timers, timer, entry);
	timer->armed = false;
}

/* Put a mark behind what is due: what a handler arms for now comes after it, in the next dispatch.
 */
static bool mark_due(struct loop *loop, struct loop_timer *mark)
{
	struct loop_timer *timer = TAILQ_FIRST(&loop->timers);

	if (!timer)
		return false;
	mark->when = loop_now(loop);
	if (timer->when > mark->when)
		return false;
	while (timer && timer->when <= mark->when)
		timer = TAILQ_NEXT(timer, entry);
	if (timer)
		TAILQ_INSERT_BEFORE(timer, mark, entry);
	else
		TAILQ_INSERT_TAIL(&loop->timers, mark, entry);
	return true;
}

static int run_timers(struct loop *loop)
{
	struct loop_timer mark = {0}, *timer;
	int num = 0;

	if (!mark_due(loop, &mark))
		return 0;
	while ((timer = TAILQ_FIRST(&loop->timers)) != &mark) {
		TAILQ_REMOVE(&loop->timers, timer, entry);
		timer->armed = false;
		timer->fn(timer);
		num++;
	}
	TAILQ_REMOVE(&loop->timers, &mark, entry);
	return num;
}

/* ---- calls */

void loop_post(struct loop *loop, struct loop_call *call)
{
	bool posted = true, wake;

	/* A write, not just a look: the handler that clears the flag must see what the caller did
	 * before. */
	if (__atomic_compare_exchange_n(&call->posted, &posted, true, false, __ATOMIC_ACQ_REL,
					__ATOMIC_RELAXED))
		return;

	pthread_mutex_lock(&loop->lock);
	if (call->posted) {
		pthread_mutex_unlock(&loop->lock);
		return;
	}
	__atomic_store_n(&call->posted, true, __ATOMIC_RELAXED);
	TAILQ_INSERT_TAIL(&loop->calls, call, entry);
	wake = !loop->posted && !loop->polled;
	__atomic_store_n(&loop->posted, true, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&loop->lock);
	if (wake)
		eventfd_write(loop->callfd, 1);
}

bool loop_call_cancel(struct loop *loop, struct loop_call *call)
{
	bool posted;

	pthread_mutex_lock(&loop->lock);
	posted = call->posted;
	if (posted) {
		TAILQ_REMOVE(&loop->calls, call, entry);
		__atomic_store_n(&call->posted, false, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&loop->lock);
	return posted;
}

bool loop_posted(const struct loop *loop)
{
	return __atomic_load_n(&loop->posted, __ATOMIC_RELAXED);
}

void loop_set_polled(struct loop *loop, bool on)
{
	bool wake;

	pthread_mutex_lock(&loop->lock);
	wake = loop->polled && !on && loop->posted;
	loop->polled = on;
	pthread_mutex_unlock(&loop->lock);
	if (wake)
		eventfd_write(loop->callfd, 1);
}

/* Calls that are posted meanwhile come behind the mark, in the next dispatch. */
static int run_calls(struct loop *loop)
{
	struct loop_call mark = {0}, *call;
	int num = 0;

	if (!loop_posted(loop))
		return 0;

	pthread_mutex_lock(&loop->lock);
	__atomic_store_n(&loop->posted, false, __ATOMIC_RELAXED);
	TAILQ_INSERT_TAIL(&loop->calls, &mark, entry);
	while ((call = TAILQ_FIRST(&loop->calls)) != &mark) {
		TAILQ_REMOVE(&loop->calls, call, entry);
		/* Pairs with the exchange in loop_post(). */
		(void)__atomic_exchange_n(&call->posted, false, __ATOMIC_ACQ_REL);
		pthread_mutex_unlock(&loop->lock);
		call->fn(call);
		num++;
		pthread_mutex_lock(&loop->lock);
	}
	TAILQ_REMOVE(&loop->calls, &mark, entry);
	pthread_mutex_unlock(&loop->lock);
	return num;
}

/* ---- descriptors */

int loop_watch_add(struct loop *loop, struct loop_watch *watch, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = watch};

	if (watch->loop)
		return -EEXIST;
	if (epoll_ctl(loop->epfd, EPOLL_CTL_ADD, fd, &ev))
		return -errno;
	watch->fd = fd;
	watch->loop = loop;
	__atomic_store_n(&watch->events, events, __ATOMIC_RELAXED);
	return 0;
}

int loop_watch_set(struct loop_watch *watch, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = watch};

	if (!watch->loop)
		return -ENOENT;
	__atomic_store_n(&watch->events, events, __ATOMIC_RELAXED);
	return epoll_ctl(watch->loop->epfd, EPOLL_CTL_MOD, watch->fd, &ev) ? -errno : 0;
}

void loop_watch_del(struct loop_watch *watch)
{
	struct loop *loop = watch->loop;

	if (!loop)
		return;
	epoll_ctl(loop->epfd, EPOLL_CTL_DEL, watch->fd, NULL);
	for (int i = loop->next_event; i < loop->num_events; i++) {
		if (loop->events[i].data.ptr == watch)
			loop->events[i].data.ptr = NULL;
	}
	watch->loop = NULL;
	watch->fd = -1;
}

static int run_watches(struct loop *loop)
{
	int num = 0;

	while (loop->next_event < loop->num_events) {
		struct epoll_event *ev = &loop->events[loop->next_event++];
		struct loop_watch *watch = ev->data.ptr;

		if (!watch)
			continue;
		watch->fn(watch, ev->events);
		num++;
	}
	loop->num_events = 0;
	loop->next_event = 0;
	return num;
}

/* ---- the loop */

static int watch_own(struct loop *loop, int *fd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = fd};

	return epoll_ctl(loop->epfd, EPOLL_CTL_ADD, *fd, &ev);
}

int loop_alloc(struct loop **ret)
{
	struct loop *loop = calloc(1, sizeof(*loop));
	int err;

	if (!loop)
		return -ENOMEM;
	loop->timerfd = loop->callfd = -1;
	loop->programmed = NEVER;
	TAILQ_INIT(&loop->timers);
	TAILQ_INIT(&loop->calls);
	pthread_mutex_init(&loop->lock, NULL);

	loop->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epfd < 0)
		goto fail;
	loop->timerfd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (loop->timerfd < 0 || watch_own(loop, &loop->timerfd))
		goto fail;
	loop->callfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->callfd < 0 || watch_own(loop, &loop->callfd))
		goto fail;
	*ret = loop;
	return 0;

fail:
	err = -errno;
	loop_free(loop);
	return err;
}

void loop_free(struct loop *loop)
{
	struct loop_call *call;
	struct loop_timer *timer;

	if (!loop)
		return;
	while ((call = TAILQ_FIRST(&loop->calls)) != NULL)
		loop_call_cancel(loop, call);
	while ((timer = TAILQ_FIRST(&loop->timers)) != NULL)
		loop_timer_cancel(timer);
	fd_closep(&loop->callfd);
	fd_closep(&loop->timerfd);
	fd_closep(&loop->epfd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

int loop_fd(const struct loop *loop)
{
	return loop->epfd;
}

/* Take the loop's own descriptors out of what was found. */
static void clear_own(struct loop *loop, bool *timer)
{
	eventfd_t count;

	for (int i = 0; i < loop->num_events; i++) {
		void *ptr = loop->events[i].data.ptr;

		if (ptr == &loop->callfd)
			eventfd_read(loop->callfd, &count);
		else if (ptr == &loop->timerfd)
			*timer = true;
		else
			continue;
		loop->events[i].data.ptr = NULL;
	}
}

int loop_dispatch(struct loop *loop, int timeout_ms)
{
	bool timer = false;
	int num;

	/* Nobody wakes us for what we can see here. */
	if (timeout_ms &&
	    (loop_posted(loop) || (loop->clock && next_timer(loop) <= loop_now(loop))))
		timeout_ms = 0;
	num = epoll_wait(loop->epfd, loop->events, LOOP_BATCH, timeout_ms);
	if (num < 0)
		return errno == EINTR ? 0 : -errno;
	loop->num_events = num;
	loop->next_event = 0;

	clear_own(loop, &timer);
	num = run_calls(loop);
	num += run_timers(loop);
	if (!loop->clock && (timer || next_timer(loop) < loop->programmed))
		program_timer(loop, next_timer(loop));
	return num + run_watches(loop);
}
