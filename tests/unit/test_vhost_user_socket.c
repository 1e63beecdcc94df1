/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <cmocka.h>

#include "base/defs.h"
#include "vhost_user/socket.h"

#define ANYBODY ((struct vu_socket_config){.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1})

static char dir[] = "/tmp/uvdpa-socket-XXXXXX";
static char path[4096];

static int setup(void **state)
{
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/s", dir);
	return 0;
}

static int teardown(void **state)
{
	unlink(path);
	return rmdir(dir);
}

static int listen_on(const char *where, struct vdpa_extack *ack)
{
	struct vu_socket_config cfg = ANYBODY;

	return vu_socket_listen(where, &cfg, ack);
}

static void assert_reachable(int fd)
{
	int client = vu_socket_connect(path, NULL), server;
	char peer[64];

	assert_true(client >= 0);
	server = accept(fd, NULL, NULL);
	assert_true(server >= 0);
	vu_socket_peer(server, peer, sizeof(peer));
	assert_non_null(strstr(peer, "pid "));
	close(client);
	close(server);
}

static void test_socket_has_its_mode(void **state)
{
	struct vu_socket_config cfg = ANYBODY;
	struct stat st;
	int fd;

	cfg.mode = 0624;
	fd = vu_socket_listen(path, &cfg, NULL);
	assert_true(fd >= 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0624);
	assert_reachable(fd);
	assert_int_equal(vu_socket_check(fd, NULL), 0);
	close(fd);
}

static void test_socket_replaces_a_stale_one_only(void **state)
{
	struct vdpa_extack ack = {0};
	int fd, other;
	FILE *f;

	fd = listen_on(path, NULL);
	assert_true(fd >= 0);
	assert_int_equal(listen_on(path, &ack), -EADDRINUSE);
	assert_non_null(strstr(ack.msg, "somebody listens there"));
	assert_reachable(fd);
	close(fd);
	/* Now it is one that a killed program has left. */
	other = listen_on(path, NULL);
	assert_true(other >= 0);
	assert_reachable(other);
	close(other);
	unlink(path);
	/* A file is never replaced. */
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(listen_on(path, NULL), -EADDRINUSE);
	assert_int_equal(access(path, F_OK), 0);
}

static void test_socket_takes_long_paths(void **state)
{
	char name[101];
	int fd;

	memset(name, 'd', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	assert_int_equal(mkdir(path, 0700), 0);
	snprintf(path, sizeof(path), "%s/%s/socket", dir, name);
	fd = listen_on(path, NULL);
	assert_true(fd >= 0);
	assert_reachable(fd);
	assert_int_equal(listen_on(path, NULL), -EADDRINUSE);
	close(fd);
	fd = listen_on(path, NULL);
	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	*strrchr(path, '/') = '\0';
	rmdir(path);
}

static void test_socket_says_what_is_wrong(void **state)
{
	struct vdpa_extack ack = {0};
	int pair[2];

	snprintf(path, sizeof(path), "%s/no/s", dir);
	assert_int_equal(listen_on(path, &ack), -ENOENT);
	assert_non_null(strstr(ack.msg, path));
	assert_int_equal(vu_socket_connect(path, NULL), -ENOENT);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(vu_socket_check(pair[0], NULL), -EINVAL);
	assert_int_equal(vu_socket_check(-1, NULL), -EINVAL);
	close(pair[0]);
	close(pair[1]);
}

static void test_socket_owner_by_name_or_number(void **state)
{
	struct vdpa_extack ack = {0};
	uid_t uid = 5;
	gid_t gid = 5;

	assert_int_equal(vu_parse_owner("root", &uid, NULL), 0);
	assert_int_equal(uid, 0);
	assert_int_equal(vu_parse_group("12", &gid, NULL), 0);
	assert_int_equal(gid, 12);
	assert_int_equal(vu_parse_owner("no such user", &uid, &ack), -EINVAL);
	assert_string_equal(ack.msg, "there is no user 'no such user'");
	/* All ones would mean "leave it". */
	assert_int_equal(vu_parse_group("4294967295", &gid, NULL), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_socket_has_its_mode, setup, teardown),
		cmocka_unit_test_setup_teardown(test_socket_replaces_a_stale_one_only, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_socket_takes_long_paths, setup, teardown),
		cmocka_unit_test_setup_teardown(test_socket_says_what_is_wrong, setup, teardown),
		cmocka_unit_test_setup_teardown(test_socket_owner_by_name_or_number, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
