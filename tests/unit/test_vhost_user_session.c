/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What front-ends do: messages in any order, some of them again, and what each front-end has of
 * its own.
 */
#include "vhu_env.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#define PACKED    BIT_ULL(VIRTIO_F_RING_PACKED)
#define REPLY_ACK BIT_ULL(VU_PROTOCOL_F_REPLY_ACK)

static struct env env;

static void set_ring(struct env_guest *g, uint32_t request, uint32_t idx, uint32_t num)
{
	env_ok(g, vu_frontend_set_ring(&g->fe, request, idx, num, &g->ack));
}

/* All messages before this one have been handled. */
static uint64_t get_u64(struct env_guest *g, uint32_t request)
{
	uint64_t value = 0;

	env_ok(g, vu_frontend_get_u64(&g->fe, request, &value, &g->ack));
	return value;
}

static void start(struct env_guest *g, uint64_t features, uint64_t protocol, uint32_t rings)
{
	env_connect(&env, g, features, protocol);
	env_start_rings(g, rings);
}

/* ---- order */

enum step { MEM, FEATURES, NUM, BASE, ADDR, CALL, KICK, ENABLE, STEPS };

static void take_step(struct env_guest *g, enum step step)
{
	struct vu_frontend_ring ring;
	struct vu_vring_addr addr;

	env_ring_setup(g, 0, &ring);
	addr = (struct vu_vring_addr){.desc = ring.desc, .avail = ring.avail, .used = ring.used};
	switch (step) {
	case MEM:
		return env_send_memory(g);
	case FEATURES:
		return env_set_features(g, g->features);
	case NUM:
		return set_ring(g, VU_SET_VRING_NUM, 0, ring.num);
	case BASE:
		return set_ring(g, VU_SET_VRING_BASE, 0, ring.base);
	case ADDR:
		return env_ok(g, vu_frontend_call(&g->fe, VU_SET_VRING_ADDR, &addr, sizeof(addr),
						  NULL, 0, &g->ack));
	case CALL:
		return env_ok(g, vu_frontend_set_ring_fd(&g->fe, VU_SET_VRING_CALL, 0, ring.call,
							 &g->ack));
	case KICK:
		return env_ok(g, vu_frontend_set_ring_fd(&g->fe, VU_SET_VRING_KICK, 0, ring.kick,
							 &g->ack));
	default:
		return set_ring(g, VU_SET_VRING_ENABLE, 0, 1);
	}
}

static void shuffle(enum step *steps, unsigned int *seed)
{
	for (unsigned int i = STEPS - 1; i; i--) {
		unsigned int j = (unsigned int)rand_r(seed) % (i + 1);
		enum step swap = steps[i];

		steps[i] = steps[j];
		steps[j] = swap;
	}
}

static void test_session_takes_any_order(void **state)
{
	enum step steps[STEPS];
	unsigned int seed = 1;

	for (int i = 0; i < STEPS; i++)
		steps[i] = (enum step)i;
	for (int round = 0; round < 100; round++) {
		struct env_guest g;

		shuffle(steps, &seed);
		env_connect(&env, &g, round & 1 ? PACKED : 0, round & 2 ? ENV_PROTOCOL : 0);
		env_make_ring(&g, 0);
		/* Requests may be there before the ring is. */
		env_offer(&g, 0, 3);
		for (int i = 0; i < STEPS; i++)
			take_step(&g, steps[i]);
		env_collect(&g, 0, 3);
		env_roundtrip(&g, 0, 3);
		env_disconnect(&g);
	}
	assert_string_equal(env.log, "");
}

static void test_session_negotiates_three_times(void **state)
{
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	for (int i = 0; i < 3; i++) {
		env_ok(&g, vu_frontend_negotiate(&g.fe, ENV_PROTOCOL, &g.ack));
		env_set_features(&g, g.features);
	}
	env_start_rings(&g, 2);
	env_roundtrip(&g, 1, 5);
	env_disconnect(&g);
}

static void test_session_without_protocol_features_enables_rings(void **state)
{
	struct vu_frontend_ring ring;
	struct env_guest g;

	env_connect(&env, &g, 0, 0);
	g.features &= ~BIT_ULL(VU_F_PROTOCOL_FEATURES);
	env_set_features(&g, g.features);
	env_send_memory(&g);
	env_make_ring(&g, 0);
	env_ring_setup(&g, 0, &ring);
	for (int step = NUM; step < ENABLE; step++)
		take_step(&g, (enum step)step);
	env_roundtrip(&g, 0, 7);
	env_disconnect(&g);
}

/* ---- start and stop */

static void test_session_kick_comes_before_enable(void **state)
{
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_make_ring(&g, 0);
	env_offer(&g, 0, 4);
	for (int step = 0; step < ENABLE; step++)
		take_step(&g, (enum step)step);
	get_u64(&g, VU_GET_FEATURES);
	assert_int_equal(atomic_load(&env.handled), 0);
	set_ring(&g, VU_SET_VRING_ENABLE, 0, 1);
	env_collect(&g, 0, 4);
	/* Disabled again it does nothing, and then goes on where it was. */
	set_ring(&g, VU_SET_VRING_ENABLE, 0, 0);
	env_offer(&g, 0, 4);
	get_u64(&g, VU_GET_FEATURES);
	assert_int_equal(atomic_load(&env.handled), 4);
	set_ring(&g, VU_SET_VRING_ENABLE, 0, 1);
	env_collect(&g, 0, 4);
	env_disconnect(&g);
}

static void test_session_base_of_a_split_ring(void **state)
{
	struct env_guest g;

	start(&g, 0, ENV_PROTOCOL, 2);
	for (int i = 0; i < 4; i++)
		env_roundtrip(&g, 0, 25);
	assert_int_equal(env_get_base(&g, 0), 100);
	assert_int_equal(env_get_base(&g, 1), 0);
	/* Stopped: nothing happens until it is kicked off again. */
	env_offer(&g, 0, 5);
	set_ring(&g, VU_SET_VRING_ENABLE, 0, 1);
	assert_int_equal(env_get_base(&g, 0), 100);
	assert_int_equal(atomic_load(&env.handled), 100);
	set_ring(&g, VU_SET_VRING_BASE, 0, 100);
	take_step(&g, KICK);
	env_collect(&g, 0, 5);
	assert_int_equal(env_get_base(&g, 0), 105);
	/* Without SET_VRING_BASE it goes on as well. */
	take_step(&g, KICK);
	env_roundtrip(&g, 0, 5);
	/* With one that cannot be meant, behind what was completed. */
	assert_int_equal(env_get_base(&g, 0), 110);
	set_ring(&g, VU_SET_VRING_BASE, 0, 0);
	take_step(&g, KICK);
	env_roundtrip(&g, 0, 5);
	assert_int_equal(env_get_base(&g, 0), 115);
	set_ring(&g, VU_SET_VRING_BASE, 0, 30000);
	take_step(&g, KICK);
	env_roundtrip(&g, 0, 5);
	assert_int_equal(env_get_base(&g, 0), 120);
	env_disconnect(&g);
}

static void test_session_base_of_a_packed_ring(void **state)
{
	struct env_guest g;

	start(&g, PACKED, ENV_PROTOCOL, 1);
	assert_int_equal(env_get_base(&g, 0), 0x80008000);
	take_step(&g, KICK);
	/* Two descriptors each: 32 requests are one lap. */
	env_roundtrip(&g, 0, 10);
	assert_int_equal(env_get_base(&g, 0), 20u << 16 | 20 | 0x80008000);
	take_step(&g, KICK);
	env_roundtrip(&g, 0, 22);
	assert_int_equal(env_get_base(&g, 0), 0);
	/* Here 0 means what it says: both counters are 0 in the second lap. */
	set_ring(&g, VU_SET_VRING_BASE, 0, 0);
	take_step(&g, KICK);
	env_roundtrip(&g, 0, 30);
	/* Older front-ends send one half. */
	assert_int_equal(env_get_base(&g, 0), 60u << 16 | 60);
	set_ring(&g, VU_SET_VRING_BASE, 0, 60);
	take_step(&g, KICK);
	env_roundtrip(&g, 0, 20);
	env_disconnect(&g);
}

/* One half, and a new in-flight log: nothing is in flight. */
static void test_session_half_a_base_with_a_log(void **state)
{
	static const enum step steps[] = {MEM, FEATURES, NUM, ADDR, CALL, KICK, ENABLE};
	struct vu_inflight in = {.num_queues = 1, .queue_size = ENV_NUM};
	struct env_guest g;
	int fd = -1;

	env_connect(&env, &g, PACKED, ENV_PROTOCOL);
	env_make_ring(&g, 0);
	env_ok(&g, vu_frontend_get_inflight(&g.fe, &in, &fd, &g.ack));
	env_ok(&g, vu_frontend_set_inflight(&g.fe, &in, fd, &g.ack));
	close(fd);
	set_ring(&g, VU_SET_VRING_BASE, 0, 0x8000);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
		take_step(&g, steps[i]);
	env_roundtrip(&g, 0, 5);
	assert_int_equal(env_get_base(&g, 0), 10u << 16 | 10 | 0x80008000);
	env_disconnect(&g);
}

static void test_session_base_of_a_ring_that_never_ran(void **state)
{
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	set_ring(&g, VU_SET_VRING_BASE, 2, 4711);
	assert_int_equal(env_get_base(&g, 2), 4711);
	env_disconnect(&g);
}

static void test_session_stop_waits_for_what_is_in_flight(void **state)
{
	struct vu_hdr hdr = {VU_GET_VRING_BASE, VU_FLAG_VERSION, sizeof(struct vu_vring_state)};
	struct vu_vring_state stop = {.index = 0};
	struct env_guest g;
	struct pollfd p;
	struct vu_msg msg;

	start(&g, 0, ENV_PROTOCOL, 1);
	atomic_store(&env.hold, true);
	env_offer(&g, 0, 20);
	while (atomic_load(&env.handled) < 20)
		get_u64(&g, VU_GET_FEATURES);
	/* The question is on its way when they are let go. */
	assert_int_equal(vu_send(g.fe.sock, &hdr, &stop, NULL, 0, ENV_WAIT_MS), 0);
	env_release(&env);
	env_collect(&g, 0, 20);
	p = (struct pollfd){.fd = g.fe.sock, .events = POLLIN};
	assert_int_equal(poll(&p, 1, ENV_WAIT_MS), 1);
	vu_msg_init(&msg);
	assert_int_equal(vu_recv(g.fe.sock, VU_TO_BACKEND, true, &msg, NULL), 1);
	assert_int_equal(msg.payload.state.num, 20);
	env_disconnect(&g);
}

static void test_session_ring_set_up_anew_while_it_runs(void **state)
{
	struct env_guest g;

	start(&g, 0, ENV_PROTOCOL, 2);
	for (int i = 0; i < 3; i++) {
		env_roundtrip(&g, 0, 30);
		env_roundtrip(&g, 1, 10);
		/* The guest starts anew, with its ring elsewhere; nobody has stopped this one. */
		g.rings[0].offset ^= ENV_QUEUES * ENV_RING;
		env_start_ring(&g, 0);
		/* Or it is disabled only, and set up anew in the same place. */
		set_ring(&g, VU_SET_VRING_ENABLE, 1, 0);
		env_start_ring(&g, 1);
	}
	env_roundtrip(&g, 0, 30);
	env_roundtrip(&g, 1, 10);
	env_disconnect(&g);
	assert_string_equal(env.log, "");
}

static void test_session_kick_and_call_change_while_it_runs(void **state)
{
	struct env_guest g;

	start(&g, 0, ENV_PROTOCOL, 1);
	for (int i = 0; i < 5; i++) {
		struct env_ring *r = &g.rings[0];

		fd_closep(&r->kick);
		fd_closep(&r->call);
		r->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		r->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		take_step(&g, KICK);
		take_step(&g, CALL);
		env_roundtrip(&g, 0, 10);
	}
	env_disconnect(&g);
}

/* ---- status */

static void set_status(struct env_guest *g, uint64_t status)
{
	env_ok(g, vu_frontend_set_u64(&g->fe, VU_SET_STATUS, status, &g->ack));
}

static void test_session_status_is_waited_for_where_it_is_used(void **state)
{
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	assert_int_equal(get_u64(&g, VU_GET_STATUS), 0);
	set_status(&g, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	set_status(&g, 3);
	env_set_features(&g, g.features);
	set_status(&g, 11);
	assert_int_equal(get_u64(&g, VU_GET_STATUS), 11);
	env_send_memory(&g);
	env_make_ring(&g, 0);
	env_offer(&g, 0, 3);
	for (int step = NUM; step < STEPS; step++)
		take_step(&g, (enum step)step);
	get_u64(&g, VU_GET_FEATURES);
	assert_int_equal(atomic_load(&env.handled), 0);
	set_status(&g, 15);
	env_collect(&g, 0, 3);
	/* A reset, and all again. */
	set_status(&g, 0);
	assert_int_equal(get_u64(&g, VU_GET_STATUS), 0);
	set_status(&g, 3);
	env_set_features(&g, g.features);
	set_status(&g, 15);
	env_start_ring(&g, 0);
	env_roundtrip(&g, 0, 3);
	env_disconnect(&g);
}

/* QEMU speaks of FEATURES_OK itself, and of a driver not for each of its devices. */
static void test_session_status_without_a_driver_is_not_waited_for(void **state)
{
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_set_features(&g, g.features);
	set_status(&g, VIRTIO_CONFIG_S_FEATURES_OK);
	env_send_memory(&g);
	env_make_ring(&g, 0);
	env_start_ring(&g, 0);
	env_roundtrip(&g, 0, 3);
	env_disconnect(&g);
}

static void test_session_features_that_do_not_do(void **state)
{
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	g.features &= ~BIT_ULL(VIRTIO_F_VERSION_1);
	env_set_features(&g, g.features);
	set_status(&g, 11);
	assert_int_equal(get_u64(&g, VU_GET_STATUS), 3);
	assert_true(env_logged(&env, "the driver did not accept VERSION_1"));
	env_disconnect(&g);
}

static void test_session_reset_device(void **state)
{
	struct env_guest g;

	start(&g, PACKED, ENV_PROTOCOL, 2);
	env_roundtrip(&g, 0, 10);
	for (int i = 0; i < 3; i++) {
		env_ok(&g, vu_frontend_call(&g.fe, VU_RESET_DEVICE, NULL, 0, NULL, 0, &g.ack));
		g.features ^= PACKED;
		env_set_features(&g, g.features);
		env_start_ring(&g, 0);
		env_start_ring(&g, 1);
		env_roundtrip(&g, 0, 10);
		env_roundtrip(&g, 1, 10);
	}
	env_disconnect(&g);
}

/* ---- config space */

static void test_session_config_is_as_long_as_asked_for(void **state)
{
	uint8_t buf[VU_CONFIG_MAX];
	struct vu_config ask = {.size = 8};
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	for (uint32_t len = 1; len <= sizeof(buf); len = len * 2 + 1) {
		memset(buf, 0xff, sizeof(buf));
		env_ok(&g, vu_frontend_get_config(&g.fe, 0, buf, len, &g.ack));
		for (uint32_t i = 0; i < len; i++)
			assert_int_equal(buf[i], i < ENV_CONFIG ? i + 1 : 0);
	}
	env_ok(&g, vu_frontend_get_config(&g.fe, ENV_CONFIG - 2, buf, 4, &g.ack));
	assert_memory_equal(buf, "\x17\x18\0\0", 4);
	env_ok(&g, vu_frontend_get_config(&g.fe, UINT32_MAX, buf, 4, &g.ack));
	assert_memory_equal(buf, "\0\0\0\0", 4);
	/* Some send the header alone. */
	env_ok(&g, vu_frontend_call(&g.fe, VU_GET_CONFIG, &ask, VU_CONFIG_HDR, NULL, 0, &g.ack));
	assert_int_equal(g.fe.msg.hdr.size, VU_CONFIG_HDR + 8);
	assert_int_equal(g.fe.msg.payload.config.data[7], 8);
	/* And some more than they ask for. */
	env_ok(&g,
	       vu_frontend_call(&g.fe, VU_GET_CONFIG, &ask, VU_CONFIG_HDR + 256, NULL, 0, &g.ack));
	assert_int_equal(g.fe.msg.hdr.size, VU_CONFIG_HDR + 256);
	assert_int_equal(g.fe.msg.payload.config.data[7], 8);
	assert_int_equal(g.fe.msg.payload.config.data[8], 0);
	env_disconnect(&g);
}

static void test_session_config_is_written(void **state)
{
	struct env_guest g;
	uint8_t value = 99;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_ok(&g, vu_frontend_set_config(&g.fe, 5, &value, 1, &g.ack));
	value = 0;
	env_ok(&g, vu_frontend_get_config(&g.fe, 5, &value, 1, &g.ack));
	assert_int_equal(value, 99);
	/* The guest is told no, and nobody's session ends. */
	assert_int_equal(vu_frontend_set_config(&g.fe, 20, &value, 1, NULL), -EREMOTEIO);
	env_ok(&g, vu_frontend_get_config(&g.fe, 20, &value, 1, &g.ack));
	assert_int_equal(value, 21);
	env_disconnect(&g);
	env_wait_event(&env, "disconnect");

	env_connect(&env, &g, 0, BIT_ULL(VU_PROTOCOL_F_CONFIG));
	env_ok(&g, vu_frontend_set_config(&g.fe, 20, &value, 1, &g.ack));
	env_ok(&g, vu_frontend_get_config(&g.fe, 20, &value, 1, &g.ack));
	assert_int_equal(value, 21);
	env_disconnect(&g);
	assert_string_equal(env.log, "");
}

/* A driver that comes back goes by what it has written; one that resets the device begins anew. */
static void test_session_config_outlives_the_connection(void **state)
{
	struct env_guest g;
	uint8_t value = 99;

	start(&g, 0, ENV_PROTOCOL, 1);
	env_ok(&g, vu_frontend_set_config(&g.fe, 5, &value, 1, &g.ack));
	env_roundtrip(&g, 0, 10);
	env_disconnect(&g);
	env_wait_event(&env, "disconnect");

	start(&g, 0, ENV_PROTOCOL, 1);
	env_roundtrip(&g, 0, 10);
	env_ok(&g, vu_frontend_get_config(&g.fe, 5, &value, 1, &g.ack));
	assert_int_equal(value, 99);
	env_ok(&g, vu_frontend_call(&g.fe, VU_RESET_DEVICE, NULL, 0, NULL, 0, &g.ack));
	env_ok(&g, vu_frontend_get_config(&g.fe, 5, &value, 1, &g.ack));
	assert_int_equal(value, 6);
	env_disconnect(&g);
}

static void test_session_tells_of_config_changes(void **state)
{
	uint32_t request;
	struct env_guest g;
	uint64_t value;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_ok(&g, vu_frontend_open_channel(&g.fe, &g.ack));
	/* While nothing runs there is silence, and then one message. */
	env_set_config(&env, 11);
	env_set_config(&env, 12);
	get_u64(&g, VU_GET_FEATURES);
	g.fe.timeout_ms = 1;
	assert_int_equal(vu_frontend_wait_channel(&g.fe, &request, NULL), -ETIMEDOUT);
	g.fe.timeout_ms = ENV_WAIT_MS;
	env_start_rings(&g, 1);
	env_ok(&g, vu_frontend_wait_channel(&g.fe, &request, &g.ack));
	assert_int_equal(request, VU_BACKEND_CONFIG_CHANGE_MSG);
	/* While it runs at once. */
	env_set_config(&env, 13);
	env_ok(&g, vu_frontend_wait_channel(&g.fe, &request, &g.ack));
	env_ok(&g, vu_frontend_get_config(&g.fe, 8, &value, 8, &g.ack));
	assert_int_equal(value, 13);
	/* A channel that nobody reads, and one that is closed, harm nobody. */
	for (uint64_t i = 0; i < 2000; i++)
		env_set_config(&env, i);
	fd_closep(&g.fe.channel);
	env_set_config(&env, 14);
	env_roundtrip(&g, 0, 3);
	env_disconnect(&g);
}

/* ---- user-mode Linux: all need a reply from the first negotiation on, user addresses are guest
 * addresses, memory begins within the file, base 0 for packed rings, no GET_VRING_BASE */

static void test_session_as_user_mode_linux(void **state)
{
	struct vu_region region = {.gpa = ENV_GPA + 0x3000,
				   .size = ENV_MEM - 0x3000,
				   .uaddr = ENV_GPA + 0x3000,
				   .offset = 0x3000};
	struct vu_frontend_ring ring;
	struct env_guest g;

	env_connect_raw(&env, &g);
	env_ok(&g, vu_frontend_call(&g.fe, VU_SET_OWNER, NULL, 0, NULL, 0, &g.ack));
	get_u64(&g, VU_GET_FEATURES);
	get_u64(&g, VU_GET_PROTOCOL_FEATURES);
	/* It asks for replies as soon as it means to, in the very message that says so. */
	g.fe.protocol_features = REPLY_ACK | BIT_ULL(VU_PROTOCOL_F_CONFIG);
	env_ok(&g, vu_frontend_set_u64(&g.fe, VU_SET_PROTOCOL_FEATURES, g.fe.protocol_features,
				       &g.ack));
	g.features = BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VU_F_PROTOCOL_FEATURES) | PACKED;
	env_set_features(&g, g.features);
	env_ok(&g, vu_frontend_set_mem(&g.fe, &region, &g.memfd, 1, &g.ack));
	env_make_ring(&g, 1);
	env_ring_setup(&g, 1, &ring);
	ring.base = 0;
	ring.desc -= ENV_UADDR - ENV_GPA;
	ring.avail -= ENV_UADDR - ENV_GPA;
	ring.used -= ENV_UADDR - ENV_GPA;
	env_ok(&g, vu_frontend_start_ring(&g.fe, &ring, &g.ack));
	for (int i = 0; i < 10; i++)
		env_roundtrip(&g, 1, 30);
	set_ring(&g, VU_SET_VRING_ENABLE, 1, 0);
	env_disconnect(&g);
	env_wait_event(&env, "disconnect the front-end has left");
}

/* ---- broken rings */

static void test_session_broken_ring_is_signalled(void **state)
{
	struct vu_frontend_ring ring;
	struct vring_avail *avail;
	struct env_guest g;
	uint64_t one = 1;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_make_ring(&g, 0);
	env_ok(&g, vu_frontend_set_ring_fd(&g.fe, VU_SET_VRING_ERR, 0, g.rings[0].err, &g.ack));
	env_start_rings(&g, 2);
	env_ring_setup(&g, 0, &ring);
	avail = (void *)(g.mem + (ring.avail - ENV_UADDR));
	__atomic_store_n(&avail->idx, 1000, __ATOMIC_RELEASE);
	assert_int_equal(write(g.rings[0].kick, &one, sizeof(one)), sizeof(one));
	env_wait_fd(g.rings[0].err);
	assert_true(get_u64(&g, VU_GET_STATUS) & VIRTIO_CONFIG_S_NEEDS_RESET);
	env_ok(&g, vu_frontend_call(&g.fe, VU_RESET_DEVICE, NULL, 0, NULL, 0, &g.ack));
	env_set_features(&g, g.features);
	env_start_ring(&g, 0);
	env_roundtrip(&g, 0, 3);
	env_disconnect(&g);
}

#define T(f) cmocka_unit_test_prestate_setup_teardown(f, env_setup, env_teardown, &env)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_session_takes_any_order),
		T(test_session_negotiates_three_times),
		T(test_session_without_protocol_features_enables_rings),
		T(test_session_kick_comes_before_enable),
		T(test_session_base_of_a_split_ring),
		T(test_session_base_of_a_packed_ring),
		T(test_session_half_a_base_with_a_log),
		T(test_session_base_of_a_ring_that_never_ran),
		T(test_session_stop_waits_for_what_is_in_flight),
		T(test_session_ring_set_up_anew_while_it_runs),
		T(test_session_kick_and_call_change_while_it_runs),
		T(test_session_status_is_waited_for_where_it_is_used),
		T(test_session_status_without_a_driver_is_not_waited_for),
		T(test_session_features_that_do_not_do),
		T(test_session_reset_device),
		T(test_session_config_is_as_long_as_asked_for),
		T(test_session_config_is_written),
		T(test_session_config_outlives_the_connection),
		T(test_session_tells_of_config_changes),
		T(test_session_as_user_mode_linux),
		T(test_session_broken_ring_is_signalled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
