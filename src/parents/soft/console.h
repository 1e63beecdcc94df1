/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The console device, between its files: console.c (attributes, config space, queues),
 * console_port.c (bytes), console_ctrl.c (messages about ports), console_state.c (what is kept).
 *
 * Who owns what.  The lane owns the set-up.  What messages and backends change of a port is under
 * con->lock.  A stream calls its user with its own lock held, which therefore comes before
 * con->lock: nobody who holds con->lock calls a stream.
 *
 * @spec virtio 1.3, 5.3
 */
#ifndef SOFT_CONSOLE_H
#define SOFT_CONSOLE_H

#include <linux/virtio_console.h>
#include <pthread.h>

#include "backends/stream/stream.h"
#include "parents/soft/internal.h"

#define CONSOLE_PORTS_MAX 31
#define CONSOLE_NAME_MAX  64

/* What the driver has to be told of a port; sent in the order of the bits. */
#define CONSOLE_TELL_ADD     1u
#define CONSOLE_TELL_CONSOLE 2u /* it is one */
#define CONSOLE_TELL_SIZE    4u
#define CONSOLE_TELL_NAME    8u
#define CONSOLE_TELL_OPEN    16u /* whether somebody is at the other end */

struct console;
struct console_vq;

struct console_port {
	struct console *con;
	uint16_t id;
	struct stream *stream;
	struct stream_user user;
	char name[CONSOLE_NAME_MAX]; /* "": none */

	/* con->lock */
	struct console_vq *rx, *tx; /* while they run */
	uint32_t tell;              /* CONSOLE_TELL_* */
	bool ready;                 /* the driver has it */
	bool guest_open;            /* and somebody in the guest uses it */
	bool host_open;
};

struct console {
	struct vdpa_soft *soft;
	uint16_t num_ports;
	struct console_port ports[CONSOLE_PORTS_MAX];

	/* The lane's; constant while queues run. */
	uint64_t features; /* negotiated */

	pthread_mutex_t lock;       /* of what follows, and of ports */
	struct console_vq *ctrl_rx; /* while it runs */
	bool ready;                 /* the driver asks about ports */
	uint16_t cols, rows;
};

enum console_role { CONSOLE_RX, CONSOLE_TX, CONSOLE_CTRL_RX, CONSOLE_CTRL_TX, CONSOLE_NOTHING };

/* Each queue's. */
struct console_vq {
	enum console_role role; /* atomic: statistics read it */
	struct console_port *port;
	struct vdpa_soft_req *held; /* transmit: the stream has taken `done` bytes of it */
	uint32_t done;
	/* From any thread: who wakes a queue does not know whether its source is attached. */
	struct loop *loop;
	struct loop_call wake;
	struct vdpa_soft_vq *vq;
};

/* NULL is allowed: it does not run.  con->lock is held. */
static inline void console_wake(struct console_vq *cvq)
{
	if (cvq)
		loop_post(cvq->loop, &cvq->wake);
}

static inline bool console_multiport(const struct console *con)
{
	return con->features >> VIRTIO_CONSOLE_F_MULTIPORT & 1;
}

/* console_port.c */
/* The stream is what the attributes say, or one that a parent brings (soft_dev_make()).  Lane. */
int console_port_open(struct console *con, uint16_t id, struct vdpa_attrs *attrs,
		      struct vdpa_extack *ack);
void console_port_close(struct console_port *port);
bool console_rx_poll(struct vdpa_soft_vq *vq, struct console_vq *cvq);
bool console_tx_poll(struct vdpa_soft_vq *vq, struct console_vq *cvq);
/* Its queue stops: what the stream has no room for has to go all the same. */
void console_tx_cancel(struct vdpa_soft_vq *vq, struct console_vq *cvq);

/* console_ctrl.c */
bool console_ctrl_rx_poll(struct vdpa_soft_vq *vq);
bool console_ctrl_tx_poll(struct vdpa_soft_vq *vq);
/* A message of the driver's, len bytes of it.  Any thread. */
void console_ctrl(struct console *con, const void *msg, uint32_t len);
/*
 * The next thing to be told: its message, for the driver.  Returns its length, 0: there is none.
 * con->lock is held.
 */
#define CONSOLE_MSG_MAX (sizeof(struct virtio_console_control) + CONSOLE_NAME_MAX)
uint32_t console_next_msg(struct console *con, uint8_t msg[CONSOLE_MSG_MAX]);
/* Have the driver told, if it asks about ports.  con->lock is held. */
void console_tell(struct console_port *port, uint32_t tell);
/* Another size: config space, and a message.  Any thread but workers, without con->lock. */
void console_set_size(struct console *con, uint16_t cols, uint16_t rows);
/* Back to what a driver finds.  Lane. */
void console_ctrl_reset(struct console *con);

/* console_state.c */
int console_save(struct vdpa_soft *soft, struct vdpa_state_blob *blob, struct vdpa_extack *ack);
int console_load(struct vdpa_soft *soft, const struct vdpa_state_blob *blob,
		 struct vdpa_extack *ack);

#endif
