/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the protocol has for network devices: announcements, the MTU, pairs of queues.
 */
#include "vhu_env.h"

#include <linux/virtio_net.h>

#define RARP      BIT_ULL(VU_PROTOCOL_F_RARP)
#define MTU       BIT_ULL(VU_PROTOCOL_F_MTU)
#define REPLY_ACK BIT_ULL(VU_PROTOCOL_F_REPLY_ACK)

static struct env env;

static void open_net(const char *queues)
{
	const char *const add[] = {"queues", queues, "queue-size", "64", NULL};

	env_open_class(&env, "toynet", add, NULL);
}

static int setup(void **state)
{
	open_net("4");
	return 0;
}

static int teardown(void **state)
{
	env_close(&env);
	return 0;
}

/* All messages before this one have been handled. */
static uint64_t get_u64(struct env_guest *g, uint32_t request)
{
	uint64_t value = 0;

	env_ok(g, vu_frontend_get_u64(&g->fe, request, &value, &g->ack));
	return value;
}

static void saw(uint32_t cmd, const void *in, uint32_t len, unsigned int num)
{
	pthread_mutex_lock(&env.lock);
	assert_int_equal(env.cmds, num);
	assert_int_equal(env.cmd, cmd);
	assert_int_equal(env.cmd_len, len);
	assert_memory_equal(env.cmd_in, in, len);
	pthread_mutex_unlock(&env.lock);
}

static unsigned int num_cmds(void)
{
	unsigned int num;

	pthread_mutex_lock(&env.lock);
	num = env.cmds;
	pthread_mutex_unlock(&env.lock);
	return num;
}

static void set_err(int err)
{
	pthread_mutex_lock(&env.lock);
	env.cmd_err = err;
	pthread_mutex_unlock(&env.lock);
}

/* As QEMU does: the bytes of the address where the number begins. */
static int send_rarp(struct env_guest *g, const char *mac)
{
	uint64_t value = 0;

	memcpy(&value, mac, 6);
	return vu_frontend_set_u64(&g->fe, VU_SEND_RARP, value, &g->ack);
}

static int set_mtu(struct env_guest *g, uint64_t mtu)
{
	return vu_frontend_set_u64(&g->fe, VU_NET_SET_MTU, mtu, &g->ack);
}

static void test_class_rarp(void **state)
{
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	assert_true(g.fe.protocol_features & RARP);
	env_ok(&g, send_rarp(&g, "\x52\x54\0\1\2\3"));
	saw(VDPA_CMD_NET_RARP, "\x52\x54\0\1\2\3", 6, 1);
	/* While rings run, as after a migration. */
	env_start_rings(&g, 2);
	env_ok(&g, send_rarp(&g, "\x52\x54\0\1\2\4"));
	saw(VDPA_CMD_NET_RARP, "\x52\x54\0\1\2\4", 6, 2);
	env_roundtrip(&g, 0, 10);
	env_disconnect(&g);
}

static void test_class_mtu(void **state)
{
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	assert_true(g.fe.protocol_features & MTU);
	env_ok(&g, set_mtu(&g, 9000));
	saw(VDPA_CMD_NET_MTU, "\x28\x23", 2, 1);
	env_ok(&g, set_mtu(&g, UINT16_MAX));
	saw(VDPA_CMD_NET_MTU, "\xff\xff", 2, 2);
	/* No such number. */
	assert_int_equal(set_mtu(&g, UINT16_MAX + 1), -EREMOTEIO);
	env_wait_log(&env, "NET_SET_MTU: 65536, an MTU has 16 bits");
	assert_int_equal(num_cmds(), 2);
	env_disconnect(&g);
}

/* What the device refuses is answered and logged, and the session goes on. */
static void refused(uint64_t protocol, int answer)
{
	struct env_guest g;

	env_forget(&env);
	set_err(-EIO);
	env_connect(&env, &g, 0, protocol);
	assert_int_equal(send_rarp(&g, "abcdef"), answer);
	assert_int_equal(set_mtu(&g, 1500), answer);
	env_wait_log(&env, "refused SEND_RARP: not today");
	env_wait_log(&env, "refused NET_SET_MTU: not today");
	set_err(0);
	env_ok(&g, set_mtu(&g, 1400));
	get_u64(&g, VU_GET_FEATURES);
	saw(VDPA_CMD_NET_MTU, "\x78\x05", 2, num_cmds());
	assert_false(env_logged(&env, "is ended"));
	env_disconnect(&g);
}

static void test_class_refused(void **state)
{
	refused(ENV_PROTOCOL, -EREMOTEIO);
	refused(RARP | MTU, 0);
}

static void test_class_wrong_sizes(void **state)
{
	static const uint32_t requests[] = {VU_SEND_RARP, VU_NET_SET_MTU};
	static const uint8_t payload[16];
	struct env_guest g;

	for (size_t i = 0; i < ARRAY_SIZE(requests); i++)
		for (uint32_t size = 0; size <= sizeof(payload); size += 4) {
			if (size == 8)
				continue;
			env_forget(&env);
			env_connect(&env, &g, 0, ENV_PROTOCOL);
			/* The session ends, with the payload read or not. */
			assert_true(vu_frontend_call(&g.fe, requests[i], payload, size, NULL, 0,
						     &g.ack) < 0);
			env_wait_log(&env, "bytes, not 8 to 8");
			env_disconnect(&g);
		}
	assert_int_equal(num_cmds(), 0);
}

static void test_class_not_negotiated(void **state)
{
	struct env_guest g;

	env_connect(&env, &g, 0, REPLY_ACK | MTU);
	assert_int_equal(send_rarp(&g, "abcdef"), -EREMOTEIO);
	env_wait_log(&env, "SEND_RARP: needs the protocol feature RARP");
	env_disconnect(&g);
	env_connect(&env, &g, 0, REPLY_ACK | RARP);
	assert_int_equal(set_mtu(&g, 1500), -EREMOTEIO);
	env_wait_log(&env, "NET_SET_MTU: needs the protocol feature MTU");
	env_disconnect(&g);
	assert_int_equal(num_cmds(), 0);
}

/* A class without the commands; and the feature that the MTU belongs to was taken away. */
static void test_class_not_offered(void **state)
{
	const char *const without_mtu[] = {"queues", "2", "features", "0x100000000", NULL};
	struct env_guest g;

	env_open(&env, NULL);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	assert_false(g.fe.protocol_offer & (RARP | MTU));
	env_disconnect(&g);
	env_close(&env);

	env_open_class(&env, "toynet", without_mtu, NULL);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	assert_false(g.fe.offer & BIT_ULL(VIRTIO_NET_F_MTU));
	assert_int_equal(g.fe.protocol_offer & (RARP | MTU), RARP);
	env_disconnect(&g);
	env_close(&env);
}

/* Of a network device pairs are counted; its control queue is a ring all the same. */
static void test_class_queue_pairs(void **state)
{
	static const struct {
		const char *queues;
		unsigned int pairs;
	} cases[] = {{"2", 1}, {"3", 1}, {"4", 2}};
	struct env_guest g;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t num = (uint32_t)atoi(cases[i].queues);

		open_net(cases[i].queues);
		env_connect(&env, &g, 0, ENV_PROTOCOL);
		assert_int_equal(get_u64(&g, VU_GET_QUEUE_NUM), cases[i].pairs);
		env_start_rings(&g, num);
		for (uint32_t idx = 0; idx < num; idx++)
			env_roundtrip(&g, idx, 10);
		/* No ring beyond, whatever the number means. */
		assert_int_equal(
			vu_frontend_set_ring(&g.fe, VU_SET_VRING_NUM, num, ENV_NUM, &g.ack),
			-EREMOTEIO);
		env_wait_log(&env, "SET_VRING_NUM: ring");
		env_disconnect(&g);
		env_close(&env);
	}
	env_open(&env, NULL);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	assert_int_equal(get_u64(&g, VU_GET_QUEUE_NUM), ENV_QUEUES);
	env_disconnect(&g);
	env_close(&env);
}

#define CLASS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLASS_TEST(test_class_rarp),
		CLASS_TEST(test_class_mtu),
		CLASS_TEST(test_class_refused),
		CLASS_TEST(test_class_wrong_sizes),
		CLASS_TEST(test_class_not_negotiated),
		cmocka_unit_test(test_class_not_offered),
		cmocka_unit_test(test_class_queue_pairs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
