/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost_user/msg.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "base/defs.h"

/* Sizes: the smallest and largest payload that some peer sends, not only what the specification
 * says. */
#define SIZE(s)         .size_min = (s), .size_max = (s)
#define SIZES(min, max) .size_min = (min), .size_max = (max)
#define FDS(min, max)   .fds_min = (min), .fds_max = (max)
#define GATE(bit)       .gate = VU_PROTOCOL_F_##bit
#define UNGATED         .gate = VU_GATE_NONE
#define REPLY(min, max) .answer = VU_REPLY, .reply_min = (min), .reply_max = (max)
#define U64             sizeof(uint64_t)
#define STATE           sizeof(struct vu_vring_state)
#define REG             sizeof(struct vu_mem_reg)
#define CONFIG          sizeof(struct vu_config)
#define INFLIGHT        sizeof(struct vu_inflight)
#define CRYPTO          sizeof(struct vu_crypto_session)
#define CRYPTO_OLD      sizeof(struct vu_crypto_session_old)

static const struct vu_msg_desc to_backend[VU_REQUEST_MAX] = {
	[VU_GET_FEATURES] = {"GET_FEATURES", UNGATED, REPLY(U64, U64)},
	[VU_SET_FEATURES] = {"SET_FEATURES", SIZE(U64), UNGATED},
	[VU_SET_OWNER] = {"SET_OWNER", UNGATED},
	[VU_RESET_OWNER] = {"RESET_OWNER", UNGATED},
	[VU_SET_MEM_TABLE] = {"SET_MEM_TABLE", SIZES(VU_TABLE_HDR, sizeof(struct vu_mem_table)),
			      FDS(0, VU_TABLE_MAX), UNGATED},
	[VU_SET_LOG_BASE] = {"SET_LOG_BASE", SIZE(sizeof(struct vu_log)), FDS(1, 1),
			     GATE(LOG_SHMFD), REPLY(0, U64)},
	[VU_SET_LOG_FD] = {"SET_LOG_FD", SIZES(0, U64), FDS(1, 1), UNGATED},
	[VU_SET_VRING_NUM] = {"SET_VRING_NUM", SIZE(STATE), UNGATED},
	[VU_SET_VRING_ADDR] = {"SET_VRING_ADDR", SIZE(sizeof(struct vu_vring_addr)), UNGATED},
	[VU_SET_VRING_BASE] = {"SET_VRING_BASE", SIZE(STATE), UNGATED},
	[VU_GET_VRING_BASE] = {"GET_VRING_BASE", SIZE(STATE), UNGATED, REPLY(STATE, STATE)},
	[VU_SET_VRING_KICK] = {"SET_VRING_KICK", SIZE(U64), FDS(0, 1), UNGATED},
	[VU_SET_VRING_CALL] = {"SET_VRING_CALL", SIZE(U64), FDS(0, 1), UNGATED},
	[VU_SET_VRING_ERR] = {"SET_VRING_ERR", SIZE(U64), FDS(0, 1), UNGATED},
	[VU_GET_PROTOCOL_FEATURES] = {"GET_PROTOCOL_FEATURES", UNGATED, REPLY(U64, U64)},
	[VU_SET_PROTOCOL_FEATURES] = {"SET_PROTOCOL_FEATURES", SIZE(U64), UNGATED},
	[VU_GET_QUEUE_NUM] = {"GET_QUEUE_NUM", GATE(MQ), .gate_offered = true, REPLY(U64, U64)},
	[VU_SET_VRING_ENABLE] = {"SET_VRING_ENABLE", SIZE(STATE), UNGATED},
	[VU_SEND_RARP] = {"SEND_RARP", SIZE(U64), GATE(RARP)},
	[VU_NET_SET_MTU] = {"NET_SET_MTU", SIZE(U64), GATE(MTU)},
	[VU_SET_BACKEND_REQ_FD] = {"SET_BACKEND_REQ_FD", SIZES(0, U64), FDS(1, 1),
				   GATE(BACKEND_REQ), .gate_offered = true},
	[VU_IOTLB_MSG] = {"IOTLB_MSG", SIZES(0, 40), UNGATED, REPLY(U64, U64)},
	[VU_SET_VRING_ENDIAN] = {"SET_VRING_ENDIAN", SIZE(STATE), GATE(CROSS_ENDIAN)},
	[VU_GET_CONFIG] = {"GET_CONFIG", SIZES(VU_CONFIG_HDR, CONFIG), GATE(CONFIG),
			   REPLY(0, CONFIG)},
	[VU_SET_CONFIG] = {"SET_CONFIG", SIZES(VU_CONFIG_HDR, CONFIG), GATE(CONFIG)},
	[VU_CREATE_CRYPTO_SESSION] = {"CREATE_CRYPTO_SESSION", SIZES(CRYPTO_OLD, CRYPTO),
				      GATE(CRYPTO_SESSION), REPLY(CRYPTO_OLD, CRYPTO)},
	[VU_CLOSE_CRYPTO_SESSION] = {"CLOSE_CRYPTO_SESSION", SIZE(U64), GATE(CRYPTO_SESSION)},
	[VU_POSTCOPY_ADVISE] = {"POSTCOPY_ADVISE", GATE(PAGEFAULT), REPLY(0, U64), .reply_fds = 1},
	[VU_POSTCOPY_LISTEN] = {"POSTCOPY_LISTEN", GATE(PAGEFAULT)},
	[VU_POSTCOPY_END] = {"POSTCOPY_END", GATE(PAGEFAULT), REPLY(U64, U64)},
	[VU_GET_INFLIGHT_FD] = {"GET_INFLIGHT_FD", SIZES(VU_INFLIGHT_SIZE, INFLIGHT),
				GATE(INFLIGHT_SHMFD), REPLY(VU_INFLIGHT_SIZE, INFLIGHT),
				.reply_fds = 1},
	[VU_SET_INFLIGHT_FD] = {"SET_INFLIGHT_FD", SIZES(VU_INFLIGHT_SIZE, INFLIGHT), FDS(1, 1),
				GATE(INFLIGHT_SHMFD)},
	[VU_GPU_SET_SOCKET] = {"GPU_SET_SOCKET", SIZES(0, U64), FDS(1, 1), UNGATED},
	[VU_RESET_DEVICE] = {"RESET_DEVICE", GATE(RESET_DEVICE), .gate_offered = true},
	[VU_VRING_KICK] = {"VRING_KICK", SIZE(STATE), GATE(INBAND_NOTIFICATIONS)},
	[VU_GET_MAX_MEM_SLOTS] = {"GET_MAX_MEM_SLOTS", GATE(CONFIGURE_MEM_SLOTS), REPLY(U64, U64)},
	[VU_ADD_MEM_REG] = {"ADD_MEM_REG", SIZE(REG), FDS(1, 1), GATE(CONFIGURE_MEM_SLOTS)},
	[VU_REM_MEM_REG] = {"REM_MEM_REG", SIZE(REG), FDS(0, 1), GATE(CONFIGURE_MEM_SLOTS)},
	[VU_SET_STATUS] = {"SET_STATUS", SIZE(U64), GATE(STATUS)},
	[VU_GET_STATUS] = {"GET_STATUS", GATE(STATUS), REPLY(U64, U64)},
	[VU_GET_SHARED_OBJECT] = {"GET_SHARED_OBJECT", SIZE(16), GATE(SHARED_OBJECT), REPLY(0, 16),
				  .reply_fds = 1},
	[VU_SET_DEVICE_STATE_FD] = {"SET_DEVICE_STATE_FD", SIZE(sizeof(struct vu_device_state)),
				    FDS(1, 1), GATE(DEVICE_STATE), REPLY(U64, U64), .reply_fds = 1},
	[VU_CHECK_DEVICE_STATE] = {"CHECK_DEVICE_STATE", GATE(DEVICE_STATE), REPLY(U64, U64)},
	[VU_GET_SHMEM_CONFIG] = {"GET_SHMEM_CONFIG", GATE(SHMEM), REPLY(0, 8 + 8 * 256)},
};

static const struct vu_msg_desc to_frontend[VU_BACKEND_REQUEST_MAX] = {
	[VU_BACKEND_IOTLB_MSG] = {"BACKEND_IOTLB_MSG", SIZES(0, 40), UNGATED},
	[VU_BACKEND_CONFIG_CHANGE_MSG] = {"BACKEND_CONFIG_CHANGE_MSG", GATE(CONFIG)},
	[VU_BACKEND_VRING_HOST_NOTIFIER_MSG] = {"BACKEND_VRING_HOST_NOTIFIER_MSG", SIZE(24),
						FDS(0, 1), GATE(HOST_NOTIFIER)},
	[VU_BACKEND_VRING_CALL] = {"BACKEND_VRING_CALL", SIZE(STATE), GATE(INBAND_NOTIFICATIONS)},
	[VU_BACKEND_VRING_ERR] = {"BACKEND_VRING_ERR", SIZE(STATE), GATE(INBAND_NOTIFICATIONS)},
	[VU_BACKEND_SHARED_OBJECT_ADD] = {"BACKEND_SHARED_OBJECT_ADD", SIZE(16),
					  GATE(SHARED_OBJECT)},
	[VU_BACKEND_SHARED_OBJECT_REMOVE] = {"BACKEND_SHARED_OBJECT_REMOVE", SIZE(16),
					     GATE(SHARED_OBJECT)},
	[VU_BACKEND_SHARED_OBJECT_LOOKUP] = {"BACKEND_SHARED_OBJECT_LOOKUP", SIZE(16),
					     GATE(SHARED_OBJECT)},
	[VU_BACKEND_SHMEM_MAP] = {"BACKEND_SHMEM_MAP", SIZES(0, 40), FDS(1, 1), GATE(SHMEM)},
	[VU_BACKEND_SHMEM_UNMAP] = {"BACKEND_SHMEM_UNMAP", SIZES(0, 40), GATE(SHMEM)},
};

static const char *const protocol_features[VU_PROTOCOL_F_MAX] = {
	[VU_PROTOCOL_F_MQ] = "MQ",
	[VU_PROTOCOL_F_LOG_SHMFD] = "LOG_SHMFD",
	[VU_PROTOCOL_F_RARP] = "RARP",
	[VU_PROTOCOL_F_REPLY_ACK] = "REPLY_ACK",
	[VU_PROTOCOL_F_MTU] = "MTU",
	[VU_PROTOCOL_F_BACKEND_REQ] = "BACKEND_REQ",
	[VU_PROTOCOL_F_CROSS_ENDIAN] = "CROSS_ENDIAN",
	[VU_PROTOCOL_F_CRYPTO_SESSION] = "CRYPTO_SESSION",
	[VU_PROTOCOL_F_PAGEFAULT] = "PAGEFAULT",
	[VU_PROTOCOL_F_CONFIG] = "CONFIG",
	[VU_PROTOCOL_F_BACKEND_SEND_FD] = "BACKEND_SEND_FD",
	[VU_PROTOCOL_F_HOST_NOTIFIER] = "HOST_NOTIFIER",
	[VU_PROTOCOL_F_INFLIGHT_SHMFD] = "INFLIGHT_SHMFD",
	[VU_PROTOCOL_F_RESET_DEVICE] = "RESET_DEVICE",
	[VU_PROTOCOL_F_INBAND_NOTIFICATIONS] = "INBAND_NOTIFICATIONS",
	[VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS] = "CONFIGURE_MEM_SLOTS",
	[VU_PROTOCOL_F_STATUS] = "STATUS",
	[VU_PROTOCOL_F_XEN_MMAP] = "XEN_MMAP",
	[VU_PROTOCOL_F_SHARED_OBJECT] = "SHARED_OBJECT",
	[VU_PROTOCOL_F_DEVICE_STATE] = "DEVICE_STATE",
	[VU_PROTOCOL_F_GET_VRING_BASE_INFLIGHT] = "GET_VRING_BASE_INFLIGHT",
	[VU_PROTOCOL_F_GPA_ADDRESSES] = "GPA_ADDRESSES",
	[VU_PROTOCOL_F_SHMEM] = "SHMEM",
};

const struct vu_msg_desc *vu_msg_desc(enum vu_dir dir, uint32_t request)
{
	const struct vu_msg_desc *table = dir == VU_TO_BACKEND ? to_backend : to_frontend;
	size_t num = dir == VU_TO_BACKEND ? ARRAY_SIZE(to_backend) : ARRAY_SIZE(to_frontend);

	return request < num && table[request].name ? &table[request] : NULL;
}

const char *vu_msg_name(enum vu_dir dir, uint32_t request, char buf[16])
{
	const struct vu_msg_desc *desc = vu_msg_desc(dir, request);

	if (desc)
		return desc->name;
	snprintf(buf, 16, "%u", request);
	return buf;
}

const char *vu_protocol_feature_name(unsigned int bit, char buf[16])
{
	if (bit < ARRAY_SIZE(protocol_features))
		return protocol_features[bit];
	snprintf(buf, 16, "bit %u", bit);
	return buf;
}

int vu_check_hdr(enum vu_dir dir, bool reply, const struct vu_hdr *hdr, struct vdpa_extack *ack)
{
	const struct vu_msg_desc *desc = vu_msg_desc(dir, hdr->request);
	uint32_t min, max;

	if (!desc)
		return vdpa_extack_set(ack, -EPROTO, "message %u is not known", hdr->request);
	if ((hdr->flags & VU_FLAG_VERSION_MASK) != VU_FLAG_VERSION)
		return vdpa_extack_set(ack, -EPROTO, "%s: protocol version %u, known is version %u",
				       desc->name, hdr->flags & VU_FLAG_VERSION_MASK,
				       VU_FLAG_VERSION);
	if (!!(hdr->flags & VU_FLAG_REPLY) != reply)
		return vdpa_extack_set(ack, -EPROTO, "%s: came as a %s where a %s belongs",
				       desc->name, reply ? "request" : "reply",
				       reply ? "reply" : "request");
	if (!reply) {
		min = desc->size_min;
		max = desc->size_max;
	} else if (desc->answer == VU_REPLY) {
		min = desc->reply_min;
		max = desc->reply_max;
	} else {
		min = max = U64;
	}
	if (hdr->size < min || hdr->size > max)
		return vdpa_extack_set(ack, -EPROTO, "%s: %u bytes, not %u to %u", desc->name,
				       hdr->size, min, max);
	return 0;
}

int vu_check_msg(enum vu_dir dir, const struct vu_msg *msg, uint64_t negotiated, uint64_t offered,
		 struct vdpa_extack *ack)
{
	const struct vu_msg_desc *desc = vu_msg_desc(dir, msg->hdr.request);
	uint64_t have = negotiated | (desc->gate_offered ? offered : 0);
	char buf[16];

	if (desc->gate != VU_GATE_NONE && !(have & BIT_ULL(desc->gate)))
		return vdpa_extack_set(ack, -EPROTO,
				       "needs the protocol feature %s, which was not negotiated",
				       vu_protocol_feature_name((unsigned int)desc->gate, buf));
	if (msg->num_fds < desc->fds_min || msg->num_fds > desc->fds_max)
		return vdpa_extack_set(ack, -EPROTO, "%u descriptors, not %u to %u", msg->num_fds,
				       desc->fds_min, desc->fds_max);
	return 0;
}

void vu_msg_init(struct vu_msg *msg)
{
	msg->num_fds = 0;
	msg->have = 0;
}

void vu_msg_clear(struct vu_msg *msg)
{
	for (unsigned int i = 0; i < msg->num_fds; i++)
		fd_closep(&msg->fds[i]);
	vu_msg_init(msg);
}

int vu_msg_take_fd(struct vu_msg *msg, unsigned int i)
{
	return i < msg->num_fds ? fd_take(&msg->fds[i]) : -1;
}

/* Room for one descriptor more than is allowed, so that a surplus is seen and not lost. */
union fd_control {
	char buf[CMSG_SPACE((VU_FDS_MAX + 1) * sizeof(int))];
	struct cmsghdr align;
};

/* All descriptors that came are ours, even those of a message that is refused. */
static int take_fds(struct msghdr *mh, struct vu_msg *msg, struct vdpa_extack *ack)
{
	bool surplus = mh->msg_flags & MSG_CTRUNC;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t num = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < num; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (msg->num_fds < VU_FDS_MAX) {
				msg->fds[msg->num_fds++] = fd;
			} else {
				close(fd);
				surplus = true;
			}
		}
	}
	if (surplus)
		return vdpa_extack_set(ack, -EPROTO,
				       "more than %u descriptors with a message, or none left here",
				       VU_FDS_MAX);
	return 0;
}

/* Reads into one part of the message: `len` bytes at `part`, of which `have` are there. */
static int recv_part(int sock, struct vu_msg *msg, void *part, size_t have, size_t len,
		     struct vdpa_extack *ack)
{
	struct iovec iov = {.iov_base = (uint8_t *)part + have, .iov_len = len - have};
	union fd_control control;
	struct msghdr mh = {.msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control.buf,
			    .msg_controllen = sizeof(control.buf)};
	ssize_t got;
	int err;

	do {
		got = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
	} while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (got == 0)
		return -EPIPE;
	err = take_fds(&mh, msg, ack);
	if (err)
		return err;
	msg->have += (size_t)got;
	return 1;
}

int vu_recv(int sock, enum vu_dir dir, bool reply, struct vu_msg *msg, struct vdpa_extack *ack)
{
	int ret;

	while (msg->have < sizeof(msg->hdr)) {
		ret = recv_part(sock, msg, &msg->hdr, msg->have, sizeof(msg->hdr), ack);
		if (ret <= 0)
			return ret;
	}
	/* Again for each part that comes, which costs nothing, and before the size is used. */
	ret = vu_check_hdr(dir, reply, &msg->hdr, ack);
	if (ret)
		return ret;
	while (msg->have - sizeof(msg->hdr) < msg->hdr.size) {
		ret = recv_part(sock, msg, &msg->payload, msg->have - sizeof(msg->hdr),
				msg->hdr.size, ack);
		if (ret <= 0)
			return ret;
	}
	return 1;
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Waits until the socket takes more.  0, -ETIMEDOUT. */
static int wait_writable(int sock, int64_t deadline)
{
	struct pollfd p = {.fd = sock, .events = POLLOUT};
	int64_t left = deadline - now_ms();
	int ret;

	if (left <= 0)
		return -ETIMEDOUT;
	ret = poll(&p, 1, (int)left);
	if (ret < 0 && errno != EINTR)
		return -errno;
	return ret == 0 ? -ETIMEDOUT : 0;
}

static void put_fds(struct msghdr *mh, union fd_control *control, const int *fds,
		    unsigned int num_fds)
{
	struct cmsghdr *c;

	memset(control, 0, sizeof(*control));
	mh->msg_control = control->buf;
	mh->msg_controllen = CMSG_SPACE(num_fds * sizeof(int));
	c = CMSG_FIRSTHDR(mh);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(num_fds * sizeof(int));
	memcpy(CMSG_DATA(c), fds, num_fds * sizeof(int));
}

int vu_send(int sock, const struct vu_hdr *hdr, const void *payload, const int *fds,
	    unsigned int num_fds, int timeout_ms)
{
	int64_t deadline = timeout_ms ? now_ms() + timeout_ms : 0;
	size_t len = sizeof(*hdr) + hdr->size, done = 0;
	union fd_control control;

	while (done < len) {
		struct iovec iov[2];
		struct msghdr mh = {.msg_iov = iov};
		ssize_t put;
		int err;

		if (done < sizeof(*hdr))
			iov[mh.msg_iovlen++] = (struct iovec){(uint8_t *)(uintptr_t)hdr + done,
							      sizeof(*hdr) - done};
		if (hdr->size) {
			size_t off = done < sizeof(*hdr) ? 0 : done - sizeof(*hdr);

			iov[mh.msg_iovlen++] = (struct iovec){(uint8_t *)(uintptr_t)payload + off,
							      hdr->size - off};
		}
		/* The descriptors go with the first byte. */
		if (num_fds && !done)
			put_fds(&mh, &control, fds, num_fds);
		put = sendmsg(sock, &mh, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (put > 0) {
			done += (size_t)put;
		} else if (put < 0 && errno == EAGAIN) {
			err = wait_writable(sock, deadline);
			if (err)
				return err;
		} else if (put < 0 && errno != EINTR) {
			return -errno;
		}
	}
	return 0;
}
