/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver side of split rings.  @spec virtio 1.3, 2.7
 */
#include "virtqueue/drvq.h"

static inline void desc_write(struct vring_desc *desc, const struct vdpa_drvq_sg *sg,
			      uint16_t flags, uint16_t next)
{
	desc->addr = htole64(sg->iova);
	desc->len = htole32(sg->len);
	desc->flags = htole16(flags);
	desc->next = htole16(next);
}

/* Write a chain into the table of a slot; the slot's descriptor refers to it. */
static void add_indirect(struct vdpa_drvq *q, uint16_t head, const struct vdpa_drvq_sg *sg,
			 uint32_t out, uint32_t num)
{
	size_t first = (size_t)head * q->table_num;
	const struct vdpa_drvq_sg whole = {q->tables_iova + 16 * first, 16 * num};
	struct vring_desc *ring = q->desc;

	for (uint32_t i = 0; i < num; i++)
		desc_write(&q->tables[first + i], &sg[i],
			   (i < out ? 0 : VRING_DESC_F_WRITE) |
				   (i + 1 < num ? VRING_DESC_F_NEXT : 0),
			   (uint16_t)(i + 1));
	desc_write(&ring[head], &whole, VRING_DESC_F_INDIRECT, 0);
}

/* Write a chain into the ring's own table, along the free list.  Returns the last slot. */
static uint16_t add_direct(struct vdpa_drvq *q, uint16_t head, const struct vdpa_drvq_sg *sg,
			   uint32_t out, uint32_t num)
{
	struct vring_desc *ring = q->desc;
	uint16_t i = head, last = head;

	for (uint32_t n = 0; n < num; n++) {
		last = i;
		i = q->slots[i].next;
		desc_write(&ring[last], &sg[n],
			   (n < out ? 0 : VRING_DESC_F_WRITE) |
				   (n + 1 < num ? VRING_DESC_F_NEXT : 0),
			   n + 1 < num ? i : 0);
	}
	return last;
}

int drvq_split_add(struct vdpa_drvq *q, const struct vdpa_drvq_sg *sg, uint32_t out, uint32_t in,
		   void *cookie)
{
	uint32_t num = out + in;
	bool indirect = num > 1 && num <= q->table_num;
	struct vring_avail *avail = q->driver;
	struct drvq_split *s = &q->split;
	struct drvq_slot *slot;
	uint16_t head = q->free_head;

	if (q->free_slots < (indirect ? 1 : num))
		return -ENOSPC;
	slot = &q->slots[head];
	if (indirect) {
		add_indirect(q, head, sg, out, num);
		slot->last = head;
	} else {
		slot->last = add_direct(q, head, sg, out, num);
	}
	slot->in_len = drvq_in_len(sg + out, in);
	slot->num = indirect ? 1 : (uint16_t)num;
	slot->cookie = cookie;
	q->free_head = q->slots[slot->last].next;
	q->free_slots -= slot->num;

	ring_store16(&avail->ring[s->avail_idx & s->mask], head);
	s->avail_idx++;
	return 0;
}

bool drvq_split_publish(struct vdpa_drvq *q)
{
	const struct vring_used *used = q->device;
	struct vring_avail *avail = q->driver;
	struct drvq_split *s = &q->split;
	uint16_t old = s->published;

	if (s->avail_idx == old)
		return false;
	ring_store16_release(&avail->idx, s->avail_idx);
	s->published = s->avail_idx;
	/* The device writes its wish, then looks at our index: one of the two sees the other. */
	ring_full_barrier();
	if (q->event_idx)
		return ring_need_event(ring_load16(&used->ring[q->num]), s->published, old);
	return !(ring_load16(&used->flags) & VRING_USED_F_NO_NOTIFY);
}

/* Put the slots of a chain back.  In-order rings use descriptors in ring order: first in, first
 * out. */
static void release(struct vdpa_drvq *q, uint16_t head)
{
	struct drvq_slot *slot = &q->slots[head];
	struct drvq_slot *last = &q->slots[slot->last];

	if (!q->in_order) {
		last->next = q->free_head;
		q->free_head = head;
	} else {
		if (q->free_slots)
			q->slots[q->free_tail].next = head;
		else
			q->free_head = head;
		q->free_tail = slot->last;
	}
	q->free_slots += slot->num;
}

/* Look for used entries behind those we know of. */
static bool refresh(struct vdpa_drvq *q)
{
	const struct vring_used *used = q->device;
	struct drvq_split *s = &q->split;
	uint16_t idx = ring_load16_acquire(&used->idx);

	if (unlikely(q->batch)) {
		drvq_break(q, "used id %u stands for more chains than were used", q->batch_id);
		return false;
	}
	if (idx == s->last_used)
		return false;
	if (unlikely((uint16_t)(idx - s->last_used) > (uint16_t)(s->published - s->last_used))) {
		drvq_break(q, "used index jumps from %u to %u, avail index is %u", s->last_used,
			   idx, s->published);
		return false;
	}
	s->used_idx = idx;
	return true;
}

void *drvq_split_get(struct vdpa_drvq *q, uint32_t *len)
{
	const struct vring_used *used = q->device;
	struct drvq_split *s = &q->split;
	const vring_used_elem_t *entry;
	uint32_t id;
	void *cookie;

	if (s->last_used == s->used_idx && !refresh(q))
		return NULL;
	entry = &used->ring[s->last_used & s->mask];
	id = ring_load32(&entry->id);
	*len = ring_load32(&entry->len);
	cookie = drvq_claim(q, &id, len);
	if (unlikely(!cookie))
		return NULL;
	if (q->in_order)
		q->oldest = (uint16_t)((id + q->slots[id].num) & s->mask);
	release(q, (uint16_t)id);
	s->last_used++;
	return cookie;
}

bool drvq_split_enable_call(struct vdpa_drvq *q)
{
	const struct vring_used *used = q->device;
	struct vring_avail *avail = q->driver;
	struct drvq_split *s = &q->split;

	if (q->event_idx)
		ring_store16(&avail->ring[q->num], s->last_used);
	else
		ring_store16(&avail->flags, 0);
	/* The device publishes, then looks at our wish: one of the two sees the other. */
	ring_full_barrier();
	return ring_load16(&used->idx) != s->last_used;
}

void drvq_split_disable_call(struct vdpa_drvq *q)
{
	struct vring_avail *avail = q->driver;

	/* With event index the event left behind does the same. */
	if (!q->event_idx)
		ring_store16(&avail->flags, VRING_AVAIL_F_NO_INTERRUPT);
}
