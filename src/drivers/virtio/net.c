/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_net: a net device on the bus as a network interface of this host.  @spec virtio 1.3, 5.1
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "base/defs.h"
#include "drivers/virtio/net_if.h"

#define CTRL_RING 4u /* entries: one command at a time */

/* These are commands. */
#define NEED_CTRL_VQ                                                                               \
	(BIT_ULL(VIRTIO_NET_F_CTRL_RX) | BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE) |                    \
	 BIT_ULL(VIRTIO_NET_F_MQ))

void net_if_fail(struct net_if *net, const char *why)
{
	if (__atomic_exchange_n(&net->failed, true, __ATOMIC_SEQ_CST))
		return;
	virtio_broken(net->dev, why);
	tap_dev_set_carrier(&net->tap, false);
}

/* ---- config space */

#define READ_FIELD(net, field, var)                                                                \
	virtio_config_read((net)->dev, offsetof(struct virtio_net_config, field), &(var),          \
			   sizeof(var))

/* 0: the device does not say. */
static int read_mtu(struct net_if *net, uint32_t *ret, struct vdpa_extack *ack)
{
	uint16_t mtu;
	int err;

	*ret = 0;
	if (!net_has(net, VIRTIO_NET_F_MTU))
		return 0;
	err = READ_FIELD(net, mtu, mtu);
	if (err)
		return vdpa_extack_set(ack, err, "cannot read the MTU of the device");
	mtu = le16toh(mtu);
	if (mtu < TAP_MTU_MIN)
		return vdpa_extack_set(ack, -EPROTO,
				       "the device says that its MTU is %u: it is %u at least", mtu,
				       TAP_MTU_MIN);
	*ret = mtu < TAP_MTU_MAX ? mtu : TAP_MTU_MAX;
	return 0;
}

static int read_pairs(struct net_if *net, struct vdpa_extack *ack)
{
	uint16_t pairs = 1;
	int err = 0;

	if (net_has(net, VIRTIO_NET_F_MQ)) {
		err = READ_FIELD(net, max_virtqueue_pairs, pairs);
		pairs = le16toh(pairs);
	}
	/* The control queue is behind the last one. */
	if (err || !pairs || 2 * pairs + net_has(net, VIRTIO_NET_F_CTRL_VQ) > net->dev->vdev->nvqs)
		return vdpa_extack_set(ack, err ? err : -EPROTO,
				       "the device says that it has %u pairs of queues, which its "
				       "%u queues do not hold",
				       pairs, net->dev->vdev->nvqs);
	net->max_pairs = pairs;
	net->npairs = pairs < NET_PAIRS_MAX ? pairs : NET_PAIRS_MAX;
	return 0;
}

static int apply_mac(struct net_if *net, struct vdpa_extack *ack)
{
	static const uint8_t zero[NET_MAC_LEN];
	uint8_t mac[NET_MAC_LEN];
	int err;

	if (!net_has(net, VIRTIO_NET_F_MAC))
		return 0;
	err = READ_FIELD(net, mac, mac);
	if (err)
		return vdpa_extack_set(ack, err, "cannot read the MAC of the device");
	if (mac[0] & 1 || !memcmp(mac, zero, sizeof(mac)))
		return vdpa_extack_set(ack, -EPROTO,
				       "the device says that its MAC is %02x:%02x:%02x:%02x:%02x:"
				       "%02x, which no single station can have",
				       mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
	err = tap_dev_set_mac(&net->tap, mac);
	if (err)
		return vdpa_extack_set(ack, err, "cannot set the MAC of the interface '%s': %s",
				       net->tap.name, strerrordesc_np(-err));
	return 0;
}

static int apply_mtu(struct net_if *net, struct vdpa_extack *ack)
{
	uint32_t mtu, now;
	int err = read_mtu(net, &mtu, ack);

	if (err || !mtu || mtu == net->mtu)
		return err;
	net->mtu = mtu;
	err = tap_dev_get_mtu(&net->tap, &now);
	if (!err && now != mtu)
		err = tap_dev_set_mtu(&net->tap, mtu);
	if (err)
		return vdpa_extack_set(ack, err,
				       "cannot set the MTU of the interface '%s' to %u: %s",
				       net->tap.name, mtu, strerrordesc_np(-err));
	return 0;
}

/* Link, and the wish that the host makes itself known again: bridges do so when a carrier comes.
 * Lane. */
static void update_status(struct net_if *net)
{
	uint16_t status = VIRTIO_NET_S_LINK_UP;

	if (net_has(net, VIRTIO_NET_F_STATUS) && READ_FIELD(net, status, status))
		return;
	status = net_has(net, VIRTIO_NET_F_STATUS) ? le16toh(status) : status;
	__atomic_store_n(&net->link, status & VIRTIO_NET_S_LINK_UP, __ATOMIC_RELAXED);
	tap_dev_set_carrier(&net->tap, net->link);
	if (__atomic_load_n(&net->failed, __ATOMIC_SEQ_CST))
		tap_dev_set_carrier(&net->tap, false);
	if (status & VIRTIO_NET_S_ANNOUNCE && net_has(net, VIRTIO_NET_F_GUEST_ANNOUNCE))
		net_ctrl_command(net, VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL,
				 0);
}

static void net_config_changed(struct virtio_device *dev)
{
	struct net_if *net = dev->priv;
	struct vdpa_extack ack = {0};

	if (vdpa_get_status(dev->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)
		net_if_fail(net, "the device needs a reset");
	update_status(net);
	/* A device that changes to and fro does not fill the log. */
	if (apply_mtu(net, &ack) && !net->complained) {
		net->complained = true;
		vdpa_log(vdpa_device_bus(dev->vdev), dev->vdev, VDPA_LOG_WARN, "virtio_net: %s",
			 ack.msg);
	}
}

/* ---- start */

/* What is offered, of what goes together and both this driver and the TAP can do. */
static uint64_t wanted_features(const struct net_if *net, uint64_t offer)
{
	uint64_t features = net_fit_offloads(offer & virtio_net_driver.features, net->tap.caps);

	if (!(features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ)))
		features &= ~NEED_CTRL_VQ;
	if (!(features & BIT_ULL(VIRTIO_NET_F_STATUS)))
		features &= ~BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE);
	return features;
}

static int open_tap(struct net_if *net, const struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	uint64_t offer = vdpa_get_device_features(net->dev->vdev);
	struct tap_dev_config cfg = {
		.name = vdpa_attrs_str(attrs, "ifname", NULL),
		.device = net->dev->vdev->name,
		.queues = 1,
		.multi_queue = offer & BIT_ULL(VIRTIO_NET_F_MQ),
		/* One that happens to have the device's name is not meant. */
		.exclusive = !vdpa_attrs_has(attrs, "ifname"),
	};
	int err = tap_dev_open(&cfg, &net->tap, ack);

	if (!err)
		tap_dev_set_carrier(&net->tap, false);
	return err;
}

/* Features, and what the config space says, carried over to the interface. */
static int negotiate(struct net_if *net, struct vdpa_extack *ack)
{
	uint64_t offer = vdpa_get_device_features(net->dev->vdev);
	int err = virtio_negotiate(net->dev, wanted_features(net, offer), ack);

	if (!err)
		err = read_pairs(net, ack);
	if (!err)
		err = tap_dev_open_queues(&net->tap, net->npairs, ack);
	if (!err)
		err = apply_mac(net, ack);
	if (!err)
		err = apply_mtu(net, ack);
	if (err)
		return err;
	net->npairs = net->tap.queues;
	err = tap_dev_set_caps(&net->tap, net_host_caps(net->dev->features));
	if (err)
		return vdpa_extack_set(ack, err, "cannot set the offloads of the interface '%s'",
				       net->tap.name);
	return 0;
}

static int init_pairs(struct net_if *net, struct virtio_queue_setup *queues, size_t *bytes,
		      struct vdpa_extack *ack)
{
	bool mergeable = net_has(net, VIRTIO_NET_F_MRG_RXBUF);

	net->pairs = calloc(net->npairs, sizeof(*net->pairs));
	if (!net->pairs)
		return -ENOMEM;
	for (uint16_t i = 0; i < net->npairs; i++) {
		struct virtio_queue_setup *rx = &queues[2 * i], *tx = rx + 1;
		int err;

		*rx = (struct virtio_queue_setup){
			.idx = (uint16_t)(2 * i),
			.num = mergeable ? NET_RX_MAX : NET_TX_SLOTS,
		};
		*tx = (struct virtio_queue_setup){
			.idx = (uint16_t)(2 * i + 1),
			.num = NET_TX_SLOTS,
		};
		err = virtio_queue_size(net->dev, rx->idx, &rx->num, ack);
		if (!err)
			err = virtio_queue_size(net->dev, tx->idx, &tx->num, ack);
		net_pair_init(&net->pairs[i], net, rx->num, tx->num);
		if (err)
			return err;
		*bytes += net_pair_bytes(&net->pairs[i]);
	}
	return 0;
}

/* The device goes live. */
static int set_up_queues(struct net_if *net, struct vdpa_extack *ack)
{
	bool ctrl = net_has(net, VIRTIO_NET_F_CTRL_VQ);
	struct virtio_queue_setup queues[2 * NET_PAIRS_MAX + 1];
	struct virtio_setup setup = {
		.queues = queues,
		.num_queues = (uint16_t)(2 * net->npairs + ctrl),
		.buffer_bytes = sizeof(struct net_ctrl_msg),
	};
	int err = init_pairs(net, queues, &setup.buffer_bytes, ack);

	if (err)
		return err;
	queues[2 * net->npairs] = (struct virtio_queue_setup){
		.idx = (uint16_t)(2 * net->max_pairs),
		.num = CTRL_RING,
	};
	err = virtio_setup(net->dev, &setup, ack);
	if (err)
		return err;
	for (uint16_t i = 0; i < net->npairs; i++) {
		net->pairs[i].rxq = &net->dev->queues[2 * i];
		net->pairs[i].txq = &net->dev->queues[2 * i + 1];
		net->pairs[i].tap = net->tap.fds[i];
	}
	net->ctrl.msg = (struct net_ctrl_msg *)(void *)net->dev->buffers;
	net->ctrl.vq = ctrl ? &net->dev->queues[2 * net->npairs] : NULL;
	return 0;
}

/*
 * All frames are wanted, whomever they are for: this host may bridge the interface, or give it
 * another address.
 */
static int command_device(struct net_if *net, struct vdpa_extack *ack)
{
	uint16_t pairs = htole16(net->npairs);
	uint8_t on = 1;
	int err = 0;

	if (net_has(net, VIRTIO_NET_F_CTRL_RX))
		err = net_ctrl_command(net, VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on,
				       sizeof(on));
	if (err)
		return vdpa_extack_set(ack, err, "the device does not go into promiscuous mode: %s",
				       strerrordesc_np(-err));
	if (net->npairs > 1)
		err = net_ctrl_command(net, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET,
				       &pairs, sizeof(pairs));
	if (err)
		return vdpa_extack_set(ack, err, "the device does not use %u pairs of queues: %s",
				       net->npairs, strerrordesc_np(-err));
	return 0;
}

static int start_pairs(struct net_if *net, struct vdpa_extack *ack)
{
	uint8_t *buffers = net->dev->buffers + sizeof(struct net_ctrl_msg);

	for (uint16_t i = 0; i < net->npairs; i++) {
		int err = net_pair_start(&net->pairs[i], buffers);

		if (err)
			return vdpa_extack_set(ack, err, "cannot start a thread for queue %u", i);
		buffers += net_pair_bytes(&net->pairs[i]);
	}
	return 0;
}

/* ---- the driver */

static void net_if_free(struct net_if *net)
{
	for (uint16_t i = 0; net->pairs && i < net->npairs; i++)
		if (net->pairs[i].net)
			net_pair_stop(&net->pairs[i]);
	virtio_teardown(net->dev);
	tap_dev_close(&net->tap);
	net->dev->priv = NULL;
	free(net->pairs);
	free(net);
}

static int net_probe(struct virtio_device *dev, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct net_if *net = calloc(1, sizeof(*net));
	int err;

	if (!net)
		return -ENOMEM;
	net->dev = dev;
	dev->priv = net;
	err = open_tap(net, attrs, ack);
	if (!err)
		err = negotiate(net, ack);
	if (!err)
		err = set_up_queues(net, ack);
	if (!err)
		err = command_device(net, ack);
	if (!err)
		err = start_pairs(net, ack);
	if (err)
		net_if_free(net);
	return err;
}

/* What this host has sent reaches the device; nothing more comes, since the cable is out. */
static int drain(struct net_if *net, struct vdpa_extack *ack)
{
	tap_dev_set_carrier(&net->tap, false);
	for (uint16_t i = 0; i < net->npairs; i++) {
		if (__atomic_load_n(&net->failed, __ATOMIC_SEQ_CST))
			return 0;
		if (net_pair_drain(&net->pairs[i]))
			continue;
		tap_dev_set_carrier(&net->tap, net->link);
		return vdpa_extack_set(ack, -EBUSY,
				       "the device does not take what this host has sent: wait, or "
				       "use force and lose it");
	}
	return 0;
}

static int net_remove(struct virtio_device *dev, bool force, struct vdpa_extack *ack)
{
	struct net_if *net = dev->priv;
	int err = force ? 0 : drain(net, ack);

	if (!err)
		net_if_free(net);
	return err;
}

static void net_show(struct virtio_device *dev, struct vdpa_info *info)
{
	struct net_if *net = dev->priv;
	bool link = __atomic_load_n(&net->link, __ATOMIC_RELAXED);
	uint64_t dropped = 0;

	for (uint16_t i = 0; i < net->npairs; i++)
		dropped += __atomic_load_n(&net->pairs[i].dropped, __ATOMIC_RELAXED);
	vdpa_info_str(info, "ifname", net->tap.name);
	vdpa_info_u64(info, "pairs", net->npairs);
	vdpa_info_str(info, "link", link ? "up" : "down");
	vdpa_info_u64(info, "dropped", dropped);
}

static const char *const net_attrs[] = {"ifname", NULL};

const struct virtio_driver virtio_net_driver = {
	.name = "virtio_net",
	.device_id = VIRTIO_ID_NET,
	.features = NET_GUEST_OFFLOADS | NET_HOST_OFFLOADS | NEED_CTRL_VQ |
		    BIT_ULL(VIRTIO_NET_F_MTU) | BIT_ULL(VIRTIO_NET_F_MAC) |
		    BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) | BIT_ULL(VIRTIO_NET_F_STATUS) |
		    BIT_ULL(VIRTIO_NET_F_CTRL_VQ),
	.attrs = net_attrs,
	.probe = net_probe,
	.remove = net_remove,
	.config_changed = net_config_changed,
	.show = net_show,
};
