/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "bus_env.h"
#include "fail_alloc.h"

static int count(struct vdpa_worker *worker, void *arg)
{
	++*(int *)arg;
	return 0;
}

static int workers(struct vdpa_bus *bus)
{
	int num = 0;

	assert_int_equal(vdpa_worker_each(bus, count, &num), 0);
	return num;
}

static void test_bus_worker_first_ones_are_made_on_demand(void **state)
{
	struct vdpa_bus_config cfg = {.workers = 2, .poll_us = 7};
	struct vdpa_worker *a, *b, *c;
	struct fake_info info;
	struct vdpa_bus *bus;

	assert_int_equal(vdpa_bus_alloc(&cfg, &bus, NULL), 0);
	assert_int_equal(workers(bus), 0);
	a = vdpa_worker_pick(bus);
	assert_int_equal(workers(bus), 2);
	b = vdpa_worker_pick(bus);
	assert_ptr_not_equal(a, b);
	vdpa_worker_pick_this(a);
	c = vdpa_worker_pick(bus);
	assert_ptr_equal(b, c);
	fake_info_init(&info);
	vdpa_worker_show(a, &info.info);
	assert_true(fake_info_has(&info, "poll_us=7 queues=2 stats { "));
	assert_string_equal(vdpa_worker_name(b), "worker1");
	vdpa_worker_unpick(a);
	vdpa_worker_unpick(a);
	vdpa_worker_unpick(b);
	vdpa_worker_unpick(c);
	assert_int_equal(vdpa_bus_free(bus), 0);
}

static void test_bus_worker_add_set_del(void **state)
{
	struct vdpa_extack ack = {0};
	struct env *env = *state;
	struct fake_info info;
	struct vdpa_worker *w;

	assert_int_equal(vdpa_worker_add(env->bus, "w0", 0, 5, NULL), 0);
	assert_int_equal(vdpa_worker_add(env->bus, "w0", -1, 5, &ack), -EEXIST);
	assert_string_equal(ack.msg, "there is a worker 'w0' already");
	assert_int_equal(vdpa_worker_add(env->bus, "w 0", -1, 5, NULL), -EINVAL);
	ack.msg[0] = '\0';
	assert_int_equal(vdpa_worker_add(env->bus, "w1", 100000, 5, &ack), -EINVAL);
	assert_non_null(strstr(ack.msg, "'w1'"));
	w = vdpa_worker_find(env->bus, "w0");
	assert_non_null(w);
	assert_null(vdpa_worker_find(env->bus, "w1"));

	vdpa_worker_pick_this(w);
	ack.msg[0] = '\0';
	assert_int_equal(vdpa_worker_del(env->bus, "w0", &ack), -EBUSY);
	assert_string_equal(ack.msg, "worker 'w0' serves 1 queues: move them first");
	vdpa_worker_unpick(w);

	assert_int_equal(vdpa_worker_set(env->bus, "w0", INT_MIN, 9, NULL), 0);
	assert_int_equal(vdpa_worker_set(env->bus, "w0", -1, UINT32_MAX, NULL), 0);
	assert_int_equal(vdpa_worker_set(env->bus, "w0", 100000, UINT32_MAX, NULL), -EINVAL);
	fake_info_init(&info);
	vdpa_worker_show(w, &info.info);
	assert_true(fake_info_has(&info, "poll_us=9 queues=0 "));
	assert_int_equal(vdpa_worker_set(env->bus, "w9", -1, 0, NULL), -ENOENT);
	assert_int_equal(vdpa_worker_del(env->bus, "w9", NULL), -ENOENT);
	assert_int_equal(vdpa_worker_del(env->bus, "w0", NULL), 0);
	assert_int_equal(workers(env->bus), 0);
}

static void test_bus_worker_out_of_memory(void **state)
{
	struct env *env = *state;
	int err;

	for (unsigned int n = 1;; n++) {
		fail_alloc_nth(n);
		err = vdpa_worker_add(env->bus, "w0", -1, 0, NULL);
		if (!fail_alloc_done())
			break;
		assert_int_equal(err, -ENOMEM);
		assert_int_equal(workers(env->bus), 0);
	}
	assert_int_equal(err, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bus_worker_first_ones_are_made_on_demand),
		cmocka_unit_test_setup_teardown(test_bus_worker_add_set_del, env_setup,
						env_teardown),
		cmocka_unit_test_setup_teardown(test_bus_worker_out_of_memory, env_setup,
						env_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
