/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>

#include "base/defs.h"
#include "base/thread.h"

#define STACK_SIZE (256 * 1024)

void thread_set_name(const char *name)
{
	char text[16];

	snprintf(text, sizeof(text), "%s", name);
	prctl(PR_SET_NAME, text);
}

/* The kernel kills a process that faults with the signal blocked, so those stay open. */
static void block_signals(sigset_t *old)
{
	static const int faults[] = {SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
	sigset_t set;

	sigfillset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++)
		sigdelset(&set, faults[i]);
	pthread_sigmask(SIG_BLOCK, &set, old);
}

int thread_start(pthread_t *ret, const char *name, void *(*fn)(void *arg), void *arg)
{
	char text[16];
	pthread_attr_t attr;
	sigset_t old;
	int err;

	err = pthread_attr_init(&attr);
	if (err)
		return -err;
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	/* It inherits the mask, so there is no moment at which it takes a signal. */
	block_signals(&old);
	err = pthread_create(ret, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (err)
		return -err;
	snprintf(text, sizeof(text), "%s", name);
	pthread_setname_np(*ret, text);
	return 0;
}
