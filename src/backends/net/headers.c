/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <net/ethernet.h>
#include <netinet/in.h>

#include "backends/net/headers.h"

#define ETH_TYPE        12
#define ETH_TYPE_8021AD 0x88a8
#define VLAN_TAG        4

static int parse_ip4(struct net_headers *hdrs, uint32_t have)
{
	const uint8_t *ip = hdrs->bytes + hdrs->l3;

	if (!range_fits(hdrs->l3, IP4_HDR, have) || ip[0] >> 4 != 4 || (ip[0] & 0xf) * 4 < IP4_HDR)
		return -EINVAL;
	if (get_be16(ip + IP4_FRAG) & (IP4_FRAG_MF | IP4_FRAG_OFF))
		return -EINVAL;
	hdrs->proto = ip[IP4_PROTO];
	hdrs->l4 = hdrs->frag = hdrs->l3 + (ip[0] & 0xf) * 4u;
	return 0;
}

/* Other extensions (authentication, encryption) would not survive a change of what follows. */
static bool ip6_extension(uint8_t next)
{
	return next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS;
}

static int parse_ip6(struct net_headers *hdrs, uint32_t have)
{
	uint32_t at = hdrs->l3 + IP6_HDR, next = hdrs->l3 + IP6_NEXT;

	if (at > have || hdrs->bytes[hdrs->l3] >> 4 != 6)
		return -EINVAL;
	hdrs->ip6 = true;
	hdrs->frag = at;
	hdrs->frag_next = next;
	while (ip6_extension(hdrs->bytes[next])) {
		bool for_routers = hdrs->bytes[next] != IPPROTO_DSTOPTS;

		if (!range_fits(at, IP6_EXT_HDR, have))
			return -EINVAL;
		next = at;
		at += (hdrs->bytes[at + 1] + 1u) * IP6_EXT_HDR;
		/* Options for the destination are fragmented, unless a routing header follows. */
		if (for_routers) {
			hdrs->frag = at;
			hdrs->frag_next = next;
		}
	}
	hdrs->proto = hdrs->bytes[next];
	hdrs->l4 = at;
	return 0;
}

static int parse_l4(struct net_headers *hdrs, uint32_t have)
{
	uint32_t len = hdrs->proto == IPPROTO_TCP ? TCP_HDR : UDP_HDR;

	if ((hdrs->proto != IPPROTO_TCP && hdrs->proto != IPPROTO_UDP) ||
	    !range_fits(hdrs->l4, len, have))
		return -EINVAL;
	if (hdrs->proto == IPPROTO_TCP) {
		uint32_t whole = (hdrs->bytes[hdrs->l4 + TCP_OFF] >> 4) * 4u;

		if (whole < len || !range_fits(hdrs->l4, whole, have))
			return -EINVAL;
		len = whole;
	}
	hdrs->end = hdrs->l4 + len;
	return 0;
}

int net_headers_parse(struct net_headers *hdrs, const struct net_pkt *pkt)
{
	uint32_t have = net_pkt_peek(pkt, hdrs->bytes, NET_HEADERS_MAX), at = ETH_TYPE;
	uint16_t type;
	int err;

	hdrs->ip6 = false;
	for (;; at += VLAN_TAG) {
		if (!range_fits(at, 2, have))
			return -EINVAL;
		type = get_be16(hdrs->bytes + at);
		if (type != ETHERTYPE_VLAN && type != ETH_TYPE_8021AD)
			break;
	}
	hdrs->l3 = at + 2;
	if (type == ETHERTYPE_IP)
		err = parse_ip4(hdrs, have);
	else if (type == ETHERTYPE_IPV6)
		err = parse_ip6(hdrs, have);
	else
		err = -EINVAL;
	return err ? err : parse_l4(hdrs, have);
}
