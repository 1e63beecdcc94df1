/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/vhost_user/session.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/defs.h"

/* Front-ends that come and go, or err, in a loop: so many lines at once, then one in this time. */
#define LOG_BURST       100
#define LOG_INTERVAL_NS 1000000000ull

static int no_op(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		 struct vdpa_extack *ack)
{
	return 0;
}

/* Messages with code behind them; what each may carry is checked by the protocol's table before. */
static vhu_handler_fn *const handlers[VU_REQUEST_MAX] = {
	[VU_GET_FEATURES] = vhu_get_features,
	[VU_SET_FEATURES] = vhu_set_features,
	[VU_SET_OWNER] = no_op,
	/* Deprecated; the specification recommends to ignore it. */
	[VU_RESET_OWNER] = no_op,
	[VU_SET_MEM_TABLE] = vhu_set_mem_table,
	[VU_SET_LOG_BASE] = vhu_set_log_base,
	[VU_SET_LOG_FD] = vhu_set_log_fd,
	[VU_SET_VRING_NUM] = vhu_set_vring_num,
	[VU_SET_VRING_ADDR] = vhu_set_vring_addr,
	[VU_SET_VRING_BASE] = vhu_set_vring_base,
	[VU_GET_VRING_BASE] = vhu_get_vring_base,
	[VU_SET_VRING_KICK] = vhu_set_vring_kick,
	[VU_SET_VRING_CALL] = vhu_set_vring_call,
	[VU_SET_VRING_ERR] = vhu_set_vring_err,
	[VU_GET_PROTOCOL_FEATURES] = vhu_get_protocol_features,
	[VU_SET_PROTOCOL_FEATURES] = vhu_set_protocol_features,
	[VU_GET_QUEUE_NUM] = vhu_get_queue_num,
	[VU_SET_VRING_ENABLE] = vhu_set_vring_enable,
	[VU_SEND_RARP] = vhu_send_rarp,
	[VU_NET_SET_MTU] = vhu_net_set_mtu,
	[VU_CREATE_CRYPTO_SESSION] = vhu_create_crypto_session,
	[VU_CLOSE_CRYPTO_SESSION] = vhu_close_crypto_session,
	[VU_SET_BACKEND_REQ_FD] = vhu_set_backend_req_fd,
	[VU_GET_CONFIG] = vhu_get_config,
	[VU_SET_CONFIG] = vhu_set_config,
	[VU_GET_INFLIGHT_FD] = vhu_get_inflight_fd,
	[VU_SET_INFLIGHT_FD] = vhu_set_inflight_fd,
	[VU_RESET_DEVICE] = vhu_reset_device,
	[VU_GET_MAX_MEM_SLOTS] = vhu_get_max_mem_slots,
	[VU_ADD_MEM_REG] = vhu_add_mem_reg,
	[VU_REM_MEM_REG] = vhu_rem_mem_reg,
	[VU_SET_STATUS] = vhu_set_status,
	[VU_GET_STATUS] = vhu_get_status,
	[VU_SET_DEVICE_STATE_FD] = vhu_set_device_state_fd,
	[VU_CHECK_DEVICE_STATE] = vhu_check_device_state,
};

int vhu_session_init(struct vhu_session *s, struct vdpa_device *vdev)
{
	*s = (struct vhu_session){.vdev = vdev, .sock = -1, .transfer.fd = -1, .channel.fd = -1};
	s->num_rings = vdev->nvqs < VU_RINGS_MAX ? vdev->nvqs : VU_RINGS_MAX;
	s->rings = calloc(s->num_rings, sizeof(*s->rings));
	if (!s->rings)
		return -ENOMEM;
	for (uint16_t i = 0; i < s->num_rings; i++)
		s->rings[i] = (struct vhu_ring){.kick = -1, .call = -1, .err = -1};
	vu_msg_init(&s->msg);
	pthread_mutex_init(&s->channel.lock, NULL);
	pthread_mutex_init(&s->log_lock, NULL);
	ratelimit_init(&s->log_limit, LOG_BURST, LOG_INTERVAL_NS);
	return 0;
}

void vhu_session_destroy(struct vhu_session *s)
{
	pthread_mutex_destroy(&s->channel.lock);
	pthread_mutex_destroy(&s->log_lock);
	free(s->rings);
}

void vhu_session_log(struct vhu_session *s, enum vdpa_log_level level, const char *fmt, ...)
{
	char text[2 * VDPA_EXTACK_LEN], more[48] = "";
	uint32_t dropped = 0;
	struct timespec now;
	va_list ap;
	bool ok;

	clock_gettime(CLOCK_MONOTONIC, &now);
	pthread_mutex_lock(&s->log_lock);
	ok = ratelimit_ok(&s->log_limit, (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec,
			  &dropped);
	pthread_mutex_unlock(&s->log_lock);
	if (!ok)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (dropped)
		snprintf(more, sizeof(more), " (%u lines before are not shown)", dropped);
	vdpa_log(vdpa_device_bus(s->vdev), s->vdev, level, "%s%s", text, more);
}

bool vhu_session_open(const struct vhu_session *s)
{
	return s->sock >= 0;
}

void vhu_session_begin(struct vhu_session *s, int sock)
{
	s->sock = sock;
}

void vhu_session_end(struct vhu_session *s)
{
	if (s->sock < 0)
		return;
	vu_msg_clear(&s->msg);
	vhu_channel_close(s);
	vhu_state_end(s);
	/* What is in the log is done by the next session: it need not end here, still less fail. */
	if (s->inflight.mem)
		vhu_rings_leave(s);
	vhu_device_down(s);
	vhu_rings_forget(s);
	vhu_memory_forget(s);
	s->protocol_features = s->features = 0;
	s->features_set = s->uses_status = false;
	s->status = 0;
	s->sock = -1;
}

bool vhu_session_active(const struct vhu_session *s)
{
	return s->sock >= 0 && vhu_rings_running(s);
}

static int send_reply(struct vhu_session *s, struct vhu_reply *reply, struct vdpa_extack *ack)
{
	struct vu_hdr hdr = {.request = s->msg.hdr.request,
			     .flags = VU_FLAG_VERSION | VU_FLAG_REPLY,
			     .size = reply->size};
	int err;

	err = vu_send(s->sock, &hdr, &reply->payload, &reply->fd, reply->fd >= 0,
		      VHU_SEND_TIMEOUT_MS);
	if (err == -ETIMEDOUT)
		return vdpa_extack_set(
			ack, err, "%s: the front-end did not take the answer in %d ms",
			vu_msg_desc(VU_TO_BACKEND, hdr.request)->name, VHU_SEND_TIMEOUT_MS);
	return err;
}

static int run_handler(struct vhu_session *s, struct vhu_reply *reply, struct vdpa_extack *ack)
{
	vhu_handler_fn *handler = handlers[s->msg.hdr.request];
	int err;

	err = vu_check_msg(VU_TO_BACKEND, &s->msg, s->protocol_features, vhu_protocol_offer(s),
			   ack);
	if (err)
		return err;
	err = handler ? handler(s, &s->msg, reply, ack)
		      : vdpa_extack_set(ack, -EPROTO, "is not supported");
	return err ? err : vhu_rings_update(s, ack);
}

/*
 * An error that is not the message's own fault is answered where the front-end waits for an answer,
 * and the session goes on; -ECANCELED is one that ends no session.
 */
static int answer(struct vhu_session *s, const struct vu_msg_desc *desc, struct vhu_reply *reply,
		  int err, struct vdpa_extack *ack)
{
	bool wanted = s->msg.hdr.flags & VU_FLAG_NEED_REPLY &&
		      s->protocol_features & BIT_ULL(VU_PROTOCOL_F_REPLY_ACK);

	if (desc->answer == VU_REPLY)
		return err ? err : send_reply(s, reply, ack);
	if (!wanted)
		return err == -ECANCELED ? 0 : err;
	reply->payload.u64 = err ? 1 : 0;
	reply->size = sizeof(reply->payload.u64);
	if (!err || err == -ECANCELED)
		return send_reply(s, reply, ack);
	if (err == -EPROTO) {
		send_reply(s, reply, NULL);
		return err;
	}
	vhu_session_log(s, VDPA_LOG_WARN, "refused %s", vdpa_extack_text(ack, err));
	ack->msg[0] = '\0';
	return send_reply(s, reply, ack);
}

int vhu_session_handle(struct vhu_session *s, struct vdpa_extack *ack)
{
	const struct vu_msg_desc *desc = vu_msg_desc(VU_TO_BACKEND, s->msg.hdr.request);
	struct vhu_reply reply = {.fd = -1};
	int err;

	err = run_handler(s, &reply, ack);
	if (err && err != -ECANCELED) {
		vdpa_extack_set(ack, err, "%s", strerrordesc_np(-err));
		vdpa_extack_prefix(ack, err, "%s", desc->name);
	}
	err = answer(s, desc, &reply, err, ack);
	fd_closep(&reply.fd);
	return err;
}

int vhu_session_read(struct vhu_session *s, unsigned int max, struct vdpa_extack *ack)
{
	while (max--) {
		int ret = vu_recv(s->sock, VU_TO_BACKEND, false, &s->msg, ack);

		if (ret <= 0)
			return ret;
		ret = vhu_session_handle(s, ack);
		vu_msg_clear(&s->msg);
		if (ret)
			return ret;
	}
	return 1;
}
