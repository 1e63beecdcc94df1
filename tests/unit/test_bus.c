/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "bus_env.h"
#include "fail_alloc.h"

/* ---- the life of a device */

static void test_bus_life_of_a_device(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_non_null(vdpa_dev_find(env->bus, "disk0"));
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), 0);
	assert_ptr_equal(vdpa_device_driver(vdpa_dev_find(env->bus, "disk0")), &fake_driver_one);
	assert_int_equal(env_unbind(env, "disk0", 0, &res), 0);
	assert_null(vdpa_device_driver(vdpa_dev_find(env->bus, "disk0")));
	env_settle(env, "disk0");
	assert_int_equal(env_del(env, "disk0", 0, &res), 0);
	assert_int_equal(env->world.devices, 0);
	assert_null(vdpa_dev_find(env->bus, "disk0"));
	assert_true(FAKE_SAW(&env->world, "dev_add", "one.match", "reset", "one.probe",
			     "one.remove", "reset", "free"));
	assert_string_equal(env->events, "disk0:dev-add disk0:bind=one disk0:unbind=one "
					 "disk0:dev-del ");
}

static void test_bus_verbs_take_turns(void **state)
{
	struct vdpa_result add_res = {0}, res[4] = {0};
	struct env *env = *state;

	/* None waits for the one before: each sees what it has left. */
	vdpa_dev_add(env->bus, "disk0", "fake", NULL, vdpa_result_done, &add_res);
	vdpa_dev_bind(env->bus, "disk0", "one", NULL, 0, vdpa_result_done, &res[0]);
	vdpa_dev_bind(env->bus, "disk0", "two", NULL, 0, vdpa_result_done, &res[1]);
	vdpa_dev_unbind(env->bus, "disk0", 0, vdpa_result_done, &res[2]);
	vdpa_dev_bind(env->bus, "disk0", "two", NULL, 0, vdpa_result_done, &res[3]);
	assert_false(add_res.done);
	assert_int_equal(vdpa_bus_wait(env->bus, &res[3]), 0);
	assert_int_equal(add_res.err, 0);
	assert_int_equal(res[0].err, 0);
	assert_int_equal(res[1].err, -EBUSY);
	assert_string_equal(res[1].ack.msg, "'disk0' is bound to 'one' already");
	assert_int_equal(res[2].err, 0);
}

static void test_bus_refusals_say_why(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	assert_int_equal(env_add(env, "-x", &res), -EINVAL);
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), -ENODEV);
	assert_string_equal(res.ack.msg, "no device 'disk0'");
	res = (struct vdpa_result){0};
	vdpa_dev_add(env->bus, "disk0", "nobody", NULL, vdpa_result_done, &res);
	assert_false(res.done);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), -ENOENT);
	assert_string_equal(res.ack.msg, "no management device 'nobody': there are 'fake'");
	res = (struct vdpa_result){0};
	vdpa_dev_add(env->bus, "disk0", "fake", env_attrs("sizes", "1"), vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), -EINVAL);
	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_int_equal(env_add(env, "disk0", &res), -EEXIST);
	assert_int_equal(env_bind(env, "disk0", "three", 0, &res), -ENOENT);
	assert_string_equal(res.ack.msg, "no driver 'three': there are 'one', 'two'");
	assert_int_equal(env_unbind(env, "disk0", 0, &res), -EINVAL);
	assert_string_equal(res.ack.msg, "'disk0' is not bound");
}

static void test_bus_failed_add_leaves_nothing(void **state)
{
	struct env *env = *state;
	struct vdpa_result res = {0}, next = {0};

	env->world.fail_err = -EIO;
	env->world.fail = "dev_add";
	vdpa_dev_add(env->bus, "disk0", "fake", NULL, vdpa_result_done, &res);
	vdpa_dev_bind(env->bus, "disk0", "one", NULL, 0, vdpa_result_done, &next);
	assert_int_equal(vdpa_bus_wait(env->bus, &next), -ENODEV);
	assert_int_equal(res.err, -EIO);
	assert_string_equal(res.ack.msg, "no more fakes");
	env->world.fail = NULL;
	assert_int_equal(env_add(env, "disk0", &res), 0);
}

static void test_bus_failed_probe_leaves_it_unbound(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	env->world.fail_err = -EACCES;
	env->world.fail = "one.probe";
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), -EACCES);
	assert_string_equal(res.ack.msg, "driver 'one' does not take 'disk0': Permission denied");
	assert_true(FAKE_SAW(&env->world, "one.probe", "reset"));
	env->world.fail = "one.match";
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), -EACCES);
	assert_int_equal(env_bind(env, "disk0", "two", 0, &res), 0);
	/* Nobody counts as a user of "one" any more. */
	assert_int_equal(vdpa_driver_unregister(env->bus, &fake_driver_one), 0);
	assert_int_equal(vdpa_driver_unregister(env->bus, &fake_driver_two), -EBUSY);
}

static void test_bus_provisioned_features(void **state)
{
	struct env *env = *state;
	struct vdpa_result res = {0};

	vdpa_dev_add(env->bus, "a", "fake", env_attrs("features", "0x100000200"), vdpa_result_done,
		     &res);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), 0);
	assert_int_equal(vdpa_get_device_features(vdpa_dev_find(env->bus, "a")), 0x100000200);
	res = (struct vdpa_result){0};
	vdpa_dev_add(env->bus, "b", "fake", env_attrs("features", "0x200"), vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), -EINVAL);
	assert_non_null(strstr(res.ack.msg, "VERSION_1"));
	res = (struct vdpa_result){0};
	vdpa_dev_add(env->bus, "b", "fake", env_attrs("features", "0x100000020"), vdpa_result_done,
		     &res);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), -EINVAL);
	assert_non_null(strstr(res.ack.msg, "does not offer feature RO"));
	/* Only "a" is left. */
	env_settle(env, "a");
	assert_int_equal(env_del(env, "a", 0, &res), 0);
	assert_int_equal(env->world.devices, 0);
}

/* ---- re-bind */

static void test_bus_rebind_keeps_the_device_part(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	struct fake_vdev *fake;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), 0);
	fake = fake_of(env->world.last);
	fake->learned = 42;
	assert_int_equal(env_unbind(env, "disk0", 0, &res), 0);
	assert_int_equal(fake->learned, 42);
	assert_int_equal(env_bind(env, "disk0", "two", 0, &res), 0);
	assert_int_equal(fake->learned, 42);
}

static void test_bus_rebind_keeps_config_without_load(void **state)
{
	struct env *env = *state;
	struct vdpa_config_ops ops = fake_ops;
	struct fake_vdev *fake = fake_vdev_alloc(&env->world, "own0");
	struct vdpa_result res;

	ops.save = NULL;
	ops.load = NULL;
	fake->vdev.ops = &ops;
	assert_int_equal(vdpa_register_device(env->bus, &fake->vdev, NULL), 0);
	assert_int_equal(env_bind(env, "own0", "one", 0, &res), 0);
	fake->config[FAKE_CONFIG_SIZE - 1] = 7;
	assert_int_equal(env_unbind(env, "own0", 0, &res), 0);
	assert_int_equal(env_bind(env, "own0", "two", 0, &res), 0);
	assert_true(FAKE_SAW(&env->world, "one.remove", "reset", "set_config", "two.probe"));
	assert_int_equal(fake->config[FAKE_CONFIG_SIZE - 1], 7);
	assert_int_equal(fake->config[0], 8);
}

static void test_bus_in_use_needs_force(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), 0);
	env->world.in_use = true;
	assert_int_equal(env_unbind(env, "disk0", 0, &res), 0);
	assert_int_equal(env_bind(env, "disk0", "two", 0, &res), -EBUSY);
	assert_string_equal(res.ack.msg,
			    "'disk0' may still be in use by a client of 'one' (the guest "
			    "'vm7' has mounted it): 'force' binds it all the same");
	/* Back to the same driver is no harm, and forgets it. */
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), 0);
	assert_int_equal(env_unbind(env, "disk0", 0, &res), 0);
	assert_int_equal(env_bind(env, "disk0", "two", VDPA_FORCE, &res), 0);
	env->world.in_use = false;
	assert_int_equal(env_unbind(env, "disk0", 0, &res), 0);
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), 0);
}

static void test_bus_driver_may_refuse_to_let_go(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), 0);
	env->world.refuse_remove = true;
	assert_int_equal(env_unbind(env, "disk0", 0, &res), -EBUSY);
	assert_string_equal(res.ack.msg, "the file is open");
	assert_int_equal(env_del(env, "disk0", 0, &res), -EBUSY);
	assert_ptr_equal(vdpa_device_driver(vdpa_dev_find(env->bus, "disk0")), &fake_driver_one);
	assert_int_equal(env_unbind(env, "disk0", VDPA_FORCE, &res), 0);
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), 0);
	assert_int_equal(env_del(env, "disk0", VDPA_FORCE, &res), 0);
	assert_int_equal(env->world.devices, 0);
}

/* ---- by rule */

static void test_bus_default_driver(void **state)
{
	struct vdpa_extack ack = {0};
	struct env *env = *state;
	struct vdpa_result res;

	assert_int_equal(vdpa_driver_set_default(env->bus, "blk", "three", &ack), -ENOENT);
	assert_int_equal(vdpa_driver_set_default(env->bus, "blob", "one", NULL), -ENOENT);
	assert_int_equal(vdpa_driver_set_default(env->bus, "blk", "one", NULL), 0);
	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_ptr_equal(vdpa_device_driver(vdpa_dev_find(env->bus, "disk0")), &fake_driver_one);

	/* The device is there although the rule could not be followed, and the result says so. */
	env->world.fail_err = -EACCES;
	env->world.fail = "one.probe";
	assert_int_equal(env_add(env, "disk1", &res), 0);
	assert_string_equal(res.ack.msg,
			    "'disk1' was added, but not bound to 'one': driver 'one' does "
			    "not take 'disk1': Permission denied");
	assert_non_null(strstr(env->log, "disk1: 'disk1' was added, but not bound"));
	assert_null(vdpa_device_driver(vdpa_dev_find(env->bus, "disk1")));

	env->world.fail = NULL;
	assert_int_equal(vdpa_driver_set_default(env->bus, "blk", NULL, NULL), 0);
	assert_int_equal(env_add(env, "disk2", &res), 0);
	assert_null(vdpa_device_driver(vdpa_dev_find(env->bus, "disk2")));
}

static void test_bus_registered_devices_follow_the_rule(void **state)
{
	struct env *env = *state;
	struct fake_vdev *fake = fake_vdev_alloc(&env->world, "own0");

	assert_int_equal(vdpa_driver_set_default(env->bus, "blk", "two", NULL), 0);
	assert_int_equal(vdpa_register_device(env->bus, &fake->vdev, NULL), 0);
	env_settle(env, "own0");
	assert_ptr_equal(vdpa_device_driver(&fake->vdev), &fake_driver_two);
	assert_ptr_equal(vdpa_device_bus(&fake->vdev), env->bus);
}

/* ---- what hangs */

static void test_bus_deadline(void **state)
{
	struct vdpa_result res, late = {0}, behind = {0};
	struct env *env = *state;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), 0);
	env->world.hang = "one.remove";
	vdpa_dev_unbind(env->bus, "disk0", 0, vdpa_result_done, &late);
	fake_gate_wait_entered(&env->world.gate);
	env_pass_time(env, ENV_TIMEOUT_MS - 1);
	assert_false(late.done);
	vdpa_dev_bind(env->bus, "disk0", "two", NULL, 0, vdpa_result_done, &behind);
	env_pass_time(env, 1);
	assert_true(late.done);
	assert_int_equal(late.err, -ETIMEDOUT);
	assert_string_equal(late.ack.msg, "'disk0' is still busy with 'unbind' after 10 s; "
					  "'dev del disk0 force' removes it");
	assert_false(behind.done);
	/* What has not begun will not happen later. */
	env_pass_time(env, ENV_TIMEOUT_MS);
	assert_int_equal(behind.err, -ETIMEDOUT);
	assert_non_null(strstr(behind.ack.msg, "still busy with 'unbind'"));

	/* The late result counts, though nobody hears of it. */
	late.done = false;
	fake_gate_open(&env->world.gate);
	env_settle(env, "disk0");
	assert_false(late.done);
	assert_null(vdpa_device_driver(vdpa_dev_find(env->bus, "disk0")));
	assert_int_equal(env_bind(env, "disk0", "two", 0, &res), 0);
	env_settle(env, "disk0");
	assert_string_equal(env->events, "disk0:dev-add disk0:bind=one disk0:stuck=unbind "
					 "disk0:unbind=one disk0:bind=two ");
}

static void test_bus_late_bind_is_bound(void **state)
{
	struct vdpa_result res, late = {0};
	struct env *env = *state;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	env->world.hang = "one.probe";
	vdpa_dev_bind(env->bus, "disk0", "one", NULL, 0, vdpa_result_done, &late);
	fake_gate_wait_entered(&env->world.gate);
	env_pass_time(env, ENV_TIMEOUT_MS);
	assert_int_equal(late.err, -ETIMEDOUT);
	fake_gate_open(&env->world.gate);
	env_settle(env, "disk0");
	assert_ptr_equal(vdpa_device_driver(vdpa_dev_find(env->bus, "disk0")), &fake_driver_one);
}

static void test_bus_force_del_of_a_hanging_device(void **state)
{
	struct vdpa_result res, hangs = {0}, waits = {0}, gone = {0};
	struct env *env = *state;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), 0);
	env->world.hang = "one.remove";
	vdpa_dev_unbind(env->bus, "disk0", 0, vdpa_result_done, &hangs);
	fake_gate_wait_entered(&env->world.gate);
	vdpa_dev_bind(env->bus, "disk0", "two", NULL, 0, vdpa_result_done, &waits);
	vdpa_dev_del(env->bus, "disk0", VDPA_FORCE, vdpa_result_done, &gone);
	assert_null(vdpa_dev_find(env->bus, "disk0"));
	assert_false(waits.done);
	assert_int_equal(vdpa_bus_wait(env->bus, &waits), -ENODEV);
	assert_string_equal(waits.ack.msg, "'disk0' was removed");
	assert_false(gone.done);

	/* The name is free at once. */
	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_int_equal(env->world.devices, 2);
	env_pass_time(env, ENV_TIMEOUT_MS);
	assert_true(gone.done);
	assert_int_equal(gone.err, 0);
	assert_int_equal(hangs.err, -ETIMEDOUT);
	assert_string_equal(hangs.ack.msg, "'disk0' was removed while it was busy with 'unbind'");
	assert_int_equal(vdpa_driver_unregister(env->bus, &fake_driver_one), -EBUSY);

	fake_gate_open(&env->world.gate);
	while (env->world.devices != 1)
		assert_int_equal(vdpa_bus_dispatch(env->bus, -1), 0);
	env_settle(env, "disk0");
	assert_int_equal(vdpa_driver_unregister(env->bus, &fake_driver_one), 0);
	assert_true(FAKE_SAW(&env->world, "one.remove", "reset", "free"));
}

static void test_bus_force_del_while_it_is_made(void **state)
{
	struct vdpa_result res, made = {0}, gone = {0};
	struct env *env = *state;

	env->world.hang = "dev_add";
	vdpa_dev_add(env->bus, "disk0", "fake", NULL, vdpa_result_done, &made);
	fake_gate_wait_entered(&env->world.gate);
	assert_null(vdpa_dev_find(env->bus, "disk0"));
	assert_int_equal(env_add(env, "disk0", &res), -EEXIST);
	vdpa_dev_del(env->bus, "disk0", VDPA_FORCE, vdpa_result_done, &gone);
	assert_int_equal(env_add(env, "disk0", &res), 0);
	fake_gate_open(&env->world.gate);
	assert_int_equal(vdpa_bus_wait(env->bus, &made), -ECANCELED);
	assert_int_equal(vdpa_bus_wait(env->bus, &gone), 0);
	assert_int_equal(env->world.devices, 1);
}

static void test_bus_add_that_comes_late_is_undone(void **state)
{
	struct vdpa_result res, made = {0};
	struct env *env = *state;

	env->world.hang = "dev_add";
	vdpa_dev_add(env->bus, "disk0", "fake", NULL, vdpa_result_done, &made);
	fake_gate_wait_entered(&env->world.gate);
	env_pass_time(env, ENV_TIMEOUT_MS);
	assert_int_equal(made.err, -ETIMEDOUT);
	assert_int_equal(env_add(env, "disk0", &res), -EEXIST);
	fake_gate_open(&env->world.gate);
	while (env_add(env, "disk0", &res) == -EEXIST)
		;
	assert_int_equal(res.err, 0);
	env_settle(env, "disk0");
	assert_int_equal(env_del(env, "disk0", 0, &res), 0);
	while (env->world.devices)
		assert_int_equal(vdpa_bus_dispatch(env->bus, -1), 0);
}

/* ---- references */

static void test_bus_del_waits_for_references(void **state)
{
	struct vdpa_result res, gone = {0};
	struct env *env = *state;
	struct vdpa_device *vdev;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	vdev = vdpa_device_get(vdpa_dev_find(env->bus, "disk0"));
	vdpa_dev_del(env->bus, "disk0", 0, vdpa_result_done, &gone);
	/* The name is free when the lane has let go; the memory is ours. */
	while (vdpa_dev_find(env->bus, "disk0"))
		assert_int_equal(vdpa_bus_dispatch(env->bus, -1), 0);
	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_false(gone.done);
	assert_int_equal(vdpa_get_device_id(vdev), 2);
	assert_int_equal(vdpa_device_run(vdev, NULL, NULL), -ENODEV);
	vdpa_device_put(vdev);
	assert_int_equal(vdpa_bus_wait(env->bus, &gone), 0);
	assert_int_equal(env->world.devices, 1);
}

static void test_bus_del_is_done_at_the_deadline(void **state)
{
	struct vdpa_result res, gone = {0};
	struct env *env = *state;
	struct vdpa_device *vdev;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	vdev = vdpa_device_get(vdpa_dev_find(env->bus, "disk0"));
	vdpa_dev_del(env->bus, "disk0", VDPA_FORCE, vdpa_result_done, &gone);
	env_pass_time(env, ENV_TIMEOUT_MS);
	assert_true(gone.done);
	assert_int_equal(gone.err, 0);
	assert_non_null(strstr(env->log, "'disk0' is removed, but something in it still hangs"));
	vdpa_device_put(vdev);
}

/* A bus that is closed while something of it cannot end. */
struct doomed {
	struct fake_world world;
	struct fake_mgmtdev mgmt;
	struct vdpa_bus *bus;
};

static void doomed_init(struct doomed *d)
{
	const struct vdpa_bus_config cfg = {.timeout_ms = 20};

	fake_world_init(&d->world);
	fake_mgmtdev_init(&d->mgmt, &d->world);
	assert_int_equal(vdpa_bus_alloc(&cfg, &d->bus, NULL), 0);
	assert_int_equal(vdpa_mgmtdev_register(d->bus, &d->mgmt.mdev, NULL), 0);
}

static void doomed_add(struct doomed *d)
{
	struct vdpa_result res = {0};

	vdpa_dev_add(d->bus, "disk0", "fake", NULL, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(d->bus, &res), 0);
}

/* What hung has gone on. */
static void doomed_release(struct doomed *d)
{
	fake_mgmtdev_wait_freed(&d->mgmt);
	assert_int_equal(d->world.devices, 0);
	fake_mgmtdev_release(&d->mgmt);
	fake_world_release(&d->world);
}

static void test_bus_reference_outlives_the_bus(void **state)
{
	struct vdpa_device *vdev;
	struct doomed d;

	doomed_init(&d);
	doomed_add(&d);
	vdev = vdpa_device_get(vdpa_dev_find(d.bus, "disk0"));
	assert_int_equal(vdpa_bus_free(d.bus), -ETIMEDOUT);
	vdpa_device_event(vdev, VDPA_EVENT_BROKEN, "nobody hears it");
	vdpa_device_put(vdev);
	doomed_release(&d);
}

/* ---- many at once */

#define MANY 40

static void *chatter(void *arg)
{
	struct vdpa_device *vdev = arg;

	for (int i = 0; i < 200; i++) {
		vdpa_device_client(vdev, i & 1, "somebody");
		vdpa_device_event(vdev, VDPA_EVENT_BROKEN, "again");
		vdpa_log(vdpa_device_bus(vdev), vdev, VDPA_LOG_DEBUG, "%d", i);
		fake_vdev_change(fake_of(vdev), 0);
	}
	vdpa_device_put(vdev);
	return NULL;
}

static void test_bus_many_at_once(void **state)
{
	struct vdpa_result added[MANY] = {0}, bound[MANY] = {0}, unbound[MANY] = {0},
			   gone[MANY] = {0};
	struct env *env = *state;
	pthread_t thread[MANY];
	char name[16];

	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		vdpa_dev_add(env->bus, name, "fake", NULL, vdpa_result_done, &added[i]);
		vdpa_dev_bind(env->bus, name, i & 1 ? "one" : "two", NULL, 0, vdpa_result_done,
			      &bound[i]);
	}
	for (int i = 0; i < MANY; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		assert_int_equal(vdpa_bus_wait(env->bus, &added[i]), 0);
		assert_int_equal(pthread_create(&thread[i], NULL, chatter,
						vdpa_device_get(vdpa_dev_find(env->bus, name))),
				 0);
		vdpa_dev_unbind(env->bus, name, 0, vdpa_result_done, &unbound[i]);
		vdpa_dev_del(env->bus, name, i % 3 ? 0 : VDPA_FORCE, vdpa_result_done, &gone[i]);
	}
	for (int i = 0; i < MANY; i++) {
		assert_int_equal(vdpa_bus_wait(env->bus, &gone[i]), 0);
		pthread_join(thread[i], NULL);
		assert_true(bound[i].done && unbound[i].done);
	}
	assert_int_equal(env->world.devices, 0);
}

/* The bus is closed while an op hangs: all it may still touch stays, and goes when it returns. */
static void hang_over_free(const char *op)
{
	struct vdpa_result res = {0}, bound = {0};
	struct doomed d;

	doomed_init(&d);
	assert_int_equal(vdpa_driver_register(d.bus, &fake_driver_one, NULL), 0);
	d.world.hang = op;
	vdpa_dev_add(d.bus, "disk0", "fake", NULL, vdpa_result_done, &res);
	vdpa_dev_bind(d.bus, "disk0", "one", NULL, 0, vdpa_result_done, &bound);
	while (poll((struct pollfd[]){{.fd = d.world.gate.entered, .events = POLLIN},
				      {.fd = vdpa_bus_fd(d.bus), .events = POLLIN}},
		    2, -1) > 0 &&
	       !poll(&(struct pollfd){.fd = d.world.gate.entered, .events = POLLIN}, 1, 0))
		vdpa_bus_dispatch(d.bus, 0);
	assert_int_equal(vdpa_bus_free(d.bus), -ETIMEDOUT);
	assert_true(res.done);
	assert_true(bound.done);
	assert_int_equal(poll(&(struct pollfd){.fd = d.mgmt.freed, .events = POLLIN}, 1, 0), 0);
	fake_gate_open(&d.world.gate);
	doomed_release(&d);
}

static void test_bus_free_while_making_hangs(void **state)
{
	hang_over_free("dev_add");
}

static void test_bus_free_while_binding_hangs(void **state)
{
	hang_over_free("one.probe");
}

static void test_bus_free_while_freeing_hangs(void **state)
{
	struct doomed d;

	doomed_init(&d);
	doomed_add(&d);
	d.world.hang = "free";
	assert_int_equal(vdpa_bus_free(d.bus), -ETIMEDOUT);
	fake_gate_open(&d.world.gate);
	doomed_release(&d);
}

/* ---- several buses; names */

static void test_bus_several_in_one_process(void **state)
{
	struct env *env = *state;
	struct fake_mgmtdev mgmt;
	struct vdpa_result res = {0};
	struct vdpa_bus *other;

	fake_mgmtdev_init(&mgmt, &env->world);
	assert_int_equal(vdpa_bus_alloc(NULL, &other, NULL), 0);
	assert_int_equal(vdpa_mgmtdev_register(other, &mgmt.mdev, NULL), 0);
	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_null(vdpa_dev_find(other, "disk0"));
	res = (struct vdpa_result){0};
	vdpa_dev_add(other, "disk0", "fake", NULL, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(other, &res), 0);
	assert_ptr_not_equal(vdpa_dev_find(other, "disk0"), vdpa_dev_find(env->bus, "disk0"));
	assert_int_equal(vdpa_bus_free(other), 0);
	fake_mgmtdev_release(&mgmt);
}

static void test_bus_registries_refuse_doubles(void **state)
{
	static const struct vdpa_driver none = {
		.size = sizeof(none), .name = "none", .probe = NULL};
	struct vdpa_extack ack = {0};
	struct env *env = *state;
	struct vdpa_result res;

	assert_int_equal(vdpa_driver_register(env->bus, &fake_driver_one, NULL), -EEXIST);
	assert_int_equal(vdpa_driver_register(env->bus, &none, &ack), -EINVAL);
	assert_string_equal(ack.msg, "driver 'none' has no 'probe'");
	assert_int_equal(vdpa_driver_unregister(env->bus, &none), -ENOENT);
	assert_int_equal(vdpa_mgmtdev_register(env->bus, &env->mgmt.mdev, NULL), -EEXIST);
	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_int_equal(vdpa_mgmtdev_unregister(env->bus, &env->mgmt.mdev, NULL), -EBUSY);
}

/* ---- nested in somebody's poll() */

static void test_bus_nests_in_poll(void **state)
{
	struct vdpa_result res = {0};
	struct env *env = *state;
	struct pollfd pfd = {.fd = vdpa_bus_fd(env->bus), .events = POLLIN};

	vdpa_dev_add(env->bus, "disk0", "fake", NULL, vdpa_result_done, &res);
	while (!res.done) {
		assert_int_equal(poll(&pfd, 1, -1), 1);
		assert_int_equal(vdpa_bus_dispatch(env->bus, 0), 0);
	}
	assert_int_equal(res.err, 0);
}

/* ---- out of memory */

static void test_bus_alloc_fails_cleanly(void **state)
{
	struct vdpa_bus_config cfg = {.run_dir = "/tmp"};
	struct vdpa_bus *bus = NULL;
	int err;

	for (unsigned int n = 1;; n++) {
		fail_alloc_nth(n);
		err = vdpa_bus_alloc(&cfg, &bus, NULL);
		if (!fail_alloc_done())
			break;
		assert_int_equal(err, -ENOMEM);
		assert_null(bus);
	}
	assert_int_equal(err, 0);
	assert_int_equal(vdpa_bus_free(bus), 0);
}

/* On the control thread: each verb, each allocation.  done() is called once whatever fails. */
static void test_bus_verbs_out_of_memory(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	unsigned int n = 1;

	for (bool failed = true; failed; n++) {
		res = (struct vdpa_result){0};
		fail_alloc_nth(n);
		vdpa_dev_add(env->bus, "disk0", "fake", NULL, vdpa_result_done, &res);
		failed = fail_alloc_done();
		vdpa_bus_wait(env->bus, &res);
		if (!res.err)
			assert_int_equal(env_del(env, "disk0", 0, &res), 0);
	}
	assert_int_equal(env_add(env, "disk0", &res), 0);
	n = 1;
	for (bool failed = true; failed; n++) {
		res = (struct vdpa_result){0};
		fail_alloc_nth(n);
		vdpa_dev_bind(env->bus, "disk0", "one", NULL, 0, vdpa_result_done, &res);
		failed = fail_alloc_done();
		vdpa_bus_wait(env->bus, &res);
		assert_true(res.err == 0 || res.err == -ENOMEM);
		if (!res.err)
			assert_int_equal(env_unbind(env, "disk0", 0, &res), 0);
	}
	n = 1;
	for (bool failed = true; failed; n++) {
		struct vdpa_attrs *size = env_attrs("size", "4K");

		res = (struct vdpa_result){0};
		fail_alloc_nth(n);
		vdpa_dev_set(env->bus, "disk0", size, vdpa_result_done, &res);
		failed = fail_alloc_done();
		vdpa_bus_wait(env->bus, &res);
		assert_true(res.err == 0 || res.err == -ENOMEM);
	}
}

static void test_bus_run_dir(void **state)
{
	char dir[] = "/tmp/uvdpa-test-bus-XXXXXX", path[128], want[128];
	struct vdpa_bus_config cfg = {.run_dir = dir};
	struct env *env = *state;
	struct fake_vdev *fake;
	struct vdpa_result res;
	struct vdpa_bus *bus;
	struct stat st;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_int_equal(
		vdpa_device_path(vdpa_dev_find(env->bus, "disk0"), "x", path, sizeof(path)),
		-ENOENT);
	assert_non_null(mkdtemp(dir));
	assert_int_equal(vdpa_bus_alloc(&cfg, &bus, NULL), 0);
	fake = fake_vdev_alloc(&env->world, "disk0");
	assert_int_equal(vdpa_register_device(bus, &fake->vdev, NULL), 0);
	assert_int_equal(vdpa_device_path(&fake->vdev, "vhost.sock", path, 8), -ENAMETOOLONG);
	assert_int_equal(vdpa_device_path(&fake->vdev, "vhost.sock", path, sizeof(path)), 0);
	snprintf(want, sizeof(want), "%s/dev/disk0/vhost.sock", dir);
	assert_string_equal(path, want);
	*strrchr(want, '/') = '\0';
	assert_int_equal(stat(want, &st), 0);
	assert_int_equal(vdpa_bus_free(bus), 0);
	assert_int_equal(stat(want, &st), -1);
	*strrchr(want, '/') = '\0';
	assert_int_equal(rmdir(want), 0);
	assert_int_equal(rmdir(dir), 0);
}

#define BUS_TEST(name) cmocka_unit_test_setup_teardown(name, env_setup, env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BUS_TEST(test_bus_life_of_a_device),
		BUS_TEST(test_bus_verbs_take_turns),
		BUS_TEST(test_bus_refusals_say_why),
		BUS_TEST(test_bus_failed_add_leaves_nothing),
		BUS_TEST(test_bus_failed_probe_leaves_it_unbound),
		BUS_TEST(test_bus_provisioned_features),
		BUS_TEST(test_bus_rebind_keeps_the_device_part),
		BUS_TEST(test_bus_rebind_keeps_config_without_load),
		BUS_TEST(test_bus_in_use_needs_force),
		BUS_TEST(test_bus_driver_may_refuse_to_let_go),
		BUS_TEST(test_bus_default_driver),
		BUS_TEST(test_bus_registered_devices_follow_the_rule),
		BUS_TEST(test_bus_deadline),
		BUS_TEST(test_bus_late_bind_is_bound),
		BUS_TEST(test_bus_force_del_of_a_hanging_device),
		BUS_TEST(test_bus_force_del_while_it_is_made),
		BUS_TEST(test_bus_add_that_comes_late_is_undone),
		BUS_TEST(test_bus_del_waits_for_references),
		BUS_TEST(test_bus_del_is_done_at_the_deadline),
		cmocka_unit_test(test_bus_reference_outlives_the_bus),
		BUS_TEST(test_bus_many_at_once),
		cmocka_unit_test(test_bus_free_while_making_hangs),
		cmocka_unit_test(test_bus_free_while_binding_hangs),
		cmocka_unit_test(test_bus_free_while_freeing_hangs),
		BUS_TEST(test_bus_several_in_one_process),
		BUS_TEST(test_bus_registries_refuse_doubles),
		BUS_TEST(test_bus_nests_in_poll),
		cmocka_unit_test(test_bus_alloc_fails_cleanly),
		BUS_TEST(test_bus_verbs_out_of_memory),
		BUS_TEST(test_bus_run_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
