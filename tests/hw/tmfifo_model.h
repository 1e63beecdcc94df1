/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A model of TmFIFO hardware, exact to the registers, with both ends: reading the data register of
 * a receive FIFO takes a word out, writing that of a transmit FIFO puts one in at the other end.
 *
 * It lies in memory that two processes may share, one at each end.  An end has one interrupt, an
 * eventfd: its receive FIFO has risen to the high watermark, or its transmit FIFO has fallen to the
 * low one.  Both come when that happens, and not again as long as it is so.
 */
#ifndef HW_TMFIFO_MODEL_H
#define HW_TMFIFO_MODEL_H

#include <vdpa/tmfifo.h>

#define TMFIFO_MODEL_ENTRIES 256u

enum tmfifo_side { TMFIFO_OURS, TMFIFO_THEIRS };

struct tmfifo_model;

/* After a reset: empty, watermarks at 128.  0 or -errno. */
int tmfifo_model_alloc(struct tmfifo_model **ret);
/* Each end that shares it has it for itself.  NULL is allowed. */
void tmfifo_model_free(struct tmfifo_model *model);

/* One access.  At each end one thread at a time. */
uint64_t tmfifo_model_read(struct tmfifo_model *model, enum tmfifo_side side,
			   enum vdpa_tmfifo_block block, uint32_t reg);
void tmfifo_model_write(struct tmfifo_model *model, enum tmfifo_side side,
			enum vdpa_tmfifo_block block, uint32_t reg, uint64_t value);
/* Words that an end wrote when there was no room, or read when there were none: faults of its
 * driver. */
uint64_t tmfifo_model_faults(const struct tmfifo_model *model, enum tmfifo_side side);
/* Borrowed; cleared by tmfifo_model_irq_ack(). */
int tmfifo_model_irq(const struct tmfifo_model *model, enum tmfifo_side side);
void tmfifo_model_irq_ack(struct tmfifo_model *model, enum tmfifo_side side);

/*
 * Access for a driver at one end.  owned: free() also frees the model.
 * irqs: whether the interrupt reaches the driver.  NULL: no memory.
 */
struct vdpa_tmfifo_regs *tmfifo_model_regs(struct tmfifo_model *model, enum tmfifo_side side,
					   bool irqs, bool owned);

/* Share it: to a process that receives, over a connected Unix socket.  0 or -errno. */
int tmfifo_model_send(const struct tmfifo_model *model, int sock);
int tmfifo_model_receive(int sock, struct tmfifo_model **ret);

#endif
