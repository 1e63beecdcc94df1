/* SPDX-License-Identifier: BSD-2-Clause */
#include "parents/switch/switch.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

#include "backends/net/switch.h"
#include "parents/soft/net.h"
#include "parents/switch/uplink.h"

#define MACS         8192
#define AGEING       300
#define FLOOD_LIMIT  100000
/* What one port may have of the table unless it is said: so many can fill it only together. */
#define PORT_SHARE   8
#define UPLINK_SHARE 2

struct switch_mgmtdev {
	struct vdpa_mgmtdev mdev;
	struct vdpa_bus *bus;
	struct net_switch *sw;
	struct uplink *uplink; /* NULL: none */
	struct vdpa_attr_desc *attrs;
};

static const uint32_t ids[] = {VIRTIO_ID_NET, 0};

static const struct vdpa_attr_desc port_attrs[] = {
	NET_DEVICE_ATTRS,
	SWITCH_PORT_ATTRS,
	{0},
};

static const char *const uplink_backends[] = {"tap", NULL};

static const struct vdpa_attr_desc switch_attrs[] = {
	{.name = "macs",
	 .type = VDPA_ATTR_UINT,
	 .min = 1,
	 .max = FDB_MAX,
	 .help = "addresses that it learns at most (8192)"},
	{.name = "port-macs",
	 .type = VDPA_ATTR_UINT,
	 .min = 1,
	 .max = FDB_MAX,
	 .help = "addresses that it learns at one port at most (an eighth of 'macs')"},
	{.name = "ageing",
	 .type = VDPA_ATTR_UINT,
	 .min = 1,
	 .max = FDB_AGEING_MAX,
	 .help = "seconds after which an address that is not seen is forgotten (300)"},
	{.name = "flood-limit",
	 .type = VDPA_ATTR_UINT,
	 .max = UINT32_MAX,
	 .help = "frames a second that one port may have flooded; 0: any number (100000)"},
	{.name = "uplink",
	 .type = VDPA_ATTR_STRING,
	 .help = "interface of this host that is a port, too (none)"},
	{.name = "uplink-backend",
	 .type = VDPA_ATTR_ENUM,
	 .values = uplink_backends,
	 .help = "what kind of interface it is (tap: made if it is not there)"},
	{.name = "uplink-queues",
	 .type = VDPA_ATTR_UINT,
	 .min = 1,
	 .max = NET_PAIRS_MAX,
	 .help = "queue pairs of the uplink (1)"},
	{.name = "uplink-vlan",
	 .type = VDPA_ATTR_UINT,
	 .min = 1,
	 .max = VLAN_ID_MAX,
	 .help = "VLAN of its frames without a tag (1; none with 'uplink-trunk')"},
	{.name = "uplink-trunk",
	 .type = VDPA_ATTR_STRING,
	 .help = "VLANs of its frames with a tag: all, or such as 10,20-29 (none)"},
	{0},
};

/* ---- devices */

/* The class checks it; a port has room for what can be right. */
static uint16_t num_pairs(const struct vdpa_attrs *attrs)
{
	uint64_t queues = vdpa_attrs_u64(attrs, "queues", 3);
	uint64_t pairs = vdpa_attrs_u64(attrs, "max_vqp", queues / 2);

	if (!pairs)
		return 1;
	return pairs < NET_PAIRS_MAX ? (uint16_t)pairs : NET_PAIRS_MAX;
}

static int switch_dev_add(struct vdpa_mgmtdev *mdev, const char *name, struct vdpa_attrs *attrs,
			  struct vdpa_device **ret, struct vdpa_extack *ack)
{
	struct switch_mgmtdev *sm = container_of(mdev, struct switch_mgmtdev, mdev);
	struct net_open open = {attrs, name, sm->bus, num_pairs(attrs)};
	struct net_backend *port = NULL;
	int err;

	err = switch_port_open(sm->sw, &open, &port, ack);
	if (err)
		return err;
	err = soft_dev_make(sm->bus, mdev, &soft_net_class, sm->attrs, name, attrs, &port, ret,
			    ack);
	/* Ours still, if it has not come to a device. */
	net_close(port);
	return err;
}

static void switch_show(struct vdpa_mgmtdev *mdev, struct vdpa_info *info)
{
	struct switch_mgmtdev *sm = container_of(mdev, struct switch_mgmtdev, mdev);

	if (sm->uplink)
		uplink_show(sm->uplink, info);
	net_switch_show(sm->sw, info);
}

static void free_switch(struct switch_mgmtdev *sm)
{
	uplink_close(sm->uplink);
	net_switch_put(sm->sw);
	free(sm->attrs);
	free(sm);
}

static void switch_free(struct vdpa_mgmtdev *mdev)
{
	free_switch(container_of(mdev, struct switch_mgmtdev, mdev));
}

static const struct vdpa_mgmtdev_ops switch_ops = {
	.size = sizeof(switch_ops),
	.dev_add = switch_dev_add,
	.free = switch_free,
	.show = switch_show,
};

/* ---- the uplink */

/* An attribute of the switch as one of its parts knows it; def NULL: left out when it is not there.
 */
static int pass(struct vdpa_attrs *to, const char *to_key, const struct vdpa_attrs *from,
		const char *key, const char *def)
{
	const char *value = vdpa_attrs_str(from, key, def);

	return value ? vdpa_attrs_add(to, to_key, value, NULL, NULL) : 0;
}

static int open_host(struct switch_mgmtdev *sm, const struct vdpa_attrs *attrs, const char *name,
		     struct net_backend **ret, struct vdpa_extack *ack)
{
	struct net_open open = {
		.attrs = vdpa_attrs_alloc(),
		.name = name,
		.bus = sm->bus,
		.pairs = (uint16_t)vdpa_attrs_u64(attrs, "uplink-queues", 1),
	};
	int err = open.attrs ? 0 : -ENOMEM;

	if (!err)
		err = pass(open.attrs, "backend", attrs, "uplink-backend", "tap");
	if (!err)
		err = pass(open.attrs, "ifname", attrs, "uplink", NULL);
	if (!err)
		err = net_open(&open, ret, ack);
	vdpa_attrs_free(open.attrs);
	return err;
}

static int open_port(struct switch_mgmtdev *sm, const struct vdpa_attrs *attrs, uint32_t macs,
		     uint16_t pairs, struct net_backend **ret, struct vdpa_extack *ack)
{
	struct net_open open = {vdpa_attrs_alloc(), "uplink", sm->bus, pairs};
	char number[16];
	int err = open.attrs ? 0 : -ENOMEM;

	snprintf(number, sizeof(number), "%u", macs);
	if (!err)
		err = pass(open.attrs, "vlan", attrs, "uplink-vlan", NULL);
	if (!err)
		err = pass(open.attrs, "trunk", attrs, "uplink-trunk", NULL);
	if (!err)
		err = vdpa_attrs_add(open.attrs, "macs", number, NULL, NULL);
	if (!err)
		err = vdpa_attrs_check(open.attrs, switch_port_attrs, NULL, false, ack);
	if (!err)
		err = switch_port_open(sm->sw, &open, ret, ack);
	vdpa_attrs_free(open.attrs);
	return err ? vdpa_extack_prefix(ack, err, "uplink") : 0;
}

static int open_uplink(struct switch_mgmtdev *sm, const struct vdpa_attrs *attrs, const char *name,
		       uint32_t macs, struct vdpa_extack *ack)
{
	struct net_backend *host, *port;
	int err;

	if (!vdpa_attrs_has(attrs, "uplink")) {
		for (const struct vdpa_attr_desc *row = switch_attrs; row->name; row++) {
			if (!strncmp(row->name, "uplink-", 7) && vdpa_attrs_has(attrs, row->name))
				return vdpa_extack_set(ack, -EINVAL, "'%s' needs 'uplink'",
						       row->name);
		}
		return 0;
	}
	err = open_host(sm, attrs, name, &host, ack);
	if (err)
		return err;
	err = open_port(sm, attrs, macs, host->max_pairs, &port, ack);
	if (err) {
		net_close(host);
		return err;
	}
	return uplink_open(sm->bus, port, host, &sm->uplink, ack);
}

/* ---- the switch */

static uint32_t share(uint32_t macs, uint32_t of)
{
	return macs / of ? macs / of : 1;
}

static int open_switch(struct switch_mgmtdev *sm, const struct vdpa_attrs *attrs, const char *name,
		       struct vdpa_extack *ack)
{
	uint32_t macs = (uint32_t)vdpa_attrs_u64(attrs, "macs", MACS);
	struct net_switch_config config = {
		.macs = macs,
		.port_macs = (uint32_t)vdpa_attrs_u64(attrs, "port-macs", share(macs, PORT_SHARE)),
		.ageing = (uint32_t)vdpa_attrs_u64(attrs, "ageing", AGEING),
		.flood_limit = (uint32_t)vdpa_attrs_u64(attrs, "flood-limit", FLOOD_LIMIT),
	};

	if (getrandom(&config.seed, sizeof(config.seed), GRND_NONBLOCK) < 0)
		return vdpa_extack_set(ack, -errno, "no random numbers yet");
	sm->attrs = soft_attrs_join(port_attrs);
	sm->sw = sm->attrs ? net_switch_alloc(&config) : NULL;
	if (!sm->sw)
		return -ENOMEM;
	return open_uplink(sm, attrs, name, share(macs, UPLINK_SHARE), ack);
}

static int switch_add(struct vdpa_bus *bus, const char *name, struct vdpa_attrs *attrs,
		      struct vdpa_mgmtdev **ret, struct vdpa_extack *ack)
{
	struct switch_mgmtdev *sm = calloc(1, sizeof(*sm));
	int err;

	if (!sm)
		return -ENOMEM;
	sm->bus = bus;
	err = open_switch(sm, attrs, name, ack);
	if (err) {
		free_switch(sm);
		return err;
	}
	sm->mdev.ops = &switch_ops;
	sm->mdev.ids = ids;
	sm->mdev.attrs = sm->attrs;
	sm->mdev.max_vqs = soft_net_class.max_vqs;
	sm->mdev.features = soft_class_offer(&soft_net_class);
	sm->mdev.help = "learning switch: its devices are the ports";
	*ret = &sm->mdev;
	return 0;
}

const struct vdpa_mgmtdev_type switch_type = {
	.size = sizeof(switch_type),
	.name = "switch",
	.help = "learning layer-2 switch between devices, with an uplink to an interface",
	.attrs = switch_attrs,
	.add = switch_add,
};
