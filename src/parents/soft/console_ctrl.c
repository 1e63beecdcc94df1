/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages about ports.  What a driver has to be told is a set of bits for each port, not a queue:
 * one that does not listen costs no memory, and hears the latest when it does.
 *
 * @spec virtio 1.3, 5.3.6.2
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/defs.h"
#include "bus/bus.h"
#include "parents/soft/console.h"

/* ---- to the driver; con->lock is held */

void console_tell(struct console_port *port, uint32_t tell)
{
	struct console *con = port->con;

	if (!con->ready)
		return;
	port->tell |= tell;
	console_wake(con->ctrl_rx);
}

/* What follows the header of a message, and the value in it. */
static uint32_t fill(const struct console_port *port, uint32_t tell,
		     struct virtio_console_control *head, uint8_t *more)
{
	/*
	 * Rows come first.  The specification has them the other way round; drivers and devices
	 * have done it so since before it was written.
	 */
	const uint16_t size[2] = {htole16(port->con->rows), htole16(port->con->cols)};

	head->value = htole16(1);
	switch (tell) {
	case CONSOLE_TELL_ADD:
		head->event = htole16(VIRTIO_CONSOLE_PORT_ADD);
		return 0;
	case CONSOLE_TELL_CONSOLE:
		head->event = htole16(VIRTIO_CONSOLE_CONSOLE_PORT);
		return 0;
	case CONSOLE_TELL_SIZE:
		head->event = htole16(VIRTIO_CONSOLE_RESIZE);
		memcpy(more, size, sizeof(size));
		return sizeof(size);
	case CONSOLE_TELL_NAME:
		head->event = htole16(VIRTIO_CONSOLE_PORT_NAME);
		memcpy(more, port->name, strlen(port->name));
		return (uint32_t)strlen(port->name);
	default:
		head->event = htole16(VIRTIO_CONSOLE_PORT_OPEN);
		head->value = htole16(port->host_open);
		return 0;
	}
}

uint32_t console_next_msg(struct console *con, uint8_t msg[CONSOLE_MSG_MAX])
{
	struct virtio_console_control head;
	uint32_t len;

	for (uint16_t i = 0; i < con->num_ports; i++) {
		struct console_port *port = &con->ports[i];
		uint32_t tell = port->tell & -port->tell;

		if (!tell)
			continue;
		port->tell &= ~tell;
		head.id = htole32(i);
		len = fill(port, tell, &head, msg + sizeof(head));
		memcpy(msg, &head, sizeof(head));
		return (uint32_t)sizeof(head) + len;
	}
	return 0;
}

static bool has_msg(struct console *con)
{
	bool has = false;

	pthread_mutex_lock(&con->lock);
	for (uint16_t i = 0; i < con->num_ports; i++)
		has |= con->ports[i].tell;
	pthread_mutex_unlock(&con->lock);
	return has;
}

bool console_ctrl_rx_poll(struct vdpa_soft_vq *vq)
{
	struct console *con = vdpa_soft_priv(vdpa_soft_vq_soft(vq));
	uint8_t msg[CONSOLE_MSG_MAX];
	struct vdpa_soft_req *req;
	uint32_t num = 0, len;

	for (; num < VDPA_SOFT_BURST && has_msg(con); num++) {
		req = vdpa_soft_vq_take(vq);
		if (!req)
			break;
		pthread_mutex_lock(&con->lock);
		len = console_next_msg(con, msg);
		pthread_mutex_unlock(&con->lock);
		if (!len || req->elem.in_len < len) {
			vdpa_soft_complete_error(req, 0);
			continue;
		}
		vdpa_iov_from_buf(req->elem.iov + req->elem.out_num, req->elem.in_num, 0, msg, len);
		vdpa_soft_complete(req, len);
	}
	vdpa_soft_vq_want_kicks(vq, num < VDPA_SOFT_BURST && has_msg(con));
	return num;
}

/* ---- from the driver; con->lock is held */

static void device_ready(struct console *con, bool ready)
{
	con->ready = ready;
	for (uint16_t i = 0; i < con->num_ports; i++) {
		con->ports[i].tell = 0;
		if (ready)
			console_tell(&con->ports[i], CONSOLE_TELL_ADD);
	}
}

static void port_ready(struct console_port *port, bool ready)
{
	uint32_t tell = CONSOLE_TELL_OPEN;

	port->ready = ready;
	if (!ready)
		return;
	/* The first one is what a single port would be. */
	if (!port->id)
		tell |= CONSOLE_TELL_CONSOLE | CONSOLE_TELL_SIZE;
	if (port->name[0])
		tell |= CONSOLE_TELL_NAME;
	console_tell(port, tell);
}

static void port_open(struct console_port *port, bool open)
{
	port->guest_open = open;
	if (open)
		console_wake(port->rx);
}

void console_ctrl(struct console *con, const void *msg, uint32_t len)
{
	struct virtio_console_control head;
	uint32_t id;
	bool on;

	/* What is not understood is ignored: there is no way to answer. */
	if (len < sizeof(head))
		return;
	memcpy(&head, msg, sizeof(head));
	id = le32toh(head.id);
	on = le16toh(head.value) == 1;
	pthread_mutex_lock(&con->lock);
	if (le16toh(head.event) == VIRTIO_CONSOLE_DEVICE_READY)
		device_ready(con, on);
	else if (id < con->num_ports && le16toh(head.event) == VIRTIO_CONSOLE_PORT_READY)
		port_ready(&con->ports[id], on);
	else if (id < con->num_ports && le16toh(head.event) == VIRTIO_CONSOLE_PORT_OPEN)
		port_open(&con->ports[id], on);
	pthread_mutex_unlock(&con->lock);
}

bool console_ctrl_tx_poll(struct vdpa_soft_vq *vq)
{
	struct console *con = vdpa_soft_priv(vdpa_soft_vq_soft(vq));
	uint8_t msg[sizeof(struct virtio_console_control)];
	struct vdpa_soft_req *req;
	uint32_t num = 0;

	for (; num < VDPA_SOFT_BURST && (req = vdpa_soft_vq_take(vq)); num++) {
		size_t len = vdpa_iov_to_buf(req->elem.iov, req->elem.out_num, 0, msg, sizeof(msg));

		console_ctrl(con, msg, (uint32_t)len);
		vdpa_soft_complete(req, 0);
	}
	if (num)
		bus_state_changed(vdpa_soft_vdev(con->soft));
	return num;
}

/* ---- the rest */

static void write_size(struct console *con, uint16_t cols, uint16_t rows)
{
	const uint16_t size[2] = {htole16(cols), htole16(rows)};

	vdpa_soft_update_config(con->soft, offsetof(struct virtio_console_config, cols), size,
				sizeof(size));
}

void console_set_size(struct console *con, uint16_t cols, uint16_t rows)
{
	struct console_port *port = &con->ports[0];

	stream_set_size(port->stream, cols, rows);
	pthread_mutex_lock(&con->lock);
	con->cols = cols;
	con->rows = rows;
	if (port->ready)
		console_tell(port, CONSOLE_TELL_SIZE);
	pthread_mutex_unlock(&con->lock);
	write_size(con, cols, rows);
}

void console_ctrl_reset(struct console *con)
{
	pthread_mutex_lock(&con->lock);
	con->ready = false;
	for (uint16_t i = 0; i < con->num_ports; i++) {
		struct console_port *port = &con->ports[i];

		port->tell = 0;
		port->ready = port->guest_open = false;
	}
	pthread_mutex_unlock(&con->lock);
}
