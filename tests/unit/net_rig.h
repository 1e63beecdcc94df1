/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A network backend with the two queues of one pair, driven from a test's thread, which is the
 * guest.
 */
#ifndef UNIT_NET_RIG_H
#define UNIT_NET_RIG_H

#include <pthread.h>
#include <sys/queue.h>

#include "backends/net/net.h"
#include "loop/worker.h"
#include "vdpa/bus.h"

#define NRIG_WORKERS 2

struct nrig_frame;

struct net_rig {
	struct vdpa_bus *bus;
	struct worker *workers[NRIG_WORKERS];
	struct net_backend *net;
	struct net_queue *tx, *rx;
	struct worker *tx_worker;
	struct worker_source src; /* the receive queue's */
	struct net_sink sink;
	struct vdpa_extack ack;

	pthread_mutex_t lock;
	pthread_cond_t cond;
	/* Below: lock. */
	TAILQ_HEAD(, nrig_frame) frames;
	unsigned int num_frames;
	bool full;           /* the guest has no room */
	unsigned int waited; /* deliveries refused for that */
	uint32_t drops;
	char log[4096]; /* "text\n" */
};

/* words: "KEY VALUE KEY VALUE ...".  0 or what failed, with rig->ack; then nothing is left. */
int nrig_open(struct net_rig *rig, net_open_fn *open, const struct vdpa_attr_desc *table,
	      const char *words);
/* Detaches first. */
void nrig_close(struct net_rig *rig);

/* Start both queues, each on one of the workers / stop them.  0 or -errno. */
int nrig_attach(struct net_rig *rig, unsigned int tx, unsigned int rx);
void nrig_detach(struct net_rig *rig);

/* Send a frame, in pieces, as a burst of its own.  What send() says. */
int nrig_send(struct net_rig *rig, const void *frame, uint32_t len);
/* Wait for a frame, and copy it.  Returns its length. */
uint32_t nrig_recv(struct net_rig *rig, void *frame, uint32_t max);
/* Take room away from the guest, or give it back. */
void nrig_set_full(struct net_rig *rig, bool full);
/* Wait until the backend has met a guest without room. */
void nrig_wait_refused(struct net_rig *rig);

/* Is the text, such as "ifname=net0", in what show() says? */
bool nrig_shows(struct net_rig *rig, const char *text);
/* Wait until the log holds the text. */
void nrig_wait_log(struct net_rig *rig, const char *text);

#endif
