/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A control thread for a bus, so that the test's own thread can wait for what it does.  Stopped,
 * the test's thread is the control thread.
 */
#ifndef UNIT_BUS_THREAD_H
#define UNIT_BUS_THREAD_H

#include <pthread.h>

#include "vdpa/bus.h"

struct bus_thread {
	struct vdpa_bus *bus;
	pthread_t thread;
	bool runs;
	int stop; /* eventfd */
};

void bus_thread_init(struct bus_thread *t, struct vdpa_bus *bus);
void bus_thread_release(struct bus_thread *t);
void bus_thread_start(struct bus_thread *t);
/* Does nothing when it does not run. */
void bus_thread_stop(struct bus_thread *t);

#endif
