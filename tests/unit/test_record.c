/* SPDX-License-Identifier: BSD-2-Clause */
/* The device part of the state in the run directory, over the death of a process. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "bus/bus.h"
#include "bus_env.h"

struct life {
	struct env *env; /* for its world and its log */
	char dir[64];
	char file[128]; /* the record */
	char kept[128]; /* a copy that outlives the bus */
	struct vdpa_bus *bus;
	struct fake_mgmtdev mgmt;
	struct fake_vdev *fake;
};

static void life_log(void *arg, enum vdpa_log_level level, const char *dev, const char *text)
{
	struct env *env = arg;
	size_t len = strlen(env->log);

	snprintf(env->log + len, sizeof(env->log) - len, "%s\n", text);
}

static void life_begin(struct life *life)
{
	struct vdpa_bus_config cfg = {.run_dir = life->dir, .log = life_log, .log_arg = life->env};
	struct vdpa_result res = {0};

	fake_mgmtdev_init(&life->mgmt, &life->env->world);
	assert_int_equal(vdpa_bus_alloc(&cfg, &life->bus, NULL), 0);
	assert_int_equal(vdpa_mgmtdev_register(life->bus, &life->mgmt.mdev, NULL), 0);
	vdpa_dev_add(life->bus, "disk0", "fake", NULL, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(life->bus, &res), 0);
	life->fake = fake_of(life->env->world.last);
}

static void life_end(struct life *life)
{
	assert_int_equal(vdpa_bus_free(life->bus), 0);
	fake_mgmtdev_release(&life->mgmt);
}

/* A process that dies removes nothing. */
static void life_dies(struct life *life)
{
	char dir[128];

	assert_int_equal(rename(life->file, life->kept), 0);
	life_end(life);
	snprintf(dir, sizeof(dir), "%s/dev/disk0", life->dir);
	assert_int_equal(mkdir(dir, 0755), 0);
	assert_int_equal(rename(life->kept, life->file), 0);
}

static void life_setup(struct life *life, struct env *env)
{
	memset(life, 0, sizeof(*life));
	life->env = env;
	strcpy(life->dir, "/tmp/uvdpa-test-record-XXXXXX");
	assert_non_null(mkdtemp(life->dir));
	snprintf(life->file, sizeof(life->file), "%s/dev/disk0/state", life->dir);
	snprintf(life->kept, sizeof(life->kept), "%s/kept", life->dir);
}

static void life_teardown(struct life *life)
{
	char dir[128];

	/* Nothing is left in the folder of the device, nor itself. */
	snprintf(dir, sizeof(dir), "%s/dev", life->dir);
	assert_int_equal(rmdir(dir), 0);
	assert_int_equal(rmdir(life->dir), 0);
}

static bool on_disk(const struct life *life)
{
	return !access(life->file, F_OK);
}

static void lane_learn(struct vdpa_device *vdev, void *arg)
{
	const uint8_t value = 7;

	fake_of(vdev)->learned = 42;
	assert_int_equal(vdpa_set_config(vdev, FAKE_CONFIG_SIZE - 1, &value, 1, NULL), 0);
}

static void lane_reset(struct vdpa_device *vdev, void *arg)
{
	vdpa_reset(vdev);
}

static void test_record_outlives_the_process(void **state)
{
	struct life life;

	life_setup(&life, *state);
	life_begin(&life);
	assert_false(on_disk(&life));
	env_on_lane(&life.fake->vdev, lane_learn, NULL);
	assert_true(on_disk(&life));
	life_dies(&life);

	life_begin(&life);
	assert_int_equal(life.fake->learned, 42);
	assert_non_null(strstr(life.env->log, "goes on with the record of a dead process"));
	/* What the driver has undone does not come back. */
	env_on_lane(&life.fake->vdev, lane_reset, NULL);
	life_dies(&life);

	life_begin(&life);
	assert_int_equal(life.fake->learned, 0);
	life_end(&life);
	life_teardown(&life);
}

static void nothing(struct vdpa_device *vdev, void *arg)
{
}

/* The device has found something out by itself, on a thread that must not wait for a disk. */
static void test_record_follows_the_device(void **state)
{
	struct life life;

	life_setup(&life, *state);
	life_begin(&life);
	for (int i = 1; i <= 3; i++) {
		life.fake->learned = (uint64_t)i;
		bus_state_changed(&life.fake->vdev);
		env_on_lane(&life.fake->vdev, nothing, NULL);
	}
	life_dies(&life);

	life_begin(&life);
	assert_int_equal(life.fake->learned, 3);
	life_end(&life);
	life_teardown(&life);
}

static void hold_lane(struct vdpa_device *vdev, void *fd)
{
	eventfd_t value;

	assert_int_equal(eventfd_read(*(int *)fd, &value), 0);
}

/* While the lane is busy, changes are as many as one; and with the device gone there is none. */
static void test_record_of_a_device_that_goes(void **state)
{
	int hold = eventfd(0, EFD_CLOEXEC);
	struct vdpa_result res = {0};
	struct life life;

	life_setup(&life, *state);
	life_begin(&life);
	assert_int_equal(vdpa_device_run(&life.fake->vdev, hold_lane, &hold), 0);
	for (int i = 0; i < 100; i++)
		bus_state_changed(&life.fake->vdev);
	vdpa_dev_del(life.bus, "disk0", VDPA_FORCE, vdpa_result_done, &res);
	bus_state_changed(&life.fake->vdev);
	assert_int_equal(eventfd_write(hold, 1), 0);
	assert_int_equal(vdpa_bus_wait(life.bus, &res), 0);
	life_end(&life);
	life_teardown(&life);
	close(hold);
}

static void test_record_goes_with_the_device(void **state)
{
	struct vdpa_result res = {0};
	struct life life;

	life_setup(&life, *state);
	life_begin(&life);
	env_on_lane(&life.fake->vdev, lane_learn, NULL);
	vdpa_dev_del(life.bus, "disk0", 0, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(life.bus, &res), 0);
	assert_false(on_disk(&life));
	life_end(&life);
	life_begin(&life);
	assert_int_equal(life.fake->learned, 0);
	life_end(&life);
	life_teardown(&life);
}

static void test_record_of_nonsense(void **state)
{
	struct life life;
	FILE *f;

	life_setup(&life, *state);
	life_begin(&life);
	env_on_lane(&life.fake->vdev, lane_learn, NULL);
	life_dies(&life);
	f = fopen(life.file, "r+");
	assert_non_null(f);
	assert_int_equal(fputs("nonsense", f) < 0, 0);
	assert_int_equal(fclose(f), 0);

	/* The device is as good as new. */
	life_begin(&life);
	assert_int_equal(life.fake->learned, 0);
	assert_non_null(strstr(life.env->log, "of no use: this is no state record"));
	life_end(&life);
	life_teardown(&life);
}

#define RECORD_TEST(name) cmocka_unit_test_setup_teardown(name, env_setup, env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RECORD_TEST(test_record_outlives_the_process),
		RECORD_TEST(test_record_follows_the_device),
		RECORD_TEST(test_record_of_a_device_that_goes),
		RECORD_TEST(test_record_goes_with_the_device),
		RECORD_TEST(test_record_of_nonsense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
