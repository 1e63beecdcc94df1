/* SPDX-License-Identifier: BSD-2-Clause */
/* A SCSI host of the software core under the driver `virtio`: a file of this host for each unit. */
#include "disk_env.h"

#include <stdio.h>
#include <time.h>

#define MIB          (1u << 20)
#define PATIENCE_S   20
#define RAM(n, size) "lun" n "-backend", "ram", "lun" n "-size", size

static void open_host(struct env *env, struct vdpa_attrs *attrs)
{
	struct vdpa_result res;

	env_add(env, "scsi", attrs);
	if (env_bind(env, "virtio", &res))
		fail_msg("%s", vdpa_extack_text(&res.ack, res.err));
}

static time_t seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* What the device tells of reaches the files a little later: a size in bytes, or -1: there is none.
 */
static void wait_size(struct env *env, const char *file, off_t size)
{
	time_t end = seconds() + PATIENCE_S;
	struct stat st;
	off_t now;

	do {
		vdpa_bus_dispatch(env->bus, 0);
		now = env_stat(env, file, &st) ? -1 : st.st_size;
	} while (now != size && seconds() < end);
	assert_int_equal(now, size);
}

static void fill(char *buf, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (char)(i * 7 + i / 256 + seed);
}

/* Through a file and back, at a place that fits no block. */
static void write_and_read(struct env *env, const char *file, unsigned int seed)
{
	char *out = malloc(300000), *in = malloc(300000);
	int fd = env_open(env, file, O_RDWR);

	fill(out, 300000, seed);
	assert_int_equal(pwrite(fd, out, 300000, 12345), 300000);
	assert_int_equal(fsync(fd), 0);
	/* Not out of the page cache. */
	close(fd);
	fd = env_open(env, file, O_RDONLY);
	assert_int_equal(pread(fd, in, 300000, 12345), 300000);
	assert_memory_equal(in, out, 300000);
	close(fd);
	free(in);
	free(out);
}

static void test_virtio_scsi_each_unit_is_a_file(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	struct stat st;

	open_host(env, ATTRS(RAM("0", "4M"), RAM("3", "2M")));
	assert_int_equal(env_stat(env, "lun0", &st), 0);
	assert_int_equal(st.st_size, 4 * MIB);
	assert_int_equal(env_stat(env, "lun3", &st), 0);
	assert_int_equal(st.st_size, 2 * MIB);
	assert_int_equal(env_access(env, "lun1"), -1);
	write_and_read(env, "lun0", 1);
	write_and_read(env, "lun3", 2);
	write_and_read(env, "lun0", 3);

	assert_int_equal(env_unbind(env, 0, &res), 0);
	assert_int_equal(env_access(env, "lun0"), -1);
	assert_int_equal(env_access(env, "lun3"), -1);
	assert_int_equal(env_bind(env, "virtio", &res), 0);
	write_and_read(env, "lun3", 4);
}

static void layout(struct env *env, struct vdpa_attrs *attrs)
{
	char *out = malloc(MIB), *in = malloc(MIB);
	int fds[2];

	open_host(env, attrs);
	fds[0] = env_open(env, "lun0", O_RDWR);
	fds[1] = env_open(env, "lun1", O_RDWR);
	for (unsigned int round = 0; round < 12; round++) {
		off_t at = (off_t)(round % 3) * MIB;

		fill(out, MIB, round);
		for (unsigned int i = 0; i < 2; i++)
			assert_int_equal(pwrite(fds[i], out, MIB, at), MIB);
		for (unsigned int i = 0; i < 2; i++) {
			assert_int_equal(fsync(fds[i]), 0);
			assert_int_equal(posix_fadvise(fds[i], 0, 0, POSIX_FADV_DONTNEED), 0);
			assert_int_equal(pread(fds[i], in, MIB, at), MIB);
			assert_memory_equal(in, out, MIB);
		}
	}
	close(fds[0]);
	close(fds[1]);
	free(in);
	free(out);
}

static void test_virtio_scsi_uses_a_packed_ring(void **state)
{
	layout(*state, ATTRS(RAM("0", "4M"), RAM("1", "4M"), "packed", "on"));
}

static void test_virtio_scsi_uses_a_split_ring_in_order(void **state)
{
	layout(*state, ATTRS(RAM("0", "4M"), RAM("1", "4M"), "packed", "off", "in-order", "on"));
}

static void test_virtio_scsi_copes_with_a_small_ring(void **state)
{
	layout(*state, ATTRS(RAM("0", "4M"), RAM("1", "4M"), "packed", "off", "indirect", "off",
			     "queue-size", "32"));
}

static void test_virtio_scsi_refuses_a_ring_that_is_too_small(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	env_add(env, "scsi", ATTRS(RAM("0", "4M"), "indirect", "off", "queue-size", "8"));
	assert_int_equal(env_bind(env, "virtio", &res), -ENOSPC);
	assert_non_null(strstr(res.ack.msg, "too small"));
}

static void test_virtio_scsi_large_blocks(void **state)
{
	struct env *env = *state;

	open_host(env, ATTRS(RAM("0", "4M"), "block-size", "4096"));
	write_and_read(env, "lun0", 7);
}

static void test_virtio_scsi_punches_holes(void **state)
{
	struct env *env = *state;

	open_host(env, ATTRS(RAM("0", "4M")));
	env_punch_hole(env, "lun0");
}

static void test_virtio_scsi_read_only_unit(void **state)
{
	struct env *env = *state;

	open_host(env, ATTRS(RAM("0", "4M"), "lun0-readonly", "on", RAM("1", "4M")));
	assert_int_equal(open(env_path(env, "lun0"), O_RDWR | O_CLOEXEC), -1);
	assert_int_equal(errno, EROFS);
	close(env_open(env, "lun0", O_RDONLY));
	write_and_read(env, "lun1", 1);
}

static void test_virtio_scsi_units_come_grow_and_go(void **state)
{
	struct env *env = *state;
	char byte;
	int fd;

	open_host(env, ATTRS(RAM("0", "4M")));
	for (int round = 0; round < 3; round++) {
		assert_int_equal(env_set(env, ATTRS(RAM("2", "2M"))), 0);
		wait_size(env, "lun2", 2 * MIB);
		write_and_read(env, "lun2", 5);
		assert_int_equal(env_set(env, ATTRS("lun2-size", "3M")), 0);
		wait_size(env, "lun2", 3 * MIB);
		/* One that is open goes all the same: its disk is no more. */
		fd = env_open(env, "lun2", O_RDONLY);
		assert_int_equal(env_set(env, ATTRS("lun2-backend", "none")), 0);
		wait_size(env, "lun2", -1);
		assert_int_equal(pread(fd, &byte, 1, 0), -1);
		close(fd);
		write_and_read(env, "lun0", 6);
	}
}

static void test_virtio_scsi_without_units(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	open_host(env, vdpa_attrs_alloc());
	assert_int_equal(env_set(env, ATTRS(RAM("7", "1M"))), 0);
	wait_size(env, "lun7", MIB);
	assert_int_equal(env_unbind(env, 0, &res), 0);
}

static void test_virtio_scsi_unbind_refuses_while_one_is_open(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	char byte;
	int fd;

	open_host(env, ATTRS(RAM("0", "4M"), RAM("1", "4M")));
	fd = env_open(env, "lun1", O_RDWR);
	assert_int_equal(env_unbind(env, 0, &res), -EBUSY);
	assert_non_null(strstr(res.ack.msg, "lun1"));
	assert_int_equal(pread(fd, &byte, 1, 0), 1);
	write_and_read(env, "lun0", 1);
	assert_int_equal(env_unbind(env, VDPA_FORCE, &res), 0);
	assert_int_equal(pread(fd, &byte, 1, 0), -1);
	close(fd);
	assert_int_equal(env_access(env, "lun0"), -1);
	assert_int_equal(env_access(env, "lun1"), -1);
}

static void test_virtio_scsi_delete_by_force_while_open(void **state)
{
	struct env *env = *state;
	struct vdpa_result res = {0};
	int fd;

	open_host(env, ATTRS(RAM("0", "4M"), RAM("1", "4M")));
	fd = env_open(env, "lun0", O_RDWR);
	vdpa_dev_del(env->bus, "disk0", VDPA_FORCE, vdpa_result_done, &res);
	env_run(env, &res);
	assert_int_equal(res.err, 0);
	close(fd);
	env_add(env, "scsi", ATTRS(RAM("0", "4M")));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, env_setup, env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_virtio_scsi_each_unit_is_a_file),
		TEST(test_virtio_scsi_uses_a_packed_ring),
		TEST(test_virtio_scsi_uses_a_split_ring_in_order),
		TEST(test_virtio_scsi_copes_with_a_small_ring),
		TEST(test_virtio_scsi_refuses_a_ring_that_is_too_small),
		TEST(test_virtio_scsi_large_blocks),
		TEST(test_virtio_scsi_punches_holes),
		TEST(test_virtio_scsi_read_only_unit),
		TEST(test_virtio_scsi_units_come_grow_and_go),
		TEST(test_virtio_scsi_without_units),
		TEST(test_virtio_scsi_unbind_refuses_while_one_is_open),
		TEST(test_virtio_scsi_delete_by_force_while_open),
	};

	if (access("/dev/fuse", R_OK | W_OK)) {
		puts("there is no /dev/fuse that may be opened");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
