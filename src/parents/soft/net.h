/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The network device, between its files: net.c (attributes, features, config space, queues),
 * net_tx.c and net_rx.c (frames), net_ctrl.c (what the driver commands), net_filter.c (which frames
 * it wants).
 *
 * Who owns what.  The lane owns the set-up.  What commands change (filter, offloads, pairs) is
 * under net->lock; each receive queue has a copy of what it needs, changed with the queue's token.
 * Locks are taken in this order: the token of a control or transmit queue, net->lock or a
 * backend's, the token of a receive queue.
 *
 * @spec virtio 1.3, 5.1
 */
#ifndef SOFT_NET_H
#define SOFT_NET_H

#include <pthread.h>

#include "backends/net/vnet.h"
#include "base/ratelimit.h"
#include "parents/soft/internal.h"

extern const char *const net_link_states[];

/* Attributes of a net device, whoever makes it. */
#define NET_DEVICE_ATTRS                                                                           \
	{.name = "mac",                                                                            \
	 .type = VDPA_ATTR_STRING,                                                                 \
	 .flags = VDPA_ATTR_LIVE,                                                                  \
	 .help = "address of the device (one made of its name and this host's)"},                  \
		{.name = "mtu",                                                                    \
		 .type = VDPA_ATTR_UINT,                                                           \
		 .min = NET_MTU_MIN,                                                               \
		 .max = NET_MTU_MAX,                                                               \
		 .help = "offer this MTU to the driver (none in particular)"},                     \
		{.name = "max_vqp",                                                                \
		 .type = VDPA_ATTR_UINT,                                                           \
		 .min = 1,                                                                         \
		 .max = NET_PAIRS_MAX,                                                             \
		 .help = "number of queue pairs (1)"},                                             \
		{.name = "speed",                                                                  \
		 .type = VDPA_ATTR_UINT,                                                           \
		 .max = INT32_MAX,                                                                 \
		 .help = "tell the driver this speed, Mbit/s (none)"},                             \
		{.name = "link",                                                                   \
		 .type = VDPA_ATTR_ENUM,                                                           \
		 .flags = VDPA_ATTR_LIVE,                                                          \
		 .values = net_link_states,                                                        \
		 .help = "whether the cable is in (up)"},                                          \
	{                                                                                          \
		.name = "announce", .type = VDPA_ATTR_BOOL,                                        \
		.flags = VDPA_ATTR_LIVE | VDPA_ATTR_NOADD,                                         \
		.help = "on: have the driver tell the network where it is, once"                   \
	}

#define NET_MTU_MIN     68
#define NET_MTU_MAX     65535
#define NET_FILTER_MACS 64 /* addresses of each kind; with more all are let through */

/*
 * Which frames the driver wants.  Until it has said anything it gets all: a front-end that answers
 * control commands itself also filters itself.
 */
struct net_filter {
	bool active; /* a command for it has come */
	bool promisc, allmulti, alluni, nomulti, nouni, nobcast;
	bool vlan_active; /* a command for a VLAN has come: untagged frames, and these: */
	uint8_t mac[NET_MAC_LEN];
	uint8_t num_uni, num_multi;
	bool more_uni, more_multi; /* there were more than fit */
	uint8_t uni[NET_FILTER_MACS][NET_MAC_LEN];
	uint8_t multi[NET_FILTER_MACS][NET_MAC_LEN];
	uint64_t vlans[4096 / 64];
};

struct net_rxq;

struct net {
	struct vdpa_soft *soft;
	struct net_backend *backend;
	uint16_t pairs; /* that it has */

	/* The lane's; constant while queues run. */
	uint64_t features; /* negotiated */
	unsigned int tx_caps;
	bool mergeable;

	/* Atomic. */
	bool link_down;
	bool rarp; /* the first transmit queue has to send one */
	uint16_t driver_mtu;

	pthread_mutex_t lock; /* of this group */
	struct net_filter filter;
	unsigned int rx_caps;
	uint64_t declined;        /* offloads that the driver has switched off, feature bits */
	uint16_t used_pairs;      /* that the driver has commanded, 1 before */
	uint8_t mac[NET_MAC_LEN]; /* the user's; a driver may have set another */
	uint8_t rarp_mac[NET_MAC_LEN];
	uint16_t status; /* field of the config space */
	bool announce;   /* to be asked of the next driver that can */
	struct net_rxq *rx[NET_PAIRS_MAX];
	struct vdpa_soft_vq *first_tx; /* while it runs */
};

/* What a queue is for: by its index, and for the control queue by what was negotiated. */
enum net_role { NET_NOTHING, NET_RX, NET_TX, NET_CTRL };
enum net_role net_role(const struct net *net, uint16_t idx);

/* Counters of a queue: one writer, any reader. */
struct net_counts {
	uint64_t packets;  /* taken from or given to the driver */
	uint64_t filtered; /* receive: the driver does not want them, or the link is down */
	uint64_t refused;  /* transmit: header and frame make no sense; also counted as drops */
};

#define NET_RX_AHEAD 8

struct net_rxq {
	struct net_sink sink;
	struct vdpa_soft_vq *vq;
	struct net *net;
	struct net_queue *queue;
	unsigned int caps;
	bool mergeable;
	bool starved; /* the backend waits for room */
	struct net_filter *filter;
	struct net_counts *counts;
	/*
	 * Buffers that are taken before there are frames for them, within a burst: those before
	 * `done` are somebody else's or given back, those before `next` are filled.
	 */
	struct vdpa_soft_req *ahead[NET_RX_AHEAD];
	uint32_t lens[NET_RX_AHEAD]; /* bytes written */
	uint8_t done, next, taken;
	uint8_t window; /* how many are taken at once */
};

struct net_txq {
	struct net_queue *queue;
	unsigned int caps; /* what the driver may send */
	unsigned int backend_caps;
	struct net_counts *counts;
};

struct net_ctrlq {
	uint8_t *buf; /* NET_CTRL_MAX */
};

/* Each queue's. */
struct net_vq {
	enum net_role role; /* atomic: statistics read it */
	struct net_counts counts;
	union {
		struct net_rxq rx;
		struct net_txq tx;
		struct net_ctrlq ctrl;
	};
};

int net_rx_start(struct net *net, struct vdpa_soft_vq *vq, struct net_rxq *rx,
		 struct vdpa_extack *ack);
void net_rx_stop(struct net_rxq *rx);
bool net_rx_poll(struct vdpa_soft_vq *vq, struct net_rxq *rx);

int net_tx_start(struct net *net, struct vdpa_soft_vq *vq, struct net_txq *tx,
		 struct vdpa_extack *ack);
void net_tx_stop(struct net *net, struct vdpa_soft_vq *vq, struct net_txq *tx);
bool net_tx_poll(struct vdpa_soft_vq *vq, struct net_txq *tx);
/* Have the network know where this address is: a RARP frame, as if the driver had sent it.  Lane.
 */
void net_tx_rarp(struct net *net, const uint8_t mac[NET_MAC_LEN]);

/* Longest command that is looked at, bytes: a longer MAC table counts as "all". */
#define NET_CTRL_MAX 8192

int net_ctrl_start(struct net *net, struct net_ctrlq *ctrl);
void net_ctrl_stop(struct net *net, struct net_ctrlq *ctrl);
bool net_ctrl_poll(struct vdpa_soft_vq *vq, struct net_ctrlq *ctrl);
/*
 * Carry out a command: class, command, data, as on the control queue.
 * full: bytes that it has, of which have are there.  VIRTIO_NET_OK or _ERR.  Any thread.
 */
uint8_t net_ctrl(struct net *net, const uint8_t *cmd, uint32_t have, uint64_t full);
/* Back to what a driver finds.  Lane. */
void net_ctrl_reset(struct net *net);
/* Choose what the driver takes, of what it has negotiated.  net->lock is held. */
void net_choose_caps(struct net *net);
/* Give the receive queues what net->lock guards; it is held. */
void net_share(struct net *net);

void net_filter_init(struct net_filter *filter, const uint8_t mac[NET_MAC_LEN]);
/* Does the driver want the frame?  Only of an active filter.  head: its first len bytes. */
bool net_filter_wants(const struct net_filter *filter, const uint8_t *head, uint32_t len);
bool net_filter_vlan(struct net_filter *filter, uint16_t vid, bool on);

/* The class's part of the state record: what the driver has commanded. */
int net_save(struct vdpa_soft *soft, struct vdpa_state_blob *blob, struct vdpa_extack *ack);
int net_load(struct vdpa_soft *soft, const struct vdpa_state_blob *blob, struct vdpa_extack *ack);

/* Write the status field.  net->lock is held. */
void net_set_status(struct net *net, uint16_t status, bool tell);

#endif
