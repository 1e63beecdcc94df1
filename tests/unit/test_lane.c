/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/defs.h"
#include "fail_alloc.h"
#include "fail_syscall.h"
#include "loop/lane.h"

#define LONG_MS 60000

/* A job that says when it has begun, and may be held. */
struct test_job {
	struct lane_job job;
	struct lane *lane;
	sem_t *begun;
	sem_t *hold; /* NULL: ends at once */
	sem_t *ended;
	int *order; /* next place */
	int place;
	bool current;
	bool put; /* the job drops the lane */
	char name[16];
	sigset_t mask;
	pid_t tid;
};

static void wait_for(sem_t *sem)
{
	while (sem_wait(sem))
		assert_int_equal(errno, EINTR);
}

static void run_job(struct lane_job *job)
{
	struct test_job *t = container_of(job, struct test_job, job);

	t->tid = gettid();
	t->current = lane_current(t->lane);
	prctl(PR_GET_NAME, t->name);
	pthread_sigmask(SIG_BLOCK, NULL, &t->mask);
	if (t->put)
		lane_put(t->lane);
	if (t->order)
		t->place = (*t->order)++;
	if (t->begun)
		sem_post(t->begun);
	if (t->hold)
		wait_for(t->hold);
	if (t->ended)
		sem_post(t->ended);
}

static struct lane_pool *pool_alloc(void)
{
	struct lane_pool *pool;

	assert_int_equal(lane_pool_alloc(2, 5, &pool), 0);
	return pool;
}

/* Only the kernel knows when a thread is gone. */
static int num_alive(const struct test_job *jobs, int num)
{
	int alive = 0;

	for (int i = 0; i < num; i++)
		alive += !tgkill(getpid(), jobs[i].tid, 0);
	return alive;
}

static void test_lane_runs_jobs_in_order(void **state)
{
	struct lane_pool *pool = pool_alloc();
	struct lane *lane = lane_alloc(pool, "disk0");
	struct test_job jobs[100] = {0};
	sem_t ended;
	int order = 0;

	sem_init(&ended, 0, 0);
	for (int i = 0; i < 100; i++) {
		jobs[i].job.fn = run_job;
		jobs[i].lane = lane;
		jobs[i].ended = &ended;
		jobs[i].order = &order;
		lane_post(lane, &jobs[i].job);
	}
	for (int i = 0; i < 100; i++)
		wait_for(&ended);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(jobs[i].place, i);
		assert_true(jobs[i].current);
		assert_string_equal(jobs[i].name, "disk0");
	}
	assert_false(lane_current(lane));
	lane_put(lane);
	lane_put(NULL);
	assert_int_equal(lane_pool_free(pool, LONG_MS), 0);
	sem_destroy(&ended);
}

static void test_lane_blocks_signals_but_faults(void **state)
{
	struct lane_pool *pool = pool_alloc();
	struct lane *lane = lane_alloc(pool, "a name that is too long");
	struct test_job job = {.job.fn = run_job, .lane = lane};

	lane_post(lane, &job.job);
	lane_put(lane);
	assert_int_equal(lane_pool_free(pool, LONG_MS), 0);
	assert_string_equal(job.name, "a name that is ");
	assert_true(sigismember(&job.mask, SIGTERM));
	assert_true(sigismember(&job.mask, SIGCHLD));
	assert_false(sigismember(&job.mask, SIGBUS));
	assert_false(sigismember(&job.mask, SIGSEGV));
}

/* All lanes but one hang, and more of them than threads are kept. */
static void test_lane_that_hangs_holds_nobody_else(void **state)
{
	struct lane_pool *pool = pool_alloc();
	struct lane *lanes[20];
	struct test_job jobs[20] = {0}, second = {.job.fn = run_job};
	sem_t begun, hold, ended;

	sem_init(&begun, 0, 0);
	sem_init(&hold, 0, 0);
	sem_init(&ended, 0, 0);
	for (int i = 0; i < 20; i++) {
		lanes[i] = lane_alloc(pool, "hang");
		jobs[i] = (struct test_job){
			.job.fn = run_job, .lane = lanes[i], .begun = &begun, .hold = &hold};
		lane_post(lanes[i], &jobs[i].job);
	}
	for (int i = 0; i < 20; i++)
		wait_for(&begun);
	second.lane = lanes[0];
	lane_post(lanes[0], &second.job);
	assert_int_equal(lane_busy(lanes[0]), 2);
	assert_int_equal(lane_busy(lanes[1]), 1);

	jobs[1].ended = &ended;
	for (int i = 0; i < 20; i++)
		sem_post(&hold);
	for (int i = 0; i < 20; i++)
		lane_put(lanes[i]);
	assert_int_equal(lane_pool_free(pool, LONG_MS), 0);
	assert_true(second.current);
	sem_destroy(&begun);
	sem_destroy(&hold);
	sem_destroy(&ended);
}

static void test_lane_put_waits_for_its_jobs(void **state)
{
	struct lane_pool *pool = pool_alloc();
	struct lane *lane = lane_alloc(pool, "disk0"), *other = lane_alloc(pool, "disk1");
	struct test_job first = {.job.fn = run_job, .lane = lane}, last = first;
	struct test_job dropper = {.job.fn = run_job, .lane = other, .put = true};
	sem_t hold;

	sem_init(&hold, 0, 0);
	first.hold = &hold;
	lane_post(lane, &first.job);
	lane_post(lane, &last.job);
	lane_put(lane);
	lane_post(other, &dropper.job);
	sem_post(&hold);
	assert_int_equal(lane_pool_free(pool, LONG_MS), 0);
	assert_true(last.current);
	assert_true(dropper.current);
	sem_destroy(&hold);
}

/* A job that posts the next one and frees itself. */
struct chain_job {
	struct lane_job job;
	struct lane *lane;
	int left;
	sem_t *ended;
};

static void run_chain(struct lane_job *job)
{
	struct chain_job *c = container_of(job, struct chain_job, job), *next;

	if (c->left) {
		next = malloc(sizeof(*next));
		*next = *c;
		next->left--;
		lane_post(c->lane, &next->job);
	} else {
		sem_post(c->ended);
	}
	free(c);
}

static void test_lane_job_may_free_itself_and_post(void **state)
{
	struct lane_pool *pool = pool_alloc();
	struct lane *lanes[2] = {lane_alloc(pool, "a"), lane_alloc(pool, "b")};
	struct chain_job *c;
	sem_t ended;

	sem_init(&ended, 0, 0);
	for (int i = 0; i < 2; i++) {
		c = malloc(sizeof(*c));
		*c = (struct chain_job){{.fn = run_chain}, lanes[i], 1000, &ended};
		lane_post(lanes[i], &c->job);
	}
	wait_for(&ended);
	wait_for(&ended);
	lane_put(lanes[0]);
	lane_put(lanes[1]);
	assert_int_equal(lane_pool_free(pool, LONG_MS), 0);
	sem_destroy(&ended);
}

static void test_lane_pool_free_leaves_what_hangs(void **state)
{
	struct lane_pool *pool = pool_alloc();
	struct lane *lanes[3];
	/* Nobody joins the threads, so what they use outlives this function. */
	static struct test_job jobs[3], after = {.job.fn = run_job};
	static sem_t begun, hold, ended;

	sem_init(&begun, 0, 0);
	sem_init(&hold, 0, 0);
	sem_init(&ended, 0, 0);
	for (int i = 0; i < 3; i++) {
		lanes[i] = lane_alloc(pool, "hang");
		jobs[i] = (struct test_job){
			.job.fn = run_job, .lane = lanes[i], .begun = &begun, .hold = &hold};
		lane_post(lanes[i], &jobs[i].job);
	}
	after.lane = lanes[0];
	after.ended = &ended;
	lane_post(lanes[0], &after.job);
	for (int i = 0; i < 3; i++) {
		wait_for(&begun);
		lane_put(lanes[i]);
	}
	assert_int_equal(lane_pool_free(pool, 1), 3);

	/* They come back: the job that waited behind one of them still runs. */
	for (int i = 0; i < 3; i++)
		sem_post(&hold);
	wait_for(&ended);
	assert_true(after.current);
	while (num_alive(jobs, 3))
		sched_yield();
}

static void test_lane_idle_threads_end(void **state)
{
	struct lane_pool *pool;
	struct lane *lanes[10];
	struct test_job jobs[10] = {0}, last = {.job.fn = run_job};
	sem_t begun, hold;

	assert_int_equal(lane_pool_alloc(4, 1, &pool), 0);
	sem_init(&begun, 0, 0);
	sem_init(&hold, 0, 0);
	for (int i = 0; i < 10; i++) {
		lanes[i] = lane_alloc(pool, "burst");
		jobs[i] = (struct test_job){
			.job.fn = run_job, .lane = lanes[i], .begun = &begun, .hold = &hold};
		lane_post(lanes[i], &jobs[i].job);
	}
	for (int i = 0; i < 10; i++)
		wait_for(&begun);
	assert_int_equal(num_alive(jobs, 10), 10);
	for (int i = 0; i < 10; i++)
		sem_post(&hold);
	while (num_alive(jobs, 10) > 1)
		sched_yield();

	/* One stays, for the time when none can be made, and does the next job. */
	last.lane = lanes[0];
	last.begun = &begun;
	lane_post(lanes[0], &last.job);
	wait_for(&begun);
	assert_int_equal(num_alive(jobs, 10), 1);
	assert_int_equal(num_alive(&last, 1), 1);
	for (int i = 0; i < 10; i++)
		lane_put(lanes[i]);
	assert_int_equal(lane_pool_free(pool, LONG_MS), 0);
	sem_destroy(&begun);
	sem_destroy(&hold);
}

/* a holds the only idle thread when b gets its job and no other can be made. */
static void post_without_threads(bool memory)
{
	struct lane_pool *pool = pool_alloc();
	struct lane *a = lane_alloc(pool, "a"), *b = lane_alloc(pool, "b");
	struct test_job first = {.job.fn = run_job, .lane = a}, second = {.job.fn = run_job};
	sem_t begun, hold;

	sem_init(&begun, 0, 0);
	sem_init(&hold, 0, 0);
	first.begun = second.begun = &begun;
	first.hold = &hold;
	second.lane = b;
	lane_post(a, &first.job);
	wait_for(&begun);
	fail_syscall_nth(!memory);
	fail_alloc_nth(memory);
	lane_post(b, &second.job);
	assert_true(fail_syscall_done() || fail_alloc_done());
	assert_int_equal(lane_busy(b), 1);
	sem_post(&hold);
	wait_for(&begun);
	assert_true(second.current);
	assert_int_equal(second.tid, first.tid);
	lane_put(a);
	lane_put(b);
	assert_int_equal(lane_pool_free(pool, LONG_MS), 0);
	sem_destroy(&begun);
	sem_destroy(&hold);
}

/* Lanes that several threads post to; what a lane's jobs touch is no atomic, as only one runs at a
 * time. */
#define POSTERS    3
#define SHARED     8
#define POSTS_EACH 2000

struct shared_lane {
	struct lane *lane;
	unsigned long runs;
	unsigned int last[POSTERS]; /* of each poster's jobs */
	bool disorder;
};

struct shared_job {
	struct lane_job job;
	struct shared_lane *to;
	unsigned int poster, num;
};

struct poster {
	struct shared_lane *lanes;
	struct shared_job *jobs;
	unsigned int id;
	pthread_t thread;
};

static void run_shared(struct lane_job *job)
{
	struct shared_job *j = container_of(job, struct shared_job, job);
	struct shared_lane *to = j->to;

	to->runs++;
	to->disorder |= j->num <= to->last[j->poster];
	to->last[j->poster] = j->num;
}

static void *post_to_all(void *arg)
{
	struct poster *p = arg;

	for (unsigned int i = 0; i < POSTS_EACH; i++) {
		p->jobs[i] = (struct shared_job){
			{.fn = run_shared}, &p->lanes[i * (p->id + 1) % SHARED], p->id, i + 1};
		lane_post(p->jobs[i].to->lane, &p->jobs[i].job);
	}
	return NULL;
}

static void test_lane_is_shared_by_threads(void **state)
{
	struct lane_pool *pool = pool_alloc();
	struct shared_lane lanes[SHARED] = {0};
	struct poster posters[POSTERS];
	unsigned long runs = 0;

	for (int i = 0; i < SHARED; i++)
		lanes[i].lane = lane_alloc(pool, "shared");
	for (unsigned int i = 0; i < POSTERS; i++) {
		posters[i] =
			(struct poster){lanes, calloc(POSTS_EACH, sizeof(struct shared_job)), i, 0};
		assert_int_equal(pthread_create(&posters[i].thread, NULL, post_to_all, &posters[i]),
				 0);
	}
	for (int i = 0; i < POSTERS; i++)
		pthread_join(posters[i].thread, NULL);
	for (int i = 0; i < SHARED; i++)
		lane_put(lanes[i].lane);
	assert_int_equal(lane_pool_free(pool, LONG_MS), 0);
	for (int i = 0; i < SHARED; i++) {
		assert_false(lanes[i].disorder);
		runs += lanes[i].runs;
	}
	assert_int_equal(runs, POSTERS * POSTS_EACH);
	for (int i = 0; i < POSTERS; i++)
		free(posters[i].jobs);
}

static void test_lane_without_a_new_thread_waits_for_the_others(void **state)
{
	post_without_threads(false);
	post_without_threads(true);
}

static void test_lane_alloc_survives_failures(void **state)
{
	struct lane_pool *pool = NULL;
	struct lane *lane;
	int err;

	for (unsigned int n = 1;; n++) {
		fail_alloc_nth(n);
		err = lane_pool_alloc(1, 1, &pool);
		if (!fail_alloc_done())
			break;
		assert_int_equal(err, -ENOMEM);
		assert_null(pool);
	}
	assert_int_equal(err, 0);
	assert_int_equal(lane_pool_free(pool, LONG_MS), 0);

	pool = NULL;
	fail_syscall_nth(1);
	assert_int_equal(lane_pool_alloc(1, 1, &pool), -EAGAIN);
	assert_true(fail_syscall_done());
	assert_null(pool);

	pool = pool_alloc();
	fail_alloc_nth(1);
	lane = lane_alloc(pool, "disk0");
	assert_true(fail_alloc_done());
	assert_null(lane);
	assert_int_equal(lane_pool_free(pool, LONG_MS), 0);
	assert_int_equal(lane_pool_free(NULL, 0), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lane_runs_jobs_in_order),
		cmocka_unit_test(test_lane_blocks_signals_but_faults),
		cmocka_unit_test(test_lane_that_hangs_holds_nobody_else),
		cmocka_unit_test(test_lane_put_waits_for_its_jobs),
		cmocka_unit_test(test_lane_job_may_free_itself_and_post),
		cmocka_unit_test(test_lane_pool_free_leaves_what_hangs),
		cmocka_unit_test(test_lane_idle_threads_end),
		cmocka_unit_test(test_lane_is_shared_by_threads),
		cmocka_unit_test(test_lane_without_a_new_thread_waits_for_the_others),
		cmocka_unit_test(test_lane_alloc_survives_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
