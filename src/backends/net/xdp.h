/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backend `af_xdp`: queues of an interface of this host whose frames bypass its network stack.
 */
#ifndef BACKENDS_NET_XDP_H
#define BACKENDS_NET_XDP_H

#include "backends/net/net.h"

extern const char *const net_xdp_modes[];

/* `ifname` is the backend tap's, too. */
#define NET_XDP_ATTRS                                                                              \
	{.name = "xdp-queue",                                                                      \
	 .type = VDPA_ATTR_UINT,                                                                   \
	 .max = 65535,                                                                             \
	 .help = "af_xdp: first queue of the interface that is used, default 0"},                  \
		{.name = "xdp-mode",                                                               \
		 .type = VDPA_ATTR_ENUM,                                                           \
		 .values = net_xdp_modes,                                                          \
		 .help = "af_xdp: in the interface's driver, or behind it; default: in the "       \
			 "driver where it can"},                                                   \
	{                                                                                          \
		.name = "zerocopy", .type = VDPA_ATTR_BOOL,                                        \
		.help = "af_xdp: have the interface use our memory, default: where it can"         \
	}

net_open_fn net_xdp_open;

#endif
