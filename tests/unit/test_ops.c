/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <linux/virtio_config.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "bus_env.h"

#define F_VERSION_1 (1ULL << 32)
#define F_PACKED    (1ULL << 34)

/* ---- the table is checked at registration */

struct gap {
	size_t offset;
	const char *text;
};

#define GAP(op, t)                                                                                 \
	{                                                                                          \
		offsetof(struct vdpa_config_ops, op), t                                            \
	}

static void test_ops_registration_names_the_missing_op(void **state)
{
	static const struct gap gaps[] = {
		GAP(set_vq_address, "lack 'set_vq_address'"),
		GAP(set_vq_call, "lack 'set_vq_call'"),
		GAP(get_vq_num_max, "lack 'get_vq_num_max'"),
		GAP(get_generation, "lack 'get_generation'"),
		GAP(free, "lack 'free'"),
		GAP(save, "'save' and 'load' come in pairs"),
		GAP(class_cmd, "'class_cmd' and 'get_class_cmds' come in pairs"),
	};
	struct env *env = *state;
	struct fake_vdev *fake = fake_vdev_alloc(&env->world, "own0");
	struct vdpa_config_ops ops;
	struct vdpa_extack ack;

	for (size_t i = 0; i < sizeof(gaps) / sizeof(*gaps); i++) {
		ops = fake_ops;
		memset((char *)&ops + gaps[i].offset, 0, sizeof(void *));
		fake->vdev.ops = &ops;
		ack.msg[0] = '\0';
		assert_int_equal(vdpa_register_device(env->bus, &fake->vdev, &ack), -EINVAL);
		assert_non_null(strstr(ack.msg, gaps[i].text));
		assert_non_null(strstr(ack.msg, "own0"));
	}
	/* It is still ours, and the name is free. */
	fake->vdev.ops = &fake_ops;
	assert_int_equal(vdpa_register_device(env->bus, &fake->vdev, NULL), 0);
}

static int no_dma_map(struct vdpa_device *vdev, uint32_t asid, const struct vdpa_iotlb_range *range,
		      struct vdpa_extack *ack)
{
	return 0;
}

static int no_dma_unmap(struct vdpa_device *vdev, uint32_t asid, uint64_t iova, uint64_t len)
{
	return 0;
}

static void test_ops_registration_refuses_what_does_not_fit(void **state)
{
	struct env *env = *state;
	struct fake_vdev *fake = fake_vdev_alloc(&env->world, "own0");
	struct vdpa_config_ops ops = fake_ops;
	struct vdpa_extack ack = {0};

	fake->vdev.ops = &ops;
	ops.dma_map = no_dma_map;
	ops.dma_unmap = no_dma_unmap;
	assert_int_equal(vdpa_register_device(env->bus, &fake->vdev, &ack), -EINVAL);
	assert_non_null(strstr(ack.msg, "'set_map' and 'dma_map' exclude each other"));
	ops = fake_ops;
	fake->vdev.nas = 2;
	assert_int_equal(vdpa_register_device(env->bus, &fake->vdev, NULL), -EINVAL);
	fake->vdev.nas = 0;
	fake->vdev.nvqs = 0;
	assert_int_equal(vdpa_register_device(env->bus, &fake->vdev, NULL), -EINVAL);
	fake->vdev.nvqs = FAKE_NVQS;
	fake->features = 0;
	assert_int_equal(vdpa_register_device(env->bus, &fake->vdev, NULL), -EINVAL);
	fake->features = FAKE_FEATURES;
	ops.size = 0;
	assert_int_equal(vdpa_register_device(env->bus, &fake->vdev, NULL), -EINVAL);
	/* A parent of an older build knows fewer ops. */
	ops.size = sizeof(ops);
	assert_int_equal(vdpa_register_device(env->bus, &fake->vdev, NULL), 0);
	assert_int_equal(vdpa_register_device(env->bus, &fake->vdev, NULL), -EEXIST);
}

/* ---- the wrappers; each test is a function on the device's lane */

static void run_on_lane(void **state, void (*fn)(struct vdpa_device *vdev, void *arg))
{
	struct env *env = *state;
	struct vdpa_result res;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	env_on_lane(env->world.last, fn, env);
}

static void negotiate(struct vdpa_device *vdev, uint64_t features)
{
	const uint8_t driver = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	assert_int_equal(vdpa_set_status(vdev, driver, NULL), 0);
	assert_int_equal(vdpa_set_driver_features(vdev, features, NULL), 0);
	assert_int_equal(vdpa_set_status(vdev, driver | VIRTIO_CONFIG_S_FEATURES_OK, NULL), 0);
}

static void lane_features(struct vdpa_device *vdev, void *arg)
{
	struct vdpa_extack ack = {0};

	fake_of(vdev)->features |= 1ULL << 26 | 1ULL << 30 | 1ULL << 33 | 1ULL << 38;
	assert_true(vdpa_get_device_features(vdev) == FAKE_FEATURES);
	assert_int_equal(vdpa_set_driver_features(vdev, 1 << 9, &ack), -EINVAL);
	assert_non_null(strstr(ack.msg, "legacy virtio drivers are not served"));
	ack.msg[0] = '\0';
	assert_int_equal(vdpa_set_driver_features(vdev, F_VERSION_1 | 1 << 5, &ack), -EINVAL);
	assert_string_equal(ack.msg, "the driver accepted RO (0x20), never offered");
	negotiate(vdev, F_VERSION_1 | 1 << 9);
	assert_true(vdpa_get_driver_features(vdev) == (F_VERSION_1 | 1 << 9));
	assert_int_equal(vdpa_set_driver_features(vdev, F_VERSION_1, NULL), -EBUSY);
	assert_int_equal(vdpa_set_driver_features(vdev, F_VERSION_1 | 1 << 9, NULL), 0);
	vdpa_reset(vdev);
	assert_true(vdpa_get_driver_features(vdev) == 0);
}

static void test_ops_features(void **state)
{
	run_on_lane(state, lane_features);
}

static void lane_status(struct vdpa_device *vdev, void *arg)
{
	const uint8_t ok =
		VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK;
	struct vdpa_extack ack = {0};

	assert_int_equal(vdpa_set_status(vdev, ok, &ack), -EINVAL);
	assert_non_null(strstr(ack.msg, "VERSION_1"));
	assert_int_equal(vdpa_set_status(vdev, VIRTIO_CONFIG_S_DRIVER_OK, NULL), -EINVAL);
	negotiate(vdev, F_VERSION_1);
	assert_int_equal(vdpa_set_status(vdev, VIRTIO_CONFIG_S_ACKNOWLEDGE, NULL), -EINVAL);
	assert_int_equal(vdpa_set_status(vdev, ok | VIRTIO_CONFIG_S_DRIVER_OK, NULL), 0);
	/* The device's own bit neither goes nor comes by what a driver writes. */
	assert_int_equal(
		vdpa_set_status(vdev, ok | VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET,
				NULL),
		0);
	assert_int_equal(vdpa_get_status(vdev), ok | VIRTIO_CONFIG_S_DRIVER_OK);
	fake_of(vdev)->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	assert_int_equal(vdpa_set_status(vdev, ok | VIRTIO_CONFIG_S_DRIVER_OK, NULL), 0);
	assert_true(vdpa_get_status(vdev) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(vdpa_set_status(vdev, 0, NULL), 0);
	assert_int_equal(vdpa_get_status(vdev), 0);
	assert_true(FAKE_SAW(fake_of(vdev)->world, "set_status", "reset"));
}

static void test_ops_status(void **state)
{
	run_on_lane(state, lane_status);
}

static void lane_split_queue(struct vdpa_device *vdev, void *arg)
{
	struct vdpa_vq_state pos = {.split.avail_index = 3}, got;
	struct vdpa_extack ack = {0};

	negotiate(vdev, F_VERSION_1);
	assert_int_equal(vdpa_set_vq_num(vdev, FAKE_NVQS, 8, &ack), -EINVAL);
	assert_string_equal(ack.msg, "no queue 3: the device has 3");
	assert_int_equal(vdpa_set_vq_num(vdev, 0, 512, NULL), -EINVAL);
	assert_int_equal(vdpa_set_vq_num(vdev, 0, 0, NULL), -EINVAL);
	assert_int_equal(vdpa_set_vq_num(vdev, 0, 100, NULL), -EINVAL);
	assert_int_equal(vdpa_set_vq_ready(vdev, 0, true, NULL), -EINVAL);
	assert_int_equal(vdpa_set_vq_num(vdev, 0, 128, NULL), 0);
	assert_int_equal(vdpa_set_vq_address(vdev, 0, 0x1000, 0x2000, 0x3000, NULL), 0);
	assert_int_equal(vdpa_set_vq_state(vdev, 0, &pos, NULL), 0);
	pos.packed = true;
	assert_int_equal(vdpa_set_vq_state(vdev, 0, &pos, NULL), -EINVAL);
	assert_int_equal(vdpa_set_vq_ready(vdev, 0, true, NULL), 0);
	assert_true(vdpa_get_vq_ready(vdev, 0));
	ack.msg[0] = '\0';
	assert_int_equal(vdpa_set_vq_address(vdev, 0, 0, 0, 0, &ack), -EBUSY);
	assert_string_equal(ack.msg, "queue 0 runs: stop it before its address is set");
	assert_int_equal(vdpa_set_vq_num(vdev, 0, 64, NULL), -EBUSY);
	assert_int_equal(vdpa_get_vq_state(vdev, 0, &got), 0);
	assert_int_equal(got.split.avail_index, 3);
	vdpa_reset(vdev);
	assert_false(vdpa_get_vq_ready(vdev, 0));
}

static void test_ops_split_queue(void **state)
{
	run_on_lane(state, lane_split_queue);
}

static void lane_packed_queue(struct vdpa_device *vdev, void *arg)
{
	struct vdpa_vq_state pos = {.packed = true, .packed_ring.last_used_idx = 100};

	negotiate(vdev, F_VERSION_1 | F_PACKED);
	assert_int_equal(vdpa_set_vq_num(vdev, 0, 100, NULL), 0);
	assert_int_equal(vdpa_set_vq_state(vdev, 0, &pos, NULL), -EINVAL);
	pos.packed_ring.last_used_idx = 99;
	assert_int_equal(vdpa_set_vq_state(vdev, 0, &pos, NULL), 0);
}

static void test_ops_packed_queue(void **state)
{
	run_on_lane(state, lane_packed_queue);
}

static void lane_config(struct vdpa_device *vdev, void *arg)
{
	uint8_t buf[FAKE_CONFIG_SIZE];
	struct vdpa_extack ack = {0};

	assert_int_equal(vdpa_get_config(vdev, 0, buf, FAKE_CONFIG_SIZE), 0);
	assert_int_equal(buf[0], 8);
	assert_int_equal(vdpa_get_config(vdev, 1, buf, FAKE_CONFIG_SIZE), -EINVAL);
	assert_int_equal(vdpa_get_config(vdev, UINT32_MAX, buf, 2), -EINVAL);
	assert_int_equal(vdpa_get_config(vdev, FAKE_CONFIG_SIZE, buf, 0), 0);
	buf[0] = 5;
	assert_int_equal(vdpa_set_config(vdev, FAKE_CONFIG_SIZE - 1, buf, 1, NULL), 0);
	assert_int_equal(vdpa_set_config(vdev, FAKE_CONFIG_SIZE - 1, buf, 2, NULL), -EINVAL);
	assert_int_equal(vdpa_set_config(vdev, 0, buf, 1, &ack), -EPERM);
	assert_string_equal(ack.msg, "byte 0 is read-only");
}

static void test_ops_config_space_has_an_end(void **state)
{
	run_on_lane(state, lane_config);
}

static void lane_errors_have_text(struct vdpa_device *vdev, void *arg)
{
	struct env *env = arg;
	struct vdpa_extack ack = {0};
	int fd = eventfd(0, EFD_CLOEXEC);

	env->world.fail_err = -EFAULT;
	env->world.fail = "set_vq_address";
	assert_int_equal(vdpa_set_vq_address(vdev, 1, 1, 2, 3, &ack), -EFAULT);
	assert_string_equal(ack.msg, "the device refuses the addresses of queue 1: Bad address");
	env->world.fail = "set_vq_fd";
	assert_int_equal(vdpa_set_vq_call(vdev, 0, &fd), -EFAULT);
	assert_true(fd >= 0);
	env->world.fail = NULL;
	assert_int_equal(vdpa_set_vq_call(vdev, 0, &fd), 0);
	assert_int_equal(fd, -1);
	assert_int_equal(vdpa_set_vq_kick(vdev, FAKE_NVQS, &fd), -EINVAL);
}

static void test_ops_errors_have_text(void **state)
{
	run_on_lane(state, lane_errors_have_text);
}

static void lane_missing_ops(struct vdpa_device *vdev, void *arg)
{
	struct vdpa_notification_area area;
	struct vdpa_extack ack = {0};
	uint64_t first, last;
	int fd = -1;

	assert_int_equal(vdpa_suspend(vdev, &ack), -EOPNOTSUPP);
	assert_string_equal(ack.msg, "the device has no 'suspend'");
	assert_int_equal(vdpa_resume(vdev, NULL), -EOPNOTSUPP);
	assert_int_equal(vdpa_set_vq_err(vdev, 0, &fd), -EOPNOTSUPP);
	assert_int_equal(vdpa_get_vq_notification(vdev, 0, &area), -EOPNOTSUPP);
	assert_int_equal(vdpa_get_vq_irq(vdev, 0), -EOPNOTSUPP);
	assert_int_equal(vdpa_set_group_asid(vdev, 0, 0), -EOPNOTSUPP);
	assert_int_equal(vdpa_set_dirty_log(vdev, NULL), -EOPNOTSUPP);
	assert_int_equal(vdpa_set_vq_log(vdev, 0, false, 0), -EOPNOTSUPP);
	assert_int_equal(vdpa_set_inflight(vdev, NULL, NULL), -EOPNOTSUPP);
	assert_int_equal(vdpa_kick_vq_with_data(vdev, 0), -EOPNOTSUPP);
	assert_int_equal(vdpa_get_vq_align(vdev), 4096);
	assert_int_equal(vdpa_get_vq_num_min(vdev), 1);
	assert_int_equal(vdpa_get_vq_size(vdev, 0), 256);
	assert_int_equal(vdpa_get_vq_size(vdev, FAKE_NVQS), 0);
	assert_int_equal(vdpa_get_vq_group(vdev, 0), 0);
	assert_int_equal(vdpa_get_backend_features(vdev), 0);
	vdpa_get_iova_range(vdev, &first, &last);
	assert_true(first == 0 && last == UINT64_MAX);
}

static void test_ops_missing_ones_have_an_answer(void **state)
{
	run_on_lane(state, lane_missing_ops);
}

/* ---- commands outside the rings */

static void refuse_cmd(struct vdpa_device *vdev, uint32_t cmd, uint32_t in_len, uint32_t room,
		       int err, const char *text)
{
	static const uint8_t in[VDPA_CMD_DATA_MAX + 1];
	struct vdpa_extack ack = {0};
	uint8_t out[16];

	assert_int_equal(vdpa_class_cmd(vdev, cmd, in, in_len, out, &room, &ack), err);
	assert_non_null(strstr(ack.msg, text));
	assert_int_equal(room, 0);
}

static void lane_commands(struct vdpa_device *vdev, void *arg)
{
	struct fake_vdev *fake = fake_of(vdev);
	struct env *env = arg;
	uint8_t out[16];
	uint32_t len = 0;

	assert_int_equal(vdpa_get_class_cmds(vdev), FAKE_CMDS);
	assert_int_equal(vdpa_class_cmd(vdev, VDPA_CMD_NET_RARP, "abcdef", 6, NULL, &len, NULL), 0);
	assert_int_equal(len, 0);
	assert_int_equal(fake->cmd_len, 6);
	assert_memory_equal(fake->cmd, "abcdef", 6);
	len = sizeof(out);
	assert_int_equal(vdpa_class_cmd(vdev, VDPA_CMD_NET_CTRL, "\1\2xy", 4, out, &len, NULL), 0);
	assert_int_equal(len, 1);
	assert_int_equal(out[0], 0xfe);

	/* None of these reaches the device. */
	fake_forget(&env->world);
	refuse_cmd(vdev, VDPA_CMD_NET_MTU, 2, 0, -EOPNOTSUPP, "know the command NET_MTU");
	refuse_cmd(vdev, VDPA_CMD_MAX, 2, 0, -EOPNOTSUPP, "no command 5");
	refuse_cmd(vdev, UINT32_MAX, 2, 0, -EOPNOTSUPP, "no command 4294967295");
	refuse_cmd(vdev, VDPA_CMD_NET_RARP, 5, 0, -EINVAL, "NET_RARP of 5 bytes: 6 to 6");
	refuse_cmd(vdev, VDPA_CMD_NET_RARP, 7, 0, -EINVAL, "NET_RARP of 7 bytes: 6 to 6");
	refuse_cmd(vdev, VDPA_CMD_NET_CTRL, 1, 1, -EINVAL, "NET_CTRL of 1 bytes: 2 to 65536");
	refuse_cmd(vdev, VDPA_CMD_NET_CTRL, VDPA_CMD_DATA_MAX + 1, 1, -EINVAL, "65537 bytes");
	refuse_cmd(vdev, VDPA_CMD_NET_CTRL, 2, 0, -EINVAL, "an answer of 0 bytes: 1 to 65536");
	refuse_cmd(vdev, VDPA_CMD_NET_CTRL, 2, UINT32_MAX, -EINVAL, "4294967295 bytes");
	assert_false(FAKE_SAW(&env->world, "class_cmd"));

	env->world.fail_err = -EIO;
	env->world.fail = "class_cmd";
	refuse_cmd(vdev, VDPA_CMD_NET_CTRL, 2, 1, -EIO,
		   "the device refuses NET_CTRL: Input/output");
	env->world.fail = NULL;
}

static void test_ops_commands(void **state)
{
	run_on_lane(state, lane_commands);
}

/* ---- changes that the device reports */

static void driver_told(void *arg)
{
	fake_did(arg, "told");
}

static void lane_listen(struct vdpa_device *vdev, void *arg)
{
	struct env *env = arg;

	vdpa_set_config_cb(vdev,
			   &(struct vdpa_config_cb){.changed = driver_told, .arg = &env->world});
}

static void lane_listen_no_more(struct vdpa_device *vdev, void *arg)
{
	vdpa_set_config_cb(vdev, NULL);
}

static void test_ops_changes_become_events(void **state)
{
	struct env *env = *state;
	struct fake_vdev *fake;
	struct vdpa_result res;

	assert_int_equal(env_add(env, "disk0", &res), 0);
	fake = fake_of(env->world.last);
	env_on_lane(&fake->vdev, lane_listen, env);
	fake_vdev_change(fake, 0);
	assert_true(FAKE_SAW(&env->world, "told"));
	env_settle(env, "disk0");
	assert_string_equal(env->events, "disk0:dev-add disk0:config ");

	env->events[0] = '\0';
	fake_vdev_change(fake, VIRTIO_CONFIG_S_NEEDS_RESET);
	env_settle(env, "disk0");
	assert_string_equal(env->events, "disk0:status=NEEDS_RESET "
					 "disk0:broken=the device needs a reset ");

	/* Nobody listens any more; that something has changed is still seen. */
	env_on_lane(&fake->vdev, lane_listen_no_more, env);
	env->events[0] = '\0';
	fake_forget(&env->world);
	fake_vdev_change(fake, 0);
	env_settle(env, "disk0");
	assert_false(FAKE_SAW(&env->world, "told"));
	assert_string_equal(env->events, "disk0:config ");
}

static void test_ops_events_do_not_pile_up(void **state)
{
	struct env *env = *state;
	struct vdpa_device *vdev;
	struct vdpa_result res;
	size_t num = 0;

	assert_int_equal(env_add(env, "d", &res), 0);
	env_settle(env, "d");
	env->events[0] = '\0';
	vdev = vdpa_dev_find(env->bus, "d");
	for (int i = 0; i < 10000; i++)
		vdpa_device_client(vdev, true, "x");
	env_settle(env, "d");
	for (const char *at = env->events; (at = strstr(at, "d:connect=x")); at++)
		num++;
	assert_int_equal(num, 256);
	/* There is room again. */
	env->events[0] = '\0';
	vdpa_device_client(vdev, false, "it hung up");
	vdpa_device_client(vdev, false, "twice");
	env_settle(env, "d");
	assert_string_equal(env->events, "d:disconnect=it hung up ");
}

/* A queue may break while its device waits to be freed, when nobody has a reference any more. */
static void test_ops_event_of_a_device_that_goes(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	atomic_store(&env->world.tell_at_end, true);
	assert_int_equal(env_add(env, "d", &res), 0);
	assert_int_equal(env_del(env, "d", 0, &res), 0);
	assert_int_equal(env->world.devices, 0);
	assert_int_equal(env_add(env, "e", &res), 0);
	env_settle(env, "e");
	assert_false(FAKE_SAW(&env->world, "free", "free"));
	assert_null(strstr(env->events, "too late"));
}

#define OPS_TEST(name) cmocka_unit_test_setup_teardown(name, env_setup, env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		OPS_TEST(test_ops_registration_names_the_missing_op),
		OPS_TEST(test_ops_registration_refuses_what_does_not_fit),
		OPS_TEST(test_ops_features),
		OPS_TEST(test_ops_status),
		OPS_TEST(test_ops_split_queue),
		OPS_TEST(test_ops_packed_queue),
		OPS_TEST(test_ops_config_space_has_an_end),
		OPS_TEST(test_ops_errors_have_text),
		OPS_TEST(test_ops_missing_ones_have_an_answer),
		OPS_TEST(test_ops_commands),
		OPS_TEST(test_ops_changes_become_events),
		OPS_TEST(test_ops_events_do_not_pile_up),
		OPS_TEST(test_ops_event_of_a_device_that_goes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
