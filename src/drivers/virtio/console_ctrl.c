/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages about ports.  What the device says is copied, then looked at; a message is taken only
 * when there is room for the answer.
 */
#include <endian.h>
#include <string.h>

#include "base/defs.h"
#include "drivers/virtio/console_tty.h"

#define BATCH 16u

static void send(struct tty *tty, uint32_t id, uint16_t event, uint16_t value)
{
	struct tty_queue *q = &tty->queues[TTY_CTRL_TX];
	const struct virtio_console_control msg = {
		.id = htole32(id),
		.event = htole16(event),
		.value = htole16(value),
	};

	memcpy(q->free[q->nfree - 1], &msg, sizeof(msg));
	tty_send(tty, q, sizeof(msg));
	virtio_queue_publish(q->vq);
}

/* Of a port that is there (again) the device knows nothing. */
static void on_add(struct tty *tty, uint32_t id)
{
	bool first = !id;

	/* The others are of no use here. */
	send(tty, id, VIRTIO_CONSOLE_PORT_READY, first);
	if (first) {
		tty->added = true;
		tty->told_open = false;
	}
}

static void on_open(struct tty *tty, bool open)
{
	/* A terminal whose other end has gone is no good to who has it open. */
	if (tty->peer && !open && tty->open)
		tty_hang_up(tty);
	tty->peer = open;
}

/* Rows first: see the device's side. */
static void on_size(struct tty *tty, const uint8_t *more, uint32_t len)
{
	uint16_t size[2];

	if (len < sizeof(size))
		return;
	memcpy(size, more, sizeof(size));
	tty_set_size(tty, le16toh(size[1]), le16toh(size[0]));
}

static void handle(struct tty *tty, const uint8_t *buf, uint32_t len)
{
	struct virtio_console_control msg;
	uint32_t id;

	if (len < sizeof(msg))
		return;
	memcpy(&msg, buf, sizeof(msg));
	id = le32toh(msg.id);
	if (le16toh(msg.event) == VIRTIO_CONSOLE_PORT_ADD)
		on_add(tty, id);
	else if (id)
		return;
	else if (le16toh(msg.event) == VIRTIO_CONSOLE_PORT_OPEN)
		on_open(tty, le16toh(msg.value) == 1);
	else if (le16toh(msg.event) == VIRTIO_CONSOLE_RESIZE)
		on_size(tty, buf + sizeof(msg), len - (uint32_t)sizeof(msg));
}

static bool receive(struct tty *tty)
{
	struct tty_queue *in = &tty->queues[TTY_CTRL_RX], *out = &tty->queues[TTY_CTRL_TX];
	uint8_t msg[TTY_MSG_BYTES], *buf;
	uint32_t len, num = 0;

	while (num < BATCH && out->nfree && (buf = vdpa_drvq_get(in->vq->ring, &len))) {
		memcpy(msg, buf, len);
		tty_offer(tty, in, buf);
		handle(tty, msg, len);
		num++;
	}
	if (vdpa_drvq_broken(in->vq->ring))
		tty_fail(tty, vdpa_drvq_broken(in->vq->ring));
	if (num)
		virtio_queue_publish(in->vq);
	return num == BATCH;
}

bool tty_ctrl(struct tty *tty)
{
	struct tty_queue *out = &tty->queues[TTY_CTRL_TX];
	bool more;

	if (!out->vq)
		return false;
	tty_reclaim(tty, out);
	more = receive(tty);
	if (tty->added && tty->told_open != tty->open && out->nfree) {
		tty->told_open = tty->open;
		send(tty, 0, VIRTIO_CONSOLE_PORT_OPEN, tty->open);
	}
	return more;
}

void tty_ctrl_begin(struct tty *tty)
{
	if (tty->queues[TTY_CTRL_TX].vq)
		send(tty, ~0u, VIRTIO_CONSOLE_DEVICE_READY, 1);
}
