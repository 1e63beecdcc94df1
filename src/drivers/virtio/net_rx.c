/* SPDX-License-Identifier: BSD-2-Clause */
#include "backends/net/vnet.h"
#include "base/defs.h"
#include "drivers/virtio/net_rx.h"
#include "virtqueue/ring.h"

static void offer(struct net_rx *rx, uint8_t *buf)
{
	const struct vdpa_drvq_sg sg = {rx->iova + (uint64_t)(buf - rx->buffers), rx->buf_bytes};

	/* It has room: the ring is as long as there are buffers. */
	vdpa_drvq_add(rx->ring, &sg, 0, 1, buf);
}

void net_rx_fill(struct net_rx *rx)
{
	for (uint32_t i = 0; i < rx->num; i++)
		offer(rx, rx->buffers + (size_t)i * rx->buf_bytes);
}

static bool take_piece(struct net_rx *rx)
{
	uint32_t len;
	uint8_t *buf = vdpa_drvq_get(rx->ring, &len);

	if (!buf)
		return false;
	rx->iov[rx->pieces++] = (struct iovec){buf, len};
	rx->bytes += len;
	return true;
}

static bool give_up(struct net_rx *rx, const char *why)
{
	const char *broken = vdpa_drvq_broken(rx->ring);

	rx->broken = broken ? broken : why;
	return false;
}

static uint32_t num_buffers(const struct net_rx *rx)
{
	const struct virtio_net_hdr_v1 *hdr = rx->iov[0].iov_base;

	return rx->mergeable ? ring_load16(&hdr->num_buffers) : 1;
}

bool net_rx_next(struct net_rx *rx)
{
	uint32_t num;

	rx->pieces = rx->bytes = 0;
	if (rx->broken)
		return false;
	if (!take_piece(rx))
		return give_up(rx, NULL);
	if (rx->bytes < NET_HDR_LEN)
		return give_up(rx, "the device used a receive buffer without a whole header");
	num = num_buffers(rx);
	if (!num || num > rx->num)
		return give_up(rx, "the device says that a frame takes more buffers than it has, "
				   "or none");
	/* They come all at once. */
	while (rx->pieces < num)
		if (!take_piece(rx))
			return give_up(rx, "the device did not use all buffers of a frame at once");
	return true;
}

void net_rx_release(struct net_rx *rx)
{
	for (uint32_t i = 0; i < rx->pieces; i++)
		offer(rx, rx->iov[i].iov_base);
	rx->pieces = 0;
}
