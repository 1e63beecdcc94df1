/* SPDX-License-Identifier: BSD-2-Clause */
/* A block device of the software core under the driver `virtio`: a file of this host. */
#include "disk_env.h"

#include <stdio.h>
#include <sys/stat.h>

#define SIZE (4u << 20)

static void test_virtio_blk_is_a_file_that_keeps_its_data(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	char *out = malloc(300000), *in = malloc(300000);
	struct stat st;
	int fd;

	env_add(env, "blk", ATTRS("backend", "ram", "size", "4M"));
	assert_int_equal(env_bind(env, "virtio", &res), 0);
	assert_int_equal(env_stat(env, "disk", &st), 0);
	assert_int_equal(st.st_size, SIZE);

	for (int i = 0; i < 300000; i++)
		out[i] = (char)(i * 7 + i / 256);
	fd = env_open(env, "disk", O_RDWR);
	assert_int_equal(pwrite(fd, out, 300000, 12345), 300000);
	assert_int_equal(fsync(fd), 0);
	close(fd);

	assert_int_equal(env_unbind(env, 0, &res), 0);
	assert_int_equal(env_access(env, "disk"), -1);
	assert_int_equal(env_bind(env, "virtio", &res), 0);
	fd = env_open(env, "disk", O_RDONLY);
	assert_int_equal(pread(fd, in, 300000, 12345), 300000);
	assert_memory_equal(in, out, 300000);
	close(fd);
	free(in);
	free(out);
}

static void ring_layout(struct env *env, struct vdpa_attrs *attrs)
{
	struct vdpa_result res;
	char *out = malloc(1 << 20), *in = malloc(1 << 20);
	int fd;

	env_add(env, "blk", attrs);
	assert_int_equal(env_bind(env, "virtio", &res), 0);
	fd = env_open(env, "disk", O_RDWR);
	for (int round = 0; round < 12; round++) {
		memset(out, round + 1, 1 << 20);
		assert_int_equal(pwrite(fd, out, 1 << 20, (round % 3) * (1 << 20)), 1 << 20);
		assert_int_equal(pread(fd, in, 1 << 20, (round % 3) * (1 << 20)), 1 << 20);
		assert_memory_equal(in, out, 1 << 20);
	}
	close(fd);
	free(in);
	free(out);
}

static void test_virtio_blk_uses_a_packed_ring(void **state)
{
	ring_layout(*state, ATTRS("backend", "ram", "size", "4M", "packed", "on"));
}

static void test_virtio_blk_uses_a_split_ring_in_order(void **state)
{
	ring_layout(*state,
		    ATTRS("backend", "ram", "size", "4M", "packed", "off", "in-order", "on"));
}

static void test_virtio_blk_copes_with_a_tiny_ring_without_indirect_tables(void **state)
{
	ring_layout(*state, ATTRS("backend", "ram", "size", "4M", "packed", "off", "indirect",
				  "off", "queue-size", "4"));
}

static void test_virtio_blk_punches_holes(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	env_add(env, "blk", ATTRS("backend", "ram", "size", "4M"));
	assert_int_equal(env_bind(env, "virtio", &res), 0);
	env_punch_hole(env, "disk");
}

static void test_virtio_blk_read_only_disk(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	env_add(env, "blk", ATTRS("backend", "ram", "size", "4M", "readonly", "on"));
	assert_int_equal(env_bind(env, "virtio", &res), 0);
	assert_int_equal(open(env_path(env, "disk"), O_RDWR | O_CLOEXEC), -1);
	assert_int_equal(errno, EROFS);
	close(env_open(env, "disk", O_RDONLY));
}

static void test_virtio_blk_resize_reaches_the_file(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	struct stat st;

	env_add(env, "blk", ATTRS("backend", "ram", "size", "4M"));
	assert_int_equal(env_bind(env, "virtio", &res), 0);
	memset(&res, 0, sizeof(res));
	vdpa_dev_set(env->bus, "disk0", ATTRS("size", "8M"), vdpa_result_done, &res);
	env_run(env, &res);
	assert_int_equal(res.err, 0);
	/* The change is behind the first verb on the device's lane, so before the second's end. */
	assert_int_equal(env_bind(env, "virtio", &res), -EBUSY);
	memset(&res, 0, sizeof(res));
	vdpa_dev_set(env->bus, "disk0", ATTRS("size", "8M"), vdpa_result_done, &res);
	env_run(env, &res);
	assert_int_equal(env_stat(env, "disk", &st), 0);
	assert_int_equal(st.st_size, 8 << 20);
}

static void test_virtio_blk_unbind_refuses_while_open(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	char byte;
	int fd;

	env_add(env, "blk", ATTRS("backend", "ram", "size", "4M"));
	assert_int_equal(env_bind(env, "virtio", &res), 0);
	fd = env_open(env, "disk", O_RDWR);
	assert_int_equal(env_unbind(env, 0, &res), -EBUSY);
	assert_non_null(strstr(res.ack.msg, "is open"));
	assert_int_equal(pread(fd, &byte, 1, 0), 1);
	assert_int_equal(env_unbind(env, VDPA_FORCE, &res), 0);
	assert_int_equal(pread(fd, &byte, 1, 0), -1);
	close(fd);
	assert_int_equal(env_access(env, "disk"), -1);
}

static void test_virtio_blk_delete_by_force_while_open(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	int fd;

	env_add(env, "blk", ATTRS("backend", "ram", "size", "4M"));
	assert_int_equal(env_bind(env, "virtio", &res), 0);
	fd = env_open(env, "disk", O_RDWR);
	memset(&res, 0, sizeof(res));
	vdpa_dev_del(env->bus, "disk0", VDPA_FORCE, vdpa_result_done, &res);
	env_run(env, &res);
	assert_int_equal(res.err, 0);
	assert_null(vdpa_dev_find(env->bus, "disk0"));
	close(fd);
	env_add(env, "blk", ATTRS("backend", "ram", "size", "4M"));
}

static void test_virtio_blk_refuses_what_is_for_others(void **state)
{
	struct env *env = *state;
	struct vdpa_result res = {0};

	env_add(env, "blk", ATTRS("backend", "ram", "size", "4M"));
	vdpa_dev_bind(env->bus, "disk0", "virtio", ATTRS("ifname", "eth7"), 0, vdpa_result_done,
		      &res);
	env_run(env, &res);
	assert_int_equal(res.err, -EINVAL);
	assert_string_equal(res.ack.msg, "'ifname' means nothing to virtio_blk");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, env_setup, env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_virtio_blk_is_a_file_that_keeps_its_data),
		TEST(test_virtio_blk_uses_a_packed_ring),
		TEST(test_virtio_blk_uses_a_split_ring_in_order),
		TEST(test_virtio_blk_copes_with_a_tiny_ring_without_indirect_tables),
		TEST(test_virtio_blk_punches_holes),
		TEST(test_virtio_blk_read_only_disk),
		TEST(test_virtio_blk_resize_reaches_the_file),
		TEST(test_virtio_blk_unbind_refuses_while_open),
		TEST(test_virtio_blk_delete_by_force_while_open),
		TEST(test_virtio_blk_refuses_what_is_for_others),
	};

	if (access("/dev/fuse", R_OK | W_OK)) {
		puts("there is no /dev/fuse that may be opened");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
