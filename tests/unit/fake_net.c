/* SPDX-License-Identifier: BSD-2-Clause */
#include <endian.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/defs.h"
#include "fake_net.h"

struct fake_net fake_net = {.lock = PTHREAD_MUTEX_INITIALIZER, .taken = -1};

/* Buffers that wait for a frame; frames or commands that are held. */
struct held {
	struct vdpa_soft_req *first, **last;
};

/* Of the device: by queue. */
struct priv {
	struct held held[2 * FAKE_NET_PAIRS + 1];
	bool early[FAKE_NET_PAIRS + 1]; /* frames came before buffers */
};

void fake_net_init(uint64_t features)
{
	static const uint8_t mac[] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

	fake_net.features = features;
	memcpy(fake_net.mac, mac, sizeof(mac));
	fake_net.mtu = 1500;
	fake_net.status = VIRTIO_NET_S_LINK_UP;
	fake_net.pairs = 1;
	fake_net.say_pairs = 0;
	fake_net.num_buffers = fake_net.first_len = -1;
	fake_net.halve = fake_net.hold = fake_net.mute = fake_net.refuse = false;
	fake_net.sent = fake_net.gso_types = 0;
	for (int i = 0; i < FAKE_NET_PAIRS; i++)
		fake_net.on_pair[i] = 0;
	fake_net.commands[0] = '\0';
	fake_net.soft = NULL;
	fd_closep(&fake_net.taken);
	fake_net.taken = eventfd(0, EFD_CLOEXEC);
}

bool fake_net_commanded(const char *text)
{
	bool seen;

	pthread_mutex_lock(&fake_net.lock);
	seen = strstr(fake_net.commands, text);
	pthread_mutex_unlock(&fake_net.lock);
	return seen;
}

static void set_config16(size_t off, uint16_t value)
{
	value = htole16(value);
	vdpa_soft_update_config(fake_net.soft, (uint32_t)off, &value, sizeof(value));
}

void fake_net_set_status(uint16_t status)
{
	set_config16(offsetof(struct virtio_net_config, status), status);
}

void fake_net_set_mtu(uint16_t mtu)
{
	set_config16(offsetof(struct virtio_net_config, mtu), mtu);
}

static struct held *held_of(struct vdpa_soft_vq *vq)
{
	struct priv *priv = vdpa_soft_priv(vdpa_soft_vq_soft(vq));
	struct held *held = &priv->held[vdpa_soft_vq_index(vq)];

	if (!held->last)
		held->last = &held->first;
	return held;
}

static void hold(struct vdpa_soft_req *req)
{
	struct held *held = held_of(req->vq);

	req->next = NULL;
	*held->last = req;
	held->last = &req->next;
}

static struct vdpa_soft_req *unhold(struct held *held)
{
	struct vdpa_soft_req *req = held->first;

	if (!req)
		return NULL;
	held->first = req->next;
	if (!held->first)
		held->last = &held->first;
	return req;
}

/* ---- frames */

/* Copy from one list of pieces to another; both positions move on.  Returns how much. */
struct cursor {
	const struct iovec *iov;
	uint32_t num;
	size_t off;
};

static size_t copy(struct cursor *to, struct cursor *from)
{
	size_t done = 0;

	while (to->num && from->num) {
		size_t room = to->iov->iov_len - to->off, len = from->iov->iov_len - from->off;

		len = len < room ? len : room;
		memcpy((char *)to->iov->iov_base + to->off,
		       (const char *)from->iov->iov_base + from->off, len);
		done += len;
		to->off += len;
		from->off += len;
		if (to->off == to->iov->iov_len)
			to->iov++, to->num--, to->off = 0;
		if (from->off == from->iov->iov_len)
			from->iov++, from->num--, from->off = 0;
	}
	return done;
}

static void set_num_buffers(const struct vdpa_soft_req *first, uint16_t num)
{
	struct virtio_net_hdr_v1 *hdr = first->elem.iov[first->elem.out_num].iov_base;
	int lie = fake_net.num_buffers;

	hdr->num_buffers = htole16(lie >= 0 ? (uint16_t)lie : num);
}

/* Into as many buffers as it takes; without room it is lost. */
static void echo(struct vdpa_soft_req *req, struct held *buffers)
{
	struct cursor from = {req->elem.iov, req->elem.out_num, 0};
	struct vdpa_soft_req *used[64];
	uint32_t len[64], num = 0, left = req->elem.out_len;

	while (left && num < ARRAY_SIZE(used) && (used[num] = unhold(buffers))) {
		struct vdpa_vq_elem *elem = &used[num]->elem;
		struct cursor to = {elem->iov + elem->out_num, elem->in_num, 0};

		len[num] = (uint32_t)copy(&to, &from);
		left -= len[num++];
	}
	if (num)
		set_num_buffers(used[0], (uint16_t)num);
	if (num && fake_net.first_len >= 0)
		len[0] = (uint32_t)fake_net.first_len;
	for (uint32_t i = 0; i < num; i++) {
		if (fake_net.halve && num > 1 && i == num - 1)
			hold(used[i]);
		else
			vdpa_soft_complete(used[i], len[i]);
	}
}

static void take_frame(struct vdpa_soft_req *req)
{
	struct vdpa_soft *soft = vdpa_soft_vq_soft(req->vq);
	struct priv *priv = vdpa_soft_priv(soft);
	uint16_t idx = vdpa_soft_vq_index(req->vq);
	const struct virtio_net_hdr_v1 *hdr = req->elem.iov[0].iov_base;

	fake_net.gso_types |= 1 << (hdr->gso_type & 15);
	fake_net.on_pair[idx / 2]++;
	echo(req, &priv->held[idx - 1]);
	vdpa_soft_complete(req, 0);
	fake_net.sent++;
	eventfd_write(fake_net.taken, 1);
}

static void command(struct vdpa_soft_req *req)
{
	const uint8_t *out = req->elem.iov[0].iov_base;
	uint8_t *ack = req->elem.iov[req->elem.out_num].iov_base;
	size_t len;

	pthread_mutex_lock(&fake_net.lock);
	len = strlen(fake_net.commands);
	for (size_t i = 0; i < req->elem.iov[0].iov_len; i++)
		len += (size_t)snprintf(fake_net.commands + len, sizeof(fake_net.commands) - len,
					"%02x%s", out[i],
					i == 0   ? "."
					: i == 1 ? ":"
						 : "");
	snprintf(fake_net.commands + len, sizeof(fake_net.commands) - len, " ");
	pthread_mutex_unlock(&fake_net.lock);
	*ack = fake_net.refuse ? VIRTIO_NET_ERR : VIRTIO_NET_OK;
	vdpa_soft_complete(req, 1);
}

/* The worker may see this host's first frame before it sees the buffers that were there before. */
static void offer_frame(struct vdpa_soft_req *req)
{
	struct priv *priv = vdpa_soft_priv(vdpa_soft_vq_soft(req->vq));
	uint16_t idx = vdpa_soft_vq_index(req->vq);

	priv->early[idx / 2] |= !priv->held[idx - 1].first;
	if (fake_net.hold || priv->early[idx / 2])
		hold(req);
	else
		take_frame(req);
}

/* All buffers that were there have been seen: now for the frames that came before them. */
static void net_flush(struct vdpa_soft_vq *vq)
{
	struct priv *priv = vdpa_soft_priv(vdpa_soft_vq_soft(vq));
	uint16_t idx = vdpa_soft_vq_index(vq);
	struct vdpa_soft_req *req;

	if (idx % 2 || !priv->early[idx / 2])
		return;
	priv->early[idx / 2] = false;
	while (!fake_net.hold && (req = unhold(&priv->held[idx + 1])))
		take_frame(req);
}

static void net_handle(struct vdpa_soft_req *req)
{
	uint16_t idx = vdpa_soft_vq_index(req->vq);

	if (idx == 2 * fake_net.pairs && fake_net.mute)
		hold(req);
	else if (idx == 2 * fake_net.pairs)
		command(req);
	else if (idx % 2 == 0)
		hold(req);
	else
		offer_frame(req);
}

static void net_cancel(struct vdpa_soft_vq *vq)
{
	struct vdpa_soft_req *req;

	while ((req = unhold(held_of(vq))))
		vdpa_soft_complete(req, 0);
}

static int net_create(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct virtio_net_config cfg = {
		.status = htole16(fake_net.status),
		.max_virtqueue_pairs =
			htole16(fake_net.say_pairs ? fake_net.say_pairs : fake_net.pairs),
		.mtu = htole16(fake_net.mtu),
	};

	memcpy(cfg.mac, fake_net.mac, sizeof(cfg.mac));
	vdpa_soft_set_features(soft, fake_net.features);
	vdpa_soft_set_nvqs(soft, (uint16_t)(2 * fake_net.pairs + 1));
	vdpa_soft_update_config(soft, 0, &cfg, sizeof(cfg));
	fake_net.soft = soft;
	return 0;
}

const struct vdpa_soft_class fake_net_class = {
	.size = sizeof(fake_net_class),
	.name = "fakenet",
	.help = "sends back what it gets",
	.device_id = VIRTIO_ID_NET,
	.nvqs = 2,
	.max_vqs = 2 * FAKE_NET_PAIRS + 1,
	.config_size = sizeof(struct virtio_net_config),
	.features = (BIT_ULL(24) - 1) | ~(BIT_ULL(50) - 1), /* but those of rings */
	.priv_size = sizeof(struct priv),
	.create = net_create,
	.handle = net_handle,
	.flush = net_flush,
	.cancel = net_cancel,
	.flags = VDPA_SOFT_F_WAITS,
};
