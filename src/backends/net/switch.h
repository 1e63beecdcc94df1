/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A learning layer-2 switch.  Its ports are network backends: what a device sends is copied once,
 * from the sender's buffers to the receiver's, by the sender's worker.  There is no thread of the
 * switch's own, and no system call but the receiver's notification, one for each burst.
 *
 * A burst is gathered by send() and forwarded by flush(): classified as a whole, then handed to
 * each receiver in turn, in the order in which it came.  A receiver with several queues gets a flow
 * in one of them.  Who has no room loses frames, and does not keep anybody waiting.
 *
 * Frames that are for all, or for nobody who is known, are flooded; a sender may have so many
 * copied a second.  Those that IEEE 802.1D reserves for the link itself stop here.
 */
#ifndef BACKENDS_NET_SWITCH_H
#define BACKENDS_NET_SWITCH_H

#include "backends/net/fdb.h"
#include "backends/net/net.h"
#include "backends/net/vlan.h"

#define SWITCH_PORTS_MAX FDB_PORTS_MAX

struct net_switch;

struct net_switch_config {
	uint32_t macs;        /* addresses altogether, 1 to FDB_MAX */
	uint32_t port_macs;   /* behind a port that does not say otherwise */
	uint32_t ageing;      /* seconds, 1 to FDB_AGEING_MAX */
	uint32_t flood_limit; /* frames a second that a port may have flooded; 0: any number */
	uint64_t seed;        /* what an attacker does not know */
	/* Monotonic nanoseconds; NULL: the system's, to some milliseconds.  ANY THREAD. */
	uint64_t (*clock)(void *arg);
	void *clock_arg;
};

/* NULL: out of memory.  Ports have references of their own. */
struct net_switch *net_switch_alloc(const struct net_switch_config *config);
/* NULL is allowed. */
void net_switch_put(struct net_switch *sw);

/* The rows of a port, read from open->attrs. */
#define SWITCH_PORT_ATTRS                                                                          \
	{.name = "vlan",                                                                           \
	 .type = VDPA_ATTR_UINT,                                                                   \
	 .min = 1,                                                                                 \
	 .max = VLAN_ID_MAX,                                                                       \
	 .help = "VLAN of frames without a tag (1; none with 'trunk')"},                           \
		{.name = "trunk",                                                                  \
		 .type = VDPA_ATTR_STRING,                                                         \
		 .help = "VLANs of frames with a tag: all, or such as 10,20-29 (none)"},           \
	{                                                                                          \
		.name = "macs", .type = VDPA_ATTR_UINT, .min = 1, .max = FDB_MAX,                  \
		.help = "addresses learnt at this port at most (the switch's 'port-macs')"         \
	}
/* These alone; ends with a row without a name. */
extern const struct vdpa_attr_desc switch_port_attrs[];

/*
 * A port, called open->name; its close() gives it back.
 * -EINVAL: bad attributes; -ENOSPC: all ports are in use; -ENOMEM.
 */
int switch_port_open(struct net_switch *sw, const struct net_open *open, struct net_backend **ret,
		     struct vdpa_extack *ack);

/*
 * For who brings frames one at a time, each of them gone when send() returns, such as an uplink:
 * flush() each of them, and this when there are no more for now.  Until then the last receiver is
 * kept, so that its driver is called once for all of them.  queue: a tx_attach()'s.
 */
void switch_keep(struct net_queue *queue);
void switch_release(struct net_queue *queue);

/* Ports with their counters, and addresses: up to SWITCH_SHOW_MACS.  ANY THREAD; does not block. */
#define SWITCH_SHOW_MACS 256
void net_switch_show(struct net_switch *sw, struct vdpa_info *info);

#endif
