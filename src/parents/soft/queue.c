/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Queues from the lane's side: set up, start, stop, move, give another map.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <time.h>

#include "bus/bus.h"
#include "parents/soft/internal.h"
#include "virtqueue/inflight.h"

#define CACHE_LINE 64

struct vdpa_soft_vq *soft_vq_alloc(struct vdpa_soft *soft, uint16_t idx)
{
	size_t size = align_up(sizeof(struct vdpa_soft_vq), CACHE_LINE);
	size_t all = align_up(size + soft->cls.vq_priv_size, CACHE_LINE);
	struct vdpa_soft_vq *vq = aligned_alloc(CACHE_LINE, all);

	if (!vq)
		return NULL;
	memset(vq, 0, all);
	vq->ring = vdpa_vq_alloc();
	if (!vq->ring) {
		free(vq);
		return NULL;
	}
	vq->soft = soft;
	vq->cls = &soft->cls;
	vq->shared = soft->cls.flags & VDPA_SOFT_F_SHARED;
	pthread_mutex_init(&vq->token, NULL);
	vq->idx = idx;
	vq->priv = (char *)vq + size;
	vq->src.ops = &soft_vq_source_ops;
	vq->hold = SOFT_HOLD_STOPPED;
	vq->src.fd = vq->kick = vq->call = vq->err = -1;
	vq->num = soft->queue_size;
	return vq;
}

static void vq_unpick(struct vdpa_worker **worker)
{
	if (*worker)
		vdpa_worker_unpick(*worker);
	*worker = NULL;
}

void soft_vq_free(struct vdpa_soft_vq *vq)
{
	if (!vq)
		return;
	vq_unpick(&vq->pinned);
	fd_closep(&vq->kick);
	fd_closep(&vq->call);
	fd_closep(&vq->err);
	vdpa_vq_free(vq->ring);
	pthread_mutex_destroy(&vq->token);
	free(vq);
}

bool soft_vq_may_run(const struct vdpa_soft_vq *vq)
{
	const struct vdpa_soft *soft = vq->soft;

	return vq->ready && !soft->suspended && (soft_status(soft) & VIRTIO_CONFIG_S_DRIVER_OK);
}

struct run {
	struct vdpa_soft_vq *vq;
	void (*fn)(void *arg);
	void *arg;
};

static void run_call(void *arg)
{
	struct run *run = arg;

	if (run->vq->shared)
		pthread_mutex_lock(&run->vq->token);
	run->fn(run->arg);
	if (run->vq->shared)
		pthread_mutex_unlock(&run->vq->token);
}

void soft_vq_run(struct vdpa_soft_vq *vq, void (*fn)(void *arg), void *arg)
{
	struct run run = {vq, fn, arg};

	if (vq->running)
		worker_call(vq->thread, run_call, &run);
	else
		fn(arg);
}

/* ---- start */

struct vdpa_vq_state soft_first_state(const struct vdpa_soft *soft)
{
	struct vdpa_vq_state state = {
		.packed = soft->driver_features & BIT_ULL(VIRTIO_F_RING_PACKED),
	};

	if (state.packed)
		state.packed_ring.last_avail_counter = state.packed_ring.last_used_counter = true;
	return state;
}

static int vq_open_inflight(struct vdpa_soft_vq *vq, bool packed, struct vdpa_extack *ack)
{
	const struct vdpa_inflight_region *region = &vq->soft->inflight;
	int err;

	if (!region->mem)
		return 0;
	if (vq->idx >= region->num_queues || vq->num > region->queue_size)
		return vdpa_extack_set(
			ack, -EINVAL,
			"the in-flight log is for %u queues of %u, not for queue %u of %u",
			region->num_queues, region->queue_size, vq->idx, vq->num);
	err = inflight_open(region->mem, vq->idx * inflight_queue_bytes(region->queue_size, packed),
			    region->queue_size, packed, &vq->inflight, ack);
	return err ? vdpa_extack_prefix(ack, err, "queue %u", vq->idx) : 0;
}

static void vq_close_inflight(struct vdpa_soft_vq *vq)
{
	inflight_close(vq->inflight);
	vq->inflight = NULL;
}

static int vq_open_ring(struct vdpa_soft_vq *vq, struct vdpa_extack *ack)
{
	struct vdpa_soft *soft = vq->soft;
	bool packed = soft->driver_features & BIT_ULL(VIRTIO_F_RING_PACKED);
	struct vdpa_vq_config cfg = {
		.num = vq->num,
		.features = soft->driver_features,
		.desc = vq->desc,
		.driver = vq->driver,
		.device = vq->device,
		.iotlb = soft->iotlb,
		.log = soft->log,
		.log_used = vq->log_used,
		.log_addr = vq->log_addr,
		.max_segs = soft->cls.max_segs,
	};
	int err;

	err = vq_open_inflight(vq, packed, ack);
	if (err)
		return err;
	if (!vq->state_set)
		vq->state = soft_first_state(soft);
	cfg.state = vq->state;
	cfg.inflight = vq->inflight;
	err = vdpa_vq_start(vq->ring, &cfg, ack);
	if (err) {
		vq_close_inflight(vq);
		return vdpa_extack_prefix(ack, err, "queue %u", vq->idx);
	}
	vq->in_order = soft->driver_features & BIT_ULL(VIRTIO_F_IN_ORDER);
	vq->polled = vq->kick_set && vq->kick < 0;
	return 0;
}

static void vq_close_ring(struct vdpa_soft_vq *vq)
{
	vdpa_vq_stop(vq->ring, &vq->state);
	vq->state_set = true;
	vq_close_inflight(vq);
	soft_vq_release(vq);
}

/* The other queue of a pair, when it runs; else NULL. */
static const struct vdpa_soft_vq *vq_partner(const struct vdpa_soft_vq *vq)
{
	const struct vdpa_soft *soft = vq->soft;
	uint16_t idx = vq->idx ^ 1;

	if (!(vq->cls->flags & VDPA_SOFT_F_PAIRS) || idx >= soft->vdev.nvqs)
		return NULL;
	return soft->vqs[idx]->running ? soft->vqs[idx] : NULL;
}

static int vq_pick_worker(struct vdpa_soft_vq *vq, struct vdpa_extack *ack)
{
	const struct vdpa_soft_vq *partner = vq_partner(vq);

	if (vq->pinned || partner) {
		vq->worker = vq->pinned ? vq->pinned : partner->worker;
		vdpa_worker_pick_this(vq->worker);
	} else {
		vq->worker = vdpa_worker_pick(vq->soft->bus);
	}
	if (!vq->worker)
		return vdpa_extack_set(ack, -EAGAIN, "no worker for queue %u: out of threads",
				       vq->idx);
	vq->thread = vdpa_worker_thread(vq->worker);
	return 0;
}

struct begin {
	struct vdpa_soft_vq *vq;
	struct vdpa_extack *ack;
	int err;
};

static void begin_call(void *arg)
{
	struct begin *begin = arg;

	begin->err = soft_vq_begin(begin->vq, begin->ack);
}

static void vq_set_attached(struct vdpa_soft_vq *vq, bool attached)
{
	pthread_mutex_lock(&vq->soft->lock);
	vq->attached = attached;
	/* For whoever wanted to wake it before this was known. */
	if (attached)
		worker_source_wake(&vq->src);
	pthread_mutex_unlock(&vq->soft->lock);
}

int soft_vq_start(struct vdpa_soft_vq *vq, struct vdpa_extack *ack)
{
	struct begin begin = {.vq = vq, .ack = ack};
	int err;

	if (vq->running)
		return 0;
	if (!vq->soft->iotlb)
		return vdpa_extack_set(ack, -EFAULT, "queue %u: there is no memory map", vq->idx);
	err = vq_open_ring(vq, ack);
	if (err)
		return err;
	err = vq_pick_worker(vq, ack);
	if (err)
		goto ring;
	worker_call(vq->thread, begin_call, &begin);
	err = begin.err;
	if (err) {
		vdpa_extack_prefix(ack, err, "queue %u", vq->idx);
		goto worker;
	}
	vq->running = true;
	vq_set_attached(vq, true);
	return 0;

worker:
	vq_unpick(&vq->worker);
ring:
	vq_close_ring(vq);
	return err;
}

int soft_start_all(struct vdpa_soft *soft, struct vdpa_extack *ack)
{
	int err;

	for (uint16_t i = 0; i < soft->vdev.nvqs; i++) {
		if (!soft_vq_may_run(soft->vqs[i]))
			continue;
		err = soft_vq_start(soft->vqs[i], ack);
		if (err) {
			soft_stop_all(soft);
			return err;
		}
	}
	return 0;
}

/* ---- stop */

static void hold_call(void *arg)
{
	soft_vq_hold(arg);
}

static void end_call(void *arg)
{
	soft_vq_end(arg);
}

struct cancel {
	struct vdpa_soft_vq *vq;
	bool drop;
};

static void cancel_call(void *arg)
{
	struct cancel *cancel = arg;

	soft_vq_cancel(cancel->vq, cancel->drop);
}

static void vq_cancel(struct vdpa_soft_vq *vq, bool drop)
{
	struct cancel cancel = {vq, drop};

	soft_vq_run(vq, cancel_call, &cancel);
}

/* Wait until the worker says that it is done, at most this long.  0 or -ETIMEDOUT. */
static int wait_drained(struct vdpa_soft_vq *vq, uint32_t ms)
{
	struct vdpa_soft *soft = vq->soft;
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += ms / 1000;
	until.tv_nsec += ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000;
	}
	pthread_mutex_lock(&soft->lock);
	while (!vq->drained && !err)
		err = -pthread_cond_timedwait(&soft->cond, &soft->lock, &until);
	if (vq->drained)
		err = 0;
	pthread_mutex_unlock(&soft->lock);
	return err;
}

/* Take nothing more, and wait until each request is completed. */
static void vq_drain(struct vdpa_soft_vq *vq, bool drop)
{
	uint32_t ms = bus_timeout_ms(vq->soft->bus) / 2;

	pthread_mutex_lock(&vq->soft->lock);
	vq->drained = false;
	pthread_mutex_unlock(&vq->soft->lock);
	soft_vq_run(vq, hold_call, vq);
	if (drop || (vq->cls->flags & VDPA_SOFT_F_WAITS))
		vq_cancel(vq, drop);
	if (!wait_drained(vq, ms))
		return;
	/* Errors are better than a device that hangs. */
	vq_cancel(vq, drop);
	while (wait_drained(vq, UINT16_MAX))
		;
}

void soft_vq_stop(struct vdpa_soft_vq *vq, bool drop)
{
	if (!vq->running)
		return;
	vq_drain(vq, drop);
	vq_set_attached(vq, false);
	worker_call(vq->thread, end_call, vq);
	vq->running = false;
	vq->thread = NULL;
	vq_unpick(&vq->worker);
	vq_close_ring(vq);
}

void soft_stop_all(struct vdpa_soft *soft)
{
	for (uint16_t i = 0; i < soft->vdev.nvqs; i++)
		soft_vq_stop(soft->vqs[i], false);
}

void soft_vq_reset(struct vdpa_soft_vq *vq)
{
	soft_vq_stop(vq, true);
	vq->ready = vq->state_set = vq->kick_set = vq->log_used = vq->call_lost = false;
	fd_closep(&vq->kick);
	fd_closep(&vq->call);
	fd_closep(&vq->err);
	vq->src.fd = -1;
	vq->num = vq->soft->queue_size;
	vq->desc = vq->driver = vq->device = vq->log_addr = 0;
}

/* ---- live changes */

struct new_map {
	struct vdpa_soft_vq *vq;
	struct vdpa_extack ack;
	int err;
};

static void new_map_call(void *arg)
{
	struct new_map *map = arg;

	map->err = vdpa_vq_set_map(map->vq->ring, map->vq->soft->iotlb, &map->ack);
	if (!map->err) {
		map->vq->map = map->vq->soft->iotlb;
		soft_vq_resume(map->vq);
	}
}

/* A queue whose ring is not mapped waits for the map that has it. */
void soft_vq_new_map(struct vdpa_soft_vq *vq, bool covers)
{
	struct new_map map = {.vq = vq};

	if (!vq->running) {
		if (!soft_vq_may_run(vq))
			return;
		map.err = soft_vq_start(vq, &map.ack);
	} else {
		if (!covers)
			vq_drain(vq, false);
		soft_vq_run(vq, new_map_call, &map);
		vdpa_extack_prefix(&map.ack, map.err, "queue %u", vq->idx);
		if (map.err)
			soft_vq_stop(vq, false);
	}
	if (map.err)
		soft_complain(vq->soft, -1, vdpa_extack_text(&map.ack, map.err));
}

int soft_vq_move(struct vdpa_soft_vq *vq, struct vdpa_worker *worker)
{
	struct vdpa_worker *before = vq->pinned;
	struct vdpa_extack ack = {0};
	bool running = vq->running && vq->worker != worker;
	int err = 0;

	if (running)
		soft_vq_stop(vq, false);
	if (worker)
		vdpa_worker_pick_this(worker);
	vq->pinned = worker;
	if (running)
		err = soft_vq_start(vq, &ack);
	if (!err) {
		vq_unpick(&before);
		return 0;
	}

	vq_unpick(&vq->pinned);
	vq->pinned = before;
	if (soft_vq_start(vq, &ack))
		soft_fault(vq->soft, vq->idx, vdpa_extack_text(&ack, err));
	return err;
}
