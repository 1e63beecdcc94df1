/* SPDX-License-Identifier: BSD-2-Clause */
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "bus/bus.h"
#include "bus_env.h"
#include "loop/loop.h"

static uint64_t env_now(void *arg)
{
	return ((struct env *)arg)->now;
}

static void env_event(void *arg, const struct vdpa_event *event)
{
	struct env *env = arg;
	size_t len = strlen(env->events);

	snprintf(env->events + len, sizeof(env->events) - len, "%s:%s%s%s ",
		 event->dev ? event->dev : event->mgmtdev, event->name, event->text ? "=" : "",
		 event->text ? event->text : "");
}

static void env_log(void *arg, enum vdpa_log_level level, const char *dev, const char *text)
{
	struct env *env = arg;
	size_t len = strlen(env->log);

	snprintf(env->log + len, sizeof(env->log) - len, "%s: %s\n", dev ? dev : "-", text);
}

int env_setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));
	struct vdpa_bus_config cfg = {.timeout_ms = ENV_TIMEOUT_MS, .log = env_log, .log_arg = env};

	assert_non_null(env);
	fake_world_init(&env->world);
	fake_mgmtdev_init(&env->mgmt, &env->world);
	env->now = 1000000000;
	assert_int_equal(vdpa_bus_alloc(&cfg, &env->bus, NULL), 0);
	loop_set_clock(bus_loop(env->bus), env_now, env);
	vdpa_bus_set_event_cb(env->bus, env_event, env);
	assert_int_equal(vdpa_mgmtdev_register(env->bus, &env->mgmt.mdev, NULL), 0);
	assert_int_equal(vdpa_driver_register(env->bus, &fake_driver_one, NULL), 0);
	assert_int_equal(vdpa_driver_register(env->bus, &fake_driver_two, NULL), 0);
	*state = env;
	return 0;
}

int env_teardown(void **state)
{
	struct env *env = *state;

	assert_int_equal(vdpa_bus_free(env->bus), 0);
	assert_int_equal(env->world.devices, 0);
	assert_int_equal(poll(&(struct pollfd){.fd = env->mgmt.freed, .events = POLLIN}, 1, 0), 1);
	fake_mgmtdev_wait_freed(&env->mgmt);
	fake_mgmtdev_release(&env->mgmt);
	fake_world_release(&env->world);
	free(env);
	return 0;
}

int env_add(struct env *env, const char *name, struct vdpa_result *res)
{
	*res = (struct vdpa_result){0};
	vdpa_dev_add(env->bus, name, "fake", NULL, vdpa_result_done, res);
	return vdpa_bus_wait(env->bus, res);
}

int env_bind(struct env *env, const char *name, const char *driver, uint32_t flags,
	     struct vdpa_result *res)
{
	*res = (struct vdpa_result){0};
	vdpa_dev_bind(env->bus, name, driver, NULL, flags, vdpa_result_done, res);
	return vdpa_bus_wait(env->bus, res);
}

int env_unbind(struct env *env, const char *name, uint32_t flags, struct vdpa_result *res)
{
	*res = (struct vdpa_result){0};
	vdpa_dev_unbind(env->bus, name, flags, vdpa_result_done, res);
	return vdpa_bus_wait(env->bus, res);
}

int env_del(struct env *env, const char *name, uint32_t flags, struct vdpa_result *res)
{
	*res = (struct vdpa_result){0};
	vdpa_dev_del(env->bus, name, flags, vdpa_result_done, res);
	return vdpa_bus_wait(env->bus, res);
}

struct vdpa_attrs *env_attrs(const char *key, const char *value)
{
	struct vdpa_attrs *a = vdpa_attrs_alloc();

	assert_non_null(a);
	assert_int_equal(vdpa_attrs_add(a, key, value, NULL, NULL), 0);
	return a;
}

/* Let everything that is posted arrive: a verb that goes through the device's lane comes behind it.
 */
void env_settle(struct env *env, const char *name)
{
	struct vdpa_result res = {0};
	struct fake_info info;

	fake_info_init(&info);
	vdpa_dev_config_show(env->bus, name, &info.info, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), 0);
	while (poll(&(struct pollfd){.fd = vdpa_bus_fd(env->bus), .events = POLLIN}, 1, 0) > 0)
		vdpa_bus_dispatch(env->bus, 0);
}

void env_pass_time(struct env *env, uint64_t ms)
{
	env->now += ms * 1000000;
	vdpa_bus_dispatch(env->bus, 0);
}

struct on_lane {
	void (*fn)(struct vdpa_device *vdev, void *arg);
	void *arg;
	int done; /* eventfd */
};

static void on_lane(struct vdpa_device *vdev, void *arg)
{
	struct on_lane *run = arg;

	run->fn(vdev, run->arg);
	assert_int_equal(eventfd_write(run->done, 1), 0);
}

void env_on_lane(struct vdpa_device *vdev, void (*fn)(struct vdpa_device *vdev, void *arg),
		 void *arg)
{
	struct on_lane run = {.fn = fn, .arg = arg, .done = eventfd(0, EFD_CLOEXEC)};
	eventfd_t num;

	assert_true(run.done >= 0);
	assert_int_equal(vdpa_device_run(vdev, on_lane, &run), 0);
	assert_int_equal(eventfd_read(run.done, &num), 0);
	close(run.done);
}
