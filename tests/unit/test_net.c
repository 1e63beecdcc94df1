/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The network device, looped back: what the driver sends comes in again.  Queue 0 receives, 1
 * sends, 2 takes commands.
 */
#include "rig.h"

#include <endian.h>
#include <linux/virtio_config.h>

#include "backends/net/virtio_net_defs.h"

#define RX   0
#define TX   1
#define CTRL 2

#define HDR   sizeof(struct virtio_net_hdr_v1)
#define F(n)  (1ull << VIRTIO_NET_F_##n)
#define CTRLS (F(CTRL_VQ) | F(CTRL_RX) | F(CTRL_RX_EXTRA) | F(CTRL_VLAN) | F(CTRL_MAC_ADDR))

static const uint8_t own_mac[6] = {0x02, 0, 0, 0, 0, 1};

static void add_net(struct rig *rig, const char *pairs)
{
	rig_open_bus(rig, NULL);
	rig_add(rig, "net",
		(const char *const[]){"backend", "loopback", "mac", "02:00:00:00:00:01", "max_vqp",
				      pairs, NULL});
}

static void open_net(struct rig *rig, uint64_t features)
{
	add_net(rig, "1");
	rig_start(rig, features);
}

/* A frame to a station, with a pattern as content. */
static void make_frame(uint8_t *frame, const uint8_t dst[6], uint32_t len)
{
	memcpy(frame, dst, 6);
	memcpy(frame + 6, own_mac, 6);
	frame[12] = 0x88;
	frame[13] = 0xb5;
	for (uint32_t i = 14; i < len; i++)
		frame[i] = (uint8_t)(i * 7 + i / 256);
}

static struct rig_req *post(struct rig *rig, uint32_t len)
{
	struct rig_req *req = rig_req(rig);

	memset(req->in, 0xee, RIG_SLOT / 2);
	rig_offer(rig, RX, req, 0, len);
	rig_kick(rig, RX);
	return req;
}

/* Sends, and waits until the device is done with it: then it is received, or lost. */
static void send_hdr(struct rig *rig, const struct virtio_net_hdr_v1 *hdr, const uint8_t *frame,
		     uint32_t len)
{
	uint8_t out[RIG_SLOT / 2];
	struct rig_req *req;

	memcpy(out, hdr, HDR);
	memcpy(out + HDR, frame, len);
	req = rig_send(rig, TX, out, (uint32_t)HDR + len, 0);
	rig_wait(rig, TX, req);
	rig_put(req);
	rig_collect(rig, RX);
}

static void send_frame(struct rig *rig, const uint8_t *frame, uint32_t len)
{
	struct virtio_net_hdr_v1 hdr = {0};

	send_hdr(rig, &hdr, frame, len);
}

static uint16_t buffers_of(const struct rig_req *req)
{
	struct virtio_net_hdr_v1 hdr;

	memcpy(&hdr, req->in, sizeof(hdr));
	return le16toh(hdr.num_buffers);
}

static void check_whole(const struct rig_req *req, const uint8_t *frame, uint32_t len)
{
	assert_true(req->done);
	assert_int_equal(req->len, HDR + len);
	assert_int_equal(buffers_of(req), 1);
	assert_memory_equal(req->in + HDR, frame, len);
}

/* ---- frames */

static void loop_frames(uint64_t features)
{
	uint8_t frame[2000];
	struct rig rig;

	open_net(&rig, features);
	for (uint32_t len = 14; len < sizeof(frame); len += 61) {
		struct rig_req *req = post(&rig, 2048);

		make_frame(frame, own_mac, len);
		send_frame(&rig, frame, len);
		check_whole(req, frame, len);
		rig_put(req);
	}
	assert_int_equal(rig_stats(&rig, RX).drops, 0);
	assert_int_equal(rig_stats(&rig, TX).drops, 0);
	rig_close(&rig);
}

static void test_net_frame_comes_back(void **state)
{
	loop_frames(0);
}

static void test_net_frame_comes_back_mergeable(void **state)
{
	loop_frames(F(MRG_RXBUF));
}

static void test_net_frame_comes_back_packed(void **state)
{
	loop_frames(RIG_PACKED | F(MRG_RXBUF) | RIG_EVENT_IDX);
}

static void merge(uint64_t features)
{
	struct rig_req *reqs[5];
	uint8_t frame[301], got[400];
	uint32_t have = 0;
	struct rig rig;

	open_net(&rig, features | F(MRG_RXBUF));
	make_frame(frame, own_mac, sizeof(frame));
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 5; i++)
			reqs[i] = post(&rig, 80);
		send_frame(&rig, frame, sizeof(frame));
		/* 12 + 301 bytes: three whole buffers, and 73 bytes. */
		assert_int_equal(buffers_of(reqs[0]), 4);
		have = 0;
		for (int i = 0; i < 4; i++) {
			assert_true(reqs[i]->done);
			assert_int_equal(reqs[i]->len, i < 3 ? 80 : 73);
			memcpy(got + have, reqs[i]->in, reqs[i]->len);
			have += reqs[i]->len;
		}
		assert_memory_equal(got + HDR, frame, sizeof(frame));
		assert_false(reqs[4]->done);
		/* The last one goes with a short frame. */
		send_frame(&rig, frame, 60);
		check_whole(reqs[4], frame, 60);
		for (int i = 0; i < 5; i++)
			rig_put(reqs[i]);
	}
	rig_close(&rig);
}

static void test_net_merges_buffers(void **state)
{
	merge(0);
}

static void test_net_merges_buffers_packed(void **state)
{
	merge(RIG_PACKED);
}

/* A frame that finds too few buffers leaves them for the next one. */
static void test_net_puts_back_what_is_not_enough(void **state)
{
	const uint64_t features[] = {0, RIG_PACKED, RIG_EVENT_IDX, RIG_PACKED | RIG_EVENT_IDX};
	struct rig_req *reqs[3];
	uint8_t frame[200];

	make_frame(frame, own_mac, sizeof(frame));
	for (size_t f = 0; f < ARRAY_SIZE(features); f++) {
		struct rig rig;

		open_net(&rig, features[f] | F(MRG_RXBUF));
		reqs[0] = post(&rig, 80);
		reqs[1] = post(&rig, 80);
		send_frame(&rig, frame, sizeof(frame));
		assert_int_equal(rig_stats(&rig, RX).drops, 1);
		assert_false(reqs[0]->done || reqs[1]->done);
		reqs[2] = post(&rig, 80);
		send_frame(&rig, frame, sizeof(frame));
		assert_int_equal(buffers_of(reqs[0]), 3);
		assert_true(reqs[0]->done && reqs[1]->done && reqs[2]->done);
		assert_int_equal(rig_stats(&rig, RX).drops, 1);
		assert_int_equal(rig_stats(&rig, TX).drops, 0);
		rig_close(&rig);
	}
}

static void test_net_without_merging_drops_what_is_too_long(void **state)
{
	struct rig_req *req;
	uint8_t frame[200];
	struct rig rig;

	open_net(&rig, 0);
	make_frame(frame, own_mac, sizeof(frame));
	req = post(&rig, 100);
	send_frame(&rig, frame, sizeof(frame));
	assert_false(req->done);
	assert_int_equal(rig_stats(&rig, RX).drops, 1);
	send_frame(&rig, frame, 60);
	check_whole(req, frame, 60);
	rig_close(&rig);
}

static void test_net_gives_back_buffers_without_room_for_a_header(void **state)
{
	struct rig_req *tiny, *req;
	uint8_t frame[60];
	struct rig rig;

	open_net(&rig, F(MRG_RXBUF));
	make_frame(frame, own_mac, sizeof(frame));
	tiny = post(&rig, HDR - 1);
	req = post(&rig, 200);
	send_frame(&rig, frame, sizeof(frame));
	assert_true(tiny->done);
	assert_int_equal(tiny->len, 0);
	check_whole(req, frame, sizeof(frame));
	assert_int_equal(rig_stats(&rig, RX).errors, 1);
	rig_close(&rig);
}

/* Nothing of an earlier chain is taken for a part of this one. */
static void test_net_gives_back_buffers_that_are_not_writable(void **state)
{
	struct rig_req *old, *bad, *req;
	uint8_t frame[60], other[60], out[200] = {0};
	struct rig rig;

	open_net(&rig, F(MRG_RXBUF));
	make_frame(frame, own_mac, sizeof(frame));
	memcpy(other, frame, sizeof(other));
	other[59] ^= 1;
	old = rig_send(&rig, RX, out, 16, 200);
	send_frame(&rig, frame, sizeof(frame));
	check_whole(old, frame, sizeof(frame));
	bad = rig_send(&rig, RX, out, sizeof(out), 0);
	req = post(&rig, 200);
	send_frame(&rig, other, sizeof(other));
	assert_true(bad->done);
	assert_int_equal(bad->len, 0);
	check_whole(req, other, sizeof(other));
	check_whole(old, frame, sizeof(frame));
	assert_int_equal(rig_stats(&rig, RX).errors, 1);
	rig_close(&rig);
}

static void test_net_without_buffers_counts(void **state)
{
	uint8_t frame[60];
	struct rig rig;

	open_net(&rig, 0);
	make_frame(frame, own_mac, sizeof(frame));
	for (int i = 0; i < 3; i++)
		send_frame(&rig, frame, sizeof(frame));
	assert_int_equal(rig_stats(&rig, RX).drops, 3);
	assert_int_equal(rig_stats(&rig, TX).drops, 0);
	rig_close(&rig);
}

/* ---- bad frames */

static void expect_refused(struct rig *rig, const struct virtio_net_hdr_v1 *hdr, uint32_t len)
{
	uint64_t drops = rig_stats(rig, TX).drops;
	uint8_t frame[RIG_SLOT / 2];

	make_frame(frame, own_mac, len);
	send_hdr(rig, hdr, frame, len);
	assert_int_equal(rig_stats(rig, TX).drops, drops + 1);
}

static void test_net_refuses_bad_headers(void **state)
{
	struct virtio_net_hdr_v1 hdr = {0};
	struct rig_req *req;
	struct rig rig;

	open_net(&rig, F(CSUM) | F(HOST_TSO4) | F(GUEST_CSUM) | F(GUEST_TSO4) | F(MRG_RXBUF));
	req = post(&rig, 2048);
	for (uint32_t len = 0; len < 14; len++)
		expect_refused(&rig, &hdr, len);
	hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr.csum_start = htole16(99);
	expect_refused(&rig, &hdr, 100);
	hdr.csum_start = htole16(14);
	hdr.csum_offset = htole16(85);
	expect_refused(&rig, &hdr, 100);
	hdr.csum_offset = htole16(6);
	hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV4;
	expect_refused(&rig, &hdr, 100); /* size 0 */
	hdr.gso_size = htole16(50);
	hdr.gso_type = VIRTIO_NET_HDR_GSO_TCPV6; /* not negotiated */
	expect_refused(&rig, &hdr, 100);
	hdr.gso_type = 77;
	expect_refused(&rig, &hdr, 100);
	assert_false(req->done);
	assert_int_equal(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	rig_close(&rig);
}

static void test_net_refuses_offloads_that_were_not_negotiated(void **state)
{
	struct virtio_net_hdr_v1 hdr = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = htole16(34),
		.csum_offset = htole16(6),
	};
	struct rig rig;

	open_net(&rig, 0);
	post(&rig, 2048);
	expect_refused(&rig, &hdr, 100);
	rig_close(&rig);
}

static uint16_t sum16(const uint8_t *data, size_t len, uint32_t sum)
{
	for (size_t i = 0; i < len; i++)
		sum += i % 2 ? data[i] : (uint32_t)data[i] << 8;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* UDP in IPv4, 20 bytes of data, with the sum of the pseudo header in its checksum field. */
static void make_udp(uint8_t frame[62])
{
	static const uint8_t ip[20] = {0x45, 0, 0,  48, 0, 1, 0,  0, 64, 17,
				       0,    0, 10, 0,  0, 1, 10, 0, 0,  2};
	uint16_t sum;

	make_frame(frame, own_mac, 62);
	frame[12] = 8;
	frame[13] = 0;
	memcpy(frame + 14, ip, sizeof(ip));
	memcpy(frame + 34, (uint8_t[]){0x12, 0x34, 0x56, 0x78, 0, 28, 0, 0}, 8);
	sum = sum16(ip + 12, 8, 17 + 28);
	frame[40] = (uint8_t)(sum >> 8);
	frame[41] = (uint8_t)sum;
}

/* A driver that does not take frames without checksum gets it computed. */
/* A frame whose checksum is to be computed: was it, or did it come as it went? */
static bool computed(struct rig *rig)
{
	const struct virtio_net_hdr_v1 hdr = {
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = htole16(34),
		.csum_offset = htole16(6),
	};
	struct rig_req *req = post(rig, 2048);
	struct virtio_net_hdr_v1 got;
	uint8_t frame[62];

	make_udp(frame);
	send_hdr(rig, &hdr, frame, sizeof(frame));
	assert_true(req->done);
	memcpy(&got, req->in, sizeof(got));
	if (got.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		assert_memory_equal(req->in + HDR, frame, sizeof(frame));
	else
		assert_int_equal(sum16(req->in + HDR + 34, 28, sum16(frame + 26, 8, 17 + 28)),
				 0xffff);
	rig_put(req);
	return !(got.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM);
}

static void test_net_computes_checksums(void **state)
{
	struct rig rig;

	open_net(&rig, F(CSUM));
	assert_true(computed(&rig));
	rig_close(&rig);
	open_net(&rig, F(CSUM) | F(GUEST_CSUM));
	assert_false(computed(&rig));
	rig_close(&rig);
}

/* ---- commands */

static uint8_t command(struct rig *rig, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	uint8_t out[512] = {class, cmd}, ack;
	struct rig_req *req;

	if (len)
		memcpy(out + 2, data, len);
	req = rig_send(rig, CTRL, out, 2 + len, 1);
	rig_wait(rig, CTRL, req);
	ack = req->in[0];
	rig_put(req);
	return ack;
}

#define OK(rig, class, cmd, ...)                                                                   \
	assert_int_equal(command(rig, VIRTIO_NET_CTRL_##class, cmd, (uint8_t[]){__VA_ARGS__},      \
				 sizeof((uint8_t[]){__VA_ARGS__})),                                \
			 VIRTIO_NET_OK)
#define BAD(rig, class, cmd, len, ...)                                                             \
	assert_int_equal(command(rig, class, cmd, (uint8_t[16]){__VA_ARGS__}, len), VIRTIO_NET_ERR)

/* Does a frame to this station get through? */
static bool passes(struct rig *rig, const uint8_t dst[6])
{
	struct rig_req *req = post(rig, 2048);
	uint8_t frame[60];
	bool done;

	make_frame(frame, dst, sizeof(frame));
	send_frame(rig, frame, sizeof(frame));
	done = req->done;
	if (!done) {
		/* Use the buffer up. */
		OK(rig, RX, VIRTIO_NET_CTRL_RX_PROMISC, 1);
		send_frame(rig, frame, sizeof(frame));
		assert_true(req->done);
		OK(rig, RX, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	}
	rig_put(req);
	return done;
}

static const uint8_t other[6] = {0x02, 0, 0, 0, 0, 9};
static const uint8_t group[6] = {0x01, 0, 0x5e, 0, 0, 1};
static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

static void test_net_filters_by_address(void **state)
{
	struct rig rig;

	open_net(&rig, CTRLS);
	assert_true(passes(&rig, other));
	OK(&rig, RX, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	assert_true(passes(&rig, own_mac));
	assert_false(passes(&rig, other));
	assert_false(passes(&rig, group));
	assert_true(passes(&rig, all));

	OK(&rig, MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 1, 0, 0, 0, 0x02, 0, 0, 0, 0, 9, 1, 0, 0, 0,
	   0x01, 0, 0x5e, 0, 0, 1);
	assert_true(passes(&rig, other));
	assert_true(passes(&rig, group));
	OK(&rig, MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_false(passes(&rig, other));
	assert_false(passes(&rig, group));

	OK(&rig, RX, VIRTIO_NET_CTRL_RX_ALLMULTI, 1);
	assert_true(passes(&rig, group));
	OK(&rig, RX, VIRTIO_NET_CTRL_RX_NOMULTI, 1);
	assert_false(passes(&rig, group));
	OK(&rig, RX, VIRTIO_NET_CTRL_RX_ALLUNI, 1);
	assert_true(passes(&rig, other));
	OK(&rig, RX, VIRTIO_NET_CTRL_RX_NOUNI, 1);
	assert_false(passes(&rig, own_mac));
	OK(&rig, RX, VIRTIO_NET_CTRL_RX_NOBCAST, 1);
	assert_false(passes(&rig, all));
	rig_close(&rig);
}

static int read_mac(struct rig *rig, void *mac)
{
	return vdpa_get_config(rig->vdev, 0, mac, 6);
}

static void test_net_driver_sets_its_address(void **state)
{
	uint8_t mac[6];
	struct rig rig;

	open_net(&rig, CTRLS);
	OK(&rig, RX, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	OK(&rig, MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 0x02, 0, 0, 0, 0, 9);
	assert_true(passes(&rig, other));
	assert_false(passes(&rig, own_mac));
	assert_int_equal(rig_lane(&rig, read_mac, mac), 0);
	assert_memory_equal(mac, other, 6);
	/* It is the driver's: the next one finds the device's. */
	rig_lane(&rig, rig_do_reset, NULL);
	assert_int_equal(rig_lane(&rig, read_mac, mac), 0);
	assert_memory_equal(mac, own_mac, 6);
	rig_close(&rig);
}

static bool vlan_passes(struct rig *rig, uint16_t vid)
{
	struct rig_req *req = post(rig, 2048);
	uint8_t frame[64];
	bool done;

	make_frame(frame, own_mac, sizeof(frame));
	frame[12] = 0x81;
	frame[13] = 0;
	frame[14] = (uint8_t)(0xe0 | vid >> 8); /* with a priority */
	frame[15] = (uint8_t)vid;
	send_frame(rig, frame, sizeof(frame));
	done = req->done;
	if (!done) {
		frame[12] = 8;
		send_frame(rig, frame, sizeof(frame));
		assert_true(req->done);
	}
	rig_put(req);
	return done;
}

static void test_net_filters_by_vlan(void **state)
{
	struct rig rig;

	open_net(&rig, CTRLS);
	assert_true(vlan_passes(&rig, 7));
	OK(&rig, VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 0x07, 0x00);
	OK(&rig, VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 0xff, 0x0f);
	assert_true(vlan_passes(&rig, 7));
	assert_true(vlan_passes(&rig, 4095));
	assert_false(vlan_passes(&rig, 8));
	OK(&rig, VLAN, VIRTIO_NET_CTRL_VLAN_DEL, 0x07, 0x00);
	assert_false(vlan_passes(&rig, 7));
	rig_close(&rig);
}

static void test_net_refuses_bad_commands(void **state)
{
	struct rig rig;

	open_net(&rig, CTRLS | F(GUEST_CSUM) | F(CTRL_GUEST_OFFLOADS));
	for (unsigned int class = 0; class < 256; class ++)
		BAD(&rig, (uint8_t) class, 200, 1, 1);
	for (uint8_t len = 0; len < 10; len++) {
		if (len != 1)
			BAD(&rig, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, len, 0);
		if (len != 2)
			BAD(&rig, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, len, 0);
		if (len != 6)
			BAD(&rig, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, len, 2);
		if (len != 8) {
			BAD(&rig, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, len, 0);
			BAD(&rig, VIRTIO_NET_CTRL_GUEST_OFFLOADS,
			    VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, len, 0);
		}
		/* Not negotiated. */
		BAD(&rig, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, len, 1);
		BAD(&rig, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, len, 1);
	}
	BAD(&rig, VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 2, 0, 0x10); /* 4096 */
	BAD(&rig, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 6, 1);    /* a group's */
	/* A table that says it is longer than the command. */
	BAD(&rig, VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 8, 0xff, 0xff, 0xff, 0xff);
	/* TSO6 was not negotiated. */
	BAD(&rig, VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, 8, 0, 1);
	OK(&rig, GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, 2, 0, 0, 0, 0, 0, 0, 0);
	assert_true(passes(&rig, other));
	assert_int_equal(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	rig_close(&rig);
}

static void test_net_command_without_answer_breaks(void **state)
{
	struct rig rig;

	open_net(&rig, CTRLS);
	rig_send(&rig, CTRL, "\0\0\0", 3, 0);
	rig_wait_fd(rig.vqs[CTRL].err);
	assert_true(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
	rig_close(&rig);
}

/* ---- outside the rings */

static int ctrl_op(struct rig *rig, void *ack)
{
	uint32_t len = 1;

	return vdpa_class_cmd(rig->vdev, VDPA_CMD_NET_CTRL,
			      (uint8_t[]){VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 0}, 3,
			      ack, &len, &rig->ack);
}

static void test_net_command_by_class_cmd(void **state)
{
	uint8_t ack = 77;
	struct rig rig;

	open_net(&rig, CTRLS);
	assert_int_equal(rig_lane(&rig, ctrl_op, &ack), 0);
	assert_int_equal(ack, VIRTIO_NET_OK);
	assert_false(passes(&rig, other));
	rig_close(&rig);
}

static int rarp_op(struct rig *rig, void *unused)
{
	uint32_t none = 0;

	return vdpa_class_cmd(rig->vdev, VDPA_CMD_NET_RARP, other, 6, NULL, &none, &rig->ack);
}

static void test_net_sends_rarp(void **state)
{
	struct rig_req *req;
	struct rig rig;

	open_net(&rig, 0);
	req = post(&rig, 2048);
	assert_int_equal(rig_lane(&rig, rarp_op, NULL), 0);
	rig_wait(&rig, RX, req);
	assert_int_equal(req->len, HDR + 60);
	assert_memory_equal(req->in + HDR, all, 6);
	assert_memory_equal(req->in + HDR + 6, other, 6);
	assert_memory_equal(req->in + HDR + 12, "\x80\x35\0\1\x08\0\x06\x04\0\3", 10);
	assert_memory_equal(req->in + HDR + 22, other, 6);
	rig_close(&rig);
}

/* ---- the link, and what survives */

static void set(struct rig *rig, const char *key, const char *value)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct vdpa_result res = {0};

	assert_int_equal(vdpa_attrs_add(attrs, key, value, NULL, NULL), 0);
	vdpa_dev_set(rig->bus, rig->vdev->name, attrs, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(rig->bus, &res), 0);
}

static int read_status(struct rig *rig, void *status)
{
	return vdpa_get_config(rig->vdev, offsetof(struct virtio_net_config, status), status, 2);
}

static uint16_t status_of(struct rig *rig)
{
	uint16_t status = 0;

	assert_int_equal(rig_lane(rig, read_status, &status), 0);
	return le16toh(status);
}

static void test_net_link(void **state)
{
	struct rig_req *req;
	uint8_t frame[60];
	struct rig rig;

	open_net(&rig, F(STATUS));
	make_frame(frame, own_mac, sizeof(frame));
	assert_int_equal(status_of(&rig), VIRTIO_NET_S_LINK_UP);
	set(&rig, "link", "down");
	rig_wait_fd(rig.changed);
	assert_int_equal(status_of(&rig), 0);
	req = post(&rig, 2048);
	send_frame(&rig, frame, sizeof(frame));
	assert_false(req->done);
	assert_int_equal(rig_stats(&rig, TX).drops, 1);
	set(&rig, "link", "up");
	assert_int_equal(status_of(&rig), VIRTIO_NET_S_LINK_UP);
	send_frame(&rig, frame, sizeof(frame));
	check_whole(req, frame, sizeof(frame));
	rig_close(&rig);
}

static void test_net_announce(void **state)
{
	struct rig rig;

	open_net(&rig, CTRLS | F(STATUS) | F(GUEST_ANNOUNCE));
	set(&rig, "announce", "on");
	assert_int_equal(status_of(&rig), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	assert_int_equal(
		command(&rig, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0),
		VIRTIO_NET_OK);
	assert_int_equal(status_of(&rig), VIRTIO_NET_S_LINK_UP);
	rig_close(&rig);
}

static int save_op(struct rig *rig, void *record)
{
	return vdpa_device_save(rig->vdev, VDPA_STATE_DEVICE, record, &rig->ack);
}

static int load_op(struct rig *rig, void *record)
{
	return vdpa_device_load(rig->vdev, VDPA_STATE_DEVICE, record, &rig->ack);
}

static void test_net_filter_survives_in_the_record(void **state)
{
	struct vdpa_state record = {0};
	struct rig rig;

	open_net(&rig, CTRLS);
	OK(&rig, RX, VIRTIO_NET_CTRL_RX_PROMISC, 0);
	OK(&rig, MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, 0, 0, 0, 0, 1, 0, 0, 0, 0x01, 0, 0x5e, 0, 0,
	   1);
	OK(&rig, VLAN, VIRTIO_NET_CTRL_VLAN_ADD, 0x07, 0x00);
	assert_int_equal(rig_lane(&rig, save_op, &record), 0);
	rig_close(&rig);

	open_net(&rig, CTRLS);
	assert_true(passes(&rig, other));
	assert_int_equal(rig_lane(&rig, load_op, &record), 0);
	assert_false(passes(&rig, other));
	assert_true(passes(&rig, group));
	assert_true(vlan_passes(&rig, 7));
	assert_false(vlan_passes(&rig, 8));
	vdpa_state_clear(&record);
	rig_close(&rig);
}

static void test_net_declined_offloads_survive_in_the_record(void **state)
{
	const uint64_t features = CTRLS | F(CSUM) | F(GUEST_CSUM) | F(CTRL_GUEST_OFFLOADS);
	struct vdpa_state record = {0};
	struct rig rig;

	open_net(&rig, features);
	assert_false(computed(&rig));
	OK(&rig, GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, 0, 0, 0, 0, 0, 0, 0, 0);
	assert_true(computed(&rig));
	assert_int_equal(rig_lane(&rig, save_op, &record), 0);
	rig_close(&rig);

	/* The driver negotiates again, and does not command again. */
	add_net(&rig, "1");
	assert_int_equal(rig_lane(&rig, load_op, &record), 0);
	rig_start(&rig, features);
	assert_true(computed(&rig));
	OK(&rig, GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, 2, 0, 0, 0, 0, 0, 0, 0);
	assert_false(computed(&rig));
	vdpa_state_clear(&record);
	rig_close(&rig);
}

static int pairs_op(struct rig *rig, void *ack)
{
	uint32_t len = 1;

	return vdpa_class_cmd(
		rig->vdev, VDPA_CMD_NET_CTRL,
		(uint8_t[]){VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, 2, 0}, 4, ack,
		&len, &rig->ack);
}

static void check_same(const struct vdpa_state *one, const struct vdpa_state *two)
{
	void *bytes_one, *bytes_two;
	size_t len_one, len_two;

	assert_int_equal(vdpa_state_encode(one, &bytes_one, &len_one), 0);
	assert_int_equal(vdpa_state_encode(two, &bytes_two, &len_two), 0);
	assert_int_equal(len_one, len_two);
	assert_memory_equal(bytes_one, bytes_two, len_one);
	free(bytes_one);
	free(bytes_two);
}

static void test_net_pairs_survive_in_the_record(void **state)
{
	uint64_t features = CTRLS | F(MQ) | RIG_VERSION_1;
	struct vdpa_state fresh = {0}, record = {0}, again = {0};
	uint8_t ack = VIRTIO_NET_ERR;
	struct rig rig;

	add_net(&rig, "2");
	assert_int_equal(rig_lane(&rig, rig_do_negotiate, &features), 0);
	assert_int_equal(rig_lane(&rig, pairs_op, &ack), 0);
	assert_int_equal(ack, VIRTIO_NET_OK);
	assert_int_equal(rig_lane(&rig, save_op, &record), 0);
	rig_lane(&rig, rig_do_reset, NULL);
	assert_int_equal(rig_lane(&rig, save_op, &fresh), 0);
	rig_close(&rig);

	add_net(&rig, "2");
	assert_int_equal(rig_lane(&rig, load_op, &record), 0);
	assert_int_equal(rig_lane(&rig, save_op, &again), 0);
	check_same(&record, &again);
	rig_lane(&rig, rig_do_reset, NULL);
	vdpa_state_clear(&again);
	assert_int_equal(rig_lane(&rig, save_op, &again), 0);
	check_same(&fresh, &again);
	rig_close(&rig);

	add_net(&rig, "1");
	assert_int_equal(rig_lane(&rig, load_op, &record), -EINVAL);
	assert_non_null(strstr(rig.ack.msg, "uses 2 queue pairs, the device has 1"));
	vdpa_state_clear(&fresh);
	vdpa_state_clear(&record);
	vdpa_state_clear(&again);
	rig_close(&rig);
}

static void test_net_refuses_attributes(void **state)
{
	static const struct {
		const char *attrs[7];
		const char *why;
	} bad[] = {
		{{NULL}, "backend"},
		{{"backend", "loopback", "mac", "01:00:00:00:00:01"}, "one station"},
		{{"backend", "loopback", "mac", "02:00:00:00:00"}, "six bytes"},
		{{"backend", "loopback", "mac", "02:00:00:00:00:01:02"}, "six bytes"},
		{{"backend", "loopback", "queues", "4"}, "odd number"},
		{{"backend", "loopback", "queues", "5", "max_vqp", "2"}, "say the same"},
		{{"backend", "loopback", "mtu", "67"}, "mtu"},
		{{"backend", "loopback", "link", "sideways"}, "link"},
		{{"backend", "loopback", "ifname", "tap0"}, "'ifname' is for backend 'tap'"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct rig rig;

		rig_open_bus(&rig, NULL);
		assert_true(rig_try_add(&rig, "net", bad[i].attrs) < 0);
		if (!strstr(rig.ack.msg, bad[i].why))
			fail_msg("refused because '%s', not '%s'", rig.ack.msg, bad[i].why);
		rig_close(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_net_frame_comes_back),
		cmocka_unit_test(test_net_frame_comes_back_mergeable),
		cmocka_unit_test(test_net_frame_comes_back_packed),
		cmocka_unit_test(test_net_merges_buffers),
		cmocka_unit_test(test_net_merges_buffers_packed),
		cmocka_unit_test(test_net_puts_back_what_is_not_enough),
		cmocka_unit_test(test_net_without_merging_drops_what_is_too_long),
		cmocka_unit_test(test_net_gives_back_buffers_without_room_for_a_header),
		cmocka_unit_test(test_net_gives_back_buffers_that_are_not_writable),
		cmocka_unit_test(test_net_without_buffers_counts),
		cmocka_unit_test(test_net_refuses_bad_headers),
		cmocka_unit_test(test_net_refuses_offloads_that_were_not_negotiated),
		cmocka_unit_test(test_net_computes_checksums),
		cmocka_unit_test(test_net_filters_by_address),
		cmocka_unit_test(test_net_driver_sets_its_address),
		cmocka_unit_test(test_net_filters_by_vlan),
		cmocka_unit_test(test_net_refuses_bad_commands),
		cmocka_unit_test(test_net_command_without_answer_breaks),
		cmocka_unit_test(test_net_command_by_class_cmd),
		cmocka_unit_test(test_net_sends_rarp),
		cmocka_unit_test(test_net_link),
		cmocka_unit_test(test_net_announce),
		cmocka_unit_test(test_net_filter_survives_in_the_record),
		cmocka_unit_test(test_net_declined_offloads_survive_in_the_record),
		cmocka_unit_test(test_net_pairs_survive_in_the_record),
		cmocka_unit_test(test_net_refuses_attributes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
