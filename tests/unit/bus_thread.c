/* SPDX-License-Identifier: BSD-2-Clause */
#include "bus_thread.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <cmocka.h>

void bus_thread_init(struct bus_thread *t, struct vdpa_bus *bus)
{
	*t = (struct bus_thread){.bus = bus, .stop = eventfd(0, EFD_CLOEXEC)};
	assert_true(t->stop >= 0);
}

void bus_thread_release(struct bus_thread *t)
{
	close(t->stop);
}

static void *control(void *arg)
{
	struct bus_thread *t = arg;
	struct pollfd p[2] = {{.fd = vdpa_bus_fd(t->bus), .events = POLLIN},
			      {.fd = t->stop, .events = POLLIN}};

	while (!(p[1].revents & POLLIN)) {
		if (poll(p, 2, -1) > 0)
			vdpa_bus_dispatch(t->bus, 0);
	}
	return NULL;
}

void bus_thread_start(struct bus_thread *t)
{
	assert_int_equal(pthread_create(&t->thread, NULL, control, t), 0);
	t->runs = true;
}

void bus_thread_stop(struct bus_thread *t)
{
	uint64_t one = 1;

	if (!t->runs)
		return;
	assert_int_equal(write(t->stop, &one, sizeof(one)), sizeof(one));
	pthread_join(t->thread, NULL);
	assert_int_equal(read(t->stop, &one, sizeof(one)), sizeof(one));
	t->runs = false;
}
