/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ports of this host that lead to a guest behind the backend `user`:
 *
 *	tcp|udp:[ADDRESS]:PORT-[ADDRESS]:PORT,...
 *
 * The first address and port are this host's, the others the guest's.
 */
#ifndef BACKENDS_NET_HOSTFWD_H
#define BACKENDS_NET_HOSTFWD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

#include "vdpa/extack.h"

#define HOSTFWD_MAX  64
#define HOSTFWD_TEXT 64 /* one of them as text, with the end */

struct hostfwd {
	bool udp;
	struct in_addr host;  /* 0.0.0.0: all addresses of this host */
	struct in_addr guest; /* 0.0.0.0: the address that DHCP gives first */
	uint16_t host_port, guest_port;
};

struct hostfwd_list {
	unsigned int num;
	struct hostfwd list[HOSTFWD_MAX];
};

/* ret is written on success only.  0, -EINVAL, -E2BIG: more than HOSTFWD_MAX. */
int hostfwd_parse(const char *text, struct hostfwd_list *ret, struct vdpa_extack *ack);
/* As it is written above, with all addresses. */
void hostfwd_format(const struct hostfwd *fwd, char text[HOSTFWD_TEXT]);

#endif
