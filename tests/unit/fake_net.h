/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A net device that sends back what it gets, and lies where a test tells it to.  A class of the
 * software core; for buses with one worker, so that a pair's queues take turns.
 */
#ifndef UNIT_FAKE_NET_H
#define UNIT_FAKE_NET_H

#include <pthread.h>
#include <stdatomic.h>

#include "backends/net/vnet.h"
#include "vdpa/soft.h"

#define FAKE_NET_PAIRS 4

extern const struct vdpa_soft_class fake_net_class;

/* What the devices of the test are like, and what happened.  Set before `dev add`. */
struct fake_net {
	uint64_t features;
	uint8_t mac[6];
	uint16_t mtu;
	uint16_t status;
	uint16_t pairs;     /* that it has: 2 * pairs queues, and a control queue */
	uint16_t say_pairs; /* what it says, when not 0 */

	/* Lies in what it sends back; -1: none. */
	atomic_int num_buffers; /* in the header */
	atomic_int first_len;   /* used length of the first buffer */
	atomic_bool halve;      /* use one buffer less than it says */

	atomic_bool hold;     /* keep what this host sends; let go when it ends */
	atomic_bool mute;     /* keep control commands */
	atomic_bool refuse;   /* them */
	atomic_int sent;      /* frames of this host, taken */
	int taken;            /* eventfd: counts them, too */
	atomic_int gso_types; /* bits of gso types in them */
	atomic_int on_pair[FAKE_NET_PAIRS];

	pthread_mutex_t lock;
	char commands[256]; /* "class.command:data " in hex */
	_Atomic(struct vdpa_soft *) soft;
};

/* The one of the test that runs. */
extern struct fake_net fake_net;

/* Features as a good device has them; nothing happened, and no lie is told. */
void fake_net_init(uint64_t features);
bool fake_net_commanded(const char *text);
/* The config space changes, and the driver is told. */
void fake_net_set_status(uint16_t status);
void fake_net_set_mtu(uint16_t mtu);

#endif
