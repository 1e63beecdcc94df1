/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backend `user`: libslirp, a network of the guest's own whose connections are sockets of this
 * process.  It needs no rights.
 */
#ifndef BACKENDS_NET_USER_H
#define BACKENDS_NET_USER_H

#include "backends/net/net.h"

#define NET_USER_ATTRS                                                                             \
	{.name = "net",                                                                            \
	 .type = VDPA_ATTR_STRING,                                                                 \
	 .help = "user: the guest's network, ADDRESS/LENGTH, default 10.0.2.0/24"},                \
		{.name = "host",                                                                   \
		 .type = VDPA_ATTR_STRING,                                                         \
		 .help = "user: this host's address in it, default its 2nd: 10.0.2.2"},            \
		{.name = "dns",                                                                    \
		 .type = VDPA_ATTR_STRING,                                                         \
		 .help = "user: the name server's address in it, default its 3rd: 10.0.2.3"},      \
		{.name = "dhcpstart",                                                              \
		 .type = VDPA_ATTR_STRING,                                                         \
		 .help = "user: the guest's address in it, default its 15th: 10.0.2.15"},          \
		{.name = "hostname",                                                               \
		 .type = VDPA_ATTR_STRING,                                                         \
		 .help = "user: the name that the guest is told, default none"},                   \
		{.name = "restrict",                                                               \
		 .type = VDPA_ATTR_BOOL,                                                           \
		 .help = "user: the guest reaches nothing outside of its network, default off"},   \
		{.name = "ipv6",                                                                   \
		 .type = VDPA_ATTR_BOOL,                                                           \
		 .help = "user: IPv6, too, as fec0::/64, default on"},                             \
	{                                                                                          \
		.name = "hostfwd", .type = VDPA_ATTR_STRING,                                       \
		.help = "user: ports of this host that lead to the guest, "                        \
			"tcp|udp:[ADDRESS]:PORT-[ADDRESS]:PORT,..."                                \
	}

net_open_fn net_user_open;

#endif
