/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The network device: attributes, features, config space, and which queue is what.  Frames are in
 * net_tx.c and net_rx.c, commands in net_ctrl.c; where the frames go is a backend of
 * src/backends/net/.
 *
 * @spec virtio 1.3, 5.1
 */
#include "parents/soft/net.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backends/net/tap.h"
#include "backends/net/user.h"
#include "backends/net/xdp.h"
#include "base/defs.h"
#include "bus/bus.h"

/* Up to here the config space has fields of features that we have. */
#define NET_CONFIG_LEN offsetof(struct virtio_net_config, rss_max_key_size)
#define NET_MAX_VQS    (2 * NET_PAIRS_MAX + 1)
#define SPEED_UNKNOWN  UINT32_MAX
#define DUPLEX_FULL    1

#define CTRL_FEATURES                                                                              \
	(BIT_ULL(VIRTIO_NET_F_CTRL_VQ) | BIT_ULL(VIRTIO_NET_F_CTRL_RX) |                           \
	 BIT_ULL(VIRTIO_NET_F_CTRL_RX_EXTRA) | BIT_ULL(VIRTIO_NET_F_CTRL_VLAN) |                   \
	 BIT_ULL(VIRTIO_NET_F_CTRL_MAC_ADDR) | BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE) |              \
	 BIT_ULL(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) | BIT_ULL(VIRTIO_NET_F_MQ))
#define NET_FEATURES                                                                               \
	(NET_GUEST_OFFLOADS | NET_HOST_OFFLOADS | CTRL_FEATURES | BIT_ULL(VIRTIO_NET_F_MAC) |      \
	 BIT_ULL(VIRTIO_NET_F_MTU) | BIT_ULL(VIRTIO_NET_F_STATUS) |                                \
	 BIT_ULL(VIRTIO_NET_F_MRG_RXBUF) | BIT_ULL(VIRTIO_NET_F_SPEED_DUPLEX))

/* ---- features */

/* A feature, and what it makes no sense without. */
static const struct {
	uint8_t bit, needs;
} needs[] = {
	{VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_GUEST_CSUM},
	{VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_GUEST_CSUM},
	{VIRTIO_NET_F_GUEST_UFO, VIRTIO_NET_F_GUEST_CSUM},
	{VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_GUEST_CSUM},
	{VIRTIO_NET_F_GUEST_USO6, VIRTIO_NET_F_GUEST_CSUM},
	{VIRTIO_NET_F_HOST_TSO4, VIRTIO_NET_F_CSUM},
	{VIRTIO_NET_F_HOST_TSO6, VIRTIO_NET_F_CSUM},
	{VIRTIO_NET_F_HOST_UFO, VIRTIO_NET_F_CSUM},
	{VIRTIO_NET_F_HOST_USO, VIRTIO_NET_F_CSUM},
};

/*
 * Features of the control queue are not looked at: front-ends that serve it themselves ack what
 * depends on it without it.
 * @spec virtio 1.3, 5.1.3.1
 */
static int net_features_ok(struct vdpa_soft *soft, uint64_t features, struct vdpa_extack *ack)
{
	struct net *net = vdpa_soft_priv(soft);
	char bit[16], other[16];

	for (size_t i = 0; i < ARRAY_SIZE(needs); i++) {
		if (features & BIT_ULL(needs[i].bit) && !(features & BIT_ULL(needs[i].needs)))
			return vdpa_extack_set(
				ack, -EINVAL, "feature %s was acked without %s, which it needs",
				vdpa_feature_name(VIRTIO_ID_NET, needs[i].bit, bit),
				vdpa_feature_name(VIRTIO_ID_NET, needs[i].needs, other));
	}
	net->features = features;
	net->mergeable = features & BIT_ULL(VIRTIO_NET_F_MRG_RXBUF);
	net->tx_caps = net_host_caps(features);
	pthread_mutex_lock(&net->lock);
	net_choose_caps(net);
	if (net->announce && features & BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE)) {
		net->announce = false;
		net_set_status(net, net->status | VIRTIO_NET_S_ANNOUNCE, false);
	}
	pthread_mutex_unlock(&net->lock);
	return 0;
}

static void net_reset(struct vdpa_soft *soft)
{
	struct net *net = vdpa_soft_priv(soft);

	soft_write_config(soft, offsetof(struct virtio_net_config, mac), net->mac, NET_MAC_LEN);
	net->features = 0;
	net->tx_caps = 0;
	__atomic_store_n(&net->rarp, false, __ATOMIC_RELAXED);
	net_ctrl_reset(net);
}

static const char *net_why_not(struct vdpa_soft *soft, unsigned int bit)
{
	switch (bit) {
	case VIRTIO_NET_F_MQ:
		return "it has one queue pair: see attribute 'max_vqp'";
	case VIRTIO_NET_F_MTU:
		return "needs the attribute 'mtu'";
	case VIRTIO_NET_F_SPEED_DUPLEX:
		return "needs the attribute 'speed'";
	default:
		return NULL;
	}
}

/* ---- config space */

static void write_field(struct net *net, size_t off, uint16_t value, bool tell)
{
	value = htole16(value);
	if (tell)
		vdpa_soft_update_config(net->soft, (uint32_t)off, &value, sizeof(value));
	else
		soft_write_config(net->soft, (uint32_t)off, &value, sizeof(value));
}

void net_set_status(struct net *net, uint16_t status, bool tell)
{
	if (status == net->status)
		return;
	net->status = status;
	write_field(net, offsetof(struct virtio_net_config, status), status, tell);
}

static void set_link(struct net *net, bool up)
{
	uint16_t status;

	__atomic_store_n(&net->link_down, !up, __ATOMIC_RELAXED);
	if (net->backend->ops->set_link)
		net->backend->ops->set_link(net->backend, up);
	pthread_mutex_lock(&net->lock);
	status = net->status & (uint16_t)~VIRTIO_NET_S_LINK_UP;
	net_set_status(net, up ? status | VIRTIO_NET_S_LINK_UP : status, true);
	pthread_mutex_unlock(&net->lock);
}

/* ---- attributes */

const char *const net_link_states[] = {"up", "down", NULL};

static bool link_is_up(const struct vdpa_attrs *attrs)
{
	return !strcmp(vdpa_attrs_str(attrs, "link", "up"), "up");
}

static int parse_mac(const char *text, uint8_t mac[NET_MAC_LEN], struct vdpa_extack *ack)
{
	int end = 0;

	if (sscanf(text, "%2hhx:%2hhx:%2hhx:%2hhx:%2hhx:%2hhx%n", &mac[0], &mac[1], &mac[2],
		   &mac[3], &mac[4], &mac[5], &end) != NET_MAC_LEN ||
	    text[end])
		return vdpa_extack_set(ack, -EINVAL,
				       "'mac' is six bytes such as 52:54:00:12:34:56, not '%.32s'",
				       text);
	if (mac[0] & 1 || !memcmp(mac, (uint8_t[NET_MAC_LEN]){0}, NET_MAC_LEN))
		return vdpa_extack_set(ack, -EINVAL, "'mac' %.32s is no address of one station",
				       text);
	return 0;
}

static uint64_t hash(uint64_t sum, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sum = (sum ^ (uint8_t)text[i]) * 0x100000001b3u;
	return sum;
}

/* The same each time on this host, and another one on others: as different as their names at least.
 */
static void default_mac(const char *name, uint8_t mac[NET_MAC_LEN])
{
	int fd vdpa_cleanup(fd_closep) = open("/etc/machine-id", O_RDONLY | O_CLOEXEC);
	char id[64] = "";
	ssize_t len = fd < 0 ? 0 : read(fd, id, sizeof(id));
	uint64_t sum;

	if (len <= 0)
		len = gethostname(id, sizeof(id)) ? 0 : (ssize_t)strnlen(id, sizeof(id));
	sum = hash(0xcbf29ce484222325u, id, (size_t)len);

	sum = hash(sum, name, strlen(name));
	mac[0] = 0x02; /* administered locally */
	for (int i = 1; i < NET_MAC_LEN; i++)
		mac[i] = (uint8_t)(sum >> 8 * i);
}

static int choose_mac(struct net *net, const struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	const char *text = vdpa_attrs_str(attrs, "mac", NULL);
	static const uint8_t none[NET_MAC_LEN];

	if (text)
		return parse_mac(text, net->mac, ack);
	if (memcmp(net->backend->mac, none, NET_MAC_LEN))
		memcpy(net->mac, net->backend->mac, NET_MAC_LEN);
	else
		default_mac(vdpa_soft_vdev(net->soft)->name, net->mac);
	return 0;
}

/* Pairs by the kernel's word; or by the number of queues, of which the last is for control. */
static int choose_pairs(struct net *net, const struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	uint16_t nvqs = vdpa_soft_nvqs(net->soft);

	if (vdpa_attrs_has(attrs, "max_vqp") && vdpa_attrs_has(attrs, "queues"))
		return vdpa_extack_set(ack, -EINVAL,
				       "'queues' and 'max_vqp' say the same: give one of them");
	if (vdpa_attrs_has(attrs, "max_vqp"))
		nvqs = (uint16_t)(2 * vdpa_attrs_u64(attrs, "max_vqp", 1) + 1);
	if (nvqs % 2 == 0)
		return vdpa_extack_set(ack, -EINVAL,
				       "'queues' of a net device are pairs and one for control: an "
				       "odd number, not %u ('max_vqp' counts the pairs)",
				       nvqs);
	net->pairs = nvqs / 2;
	vdpa_soft_set_nvqs(net->soft, nvqs);
	return 0;
}

static int check_backend(const struct net *net, const struct vdpa_attrs *attrs,
			 struct vdpa_extack *ack)
{
	const struct net_backend *backend = net->backend;
	uint64_t mtu = vdpa_attrs_u64(attrs, "mtu", 0);

	if (net->pairs > backend->max_pairs)
		return vdpa_extack_set(ack, -EINVAL,
				       "backend '%s' has %u queue pairs at most, not %u",
				       backend->ops->name, backend->max_pairs, net->pairs);
	if (backend->mtu && mtu > backend->mtu)
		return vdpa_extack_set(ack, -EINVAL,
				       "'mtu' %" PRIu64 " is more than the %" PRIu32
				       " of backend '%s'",
				       mtu, backend->mtu, backend->ops->name);
	return 0;
}

/* 0: none in particular. */
static uint16_t choose_mtu(const struct net *net, const struct vdpa_attrs *attrs)
{
	return (uint16_t)vdpa_attrs_u64(attrs, "mtu",
					net->backend->tells_mtu ? net->backend->mtu : 0);
}

static void offer(struct net *net, const struct vdpa_attrs *attrs)
{
	uint64_t features = NET_FEATURES;
	uint16_t mtu = choose_mtu(net, attrs);
	struct virtio_net_config cfg = {
		.status = htole16(net->status),
		.max_virtqueue_pairs = htole16(net->pairs),
		.mtu = htole16(mtu),
		.speed = htole32((uint32_t)vdpa_attrs_u64(attrs, "speed", SPEED_UNKNOWN)),
		.duplex = DUPLEX_FULL,
	};

	memcpy(cfg.mac, net->mac, NET_MAC_LEN);
	if (net->pairs < 2)
		features &= ~BIT_ULL(VIRTIO_NET_F_MQ);
	if (!mtu)
		features &= ~BIT_ULL(VIRTIO_NET_F_MTU);
	if (!vdpa_attrs_has(attrs, "speed"))
		features &= ~BIT_ULL(VIRTIO_NET_F_SPEED_DUPLEX);
	vdpa_soft_set_features(net->soft, features);
	vdpa_soft_update_config(net->soft, 0, &cfg, NET_CONFIG_LEN);
}

static int open_backend(struct net *net, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct net_backend **given = soft_arg(net->soft);
	struct net_open open = {
		.attrs = attrs,
		.name = vdpa_soft_vdev(net->soft)->name,
		.bus = net->soft->bus,
		.pairs = net->pairs,
	};

	if (!given)
		return net_open(&open, &net->backend, ack);
	/* A parent such as a switch has opened its own. */
	net->backend = *given;
	*given = NULL;
	return 0;
}

static int net_create(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct net *net = vdpa_soft_priv(soft);
	int err;

	net->soft = soft;
	err = choose_pairs(net, attrs, ack);
	if (!err)
		err = open_backend(net, attrs, ack);
	if (err)
		return err;
	err = check_backend(net, attrs, ack);
	if (!err)
		err = choose_mac(net, attrs, ack);
	if (err) {
		net_close(net->backend);
		return err;
	}
	pthread_mutex_init(&net->lock, NULL);
	net_filter_init(&net->filter, net->mac);
	net->used_pairs = 1;
	net->link_down = !link_is_up(attrs);
	net->status = net->link_down ? 0 : VIRTIO_NET_S_LINK_UP;
	if (net->link_down && net->backend->ops->set_link)
		net->backend->ops->set_link(net->backend, false);
	offer(net, attrs);
	return 0;
}

static void net_destroy(struct vdpa_soft *soft)
{
	struct net *net = vdpa_soft_priv(soft);

	net_close(net->backend);
	pthread_mutex_destroy(&net->lock);
}

static void announce(struct net *net)
{
	pthread_mutex_lock(&net->lock);
	if (net->features & BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE))
		net_set_status(net, net->status | VIRTIO_NET_S_ANNOUNCE, true);
	else
		net->announce = true;
	pthread_mutex_unlock(&net->lock);
}

static void set_mac(struct net *net, const uint8_t mac[NET_MAC_LEN])
{
	pthread_mutex_lock(&net->lock);
	memcpy(net->mac, mac, NET_MAC_LEN);
	memcpy(net->filter.mac, mac, NET_MAC_LEN);
	net_share(net);
	pthread_mutex_unlock(&net->lock);
	vdpa_soft_update_config(net->soft, offsetof(struct virtio_net_config, mac), mac,
				NET_MAC_LEN);
}

static int net_set_attrs(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct net *net = vdpa_soft_priv(soft);
	const char *text = vdpa_attrs_str(attrs, "mac", NULL);
	uint8_t mac[NET_MAC_LEN];
	int err = text ? parse_mac(text, mac, ack) : 0;

	if (err)
		return err;
	if (text)
		set_mac(net, mac);
	if (vdpa_attrs_has(attrs, "link"))
		set_link(net, link_is_up(attrs));
	if (vdpa_attrs_bool(attrs, "announce", false))
		announce(net);
	return 0;
}

static const struct vdpa_attr_desc net_attrs[] = {
	NET_ATTRS, NET_TAP_ATTRS, NET_USER_ATTRS, NET_XDP_ATTRS, NET_DEVICE_ATTRS, {0},
};

/* ---- queues */

enum net_role net_role(const struct net *net, uint16_t idx)
{
	uint16_t pairs = net->features & BIT_ULL(VIRTIO_NET_F_MQ) ? net->pairs : 1;

	/* Front-ends that serve the control queue themselves may use pairs without it. */
	if (net->features & BIT_ULL(VIRTIO_NET_F_CTRL_VQ) && idx == 2 * pairs)
		return NET_CTRL;
	if (idx >= 2 * net->pairs)
		return NET_NOTHING;
	return idx % 2 ? NET_TX : NET_RX;
}

static int net_queue_start(struct vdpa_soft_vq *vq, struct vdpa_extack *ack)
{
	struct net *net = vdpa_soft_priv(vdpa_soft_vq_soft(vq));
	struct net_vq *nvq = vdpa_soft_vq_priv(vq);

	__atomic_store_n(&nvq->role, net_role(net, vdpa_soft_vq_index(vq)), __ATOMIC_RELAXED);
	switch (nvq->role) {
	case NET_RX:
		return net_rx_start(net, vq, &nvq->rx, ack);
	case NET_TX:
		return net_tx_start(net, vq, &nvq->tx, ack);
	case NET_CTRL:
		return net_ctrl_start(net, &nvq->ctrl);
	case NET_NOTHING:
		break;
	}
	return 0;
}

static void net_queue_stop(struct vdpa_soft_vq *vq)
{
	struct net *net = vdpa_soft_priv(vdpa_soft_vq_soft(vq));
	struct net_vq *nvq = vdpa_soft_vq_priv(vq);

	switch (nvq->role) {
	case NET_RX:
		net_rx_stop(&nvq->rx);
		break;
	case NET_TX:
		net_tx_stop(net, vq, &nvq->tx);
		break;
	case NET_CTRL:
		net_ctrl_stop(net, &nvq->ctrl);
		break;
	case NET_NOTHING:
		break;
	}
}

static bool net_poll(struct vdpa_soft_vq *vq)
{
	struct net_vq *nvq = vdpa_soft_vq_priv(vq);

	switch (nvq->role) {
	case NET_RX:
		return net_rx_poll(vq, &nvq->rx);
	case NET_TX:
		return net_tx_poll(vq, &nvq->tx);
	case NET_CTRL:
		return net_ctrl_poll(vq, &nvq->ctrl);
	case NET_NOTHING:
		break;
	}
	return false;
}

static void net_vq_stats(struct vdpa_soft_vq *vq, struct vdpa_info *info)
{
	const struct net_vq *nvq = vdpa_soft_vq_priv(vq);
	const struct net_counts *counts = &nvq->counts;

	switch (__atomic_load_n(&nvq->role, __ATOMIC_RELAXED)) {
	case NET_RX:
		vdpa_info_str(info, "role", "rx");
		vdpa_info_u64(info, "packets", __atomic_load_n(&counts->packets, __ATOMIC_RELAXED));
		vdpa_info_u64(info, "filtered",
			      __atomic_load_n(&counts->filtered, __ATOMIC_RELAXED));
		break;
	case NET_TX:
		vdpa_info_str(info, "role", "tx");
		vdpa_info_u64(info, "packets", __atomic_load_n(&counts->packets, __ATOMIC_RELAXED));
		vdpa_info_u64(info, "refused", __atomic_load_n(&counts->refused, __ATOMIC_RELAXED));
		break;
	case NET_CTRL:
		vdpa_info_str(info, "role", "ctrl");
		break;
	case NET_NOTHING:
		break;
	}
}

/* ---- commands outside the rings */

static int net_cmd(struct vdpa_soft *soft, uint32_t cmd, const void *in, uint32_t in_len, void *out,
		   uint32_t *out_len, struct vdpa_extack *ack)
{
	struct net *net = vdpa_soft_priv(soft);
	uint16_t mtu;

	switch (cmd) {
	case VDPA_CMD_NET_CTRL:
		*(uint8_t *)out = net_ctrl(net, in, in_len, in_len);
		*out_len = 1;
		return 0;
	case VDPA_CMD_NET_RARP:
		net_tx_rarp(net, in);
		return 0;
	case VDPA_CMD_NET_MTU:
		memcpy(&mtu, in, sizeof(mtu));
		mtu = le16toh(mtu);
		if (mtu < NET_MTU_MIN)
			return vdpa_extack_set(ack, -EINVAL, "an MTU is %u at least, not %u",
					       NET_MTU_MIN, mtu);
		__atomic_store_n(&net->driver_mtu, mtu, __ATOMIC_RELAXED);
		return 0;
	default:
		return -EOPNOTSUPP;
	}
}

/* ---- show */

static void net_show(struct vdpa_soft *soft, struct vdpa_info *info)
{
	struct net *net = vdpa_soft_priv(soft);
	struct virtio_net_config cfg;
	uint16_t mtu = __atomic_load_n(&net->driver_mtu, __ATOMIC_RELAXED);

	vdpa_info_str(info, "backend", net->backend->ops->name);
	if (!soft_get_config(vdpa_soft_vdev(soft), 0, &cfg, NET_CONFIG_LEN))
		vdpa_info_fmt(info, "mac", "%02x:%02x:%02x:%02x:%02x:%02x", cfg.mac[0], cfg.mac[1],
			      cfg.mac[2], cfg.mac[3], cfg.mac[4], cfg.mac[5]);
	vdpa_info_str(info, "link",
		      __atomic_load_n(&net->link_down, __ATOMIC_RELAXED) ? "down" : "up");
	vdpa_info_u64(info, "max_vqp", net->pairs);
	if (mtu)
		vdpa_info_u64(info, "driver_mtu", mtu);
	if (net->backend->ops->show)
		net->backend->ops->show(net->backend, info);
}

const struct vdpa_soft_class soft_net_class = {
	.size = sizeof(soft_net_class),
	.name = "net",
	.help = "network device on a TAP, a user network, an interface, or looped back",
	.device_id = VIRTIO_ID_NET,
	.nvqs = 3,
	.max_vqs = NET_MAX_VQS,
	.config_size = NET_CONFIG_LEN,
	.features = NET_FEATURES,
	.attrs = net_attrs,
	.priv_size = sizeof(struct net),
	.vq_priv_size = sizeof(struct net_vq),
	.flags = VDPA_SOFT_F_PAIRS | VDPA_SOFT_F_SHARED,
	.create = net_create,
	.destroy = net_destroy,
	.set_attrs = net_set_attrs,
	.features_ok = net_features_ok,
	.reset = net_reset,
	.queue_start = net_queue_start,
	.queue_stop = net_queue_stop,
	.poll = net_poll,
	.vq_stats = net_vq_stats,
	.show = net_show,
	.why_not = net_why_not,
	.save = net_save,
	.load = net_load,
	.cmds = BIT_ULL(VDPA_CMD_NET_CTRL) | BIT_ULL(VDPA_CMD_NET_RARP) | BIT_ULL(VDPA_CMD_NET_MTU),
	.cmd = net_cmd,
};
