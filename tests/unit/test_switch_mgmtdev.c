/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Management devices of the type `switch`: their devices are ports, and an interface of this host
 * is their uplink.  Queue 0 of a device receives, 1 sends.
 */
#include "rig.h"

#include <endian.h>
#include <stdio.h>
#include <unistd.h>

#include "backends/net/virtio_net_defs.h"
#include "fail_alloc.h"
#include "host_net.h"
#include "parents/switch/switch.h"

#define RX 0
#define TX 1

#define HDR  sizeof(struct virtio_net_hdr_v1)
#define F(n) (1ull << VIRTIO_NET_F_##n)
#define TAP  "uvdpa-up0"
#define LEN  200u

static const uint8_t own_mac[6] = {0x02, 0, 0, 0, 0, 1};
static const char *const device_attrs[] = {"mac", "02:00:00:00:00:01", NULL};

/* A switch with an uplink and a device; returns a socket on the interface. */
static int open_all(struct rig *rig, uint64_t features, const char *const *words)
{
	int fd;

	rig_open_bus(rig, NULL);
	assert_int_equal(vdpa_mgmtdev_register_builtin(rig->bus, NULL), 0);
	if (rig_mgmtdev_add(rig, "switch", "sw0", words))
		fail_msg("%s", rig->ack.msg);
	rig_add(rig, "sw0", device_attrs);
	rig_start(rig, features);
	fd = host_net_open(TAP);
	return fd;
}

static void close_all(struct rig *rig, int fd)
{
	close(fd);
	rig_close(rig);
	assert_false(host_net_exists(TAP));
}

static void make_frame(uint8_t *frame, const uint8_t dst[6], const uint8_t src[6], uint32_t len)
{
	host_net_fill(frame, len, 1);
	memcpy(frame, dst, 6);
	memcpy(frame + 6, src, 6);
}

static void send_frame(struct rig *rig, const uint8_t *frame, uint32_t len)
{
	uint8_t out[RIG_SLOT / 2] = {0};
	struct rig_req *req;

	memcpy(out + HDR, frame, len);
	req = rig_send(rig, TX, out, (uint32_t)HDR + len, 0);
	rig_wait(rig, TX, req);
	rig_put(req);
}

static struct rig_req *post(struct rig *rig)
{
	struct rig_req *req = rig_req(rig);

	rig_offer(rig, RX, req, 0, RIG_SLOT / 2);
	rig_kick(rig, RX);
	return req;
}

static void test_switch_mgmtdev_uplink(void **state)
{
	static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t host_mac[6] = {0x02, 0, 0, 0, 0, 9};
	static const char *const words[] = {"uplink", TAP, NULL};
	uint8_t frame[LEN], got[HOST_MTU_FRAME];
	struct rig_req *req;
	struct rig rig;
	int fd = open_all(&rig, 0, words);

	make_frame(frame, all, own_mac, LEN);
	send_frame(&rig, frame, LEN);
	assert_int_equal(host_net_recv(fd, NULL, got, sizeof(got)), LEN);
	assert_memory_equal(got, frame, LEN);
	/* Back, to an address that the switch has learnt. */
	make_frame(frame, own_mac, host_mac, LEN);
	req = post(&rig);
	host_net_send(fd, NULL, frame, LEN);
	rig_wait(&rig, RX, req);
	assert_int_equal(req->len, HDR + LEN);
	assert_memory_equal(req->in + HDR, frame, LEN);
	rig_put(req);
	/* What is not for the device does not reach it: the next one is the one after. */
	req = post(&rig);
	frame[5] = 2;
	memcpy(frame + 6, own_mac, 6);
	frame[11] = 8;
	host_net_send(fd, NULL, frame, LEN); /* unknown: it does */
	rig_wait(&rig, RX, req);
	assert_int_equal(req->in[HDR + 5], 2);
	rig_put(req);
	req = post(&rig);
	memcpy(frame, host_mac, 6);
	host_net_send(fd, NULL, frame, LEN); /* of the host's own side */
	memcpy(frame, own_mac, 6);
	host_net_send(fd, NULL, frame, LEN);
	rig_wait(&rig, RX, req);
	assert_memory_equal(req->in + HDR, own_mac, 6);
	close_all(&rig, fd);
}

/* The host leaves checksums and segments to the card; the driver knows neither. */
static void test_switch_mgmtdev_uplink_offloads(void **state)
{
	static const char *const words[] = {"uplink", TAP, "uplink-queues", "2", NULL};
	uint8_t frame[3000];
	struct virtio_net_hdr hdr = host_net_fill_tcp(frame, sizeof(frame), 1000);
	struct virtio_net_hdr_v1 got;
	struct rig_req *reqs[3];
	struct rig rig;
	int fd = open_all(&rig, 0, words);

	memcpy(frame, own_mac, 6);
	frame[6] &= 0xfe;
	for (unsigned int i = 0; i < 3; i++)
		reqs[i] = post(&rig);
	host_net_send(fd, &hdr, frame, sizeof(frame));
	for (unsigned int i = 0; i < 3; i++) {
		rig_wait(&rig, RX, reqs[i]);
		memcpy(&got, reqs[i]->in, sizeof(got));
		assert_int_equal(got.gso_type, VIRTIO_NET_HDR_GSO_NONE);
		assert_int_equal(got.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 0);
		assert_in_range(reqs[i]->len, HDR + 900, HDR + 1100);
	}
	close_all(&rig, fd);
}

/* Tagged on the host's side, and not on the device's, which is in VLAN 1. */
static void test_switch_mgmtdev_uplink_vlans(void **state)
{
	static const uint8_t all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	static const uint8_t host_mac[6] = {0x02, 0, 0, 0, 0, 9};
	static const char *const words[] = {"uplink", TAP, "uplink-trunk", "10,1", NULL};
	uint8_t frame[LEN], tagged[LEN + 4];
	struct rig_req *req;
	struct rig rig;
	int fd = open_all(&rig, 0, words);

	req = post(&rig);
	make_frame(frame, all, host_mac, LEN);
	host_net_send(fd, NULL, frame, LEN); /* of no VLAN */
	memcpy(tagged, frame, 12);
	memcpy(tagged + 16, frame + 12, LEN - 12);
	memcpy(tagged + 12, "\x81\0\0\x0a", 4);
	host_net_send(fd, NULL, tagged, sizeof(tagged)); /* of another */
	tagged[15] = 1;
	tagged[20] = frame[16] = 0x77;
	host_net_send(fd, NULL, tagged, sizeof(tagged));
	rig_wait(&rig, RX, req);
	assert_int_equal(req->len, HDR + LEN);
	assert_memory_equal(req->in + HDR, frame, LEN);
	close_all(&rig, fd);
}

static void test_switch_mgmtdev_is_kept_by_its_devices(void **state)
{
	struct rig rig;

	rig_open_bus(&rig, NULL);
	assert_int_equal(vdpa_mgmtdev_register_builtin(rig.bus, NULL), 0);
	assert_int_equal(rig_mgmtdev_add(&rig, "switch", "sw0", NULL), 0);
	rig_add(&rig, "sw0", device_attrs);
	assert_int_equal(rig_mgmtdev_del(&rig, "sw0"), -EBUSY);
	assert_int_equal(rig_del(&rig, rig.vdev->name), 0);
	assert_int_equal(rig_mgmtdev_del(&rig, "sw0"), 0);
	rig_close(&rig);
}

static void refuse_switch(struct rig *rig, const char *const *words, int err, const char *text)
{
	assert_int_equal(rig_mgmtdev_add(rig, "switch", "sw1", words), err);
	if (!strstr(rig->ack.msg, text))
		fail_msg("'%s' does not say '%s'", rig->ack.msg, text);
}

static void refuse_port(struct rig *rig, const char *const *words, int err, const char *text)
{
	assert_int_equal(rig_try_add(rig, "sw0", words), err);
	if (!strstr(rig->ack.msg, text))
		fail_msg("'%s' does not say '%s'", rig->ack.msg, text);
}

static void test_switch_mgmtdev_attributes(void **state)
{
	struct rig rig;

	rig_open_bus(&rig, NULL);
	assert_int_equal(vdpa_mgmtdev_register_builtin(rig.bus, NULL), 0);
	refuse_switch(&rig, (const char *const[]){"uplink-vlan", "5", NULL}, -EINVAL,
		      "'uplink-vlan' needs 'uplink'");
	refuse_switch(&rig, (const char *const[]){"macs", "0", NULL}, -ERANGE, "macs");
	refuse_switch(&rig, (const char *const[]){"uplink", TAP, "uplink-trunk", "x", NULL},
		      -EINVAL, "uplink: 'trunk' is 'all' or VLANs of 1 to 4094");
	assert_false(host_net_exists(TAP));
	assert_int_equal(
		rig_mgmtdev_add(&rig, "switch", "sw0", (const char *const[]){"macs", "1", NULL}),
		0);
	refuse_port(&rig, (const char *const[]){"vlan", "4095", NULL}, -ERANGE, "vlan");
	refuse_port(&rig, (const char *const[]){"trunk", "1-", NULL}, -EINVAL, "'trunk' is");
	refuse_port(&rig, (const char *const[]){"backend", "null", NULL}, -EINVAL, "backend");
	/* The class's own reasons, with the port gone again. */
	refuse_port(&rig, (const char *const[]){"mac", "x", NULL}, -EINVAL, "'mac' is");
	refuse_port(&rig, (const char *const[]){"queues", "4", NULL}, -EINVAL, "odd number");
	refuse_port(&rig, (const char *const[]){"worker", "nobody", NULL}, -ENOENT, "no worker");
	rig_add(&rig, "sw0",
		(const char *const[]){"max_vqp", "8", "vlan", "7", "trunk", "all", NULL});
	assert_int_equal(rig.vdev->nvqs, 17);
	rig_close(&rig);
}

/* What fails at any place leaves nothing behind.  Not all of it has to be there. */
static void test_switch_mgmtdev_without_memory(void **state)
{
	static const char *const words[] = {"uplink", TAP, NULL};
	struct vdpa_attrs *attrs = rig_attrs(words);
	struct vdpa_mgmtdev *mdev = NULL;
	struct vdpa_device *vdev = NULL;
	bool failed = true;
	struct rig rig;

	rig_open_bus(&rig, NULL);
	for (unsigned int n = 1; failed; n++) {
		int err;

		fail_alloc_nth(n);
		err = switch_type.add(rig.bus, "sw0", attrs, &mdev, NULL);
		failed = fail_alloc_done();
		assert_true(!err || (failed && (err == -ENOMEM || err == -EAGAIN)));
		assert_int_equal(host_net_exists(TAP), !err);
		if (failed && !err)
			mdev->ops->free(mdev);
	}
	failed = true;
	for (unsigned int n = 1; failed; n++) {
		int err;

		fail_alloc_nth(n);
		err = mdev->ops->dev_add(mdev, "net0", NULL, &vdev, NULL);
		failed = fail_alloc_done();
		assert_int_equal(err, failed ? -ENOMEM : 0);
	}
	vdev->ops->free(vdev);
	mdev->ops->free(mdev);
	vdpa_attrs_free(attrs);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_switch_mgmtdev_uplink),
		cmocka_unit_test(test_switch_mgmtdev_uplink_offloads),
		cmocka_unit_test(test_switch_mgmtdev_uplink_vlans),
		cmocka_unit_test(test_switch_mgmtdev_is_kept_by_its_devices),
		cmocka_unit_test(test_switch_mgmtdev_attributes),
		cmocka_unit_test(test_switch_mgmtdev_without_memory),
	};

	if (!host_net_enter())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
