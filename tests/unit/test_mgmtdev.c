/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "bus/bus.h"
#include "bus_env.h"
#include "fail_alloc.h"
#include "loop/loop.h"

static int setup(void **state)
{
	struct env *env;

	env_setup(state);
	env = *state;
	fake_type_world = &env->world;
	assert_int_equal(vdpa_mgmtdev_type_register(env->bus, &fake_mgmtdev_type, NULL), 0);
	return 0;
}

static int teardown(void **state)
{
	struct env *env = *state;

	assert_int_equal(vdpa_bus_free(env->bus), 0);
	assert_int_equal(env->world.made, 0);
	env->bus = NULL;
	return env_teardown(state);
}

static int make(struct env *env, const char *name, struct vdpa_attrs *attrs,
		struct vdpa_result *res)
{
	*res = (struct vdpa_result){0};
	vdpa_mgmtdev_add(env->bus, "fakes", name, attrs, vdpa_result_done, res);
	return vdpa_bus_wait(env->bus, res);
}

static int del(struct env *env, const char *name, struct vdpa_result *res)
{
	*res = (struct vdpa_result){0};
	vdpa_mgmtdev_del(env->bus, name, vdpa_result_done, res);
	return vdpa_bus_wait(env->bus, res);
}

static int set(struct env *env, const char *name, struct vdpa_attrs *attrs, struct vdpa_result *res)
{
	*res = (struct vdpa_result){0};
	vdpa_mgmtdev_set(env->bus, name, attrs, vdpa_result_done, res);
	return vdpa_bus_wait(env->bus, res);
}

static int add_dev(struct env *env, const char *name, const char *mgmtdev, struct vdpa_result *res)
{
	*res = (struct vdpa_result){0};
	vdpa_dev_add(env->bus, name, mgmtdev, NULL, vdpa_result_done, res);
	return vdpa_bus_wait(env->bus, res);
}

struct look {
	const char *name;
	struct vdpa_mgmtdev *found;
};

static int look(struct vdpa_mgmtdev *mdev, void *arg)
{
	struct look *l = arg;

	if (!strcmp(mdev->name, l->name))
		l->found = mdev;
	return 0;
}

static struct vdpa_mgmtdev *find(struct env *env, const char *name)
{
	struct look l = {.name = name};

	vdpa_mgmtdev_each(env->bus, look, &l);
	return l.found;
}

/* ---- life */

static void test_mgmtdev_life(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	assert_int_equal(make(env, "sw0", NULL, &res), 0);
	assert_non_null(find(env, "sw0"));
	assert_ptr_equal(vdpa_mgmtdev_type_of(env->bus, find(env, "sw0")), &fake_mgmtdev_type);
	assert_null(vdpa_mgmtdev_type_of(env->bus, find(env, "fake")));
	assert_null(vdpa_mgmtdev_add_attrs(env->bus, find(env, "fake")));
	assert_int_equal(add_dev(env, "net0", "sw0", &res), 0);
	assert_ptr_equal(vdpa_dev_find(env->bus, "net0")->mdev, find(env, "sw0"));
	assert_int_equal(env_del(env, "net0", 0, &res), 0);
	assert_int_equal(del(env, "sw0", &res), 0);
	assert_null(find(env, "sw0"));
	assert_int_equal(env->world.made, 0);
	assert_true(FAKE_SAW(&env->world, "type.add", "dev_add", "free", "type.free"));
	/* The name is free again. */
	assert_int_equal(make(env, "sw0", NULL, &res), 0);
	env_add(env, "last", &res);
	env_settle(env, "last");
	assert_string_equal(env->events, "sw0:mgmtdev-add=fakes net0:dev-add net0:dev-del "
					 "sw0:mgmtdev-del sw0:mgmtdev-add=fakes last:dev-add ");
}

static void test_mgmtdev_refusals_say_why(void **state)
{
	struct env *env = *state;
	struct vdpa_result res = {0};

	vdpa_mgmtdev_add(env->bus, "switch", "sw0", NULL, vdpa_result_done, &res);
	assert_false(res.done);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), -ENOENT);
	assert_string_equal(res.ack.msg,
			    "no type 'switch' of management devices: there are 'fakes'");
	assert_int_equal(make(env, "sw 0", NULL, &res), -EINVAL);
	assert_string_equal(res.ack.msg, "'sw 0' is no name for a management device");
	assert_int_equal(make(env, "fake", NULL, &res), -EEXIST);
	assert_int_equal(make(env, "sw0", env_attrs("port", "1"), &res), -EINVAL);
	assert_non_null(strstr(res.ack.msg, "did you mean 'ports'"));
	assert_int_equal(make(env, "sw0", env_attrs("ports", "17"), &res), -ERANGE);
	assert_null(find(env, "sw0"));
	assert_int_equal(del(env, "sw0", &res), -ENOENT);
	assert_string_equal(res.ack.msg, "no management device 'sw0': there are 'fake'");
	assert_int_equal(del(env, "fake", &res), -EPERM);
	assert_string_equal(res.ack.msg, "'fake' is built in, and stays as it is: only what "
					 "'mgmtdev add' made can be set and removed");
	assert_int_equal(set(env, "fake", env_attrs("ports", "1"), &res), -EPERM);
	assert_int_equal(make(env, "sw0", NULL, &res), 0);
	assert_int_equal(vdpa_mgmtdev_unregister(env->bus, find(env, "sw0"), NULL), -ENOENT);
	assert_int_equal(vdpa_mgmtdev_register(env->bus, find(env, "sw0"), NULL), -EEXIST);
}

static void test_mgmtdev_failed_add_leaves_nothing(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	env->world.fail_err = -EIO;
	env->world.fail = "type.add";
	assert_int_equal(make(env, "sw0", NULL, &res), -EIO);
	assert_string_equal(res.ack.msg, "no register answers");
	assert_null(find(env, "sw0"));
	env->world.fail = NULL;
	assert_int_equal(make(env, "sw0", NULL, &res), 0);
}

static void test_mgmtdev_del_needs_an_empty_one(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	assert_int_equal(make(env, "sw0", NULL, &res), 0);
	assert_int_equal(add_dev(env, "net0", "sw0", &res), 0);
	assert_int_equal(del(env, "sw0", &res), -EBUSY);
	assert_string_equal(res.ack.msg, "'sw0' has 1 device: remove it first");
	assert_int_equal(add_dev(env, "net1", "sw0", &res), 0);
	assert_int_equal(del(env, "sw0", &res), -EBUSY);
	assert_string_equal(res.ack.msg, "'sw0' has 2 devices: remove them first");
	assert_non_null(find(env, "sw0"));
	assert_int_equal(env_del(env, "net0", 0, &res), 0);
	assert_int_equal(env_del(env, "net1", 0, &res), 0);
	assert_int_equal(del(env, "sw0", &res), 0);
	assert_int_equal(add_dev(env, "net0", "sw0", &res), -ENOENT);
}

/* A device that is being made counts, too. */
static void test_mgmtdev_del_while_a_device_is_made(void **state)
{
	struct vdpa_result res, made = {0};
	struct env *env = *state;

	assert_int_equal(make(env, "sw0", NULL, &res), 0);
	env->world.hang = "dev_add";
	vdpa_dev_add(env->bus, "net0", "sw0", NULL, vdpa_result_done, &made);
	fake_gate_wait_entered(&env->world.gate);
	assert_int_equal(del(env, "sw0", &res), -EBUSY);
	fake_gate_open(&env->world.gate);
	assert_int_equal(vdpa_bus_wait(env->bus, &made), 0);
}

/* Verbs on one take turns: each sees what the one before has left. */
static void test_mgmtdev_verbs_take_turns(void **state)
{
	struct vdpa_result res[5] = {0};
	struct env *env = *state;

	vdpa_mgmtdev_add(env->bus, "fakes", "sw0", NULL, vdpa_result_done, &res[0]);
	vdpa_mgmtdev_set(env->bus, "sw0", env_attrs("ports", "7"), vdpa_result_done, &res[1]);
	vdpa_mgmtdev_del(env->bus, "sw0", vdpa_result_done, &res[2]);
	vdpa_mgmtdev_del(env->bus, "sw0", vdpa_result_done, &res[3]);
	/* Not yet: it is still to be made. */
	vdpa_dev_add(env->bus, "net0", "sw0", NULL, vdpa_result_done, &res[4]);
	for (int i = 0; i < 5; i++)
		vdpa_bus_wait(env->bus, &res[i]);
	assert_int_equal(res[0].err, 0);
	assert_int_equal(res[1].err, 0);
	assert_int_equal(res[2].err, 0);
	assert_int_equal(res[3].err, -ENODEV);
	assert_string_equal(res[3].ack.msg, "'sw0' was removed");
	assert_int_equal(res[4].err, -ENOENT);
	assert_true(FAKE_SAW(&env->world, "type.add", "type.set", "type.free"));
}

/* ---- what hangs */

static void test_mgmtdev_add_that_comes_late_is_undone(void **state)
{
	struct vdpa_result res, made = {0}, waits = {0};
	struct env *env = *state;

	env->world.hang = "type.add";
	vdpa_mgmtdev_add(env->bus, "fakes", "sw0", NULL, vdpa_result_done, &made);
	fake_gate_wait_entered(&env->world.gate);
	env_pass_time(env, ENV_TIMEOUT_MS - 1);
	assert_false(made.done);
	vdpa_mgmtdev_del(env->bus, "sw0", vdpa_result_done, &waits);
	env_pass_time(env, 1);
	assert_int_equal(made.err, -ETIMEDOUT);
	assert_string_equal(made.ack.msg, "'sw0' is still busy with 'add' after 10 s");
	assert_null(find(env, "sw0"));
	assert_int_equal(make(env, "sw0", NULL, &res), -EEXIST);
	/* Nobody else is held up. */
	assert_int_equal(make(env, "sw1", NULL, &res), 0);
	fake_gate_open(&env->world.gate);
	assert_int_equal(vdpa_bus_wait(env->bus, &waits), -ENODEV);
	while (env->world.made != 1)
		assert_int_equal(vdpa_bus_dispatch(env->bus, -1), 0);
	assert_null(find(env, "sw0"));
	assert_int_equal(make(env, "sw0", NULL, &res), 0);
	env_add(env, "last", &res);
	env_settle(env, "last");
	assert_string_equal(env->events, "sw0:stuck=add sw1:mgmtdev-add=fakes "
					 "sw0:mgmtdev-add=fakes last:dev-add ");
}

static void test_mgmtdev_set_that_hangs(void **state)
{
	struct vdpa_result res, late = {0}, waits = {0};
	struct env *env = *state;

	assert_int_equal(make(env, "sw0", NULL, &res), 0);
	env->world.hang = "type.set";
	vdpa_mgmtdev_set(env->bus, "sw0", env_attrs("ports", "8"), vdpa_result_done, &late);
	fake_gate_wait_entered(&env->world.gate);
	/* Its devices have lanes of their own. */
	assert_int_equal(add_dev(env, "net0", "sw0", &res), 0);
	assert_int_equal(env_del(env, "net0", 0, &res), 0);
	vdpa_mgmtdev_del(env->bus, "sw0", vdpa_result_done, &waits);
	env_pass_time(env, ENV_TIMEOUT_MS);
	assert_int_equal(late.err, -ETIMEDOUT);
	assert_int_equal(waits.err, -ETIMEDOUT);
	/* What has not begun does not happen; what has is booked. */
	fake_gate_open(&env->world.gate);
	assert_int_equal(set(env, "sw0", env_attrs("ports", "9"), &res), 0);
	assert_non_null(find(env, "sw0"));
	assert_non_null(strstr(env->log, "sw0: 'set' has come back after its deadline"));
}

static void test_mgmtdev_free_that_hangs(void **state)
{
	struct vdpa_result res, gone = {0};
	struct env *env = *state;

	assert_int_equal(make(env, "sw0", NULL, &res), 0);
	env->world.hang = "type.free";
	vdpa_mgmtdev_del(env->bus, "sw0", vdpa_result_done, &gone);
	while (find(env, "sw0"))
		assert_int_equal(vdpa_bus_dispatch(env->bus, -1), 0);
	/* The control thread does not wait, and the name is free. */
	assert_int_equal(make(env, "sw0", NULL, &res), 0);
	fake_gate_wait_entered(&env->world.gate);
	assert_false(gone.done);
	env_pass_time(env, ENV_TIMEOUT_MS);
	assert_true(gone.done);
	assert_int_equal(gone.err, 0);
	assert_non_null(strstr(env->log, "'sw0' is removed, but something in it still hangs"));
	fake_gate_open(&env->world.gate);
	while (env->world.made != 1)
		assert_int_equal(vdpa_bus_dispatch(env->bus, -1), 0);
}

/* ---- the end of the bus */

static void test_mgmtdev_goes_after_its_devices(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	assert_int_equal(make(env, "sw0", NULL, &res), 0);
	assert_int_equal(add_dev(env, "net0", "sw0", &res), 0);
	fake_forget(&env->world);
	assert_int_equal(vdpa_bus_free(env->bus), 0);
	assert_true(FAKE_SAW(&env->world, "free", "type.free"));
	env->bus = NULL;
}

static uint64_t no_time_passes(void *arg)
{
	return 0;
}

/* A device is left behind with its bus, and its management device with it. */
static void left_behind(const char *what)
{
	struct vdpa_bus_config cfg = {.timeout_ms = 20};
	struct vdpa_result res = {0};
	struct fake_world world;
	struct vdpa_bus *bus;

	fake_world_init(&world);
	fake_type_world = &world;
	assert_int_equal(vdpa_bus_alloc(&cfg, &bus, NULL), 0);
	/* Until vdpa_bus_free(), which goes by the real clock. */
	loop_set_clock(bus_loop(bus), no_time_passes, NULL);
	assert_int_equal(vdpa_mgmtdev_type_register(bus, &fake_mgmtdev_type, NULL), 0);
	world.hang = what;
	vdpa_mgmtdev_add(bus, "fakes", "sw0", NULL, vdpa_result_done, &res);
	if (strcmp(what, "type.add") != 0)
		assert_int_equal(vdpa_bus_wait(bus, &res), 0);
	res = (struct vdpa_result){0};
	if (!strcmp(what, "dev_add"))
		vdpa_dev_add(bus, "net0", "sw0", NULL, vdpa_result_done, &res);
	if (strcmp(what, "type.free") != 0)
		fake_gate_wait_entered(&world.gate);
	assert_int_equal(vdpa_bus_free(bus), -ETIMEDOUT);
	fake_gate_open(&world.gate);
	fake_world_wait_made_freed(&world);
	assert_int_equal(world.devices, 0);
	fake_world_release(&world);
}

static void test_mgmtdev_bus_free_while_making_hangs(void **state)
{
	left_behind("type.add");
}

static void test_mgmtdev_bus_free_while_a_device_hangs(void **state)
{
	left_behind("dev_add");
}

static void test_mgmtdev_bus_free_while_freeing_hangs(void **state)
{
	left_behind("type.free");
}

/* ---- attributes, and what is shown */

static void test_mgmtdev_set(void **state)
{
	struct vdpa_attrs *attrs = env_attrs("ports", "2");
	struct env *env = *state;
	const struct vdpa_attrs *now;
	struct vdpa_result res;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), passed = fd;

	assert_int_equal(vdpa_attrs_add(attrs, "file", "/dev/null", &passed, NULL), 0);
	assert_int_equal(make(env, "sw0", attrs, &res), 0);
	/* Nobody took the descriptor: it does not stay open. */
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(set(env, "sw0", NULL, &res), -EINVAL);
	assert_string_equal(res.ack.msg, "nothing to set: a key and a value are needed");
	assert_int_equal(set(env, "sw0", env_attrs("file", "/x"), &res), -EINVAL);
	assert_string_equal(res.ack.msg, "'file' cannot be changed later; what can: 'ports'");
	env->world.fail_err = -EBUSY;
	env->world.fail = "type.set";
	assert_int_equal(set(env, "sw0", env_attrs("ports", "5"), &res), -EBUSY);
	assert_string_equal(res.ack.msg, "the ports are welded on");
	now = vdpa_mgmtdev_add_attrs(env->bus, find(env, "sw0"));
	assert_string_equal(vdpa_attrs_str(now, "ports", ""), "2");
	env->world.fail = NULL;
	assert_int_equal(set(env, "sw0", env_attrs("ports", "6"), &res), 0);
	now = vdpa_mgmtdev_add_attrs(env->bus, find(env, "sw0"));
	assert_string_equal(vdpa_attrs_str(now, "ports", ""), "6");
	assert_string_equal(vdpa_attrs_str(now, "file", ""), "/dev/null");
}

static int count_type(const struct vdpa_mgmtdev_type *type, void *arg)
{
	struct fake_info info;

	fake_info_init(&info);
	vdpa_mgmtdev_type_show(type, &info.info);
	assert_true(fake_info_has(&info, "help=management devices for tests attributes [ "));
	assert_true(fake_info_has(&info, "name=ports"));
	assert_false(fake_info_has(&info, "name=features"));
	++*(int *)arg;
	return 0;
}

static void test_mgmtdev_show(void **state)
{
	struct env *env = *state;
	struct fake_info info;
	struct vdpa_result res;
	int types = 0;

	assert_int_equal(make(env, "sw0", env_attrs("ports", "3"), &res), 0);
	fake_info_init(&info);
	vdpa_mgmtdev_show(env->bus, find(env, "sw0"), &info.info);
	assert_true(fake_info_has(&info, "type=fakes supported_classes [ blk }"));
	assert_true(fake_info_has(&info, "device { ports=3 }"));
	assert_true(fake_info_has(&info, "name=size"));
	fake_info_init(&info);
	vdpa_mgmtdev_show(env->bus, find(env, "fake"), &info.info);
	assert_false(fake_info_has(&info, "type=fakes"));
	assert_false(fake_info_has(&info, "device {"));
	assert_int_equal(vdpa_mgmtdev_type_each(env->bus, count_type, &types), 0);
	assert_int_equal(types, 1);
}

/* ---- types */

static void test_mgmtdev_types_have_to_be_whole(void **state)
{
	struct vdpa_mgmtdev_type type = fake_mgmtdev_type;
	struct vdpa_extack ack = {0};
	struct env *env = *state;

	assert_int_equal(vdpa_mgmtdev_type_register(env->bus, &type, &ack), -EEXIST);
	assert_string_equal(ack.msg, "there is a type 'fakes' already");
	type.name = "x y";
	assert_int_equal(vdpa_mgmtdev_type_register(env->bus, &type, NULL), -EINVAL);
	type.name = "other";
	type.add = NULL;
	ack = (struct vdpa_extack){0};
	assert_int_equal(vdpa_mgmtdev_type_register(env->bus, &type, &ack), -EINVAL);
	assert_string_equal(ack.msg, "type 'other' has no 'add'");
	type.add = fake_mgmtdev_type.add;
	type.size = 8;
	assert_int_equal(vdpa_mgmtdev_type_register(env->bus, &type, NULL), -EINVAL);
}

static int toothless_add(struct vdpa_bus *bus, const char *name, struct vdpa_attrs *attrs,
			 struct vdpa_mgmtdev **ret, struct vdpa_extack *ack)
{
	static struct vdpa_mgmtdev mdev;

	*ret = &mdev;
	return 0;
}

static void test_mgmtdev_ops_are_checked(void **state)
{
	static const struct vdpa_mgmtdev_type type = {
		.size = sizeof(type), .name = "toothless", .add = toothless_add};
	struct env *env = *state;
	struct vdpa_result res = {0};

	assert_int_equal(vdpa_mgmtdev_type_register(env->bus, &type, NULL), 0);
	vdpa_mgmtdev_add(env->bus, "toothless", "t0", NULL, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), -EINVAL);
	assert_string_equal(res.ack.msg, "management device 't0' has no 'dev_add'");
	assert_null(find(env, "t0"));
}

/* ---- out of memory: done() is called once whatever fails, on the control thread */

static void test_mgmtdev_out_of_memory(void **state)
{
	struct vdpa_mgmtdev_type other = fake_mgmtdev_type;
	struct env *env = *state;
	struct vdpa_result res;
	bool failed = true;

	other.name = "other";
	fail_alloc_nth(1);
	assert_int_equal(vdpa_mgmtdev_type_register(env->bus, &other, NULL), -ENOMEM);
	assert_true(fail_alloc_done());
	for (unsigned int n = 1; failed; n++) {
		res = (struct vdpa_result){0};
		fail_alloc_nth(n);
		vdpa_mgmtdev_add(env->bus, "fakes", "sw0", NULL, vdpa_result_done, &res);
		failed = fail_alloc_done();
		vdpa_bus_wait(env->bus, &res);
		assert_true(res.err == 0 || res.err == -ENOMEM);
		if (!res.err)
			assert_int_equal(del(env, "sw0", &res), 0);
	}
	assert_int_equal(make(env, "sw0", NULL, &res), 0);
	failed = true;
	for (unsigned int n = 1; failed; n++) {
		struct vdpa_attrs *ports = env_attrs("ports", "3");

		res = (struct vdpa_result){0};
		fail_alloc_nth(n);
		vdpa_mgmtdev_set(env->bus, "sw0", ports, vdpa_result_done, &res);
		failed = fail_alloc_done();
		vdpa_bus_wait(env->bus, &res);
		assert_true(res.err == 0 || res.err == -ENOMEM);
	}
	failed = true;
	for (unsigned int n = 1; failed; n++) {
		res = (struct vdpa_result){0};
		fail_alloc_nth(n);
		vdpa_mgmtdev_del(env->bus, "sw0", vdpa_result_done, &res);
		failed = fail_alloc_done();
		/* Nothing that the end needs is allocated late. */
		assert_int_equal(vdpa_bus_wait(env->bus, &res), 0);
		assert_int_equal(make(env, "sw0", NULL, &res), 0);
	}
}

#define MGMTDEV_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MGMTDEV_TEST(test_mgmtdev_life),
		MGMTDEV_TEST(test_mgmtdev_refusals_say_why),
		MGMTDEV_TEST(test_mgmtdev_failed_add_leaves_nothing),
		MGMTDEV_TEST(test_mgmtdev_del_needs_an_empty_one),
		MGMTDEV_TEST(test_mgmtdev_del_while_a_device_is_made),
		MGMTDEV_TEST(test_mgmtdev_verbs_take_turns),
		MGMTDEV_TEST(test_mgmtdev_add_that_comes_late_is_undone),
		MGMTDEV_TEST(test_mgmtdev_set_that_hangs),
		MGMTDEV_TEST(test_mgmtdev_free_that_hangs),
		MGMTDEV_TEST(test_mgmtdev_goes_after_its_devices),
		cmocka_unit_test(test_mgmtdev_bus_free_while_making_hangs),
		cmocka_unit_test(test_mgmtdev_bus_free_while_a_device_hangs),
		cmocka_unit_test(test_mgmtdev_bus_free_while_freeing_hangs),
		MGMTDEV_TEST(test_mgmtdev_set),
		MGMTDEV_TEST(test_mgmtdev_show),
		MGMTDEV_TEST(test_mgmtdev_types_have_to_be_whole),
		MGMTDEV_TEST(test_mgmtdev_ops_are_checked),
		MGMTDEV_TEST(test_mgmtdev_out_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
