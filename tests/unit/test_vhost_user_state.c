/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's state as it goes from one back-end to the next when a guest is migrated.
 */
#include "vhu_env.h"

#include <linux/virtio_ring.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <sys/mman.h>

#include "drivers/vhost_user/session.h"

#define STATE_F   BIT_ULL(VU_PROTOCOL_F_DEVICE_STATE)
#define REPLY_ACK BIT_ULL(VU_PROTOCOL_F_REPLY_ACK)
#define PACKED    BIT_ULL(VIRTIO_F_RING_PACKED)

static struct env env;

static int setup(void **state)
{
	env_open(&env, NULL);
	return 0;
}

static int teardown(void **state)
{
	env_close(&env);
	return 0;
}

/* All messages before this one have been handled. */
static void settle(struct env_guest *g)
{
	uint64_t value;

	env_ok(g, vu_frontend_get_u64(&g->fe, VU_GET_FEATURES, &value, &g->ack));
}

static uint32_t get_base(struct env_guest *g, uint32_t idx)
{
	uint32_t base = 0;

	env_ok(g, vu_frontend_get_base(&g->fe, idx, &base, &g->ack));
	return base;
}

/* ---- what the class keeps */

/* Bytes that differ from place to place. */
static void fill(uint8_t *buf, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16);
}

static void keep(uint32_t len)
{
	pthread_mutex_lock(&env.lock);
	fill(env.kept, len);
	env.kept_len = len;
	pthread_mutex_unlock(&env.lock);
}

static void assert_kept(uint32_t len)
{
	uint8_t *want = calloc(1, len + 1);

	assert_non_null(want);
	fill(want, len);
	pthread_mutex_lock(&env.lock);
	assert_int_equal(env.kept_len, len);
	assert_memory_equal(env.kept, want, len);
	pthread_mutex_unlock(&env.lock);
	free(want);
}

/* ---- a record, as the front-end has it */

struct record {
	uint8_t *data;
	size_t len;
};

static int begin(struct env_guest *g, enum vu_state_direction direction)
{
	int channel = -1;

	env_ok(g, vu_frontend_begin_state(&g->fe, direction, &channel, &g->ack));
	return channel;
}

static void read_record(int channel, struct record *record)
{
	size_t room = VHU_STATE_MAX;
	ssize_t got;

	record->data = malloc(room);
	assert_non_null(record->data);
	for (record->len = 0;
	     (got = read(channel, record->data + record->len, room - record->len)) > 0;)
		record->len += (size_t)got;
	assert_int_equal(got, 0);
	close(channel);
}

static void save(struct env_guest *g, struct record *record)
{
	read_record(begin(g, VU_STATE_SAVE), record);
	env_ok(g, vu_frontend_check_state(&g->fe, &g->ack));
}

static int load(struct env_guest *g, const void *data, size_t len)
{
	int channel = begin(g, VU_STATE_LOAD);

	assert_int_equal(write(channel, data, len), len);
	close(channel);
	return vu_frontend_check_state(&g->fe, NULL);
}

/* One is refused, with one line that says why; the session and the device are as before. */
static void refuse_load(struct env_guest *g, const void *data, size_t len, const char *text)
{
	env_forget(&env);
	assert_int_equal(load(g, data, len), -EREMOTEIO);
	env_wait_log(&env, text);
	assert_true(env_logged(&env, "CHECK_DEVICE_STATE: "));
	assert_ptr_equal(strchr(env.log, '\n'), env.log + strlen(env.log) - 1);
	settle(g);
}

/* A record of what the device has now. */
static void take_record(struct record *record)
{
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	save(&g, record);
	env_disconnect(&g);
}

/* ---- tests */

/* As a guest moves: writes are logged, rings stop, the state goes, all goes on elsewhere. */
static void move_guest(uint64_t features)
{
	struct vu_log log = {.size = 65536};
	int logfd = memfd_create("log", MFD_CLOEXEC);
	struct env_guest g;
	struct record record;
	uint32_t bases[2];
	uint64_t config = 0x1122334455667788;

	assert_int_equal(ftruncate(logfd, 65536), 0);
	env_connect(&env, &g, features, ENV_PROTOCOL);
	assert_true(g.fe.protocol_features & STATE_F);
	env_start_rings(&g, 2);
	env_roundtrip(&g, 0, 20);
	env_ok(&g, vu_frontend_set_config(&g.fe, 0, &config, sizeof(config), &g.ack));
	keep(5000);
	env_ok(&g, vu_frontend_call(&g.fe, VU_SET_LOG_BASE, &log, sizeof(log), &logfd, 1, &g.ack));
	env_ok(&g, vu_frontend_set_u64(&g.fe, VU_SET_FEATURES, g.features | BIT_ULL(VU_F_LOG_ALL),
				       &g.ack));
	env_roundtrip(&g, 1, 30);
	for (uint32_t i = 0; i < 2; i++)
		bases[i] = get_base(&g, i);
	save(&g, &record);
	vu_frontend_close(&g.fe);
	env_close(&env);

	env_open(&env, NULL);
	assert_kept(0);
	env_ok(&g, vu_frontend_connect(&g.fe, env.socket, ENV_WAIT_MS, &g.ack));
	env_ok(&g, vu_frontend_negotiate(&g.fe, ENV_PROTOCOL, &g.ack));
	assert_int_equal(load(&g, record.data, record.len), 0);
	assert_kept(5000);
	config = 0;
	env_ok(&g, vu_frontend_get_config(&g.fe, 0, &config, sizeof(config), &g.ack));
	assert_true(config == 0x1122334455667788);
	env_ok(&g, vu_frontend_set_u64(&g.fe, VU_SET_FEATURES, g.features, &g.ack));
	env_send_memory(&g);
	for (uint32_t i = 0; i < 2; i++) {
		struct vu_frontend_ring ring;

		env_ring_setup(&g, i, &ring);
		ring.base = bases[i];
		env_ok(&g, vu_frontend_start_ring(&g.fe, &ring, &g.ack));
		env_roundtrip(&g, i, 25);
	}
	assert_kept(5000);
	env_disconnect(&g);
	free(record.data);
	close(logfd);
}

static void test_state_moves_with_the_guest(void **state)
{
	move_guest(0);
	env_close(&env);
	env_open(&env, NULL);
	move_guest(PACKED);
}

/* It is the device's: whoever connects next finds it, and a reset of the driver's takes it away. */
static void test_state_outlives_the_session(void **state)
{
	struct record record;
	struct env_guest g;
	char path[128];

	keep(100);
	take_record(&record);
	keep(0);
	snprintf(path, sizeof(path), "%s/dev/toy0/state", env.run_dir);
	assert_int_equal(access(path, F_OK), -1);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	assert_int_equal(load(&g, record.data, record.len), 0);
	/* On disk, too, for when we die. */
	assert_int_equal(access(path, F_OK), 0);
	env_start_rings(&g, 1);
	env_disconnect(&g);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	settle(&g);
	assert_kept(100);
	env_ok(&g, vu_frontend_call(&g.fe, VU_RESET_DEVICE, NULL, 0, NULL, 0, &g.ack));
	settle(&g);
	assert_kept(0);
	env_disconnect(&g);
	free(record.data);
}

static void test_state_nobody_reads(void **state)
{
	unsigned int fds;
	struct record record;
	struct env_guest g;
	int channel;

	/* Workers are made when they are needed first; they stay. */
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_start_rings(&g, 1);
	env_disconnect(&g);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	settle(&g);
	fds = env_open_fds();
	keep(ENV_KEPT);
	channel = begin(&g, VU_STATE_SAVE);
	/* Other messages, and the device itself, do not wait. */
	settle(&g);
	env_ok(&g, vu_frontend_check_state(&g.fe, &g.ack));
	env_start_rings(&g, 1);
	env_roundtrip(&g, 0, 10);
	/* Nobody writes to it either. */
	assert_int_equal(pwrite(channel, "x", 1, 0), -1);
	assert_int_equal(ftruncate(channel, 0), -1);
	env_disconnect(&g);
	/* The front-end has it still. */
	read_record(channel, &record);
	assert_true(record.len > ENV_KEPT);

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	settle(&g);
	assert_int_equal(env_open_fds(), fds);
	keep(0);
	assert_int_equal(load(&g, record.data, record.len), 0);
	assert_kept(ENV_KEPT);
	env_disconnect(&g);
	free(record.data);
}

static void test_state_session_ends_in_the_middle(void **state)
{
	unsigned int fds;
	struct record record;
	struct env_guest g;
	int channel;

	keep(100);
	take_record(&record);
	keep(50);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	settle(&g);
	fds = env_open_fds();
	channel = begin(&g, VU_STATE_LOAD);
	assert_int_equal(write(channel, record.data, record.len), record.len);
	env_disconnect(&g);
	close(channel);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	settle(&g);
	assert_int_equal(env_open_fds(), fds);
	assert_kept(50);
	assert_int_equal(vu_frontend_check_state(&g.fe, NULL), -EREMOTEIO);
	env_wait_log(&env, "CHECK_DEVICE_STATE: there was no SET_DEVICE_STATE_FD before");
	assert_kept(50);
	env_disconnect(&g);
	free(record.data);
}

/* The second is a new one; what was written for the first is not used. */
static void test_state_is_begun_twice(void **state)
{
	struct record record;
	struct env_guest g;
	int first;

	keep(100);
	take_record(&record);
	keep(50);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	first = begin(&g, VU_STATE_LOAD);
	assert_int_equal(write(first, "nonsense", 8), 8);
	assert_int_equal(load(&g, record.data, record.len), 0);
	assert_kept(100);
	close(first);
	/* It was checked, and is not checked again. */
	assert_int_equal(vu_frontend_check_state(&g.fe, NULL), -EREMOTEIO);
	/* A load that becomes a save loads nothing. */
	keep(70);
	first = begin(&g, VU_STATE_LOAD);
	assert_int_equal(write(first, record.data, record.len), record.len);
	free(record.data);
	save(&g, &record);
	assert_kept(70);
	close(first);
	env_disconnect(&g);
	free(record.data);
}

static void test_state_bad_records(void **state)
{
	static const uint8_t noise[100] = {1, 2, 3};
	struct record record;
	struct env_guest g;

	keep(20);
	take_record(&record);
	keep(50);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	refuse_load(&g, NULL, 0, "this is no state record");
	refuse_load(&g, noise, sizeof(noise), "this is no state record");
	refuse_load(&g, record.data, record.len - 1, "the state record is damaged");
	for (size_t len = 0; len < record.len; len++)
		if (load(&g, record.data, len))
			assert_kept(50);
	assert_kept(50);
	assert_int_equal(load(&g, record.data, record.len), 0);
	assert_kept(20);
	env_disconnect(&g);
	free(record.data);
}

static void test_state_of_another_kind_of_device(void **state)
{
	const char *const add[] = {"queues", "2", NULL};
	struct record record;
	struct env_guest g;

	take_record(&record);
	env_close(&env);
	env_open_class(&env, "toynet", add, NULL);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	refuse_load(&g, record.data, record.len, "the record is of a device with id 2");
	env_disconnect(&g);
	free(record.data);
}

static void test_state_too_large(void **state)
{
	static const off_t sizes[] = {VHU_STATE_MAX + 1, (off_t)1 << 40};
	struct env_guest g;
	int channel;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		env_forget(&env);
		channel = begin(&g, VU_STATE_LOAD);
		assert_int_equal(ftruncate(channel, sizes[i]), 0);
		close(channel);
		assert_int_equal(vu_frontend_check_state(&g.fe, NULL), -EREMOTEIO);
		env_wait_log(&env, "bytes, at most 16777216");
	}
	/* So much is read, and found to be nothing. */
	channel = begin(&g, VU_STATE_LOAD);
	assert_int_equal(ftruncate(channel, VHU_STATE_MAX), 0);
	close(channel);
	assert_int_equal(vu_frontend_check_state(&g.fe, NULL), -EREMOTEIO);
	env_wait_log(&env, "this is no state record");
	env_disconnect(&g);
}

static int begin_with(struct env_guest *g, uint32_t direction, uint32_t phase, uint64_t *answer)
{
	struct vu_device_state params = {.direction = direction, .phase = phase};
	int fd = g->memfd, err;

	err = vu_frontend_call(&g->fe, VU_SET_DEVICE_STATE_FD, &params, sizeof(params), &fd, 1,
			       &g->ack);
	*answer = g->fe.msg.payload.u64;
	/* An error and a descriptor exclude each other. */
	if (!err && *answer & VU_STATE_ERROR_MASK)
		assert_int_equal(g->fe.msg.num_fds, 0);
	return err;
}

static void test_state_bad_parameters(void **state)
{
	static const struct {
		uint32_t direction, phase;
		const char *text;
	} cases[] = {
		{2, 0, "refused SET_DEVICE_STATE_FD: direction 2, neither 0 (save) nor 1 (load)"},
		{UINT32_MAX, 0, "refused SET_DEVICE_STATE_FD: direction 4294967295"},
		{0, 1, "refused SET_DEVICE_STATE_FD: phase 1, only 0 (stopped)"},
		{1, UINT32_MAX, "refused SET_DEVICE_STATE_FD: phase 4294967295"},
	};
	struct env_guest g;
	uint64_t answer;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		env_forget(&env);
		env_ok(&g, begin_with(&g, cases[i].direction, cases[i].phase, &answer));
		assert_int_equal(answer, VU_STATE_FAILED | VU_STATE_FD_NONE);
		env_wait_log(&env, cases[i].text);
	}
	/* What was begun before is given up, too. */
	close(begin(&g, VU_STATE_SAVE));
	env_ok(&g, begin_with(&g, 0, 1, &answer));
	assert_int_equal(vu_frontend_check_state(&g.fe, NULL), -EREMOTEIO);
	env_disconnect(&g);
}

static void test_state_belongs_between_runs(void **state)
{
	struct record record;
	struct env_guest g;
	uint64_t answer;
	int channel;

	keep(30);
	take_record(&record);
	keep(50);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_start_rings(&g, 2);
	for (uint32_t direction = VU_STATE_SAVE; direction <= VU_STATE_LOAD; direction++) {
		env_forget(&env);
		env_ok(&g, begin_with(&g, direction, VU_STATE_STOPPED, &answer));
		assert_int_equal(answer, VU_STATE_FAILED | VU_STATE_FD_NONE);
		env_wait_log(&env, "refused SET_DEVICE_STATE_FD: rings run");
	}
	env_roundtrip(&g, 0, 5);
	get_base(&g, 0);
	env_ok(&g, begin_with(&g, VU_STATE_SAVE, VU_STATE_STOPPED, &answer));
	assert_int_equal(answer, VU_STATE_FAILED | VU_STATE_FD_NONE);
	get_base(&g, 1);

	/* A ring that starts before the state is there has not seen it, and shall not later. */
	channel = begin(&g, VU_STATE_LOAD);
	assert_int_equal(write(channel, record.data, record.len), record.len);
	close(channel);
	env_start_ring(&g, 0);
	assert_int_equal(vu_frontend_check_state(&g.fe, NULL), -EREMOTEIO);
	env_wait_log(&env, "CHECK_DEVICE_STATE: rings were started before");
	assert_kept(50);
	env_disconnect(&g);
	free(record.data);
}

static void test_state_bad_messages(void **state)
{
	static const struct {
		uint32_t request, size;
		unsigned int fds;
		const char *text;
	} cases[] = {
		{VU_SET_DEVICE_STATE_FD, 0, 1, "SET_DEVICE_STATE_FD: 0 bytes, not 8 to 8"},
		{VU_SET_DEVICE_STATE_FD, 12, 1, "SET_DEVICE_STATE_FD: 12 bytes, not 8 to 8"},
		{VU_SET_DEVICE_STATE_FD, 8, 0, "SET_DEVICE_STATE_FD: 0 descriptors, not 1 to 1"},
		{VU_SET_DEVICE_STATE_FD, 8, 2, "SET_DEVICE_STATE_FD: 2 descriptors, not 1 to 1"},
		{VU_CHECK_DEVICE_STATE, 8, 0, "CHECK_DEVICE_STATE: 8 bytes, not 0 to 0"},
		{VU_CHECK_DEVICE_STATE, 0, 1, "CHECK_DEVICE_STATE: 1 descriptors, not 0 to 0"},
	};
	static const uint8_t payload[16];
	struct env_guest g;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int fds[2];

		env_connect(&env, &g, 0, ENV_PROTOCOL);
		fds[0] = fds[1] = g.memfd;
		assert_true(vu_frontend_call(&g.fe, cases[i].request, payload, cases[i].size, fds,
					     cases[i].fds, &g.ack) < 0);
		env_wait_log(&env, cases[i].text);
		env_disconnect(&g);
	}
}

static void test_state_not_negotiated(void **state)
{
	struct env_guest g;
	uint64_t answer;

	env_connect(&env, &g, 0, REPLY_ACK);
	assert_true(begin_with(&g, VU_STATE_SAVE, VU_STATE_STOPPED, &answer) < 0);
	env_wait_log(&env, "SET_DEVICE_STATE_FD: needs the protocol feature DEVICE_STATE");
	env_disconnect(&g);
	env_connect(&env, &g, 0, REPLY_ACK);
	assert_true(vu_frontend_check_state(&g.fe, NULL) < 0);
	env_wait_log(&env, "CHECK_DEVICE_STATE: needs the protocol feature DEVICE_STATE");
	env_disconnect(&g);
}

#define STATE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		STATE_TEST(test_state_moves_with_the_guest),
		STATE_TEST(test_state_outlives_the_session),
		STATE_TEST(test_state_nobody_reads),
		STATE_TEST(test_state_session_ends_in_the_middle),
		STATE_TEST(test_state_is_begun_twice),
		STATE_TEST(test_state_bad_records),
		STATE_TEST(test_state_of_another_kind_of_device),
		STATE_TEST(test_state_too_large),
		STATE_TEST(test_state_bad_parameters),
		STATE_TEST(test_state_belongs_between_runs),
		STATE_TEST(test_state_bad_messages),
		STATE_TEST(test_state_not_negotiated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
