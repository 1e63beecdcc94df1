/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A plug in which all that is sent comes back: on the receive queue of the same pair, copied once,
 * by the sender's worker.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "backends/net/net.h"
#include "base/defs.h"

struct pair {
	struct net_queue tx, rx;
	pthread_mutex_t lock; /* of sink; a burst of the sender's holds it */
	struct net_sink *sink;
	bool burst; /* the sink was begun */
};

struct loopback {
	struct net_backend net;
	struct pair pairs[NET_PAIRS_MAX];
};

static void loopback_close(struct net_backend *net)
{
	struct loopback *lo = container_of(net, struct loopback, net);

	for (unsigned int i = 0; i < NET_PAIRS_MAX; i++)
		pthread_mutex_destroy(&lo->pairs[i].lock);
	free(lo);
}

static int loopback_tx_attach(struct net_backend *net, uint16_t pair, struct worker *worker,
			      struct net_queue **ret, struct vdpa_extack *ack)
{
	*ret = &container_of(net, struct loopback, net)->pairs[pair].tx;
	return 0;
}

static void loopback_tx_detach(struct net_queue *queue)
{
}

static void set_sink(struct pair *pair, struct net_sink *sink)
{
	pthread_mutex_lock(&pair->lock);
	pair->sink = sink;
	pthread_mutex_unlock(&pair->lock);
}

static int loopback_rx_attach(struct net_backend *net, uint16_t pair, struct worker *worker,
			      struct net_sink *sink, struct net_queue **ret,
			      struct vdpa_extack *ack)
{
	struct pair *p = &container_of(net, struct loopback, net)->pairs[pair];

	set_sink(p, sink);
	*ret = &p->rx;
	return 0;
}

static void loopback_rx_detach(struct net_queue *queue)
{
	set_sink(container_of(queue, struct pair, rx), NULL);
}

/* Begin a burst with its first frame. */
static bool begin(struct pair *pair)
{
	pthread_mutex_lock(&pair->lock);
	pair->burst = pair->sink && pair->sink->ops->begin(pair->sink);
	if (!pair->burst)
		pthread_mutex_unlock(&pair->lock);
	return pair->burst;
}

static int loopback_send(struct net_queue *queue, const struct net_pkt *pkt)
{
	struct pair *pair = container_of(queue, struct pair, tx);
	int err;

	if (!pair->burst && !begin(pair))
		return -ENETDOWN;
	err = pair->sink->ops->deliver(pair->sink, pkt);
	if (unlikely(err == -ENOBUFS)) {
		/* It is counted where it is lost, and was sent all right. */
		pair->sink->ops->drop(pair->sink, 1);
		return 0;
	}
	return err == -EMSGSIZE ? 0 : err;
}

static void loopback_flush(struct net_queue *queue)
{
	struct pair *pair = container_of(queue, struct pair, tx);

	if (!pair->burst)
		return;
	pair->burst = false;
	pair->sink->ops->end(pair->sink);
	pthread_mutex_unlock(&pair->lock);
}

static const struct net_backend_ops loopback_ops = {
	.name = "loopback",
	.close = loopback_close,
	.tx_attach = loopback_tx_attach,
	.tx_detach = loopback_tx_detach,
	.rx_attach = loopback_rx_attach,
	.rx_detach = loopback_rx_detach,
	.send = loopback_send,
	.flush = loopback_flush,
};

int net_loopback_open(const struct net_open *open, struct net_backend **ret,
		      struct vdpa_extack *ack)
{
	struct loopback *lo = calloc(1, sizeof(*lo));

	if (!lo)
		return -ENOMEM;
	lo->net = (struct net_backend){
		.ops = &loopback_ops,
		.caps = NET_CAP_ALL,
		.max_pairs = NET_PAIRS_MAX,
	};
	for (unsigned int i = 0; i < NET_PAIRS_MAX; i++) {
		lo->pairs[i].tx.net = lo->pairs[i].rx.net = &lo->net;
		pthread_mutex_init(&lo->pairs[i].lock, NULL);
	}
	*ret = &lo->net;
	return 0;
}
