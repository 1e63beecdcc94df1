/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/defs.h"
#include "fail_alloc.h"
#include "fail_syscall.h"
#include "loop/loop.h"

#define MSEC 1000000ULL

static char trace[64]; /* what ran, a letter each */

static void trace_add(char c)
{
	size_t len = strlen(trace);

	assert_true(len + 1 < sizeof(trace));
	trace[len] = c;
	trace[len + 1] = '\0';
}

static uint64_t fake_clock(void *arg)
{
	return *(uint64_t *)arg;
}

static int setup(void **state)
{
	struct loop *loop;

	trace[0] = '\0';
	if (loop_alloc(&loop))
		return -1;
	*state = loop;
	return 0;
}

static int teardown(void **state)
{
	loop_free(*state);
	return 0;
}

static bool readable(const struct loop *loop, int timeout_ms)
{
	struct pollfd pfd = {.fd = loop_fd(loop), .events = POLLIN};

	return poll(&pfd, 1, timeout_ms) == 1;
}

static int event_fd(unsigned int count)
{
	int fd = eventfd(count, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

/* ---- descriptors */

struct counted_watch {
	struct loop_watch watch;
	struct loop_watch *victim; /* deleted when this one runs */
	uint32_t events;
	int runs;
};

static void count_watch(struct loop_watch *watch, uint32_t events)
{
	struct counted_watch *c = container_of(watch, struct counted_watch, watch);

	c->runs++;
	c->events = events;
	if (c->victim)
		loop_watch_del(c->victim);
}

static void test_loop_watch_runs_while_ready(void **state)
{
	struct counted_watch c = {.watch = LOOP_WATCH_INIT(count_watch)};
	struct loop *loop = *state;
	int fd = event_fd(1);
	eventfd_t count;

	assert_false(readable(loop, 0));
	assert_int_equal(loop_watch_add(loop, &c.watch, fd, EPOLLIN), 0);
	assert_int_equal(loop_watch_add(loop, &c.watch, fd, EPOLLIN), -EEXIST);
	assert_true(readable(loop, 0));
	assert_int_equal(loop_dispatch(loop, -1), 1);
	assert_int_equal(loop_dispatch(loop, -1), 1);
	assert_int_equal(c.runs, 2);
	assert_int_equal(c.events, EPOLLIN);

	assert_int_equal(loop_watch_set(&c.watch, EPOLLOUT), 0);
	assert_int_equal(loop_dispatch(loop, -1), 1);
	assert_int_equal(c.events, EPOLLOUT);
	assert_int_equal(loop_watch_set(&c.watch, EPOLLIN), 0);
	assert_int_equal(eventfd_read(fd, &count), 0);
	assert_int_equal(loop_dispatch(loop, 0), 0);

	loop_watch_del(&c.watch);
	loop_watch_del(&c.watch);
	assert_int_equal(loop_watch_set(&c.watch, EPOLLIN), -ENOENT);
	close(fd);
}

static void test_loop_watch_refuses_plain_files(void **state)
{
	struct counted_watch c = {.watch = LOOP_WATCH_INIT(count_watch)};

	assert_int_equal(loop_watch_add(*state, &c.watch, -1, EPOLLIN), -EBADF);
	assert_int_equal(loop_watch_add(*state, &c.watch, loop_fd(*state), EPOLLIN), -EINVAL);
	loop_watch_del(&c.watch);
}

static void test_loop_watch_del_in_handler_drops_found_events(void **state)
{
	struct counted_watch a = {.watch = LOOP_WATCH_INIT(count_watch), .victim = NULL};
	struct counted_watch b = a;
	struct loop *loop = *state;
	int fds[2] = {event_fd(1), event_fd(1)};

	a.victim = &b.watch;
	b.victim = &a.watch;
	assert_int_equal(loop_watch_add(loop, &a.watch, fds[0], EPOLLIN), 0);
	assert_int_equal(loop_watch_add(loop, &b.watch, fds[1], EPOLLIN), 0);
	assert_int_equal(loop_dispatch(loop, -1), 1);
	assert_int_equal(a.runs + b.runs, 1);
	assert_int_equal(loop_dispatch(loop, -1), 1);
	assert_int_equal(a.runs + b.runs, 2);
	assert_true(a.runs == 2 || b.runs == 2);
	loop_watch_del(&a.watch);
	loop_watch_del(&b.watch);
	close(fds[0]);
	close(fds[1]);
}

static void test_loop_watch_del_in_own_handler(void **state)
{
	struct counted_watch a = {.watch = LOOP_WATCH_INIT(count_watch)};
	int fd = event_fd(1);

	a.victim = &a.watch;
	assert_int_equal(loop_watch_add(*state, &a.watch, fd, EPOLLIN), 0);
	assert_int_equal(loop_dispatch(*state, -1), 1);
	assert_int_equal(loop_dispatch(*state, 0), 0);
	close(fd);
}

static void test_loop_more_watches_than_a_batch(void **state)
{
	struct counted_watch c[200];
	int fd[200], runs = 0;

	for (int i = 0; i < 200; i++) {
		c[i] = (struct counted_watch){.watch = LOOP_WATCH_INIT(count_watch)};
		c[i].victim = &c[i].watch;
		fd[i] = event_fd(1);
		assert_int_equal(loop_watch_add(*state, &c[i].watch, fd[i], EPOLLIN), 0);
	}
	while (readable(*state, 0))
		runs += loop_dispatch(*state, 0);
	assert_int_equal(runs, 200);
	for (int i = 0; i < 200; i++) {
		assert_int_equal(c[i].runs, 1);
		close(fd[i]);
	}
}

static void *rearm(void *arg)
{
	struct counted_watch *c = arg;

	loop_watch_set(&c->watch, EPOLLIN | EPOLLONESHOT);
	return NULL;
}

static void test_loop_oneshot_is_rearmed_by_another_thread(void **state)
{
	struct counted_watch c = {.watch = LOOP_WATCH_INIT(count_watch)};
	struct loop *loop = *state;
	int fd = event_fd(1);
	pthread_t thread;

	assert_int_equal(loop_watch_add(loop, &c.watch, fd, EPOLLIN | EPOLLONESHOT), 0);
	assert_int_equal(loop_dispatch(loop, -1), 1);
	assert_int_equal(loop_dispatch(loop, 0), 0);
	assert_int_equal(pthread_create(&thread, NULL, rearm, &c), 0);
	assert_int_equal(loop_dispatch(loop, -1), 1);
	assert_int_equal(pthread_join(thread, NULL), 0);
	loop_watch_del(&c.watch);
	close(fd);
}

/* ---- timers */

struct named_timer {
	struct loop_timer timer;
	char name;
	bool again;                /* re-arm for now */
	struct loop_timer *victim; /* cancelled when this one runs */
};

static void trace_timer(struct loop_timer *timer)
{
	struct named_timer *n = container_of(timer, struct named_timer, timer);

	assert_false(timer->armed);
	trace_add(n->name);
	if (n->again)
		loop_timer_set(timer->loop, timer, 0);
	if (n->victim)
		loop_timer_cancel(n->victim);
}

static void test_loop_timers_fire_in_order(void **state)
{
	struct named_timer a = {.timer.fn = trace_timer, .name = 'a'}, b = a, c = a;
	struct loop *loop = *state;
	uint64_t now = 1000;

	b.name = 'b';
	c.name = 'c';
	loop_set_clock(loop, fake_clock, &now);
	assert_int_equal(loop_now(loop), 1000);
	loop_timer_set(loop, &a.timer, 20);
	loop_timer_set(loop, &b.timer, 10);
	loop_timer_set(loop, &c.timer, 20);
	assert_int_equal(loop_dispatch(loop, 0), 0);
	now += 9;
	assert_int_equal(loop_dispatch(loop, 0), 0);
	now += 1;
	assert_int_equal(loop_dispatch(loop, -1), 1);
	assert_string_equal(trace, "b");
	now += 100;
	assert_int_equal(loop_dispatch(loop, -1), 2);
	assert_string_equal(trace, "bac");

	loop_timer_set(loop, &a.timer, 10);
	loop_timer_set(loop, &a.timer, 30);
	loop_timer_set(loop, &b.timer, 10);
	loop_timer_cancel(&b.timer);
	loop_timer_cancel(&b.timer);
	now += 10;
	assert_int_equal(loop_dispatch(loop, 0), 0);
	now += 20;
	assert_int_equal(loop_dispatch(loop, 0), 1);
	loop_timer_set(loop, &a.timer, UINT64_MAX);
	assert_int_equal(loop_dispatch(loop, 0), 0);
	assert_true(a.timer.armed);
	loop_timer_cancel(&a.timer);
}

static void test_loop_timer_handlers_change_timers(void **state)
{
	struct named_timer a = {.timer.fn = trace_timer, .name = 'a'}, b = a;
	struct loop *loop = *state;
	uint64_t now = 1000;

	b.name = 'b';
	a.again = true;
	a.victim = &b.timer;
	loop_set_clock(loop, fake_clock, &now);
	loop_timer_set(loop, &a.timer, 0);
	loop_timer_set(loop, &b.timer, 0);
	assert_int_equal(loop_dispatch(loop, 0), 1);
	assert_int_equal(loop_dispatch(loop, -1), 1);
	assert_string_equal(trace, "aa");
	loop_timer_cancel(&a.timer);
	assert_int_equal(loop_dispatch(loop, 0), 0);
}

static void test_loop_timer_makes_the_descriptor_readable(void **state)
{
	struct named_timer a = {.timer.fn = trace_timer, .name = 'a'}, b = a;
	struct loop *loop = *state;

	b.name = 'b';
	loop_timer_set(loop, &b.timer, 2 * MSEC);
	loop_timer_set(loop, &a.timer, MSEC);
	assert_false(readable(loop, 0));
	while (strlen(trace) < 2) {
		assert_true(readable(loop, -1));
		assert_true(loop_dispatch(loop, 0) >= 0);
	}
	assert_string_equal(trace, "ab");
	assert_false(readable(loop, 0));

	/* One that was cancelled costs a wake-up without a handler, then nothing. */
	loop_timer_set(loop, &a.timer, MSEC);
	loop_timer_cancel(&a.timer);
	assert_true(readable(loop, -1));
	assert_int_equal(loop_dispatch(loop, -1), 0);
	assert_false(readable(loop, 0));
	loop_timer_set(loop, &a.timer, MSEC);
	assert_true(readable(loop, -1));
	assert_int_equal(loop_dispatch(loop, -1), 1);
}

/* ---- calls */

struct named_call {
	struct loop_call call;
	struct loop *loop;
	char name;
	bool again;
	struct loop_call *victim;
};

static void trace_call(struct loop_call *call)
{
	struct named_call *n = container_of(call, struct named_call, call);

	trace_add(n->name);
	if (n->again)
		loop_post(n->loop, call);
	if (n->victim)
		assert_true(loop_call_cancel(n->loop, n->victim));
}

static void test_loop_calls_run_once_in_order(void **state)
{
	struct named_call a = {{.fn = trace_call}, *state, 'a', false, NULL}, b = a;
	struct loop *loop = *state;

	b.name = 'b';
	assert_false(loop_posted(loop));
	loop_post(loop, &a.call);
	loop_post(loop, &b.call);
	loop_post(loop, &a.call);
	assert_true(loop_posted(loop));
	assert_true(readable(loop, 0));
	assert_int_equal(loop_dispatch(loop, -1), 2);
	assert_string_equal(trace, "ab");
	assert_false(loop_posted(loop));
	assert_false(readable(loop, 0));
	assert_int_equal(loop_dispatch(loop, 0), 0);
}

static void test_loop_call_handlers_change_calls(void **state)
{
	struct named_call a = {{.fn = trace_call}, *state, 'a', true, NULL}, b = a;
	struct loop *loop = *state;

	b.name = 'b';
	a.victim = &b.call;
	loop_post(loop, &a.call);
	loop_post(loop, &b.call);
	assert_int_equal(loop_dispatch(loop, -1), 1);
	assert_true(readable(loop, 0));
	a.victim = NULL;
	a.again = false;
	assert_int_equal(loop_dispatch(loop, -1), 1);
	assert_string_equal(trace, "aa");
	assert_false(loop_call_cancel(loop, &a.call));

	loop_post(loop, &a.call);
	assert_true(loop_call_cancel(loop, &a.call));
	assert_int_equal(loop_dispatch(loop, 0), 0);
}

static void test_loop_free_drops_what_waits(void **state)
{
	struct named_timer b = {.timer.fn = trace_timer, .name = 'b'};
	struct named_call a = {.call.fn = trace_call, .name = 'a'};
	struct loop *loop;

	assert_int_equal(loop_alloc(&loop), 0);
	loop_post(loop, &a.call);
	loop_timer_set(loop, &b.timer, 0);
	loop_free(loop);
	loop_free(NULL);
	assert_false(a.call.posted);
	assert_false(b.timer.armed);
	assert_string_equal(trace, "");
}

static void test_loop_polled_posts_without_a_wakeup(void **state)
{
	struct named_call a = {{.fn = trace_call}, *state, 'a', false, NULL};
	struct loop *loop = *state;

	loop_set_polled(loop, true);
	loop_post(loop, &a.call);
	assert_true(loop_posted(loop));
	assert_false(readable(loop, 0));
	assert_int_equal(loop_dispatch(loop, 0), 1);

	loop_post(loop, &a.call);
	loop_set_polled(loop, false);
	assert_true(readable(loop, 0));
	assert_int_equal(loop_dispatch(loop, -1), 1);
	assert_false(readable(loop, 0));
}

/* Each call carries a plain number: a sanitizer sees whether posting orders memory. */
struct post_thread {
	struct loop *loop;
	struct loop_call call;
	struct loop_call done;
	pthread_t thread;
	uint64_t value;
	uint64_t seen;
	bool ended;
};

#define POSTS 20000

static void see_value(struct loop_call *call)
{
	struct post_thread *p = container_of(call, struct post_thread, call);
	uint64_t value = __atomic_load_n(&p->value, __ATOMIC_RELAXED);

	assert_true(value >= p->seen);
	p->seen = value;
}

static void see_end(struct loop_call *call)
{
	struct post_thread *p = container_of(call, struct post_thread, done);

	p->ended = true;
}

static void *post_many(void *arg)
{
	struct post_thread *p = arg;

	for (uint64_t i = 1; i <= POSTS; i++) {
		__atomic_store_n(&p->value, i, __ATOMIC_RELAXED);
		loop_post(p->loop, &p->call);
		if (i % 7 == 0)
			loop_call_cancel(p->loop, &p->call);
	}
	loop_post(p->loop, &p->call);
	loop_post(p->loop, &p->done);
	return NULL;
}

static void test_loop_calls_from_threads_are_not_lost(void **state)
{
	struct post_thread p[3] = {0};

	for (int i = 0; i < 3; i++) {
		p[i].loop = *state;
		p[i].call.fn = see_value;
		p[i].done.fn = see_end;
		assert_int_equal(pthread_create(&p[i].thread, NULL, post_many, &p[i]), 0);
	}
	while (!p[0].ended || !p[1].ended || !p[2].ended)
		assert_true(loop_dispatch(*state, -1) >= 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(pthread_join(p[i].thread, NULL), 0);
		assert_int_equal(p[i].seen, POSTS);
	}
}

/* ---- all of them */

static void test_loop_runs_calls_then_timers_then_watches(void **state)
{
	struct named_call a = {{.fn = trace_call}, *state, 'a', false, NULL};
	struct named_timer b = {.timer.fn = trace_timer, .name = 'b'};
	struct counted_watch c = {.watch = LOOP_WATCH_INIT(count_watch)};
	struct loop *loop = *state;
	uint64_t now = 1;
	int fd = event_fd(1);

	loop_set_clock(loop, fake_clock, &now);
	assert_int_equal(loop_watch_add(loop, &c.watch, fd, EPOLLIN), 0);
	loop_timer_set(loop, &b.timer, 0);
	loop_post(loop, &a.call);
	assert_int_equal(loop_dispatch(loop, -1), 3);
	assert_string_equal(trace, "ab");
	assert_int_equal(c.runs, 1);
	loop_watch_del(&c.watch);
	close(fd);
}

static void test_loop_nests(void **state)
{
	struct named_call a = {{.fn = trace_call}, NULL, 'a', false, NULL};
	struct counted_watch c = {.watch = LOOP_WATCH_INIT(count_watch)};
	struct loop *inner;

	assert_int_equal(loop_alloc(&inner), 0);
	a.loop = inner;
	assert_int_equal(loop_watch_add(*state, &c.watch, loop_fd(inner), EPOLLIN), 0);
	assert_int_equal(loop_dispatch(*state, 0), 0);
	loop_post(inner, &a.call);
	assert_int_equal(loop_dispatch(*state, -1), 1);
	assert_int_equal(loop_dispatch(inner, 0), 1);
	assert_int_equal(loop_dispatch(*state, 0), 0);
	loop_watch_del(&c.watch);
	loop_free(inner);
}

/* ---- what can fail */

static void test_loop_alloc_survives_no_memory(void **state)
{
	struct loop *loop = NULL;

	fail_alloc_nth(1);
	assert_int_equal(loop_alloc(&loop), -ENOMEM);
	assert_true(fail_alloc_done());
	assert_null(loop);
}

static void test_loop_alloc_survives_failing_calls(void **state)
{
	struct loop *loop = NULL;
	unsigned n;
	int err;

	for (n = 1;; n++) {
		fail_syscall_nth(n);
		err = loop_alloc(&loop);
		if (!fail_syscall_done())
			break;
		assert_true(err == -EMFILE || err == -ENOSPC);
		assert_null(loop);
	}
	assert_int_equal(err, 0);
	assert_int_equal(n, 6);
	loop_free(loop);
}

static void test_loop_watch_add_may_fail(void **state)
{
	struct counted_watch c = {.watch = LOOP_WATCH_INIT(count_watch)};
	int fd = event_fd(1);

	fail_syscall_nth(1);
	assert_int_equal(loop_watch_add(*state, &c.watch, fd, EPOLLIN), -ENOSPC);
	assert_true(fail_syscall_done());
	assert_int_equal(loop_watch_add(*state, &c.watch, fd, EPOLLIN), 0);
	fail_syscall_nth(1);
	assert_int_equal(loop_watch_set(&c.watch, EPOLLOUT), -ENOSPC);
	assert_true(fail_syscall_done());
	loop_watch_del(&c.watch);
	close(fd);
}

#define loop_test(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		loop_test(test_loop_watch_runs_while_ready),
		loop_test(test_loop_watch_refuses_plain_files),
		loop_test(test_loop_watch_del_in_handler_drops_found_events),
		loop_test(test_loop_watch_del_in_own_handler),
		loop_test(test_loop_more_watches_than_a_batch),
		loop_test(test_loop_oneshot_is_rearmed_by_another_thread),
		loop_test(test_loop_timers_fire_in_order),
		loop_test(test_loop_timer_handlers_change_timers),
		loop_test(test_loop_timer_makes_the_descriptor_readable),
		loop_test(test_loop_calls_run_once_in_order),
		loop_test(test_loop_call_handlers_change_calls),
		loop_test(test_loop_free_drops_what_waits),
		loop_test(test_loop_polled_posts_without_a_wakeup),
		loop_test(test_loop_calls_from_threads_are_not_lost),
		loop_test(test_loop_runs_calls_then_timers_then_watches),
		loop_test(test_loop_nests),
		loop_test(test_loop_alloc_survives_no_memory),
		loop_test(test_loop_alloc_survives_failing_calls),
		loop_test(test_loop_watch_add_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
