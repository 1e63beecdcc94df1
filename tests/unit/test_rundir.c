/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/defs.h"
#include "command/rundir.h"
#include "daemon/rundir.h"

static char scratch[] = "/tmp/uvdpa-rundir-XXXXXX";

static int setup(void **state)
{
	strcpy(scratch, "/tmp/uvdpa-rundir-XXXXXX");
	return mkdtemp(scratch) ? 0 : -1;
}

static int teardown(void **state)
{
	return rmdir(scratch);
}

static const char *in_scratch(const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", scratch, name);
	return path;
}

static void touch(const char *name)
{
	int fd = open(in_scratch(name), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	close(fd);
}

static bool there(const char *name)
{
	return !access(in_scratch(name), F_OK);
}

static void test_rundir_is_made_and_removed(void **state)
{
	struct rundir dir = RUNDIR_INIT;
	struct vdpa_extack ack = {0};

	assert_int_equal(rundir_open(&dir, in_scratch("run"), &ack), 0);
	assert_true(there("run/lock"));
	rundir_close(&dir);
	assert_false(there("run"));
	/* Again, and never opened: nothing. */
	rundir_close(&dir);
}

static void test_rundir_that_was_there_stays(void **state)
{
	struct rundir dir = RUNDIR_INIT;

	assert_int_equal(mkdir(in_scratch("run"), 0755), 0);
	assert_int_equal(rundir_open(&dir, in_scratch("run"), NULL), 0);
	rundir_close(&dir);
	assert_int_equal(rmdir(in_scratch("run")), 0);
}

static void test_rundir_has_one_owner(void **state)
{
	struct rundir dir = RUNDIR_INIT, other = RUNDIR_INIT;
	struct vdpa_extack ack = {0};
	char text[64];

	assert_int_equal(rundir_open(&dir, in_scratch("run"), NULL), 0);
	assert_int_equal(rundir_open(&other, in_scratch("run"), &ack), -EBUSY);
	snprintf(text, sizeof(text), "another uvdpad (process %d) serves", (int)getpid());
	assert_non_null(strstr(ack.msg, text));
	rundir_close(&other);
	assert_true(there("run/lock"));
	rundir_close(&dir);
	assert_int_equal(rundir_open(&other, in_scratch("run"), NULL), 0);
	rundir_close(&other);
}

static void test_rundir_refuses_what_is_not_safe(void **state)
{
	struct rundir dir = RUNDIR_INIT;
	struct vdpa_extack ack = {0};

	assert_int_equal(mkdir(in_scratch("open"), 0755), 0);
	assert_int_equal(chmod(in_scratch("open"), 0777), 0);
	assert_int_equal(rundir_open(&dir, in_scratch("open"), &ack), -EPERM);
	assert_non_null(strstr(ack.msg, "not writable by others"));
	assert_int_equal(rmdir(in_scratch("open")), 0);
	touch("file");
	memset(&ack, 0, sizeof(ack));
	assert_int_equal(rundir_open(&dir, in_scratch("file"), &ack), -ENOTDIR);
	assert_int_equal(unlink(in_scratch("file")), 0);
	assert_int_equal(rundir_open(&dir, in_scratch("none/run"), NULL), -ENOENT);
	/* A lock that leads elsewhere is not followed. */
	assert_int_equal(mkdir(in_scratch("run"), 0755), 0);
	assert_int_equal(symlink("/tmp/elsewhere", in_scratch("run/lock")), 0);
	assert_int_equal(rundir_open(&dir, in_scratch("run"), NULL), -ELOOP);
	assert_int_equal(unlink(in_scratch("run/lock")), 0);
	assert_int_equal(rmdir(in_scratch("run")), 0);
}

static void test_rundir_clean_keeps_what_a_device_needs(void **state)
{
	static const char *const files[] = {"run/dev/d/vhost.sock", "run/dev/d/disk",
					    "run/dev/d/state",      "run/dev/d/inflight.0",
					    "run/dev/e/vhost.sock", "run/control.sock"};
	struct rundir dir = RUNDIR_INIT;

	assert_int_equal(rundir_open(&dir, in_scratch("run"), NULL), 0);
	assert_int_equal(mkdir(in_scratch("run/dev"), 0755), 0);
	assert_int_equal(mkdir(in_scratch("run/dev/d"), 0755), 0);
	assert_int_equal(mkdir(in_scratch("run/dev/e"), 0755), 0);
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		touch(files[i]);
	assert_int_equal(symlink("/tmp", in_scratch("run/dev/f")), 0);
	assert_int_equal(rundir_clean(&dir, false), 4);
	assert_true(there("run/dev/d/state") && there("run/dev/d/inflight.0"));
	assert_false(there("run/dev/d/disk") || there("run/dev/e") || there("run/control.sock"));
	assert_true(there("run/lock"));
	assert_int_equal(unlink(in_scratch("run/dev/f")), 0);
	rundir_close(&dir);
	assert_false(there("run"));
}

static void test_rundir_listens_with_the_mode_asked_for(void **state)
{
	struct rundir dir = RUNDIR_INIT;
	struct vdpa_extack ack = {0};
	struct stat st;
	int fd;

	assert_int_equal(rundir_open(&dir, in_scratch("run"), NULL), 0);
	fd = rundir_listen(&dir, 0640, (gid_t)-1, &ack);
	assert_true(fd >= 0);
	assert_int_equal(stat(in_scratch("run/control.sock"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(rundir_listen(&dir, 0640, (gid_t)-1, &ack), -EADDRINUSE);
	close(fd);
	rundir_close(&dir);
}

static void test_rundir_choose(void **state)
{
	char path[PATH_MAX];
	struct vdpa_extack ack = {0};

	assert_int_equal(setenv("UVDPA_RUN_DIR", "/env", 1), 0);
	assert_int_equal(rundir_choose("/option", path, NULL), 0);
	assert_string_equal(path, "/option");
	assert_int_equal(rundir_choose(NULL, path, NULL), 0);
	assert_string_equal(path, "/env");
	assert_int_equal(unsetenv("UVDPA_RUN_DIR"), 0);
	if (geteuid() == 0) {
		assert_int_equal(rundir_choose(NULL, path, NULL), 0);
		assert_string_equal(path, "/run/uvdpa");
	} else {
		assert_int_equal(setenv("XDG_RUNTIME_DIR", "/xdg", 1), 0);
		assert_int_equal(rundir_choose(NULL, path, NULL), 0);
		assert_string_equal(path, "/xdg/uvdpa");
		assert_int_equal(unsetenv("XDG_RUNTIME_DIR"), 0);
		assert_int_equal(rundir_choose(NULL, path, &ack), -ENOENT);
	}
	assert_int_equal(rundir_choose("", path, &ack), -ENOENT);
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_rundir_is_made_and_removed),
		TEST(test_rundir_that_was_there_stays),
		TEST(test_rundir_has_one_owner),
		TEST(test_rundir_refuses_what_is_not_safe),
		TEST(test_rundir_clean_keeps_what_a_device_needs),
		TEST(test_rundir_listens_with_the_mode_asked_for),
		TEST(test_rundir_choose),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
