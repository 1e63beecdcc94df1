/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver side of a virtqueue, inside.
 *
 * The device is as hostile as a driver can be: all that decides what is freed and returned lives in
 * private memory; the shared memory is written from it, and read for ids and lengths only.
 */
#ifndef VIRTQUEUE_DRVQ_H
#define VIRTQUEUE_DRVQ_H

#include <errno.h>

#include "base/defs.h"
#include "vdpa/virtqueue.h"
#include "virtqueue/ring.h"

/* One a descriptor of a split ring (the head's counts), one a buffer id of a packed one. */
struct drvq_slot {
	void *cookie;    /* NULL: not offered */
	uint32_t in_len; /* bytes that the device may write */
	uint16_t num;    /* ring slots taken */
	uint16_t next;   /* in the chain or in the free list */
	uint16_t last;   /* the chain's last */
};

struct drvq_split {
	uint16_t mask;
	uint16_t avail_idx; /* next entry to write */
	uint16_t published; /* avail index as the device sees it */
	uint16_t last_used; /* next entry to read */
	uint16_t used_idx;  /* used index as last read */
};

struct drvq_packed {
	uint16_t next_avail;  /* slot to write */
	uint16_t next_used;   /* slot to read */
	uint16_t avail_marks; /* of an available descriptor in this lap */
	uint16_t used_marks;
	uint16_t batch_head; /* the first slot since the last publish, whose flags come last */
	uint16_t batch_flags;
	uint32_t batch_slots; /* since the last publish */
};

struct vdpa_drvq {
	bool packed;
	bool in_order;
	bool event_idx;
	uint32_t num;
	uint32_t table_num;            /* entries of an indirect table; 0: none are used */
	uint32_t free_slots;           /* ring slots */
	uint16_t free_head, free_tail; /* list of free slots[]: meaningless when it is empty */
	void *desc;
	void *driver;
	void *device;
	struct vring_desc *tables; /* one of table_num entries for each slot */
	uint64_t tables_iova;
	union {
		struct drvq_split split;
		struct drvq_packed ring;
	};

	/* In-order: one used entry may stand for all up to it. */
	bool batch; /* such an entry was read, batch_id is the last of its chains */
	uint16_t batch_id;
	uint32_t batch_len;
	uint16_t oldest; /* the chain that must be used next */

	uint64_t iova_desc, iova_driver, iova_device;
	const char *broken; /* NULL or reason */
	char reason[96];
	struct drvq_slot slots[];
};

/* The ring breaks the rules: it yields nothing more.  Returns NULL. */
void *drvq_break(struct vdpa_drvq *q, const char *fmt, ...)
	__attribute__((cold, format(printf, 2, 3)));

/*
 * Take the chain out of the books of which the device says that it is used.  Returns its cookie,
 * or NULL when the id is that of no chain; *len is cut to what the device may have written.
 */
static inline void *drvq_claim_one(struct vdpa_drvq *q, uint32_t id, uint32_t *len)
{
	struct drvq_slot *slot;
	void *cookie;

	if (unlikely(id >= q->num || !q->slots[id].cookie))
		return drvq_break(q, "device used id %u, which is not offered", id);
	slot = &q->slots[id];
	cookie = slot->cookie;
	slot->cookie = NULL;
	if (*len > slot->in_len)
		*len = slot->in_len;
	return cookie;
}

/*
 * The same for an in-order ring, where the entry for *id stands for all chains up to that one: the
 * oldest is claimed, and *id becomes its id.
 */
void *drvq_claim_in_order(struct vdpa_drvq *q, uint32_t *id, uint32_t *len);

static inline void *drvq_claim(struct vdpa_drvq *q, uint32_t *id, uint32_t *len)
{
	return unlikely(q->in_order) ? drvq_claim_in_order(q, id, len)
				     : drvq_claim_one(q, *id, len);
}

/* Bytes of writable pieces, at most what 32 bits hold. */
static inline uint32_t drvq_in_len(const struct vdpa_drvq_sg *sg, uint32_t num)
{
	uint64_t len = 0;

	for (uint32_t i = 0; i < num; i++)
		len += sg[i].len;
	return len > UINT32_MAX ? UINT32_MAX : (uint32_t)len;
}

int drvq_split_add(struct vdpa_drvq *q, const struct vdpa_drvq_sg *sg, uint32_t out, uint32_t in,
		   void *cookie);
bool drvq_split_publish(struct vdpa_drvq *q);
void *drvq_split_get(struct vdpa_drvq *q, uint32_t *len);
bool drvq_split_enable_call(struct vdpa_drvq *q);
void drvq_split_disable_call(struct vdpa_drvq *q);

void drvq_packed_init(struct vdpa_drvq *q);
int drvq_packed_add(struct vdpa_drvq *q, const struct vdpa_drvq_sg *sg, uint32_t out, uint32_t in,
		    void *cookie);
bool drvq_packed_publish(struct vdpa_drvq *q);
void *drvq_packed_get(struct vdpa_drvq *q, uint32_t *len);
bool drvq_packed_enable_call(struct vdpa_drvq *q);
void drvq_packed_disable_call(struct vdpa_drvq *q);

#endif
