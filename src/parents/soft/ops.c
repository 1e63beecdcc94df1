/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The config ops of software devices.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost_types.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/stat.h>

#include "parents/soft/internal.h"

/* Linux 6.3, 6.4 and 6.6. */
#ifndef VHOST_BACKEND_F_RESUME
#define VHOST_BACKEND_F_RESUME 0x5
#endif
#ifndef VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK
#define VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK 0x6
#endif
#ifndef VHOST_BACKEND_F_IOTLB_PERSIST
#define VHOST_BACKEND_F_IOTLB_PERSIST 0x8
#endif

#define VENDOR_ID 0x1af4 /* as QEMU's virtio devices */

static struct vdpa_soft_vq *get_vq(struct vdpa_device *vdev, uint16_t idx)
{
	return to_soft(vdev)->vqs[idx];
}

/* ---- queues */

static int soft_set_vq_address(struct vdpa_device *vdev, uint16_t idx, uint64_t desc,
			       uint64_t driver, uint64_t device)
{
	struct vdpa_soft_vq *vq = get_vq(vdev, idx);

	if (vq->running)
		return -EBUSY;
	vq->desc = desc;
	vq->driver = driver;
	vq->device = device;
	return 0;
}

static int soft_set_vq_num(struct vdpa_device *vdev, uint16_t idx, uint32_t num)
{
	struct vdpa_soft_vq *vq = get_vq(vdev, idx);

	if (vq->running)
		return -EBUSY;
	if (!num || num > to_soft(vdev)->queue_size)
		return -EINVAL;
	vq->num = num;
	return 0;
}

static int soft_kick_vq(struct vdpa_device *vdev, uint16_t idx)
{
	vdpa_soft_vq_wake(get_vq(vdev, idx));
	return 0;
}

struct set_fd {
	struct vdpa_soft_vq *vq;
	int fd;
};

static void polled_call(void *arg)
{
	struct vdpa_soft_vq *vq = arg;

	vq->polled = vq->kick_set && vq->kick < 0;
	if (vq->running)
		worker_source_wake(&vq->src);
}

/*
 * What notifications may go through: an eventfd or a pipe or a socket (user-mode Linux uses pipes).
 * A file may be one of a file system that its user serves, where any call can block for ever.
 */
static int check_fd(int fd)
{
	struct stat st;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st))
		return -errno;
	/* Those without a kind have no inode of their own. */
	if ((st.st_mode & S_IFMT) && !S_ISFIFO(st.st_mode) && !S_ISSOCK(st.st_mode))
		return -EINVAL;
	/* This end of it is ours alone.  An eventfd is shared with its flags: see signal_fd(). */
	if (st.st_mode & S_IFMT)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	return 0;
}

static int soft_set_vq_kick(struct vdpa_device *vdev, uint16_t idx, int *fd)
{
	struct vdpa_soft_vq *vq = get_vq(vdev, idx);
	int old = vq->kick, err = check_fd(*fd);

	if (err)
		return err;
	if (vq->running) {
		err = worker_set_fd(&vq->src, *fd);
		if (err) {
			worker_set_fd(&vq->src, old);
			return err;
		}
	}
	vq->src.fd = vq->kick = fd_take(fd);
	vq->kick_set = true;
	soft_vq_run(vq, polled_call, vq);
	fd_closep(&old);
	return 0;
}

static void call_call(void *arg)
{
	struct set_fd *set = arg;

	soft_vq_call(set->vq, set->fd);
}

static int soft_set_vq_call(struct vdpa_device *vdev, uint16_t idx, int *fd)
{
	struct vdpa_soft_vq *vq = get_vq(vdev, idx);
	struct set_fd set = {.vq = vq, .fd = *fd};
	int old = vq->call, err = check_fd(*fd);

	if (err)
		return err;
	soft_vq_run(vq, call_call, &set);
	*fd = -1;
	fd_closep(&old);
	return 0;
}

static void err_call(void *arg)
{
	struct set_fd *set = arg;

	set->vq->err = set->fd;
}

static int soft_set_vq_err(struct vdpa_device *vdev, uint16_t idx, int *fd)
{
	struct vdpa_soft_vq *vq = get_vq(vdev, idx);
	struct set_fd set = {.vq = vq, .fd = *fd};
	int old = vq->err, err = check_fd(*fd);

	if (err)
		return err;
	soft_vq_run(vq, err_call, &set);
	*fd = -1;
	fd_closep(&old);
	return 0;
}

static int soft_set_vq_ready(struct vdpa_device *vdev, uint16_t idx, bool ready,
			     struct vdpa_extack *ack)
{
	struct vdpa_soft_vq *vq = get_vq(vdev, idx);
	int err;

	vq->ready = ready;
	if (!ready) {
		soft_vq_stop(vq, false);
		return 0;
	}
	if (!soft_vq_may_run(vq))
		return 0;
	err = soft_vq_start(vq, ack);
	if (err)
		vq->ready = false;
	return err;
}

static bool soft_get_vq_ready(struct vdpa_device *vdev, uint16_t idx)
{
	return get_vq(vdev, idx)->ready;
}

static int soft_set_vq_state(struct vdpa_device *vdev, uint16_t idx,
			     const struct vdpa_vq_state *state)
{
	struct vdpa_soft_vq *vq = get_vq(vdev, idx);

	if (vq->running)
		return -EBUSY;
	vq->state = *state;
	vq->state_set = true;
	return 0;
}

static int soft_get_vq_state(struct vdpa_device *vdev, uint16_t idx, struct vdpa_vq_state *state)
{
	struct vdpa_soft_vq *vq = get_vq(vdev, idx);

	if (vq->running)
		return -EBUSY;
	if (vq->state_set)
		*state = vq->state;
	else
		*state = soft_first_state(to_soft(vdev));
	return 0;
}

static int soft_get_vq_stats(struct vdpa_device *vdev, uint16_t idx, struct vdpa_vq_stats *stats)
{
	const struct vdpa_vq_stats *now = vdpa_vq_stats(get_vq(vdev, idx)->ring);

	*stats = (struct vdpa_vq_stats){
		.requests = __atomic_load_n(&now->requests, __ATOMIC_RELAXED),
		.bytes_out = __atomic_load_n(&now->bytes_out, __ATOMIC_RELAXED),
		.bytes_in = __atomic_load_n(&now->bytes_in, __ATOMIC_RELAXED),
		.kicks = __atomic_load_n(&now->kicks, __ATOMIC_RELAXED),
		.calls = __atomic_load_n(&now->calls, __ATOMIC_RELAXED),
		.errors = __atomic_load_n(&now->errors, __ATOMIC_RELAXED),
		.drops = __atomic_load_n(&now->drops, __ATOMIC_RELAXED),
		.broken = __atomic_load_n(&now->broken, __ATOMIC_RELAXED),
	};
	return 0;
}

static int soft_get_vendor_vq_stats(struct vdpa_device *vdev, uint16_t idx, struct vdpa_info *info)
{
	struct vdpa_soft_vq *vq = get_vq(vdev, idx);

	if (vq->cls->vq_stats)
		vq->cls->vq_stats(vq, info);
	return 0;
}

static uint32_t soft_get_vq_num_max(struct vdpa_device *vdev)
{
	return to_soft(vdev)->queue_size;
}

static int soft_set_vq_affinity(struct vdpa_device *vdev, uint16_t idx, struct vdpa_worker *worker)
{
	return soft_vq_move(get_vq(vdev, idx), worker);
}

static struct vdpa_worker *soft_get_vq_affinity(struct vdpa_device *vdev, uint16_t idx)
{
	const struct vdpa_soft_vq *vq = get_vq(vdev, idx);

	return vq->worker ? vq->worker : vq->pinned;
}

/* ---- device */

static uint64_t soft_get_device_features(struct vdpa_device *vdev)
{
	const struct vdpa_soft *soft = to_soft(vdev);

	return soft->class_features | soft->ring_features;
}

static uint64_t soft_get_backend_features(struct vdpa_device *vdev)
{
	return BIT_ULL(VHOST_BACKEND_F_SUSPEND) | BIT_ULL(VHOST_BACKEND_F_RESUME) |
	       BIT_ULL(VHOST_BACKEND_F_ENABLE_AFTER_DRIVER_OK) |
	       BIT_ULL(VHOST_BACKEND_F_IOTLB_PERSIST);
}

static int soft_set_driver_features(struct vdpa_device *vdev, uint64_t features,
				    struct vdpa_extack *ack)
{
	struct vdpa_soft *soft = to_soft(vdev);

	if (soft_status(soft) & VIRTIO_CONFIG_S_DRIVER_OK)
		return vdpa_extack_set(ack, -EBUSY, "features cannot change while the device runs");
	soft->driver_features = features;
	return 0;
}

static uint64_t soft_get_driver_features(struct vdpa_device *vdev)
{
	return to_soft(vdev)->driver_features;
}

static uint32_t soft_get_device_id(struct vdpa_device *vdev)
{
	return to_soft(vdev)->cls.device_id;
}

static uint32_t soft_get_vendor_id(struct vdpa_device *vdev)
{
	return VENDOR_ID;
}

static uint8_t soft_get_status(struct vdpa_device *vdev)
{
	return soft_status(to_soft(vdev));
}

static void soft_reset(struct vdpa_device *vdev)
{
	struct vdpa_soft *soft = to_soft(vdev);

	for (uint16_t i = 0; i < vdev->nvqs; i++)
		soft_vq_reset(soft->vqs[i]);
	soft->suspended = false;
	soft->driver_features = 0;
	vdpa_mem_put(soft->inflight.mem);
	soft->inflight = (struct vdpa_inflight_region){0};
	if (soft->log)
		vdpa_dirty_log_put(soft->log);
	soft->log = NULL;
	soft_config_reset(soft);
	if (soft->cls.reset)
		soft->cls.reset(soft);
	__atomic_store_n(&soft->status, 0, __ATOMIC_RELAXED);
}

/* Workers add NEEDS_RESET at any time, and it goes by a reset only. */
static void store_status(struct vdpa_soft *soft, uint8_t status)
{
	uint8_t old = soft_status(soft), now;

	do {
		now = status | (old & VIRTIO_CONFIG_S_NEEDS_RESET);
	} while (!__atomic_compare_exchange_n(&soft->status, &old, now, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
}

static int soft_set_status(struct vdpa_device *vdev, uint8_t status, struct vdpa_extack *ack)
{
	const uint8_t negotiated = VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK;
	struct vdpa_soft *soft = to_soft(vdev);
	uint8_t old = soft_status(soft);
	int err = 0;

	if (!status) {
		soft_reset(vdev);
		return 0;
	}
	if ((status & negotiated) && !(old & negotiated) && soft->cls.features_ok)
		err = soft->cls.features_ok(soft, soft->driver_features, ack);
	if (err)
		return err;

	store_status(soft, status);
	if (!(status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		soft_stop_all(soft);
		return 0;
	}
	if (old & VIRTIO_CONFIG_S_DRIVER_OK)
		return 0;
	err = soft_start_all(soft, ack);
	if (err)
		store_status(soft, old);
	return err;
}

static int soft_suspend(struct vdpa_device *vdev, struct vdpa_extack *ack)
{
	struct vdpa_soft *soft = to_soft(vdev);

	soft->suspended = true;
	soft_stop_all(soft);
	return 0;
}

static int soft_resume(struct vdpa_device *vdev, struct vdpa_extack *ack)
{
	struct vdpa_soft *soft = to_soft(vdev);
	int err;

	if (!soft->suspended)
		return 0;
	soft->suspended = false;
	err = soft_start_all(soft, ack);
	soft->suspended = err;
	return err;
}

/* ---- memory and logs */

static int soft_set_map(struct vdpa_device *vdev, uint32_t asid, struct vdpa_iotlb *iotlb,
			struct vdpa_extack *ack)
{
	struct vdpa_soft *soft = to_soft(vdev);
	struct vdpa_iotlb *old = soft->iotlb;
	bool covers = !old || vdpa_iotlb_covers(iotlb, old);

	soft->iotlb = vdpa_iotlb_get(iotlb);
	for (uint16_t i = 0; i < vdev->nvqs; i++)
		soft_vq_new_map(soft->vqs[i], covers);
	if (old)
		vdpa_iotlb_put(old);
	return 0;
}

/* The queues that run keep their logs: the region cannot change under them. */
static int soft_set_inflight(struct vdpa_device *vdev, const struct vdpa_inflight_region *region,
			     struct vdpa_extack *ack)
{
	struct vdpa_soft *soft = to_soft(vdev);
	struct vdpa_mem *old = soft->inflight.mem;

	for (uint16_t i = 0; i < vdev->nvqs; i++) {
		if (soft->vqs[i]->running)
			return vdpa_extack_set(
				ack, -EBUSY, "the in-flight log cannot change while queue %u runs",
				i);
	}
	soft->inflight = *region;
	if (region->mem)
		vdpa_mem_get(region->mem);
	vdpa_mem_put(old);
	return 0;
}

static void log_call(void *arg)
{
	struct vdpa_soft_vq *vq = arg;

	vdpa_vq_set_log(vq->ring, vq->soft->log, vq->log_used, vq->log_addr);
}

static int soft_set_dirty_log(struct vdpa_device *vdev, struct vdpa_dirty_log *log)
{
	struct vdpa_soft *soft = to_soft(vdev);
	struct vdpa_dirty_log *old = soft->log;

	soft->log = log ? vdpa_dirty_log_get(log) : NULL;
	for (uint16_t i = 0; i < vdev->nvqs; i++) {
		if (soft->vqs[i]->running)
			soft_vq_run(soft->vqs[i], log_call, soft->vqs[i]);
	}
	if (old)
		vdpa_dirty_log_put(old);
	return 0;
}

static int soft_set_vq_log(struct vdpa_device *vdev, uint16_t idx, bool on, uint64_t log_addr)
{
	struct vdpa_soft_vq *vq = get_vq(vdev, idx);

	vq->log_used = on;
	vq->log_addr = log_addr;
	if (vq->running)
		soft_vq_run(vq, log_call, vq);
	return 0;
}

/* ---- management */

static int soft_set_attrs(struct vdpa_device *vdev, struct vdpa_attrs *attrs,
			  struct vdpa_extack *ack)
{
	struct vdpa_soft *soft = to_soft(vdev);

	if (!soft->cls.set_attrs)
		return vdpa_extack_set(ack, -EOPNOTSUPP, "'%s' devices have no live attributes",
				       soft->cls.name);
	return soft->cls.set_attrs(soft, attrs, ack);
}

static void soft_show(struct vdpa_device *vdev, struct vdpa_info *info)
{
	struct vdpa_soft *soft = to_soft(vdev);

	if (soft->cls.show)
		soft->cls.show(soft, info);
}

/* ---- commands outside the rings */

static uint64_t soft_get_class_cmds(struct vdpa_device *vdev)
{
	return to_soft(vdev)->cls.cmds;
}

static int soft_class_cmd(struct vdpa_device *vdev, uint32_t cmd, const void *in, uint32_t in_len,
			  void *out, uint32_t *out_len, struct vdpa_extack *ack)
{
	struct vdpa_soft *soft = to_soft(vdev);

	return soft->cls.cmd(soft, cmd, in, in_len, out, out_len, ack);
}

const struct vdpa_config_ops soft_ops = {
	.size = sizeof(soft_ops),
	.set_vq_address = soft_set_vq_address,
	.set_vq_num = soft_set_vq_num,
	.kick_vq = soft_kick_vq,
	.set_vq_kick = soft_set_vq_kick,
	.set_vq_call = soft_set_vq_call,
	.set_vq_err = soft_set_vq_err,
	.set_vq_ready = soft_set_vq_ready,
	.get_vq_ready = soft_get_vq_ready,
	.set_vq_state = soft_set_vq_state,
	.get_vq_state = soft_get_vq_state,
	.get_vq_stats = soft_get_vq_stats,
	.get_vendor_vq_stats = soft_get_vendor_vq_stats,
	.get_vq_num_max = soft_get_vq_num_max,
	.set_vq_affinity = soft_set_vq_affinity,
	.get_vq_affinity = soft_get_vq_affinity,
	.get_device_features = soft_get_device_features,
	.get_backend_features = soft_get_backend_features,
	.set_driver_features = soft_set_driver_features,
	.get_driver_features = soft_get_driver_features,
	.set_config_cb = soft_set_config_cb,
	.get_device_id = soft_get_device_id,
	.get_vendor_id = soft_get_vendor_id,
	.get_status = soft_get_status,
	.set_status = soft_set_status,
	.reset = soft_reset,
	.suspend = soft_suspend,
	.resume = soft_resume,
	.get_config_size = soft_get_config_size,
	.get_config = soft_get_config,
	.set_config = soft_set_config,
	.get_generation = soft_get_generation,
	.set_map = soft_set_map,
	.set_inflight = soft_set_inflight,
	.set_dirty_log = soft_set_dirty_log,
	.set_vq_log = soft_set_vq_log,
	.set_attrs = soft_set_attrs,
	.show = soft_show,
	.why_not = soft_why_not,
	.save = soft_save,
	.load = soft_load,
	.free = soft_dev_free,
	.get_class_cmds = soft_get_class_cmds,
	.class_cmd = soft_class_cmd,
};
