/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The switch, inside.
 *
 * Who forwards (the worker of a sending queue) takes no lock of the switch's, and finds ports and
 * receiving queues by pointers that it loads inside a section: between section_enter() and
 * section_leave().  Who takes one of them away makes it unreachable first, and then waits, by
 * switch_synchronize(), for the sections that were open.  In a section nobody waits for anything
 * but a receiver's token, and whoever holds one waits for nothing: so synchronize ends.
 *
 * Counters have one writer: the sender's worker those of a sending queue, the holder of the token
 * those of a receiving queue.
 */
#ifndef BACKENDS_NET_SWITCH_PRIV_H
#define BACKENDS_NET_SWITCH_PRIV_H

#include <pthread.h>
#include <sys/queue.h>

#include "backends/net/switch.h"
#include "vdpa/device.h"

#define CACHE_LINE 64
/* Frames that are forwarded together; one bit each. */
#define BURST      64

/* Why a frame is not forwarded. */
enum switch_drop {
	DROP_SHORT,    /* it has not even addresses */
	DROP_VLAN,     /* its port is not in its VLAN, or it has two tags */
	DROP_SOURCE,   /* from nobody, or from a group */
	DROP_RESERVED, /* of the link itself */
	DROP_OWN,      /* its receiver is on the side that it came from */
	DROP_FLOOD,    /* more than the limit */
	DROP_LINK,     /* the sender's link is down */
	DROP_GONE,     /* the receiver does not run */
	DROP_NUM,
};

struct frame {
	struct net_pkt pkt;
	struct vlan_tag tag;
	uint16_t vlan;
	/* Aligned, so that what was just stored is loaded again at once. */
	uint8_t head[VLAN_HEAD] __attribute__((aligned(16)));
};

/* Frames of a burst that go one way. */
struct target {
	struct switch_port *port;
	uint64_t frames;
};

struct flood {
	uint16_t vlan;
	uint64_t frames;
};

struct switch_tx {
	/* Read by others while they wait for the section. */
	uint32_t section __attribute__((aligned(CACHE_LINE))); /* atomic: odd inside */
	TAILQ_ENTRY(switch_tx) entry;                          /* readers_lock */

	/* The worker's. */
	struct net_queue queue __attribute__((aligned(CACHE_LINE)));
	struct switch_port *port;
	bool keep;              /* switch_keep() */
	struct switch_rx *kept; /* the receiver whose token is held, and with it the section */
	uint32_t num;
	uint32_t num_targets, num_floods;
	uint64_t now;    /* of the burst, nanoseconds */
	uint32_t now_s;  /* the same in seconds */
	uint64_t learnt; /* the key that was learnt last in this burst; 0: none */
	uint64_t sought; /* the key that was looked up last, and where it is */
	int found;
	uint64_t frames, bytes;
	uint64_t drops[DROP_NUM];
	uint64_t flooded;
	uint64_t unlearnt; /* addresses that found no room */
	struct target targets[BURST];
	struct flood floods[BURST];
	struct frame burst[BURST];
};

struct switch_rx {
	struct net_queue queue;
	struct switch_port *port;
	struct net_sink *sink; /* read in sections: valid when it was found as running */
	bool attached;         /* port->sw->lock */

	/* Who holds the sink's token. */
	uint64_t frames __attribute__((aligned(CACHE_LINE)));
	uint64_t bytes;
	uint64_t no_room;
	uint64_t too_long; /* for any buffer of the receiver's */
	uint64_t bad;      /* headers that the receiver cannot do anything with */
};

struct switch_port {
	struct net_backend net;
	struct net_switch *sw;
	char name[VDPA_NAME_MAX];
	uint16_t idx;
	struct vlan_set vlan;
	struct switch_tx *tx; /* net.max_pairs of them */
	struct switch_rx *rx;

	/* Written under sw->lock, read in sections. */
	bool up;
	uint32_t num_running;
	struct switch_rx *running[NET_PAIRS_MAX]; /* among those that the driver uses */

	uint16_t pairs;      /* sw->lock: that the driver uses */
	uint64_t flood_time; /* atomic: when what was flooded would be if it came evenly */
};

struct net_switch {
	/* Constant. */
	struct fdb *fdb;
	struct net_switch_config config;

	/* Written under lock, read in sections. */
	struct switch_port *ports[SWITCH_PORTS_MAX];
	uint32_t num_ports;         /* the highest in use, plus one */
	uint16_t members[VLAN_IDS]; /* ports of each VLAN that are up */

	uint64_t sweep_time; /* atomic: when the next part of the table is swept */
	bool sweeping;       /* atomic */

	unsigned int refs;    /* atomic */
	pthread_mutex_t lock; /* never held while waiting: any thread may take it */
	bool used[SWITCH_PORTS_MAX];

	pthread_mutex_t readers_lock;
	TAILQ_HEAD(, switch_tx) readers;
};

static inline struct switch_tx *to_tx(struct net_queue *queue)
{
	return container_of(queue, struct switch_tx, queue);
}

static inline void section_enter(struct switch_tx *tx)
{
	/* Ordered before the loads of what is protected. */
	__atomic_fetch_add(&tx->section, 1, __ATOMIC_SEQ_CST);
}

static inline void section_leave(struct switch_tx *tx)
{
	__atomic_store_n(&tx->section, tx->section + 1, __ATOMIC_RELEASE);
}

/* switch_forward.c: on the sender's worker */
int switch_send(struct net_queue *queue, const struct net_pkt *pkt);
void switch_flush(struct net_queue *queue);

#endif
