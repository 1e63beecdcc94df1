/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>

#include "backends/net/net.h"

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

uint32_t net_pkt_peek_pieces(const struct net_pkt *pkt, void *buf, uint32_t len)
{
	uint32_t done;

	len = min_u32(len, pkt->len);
	done = min_u32(len, pkt->head_len);
	if (done)
		memcpy(buf, pkt->head, done);
	return done + (uint32_t)vdpa_iov_to_buf(pkt->iov, pkt->num, pkt->off, (uint8_t *)buf + done,
						len - done);
}

uint32_t net_pkt_pull_pieces(struct net_pkt *pkt, void *buf, uint32_t len)
{
	uint32_t more;

	len = min_u32(len, pkt->len);
	if (len <= pkt->head_len)
		return len;
	if (pkt->head_len && pkt->head != buf)
		memcpy(buf, pkt->head, pkt->head_len);
	more = (uint32_t)vdpa_iov_to_buf(pkt->iov, pkt->num, pkt->off,
					 (uint8_t *)buf + pkt->head_len, len - pkt->head_len);
	pkt->head = buf;
	pkt->head_len += more;
	pkt->off += more;
	return pkt->head_len;
}

void net_pkt_skip(struct net_pkt *pkt, uint32_t len)
{
	uint32_t head = min_u32(len, pkt->head_len);

	len = min_u32(len, pkt->len);
	pkt->len -= len;
	pkt->head_len -= head;
	pkt->head = pkt->head_len ? pkt->head + head : NULL;
	pkt->off += len - head;
	/* What comes next need not look at pieces that are done with. */
	while (pkt->num && pkt->off >= pkt->iov->iov_len) {
		pkt->off -= (uint32_t)pkt->iov->iov_len;
		pkt->iov++;
		pkt->num--;
	}
}

struct iovec net_pkt_take(struct net_pkt *pkt)
{
	struct iovec piece = {0};

	net_pkt_skip(pkt, 0);
	if (pkt->head_len) {
		/* As iovec has it: nobody writes there. */
		piece.iov_base = (void *)(uintptr_t)pkt->head;
		piece.iov_len = pkt->head_len;
	} else if (pkt->num) {
		piece.iov_base = (uint8_t *)pkt->iov->iov_base + pkt->off;
		piece.iov_len = pkt->iov->iov_len - pkt->off;
	} else {
		pkt->len = 0;
	}
	if (piece.iov_len > pkt->len)
		piece.iov_len = pkt->len;
	net_pkt_skip(pkt, (uint32_t)piece.iov_len);
	return piece;
}

uint32_t net_pkt_iov(const struct net_pkt *pkt, struct iovec *iov, uint32_t max)
{
	struct net_pkt rest = *pkt;
	uint32_t num;

	for (num = 0; rest.len; num++) {
		if (num == max)
			return 0;
		iov[num] = net_pkt_take(&rest);
	}
	return num;
}

/* A kind of large frame, by the protocol that it carries. */
struct gso_kind {
	unsigned int caps;
	uint16_t csum_offset;
	uint16_t l4_len; /* least length of its header */
};

#define GSO_TCP 16, 20
#define GSO_UDP 6, 8

static const struct gso_kind gso_kinds[] = {
	[VIRTIO_NET_HDR_GSO_TCPV4] = {NET_CAP_TSO4, GSO_TCP},
	[VIRTIO_NET_HDR_GSO_TCPV6] = {NET_CAP_TSO6, GSO_TCP},
	[VIRTIO_NET_HDR_GSO_UDP] = {NET_CAP_UFO, GSO_UDP},
	[VIRTIO_NET_HDR_GSO_UDP_L4] = {NET_CAP_USO4 | NET_CAP_USO6, GSO_UDP},
};

/* NULL: there is no such kind. */
static const struct gso_kind *gso_kind(uint8_t gso_type)
{
	uint8_t type = gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;

	if (type >= ARRAY_SIZE(gso_kinds) || !gso_kinds[type].caps)
		return NULL;
	if (type != gso_type && !(gso_kinds[type].caps & (NET_CAP_TSO4 | NET_CAP_TSO6)))
		return NULL;
	return &gso_kinds[type];
}

unsigned int net_hdr_caps_offload(const struct net_hdr *hdr)
{
	const struct gso_kind *kind = gso_kind(hdr->gso_type);
	unsigned int caps = hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM ? NET_CAP_CSUM : 0;

	if (hdr->flags & ~(VIRTIO_NET_HDR_F_NEEDS_CSUM | VIRTIO_NET_HDR_F_DATA_VALID))
		return ~0u;
	if (hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return caps;
	if (!kind)
		return ~0u;
	return caps | kind->caps | (hdr->gso_type & VIRTIO_NET_HDR_GSO_ECN ? NET_CAP_ECN : 0);
}

int net_hdr_check_offload(const struct net_hdr *hdr, uint32_t len, unsigned int caps)
{
	bool csum = hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
	const struct gso_kind *kind;

	if (net_hdr_caps(hdr) & ~caps)
		return -EINVAL;
	if (csum && !range_fits((uint64_t)hdr->csum_start + hdr->csum_offset, 2, len))
		return -EINVAL;
	if (hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		return 0;
	kind = gso_kind(hdr->gso_type);
	if (!csum || !hdr->gso_size || hdr->csum_offset != kind->csum_offset ||
	    !range_fits(hdr->csum_start, kind->l4_len, len))
		return -EINVAL;
	return 0;
}
