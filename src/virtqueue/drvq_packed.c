/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver side of packed rings.  @spec virtio 1.3, 2.8
 */
#include "virtqueue/drvq.h"

void drvq_packed_init(struct vdpa_drvq *q)
{
	/* Both wrap counters begin at 1. */
	q->ring = (struct drvq_packed){
		.avail_marks = RING_DESC_F_AVAIL,
		.used_marks = RING_DESC_F_MARKS,
	};
}

/* Write the descriptor of the next slot, all but its flags. */
static inline void desc_write(struct vring_packed_desc *desc, const struct vdpa_drvq_sg *sg,
			      uint16_t id)
{
	desc->addr = htole64(sg->iova);
	desc->len = htole32(sg->len);
	desc->id = htole16(id);
}

/* Make the next slot available; the first of a batch only when the batch is published. */
static inline void slot_mark(struct vdpa_drvq *q, uint16_t flags)
{
	struct vring_packed_desc *ring = q->desc;
	struct drvq_packed *r = &q->ring;

	flags |= r->avail_marks;
	if (!r->batch_slots++) {
		r->batch_head = r->next_avail;
		r->batch_flags = flags;
	} else {
		ring_store16(&ring[r->next_avail].flags, flags);
	}
	if (++r->next_avail == q->num) {
		r->next_avail = 0;
		r->avail_marks ^= RING_DESC_F_MARKS;
	}
}

static void add_indirect(struct vdpa_drvq *q, uint16_t id, const struct vdpa_drvq_sg *sg,
			 uint32_t out, uint32_t num)
{
	size_t first = (size_t)id * q->table_num;
	const struct vdpa_drvq_sg whole = {q->tables_iova + 16 * first, 16 * num};
	struct vring_packed_desc *table = (struct vring_packed_desc *)q->tables + first;
	struct vring_packed_desc *ring = q->desc;

	for (uint32_t i = 0; i < num; i++) {
		desc_write(&table[i], &sg[i], 0);
		table[i].flags = htole16(i < out ? 0 : VRING_DESC_F_WRITE);
	}
	desc_write(&ring[q->ring.next_avail], &whole, id);
	slot_mark(q, VRING_DESC_F_INDIRECT);
}

static void add_direct(struct vdpa_drvq *q, uint16_t id, const struct vdpa_drvq_sg *sg,
		       uint32_t out, uint32_t num)
{
	struct vring_packed_desc *ring = q->desc;

	for (uint32_t i = 0; i < num; i++) {
		desc_write(&ring[q->ring.next_avail], &sg[i], id);
		slot_mark(q, (i < out ? 0 : VRING_DESC_F_WRITE) |
				     (i + 1 < num ? VRING_DESC_F_NEXT : 0));
	}
}

/* In-order rings give ids in turn; elsewhere there is always an id free when there is a slot. */
static uint16_t take_id(struct vdpa_drvq *q)
{
	uint16_t id = q->free_head;

	if (!q->in_order)
		q->free_head = q->slots[id].next;
	else if (++q->free_head == q->num)
		q->free_head = 0;
	return id;
}

int drvq_packed_add(struct vdpa_drvq *q, const struct vdpa_drvq_sg *sg, uint32_t out, uint32_t in,
		    void *cookie)
{
	uint32_t num = out + in;
	bool indirect = num > 1 && num <= q->table_num;
	struct drvq_slot *slot;
	uint16_t id;

	if (q->free_slots < (indirect ? 1 : num))
		return -ENOSPC;
	id = take_id(q);
	if (indirect)
		add_indirect(q, id, sg, out, num);
	else
		add_direct(q, id, sg, out, num);
	slot = &q->slots[id];
	slot->in_len = drvq_in_len(sg + out, in);
	slot->num = indirect ? 1 : (uint16_t)num;
	slot->cookie = cookie;
	q->free_slots -= slot->num;
	return 0;
}

bool drvq_packed_publish(struct vdpa_drvq *q)
{
	struct vring_packed_desc *ring = q->desc;
	struct drvq_packed *r = &q->ring;
	uint32_t slots = r->batch_slots;

	if (!slots)
		return false;
	ring_store16_release(&ring[r->batch_head].flags, r->batch_flags);
	r->batch_slots = 0;
	/* The device writes its wish, then looks at the slot: one of the two sees the other. */
	ring_full_barrier();
	return ring_packed_need_event(ring_load32(q->device), q->event_idx, r->next_avail,
				      r->avail_marks == RING_DESC_F_AVAIL, slots, q->num);
}

static inline bool is_used(const struct vdpa_drvq *q, uint16_t flags)
{
	return (flags & RING_DESC_F_MARKS) == q->ring.used_marks;
}

/* Read the used descriptor at the next slot.  Returns false when there is none. */
static bool read_used(const struct vdpa_drvq *q, uint32_t *id, uint32_t *len)
{
	const struct vring_packed_desc *ring = q->desc;
	const struct vring_packed_desc *desc = &ring[q->ring.next_used];
	uint16_t flags = ring_load16_acquire(&desc->flags);

	if (!is_used(q, flags))
		return false;
	*id = ring_load16(&desc->id);
	/* The length has a meaning only where something was written. */
	*len = flags & VRING_DESC_F_WRITE ? ring_load32(&desc->len) : 0;
	return true;
}

void *drvq_packed_get(struct vdpa_drvq *q, uint32_t *len)
{
	struct drvq_packed *r = &q->ring;
	struct drvq_slot *slot;
	uint32_t id = 0;
	void *cookie;

	/* Inside a batch nothing is written. */
	if (!q->batch && !read_used(q, &id, len))
		return NULL;
	cookie = drvq_claim(q, &id, len);
	if (unlikely(!cookie))
		return NULL;

	slot = &q->slots[id];
	if (q->in_order) {
		if (++q->oldest == q->num)
			q->oldest = 0;
	} else {
		slot->next = q->free_head;
		q->free_head = (uint16_t)id;
	}
	q->free_slots += slot->num;
	if (slot->num < q->num - r->next_used) {
		r->next_used += slot->num;
	} else {
		r->next_used -= q->num - slot->num;
		r->used_marks ^= RING_DESC_F_MARKS;
	}
	return cookie;
}

bool drvq_packed_enable_call(struct vdpa_drvq *q)
{
	const struct vring_packed_desc *ring = q->desc;
	const struct drvq_packed *r = &q->ring;

	if (q->event_idx)
		ring_store32(q->driver, ring_packed_event(r->next_used, r->used_marks != 0));
	else
		ring_store32(q->driver, VRING_PACKED_EVENT_FLAG_ENABLE << 16);
	/* The device publishes, then looks at our wish: one of the two sees the other. */
	ring_full_barrier();
	return q->batch || is_used(q, ring_load16(&ring[r->next_used].flags));
}

void drvq_packed_disable_call(struct vdpa_drvq *q)
{
	ring_store32(q->driver, VRING_PACKED_EVENT_FLAG_DISABLE << 16);
}
