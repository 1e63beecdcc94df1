/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VLANs of a switch's port, and tags of frames (IEEE 802.1Q).
 *
 * A port has a VLAN of its own for frames without a tag, or none, and a set of others whose frames
 * have one.  An access port has its own only.
 */
#ifndef BACKENDS_NET_VLAN_H
#define BACKENDS_NET_VLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "backends/net/net.h"
#include "vdpa/extack.h"

#define VLAN_IDS     4096
#define VLAN_ID_MAX  4094
#define VLAN_TAG_LEN 4
/* What has to be in a frame's head to see its addresses and its tag, bytes. */
#define VLAN_HEAD    (NET_ETH_LEN + VLAN_TAG_LEN)
#define VLAN_TYPE    0x8100

struct vlan_set {
	uint16_t own; /* 0: frames without a tag have no VLAN */
	bool trunk;
	uint64_t tagged[VLAN_IDS / 64];
};

/* How the frames of a VLAN look at a port. */
enum vlan_form {
	VLAN_NOT_HERE,
	VLAN_UNTAGGED,
	VLAN_TAGGED,
};

static inline enum vlan_form vlan_form(const struct vlan_set *set, uint16_t vlan)
{
	if (vlan == set->own)
		return VLAN_UNTAGGED;
	return set->tagged[vlan / 64] >> vlan % 64 & 1 ? VLAN_TAGGED : VLAN_NOT_HERE;
}

/*
 * own: 0 to VLAN_ID_MAX.  trunk: "10,20-29" or "all"; NULL: an access port.
 * 0, -EINVAL.
 */
int vlan_set_init(struct vlan_set *set, uint16_t own, const char *trunk, struct vdpa_extack *ack);

/* The tag of a frame. */
struct vlan_tag {
	bool there;
	uint16_t tci; /* priority, and the VLAN or 0; 0 without a tag */
};

/*
 * The VLAN of a frame that came in at a port; head has its first len bytes, NET_ETH_LEN at least.
 * 0: it must not come in.  A tag behind the tag does not come in: it would be seen as another VLAN
 * where the first one is taken off.
 */
uint16_t vlan_classify(const struct vlan_set *set, const uint8_t *head, uint32_t len,
		       struct vlan_tag *tag);

/* Does a frame with this tag look as its VLAN does in that form? */
static inline bool vlan_fits(const struct vlan_tag *tag, uint16_t vlan, enum vlan_form form)
{
	if (form == VLAN_UNTAGGED)
		return !tag->there;
	return tag->there && (tag->tci & (VLAN_IDS - 1)) == vlan;
}

/* Where the beginning of a changed frame is; valid as long as the frame is used. */
struct vlan_room {
	uint8_t head[VLAN_HEAD + VLAN_TAG_LEN];
	struct iovec pieces[NET_PIECES_MAX];
};

/*
 * Make *ret the frame in another form.  pkt: with its first VLAN_HEAD bytes, or all, in its head.
 * 0; -EINVAL: its checksum begins where none can.
 */
int vlan_change(const struct net_pkt *pkt, const struct vlan_tag *tag, uint16_t vlan,
		enum vlan_form form, struct vlan_room *room, struct net_pkt *ret);

#endif
