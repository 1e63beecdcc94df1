/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The config space, and the channel on which we say that it has changed.
 */
#include <errno.h>

#include "base/defs.h"
#include "drivers/vhost_user/session.h"

/*
 * The answer has as many bytes as the question, since that is what front-ends read; those that the
 * device has not are zero.
 */
int vhu_get_config(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		   struct vdpa_extack *ack)
{
	const struct vu_config *config = &msg->payload.config;
	size_t size = vdpa_get_config_size(s->vdev);
	uint32_t len = config->size, have = 0;
	int err;

	if (len > VU_CONFIG_MAX ||
	    (msg->hdr.size != VU_CONFIG_HDR && msg->hdr.size < VU_CONFIG_HDR + len))
		return vdpa_extack_set(ack, -EPROTO, "%u bytes of config space in a message of %u",
				       len, msg->hdr.size);
	if (config->offset < size)
		have = len < size - config->offset ? len : (uint32_t)(size - config->offset);
	reply->payload.config =
		(struct vu_config){.offset = config->offset, .size = len, .flags = config->flags};
	if (have) {
		err = vdpa_get_config(s->vdev, config->offset, reply->payload.config.data, have);
		if (err)
			return err;
	}
	reply->size = msg->hdr.size == VU_CONFIG_HDR ? VU_CONFIG_HDR + len : msg->hdr.size;
	return 0;
}

int vhu_set_config(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		   struct vdpa_extack *ack)
{
	const struct vu_config *config = &msg->payload.config;
	struct vdpa_extack why = {0};
	int err;

	if (config->size > VU_CONFIG_MAX || msg->hdr.size < VU_CONFIG_HDR + config->size)
		return vdpa_extack_set(ack, -EPROTO, "%u bytes of config space in a message of %u",
				       config->size, msg->hdr.size);
	if (!range_fits(config->offset, config->size, vdpa_get_config_size(s->vdev)))
		return vdpa_extack_set(ack, -EPROTO,
				       "[%u, +%u) is not in the config space of %zu bytes",
				       config->offset, config->size, vdpa_get_config_size(s->vdev));
	err = vdpa_set_config(s->vdev, config->offset, config->data, config->size, &why);
	if (!err)
		return 0;
	/* It is the guest who writes: one that errs is no reason to end the session. */
	vhu_session_log(s, VDPA_LOG_DEBUG, "SET_CONFIG: %s", vdpa_extack_text(&why, err));
	return -ECANCELED;
}

/* ---- the channel */

void vhu_channel_close(struct vhu_session *s)
{
	pthread_mutex_lock(&s->channel.lock);
	fd_closep(&s->channel.fd);
	s->channel.pending = false;
	s->channel.config = false;
	pthread_mutex_unlock(&s->channel.lock);
}

void vhu_channel_update(struct vhu_session *s)
{
	pthread_mutex_lock(&s->channel.lock);
	s->channel.config = s->protocol_features & BIT_ULL(VU_PROTOCOL_F_CONFIG);
	pthread_mutex_unlock(&s->channel.lock);
}

int vhu_set_backend_req_fd(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
			   struct vdpa_extack *ack)
{
	pthread_mutex_lock(&s->channel.lock);
	fd_closep(&s->channel.fd);
	s->channel.fd = vu_msg_take_fd(msg, 0);
	pthread_mutex_unlock(&s->channel.lock);
	return 0;
}

void vhu_session_config_changed(struct vhu_session *s)
{
	static const struct vu_hdr hdr = {.request = VU_BACKEND_CONFIG_CHANGE_MSG,
					  .flags = VU_FLAG_VERSION};

	pthread_mutex_lock(&s->channel.lock);
	/* While no ring runs the device counts as suspended and must keep silent: it tells later.
	 */
	s->channel.pending = true;
	if (s->channel.fd >= 0 && s->channel.config && s->channel.running)
		/* A front-end that does not read finds a message there when it does; one is enough.
		 */
		s->channel.pending = vu_send(s->channel.fd, &hdr, NULL, NULL, 0, 0) == -ENOMEM;
	pthread_mutex_unlock(&s->channel.lock);
}
