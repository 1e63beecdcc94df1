/* SPDX-License-Identifier: BSD-2-Clause */
#include <linux/if_ether.h>
#include <netinet/in.h>

#include "backends/net/net.h"
#include "backends/net/user_guard.h"

#define IP4_LEN 20u
#define IP6_LEN 40u
#define TCP_LEN 20u

#define TCP_FLAGS    13u /* offset */
#define TCP_SYN      2u
/* What a fragment takes up at least, however short. */
#define FRAGMENT_MIN 2048u

static uint32_t be16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

static bool tcp_begins(const uint8_t *tcp, uint32_t len)
{
	return len < TCP_LEN || tcp[TCP_FLAGS] & TCP_SYN;
}

static bool fragment_fits(struct user_guard *guard, uint32_t len, uint64_t now)
{
	uint64_t second = now / 1000000000;

	if (guard->second != second)
		*guard = (struct user_guard){.second = second};
	if (len < FRAGMENT_MIN)
		len = FRAGMENT_MIN;
	if (guard->fragments + len > USER_GUARD_FRAGMENTS)
		return false;
	guard->fragments += len;
	return true;
}

static bool ip4_passes(struct user_guard *guard, const uint8_t *ip, uint32_t len, bool crowded,
		       uint64_t now)
{
	uint32_t hlen;

	if (len < IP4_LEN)
		return false;
	hlen = (ip[0] & 15u) * 4;
	if (hlen < IP4_LEN || hlen > len)
		return false;
	/* More fragments, or not the first. */
	if (be16(ip + 6) & 0x3fff)
		return !crowded && fragment_fits(guard, len, now);
	return !crowded || (ip[9] == IPPROTO_TCP && !tcp_begins(ip + hlen, len - hlen));
}

static bool ip6_passes(const uint8_t *ip, uint32_t len, bool crowded)
{
	if (len < IP6_LEN)
		return false;
	return !crowded || ip[6] == IPPROTO_ICMPV6 ||
	       (ip[6] == IPPROTO_TCP && !tcp_begins(ip + IP6_LEN, len - IP6_LEN));
}

bool user_guard_pass(struct user_guard *guard, const uint8_t *frame, uint32_t len, bool crowded,
		     uint64_t now)
{
	if (len < NET_ETH_LEN)
		return false;
	switch (be16(frame + 12)) {
	case ETH_P_ARP:
		return true;
	case ETH_P_IP:
		return ip4_passes(guard, frame + NET_ETH_LEN, len - NET_ETH_LEN, crowded, now);
	case ETH_P_IPV6:
		return ip6_passes(frame + NET_ETH_LEN, len - NET_ETH_LEN, crowded);
	default:
		return false;
	}
}
