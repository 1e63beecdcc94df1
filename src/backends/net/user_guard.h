/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which frames of a guest libslirp gets to see.  It has neither limits to what it keeps for a guest
 * nor use for protocols beyond these, so both are decided before it looks at a frame.
 */
#ifndef BACKENDS_NET_USER_GUARD_H
#define BACKENDS_NET_USER_GUARD_H

#include <stdbool.h>
#include <stdint.h>

/* Fragments in a second, bytes: those of datagrams that are never complete are kept for 30 s. */
#define USER_GUARD_FRAGMENTS (4u << 20)

/* Zeroed at first. */
struct user_guard {
	uint64_t second;
	uint32_t fragments; /* bytes in this second */
};

/*
 * May libslirp have the frame?  ARP, IPv4 and IPv6 only.  crowded: nothing that may open one more
 * socket, which leaves ARP, ICMPv6, and TCP without SYN.  now: nanoseconds.
 */
bool user_guard_pass(struct user_guard *guard, const uint8_t *frame, uint32_t len, bool crowded,
		     uint64_t now);

#endif
