/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The front-end's side of the protocol: asks a back-end, waits for its answers.  One thread at a
 * time.
 *
 * All functions return 0 or -errno with a text; -ETIMEDOUT when the back-end does not answer,
 * -EPIPE when it has closed, -EREMOTEIO when it says no.
 */
#ifndef VHOST_USER_FRONTEND_H
#define VHOST_USER_FRONTEND_H

#include "vhost_user/msg.h"

struct vu_frontend {
	int sock;       /* -1: closed */
	int channel;    /* our end of the channel for the back-end's own messages; -1: none */
	int timeout_ms; /* for each answer */
	uint64_t offer, protocol_offer; /* of the back-end */
	uint64_t protocol_features;     /* acked */
	struct vu_msg msg;
};

/* sock: connected, taken (set to -1). */
void vu_frontend_init(struct vu_frontend *fe, int *sock, int timeout_ms);
int vu_frontend_connect(struct vu_frontend *fe, const char *path, int timeout_ms,
			struct vdpa_extack *ack);
void vu_frontend_close(struct vu_frontend *fe);

/*
 * Send a message and wait for its answer: the payload of a message that has one (in fe->msg until
 * the next call), else the acknowledgement where REPLY_ACK was negotiated, else nothing. fds:
 * borrowed.
 */
int vu_frontend_call(struct vu_frontend *fe, uint32_t request, const void *payload, uint32_t size,
		     const int *fds, unsigned int num_fds, struct vdpa_extack *ack);

/* SET_OWNER, both kinds of features; acks the protocol features of `want` that are offered. */
int vu_frontend_negotiate(struct vu_frontend *fe, uint64_t want, struct vdpa_extack *ack);

int vu_frontend_get_u64(struct vu_frontend *fe, uint32_t request, uint64_t *ret,
			struct vdpa_extack *ack);
int vu_frontend_set_u64(struct vu_frontend *fe, uint32_t request, uint64_t value,
			struct vdpa_extack *ack);
/* A ring message with a number: SET_VRING_NUM, BASE, ENABLE. */
int vu_frontend_set_ring(struct vu_frontend *fe, uint32_t request, uint32_t idx, uint32_t num,
			 struct vdpa_extack *ack);
int vu_frontend_get_base(struct vu_frontend *fe, uint32_t idx, uint32_t *ret,
			 struct vdpa_extack *ack);
/* SET_VRING_KICK, CALL, ERR; fd -1: there is none. */
int vu_frontend_set_ring_fd(struct vu_frontend *fe, uint32_t request, uint32_t idx, int fd,
			    struct vdpa_extack *ack);
/* How a ring is set up. */
struct vu_frontend_ring {
	uint32_t idx, num, base;
	uint64_t desc, avail, used; /* user addresses */
	int call, kick;             /* -1: none */
};
/* NUM, BASE, ADDR, CALL, KICK, ENABLE: the ring runs afterwards. */
int vu_frontend_start_ring(struct vu_frontend *fe, const struct vu_frontend_ring *ring,
			   struct vdpa_extack *ack);
/* The whole table: in one message, or region by region where there are more and the back-end can.
 */
int vu_frontend_set_mem(struct vu_frontend *fe, const struct vu_region *regions, const int *fds,
			uint32_t num, struct vdpa_extack *ack);
int vu_frontend_add_mem(struct vu_frontend *fe, const struct vu_region *region, int fd,
			struct vdpa_extack *ack);
int vu_frontend_rem_mem(struct vu_frontend *fe, const struct vu_region *region,
			struct vdpa_extack *ack);
int vu_frontend_get_config(struct vu_frontend *fe, uint32_t off, void *buf, uint32_t len,
			   struct vdpa_extack *ack);
int vu_frontend_set_config(struct vu_frontend *fe, uint32_t off, const void *buf, uint32_t len,
			   struct vdpa_extack *ack);
/* in: num_queues and queue_size; filled in.  fd: the caller's. */
int vu_frontend_get_inflight(struct vu_frontend *fe, struct vu_inflight *in, int *fd,
			     struct vdpa_extack *ack);
int vu_frontend_set_inflight(struct vu_frontend *fe, const struct vu_inflight *in, int fd,
			     struct vdpa_extack *ack);

/*
 * SET_DEVICE_STATE_FD; no ring runs.  *channel: the caller's, to read the state from until its end
 * (save), or to write it to and close (load).  It is a pipe unless the back-end has something
 * better.
 */
int vu_frontend_begin_state(struct vu_frontend *fe, enum vu_state_direction direction, int *channel,
			    struct vdpa_extack *ack);
/* CHECK_DEVICE_STATE, at the end: could the back-end do it? */
int vu_frontend_check_state(struct vu_frontend *fe, struct vdpa_extack *ack);

/* Give the back-end a channel for messages of its own: fe->channel becomes readable. */
int vu_frontend_open_channel(struct vu_frontend *fe, struct vdpa_extack *ack);
/* Wait for a message on the channel; it is answered where the back-end asks for it. */
int vu_frontend_wait_channel(struct vu_frontend *fe, uint32_t *request, struct vdpa_extack *ack);

#endif
