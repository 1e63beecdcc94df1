/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost_user/frontend.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/defs.h"
#include "vhost_user/socket.h"

void vu_frontend_init(struct vu_frontend *fe, int *sock, int timeout_ms)
{
	*fe = (struct vu_frontend){.sock = fd_take(sock), .channel = -1, .timeout_ms = timeout_ms};
	vu_msg_init(&fe->msg);
}

int vu_frontend_connect(struct vu_frontend *fe, const char *path, int timeout_ms,
			struct vdpa_extack *ack)
{
	int sock = vu_socket_connect(path, ack);
	int err = sock < 0 ? sock : 0;

	vu_frontend_init(fe, &sock, timeout_ms);
	return err;
}

void vu_frontend_close(struct vu_frontend *fe)
{
	vu_msg_clear(&fe->msg);
	fd_closep(&fe->sock);
	fd_closep(&fe->channel);
}

/* Waits for a whole message. */
static int receive(struct vu_frontend *fe, int sock, enum vu_dir dir, bool reply,
		   struct vdpa_extack *ack)
{
	struct pollfd p = {.fd = sock, .events = POLLIN};
	int ret;

	vu_msg_clear(&fe->msg);
	for (;;) {
		ret = vu_recv(sock, dir, reply, &fe->msg, ack);
		if (ret == -EPIPE)
			return vdpa_extack_set(ack, ret, "the back-end has closed the connection");
		if (ret)
			return ret < 0 ? ret : 0;
		ret = poll(&p, 1, fe->timeout_ms);
		if (ret == 0)
			return vdpa_extack_set(ack, -ETIMEDOUT,
					       "the back-end did not answer in %d ms",
					       fe->timeout_ms);
		if (ret < 0 && errno != EINTR)
			return -errno;
	}
}

static int wait_answer(struct vu_frontend *fe, uint32_t request, struct vdpa_extack *ack)
{
	int err = receive(fe, fe->sock, VU_TO_BACKEND, true, ack);

	if (!err && fe->msg.hdr.request != request)
		err = vdpa_extack_set(ack, -EPROTO, "the back-end answered another message, %u",
				      fe->msg.hdr.request);
	return err;
}

int vu_frontend_call(struct vu_frontend *fe, uint32_t request, const void *payload, uint32_t size,
		     const int *fds, unsigned int num_fds, struct vdpa_extack *ack)
{
	const struct vu_msg_desc *desc = vu_msg_desc(VU_TO_BACKEND, request);
	bool acks =
		desc->answer == VU_ACK && fe->protocol_features & BIT_ULL(VU_PROTOCOL_F_REPLY_ACK);
	struct vu_hdr hdr = {.request = request,
			     .flags = VU_FLAG_VERSION | (acks ? VU_FLAG_NEED_REPLY : 0),
			     .size = size};
	int err;

	if (fe->sock < 0)
		return vdpa_extack_set(ack, -ENOTCONN, "%s: no back-end is connected", desc->name);
	err = vu_send(fe->sock, &hdr, payload, fds, num_fds, fe->timeout_ms);
	if (err)
		vdpa_extack_set(ack, err, "%s", strerrordesc_np(-err));
	else if (acks || desc->answer == VU_REPLY)
		err = wait_answer(fe, request, ack);
	if (!err && acks && fe->msg.payload.u64)
		err = vdpa_extack_set(ack, -EREMOTEIO, "the back-end refuses");
	return err ? vdpa_extack_prefix(ack, err, "%s", desc->name) : 0;
}

int vu_frontend_get_u64(struct vu_frontend *fe, uint32_t request, uint64_t *ret,
			struct vdpa_extack *ack)
{
	int err = vu_frontend_call(fe, request, NULL, 0, NULL, 0, ack);

	if (!err)
		*ret = fe->msg.payload.u64;
	return err;
}

int vu_frontend_set_u64(struct vu_frontend *fe, uint32_t request, uint64_t value,
			struct vdpa_extack *ack)
{
	return vu_frontend_call(fe, request, &value, sizeof(value), NULL, 0, ack);
}

int vu_frontend_negotiate(struct vu_frontend *fe, uint64_t want, struct vdpa_extack *ack)
{
	int err;

	err = vu_frontend_call(fe, VU_SET_OWNER, NULL, 0, NULL, 0, ack);
	if (!err)
		err = vu_frontend_get_u64(fe, VU_GET_FEATURES, &fe->offer, ack);
	if (err || !(fe->offer & BIT_ULL(VU_F_PROTOCOL_FEATURES)))
		return err;
	err = vu_frontend_get_u64(fe, VU_GET_PROTOCOL_FEATURES, &fe->protocol_offer, ack);
	if (err)
		return err;
	err = vu_frontend_set_u64(fe, VU_SET_PROTOCOL_FEATURES, fe->protocol_offer & want, ack);
	if (!err)
		fe->protocol_features = fe->protocol_offer & want;
	return err;
}

int vu_frontend_set_ring(struct vu_frontend *fe, uint32_t request, uint32_t idx, uint32_t num,
			 struct vdpa_extack *ack)
{
	struct vu_vring_state state = {.index = idx, .num = num};

	return vu_frontend_call(fe, request, &state, sizeof(state), NULL, 0, ack);
}

int vu_frontend_get_base(struct vu_frontend *fe, uint32_t idx, uint32_t *ret,
			 struct vdpa_extack *ack)
{
	int err = vu_frontend_set_ring(fe, VU_GET_VRING_BASE, idx, 0, ack);

	if (err)
		return err;
	if (fe->msg.payload.state.index != idx)
		return vdpa_extack_set(ack, -EPROTO, "GET_VRING_BASE: the answer is about ring %u",
				       fe->msg.payload.state.index);
	*ret = fe->msg.payload.state.num;
	return 0;
}

int vu_frontend_set_ring_fd(struct vu_frontend *fe, uint32_t request, uint32_t idx, int fd,
			    struct vdpa_extack *ack)
{
	uint64_t value = idx | (fd < 0 ? VU_VRING_FD_NONE : 0);

	return vu_frontend_call(fe, request, &value, sizeof(value), &fd, fd >= 0, ack);
}

int vu_frontend_start_ring(struct vu_frontend *fe, const struct vu_frontend_ring *ring,
			   struct vdpa_extack *ack)
{
	struct vu_vring_addr addr = {
		.index = ring->idx, .desc = ring->desc, .avail = ring->avail, .used = ring->used};
	int err;

	err = vu_frontend_set_ring(fe, VU_SET_VRING_NUM, ring->idx, ring->num, ack);
	if (!err)
		err = vu_frontend_set_ring(fe, VU_SET_VRING_BASE, ring->idx, ring->base, ack);
	if (!err)
		err = vu_frontend_call(fe, VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0, ack);
	if (!err)
		err = vu_frontend_set_ring_fd(fe, VU_SET_VRING_CALL, ring->idx, ring->call, ack);
	if (!err)
		err = vu_frontend_set_ring_fd(fe, VU_SET_VRING_KICK, ring->idx, ring->kick, ack);
	if (!err)
		err = vu_frontend_set_ring(fe, VU_SET_VRING_ENABLE, ring->idx, 1, ack);
	return err;
}

int vu_frontend_add_mem(struct vu_frontend *fe, const struct vu_region *region, int fd,
			struct vdpa_extack *ack)
{
	struct vu_mem_reg reg = {.region = *region};

	return vu_frontend_call(fe, VU_ADD_MEM_REG, &reg, sizeof(reg), &fd, 1, ack);
}

int vu_frontend_rem_mem(struct vu_frontend *fe, const struct vu_region *region,
			struct vdpa_extack *ack)
{
	struct vu_mem_reg reg = {.region = *region};

	return vu_frontend_call(fe, VU_REM_MEM_REG, &reg, sizeof(reg), NULL, 0, ack);
}

int vu_frontend_set_mem(struct vu_frontend *fe, const struct vu_region *regions, const int *fds,
			uint32_t num, struct vdpa_extack *ack)
{
	struct vu_mem_table table = {.num = num};
	int err;

	if (num <= VU_TABLE_MAX) {
		memcpy(table.regions, regions, num * sizeof(*regions));
		return vu_frontend_call(fe, VU_SET_MEM_TABLE, &table,
					VU_TABLE_HDR + num * (uint32_t)sizeof(*regions), fds, num,
					ack);
	}
	if (!(fe->protocol_features & BIT_ULL(VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS)))
		return vdpa_extack_set(ack, -E2BIG, "%u regions, the back-end takes %u", num,
				       VU_TABLE_MAX);
	for (uint32_t i = 0; i < num; i++) {
		err = vu_frontend_add_mem(fe, &regions[i], fds[i], ack);
		if (err)
			return err;
	}
	return 0;
}

int vu_frontend_get_config(struct vu_frontend *fe, uint32_t off, void *buf, uint32_t len,
			   struct vdpa_extack *ack)
{
	struct vu_config config = {.offset = off, .size = len};
	int err;

	if (len > VU_CONFIG_MAX)
		return -EINVAL;
	err = vu_frontend_call(fe, VU_GET_CONFIG, &config, VU_CONFIG_HDR + len, NULL, 0, ack);
	if (err)
		return err;
	if (fe->msg.hdr.size != VU_CONFIG_HDR + len)
		return vdpa_extack_set(ack, -EPROTO,
				       "GET_CONFIG: the back-end has no %u bytes at %u", len, off);
	memcpy(buf, fe->msg.payload.config.data, len);
	return 0;
}

int vu_frontend_set_config(struct vu_frontend *fe, uint32_t off, const void *buf, uint32_t len,
			   struct vdpa_extack *ack)
{
	struct vu_config config = {.offset = off, .size = len};

	if (len > VU_CONFIG_MAX)
		return -EINVAL;
	memcpy(config.data, buf, len);
	return vu_frontend_call(fe, VU_SET_CONFIG, &config, VU_CONFIG_HDR + len, NULL, 0, ack);
}

int vu_frontend_get_inflight(struct vu_frontend *fe, struct vu_inflight *in, int *fd,
			     struct vdpa_extack *ack)
{
	int err = vu_frontend_call(fe, VU_GET_INFLIGHT_FD, in, sizeof(*in), NULL, 0, ack);

	if (err)
		return err;
	*in = fe->msg.payload.inflight;
	*fd = vu_msg_take_fd(&fe->msg, 0);
	return *fd < 0 ? vdpa_extack_set(ack, -EPROTO, "GET_INFLIGHT_FD: no descriptor came") : 0;
}

int vu_frontend_set_inflight(struct vu_frontend *fe, const struct vu_inflight *in, int fd,
			     struct vdpa_extack *ack)
{
	return vu_frontend_call(fe, VU_SET_INFLIGHT_FD, in, sizeof(*in), &fd, 1, ack);
}

/* Which end of the channel is ours, and did the back-end say yes? */
static int take_state_channel(struct vu_frontend *fe, int *ours, struct vdpa_extack *ack)
{
	uint64_t answer = fe->msg.payload.u64;
	int fd = vu_msg_take_fd(&fe->msg, 0);

	if (answer & VU_STATE_ERROR_MASK) {
		fd_closep(&fd);
		return vdpa_extack_set(ack, -EREMOTEIO,
				       "SET_DEVICE_STATE_FD: the back-end refuses");
	}
	if (answer & VU_STATE_FD_NONE) {
		fd_closep(&fd);
		return 0;
	}
	if (fd < 0)
		return vdpa_extack_set(ack, -EPROTO, "SET_DEVICE_STATE_FD: no descriptor came");
	fd_closep(ours);
	*ours = fd;
	return 0;
}

int vu_frontend_begin_state(struct vu_frontend *fe, enum vu_state_direction direction, int *channel,
			    struct vdpa_extack *ack)
{
	struct vu_device_state params = {.direction = direction, .phase = VU_STATE_STOPPED};
	bool load = direction == VU_STATE_LOAD;
	int ends[2], err;

	if (pipe2(ends, O_CLOEXEC))
		return -errno;
	err = vu_frontend_call(fe, VU_SET_DEVICE_STATE_FD, &params, sizeof(params), &ends[!load], 1,
			       ack);
	close(ends[!load]);
	if (!err)
		err = take_state_channel(fe, &ends[load], ack);
	if (err)
		close(ends[load]);
	else
		*channel = ends[load];
	return err;
}

int vu_frontend_check_state(struct vu_frontend *fe, struct vdpa_extack *ack)
{
	uint64_t answer = 0;
	int err = vu_frontend_get_u64(fe, VU_CHECK_DEVICE_STATE, &answer, ack);

	if (!err && answer)
		err = vdpa_extack_set(ack, -EREMOTEIO,
				      "CHECK_DEVICE_STATE: the back-end has failed");
	return err;
}

int vu_frontend_open_channel(struct vu_frontend *fe, struct vdpa_extack *ack)
{
	int pair[2], err;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
		return -errno;
	err = vu_frontend_call(fe, VU_SET_BACKEND_REQ_FD, NULL, 0, &pair[1], 1, ack);
	close(pair[1]);
	if (err) {
		close(pair[0]);
		return err;
	}
	fd_closep(&fe->channel);
	fe->channel = pair[0];
	return 0;
}

int vu_frontend_wait_channel(struct vu_frontend *fe, uint32_t *request, struct vdpa_extack *ack)
{
	struct vu_hdr hdr;
	uint64_t done = 0;
	int err;

	err = receive(fe, fe->channel, VU_TO_FRONTEND, false, ack);
	if (err)
		return err;
	*request = fe->msg.hdr.request;
	if (!(fe->msg.hdr.flags & VU_FLAG_NEED_REPLY))
		return 0;
	hdr = (struct vu_hdr){.request = *request,
			      .flags = VU_FLAG_VERSION | VU_FLAG_REPLY,
			      .size = sizeof(done)};
	return vu_send(fe->channel, &hdr, &done, NULL, 0, fe->timeout_ms);
}
