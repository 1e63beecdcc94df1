/* SPDX-License-Identifier: BSD-2-Clause */
/* The wrappers that drivers call: arguments and state are checked, the session is kept on record.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <string.h>

#include "bus/priv.h"

#define F_NOTIFICATION_DATA 38 /* linux/virtio_config.h has it since 6.4 */
static const struct vdpa_config_ops *ops_of(const struct vdpa_device *vdev)
{
	return &priv_of(vdev)->ops;
}

static struct vdpa_state_vq *vq_of(const struct vdpa_device *vdev, uint16_t idx)
{
	return &priv_of(vdev)->vqs[idx];
}

static int unsupported(struct vdpa_extack *ack, const char *op)
{
	return vdpa_extack_set(ack, -EOPNOTSUPP, "the device has no '%s'", op);
}

static int check_idx(const struct vdpa_device *vdev, uint16_t idx, struct vdpa_extack *ack)
{
	if (idx < vdev->nvqs)
		return 0;
	return vdpa_extack_set(ack, -EINVAL, "no queue %u: the device has %u", idx, vdev->nvqs);
}

/* What may only be changed while the queue is stopped. */
static int check_stopped(struct vdpa_device *vdev, uint16_t idx, const char *what,
			 struct vdpa_extack *ack)
{
	int err = check_idx(vdev, idx, ack);

	if (err || !vdpa_get_vq_ready(vdev, idx))
		return err;
	return vdpa_extack_set(ack, -EBUSY, "queue %u runs: stop it before its %s is set", idx,
			       what);
}

static int refused(struct vdpa_extack *ack, int err, uint16_t idx, const char *what)
{
	return err ? vdpa_extack_set(ack, err, "the device refuses the %s of queue %u: %s", what,
				     idx, vdpa_extack_text(NULL, err))
		   : 0;
}

static bool is_packed(const struct vdpa_device *vdev)
{
	return atomic_load(&priv_of(vdev)->acked) & BIT_ULL(VIRTIO_F_RING_PACKED);
}

/* ---- virtqueues */

VDPA_API int vdpa_set_vq_address(struct vdpa_device *vdev, uint16_t idx, uint64_t desc,
				 uint64_t driver, uint64_t device, struct vdpa_extack *ack)
{
	int err = check_stopped(vdev, idx, "address", ack);

	if (!err)
		err = refused(ack, ops_of(vdev)->set_vq_address(vdev, idx, desc, driver, device),
			      idx, "addresses");
	if (err)
		return err;
	vq_of(vdev, idx)->desc = desc;
	vq_of(vdev, idx)->driver = driver;
	vq_of(vdev, idx)->device = device;
	return 0;
}

VDPA_API int vdpa_set_vq_num(struct vdpa_device *vdev, uint16_t idx, uint32_t num,
			     struct vdpa_extack *ack)
{
	int err = check_stopped(vdev, idx, "size", ack);
	uint32_t min, max;

	if (err)
		return err;
	min = vdpa_get_vq_num_min(vdev);
	max = vdpa_get_vq_size(vdev, idx);
	if (num < min || num > max)
		return vdpa_extack_set(ack, -EINVAL, "queue %u cannot have %u entries: %u to %u",
				       idx, num, min, max);
	if (!is_packed(vdev) && !is_power_of_2(num))
		return vdpa_extack_set(
			ack, -EINVAL,
			"queue %u cannot have %u entries: a split ring needs a power of 2", idx,
			num);
	err = refused(ack, ops_of(vdev)->set_vq_num(vdev, idx, num), idx, "size");
	if (!err)
		vq_of(vdev, idx)->num = num;
	return err;
}

VDPA_API int vdpa_kick_vq(struct vdpa_device *vdev, uint16_t idx)
{
	if (!ops_of(vdev)->kick_vq)
		return -EOPNOTSUPP;
	return idx < vdev->nvqs ? ops_of(vdev)->kick_vq(vdev, idx) : -EINVAL;
}

VDPA_API int vdpa_kick_vq_with_data(struct vdpa_device *vdev, uint32_t data)
{
	if (!ops_of(vdev)->kick_vq_with_data)
		return -EOPNOTSUPP;
	return (data & 0xffff) < vdev->nvqs ? ops_of(vdev)->kick_vq_with_data(vdev, data) : -EINVAL;
}

VDPA_API int vdpa_set_vq_kick(struct vdpa_device *vdev, uint16_t idx, int *fd)
{
	if (!ops_of(vdev)->set_vq_kick)
		return -EOPNOTSUPP;
	return idx < vdev->nvqs ? ops_of(vdev)->set_vq_kick(vdev, idx, fd) : -EINVAL;
}

VDPA_API int vdpa_set_vq_call(struct vdpa_device *vdev, uint16_t idx, int *fd)
{
	return idx < vdev->nvqs ? ops_of(vdev)->set_vq_call(vdev, idx, fd) : -EINVAL;
}

VDPA_API int vdpa_set_vq_err(struct vdpa_device *vdev, uint16_t idx, int *fd)
{
	if (!ops_of(vdev)->set_vq_err)
		return -EOPNOTSUPP;
	return idx < vdev->nvqs ? ops_of(vdev)->set_vq_err(vdev, idx, fd) : -EINVAL;
}

VDPA_API int vdpa_set_vq_ready(struct vdpa_device *vdev, uint16_t idx, bool ready,
			       struct vdpa_extack *ack)
{
	int err = check_idx(vdev, idx, ack);

	if (err)
		return err;
	if (ready && !vq_of(vdev, idx)->num)
		return vdpa_extack_set(ack, -EINVAL, "queue %u cannot start: it has no size", idx);
	err = ops_of(vdev)->set_vq_ready(vdev, idx, ready, ack);
	if (err)
		return vdpa_extack_set(ack, err, "queue %u does not %s: %s", idx,
				       ready ? "start" : "stop", vdpa_extack_text(NULL, err));
	vq_of(vdev, idx)->ready = ready;
	return 0;
}

VDPA_API bool vdpa_get_vq_ready(struct vdpa_device *vdev, uint16_t idx)
{
	if (idx >= vdev->nvqs)
		return false;
	if (ops_of(vdev)->get_vq_ready)
		return ops_of(vdev)->get_vq_ready(vdev, idx);
	return vq_of(vdev, idx)->ready;
}

static int check_vq_state(struct vdpa_device *vdev, uint16_t idx, const struct vdpa_vq_state *state,
			  struct vdpa_extack *ack)
{
	uint32_t num = vq_of(vdev, idx)->num;

	if (state->packed != is_packed(vdev))
		return vdpa_extack_set(
			ack, -EINVAL,
			"the state of queue %u is that of a %s ring, but a %s one was negotiated",
			idx, state->packed ? "packed" : "split",
			is_packed(vdev) ? "packed" : "split");
	if (state->packed && num &&
	    (state->packed_ring.last_avail_idx >= num || state->packed_ring.last_used_idx >= num))
		return vdpa_extack_set(
			ack, -EINVAL, "queue %u of %u entries cannot begin at %u, %u", idx, num,
			state->packed_ring.last_avail_idx, state->packed_ring.last_used_idx);
	return 0;
}

VDPA_API int vdpa_set_vq_state(struct vdpa_device *vdev, uint16_t idx,
			       const struct vdpa_vq_state *state, struct vdpa_extack *ack)
{
	int err = check_stopped(vdev, idx, "state", ack);

	if (!err)
		err = check_vq_state(vdev, idx, state, ack);
	if (!err)
		err = refused(ack, ops_of(vdev)->set_vq_state(vdev, idx, state), idx, "state");
	if (!err)
		vq_of(vdev, idx)->state = *state;
	return err;
}

VDPA_API int vdpa_get_vq_state(struct vdpa_device *vdev, uint16_t idx, struct vdpa_vq_state *state)
{
	return idx < vdev->nvqs ? ops_of(vdev)->get_vq_state(vdev, idx, state) : -EINVAL;
}

VDPA_API int vdpa_get_vq_stats(struct vdpa_device *vdev, uint16_t idx, struct vdpa_vq_stats *stats)
{
	if (!ops_of(vdev)->get_vq_stats)
		return -EOPNOTSUPP;
	return idx < vdev->nvqs ? ops_of(vdev)->get_vq_stats(vdev, idx, stats) : -EINVAL;
}

VDPA_API int vdpa_get_vendor_vq_stats(struct vdpa_device *vdev, uint16_t idx,
				      struct vdpa_info *info)
{
	if (!ops_of(vdev)->get_vendor_vq_stats)
		return -EOPNOTSUPP;
	return idx < vdev->nvqs ? ops_of(vdev)->get_vendor_vq_stats(vdev, idx, info) : -EINVAL;
}

VDPA_API int vdpa_get_vq_notification(struct vdpa_device *vdev, uint16_t idx,
				      struct vdpa_notification_area *area)
{
	if (!ops_of(vdev)->get_vq_notification)
		return -EOPNOTSUPP;
	return idx < vdev->nvqs ? ops_of(vdev)->get_vq_notification(vdev, idx, area) : -EINVAL;
}

VDPA_API int vdpa_get_vq_irq(struct vdpa_device *vdev, uint16_t idx)
{
	if (!ops_of(vdev)->get_vq_irq)
		return -EOPNOTSUPP;
	return idx < vdev->nvqs ? ops_of(vdev)->get_vq_irq(vdev, idx) : -EINVAL;
}

VDPA_API uint32_t vdpa_get_vq_align(struct vdpa_device *vdev)
{
	return ops_of(vdev)->get_vq_align ? ops_of(vdev)->get_vq_align(vdev) : 4096;
}

VDPA_API uint32_t vdpa_get_vq_num_max(struct vdpa_device *vdev)
{
	return ops_of(vdev)->get_vq_num_max(vdev);
}

VDPA_API uint32_t vdpa_get_vq_size(struct vdpa_device *vdev, uint16_t idx)
{
	if (idx >= vdev->nvqs)
		return 0;
	return ops_of(vdev)->get_vq_size ? ops_of(vdev)->get_vq_size(vdev, idx)
					 : vdpa_get_vq_num_max(vdev);
}

VDPA_API uint32_t vdpa_get_vq_num_min(struct vdpa_device *vdev)
{
	return ops_of(vdev)->get_vq_num_min ? ops_of(vdev)->get_vq_num_min(vdev) : 1;
}

VDPA_API uint32_t vdpa_get_vq_group(struct vdpa_device *vdev, uint16_t idx)
{
	if (idx >= vdev->nvqs || !ops_of(vdev)->get_vq_group)
		return 0;
	return ops_of(vdev)->get_vq_group(vdev, idx);
}

VDPA_API uint32_t vdpa_get_vq_desc_group(struct vdpa_device *vdev, uint16_t idx)
{
	if (idx >= vdev->nvqs || !ops_of(vdev)->get_vq_desc_group)
		return vdpa_get_vq_group(vdev, idx);
	return ops_of(vdev)->get_vq_desc_group(vdev, idx);
}

VDPA_API int vdpa_set_vq_affinity(struct vdpa_device *vdev, uint16_t idx,
				  struct vdpa_worker *worker)
{
	if (!ops_of(vdev)->set_vq_affinity)
		return -EOPNOTSUPP;
	return idx < vdev->nvqs ? ops_of(vdev)->set_vq_affinity(vdev, idx, worker) : -EINVAL;
}

VDPA_API struct vdpa_worker *vdpa_get_vq_affinity(struct vdpa_device *vdev, uint16_t idx)
{
	if (idx >= vdev->nvqs || !ops_of(vdev)->get_vq_affinity)
		return NULL;
	return ops_of(vdev)->get_vq_affinity(vdev, idx);
}

/* ---- device */

VDPA_API uint64_t vdpa_get_device_features(struct vdpa_device *vdev)
{
	struct vdpa_device_priv *priv = priv_of(vdev);
	uint64_t features = priv->ops.get_device_features(vdev) & ~HOP_FEATURES;

	if (!priv->ops.kick_vq_with_data)
		features &= ~BIT_ULL(F_NOTIFICATION_DATA);
	atomic_store(&priv->offer, features);
	return features & priv->provisioned;
}

void ops_refresh(struct vdpa_device_priv *priv)
{
	vdpa_get_device_features(priv->vdev);
	atomic_store(&priv->num_max, vdpa_get_vq_num_max(priv->vdev));
}

VDPA_API uint64_t vdpa_get_backend_features(struct vdpa_device *vdev)
{
	return ops_of(vdev)->get_backend_features ? ops_of(vdev)->get_backend_features(vdev) : 0;
}

static int check_modern(uint64_t features, struct vdpa_extack *ack)
{
	if (features & BIT_ULL(VIRTIO_F_VERSION_1))
		return 0;
	return vdpa_extack_set(ack, -EINVAL,
			       "the driver did not accept VERSION_1: legacy virtio drivers are not "
			       "served, one that speaks virtio 1.0 or later is needed");
}

VDPA_API int vdpa_set_driver_features(struct vdpa_device *vdev, uint64_t features,
				      struct vdpa_extack *ack)
{
	struct vdpa_device_priv *priv = priv_of(vdev);
	uint64_t odd = features & ~vdpa_get_device_features(vdev);
	char buf[16];
	int err;

	if (vdpa_get_status(vdev) & VIRTIO_CONFIG_S_FEATURES_OK)
		return features == atomic_load(&priv->acked)
			       ? 0
			       : vdpa_extack_set(
					 ack, -EBUSY,
					 "features cannot change after FEATURES_OK: reset first");
	err = check_modern(features, ack);
	if (err)
		return err;
	if (odd)
		return vdpa_extack_set(ack, -EINVAL,
				       "the driver accepted %s (0x%llx), never offered",
				       vdpa_feature_name(vdpa_get_device_id(vdev),
							 (unsigned int)__builtin_ctzll(odd), buf),
				       (unsigned long long)odd);
	err = priv->ops.set_driver_features(vdev, features, ack);
	if (err)
		return vdpa_extack_set(ack, err, "the device refuses features 0x%llx: %s",
				       (unsigned long long)features, vdpa_extack_text(NULL, err));
	atomic_store(&priv->acked, features);
	atomic_store(&priv->negotiated, true);
	return 0;
}

VDPA_API uint64_t vdpa_get_driver_features(struct vdpa_device *vdev)
{
	if (ops_of(vdev)->get_driver_features)
		return ops_of(vdev)->get_driver_features(vdev);
	return atomic_load(&priv_of(vdev)->acked);
}

VDPA_API uint32_t vdpa_get_device_id(struct vdpa_device *vdev)
{
	return ops_of(vdev)->get_device_id(vdev);
}

VDPA_API uint32_t vdpa_get_vendor_id(struct vdpa_device *vdev)
{
	return ops_of(vdev)->get_vendor_id(vdev);
}

VDPA_API uint8_t vdpa_get_status(struct vdpa_device *vdev)
{
	return ops_of(vdev)->get_status(vdev);
}

/* Lane: tell those who listen when the status is another than last time. */
static void status_moved(struct vdpa_device_priv *priv)
{
	uint8_t status = priv->ops.get_status(priv->vdev), before = priv->status;
	char text[96];

	if (status == before)
		return;
	priv->status = status;
	status_names(status, text, sizeof(text));
	bus_event(priv, VDPA_EVENT_STATUS, text);
	if (status & ~before & VIRTIO_CONFIG_S_NEEDS_RESET)
		bus_event(priv, VDPA_EVENT_BROKEN, "the device needs a reset");
}

static int check_status(struct vdpa_device *vdev, uint8_t status, uint8_t now,
			struct vdpa_extack *ack)
{
	if (now & ~status & ~VIRTIO_CONFIG_S_NEEDS_RESET)
		return vdpa_extack_set(
			ack, -EINVAL,
			"status 0x%x would clear bits of 0x%x: only a reset can do that", status,
			now);
	if (status & VIRTIO_CONFIG_S_FEATURES_OK)
		return check_modern(atomic_load(&priv_of(vdev)->acked), ack);
	if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		return vdpa_extack_set(ack, -EINVAL,
				       "status 0x%x has DRIVER_OK without FEATURES_OK", status);
	return 0;
}

VDPA_API int vdpa_set_status(struct vdpa_device *vdev, uint8_t status, struct vdpa_extack *ack)
{
	struct vdpa_device_priv *priv = priv_of(vdev);
	uint8_t now = vdpa_get_status(vdev);
	int err;

	if (!status) {
		vdpa_reset(vdev);
		return 0;
	}
	/* NEEDS_RESET is the device's: a driver that reads, changes and writes back does not mean
	 * it. */
	status = (status & ~VIRTIO_CONFIG_S_NEEDS_RESET) | (now & VIRTIO_CONFIG_S_NEEDS_RESET);
	err = check_status(vdev, status, now, ack);
	if (err)
		return err;
	err = priv->ops.set_status(vdev, status, ack);
	status_moved(priv);
	return err ? vdpa_extack_set(ack, err, "the device refuses status 0x%x: %s", status,
				     vdpa_extack_text(NULL, err))
		   : 0;
}

VDPA_API int vdpa_negotiate(struct vdpa_device *vdev, uint64_t features, struct vdpa_extack *ack)
{
	/* A driver says each as it gets there. */
	const uint8_t found = VIRTIO_CONFIG_S_ACKNOWLEDGE;
	const uint8_t known = found | VIRTIO_CONFIG_S_DRIVER;
	int err;

	err = vdpa_set_status(vdev, found, ack);
	if (!err)
		err = vdpa_set_status(vdev, known, ack);
	if (!err)
		err = vdpa_set_driver_features(vdev, features, ack);
	if (!err)
		err = vdpa_set_status(vdev, known | VIRTIO_CONFIG_S_FEATURES_OK, ack);
	if (err || vdpa_get_status(vdev) & VIRTIO_CONFIG_S_FEATURES_OK)
		return err;
	return vdpa_extack_set(ack, -EINVAL, "the device does not take the features 0x%llx",
			       (unsigned long long)features);
}

static void session_clear(struct vdpa_device_priv *priv)
{
	memset(priv->vqs, 0, priv->vdev->nvqs * sizeof(*priv->vqs));
	atomic_store(&priv->acked, 0);
	atomic_store(&priv->negotiated, false);
	for (uint32_t asid = 1; asid < priv->nas; asid++)
		map_clear(priv, asid);
}

void session_reset(struct vdpa_device_priv *priv)
{
	priv->ops.reset(priv->vdev);
	session_clear(priv);
	status_moved(priv);
}

VDPA_API void vdpa_reset(struct vdpa_device *vdev)
{
	session_reset(priv_of(vdev));
	record_renew(priv_of(vdev));
}

VDPA_API int vdpa_suspend(struct vdpa_device *vdev, struct vdpa_extack *ack)
{
	return ops_of(vdev)->suspend ? ops_of(vdev)->suspend(vdev, ack)
				     : unsupported(ack, "suspend");
}

VDPA_API int vdpa_resume(struct vdpa_device *vdev, struct vdpa_extack *ack)
{
	return ops_of(vdev)->resume ? ops_of(vdev)->resume(vdev, ack) : unsupported(ack, "resume");
}

/* ---- config space */

VDPA_API size_t vdpa_get_config_size(struct vdpa_device *vdev)
{
	return ops_of(vdev)->get_config_size(vdev);
}

VDPA_API int vdpa_get_config(struct vdpa_device *vdev, uint32_t off, void *buf, uint32_t len)
{
	if (!range_fits(off, len, vdpa_get_config_size(vdev)))
		return -EINVAL;
	return len ? ops_of(vdev)->get_config(vdev, off, buf, len) : 0;
}

VDPA_API int vdpa_set_config(struct vdpa_device *vdev, uint32_t off, const void *buf, uint32_t len,
			     struct vdpa_extack *ack)
{
	size_t size = vdpa_get_config_size(vdev);
	int err;

	if (!range_fits(off, len, size))
		return vdpa_extack_set(ack, -EINVAL,
				       "%u bytes at %u are not in the config space of %zu bytes",
				       len, off, size);
	if (!ops_of(vdev)->set_config)
		return vdpa_extack_set(ack, -EOPNOTSUPP, "the config space is read-only");
	err = len ? ops_of(vdev)->set_config(vdev, off, buf, len, ack) : 0;
	if (!err && len)
		record_write(priv_of(vdev));
	return err ? vdpa_extack_set(ack, err, "the device refuses %u bytes of config at %u: %s",
				     len, off, vdpa_extack_text(NULL, err))
		   : 0;
}

VDPA_API uint32_t vdpa_get_generation(struct vdpa_device *vdev)
{
	return ops_of(vdev)->get_generation(vdev);
}

static void changed_job(struct lane_job *job)
{
	struct vdpa_device_priv *priv = container_of(job, struct vdpa_device_priv, changed_job);
	uint32_t generation;

	atomic_store(&priv->changed, false);
	generation = vdpa_get_generation(priv->vdev);
	if (generation != priv->generation) {
		record_write(priv);
		bus_event(priv, VDPA_EVENT_CONFIG, NULL);
	}
	priv->generation = generation;
	status_moved(priv);
	device_put(priv);
}

/* Any thread, from inside the parent. */
static void wrap_changed(void *arg)
{
	struct vdpa_device_priv *priv = arg;

	pthread_mutex_lock(&priv->cb_lock);
	if (priv->inner.changed)
		priv->inner.changed(priv->inner.arg);
	pthread_mutex_unlock(&priv->cb_lock);
	device_post_once(priv, &priv->changed, &priv->changed_job);
}

void ops_watch_changes(struct vdpa_device_priv *priv)
{
	priv->wrap = (struct vdpa_config_cb){.changed = wrap_changed, .arg = priv};
	priv->changed_job.fn = changed_job;
	priv->ops.set_config_cb(priv->vdev, &priv->wrap);
}

VDPA_API void vdpa_set_config_cb(struct vdpa_device *vdev, const struct vdpa_config_cb *cb)
{
	struct vdpa_device_priv *priv = priv_of(vdev);

	pthread_mutex_lock(&priv->cb_lock);
	priv->inner = cb ? *cb : (struct vdpa_config_cb){0};
	pthread_mutex_unlock(&priv->cb_lock);
}

/* ---- logs */

VDPA_API int vdpa_set_inflight(struct vdpa_device *vdev, const struct vdpa_inflight_region *region,
			       struct vdpa_extack *ack)
{
	if (!ops_of(vdev)->set_inflight)
		return unsupported(ack, "set_inflight");
	if (vdpa_get_status(vdev) & VIRTIO_CONFIG_S_DRIVER_OK)
		return vdpa_extack_set(ack, -EBUSY,
				       "the in-flight log cannot change after DRIVER_OK");
	return ops_of(vdev)->set_inflight(vdev, region, ack);
}

VDPA_API int vdpa_set_dirty_log(struct vdpa_device *vdev, struct vdpa_dirty_log *log)
{
	return ops_of(vdev)->set_dirty_log ? ops_of(vdev)->set_dirty_log(vdev, log) : -EOPNOTSUPP;
}

VDPA_API int vdpa_set_vq_log(struct vdpa_device *vdev, uint16_t idx, bool on, uint64_t log_addr)
{
	if (!ops_of(vdev)->set_vq_log)
		return -EOPNOTSUPP;
	return idx < vdev->nvqs ? ops_of(vdev)->set_vq_log(vdev, idx, on, log_addr) : -EINVAL;
}

/* ---- commands outside the rings */

struct cmd_row {
	const char *name;
	uint32_t in_min, in_max, out_min;
};

static const struct cmd_row cmd_rows[VDPA_CMD_MAX] = {
	/* class, command; how much more belongs to which is for the class to say */
	[VDPA_CMD_NET_CTRL] = {"NET_CTRL", 2, VDPA_CMD_DATA_MAX, 1},
	[VDPA_CMD_NET_RARP] = {"NET_RARP", 6, 6, 0},
	[VDPA_CMD_NET_MTU] = {"NET_MTU", 2, 2, 0},
	[VDPA_CMD_CRYPTO_CREATE_SESSION] = {"CRYPTO_CREATE_SESSION", 1, VDPA_CMD_DATA_MAX, 1},
	[VDPA_CMD_CRYPTO_CLOSE_SESSION] = {"CRYPTO_CLOSE_SESSION", 1, VDPA_CMD_DATA_MAX, 1},
};

VDPA_API uint64_t vdpa_get_class_cmds(struct vdpa_device *vdev)
{
	if (!ops_of(vdev)->get_class_cmds)
		return 0;
	return ops_of(vdev)->get_class_cmds(vdev) & (BIT_ULL(VDPA_CMD_MAX) - 1);
}

static int check_cmd(struct vdpa_device *vdev, uint32_t cmd, uint32_t in_len, uint32_t room,
		     struct vdpa_extack *ack)
{
	const struct cmd_row *row = &cmd_rows[cmd];

	if (!(vdpa_get_class_cmds(vdev) & BIT_ULL(cmd)))
		return vdpa_extack_set(ack, -EOPNOTSUPP, "the device does not know the command %s",
				       row->name);
	if (in_len < row->in_min || in_len > row->in_max)
		return vdpa_extack_set(ack, -EINVAL, "%s of %u bytes: %u to %u", row->name, in_len,
				       row->in_min, row->in_max);
	if (room < row->out_min || room > VDPA_CMD_DATA_MAX)
		return vdpa_extack_set(ack, -EINVAL,
				       "%s with room for an answer of %u bytes: %u to %u",
				       row->name, room, row->out_min, VDPA_CMD_DATA_MAX);
	return 0;
}

VDPA_API int vdpa_class_cmd(struct vdpa_device *vdev, uint32_t cmd, const void *in, uint32_t in_len,
			    void *out, uint32_t *out_len, struct vdpa_extack *ack)
{
	uint32_t room = *out_len;
	int err;

	*out_len = 0;
	if (cmd >= VDPA_CMD_MAX)
		return vdpa_extack_set(ack, -EOPNOTSUPP, "there is no command %u", cmd);
	err = check_cmd(vdev, cmd, in_len, room, ack);
	if (err)
		return err;
	*out_len = room;
	err = ops_of(vdev)->class_cmd(vdev, cmd, in, in_len, out, out_len, ack);
	if (!err)
		return 0;
	*out_len = 0;
	return vdpa_extack_set(ack, err, "the device refuses %s: %s", cmd_rows[cmd].name,
			       vdpa_extack_text(NULL, err));
}
