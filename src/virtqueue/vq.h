/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device side of a virtqueue, inside: what split.c, packed.c and the walker share.
 */
#ifndef VIRTQUEUE_VQ_H
#define VIRTQUEUE_VQ_H

#include <errno.h>

#include "base/defs.h"
#include "vdpa/virtqueue.h"
#include "virtqueue/inflight.h"
#include "virtqueue/ring.h"

struct vq_split {
	uint16_t mask;
	uint16_t last_avail; /* next entry of the avail ring to take */
	uint16_t avail_idx;  /* avail index as last read */
	uint16_t used_idx;   /* next entry of the used ring to write */
	uint16_t published;  /* used index as the driver sees it */
};

struct vq_packed {
	uint16_t last_avail;
	uint16_t last_used;
	uint16_t avail_marks; /* of an available descriptor in this lap */
	uint16_t used_marks;
	uint16_t slots;      /* taken and not given back */
	uint16_t batch_head; /* the first used since the last publish, whose flags come last */
	uint16_t batch_flags;
	uint32_t batch_slots; /* used since the last publish */
	uint16_t end;         /* the slot where nothing was available, when last looked */
	uint16_t end_marks;
};

struct vdpa_vq {
	/* Each request reads these. */
	bool ready; /* started and not broken */
	bool packed;
	bool in_order;
	bool event_idx;
	bool indirect;
	bool log_used;
	uint16_t write_flag; /* that marks what the device writes; 0: it writes nothing */
	bool call_lost;      /* the driver may wait for a call that did not come */
	uint32_t num;
	uint32_t outstanding;
	uint32_t max_segs;
	void *desc;
	void *driver;
	void *device;
	union {
		struct vq_split split;
		struct vq_packed ring;
	};
	struct vdpa_iotlb_range hit; /* the range that translated last */
	struct vdpa_inflight *inflight;
	struct vdpa_dirty_log *log;
	struct vdpa_iotlb *iotlb;
	struct vdpa_vq_stats stats;

	/* In-order: elements taken, oldest first, then those that were given back out of turn. */
	struct vdpa_vq_elem *order_head, *order_tail;
	struct vdpa_vq_elem *reap_head, *reap_tail;

	struct vdpa_vq_config cfg; /* its pointers are not used */
	uint64_t miss_iova;
	uint32_t miss_perm;
	bool started;
	const char *broken; /* NULL or reason */
	char reason[128];
};

/* Counters have one writer; readers of other threads see whole values. */
static inline void vq_count(uint64_t *counter, uint64_t more)
{
	__atomic_store_n(counter, *counter + more, __ATOMIC_RELAXED);
}

/* The ring breaks the rules: it yields nothing more.  Returns -EPROTO. */
int vq_break(struct vdpa_vq *vq, const char *fmt, ...) __attribute__((cold, format(printf, 2, 3)));

/*
 * One kind of ring.  pop() returns as vdpa_vq_pop(), pop_singles() as vdpa_vq_pop_singles(); use()
 * writes used entries.
 */
int split_start(struct vdpa_vq *vq, struct vdpa_extack *ack);
void split_stop(const struct vdpa_vq *vq, struct vdpa_vq_state *state);
int split_pop(struct vdpa_vq *vq, struct vdpa_vq_elem *elem);
uint32_t split_pop_singles(struct vdpa_vq *vq, struct vdpa_vq_elem *const *elems, uint32_t num);
bool split_pending(struct vdpa_vq *vq);
void split_unpop(struct vdpa_vq *vq);
void split_use(struct vdpa_vq *vq, struct vdpa_vq_elem *const *elems, uint32_t num);
bool split_publish(struct vdpa_vq *vq);
/* Kicks from the position on that is known to be the end of what is available. */
bool split_enable_kick(struct vdpa_vq *vq, bool for_more);
void split_disable_kick(struct vdpa_vq *vq);

int packed_start(struct vdpa_vq *vq, struct vdpa_extack *ack);
void packed_stop(const struct vdpa_vq *vq, struct vdpa_vq_state *state);
int packed_pop(struct vdpa_vq *vq, struct vdpa_vq_elem *elem);
uint32_t packed_pop_singles(struct vdpa_vq *vq, struct vdpa_vq_elem *const *elems, uint32_t num);
bool packed_pending(struct vdpa_vq *vq);
void packed_unpop(struct vdpa_vq *vq, const struct vdpa_vq_elem *elem);
void packed_use(struct vdpa_vq *vq, struct vdpa_vq_elem *const *elems, uint32_t num);
bool packed_publish(struct vdpa_vq *vq);
bool packed_enable_kick(struct vdpa_vq *vq, bool for_more);
void packed_disable_kick(struct vdpa_vq *vq);

#endif
