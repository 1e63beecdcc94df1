/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * TmFIFO: a pair of register FIFOs between two computers, over which a console and a network share
 * framed messages; that of NVIDIA's BlueField, between its processors and the host.  The driver is
 * in the library; what it needs of the hardware is this table.
 *
 * Registers are those of BlueField 1 and 2: two blocks, one for each direction, with the same three
 * registers of 64 bits.  A FIFO holds words of 64 bits.
 *
 * A shared object for `uvdpad --load` that knows another way to the registers exports a type of
 * management devices whose add() ends with vdpa_tmfifo_make().
 */
#ifndef VDPA_TMFIFO_H
#define VDPA_TMFIFO_H

#include <vdpa/mgmtdev.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vdpa_tmfifo_block {
	VDPA_TMFIFO_RX, /**< what comes from the other end */
	VDPA_TMFIFO_TX, /**< what goes there */
};

#define VDPA_TMFIFO_DATA 0x00u /**< RX: reading takes a word out; TX: writing puts one in */
#define VDPA_TMFIFO_STS  0x08u /**< bits 0-8: words that are in it */
#define VDPA_TMFIFO_CTL  0x10u /**< watermarks, and how many words it holds */

#define VDPA_TMFIFO_STS_COUNT         0x1ffull
#define VDPA_TMFIFO_CTL_LWM           0xffull   /**< TX: interrupt when it falls to this */
#define VDPA_TMFIFO_CTL_HWM           0xff00ull /**< RX: interrupt when it rises to this */
#define VDPA_TMFIFO_CTL_HWM_SHIFT     8
#define VDPA_TMFIFO_CTL_ENTRIES       (0x1ffull << 32) /**< read-only */
#define VDPA_TMFIFO_CTL_ENTRIES_SHIFT 32

struct vdpa_tmfifo_regs;

/** The driver calls one at a time.  Those without a context of their own must not block. */
struct vdpa_tmfifo_regs_ops {
	size_t size;
	/** One access of 64 bits, neither divided nor repeated.  Required. */
	uint64_t (*read)(struct vdpa_tmfifo_regs *regs, enum vdpa_tmfifo_block block, uint32_t reg);
	/** Required. */
	void (*write)(struct vdpa_tmfifo_regs *regs, enum vdpa_tmfifo_block block, uint32_t reg,
		      uint64_t value);
	/** The descriptor was readable: have it not be, until the next interrupt.  Required where
	 * there is one. */
	void (*irq_ack)(struct vdpa_tmfifo_regs *regs);
	/** Where they are.  Control thread.  Optional. */
	void (*show)(struct vdpa_tmfifo_regs *regs, struct vdpa_info *info);
	/** Lane; may block.  Required. */
	void (*free)(struct vdpa_tmfifo_regs *regs);
};

/** Embedded in the implementation's own. */
struct vdpa_tmfifo_regs {
	const struct vdpa_tmfifo_regs_ops *ops;
	/**
	 * Readable after an interrupt of the receive FIFO's high watermark or, if the hardware has
	 * it, of the transmit FIFO's low watermark.  -1: there is none, and the driver looks from
	 * time to time.
	 */
	int irq;
};

#define VDPA_TMFIFO_MTU_MIN 68
#define VDPA_TMFIFO_MTU_MAX 9000

/** The rows of a type's attribute table that vdpa_tmfifo_make() reads. */
#define VDPA_TMFIFO_ATTRS                                                                          \
	{.name = "mtu",                                                                            \
	 .type = VDPA_ATTR_UINT,                                                                   \
	 .min = VDPA_TMFIFO_MTU_MIN,                                                               \
	 .max = VDPA_TMFIFO_MTU_MAX,                                                               \
	 .help = "largest MTU of the network on it, both ends the same (1500)"},                   \
		{.name = "poll-ms",                                                                \
		 .type = VDPA_ATTR_UINT,                                                           \
		 .max = 1000,                                                                      \
		 .help = "look at the registers so often even without an interrupt; 0: never (0; " \
			 "10 where there are none)"},                                              \
	{                                                                                          \
		.name = "worker", .type = VDPA_ATTR_STRING,                                        \
		.help = "worker that it is served by (any)"                                        \
	}

/**
 * Make the management device of a FIFO, for a type's add().  Its devices are `type console` and
 * `type net`, one of each.
 *
 * @param regs  consumed, also on failure
 * @return 0, -ENODEV: what the registers hold is no TmFIFO, -EINVAL: the ops table, -ENOENT: no
 *         such worker, -EAGAIN, -ENOMEM
 * @context lane; may block
 */
int vdpa_tmfifo_make(struct vdpa_bus *bus, struct vdpa_tmfifo_regs *regs,
		     const struct vdpa_attrs *attrs, struct vdpa_mgmtdev **ret,
		     struct vdpa_extack *ack);

#ifdef __cplusplus
}
#endif

#endif
