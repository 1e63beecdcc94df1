/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames out of a receive queue of virtio-net, merged from buffers where that was negotiated.
 *
 * The device is hostile: how much it has written the ring cuts to what a buffer holds, the number
 * of buffers is read once, and the header goes on as it is to somebody who checks it (the kernel).
 *
 * Context: the thread that has the queue.  @spec virtio 1.3, 5.1.6.3 and 5.1.6.4
 */
#ifndef DRIVERS_VIRTIO_NET_RX_H
#define DRIVERS_VIRTIO_NET_RX_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vdpa/virtqueue.h"

#define NET_RX_MAX 512u /* buffers */

struct net_rx {
	/* The caller's. */
	struct vdpa_drvq *ring;
	uint8_t *buffers; /* one behind the other */
	uint64_t iova;    /* the same for the device */
	uint32_t buf_bytes;
	uint32_t num;   /* buffers, at most NET_RX_MAX and what the ring has entries */
	bool mergeable; /* a frame may take several buffers */

	/* The frame: header and data, valid until net_rx_release(). */
	struct iovec iov[NET_RX_MAX];
	uint32_t pieces;
	uint32_t bytes; /* of all pieces */

	const char *broken; /* NULL, or what the device did; then there are no more frames */
};

/* Offer all buffers, not yet published. */
void net_rx_fill(struct net_rx *rx);
/* The next frame.  Returns false when there is none. */
bool net_rx_next(struct net_rx *rx);
/* Offer its buffers again, not yet published. */
void net_rx_release(struct net_rx *rx);

#endif
