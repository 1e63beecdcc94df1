/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside the backend `user`.
 *
 * libslirp is fed and polled by a thread of the device (user_thread.c), so that nothing it does,
 * such as a look into /etc/resolv.conf or a scan of a thousand sockets, holds up a worker.  Frames
 * pass between it and the workers through two rings.  A ring that is full from the guest loses
 * frames; one that fills up towards the guest has the thread leave data in the sockets.
 */
#ifndef BACKENDS_NET_USER_PRIV_H
#define BACKENDS_NET_USER_PRIV_H

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>

#include "backends/net/hostfwd.h"
#include "backends/net/net.h"
#include "backends/net/user_guard.h"
#include "base/ratelimit.h"

struct Slirp;
struct frames;

#define USER_RING (512u << 10) /* bytes, each way */
/* Frames that wait for the guest, bytes: with more no socket is read, with less they are again. */
#define USER_HIGH (USER_RING / 2)
#define USER_LOW  (USER_RING / 4)

/* What the attributes say. */
struct user_config {
	struct in_addr net, mask, host, dns, dhcpstart;
	char hostname[33]; /* empty: none */
	bool restricted, ipv6;
	struct hostfwd_list hostfwd;
};

/* libslirp's one timer. */
struct user_timer {
	int64_t when; /* milliseconds of the monotonic clock; 0: not set */
	int id;
	void *opaque;
};

struct user {
	struct net_backend net;
	struct vdpa_bus *bus;
	char *name;
	struct user_config config;
	struct frames *from_guest, *to_guest;
	int event; /* wakes the thread */
	bool stop; /* atomic */
	bool held; /* atomic: the thread reads no socket until there is room towards the guest */
	pthread_t thread;

	/* The worker of the transmit queue. */
	struct net_queue tx;
	bool kick; /* the thread has to be told at the end of the burst */

	struct net_queue rx;
	pthread_mutex_t lock;
	struct net_sink *sink; /* lock; NULL: no receive queue runs */

	/* The thread's. */
	struct Slirp *slirp;
	struct user_guard guard;
	struct ratelimit log_limit;
	struct user_timer timer;
	struct pollfd *fds; /* the first is `event` */
	unsigned int num_fds, cap_fds;
	unsigned int sockets_max;

	/* One writer, read by anybody. */
	unsigned int sockets; /* that the guest, or a client of its ports, has made */
	uint64_t lost;        /* towards the guest: not yet told to the sink */
	uint64_t full;        /* from the guest: the thread was too slow */
	uint64_t refused;     /* from the guest: by the guard */
};

/* Start libslirp, its ports and its thread.  0 or -errno. */
int user_start(struct user *user, struct vdpa_extack *ack);
/* Not started: no-op. */
void user_stop(struct user *user);
/* ANY THREAD: have the thread look. */
void user_wake(struct user *user);

#endif
