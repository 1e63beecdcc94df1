/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The switch and its ports: how they come and go.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "backends/net/switch_priv.h"

/* How often it is looked at whether sections have ended, before it is left to the scheduler. */
#define SPINS    256
#define PAUSE_NS 20000

const struct vdpa_attr_desc switch_port_attrs[] = {SWITCH_PORT_ATTRS, {0}};

/* ---- the switch */

static uint64_t system_clock(void *arg)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

struct net_switch *net_switch_alloc(const struct net_switch_config *config)
{
	struct net_switch *sw = calloc(1, sizeof(*sw));

	if (!sw)
		return NULL;
	sw->fdb = fdb_alloc(config->macs, config->ageing, config->seed);
	if (!sw->fdb) {
		free(sw);
		return NULL;
	}
	sw->config = *config;
	if (!config->clock)
		sw->config.clock = system_clock;
	sw->refs = 1;
	pthread_mutex_init(&sw->lock, NULL);
	pthread_mutex_init(&sw->readers_lock, NULL);
	TAILQ_INIT(&sw->readers);
	return sw;
}

void net_switch_put(struct net_switch *sw)
{
	if (!sw || __atomic_sub_fetch(&sw->refs, 1, __ATOMIC_ACQ_REL))
		return;
	fdb_free(sw->fdb);
	pthread_mutex_destroy(&sw->lock);
	pthread_mutex_destroy(&sw->readers_lock);
	free(sw);
}

/* ---- sections */

static void wait_for_section(const struct switch_tx *tx)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	uint32_t section = __atomic_load_n(&tx->section, __ATOMIC_SEQ_CST);

	if (!(section & 1))
		return;
	for (unsigned int i = 0; __atomic_load_n(&tx->section, __ATOMIC_ACQUIRE) == section; i++) {
		/* Its worker may need the processor that we are on. */
		if (i >= SPINS)
			nanosleep(&pause, NULL);
	}
}

/* What was unreachable before is unused after.  Not in a section, not with a token. */
static void synchronize(struct net_switch *sw)
{
	struct switch_tx *tx;

	pthread_mutex_lock(&sw->readers_lock);
	TAILQ_FOREACH (tx, &sw->readers, entry)
		wait_for_section(tx);
	pthread_mutex_unlock(&sw->readers_lock);
}

/* ---- queues */

static struct switch_port *to_port(struct net_backend *net)
{
	return container_of(net, struct switch_port, net);
}

static int check_pair(const struct net_backend *net, uint16_t pair, struct vdpa_extack *ack)
{
	if (pair < net->max_pairs)
		return 0;
	return vdpa_extack_set(ack, -EINVAL, "the switch port has %u queue pairs, no pair %u",
			       net->max_pairs, pair);
}

static int switch_tx_attach(struct net_backend *net, uint16_t pair, struct worker *worker,
			    struct net_queue **ret, struct vdpa_extack *ack)
{
	struct switch_port *port = to_port(net);
	struct net_switch *sw = port->sw;
	int err = check_pair(net, pair, ack);

	if (err)
		return err;
	pthread_mutex_lock(&sw->readers_lock);
	TAILQ_INSERT_TAIL(&sw->readers, &port->tx[pair], entry);
	pthread_mutex_unlock(&sw->readers_lock);
	*ret = &port->tx[pair].queue;
	return 0;
}

static void switch_tx_detach(struct net_queue *queue)
{
	struct switch_tx *tx = to_tx(queue);
	struct net_switch *sw = tx->port->sw;

	switch_release(queue);
	tx->num = 0;
	pthread_mutex_lock(&sw->readers_lock);
	TAILQ_REMOVE(&sw->readers, tx, entry);
	pthread_mutex_unlock(&sw->readers_lock);
}

/* Locked.  Who has loaded the number before may still find what was behind the new end. */
static void choose_running(struct switch_port *port)
{
	uint32_t num = 0;

	for (uint16_t pair = 0; pair < port->pairs; pair++) {
		if (port->rx[pair].attached)
			__atomic_store_n(&port->running[num++], &port->rx[pair], __ATOMIC_SEQ_CST);
	}
	__atomic_store_n(&port->num_running, num, __ATOMIC_SEQ_CST);
}

static int switch_rx_attach(struct net_backend *net, uint16_t pair, struct worker *worker,
			    struct net_sink *sink, struct net_queue **ret, struct vdpa_extack *ack)
{
	struct switch_port *port = to_port(net);
	int err = check_pair(net, pair, ack);

	if (err)
		return err;
	pthread_mutex_lock(&port->sw->lock);
	port->rx[pair].sink = sink;
	port->rx[pair].attached = true;
	choose_running(port);
	pthread_mutex_unlock(&port->sw->lock);
	*ret = &port->rx[pair].queue;
	return 0;
}

static void switch_rx_detach(struct net_queue *queue)
{
	struct switch_rx *rx = container_of(queue, struct switch_rx, queue);
	struct switch_port *port = rx->port;

	pthread_mutex_lock(&port->sw->lock);
	rx->attached = false;
	choose_running(port);
	pthread_mutex_unlock(&port->sw->lock);
	synchronize(port->sw);
}

static void switch_set_pairs(struct net_backend *net, uint16_t pairs)
{
	struct switch_port *port = to_port(net);

	pthread_mutex_lock(&port->sw->lock);
	port->pairs = pairs < net->max_pairs ? pairs : net->max_pairs;
	choose_running(port);
	pthread_mutex_unlock(&port->sw->lock);
}

/* ---- ports */

/* Locked. */
static void count_members(struct switch_port *port, int by)
{
	for (uint16_t vlan = 1; vlan <= VLAN_ID_MAX; vlan++) {
		if (vlan_form(&port->vlan, vlan) != VLAN_NOT_HERE)
			__atomic_store_n(&port->sw->members[vlan],
					 (uint16_t)(port->sw->members[vlan] + by),
					 __ATOMIC_RELAXED);
	}
}

static void set_up(struct switch_port *port, bool up)
{
	pthread_mutex_lock(&port->sw->lock);
	if (port->up != up)
		count_members(port, up ? 1 : -1);
	__atomic_store_n(&port->up, up, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&port->sw->lock);
}

static void switch_set_link(struct net_backend *net, bool up)
{
	struct switch_port *port = to_port(net);

	set_up(port, up);
	if (up)
		return;
	/* When nobody learns its addresses any more. */
	synchronize(port->sw);
	fdb_flush_port(port->sw->fdb, port->idx);
}

static void free_port(struct switch_port *port)
{
	net_switch_put(port->sw);
	free(port->tx);
	free(port->rx);
	free(port);
}

static void set_port(struct net_switch *sw, uint16_t idx, struct switch_port *port)
{
	pthread_mutex_lock(&sw->lock);
	__atomic_store_n(&sw->ports[idx], port, __ATOMIC_SEQ_CST);
	if (port && idx >= sw->num_ports)
		__atomic_store_n(&sw->num_ports, idx + 1u, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&sw->lock);
}

static void release_index(struct net_switch *sw, uint16_t idx)
{
	uint32_t num;

	pthread_mutex_lock(&sw->lock);
	sw->used[idx] = false;
	for (num = sw->num_ports; num && !sw->used[num - 1];)
		num--;
	__atomic_store_n(&sw->num_ports, num, __ATOMIC_RELAXED);
	pthread_mutex_unlock(&sw->lock);
}

/*
 * None of its queues is attached, so nothing is learnt behind it.  When its addresses are gone and
 * those who had looked one up are done, its number can be another's.
 */
static void switch_port_close(struct net_backend *net)
{
	struct switch_port *port = to_port(net);
	struct net_switch *sw = port->sw;

	set_up(port, false);
	set_port(sw, port->idx, NULL);
	fdb_flush_port(sw->fdb, port->idx);
	synchronize(sw);
	release_index(sw, port->idx);
	free_port(port);
}

static const struct net_backend_ops switch_port_ops = {
	.name = "switch",
	.close = switch_port_close,
	.tx_attach = switch_tx_attach,
	.tx_detach = switch_tx_detach,
	.rx_attach = switch_rx_attach,
	.rx_detach = switch_rx_detach,
	.send = switch_send,
	.flush = switch_flush,
	.set_pairs = switch_set_pairs,
	.set_link = switch_set_link,
};

static int take_index(struct net_switch *sw, uint16_t *ret, struct vdpa_extack *ack)
{
	uint16_t idx = 0;

	pthread_mutex_lock(&sw->lock);
	while (idx < SWITCH_PORTS_MAX && sw->used[idx])
		idx++;
	if (idx < SWITCH_PORTS_MAX)
		sw->used[idx] = true;
	pthread_mutex_unlock(&sw->lock);
	if (idx == SWITCH_PORTS_MAX)
		return vdpa_extack_set(ack, -ENOSPC, "the switch has no more than %u ports",
				       SWITCH_PORTS_MAX);
	*ret = idx;
	return 0;
}

static void *alloc_queues(uint16_t num, size_t size)
{
	void *queues = aligned_alloc(CACHE_LINE, num * size);

	if (queues)
		memset(queues, 0, num * size);
	return queues;
}

static struct switch_port *alloc_port(struct net_switch *sw, uint16_t pairs)
{
	struct switch_port *port = calloc(1, sizeof(*port));

	if (!port)
		return NULL;
	__atomic_add_fetch(&sw->refs, 1, __ATOMIC_RELAXED);
	port->sw = sw;
	port->net.ops = &switch_port_ops;
	port->net.caps = NET_CAP_ALL;
	port->net.holds = true;
	port->net.max_pairs = port->pairs = pairs;
	port->tx = alloc_queues(pairs, sizeof(struct switch_tx));
	port->rx = alloc_queues(pairs, sizeof(struct switch_rx));
	if (!port->tx || !port->rx) {
		free_port(port);
		return NULL;
	}
	for (uint16_t i = 0; i < pairs; i++) {
		port->tx[i].port = port->rx[i].port = port;
		port->tx[i].queue.net = port->rx[i].queue.net = &port->net;
	}
	return port;
}

int switch_port_open(struct net_switch *sw, const struct net_open *open, struct net_backend **ret,
		     struct vdpa_extack *ack)
{
	uint16_t pairs = open->pairs < NET_PAIRS_MAX ? open->pairs : NET_PAIRS_MAX;
	const char *trunk = vdpa_attrs_str(open->attrs, "trunk", NULL);
	uint64_t own = vdpa_attrs_u64(open->attrs, "vlan", !trunk);
	struct switch_port *port = alloc_port(sw, pairs);
	int err;

	if (!port)
		return -ENOMEM;
	snprintf(port->name, sizeof(port->name), "%s", open->name);
	err = vlan_set_init(&port->vlan, (uint16_t)own, trunk, ack);
	if (!err)
		err = take_index(sw, &port->idx, ack);
	if (err) {
		free_port(port);
		return err;
	}
	fdb_set_limit(sw->fdb, port->idx,
		      (uint32_t)vdpa_attrs_u64(open->attrs, "macs", sw->config.port_macs));
	set_up(port, true);
	set_port(sw, port->idx, port);
	*ret = &port->net;
	return 0;
}
