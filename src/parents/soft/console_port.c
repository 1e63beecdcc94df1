/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes of a port.  Buffers that wait for input stay in the ring until there is some; output that
 * the stream has no room for stays in the driver's buffer, and the rest behind it in the ring.
 */
#include <errno.h>
#include <string.h>

#include "base/defs.h"
#include "parents/soft/console.h"

/* Bytes of one request before others on the worker have their turn. */
#define SEND_MAX (1u << 20)

static struct console_port *to_port(struct stream_user *user)
{
	return container_of(user, struct console_port, user);
}

/* ---- what the stream says; its lock is held */

static void on_readable(struct stream_user *user)
{
	struct console_port *port = to_port(user);

	pthread_mutex_lock(&port->con->lock);
	console_wake(port->rx);
	pthread_mutex_unlock(&port->con->lock);
}

static void on_writable(struct stream_user *user)
{
	struct console_port *port = to_port(user);

	pthread_mutex_lock(&port->con->lock);
	console_wake(port->tx);
	pthread_mutex_unlock(&port->con->lock);
}

static void on_opened(struct stream_user *user, bool open)
{
	struct console_port *port = to_port(user);

	pthread_mutex_lock(&port->con->lock);
	if (port->host_open != open) {
		port->host_open = open;
		if (port->ready)
			console_tell(port, CONSOLE_TELL_OPEN);
	}
	pthread_mutex_unlock(&port->con->lock);
}

static const struct stream_user_ops user_ops = {
	.readable = on_readable,
	.writable = on_writable,
	.opened = on_opened,
};

/* ---- from the stream to the driver */

/* Without MULTIPORT a driver does not say whether somebody reads. */
static bool guest_reads(struct console_port *port)
{
	struct console *con = port->con;
	bool reads;

	pthread_mutex_lock(&con->lock);
	reads = !console_multiport(con) || port->guest_open;
	pthread_mutex_unlock(&con->lock);
	return reads;
}

bool console_rx_poll(struct vdpa_soft_vq *vq, struct console_vq *cvq)
{
	struct stream *stream = cvq->port->stream;
	struct vdpa_soft_req *req;
	uint32_t num = 0, len;

	if (!guest_reads(cvq->port))
		return false;
	for (; num < VDPA_SOFT_BURST && stream_avail(stream); num++) {
		req = vdpa_soft_vq_take(vq);
		if (!req)
			break;
		len = stream_read(stream, req->elem.iov + req->elem.out_num, req->elem.in_num);
		if (len)
			vdpa_soft_complete(req, len);
		else
			vdpa_soft_complete_error(req, 0);
	}
	/* New buffers are news only while there is something to put into them. */
	vdpa_soft_vq_want_kicks(vq, num < VDPA_SOFT_BURST && stream_avail(stream));
	return num;
}

/* ---- from the driver to the stream */

/*
 * Returns false when it is held: there is no room, and the stream says when to go on; or it is so
 * long that others have their turn first, and *more is set.
 */
static bool send_on(struct console_vq *cvq, struct vdpa_soft_req *req, bool *more)
{
	const struct vdpa_vq_elem *elem = &req->elem;
	uint32_t left = elem->out_len - cvq->done, part = left < SEND_MAX ? left : SEND_MAX;
	uint32_t sent = stream_write(cvq->port->stream, elem->iov, elem->out_num, cvq->done, part);

	cvq->done += sent;
	if (cvq->done < elem->out_len) {
		cvq->held = req;
		*more = sent == part;
		return false;
	}
	cvq->held = NULL;
	cvq->done = 0;
	vdpa_soft_complete(req, 0);
	return true;
}

bool console_tx_poll(struct vdpa_soft_vq *vq, struct console_vq *cvq)
{
	struct vdpa_soft_req *req = cvq->held;
	uint32_t num = 0;
	bool more = false;

	while (num < VDPA_SOFT_BURST && (req || (req = vdpa_soft_vq_take(vq)))) {
		if (!send_on(cvq, req, &more))
			break;
		req = NULL;
		num++;
	}
	return num || more;
}

void console_tx_cancel(struct vdpa_soft_vq *vq, struct console_vq *cvq)
{
	struct vdpa_soft_req *req = cvq->held;
	const struct vdpa_vq_elem *elem;

	if (!req)
		return;
	elem = &req->elem;
	/* After a reset nobody hears of it, but where a log does: there it comes again. */
	if (!(vq->hold & SOFT_HOLD_DROP) || !vq->inflight)
		stream_force(cvq->port->stream, elem->iov, elem->out_num, cvq->done,
			     elem->out_len - cvq->done);
	cvq->held = NULL;
	cvq->done = 0;
	vdpa_soft_complete(req, 0);
}

/* ---- set-up */

int console_port_open(struct console *con, uint16_t id, struct vdpa_attrs *attrs,
		      struct vdpa_extack *ack)
{
	struct console_port *port = &con->ports[id];
	struct stream **given = soft_arg(con->soft);
	struct stream_open open = {
		.attrs = attrs,
		.name = vdpa_soft_vdev(con->soft)->name,
		.bus = con->soft->bus,
		.port = id,
	};
	int err = 0;

	port->con = con;
	port->id = id;
	port->user.ops = &user_ops;
	if (given) {
		port->stream = *given;
		*given = NULL;
	} else {
		err = stream_open(&open, &port->stream, ack);
	}
	if (!err)
		stream_set_user(port->stream, &port->user);
	return err;
}

void console_port_close(struct console_port *port)
{
	stream_close(port->stream);
	port->stream = NULL;
}
