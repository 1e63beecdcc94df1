/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Status: bringing the device up for the front-end, whether or not it speaks of it.
 */
#include <errno.h>
#include <linux/virtio_config.h>

#include "base/defs.h"
#include "bus/bus.h"
#include "drivers/vhost_user/session.h"

uint64_t vhu_device_features(const struct vhu_session *s)
{
	return (s->features & ~VHU_MASKED_FEATURES) | vhu_class_implied(s);
}

int vhu_device_negotiate(struct vhu_session *s, struct vdpa_extack *ack)
{
	uint64_t features = vhu_device_features(s);
	int err;

	if (s->negotiated && s->up_features == features)
		return 0;
	vhu_device_down(s);
	/* Set before, so that a set that is refused half-way is reset, too. */
	s->negotiated = true;
	s->up_features = features;
	err = vdpa_negotiate(s->vdev, features, ack);
	if (err)
		vhu_device_down(s);
	return err;
}

int vhu_device_up(struct vhu_session *s, struct vdpa_extack *ack)
{
	int err;

	err = vhu_device_negotiate(s, ack);
	if (err || s->up)
		return err;
	err = vhu_memory_publish(s, ack);
	if (err)
		return err;
	if (s->inflight.mem) {
		err = vdpa_set_inflight(s->vdev, &s->inflight, ack);
		if (err)
			return err;
	}
	err = vhu_log_apply(s, ack);
	if (err)
		return err;
	err = vdpa_set_status(s->vdev,
			      VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
				      VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK,
			      ack);
	if (!err)
		s->up = true;
	return err;
}

void vhu_device_down(struct vhu_session *s)
{
	vhu_rings_stop(s);
	if (!s->negotiated)
		return;
	bus_end_session(s->vdev);
	/* A reset keeps them, and the next bring-up may have none. */
	if (s->inflight.mem)
		vdpa_set_inflight(s->vdev, &(struct vdpa_inflight_region){0}, NULL);
	vdpa_set_dirty_log(s->vdev, NULL);
	s->negotiated = false;
	s->up = false;
}

/* The driver begins anew: its rings are void, and so is the log of their requests. */
static void reset(struct vhu_session *s)
{
	vhu_device_down(s);
	vdpa_reset(s->vdev);
	for (uint16_t i = 0; i < s->num_rings; i++) {
		struct vhu_ring *r = &s->rings[i];

		r->enabled = r->kicked = r->resume = false;
		r->base = 0;
	}
	vdpa_mem_put(s->inflight.mem);
	s->inflight = (struct vdpa_inflight_region){0};
	s->status = 0;
}

int vhu_reset_device(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		     struct vdpa_extack *ack)
{
	reset(s);
	return 0;
}

int vhu_set_status(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		   struct vdpa_extack *ack)
{
	struct vdpa_extack why = {0};
	uint8_t status = (uint8_t)msg->payload.u64;

	if (msg->payload.u64 > UINT8_MAX)
		return vdpa_extack_set(ack, -EPROTO, "0x%llx, a status has 8 bits",
				       (unsigned long long)msg->payload.u64);
	if (!status) {
		reset(s);
		return 0;
	}
	s->uses_status = true;
	if (status & VIRTIO_CONFIG_S_FEATURES_OK && !(s->status & VIRTIO_CONFIG_S_FEATURES_OK) &&
	    vhu_device_negotiate(s, &why)) {
		/* The bit stays clear, and the driver sees that. */
		vhu_session_log(s, VDPA_LOG_WARN, "SET_STATUS: %s",
				vdpa_extack_text(&why, -EINVAL));
		status &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	}
	s->status = status;
	return 0;
}

int vhu_get_status(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		   struct vdpa_extack *ack)
{
	reply->payload.u64 = s->status | (vdpa_get_status(s->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET);
	reply->size = sizeof(reply->payload.u64);
	return 0;
}
