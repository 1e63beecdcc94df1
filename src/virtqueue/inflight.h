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
 * Take the region of a queue into use.  A fresh (all-zero) region is initialised.
 * Returns 0, -EINVAL when it is of another version or size, or does not fit mem.  Its content is
 * checked when a queue is started with it.
 */
int inflight_open(struct vdpa_mem *mem, uint64_t offset, uint32_t num, bool packed,
		  struct vdpa_inflight **ret, struct vdpa_extack *ack);
/* The queue must be stopped.  The content stays.  NULL is allowed. */
void inflight_close(struct vdpa_inflight *log);
/* Forget all requests and positions, as for a device reset.  The queue must be stopped. */
void inflight_reset(struct vdpa_inflight *log);

/* ------------------------------------------------------------------ for the rings */

/* A position of a packed ring. */
struct inflight_pos {
	uint16_t slot;
	bool wrap;
};

/* A log may have more entries than the ring. */
bool inflight_matches(const struct vdpa_inflight *log, uint32_t num, bool packed);
/* Has no queue used the log yet?  Then the position of the ring comes from elsewhere. */
bool inflight_fresh(const struct vdpa_inflight *log);

/*
 * Repair what a crash has left, and line up the requests that are under way, oldest first.
 * num is the size of the ring, used_idx that of the used ring.  *num_inflight says how many there
 * are.  Returns 0, -EINVAL when the log is damaged.
 */
int inflight_split_recover(struct vdpa_inflight *log, uint32_t num, uint16_t used_idx,
			   uint32_t *num_inflight, struct vdpa_extack *ack);
/*
 * The same for a packed ring, which is looked at to tell whether the last batch was published.  A
 * fresh log takes its position from *used, any other writes it there.  *slots says how many ring
 * slots the requests under way take; their used marks are taken back.
 */
int inflight_packed_recover(struct vdpa_inflight *log, uint32_t num, void *ring,
			    struct inflight_pos *used, uint32_t *slots, struct vdpa_extack *ack);

/* The next request to submit again; for a packed ring the index of its record.  False: no more. */
bool inflight_resubmit(const struct vdpa_inflight *log, uint16_t *head);
/* It was taken. */
void inflight_resubmitted(struct vdpa_inflight *log);

/* A head was taken.  False: it is under way already. */
bool inflight_split_take(struct vdpa_inflight *log, uint16_t head);
void inflight_split_use(struct vdpa_inflight *log, uint16_t head);
/* After the used index was stored. */
void inflight_split_published(struct vdpa_inflight *log, uint16_t used_idx);

/*
 * A chain of num_desc descriptors was taken, from slot `at` of the ring on.  The index of its
 * record is in *head.  False: there is no room, because chains were used and not published.
 */
bool inflight_packed_take(struct vdpa_inflight *log, const void *ring, uint16_t at,
			  uint16_t num_desc, uint16_t *head);
/*
 * Copy a descriptor of a request that is lined up, 16 bytes as in the ring.  *at is head at first,
 * and moves on.  Returns whether this was the last.
 */
bool inflight_packed_desc(const struct vdpa_inflight *log, uint16_t head, uint16_t *at, void *desc);
void inflight_packed_use(struct vdpa_inflight *log, uint16_t head);
/* Before and after the flags of the batch's first slot are stored. */
void inflight_packed_publish(struct vdpa_inflight *log, struct inflight_pos used);
void inflight_packed_published(struct vdpa_inflight *log);

#endif
