/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes the n-th system call that takes a resource fail, as fail_alloc.h does for memory:
 *
 *	for (unsigned n = 1;; n++) {
 *		fail_syscall_nth(n);
 *		err = thing_alloc(&thing);
 *		if (!fail_syscall_done())
 *			break;
 *		assert_true(err < 0);
 *	}
 *
 * It sees the calls by the arming thread, of the library and of the test, to: socket(),
 *socketpair(), open(), eventfd(), epoll_create1(), timerfd_create(), memfd_create(), fcntl() with
 *F_DUPFD_CLOEXEC (EMFILE); epoll_ctl() but EPOLL_CTL_DEL, ftruncate() (ENOSPC); mmap() (ENOMEM);
 *bind(), listen() (EADDRINUSE); pthread_create() (EAGAIN).
 */
#ifndef UNIT_FAIL_SYSCALL_H
#define UNIT_FAIL_SYSCALL_H

#include <stdbool.h>

/* The n-th such call from now on fails, once; 0 disarms. */
void fail_syscall_nth(unsigned n);

/* Disarms.  Returns whether a call has failed since it was armed. */
bool fail_syscall_done(void);

#endif
