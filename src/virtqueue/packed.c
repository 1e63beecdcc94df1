/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device side of packed rings.  @spec virtio 1.3, 2.8
 */
#include "virtqueue/walk.h"

/* Begin where the used position and the number of slots under way say, or where the log says. */
static int packed_place(struct vdpa_vq *vq, struct inflight_pos used, uint32_t slots,
			struct vdpa_extack *ack)
{
	uint32_t avail;
	bool lap;

	if (vq->inflight) {
		bool fresh = inflight_fresh(vq->inflight);
		uint32_t logged;
		int err = inflight_packed_recover(vq->inflight, vq->num, vq->desc, &used, &logged,
						  ack);

		if (err)
			return err;
		if (!fresh)
			slots = logged;
	}
	avail = used.slot + slots;
	lap = avail >= vq->num;
	vq->ring = (struct vq_packed){
		.last_avail = (uint16_t)(lap ? avail - vq->num : avail),
		.last_used = used.slot,
		.avail_marks = used.wrap != lap ? RING_DESC_F_AVAIL : RING_DESC_F_USED,
		.used_marks = used.wrap ? RING_DESC_F_MARKS : 0,
		.slots = (uint16_t)slots,
		.end = (uint16_t)(lap ? avail - vq->num : avail),
		.end_marks = used.wrap != lap ? RING_DESC_F_AVAIL : RING_DESC_F_USED,
	};
	return 0;
}

int packed_start(struct vdpa_vq *vq, struct vdpa_extack *ack)
{
	const struct vdpa_vq_state *state = &vq->cfg.state;
	uint16_t avail = state->packed_ring.last_avail_idx, used = state->packed_ring.last_used_idx;
	bool same_lap =
		state->packed_ring.last_avail_counter == state->packed_ring.last_used_counter;

	if (avail >= vq->num || used >= vq->num || (same_lap ? used > avail : avail > used))
		return vdpa_extack_set(
			ack, -EINVAL,
			"packed ring of %u cannot be at available slot %u of this lap "
			"and used slot %u of %s",
			vq->num, avail, used, same_lap ? "this" : "the one before");
	return packed_place(vq, (struct inflight_pos){used, state->packed_ring.last_used_counter},
			    avail + (same_lap ? 0 : vq->num) - used, ack);
}

void packed_stop(const struct vdpa_vq *vq, struct vdpa_vq_state *state)
{
	const struct vq_packed *r = &vq->ring;

	state->packed_ring.last_avail_idx = r->last_avail;
	state->packed_ring.last_used_idx = r->last_used;
	state->packed_ring.last_avail_counter = r->avail_marks == RING_DESC_F_AVAIL;
	state->packed_ring.last_used_counter = r->used_marks != 0;
	/* In order what is under way can be taken again: nothing was written over it. */
	if (vq->in_order && !vq->inflight) {
		state->packed_ring.last_avail_idx = r->last_used;
		state->packed_ring.last_avail_counter = state->packed_ring.last_used_counter;
	}
}

/* Is the slot available, in the lap that the marks say? */
static bool packed_available(const struct vdpa_vq *vq, uint16_t slot, uint16_t marks)
{
	const struct vring_packed_desc *ring = vq->desc;

	return (ring_load16(&ring[slot].flags) & RING_DESC_F_MARKS) == marks;
}

bool packed_pending(struct vdpa_vq *vq)
{
	return packed_available(vq, vq->ring.last_avail, vq->ring.avail_marks);
}

/* Add the nth descriptor of a chain. */
static __attribute__((always_inline)) inline int packed_add(struct walk *w,
							    const struct ring_desc *desc,
							    uint16_t n)
{
	if (!(desc->flags & VRING_DESC_F_INDIRECT))
		return walk_desc(w, desc);
	if (unlikely(n > 1))
		return walk_bad_indirect(w->vq, "inside a chain");
	return walk_table(w, desc, true);
}

/*
 * Take the chain that begins at the next slot; its flags were read.  On success the position behind
 * the chain is in *next and *marks.
 */
static __attribute__((always_inline)) inline int packed_walk(struct vdpa_vq *vq,
							     struct vdpa_vq_elem *elem,
							     uint16_t flags, uint16_t *next,
							     uint16_t *marks)
{
	const struct vring_packed_desc *ring = vq->desc;
	struct walk w = walk_begin(vq, elem);
	uint16_t num_desc = 0;
	int err;

	for (;;) {
		struct ring_desc desc = ring_packed_desc(&ring[*next]);

		if (num_desc++)
			flags = desc.flags;
		else
			desc.flags = flags; /* not a second reading */
		if (unlikely((flags & RING_DESC_F_MARKS) != *marks))
			return vq_break(vq, "chain goes on at slot %u, which is not available",
					*next);
		if (++*next == vq->num) {
			*next = 0;
			*marks ^= RING_DESC_F_MARKS;
		}
		err = packed_add(&w, &desc, num_desc);
		if (unlikely(err))
			return err;
		if (!(flags & VRING_DESC_F_NEXT))
			return walk_end(&w, desc.id, num_desc);
	}
}

/* Take a request that the in-flight log knows, from its copy there. */
static int packed_pop_again(struct vdpa_vq *vq, struct vdpa_vq_elem *elem, uint16_t record)
{
	struct walk w = walk_begin(vq, elem);
	uint16_t at = record, num_desc = 0;
	struct ring_desc desc;
	bool last;
	int err;

	do {
		struct vring_packed_desc copy;

		last = inflight_packed_desc(vq->inflight, record, &at, &copy);
		desc = ring_packed_desc(&copy);
		err = packed_add(&w, &desc, ++num_desc);
		if (err)
			return err;
	} while (!last);
	err = walk_end(&w, desc.id, num_desc);
	if (err)
		return err;
	elem->record = record;
	inflight_resubmitted(vq->inflight);
	return 1;
}

int packed_pop(struct vdpa_vq *vq, struct vdpa_vq_elem *elem)
{
	const struct vring_packed_desc *ring = vq->desc;
	struct vq_packed *r = &vq->ring;
	uint16_t next = r->last_avail, marks = r->avail_marks, flags, record;
	int err;

	if (unlikely(vq->inflight) && inflight_resubmit(vq->inflight, &record))
		return packed_pop_again(vq, elem, record);
	flags = ring_load16_acquire(&ring[next].flags);
	if ((flags & RING_DESC_F_MARKS) != marks) {
		r->end = next;
		r->end_marks = marks;
		return 0;
	}
	err = packed_walk(vq, elem, flags, &next, &marks);
	if (unlikely(err))
		return err;
	if (unlikely(r->slots + elem->num_desc > vq->num ||
		     (vq->inflight && !inflight_packed_take(vq->inflight, ring, r->last_avail,
							    elem->num_desc, &elem->record))))
		return vq_break(vq, "more descriptors are available than the %u of the ring",
				vq->num);
	r->slots += elem->num_desc;
	r->last_avail = next;
	r->avail_marks = marks;
	return 1;
}

uint32_t packed_pop_singles(struct vdpa_vq *vq, struct vdpa_vq_elem *const *elems, uint32_t num)
{
	const struct vring_packed_desc *ring = vq->desc;
	struct vq_packed *r = &vq->ring;
	uint32_t got = 0, room = vq->num - r->slots;
	uint16_t next = r->last_avail, marks = r->avail_marks;

	for (; got < num && got < room; got++) {
		uint16_t flags = ring_load16_acquire(&ring[next].flags);
		struct ring_desc desc;

		if ((flags & RING_DESC_F_MARKS) != marks)
			break;
		desc = ring_packed_desc(&ring[next]);
		desc.flags = flags; /* not a second reading */
		if (!walk_single(vq, elems[got], &desc, desc.id))
			break;
		if (++next == vq->num) {
			next = 0;
			marks ^= RING_DESC_F_MARKS;
		}
	}
	r->slots += (uint16_t)got;
	r->last_avail = next;
	r->avail_marks = marks;
	return got;
}

void packed_unpop(struct vdpa_vq *vq, const struct vdpa_vq_elem *elem)
{
	struct vq_packed *r = &vq->ring;

	r->slots -= elem->num_desc;
	if (elem->num_desc > r->last_avail) {
		r->last_avail += vq->num;
		r->avail_marks ^= RING_DESC_F_MARKS;
	}
	r->last_avail -= elem->num_desc;
}

/* A descriptor was written.  The log address is that of a used ring, which a packed ring has not.
 */
static inline void packed_log(const struct vdpa_vq *vq, uint16_t slot)
{
	if (unlikely(vq->log_used))
		vdpa_dirty_log_mark(vq->log, vq->cfg.desc + 16 * (uint64_t)slot, 16);
}

static inline void packed_use_one(struct vdpa_vq *vq, struct vq_packed *r,
				  const struct vdpa_vq_elem *elem)
{
	struct vring_packed_desc *ring = vq->desc;
	struct vring_packed_desc *desc = &ring[r->last_used];
	uint16_t flags = r->used_marks | (elem->used_len ? VRING_DESC_F_WRITE : 0);

	/* The driver goes no further than to the first of a batch, which is marked last. */
	if (!r->batch_slots) {
		desc->id = htole16(elem->id);
		desc->len = htole32(elem->used_len);
		r->batch_head = r->last_used;
		r->batch_flags = flags;
	} else {
		/* Length, id and flags at once. */
		ring_store64(&desc->len,
			     elem->used_len | (uint64_t)elem->id << 32 | (uint64_t)flags << 48);
	}
	if (unlikely(vq->inflight))
		inflight_packed_use(vq->inflight, elem->record);
	packed_log(vq, r->last_used);
	r->batch_slots += elem->num_desc;
	r->slots -= elem->num_desc;
	if (elem->num_desc < vq->num - r->last_used) {
		r->last_used += elem->num_desc;
	} else {
		r->last_used -= vq->num - elem->num_desc;
		r->used_marks ^= RING_DESC_F_MARKS;
	}
}

void packed_use(struct vdpa_vq *vq, struct vdpa_vq_elem *const *elems, uint32_t num)
{
	struct vq_packed r = vq->ring;

	for (uint32_t i = 0; i < num; i++)
		packed_use_one(vq, &r, elems[i]);
	vq->ring = r;
}

bool packed_publish(struct vdpa_vq *vq)
{
	struct vring_packed_desc *ring = vq->desc;
	struct vq_packed *r = &vq->ring;
	uint32_t slots = r->batch_slots;

	if (!slots)
		return false;
	if (unlikely(vq->inflight))
		inflight_packed_publish(vq->inflight,
					(struct inflight_pos){r->last_used, r->used_marks != 0});
	ring_store16_release(&ring[r->batch_head].flags, r->batch_flags);
	r->batch_slots = 0;
	packed_log(vq, r->batch_head);
	if (unlikely(vq->inflight))
		inflight_packed_published(vq->inflight);
	/* The driver writes its wish, then looks at the slot: one of the two sees the other. */
	ring_full_barrier();
	return ring_packed_need_event(ring_load32(vq->driver), vq->event_idx, r->last_used,
				      r->used_marks != 0, slots, vq->num);
}

/* Say which kicks are wanted. */
static void packed_wish(struct vdpa_vq *vq, uint32_t event)
{
	ring_store32(vq->device, event);
	if (unlikely(vq->log_used))
		vdpa_dirty_log_mark(vq->log, vq->cfg.device, 4);
}

bool packed_enable_kick(struct vdpa_vq *vq, bool for_more)
{
	const struct vq_packed *r = &vq->ring;
	uint16_t end = for_more ? r->end : r->last_avail;
	uint16_t marks = for_more ? r->end_marks : r->avail_marks;

	packed_wish(vq, vq->event_idx ? ring_packed_event(end, marks == RING_DESC_F_AVAIL)
				      : VRING_PACKED_EVENT_FLAG_ENABLE << 16);
	/* The driver publishes, then looks at our wish: one of the two sees the other. */
	ring_full_barrier();
	return packed_available(vq, end, marks);
}

void packed_disable_kick(struct vdpa_vq *vq)
{
	packed_wish(vq, VRING_PACKED_EVENT_FLAG_DISABLE << 16);
}
