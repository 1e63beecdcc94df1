/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What virtio-net says, in the words of net.h: the header before each frame, and the feature bits
 * about offloads.  For both sides of a device, and for TAPs, which use the same header.
 *
 * @spec virtio 1.3, 5.1.3 and 5.1.6
 */
#ifndef BACKENDS_NET_VNET_H
#define BACKENDS_NET_VNET_H

#include "backends/net/net.h"

/* Bytes of the header with VERSION_1, whatever else was negotiated. */
#define VNET_HDR_LEN sizeof(struct virtio_net_hdr_v1)

/* From VNET_HDR_LEN bytes of any alignment, read once / to them, with this number of buffers. */
void vnet_hdr_read(const void *wire, struct net_hdr *hdr);
void vnet_hdr_write(const struct net_hdr *hdr, uint16_t num_buffers, void *wire);

/* What the driver takes / what the device takes, with these features negotiated: NET_CAP_*. */
unsigned int vnet_guest_caps(uint64_t features);
unsigned int vnet_host_caps(uint64_t features);

/*
 * Of these features, those that go together: bits about offloads that need caps (both ways), or
 * other bits, that are not there are taken out.  Bits about something else stay.
 * @spec virtio 1.3, 5.1.3.1
 */
uint64_t vnet_fit_offloads(uint64_t features, unsigned int caps);

#endif
