/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What virtio-net says, in the words of net.h: the header before each frame, and the feature bits
 * about offloads.  For both sides of a device, and for TAPs, which use the same header.
 *
 * @spec virtio 1.3, 5.1.3 and 5.1.6
 */
#ifndef BACKENDS_NET_VNET_H
#define BACKENDS_NET_VNET_H

#include <endian.h>

#include "backends/net/net.h"

/* Bytes of the header with VERSION_1, whatever else was negotiated. */
#define NET_HDR_LEN sizeof(struct virtio_net_hdr_v1)

/* From NET_HDR_LEN bytes of any alignment, read once. */
static inline void net_hdr_read(const void *wire, struct net_hdr *hdr)
{
	struct virtio_net_hdr_v1 h;

	memcpy(&h, wire, sizeof(h));
	*hdr = (struct net_hdr){
		.flags = h.flags,
		.gso_type = h.gso_type,
		.hdr_len = le16toh(h.hdr_len),
		.gso_size = le16toh(h.gso_size),
		.csum_start = le16toh(h.csum_start),
		.csum_offset = le16toh(h.csum_offset),
	};
}

/*
 * To them: of a frame in so many buffers, 0 on its way to a device.  In words, since a processor
 * waits when it reads back at once what it has written in smaller parts.
 */
static inline void net_hdr_write(const struct net_hdr *hdr, uint16_t num_buffers, void *wire)
{
	uint64_t low =
		htole64(hdr->flags | (uint64_t)hdr->gso_type << 8 | (uint64_t)hdr->hdr_len << 16 |
			(uint64_t)hdr->gso_size << 32 | (uint64_t)hdr->csum_start << 48);
	uint32_t high = htole32(hdr->csum_offset | (uint32_t)num_buffers << 16);

	memcpy(wire, &low, sizeof(low));
	memcpy((uint8_t *)wire + sizeof(low), &high, sizeof(high));
}

/* Offloads from the device to the driver, which may switch them while it runs; and the other way.
 */
#define NET_GUEST_OFFLOADS                                                                         \
	(BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO4) |                     \
	 BIT_ULL(VIRTIO_NET_F_GUEST_TSO6) | BIT_ULL(VIRTIO_NET_F_GUEST_ECN) |                      \
	 BIT_ULL(VIRTIO_NET_F_GUEST_UFO) | BIT_ULL(VIRTIO_NET_F_GUEST_USO4) |                      \
	 BIT_ULL(VIRTIO_NET_F_GUEST_USO6))
#define NET_HOST_OFFLOADS                                                                          \
	(BIT_ULL(VIRTIO_NET_F_CSUM) | BIT_ULL(VIRTIO_NET_F_HOST_TSO4) |                            \
	 BIT_ULL(VIRTIO_NET_F_HOST_TSO6) | BIT_ULL(VIRTIO_NET_F_HOST_ECN) |                        \
	 BIT_ULL(VIRTIO_NET_F_HOST_UFO) | BIT_ULL(VIRTIO_NET_F_HOST_USO))

/* What the driver takes / what the device takes, with these features negotiated: NET_CAP_*. */
unsigned int net_guest_caps(uint64_t features);
unsigned int net_host_caps(uint64_t features);

/*
 * Of these features, those that go together: bits about offloads that need caps (both ways), or
 * other bits, that are not there are taken out.  Bits about something else stay.
 * @spec virtio 1.3, 5.1.3.1
 */
uint64_t net_fit_offloads(uint64_t features, unsigned int caps);

#endif
