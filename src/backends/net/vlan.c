/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/net/vlan.h"

#define TYPE_AT  12 /* of an untagged frame, and of the tag */
#define PRIORITY 0xf000u

static uint16_t load16(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

static void store16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)(value >> 8);
	at[1] = (uint8_t)value;
}

/* ---- the set */

static void add_range(struct vlan_set *set, unsigned long first, unsigned long last)
{
	for (unsigned long vlan = first; vlan <= last; vlan++)
		set->tagged[vlan / 64] |= UINT64_C(1) << vlan % 64;
}

/* One id; returns what follows it, or NULL. */
static const char *parse_id(const char *text, unsigned long *ret)
{
	char *end;

	if (*text < '0' || *text > '9')
		return NULL;
	*ret = strtoul(text, &end, 10);
	return *ret && *ret <= VLAN_ID_MAX ? end : NULL;
}

static bool parse_trunk(struct vlan_set *set, const char *text)
{
	unsigned long first, last;

	for (;;) {
		text = parse_id(text, &first);
		last = first;
		if (text && *text == '-')
			text = parse_id(text + 1, &last);
		if (!text || last < first || (*text && *text != ','))
			return false;
		add_range(set, first, last);
		if (!*text++)
			return true;
	}
}

int vlan_set_init(struct vlan_set *set, uint16_t own, const char *trunk, struct vdpa_extack *ack)
{
	*set = (struct vlan_set){.own = own, .trunk = trunk};
	if (!trunk)
		return 0;
	if (!strcmp(trunk, "all"))
		add_range(set, 1, VLAN_ID_MAX);
	else if (!parse_trunk(set, trunk))
		return vdpa_extack_set(ack, -EINVAL,
				       "'trunk' is 'all' or VLANs of 1 to %d such as '10,20-29', "
				       "not '%s'",
				       VLAN_ID_MAX, trunk);
	/* Its own is the one without a tag. */
	set->tagged[own / 64] &= ~(UINT64_C(1) << own % 64);
	return 0;
}

/* ---- frames */

uint16_t vlan_classify(const struct vlan_set *set, const uint8_t *head, uint32_t len,
		       struct vlan_tag *tag)
{
	uint16_t vlan;

	*tag = (struct vlan_tag){0};
	if (load16(head + TYPE_AT) != VLAN_TYPE)
		return set->own;
	if (len < VLAN_HEAD || load16(head + TYPE_AT + VLAN_TAG_LEN) == VLAN_TYPE)
		return 0;
	tag->there = true;
	tag->tci = load16(head + NET_ETH_LEN);
	vlan = tag->tci & (VLAN_IDS - 1);
	/* A priority and no VLAN: the same as no tag. */
	if (!vlan)
		return set->own;
	return set->trunk && vlan_form(set, vlan) != VLAN_NOT_HERE ? vlan : 0;
}

/* What is said of places in the frame moves with them. */
static int move_header(struct net_hdr *hdr, uint32_t old_len, uint32_t new_len)
{
	uint32_t start = hdr->csum_start - old_len + new_len;

	if (hdr->hdr_len >= old_len)
		hdr->hdr_len = (uint16_t)(hdr->hdr_len - old_len + new_len);
	if (!(hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return 0;
	if (hdr->csum_start < old_len || start > UINT16_MAX)
		return -EINVAL;
	hdr->csum_start = (uint16_t)start;
	return 0;
}

int vlan_change(const struct net_pkt *pkt, const struct vlan_tag *tag, uint16_t vlan,
		enum vlan_form form, struct vlan_room *room, struct net_pkt *ret)
{
	uint32_t old_len = NET_ETH_LEN + (tag->there ? VLAN_TAG_LEN : 0);
	uint32_t new_len = NET_ETH_LEN + (form == VLAN_TAGGED ? VLAN_TAG_LEN : 0);
	uint32_t rest = pkt->head_len - old_len;
	uint8_t *head = room->head;

	*ret = *pkt;
	if (move_header(&ret->hdr, old_len, new_len))
		return -EINVAL;
	memcpy(head, pkt->head, TYPE_AT);
	if (form == VLAN_TAGGED) {
		store16(head + TYPE_AT, VLAN_TYPE);
		store16(head + NET_ETH_LEN, (tag->tci & PRIORITY) | vlan);
	}
	memcpy(head + new_len - 2, pkt->head + old_len - 2, 2);
	/* Whoever pulled more than we ask for: the rest of it is a piece of its own. */
	if (rest > sizeof(room->head) - new_len) {
		net_pkt_skip(ret, old_len);
		ret->num = net_pkt_iov(ret, room->pieces, NET_PIECES_MAX);
		ret->iov = room->pieces;
		ret->off = 0;
		rest = 0;
	}
	memcpy(head + new_len, pkt->head + old_len, rest);
	ret->head = head;
	ret->head_len = new_len + rest;
	ret->len = pkt->len - old_len + new_len;
	return 0;
}
