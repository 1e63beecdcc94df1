/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One request of a virtio block device: read, checked, turned into requests of the backend,
 * answered.
 *
 * @spec virtio 1.3, 5.2.6
 */
#ifndef SOFT_BLK_REQUEST_H
#define SOFT_BLK_REQUEST_H

#include <linux/virtio_blk.h>

#include "backends/block/block.h"
#include "vdpa/virtqueue.h"

#define BLK_SECTOR     512u
/* Ranges in one discard or write-zeroes request. */
#define BLK_MAX_RANGES 16u

/* What requests need to know of their disk.  The lane's; workers read it. */
struct blk_disk {
	uint64_t capacity; /* atomic, bytes: a live resize changes it */
	bool writethrough; /* atomic: completed writes are on the medium */
	bool readonly;
	bool discard, write_zeroes; /* negotiated */
	bool unmap;                 /* write-zeroes may give room back */
	uint32_t block_size;
	uint32_t max_discard, max_write_zeroes; /* sectors in a range */
	char serial[VIRTIO_BLK_ID_BYTES];
};

enum blk_result {
	BLK_OK,
	BLK_FAILED,  /* has an error status */
	BLK_PENDING, /* done() follows */
	BLK_BROKEN,  /* has no header or no room for a status: nothing was or will be written */
};

struct blk_request {
	/* The caller's. */
	const struct blk_disk *disk;
	struct block_queue *queue;
	const struct vdpa_vq_elem *elem;
	/* For a request that was BLK_PENDING; result: BLK_OK, BLK_FAILED.  On the queue's worker.
	 */
	void (*done)(struct blk_request *r, enum blk_result result);

	int err; /* what the backend said, for the log; 0: nothing */

	/* The request's own. */
	struct block_io io;
	struct iovec *pieces;     /* allocated, where data shares a piece with header or status */
	struct blk_range *ranges; /* allocated, where there is more than one */
	uint32_t num_ranges, range;
};

/*
 * The status is written when this returns BLK_OK or BLK_FAILED, and before done() is called.
 */
enum blk_result blk_request_start(struct blk_request *r);

#endif
