/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A plug in which all that is sent comes back: on the receive queue of the same pair, copied once,
 * by the sender's worker.
 */
#include <errno.h>
#include <stdlib.h>

#include "backends/net/burst.h"
#include "base/defs.h"

struct pair {
	struct net_queue tx, rx;
	struct net_burst burst;
};

struct loopback {
	struct net_backend net;
	struct pair pairs[NET_PAIRS_MAX];
};

static void loopback_close(struct net_backend *net)
{
	struct loopback *lo = container_of(net, struct loopback, net);

	for (unsigned int i = 0; i < NET_PAIRS_MAX; i++)
		net_burst_release(&lo->pairs[i].burst);
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

static int loopback_rx_attach(struct net_backend *net, uint16_t pair, struct worker *worker,
			      struct net_sink *sink, struct net_queue **ret,
			      struct vdpa_extack *ack)
{
	struct pair *p = &container_of(net, struct loopback, net)->pairs[pair];

	net_burst_set_sink(&p->burst, sink);
	*ret = &p->rx;
	return 0;
}

static void loopback_rx_detach(struct net_queue *queue)
{
	net_burst_set_sink(&container_of(queue, struct pair, rx)->burst, NULL);
}

static int loopback_send(struct net_queue *queue, const struct net_pkt *pkt)
{
	struct pair *pair = container_of(queue, struct pair, tx);
	struct net_sink *sink;
	int err;

	if (!net_burst_begin(&pair->burst))
		return -ENETDOWN;
	sink = pair->burst.sink;
	err = sink->ops->deliver(sink, pkt);
	if (unlikely(err == -ENOBUFS)) {
		/* It is counted where it is lost, and was sent all right. */
		sink->ops->drop(sink, 1);
		return 0;
	}
	return err == -EMSGSIZE ? 0 : err;
}

static void loopback_flush(struct net_queue *queue)
{
	net_burst_end(&container_of(queue, struct pair, tx)->burst);
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
		net_burst_init(&lo->pairs[i].burst);
	}
	*ret = &lo->net;
	return 0;
}
