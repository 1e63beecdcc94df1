/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus/verb.h"

#define TIMEOUT_MS     10000
/* Threads of lanes that wait for the next job, and how long. */
#define LANE_KEEP_IDLE 2
#define LANE_LINGER_MS 5000

/* One message a call: whatever a handler does, the rest stays in the inbox and in order. */
static void inbox_run(struct loop_call *call)
{
	struct vdpa_bus *bus = container_of(call, struct vdpa_bus, inbox_call);
	struct bus_msg *msg;

	pthread_mutex_lock(&bus->lock);
	msg = STAILQ_FIRST(&bus->inbox);
	if (msg)
		STAILQ_REMOVE_HEAD(&bus->inbox, entry);
	if (!STAILQ_EMPTY(&bus->inbox))
		loop_post(bus->loop, &bus->inbox_call);
	pthread_mutex_unlock(&bus->lock);
	if (msg)
		msg->fn(msg);
}

void bus_post(struct vdpa_bus *bus, struct bus_msg *msg)
{
	bool dead;

	pthread_mutex_lock(&bus->lock);
	dead = bus->dead;
	if (!dead) {
		STAILQ_INSERT_TAIL(&bus->inbox, msg, entry);
		loop_post(bus->loop, &bus->inbox_call);
	}
	pthread_mutex_unlock(&bus->lock);
	/* May drop the last reference on the bus. */
	if (dead)
		msg->drop(msg);
}

void bus_get(struct vdpa_bus *bus)
{
	atomic_fetch_add_explicit(&bus->refs, 1, memory_order_relaxed);
}

static void bus_release(struct vdpa_bus *bus)
{
	workers_free(bus);
	mgmtdevs_free(bus);
	mgmtdev_types_free(bus);
	drivers_free(bus);
	if (bus->lanes)
		lane_pool_free(bus->lanes, 0);
	loop_free(bus->loop);
	pthread_mutex_destroy(&bus->worker_lock);
	pthread_mutex_destroy(&bus->log_lock);
	pthread_mutex_destroy(&bus->lock);
	free(bus->reserve);
	free(bus->run_dir);
	free(bus);
}

void bus_put(struct vdpa_bus *bus)
{
	if (atomic_fetch_sub_explicit(&bus->refs, 1, memory_order_acq_rel) == 1)
		bus_release(bus);
}

static int bus_init(struct vdpa_bus *bus, const struct vdpa_bus_config *cfg)
{
	int err;

	TAILQ_INIT(&bus->devices);
	TAILQ_INIT(&bus->drivers);
	TAILQ_INIT(&bus->mgmtdevs);
	TAILQ_INIT(&bus->mgmtdev_types);
	TAILQ_INIT(&bus->workers);
	TAILQ_INIT(&bus->verbs);
	LIST_INIT(&bus->defaults);
	STAILQ_INIT(&bus->inbox);
	bus->inbox_call.fn = inbox_run;
	atomic_init(&bus->refs, 1);
	bus->timeout_ms = cfg->timeout_ms ? cfg->timeout_ms : TIMEOUT_MS;
	bus->log = cfg->log;
	bus->log_arg = cfg->log_arg;
	bus->first_workers = cfg->workers ? cfg->workers : 1;
	bus->poll_us = cfg->poll_us;
	if (cfg->run_dir) {
		bus->run_dir = strdup(cfg->run_dir);
		if (!bus->run_dir)
			return -ENOMEM;
	}
	bus->reserve = calloc(1, sizeof(*bus->reserve));
	if (!bus->reserve)
		return -ENOMEM;
	err = loop_alloc(&bus->loop);
	if (err)
		return err;
	err = lane_pool_alloc(LANE_KEEP_IDLE, LANE_LINGER_MS, &bus->lanes);
	if (err)
		loop_free(bus->loop);
	return err;
}

VDPA_API int vdpa_bus_alloc(const struct vdpa_bus_config *cfg, struct vdpa_bus **ret,
			    struct vdpa_extack *ack)
{
	static const struct vdpa_bus_config defaults;
	struct vdpa_bus *bus = calloc(1, sizeof(*bus));
	int err;

	if (!bus)
		return -ENOMEM;
	err = bus_init(bus, cfg ? cfg : &defaults);
	if (err) {
		free(bus->reserve);
		free(bus->run_dir);
		free(bus);
		return vdpa_extack_set(ack, err, "cannot make a bus: %s",
				       vdpa_extack_text(NULL, err));
	}
	pthread_mutex_init(&bus->lock, NULL);
	pthread_mutex_init(&bus->log_lock, NULL);
	pthread_mutex_init(&bus->worker_lock, NULL);
	*ret = bus;
	return 0;
}

struct closing {
	struct loop_timer timer;
	bool expired;
};

static void closing_expired(struct loop_timer *timer)
{
	container_of(timer, struct closing, timer)->expired = true;
}

/* From now on no message is run; those that are still to come release themselves. */
static void bus_die(struct vdpa_bus *bus)
{
	STAILQ_HEAD(, bus_msg) left = STAILQ_HEAD_INITIALIZER(left);
	struct bus_msg *msg;

	pthread_mutex_lock(&bus->lock);
	bus->dead = true;
	STAILQ_CONCAT(&left, &bus->inbox);
	loop_call_cancel(bus->loop, &bus->inbox_call);
	pthread_mutex_unlock(&bus->lock);
	while ((msg = STAILQ_FIRST(&left))) {
		STAILQ_REMOVE_HEAD(&left, entry);
		msg->drop(msg);
	}
	pthread_mutex_lock(&bus->log_lock);
	bus->log = NULL;
	pthread_mutex_unlock(&bus->log_lock);
}

VDPA_API int vdpa_bus_free(struct vdpa_bus *bus)
{
	struct closing closing = {.timer.fn = closing_expired};
	struct vdpa_device_priv *priv;
	int err = 0;

	if (!bus)
		return 0;
	bus->closing = true;
	loop_set_clock(bus->loop, NULL, NULL);
	while ((priv = TAILQ_FIRST(&bus->devices)))
		device_remove(priv);
	mgmtdevs_close(bus);
	loop_timer_set(bus->loop, &closing.timer, bus->timeout_ms * 1000000ULL);
	while (!closing.expired && (bus->live || !TAILQ_EMPTY(&bus->verbs)) && err >= 0)
		err = loop_dispatch(bus->loop, -1);
	loop_timer_cancel(&closing.timer);
	verbs_give_up(bus);
	err = bus->live ? -ETIMEDOUT : 0;
	/* While a device lives its lane needs the pool. */
	if (!bus->live) {
		if (lane_pool_free(bus->lanes, bus->timeout_ms))
			err = -ETIMEDOUT;
		bus->lanes = NULL;
	}
	bus_die(bus);
	bus_put(bus);
	return err;
}

VDPA_API void vdpa_bus_keep_records(struct vdpa_bus *bus)
{
	bus->keep_records = true;
}

VDPA_API int vdpa_bus_fd(const struct vdpa_bus *bus)
{
	return loop_fd(bus->loop);
}

VDPA_API int vdpa_bus_dispatch(struct vdpa_bus *bus, int timeout_ms)
{
	int num = loop_dispatch(bus->loop, timeout_ms);

	return num < 0 ? num : 0;
}

VDPA_API void vdpa_result_done(void *arg, int err, const struct vdpa_extack *ack)
{
	struct vdpa_result *res = arg;

	res->err = err;
	if (ack)
		res->ack = *ack;
	res->done = true;
}

VDPA_API int vdpa_bus_wait(struct vdpa_bus *bus, const struct vdpa_result *res)
{
	int err = 0;

	while (!res->done && !err)
		err = vdpa_bus_dispatch(bus, -1);
	return err ? err : res->err;
}

struct loop *bus_loop(struct vdpa_bus *bus)
{
	return bus->loop;
}

struct lane_pool *bus_lane_pool(struct vdpa_bus *bus)
{
	return bus->lanes;
}

const char *bus_run_dir(const struct vdpa_bus *bus)
{
	return bus->run_dir;
}

uint32_t bus_timeout_ms(const struct vdpa_bus *bus)
{
	return bus->timeout_ms;
}
