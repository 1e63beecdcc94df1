/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Network backends: where the frames of a net device go, and where they come from.  A backend knows
 * nothing of virtio's rings, and not which class uses it.
 *
 * Life: net_open() -> tx_attach() and rx_attach() of each queue that runs -> send ... flush, recv
 * -> detach -> net_close().
 *
 * Contexts.  open, close and the set_ functions run on a lane and may block.  Everything about a
 * queue runs on the worker that it was attached on, and does not block.  The two queues of a pair
 * are mostly served by one worker, but need not be.
 *
 * Frames and drops.  Nothing is kept for later: a frame that its receiver has no room for is lost,
 * and counted by the one who loses it.  A backend that can leave frames where they are (a socket, a
 * TAP) stops reading instead when the device has no buffers.
 */
#ifndef BACKENDS_NET_NET_H
#define BACKENDS_NET_NET_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vdpa/attrs.h"
#include "vdpa/info.h"

struct lane_pool;
struct net_backend;
struct net_queue;
struct net_sink;
struct vdpa_bus;
struct worker;

#define NET_PAIRS_MAX 8
#define NET_MAC_LEN   6
#define NET_ETH_LEN   14 /* destination, source, type */
/* Longest frame that travels whole, bytes: what one GSO packet may be. */
#define NET_FRAME_MAX (65535 + NET_ETH_LEN + 4)

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
 * has checked it by net_hdr_check(): what it says lies inside the frame, and makes sense together.
 */
struct net_hdr {
	uint8_t flags;    /* VIRTIO_NET_HDR_F_NEEDS_CSUM, _DATA_VALID */
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
	uint32_t len; /* bytes altogether, head_len at least */
};

/*
 * Copy the first len bytes of a frame.  Returns how many there are, at most len.
 * Where a decision is made of them, use net_pkt_pull() instead.
 */
uint32_t net_pkt_peek(const struct net_pkt *pkt, void *buf, uint32_t len);
/*
 * Copy the first bytes, up to len, into buf and let them be the frame's head.  Returns how many:
 * buf must live as long as the frame is used.
 */
uint32_t net_pkt_pull(struct net_pkt *pkt, void *buf, uint32_t len);
/*
 * The pieces behind `off`, `head` as the first one: for writev().  Returns how many pieces, 0 when
 * there are more than max.
 */
uint32_t net_pkt_iov(const struct net_pkt *pkt, struct iovec *iov, uint32_t max);

/*
 * Is the header one that a frame of len bytes may have, from a sender who may use these caps?
 * -EINVAL when not: checksum fields beyond the frame, GSO without size or checksum, an unknown
 * type.
 */
int net_hdr_check(const struct net_hdr *hdr, uint32_t len, unsigned int caps);
/* The bits that a receiver needs to take the frame as it is. */
unsigned int net_hdr_caps(const struct net_hdr *hdr);

/*
 * Do what a receiver with `caps` does not: compute the checksum, cut into segments.  emit() gets
 * frames that the receiver takes, one after the other, each valid until it returns; the first
 * value other than 0 that it returns ends it, and is returned.
 * 0; -EINVAL: the frame's own headers are not what its header says, or too long; -EOPNOTSUPP: a
 * kind of frame that cannot be cut. buf: NET_OFFLOAD_BYTES of the caller's, so that nothing is
 * allocated.
 */
#define NET_OFFLOAD_BYTES (128u * 1024)
int net_offload(const struct net_pkt *pkt, unsigned int caps, void *buf,
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
	/* What the driver takes has changed (NET_CAP_*): a TAP tells its kernel.  Optional. */
	int (*set_caps)(struct net_backend *net, unsigned int caps);
	/*
	 * The driver uses so many pairs, until it says otherwise: the others get nothing.
	 * Optional.  ANY THREAD.
	 */
	void (*set_pairs)(struct net_backend *net, uint16_t pairs);
	/* The link of the device was set up or down by the user.  Optional. */
	void (*set_link)(struct net_backend *net, bool up);
};

/* Embedded in the backend's own. */
struct net_backend {
	const struct net_backend_ops *ops;
	unsigned int caps; /* of frames that send() takes; constant */
	uint16_t max_pairs;
	uint32_t mtu;             /* its own, 0: none in particular */
	uint8_t mac[NET_MAC_LEN]; /* that suits it, all 0: none in particular */
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

#endif
