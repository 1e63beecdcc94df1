/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whose the file is that a virtio driver makes for this host: the attributes mode, owner and group.
 */
#ifndef DRIVERS_VIRTIO_OWNER_H
#define DRIVERS_VIRTIO_OWNER_H

#include <stdbool.h>
#include <sys/types.h>

#include "vdpa/attrs.h"

struct virtio_owner {
	mode_t mode;
	uid_t uid;
	gid_t gid;
	bool given; /* one of the attributes is there */
};

/* 0, -EINVAL: there is no such user or group. */
int virtio_owner(const struct vdpa_attrs *attrs, struct virtio_owner *ret, struct vdpa_extack *ack);

#endif
