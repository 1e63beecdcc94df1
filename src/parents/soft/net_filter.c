/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "parents/soft/net.h"

#define TYPE_8021Q 0x8100
#define VID_MASK   0xfff

void net_filter_init(struct net_filter *filter, const uint8_t mac[NET_MAC_LEN])
{
	*filter = (struct net_filter){.promisc = true};
	memcpy(filter->mac, mac, NET_MAC_LEN);
}

bool net_filter_vlan(struct net_filter *filter, uint16_t vid, bool on)
{
	uint64_t bit = 1ull << vid % 64;

	if (vid > VID_MASK)
		return false;
	filter->vlan_active = true;
	if (on)
		filter->vlans[vid / 64] |= bit;
	else
		filter->vlans[vid / 64] &= ~bit;
	return true;
}

static bool wants_vlan(const struct net_filter *filter, const uint8_t *head, uint32_t len)
{
	uint16_t vid;

	if (!filter->vlan_active || len < NET_ETH_LEN + 2 ||
	    (head[12] << 8 | head[13]) != TYPE_8021Q)
		return true;
	vid = (uint16_t)(head[14] << 8 | head[15]) & VID_MASK;
	return filter->vlans[vid / 64] >> vid % 64 & 1;
}

static bool listed(const uint8_t (*macs)[NET_MAC_LEN], unsigned int num, const uint8_t *mac)
{
	for (unsigned int i = 0; i < num; i++)
		if (!memcmp(macs[i], mac, NET_MAC_LEN))
			return true;
	return false;
}

static bool wants_address(const struct net_filter *filter, const uint8_t *mac)
{
	static const uint8_t broadcast[NET_MAC_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

	if (!memcmp(mac, broadcast, NET_MAC_LEN))
		return !filter->nobcast;
	if (mac[0] & 1) {
		if (filter->nomulti)
			return false;
		return filter->allmulti || filter->more_multi ||
		       listed(filter->multi, filter->num_multi, mac);
	}
	if (filter->nouni)
		return false;
	return filter->alluni || filter->more_uni || !memcmp(mac, filter->mac, NET_MAC_LEN) ||
	       listed(filter->uni, filter->num_uni, mac);
}

bool net_filter_wants(const struct net_filter *filter, const uint8_t *head, uint32_t len)
{
	if (len < NET_ETH_LEN)
		return true;
	if (!wants_vlan(filter, head, len))
		return false;
	return !filter->active || filter->promisc || wants_address(filter, head);
}
