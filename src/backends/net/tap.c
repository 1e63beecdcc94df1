/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each frame is one system call: a write of the guest's own pieces, a read into a buffer of the
 * queue's, so that the guest sees a frame only when it is whole and its kind is known.
 *
 * A frame that the guest has no room for stays in that buffer, and the others in the kernel, which
 * drops what this host sends on when its queue is full.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>

#include "backends/net/tap.h"
#include "backends/net/tap_dev.h"
#include "backends/net/vnet.h"
#include "base/defs.h"
#include "loop/worker.h"

struct tap {
	struct net_backend net;
	struct tap_dev dev;
	pthread_mutex_t lock; /* for pairs */
	uint16_t pairs;       /* queues that the kernel gives frames to */
};

struct tap_tx {
	struct net_queue queue;
	int fd; /* borrowed */
	struct iovec iov[IOV_MAX];
};

struct tap_rx {
	struct net_queue queue;
	int fd; /* borrowed */
	struct net_sink *sink;
	struct loop_watch watch;
	uint32_t waits; /* bytes in buf that wait for room, with the header; 0: none */
	uint8_t buf[NET_HDR_LEN + NET_FRAME_MAX];
};

static struct tap *to_tap(struct net_backend *net)
{
	return container_of(net, struct tap, net);
}

/* ---- frames of the guest's */

static int tap_tx_attach(struct net_backend *net, uint16_t pair, struct worker *worker,
			 struct net_queue **ret, struct vdpa_extack *ack)
{
	struct tap_tx *tx = malloc(sizeof(*tx));

	if (!tx)
		return -ENOMEM;
	tx->queue.net = net;
	tx->fd = to_tap(net)->dev.fds[pair];
	*ret = &tx->queue;
	return 0;
}

static void tap_tx_detach(struct net_queue *queue)
{
	free(container_of(queue, struct tap_tx, queue));
}

static int tap_send(struct net_queue *queue, const struct net_pkt *pkt)
{
	struct tap_tx *tx = container_of(queue, struct tap_tx, queue);
	uint8_t wire[NET_HDR_LEN];
	struct net_hdr hdr = pkt->hdr;
	uint32_t num = net_pkt_iov(pkt, tx->iov + 1, IOV_MAX - 1);

	if (!num)
		return -EMSGSIZE;
	/* The kernel takes the hint at its word, and refuses a frame where it is wrong. */
	if (hdr.hdr_len > pkt->len)
		hdr.hdr_len = 0;
	net_hdr_write(&hdr, 0, wire);
	tx->iov[0] = (struct iovec){wire, sizeof(wire)};
	return writev(tx->fd, tx->iov, (int)num + 1) < 0 ? -errno : 0;
}

/* ---- frames of this host's */

static void tap_readable(struct loop_watch *watch, uint32_t events)
{
	struct tap_rx *rx = container_of(watch, struct tap_rx, watch);

	rx->sink->ops->wake(rx->sink);
}

static int tap_rx_attach(struct net_backend *net, uint16_t pair, struct worker *worker,
			 struct net_sink *sink, struct net_queue **ret, struct vdpa_extack *ack)
{
	struct tap_rx *rx = malloc(sizeof(*rx));
	int err;

	if (!rx)
		return -ENOMEM;
	rx->queue.net = net;
	rx->fd = to_tap(net)->dev.fds[pair];
	rx->sink = sink;
	rx->waits = 0;
	rx->watch = LOOP_WATCH_INIT(tap_readable);
	/* Edges: what waits for room in the guest shall not keep the worker awake. */
	err = loop_watch_add(worker_loop(worker), &rx->watch, rx->fd, EPOLLIN | EPOLLET);
	if (err) {
		free(rx);
		return vdpa_extack_set(ack, err, "cannot watch the TAP");
	}
	*ret = &rx->queue;
	return 0;
}

static void tap_rx_detach(struct net_queue *queue)
{
	struct tap_rx *rx = container_of(queue, struct tap_rx, queue);

	loop_watch_del(&rx->watch);
	free(rx);
}

/* Returns false when there is none. */
static bool read_frame(struct tap_rx *rx)
{
	ssize_t len = read(rx->fd, rx->buf, sizeof(rx->buf));

	if (len < (ssize_t)(NET_HDR_LEN + NET_ETH_LEN))
		return false;
	rx->waits = (uint32_t)len;
	return true;
}

/* Returns false when the guest has no room. */
static bool deliver_frame(struct tap_rx *rx)
{
	struct iovec whole = {rx->buf + NET_HDR_LEN, rx->waits - NET_HDR_LEN};
	struct net_pkt pkt = {.iov = &whole, .num = 1, .len = (uint32_t)whole.iov_len};

	net_hdr_read(rx->buf, &pkt.hdr);
	if (!net_hdr_check(&pkt.hdr, pkt.len, NET_CAP_ALL) &&
	    rx->sink->ops->deliver(rx->sink, &pkt) == -ENOBUFS)
		return false;
	rx->waits = 0;
	return true;
}

static unsigned int tap_recv(struct net_queue *queue, unsigned int budget)
{
	struct tap_rx *rx = container_of(queue, struct tap_rx, queue);
	unsigned int num = 0;

	while (num < budget && (rx->waits || read_frame(rx)) && deliver_frame(rx))
		num++;
	return num;
}

/* ---- the whole */

static int tap_set_caps(struct net_backend *net, unsigned int caps)
{
	return tap_dev_set_caps(&to_tap(net)->dev, caps);
}

static void tap_set_pairs(struct net_backend *net, uint16_t pairs)
{
	struct tap *tap = to_tap(net);

	if (pairs > net->max_pairs)
		pairs = net->max_pairs;
	pthread_mutex_lock(&tap->lock);
	while (tap->pairs > pairs && tap->pairs > 1)
		tap_dev_use_queue(&tap->dev, --tap->pairs, false);
	while (tap->pairs < pairs)
		tap_dev_use_queue(&tap->dev, tap->pairs++, true);
	pthread_mutex_unlock(&tap->lock);
}

static void tap_set_link(struct net_backend *net, bool up)
{
	tap_dev_set_carrier(&to_tap(net)->dev, up);
}

static void tap_show(struct net_backend *net, struct vdpa_info *info)
{
	struct tap *tap = to_tap(net);

	vdpa_info_str(info, "ifname", tap->dev.name);
	vdpa_info_bool(info, "created", tap->dev.created);
}

static void tap_close(struct net_backend *net)
{
	struct tap *tap = to_tap(net);

	tap_dev_close(&tap->dev);
	pthread_mutex_destroy(&tap->lock);
	free(tap);
}

static const struct net_backend_ops tap_ops = {
	.name = "tap",
	.close = tap_close,
	.show = tap_show,
	.tx_attach = tap_tx_attach,
	.tx_detach = tap_tx_detach,
	.rx_attach = tap_rx_attach,
	.rx_detach = tap_rx_detach,
	.send = tap_send,
	.recv = tap_recv,
	.set_caps = tap_set_caps,
	.set_pairs = tap_set_pairs,
	.set_link = tap_set_link,
};

static int set_mtu(struct tap_dev *dev, uint32_t mtu, struct vdpa_extack *ack)
{
	int err = tap_dev_set_mtu(dev, mtu);

	if (!err)
		return 0;
	if (err == -EINVAL)
		return vdpa_extack_set(ack, err, "'mtu' of a TAP is %u to %u, not %u", TAP_MTU_MIN,
				       TAP_MTU_MAX, mtu);
	return vdpa_extack_set(ack, err, "cannot set the MTU of the interface '%s': %s", dev->name,
			       strerrordesc_np(-err));
}

/* An interface that was there is its maker's: it is taken as it is. */
static int set_up(struct tap *tap, const struct net_open *open, struct vdpa_extack *ack)
{
	struct tap_dev *dev = &tap->dev;
	int err = 0;

	if (dev->created && vdpa_attrs_has(open->attrs, "mtu"))
		err = set_mtu(dev, (uint32_t)vdpa_attrs_u64(open->attrs, "mtu", 0), ack);
	if (err)
		return err;
	if (dev->created)
		err = tap_dev_set_up(dev);
	if (!err)
		err = tap_dev_get_mtu(dev, &tap->net.mtu);
	if (err)
		return vdpa_extack_set(ack, err, "cannot set up the interface '%s': %s", dev->name,
				       strerrordesc_np(-err));
	return 0;
}

int net_tap_open(const struct net_open *open, struct net_backend **ret, struct vdpa_extack *ack)
{
	struct tap_dev_config cfg = {
		.name = vdpa_attrs_str(open->attrs, "ifname", NULL),
		.device = open->name,
		.queues = open->pairs,
	};
	struct tap *tap;
	int err;

	tap = calloc(1, sizeof(*tap));
	if (!tap)
		return -ENOMEM;
	err = tap_dev_open(&cfg, &tap->dev, ack);
	if (!err)
		err = set_up(tap, open, ack);
	if (err) {
		tap_dev_close(&tap->dev);
		free(tap);
		return err;
	}
	pthread_mutex_init(&tap->lock, NULL);
	tap->net.ops = &tap_ops;
	tap->net.caps = tap->dev.caps;
	tap->net.max_pairs = tap->pairs = tap->dev.queues;
	tap_set_pairs(&tap->net, 1);
	*ret = &tap->net;
	return 0;
}
