/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bytes are looked at where they are for others to change, too: then a frame is in another
 * queue, and nothing worse.
 */
#include <netinet/in.h>

#include "backends/net/flow.h"
#include "backends/net/vlan.h"

#define TYPE_IP4 0x0800
#define TYPE_IP6 0x86dd
#define IP4_LEN  20
#define IP6_LEN  40
/* Addresses, a tag, the longest IPv4 header, ports. */
#define LOOK     (NET_ETH_LEN + VLAN_TAG_LEN + 60 + 4)

static uint64_t mix(uint64_t hash, const uint8_t *at, uint32_t len)
{
	for (; len; at += 4, len -= 4) {
		uint32_t word;

		memcpy(&word, at, sizeof(word));
		hash = (hash ^ word) * UINT64_C(0xd6e8feb86659fd93);
		hash ^= hash >> 32;
	}
	return hash;
}

static uint64_t mix_ports(uint64_t hash, uint8_t proto, const uint8_t *buf, uint32_t at,
			  uint32_t len)
{
	hash = (hash ^ proto) * UINT64_C(0xd6e8feb86659fd93);
	if ((proto == IPPROTO_TCP || proto == IPPROTO_UDP) && len - at >= 4)
		hash = mix(hash, buf + at, 4);
	return hash;
}

static uint64_t mix_ip4(uint64_t hash, const uint8_t *buf, uint32_t at, uint32_t len)
{
	uint32_t header = (buf[at] & 15u) * 4;
	bool fragment = (buf[at + 6] & 0x3f) | buf[at + 7];

	hash = mix(hash, buf + at + 12, 8);
	if (fragment || header < IP4_LEN || header > len - at)
		return hash;
	return mix_ports(hash, buf[at + 9], buf, at + header, len);
}

/* With headers in between it is not known whether it is a fragment: those have addresses only. */
static uint64_t mix_ip6(uint64_t hash, const uint8_t *buf, uint32_t at, uint32_t len)
{
	return mix_ports(mix(hash, buf + at + 8, 32), buf[at + 6], buf, at + IP6_LEN, len);
}

uint32_t net_flow_hash(const struct net_pkt *pkt)
{
	uint8_t buf[LOOK];
	uint32_t len = net_pkt_peek(pkt, buf, pkt->len < LOOK ? pkt->len : LOOK), at = NET_ETH_LEN;
	uint64_t hash = 0;
	uint16_t type;

	if (len < NET_ETH_LEN)
		return 0;
	hash = mix(hash, buf, 12);
	type = (uint16_t)(buf[12] << 8 | buf[13]);
	if (type == VLAN_TYPE && len >= VLAN_HEAD) {
		type = (uint16_t)(buf[16] << 8 | buf[17]);
		at = VLAN_HEAD;
	}
	if (type == TYPE_IP4 && len - at >= IP4_LEN)
		hash = mix_ip4(hash, buf, at, len);
	else if (type == TYPE_IP6 && len - at >= IP6_LEN)
		hash = mix_ip6(hash, buf, at, len);
	return (uint32_t)(hash ^ hash >> 29);
}
