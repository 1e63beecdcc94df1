/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/verb.h"

static void verb_returned(struct bus_msg *msg);
static void verb_dropped(struct bus_msg *msg);
static void verb_job(struct lane_job *job);
static void verb_expired(struct loop_timer *timer);

struct verb *verb_new(struct vdpa_bus *bus, const struct verb_ops *ops, struct vdpa_attrs *attrs,
		      vdpa_done_fn *done, void *arg)
{
	struct verb *v = calloc(1, sizeof(*v));

	if (!v) {
		v = bus->reserve;
		bus->reserve = NULL;
	}
	if (!v) {
		vdpa_attrs_free(attrs);
		if (done)
			done(arg, -ENOMEM, NULL);
		return NULL;
	}
	v->msg.fn = verb_returned;
	v->msg.drop = verb_dropped;
	v->job.fn = verb_job;
	v->timer.fn = verb_expired;
	v->ops = ops;
	v->bus = bus;
	v->attrs = attrs;
	v->done = done;
	v->arg = arg;
	info_record_init(&v->record);
	TAILQ_INSERT_TAIL(&bus->verbs, v, entry);
	return v;
}

/* What a verb holds; where it is listed is the control thread's business. */
static void verb_release(struct verb *v)
{
	struct bus_node *node = v->node;

	vdpa_attrs_free(v->attrs);
	vdpa_attrs_free(v->driver_attrs);
	if (v->worker)
		vdpa_worker_unpick(v->worker);
	info_record_release(&v->record);
	free(v);
	if (node)
		node_put(node);
}

void verb_free(struct verb *v)
{
	struct vdpa_bus *bus = v->bus;

	TAILQ_REMOVE(&bus->verbs, v, entry);
	if (!bus->reserve)
		bus->reserve = calloc(1, sizeof(*bus->reserve));
	verb_release(v);
}

static void verb_dropped(struct bus_msg *msg)
{
	verb_release(container_of(msg, struct verb, msg));
}

static void verb_answer(struct verb *v, int err, const struct vdpa_extack *ack)
{
	loop_timer_cancel(&v->timer);
	if (v->answered)
		return;
	v->answered = true;
	if (!err && v->info && v->record.failed)
		err = -ENOMEM;
	if (!err && v->info)
		info_record_replay(&v->record, v->info);
	if (v->done)
		v->done(v->arg, err, ack);
}

static void verb_dequeue(struct verb *v)
{
	if (v->queued)
		TAILQ_REMOVE(&v->node->verbs, v, next);
	v->queued = false;
}

/* The next one of the node, if none is under way. */
static void verbs_kick(struct bus_node *node)
{
	struct verb *v = TAILQ_FIRST(&node->verbs);

	if (v && !v->begun)
		verb_begin(v);
}

void verb_end(struct verb *v)
{
	struct bus_node *node = v->node;

	verb_dequeue(v);
	if (node)
		node_get(node);
	verb_answer(v, v->err, &v->ack);
	verb_free(v);
	if (node) {
		verbs_kick(node);
		node_put(node);
	}
}

void verb_detach(struct verb *v)
{
	struct bus_node *node = v->node;

	verb_dequeue(v);
	v->node = NULL;
	v->priv = NULL;
	node_put(node);
}

static void verb_returned(struct bus_msg *msg)
{
	struct verb *v = container_of(msg, struct verb, msg);
	struct bus_node *node = v->node;

	if (v->queued && v->answered && node->stuck) {
		node->stuck = false;
		node_log(node, VDPA_LOG_INFO, "'%s' has come back after its deadline",
			 v->ops->name);
	}
	if (v->begun && v->ops->finish && !v->ops->finish(v))
		return;
	verb_end(v);
}

void verb_refuse(struct verb *v, int err)
{
	v->err = err;
	loop_timer_cancel(&v->timer);
	bus_post(v->bus, &v->msg);
}

static void verb_job(struct lane_job *job)
{
	struct verb *v = container_of(job, struct verb, job);

	v->err = v->ops->run(v);
	bus_post(v->bus, &v->msg);
}

void verb_begin(struct verb *v)
{
	int err = 0;

	v->begun = true;
	if (!v->ops->makes && !v->node->present)
		err = vdpa_extack_set(&v->ack, -ENODEV, "no %s '%s' any more", v->node->ops->kind,
				      v->node->name);
	if (!err && v->ops->prepare)
		err = v->ops->prepare(v);
	if (err)
		verb_refuse(v, err);
	else if (v->ops->run)
		lane_post(v->node->lane, &v->job);
	else
		bus_post(v->bus, &v->msg);
}

void verb_arm(struct verb *v)
{
	loop_timer_set(v->bus->loop, &v->timer, v->bus->timeout_ms * 1000000ULL);
}

void verb_start_node(struct verb *v, struct bus_node *node)
{
	v->node = node;
	v->queued = true;
	TAILQ_INSERT_TAIL(&node->verbs, v, next);
	verb_arm(v);
	verbs_kick(node);
}

void verb_start_on(struct verb *v, struct vdpa_device_priv *priv)
{
	v->priv = priv;
	verb_start_node(v, &priv->node);
}

void verb_start(struct verb *v, const char *dev)
{
	struct vdpa_device_priv *priv = bus_find(v->bus, dev);

	if (priv)
		verb_start_on(v, device_get(priv));
	else
		verb_refuse(v, vdpa_extack_set(&v->ack, -ENODEV, "no device '%.40s'", dev));
}

void verbs_refuse_waiting(struct bus_node *node)
{
	struct verb *v = TAILQ_FIRST(&node->verbs), *next;

	for (; v; v = next) {
		next = TAILQ_NEXT(v, next);
		if (v->begun)
			continue;
		verb_dequeue(v);
		verb_refuse(v, vdpa_extack_set(&v->ack, -ENODEV, "'%s' was removed", node->name));
	}
}

static int expired_text(struct verb *v, const struct verb *busy, struct vdpa_extack *ack)
{
	const struct bus_node *node = v->node;
	uint32_t ms = v->bus->timeout_ms;
	char after[24];

	snprintf(after, sizeof(after), ms % 1000 ? "%u ms" : "%u s", ms % 1000 ? ms : ms / 1000);
	if (!node->listed)
		return vdpa_extack_set(ack, -ETIMEDOUT,
				       "'%s' was removed while it was busy with '%s'", node->name,
				       busy->ops->name);
	if (!node->ops->del)
		return vdpa_extack_set(ack, -ETIMEDOUT, "'%s' is still busy with '%s' after %s",
				       node->name, busy->ops->name, after);
	return vdpa_extack_set(ack, -ETIMEDOUT,
			       "'%s' is still busy with '%s' after %s; '%s %s force' removes it",
			       node->name, busy->ops->name, after, node->ops->del, node->name);
}

static void verb_expired(struct loop_timer *timer)
{
	struct verb *v = container_of(timer, struct verb, timer);
	struct vdpa_extack ack = {0};
	struct verb *busy;

	if (v->ops->expired) {
		verb_answer(v, v->ops->expired(v), NULL);
		return;
	}
	busy = TAILQ_FIRST(&v->node->verbs);
	expired_text(v, busy, &ack);
	if (v == busy) {
		v->node->stuck = true;
		if (v->node->listed)
			node_event(v->node, VDPA_EVENT_STUCK, v->ops->name);
		node_log(v->node, VDPA_LOG_WARN, "%s", ack.msg);
		verb_answer(v, -ETIMEDOUT, &ack);
		return;
	}
	/* It never began, so it never happens. */
	verb_dequeue(v);
	verb_answer(v, -ETIMEDOUT, &ack);
	verb_free(v);
}

void verbs_give_up(struct vdpa_bus *bus)
{
	struct vdpa_extack ack = {0};
	struct verb *v;

	vdpa_extack_set(&ack, -ETIMEDOUT, "the bus was closed meanwhile");
	TAILQ_FOREACH (v, &bus->verbs, entry)
		verb_answer(v, -ETIMEDOUT, &ack);
}
