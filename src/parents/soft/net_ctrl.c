/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the driver commands, over the control queue or, where a front-end answers that itself, by
 * class_cmd.
 *
 * @spec virtio 1.3, 5.1.6.5
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "bus/bus.h"
#include "parents/soft/net.h"

static bool acked(const struct net *net, unsigned int bit)
{
	return net->features & BIT_ULL(bit);
}

/* ---- what the receive queues need to know */

/* A queue that does not run gets it when it starts. */
void net_share(struct net *net)
{
	for (unsigned int i = 0; i < NET_PAIRS_MAX; i++) {
		struct net_rxq *rx = net->rx[i];

		if (!rx || !rx->sink.ops->begin(&rx->sink))
			continue;
		*rx->filter = net->filter;
		rx->caps = net->rx_caps;
		rx->sink.ops->end(&rx->sink);
	}
}

void net_choose_caps(struct net *net)
{
	net->rx_caps = net_guest_caps(net->features & ~net->declined);
	if (net->backend->ops->set_caps)
		net->backend->ops->set_caps(net->backend, net->rx_caps);
}

/* ---- commands; net->lock is held, `data` has `len` bytes */

typedef bool command_fn(struct net *net, uint8_t cmd, const uint8_t *data, uint32_t len,
			uint64_t full);

static bool set_mode(struct net *net, uint8_t cmd, const uint8_t *data, uint32_t len, uint64_t full)
{
	bool *const modes[] = {
		[VIRTIO_NET_CTRL_RX_PROMISC] = &net->filter.promisc,
		[VIRTIO_NET_CTRL_RX_ALLMULTI] = &net->filter.allmulti,
		[VIRTIO_NET_CTRL_RX_ALLUNI] = &net->filter.alluni,
		[VIRTIO_NET_CTRL_RX_NOMULTI] = &net->filter.nomulti,
		[VIRTIO_NET_CTRL_RX_NOUNI] = &net->filter.nouni,
		[VIRTIO_NET_CTRL_RX_NOBCAST] = &net->filter.nobcast,
	};
	bool extra = cmd > VIRTIO_NET_CTRL_RX_ALLMULTI;

	if (full != 1 || cmd >= ARRAY_SIZE(modes) ||
	    !acked(net, extra ? VIRTIO_NET_F_CTRL_RX_EXTRA : VIRTIO_NET_F_CTRL_RX))
		return false;
	*modes[cmd] = data[0];
	net->filter.active = true;
	return true;
}

/* One table: a count, then addresses.  Returns the bytes that it takes of full, 0: it is bad. */
static uint64_t read_table(uint8_t (*macs)[NET_MAC_LEN], uint8_t *num, bool *more,
			   const uint8_t *data, uint32_t len, uint64_t full)
{
	uint32_t entries;
	uint64_t bytes;

	if (len < sizeof(entries))
		return 0;
	memcpy(&entries, data, sizeof(entries));
	entries = le32toh(entries);
	bytes = sizeof(entries) + (uint64_t)entries * NET_MAC_LEN;
	if (bytes > full)
		return 0;
	*more = entries > NET_FILTER_MACS || bytes > len;
	*num = *more ? 0 : (uint8_t)entries;
	memcpy(macs, data + sizeof(entries), (size_t)*num * NET_MAC_LEN);
	return bytes;
}

/* Two tables, one behind the other, and nothing else. */
static bool set_table(struct net *net, const uint8_t *data, uint32_t len, uint64_t full)
{
	struct net_filter filter = net->filter;
	uint64_t uni, multi;

	uni = read_table(filter.uni, &filter.num_uni, &filter.more_uni, data, len, full);
	if (!uni)
		return false;
	if (uni < len) {
		multi = read_table(filter.multi, &filter.num_multi, &filter.more_multi, data + uni,
				   len - (uint32_t)uni, full - uni);
		if (!multi || multi != full - uni)
			return false;
	} else if (full > len) {
		/* It was not copied: too many to remember. */
		filter.more_multi = true;
		filter.num_multi = 0;
	} else {
		return false;
	}
	filter.active = true;
	net->filter = filter;
	return true;
}

static bool set_mac(struct net *net, uint8_t cmd, const uint8_t *data, uint32_t len, uint64_t full)
{
	if (cmd == VIRTIO_NET_CTRL_MAC_TABLE_SET && acked(net, VIRTIO_NET_F_CTRL_RX))
		return set_table(net, data, len, full);
	if (cmd != VIRTIO_NET_CTRL_MAC_ADDR_SET || !acked(net, VIRTIO_NET_F_CTRL_MAC_ADDR) ||
	    full != NET_MAC_LEN || data[0] & 1)
		return false;
	memcpy(net->filter.mac, data, NET_MAC_LEN);
	soft_write_config(net->soft, offsetof(struct virtio_net_config, mac), data, NET_MAC_LEN);
	return true;
}

static bool set_vlan(struct net *net, uint8_t cmd, const uint8_t *data, uint32_t len, uint64_t full)
{
	if (full != 2 || cmd > VIRTIO_NET_CTRL_VLAN_DEL || !acked(net, VIRTIO_NET_F_CTRL_VLAN))
		return false;
	return net_filter_vlan(&net->filter, (uint16_t)(data[0] | data[1] << 8),
			       cmd == VIRTIO_NET_CTRL_VLAN_ADD);
}

static bool ack_announce(struct net *net, uint8_t cmd, const uint8_t *data, uint32_t len,
			 uint64_t full)
{
	if (cmd != VIRTIO_NET_CTRL_ANNOUNCE_ACK || full || !acked(net, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return false;
	net_set_status(net, net->status & (uint16_t)~VIRTIO_NET_S_ANNOUNCE, false);
	return true;
}

static bool set_pairs(struct net *net, uint8_t cmd, const uint8_t *data, uint32_t len,
		      uint64_t full)
{
	uint16_t pairs;

	if (cmd != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || full != 2 || !acked(net, VIRTIO_NET_F_MQ))
		return false;
	pairs = (uint16_t)(data[0] | data[1] << 8);
	if (!pairs || pairs > net->pairs)
		return false;
	net->used_pairs = pairs;
	if (net->backend->ops->set_pairs)
		net->backend->ops->set_pairs(net->backend, pairs);
	return true;
}

static bool set_offloads(struct net *net, uint8_t cmd, const uint8_t *data, uint32_t len,
			 uint64_t full)
{
	uint64_t offloads;

	if (cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || full != sizeof(offloads) ||
	    !acked(net, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS))
		return false;
	memcpy(&offloads, data, sizeof(offloads));
	offloads = le64toh(offloads);
	if (offloads & ~(net->features & NET_GUEST_OFFLOADS))
		return false;
	net->declined = NET_GUEST_OFFLOADS & ~offloads;
	net_choose_caps(net);
	return true;
}

static command_fn *const commands[] = {
	[VIRTIO_NET_CTRL_RX] = set_mode,   [VIRTIO_NET_CTRL_MAC] = set_mac,
	[VIRTIO_NET_CTRL_VLAN] = set_vlan, [VIRTIO_NET_CTRL_ANNOUNCE] = ack_announce,
	[VIRTIO_NET_CTRL_MQ] = set_pairs,  [VIRTIO_NET_CTRL_GUEST_OFFLOADS] = set_offloads,
};

uint8_t net_ctrl(struct net *net, const uint8_t *cmd, uint32_t have, uint64_t full)
{
	const uint32_t head = sizeof(struct virtio_net_ctrl_hdr);
	bool ok;

	if (have < head || cmd[0] >= ARRAY_SIZE(commands) || !commands[cmd[0]])
		return VIRTIO_NET_ERR;
	pthread_mutex_lock(&net->lock);
	ok = commands[cmd[0]](net, cmd[1], cmd + head, have - head, full - head);
	if (ok)
		net_share(net);
	pthread_mutex_unlock(&net->lock);
	if (ok)
		bus_state_changed(vdpa_soft_vdev(net->soft));
	return ok ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
}

void net_ctrl_reset(struct net *net)
{
	pthread_mutex_lock(&net->lock);
	net_filter_init(&net->filter, net->mac);
	net->used_pairs = 1;
	net->declined = 0;
	net_set_status(net, net->status & (uint16_t)~VIRTIO_NET_S_ANNOUNCE, false);
	pthread_mutex_unlock(&net->lock);
}

/* ---- the queue */

int net_ctrl_start(struct net *net, struct net_ctrlq *ctrl)
{
	ctrl->buf = malloc(NET_CTRL_MAX);
	if (!ctrl->buf)
		return -ENOMEM;
	/* A driver that commands says when it uses more than one pair. */
	pthread_mutex_lock(&net->lock);
	if (net->backend->ops->set_pairs)
		net->backend->ops->set_pairs(net->backend,
					     acked(net, VIRTIO_NET_F_MQ) ? net->used_pairs : 1);
	pthread_mutex_unlock(&net->lock);
	return 0;
}

void net_ctrl_stop(struct net *net, struct net_ctrlq *ctrl)
{
	free(ctrl->buf);
	if (net->backend->ops->set_pairs)
		net->backend->ops->set_pairs(net->backend, NET_PAIRS_MAX);
}

static void command(struct net *net, struct net_ctrlq *ctrl, struct vdpa_soft_req *req)
{
	const struct vdpa_vq_elem *elem = &req->elem;
	size_t have;
	uint8_t ack;

	if (!elem->in_len) {
		vdpa_soft_broken(req, "control command without room for an answer");
		return;
	}
	have = vdpa_iov_to_buf(elem->iov, elem->out_num, 0, ctrl->buf, NET_CTRL_MAX);
	ack = net_ctrl(net, ctrl->buf, (uint32_t)have, elem->out_len);
	vdpa_iov_from_buf(elem->iov + elem->out_num, elem->in_num, 0, &ack, sizeof(ack));
	if (ack == VIRTIO_NET_OK)
		vdpa_soft_complete(req, sizeof(ack));
	else
		vdpa_soft_complete_error(req, sizeof(ack));
}

bool net_ctrl_poll(struct vdpa_soft_vq *vq, struct net_ctrlq *ctrl)
{
	struct net *net = vdpa_soft_priv(vdpa_soft_vq_soft(vq));
	struct vdpa_soft_req *req;
	uint32_t num = 0;

	for (; num < VDPA_SOFT_BURST && (req = vdpa_soft_vq_take(vq)); num++)
		command(net, ctrl, req);
	return num;
}
