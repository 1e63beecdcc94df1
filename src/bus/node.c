/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/verb.h"

static void node_free_job(struct lane_job *job)
{
	struct bus_node *node = container_of(job, struct bus_node, free_job);

	node->ops->free(node);
	lane_put(node->lane);
	bus_post(node->bus, &node->freed);
}

static void node_freed(struct bus_msg *msg)
{
	struct bus_node *node = container_of(msg, struct bus_node, freed);
	struct vdpa_bus *bus = node->bus;

	if (node->ops->freed)
		node->ops->freed(node);
	bus->live--;
	if (node->del)
		verb_end(node->del);
	node->ops->release(node);
	bus_put(bus);
}

static void node_freed_dropped(struct bus_msg *msg)
{
	struct bus_node *node = container_of(msg, struct bus_node, freed);
	struct vdpa_bus *bus = node->bus;

	if (node->del)
		node->del->msg.drop(&node->del->msg);
	node->ops->release(node);
	bus_put(bus);
}

int node_init(struct bus_node *node, const struct bus_node_ops *ops, struct vdpa_bus *bus,
	      const char *name)
{
	node->lane = lane_alloc(bus->lanes, name);
	if (!node->lane)
		return -ENOMEM;
	node->ops = ops;
	node->bus = bus;
	bus_get(bus);
	bus->live++;
	node->name = name;
	atomic_init(&node->refs, 2);
	node->free_job.fn = node_free_job;
	node->freed.fn = node_freed;
	node->freed.drop = node_freed_dropped;
	TAILQ_INIT(&node->verbs);
	node->listed = true;
	return 0;
}

void node_unlink(struct bus_node *node)
{
	node->listed = false;
	node->present = false;
	verbs_refuse_waiting(node);
	node_put(node);
}

struct bus_node *node_get(struct bus_node *node)
{
	atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed);
	return node;
}

bool node_tryget(struct bus_node *node)
{
	unsigned int refs = atomic_load_explicit(&node->refs, memory_order_relaxed);

	while (refs)
		if (atomic_compare_exchange_weak_explicit(&node->refs, &refs, refs + 1,
							  memory_order_relaxed,
							  memory_order_relaxed))
			return true;
	return false;
}

/* The last reference may go on any thread; freeing may block, so it is the lane's last job. */
void node_put(struct bus_node *node)
{
	if (atomic_fetch_sub_explicit(&node->refs, 1, memory_order_acq_rel) == 1)
		lane_post(node->lane, &node->free_job);
}

/* ---- the end of `del`: the name is gone, and that is what the user wanted */

static int freed_expired(struct verb *v)
{
	vdpa_log(v->bus, NULL, VDPA_LOG_WARN, "'%s' is removed, but something in it still hangs",
		 v->name);
	return 0;
}

static const struct verb_ops wait_freed_ops = {
	.name = "del",
	.expired = freed_expired,
};

void verb_wait_freed(struct verb *v, struct bus_node *node)
{
	v->ops = &wait_freed_ops;
	v->begun = true;
	snprintf(v->name, sizeof(v->name), "%s", node->name);
	node->del = v;
}
