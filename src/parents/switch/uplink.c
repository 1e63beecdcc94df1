/* SPDX-License-Identifier: BSD-2-Clause */
#include "parents/switch/uplink.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "backends/net/switch.h"
#include "base/defs.h"
#include "bus/bus.h"
#include "loop/worker.h"

/* Frames of the host's that are forwarded before others on the worker have their turn. */
#define BUDGET 64

struct pair {
	struct uplink *uplink;
	uint16_t idx;
	struct vdpa_worker *picked;
	struct worker *worker;
	int err; /* of attach() */
	struct vdpa_extack *ack;
	struct net_queue *host_tx, *port_tx, *port_rx;

	/* The worker's. */
	struct worker_source src;
	struct net_sink from_host;
	struct net_queue *host_rx;

	/* Who sends to the host. */
	struct net_sink to_host;
	pthread_mutex_t token;
};

struct uplink {
	struct net_backend *port, *host;
	uint16_t num;
	struct pair pairs[NET_PAIRS_MAX];
};

/* ---- from the host */

/* Frames come out of its recv() only. */
static bool from_host_begin(struct net_sink *sink)
{
	return false;
}

static void from_host_end(struct net_sink *sink)
{
}

/* There is always room: who has none loses the frame behind the switch. */
static int from_host_deliver(struct net_sink *sink, const struct net_pkt *pkt)
{
	struct pair *pair = container_of(sink, struct pair, from_host);
	const struct net_backend_ops *ops = pair->port_tx->net->ops;

	ops->send(pair->port_tx, pkt);
	ops->flush(pair->port_tx);
	return 0;
}

static void from_host_drop(struct net_sink *sink, uint32_t num)
{
}

static void from_host_wake(struct net_sink *sink)
{
	worker_source_wake(&container_of(sink, struct pair, from_host)->src);
}

static const struct net_sink_ops from_host_ops = {
	.begin = from_host_begin,
	.end = from_host_end,
	.deliver = from_host_deliver,
	.drop = from_host_drop,
	.wake = from_host_wake,
};

static bool pair_poll(struct worker_source *src)
{
	struct pair *pair = container_of(src, struct pair, src);
	unsigned int num;

	if (!pair->host_rx || !pair->host_rx->net->ops->recv)
		return false;
	num = pair->host_rx->net->ops->recv(pair->host_rx, BUDGET);
	switch_release(pair->port_tx);
	return num;
}

static const struct worker_source_ops pair_source_ops = {.poll = pair_poll};

/* ---- to the host */

static bool to_host_begin(struct net_sink *sink)
{
	pthread_mutex_lock(&container_of(sink, struct pair, to_host)->token);
	return true;
}

static void to_host_end(struct net_sink *sink)
{
	struct pair *pair = container_of(sink, struct pair, to_host);

	if (pair->uplink->host->ops->flush)
		pair->uplink->host->ops->flush(pair->host_tx);
	pthread_mutex_unlock(&pair->token);
}

static int send_one(void *arg, const struct net_pkt *pkt)
{
	struct pair *pair = arg;

	return pair->uplink->host->ops->send(pair->host_tx, pkt);
}

static int to_host_deliver(struct net_sink *sink, const struct net_pkt *pkt)
{
	struct pair *pair = container_of(sink, struct pair, to_host);
	unsigned int caps = pair->uplink->host->caps;
	int err = net_hdr_caps(&pkt->hdr) & ~caps ? net_offload(pkt, caps, send_one, pair)
						  : send_one(pair, pkt);

	/* Its queue is full, or the interface is down: it takes nothing now. */
	return err && err != -EINVAL && err != -EMSGSIZE && err != -EOPNOTSUPP ? -ENOBUFS : err;
}

/* The switch has counted it. */
static void to_host_drop(struct net_sink *sink, uint32_t num)
{
}

static void to_host_wake(struct net_sink *sink)
{
}

static const struct net_sink_ops to_host_ops = {
	.begin = to_host_begin,
	.end = to_host_end,
	.deliver = to_host_deliver,
	.drop = to_host_drop,
	.wake = to_host_wake,
};

/* ---- life */

/* On the worker.  The switch's ports can send to the host before anything comes from there. */
static void attach(void *arg)
{
	struct pair *pair = arg;
	struct net_backend *port = pair->uplink->port, *host = pair->uplink->host;
	struct worker *worker = pair->worker;
	struct vdpa_extack *ack = pair->ack;

	pair->err = host->ops->tx_attach(host, pair->idx, worker, &pair->host_tx, ack);
	if (pair->err)
		return;
	pair->err = port->ops->tx_attach(port, pair->idx, worker, &pair->port_tx, ack);
	if (pair->err)
		goto host_tx;
	switch_keep(pair->port_tx);
	pair->err =
		port->ops->rx_attach(port, pair->idx, worker, &pair->to_host, &pair->port_rx, ack);
	if (pair->err)
		goto port_tx;
	pair->err = worker_attach_local(worker, &pair->src);
	if (pair->err)
		goto port_rx;
	pair->err = host->ops->rx_attach(host, pair->idx, worker, &pair->from_host, &pair->host_rx,
					 ack);
	if (pair->err)
		goto source;
	return;

source:
	worker_detach_local(&pair->src);
port_rx:
	port->ops->rx_detach(pair->port_rx);
port_tx:
	port->ops->tx_detach(pair->port_tx);
host_tx:
	host->ops->tx_detach(pair->host_tx);
}

static void detach(void *arg)
{
	struct pair *pair = arg;
	struct net_backend *port = pair->uplink->port, *host = pair->uplink->host;

	host->ops->rx_detach(pair->host_rx);
	worker_detach_local(&pair->src);
	port->ops->rx_detach(pair->port_rx);
	port->ops->tx_detach(pair->port_tx);
	host->ops->tx_detach(pair->host_tx);
}

static int start(struct vdpa_bus *bus, struct pair *pair, struct vdpa_extack *ack)
{
	pair->picked = vdpa_worker_pick(bus);
	if (!pair->picked)
		return vdpa_extack_set(ack, -EAGAIN, "no worker for the uplink: out of threads");
	pair->worker = vdpa_worker_thread(pair->picked);
	pair->ack = ack;
	pthread_mutex_init(&pair->token, NULL);
	worker_call(pair->worker, attach, pair);
	if (pair->err) {
		pthread_mutex_destroy(&pair->token);
		vdpa_worker_unpick(pair->picked);
	}
	return pair->err;
}

void uplink_close(struct uplink *uplink)
{
	if (!uplink)
		return;
	while (uplink->num) {
		struct pair *pair = &uplink->pairs[--uplink->num];

		worker_call(pair->worker, detach, pair);
		vdpa_worker_unpick(pair->picked);
		pthread_mutex_destroy(&pair->token);
	}
	net_close(uplink->port);
	net_close(uplink->host);
	free(uplink);
}

static int start_all(struct vdpa_bus *bus, struct uplink *uplink, struct vdpa_extack *ack)
{
	int err;

	/* Each receiver of the switch has a device that does what its driver does not. */
	if (uplink->host->ops->set_caps) {
		err = uplink->host->ops->set_caps(uplink->host, NET_CAP_ALL);
		if (err)
			return vdpa_extack_set(ack, err, "the uplink does not take offloads: %s",
					       vdpa_extack_text(NULL, err));
	}
	while (uplink->num < uplink->host->max_pairs) {
		struct pair *pair = &uplink->pairs[uplink->num];

		pair->uplink = uplink;
		pair->idx = uplink->num;
		pair->src = (struct worker_source){.ops = &pair_source_ops, .fd = -1};
		pair->from_host.ops = &from_host_ops;
		pair->to_host.ops = &to_host_ops;
		err = start(bus, pair, ack);
		if (err)
			return err;
		uplink->num++;
	}
	if (uplink->host->ops->set_pairs)
		uplink->host->ops->set_pairs(uplink->host, uplink->num);
	return 0;
}

int uplink_open(struct vdpa_bus *bus, struct net_backend *port, struct net_backend *host,
		struct uplink **ret, struct vdpa_extack *ack)
{
	struct uplink *uplink = calloc(1, sizeof(*uplink));
	int err;

	if (!uplink) {
		net_close(port);
		net_close(host);
		return -ENOMEM;
	}
	uplink->port = port;
	uplink->host = host;
	err = start_all(bus, uplink, ack);
	if (err) {
		uplink_close(uplink);
		return err;
	}
	*ret = uplink;
	return 0;
}

void uplink_show(struct uplink *uplink, struct vdpa_info *info)
{
	vdpa_info_open(info, "uplink");
	vdpa_info_str(info, "backend", uplink->host->ops->name);
	if (uplink->host->ops->show)
		uplink->host->ops->show(uplink->host, info);
	vdpa_info_close(info);
}
