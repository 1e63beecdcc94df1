/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Network backends: where the frames of a net device go, and where they come from.  A backend knows
 * nothing of virtio's rings, and not which class uses it.
 *
 * Life: net_open() -> tx_attach() and rx_attach() of each queue that runs -> send ... flush, recv
 * -> detach -> net_close().
 *
 * Contexts.  open and close run on a lane and may block; the set_ functions say for themselves.
 * Everything about a queue runs on the worker that it was attached on, and does not block.  The two
 * queues of a pair are mostly served by one worker, but need not be.
 *
 * Frames and drops.  Nothing is kept for later: a frame that its receiver has no room for is lost,
 * and counted by the one who loses it.  A backend that can leave frames where they are (a socket, a
 * TAP) stops reading instead when the device has no buffers.
 */
#ifndef BACKENDS_NET_NET_H
#define BACKENDS_NET_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "backends/net/virtio_net_defs.h"
#include "base/defs.h"
#include "vdpa/attrs.h"
#include "vdpa/info.h"
#include "vdpa/virtqueue.h"

struct lane_pool;
struct net_backend;
struct net_queue;
struct net_sink;
struct vdpa_bus;
struct worker;

#define NET_PAIRS_MAX  8
#define NET_MAC_LEN    6
#define NET_ETH_LEN    14 /* destination, source, type */
/* Longest frame that travels whole, bytes: what one GSO packet may be. */
#define NET_FRAME_MAX  (65535 + NET_ETH_LEN + 4)
/* Most pieces that a frame is in: a chain's, and the head. */
#define NET_PIECES_MAX (VDPA_VQ_SEGS_MAX + 1)

/*
 * What a receiver of frames does by itself, bits.  A frame whose header asks for something else
 * goes through net_offload() first.  Of a backend: what send() takes; of a device: what its driver
 * has negotiated.
 */
#define NET_CAP_CSUM 1u  /* a checksum that is not computed yet */
#define NET_CAP_TSO4 2u  /* TCP in IPv4, to be cut */
#define NET_CAP_TSO6 4u  /* TCP in IPv6 */
#define NET_CAP_ECN  8u  /* either with ECN's CWR */
#define NET_CAP_UFO  16u /* UDP, to be cut into IP fragments */
#define NET_CAP_USO4 32u /* UDP in IPv4, to be cut into datagrams */
#define NET_CAP_USO6 64u
#define NET_CAP_ALL  127u

/*
 * The header of a frame in host order: values of <linux/virtio_net.h>.  Whoever brings a frame in
 * has left out flags that are not his to set, and checked it by net_hdr_check(): what it says lies
 * inside the frame, and makes sense together.
 */
struct net_hdr {
	/*
	 * VIRTIO_NET_HDR_F_NEEDS_CSUM and _DATA_VALID, no others.  DATA_VALID is a word of honour
	 * that no driver may give (virtio 1.3, 5.1.6.2.1), and that not every one may get.
	 */
	uint8_t flags;
	uint8_t gso_type; /* VIRTIO_NET_HDR_GSO_* */
	uint16_t hdr_len; /* a hint: nobody may rely on it */
	uint16_t gso_size;
	uint16_t csum_start;
	uint16_t csum_offset;
};

/*
 * A frame on its way, without FCS: `head`, then what is in `iov` from byte `off` on.
 *
 * iov is memory that others can change at any time: what has been looked at to decide something was
 * copied, is `head`, and goes on from there.
 */
struct net_pkt {
	struct net_hdr hdr;
	const uint8_t *head; /* not NULL only with head_len */
	uint32_t head_len;
	const struct iovec *iov;
	uint32_t num;
	uint32_t off;
	uint32_t len; /* bytes altogether, head_len at least; iov may go on behind them */
};

/* Where the first len bytes of a frame lie, if there are any and in one piece, else NULL. */
static inline const uint8_t *net_pkt_whole(const struct net_pkt *pkt, uint32_t len)
{
	if (!len || len > pkt->len)
		return NULL;
	if (pkt->head_len)
		return len <= pkt->head_len ? pkt->head : NULL;
	if (!pkt->num || !range_fits(pkt->off, len, pkt->iov->iov_len))
		return NULL;
	return (const uint8_t *)pkt->iov->iov_base + pkt->off;
}

/*
 * Copy the first len bytes of a frame.  Returns how many there are, at most len.
 * Where a decision is made of them, use net_pkt_pull() instead.
 */
uint32_t net_pkt_peek_pieces(const struct net_pkt *pkt, void *buf, uint32_t len);

static inline uint32_t net_pkt_peek(const struct net_pkt *pkt, void *buf, uint32_t len)
{
	const uint8_t *whole = net_pkt_whole(pkt, len);

	if (unlikely(!whole))
		return net_pkt_peek_pieces(pkt, buf, len);
	memcpy(buf, whole, len);
	return len;
}

/*
 * Have the first bytes, up to len, in the frame's head.  Returns how many: pkt->head has them.  buf
 * (len bytes) is where they are copied to if they are not there yet: it must live as long as the
 * frame is used, and may be the one of a shorter pull before.
 */
uint32_t net_pkt_pull_pieces(struct net_pkt *pkt, void *buf, uint32_t len);

static inline uint32_t net_pkt_pull(struct net_pkt *pkt, void *buf, uint32_t len)
{
	const uint8_t *whole = pkt->head_len ? NULL : net_pkt_whole(pkt, len);

	if (unlikely(!whole))
		return net_pkt_pull_pieces(pkt, buf, len);
	memcpy(buf, whole, len);
	pkt->head = (const uint8_t *)buf;
	pkt->head_len = len;
	pkt->off += len;
	return len;
}

/* Leave out the first len bytes, at most all. */
void net_pkt_skip(struct net_pkt *pkt, uint32_t len);
/* Leave out the first piece, and return it: empty only when none is left, and pkt->len is 0. */
struct iovec net_pkt_take(struct net_pkt *pkt);
/*
 * The pieces of a frame, `head` as the first one: for writev().  None is empty, together they are
 * pkt->len bytes.  Returns how many pieces, 0 when there are more than max.
 */
uint32_t net_pkt_iov(const struct net_pkt *pkt, struct iovec *iov, uint32_t max);

static inline bool net_hdr_is_plain(const struct net_hdr *hdr)
{
	return likely(!((hdr->flags & ~VIRTIO_NET_HDR_F_DATA_VALID) | hdr->gso_type));
}

/*
 * Is the header one that a frame of len bytes may have, from a sender who may use these caps?
 * -EINVAL when not: checksum fields beyond the frame, GSO without size or checksum, or with the
 * checksum of another protocol, an unknown type or flag, what needs caps that are missing.
 */
int net_hdr_check_offload(const struct net_hdr *hdr, uint32_t len, unsigned int caps);

static inline int net_hdr_check(const struct net_hdr *hdr, uint32_t len, unsigned int caps)
{
	return net_hdr_is_plain(hdr) ? 0 : net_hdr_check_offload(hdr, len, caps);
}

/*
 * The bits that a receiver needs to take the frame as it is; all of an unsigned int, which nobody
 * has, for a type that is unknown.  The header does not say which IP a USO frame has, so that it
 * takes both.
 */
unsigned int net_hdr_caps_offload(const struct net_hdr *hdr);

static inline unsigned int net_hdr_caps(const struct net_hdr *hdr)
{
	return net_hdr_is_plain(hdr) ? 0 : net_hdr_caps_offload(hdr);
}

/*
 * Do what a receiver with `caps` does not: compute the checksum, cut into segments.  emit() gets
 * frames that the receiver takes, one after the other, each valid until it returns; the first
 * value other than 0 that it returns ends it, and is returned.
 *
 * Headers are copied and changed in the copy, which is the head of what is emitted; the payload
 * stays where it is.  A checksum is computed only for a receiver without NET_CAP_CSUM.
 *
 * 0; -EINVAL: the frame's own headers are not what its header says, or too long, or gso_size is so
 * small that there were more than NET_SEGMENTS_MAX; -EOPNOTSUPP: fragments of IPv6 need a random
 * number, and the kernel (before 5.6) has none that is sure not to block.  Nothing has been emitted
 * then.
 * @context any thread; needs 20 KiB of stack
 */
#define NET_HEADERS_MAX  512u  /* bytes in front of the payload, or up to the checksum field */
#define NET_SEGMENTS_MAX 2048u /* of 64 KiB: 32 bytes each, what TCP's least MSS leaves */
int net_offload(const struct net_pkt *pkt, unsigned int caps,
		int (*emit)(void *arg, const struct net_pkt *pkt), void *arg);

/*
 * Where a backend brings frames for the guest: one receive queue of the device.  The device sees to
 * headers, offloads, filters and counting.
 *
 * Inside recv() the queue is the caller's already.  From elsewhere (a switch, whose sender's worker
 * brings the frame; a loopback) frames are delivered between begin() and end(), which take the
 * queue's token: the driver sees what was delivered, and is called at most once, at end().
 */
struct net_sink_ops {
	/* ANY WORKER.  false: the queue does not run; then no end(). */
	bool (*begin)(struct net_sink *sink);
	void (*end)(struct net_sink *sink);
	/*
	 * 0: it was taken, or filtered out; -ENOBUFS: the guest has no room, and nothing was
	 * counted; -EMSGSIZE: it will never fit (counted).
	 */
	int (*deliver)(struct net_sink *sink, const struct net_pkt *pkt);
	/* The last -ENOBUFS lost num frames: count them.  Between begin() and end(). */
	void (*drop)(struct net_sink *sink, uint32_t num);
	/* ANY THREAD while attached: have recv() called soon. */
	void (*wake)(struct net_sink *sink);
};

struct net_sink {
	const struct net_sink_ops *ops;
};

struct net_backend_ops {
	const char *name;
	void (*close)(struct net_backend *net);
	void (*show)(struct net_backend *net,
		     struct vdpa_info *info); /* Control thread.  Optional. */
	/*
	 * Queue pair `pair` of the device begins to run; until detach ret is used.
	 * rx_attach: sink outlives the queue.
	 */
	int (*tx_attach)(struct net_backend *net, uint16_t pair, struct worker *worker,
			 struct net_queue **ret, struct vdpa_extack *ack);
	void (*tx_detach)(struct net_queue *queue);
	int (*rx_attach)(struct net_backend *net, uint16_t pair, struct worker *worker,
			 struct net_sink *sink, struct net_queue **ret, struct vdpa_extack *ack);
	void (*rx_detach)(struct net_queue *queue);
	/*
	 * A frame of the guest's, of a kind that net->caps has.  It is done with when this returns.
	 * 0, or -errno: it was dropped.
	 */
	int (*send)(struct net_queue *queue, const struct net_pkt *pkt);
	void (*flush)(struct net_queue *queue); /* The burst ends.  Optional. */
	/*
	 * Deliver up to budget frames that wait, but only as long as the sink takes them.  Called
	 * when sink->ops->wake() was, when the guest has room again, and while the worker polls.
	 * Returns how many.  Optional: for backends that bring all frames from elsewhere.
	 */
	unsigned int (*recv)(struct net_queue *queue, unsigned int budget);
	/*
	 * What the driver takes has changed (NET_CAP_*): a TAP tells its kernel.  Optional.
	 * ANY THREAD; does not block.
	 */
	int (*set_caps)(struct net_backend *net, unsigned int caps);
	/*
	 * The driver uses so many pairs, until it says otherwise: the others get nothing.
	 * Optional.  ANY THREAD.
	 */
	void (*set_pairs)(struct net_backend *net, uint16_t pairs);
	/* The link of the device was set up or down by the user.  Optional.  Lane; may block. */
	void (*set_link)(struct net_backend *net, bool up);
};

/* Embedded in the backend's own. */
struct net_backend {
	const struct net_backend_ops *ops;
	unsigned int caps; /* of frames that send() takes; constant */
	uint16_t max_pairs;
	uint32_t mtu;             /* its own, 0: none in particular */
	bool tells_mtu;           /* the driver is told it, unless the device has another */
	uint8_t mac[NET_MAC_LEN]; /* that suits it, all 0: none in particular */
	/* Frames stay valid until flush(), not only until send() returns: for one with all caps. */
	bool holds;
};

struct net_queue {
	struct net_backend *net;
};

/* What every backend is opened with. */
struct net_open {
	struct vdpa_attrs *attrs;
	const char *name; /* of the device */
	struct vdpa_bus *bus;
	uint16_t pairs; /* of the device; the backend may have fewer: max_pairs */
};

typedef int net_open_fn(const struct net_open *open, struct net_backend **ret,
			struct vdpa_extack *ack);
net_open_fn net_loopback_open, net_null_open;

extern const char *const net_backend_names[];

/* The rows that a class with a network behind it puts into its attribute table. */
#define NET_ATTRS                                                                                  \
	{                                                                                          \
		.name = "backend", .type = VDPA_ATTR_ENUM, .flags = VDPA_ATTR_REQUIRED,            \
		.values = net_backend_names, .help = "where the frames go and come from"           \
	}

/*
 * Open what the attribute 'backend' says.  0 or -errno with the reason: an attribute is missing or
 * is for another backend, what it needs is not there.
 */
net_open_fn net_open;
/* NULL is allowed.  No queue is attached. */
void net_close(struct net_backend *net);

#endif
