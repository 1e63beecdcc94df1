/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames for the driver: a receive queue is the sink of a backend.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "parents/soft/net.h"

/* Buffers of one frame: 64 KiB of the smallest that drivers use. */
#define RX_BUFFERS 256
/* What the filter looks at: addresses and a tag. */
#define RX_HEAD    (NET_ETH_LEN + 4)

static struct net_rxq *to_rxq(struct net_sink *sink)
{
	return container_of(sink, struct net_rxq, sink);
}

/* ---- copying */

/* Where the next byte goes: pieces of the guest's memory, all known to be long enough. */
struct cursor {
	const struct iovec *iov;
	size_t off;
};

static void put(struct cursor *to, const uint8_t *src, size_t len)
{
	while (len) {
		size_t room = to->iov->iov_len - to->off, part = len < room ? len : room;

		memcpy((uint8_t *)to->iov->iov_base + to->off, src, part);
		src += part;
		len -= part;
		to->off += part;
		if (to->off == to->iov->iov_len && len) {
			to->iov++;
			to->off = 0;
		}
	}
}

/* Where the bytes come from. */
struct source {
	const struct net_pkt *pkt;
	uint32_t piece; /* 0: head, then the pieces of iov, counted from 1 */
	size_t off;     /* in it */
};

static struct iovec source_piece(const struct source *from)
{
	const struct net_pkt *pkt = from->pkt;

	if (!from->piece)
		return (struct iovec){(void *)pkt->head, pkt->head_len};
	return pkt->iov[from->piece - 1];
}

/* Copy the next len bytes of the frame; a frame whose memory is shorter than it says is cut. */
static void copy(struct cursor *to, struct source *from, size_t len)
{
	while (len && from->piece <= from->pkt->num) {
		struct iovec piece = source_piece(from);
		size_t have = piece.iov_len > from->off ? piece.iov_len - from->off : 0;
		size_t part = have < len ? have : len;

		if (part)
			put(to, (const uint8_t *)piece.iov_base + from->off, part);
		len -= part;
		if (part < have) {
			from->off += part;
			return;
		}
		/* Bytes to leave out may go over several pieces. */
		from->off = from->piece ? from->off + part - piece.iov_len : from->pkt->off;
		from->piece++;
	}
}

/* Put the frame into the buffers, which have room for it. */
static void fill(struct vdpa_soft_req **reqs, uint16_t num, const struct net_pkt *pkt)
{
	struct source from = {.pkt = pkt, .piece = pkt->head_len ? 0 : 1};
	uint64_t left = NET_HDR_LEN + pkt->len;
	uint8_t hdr[NET_HDR_LEN];

	if (from.piece)
		from.off = pkt->off;
	net_hdr_write(&pkt->hdr, num, hdr);
	for (uint16_t i = 0; i < num; i++) {
		const struct vdpa_vq_elem *elem = &reqs[i]->elem;
		uint32_t len = elem->in_len < left ? elem->in_len : (uint32_t)left;
		struct cursor to = {.iov = elem->iov + elem->out_num};

		left -= len;
		if (!i) {
			put(&to, hdr, NET_HDR_LEN);
			copy(&to, &from, len - NET_HDR_LEN);
		} else {
			copy(&to, &from, len);
		}
		vdpa_soft_complete(reqs[i], len);
	}
}

/* The usual case: one piece into one piece. */
static inline bool fill_simply(const struct vdpa_vq_elem *elem, const struct net_pkt *pkt)
{
	const struct iovec *to = elem->iov + elem->out_num, *from = pkt->iov;
	uint32_t rest = pkt->len - pkt->head_len;
	uint8_t *dst;

	if (!elem->in_num || to->iov_len < NET_HDR_LEN + pkt->len || !pkt->num ||
	    !range_fits(pkt->off, rest, from->iov_len))
		return false;
	dst = to->iov_base;
	net_hdr_write(&pkt->hdr, 1, dst);
	dst += NET_HDR_LEN;
	if (pkt->head_len)
		memcpy(dst, pkt->head, pkt->head_len);
	memcpy(dst + pkt->head_len, (const uint8_t *)from->iov_base + pkt->off, rest);
	return true;
}

/* ---- buffers */

/* Give back those that are filled. */
static void settle(struct net_rxq *rx)
{
	if (rx->done != rx->next)
		vdpa_soft_complete_many(rx->ahead + rx->done, rx->lens + rx->done,
					rx->next - rx->done);
	rx->done = rx->next;
}

/* Take buffers ahead, and have the processor fetch what will be written first. */
static bool look_ahead(struct net_rxq *rx)
{
	settle(rx);
	rx->done = rx->next = 0;
	rx->taken = (uint8_t)vdpa_soft_vq_take_many(rx->vq, rx->ahead, rx->window);
	for (unsigned int i = 0; i < rx->taken; i++) {
		const struct vdpa_vq_elem *elem = &rx->ahead[i]->elem;
		const uint8_t *buf = elem->iov[elem->out_num].iov_base;

		__builtin_prefetch(buf, 1);
		__builtin_prefetch(buf + NET_HDR_LEN, 1);
	}
	return rx->taken;
}

/* The next buffer, which stays among those ahead; NULL when there is none. */
static inline struct vdpa_soft_req *next_buffer(struct net_rxq *rx)
{
	return likely(rx->next != rx->taken || look_ahead(rx)) ? rx->ahead[rx->next] : NULL;
}

/* The next buffer, which is the caller's. */
static struct vdpa_soft_req *take_buffer(struct net_rxq *rx)
{
	struct vdpa_soft_req *req = next_buffer(rx);

	if (req) {
		settle(rx);
		rx->done = ++rx->next;
	}
	return req;
}

/* The same, that holds a header at least. */
static struct vdpa_soft_req *take_first(struct net_rxq *rx)
{
	struct vdpa_soft_req *req;

	for (int tries = 0; tries < VDPA_SOFT_BURST; tries++) {
		req = take_buffer(rx);
		if (likely(!req || req->elem.in_len >= NET_HDR_LEN))
			return req;
		/* The driver hears of it, and nothing waits for it. */
		vdpa_soft_complete_error(req, 0);
	}
	return NULL;
}

static void put_back(struct vdpa_soft_req **reqs, unsigned int num)
{
	while (num)
		vdpa_soft_vq_untake(reqs[--num]);
}

/* The burst is over: what was taken ahead and is not filled is the next in the ring again. */
static void put_back_ahead(struct net_rxq *rx)
{
	settle(rx);
	put_back(rx->ahead + rx->next, rx->taken - rx->next);
	rx->done = rx->next = rx->taken = 0;
}

/* Find room for a frame that does not fit into reqs[0].  How many buffers, or -errno. */
static int gather(struct net_rxq *rx, struct vdpa_soft_req **reqs, uint64_t need)
{
	uint64_t room = reqs[0]->elem.in_len;
	uint16_t num = 1;
	int err = 0;

	while (!err && room < need) {
		if (!rx->mergeable || num == RX_BUFFERS) {
			vdpa_soft_vq_dropped(rx->vq, 1);
			err = -EMSGSIZE;
			break;
		}
		reqs[num] = take_buffer(rx);
		if (!reqs[num])
			err = -ENOBUFS;
		else
			room += reqs[num++]->elem.in_len;
	}
	if (!err)
		return num;
	rx->starved = err == -ENOBUFS;
	put_back_ahead(rx);
	put_back(reqs, num);
	return err;
}

/* A frame in pieces, or that takes several buffers. */
static __attribute__((noinline)) int give_pieces(struct net_rxq *rx, const struct net_pkt *pkt)
{
	struct vdpa_soft_req *reqs[RX_BUFFERS];
	int num = 1;

	reqs[0] = take_first(rx);
	if (!reqs[0]) {
		rx->starved = true;
		return -ENOBUFS;
	}
	if (reqs[0]->elem.in_len < NET_HDR_LEN + (uint64_t)pkt->len)
		num = gather(rx, reqs, NET_HDR_LEN + (uint64_t)pkt->len);
	if (num < 0)
		return num;
	counter_add(&rx->counts->packets, 1);
	fill(reqs, (uint16_t)num, pkt);
	return 0;
}

static inline int give(struct net_rxq *rx, const struct net_pkt *pkt)
{
	const struct vdpa_soft_req *req = next_buffer(rx);

	if (unlikely(!req || !fill_simply(&req->elem, pkt)))
		return give_pieces(rx, pkt);
	rx->lens[rx->next++] = (uint32_t)NET_HDR_LEN + pkt->len;
	counter_add(&rx->counts->packets, 1);
	return 0;
}

static int give_segment(void *arg, const struct net_pkt *pkt)
{
	return give(arg, pkt);
}

/* ---- the sink */

static bool rx_wants(const struct net_rxq *rx, const struct net_pkt *pkt)
{
	uint8_t head[RX_HEAD];

	if (likely(!rx->filter->active && !rx->filter->vlan_active))
		return true;
	return net_filter_wants(rx->filter, head, net_pkt_peek(pkt, head, sizeof(head)));
}

/* Who takes no frames without checksum gets no word of checksums.  @spec virtio 1.3, 5.1.6.4.1 */
static int give_unmarked(struct net_rxq *rx, const struct net_pkt *pkt)
{
	struct net_pkt plain = *pkt;

	plain.hdr.flags = 0;
	return give(rx, &plain);
}

/*
 * A frame that is cut may find no room half-way: what has been given stays, the rest is lost, as
 * segments of a frame are lost on a wire.
 */
static int cut(struct net_rxq *rx, const struct net_pkt *pkt)
{
	uint64_t before = rx->counts->packets;
	int err = net_offload(pkt, rx->caps, give_segment, rx);

	if (err == -ENOBUFS && rx->counts->packets == before)
		return err;
	if (err && err != -EMSGSIZE)
		vdpa_soft_vq_dropped(rx->vq, 1);
	return err ? -EMSGSIZE : 0;
}

static int rx_deliver(struct net_sink *sink, const struct net_pkt *pkt)
{
	struct net_rxq *rx = to_rxq(sink);

	if (unlikely(__atomic_load_n(&rx->net->link_down, __ATOMIC_RELAXED)) ||
	    !rx_wants(rx, pkt)) {
		counter_add(&rx->counts->filtered, 1);
		return 0;
	}
	if (unlikely(net_hdr_caps(&pkt->hdr) & ~rx->caps))
		return cut(rx, pkt);
	if (unlikely(pkt->hdr.flags && !(rx->caps & NET_CAP_CSUM)))
		return give_unmarked(rx, pkt);
	return give(rx, pkt);
}

static bool rx_begin(struct net_sink *sink)
{
	return vdpa_soft_vq_enter(to_rxq(sink)->vq);
}

static void rx_end(struct net_sink *sink)
{
	put_back_ahead(to_rxq(sink));
	vdpa_soft_vq_leave(to_rxq(sink)->vq);
}

static void rx_drop(struct net_sink *sink, uint32_t num)
{
	vdpa_soft_vq_dropped(to_rxq(sink)->vq, num);
}

static void rx_wake(struct net_sink *sink)
{
	vdpa_soft_vq_wake(to_rxq(sink)->vq);
}

static const struct net_sink_ops rx_sink_ops = {
	.begin = rx_begin,
	.end = rx_end,
	.deliver = rx_deliver,
	.drop = rx_drop,
	.wake = rx_wake,
};

/* ---- the queue */

/* From now on commands of the driver reach this queue. */
static void rx_enlist(struct net *net, struct net_rxq *rx, uint16_t pair)
{
	pthread_mutex_lock(&net->lock);
	*rx->filter = net->filter;
	rx->caps = net->rx_caps;
	net->rx[pair] = rx;
	pthread_mutex_unlock(&net->lock);
}

static void rx_delist(struct net *net, const struct net_rxq *rx)
{
	uint16_t pair = vdpa_soft_vq_index(rx->vq) / 2;

	pthread_mutex_lock(&net->lock);
	net->rx[pair] = NULL;
	pthread_mutex_unlock(&net->lock);
}

int net_rx_start(struct net *net, struct vdpa_soft_vq *vq, struct net_rxq *rx,
		 struct vdpa_extack *ack)
{
	uint16_t pair = vdpa_soft_vq_index(vq) / 2;
	int err;

	*rx = (struct net_rxq){
		.sink.ops = &rx_sink_ops,
		.vq = vq,
		.net = net,
		.mergeable = net->mergeable,
		.window = vdpa_soft_vq_may_untake(vq) ? NET_RX_AHEAD : 1,
		.counts = &((struct net_vq *)vdpa_soft_vq_priv(vq))->counts,
		.filter = malloc(sizeof(*rx->filter)),
	};
	if (!rx->filter)
		return -ENOMEM;
	rx_enlist(net, rx, pair);
	vdpa_soft_vq_want_kicks(vq, false);
	err = net->backend->ops->rx_attach(net->backend, pair, soft_vq_worker(vq), &rx->sink,
					   &rx->queue, ack);
	if (err) {
		rx_delist(net, rx);
		free(rx->filter);
	}
	return err;
}

void net_rx_stop(struct net_rxq *rx)
{
	rx->queue->net->ops->rx_detach(rx->queue);
	rx_delist(rx->net, rx);
	free(rx->filter);
}

bool net_rx_poll(struct vdpa_soft_vq *vq, struct net_rxq *rx)
{
	unsigned int num;

	if (!rx->queue->net->ops->recv)
		return false;
	rx->starved = false;
	num = rx->queue->net->ops->recv(rx->queue, VDPA_SOFT_BURST);
	put_back_ahead(rx);
	/* A backend that keeps its frames goes on when the driver has added buffers. */
	vdpa_soft_vq_want_kicks(vq, rx->starved);
	return num;
}
