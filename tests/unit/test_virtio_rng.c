/* SPDX-License-Identifier: BSD-2-Clause */
/* An entropy device of the software core under the driver `virtio`: a FIFO of this host. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

#define PATIENCE_MS 20000

struct env {
	struct vdpa_bus *bus;
	char dir[64];
	char path[128];
};

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));
	struct vdpa_bus_config cfg = {.run_dir = env->dir};

	strcpy(env->dir, "/tmp/test_virtio_rng.XXXXXX");
	if (!mkdtemp(env->dir))
		return -1;
	snprintf(env->path, sizeof(env->path), "%s/dev/rng0/hwrng", env->dir);
	if (vdpa_bus_alloc(&cfg, &env->bus, NULL) || vdpa_soft_register_builtin(env->bus, NULL) ||
	    vdpa_driver_register(env->bus, vdpa_driver_virtio, NULL))
		return -1;
	*state = env;
	return 0;
}

static int teardown(void **state)
{
	struct env *env = *state;
	char dev[96];
	int err = vdpa_bus_free(env->bus);

	snprintf(dev, sizeof(dev), "%s/dev", env->dir);
	if (rmdir(dev) && errno != ENOENT)
		err = -errno;
	if (rmdir(env->dir))
		err = -errno;
	free(env);
	return err;
}

static void add_rng(struct env *env, const char *key, const char *value)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct vdpa_result res = {0};

	if (key)
		assert_int_equal(vdpa_attrs_add(attrs, key, value, NULL, NULL), 0);
	vdpa_dev_add(env->bus, "rng0", "rng", attrs, vdpa_result_done, &res);
	if (vdpa_bus_wait(env->bus, &res))
		fail_msg("%s", vdpa_extack_text(&res.ack, res.err));
}

static int bind_rng(struct env *env, const char *key, const char *value, struct vdpa_result *res)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();

	memset(res, 0, sizeof(*res));
	if (key)
		assert_int_equal(vdpa_attrs_add(attrs, key, value, NULL, NULL), 0);
	vdpa_dev_bind(env->bus, "rng0", "virtio", attrs, 0, vdpa_result_done, res);
	return vdpa_bus_wait(env->bus, res);
}

static int unbind_rng(struct env *env, uint32_t flags)
{
	struct vdpa_result res = {0};

	vdpa_dev_unbind(env->bus, "rng0", flags, vdpa_result_done, &res);
	return vdpa_bus_wait(env->bus, &res);
}

static int open_fifo(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void wait_readable(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
}

static void read_all(int fd, uint8_t *buf, size_t len)
{
	while (len) {
		ssize_t got;

		wait_readable(fd);
		got = read(fd, buf, len);
		assert_true(got > 0);
		buf += got;
		len -= (size_t)got;
	}
}

/* Readers come and go; nobody gets what another one got, and the end is seen. */
static void test_virtio_rng_is_a_fifo(void **state)
{
	struct env *env = *state;
	uint8_t first[20000], second[20000];
	struct vdpa_result res;
	struct stat st;
	int fd;

	add_rng(env, NULL, NULL);
	for (int round = 0; round < 2; round++) {
		assert_int_equal(bind_rng(env, "mode", "0644", &res), 0);
		assert_int_equal(stat(env->path, &st), 0);
		assert_true(S_ISFIFO(st.st_mode));
		assert_int_equal(st.st_mode & 07777, 0644);
		fd = open_fifo(env->path);
		read_all(fd, first, sizeof(first));
		close(fd);
		fd = open_fifo(env->path);
		read_all(fd, second, sizeof(second));
		assert_memory_not_equal(first, second, sizeof(first));
		assert_memory_not_equal(second + 19936, (uint8_t[64]){0}, 64);
		assert_int_equal(unbind_rng(env, 0), 0);
		assert_int_equal(access(env->path, F_OK), -1);
		/* What is left of the pipe, then its end. */
		while (read(fd, first, sizeof(first)) > 0)
			;
		assert_int_equal(read(fd, first, 1), 0);
		close(fd);
	}
}

/* All bytes of the source come out in order, through a full FIFO and a reader that waits. */
static void test_virtio_rng_loses_nothing(void **state)
{
	struct env *env = *state;
	uint8_t bytes[50000], got[50000];
	char source[96];
	struct vdpa_result res;
	int fd;

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 11 + i / 251);
	snprintf(source, sizeof(source), "%s/source", env->dir);
	fd = open(source, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, bytes, sizeof(bytes)), sizeof(bytes));
	close(fd);
	add_rng(env, "file", source);
	assert_int_equal(bind_rng(env, NULL, NULL, &res), 0);
	fd = open_fifo(env->path);
	read_all(fd, got, sizeof(got));
	assert_memory_equal(got, bytes, sizeof(bytes));
	close(fd);
	/* Its request waits for what will never come. */
	assert_int_equal(unbind_rng(env, 0), 0);
	unlink(source);
}

static void test_virtio_rng_refuses(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;

	add_rng(env, NULL, NULL);
	assert_int_equal(bind_rng(env, "owner", "nobody-of-that-name", &res), -EINVAL);
	assert_non_null(strstr(res.ack.msg, "no user"));
	assert_int_equal(bind_rng(env, "ifname", "rng0", &res), -EINVAL);
	assert_non_null(strstr(res.ack.msg, "means nothing to virtio_rng"));
	assert_int_equal(access(env->path, F_OK), -1);
}

/* The FIFO of a process that died is in the way no more; another file is left alone. */
static void test_virtio_rng_replaces_a_fifo(void **state)
{
	struct env *env = *state;
	struct vdpa_result res;
	uint8_t byte;
	int fd;

	add_rng(env, NULL, NULL);
	assert_int_equal(bind_rng(env, NULL, NULL, &res), 0);
	assert_int_equal(unbind_rng(env, 0), 0);
	assert_int_equal(mkfifo(env->path, 0600), 0);
	assert_int_equal(bind_rng(env, NULL, NULL, &res), 0);
	fd = open_fifo(env->path);
	read_all(fd, &byte, 1);
	close(fd);
	assert_int_equal(unbind_rng(env, 0), 0);
	fd = open(env->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	close(fd);
	assert_int_equal(bind_rng(env, NULL, NULL, &res), -EEXIST);
	assert_int_equal(unlink(env->path), 0);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_virtio_rng_is_a_fifo),
		CASE(test_virtio_rng_loses_nothing),
		CASE(test_virtio_rng_refuses),
		CASE(test_virtio_rng_replaces_a_fifo),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
