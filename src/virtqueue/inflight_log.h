/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The in-flight log, inside: the layout of the vhost-user specification and what we keep beside it.
 *
 * Between recovery and stop the shared memory is only written: whoever else can write there changes
 * nothing but what the next recovery reads, and that checks it.
 */
#ifndef VIRTQUEUE_INFLIGHT_LOG_H
#define VIRTQUEUE_INFLIGHT_LOG_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "virtqueue/inflight.h"
#include "virtqueue/ring.h"

#define INFLIGHT_VERSION 1

/* Native byte order, as all that vhost-user shares between processes of one host. */
struct inflight_split_state {
	uint8_t inflight;
	uint8_t padding[5];
	uint16_t next; /* in the list of the last batch */
	uint64_t counter;
};

struct inflight_split_region {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t last_batch_head;
	uint16_t used_idx;
	struct inflight_split_state desc[];
};

struct inflight_packed_state {
	uint8_t inflight;
	uint8_t padding;
	uint16_t next; /* of the chain, or of the free list */
	uint16_t last;
	uint16_t num;
	uint64_t counter;
	uint16_t id;
	uint16_t flags;
	uint32_t len;
	uint64_t addr;
};

/*
 * The pairs of a field and its old value are written by one store, which commits or not: free_head
 * with old_free_head, the position with the old position.
 */
struct inflight_packed_region {
	uint64_t features;
	uint16_t version;
	uint16_t desc_num;
	uint16_t free_head;
	uint16_t old_free_head;
	uint16_t used_idx;
	uint16_t old_used_idx;
	uint8_t used_wrap_counter;
	uint8_t old_used_wrap_counter;
	uint8_t padding[7];
	struct inflight_packed_state desc[];
};

_Static_assert(sizeof(struct inflight_split_state) == 16, "layout");
_Static_assert(offsetof(struct inflight_split_region, desc) == 16, "layout");
_Static_assert(sizeof(struct inflight_packed_state) == 32, "layout");
_Static_assert(offsetof(struct inflight_packed_region, free_head) == 12, "layout");
_Static_assert(offsetof(struct inflight_packed_region, used_idx) == 16, "layout");
_Static_assert(offsetof(struct inflight_packed_region, desc) == 32, "layout");

/* A request that a recovery has found. */
struct inflight_found {
	uint64_t counter;
	uint16_t head;
};

struct vdpa_inflight {
	struct vdpa_mem *mem;
	bool packed;
	bool fresh;
	uint32_t num;      /* entries of the log */
	uint32_t ring_num; /* of the ring, at most as many */
	union {
		void *region;
		struct inflight_split_region *split;
		struct inflight_packed_region *ring;
	};
	uint64_t counter; /* of the next request */

	struct inflight_found *found; /* to submit again, oldest first */
	uint32_t num_found, next_found;
	uint16_t *batch; /* heads used and not published */
	uint32_t num_batch;
	uint16_t last_head; /* split: the last that was used */

	/* The truth, of which the region holds a copy. */
	uint16_t *under_way; /* split: 1 for a head that is */
	uint16_t free_head;  /* packed; num: none is free */
	uint32_t num_free;
	struct inflight_pos used; /* published or about to be */
	uint16_t *next;
	uint16_t *last; /* of the chain that begins here */
};

/* Stores happen in the order of the program: a crash finds all before some point and none behind.
 */
#define log_store(field, value) __atomic_store_n(&(field), (value), __ATOMIC_RELEASE)
#define log_load(field)         __atomic_load_n(&(field), __ATOMIC_RELAXED)

/* Note a request to submit again; there is room for num of them. */
static inline void inflight_find(struct vdpa_inflight *log, uint16_t head, uint64_t counter)
{
	log->found[log->num_found++] = (struct inflight_found){counter, head};
}

/* The region is whole from now on. */
void inflight_adopted(struct vdpa_inflight *log);

/* Bring them into order, and let the counter go on behind the youngest. */
void inflight_sort(struct vdpa_inflight *log);

#endif
