/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the devices of a TmFIFO have behind them: a stream and a network backend, each one channel
 * of the FIFO.
 */
#ifndef TMFIFO_ENDS_H
#define TMFIFO_ENDS_H

#include "backends/net/net.h"
#include "backends/stream/stream.h"
#include "parents/tmfifo/fifo.h"

/* What a network's message may be longer than its MTU: addresses and type, and a VLAN tag. */
#define TMFIFO_FRAME_EXTRA   (NET_ETH_LEN + 4)
/* Bytes that wait for a guest that does not read; what comes then is lost. */
#define TMFIFO_CONSOLE_INPUT 65536u

/*
 * attrs: `buffer` and `unread` of the stream.  0, -EBUSY: there is a console already, -ENOMEM.
 * The FIFO outlives it.  Lane; may block.
 */
int tmfifo_console_open(struct tmfifo *fifo, const struct vdpa_attrs *attrs, struct stream **ret);
/* mtu: of the longest frame.  0, -EBUSY, -ENOMEM.  As above. */
int tmfifo_net_open(struct tmfifo *fifo, uint32_t mtu, const uint8_t mac[NET_MAC_LEN],
		    struct net_backend **ret);

#endif
