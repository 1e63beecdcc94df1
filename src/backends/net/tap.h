/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backend `tap`: a net device's frames go through an interface of this host, as a cable would
 * bring them.
 */
#ifndef BACKENDS_NET_TAP_H
#define BACKENDS_NET_TAP_H

#include "backends/net/net.h"

/* Uses also `mtu` of the class: an interface that is made gets it. */
net_open_fn net_tap_open;

/* The rows that a class with network backends puts into its attribute table. */
#define NET_TAP_ATTRS                                                                              \
	{                                                                                          \
		.name = "ifname", .type = VDPA_ATTR_STRING,                                        \
		.help = "tap: interface of this host, made and set up if it is not there; "        \
			"default: the device's name; af_xdp: one that is there",                   \
	}

#endif
