/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Registers of a UIO device: a file stands for the device, and a folder for what sysfs says of it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/defs.h"
#include "parents/tmfifo/uio.h"

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))

struct env {
	char sysfs[64];
	int fd; /* of the device's memory */
	struct vdpa_extack ack;
};

static void write_file(const struct env *env, const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", env->sysfs, name);
	f = fopen(path, "we");
	assert_non_null(f);
	fputs(text, f);
	assert_int_equal(fclose(f), 0);
}

static void make_folder(const struct env *env, const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/%s", env->sysfs, name);
	assert_int_equal(mkdir(path, 0700), 0);
}

static int set_up(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	strcpy(env->sysfs, "/tmp/uvdpa-uio-XXXXXX");
	assert_non_null(mkdtemp(env->sysfs));
	make_folder(env, "maps");
	make_folder(env, "maps/map0");
	make_folder(env, "maps/map1");
	write_file(env, "maps/map0/size", "0x0000000000000018\n");
	write_file(env, "maps/map0/offset", "0x40\n");
	write_file(env, "maps/map1/size", "0x0000000000001000\n");
	env->fd = memfd_create("uio", MFD_CLOEXEC);
	assert_int_equal(ftruncate(env->fd, (off_t)(2 * PAGE)), 0);
	*state = env;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"maps/map0/size",
					    "maps/map0/offset",
					    "maps/map1/size",
					    "maps/map0",
					    "maps/map1",
					    "maps",
					    ""};
	struct env *env = *state;
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "%s/%s", env->sysfs, names[i]);
		remove(path);
	}
	close(env->fd);
	free(env);
	return 0;
}

static int open_uio(struct env *env, struct vdpa_tmfifo_regs **ret)
{
	int fd = dup(env->fd);
	int err = tmfifo_uio_open_at(env->sysfs, "dev", &fd, ret, &env->ack);

	assert_int_equal(fd, -1);
	return err;
}

static uint64_t in_memory(const struct env *env, size_t off)
{
	uint64_t value;

	assert_int_equal(pread(env->fd, &value, sizeof(value), (off_t)off), sizeof(value));
	return value;
}

/* The second mapping is a page further; the first one does not begin at its page's beginning. */
static void test_tmfifo_uio_registers(void **state)
{
	struct env *env = *state;
	struct vdpa_tmfifo_regs *regs;

	assert_int_equal(open_uio(env, &regs), 0);
	regs->ops->write(regs, VDPA_TMFIFO_RX, VDPA_TMFIFO_CTL, 0x0102030405060708);
	regs->ops->write(regs, VDPA_TMFIFO_TX, VDPA_TMFIFO_DATA, 42);
	assert_int_equal(in_memory(env, 0x40 + VDPA_TMFIFO_CTL), 0x0102030405060708);
	assert_int_equal(in_memory(env, PAGE), 42);
	assert_int_equal(pwrite(env->fd, &(uint64_t){7}, 8, (off_t)(PAGE + VDPA_TMFIFO_STS)), 8);
	assert_int_equal(regs->ops->read(regs, VDPA_TMFIFO_TX, VDPA_TMFIFO_STS), 7);
	regs->ops->free(regs);
}

static void refuse(struct env *env, int err, const char *text)
{
	struct vdpa_tmfifo_regs *regs;

	env->ack.msg[0] = '\0';
	assert_int_equal(open_uio(env, &regs), err);
	if (!strstr(env->ack.msg, text))
		fail_msg("'%s' does not say '%s'", env->ack.msg, text);
}

static void test_tmfifo_uio_refuses(void **state)
{
	struct env *env = *state;
	struct vdpa_tmfifo_regs *regs;
	int fd = dup(env->fd);

	write_file(env, "maps/map0/size", "0x10");
	refuse(env, -EINVAL, "mapping 0 of 'dev' has 16 bytes at 64");
	write_file(env, "maps/map0/size", "0x18");
	write_file(env, "maps/map0/offset", "0x41");
	refuse(env, -EINVAL, "at a multiple of 8");
	write_file(env, "maps/map0/offset", "0x1000000");
	refuse(env, -EINVAL, "at a multiple of 8");
	write_file(env, "maps/map0/offset", "0");
	write_file(env, "maps/map1/size", "many");
	refuse(env, -EINVAL, "no mapping 1");
	write_file(env, "maps/map1/size", "-1");
	refuse(env, -EINVAL, "mapping 1");
	close(env->fd);
	env->fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	write_file(env, "maps/map1/size", "24");
	refuse(env, -ENODEV, "cannot map the registers of 'dev'");
	/* What is no UIO device at all. */
	assert_int_equal(tmfifo_uio_open("memory", &fd, &regs, &env->ack), -ENOTTY);
	assert_int_equal(fd, -1);
	env->ack.msg[0] = '\0';
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	assert_int_equal(tmfifo_uio_open("/dev/null", &fd, &regs, &env->ack), -ENOTTY);
	assert_string_equal(env->ack.msg, "'/dev/null' is no UIO device with mappings");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_tmfifo_uio_registers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_tmfifo_uio_refuses, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
