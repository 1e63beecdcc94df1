/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames from the driver to the backend, a burst at a time: all are taken, handed to the backend,
 * and given back when it has sent them, so that their memory stays the frame's until then.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "parents/soft/net.h"

static void set_first(struct net *net, struct vdpa_soft_vq *vq)
{
	pthread_mutex_lock(&net->lock);
	net->first_tx = vq;
	pthread_mutex_unlock(&net->lock);
}

int net_tx_start(struct net *net, struct vdpa_soft_vq *vq, struct net_txq *tx,
		 struct vdpa_extack *ack)
{
	uint16_t pair = vdpa_soft_vq_index(vq) / 2;
	int err;

	*tx = (struct net_txq){
		.caps = net->tx_caps,
		.backend_caps = net->backend->caps,
		.counts = &((struct net_vq *)vdpa_soft_vq_priv(vq))->counts,
	};
	vdpa_vq_read_all(soft_vq_ring(vq));
	err = net->backend->ops->tx_attach(net->backend, pair, soft_vq_worker(vq), &tx->queue, ack);
	if (!err && !pair)
		set_first(net, vq);
	return err;
}

void net_tx_stop(struct net *net, struct vdpa_soft_vq *vq, struct net_txq *tx)
{
	if (vdpa_soft_vq_index(vq) == 1)
		set_first(net, NULL);
	tx->queue->net->ops->tx_detach(tx->queue);
}

static int send_one(void *arg, const struct net_pkt *pkt)
{
	struct net_queue *queue = arg;

	return queue->net->ops->send(queue, pkt);
}

/*
 * The frame of a chain: its header copied and checked.  A frame that is too short to have addresses
 * is none.
 */
static int frame_of(const struct net_txq *tx, const struct vdpa_soft_req *req, struct net_pkt *pkt)
{
	const struct vdpa_vq_elem *elem = &req->elem;
	const struct iovec *iov = elem->iov;
	struct virtio_net_hdr_v1 hdr;

	if (unlikely(elem->out_len < NET_HDR_LEN + NET_ETH_LEN ||
		     elem->out_len > NET_HDR_LEN + NET_FRAME_MAX))
		return -EMSGSIZE;
	*pkt = (struct net_pkt){
		.iov = iov,
		.num = elem->out_num,
		.off = NET_HDR_LEN,
		.len = elem->out_len - NET_HDR_LEN,
	};
	if (likely(iov->iov_len >= NET_HDR_LEN))
		memcpy(&hdr, iov->iov_base, NET_HDR_LEN);
	else
		vdpa_iov_to_buf(iov, elem->out_num, 0, &hdr, NET_HDR_LEN);
	if (iov->iov_len == NET_HDR_LEN) {
		pkt->iov++;
		pkt->num--;
		pkt->off = 0;
	}
	if (likely(!hdr.flags && !hdr.gso_type))
		return 0;
	net_hdr_read(&hdr, &pkt->hdr);
	/* No other is a driver's to set.  @spec virtio 1.3, 5.1.6.2.1 */
	pkt->hdr.flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	return net_hdr_check(&pkt->hdr, pkt->len, tx->caps);
}

static int transmit(struct net_txq *tx, const struct net_pkt *pkt)
{
	if (unlikely(net_hdr_caps(&pkt->hdr) & ~tx->backend_caps))
		return net_offload(pkt, tx->backend_caps, send_one, tx->queue);
	return tx->queue->net->ops->send(tx->queue, pkt);
}

static void refuse(struct vdpa_soft_vq *vq, struct net_txq *tx, int err)
{
	if (err == -EINVAL || err == -EMSGSIZE || err == -EOPNOTSUPP)
		counter_add(&tx->counts->refused, 1);
	vdpa_soft_vq_dropped(vq, 1);
}

/* ---- RARP */

struct rarp_frame {
	uint8_t dst[NET_MAC_LEN], src[NET_MAC_LEN], type[2];
	uint8_t hw[2], proto[2], hw_len, proto_len, op[2];
	uint8_t sender[NET_MAC_LEN], sender_ip[4], target[NET_MAC_LEN], target_ip[4];
	uint8_t pad[18]; /* to the shortest frame of Ethernet */
};

/* "Who knows my address?": nobody needs to answer, but all switches learn where it is. */
static void send_rarp(struct net *net, struct net_txq *tx)
{
	struct rarp_frame frame = {
		.dst = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		.type = {0x80, 0x35},
		.hw = {0, 1},
		.proto = {8, 0},
		.hw_len = NET_MAC_LEN,
		.proto_len = 4,
		.op = {0, 3},
	};
	struct iovec iov = {&frame, sizeof(frame)};
	struct net_pkt pkt = {.iov = &iov, .num = 1, .len = sizeof(frame)};

	__atomic_store_n(&net->rarp, false, __ATOMIC_RELAXED);
	pthread_mutex_lock(&net->lock);
	memcpy(frame.src, net->rarp_mac, NET_MAC_LEN);
	pthread_mutex_unlock(&net->lock);
	memcpy(frame.sender, frame.src, NET_MAC_LEN);
	memcpy(frame.target, frame.src, NET_MAC_LEN);
	send_one(tx->queue, &pkt);
	if (tx->queue->net->ops->flush)
		tx->queue->net->ops->flush(tx->queue);
}

void net_tx_rarp(struct net *net, const uint8_t mac[NET_MAC_LEN])
{
	pthread_mutex_lock(&net->lock);
	memcpy(net->rarp_mac, mac, NET_MAC_LEN);
	__atomic_store_n(&net->rarp, true, __ATOMIC_RELAXED);
	if (net->first_tx)
		vdpa_soft_vq_wake(net->first_tx);
	pthread_mutex_unlock(&net->lock);
}

/* Have the processor fetch what will be read first: the header, and addresses behind it. */
static inline void fetch(const struct vdpa_vq_elem *elem)
{
	const uint8_t *first = elem->iov[0].iov_base;

	__builtin_prefetch(first);
	__builtin_prefetch(elem->out_num > 1 ? elem->iov[1].iov_base : first + NET_HDR_LEN);
}

bool net_tx_poll(struct vdpa_soft_vq *vq, struct net_txq *tx)
{
	struct net *net = vdpa_soft_priv(vdpa_soft_vq_soft(vq));
	bool dead = __atomic_load_n(&net->link_down, __ATOMIC_RELAXED);
	static const uint32_t lens[VDPA_SOFT_BURST]; /* nothing is written */
	struct vdpa_soft_req *reqs[VDPA_SOFT_BURST];
	uint32_t num;

	if (unlikely(__atomic_load_n(&net->rarp, __ATOMIC_RELAXED)) && vdpa_soft_vq_index(vq) == 1)
		send_rarp(net, tx);
	num = vdpa_soft_vq_take_many(vq, reqs, VDPA_SOFT_BURST);
	if (!num)
		return false;
	for (uint32_t i = 0; i < num; i++)
		fetch(&reqs[i]->elem);
	for (uint32_t i = 0; i < num; i++) {
		struct net_pkt pkt;
		int err = dead ? -ENETDOWN : frame_of(tx, reqs[i], &pkt);

		if (likely(!err))
			err = transmit(tx, &pkt);
		if (unlikely(err))
			refuse(vq, tx, err);
	}
	if (!dead && tx->queue->net->ops->flush)
		tx->queue->net->ops->flush(tx->queue);
	counter_add(&tx->counts->packets, num);
	vdpa_soft_complete_many(reqs, lens, num);
	return true;
}
