/* SPDX-License-Identifier: BSD-2-Clause */
/* A block device of the software core under the driver `virtio`: a file of this host. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/defs.h"
#include "vdpa/soft.h"

#define SIZE (4u << 20)

struct env {
	struct vdpa_bus *bus;
	char dir[64];
	char path[128];
};

static void run(struct env *env, struct vdpa_result *res)
{
	vdpa_bus_wait(env->bus, res);
}

static struct vdpa_attrs *attrs_of(const char *const *words)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();

	for (; *words; words += 2)
		assert_int_equal(vdpa_attrs_add(attrs, words[0], words[1], NULL, NULL), 0);
	return attrs;
}

#define ATTRS(...) attrs_of((const char *const[]){__VA_ARGS__, NULL})

static void add(struct env *env, struct vdpa_attrs *attrs)
{
	struct vdpa_result res = {0};

	vdpa_dev_add(env->bus, "disk0", "blk", attrs, vdpa_result_done, &res);
	run(env, &res);
	if (res.err)
		fail_msg("%s", vdpa_extack_text(&res.ack, res.err));
}

static int bind_disk(struct env *env, const char *driver, struct vdpa_result *res)
{
	memset(res, 0, sizeof(*res));
	vdpa_dev_bind(env->bus, "disk0", driver, NULL, 0, vdpa_result_done, res);
	run(env, res);
	return res->err;
}

static int unbind_disk(struct env *env, uint32_t flags, struct vdpa_result *res)
{
	memset(res, 0, sizeof(*res));
	vdpa_dev_unbind(env->bus, "disk0", flags, vdpa_result_done, res);
	run(env, res);
	return res->err;
}

static int open_disk(struct env *env, int flags)
{
	int fd = open(env->path, flags | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));
	struct vdpa_bus_config cfg = {.run_dir = env->dir};
	struct vdpa_extack ack = {0};

	strcpy(env->dir, "/tmp/test_virtio_blk.XXXXXX");
	if (!mkdtemp(env->dir))
		return -1;
	snprintf(env->path, sizeof(env->path), "%s/dev/disk0/disk", env->dir);
	if (vdpa_bus_alloc(&cfg, &env->bus, &ack) || vdpa_soft_register_builtin(env->bus, &ack) ||
	    vdpa_driver_register(env->bus, vdpa_driver_virtio, &ack)) {
		print_error("%s\n", ack.msg);
		return -1;
	}
	*state = env;
	return 0;
}

static int teardown(void **state)
{
	struct env *env = *state;
	char dev[96];
	int err = vdpa_bus_free(env->bus);

	/* The bus leaves nothing of the device behind. */
	snprintf(dev, sizeof(dev), "%s/dev", env->dir);
	if (rmdir(dev) && errno != ENOENT)
		err = -errno;
	if (rmdir(env->dir))
		err = -errno;
	free(env);
	return err;
}

static void test_virtio_blk_is_a_file_that_keeps_its_data(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	char *out = malloc(300000), *in = malloc(300000);
	struct stat st;
	int fd;

	add(env, ATTRS("backend", "ram", "size", "4M"));
	assert_int_equal(bind_disk(env, "virtio", &res), 0);
	assert_int_equal(stat(env->path, &st), 0);
	assert_int_equal(st.st_size, SIZE);

	for (int i = 0; i < 300000; i++)
		out[i] = (char)(i * 7 + i / 256);
	fd = open_disk(env, O_RDWR);
	assert_int_equal(pwrite(fd, out, 300000, 12345), 300000);
	assert_int_equal(fsync(fd), 0);
	close(fd);

	assert_int_equal(unbind_disk(env, 0, &res), 0);
	assert_int_equal(access(env->path, F_OK), -1);
	assert_int_equal(bind_disk(env, "virtio", &res), 0);
	fd = open_disk(env, O_RDONLY);
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

	add(env, attrs);
	assert_int_equal(bind_disk(env, "virtio", &res), 0);
	fd = open_disk(env, O_RDWR);
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
	char buf[8192];
	int fd;

	add(env, ATTRS("backend", "ram", "size", "4M"));
	assert_int_equal(bind_disk(env, "virtio", &res), 0);
	fd = open_disk(env, O_RDWR);
	memset(buf, 'x', sizeof(buf));
	assert_int_equal(pwrite(fd, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096), 0);
	assert_int_equal(pread(fd, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(buf[4095], 'x');
	assert_int_equal(buf[4096], 0);
	assert_int_equal(buf[8191], 0);
	close(fd);
}

static void test_virtio_blk_read_only_disk(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	add(env, ATTRS("backend", "ram", "size", "4M", "readonly", "on"));
	assert_int_equal(bind_disk(env, "virtio", &res), 0);
	assert_int_equal(open(env->path, O_RDWR | O_CLOEXEC), -1);
	assert_int_equal(errno, EROFS);
	close(open_disk(env, O_RDONLY));
}

static void test_virtio_blk_resize_reaches_the_file(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	struct stat st;

	add(env, ATTRS("backend", "ram", "size", "4M"));
	assert_int_equal(bind_disk(env, "virtio", &res), 0);
	memset(&res, 0, sizeof(res));
	vdpa_dev_set(env->bus, "disk0", ATTRS("size", "8M"), vdpa_result_done, &res);
	run(env, &res);
	assert_int_equal(res.err, 0);
	/* The change is behind the first verb on the device's lane, so before the second's end. */
	assert_int_equal(bind_disk(env, "virtio", &res), -EBUSY);
	memset(&res, 0, sizeof(res));
	vdpa_dev_set(env->bus, "disk0", ATTRS("size", "8M"), vdpa_result_done, &res);
	run(env, &res);
	assert_int_equal(stat(env->path, &st), 0);
	assert_int_equal(st.st_size, 8 << 20);
}

static void test_virtio_blk_unbind_refuses_while_open(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	char byte;
	int fd;

	add(env, ATTRS("backend", "ram", "size", "4M"));
	assert_int_equal(bind_disk(env, "virtio", &res), 0);
	fd = open_disk(env, O_RDWR);
	assert_int_equal(unbind_disk(env, 0, &res), -EBUSY);
	assert_non_null(strstr(res.ack.msg, "is open"));
	assert_int_equal(pread(fd, &byte, 1, 0), 1);
	assert_int_equal(unbind_disk(env, VDPA_FORCE, &res), 0);
	assert_int_equal(pread(fd, &byte, 1, 0), -1);
	close(fd);
	assert_int_equal(access(env->path, F_OK), -1);
}

static void test_virtio_blk_delete_by_force_while_open(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	int fd;

	add(env, ATTRS("backend", "ram", "size", "4M"));
	assert_int_equal(bind_disk(env, "virtio", &res), 0);
	fd = open_disk(env, O_RDWR);
	memset(&res, 0, sizeof(res));
	vdpa_dev_del(env->bus, "disk0", VDPA_FORCE, vdpa_result_done, &res);
	run(env, &res);
	assert_int_equal(res.err, 0);
	assert_null(vdpa_dev_find(env->bus, "disk0"));
	close(fd);
	add(env, ATTRS("backend", "ram", "size", "4M"));
}

static void test_virtio_blk_refuses_what_is_for_others(void **state)
{
	struct env *env = *state;
	struct vdpa_result res = {0};

	add(env, ATTRS("backend", "ram", "size", "4M"));
	vdpa_dev_bind(env->bus, "disk0", "virtio", ATTRS("ifname", "eth7"), 0, vdpa_result_done,
		      &res);
	run(env, &res);
	assert_int_equal(res.err, -EINVAL);
	assert_string_equal(res.ack.msg, "'ifname' means nothing to virtio_blk");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

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
