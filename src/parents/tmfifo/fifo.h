/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver of a TmFIFO: words of two channels, a console's and a network's, in and out of its
 * registers.
 *
 * One worker of the bus owns the FIFO: it alone touches the registers, and all that is said to run
 * there does.  Interrupts wake it; while there is nothing to do it sleeps.
 *
 * What goes out.  A message that has begun is finished, since nothing could be put between its
 * words.  Then the channels take turns: each may send TMFIFO_TURN bytes, and overdraw them by one
 * message, which the next turn is shorter by.  So who has something to send waits for that many
 * bytes of the other's at most, however much the other has.
 *
 * What comes in is never left in the FIFO, where it would hold up what is behind it: whoever has no
 * room for it loses it.
 */
#ifndef TMFIFO_FIFO_H
#define TMFIFO_FIFO_H

#include "parents/tmfifo/msg.h"
#include "vdpa/bus.h"
#include "vdpa/tmfifo.h"

struct tmfifo;
struct tmfifo_channel;

/* Bytes of a turn, headers and filling included: what a whole FIFO holds. */
#define TMFIFO_TURN 2048u

/* On the worker. */
struct tmfifo_channel_ops {
	const char *name;
	/* Is there something to send? */
	bool (*pending)(struct tmfifo_channel *ch);
	/*
	 * Copy the next message to buf, which holds TMFIFO_PAYLOAD_MAX bytes; one that can be
	 * divided, up to max bytes of it, which is 1 at least.  Returns how many: not 0 after
	 * pending() was true.
	 */
	uint32_t (*next)(struct tmfifo_channel *ch, uint8_t *buf, uint32_t max);
	/* Of the type console any part of a message, of the type net a whole one. */
	void (*receive)(struct tmfifo_channel *ch, const uint8_t *data, uint32_t len);
	/* That was all for now.  Optional. */
	void (*flush)(struct tmfifo_channel *ch);
	/* The other end has not taken a word for some time / takes them again.  Optional. */
	void (*silent)(struct tmfifo_channel *ch, bool silent);
};

/* One writer, the worker; any reader. */
struct tmfifo_channel_stats {
	uint64_t tx_messages, tx_bytes, rx_bytes; /* payload */
	uint64_t lost;                            /* received bytes, or frames, without room */
	uint64_t turns;
	uint64_t turn_max; /* most bytes in one turn */
	uint64_t wait_max; /* most bytes of the other's that went by while it had some to send */
};

/* Embedded in the channel's own; zeroed but for ops and type. */
struct tmfifo_channel {
	const struct tmfifo_channel_ops *ops;
	uint8_t type; /* VIRTIO_ID_CONSOLE, VIRTIO_ID_NET */

	/* The worker's. */
	struct tmfifo *fifo;
	bool wants;     /* when it was looked at last */
	int64_t credit; /* bytes that are left of its turn */
	uint64_t turn, waited;
	struct tmfifo_channel_stats stats;
};

struct tmfifo_config {
	uint32_t frame_max; /* bytes of a network's message */
	uint32_t
		poll_ms; /* look at the registers so often, whatever interrupts there are; 0: not */
	uint32_t silent_ms; /* the other end is silent when it has taken nothing for so long */
	uint32_t cut_ms;    /* a message is cut when its next word does not come for so long */
	const char *worker; /* NULL: any */
};

/* regs: consumed, also on failure.  See vdpa_tmfifo_make().  Lane; may block. */
int tmfifo_open(struct vdpa_bus *bus, struct vdpa_tmfifo_regs *regs,
		const struct tmfifo_config *config, struct tmfifo **ret, struct vdpa_extack *ack);
/* No channel is attached.  NULL is allowed.  Lane; may block. */
void tmfifo_close(struct tmfifo *fifo);

/* -EBUSY: there is one of this type.  Lane; may block. */
int tmfifo_attach(struct tmfifo *fifo, struct tmfifo_channel *ch);
/* After return no function of it runs or will run.  Lane; may block. */
void tmfifo_detach(struct tmfifo_channel *ch);
/* There is something to send, after there was nothing.  ANY THREAD, as long as the FIFO is open. */
void tmfifo_wake(struct tmfifo *fifo);
/* ANY THREAD. */
void tmfifo_show(struct tmfifo *fifo, struct vdpa_info *info);

#endif
