/* SPDX-License-Identifier: BSD-2-Clause */
#include "backends/net/vnet.h"
#include "base/defs.h"

static const struct {
	unsigned int cap;
	unsigned int guest, host; /* feature bits */
} offloads[] = {
	{NET_CAP_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_CSUM},
	{NET_CAP_TSO4, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4},
	{NET_CAP_TSO6, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_TSO6},
	{NET_CAP_ECN, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_HOST_ECN},
	{NET_CAP_UFO, VIRTIO_NET_F_GUEST_UFO, VIRTIO_NET_F_HOST_UFO},
	{NET_CAP_USO4, VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_HOST_USO},
	{NET_CAP_USO6, VIRTIO_NET_F_GUEST_USO6, VIRTIO_NET_F_HOST_USO},
};

unsigned int net_guest_caps(uint64_t features)
{
	unsigned int caps = 0;

	for (size_t i = 0; i < ARRAY_SIZE(offloads); i++)
		if (features & BIT_ULL(offloads[i].guest))
			caps |= offloads[i].cap;
	return caps;
}

unsigned int net_host_caps(uint64_t features)
{
	unsigned int caps = 0;

	for (size_t i = 0; i < ARRAY_SIZE(offloads); i++)
		if (features & BIT_ULL(offloads[i].host))
			caps |= offloads[i].cap;
	return caps;
}

/* Frames to be cut have partial checksums, and ECN is a kind of TSO. */
static unsigned int fit_caps(unsigned int caps)
{
	if (!(caps & NET_CAP_CSUM))
		return 0;
	if (!(caps & (NET_CAP_TSO4 | NET_CAP_TSO6)))
		caps &= ~NET_CAP_ECN;
	return caps;
}

uint64_t net_fit_offloads(uint64_t features, unsigned int caps)
{
	unsigned int guest = fit_caps(net_guest_caps(features) & caps);
	unsigned int host = fit_caps(net_host_caps(features) & caps);

	for (size_t i = 0; i < ARRAY_SIZE(offloads); i++) {
		if (!(guest & offloads[i].cap))
			features &= ~BIT_ULL(offloads[i].guest);
		if (!(host & offloads[i].cap))
			features &= ~BIT_ULL(offloads[i].host);
	}
	return features;
}
