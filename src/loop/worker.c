/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The thread has two states.  While sources are active it polls them round by round; when there are
 * none it sleeps in its loop.  A source becomes active by its descriptor or worker_source_wake(),
 * and rests, armed, after its window without work: each for itself, so falling asleep needs no pass
 * over all of them.
 *
 * A round may take 20 ns or 200 us, and reading the clock 25 to 50 ns: so the clock is read after
 * as many rounds as fit into about CLOCK_NS, and what is due is done then: idle sources at each
 * reading, the loop after DISPATCH_NS.  Calls are seen in each round.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "base/defs.h"
#include "base/thread.h"
#include "loop/worker.h"

#define CLOCK_NS     1000
#define STRIDE_MAX   64
#define FOUND_WEIGHT 16 /* a round that finds something counts as so many that do not */
#define DISPATCH_NS  16000
#define WAKE_NS      30000 /* what waking up takes of the gap between two pieces of work */
#define WINDOW_MIN   1000
#define FULL_WINDOWS 8 /* active sources that may have their whole window */

struct local {
	const void *key;
	void *object;
	void (*unmake)(void *object);
	SLIST_ENTRY(local) entry;
};

struct worker {
	/* The worker thread's own. */
	struct loop *loop;
	TAILQ_HEAD(, worker_source) active;
	unsigned int num_active;
	struct worker_source *current; /* in the round; NULL: it was detached */
	struct worker_source *next;
	uint64_t now;
	uint64_t limit;                    /* poll_us */
	uint64_t dispatched;               /* when the loop was looked at */
	unsigned int rounds, found_rounds; /* since the clock was read, weighed */
	unsigned int stride;               /* rounds from one reading of the clock to the next */
	bool stop;
	SLIST_HEAD(, local) locals;

	struct worker_stats stats; /* written by the worker, read by anybody: relaxed */
	uint32_t poll_us;          /* the other way round */

	/* Before the first caller can be there. */
	pthread_t thread, self;
	cpu_set_t anywhere;

	pthread_mutex_t lock;
	pthread_cond_t called; /* a worker_call() is done */
};

static void count(uint64_t *counter, uint64_t num)
{
	__atomic_store_n(counter, *counter + num, __ATOMIC_RELAXED);
}

static void read_clock(struct worker *worker)
{
	worker->now = loop_now(worker->loop);
}

/* ---- active sources */

static void activate(struct worker *worker, struct worker_source *src)
{
	src->active = true;
	src->busy = false;
	src->worked = worker->now;
	TAILQ_INSERT_TAIL(&worker->active, src, entry);
	worker->num_active++;
	if (src->armed && src->ops->disarm)
		src->ops->disarm(src);
	src->armed = false;
}

static void deactivate(struct worker *worker, struct worker_source *src)
{
	if (worker->current == src)
		worker->current = NULL;
	if (worker->next == src)
		worker->next = TAILQ_NEXT(src, entry);
	TAILQ_REMOVE(&worker->active, src, entry);
	worker->num_active--;
	src->active = false;
}

/*
 * Would polling on have been better than to rest?  One yes brings back the whole window, each no
 * takes half of it.
 */
static void adapt(struct worker *worker, struct worker_source *src)
{
	if (src->limit != worker->limit || worker->now - src->worked <= worker->limit + WAKE_NS)
		src->window = worker->limit;
	else
		src->window = src->window / 2 < WINDOW_MIN ? 0 : src->window / 2;
	src->limit = worker->limit;
}

/* Not read() since the flags of the descriptor are the peer's, too: it could make us block. */
static void clear_fd(int fd)
{
	char buf[64];
	struct iovec iov = {buf, sizeof(buf)};

	(void)!preadv2(fd, &iov, 1, -1, RWF_NOWAIT);
}

static void source_kicked(struct loop_watch *watch, uint32_t events)
{
	struct worker_source *src = container_of(watch, struct worker_source, watch);

	clear_fd(watch->fd);
	if (src->active)
		return;
	read_clock(src->worker);
	adapt(src->worker, src);
	if (src->ops->woken)
		src->ops->woken(src);
	activate(src->worker, src);
}

static void source_woken(struct loop_call *call)
{
	struct worker_source *src = container_of(call, struct worker_source, wake);

	src->again = true;
	if (src->active)
		return;
	read_clock(src->worker);
	adapt(src->worker, src);
	activate(src->worker, src);
}

/* The source in turn has found nothing: let it rest, unless work comes in at the last moment. */
static void rest(struct worker *worker, struct worker_source *src)
{
	bool more;

	src->armed = true;
	more = src->ops->arm && src->ops->arm(src);
	if (worker->current != src)
		return;
	if (!more && !src->again) {
		deactivate(worker, src);
		return;
	}
	src->armed = false;
	src->worked = worker->now;
	if (src->ops->disarm)
		src->ops->disarm(src);
}

static void rest_idle(struct worker *worker)
{
	struct worker_source *src;
	uint64_t window;

	for (src = TAILQ_FIRST(&worker->active); src; src = worker->next) {
		worker->next = TAILQ_NEXT(src, entry);
		worker->current = src;
		if (src->busy) {
			src->busy = false;
			src->worked = worker->now;
			continue;
		}
		window = src->window < worker->limit ? src->window : worker->limit;
		/* Each source in the round slows down the others. */
		if (worker->num_active > FULL_WINDOWS)
			window = window * FULL_WINDOWS / worker->num_active;
		if (worker->now - src->worked >= window && !src->again)
			rest(worker, src);
	}
}

static bool poll_round(struct worker *worker)
{
	struct worker_source *src;
	bool found = false;

	for (src = TAILQ_FIRST(&worker->active); src; src = worker->next) {
		worker->next = TAILQ_NEXT(src, entry);
		worker->current = src;
		src->again = false;
		if (src->ops->poll(src)) {
			found = true;
			if (worker->current)
				src->busy = true;
		} else if (!worker->limit && worker->current && !src->again) {
			rest(worker, src);
		}
	}
	return found;
}

/* ---- the thread */

static void sleep_in_loop(struct worker *worker)
{
	loop_set_polled(worker->loop, false);
	count(&worker->stats.sleeps, 1);
	loop_dispatch(worker->loop, -1);
	count(&worker->stats.wakeups, 1);
	loop_set_polled(worker->loop, true);
	read_clock(worker);
	worker->dispatched = worker->now;
}

static void look_at_clock(struct worker *worker)
{
	uint64_t before = worker->now, ns;

	read_clock(worker);
	ns = worker->now - before;
	count(&worker->stats.busy_ns, ns * worker->found_rounds / worker->rounds);
	worker->rounds = worker->found_rounds = 0;
	if (ns < CLOCK_NS / 2 && worker->stride < STRIDE_MAX)
		worker->stride *= 2;
	else if (ns > CLOCK_NS * 2)
		worker->stride = 1;
	rest_idle(worker);
}

static void poll_sources(struct worker *worker)
{
	worker->limit = __atomic_load_n(&worker->poll_us, __ATOMIC_RELAXED) * UINT64_C(1000);
	if (poll_round(worker)) {
		worker->found_rounds += FOUND_WEIGHT;
		worker->rounds += FOUND_WEIGHT;
	} else {
		worker->rounds++;
		count(&worker->stats.polls, 1);
	}
	if (worker->rounds >= worker->stride)
		look_at_clock(worker);
	if (loop_posted(worker->loop) || worker->now - worker->dispatched >= DISPATCH_NS) {
		loop_dispatch(worker->loop, 0);
		worker->dispatched = worker->now;
	}
}

static void unmake_locals(struct worker *worker)
{
	struct local *local;

	while ((local = SLIST_FIRST(&worker->locals)) != NULL) {
		SLIST_REMOVE_HEAD(&worker->locals, entry);
		if (local->unmake)
			local->unmake(local->object);
		free(local);
	}
}

static void *worker_run(void *arg)
{
	struct worker *worker = arg;

	worker->self = pthread_self();
	while (!worker->stop) {
		if (TAILQ_EMPTY(&worker->active))
			sleep_in_loop(worker);
		else
			poll_sources(worker);
	}
	unmake_locals(worker);
	return NULL;
}

/* ---- calls */

struct wait_call {
	struct loop_call call;
	struct worker *worker;
	void (*fn)(void *arg);
	void *arg;
	bool done; /* worker->lock */
};

static void run_call(struct loop_call *call)
{
	struct wait_call *wait = container_of(call, struct wait_call, call);
	struct worker *worker = wait->worker;

	wait->fn(wait->arg);
	pthread_mutex_lock(&worker->lock);
	wait->done = true;
	pthread_cond_broadcast(&worker->called);
	pthread_mutex_unlock(&worker->lock);
}

static void call_and_wait(struct worker *worker, void (*fn)(void *arg), void *arg)
{
	struct wait_call wait = {{.fn = run_call}, worker, fn, arg, false};

	loop_post(worker->loop, &wait.call);
	pthread_mutex_lock(&worker->lock);
	while (!wait.done)
		pthread_cond_wait(&worker->called, &worker->lock);
	pthread_mutex_unlock(&worker->lock);
}

void worker_call(struct worker *worker, void (*fn)(void *arg), void *arg)
{
	if (worker_current(worker))
		fn(arg);
	else
		call_and_wait(worker, fn, arg);
}

/* ---- workers */

static void stop_worker(void *arg)
{
	((struct worker *)arg)->stop = true;
}

static void say_hello(void *arg)
{
	struct worker *worker = arg;

	pthread_getaffinity_np(worker->self, sizeof(worker->anywhere), &worker->anywhere);
}

static void worker_destroy(struct worker *worker)
{
	loop_free(worker->loop);
	pthread_cond_destroy(&worker->called);
	pthread_mutex_destroy(&worker->lock);
	free(worker);
}

int worker_alloc(const char *name, int cpu, uint32_t poll_us, struct worker **ret)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	int err;

	if (!worker)
		return -ENOMEM;
	worker->poll_us = poll_us;
	worker->stride = 1;
	TAILQ_INIT(&worker->active);
	SLIST_INIT(&worker->locals);
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->called, NULL);
	err = loop_alloc(&worker->loop);
	if (!err)
		err = thread_start(&worker->thread, name, worker_run, worker);
	if (err) {
		worker_destroy(worker);
		return err;
	}

	call_and_wait(worker, say_hello, worker);
	err = cpu < 0 ? 0 : worker_set_cpu(worker, cpu);
	if (err) {
		worker_free(worker);
		return err;
	}
	*ret = worker;
	return 0;
}

void worker_free(struct worker *worker)
{
	if (!worker)
		return;
	call_and_wait(worker, stop_worker, worker);
	pthread_join(worker->thread, NULL);
	worker_destroy(worker);
}

struct loop *worker_loop(struct worker *worker)
{
	return worker->loop;
}

bool worker_current(const struct worker *worker)
{
	return pthread_equal(worker->self, pthread_self());
}

void worker_set_poll_us(struct worker *worker, uint32_t poll_us)
{
	__atomic_store_n(&worker->poll_us, poll_us, __ATOMIC_RELAXED);
}

uint32_t worker_poll_us(const struct worker *worker)
{
	return __atomic_load_n(&worker->poll_us, __ATOMIC_RELAXED);
}

int worker_set_cpu(struct worker *worker, int cpu)
{
	cpu_set_t set;

	if (cpu >= CPU_SETSIZE)
		return -EINVAL;
	set = worker->anywhere;
	if (cpu >= 0) {
		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
	}
	return -pthread_setaffinity_np(worker->thread, sizeof(set), &set);
}

void worker_get_stats(const struct worker *worker, struct worker_stats *stats)
{
	stats->busy_ns = __atomic_load_n(&worker->stats.busy_ns, __ATOMIC_RELAXED);
	stats->polls = __atomic_load_n(&worker->stats.polls, __ATOMIC_RELAXED);
	stats->sleeps = __atomic_load_n(&worker->stats.sleeps, __ATOMIC_RELAXED);
	stats->wakeups = __atomic_load_n(&worker->stats.wakeups, __ATOMIC_RELAXED);
}

void *worker_local(struct worker *worker, const void *key, void *(*make)(struct worker *worker),
		   void (*unmake)(void *object))
{
	struct local *local;

	SLIST_FOREACH (local, &worker->locals, entry) {
		if (local->key == key)
			return local->object;
	}
	local = calloc(1, sizeof(*local));
	if (!local)
		return NULL;
	local->object = make(worker);
	if (!local->object) {
		free(local);
		return NULL;
	}
	local->key = key;
	local->unmake = unmake;
	SLIST_INSERT_HEAD(&worker->locals, local, entry);
	return local->object;
}

/* ---- sources */

static int watch_fd(struct worker *worker, struct worker_source *src, int fd)
{
	src->watch = LOOP_WATCH_INIT(source_kicked);
	return fd < 0 ? 0 : loop_watch_add(worker->loop, &src->watch, fd, EPOLLIN | EPOLLET);
}

int worker_attach_local(struct worker *worker, struct worker_source *src)
{
	int err;

	if (src->worker)
		return -EBUSY;
	err = watch_fd(worker, src, src->fd);
	if (err)
		return err;
	src->wake = (struct loop_call){.fn = source_woken};
	src->worker = worker;
	src->armed = true;
	src->limit = src->window = worker_poll_us(worker) * UINT64_C(1000);
	read_clock(worker);
	activate(worker, src);
	return 0;
}

void worker_detach_local(struct worker_source *src)
{
	struct worker *worker = src->worker;

	if (!worker)
		return;
	loop_watch_del(&src->watch);
	loop_call_cancel(worker->loop, &src->wake);
	if (src->active)
		deactivate(worker, src);
	src->worker = NULL;
}

struct source_args {
	struct worker *worker;
	struct worker_source *src;
	int fd;
	int err;
};

static void attach_source(void *arg)
{
	struct source_args *args = arg;

	args->err = worker_attach_local(args->worker, args->src);
}

int worker_attach(struct worker *worker, struct worker_source *src)
{
	struct source_args args = {worker, src, -1, 0};

	worker_call(worker, attach_source, &args);
	return args.err;
}

static void detach_source(void *arg)
{
	worker_detach_local(arg);
}

void worker_detach(struct worker_source *src)
{
	if (src->worker)
		worker_call(src->worker, detach_source, src);
}

static void change_fd(void *arg)
{
	struct source_args *args = arg;
	struct worker_source *src = args->src;

	loop_watch_del(&src->watch);
	args->err = watch_fd(args->worker, src, args->fd);
	src->fd = args->err ? -1 : args->fd;
	if (src->active)
		return;
	read_clock(args->worker);
	activate(args->worker, src);
}

int worker_set_fd(struct worker_source *src, int fd)
{
	struct source_args args = {src->worker, src, fd, 0};

	worker_call(src->worker, change_fd, &args);
	return args.err;
}

/* On the worker itself no call is needed: what completes requests there does this for each burst.
 */
void worker_source_wake(struct worker_source *src)
{
	if (worker_current(src->worker))
		source_woken(&src->wake);
	else
		loop_post(src->worker->loop, &src->wake);
}
