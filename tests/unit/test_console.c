/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The console device on a Unix socket, whose other end the test has.  Queues: 0 and 1 carry port 0,
 * 2 and 3 messages, 4 to 7 the ports 1 and 2.
 */
#include "rig.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "parents/soft/console.h"
#include "vhost_user/socket.h"

#define RX      0
#define TX      1
#define CTRL_RX 2
#define CTRL_TX 3
#define WAIT_MS 20000

#define F(name) (1ull << VIRTIO_CONSOLE_F_##name)

struct con {
	struct rig rig;
	char dir[64];
	char path[80];
	int peer;
};

static void add_console(struct con *con, const char *const *more)
{
	const char *attrs[16] = {"socket", con->path};

	for (size_t i = 0; more[i]; i++)
		attrs[2 + i] = more[i];
	rig_open_bus(&con->rig, NULL);
	rig_add(&con->rig, "console", attrs);
}

static void join(struct con *con, uint16_t port)
{
	char path[96];

	snprintf(path, sizeof(path), port ? "%s.%u" : "%s", con->path, port);
	con->peer = vu_socket_connect(path, NULL);
	assert_true(con->peer >= 0);
	assert_int_equal(fcntl(con->peer, F_SETFL, 0), 0);
}

static void leave(struct con *con)
{
	close(con->peer);
	con->peer = -1;
}

#define OPEN(con, features, ...)                                                                   \
	open_console(con, features, (const char *const[]){__VA_ARGS__, NULL})

static void open_console(struct con *con, uint64_t features, const char *const *more)
{
	con->peer = -1;
	add_console(con, more);
	rig_start(&con->rig, features);
}

static void close_console(struct con *con)
{
	fd_closep(&con->peer);
	rig_close(&con->rig);
	assert_int_not_equal(access(con->path, F_OK), 0);
}

static int setup(void **state)
{
	struct con *con = calloc(1, sizeof(*con));

	strcpy(con->dir, "/tmp/uvdpa-console-XXXXXX");
	if (!mkdtemp(con->dir))
		return -1;
	snprintf(con->path, sizeof(con->path), "%s/sock", con->dir);
	*state = con;
	return 0;
}

static int teardown(void **state)
{
	struct con *con = *state;
	int err = rmdir(con->dir);

	free(con);
	return err;
}

/* ---- bytes */

static void expect_output(struct con *con, const char *text)
{
	struct pollfd pfd = {.fd = con->peer, .events = POLLIN};
	size_t want = strlen(text), have = 0;
	char *got = calloc(1, want + 1);

	while (have < want) {
		ssize_t len;

		assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
		len = read(con->peer, got + have, want - have);
		assert_true(len > 0);
		have += (size_t)len;
	}
	assert_string_equal(got, text);
	free(got);
}

static struct rig_req *send_text(struct con *con, uint16_t idx, const char *text)
{
	return rig_send(&con->rig, idx, text, (uint32_t)strlen(text), 0);
}

static void say(struct con *con, uint16_t idx, const char *text)
{
	struct rig_req *req = send_text(con, idx, text);

	rig_wait(&con->rig, idx, req);
	rig_put(req);
}

static struct rig_req *post(struct con *con, uint16_t idx, uint32_t len)
{
	struct rig_req *req = rig_req(&con->rig);

	rig_offer(&con->rig, idx, req, 0, len);
	rig_kick(&con->rig, idx);
	return req;
}

static void type(struct con *con, const char *text)
{
	assert_int_equal(write(con->peer, text, strlen(text)), strlen(text));
}

static void expect_input(struct con *con, uint16_t idx, struct rig_req *req, const char *text)
{
	rig_wait(&con->rig, idx, req);
	assert_int_equal(req->len, strlen(text));
	assert_memory_equal(req->in, text, strlen(text));
	rig_put(req);
}

static void carry(struct con *con, uint64_t features)
{
	struct rig_req *one, *two;

	OPEN(con, features, NULL);
	join(con, 0);
	for (int i = 0; i < 100; i++) {
		say(con, TX, "hello");
		expect_output(con, "hello");
		one = post(con, RX, 4);
		two = post(con, RX, 100);
		type(con, "abcdefg");
		expect_input(con, RX, one, "abcd");
		expect_input(con, RX, two, "efg");
	}
	close_console(con);
}

static void test_console_carries_both_ways(void **state)
{
	carry(*state, 0);
	carry(*state, RIG_PACKED | RIG_EVENT_IDX);
	carry(*state, F(SIZE) | RIG_EVENT_IDX);
}

/* What was typed before there are buffers is there when they come. */
static void test_console_input_waits_for_buffers(void **state)
{
	struct con *con = *state;

	OPEN(con, 0, NULL);
	join(con, 0);
	type(con, "early");
	say(con, TX, "x");
	expect_output(con, "x");
	expect_input(con, RX, post(con, RX, 100), "early");
	close_console(con);
}

static void test_console_gives_back_buffers_without_room(void **state)
{
	struct con *con = *state;
	struct rig_req *req;

	OPEN(con, 0, NULL);
	join(con, 0);
	type(con, "text");
	/* A buffer that can only be read. */
	req = rig_send(&con->rig, RX, "???", 3, 0);
	rig_wait(&con->rig, RX, req);
	assert_int_equal(req->len, 0);
	rig_put(req);
	expect_input(con, RX, post(con, RX, 100), "text");
	assert_int_equal(rig_stats(&con->rig, RX).errors, 1);
	close_console(con);
}

/* Nobody reads: the driver's buffers wait, beyond what is kept; then all comes, in order. */
static void test_console_holds_the_guest_back(void **state)
{
	struct con *con = *state;
	struct rig_req *reqs[6];
	char out[6 * 8 + 1] = "";

	OPEN(con, 0, "buffer", "20", "unread", "hold");
	for (int i = 0; i < 6; i++) {
		char text[9];

		snprintf(text, sizeof(text), "line %02d\n", i);
		strcat(out, text);
		reqs[i] = send_text(con, TX, text);
	}
	rig_wait(&con->rig, TX, reqs[1]);
	/* 20 bytes are two lines and a half. */
	for (int i = 0; i < 6; i++)
		assert_int_equal(reqs[i]->done, i < 2);
	join(con, 0);
	expect_output(con, out);
	rig_wait(&con->rig, TX, reqs[5]);
	assert_int_equal(rig_stats(&con->rig, TX).errors, 0);
	close_console(con);
}

/* Until the device has taken so much of what was sent. */
static void wait_unread(struct con *con, uint32_t want)
{
	struct console *console = vdpa_soft_priv(to_soft(con->rig.vdev));
	struct stream *stream = console->ports[0].stream;
	uint32_t len;

	do {
		sched_yield();
		pthread_mutex_lock(&stream->lock);
		len = stream->out.len;
		pthread_mutex_unlock(&stream->lock);
	} while (len < want);
}

/* A queue that is stopped while output waits loses none of it. */
static void test_console_stops_while_the_guest_is_held_back(void **state)
{
	struct con *con = *state;
	uint16_t idx = TX;

	OPEN(con, 0, "buffer", "4", "unread", "hold");
	send_text(con, TX, "0123456789");
	send_text(con, TX, "abc");
	wait_unread(con, 4);
	assert_int_equal(rig_lane(&con->rig, rig_do_stop, &idx), 0);
	rig_collect(&con->rig, TX);
	assert_int_equal(rig_lane(&con->rig, rig_do_ready, &idx), 0);
	join(con, 0);
	expect_output(con, "0123456789abc");
	say(con, TX, "on");
	expect_output(con, "on");
	close_console(con);
}

static void test_console_is_reset_while_the_guest_is_held_back(void **state)
{
	struct con *con = *state;

	OPEN(con, 0, "buffer", "4", "unread", "hold");
	send_text(con, TX, "0123456789");
	wait_unread(con, 4);
	rig_reset(&con->rig);
	rig_start(&con->rig, 0);
	join(con, 0);
	say(con, TX, "!");
	/* The last word of a guest that was reset is worth having. */
	expect_output(con, "0123456789!");
	close_console(con);
}

static void test_console_keeps_what_nobody_reads(void **state)
{
	struct con *con = *state;

	OPEN(con, 0, "buffer", "8");
	for (int i = 0; i < 300; i++)
		say(con, TX, "overwritten");
	say(con, TX, "the last");
	join(con, 0);
	expect_output(con, "the last");
	close_console(con);
}

/* ---- config space */

static int do_read_config(struct rig *rig, void *cfg)
{
	return vdpa_get_config(rig->vdev, 0, cfg, sizeof(struct virtio_console_config));
}

static struct virtio_console_config config_of(struct con *con)
{
	struct virtio_console_config cfg;

	assert_int_equal(rig_lane(&con->rig, do_read_config, &cfg), 0);
	return cfg;
}

struct config_write {
	uint32_t off, value, len;
};

static int do_write_config(struct rig *rig, void *arg)
{
	struct config_write *w = arg;

	return vdpa_set_config(rig->vdev, w->off, &w->value, w->len, &rig->ack);
}

static int set_attrs(struct con *con, const char *const *words)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct vdpa_result res = {0};

	for (; *words; words += 2)
		assert_int_equal(vdpa_attrs_add(attrs, words[0], words[1], NULL, NULL), 0);
	vdpa_dev_set(con->rig.bus, "dev0", attrs, vdpa_result_done, &res);
	return vdpa_bus_wait(con->rig.bus, &res);
}

#define SET(con, ...) set_attrs(con, (const char *const[]){__VA_ARGS__, NULL})

static void test_console_has_a_size_that_changes(void **state)
{
	struct con *con = *state;
	struct virtio_console_config cfg;

	OPEN(con, F(SIZE), "cols", "100", "rows", "40");
	cfg = config_of(con);
	assert_int_equal(le16toh(cfg.cols), 100);
	assert_int_equal(le16toh(cfg.rows), 40);
	assert_int_equal(le32toh(cfg.max_nr_ports), 1);
	assert_int_equal(SET(con, "cols", "132"), 0);
	rig_wait_fd(con->rig.changed);
	cfg = config_of(con);
	assert_int_equal(le16toh(cfg.cols), 132);
	assert_int_equal(le16toh(cfg.rows), 40);
	close_console(con);
}

static void test_console_emergency_write(void **state)
{
	struct con *con = *state;
	struct config_write w = {offsetof(struct virtio_console_config, emerg_wr), htole32('E'), 4};

	con->peer = -1;
	add_console(con, (const char *const[]){NULL});
	join(con, 0);
	/* Before there is a driver at all. */
	assert_int_equal(rig_lane(&con->rig, do_write_config, &w), 0);
	expect_output(con, "E");
	rig_start(&con->rig, F(EMERG_WRITE));
	w.value = htole32('!');
	assert_int_equal(rig_lane(&con->rig, do_write_config, &w), 0);
	expect_output(con, "!");
	w.off = 0;
	assert_int_equal(rig_lane(&con->rig, do_write_config, &w), -EINVAL);
	close_console(con);
}

static void refused(struct con *con, const char *text, const char *const *attrs)
{
	rig_open_bus(&con->rig, NULL);
	assert_true(rig_try_add(&con->rig, "console", attrs) < 0);
	if (!strstr(con->rig.ack.msg, text))
		fail_msg("'%s' lacks '%s'", con->rig.ack.msg, text);
	rig_close(&con->rig);
}

#define REFUSED(con, text, ...) refused(con, text, (const char *const[]){__VA_ARGS__, NULL})

static void test_console_refuses_attributes(void **state)
{
	struct con *con = *state;

	REFUSED(con, "follow from 'ports'", "queues", "4");
	REFUSED(con, "more than 1", "names", "a,b");
	REFUSED(con, "longer than 63", "names",
		"0123456789012345678901234567890123456789012345678901234567890123");
	/* The first port was open by then, and is not left behind. */
	REFUSED(con, "cannot open", "file", "/nowhere/file", "ports", "2");
}

/* ---- messages */

static void command(struct con *con, uint32_t id, uint16_t event, uint16_t value)
{
	const struct virtio_console_control msg = {htole32(id), htole16(event), htole16(value)};
	struct rig_req *req = rig_send(&con->rig, CTRL_TX, &msg, sizeof(msg), 0);

	rig_wait(&con->rig, CTRL_TX, req);
	rig_put(req);
}

/* The next message is this one; what follows its header goes to more. */
static void expect_msg(struct con *con, uint32_t id, uint16_t event, uint16_t value,
		       const void *more, uint32_t more_len)
{
	struct rig_req *req = post(con, CTRL_RX, 200);
	struct virtio_console_control msg;

	rig_wait(&con->rig, CTRL_RX, req);
	assert_int_equal(req->len, sizeof(msg) + more_len);
	memcpy(&msg, req->in, sizeof(msg));
	assert_int_equal(le32toh(msg.id), id);
	assert_int_equal(le16toh(msg.event), event);
	assert_int_equal(le16toh(msg.value), value);
	assert_memory_equal(req->in + sizeof(msg), more, more_len);
	rig_put(req);
}

static void expect_size(struct con *con, uint16_t cols, uint16_t rows)
{
	const uint16_t size[2] = {htole16(rows), htole16(cols)};

	expect_msg(con, 0, VIRTIO_CONSOLE_RESIZE, 1, size, sizeof(size));
}

/* As a driver does when it starts. */
static void greet(struct con *con)
{
	command(con, ~0u, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (uint32_t id = 0; id < 3; id++)
		expect_msg(con, id, VIRTIO_CONSOLE_PORT_ADD, 1, "", 0);
	command(con, 0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_msg(con, 0, VIRTIO_CONSOLE_CONSOLE_PORT, 1, "", 0);
	expect_size(con, 80, 24);
	expect_msg(con, 0, VIRTIO_CONSOLE_PORT_OPEN, 0, "", 0);
	command(con, 1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_msg(con, 1, VIRTIO_CONSOLE_PORT_NAME, 1, "agent.0", 7);
	expect_msg(con, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, "", 0);
	command(con, 2, VIRTIO_CONSOLE_PORT_READY, 1);
	expect_msg(con, 2, VIRTIO_CONSOLE_PORT_OPEN, 0, "", 0);
}

static void open_ports(struct con *con)
{
	OPEN(con, F(MULTIPORT) | F(SIZE), "ports", "3", "names", ",agent.0");
	assert_int_equal(con->rig.vdev->nvqs, 8);
	greet(con);
}

static void test_console_tells_of_its_ports(void **state)
{
	struct con *con = *state;

	open_ports(con);
	assert_int_equal(SET(con, "cols", "90", "rows", "30"), 0);
	expect_size(con, 90, 30);
	/* Again, as after the module was loaded again. */
	assert_int_equal(SET(con, "cols", "80", "rows", "24"), 0);
	greet(con);
	close_console(con);
}

static void test_console_tells_who_comes_and_goes(void **state)
{
	struct con *con = *state;

	open_ports(con);
	for (int i = 0; i < 10; i++) {
		join(con, 1);
		expect_msg(con, 1, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
		leave(con);
		expect_msg(con, 1, VIRTIO_CONSOLE_PORT_OPEN, 0, "", 0);
	}
	close_console(con);
}

static void test_console_ports_carry_each_their_own(void **state)
{
	struct con *con = *state;
	struct rig_req *zero, *two;
	int peer;

	open_ports(con);
	join(con, 0);
	expect_msg(con, 0, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
	peer = con->peer;
	join(con, 2);
	expect_msg(con, 2, VIRTIO_CONSOLE_PORT_OPEN, 1, "", 0);
	say(con, 7, "from two");
	expect_output(con, "from two");
	zero = post(con, RX, 100);
	two = post(con, 6, 100);
	type(con, "to two");
	/* Nobody in the guest has opened it yet. */
	say(con, 7, "x");
	expect_output(con, "x");
	rig_collect(&con->rig, 6);
	assert_false(two->done);
	command(con, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	expect_input(con, 6, two, "to two");
	assert_false(zero->done);
	close(peer);
	close_console(con);
}

/* A driver that does not ask for ports has the first one, on the same queues. */
static void test_console_ports_are_an_offer(void **state)
{
	struct con *con = *state;

	OPEN(con, 0, "ports", "3");
	join(con, 0);
	say(con, TX, "plain");
	expect_output(con, "plain");
	type(con, "input");
	expect_input(con, RX, post(con, RX, 100), "input");
	close_console(con);
}

static void test_console_ignores_messages_without_sense(void **state)
{
	struct con *con = *state;
	struct rig_req *req;

	open_ports(con);
	command(con, 3, VIRTIO_CONSOLE_PORT_READY, 1);
	command(con, ~0u, VIRTIO_CONSOLE_PORT_OPEN, 1);
	command(con, 0, 4711, 1);
	for (uint32_t len = 1; len < sizeof(struct virtio_console_control); len++) {
		req = rig_send(&con->rig, CTRL_TX, "\0\0\0\0\6\0\1\0", len, 0);
		rig_wait(&con->rig, CTRL_TX, req);
		rig_put(req);
	}
	/* A buffer that is too short for a message is given back, and the message is lost. */
	assert_int_equal(SET(con, "cols", "81"), 0);
	req = post(con, CTRL_RX, 4);
	rig_wait(&con->rig, CTRL_RX, req);
	assert_int_equal(req->len, 0);
	assert_int_equal(SET(con, "cols", "82"), 0);
	expect_size(con, 82, 24);
	assert_int_equal(rig_status(&con->rig) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	close_console(con);
}

/* ---- the state record */

static int do_save(struct rig *rig, void *record)
{
	return vdpa_device_save(rig->vdev, VDPA_STATE_DEVICE, record, &rig->ack);
}

static int do_load(struct rig *rig, void *record)
{
	return vdpa_device_load(rig->vdev, VDPA_STATE_DEVICE, record, &rig->ack);
}

/* Migration: another device goes on where this one was. */
static void test_console_goes_on_from_its_record(void **state)
{
	struct con *con = *state;
	struct vdpa_state record = {0};
	struct rig_req *req;

	open_ports(con);
	command(con, 2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	assert_int_equal(rig_lane(&con->rig, do_save, &record), 0);
	close_console(con);

	con->peer = -1;
	add_console(con, (const char *const[]){"ports", "3", "names", ",agent.0", NULL});
	join(con, 2);
	type(con, "input");
	assert_int_equal(rig_lane(&con->rig, do_load, &record), 0);
	rig_start(&con->rig, F(MULTIPORT) | F(SIZE));
	/* The driver is told what may be different here, and no more. */
	expect_size(con, 80, 24);
	for (uint32_t id = 0; id < 3; id++)
		expect_msg(con, id, VIRTIO_CONSOLE_PORT_OPEN, id == 2, "", 0);
	req = post(con, 6, 100);
	expect_input(con, 6, req, "input");
	close_console(con);

	add_console(con, (const char *const[]){"ports", "2", NULL});
	assert_int_equal(rig_lane(&con->rig, do_load, &record), -EINVAL);
	assert_non_null(strstr(con->rig.ack.msg, "more ports"));
	con->peer = -1;
	close_console(con);
	vdpa_state_clear(&record);
}

static void test_console_forgets_with_a_reset(void **state)
{
	struct con *con = *state;

	open_ports(con);
	rig_reset(&con->rig);
	rig_start(&con->rig, F(MULTIPORT) | F(SIZE));
	greet(con);
	close_console(con);
}

#define CONSOLE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CONSOLE_TEST(test_console_carries_both_ways),
		CONSOLE_TEST(test_console_input_waits_for_buffers),
		CONSOLE_TEST(test_console_gives_back_buffers_without_room),
		CONSOLE_TEST(test_console_holds_the_guest_back),
		CONSOLE_TEST(test_console_stops_while_the_guest_is_held_back),
		CONSOLE_TEST(test_console_is_reset_while_the_guest_is_held_back),
		CONSOLE_TEST(test_console_keeps_what_nobody_reads),
		CONSOLE_TEST(test_console_has_a_size_that_changes),
		CONSOLE_TEST(test_console_emergency_write),
		CONSOLE_TEST(test_console_refuses_attributes),
		CONSOLE_TEST(test_console_tells_of_its_ports),
		CONSOLE_TEST(test_console_tells_who_comes_and_goes),
		CONSOLE_TEST(test_console_ports_carry_each_their_own),
		CONSOLE_TEST(test_console_ports_are_an_offer),
		CONSOLE_TEST(test_console_ignores_messages_without_sense),
		CONSOLE_TEST(test_console_goes_on_from_its_record),
		CONSOLE_TEST(test_console_forgets_with_a_reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
