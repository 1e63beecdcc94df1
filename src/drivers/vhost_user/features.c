/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>

#include "base/defs.h"
#include "drivers/vhost_user/session.h"

uint64_t vhu_offer(const struct vhu_session *s)
{
	uint64_t offer = vdpa_get_device_features(s->vdev) & ~VHU_MASKED_FEATURES;

	offer |= BIT_ULL(VU_F_PROTOCOL_FEATURES);
	if (s->vdev->ops->set_dirty_log && s->vdev->ops->set_vq_log)
		offer |= BIT_ULL(VU_F_LOG_ALL);
	return offer;
}

uint64_t vhu_protocol_offer(const struct vhu_session *s)
{
	uint64_t offer = VHU_PROTOCOL_FEATURES;

	if (!(vhu_offer(s) & BIT_ULL(VU_F_LOG_ALL)))
		offer &= ~BIT_ULL(VU_PROTOCOL_F_LOG_SHMFD);
	if (!s->vdev->ops->set_inflight)
		offer &= ~BIT_ULL(VU_PROTOCOL_F_INFLIGHT_SHMFD);
	/* Front-ends warn of a config space that the kind of device has not. */
	if (!vdpa_get_config_size(s->vdev))
		offer &= ~BIT_ULL(VU_PROTOCOL_F_CONFIG);
	return offer & ~vhu_class_masked(s);
}

int vhu_get_features(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		     struct vdpa_extack *ack)
{
	reply->payload.u64 = vhu_offer(s);
	reply->size = sizeof(reply->payload.u64);
	return 0;
}

int vhu_set_features(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		     struct vdpa_extack *ack)
{
	uint64_t features = msg->payload.u64, surplus = features & ~vhu_offer(s);
	uint64_t changed = (s->features ^ features) & ~VHU_MASKED_FEATURES;

	if (surplus)
		return vdpa_extack_set(ack, -EPROTO, "acks the bits 0x%llx, which were not offered",
				       (unsigned long long)surplus);
	/* A migration switches LOG_ALL on a device that runs, and nothing else. */
	if (changed && vhu_rings_running(s))
		return vdpa_extack_set(ack, -EBUSY, "changes the bits 0x%llx while rings run",
				       (unsigned long long)changed);
	s->features = features;
	s->features_set = true;
	if (!(features & BIT_ULL(VU_F_PROTOCOL_FEATURES)) || vhu_class_implied(s))
		for (uint16_t i = 0; i < s->num_rings; i++)
			s->rings[i].enabled = true;
	return s->up ? vhu_log_apply(s, ack) : 0;
}

int vhu_get_protocol_features(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
			      struct vdpa_extack *ack)
{
	reply->payload.u64 = vhu_protocol_offer(s);
	reply->size = sizeof(reply->payload.u64);
	return 0;
}

int vhu_set_protocol_features(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
			      struct vdpa_extack *ack)
{
	uint64_t surplus = msg->payload.u64 & ~vhu_protocol_offer(s);

	if (surplus)
		return vdpa_extack_set(ack, -EPROTO, "acks the bits 0x%llx, which were not offered",
				       (unsigned long long)surplus);
	s->protocol_features = msg->payload.u64;
	vhu_channel_update(s);
	return 0;
}
