/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "fail_syscall.h"

static __thread unsigned countdown;
static __thread bool failed;

void fail_syscall_nth(unsigned n)
{
	countdown = n;
	failed = false;
}

bool fail_syscall_done(void)
{
	countdown = 0;
	return failed;
}

static bool fail_now(int err)
{
	if (!countdown || --countdown)
		return false;
	failed = true;
	errno = err;
	return true;
}

/* A call that fails with -1: its parameters with and without types, and the error. */
#define FAILING(name, params, args, err)                                                           \
	int __real_##name params;                                                                  \
	int __wrap_##name params;                                                                  \
	int __wrap_##name params                                                                   \
	{                                                                                          \
		return fail_now(err) ? -1 : __real_##name args;                                    \
	}

FAILING(socket, (int domain, int type, int protocol), (domain, type, protocol), EMFILE)
FAILING(socketpair, (int domain, int type, int protocol, int *fds), (domain, type, protocol, fds),
	EMFILE)
FAILING(eventfd, (unsigned count, int flags), (count, flags), EMFILE)
FAILING(epoll_create1, (int flags), (flags), EMFILE)
FAILING(timerfd_create, (int clock, int flags), (clock, flags), EMFILE)
FAILING(memfd_create, (const char *name, unsigned flags), (name, flags), EMFILE)
FAILING(ftruncate64, (int fd, off_t len), (fd, len), ENOSPC)
FAILING(bind, (int fd, const struct sockaddr *sa, socklen_t len), (fd, sa, len), EADDRINUSE)
FAILING(listen, (int fd, int backlog), (fd, backlog), EADDRINUSE)

int __real_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev);
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev);

/* EPOLL_CTL_DEL has no way to fail that is not a fault of the caller. */
int __wrap_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	if (op != EPOLL_CTL_DEL && fail_now(ENOSPC))
		return -1;
	return __real_epoll_ctl(epfd, op, fd, ev);
}

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);

int __wrap_open64(const char *path, int flags, ...)
{
	va_list ap;
	mode_t mode = 0;

	if (flags & (O_CREAT | O_TMPFILE)) {
		va_start(ap, flags);
		mode = va_arg(ap, mode_t);
		va_end(ap);
	}
	return fail_now(EMFILE) ? -1 : __real_open64(path, flags, mode);
}

int __real_fcntl64(int fd, int cmd, ...);
int __wrap_fcntl64(int fd, int cmd, ...);

/* Each command's argument, if it has one, fits into a long. */
int __wrap_fcntl64(int fd, int cmd, ...)
{
	va_list ap;
	long arg;

	va_start(ap, cmd);
	arg = va_arg(ap, long);
	va_end(ap);
	if (cmd == F_DUPFD_CLOEXEC && fail_now(EMFILE))
		return -1;
	return __real_fcntl64(fd, cmd, arg);
}

void *__real_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off);
void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off);

void *__wrap_mmap64(void *at, size_t len, int prot, int flags, int fd, off_t off)
{
	return fail_now(ENOMEM) ? MAP_FAILED : __real_mmap64(at, len, prot, flags, fd, off);
}

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			  void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			  void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *arg),
			  void *arg)
{
	return fail_now(EAGAIN) ? EAGAIN : __real_pthread_create(thread, attr, fn, arg);
}
