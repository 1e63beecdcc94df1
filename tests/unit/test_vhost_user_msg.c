/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "base/defs.h"
#include "vhost_user/frontend.h"
#include "vhost_user/msg.h"

struct pair {
	int ours, theirs;
};

static int setup(void **state)
{
	struct pair *p = malloc(sizeof(*p));
	int fds[2];

	if (!p || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds))
		return -1;
	*p = (struct pair){.ours = fds[0], .theirs = fds[1]};
	*state = p;
	return 0;
}

static int teardown(void **state)
{
	struct pair *p = *state;

	fd_closep(&p->ours);
	fd_closep(&p->theirs);
	free(p);
	return 0;
}

static struct vu_hdr header(uint32_t request, uint32_t size)
{
	return (struct vu_hdr){.request = request, .flags = VU_FLAG_VERSION, .size = size};
}

static unsigned int open_fds(void)
{
	unsigned int num = 0;

	for (int fd = 0; fd < 256; fd++)
		num += fcntl(fd, F_GETFD) >= 0;
	return num;
}

static void test_msg_table_is_sound(void **state)
{
	for (uint32_t i = 0; i < VU_REQUEST_MAX; i++) {
		const struct vu_msg_desc *desc = vu_msg_desc(VU_TO_BACKEND, i);

		if (!i) {
			assert_null(desc);
			continue;
		}
		assert_non_null(desc);
		assert_true(desc->size_min <= desc->size_max);
		assert_true(desc->size_max <= sizeof(union vu_payload));
		assert_true(desc->reply_max <= sizeof(union vu_payload));
		assert_true(desc->fds_min <= desc->fds_max && desc->fds_max <= VU_FDS_MAX);
		assert_true(desc->gate >= VU_GATE_NONE && desc->gate < VU_PROTOCOL_F_MAX);
		assert_true((desc->answer == VU_REPLY) == (desc->reply_max > 0));
	}
	for (uint32_t i = 1; i < VU_BACKEND_REQUEST_MAX; i++)
		assert_non_null(vu_msg_desc(VU_TO_FRONTEND, i));
	/* Messages that some back-ends send of their own accord. */
	for (uint32_t i = 1002; i <= 1007; i++)
		assert_null(vu_msg_desc(VU_TO_FRONTEND, i));
	assert_null(vu_msg_desc(VU_TO_BACKEND, UINT32_MAX));
}

static void test_msg_names(void **state)
{
	char buf[16];

	assert_string_equal(vu_msg_name(VU_TO_BACKEND, VU_SET_MEM_TABLE, buf), "SET_MEM_TABLE");
	assert_string_equal(vu_msg_name(VU_TO_FRONTEND, VU_BACKEND_CONFIG_CHANGE_MSG, buf),
			    "BACKEND_CONFIG_CHANGE_MSG");
	assert_string_equal(vu_msg_name(VU_TO_BACKEND, 4711, buf), "4711");
	for (unsigned int bit = 0; bit < VU_PROTOCOL_F_MAX; bit++)
		assert_non_null(vu_protocol_feature_name(bit, buf));
	assert_string_equal(vu_protocol_feature_name(3, buf), "REPLY_ACK");
	assert_string_equal(vu_protocol_feature_name(63, buf), "bit 63");
}

static void test_msg_header_is_checked(void **state)
{
	static const struct {
		struct vu_hdr hdr;
		bool reply;
		const char *text;
	} cases[] = {
		{{0, 1, 0}, false, "message 0 is not known"},
		{{45, 1, 0}, false, "message 45 is not known"},
		{{VU_GET_FEATURES, 0, 0},
		 false,
		 "GET_FEATURES: protocol version 0, known is version 1"},
		{{VU_GET_FEATURES, 5, 0},
		 false,
		 "GET_FEATURES: came as a reply where a request belongs"},
		{{VU_GET_FEATURES, 1, 8},
		 true,
		 "GET_FEATURES: came as a request where a reply belongs"},
		{{VU_GET_FEATURES, 1, 8}, false, "GET_FEATURES: 8 bytes, not 0 to 0"},
		{{VU_GET_FEATURES, 5, 4}, true, "GET_FEATURES: 4 bytes, not 8 to 8"},
		{{VU_SET_OWNER, 5, 0}, true, "SET_OWNER: 0 bytes, not 8 to 8"},
		{{VU_SET_MEM_TABLE, 1, 265}, false, "SET_MEM_TABLE: 265 bytes, not 8 to 264"},
		{{VU_SET_CONFIG, 1, UINT32_MAX},
		 false,
		 "SET_CONFIG: 4294967295 bytes, not 12 to 4108"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct vdpa_extack ack = {0};

		assert_int_equal(vu_check_hdr(VU_TO_BACKEND, cases[i].reply, &cases[i].hdr, &ack),
				 -EPROTO);
		assert_string_equal(ack.msg, cases[i].text);
	}
}

static void test_msg_needs_its_feature(void **state)
{
	struct vu_msg msg = {.hdr = header(VU_GET_CONFIG, 12)};
	struct vdpa_extack ack = {0};

	assert_int_equal(vu_check_msg(VU_TO_BACKEND, &msg, 0, ~0ull, &ack), -EPROTO);
	assert_string_equal(ack.msg, "needs the protocol feature CONFIG, which was not negotiated");
	assert_int_equal(vu_check_msg(VU_TO_BACKEND, &msg, BIT_ULL(VU_PROTOCOL_F_CONFIG), 0, NULL),
			 0);
	/* Of some the specification says that the offer is enough. */
	msg.hdr = header(VU_GET_QUEUE_NUM, 0);
	assert_int_equal(vu_check_msg(VU_TO_BACKEND, &msg, 0, BIT_ULL(VU_PROTOCOL_F_MQ), NULL), 0);
	assert_int_equal(vu_check_msg(VU_TO_BACKEND, &msg, 0, 0, NULL), -EPROTO);
}

static void test_msg_counts_descriptors(void **state)
{
	struct vu_msg msg = {.hdr = header(VU_SET_LOG_FD, 0)};
	struct vdpa_extack ack = {0};

	assert_int_equal(vu_check_msg(VU_TO_BACKEND, &msg, 0, 0, &ack), -EPROTO);
	assert_string_equal(ack.msg, "0 descriptors, not 1 to 1");
	msg.num_fds = 1;
	assert_int_equal(vu_check_msg(VU_TO_BACKEND, &msg, 0, 0, NULL), 0);
	msg.hdr = header(VU_GET_FEATURES, 0);
	assert_int_equal(vu_check_msg(VU_TO_BACKEND, &msg, 0, 0, NULL), -EPROTO);
}

static void test_msg_comes_byte_by_byte(void **state)
{
	struct pair *p = *state;
	struct vu_hdr hdr = header(VU_SET_FEATURES, 8);
	uint64_t value = 0x123456789abcdef0;
	uint8_t bytes[20];
	struct vu_msg msg;

	memcpy(bytes, &hdr, 12);
	memcpy(bytes + 12, &value, 8);
	vu_msg_init(&msg);
	for (size_t i = 0; i < sizeof(bytes); i++) {
		assert_int_equal(vu_recv(p->ours, VU_TO_BACKEND, false, &msg, NULL), 0);
		assert_int_equal(write(p->theirs, &bytes[i], 1), 1);
	}
	assert_int_equal(vu_recv(p->ours, VU_TO_BACKEND, false, &msg, NULL), 1);
	assert_true(msg.payload.u64 == value);
	vu_msg_clear(&msg);
	assert_int_equal(vu_recv(p->ours, VU_TO_BACKEND, false, &msg, NULL), 0);
	fd_closep(&p->theirs);
	assert_int_equal(vu_recv(p->ours, VU_TO_BACKEND, false, &msg, NULL), -EPIPE);
}

static void test_msg_brings_descriptors(void **state)
{
	struct pair *p = *state;
	struct vu_hdr hdr = header(VU_SET_VRING_KICK, 8);
	int fd = eventfd(0, 0), got;
	uint64_t idx = 1, one = 1;
	struct vu_msg msg;

	assert_int_equal(vu_send(p->theirs, &hdr, &idx, &fd, 1, 0), 0);
	vu_msg_init(&msg);
	assert_int_equal(vu_recv(p->ours, VU_TO_BACKEND, false, &msg, NULL), 1);
	assert_int_equal(msg.num_fds, 1);
	got = vu_msg_take_fd(&msg, 0);
	assert_true(fcntl(got, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(vu_msg_take_fd(&msg, 0), -1);
	assert_int_equal(vu_msg_take_fd(&msg, 1), -1);
	vu_msg_clear(&msg);
	assert_int_equal(write(got, &one, 8), 8);
	assert_int_equal(read(fd, &one, 8), 8);
	close(got);
	close(fd);
}

static void send_with_fds(int sock, const struct vu_hdr *hdr, int fd, unsigned int num)
{
	union {
		char buf[CMSG_SPACE(16 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)hdr, sizeof(*hdr)};
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.buf,
			    .msg_controllen = CMSG_SPACE(num * sizeof(int))};
	struct cmsghdr *c = CMSG_FIRSTHDR(&mh);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(num * sizeof(int));
	for (unsigned int i = 0; i < num; i++)
		memcpy(CMSG_DATA(c) + i * sizeof(int), &fd, sizeof(fd));
	assert_int_equal(sendmsg(sock, &mh, 0), sizeof(*hdr));
}

static void test_msg_surplus_descriptors_are_closed(void **state)
{
	struct pair *p = *state;
	struct vu_hdr hdr = header(VU_SET_MEM_TABLE, 8);
	struct vdpa_extack ack = {0};
	unsigned int before = open_fds();
	struct vu_msg msg;

	for (unsigned int num = VU_FDS_MAX + 1; num <= 16; num++) {
		send_with_fds(p->theirs, &hdr, p->theirs, num);
		vu_msg_init(&msg);
		assert_int_equal(vu_recv(p->ours, VU_TO_BACKEND, false, &msg, &ack), -EPROTO);
		assert_non_null(strstr(ack.msg, "more than 8 descriptors"));
		vu_msg_clear(&msg);
		assert_int_equal(open_fds(), before);
	}
	/* Eight with each of two parts of one message are too many as well. */
	vu_msg_init(&msg);
	send_with_fds(p->theirs, &hdr, p->theirs, VU_FDS_MAX);
	assert_int_equal(vu_recv(p->ours, VU_TO_BACKEND, false, &msg, &ack), 0);
	hdr.size = 12;
	send_with_fds(p->theirs, &hdr, p->theirs, VU_FDS_MAX);
	assert_int_equal(vu_recv(p->ours, VU_TO_BACKEND, false, &msg, &ack), -EPROTO);
	vu_msg_clear(&msg);
	assert_int_equal(open_fds(), before);
}

static void test_msg_bad_header_ends_before_its_payload(void **state)
{
	struct pair *p = *state;
	struct vu_hdr hdr = header(VU_SET_CONFIG, 1u << 30);
	struct vu_msg msg;

	vu_msg_init(&msg);
	send_with_fds(p->theirs, &hdr, p->theirs, 2);
	assert_int_equal(vu_recv(p->ours, VU_TO_BACKEND, false, &msg, NULL), -EPROTO);
	assert_int_equal(msg.num_fds, 2);
	vu_msg_clear(&msg);
}

static void test_msg_send_does_not_wait_for_ever(void **state)
{
	struct pair *p = *state;
	static const struct vu_config config;
	struct vu_hdr hdr = header(VU_SET_CONFIG, sizeof(config));
	int err, sent = 0;

	while ((err = vu_send(p->ours, &hdr, &config, NULL, 0, 10)) == 0)
		sent++;
	assert_int_equal(err, -ETIMEDOUT);
	assert_true(sent > 0);
	/* What was sent whole arrives whole. */
	for (struct vu_msg msg; sent; sent--) {
		vu_msg_init(&msg);
		assert_int_equal(vu_recv(p->theirs, VU_TO_BACKEND, false, &msg, NULL), 1);
		assert_int_equal(msg.hdr.size, sizeof(config));
	}
	fd_closep(&p->theirs);
	assert_int_equal(vu_send(p->ours, &hdr, &config, NULL, 0, 10), -EPIPE);
}

static void reply_fd(int sock, uint32_t request, const void *payload, uint32_t size, int fd)
{
	struct vu_hdr hdr = {
		.request = request, .flags = VU_FLAG_VERSION | VU_FLAG_REPLY, .size = size};

	assert_int_equal(vu_send(sock, &hdr, payload, &fd, fd >= 0, 0), 0);
}

static void reply(int sock, uint32_t request, const void *payload, uint32_t size)
{
	reply_fd(sock, request, payload, size, -1);
}

static void test_frontend_checks_answers(void **state)
{
	struct pair *p = *state;
	struct vdpa_extack ack = {0};
	struct vu_frontend fe;
	uint64_t value = 0;

	vu_frontend_init(&fe, &p->ours, 20);
	assert_int_equal(p->ours, -1);
	assert_int_equal(vu_frontend_get_u64(&fe, VU_GET_FEATURES, &value, &ack), -ETIMEDOUT);
	assert_string_equal(ack.msg, "GET_FEATURES: the back-end did not answer in 20 ms");

	value = 77;
	reply(p->theirs, VU_GET_FEATURES, &value, 8);
	value = 0;
	assert_int_equal(vu_frontend_get_u64(&fe, VU_GET_FEATURES, &value, NULL), 0);
	assert_int_equal(value, 77);

	ack = (struct vdpa_extack){0};
	reply(p->theirs, VU_GET_QUEUE_NUM, &value, 8);
	assert_int_equal(vu_frontend_get_u64(&fe, VU_GET_FEATURES, &value, &ack), -EPROTO);
	assert_string_equal(ack.msg, "GET_FEATURES: the back-end answered another message, 17");

	ack = (struct vdpa_extack){0};
	fe.protocol_features = BIT_ULL(VU_PROTOCOL_F_REPLY_ACK);
	reply(p->theirs, VU_SET_FEATURES, &value, 8);
	assert_int_equal(vu_frontend_set_u64(&fe, VU_SET_FEATURES, 1, &ack), -EREMOTEIO);
	assert_string_equal(ack.msg, "SET_FEATURES: the back-end refuses");

	fd_closep(&p->theirs);
	assert_int_equal(vu_frontend_set_u64(&fe, VU_SET_FEATURES, 1, NULL), -EPIPE);
	vu_frontend_close(&fe);
	assert_int_equal(vu_frontend_set_u64(&fe, VU_SET_FEATURES, 1, NULL), -ENOTCONN);
}

/* Begin a transfer with this answer, -1: without descriptor.  Returns the channel, or an error. */
static int begin_state(struct pair *p, struct vu_frontend *fe, enum vu_state_direction direction,
		       uint64_t answer, int fd)
{
	struct vdpa_extack ack = {0};
	int channel = -1, err;

	reply_fd(p->theirs, VU_SET_DEVICE_STATE_FD, &answer, 8, fd);
	err = vu_frontend_begin_state(fe, direction, &channel, &ack);
	if (err)
		assert_int_equal(strncmp(ack.msg, "SET_DEVICE_STATE_FD: ", 21), 0);
	return err ? err : channel;
}

/* The descriptor that came to the back-end. */
static int take_fd(struct pair *p)
{
	struct vu_msg msg;
	int fd;

	vu_msg_init(&msg);
	assert_int_equal(vu_recv(p->theirs, VU_TO_BACKEND, false, &msg, NULL), 1);
	fd = vu_msg_take_fd(&msg, 0);
	vu_msg_clear(&msg);
	return fd;
}

static void test_frontend_state_channel(void **state)
{
	struct pair *p = *state;
	int event = eventfd(7, EFD_CLOEXEC), channel, theirs;
	struct vu_frontend fe;
	unsigned int before;
	uint64_t value = 0;

	vu_frontend_init(&fe, &p->ours, 20);
	before = open_fds();
	/* Its own pipe: what one end writes the other reads, then the end. */
	for (int direction = VU_STATE_SAVE; direction <= VU_STATE_LOAD; direction++) {
		int w, r;

		channel = begin_state(p, &fe, (enum vu_state_direction)direction, VU_STATE_FD_NONE,
				      -1);
		assert_true(channel >= 0);
		theirs = take_fd(p);
		w = direction == VU_STATE_SAVE ? theirs : channel;
		r = direction == VU_STATE_SAVE ? channel : theirs;
		value = 4711;
		assert_int_equal(write(w, &value, 8), 8);
		close(w);
		value = 0;
		assert_int_equal(read(r, &value, 8), 8);
		assert_int_equal(value, 4711);
		assert_int_equal(read(r, &value, 8), 0);
		close(r);
	}
	/* The back-end's. */
	channel = begin_state(p, &fe, VU_STATE_SAVE, 0, event);
	assert_true(channel >= 0);
	assert_int_equal(read(channel, &value, 8), 8);
	assert_int_equal(value, 7);
	close(channel);
	close(take_fd(p));
	/* Neither. */
	assert_int_equal(begin_state(p, &fe, VU_STATE_SAVE, 0, -1), -EPROTO);
	close(take_fd(p));
	assert_int_equal(begin_state(p, &fe, VU_STATE_SAVE, 0x80 | VU_STATE_FD_NONE, -1),
			 -EREMOTEIO);
	close(take_fd(p));
	assert_int_equal(begin_state(p, &fe, VU_STATE_LOAD, 1, event), -EREMOTEIO);
	close(take_fd(p));

	value = 0;
	reply(p->theirs, VU_CHECK_DEVICE_STATE, &value, 8);
	assert_int_equal(vu_frontend_check_state(&fe, NULL), 0);
	value = 1ull << 40;
	reply(p->theirs, VU_CHECK_DEVICE_STATE, &value, 8);
	assert_int_equal(vu_frontend_check_state(&fe, NULL), -EREMOTEIO);
	assert_int_equal(open_fds(), before);
	close(event);
	vu_frontend_close(&fe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_msg_table_is_sound),
		cmocka_unit_test(test_msg_names),
		cmocka_unit_test(test_msg_header_is_checked),
		cmocka_unit_test(test_msg_needs_its_feature),
		cmocka_unit_test(test_msg_counts_descriptors),
		cmocka_unit_test_setup_teardown(test_msg_comes_byte_by_byte, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msg_brings_descriptors, setup, teardown),
		cmocka_unit_test_setup_teardown(test_msg_surplus_descriptors_are_closed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_msg_bad_header_ends_before_its_payload, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_msg_send_does_not_wait_for_ever, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_frontend_checks_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_frontend_state_channel, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
