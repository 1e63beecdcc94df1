/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands of a network driver, and the filter that they make.
 *
 * Input: a byte (bit n: group n of the features is negotiated), then records: two bytes of length
 * (bit 15: the command goes on behind what can be looked at), and the command.  After each one the
 * filter judges the command's own bytes as a frame, and is saved and loaded.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus/blob.h"
#include "parents/soft/net.h"

#define F(name) (1ull << VIRTIO_NET_F_##name)

static const uint64_t groups[8] = {
	F(CTRL_RX),
	F(CTRL_RX_EXTRA),
	F(CTRL_VLAN),
	F(CTRL_MAC_ADDR),
	F(GUEST_ANNOUNCE) | F(STATUS),
	F(MQ),
	F(CTRL_GUEST_OFFLOADS) | F(GUEST_CSUM) | F(GUEST_TSO4),
	F(GUEST_TSO6) | F(GUEST_ECN) | F(GUEST_UFO),
};

static void expect(bool ok)
{
	if (!ok)
		abort();
}

/* One device for all inputs; no queue of it runs. */
static struct net *device(void)
{
	static struct net *net;
	struct vdpa_result res = {0};
	struct vdpa_attrs *attrs;
	struct vdpa_bus *bus = NULL;

	if (net)
		return net;
	attrs = vdpa_attrs_alloc();
	expect(attrs && !vdpa_bus_alloc(NULL, &bus, NULL));
	expect(!vdpa_soft_register_builtin(bus, NULL));
	expect(!vdpa_attrs_add(attrs, "backend", "null", NULL, NULL));
	expect(!vdpa_attrs_add(attrs, "max_vqp", "4", NULL, NULL));
	vdpa_dev_add(bus, "net0", "net", attrs, vdpa_result_done, &res);
	expect(!vdpa_bus_wait(bus, &res));
	net = vdpa_soft_priv(to_soft(vdpa_dev_find(bus, "net0")));
	return net;
}

/* What is saved is loaded the same; more_* stands for tables that are not kept. */
static void save_and_load(struct net *net)
{
	struct net_filter before = net->filter;
	struct vdpa_state_blob *blob = blob_alloc();

	expect(blob != NULL);
	expect(!net_save(net->soft, blob, NULL));
	net_filter_init(&net->filter, net->mac);
	expect(!net_load(net->soft, blob, NULL));
	expect(before.num_uni == net->filter.num_uni && before.num_multi == net->filter.num_multi);
	expect(!memcmp(before.uni, net->filter.uni, before.num_uni * sizeof(before.uni[0])));
	expect(!memcmp(before.multi, net->filter.multi,
		       before.num_multi * sizeof(before.multi[0])));
	expect(!memcmp(before.vlans, net->filter.vlans, sizeof(before.vlans)));
	expect(!memcmp(before.mac, net->filter.mac, sizeof(before.mac)));
	expect(before.active == net->filter.active && before.promisc == net->filter.promisc &&
	       before.vlan_active == net->filter.vlan_active);
	blob_free(blob);
}

static void judge(const struct net *net, const uint8_t *frame, uint32_t len)
{
	const struct net_filter *filter = &net->filter;
	bool wants = net_filter_wants(filter, frame, len);

	expect(filter->num_uni <= NET_FILTER_MACS && filter->num_multi <= NET_FILTER_MACS);
	expect(wants || filter->active || filter->vlan_active);
	if (len >= NET_ETH_LEN && wants && filter->active && !filter->promisc && !(frame[0] & 1))
		expect(!filter->nouni);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct net *net = device();

	net->features = 0;
	for (unsigned int i = 0; len && i < 8; i++)
		if (data[0] >> i & 1)
			net->features |= groups[i];
	net_ctrl_reset(net);
	net->rx_caps = net_guest_caps(net->features);
	for (size_t at = 1; at + 2 <= len;) {
		uint32_t size = (uint32_t)(data[at] | (data[at + 1] & 0x7f) << 8);
		uint64_t full = data[at + 1] & 0x80 ? NET_CTRL_MAX + (uint64_t)size : 0;
		uint8_t *cmd;

		at += 2;
		if (size > len - at)
			size = (uint32_t)(len - at);
		/* Where address checkers see the first byte behind it. */
		cmd = malloc(size + 1);
		expect(cmd != NULL);
		memcpy(cmd, data + at, size);
		cmd = realloc(cmd, size ? size : 1);
		net_ctrl(net, cmd, size, full > size ? full : size);
		judge(net, cmd, size);
		save_and_load(net);
		expect(!(net->rx_caps & ~net_guest_caps(net->features)));
		free(cmd);
		at += size;
	}
	return 0;
}
