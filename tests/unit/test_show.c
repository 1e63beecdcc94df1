/* SPDX-License-Identifier: BSD-2-Clause */
/* dev show, config show, vstats show, explain and set; mgmtdev show and driver show. */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "bus_env.h"
#include "fail_alloc.h"

#define STATUS_OK                                                                                  \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK)

static void show(struct env *env, struct fake_info *info)
{
	fake_info_init(info);
	vdpa_dev_show(vdpa_dev_find(env->bus, "disk0"), &info->info);
}

static void lane_run(struct vdpa_device *vdev, void *arg)
{
	assert_int_equal(vdpa_set_status(vdev, STATUS_OK & 3, NULL), 0);
	assert_int_equal(vdpa_set_driver_features(vdev, 1ULL << 32 | 1 << 9, NULL), 0);
	assert_int_equal(vdpa_set_status(vdev, STATUS_OK, NULL), 0);
	assert_int_equal(vdpa_set_status(vdev, STATUS_OK | VIRTIO_CONFIG_S_DRIVER_OK, NULL), 0);
}

static void test_show_device(void **state)
{
	struct env *env = *state;
	struct fake_info info;
	struct vdpa_result res;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	show(env, &info);
	assert_string_equal(info.text,
			    "type=block mgmtdev=fake vendor_id=64078 max_vqs=3 max_vq_size=256 "
			    "state=unbound status [ } device_features [ FLUSH CONFIG_WCE "
			    "INDIRECT_DESC VERSION_1 RING_PACKED } negotiated_features [ } "
			    "device { backend=fake } ");
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), 0);
	show(env, &info);
	assert_true(fake_info_has(&info, "driver=one state=waiting "));
	assert_true(fake_info_has(&info, "binding { data=data of one } "));
	vdpa_device_client(env->world.last, true, "qemu (pid 7)");
	show(env, &info);
	assert_true(fake_info_has(&info, "state=connected client=qemu (pid 7) "));
	env_on_lane(env->world.last, lane_run, NULL);
	show(env, &info);
	assert_true(fake_info_has(&info, "state=running "));
	assert_true(fake_info_has(&info, "status [ ACKNOWLEDGE DRIVER FEATURES_OK DRIVER_OK } "));
	assert_true(fake_info_has(&info, "negotiated_features [ FLUSH VERSION_1 } "));
	fake_vdev_change(fake_of(env->world.last), VIRTIO_CONFIG_S_NEEDS_RESET);
	show(env, &info);
	assert_true(fake_info_has(&info, "state=broken "));
	assert_int_equal(env_unbind(env, "disk0", 0, &res), 0);
	show(env, &info);
	assert_true(fake_info_has(&info, "state=unbound status"));
}

static void test_show_stuck_device(void **state)
{
	struct vdpa_result res, late = {0};
	struct env *env = *state;
	struct fake_info info;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), 0);
	env->world.hang = "one.remove";
	vdpa_dev_unbind(env->bus, "disk0", 0, vdpa_result_done, &late);
	fake_gate_wait_entered(&env->world.gate);
	show(env, &info);
	assert_true(fake_info_has(&info, "driver=one state=unbinding "));
	/* The driver is taking its data down: it is not asked. */
	assert_false(fake_info_has(&info, "binding {"));
	env_pass_time(env, ENV_TIMEOUT_MS);
	show(env, &info);
	assert_true(fake_info_has(&info, "state=stuck "));
	fake_gate_open(&env->world.gate);
	env_settle(env, "disk0");
	show(env, &info);
	assert_true(fake_info_has(&info, "state=unbound "));
}

static int explain(struct env *env, struct fake_info *info)
{
	struct vdpa_result res = {0};

	fake_info_init(info);
	vdpa_dev_explain(env->bus, "disk0", &info->info, vdpa_result_done, &res);
	return vdpa_bus_wait(env->bus, &res);
}

static void test_show_explain(void **state)
{
	struct env *env = *state;
	struct vdpa_result res = {0};
	struct fake_info info;

	/* CONFIG_WCE is not provisioned. */
	vdpa_dev_add(env->bus, "disk0", "fake", env_attrs("features", "0x510000200"),
		     vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), 0);
	assert_int_equal(explain(env, &info), 0);
	assert_true(
		fake_info_has(&info, "{ bit=9 name=FLUSH state=offered why=no driver is bound }"));
	assert_true(fake_info_has(&info, "{ bit=11 name=CONFIG_WCE state=taken away by=dev add "));
	assert_true(fake_info_has(&info, "{ bit=13 name=DISCARD state=not offered by=device "
					 "why=the file cannot punch holes }"));
	assert_true(fake_info_has(&info, "{ bit=5 name=RO state=not offered by=device "
					 "why=this kind of device does not have it }"));
	assert_true(fake_info_has(&info, "{ bit=33 name=ACCESS_PLATFORM state=hop by=bus "));
	assert_false(fake_info_has(&info, "name=bit "));

	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), 0);
	assert_int_equal(explain(env, &info), 0);
	assert_true(fake_info_has(&info, "{ bit=28 name=INDIRECT_DESC state=masked by=one "
					 "why=its clients cannot do it }"));
	assert_true(fake_info_has(&info, "{ bit=9 name=FLUSH state=offered "
					 "why=no client has negotiated yet }"));
	env_on_lane(env->world.last, lane_run, NULL);
	assert_int_equal(explain(env, &info), 0);
	assert_true(fake_info_has(&info, "{ bit=9 name=FLUSH state=acked by=client }"));
	assert_true(fake_info_has(&info, "{ bit=34 name=RING_PACKED state=refused by=client "
					 "why=the client did not ask for it }"));
}

static void test_show_config(void **state)
{
	struct env *env = *state;
	struct vdpa_result res = {0};
	struct fake_info info;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	fake_info_init(&info);
	res = (struct vdpa_result){0};
	vdpa_dev_config_show(env->bus, "disk0", &info.info, vdpa_result_done, &res);
	assert_string_equal(info.text, "");
	assert_int_equal(vdpa_bus_wait(env->bus, &res), 0);
	assert_string_equal(info.text, "generation=0 capacity=8 size=4096 ");
}

/* Nothing is written into info after the deadline: it may be gone. */
static void test_show_late_answer_goes_nowhere(void **state)
{
	struct env *env = *state;
	struct vdpa_result res = {0};
	struct fake_info info;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	fake_info_init(&info);
	env->world.hang = "get_config";
	res = (struct vdpa_result){0};
	vdpa_dev_config_show(env->bus, "disk0", &info.info, vdpa_result_done, &res);
	fake_gate_wait_entered(&env->world.gate);
	env_pass_time(env, ENV_TIMEOUT_MS);
	assert_int_equal(res.err, -ETIMEDOUT);
	fake_gate_open(&env->world.gate);
	env_settle(env, "disk0");
	assert_string_equal(info.text, "");
}

static void test_show_vstats(void **state)
{
	struct env *env = *state;
	struct vdpa_result res = {0};
	struct fake_info info;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	fake_info_init(&info);
	res = (struct vdpa_result){0};
	vdpa_dev_vstats_show(env->bus, "disk0", 1, &info.info, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), 0);
	assert_string_equal(info.text, "queues [ { qidx=1 requests=101 bytes_out=0 bytes_in=0 "
				       "kicks=0 calls=0 errors=0 drops=0 broken=0 } } ");
	fake_info_init(&info);
	res = (struct vdpa_result){0};
	vdpa_dev_vstats_show(env->bus, "disk0", -1, &info.info, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), 0);
	assert_true(fake_info_has(&info, "qidx=0 requests=100"));
	assert_true(fake_info_has(&info, "qidx=2 requests=102"));
	res = (struct vdpa_result){0};
	vdpa_dev_vstats_show(env->bus, "disk0", 3, &info.info, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), -EINVAL);
	assert_string_equal(res.ack.msg, "no queue 3: 'disk0' has 3");
}

static void test_show_registries(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	struct fake_info info;

	assert_int_equal(vdpa_driver_set_default(env->bus, "blk", "one", NULL), 0);
	assert_int_equal(env_add(env, "disk0", &res), 0);
	fake_info_init(&info);
	vdpa_mgmtdev_show(env->bus, &env->mgmt.mdev, &info.info);
	assert_true(fake_info_has(&info, "help=devices for tests supported_classes [ blk } "
					 "devices=1 max_supported_vqs=3 dev_features [ FLUSH "));
	assert_true(fake_info_has(&info, "{ name=size type=size live=on help=bytes } "
					 "{ name=file type=path help=a file } "
					 "{ name=features type=hex64 "));
	fake_info_init(&info);
	vdpa_driver_show(env->bus, &fake_driver_one, &info.info);
	assert_string_equal(info.text, "devices=1 default_of [ blk } attributes [ "
				       "{ name=mode type=octal help=file mode } "
				       "{ name=colour type=string live=on help=any } } ");
}

/* ---- dev set */

static int set(struct env *env, struct vdpa_attrs *attrs, struct vdpa_result *res)
{
	*res = (struct vdpa_result){0};
	vdpa_dev_set(env->bus, "disk0", attrs, vdpa_result_done, res);
	return vdpa_bus_wait(env->bus, res);
}

static void test_set_goes_to_parent_and_driver(void **state)
{
	struct vdpa_attrs *attrs = env_attrs("size", "1M");
	struct env *env = *state;
	struct vdpa_result res = {0};
	struct fake_vdev *fake;

	vdpa_dev_add(env->bus, "disk0", "fake", env_attrs("file", "/x"), vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), 0);
	fake = fake_of(env->world.last);
	assert_int_equal(set(env, env_attrs("colour", "red"), &res), -EINVAL);
	assert_int_equal(set(env, env_attrs("file", "/y"), &res), -EINVAL);
	assert_int_equal(set(env, NULL, &res), -EINVAL);
	assert_int_equal(env_bind(env, "disk0", "one", 0, &res), 0);
	assert_int_equal(vdpa_attrs_add(attrs, "colour", "red", NULL, NULL), 0);
	assert_int_equal(set(env, attrs, &res), 0);
	assert_true(FAKE_SAW(&env->world, "set_attrs", "drv.set_attrs"));
	assert_int_equal(fake->size, 1 << 20);
	/* What `save` prints makes the present state. */
	assert_int_equal(vdpa_attrs_num(vdpa_device_add_attrs(&fake->vdev)), 2);
	assert_string_equal(vdpa_attrs_str(vdpa_device_add_attrs(&fake->vdev), "size", ""), "1M");
	assert_string_equal(vdpa_attrs_str(vdpa_device_add_attrs(&fake->vdev), "file", ""), "/x");
	assert_string_equal(vdpa_attrs_str(vdpa_device_bind_attrs(&fake->vdev), "colour", ""),
			    "red");
}

static void test_set_checks_all_before_any(void **state)
{
	struct vdpa_attrs *attrs = env_attrs("size", "1M");
	struct env *env = *state;
	struct vdpa_result res;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	assert_int_equal(vdpa_attrs_add(attrs, "worker", "w9", NULL, NULL), 0);
	assert_int_equal(set(env, attrs, &res), -ENOENT);
	assert_string_equal(res.ack.msg, "no worker 'w9'");
	assert_int_equal(fake_of(env->world.last)->size, 0);
	assert_int_equal(set(env, env_attrs("queue", "1"), &res), -EINVAL);
	env->world.fail_err = -EFBIG;
	env->world.fail = "set_attrs";
	assert_int_equal(set(env, env_attrs("size", "1M"), &res), -EFBIG);
	assert_null(vdpa_attrs_str(vdpa_device_add_attrs(env->world.last), "size", NULL));
}

static void test_set_worker(void **state)
{
	struct vdpa_attrs *attrs = env_attrs("worker", "w0");
	struct env *env = *state;
	struct vdpa_result res;
	struct vdpa_worker *w0;
	struct fake_vdev *fake;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	fake = fake_of(env->world.last);
	assert_int_equal(vdpa_worker_add(env->bus, "w0", -1, 0, NULL), 0);
	w0 = vdpa_worker_find(env->bus, "w0");
	assert_int_equal(vdpa_attrs_add(attrs, "queue", "1", NULL, NULL), 0);
	assert_int_equal(set(env, attrs, &res), 0);
	assert_null(fake->vqs[0].worker);
	assert_ptr_equal(fake->vqs[1].worker, w0);
	assert_string_equal(vdpa_device_placed(&fake->vdev, 1), "w0");
	assert_null(vdpa_device_placed(&fake->vdev, 0));
	assert_int_equal(set(env, env_attrs("worker", "w0"), &res), 0);
	assert_ptr_equal(fake->vqs[2].worker, w0);
	attrs = env_attrs("worker", "w0");
	assert_int_equal(vdpa_attrs_add(attrs, "queue", "3", NULL, NULL), 0);
	assert_int_equal(set(env, attrs, &res), -EINVAL);
	/* Only as long as it was busy did `set` count as a user. */
	assert_int_equal(vdpa_worker_del(env->bus, "w0", NULL), 0);
}

static void test_show_descriptors_ride_along(void **state)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct env *env = *state;
	struct vdpa_result res = {0};
	int fds[2], fd;
	char c;

	/* A descriptor that the parent does not take is closed when the device is made. */
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	fd = fds[1];
	assert_int_equal(vdpa_attrs_add(attrs, "file", "/x", &fd, NULL), 0);
	assert_int_equal(fd, -1);
	vdpa_dev_add(env->bus, "disk0", "fake", attrs, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(env->bus, &res), 0);
	assert_int_equal(read(fds[0], &c, 1), 0);
	close(fds[0]);
}

#define SHOW_TEST(name) cmocka_unit_test_setup_teardown(name, env_setup, env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		SHOW_TEST(test_show_device),
		SHOW_TEST(test_show_stuck_device),
		SHOW_TEST(test_show_explain),
		SHOW_TEST(test_show_config),
		SHOW_TEST(test_show_late_answer_goes_nowhere),
		SHOW_TEST(test_show_vstats),
		SHOW_TEST(test_show_registries),
		SHOW_TEST(test_set_goes_to_parent_and_driver),
		SHOW_TEST(test_set_checks_all_before_any),
		SHOW_TEST(test_set_worker),
		SHOW_TEST(test_show_descriptors_ride_along),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
