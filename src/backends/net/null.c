/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A network in which nobody is: all frames are taken, none comes.
 */
#include <errno.h>
#include <stdlib.h>

#include "backends/net/net.h"

struct null {
	struct net_backend net;
	struct net_queue queue; /* of all: there is nothing to it */
};

static void null_close(struct net_backend *net)
{
	free(net);
}

static int null_tx_attach(struct net_backend *net, uint16_t pair, struct worker *worker,
			  struct net_queue **ret, struct vdpa_extack *ack)
{
	*ret = &((struct null *)net)->queue;
	return 0;
}

static int null_rx_attach(struct net_backend *net, uint16_t pair, struct worker *worker,
			  struct net_sink *sink, struct net_queue **ret, struct vdpa_extack *ack)
{
	return null_tx_attach(net, pair, worker, ret, ack);
}

static void null_detach(struct net_queue *queue)
{
}

static int null_send(struct net_queue *queue, const struct net_pkt *pkt)
{
	return 0;
}

static const struct net_backend_ops null_ops = {
	.name = "null",
	.close = null_close,
	.tx_attach = null_tx_attach,
	.tx_detach = null_detach,
	.rx_attach = null_rx_attach,
	.rx_detach = null_detach,
	.send = null_send,
};

int net_null_open(const struct net_open *open, struct net_backend **ret, struct vdpa_extack *ack)
{
	struct null *null = calloc(1, sizeof(*null));

	if (!null)
		return -ENOMEM;
	null->net = (struct net_backend){
		.ops = &null_ops,
		.caps = NET_CAP_ALL,
		.max_pairs = NET_PAIRS_MAX,
	};
	null->queue.net = &null->net;
	*ret = &null->net;
	return 0;
}
