/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_rng: an entropy device on the bus as a source of random bytes for this host.
 * @spec virtio 1.3, 5.4
 *
 * The bytes come out of a FIFO, `hwrng`, as they do of /dev/hwrng: each byte goes to one reader,
 * readers wait while there is none.  We hold the FIFO open for both, so readers come and go as they
 * like, and see its end when the device leaves.  A full FIFO is all that is fetched in advance: no
 * reader, no work.  Everything runs on a worker of the bus.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "base/defs.h"
#include "bus/bus.h"
#include "drivers/virtio/owner.h"
#include "drivers/virtio/virtio.h"
#include "loop/worker.h"

#define RNG_BUF  4096u /* a write of no more goes into a FIFO as a whole, or not at all */
#define RNG_FIFO 8192  /* bytes that it holds */

struct rng {
	struct virtio_device *dev;
	struct vdpa_worker *picked;
	struct worker *worker;
	int fifo;
	char path[4096];
	uint64_t bytes; /* atomic: handed to the FIFO */

	/* The worker's. */
	struct worker_source src;
	struct loop_watch room; /* in the FIFO */
	bool watched;
	bool broken;
	uint32_t len; /* of buf, waiting for room; 0: the device has it */
	uint8_t buf[RNG_BUF];
};

/* ---- worker */

static void rng_break(struct rng *rng, const char *why)
{
	rng->broken = true;
	virtio_broken(rng->dev, why);
}

/* The buffer is the device's. */
static void ask(struct rng *rng)
{
	struct virtio_queue *vq = &rng->dev->queues[0];
	struct vdpa_drvq_sg sg = {virtio_iova(rng->dev, rng->dev->buffers), RNG_BUF};

	rng->len = 0;
	if (vdpa_drvq_add(vq->ring, &sg, 0, 1, rng))
		rng_break(rng, "its queue does not take a request");
	else
		virtio_queue_publish(vq);
}

/* Returns false when the FIFO is full; rng->room tells when it is not. */
static bool pass_on(struct rng *rng)
{
	ssize_t len = write(rng->fifo, rng->buf, rng->len);

	if (len < 0 && errno == EAGAIN) {
		loop_watch_set(&rng->room, EPOLLOUT | EPOLLONESHOT);
		return false;
	}
	if (len < 0) {
		rng_break(rng, "cannot write to the FIFO");
		return false;
	}
	explicit_bzero(rng->buf, rng->len);
	__atomic_fetch_add(&rng->bytes, (uint64_t)len, __ATOMIC_RELAXED);
	ask(rng);
	return true;
}

/* An answer of the device, copied once. */
static bool take(struct rng *rng)
{
	struct vdpa_drvq *ring = rng->dev->queues[0].ring;
	uint32_t len;

	if (!vdpa_drvq_get(ring, &len)) {
		if (vdpa_drvq_broken(ring))
			rng_break(rng, vdpa_drvq_broken(ring));
		else if (vdpa_get_status(rng->dev->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)
			rng_break(rng, "the device needs a reset");
		return false;
	}
	/* @spec virtio 1.3, 5.4.6.2: at least one byte. */
	if (!len) {
		rng_break(rng, "the device answers without a byte");
		return false;
	}
	rng->len = len;
	memcpy(rng->buf, rng->dev->buffers, len);
	memset(rng->dev->buffers, 0, len);
	return true;
}

static bool rng_poll(struct worker_source *src)
{
	struct rng *rng = container_of(src, struct rng, src);

	if (rng->broken || (!rng->len && !take(rng)))
		return false;
	return pass_on(rng);
}

static bool rng_arm(struct worker_source *src)
{
	struct rng *rng = container_of(src, struct rng, src);

	return !rng->broken && !rng->len && vdpa_drvq_enable_call(rng->dev->queues[0].ring);
}

static void rng_disarm(struct worker_source *src)
{
	struct rng *rng = container_of(src, struct rng, src);

	vdpa_drvq_disable_call(rng->dev->queues[0].ring);
}

static const struct worker_source_ops source_ops = {
	.poll = rng_poll,
	.arm = rng_arm,
	.disarm = rng_disarm,
};

static void have_room(struct loop_watch *watch, uint32_t events)
{
	worker_source_wake(&container_of(watch, struct rng, room)->src);
}

struct begin {
	struct rng *rng;
	int err;
};

static void begin_call(void *arg)
{
	struct begin *begin = arg;
	struct rng *rng = begin->rng;

	/* Watched for nothing until it is full. */
	begin->err = loop_watch_add(worker_loop(rng->worker), &rng->room, rng->fifo, EPOLLONESHOT);
	if (begin->err)
		return;
	rng->watched = true;
	ask(rng);
	begin->err = worker_attach_local(rng->worker, &rng->src);
}

static void end_call(void *arg)
{
	struct rng *rng = arg;

	worker_detach_local(&rng->src);
	if (rng->watched)
		loop_watch_del(&rng->room);
	rng->watched = false;
}

/* ---- lane */

/* A name that a dead process left is free; what is no FIFO is somebody else's. */
static int make_fifo(struct rng *rng, const struct virtio_owner *owner, struct vdpa_extack *ack)
{
	struct stat st;
	int err = vdpa_device_path(rng->dev->vdev, "hwrng", rng->path, sizeof(rng->path));

	if (err)
		return vdpa_extack_set(ack, err,
				       "no place for the FIFO: a run directory is needed");
	if (!lstat(rng->path, &st) && S_ISFIFO(st.st_mode))
		unlink(rng->path);
	if (mkfifo(rng->path, 0600))
		return vdpa_extack_set(ack, -errno, "cannot make '%s': %s", rng->path,
				       strerrordesc_np(errno));
	rng->fifo = open(rng->path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	if (rng->fifo < 0 || fchown(rng->fifo, owner->uid, owner->gid) ||
	    fchmod(rng->fifo, owner->mode)) {
		err = -errno;
		unlink(rng->path);
		return vdpa_extack_set(ack, err, "cannot set up '%s': %s", rng->path,
				       strerrordesc_np(-err));
	}
	/* If not, it holds more. */
	fcntl(rng->fifo, F_SETPIPE_SZ, RNG_FIFO);
	return 0;
}

static void rng_free(struct rng *rng)
{
	if (rng->picked) {
		worker_call(rng->worker, end_call, rng);
		vdpa_worker_unpick(rng->picked);
	}
	virtio_teardown(rng->dev);
	if (rng->fifo >= 0)
		unlink(rng->path);
	fd_closep(&rng->fifo);
	rng->dev->priv = NULL;
	explicit_bzero(rng->buf, sizeof(rng->buf));
	free(rng);
}

static int start(struct rng *rng, struct vdpa_extack *ack)
{
	struct virtio_queue_setup queue = {.num = 2};
	struct virtio_setup setup = {&queue, 1, RNG_BUF};
	struct begin begin = {.rng = rng};
	int err;

	err = virtio_negotiate(rng->dev, 0, ack);
	if (!err)
		err = virtio_setup(rng->dev, &setup, ack);
	if (err)
		return err;
	rng->src.fd = rng->dev->queues[0].call;
	rng->picked = vdpa_worker_pick(vdpa_device_bus(rng->dev->vdev));
	if (!rng->picked)
		return vdpa_extack_set(ack, -EAGAIN, "no worker: out of threads");
	rng->worker = vdpa_worker_thread(rng->picked);
	worker_call(rng->worker, begin_call, &begin);
	return begin.err
		       ? vdpa_extack_set(ack, begin.err, "cannot serve '%s' on a worker", rng->path)
		       : 0;
}

static int rng_probe(struct virtio_device *dev, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct virtio_owner owner;
	struct rng *rng;
	int err = virtio_owner(attrs, &owner, ack);

	if (err)
		return err;
	rng = calloc(1, sizeof(*rng));
	if (!rng)
		return -ENOMEM;
	rng->dev = dev;
	rng->fifo = -1;
	rng->src.ops = &source_ops;
	rng->room = LOOP_WATCH_INIT(have_room);
	dev->priv = rng;
	err = make_fifo(rng, &owner, ack);
	if (!err)
		err = start(rng, ack);
	if (err)
		rng_free(rng);
	return err;
}

static int rng_remove(struct virtio_device *dev, bool force, struct vdpa_extack *ack)
{
	rng_free(dev->priv);
	return 0;
}

/* It may have failed: have the worker look. */
static void rng_config_changed(struct virtio_device *dev)
{
	struct rng *rng = dev->priv;

	worker_source_wake(&rng->src);
}

static void rng_show(struct virtio_device *dev, struct vdpa_info *info)
{
	struct rng *rng = dev->priv;

	vdpa_info_str(info, "hwrng", rng->path);
	vdpa_info_u64(info, "bytes", __atomic_load_n(&rng->bytes, __ATOMIC_RELAXED));
}

static const char *const rng_attrs[] = {"mode", "owner", "group", NULL};

const struct virtio_driver virtio_rng_driver = {
	.name = "virtio_rng",
	.device_id = VIRTIO_ID_RNG,
	.attrs = rng_attrs,
	.probe = rng_probe,
	.remove = rng_remove,
	.config_changed = rng_config_changed,
	.show = rng_show,
};
