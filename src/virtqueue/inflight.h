/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The in-flight log: which requests the device has taken and not given back, in memory that
 * outlives this process (shared with the front-end, or a mapped file).  The layout is that of the
 * vhost-user specification, "Inflight I/O tracking", for split and packed rings.
 *
 * The content is as hostile as guest memory: copied once, then checked.
 */
#ifndef VIRTQUEUE_INFLIGHT_H
#define VIRTQUEUE_INFLIGHT_H

#include <stdbool.h>
#include <stdint.h>

#include "vdpa/extack.h"
#include "vdpa/iotlb.h"

struct vdpa_inflight;

/* Bytes of the region of one queue, and of all: aligned to 64 (the wire layout leaves that open).
 */
uint64_t inflight_queue_bytes(uint32_t num, bool packed);
uint64_t inflight_bytes(uint32_t num_queues, uint32_t num, bool packed);

/*
 * Take the region of queue `idx` into use.  A fresh (all-zero) region is initialised.
 * Returns 0, -EINVAL when it is of another version, size or kind, or does not fit mem.
 */
int inflight_open(struct vdpa_mem *mem, uint64_t offset, uint32_t num, bool packed,
		  struct vdpa_inflight **ret, struct vdpa_extack *ack);
void inflight_close(struct vdpa_inflight *log);

#endif
