/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages of the vhost-user protocol: the table that says what each may carry, and how they pass a
 * socket.  Both sides use it: the bus driver (back-end) and whoever is a front-end.
 */
#ifndef VHOST_USER_MSG_H
#define VHOST_USER_MSG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vdpa/extack.h"
#include "vhost_user/proto.h"

enum vu_dir {
	VU_TO_BACKEND,  /* enum vu_request */
	VU_TO_FRONTEND, /* enum vu_backend_request */
};

/* How a message is answered. */
enum vu_answer {
	VU_ACK,   /* by a number, 0 for success, where the sender asks for it (REPLY_ACK) */
	VU_REPLY, /* always, by a payload of its own */
};

#define VU_GATE_NONE (-1)

struct vu_msg_desc {
	const char *name;            /* without prefix: "SET_MEM_TABLE"; NULL: there is none */
	uint16_t size_min, size_max; /* of the payload, bytes */
	uint8_t fds_min, fds_max;
	int8_t gate;       /* the protocol feature that it needs, or VU_GATE_NONE */
	bool gate_offered; /* it is enough that the back-end offers the feature */
	enum vu_answer answer;
	uint16_t reply_min, reply_max;
	uint8_t reply_fds; /* at most */
};

/* A message, or as much of it as has come in. */
struct vu_msg {
	struct vu_hdr hdr;
	union vu_payload payload;
	int fds[VU_FDS_MAX]; /* owned; -1 where taken */
	unsigned int num_fds;
	size_t have; /* bytes received */
};

/* The row of a message, or NULL when the protocol has no such number. */
const struct vu_msg_desc *vu_msg_desc(enum vu_dir dir, uint32_t request);
/* Its name; the number in buf when it has none. */
const char *vu_msg_name(enum vu_dir dir, uint32_t request, char buf[16]);
/* "REPLY_ACK" of bit 3; the number in buf when it has none. */
const char *vu_protocol_feature_name(unsigned int bit, char buf[16]);

/*
 * Is a header in order: version, direction, a number that exists, a size in range?  Nothing behind
 * a header that fails can be understood.  0 or -EPROTO; the text names the message.
 */
int vu_check_hdr(enum vu_dir dir, bool reply, const struct vu_hdr *hdr, struct vdpa_extack *ack);

/*
 * May the message be sent now, with these descriptors?
 * negotiated, offered: protocol features.  0 or -EPROTO; the text does not name the message.
 */
int vu_check_msg(enum vu_dir dir, const struct vu_msg *msg, uint64_t negotiated, uint64_t offered,
		 struct vdpa_extack *ack);

/* Empty, ready for vu_recv(). */
void vu_msg_init(struct vu_msg *msg);
/* Closes descriptors that nobody took; empty again. */
void vu_msg_clear(struct vu_msg *msg);
/* The i-th descriptor, now the caller's; -1 when there is none. */
int vu_msg_take_fd(struct vu_msg *msg, unsigned int i);

/*
 * Read on, as much as is there; never waits on a non-blocking socket.
 * Returns 1 when msg is whole, 0 when more must come, -EPIPE when the peer has closed, -EPROTO (a
 * bad header, too many descriptors; the text says), or what recvmsg(2) says.
 */
int vu_recv(int sock, enum vu_dir dir, bool reply, struct vu_msg *msg, struct vdpa_extack *ack);

/*
 * Send a message whole, within timeout_ms (0: if it fits into the socket's buffer at once).
 * fds are borrowed.  0, -ETIMEDOUT, -EPIPE or what sendmsg(2) says; after -ETIMEDOUT a part of the
 * message may be sent, so that the connection is of no more use.
 */
int vu_send(int sock, const struct vu_hdr *hdr, const void *payload, const int *fds,
	    unsigned int num_fds, int timeout_ms);

#endif
