/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A frame with a header from a guest, for receivers of each kind.
 *
 * Input: flags, type, GSO size, checksum start and offset (16 bits each, little-endian), then how
 * many bytes are in the head, in the first piece (one byte each) and in the second (two); then the
 * frame.  Each part is a heap block of its own: an address checker sees the first byte behind it.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>

#include "backends/net/net.h"

struct fuzz_input {
	uint8_t flags, gso_type;
	uint16_t gso_size, csum_start, csum_offset;
	uint8_t head, first;
	uint16_t second;
} __attribute__((packed));

struct fuzz_sink {
	unsigned int caps;
	uint32_t num;
	uint32_t most; /* bytes that a frame may have at all */
};

static void expect(bool ok)
{
	if (!ok)
		abort();
}

static int emit(void *arg, const struct net_pkt *pkt)
{
	static uint8_t buf[NET_FRAME_MAX];
	struct fuzz_sink *sink = arg;
	struct iovec iov[5]; /* our head, and what input there is */
	uint32_t num = net_pkt_iov(pkt, iov, ARRAY_SIZE(iov)), len = 0;

	sink->num++;
	expect(!(net_hdr_caps(&pkt->hdr) & ~sink->caps));
	expect(!net_hdr_check(&pkt->hdr, pkt->len, sink->caps));
	expect(pkt->len <= sink->most && sink->num <= NET_SEGMENTS_MAX);
	expect(num || !pkt->len);
	for (uint32_t i = 0; i < num; i++)
		len += (uint32_t)iov[i].iov_len;
	expect(len == pkt->len);
	/* Reads all of it. */
	expect(net_pkt_peek(pkt, buf, NET_FRAME_MAX) == pkt->len);
	return 0;
}

static void offload(const struct net_pkt *pkt)
{
	struct fuzz_sink none = {0};

	if (net_hdr_check(&pkt->hdr, pkt->len, NET_CAP_ALL)) {
		expect(net_offload(pkt, 0, emit, &none) == -EINVAL && !none.num);
		return;
	}
	for (unsigned int caps = 0; caps <= NET_CAP_ALL; caps++) {
		struct fuzz_sink sink = {.caps = caps, .most = pkt->len + 8};
		int err = net_offload(pkt, caps, emit, &sink);

		expect(err == 0 || err == -EINVAL);
		expect(err ? !sink.num : sink.num);
	}
}

/* The next len bytes of the frame, or what there is of it. */
static struct iovec take(const uint8_t **data, size_t *left, size_t len)
{
	struct iovec piece = {.iov_len = len < *left ? len : *left};

	piece.iov_base = malloc(piece.iov_len ? piece.iov_len : 1);
	expect(piece.iov_base != NULL);
	memcpy(piece.iov_base, *data, piece.iov_len);
	*data += piece.iov_len;
	*left -= piece.iov_len;
	return piece;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct iovec head, iov[3];
	struct fuzz_input in;
	struct net_pkt pkt = {.iov = iov, .num = ARRAY_SIZE(iov)};

	if (len < sizeof(in) || len - sizeof(in) > NET_FRAME_MAX)
		return 0;
	memcpy(&in, data, sizeof(in));
	data += sizeof(in);
	len -= sizeof(in);
	pkt.hdr = (struct net_hdr){
		.flags = in.flags,
		.gso_type = in.gso_type,
		.gso_size = le16toh(in.gso_size),
		.csum_start = le16toh(in.csum_start),
		.csum_offset = le16toh(in.csum_offset),
	};
	pkt.len = (uint32_t)len;
	head = take(&data, &len, in.head);
	pkt.head_len = (uint32_t)head.iov_len;
	if (pkt.head_len)
		pkt.head = head.iov_base;
	iov[0] = take(&data, &len, in.first);
	iov[1] = take(&data, &len, le16toh(in.second));
	iov[2] = take(&data, &len, len);
	offload(&pkt);
	free(head.iov_base);
	for (unsigned int i = 0; i < ARRAY_SIZE(iov); i++)
		free(iov[i].iov_base);
	return 0;
}
