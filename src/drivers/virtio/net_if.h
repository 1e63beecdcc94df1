/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A net device on the virtio bus as an interface of this host: a TAP at the other end of its rings.
 *
 * - net.c:      the device: negotiation, config space, link; the interface
 * - net_ctrl.c: its control queue
 * - net_pair.c: a pair of queues and a queue of the TAP, with a thread of their own
 * - net_rx.c:   frames out of a receive queue
 *
 * "Received" and rx mean what the device's driver receives, so what it writes to the TAP, as if
 * the device were a card of this host.
 */
#ifndef DRIVERS_VIRTIO_NET_IF_H
#define DRIVERS_VIRTIO_NET_IF_H

#include <pthread.h>

#include "backends/net/tap_dev.h"
#include "backends/net/vnet.h"
#include "drivers/virtio/net_rx.h"
#include "drivers/virtio/virtio.h"

#define NET_TX_SLOTS   256u /* frames that the device has at most */
/* An odd number of cache lines, so that headers do not all meet in the same ones. */
#define NET_SLOT_BYTES (NET_HDR_LEN + NET_FRAME_MAX + 35)
#define NET_PIECE      4160u /* bytes of a receive buffer that can be merged; the same */

struct net_if;

struct net_pair {
	struct net_if *net;
	struct virtio_queue *rxq, *txq;
	int tap; /* borrowed */
	int epoll;
	int wake; /* eventfd: stop or drain was set */
	int idle; /* eventfd: drained */
	pthread_t thread;
	bool started;
	bool stop, drain; /* atomic */
	uint64_t dropped; /* frames that this host did not take; written by the thread */

	/* The thread's. */
	bool readable; /* the TAP may have frames */
	struct net_rx rx;
	uint32_t slots, nfree;
	uint8_t *free[NET_TX_SLOTS]; /* a stack: what was used last is in the cache */
};

/* A message in shared memory.  The device writes `ack` only. */
struct net_ctrl_msg {
	struct virtio_net_ctrl_hdr hdr;
	uint8_t data[61];
	uint8_t ack;
};

struct net_ctrl {
	struct virtio_queue *vq; /* NULL: the device has none */
	struct net_ctrl_msg *msg;
	bool stuck; /* it did not answer, and may still write to msg */
};

struct net_if {
	struct virtio_device *dev;
	struct tap_dev tap;
	struct net_ctrl ctrl;
	uint16_t npairs, max_pairs; /* used; that the device has */
	struct net_pair *pairs;
	uint32_t mtu;    /* as the device has said; 0: it has not */
	bool complained; /* of a change that cannot be carried over */
	bool link;       /* atomic */
	bool failed;     /* atomic */
};

static inline bool net_has(const struct net_if *net, unsigned int bit)
{
	return net->dev->features >> bit & 1;
}

/* The device or the TAP cannot be used any more: said once, and the interface loses its carrier.
 * ANY THREAD. */
void net_if_fail(struct net_if *net, const char *why);

/*
 * A command to the device, and its answer.  0; -EIO: it refuses; -ETIMEDOUT, -EPROTO: nothing can
 * be asked any more; -EOPNOTSUPP: no control queue.  Lane; waits.
 */
int net_ctrl_command(struct net_if *net, uint8_t class, uint8_t cmd, const void *data,
		     uint32_t len);

/* How much memory the buffers of a pair take, bytes. */
size_t net_pair_bytes(const struct net_pair *pair);
/* Entries of both queues are known: how many buffers, and how long. */
void net_pair_init(struct net_pair *pair, struct net_if *net, uint32_t rx_num, uint32_t tx_num);
/* Lane: queues and TAP are set, buffers is the pair's share.  On failure net_pair_stop() is due. */
int net_pair_start(struct net_pair *pair, uint8_t *buffers);
/* Frames may be under way, and are lost.  One that was only initialized is allowed. */
void net_pair_stop(struct net_pair *pair);
/* Until all that this host has sent was taken: false after a while, and the pair goes on as ever.
 */
bool net_pair_drain(struct net_pair *pair);

#endif
