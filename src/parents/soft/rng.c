/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The entropy device.  Requests stay in the ring while there is nothing for them: no random bytes
 * of the backend, or none left of what the rate allows.  No guest gets a byte that another one got:
 * what is handed out is wiped here.
 *
 * @spec virtio 1.3, 5.4
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "backends/entropy/entropy.h"
#include "base/bucket.h"
#include "bus/bus.h"
#include "parents/soft/internal.h"

#define RNG_POOL     4096u
/* A request gets no more at once, and the others have their turn after so many bytes. */
#define RNG_MAX      65536u
/* Pauses between two looks at a source that does not say when it has something; they double. */
#define PAUSE_MIN_NS 1000000u
#define PAUSE_MAX_NS 1000000000u
/* With a rate requests wait until there is something worth the interrupt: so much of a second. */
#define RATE_PART    10u

struct rng {
	struct entropy *src;
	uint64_t rate; /* atomic: bytes a second, 0: no limit */
};

/* The worker's. */
struct rng_vq {
	struct vdpa_soft_vq *vq;
	struct loop_timer timer; /* the end of a pause */
	struct bucket bucket;
	uint64_t pause_ns;
	bool watched; /* the source tells when it has something */
	bool waits;   /* ... or the timer does */
	bool ended;   /* it never will */
	uint32_t at, len;
	uint8_t pool[RNG_POOL];
};

static struct rng *rng_of(struct vdpa_soft_vq *vq)
{
	return vdpa_soft_priv(vdpa_soft_vq_soft(vq));
}

static uint64_t rate_of(const struct rng *rng)
{
	return __atomic_load_n(&rng->rate, __ATOMIC_RELAXED);
}

/* ---- waiting: the driver's kicks mean nothing until it ends */

static void go_on(struct rng_vq *rvq)
{
	/* A source that has ended may still be readable: nothing comes of it. */
	if (rvq->ended)
		return;
	rvq->waits = false;
	vdpa_soft_vq_want_kicks(rvq->vq, true);
}

static void pause_over(struct loop_timer *timer)
{
	go_on(container_of(timer, struct rng_vq, timer));
}

static void source_ready(void *arg)
{
	go_on(arg);
}

/* ns 0: for the source. */
static void wait_for(struct rng_vq *rvq, uint64_t ns)
{
	rvq->waits = true;
	vdpa_soft_vq_want_kicks(rvq->vq, false);
	if (ns)
		loop_timer_set(worker_loop(soft_vq_worker(rvq->vq)), &rvq->timer, ns);
}

/* ---- bytes */

static void source_failed(struct rng_vq *rvq, int err)
{
	struct vdpa_device *vdev = vdpa_soft_vdev(vdpa_soft_vq_soft(rvq->vq));

	rvq->ended = true;
	wait_for(rvq, 0);
	if (err == -ENODATA)
		vdpa_log(vdpa_device_bus(vdev), vdev, VDPA_LOG_WARN,
			 "the source of random bytes has come to its end: requests wait");
	else
		vdpa_log(vdpa_device_bus(vdev), vdev, VDPA_LOG_ERROR,
			 "cannot read random bytes: %s; requests wait", strerrordesc_np(-err));
}

/* Is there a byte in the pool?  If not, something will wake the queue when there may be. */
static bool fill_pool(struct rng_vq *rvq)
{
	struct entropy *src = rng_of(rvq->vq)->src;
	ssize_t got;

	if (rvq->len)
		return true;
	if (rvq->ended)
		return false;
	got = src->ops->read(src, rvq->pool, sizeof(rvq->pool));
	if (got > 0) {
		rvq->at = 0;
		rvq->len = (uint32_t)got;
		rvq->pause_ns = PAUSE_MIN_NS;
		return true;
	}
	if (got != -EAGAIN) {
		source_failed(rvq, (int)got);
		return false;
	}
	wait_for(rvq, rvq->watched ? 0 : rvq->pause_ns);
	rvq->pause_ns = 2 * rvq->pause_ns < PAUSE_MAX_NS ? 2 * rvq->pause_ns : PAUSE_MAX_NS;
	return false;
}

/* What the rate allows now; 0: too little to begin with, and the timer runs. */
static uint64_t allowance(struct rng_vq *rvq)
{
	uint64_t rate = rate_of(rng_of(rvq->vq)), least, level;

	if (!rate)
		return RNG_MAX;
	least = rate > RATE_PART ? rate / RATE_PART : 1;
	if (least > RNG_MAX)
		least = RNG_MAX;
	level = bucket_level(&rvq->bucket, rate, loop_now(worker_loop(soft_vq_worker(rvq->vq))));
	if (level >= least)
		return level < RNG_MAX ? level : RNG_MAX;
	wait_for(rvq, bucket_wait(&rvq->bucket, rate, least));
	return 0;
}

/* Fill a request as far as the pool and what may be given go.  Returns the bytes. */
static uint32_t give(struct rng_vq *rvq, struct vdpa_soft_req *req, uint64_t most)
{
	const struct iovec *in = req->elem.iov + req->elem.out_num;
	uint32_t want = req->elem.in_len < most ? req->elem.in_len : (uint32_t)most, len = 0;

	while (len < want && fill_pool(rvq)) {
		uint32_t part = rvq->len < want - len ? rvq->len : want - len;

		vdpa_iov_from_buf(in, req->elem.in_num, len, rvq->pool + rvq->at, part);
		explicit_bzero(rvq->pool + rvq->at, part);
		rvq->at += part;
		rvq->len -= part;
		len += part;
	}
	if (rate_of(rng_of(rvq->vq)))
		bucket_take(&rvq->bucket, len);
	return len;
}

static bool rng_poll(struct vdpa_soft_vq *vq)
{
	struct rng_vq *rvq = vdpa_soft_vq_priv(vq);
	uint32_t given = 0, num = 0;

	/* A request is taken when there is something for it. */
	while (num < VDPA_SOFT_BURST && given < RNG_MAX && !rvq->waits &&
	       vdpa_vq_pending(vq->ring)) {
		uint64_t most = allowance(rvq);
		struct vdpa_soft_req *req;
		uint32_t len;

		if (!most || !fill_pool(rvq))
			break;
		req = vdpa_soft_vq_take(vq);
		if (!req)
			break;
		len = give(rvq, req, most);
		if (len)
			vdpa_soft_complete(req, len);
		else
			vdpa_soft_complete_error(req, 0);
		given += len;
		num++;
	}
	return num;
}

/* ---- queue */

static int rng_queue_start(struct vdpa_soft_vq *vq, struct vdpa_extack *ack)
{
	struct rng_vq *rvq = vdpa_soft_vq_priv(vq);
	struct entropy *src = rng_of(vq)->src;
	int err = -EPERM;

	memset(rvq, 0, sizeof(*rvq));
	rvq->vq = vq;
	rvq->timer.fn = pause_over;
	rvq->pause_ns = PAUSE_MIN_NS;
	bucket_init(&rvq->bucket, loop_now(worker_loop(soft_vq_worker(vq))));
	if (src->fd >= 0)
		err = vdpa_soft_vq_watch(vq, src->fd, source_ready, rvq);
	rvq->watched = !err;
	/* Regular files, and devices without poll(). */
	return err == -EPERM ? 0 : err;
}

static void rng_queue_stop(struct vdpa_soft_vq *vq)
{
	struct rng_vq *rvq = vdpa_soft_vq_priv(vq);

	loop_timer_cancel(&rvq->timer);
	explicit_bzero(rvq->pool, sizeof(rvq->pool));
}

/* ---- device */

static int rng_create(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct rng *rng = vdpa_soft_priv(soft);

	rng->rate = vdpa_attrs_u64(attrs, "rate", 0);
	return entropy_open(attrs, &rng->src, ack);
}

static void rng_destroy(struct vdpa_soft *soft)
{
	struct rng *rng = vdpa_soft_priv(soft);

	entropy_close(rng->src);
}

/* A queue that waits looks at it when its time is over, in a second at most. */
static int rng_set_attrs(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct rng *rng = vdpa_soft_priv(soft);

	if (vdpa_attrs_has(attrs, "rate"))
		__atomic_store_n(&rng->rate, vdpa_attrs_u64(attrs, "rate", 0), __ATOMIC_RELAXED);
	return 0;
}

static void rng_show(struct vdpa_soft *soft, struct vdpa_info *info)
{
	struct rng *rng = vdpa_soft_priv(soft);

	vdpa_info_str(info, "backend", rng->src->ops->name);
	if (rng->src->ops->show)
		rng->src->ops->show(rng->src, info);
	if (rate_of(rng))
		vdpa_info_u64(info, "rate", rate_of(rng));
}

static const struct vdpa_attr_desc rng_attrs[] = {
	ENTROPY_ATTRS,
	{.name = "rate",
	 .type = VDPA_ATTR_SIZE,
	 .flags = VDPA_ATTR_LIVE,
	 .min = 0,
	 .max = BUCKET_RATE_MAX,
	 .help = "bytes a second at most; default 0: no limit"},
	{0},
};

const struct vdpa_soft_class soft_rng_class = {
	.size = sizeof(soft_rng_class),
	.name = "rng",
	.help = "random bytes of the kernel's generator or of a file",
	.device_id = VIRTIO_ID_RNG,
	.nvqs = 1,
	.attrs = rng_attrs,
	.priv_size = sizeof(struct rng),
	.vq_priv_size = sizeof(struct rng_vq),
	.create = rng_create,
	.destroy = rng_destroy,
	.set_attrs = rng_set_attrs,
	.queue_start = rng_queue_start,
	.queue_stop = rng_queue_stop,
	.poll = rng_poll,
	.show = rng_show,
};
