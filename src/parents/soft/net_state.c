/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a net device keeps over a migration or a crash beyond its config space: what its driver has
 * commanded, since it does not say so again.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/defs.h"
#include "parents/soft/net.h"

enum {
	TAG_MODES = 1, /* u64, a bit each of modes[] */
	TAG_MAC,       /* that counts now */
	TAG_UNICAST,   /* addresses, one after the other */
	TAG_MULTICAST,
	TAG_VLANS,    /* a bit each, little-endian words */
	TAG_PAIRS,    /* u64, that are used */
	TAG_DECLINED, /* u64, offloads that were switched off */
};

/* The flags of a filter in the order of their bits. */
#define NUM_MODES 10

static void filter_modes(struct net_filter *filter, bool *modes[NUM_MODES])
{
	bool *const all[NUM_MODES] = {
		&filter->active,   &filter->promisc,    &filter->allmulti, &filter->alluni,
		&filter->nomulti,  &filter->nouni,      &filter->nobcast,  &filter->vlan_active,
		&filter->more_uni, &filter->more_multi,
	};

	memcpy(modes, all, sizeof(all));
}

static int save_filter(struct net_filter *filter, struct vdpa_state_blob *blob)
{
	bool *modes[NUM_MODES];
	uint64_t bits = 0;
	int err;

	filter_modes(filter, modes);
	for (unsigned int i = 0; i < NUM_MODES; i++)
		bits |= (uint64_t)*modes[i] << i;
	for (size_t i = 0; i < ARRAY_SIZE(filter->vlans); i++)
		filter->vlans[i] = htole64(filter->vlans[i]);
	err = vdpa_state_put_u64(blob, TAG_MODES, bits);
	if (!err)
		err = vdpa_state_put(blob, TAG_MAC, filter->mac, NET_MAC_LEN);
	if (!err)
		err = vdpa_state_put(blob, TAG_UNICAST, filter->uni,
				     filter->num_uni * (uint32_t)NET_MAC_LEN);
	if (!err)
		err = vdpa_state_put(blob, TAG_MULTICAST, filter->multi,
				     filter->num_multi * (uint32_t)NET_MAC_LEN);
	if (!err)
		err = vdpa_state_put(blob, TAG_VLANS, filter->vlans, sizeof(filter->vlans));
	return err;
}

int net_save(struct vdpa_soft *soft, struct vdpa_state_blob *blob, struct vdpa_extack *ack)
{
	struct net *net = vdpa_soft_priv(soft);
	struct net_filter filter;
	uint64_t pairs, declined;
	int err;

	pthread_mutex_lock(&net->lock);
	filter = net->filter;
	pairs = net->used_pairs;
	declined = net->declined;
	pthread_mutex_unlock(&net->lock);
	err = save_filter(&filter, blob);
	if (!err)
		err = vdpa_state_put_u64(blob, TAG_PAIRS, pairs);
	return err ? err : vdpa_state_put_u64(blob, TAG_DECLINED, declined);
}

static int load_macs(const struct vdpa_state_blob *blob, uint32_t tag, uint8_t (*macs)[NET_MAC_LEN],
		     uint8_t *num, struct vdpa_extack *ack)
{
	uint32_t len;
	const void *data = vdpa_state_find(blob, tag, &len);

	if (!data)
		return 0;
	if (len % NET_MAC_LEN || len > NET_FILTER_MACS * NET_MAC_LEN)
		return vdpa_extack_set(ack, -EINVAL,
				       "the record's address table has %u bytes: they are at most "
				       "%u addresses of %u",
				       len, NET_FILTER_MACS, NET_MAC_LEN);
	*num = (uint8_t)(len / NET_MAC_LEN);
	memcpy(macs, data, len);
	return 0;
}

static int load_filter(const struct vdpa_state_blob *blob, struct net_filter *filter,
		       struct vdpa_extack *ack)
{
	bool *modes[NUM_MODES];
	const void *data;
	uint64_t bits;
	uint32_t len;
	int err;

	/* A record of a device that was made by an older program may have none. */
	if (vdpa_state_u64(blob, TAG_MODES, &bits))
		return 0;
	filter_modes(filter, modes);
	for (unsigned int i = 0; i < NUM_MODES; i++)
		*modes[i] = bits >> i & 1;
	data = vdpa_state_find(blob, TAG_MAC, &len);
	if (data && len == NET_MAC_LEN)
		memcpy(filter->mac, data, NET_MAC_LEN);
	data = vdpa_state_find(blob, TAG_VLANS, &len);
	if (data && len == sizeof(filter->vlans))
		memcpy(filter->vlans, data, len);
	for (size_t i = 0; i < ARRAY_SIZE(filter->vlans); i++)
		filter->vlans[i] = le64toh(filter->vlans[i]);
	err = load_macs(blob, TAG_UNICAST, filter->uni, &filter->num_uni, ack);
	return err ? err : load_macs(blob, TAG_MULTICAST, filter->multi, &filter->num_multi, ack);
}

int net_load(struct vdpa_soft *soft, const struct vdpa_state_blob *blob, struct vdpa_extack *ack)
{
	struct net *net = vdpa_soft_priv(soft);
	uint64_t pairs = 1, declined = 0;
	struct net_filter filter;
	int err;

	net_filter_init(&filter, net->mac);
	err = load_filter(blob, &filter, ack);
	if (err)
		return err;
	/* An older program's record says neither. */
	vdpa_state_u64(blob, TAG_PAIRS, &pairs);
	vdpa_state_u64(blob, TAG_DECLINED, &declined);
	if (!pairs || pairs > net->pairs)
		return vdpa_extack_set(ack, -EINVAL,
				       "the record uses %" PRIu64 " queue pairs, the device has %u",
				       pairs, net->pairs);
	if (memcmp(filter.mac, net->mac, NET_MAC_LEN))
		soft_write_config(soft, offsetof(struct virtio_net_config, mac), filter.mac,
				  NET_MAC_LEN);
	pthread_mutex_lock(&net->lock);
	net->filter = filter;
	net->used_pairs = (uint16_t)pairs;
	net->declined = declined & NET_GUEST_OFFLOADS;
	net_choose_caps(net);
	/* It may be somewhere else now. */
	net->announce = true;
	net_share(net);
	pthread_mutex_unlock(&net->lock);
	return 0;
}
