/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A network backend whose other end is a channel of a TmFIFO.  What the driver sends waits in a
 * ring until the FIFO has room; what comes in is delivered by the FIFO's worker.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>

#include "backends/net/burst.h"
#include "backends/net/frames.h"
#include "base/defs.h"
#include "parents/tmfifo/ends.h"

/* Bytes of frames that wait for room: room for some of the longest, and not for seconds of them. */
#define WAITING (1u << 18)

struct fifo_net {
	struct net_backend net;
	struct net_queue tx, rx;
	struct tmfifo_channel ch;
	struct tmfifo *fifo;
	uint32_t frame_max;
	struct frames *frames; /* put by the transmit queue's worker, taken by the FIFO's */
	bool kick;             /* the former's: they were empty */
	struct net_burst burst;
};

static struct fifo_net *to_net(struct tmfifo_channel *ch)
{
	return container_of(ch, struct fifo_net, ch);
}

/* ---- the channel; the FIFO's worker */

static bool net_pending(struct tmfifo_channel *ch)
{
	return frames_used(to_net(ch)->frames);
}

static uint32_t net_next(struct tmfifo_channel *ch, uint8_t *buf, uint32_t max)
{
	struct frames *frames = to_net(ch)->frames;
	uint32_t len;
	const void *frame = frames_first(frames, &len);

	memcpy(buf, frame, len);
	frames_drop_first(frames);
	return len;
}

static void net_receive(struct tmfifo_channel *ch, const uint8_t *data, uint32_t len)
{
	struct fifo_net *fnet = to_net(ch);
	struct iovec iov = {(void *)data, len};
	const struct net_pkt pkt = {.iov = &iov, .num = 1, .len = len};

	struct net_sink *sink;

	if (!net_burst_begin(&fnet->burst)) {
		counter_add(&ch->stats.lost, 1);
		return;
	}
	sink = fnet->burst.sink;
	if (sink->ops->deliver(sink, &pkt) == -ENOBUFS) {
		sink->ops->drop(sink, 1);
		counter_add(&ch->stats.lost, 1);
	}
}

static void net_flush(struct tmfifo_channel *ch)
{
	net_burst_end(&to_net(ch)->burst);
}

static const struct tmfifo_channel_ops channel_ops = {
	.name = "net",
	.pending = net_pending,
	.next = net_next,
	.receive = net_receive,
	.flush = net_flush,
};

/* ---- queues */

static int fifo_tx_attach(struct net_backend *net, uint16_t pair, struct worker *worker,
			  struct net_queue **ret, struct vdpa_extack *ack)
{
	*ret = &container_of(net, struct fifo_net, net)->tx;
	return 0;
}

static void fifo_tx_detach(struct net_queue *queue)
{
}

static int fifo_rx_attach(struct net_backend *net, uint16_t pair, struct worker *worker,
			  struct net_sink *sink, struct net_queue **ret, struct vdpa_extack *ack)
{
	struct fifo_net *fnet = container_of(net, struct fifo_net, net);

	net_burst_set_sink(&fnet->burst, sink);
	*ret = &fnet->rx;
	return 0;
}

static void fifo_rx_detach(struct net_queue *queue)
{
	net_burst_set_sink(&container_of(queue, struct fifo_net, rx)->burst, NULL);
}

static int fifo_send(struct net_queue *queue, const struct net_pkt *pkt)
{
	struct fifo_net *fnet = container_of(queue, struct fifo_net, tx);
	void *room;

	if (pkt->len > fnet->frame_max)
		return -EMSGSIZE;
	room = frames_room(fnet->frames, pkt->len);
	if (!room)
		return -ENOBUFS;
	net_pkt_peek(pkt, room, pkt->len);
	if (frames_put(fnet->frames))
		fnet->kick = true;
	return 0;
}

static void fifo_flush(struct net_queue *queue)
{
	struct fifo_net *fnet = container_of(queue, struct fifo_net, tx);

	if (fnet->kick)
		tmfifo_wake(fnet->fifo);
	fnet->kick = false;
}

/* ---- the whole */

static void net_free(struct fifo_net *fnet)
{
	frames_free(fnet->frames);
	net_burst_release(&fnet->burst);
	free(fnet);
}

static void fifo_net_close(struct net_backend *net)
{
	struct fifo_net *fnet = container_of(net, struct fifo_net, net);

	tmfifo_detach(&fnet->ch);
	net_free(fnet);
}

static const struct net_backend_ops net_ops = {
	.name = "tmfifo",
	.close = fifo_net_close,
	.tx_attach = fifo_tx_attach,
	.tx_detach = fifo_tx_detach,
	.rx_attach = fifo_rx_attach,
	.rx_detach = fifo_rx_detach,
	.send = fifo_send,
	.flush = fifo_flush,
};

int tmfifo_net_open(struct tmfifo *fifo, uint32_t mtu, const uint8_t mac[NET_MAC_LEN],
		    struct net_backend **ret)
{
	struct fifo_net *fnet = calloc(1, sizeof(*fnet));
	int err;

	if (!fnet)
		return -ENOMEM;
	net_burst_init(&fnet->burst);
	fnet->net = (struct net_backend){
		.ops = &net_ops, .max_pairs = 1, .mtu = mtu, .tells_mtu = true};
	memcpy(fnet->net.mac, mac, NET_MAC_LEN);
	fnet->tx.net = fnet->rx.net = &fnet->net;
	fnet->ch.ops = &channel_ops;
	fnet->ch.type = VIRTIO_ID_NET;
	fnet->fifo = fifo;
	fnet->frame_max = mtu + TMFIFO_FRAME_EXTRA;
	fnet->frames = frames_alloc(WAITING);
	err = fnet->frames ? tmfifo_attach(fifo, &fnet->ch) : -ENOMEM;
	if (err) {
		net_free(fnet);
		return err;
	}
	*ret = &fnet->net;
	return 0;
}
