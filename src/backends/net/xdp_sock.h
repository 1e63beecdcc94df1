/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A socket on one queue of an interface, with memory of its own for frames.  The program that
 * brings frames to it is libxdp's: it is attached with the first socket of an interface, and
 * detached with the last.
 *
 * A frame has one buffer.  Those of [0, XDP_RX) go round between the fill ring and the receive
 * ring, those of [XDP_RX, XDP_RX + XDP_TX) between the transmit ring and the completion ring: so
 * the two directions have nothing in common, and may be served by two threads.
 */
#ifndef BACKENDS_NET_XDP_SOCK_H
#define BACKENDS_NET_XDP_SOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <xdp/xsk.h>

#include "vdpa/extack.h"

struct vdpa_bus;

#define XDP_RX         1024u /* frames, and entries of the rings */
#define XDP_TX         1024u
#define XDP_BUF        4096u /* bytes */
#define XDP_BUF_OFFSET 256u  /* bytes in front that the kernel keeps for itself */
#define XDP_FRAME_MAX  (XDP_BUF - XDP_BUF_OFFSET)

enum xdp_choice { XDP_AUTO, XDP_YES, XDP_NO };

struct xdp_config {
	struct vdpa_bus *bus; /* for what libxdp says */
	const char *device;   /* whose it is, in the log */
	const char *ifname;
	bool native; /* in the driver of the interface */
	enum xdp_choice zerocopy;
};

struct xdp_sock {
	struct xsk_socket *xsk;
	struct xsk_umem *umem;
	uint8_t *area;
	struct xsk_ring_prod fill, tx;
	struct xsk_ring_cons comp, rx;
	bool zerocopy;
};

/*
 * The fill ring is full.  Blocks for a second when the queue is in use: it may be that of a socket
 * that was closed just before.  On failure there is nothing to close.  0 or -errno: -EPERM,
 * -ENODEV, -ENOBUFS (RLIMIT_MEMLOCK), -EBUSY (the queue, or the interface for a program), -EINVAL
 * (no such queue), -EOPNOTSUPP ...
 */
int xdp_sock_open(const struct xdp_config *cfg, uint32_t queue, struct xdp_sock *sock,
		  struct vdpa_extack *ack);
/* A zeroed one is allowed. */
void xdp_sock_close(const struct xdp_config *cfg, struct xdp_sock *sock);

int xdp_sock_fd(const struct xdp_sock *sock);
/* Frames that the kernel had no buffer for. */
uint64_t xdp_sock_dropped(const struct xdp_sock *sock);

#endif
