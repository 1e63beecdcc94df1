/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Management devices of a TmFIFO, and their console and network.  Queue 0 of a device receives, 1
 * sends.
 */
#include "rig.h"

#include <endian.h>
#include <poll.h>

#include "backends/net/virtio_net_defs.h"
#include "fail_alloc.h"
#include "parents/tmfifo/ends.h"
#include "tmfifo_end.h"

#define RX 0
#define TX 1

#define HDR        sizeof(struct virtio_net_hdr_v1)
#define F(n)       (1ull << VIRTIO_NET_F_##n)
#define TIMEOUT_MS 10000

static const char *const console_attrs[] = {"type", "console", NULL};
static const char *const net_attrs[] = {"type", "net", NULL};

struct board {
	struct tmfifo_end end;
	uint8_t type;
	uint8_t data[65536]; /* of all messages */
	uint32_t len, messages;
};

/* The hardware of the bus that is open. */
static struct board board;

static void on_message(struct tmfifo_end *end, uint8_t type, const uint8_t *data, uint32_t len)
{
	assert_true(len <= sizeof(board.data) - board.len);
	board.type = type;
	memcpy(board.data + board.len, data, len);
	board.len += len;
	board.messages++;
}

static int model_add(struct vdpa_bus *bus, const char *name, struct vdpa_attrs *attrs,
		     struct vdpa_mgmtdev **ret, struct vdpa_extack *ack)
{
	struct vdpa_tmfifo_regs *regs =
		tmfifo_model_regs(board.end.model, TMFIFO_OURS, true, false);

	return regs ? vdpa_tmfifo_make(bus, regs, attrs, ret, ack) : -ENOMEM;
}

static const struct vdpa_attr_desc model_attrs[] = {VDPA_TMFIFO_ATTRS, {0}};

static const struct vdpa_mgmtdev_type model_type = {
	.size = sizeof(model_type),
	.name = "model",
	.attrs = model_attrs,
	.add = model_add,
};

static void open_all(struct rig *rig, const char *const *words)
{
	struct tmfifo_model *model;

	assert_int_equal(tmfifo_model_alloc(&model), 0);
	tmfifo_end_init(&board.end, model);
	board.end.message = on_message;
	board.len = board.messages = 0;
	rig_open_bus(rig, NULL);
	assert_int_equal(vdpa_mgmtdev_type_register(rig->bus, &model_type, NULL), 0);
	if (rig_mgmtdev_add(rig, "model", "tmf0", words))
		fail_msg("%s", rig->ack.msg);
}

static void close_all(struct rig *rig)
{
	rig_close(rig);
	assert_int_equal(tmfifo_model_faults(board.end.model, TMFIFO_OURS), 0);
	tmfifo_model_free(board.end.model);
}

/* Until nothing goes any more: an interrupt comes only then. */
static void move(void)
{
	while (tmfifo_end_run(&board.end))
		;
}

static void wait_and_move(void)
{
	struct pollfd pfd = {tmfifo_model_irq(board.end.model, TMFIFO_THEIRS), POLLIN, 0};

	if (poll(&pfd, 1, TIMEOUT_MS) != 1)
		fail_msg("nothing comes");
	tmfifo_model_irq_ack(board.end.model, TMFIFO_THEIRS);
	move();
}

/* The next len bytes that the driver sends are these. */
static void expect_sent(uint8_t type, const uint8_t *data, uint32_t len)
{
	move();
	while (board.len < len)
		wait_and_move();
	assert_int_equal(board.type, type);
	assert_int_equal(board.len, len);
	assert_memory_equal(board.data, data, len);
	board.len = 0;
}

/* All of it is in the hands of the driver's end. */
static void put_message(uint8_t type, const void *data, uint32_t len)
{
	tmfifo_end_put(&board.end, type, data, len);
	move();
	while (!tmfifo_end_ready(&board.end))
		wait_and_move();
}

static struct rig_req *post(struct rig *rig)
{
	struct rig_req *req = rig_req(rig);

	rig_offer(rig, RX, req, 0, RIG_SLOT / 2);
	rig_kick(rig, RX);
	return req;
}

static void send(struct rig *rig, const void *data, uint32_t len)
{
	struct rig_req *req = rig_send(rig, TX, data, len, 0);

	rig_wait(rig, TX, req);
	rig_put(req);
}

static void fill(uint8_t *data, uint32_t len, uint8_t first)
{
	for (uint32_t i = 0; i < len; i++)
		data[i] = (uint8_t)(first + i);
}

/* ---- console */

static void check_console(struct rig *rig)
{
	uint8_t data[4000];
	uint32_t got = 0;

	fill(data, sizeof(data), 1);
	put_message(TMFIFO_END_CONSOLE, data, sizeof(data));
	while (got < sizeof(data)) {
		struct rig_req *req = post(rig);

		rig_wait(rig, RX, req);
		assert_in_range(req->len, 1, sizeof(data) - got);
		assert_memory_equal(req->in, data + got, req->len);
		got += req->len;
		rig_put(req);
	}
	send(rig, data, sizeof(data));
	expect_sent(TMFIFO_END_CONSOLE, data, sizeof(data));
}

static void test_tmfifo_mgmtdev_console(void **state)
{
	struct rig rig;

	open_all(&rig, NULL);
	rig_add(&rig, "tmf0", console_attrs);
	assert_int_equal(rig.nvqs, 2);
	rig_start(&rig, 0);
	check_console(&rig);
	/* Another driver. */
	rig_reset(&rig);
	rig_start(&rig, RIG_PACKED);
	check_console(&rig);
	close_all(&rig);
}

/* What is said before there is a driver waits, and what is more than that is lost. */
static void test_tmfifo_mgmtdev_console_overrun(void **state)
{
	static uint8_t data[TMFIFO_CONSOLE_INPUT - 100 + 300];
	const uint32_t whole = TMFIFO_CONSOLE_INPUT - 100;
	uint32_t got = 0;
	struct rig rig;

	open_all(&rig, NULL);
	rig_add(&rig, "tmf0", console_attrs);
	fill(data, sizeof(data), 1);
	put_message(TMFIFO_END_CONSOLE, data, whole);
	put_message(TMFIFO_END_CONSOLE, data + whole, 300);
	rig_start(&rig, 0);
	while (got < TMFIFO_CONSOLE_INPUT) {
		struct rig_req *req = post(&rig);

		rig_wait(&rig, RX, req);
		assert_memory_equal(req->in, data + got, req->len);
		got += req->len;
		rig_put(req);
	}
	assert_int_equal(got, TMFIFO_CONSOLE_INPUT);
	check_console(&rig);
	close_all(&rig);
}

/* ---- net */

static void check_net(struct rig *rig, uint32_t len)
{
	uint8_t out[RIG_SLOT / 2] = {0};
	struct rig_req *req = post(rig);

	fill(out + HDR, len, 9);
	out[HDR] = 2; /* for one station */
	put_message(TMFIFO_END_NET, out + HDR, len);
	rig_wait(rig, RX, req);
	assert_int_equal(req->len, HDR + len);
	assert_memory_equal(req->in + HDR, out + HDR, len);
	rig_put(req);
	send(rig, out, (uint32_t)HDR + len);
	expect_sent(TMFIFO_END_NET, out + HDR, len);
}

static void test_tmfifo_mgmtdev_net(void **state)
{
	struct rig rig;

	open_all(&rig, NULL);
	rig_add(&rig, "tmf0", net_attrs);
	for (unsigned int round = 0; round < 2; round++) {
		rig_start(&rig, round ? RIG_PACKED : 0);
		for (uint32_t len = 14; len <= 1518; len += 47)
			check_net(&rig, len);
		rig_reset(&rig);
	}
	close_all(&rig);
}

/* Frames that nobody takes are lost, and hold up nothing. */
static void test_tmfifo_mgmtdev_net_without_room(void **state)
{
	uint8_t frame[1514];
	struct rig rig;

	open_all(&rig, NULL);
	rig_add(&rig, "tmf0", net_attrs);
	fill(frame, sizeof(frame), 2);
	for (unsigned int i = 0; i < 10; i++)
		put_message(TMFIFO_END_NET, frame, sizeof(frame));
	rig_start(&rig, 0);
	for (unsigned int i = 0; i < 10; i++)
		put_message(TMFIFO_END_NET, frame, sizeof(frame));
	/* The last ones may be on their way. */
	while (rig_stats(&rig, RX).drops < 10)
		put_message(TMFIFO_END_NET, frame, sizeof(frame));
	close_all(&rig);
}

struct read_config {
	struct virtio_net_config cfg;
	uint64_t features;
};

static int do_read_config(struct rig *rig, void *arg)
{
	struct read_config *read = arg;

	read->features = vdpa_get_device_features(rig->vdev);
	return vdpa_get_config(rig->vdev, 0, &read->cfg, offsetof(struct virtio_net_config, speed));
}

/* As BlueField has it: an address and an MTU that the driver is told. */
static void test_tmfifo_mgmtdev_net_config(void **state)
{
	static const char *const large[] = {"mtu", "4000", NULL};
	struct read_config read;
	struct rig rig;

	open_all(&rig, NULL);
	rig_add(&rig, "tmf0", net_attrs);
	assert_int_equal(rig_lane(&rig, do_read_config, &read), 0);
	assert_int_equal(le16toh(read.cfg.mtu), 1500);
	assert_int_equal(le16toh(read.cfg.status), VIRTIO_NET_S_LINK_UP);
	assert_memory_equal(read.cfg.mac, "\x00\x1a\xca\xff\xff\x01", 6);
	assert_true(read.features & F(MTU) && read.features & F(MAC));
	close_all(&rig);

	open_all(&rig, large);
	rig_add(&rig, "tmf0",
		(const char *const[]){"type", "net", "mtu", "2000", "mac", "02:00:00:00:00:07",
				      NULL});
	assert_int_equal(rig_lane(&rig, do_read_config, &read), 0);
	assert_int_equal(le16toh(read.cfg.mtu), 2000);
	assert_int_equal(read.cfg.mac[5], 7);
	rig_start(&rig, 0);
	check_net(&rig, 4018);
	close_all(&rig);
}

/* ---- verbs */

static void refuse(struct rig *rig, const char *const *words, int err, const char *text)
{
	assert_int_equal(rig_try_add(rig, "tmf0", words), err);
	if (!strstr(rig->ack.msg, text))
		fail_msg("'%s' does not say '%s'", rig->ack.msg, text);
}

static void test_tmfifo_mgmtdev_attributes(void **state)
{
	struct vdpa_result res = {0};
	struct rig rig;
	int err;

	open_all(&rig, NULL);
	assert_int_equal(
		rig_mgmtdev_add(&rig, "model", "x", (const char *const[]){"mtu", "9001", NULL}),
		-ERANGE);
	assert_int_equal(
		rig_mgmtdev_add(&rig, "model", "x", (const char *const[]){"worker", "w", NULL}),
		-ENOENT);
	assert_string_equal(rig.ack.msg, "there is no worker 'w'");
	refuse(&rig, NULL, -EINVAL, "'type' is missing");
	refuse(&rig, (const char *const[]){"type", "blk", NULL}, -EINVAL, "console");
	refuse(&rig, (const char *const[]){"type", "console", "mac", "02::", NULL}, -EINVAL,
	       "'mac' is for type 'net', not for 'console'");
	refuse(&rig, (const char *const[]){"type", "net", "rows", "2", NULL}, -EINVAL,
	       "'rows' is for type 'console', not for 'net'");
	refuse(&rig, (const char *const[]){"type", "console", "backend", "pty", NULL}, -EINVAL,
	       "backend");
	refuse(&rig, (const char *const[]){"type", "net", "mtu", "1501", NULL}, -EINVAL,
	       "'mtu' 1501 is more than the 1500 of backend 'tmfifo'");
	refuse(&rig, (const char *const[]){"type", "net", "queues", "5", NULL}, -EINVAL,
	       "1 queue pairs at most");
	/* Each of them has left its place free. */
	rig_add(&rig, "tmf0", net_attrs);
	vdpa_dev_add(rig.bus, "dev1", "tmf0", rig_attrs(net_attrs), vdpa_result_done, &res);
	assert_int_equal(rig_verb(&rig, &res), -EBUSY);
	assert_string_equal(rig.ack.msg, "the FIFO has its net device already");
	assert_int_equal(rig_mgmtdev_del(&rig, "tmf0"), -EBUSY);
	assert_int_equal(rig_del(&rig, "dev0"), 0);
	/* The one that was refused counts until its lane has freed it. */
	do
		err = rig_mgmtdev_del(&rig, "tmf0");
	while (err == -EBUSY);
	assert_int_equal(err, 0);
	close_all(&rig);
}

/* What fails at any place leaves nothing behind.  Not all of it has to be there. */
static void test_tmfifo_mgmtdev_without_memory(void **state)
{
	const char *const *const kinds[] = {console_attrs, net_attrs};
	struct vdpa_mgmtdev *mdev = NULL;
	struct vdpa_device *vdev = NULL;
	bool failed = true;
	struct rig rig;

	open_all(&rig, NULL);
	for (unsigned int n = 1; failed; n++) {
		int err;

		fail_alloc_nth(n);
		err = model_add(rig.bus, "tmf1", NULL, &mdev, NULL);
		failed = fail_alloc_done();
		assert_true(!err || (failed && (err == -ENOMEM || err == -EAGAIN)));
		if (failed && !err)
			mdev->ops->free(mdev);
	}
	for (unsigned int kind = 0; kind < 2; kind++) {
		struct vdpa_attrs *attrs = rig_attrs(kinds[kind]);

		failed = true;
		for (unsigned int n = 1; failed; n++) {
			int err;

			fail_alloc_nth(n);
			err = mdev->ops->dev_add(mdev, "dev0", attrs, &vdev, NULL);
			failed = fail_alloc_done();
			assert_int_equal(err, failed ? -ENOMEM : 0);
		}
		vdev->ops->free(vdev);
		vdpa_attrs_free(attrs);
	}
	mdev->ops->free(mdev);
	close_all(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tmfifo_mgmtdev_console),
		cmocka_unit_test(test_tmfifo_mgmtdev_console_overrun),
		cmocka_unit_test(test_tmfifo_mgmtdev_net),
		cmocka_unit_test(test_tmfifo_mgmtdev_net_without_room),
		cmocka_unit_test(test_tmfifo_mgmtdev_net_config),
		cmocka_unit_test(test_tmfifo_mgmtdev_attributes),
		cmocka_unit_test(test_tmfifo_mgmtdev_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
