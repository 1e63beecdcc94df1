/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/defs.h"
#include "fail_alloc.h"
#include "fail_syscall.h"
#include "loop/loop.h"
#include "loop/worker.h"

/*
 * A queue in miniature: the producer counts up `made`, and kicks when the consumer has asked for
 * it; the consumer handles up to `batch` at a time.
 */
struct queue {
	struct worker_source src;
	struct worker *worker;
	uint64_t made;
	bool wanted; /* kicks are */
	uint64_t done;
	uint64_t batch;
	uint64_t goal; /* post `reached` when done gets there */
	sem_t reached;
	unsigned int woken, armed, disarmed;
	bool foreign;                 /* an op ran on another thread than the worker's */
	struct worker_source *victim; /* detached by poll */
};

static struct queue *to_queue(struct worker_source *src)
{
	return container_of(src, struct queue, src);
}

static bool queue_pending(struct queue *q)
{
	return __atomic_load_n(&q->made, __ATOMIC_ACQUIRE) > q->done;
}

static bool queue_poll(struct worker_source *src)
{
	struct queue *q = to_queue(src);
	uint64_t num;

	if (!worker_current(q->worker))
		q->foreign = true;
	num = __atomic_load_n(&q->made, __ATOMIC_ACQUIRE) - q->done;
	if (!num)
		return false;
	if (num > q->batch)
		num = q->batch;
	if (q->victim)
		worker_detach_local(q->victim);
	q->done += num;
	if (q->goal && q->done >= q->goal) {
		q->goal = 0;
		sem_post(&q->reached);
	}
	return true;
}

static bool queue_arm(struct worker_source *src)
{
	struct queue *q = to_queue(src);

	q->armed++;
	__atomic_store_n(&q->wanted, true, __ATOMIC_SEQ_CST);
	return queue_pending(q);
}

static void queue_disarm(struct worker_source *src)
{
	to_queue(src)->disarmed++;
	__atomic_store_n(&to_queue(src)->wanted, false, __ATOMIC_RELAXED);
}

static void queue_woken(struct worker_source *src)
{
	to_queue(src)->woken++;
}

static const struct worker_source_ops queue_ops = {queue_poll, queue_arm, queue_disarm,
						   queue_woken};

static void queue_init(struct queue *q, struct worker *worker, uint64_t goal)
{
	memset(q, 0, sizeof(*q));
	q->src.ops = &queue_ops;
	/* Blocking, as some front-ends make them. */
	q->src.fd = eventfd(0, EFD_CLOEXEC);
	assert_true(q->src.fd >= 0);
	q->worker = worker;
	q->batch = 4;
	q->goal = goal;
	sem_init(&q->reached, 0, 0);
}

static void queue_destroy(struct queue *q)
{
	assert_false(q->foreign);
	if (q->src.fd >= 0)
		close(q->src.fd);
	sem_destroy(&q->reached);
}

static bool wants_kick(struct queue *q)
{
	return __atomic_load_n(&q->wanted, __ATOMIC_SEQ_CST);
}

static void queue_put(struct queue *q, uint64_t num)
{
	__atomic_fetch_add(&q->made, num, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&q->wanted, __ATOMIC_SEQ_CST))
		return;
	if (q->src.fd >= 0)
		eventfd_write(q->src.fd, 1);
	else
		worker_source_wake(&q->src);
}

static void queue_wait(struct queue *q)
{
	while (sem_wait(&q->reached))
		assert_int_equal(errno, EINTR);
}

static void nothing(void *arg)
{
}

/* Kicks are wanted before the queue is at rest; a call comes after that. */
static void wait_for_rest(struct queue *q)
{
	while (!wants_kick(q))
		sched_yield();
	worker_call(q->worker, nothing, NULL);
}

static struct worker *new_worker(uint32_t poll_us)
{
	struct worker *worker;

	assert_int_equal(worker_alloc("worker", -1, poll_us, &worker), 0);
	return worker;
}

/* ---- sources */

static void put_many(uint32_t poll_us, bool with_fd)
{
	struct worker *worker = new_worker(poll_us);
	struct worker_stats stats;
	struct queue q;

	queue_init(&q, worker, 30000);
	if (!with_fd) {
		close(q.src.fd);
		q.src.fd = -1;
	}
	assert_int_equal(worker_attach(worker, &q.src), 0);
	assert_int_equal(worker_attach(worker, &q.src), -EBUSY);
	for (int i = 0; i < 10000; i++)
		queue_put(&q, 3);
	queue_wait(&q);
	worker_detach(&q.src);
	worker_detach(&q.src);
	assert_int_equal(q.done, 30000);
	worker_get_stats(worker, &stats);
	assert_true(stats.busy_ns > 0);
	worker_free(worker);
	queue_destroy(&q);
}

static void test_worker_loses_no_kick(void **state)
{
	put_many(0, true);
	put_many(20, true);
}

static void test_worker_loses_no_wake(void **state)
{
	put_many(0, false);
	put_many(20, false);
}

static void test_worker_rests_between_kicks(void **state)
{
	struct worker *worker = new_worker(0);
	struct worker_stats stats;
	struct queue q;

	queue_init(&q, worker, 0);
	assert_int_equal(worker_attach(worker, &q.src), 0);
	for (int i = 1; i <= 10; i++) {
		wait_for_rest(&q);
		q.goal = (uint64_t)i;
		queue_put(&q, 1);
		queue_wait(&q);
	}
	worker_detach(&q.src);
	assert_int_equal(q.woken, 10);
	assert_true(q.armed >= 10);
	assert_true(q.disarmed >= 11);
	worker_get_stats(worker, &stats);
	assert_true(stats.wakeups >= 10);
	assert_true(stats.sleeps >= stats.wakeups);
	worker_free(worker);
	queue_destroy(&q);
}

/* Kicks that nobody asked for, on a queue that is polled, do no harm. */
static void test_worker_takes_unwanted_kicks(void **state)
{
	struct worker *worker = new_worker(50);
	eventfd_t count = 0;
	struct queue q;

	queue_init(&q, worker, 20000);
	assert_int_equal(worker_attach(worker, &q.src), 0);
	for (int i = 0; i < 20000; i++) {
		__atomic_fetch_add(&q.made, 1, __ATOMIC_SEQ_CST);
		assert_int_equal(eventfd_write(q.src.fd, 1), 0);
	}
	queue_wait(&q);
	worker_detach(&q.src);
	assert_int_equal(q.done, 20000);
	if (eventfd_write(q.src.fd, 1) || eventfd_read(q.src.fd, &count))
		fail();
	assert_true(count <= 20001);
	worker_free(worker);
	queue_destroy(&q);
}

static bool always_busy(struct worker_source *src)
{
	return true;
}

static const struct worker_source_ops busy_ops = {.poll = always_busy};

static void test_worker_notices_others_while_busy(void **state)
{
	struct worker *worker = new_worker(0);
	struct worker_source busy = {.ops = &busy_ops, .fd = -1};
	struct queue q;

	queue_init(&q, worker, 0);
	assert_int_equal(worker_attach(worker, &q.src), 0);
	wait_for_rest(&q);
	assert_int_equal(worker_attach(worker, &busy), 0);
	for (int i = 1; i <= 100; i++) {
		q.goal = 4 * (uint64_t)i;
		queue_put(&q, 4);
		queue_wait(&q);
	}
	worker_detach(&busy);
	worker_detach(&q.src);
	worker_free(worker);
	queue_destroy(&q);
}

static void test_worker_serves_many_sources(void **state)
{
	struct worker *worker = new_worker(20);
	static struct queue q[100];

	for (int i = 0; i < 100; i++) {
		queue_init(&q[i], worker, 1000);
		assert_int_equal(worker_attach(worker, &q[i].src), 0);
	}
	for (int n = 0; n < 100; n++) {
		for (int i = 0; i < 100; i++)
			queue_put(&q[i], 10);
	}
	for (int i = 0; i < 100; i++)
		queue_wait(&q[i]);
	for (int i = 0; i < 100; i++) {
		worker_detach(&q[i].src);
		assert_int_equal(q[i].done, 1000);
		queue_destroy(&q[i]);
	}
	worker_free(worker);
}

/* Each source is on the heap and freed at once: a sanitizer sees whoever still touches it. */
static void test_worker_detach_while_busy(void **state)
{
	struct worker *worker = new_worker(20);
	struct worker_source *src, *stay = calloc(1, sizeof(*stay));

	stay->ops = &busy_ops;
	stay->fd = -1;
	assert_int_equal(worker_attach(worker, stay), 0);
	for (int i = 0; i < 2000; i++) {
		src = calloc(1, sizeof(*src));
		src->ops = &busy_ops;
		src->fd = eventfd(1, EFD_CLOEXEC);
		assert_int_equal(worker_attach(worker, src), 0);
		worker_source_wake(src);
		worker_detach(src);
		close(src->fd);
		free(src);
	}
	worker_detach(stay);
	free(stay);
	worker_free(worker);
}

static void test_worker_poll_detaches_itself_and_the_next(void **state)
{
	struct worker *worker = new_worker(20);
	struct queue q[3];

	for (int victim = 0; victim < 3; victim++) {
		for (int i = 0; i < 3; i++)
			queue_init(&q[i], worker, 0);
		q[1].victim = &q[victim].src;
		q[1].goal = 1;
		for (int i = 0; i < 3; i++)
			assert_int_equal(worker_attach(worker, &q[i].src), 0);
		queue_put(&q[1], 1);
		queue_wait(&q[1]);
		for (int i = 0; i < 3; i++) {
			worker_detach(&q[i].src);
			assert_int_equal(q[i].done, i == 1);
		}
		for (int i = 0; i < 3; i++)
			queue_destroy(&q[i]);
	}
	worker_free(worker);
}

/* A source without a descriptor that passes on what another has found, all on the worker. */
struct relay {
	struct worker_source src;
	struct queue *to;
	uint64_t seen;
};

static bool relay_poll(struct worker_source *src)
{
	struct relay *r = container_of(src, struct relay, src);
	uint64_t num = r->to->done - r->seen;

	r->seen += num;
	if (r->seen == r->to->goal)
		sem_post(&r->to->reached);
	return num;
}

static const struct worker_source_ops relay_ops = {.poll = relay_poll};
static struct relay *relay_of_queue;

static bool wake_relay(struct worker_source *src)
{
	struct queue *q = to_queue(src);
	bool pending = queue_pending(q);

	if (pending) {
		q->done++;
		worker_source_wake(&relay_of_queue->src);
		/* What is left is for the next round, and nobody kicks for it. */
		worker_source_wake(src);
	}
	return false;
}

static void test_worker_wakes_its_own_sources(void **state)
{
	static const struct worker_source_ops ops = {.poll = wake_relay, .arm = queue_arm};
	struct relay relay = {.src = {.ops = &relay_ops, .fd = -1}};

	for (uint32_t poll_us = 0; poll_us <= 20; poll_us += 20) {
		struct worker *worker = new_worker(poll_us);
		struct queue q;

		queue_init(&q, worker, 100);
		q.src.ops = &ops;
		relay.to = &q;
		relay.seen = 0;
		relay_of_queue = &relay;
		assert_int_equal(worker_attach(worker, &relay.src), 0);
		assert_int_equal(worker_attach(worker, &q.src), 0);
		wait_for_rest(&q);
		queue_put(&q, 100);
		queue_wait(&q);
		worker_detach(&q.src);
		worker_detach(&relay.src);
		assert_int_equal(relay.seen, 100);
		worker_free(worker);
		queue_destroy(&q);
	}
}

static void test_worker_moves_a_source(void **state)
{
	struct worker *workers[2] = {new_worker(0), new_worker(20)};
	struct queue q;

	queue_init(&q, workers[0], 0);
	for (int i = 1; i <= 50; i++) {
		q.worker = workers[i % 2];
		q.goal = 10 * (uint64_t)i;
		assert_int_equal(worker_attach(q.worker, &q.src), 0);
		queue_put(&q, 10);
		queue_wait(&q);
		worker_detach(&q.src);
	}
	assert_int_equal(q.done, 500);
	worker_free(workers[0]);
	worker_free(workers[1]);
	queue_destroy(&q);
}

static void test_worker_changes_the_descriptor(void **state)
{
	struct worker *worker = new_worker(0);
	int fd = eventfd(0, EFD_CLOEXEC), old;
	struct queue q;

	queue_init(&q, worker, 1);
	assert_int_equal(worker_attach(worker, &q.src), 0);
	old = q.src.fd;
	/* Polled after the change, although nobody kicks. */
	__atomic_fetch_add(&q.made, 1, __ATOMIC_SEQ_CST);
	assert_int_equal(worker_set_fd(&q.src, fd), 0);
	queue_wait(&q);
	assert_int_equal(q.src.fd, fd);
	close(old);

	q.goal = 2;
	queue_put(&q, 1);
	queue_wait(&q);
	assert_int_equal(worker_set_fd(&q.src, 10000), -EBADF);
	assert_int_equal(q.src.fd, -1);
	q.goal = 3;
	queue_put(&q, 1);
	queue_wait(&q);
	worker_detach(&q.src);
	close(fd);
	worker_free(worker);
	queue_destroy(&q);
}

static void test_worker_refuses_what_cannot_be_watched(void **state)
{
	struct worker *worker = new_worker(0);
	struct worker_source src = {.ops = &busy_ops, .fd = 10000};

	assert_int_equal(worker_attach(worker, &src), -EBADF);
	assert_null(src.worker);
	worker_detach(&src);
	worker_free(worker);
}

/* Threads that come and go on one worker, as the lanes of several devices do. */
struct tenant {
	struct worker *worker;
	pthread_t thread;
};

static void *tenant_run(void *arg)
{
	struct tenant *tenant = arg;
	struct queue q;
	int fd, old;

	queue_init(&q, tenant->worker, 0);
	for (uint64_t i = 0; i < 100; i++) {
		q.goal = q.done + 20;
		q.wanted = false;
		if (worker_attach(tenant->worker, &q.src))
			return NULL;
		queue_put(&q, 10);
		worker_source_wake(&q.src);
		old = q.src.fd;
		fd = eventfd(0, EFD_CLOEXEC);
		if (worker_set_fd(&q.src, fd))
			return NULL;
		close(old);
		queue_put(&q, 10);
		queue_wait(&q);
		worker_set_poll_us(tenant->worker, i % 3 * 10);
		worker_detach(&q.src);
	}
	queue_destroy(&q);
	return tenant;
}

static void test_worker_is_shared_by_threads(void **state)
{
	struct worker *worker = new_worker(0);
	struct tenant tenants[3];
	void *ret;

	for (int i = 0; i < 3; i++) {
		tenants[i].worker = worker;
		assert_int_equal(pthread_create(&tenants[i].thread, NULL, tenant_run, &tenants[i]),
				 0);
	}
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(tenants[i].thread, &ret), 0);
		assert_non_null(ret);
	}
	worker_free(worker);
}

/* ---- how long a source is polled; the clock stands still but for step() */

struct fake_time {
	struct worker *worker;
	uint64_t now;
};

static uint64_t fake_now(void *arg)
{
	return __atomic_load_n(&((struct fake_time *)arg)->now, __ATOMIC_RELAXED);
}

static void take_clock(void *arg)
{
	struct fake_time *time = arg;

	loop_set_clock(worker_loop(time->worker), fake_now, time);
}

static void step(struct fake_time *time, uint64_t us)
{
	__atomic_fetch_add(&time->now, us * 1000, __ATOMIC_RELAXED);
}

/* The worker polls the source on and on; the clock is read in at least one of so many rounds. */
static void expect_polled(struct worker *worker, struct queue *q)
{
	struct worker_stats stats;
	uint64_t until;

	worker_get_stats(worker, &stats);
	until = stats.polls + 300;
	do {
		sched_yield();
		assert_false(wants_kick(q));
		worker_get_stats(worker, &stats);
	} while (stats.polls < until);
}

/* It is polled for so long after its last work, and no longer. */
static void expect_window(struct fake_time *time, struct queue *q, uint64_t us)
{
	if (us) {
		expect_polled(time->worker, q);
		step(time, us - 1);
		expect_polled(time->worker, q);
		step(time, 1);
	}
	wait_for_rest(q);
}

static void kick_after(struct fake_time *time, struct queue *q, uint64_t us)
{
	step(time, us);
	q->goal = q->done + 1;
	queue_put(q, 1);
	queue_wait(q);
}

static void test_worker_window_adapts(void **state)
{
	struct fake_time time = {new_worker(128), 1000};
	struct queue q;

	worker_call(time.worker, take_clock, &time);
	queue_init(&q, time.worker, 0);
	assert_int_equal(worker_attach(time.worker, &q.src), 0);
	expect_window(&time, &q, 128);

	/* Work comes long after: polling was in vain. */
	for (uint64_t window = 64; window; window /= 2) {
		kick_after(&time, &q, 10000);
		expect_window(&time, &q, window);
	}
	kick_after(&time, &q, 10000);
	expect_window(&time, &q, 0);
	kick_after(&time, &q, 10000);
	expect_window(&time, &q, 0);

	/* Work comes soon after: it would have been found. */
	kick_after(&time, &q, 100);
	expect_window(&time, &q, 128);

	/* Another limit begins with a whole window. */
	worker_set_poll_us(time.worker, 40);
	kick_after(&time, &q, 10000);
	expect_window(&time, &q, 40);
	worker_detach(&q.src);
	worker_free(time.worker);
	queue_destroy(&q);
}

/* ---- calls, locals, threads */

struct call_args {
	struct worker *worker;
	char name[16];
	cpu_set_t cpus;
	int made, unmade;
	void *local;
	int depth;
};

static void look_around(void *arg)
{
	struct call_args *args = arg;

	assert_true(worker_current(args->worker));
	prctl(PR_GET_NAME, args->name);
	sched_getaffinity(0, sizeof(args->cpus), &args->cpus);
	if (args->depth++ == 0)
		worker_call(args->worker, look_around, args);
}

static void test_worker_call_runs_on_the_worker(void **state)
{
	struct call_args args = {0};

	args.worker = new_worker(0);
	assert_false(worker_current(args.worker));
	worker_call(args.worker, look_around, &args);
	assert_int_equal(args.depth, 2);
	assert_string_equal(args.name, "worker");
	worker_free(args.worker);
}

static void test_worker_is_pinned(void **state)
{
	struct call_args args = {.depth = 1};
	cpu_set_t all, one;
	int cpu = 0;

	sched_getaffinity(0, sizeof(all), &all);
	while (!CPU_ISSET(cpu, &all))
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	assert_int_equal(worker_alloc("pinned", cpu, 0, &args.worker), 0);
	worker_call(args.worker, look_around, &args);
	assert_true(CPU_EQUAL(&args.cpus, &one));
	assert_int_equal(worker_set_cpu(args.worker, -1), 0);
	worker_call(args.worker, look_around, &args);
	assert_true(CPU_EQUAL(&args.cpus, &all));
	assert_int_equal(worker_set_cpu(args.worker, 100000), -EINVAL);
	worker_free(args.worker);

	args.worker = NULL;
	assert_int_equal(worker_alloc("pinned", CPU_SETSIZE - 1, 0, &args.worker), -EINVAL);
	assert_null(args.worker);
}

static const int key_a, key_b;
static struct call_args *local_args;

static void *make_local(struct worker *worker)
{
	assert_true(worker_current(worker));
	local_args->made++;
	return local_args;
}

static void *make_nothing(struct worker *worker)
{
	return NULL;
}

static void unmake_local(void *object)
{
	struct call_args *args = object;

	args->unmade++;
}

static void use_local(void *arg)
{
	struct call_args *args = arg;

	args->local = worker_local(args->worker, &key_a, make_local, unmake_local);
	assert_ptr_equal(args->local, worker_local(args->worker, &key_a, make_local, unmake_local));
	assert_null(worker_local(args->worker, &key_b, make_nothing, unmake_local));
	fail_alloc_nth(1);
	assert_null(worker_local(args->worker, &key_b, make_local, unmake_local));
	assert_true(fail_alloc_done());
}

static void test_worker_local_is_made_once(void **state)
{
	struct call_args args = {0};

	args.worker = new_worker(0);
	local_args = &args;
	worker_call(args.worker, use_local, &args);
	worker_call(args.worker, use_local, &args);
	assert_ptr_equal(args.local, &args);
	assert_int_equal(args.made, 1);
	assert_int_equal(args.unmade, 0);
	worker_free(args.worker);
	assert_int_equal(args.unmade, 1);
}

/* Timers and watches of the worker's loop go on while a source is polled without end. */
struct busy_timer {
	struct loop_timer timer;
	struct worker *worker;
	sem_t fired;
};

static void timer_fires(struct loop_timer *timer)
{
	sem_post(&container_of(timer, struct busy_timer, timer)->fired);
}

static void set_timer(void *arg)
{
	struct busy_timer *t = arg;

	loop_timer_set(worker_loop(t->worker), &t->timer, 1000000);
}

static void test_worker_timers_fire_while_busy(void **state)
{
	struct worker_source busy = {.ops = &busy_ops, .fd = -1};
	struct busy_timer t = {.timer.fn = timer_fires};

	t.worker = new_worker(0);
	sem_init(&t.fired, 0, 0);
	assert_int_equal(worker_attach(t.worker, &busy), 0);
	worker_call(t.worker, set_timer, &t);
	assert_int_equal(sem_wait(&t.fired), 0);
	worker_detach(&busy);
	worker_call(t.worker, set_timer, &t);
	assert_int_equal(sem_wait(&t.fired), 0);
	worker_free(t.worker);
	sem_destroy(&t.fired);
}

static void test_worker_alloc_survives_no_memory(void **state)
{
	struct worker *worker = NULL;
	int err;

	for (unsigned int n = 1;; n++) {
		fail_alloc_nth(n);
		err = worker_alloc("worker", -1, 0, &worker);
		if (!fail_alloc_done())
			break;
		assert_int_equal(err, -ENOMEM);
		assert_null(worker);
	}
	assert_int_equal(err, 0);
	assert_int_equal(worker_poll_us(worker), 0);
	worker_set_poll_us(worker, 7);
	assert_int_equal(worker_poll_us(worker), 7);
	worker_free(worker);
	worker_free(NULL);
}

static void test_worker_alloc_survives_failing_calls(void **state)
{
	struct worker *worker = NULL;
	int err;

	for (unsigned int n = 1;; n++) {
		fail_syscall_nth(n);
		err = worker_alloc("worker", -1, 0, &worker);
		if (!fail_syscall_done())
			break;
		assert_true(err < 0);
		assert_null(worker);
	}
	assert_int_equal(err, 0);
	worker_free(worker);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_worker_loses_no_kick),
		cmocka_unit_test(test_worker_loses_no_wake),
		cmocka_unit_test(test_worker_rests_between_kicks),
		cmocka_unit_test(test_worker_takes_unwanted_kicks),
		cmocka_unit_test(test_worker_notices_others_while_busy),
		cmocka_unit_test(test_worker_serves_many_sources),
		cmocka_unit_test(test_worker_detach_while_busy),
		cmocka_unit_test(test_worker_poll_detaches_itself_and_the_next),
		cmocka_unit_test(test_worker_wakes_its_own_sources),
		cmocka_unit_test(test_worker_moves_a_source),
		cmocka_unit_test(test_worker_is_shared_by_threads),
		cmocka_unit_test(test_worker_window_adapts),
		cmocka_unit_test(test_worker_changes_the_descriptor),
		cmocka_unit_test(test_worker_refuses_what_cannot_be_watched),
		cmocka_unit_test(test_worker_call_runs_on_the_worker),
		cmocka_unit_test(test_worker_is_pinned),
		cmocka_unit_test(test_worker_local_is_made_once),
		cmocka_unit_test(test_worker_timers_fire_while_busy),
		cmocka_unit_test(test_worker_alloc_survives_no_memory),
		cmocka_unit_test(test_worker_alloc_survives_failing_calls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
