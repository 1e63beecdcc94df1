/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * <linux/virtio_net.h>, and what Debian 12's (6.1) does not have yet.
 */
#ifndef BACKENDS_NET_VIRTIO_NET_DEFS_H
#define BACKENDS_NET_VIRTIO_NET_DEFS_H

#include <linux/virtio_net.h>

/* Linux 6.2: UDP segmentation offload. */
#ifndef VIRTIO_NET_F_GUEST_USO4
#define VIRTIO_NET_F_GUEST_USO4 54
#endif
#ifndef VIRTIO_NET_F_GUEST_USO6
#define VIRTIO_NET_F_GUEST_USO6 55
#endif
#ifndef VIRTIO_NET_F_HOST_USO
#define VIRTIO_NET_F_HOST_USO 56
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4 5
#endif

#endif
