/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The headers of an Ethernet frame, copied out of memory that others can change: VLAN tags (802.1Q
 * and 802.1ad, any number), IPv4 with options or IPv6 with extension headers, TCP or UDP.
 *
 * Offsets are from the beginning of the frame.  Positions of fields are from the beginning of their
 * header: nothing here is aligned.
 */
#ifndef BACKENDS_NET_HEADERS_H
#define BACKENDS_NET_HEADERS_H

#include <stdint.h>

#include "backends/net/net.h"
#include "base/be.h"

/* RFC 791. */
#define IP4_LEN      2
#define IP4_ID       4
#define IP4_FRAG     6
#define IP4_PROTO    9
#define IP4_CSUM     10
#define IP4_HDR      20
#define IP4_FRAG_MF  0x2000
#define IP4_FRAG_OFF 0x1fff
/* RFC 8200. */
#define IP6_LEN      4
#define IP6_NEXT     6
#define IP6_HDR      40
#define IP6_EXT_HDR  8 /* the least, and the unit of the length */
#define IP6_FRAG_HDR 8
/* RFC 9293. */
#define TCP_SEQ      4
#define TCP_OFF      12
#define TCP_FLAGS    13
#define TCP_CSUM     16
#define TCP_URG      18
#define TCP_HDR      20
/* RFC 768. */
#define UDP_LEN      4
#define UDP_CSUM     6
#define UDP_HDR      8

struct net_headers {
	uint32_t l3;        /* IP */
	uint32_t frag;      /* what IP fragments: behind IPv4's header, amid IPv6's extensions */
	uint32_t frag_next; /* IPv6: the byte that says what is at frag */
	uint32_t l4;        /* TCP or UDP */
	uint32_t end;       /* payload */
	uint8_t proto;      /* IPPROTO_TCP or _UDP */
	bool ip6;
	uint8_t bytes[NET_HEADERS_MAX + IP6_FRAG_HDR]; /* up to end, with room for one more */
};

/*
 * 0; -EINVAL: a header is cut off, wrong, of another protocol or that of an IP fragment, or the
 * payload begins behind NET_HEADERS_MAX.  What headers say about lengths other than their own is
 * not looked at.
 */
int net_headers_parse(struct net_headers *hdrs, const struct net_pkt *pkt);

#endif
