/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A console device on the virtio bus as a terminal of this host.
 *
 * - console.c:      the device: negotiation, config space; what `show` says
 * - console_tty.c:  the terminal and the thread that carries its bytes
 * - console_ctrl.c: messages about ports, where the device has them
 *
 * Of a device with several ports the first one is used.
 *
 * @spec virtio 1.3, 5.3
 */
#ifndef DRIVERS_VIRTIO_CONSOLE_TTY_H
#define DRIVERS_VIRTIO_CONSOLE_TTY_H

#include <linux/virtio_console.h>
#include <pthread.h>

#include "backends/stream/pty_dev.h"
#include "drivers/virtio/virtio.h"

#define TTY_BUFS       32u /* of each queue */
#define TTY_BUF_BYTES  1024u
#define TTY_MSG_BYTES  128u /* of a buffer for messages; a longer one is cut */
#define TTY_QUEUES_MAX 4

enum { TTY_RX, TTY_TX, TTY_CTRL_RX, TTY_CTRL_TX };

/* Buffers of a queue: those for input are the device's, those for output mostly ours. */
struct tty_queue {
	struct virtio_queue *vq; /* NULL: there is none */
	uint32_t num, bytes;     /* buffers; of each */
	uint32_t nfree;
	uint8_t *free[TTY_BUFS];
};

struct tty {
	struct virtio_device *dev;
	char path[PATH_MAX]; /* of the link */
	int epoll;
	int wake; /* eventfd: something below was set */
	int idle; /* eventfd: drained */
	pthread_t thread;
	bool started;

	/* Atomic. */
	bool stop, drain, failed;
	uint32_t size; /* cols << 16 | rows, as the config space has it */
	bool open;     /* somebody has the terminal open; written by the thread */

	/* The thread's while it runs. */
	struct pty_dev pty;
	struct tty_queue queues[TTY_QUEUES_MAX];
	uint32_t applied;        /* the size that the terminal has */
	bool readable, writable; /* as far as is known */
	uint8_t *part;           /* input that the terminal has not taken whole */
	uint32_t part_off, part_len;
	bool added;     /* the device has told of the port */
	bool told_open; /* what it was told of the terminal */
	bool peer;      /* somebody is at the device's other end */
};

static inline bool tty_has(const struct tty *tty, unsigned int bit)
{
	return tty->dev->features >> bit & 1;
}

/* The device or the terminal cannot be used any more: said once, and it is hung up.  ANY THREAD. */
void tty_fail(struct tty *tty, const char *why);

/* Memory for buffers, bytes; num of each queue is known.  Lane. */
size_t tty_buffer_bytes(const struct tty *tty);
/* Queues are set up, and the terminal is there.  0 or -errno; then tty_stop() is due.  Lane. */
int tty_start(struct tty *tty);
/* What is under way is lost; the terminal is hung up.  Lane. */
void tty_stop(struct tty *tty);
/* Until the device has taken all that was typed: false after a while.  Lane. */
bool tty_drain(struct tty *tty);
/* Each queue has its buffers; input is offered.  For who brings his own thread: see tty_start(). */
void tty_lay_out(struct tty *tty);

/* ---- the thread's */

/* One round of it.  Returns true when there may be more. */
bool tty_serve(struct tty *tty);

/* Give a buffer of input back to the device. */
void tty_offer(struct tty *tty, struct tty_queue *q, uint8_t *buf);
/* Take back what the device has used of output. */
void tty_reclaim(struct tty *tty, struct tty_queue *q);
/* Send a free buffer of output, len bytes of it. */
void tty_send(struct tty *tty, struct tty_queue *q, uint32_t len);
void tty_set_size(struct tty *tty, uint16_t cols, uint16_t rows);
/* Whoever has the terminal open loses it; its name is there again for the next. */
void tty_hang_up(struct tty *tty);
/* Messages both ways.  Returns true when there may be more. */
bool tty_ctrl(struct tty *tty);
/* The driver is there.  Before the thread runs. */
void tty_ctrl_begin(struct tty *tty);

#endif
