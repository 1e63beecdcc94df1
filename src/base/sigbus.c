/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Handlers read the list without a lock, on any number of threads.  Who takes a range off it waits
 * until those handlers that may have seen it are through: each counts itself before it reads and
 * after.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "base/defs.h"
#include "base/sigbus.h"
#include "vdpa/bus.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for changes */
static struct sigbus_range *ranges;
static unsigned int readers;
unsigned int sigbus_losses;
static struct sigaction before; /* written while the handler is not there */

void sigbus_add(struct sigbus_range *range)
{
	pthread_mutex_lock(&lock);
	range->next = ranges;
	__atomic_store_n(&ranges, range, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&lock);
}

void sigbus_remove(struct sigbus_range *range)
{
	struct sigbus_range **at = &ranges;

	pthread_mutex_lock(&lock);
	while (*at && *at != range)
		at = &(*at)->next;
	if (*at)
		__atomic_store_n(at, range->next, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&lock);
	while (__atomic_load_n(&readers, __ATOMIC_SEQ_CST))
		sched_yield();
}

/* Not mmap() of the C library, nor what a sanitizer makes of it. */
static bool cover_range(const struct sigbus_range *range)
{
	return syscall(SYS_mmap, range->start, range->len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != -1;
}

/* Only what is safe in a handler: atomics and bare system calls. */
static bool cover(uintptr_t at)
{
	struct sigbus_range *range;
	bool found = false;

	__atomic_fetch_add(&readers, 1, __ATOMIC_SEQ_CST);
	for (range = __atomic_load_n(&ranges, __ATOMIC_SEQ_CST); range && !found;
	     range = __atomic_load_n(&range->next, __ATOMIC_SEQ_CST)) {
		if (at < range->start || at - range->start >= range->len)
			continue;
		/* Another thread may have been here first: then our access only has to be repeated.
		 */
		found = true;
		if (__atomic_exchange_n(&range->lost, true, __ATOMIC_ACQ_REL))
			break;
		found = cover_range(range);
		__atomic_fetch_add(&sigbus_losses, 1, __ATOMIC_RELAXED);
	}
	__atomic_fetch_sub(&readers, 1, __ATOMIC_SEQ_CST);
	return found;
}

/* By the signal itself, as soon as the handler returns. */
static void die(int sig)
{
	signal(sig, SIG_DFL);
	raise(sig);
}

static void handle(int sig, siginfo_t *info, void *context)
{
	int err = errno;

	if (info->si_code <= 0 || !cover((uintptr_t)info->si_addr)) {
		/* None of ours. */
		if (before.sa_flags & SA_SIGINFO)
			before.sa_sigaction(sig, info, context);
		else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
			before.sa_handler(sig);
		else
			die(sig);
	}
	errno = err;
}

VDPA_API int vdpa_sigbus_install(void)
{
	struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART};
	struct sigaction now;
	int err = 0;

	sigemptyset(&action.sa_mask);
	pthread_mutex_lock(&lock);
	if (sigaction(SIGBUS, NULL, &now)) {
		err = -errno;
	} else if (now.sa_sigaction != handle) {
		before = now;
		if (sigaction(SIGBUS, &action, NULL))
			err = -errno;
	}
	pthread_mutex_unlock(&lock);
	return err;
}
