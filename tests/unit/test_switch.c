/* SPDX-License-Identifier: BSD-2-Clause */
#include <linux/virtio_net.h>
#include <stdio.h>
#include <stdlib.h>

#include "fail_alloc.h"
#include "switch_env.h"

#define STATION(env, i) (&(env)->stations[i])
#define EAR(env, i)     (&(env)->stations[i].ears[0])

/* Have everybody known. */
static void introduce(struct switch_env *env, unsigned int num)
{
	for (unsigned int i = 0; i < num; i++)
		env_send(STATION(env, i), env_all, 0);
	env_forget(env);
}

/* ---- who gets a frame */

static void test_switch_floods_until_it_knows(void **state)
{
	struct switch_env env;

	env_simple(&env, 3);
	env_send(STATION(&env, 0), env_mac(&env, 1), 7);
	assert_int_equal(EAR(&env, 0)->num, 0);
	assert_int_equal(EAR(&env, 1)->num, 1);
	assert_int_equal(EAR(&env, 2)->num, 1);
	assert_int_equal(env_number(&EAR(&env, 1)->got[0]), 7);
	assert_int_equal(EAR(&env, 1)->got[0].len, 64);
	/* The sender is known now. */
	env_send(STATION(&env, 1), env_mac(&env, 0), 8);
	assert_int_equal(EAR(&env, 0)->num, 1);
	assert_int_equal(env_number(&EAR(&env, 0)->got[0]), 8);
	assert_int_equal(EAR(&env, 2)->num, 1);
	/* And so is who has answered. */
	env_send(STATION(&env, 0), env_mac(&env, 1), 9);
	assert_int_equal(EAR(&env, 1)->num, 2);
	assert_int_equal(EAR(&env, 2)->num, 1);
	assert_int_equal(env_stat(STATION(&env, 0), "tx.frames"), 2);
	assert_int_equal(env_stat(STATION(&env, 0), "tx.bytes"), 128);
	assert_int_equal(env_stat(STATION(&env, 0), "tx.flooded"), 1);
	assert_int_equal(env_stat(STATION(&env, 1), "rx.frames"), 2);
	assert_int_equal(env_stat(STATION(&env, 1), "rx.bytes"), 128);
	assert_int_equal(env_stat(STATION(&env, 1), "macs"), 1);
	env_free(&env);
}

static void test_switch_broadcast_and_multicast(void **state)
{
	static const uint8_t group[NET_MAC_LEN] = {0x33, 0x33, 0, 0, 0, 1};
	struct switch_env env;

	env_simple(&env, 4);
	introduce(&env, 4);
	env_send(STATION(&env, 2), env_all, 1);
	env_send(STATION(&env, 2), group, 2);
	for (unsigned int i = 0; i < 4; i++)
		assert_int_equal(EAR(&env, i)->num, i == 2 ? 0 : 2);
	env_free(&env);
}

/* One burst, three receivers: each is taken once, and gets its frames in their order. */
static void test_switch_groups_a_burst(void **state)
{
	struct switch_env env;

	env_simple(&env, 4);
	introduce(&env, 4);
	for (uint8_t i = 0; i < 60; i++)
		env_put(STATION(&env, 0), env_mac(&env, 1 + i % 3), i);
	env_flush(STATION(&env, 0));
	for (unsigned int i = 1; i < 4; i++) {
		assert_int_equal(EAR(&env, i)->num, 20);
		assert_int_equal(EAR(&env, i)->bursts, 1);
		for (unsigned int k = 0; k < 20; k++)
			assert_int_equal(env_number(&EAR(&env, i)->got[k]), 3 * k + i - 1);
	}
	/* Nothing is left for the next one. */
	env_flush(STATION(&env, 0));
	assert_int_equal(EAR(&env, 1)->bursts, 1);
	env_free(&env);
}

/* What is for all and what is for one come in the order in which they were sent. */
static void test_switch_order_of_floods_and_others(void **state)
{
	struct switch_env env;

	env_simple(&env, 3);
	introduce(&env, 3);
	for (uint8_t i = 0; i < 64; i++)
		env_put(STATION(&env, 0), i % 4 ? env_mac(&env, 1 + i % 2) : env_all, i);
	env_flush(STATION(&env, 0));
	assert_int_equal(EAR(&env, 1)->num, 16 + 16);
	assert_int_equal(EAR(&env, 2)->num, 16 + 32);
	for (unsigned int i = 1; i < 3; i++) {
		assert_int_equal(EAR(&env, i)->bursts, 1);
		for (unsigned int k = 1; k < EAR(&env, i)->num; k++)
			assert_true(env_number(&EAR(&env, i)->got[k]) >
				    env_number(&EAR(&env, i)->got[k - 1]));
	}
	env_free(&env);
}

/* More frames than a burst has: all of them go. */
static void test_switch_long_burst(void **state)
{
	struct station *from;
	struct switch_env env;
	struct iovec iov;
	uint8_t frame[64] = {0};
	struct net_pkt pkt = {.iov = &iov, .num = 1, .len = sizeof(frame)};

	env_simple(&env, 2);
	introduce(&env, 2);
	from = STATION(&env, 0);
	memcpy(frame, env_mac(&env, 1), NET_MAC_LEN);
	memcpy(frame + NET_MAC_LEN, from->mac, NET_MAC_LEN);
	iov = (struct iovec){frame, sizeof(frame)};
	for (unsigned int i = 0; i < 200; i++)
		assert_int_equal(from->port->ops->send(from->tx, &pkt), 0);
	env_flush(from);
	assert_int_equal(EAR(&env, 1)->num, 200);
	assert_int_equal(EAR(&env, 1)->bursts, 4);
	env_free(&env);
}

static void test_switch_frame_in_pieces(void **state)
{
	struct station *from;
	struct switch_env env;
	uint8_t frame[100];
	struct iovec iov[100];
	struct net_pkt pkt = {.iov = iov, .num = 100, .len = sizeof(frame)};

	env_simple(&env, 2);
	introduce(&env, 2);
	from = STATION(&env, 0);
	for (unsigned int i = 0; i < sizeof(frame); i++) {
		frame[i] = (uint8_t)i;
		iov[i] = (struct iovec){&frame[i], 1};
	}
	memcpy(frame, env_mac(&env, 1), NET_MAC_LEN);
	memcpy(frame + NET_MAC_LEN, from->mac, NET_MAC_LEN);
	assert_int_equal(from->port->ops->send(from->tx, &pkt), 0);
	env_flush(from);
	/* With a head that the sender has looked at already. */
	pkt.head = frame;
	pkt.head_len = 50;
	pkt.off = 50;
	assert_int_equal(from->port->ops->send(from->tx, &pkt), 0);
	env_flush(from);
	assert_int_equal(EAR(&env, 1)->num, 2);
	for (unsigned int i = 0; i < 2; i++) {
		assert_int_equal(EAR(&env, 1)->got[i].len, sizeof(frame));
		assert_memory_equal(EAR(&env, 1)->got[i].bytes, frame, sizeof(frame));
	}
	env_free(&env);
}

static void test_switch_drops_what_nobody_may_send(void **state)
{
	struct switch_env env;
	struct station *from;
	uint8_t frame[64] = {0};

	env_simple(&env, 2);
	introduce(&env, 2);
	from = STATION(&env, 0);
	env_put_bytes(from, frame, 13);
	env_put_bytes(from, frame, 0);
	memcpy(frame, env_mac(&env, 1), NET_MAC_LEN);
	env_put_bytes(from, frame, 64); /* from 00:00:00:00:00:00 */
	frame[NET_MAC_LEN] = 1;
	env_put_bytes(from, frame, 64); /* from a group */
	memcpy(frame + NET_MAC_LEN, from->mac, NET_MAC_LEN);
	memcpy(frame, from->mac, NET_MAC_LEN);
	env_put_bytes(from, frame, 64); /* to itself */
	for (unsigned int i = 0; i < 16; i++) {
		memcpy(frame, "\x01\x80\xc2\0\0", 5);
		frame[5] = (uint8_t)i;
		env_put_bytes(from, frame, 64);
	}
	env_flush(from);
	assert_int_equal(EAR(&env, 1)->num, 0);
	assert_int_equal(env_stat(from, "tx.drops.short"), 2);
	assert_int_equal(env_stat(from, "tx.drops.bad_source"), 2);
	assert_int_equal(env_stat(from, "tx.drops.own_port"), 1);
	assert_int_equal(env_stat(from, "tx.drops.reserved"), 16);
	/* The next ones are groups like any others. */
	frame[5] = 16;
	env_put_bytes(from, frame, 14);
	env_flush(from);
	assert_int_equal(EAR(&env, 1)->num, 1);
	env_free(&env);
}

/* ---- what is known */

static void test_switch_moving_station(void **state)
{
	struct switch_env env;

	env_simple(&env, 3);
	introduce(&env, 3);
	memcpy(STATION(&env, 2)->mac, env_mac(&env, 1), NET_MAC_LEN);
	env_send(STATION(&env, 2), env_all, 0);
	env_forget(&env);
	env_send(STATION(&env, 0), env_mac(&env, 1), 1);
	assert_int_equal(EAR(&env, 1)->num, 0);
	assert_int_equal(EAR(&env, 2)->num, 1);
	/* To itself where it is now, and seen there by who still has it. */
	env_send(STATION(&env, 1), env_mac(&env, 0), 2);
	env_send(STATION(&env, 0), env_mac(&env, 1), 3);
	assert_int_equal(EAR(&env, 1)->num, 1);
	assert_int_equal(EAR(&env, 2)->num, 1);
	env_free(&env);
}

static void test_switch_forgets(void **state)
{
	struct switch_env env;

	env_simple(&env, 3);
	introduce(&env, 3);
	env.now += ENV_AGEING * ENV_SECOND;
	env_send(STATION(&env, 0), env_mac(&env, 1), 1);
	assert_int_equal(EAR(&env, 2)->num, 0);
	env.now += ENV_SECOND;
	env_send(STATION(&env, 0), env_mac(&env, 1), 2);
	assert_int_equal(EAR(&env, 2)->num, 1);
	/* The table is tidied by those who send. */
	for (unsigned int i = 0; i < FDB_SWEEPS; i++) {
		env.now += ENV_SECOND;
		env_send(STATION(&env, 0), env_mac(&env, 1), 3);
	}
	assert_int_equal(env_stat(STATION(&env, 0), "macs"), 1);
	assert_int_equal(env_stat(STATION(&env, 1), "macs"), 0);
	env_free(&env);
}

static void test_switch_mac_storm(void **state)
{
	static const char *const attrs[] = {"macs", "10", NULL};
	struct switch_env env;
	uint8_t frame[64] = {0};

	env_init(&env);
	env_start(&env);
	env_plug(&env, 0, 1, attrs);
	env_plug(&env, 1, 1, NULL);
	env_plug(&env, 2, 1, NULL);
	env_send(STATION(&env, 1), env_all, 0);
	env_send(STATION(&env, 2), env_all, 0);
	memcpy(frame, env_mac(&env, 1), NET_MAC_LEN);
	for (unsigned int i = 0; i < 10000; i++) {
		memcpy(frame + NET_MAC_LEN, "\x02\0\0", 3);
		frame[9] = (uint8_t)(i >> 8);
		frame[10] = (uint8_t)i;
		env_put_bytes(STATION(&env, 0), frame, 64);
		if (i % 64 == 63)
			env_flush(STATION(&env, 0));
	}
	env_flush(STATION(&env, 0));
	/* All of it was forwarded, and others are still known. */
	assert_int_equal(EAR(&env, 1)->num, 10001);
	assert_int_equal(EAR(&env, 2)->num, 1);
	assert_int_equal(env_stat(STATION(&env, 0), "macs"), 10);
	assert_int_equal(env_stat(STATION(&env, 0), "macs_refused"), 10000 - 10);
	env_forget(&env);
	env_send(STATION(&env, 1), env_mac(&env, 2), 1);
	assert_int_equal(EAR(&env, 0)->num, 0);
	assert_int_equal(EAR(&env, 2)->num, 1);
	env_free(&env);
}

/* ---- limits */

static void test_switch_flood_limit(void **state)
{
	struct switch_env env;

	env_init(&env);
	env.config.flood_limit = 1000;
	env_start(&env);
	for (unsigned int i = 0; i < 3; i++)
		env_plug(&env, i, 1, NULL);
	for (unsigned int i = 0; i < 600; i++)
		env_send(STATION(&env, 0), env_all, 0);
	/* A tenth of a second's worth at once. */
	assert_int_equal(EAR(&env, 1)->num, 100);
	assert_int_equal(EAR(&env, 2)->num, 100);
	assert_int_equal(env_stat(STATION(&env, 0), "tx.drops.flood_limit"), 500);
	assert_int_equal(env_stat(STATION(&env, 0), "tx.flooded"), 100);
	/* That is each sender's own affair, and not of frames for one. */
	env_send(STATION(&env, 1), env_all, 0);
	assert_int_equal(EAR(&env, 2)->num, 101);
	env_send(STATION(&env, 0), env_mac(&env, 1), 0);
	assert_int_equal(EAR(&env, 1)->num, 101);
	env.now += ENV_SECOND / 100;
	for (unsigned int i = 0; i < 100; i++)
		env_send(STATION(&env, 0), env_all, 0);
	assert_int_equal(EAR(&env, 1)->num, 111);
	env.now += 100 * ENV_SECOND;
	for (unsigned int i = 0; i < 200; i++)
		env_send(STATION(&env, 0), env_all, 0);
	assert_int_equal(EAR(&env, 1)->num, 211);
	env_free(&env);
}

/* With one receiver a flood is no more than any other frame. */
static void test_switch_flood_limit_of_two(void **state)
{
	struct switch_env env;

	env_init(&env);
	env.config.flood_limit = 1;
	env_start(&env);
	env_plug(&env, 0, 1, NULL);
	env_plug(&env, 1, 1, NULL);
	for (unsigned int i = 0; i < 100; i++)
		env_send(STATION(&env, 0), env_all, 0);
	assert_int_equal(EAR(&env, 1)->num, 100);
	env_plug(&env, 2, 1, NULL);
	for (unsigned int i = 0; i < 100; i++)
		env_send(STATION(&env, 0), env_all, 0);
	assert_int_equal(EAR(&env, 1)->num, 101);
	STATION(&env, 2)->port->ops->set_link(STATION(&env, 2)->port, false);
	env_send(STATION(&env, 0), env_all, 0);
	assert_int_equal(EAR(&env, 1)->num, 102);
	env_free(&env);
}

/* Who has no room loses its own frames only; a shorter one may still fit. */
static void test_switch_receiver_without_room(void **state)
{
	uint8_t frame[ENV_FRAME] = {0};
	struct switch_env env;

	env_simple(&env, 3);
	introduce(&env, 3);
	EAR(&env, 1)->room = 5;
	for (uint8_t i = 0; i < 20; i++) {
		env_put(STATION(&env, 0), env_mac(&env, 1), i);
		env_put(STATION(&env, 0), env_mac(&env, 2), i);
	}
	env_flush(STATION(&env, 0));
	assert_int_equal(EAR(&env, 1)->num, 5);
	assert_int_equal(EAR(&env, 1)->lost, 15);
	assert_int_equal(EAR(&env, 2)->num, 20);
	assert_int_equal(EAR(&env, 2)->lost, 0);
	assert_int_equal(env_stat(STATION(&env, 1), "rx.drops.no_room"), 15);
	assert_int_equal(env_stat(STATION(&env, 1), "rx.frames"), 5 + 2);
	assert_int_equal(env_stat(STATION(&env, 2), "rx.drops.no_room"), 0);
	/* Too long for any buffer is not "no room". */
	EAR(&env, 1)->room = UINT32_MAX;
	EAR(&env, 1)->longest = 100;
	memcpy(frame, env_mac(&env, 1), NET_MAC_LEN);
	memcpy(frame + NET_MAC_LEN, env_mac(&env, 0), NET_MAC_LEN);
	env_put_bytes(STATION(&env, 0), frame, ENV_FRAME);
	env_put(STATION(&env, 0), env_mac(&env, 1), 99);
	env_flush(STATION(&env, 0));
	assert_int_equal(EAR(&env, 1)->num, 6);
	assert_int_equal(env_stat(STATION(&env, 1), "rx.drops.too_long"), 1);
	assert_int_equal(env_stat(STATION(&env, 1), "rx.drops.no_room"), 15);
	env_free(&env);
}

/* ---- VLANs */

static uint32_t tagged(uint8_t *frame, const struct station *from, const uint8_t *dst, uint16_t tci)
{
	memset(frame, 0, 64);
	memcpy(frame, dst, NET_MAC_LEN);
	memcpy(frame + NET_MAC_LEN, from->mac, NET_MAC_LEN);
	memcpy(frame + 12, "\x81\x00", 2);
	frame[14] = (uint8_t)(tci >> 8);
	frame[15] = (uint8_t)tci;
	memcpy(frame + 16, "\x88\xb5", 2);
	for (uint8_t i = 18; i < 64; i++)
		frame[i] = i;
	return 64;
}

static void send_tagged(struct station *from, uint16_t tci)
{
	uint8_t frame[64];

	env_put_bytes(from, frame, tagged(frame, from, env_all, tci));
	env_flush(from);
}

/* 0: VLAN 10, 1: VLAN 20, 2: all tagged, 3: VLANs 10 and 30-40 tagged and 20 untagged, 4: VLAN 10.
 */
static void plug_vlans(struct switch_env *env)
{
	static const char *const attrs[][5] = {
		{"vlan", "10", NULL},   {"vlan", "20", NULL},
		{"trunk", "all", NULL}, {"trunk", "10,30-40", "vlan", "20", NULL},
		{"vlan", "10", NULL},
	};

	env_init(env);
	env_start(env);
	for (unsigned int i = 0; i < 5; i++)
		env_plug(env, i, 1, attrs[i]);
}

static void expect_tag(const struct got *got, int tci)
{
	if (tci < 0) {
		assert_int_equal(got->len, 60);
		assert_memory_equal(got->bytes + 12, "\x88\xb5", 2);
		for (uint8_t i = 14; i < 60; i++)
			assert_int_equal(got->bytes[i], i + 4);
		return;
	}
	assert_int_equal(got->len, 64);
	assert_memory_equal(got->bytes + 12, "\x81\x00", 2);
	assert_int_equal(got->bytes[14] << 8 | got->bytes[15], tci);
	assert_memory_equal(got->bytes + 16, "\x88\xb5", 2);
	for (uint8_t i = 18; i < 64; i++)
		assert_int_equal(got->bytes[i], i);
}

static void test_switch_vlans_from_a_trunk(void **state)
{
	struct switch_env env;

	plug_vlans(&env);
	send_tagged(STATION(&env, 2), 0xa00a); /* priority 5, VLAN 10 */
	assert_int_equal(EAR(&env, 0)->num, 1);
	assert_int_equal(EAR(&env, 1)->num, 0);
	assert_int_equal(EAR(&env, 3)->num, 1);
	assert_int_equal(EAR(&env, 4)->num, 1);
	expect_tag(&EAR(&env, 0)->got[0], -1);
	expect_tag(&EAR(&env, 3)->got[0], 0xa00a);
	env_forget(&env);
	send_tagged(STATION(&env, 2), 20);
	assert_int_equal(EAR(&env, 0)->num, 0);
	expect_tag(&EAR(&env, 1)->got[0], -1);
	expect_tag(&EAR(&env, 3)->got[0], -1);
	env_forget(&env);
	send_tagged(STATION(&env, 2), 35);
	assert_int_equal(EAR(&env, 3)->num, 1);
	send_tagged(STATION(&env, 2), 41);
	send_tagged(STATION(&env, 2), 29);
	assert_int_equal(EAR(&env, 3)->num, 1);
	/* No VLAN has these, and this port none without a tag. */
	send_tagged(STATION(&env, 2), 4095);
	send_tagged(STATION(&env, 2), 0);
	env_send(STATION(&env, 2), env_all, 0);
	assert_int_equal(env_stat(STATION(&env, 2), "tx.drops.vlan"), 3);
	env_free(&env);
}

static void test_switch_vlans_from_an_access_port(void **state)
{
	struct switch_env env;
	uint8_t frame[64];

	plug_vlans(&env);
	/* A priority alone is as good as no tag, and is kept where there are tags. */
	send_tagged(STATION(&env, 0), 0x6000);
	assert_int_equal(EAR(&env, 1)->num, 0);
	expect_tag(&EAR(&env, 2)->got[0], 0x600a);
	expect_tag(&EAR(&env, 3)->got[0], 0x600a);
	expect_tag(&EAR(&env, 4)->got[0], -1);
	env_forget(&env);
	env_send(STATION(&env, 0), env_all, 77);
	assert_int_equal(EAR(&env, 2)->got[0].len, 68);
	assert_memory_equal(EAR(&env, 2)->got[0].bytes + 12, "\x81\x00\x00\x0a\x88\xb5", 6);
	assert_int_equal(EAR(&env, 2)->got[0].bytes[67], 77);
	assert_int_equal(EAR(&env, 4)->got[0].len, 64);
	env_forget(&env);
	/* Its own VLAN, another one, and one behind a tag that would be taken off. */
	send_tagged(STATION(&env, 0), 10);
	send_tagged(STATION(&env, 0), 20);
	tagged(frame, STATION(&env, 0), env_all, 0);
	memcpy(frame + 16, "\x81\x00\x00\x14", 4);
	env_put_bytes(STATION(&env, 0), frame, 64);
	env_put_bytes(STATION(&env, 0), frame, 17);
	env_flush(STATION(&env, 0));
	for (unsigned int i = 0; i < 5; i++)
		assert_int_equal(EAR(&env, i)->num, 0);
	assert_int_equal(env_stat(STATION(&env, 0), "tx.drops.vlan"), 4);
	env_free(&env);
}

/* The same address in two VLANs is two stations. */
static void test_switch_learns_by_vlan(void **state)
{
	struct switch_env env;

	plug_vlans(&env);
	memcpy(STATION(&env, 1)->mac, env_mac(&env, 0), NET_MAC_LEN);
	env_send(STATION(&env, 0), env_all, 0);
	env_send(STATION(&env, 1), env_all, 0);
	env_forget(&env);
	env_send(STATION(&env, 4), env_mac(&env, 0), 1);
	env_send(STATION(&env, 3), env_mac(&env, 0), 2);
	assert_int_equal(EAR(&env, 0)->num, 1);
	assert_int_equal(env_number(&EAR(&env, 0)->got[0]), 1);
	assert_int_equal(EAR(&env, 1)->num, 1);
	assert_int_equal(env_number(&EAR(&env, 1)->got[0]), 2);
	env_free(&env);
}

/* What the header says of places in the frame moves with the tag. */
static void test_switch_vlan_moves_the_header(void **state)
{
	struct net_hdr hdr = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
		.hdr_len = 58,
		.gso_size = 10,
		.csum_start = 38,
		.csum_offset = 16,
	};
	struct switch_env env;
	struct station *from;
	uint8_t frame[64];
	struct iovec iov = {frame, sizeof(frame)};
	struct net_pkt pkt = {.hdr = hdr, .iov = &iov, .num = 1, .len = sizeof(frame)};

	plug_vlans(&env);
	from = STATION(&env, 2);
	tagged(frame, from, env_all, 10);
	assert_int_equal(from->port->ops->send(from->tx, &pkt), 0);
	/* All of it in the head: longer than what the switch asks for. */
	pkt.head = frame;
	pkt.head_len = sizeof(frame);
	pkt.num = 0;
	assert_int_equal(from->port->ops->send(from->tx, &pkt), 0);
	/* A checksum of the addresses: there is none. */
	pkt.hdr.csum_start = 17;
	assert_int_equal(from->port->ops->send(from->tx, &pkt), 0);
	env_flush(from);
	assert_int_equal(EAR(&env, 0)->num, 2);
	for (unsigned int i = 0; i < 2; i++) {
		expect_tag(&EAR(&env, 0)->got[i], -1);
		assert_int_equal(EAR(&env, 0)->got[i].hdr.csum_start, 34);
		assert_int_equal(EAR(&env, 0)->got[i].hdr.csum_offset, 16);
		assert_int_equal(EAR(&env, 0)->got[i].hdr.hdr_len, 54);
		assert_int_equal(EAR(&env, 0)->got[i].hdr.gso_size, 10);
		expect_tag(&EAR(&env, 3)->got[i], 10);
		assert_int_equal(EAR(&env, 3)->got[i].hdr.csum_start, 38);
	}
	assert_int_equal(env_stat(STATION(&env, 0), "rx.drops.bad_header"), 1);
	env_forget(&env);
	/* The other way round. */
	from = STATION(&env, 0);
	tagged(frame, from, env_all, 0);
	memcpy(frame + 12, "\x88\xb5", 2);
	pkt.hdr = hdr;
	pkt.hdr.csum_start = 34;
	assert_int_equal(from->port->ops->send(from->tx, &pkt), 0);
	pkt.hdr.csum_start = UINT16_MAX;
	assert_int_equal(from->port->ops->send(from->tx, &pkt), 0);
	env_flush(from);
	assert_int_equal(EAR(&env, 2)->num, 1);
	assert_int_equal(EAR(&env, 2)->got[0].hdr.csum_start, 38);
	assert_memory_equal(EAR(&env, 2)->got[0].bytes + 18, frame + 14, 50);
	assert_int_equal(env_stat(STATION(&env, 2), "rx.drops.bad_header"), 1);
	env_free(&env);
}

static void test_switch_vlan_attributes(void **state)
{
	static const char *const good[] = {"1", "4094", "1,2", "1-4094", "5-5,7"};
	static const char *const bad[] = {"",      "0",   "4095", "1-",   "-1",
					  "2-1",   "1,",  ",1",   "1,,2", "one",
					  "1-2-3", "1 2", "+1",   "1-+2", "99999999999999999999"};
	struct vdpa_extack ack;
	struct switch_env env;

	env_init(&env);
	env_start(&env);
	for (unsigned int i = 0; i < ARRAY_SIZE(good); i++) {
		env_plug(&env, 0, 1, (const char *const[]){"trunk", good[i], NULL});
		env_unplug(STATION(&env, 0));
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		ack = (struct vdpa_extack){0};
		assert_int_equal(env_try_plug(&env, 0, 1,
					      (const char *const[]){"trunk", bad[i], NULL}, &ack),
				 -EINVAL);
		assert_non_null(strstr(ack.msg, "'trunk' is "));
	}
	env_free(&env);
}

/* ---- queues, links, ports */

static void put_udp(struct station *from, const uint8_t *dst, uint8_t port, uint8_t number)
{
	uint8_t frame[64] = {0};

	memcpy(frame, dst, NET_MAC_LEN);
	memcpy(frame + NET_MAC_LEN, from->mac, NET_MAC_LEN);
	memcpy(frame + 12, "\x08\x00\x45", 3);
	frame[23] = 17;
	memcpy(frame + 26, "\x0a\0\0\1\x0a\0\0\2", 8);
	frame[35] = port;
	frame[63] = number;
	env_put_bytes(from, frame, sizeof(frame));
}

static void send_flows(struct switch_env *env, unsigned int flows)
{
	for (unsigned int k = 0; k < 4; k++) {
		for (unsigned int i = 0; i < flows; i++) {
			put_udp(STATION(env, 0), env_mac(env, 1), (uint8_t)i, (uint8_t)k);
			if (i % 50 == 49)
				env_flush(STATION(env, 0));
		}
		env_flush(STATION(env, 0));
	}
}

/* Each flow is in one queue, in order; all queues have some.  Returns frames altogether. */
static unsigned int check_flows(struct station *to, unsigned int flows, unsigned int queues)
{
	unsigned int where[256], next[256] = {0}, num = 0;

	for (unsigned int q = 0; q < NET_PAIRS_MAX; q++) {
		struct ear *ear = &to->ears[q];

		assert_int_equal(!ear->num, q >= queues);
		num += ear->num;
		for (unsigned int i = 0; i < ear->num; i++) {
			unsigned int flow = ear->got[i].bytes[35];

			if (!next[flow])
				where[flow] = q;
			assert_int_equal(where[flow], q);
			assert_int_equal(env_number(&ear->got[i]), next[flow]++);
		}
	}
	return num;
}

static void test_switch_many_queues(void **state)
{
	struct switch_env env;
	struct station *to;

	env_init(&env);
	env_start(&env);
	env_plug(&env, 0, 1, NULL);
	to = env_plug(&env, 1, 4, NULL);
	introduce(&env, 2);
	send_flows(&env, 60);
	assert_int_equal(check_flows(to, 60, 4), 240);
	/* The driver uses two. */
	env_forget(&env);
	to->port->ops->set_pairs(to->port, 2);
	send_flows(&env, 60);
	assert_int_equal(check_flows(to, 60, 2), 240);
	/* One of them stops. */
	env_forget(&env);
	ear_detach(&to->ears[1]);
	send_flows(&env, 60);
	assert_int_equal(check_flows(to, 60, 1), 240);
	ear_attach(to, 1);
	to->port->ops->set_pairs(to->port, 100);
	env_forget(&env);
	send_flows(&env, 60);
	assert_int_equal(check_flows(to, 60, 4), 240);
	/* None runs. */
	env_forget(&env);
	for (unsigned int i = 0; i < 4; i++)
		ear_detach(&to->ears[i]);
	send_flows(&env, 60);
	env_send(STATION(&env, 0), env_all, 0);
	assert_int_equal(env_stat(STATION(&env, 0), "tx.drops.receiver_down"), 240);
	env_free(&env);
}

static void test_switch_deaf_queue(void **state)
{
	struct switch_env env;

	env_simple(&env, 2);
	introduce(&env, 2);
	EAR(&env, 1)->deaf = true;
	env_put(STATION(&env, 0), env_mac(&env, 1), 0);
	env_put(STATION(&env, 0), env_mac(&env, 1), 0);
	env_flush(STATION(&env, 0));
	assert_int_equal(env_stat(STATION(&env, 0), "tx.drops.receiver_down"), 2);
	EAR(&env, 1)->deaf = false;
	env_send(STATION(&env, 0), env_mac(&env, 1), 0);
	assert_int_equal(EAR(&env, 1)->num, 1);
	env_free(&env);
}

static void test_switch_link(void **state)
{
	struct switch_env env;
	struct net_backend *port;

	env_simple(&env, 3);
	introduce(&env, 3);
	port = STATION(&env, 1)->port;
	port->ops->set_link(port, false);
	/* It is known no more, and gets nothing. */
	env_send(STATION(&env, 0), env_mac(&env, 1), 1);
	assert_int_equal(EAR(&env, 1)->num, 0);
	assert_int_equal(EAR(&env, 2)->num, 1);
	assert_int_equal(env_stat(STATION(&env, 1), "macs"), 0);
	/* Nor does it send, and nothing is learnt from it. */
	env_send(STATION(&env, 1), env_all, 2);
	assert_int_equal(EAR(&env, 0)->num, 0);
	assert_int_equal(env_stat(STATION(&env, 1), "tx.drops.link_down"), 1);
	assert_int_equal(env_stat(STATION(&env, 1), "macs"), 0);
	port->ops->set_link(port, false);
	port->ops->set_link(port, true);
	env_send(STATION(&env, 1), env_all, 3);
	env_send(STATION(&env, 0), env_mac(&env, 1), 4);
	assert_int_equal(EAR(&env, 1)->num, 1);
	assert_int_equal(EAR(&env, 2)->num, 2);
	env_free(&env);
}

/* Who comes next gets the number of who has gone, and none of its addresses. */
static void test_switch_port_goes(void **state)
{
	struct switch_env env;

	env_simple(&env, 3);
	introduce(&env, 3);
	env_unplug(STATION(&env, 1));
	env_send(STATION(&env, 0), env_mac(&env, 1), 1);
	assert_int_equal(EAR(&env, 2)->num, 1);
	env_plug(&env, 3, 1, NULL);
	env_send(STATION(&env, 0), env_mac(&env, 1), 2);
	assert_int_equal(EAR(&env, 2)->num, 2);
	assert_int_equal(EAR(&env, 3)->num, 1);
	env_free(&env);
}

/* The ports keep the switch. */
static void test_switch_port_outlives_its_maker(void **state)
{
	struct switch_env env;

	env_simple(&env, 2);
	net_switch_put(env.sw);
	env.sw = NULL;
	env_send(STATION(&env, 0), env_all, 1);
	assert_int_equal(EAR(&env, 1)->num, 1);
	env_free(&env);
}

static void test_switch_all_ports(void **state)
{
	static struct net_backend *ports[SWITCH_PORTS_MAX];
	struct net_open open = {NULL, "port", NULL, 1};
	struct vdpa_extack ack = {0};
	struct net_backend *more;
	struct switch_env env;

	env_init(&env);
	env_start(&env);
	for (unsigned int i = 0; i < SWITCH_PORTS_MAX; i++)
		assert_int_equal(switch_port_open(env.sw, &open, &ports[i], NULL), 0);
	assert_int_equal(switch_port_open(env.sw, &open, &more, &ack), -ENOSPC);
	assert_string_equal(ack.msg, "the switch has no more than 1024 ports");
	for (unsigned int i = 0; i < SWITCH_PORTS_MAX; i++)
		ports[i]->ops->close(ports[i]);
	env_free(&env);
}

static void test_switch_queue_that_is_not_there(void **state)
{
	struct vdpa_extack ack = {0};
	struct net_queue *queue;
	struct switch_env env;
	struct net_backend *port;

	env_simple(&env, 1);
	port = STATION(&env, 0)->port;
	assert_int_equal(port->max_pairs, 1);
	assert_true(port->holds);
	assert_int_equal(port->ops->tx_attach(port, 1, NULL, &queue, &ack), -EINVAL);
	assert_string_equal(ack.msg, "the switch port has 1 queue pairs, no pair 1");
	assert_int_equal(port->ops->rx_attach(port, 1, NULL, NULL, &queue, NULL), -EINVAL);
	env_free(&env);
}

/* One frame at a time, and yet one call: the last receiver is kept. */
static void test_switch_keeps_a_receiver(void **state)
{
	struct switch_env env;
	struct station *from;

	env_simple(&env, 3);
	introduce(&env, 3);
	from = STATION(&env, 0);
	switch_keep(from->tx);
	for (uint8_t i = 0; i < 10; i++)
		env_send(from, env_mac(&env, 1), i);
	assert_int_equal(EAR(&env, 1)->num, 10);
	assert_int_equal(EAR(&env, 1)->bursts, 1);
	assert_int_equal(pthread_mutex_trylock(&EAR(&env, 1)->token), EBUSY);
	/* Never two. */
	env_send(from, env_all, 10);
	assert_int_equal(pthread_mutex_trylock(&EAR(&env, 1)->token), 0);
	pthread_mutex_unlock(&EAR(&env, 1)->token);
	assert_int_equal(EAR(&env, 1)->num, 11);
	assert_int_equal(EAR(&env, 2)->num, 1);
	/* One that does not listen ends it, too. */
	EAR(&env, 1)->deaf = true;
	env_send(from, env_mac(&env, 1), 11);
	EAR(&env, 1)->deaf = false;
	ear_detach(EAR(&env, 2));
	ear_attach(STATION(&env, 2), 0);
	env_send(from, env_mac(&env, 2), 12);
	switch_release(from->tx);
	switch_release(from->tx);
	assert_int_equal(pthread_mutex_trylock(&EAR(&env, 2)->token), 0);
	pthread_mutex_unlock(&EAR(&env, 2)->token);
	assert_int_equal(EAR(&env, 2)->num, 2);
	env_free(&env);
}

static void test_switch_without_memory(void **state)
{
	struct net_open open = {NULL, "port", NULL, 2};
	struct switch_env env;

	env_init(&env);
	for (unsigned int n = 1; !env.sw; n++) {
		fail_alloc_nth(n);
		env.sw = net_switch_alloc(&env.config);
		assert_int_equal(!env.sw, fail_alloc_done());
	}
	for (unsigned int n = 1;; n++) {
		struct net_backend *port = NULL;
		int err;

		fail_alloc_nth(n);
		err = switch_port_open(env.sw, &open, &port, NULL);
		if (!fail_alloc_done()) {
			assert_int_equal(err, 0);
			port->ops->close(port);
			break;
		}
		assert_int_equal(err, -ENOMEM);
		assert_null(port);
	}
	env_free(&env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_switch_floods_until_it_knows),
		cmocka_unit_test(test_switch_broadcast_and_multicast),
		cmocka_unit_test(test_switch_groups_a_burst),
		cmocka_unit_test(test_switch_order_of_floods_and_others),
		cmocka_unit_test(test_switch_long_burst),
		cmocka_unit_test(test_switch_frame_in_pieces),
		cmocka_unit_test(test_switch_drops_what_nobody_may_send),
		cmocka_unit_test(test_switch_moving_station),
		cmocka_unit_test(test_switch_forgets),
		cmocka_unit_test(test_switch_mac_storm),
		cmocka_unit_test(test_switch_flood_limit),
		cmocka_unit_test(test_switch_flood_limit_of_two),
		cmocka_unit_test(test_switch_receiver_without_room),
		cmocka_unit_test(test_switch_vlans_from_a_trunk),
		cmocka_unit_test(test_switch_vlans_from_an_access_port),
		cmocka_unit_test(test_switch_learns_by_vlan),
		cmocka_unit_test(test_switch_vlan_moves_the_header),
		cmocka_unit_test(test_switch_vlan_attributes),
		cmocka_unit_test(test_switch_many_queues),
		cmocka_unit_test(test_switch_deaf_queue),
		cmocka_unit_test(test_switch_link),
		cmocka_unit_test(test_switch_port_goes),
		cmocka_unit_test(test_switch_port_outlives_its_maker),
		cmocka_unit_test(test_switch_all_ports),
		cmocka_unit_test(test_switch_queue_that_is_not_there),
		cmocka_unit_test(test_switch_keeps_a_receiver),
		cmocka_unit_test(test_switch_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
