/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <cmocka.h>

#include "fail_syscall.h"

static void *return_arg(void *arg)
{
	return arg;
}

/* Each call with what could not succeed by itself, so that only the error tells which way it went.
 */
static void test_fail_syscall_sets_the_error(void **state)
{
	struct epoll_event ev = {0};
	pthread_t thread;
	int fds[2];

#define expect_error(call, err)                                                                    \
	do {                                                                                       \
		fail_syscall_nth(1);                                                               \
		errno = 0;                                                                         \
		assert_int_equal(call, -1);                                                        \
		assert_int_equal(errno, err);                                                      \
		assert_true(fail_syscall_done());                                                  \
	} while (0)

	expect_error(socket(AF_UNIX, SOCK_STREAM, 0), EMFILE);
	expect_error(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), EMFILE);
	expect_error(eventfd(0, 0), EMFILE);
	expect_error(epoll_create1(0), EMFILE);
	expect_error(timerfd_create(CLOCK_MONOTONIC, 0), EMFILE);
	expect_error(memfd_create("test", 0), EMFILE);
	expect_error(open("/dev/null", O_RDONLY), EMFILE);
	expect_error(fcntl(0, F_DUPFD_CLOEXEC, 0), EMFILE);
	expect_error(epoll_ctl(-1, EPOLL_CTL_ADD, 0, &ev), ENOSPC);
	expect_error(ftruncate(-1, 1), ENOSPC);
	expect_error(bind(-1, NULL, 0), EADDRINUSE);
	expect_error(listen(-1, 1), EADDRINUSE);

	fail_syscall_nth(1);
	assert_ptr_equal(mmap(NULL, 1, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), MAP_FAILED);
	assert_true(fail_syscall_done());
	fail_syscall_nth(1);
	assert_int_equal(pthread_create(&thread, NULL, return_arg, NULL), EAGAIN);
	assert_true(fail_syscall_done());
}

static void test_fail_syscall_lets_the_others_through(void **state)
{
	struct epoll_event ev = {0};
	int fd;

	fail_syscall_nth(2);
	fd = eventfd(0, EFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(epoll_ctl(fd, EPOLL_CTL_DEL, fd, &ev), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(eventfd(0, 0), -1);
	assert_int_equal(close(fd), 0);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
	assert_true(fail_syscall_done());

	fail_syscall_nth(1);
	assert_false(fail_syscall_done());
	fd = eventfd(0, EFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(close(fd), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fail_syscall_sets_the_error),
		cmocka_unit_test(test_fail_syscall_lets_the_others_through),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
