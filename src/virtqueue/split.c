/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device side of split rings.  @spec virtio 1.3, 2.7
 */
#include "virtqueue/walk.h"

int split_start(struct vdpa_vq *vq, struct vdpa_extack *ack)
{
	const struct vring_used *used = vq->device;
	uint16_t idx = ring_load16_acquire(&used->idx);
	uint16_t avail = vq->cfg.state.split.avail_index;

	if (vq->inflight) {
		bool fresh = inflight_fresh(vq->inflight);
		uint32_t num;
		int err = inflight_split_recover(vq->inflight, vq->num, idx, &num, ack);

		if (err)
			return err;
		if (!fresh)
			avail = (uint16_t)(idx + num);
	}
	vq->split = (struct vq_split){
		.mask = (uint16_t)(vq->num - 1),
		.last_avail = avail,
		.avail_idx = avail,
		.used_idx = idx,
		.published = idx,
	};
	return 0;
}

void split_stop(const struct vdpa_vq *vq, struct vdpa_vq_state *state)
{
	/* In order what is under way can be taken again: it is the last of what was taken. */
	state->split.avail_index =
		vq->in_order && !vq->inflight ? vq->split.used_idx : vq->split.last_avail;
}

/* Look for entries behind those we know of.  Returns 0, 1, or -EPROTO. */
static int split_refresh(struct vdpa_vq *vq)
{
	const struct vring_avail *avail = vq->driver;
	struct vq_split *s = &vq->split;
	uint16_t idx = ring_load16_acquire(&avail->idx);

	if (idx == s->last_avail)
		return 0;
	if (unlikely((uint16_t)(idx - s->last_avail) > vq->num))
		return vq_break(vq, "avail index jumps from %u to %u in a ring of %u",
				s->last_avail, idx, vq->num);
	s->avail_idx = idx;
	return 1;
}

/* A field of the used ring was written. */
static inline void split_log(const struct vdpa_vq *vq, uint64_t offset, uint64_t len)
{
	if (unlikely(vq->log_used))
		vdpa_dirty_log_mark(vq->log, vq->cfg.log_addr + offset, len);
}

static inline uint64_t used_offset(uint32_t entry)
{
	return offsetof(struct vring_used, ring) + sizeof(vring_used_elem_t) * (uint64_t)entry;
}

/* Take the chain that begins at head into elem. */
static inline int split_walk(struct vdpa_vq *vq, struct vdpa_vq_elem *elem, uint16_t head)
{
	const struct vring_desc *table = vq->desc;
	struct walk w = walk_begin(vq, elem);
	uint16_t i = head, num_desc = 0;
	int err;

	for (;;) {
		struct ring_desc desc;

		if (unlikely(i >= vq->num))
			return walk_bad_next(vq, i, vq->num);
		desc = ring_split_desc(&table[i]);
		num_desc++;
		if (desc.flags & VRING_DESC_F_INDIRECT) {
			err = walk_table(&w, &desc, false);
			break;
		}
		err = walk_desc(&w, &desc);
		if (unlikely(err) || !(desc.flags & VRING_DESC_F_NEXT))
			break;
		i = desc.id;
	}
	return unlikely(err) ? err : walk_end(&w, head, num_desc);
}

/* Fetch what the next call of split_pop() will read.  A hint: nothing is checked for good, or kept.
 */
static inline void split_prefetch(const struct vdpa_vq *vq)
{
	const struct vring_avail *avail = vq->driver;
	const struct vring_desc *table = vq->desc;
	const struct vq_split *s = &vq->split;

	if (s->last_avail != s->avail_idx) {
		uint16_t head = ring_load16(&avail->ring[s->last_avail & s->mask]);

		if (likely(head < vq->num))
			__builtin_prefetch(&table[head]);
	}
}

int split_pop(struct vdpa_vq *vq, struct vdpa_vq_elem *elem)
{
	const struct vring_avail *avail = vq->driver;
	struct vq_split *s = &vq->split;
	uint16_t head;
	int err;

	if (unlikely(vq->inflight) && inflight_resubmit(vq->inflight, &head)) {
		err = split_walk(vq, elem, head);
		if (!err)
			inflight_resubmitted(vq->inflight);
		return err ? err : 1;
	}
	if (s->last_avail == s->avail_idx) {
		err = split_refresh(vq);
		if (err <= 0)
			return err;
	}
	if (unlikely(vq->outstanding >= vq->num))
		return vq_break(vq, "more chains than the %u of the ring", vq->num);
	head = ring_load16(&avail->ring[s->last_avail & s->mask]);
	err = split_walk(vq, elem, head);
	if (unlikely(err))
		return err;
	if (unlikely(vq->inflight) && !inflight_split_take(vq->inflight, head))
		return vq_break(vq, "descriptor %u is offered, but it is under way already", head);
	s->last_avail++;
	split_prefetch(vq);
	return 1;
}

uint32_t split_pop_singles(struct vdpa_vq *vq, struct vdpa_vq_elem *const *elems, uint32_t num)
{
	const struct vring_avail *avail = vq->driver;
	const struct vring_desc *table = vq->desc;
	struct vq_split *s = &vq->split;
	uint32_t got = 0, room = vq->num - vq->outstanding;
	uint16_t next = s->last_avail;

	if (next == s->avail_idx && split_refresh(vq) <= 0)
		return 0;
	for (; got < num && got < room && next != s->avail_idx; got++, next++) {
		uint16_t head = ring_load16(&avail->ring[next & s->mask]);
		struct ring_desc desc;

		if (unlikely(head >= vq->num))
			break;
		desc = ring_split_desc(&table[head]);
		if (!walk_single(vq, elems[got], &desc, head))
			break;
	}
	s->last_avail = next;
	return got;
}

void split_unpop(struct vdpa_vq *vq)
{
	vq->split.last_avail--;
}

bool split_pending(struct vdpa_vq *vq)
{
	const struct vring_avail *avail = vq->driver;
	const struct vq_split *s = &vq->split;

	return s->last_avail != s->avail_idx || ring_load16(&avail->idx) != s->last_avail;
}

void split_use(struct vdpa_vq *vq, struct vdpa_vq_elem *const *elems, uint32_t num)
{
	struct vring_used *used = vq->device;
	struct vq_split *s = &vq->split;
	uint16_t idx = s->used_idx;

	for (uint32_t i = 0; i < num; i++, idx++) {
		const struct vdpa_vq_elem *elem = elems[i];
		vring_used_elem_t *entry = &used->ring[idx & s->mask];

		entry->id = htole32(elem->id);
		entry->len = htole32(elem->used_len);
		split_log(vq, used_offset(idx & s->mask), sizeof(*entry));
		if (unlikely(vq->inflight))
			inflight_split_use(vq->inflight, elem->id);
	}
	s->used_idx = idx;
}

/* Does the driver want a call for the entries from `old` to the published index? */
static bool split_wants_call(const struct vdpa_vq *vq, uint16_t old)
{
	const struct vring_avail *avail = vq->driver;

	if (vq->event_idx)
		return ring_need_event(ring_load16(&avail->ring[vq->num]), vq->split.published,
				       old);
	return !(ring_load16(&avail->flags) & VRING_AVAIL_F_NO_INTERRUPT);
}

bool split_publish(struct vdpa_vq *vq)
{
	struct vring_used *used = vq->device;
	struct vq_split *s = &vq->split;
	uint16_t old = s->published;

	if (s->used_idx == old)
		return false;
	ring_store16_release(&used->idx, s->used_idx);
	s->published = s->used_idx;
	split_log(vq, offsetof(struct vring_used, idx), 2);
	if (unlikely(vq->inflight))
		inflight_split_published(vq->inflight, s->used_idx);
	/* The driver writes its wish, then looks at our index: one of the two sees the other. */
	ring_full_barrier();
	return split_wants_call(vq, old);
}

bool split_enable_kick(struct vdpa_vq *vq, bool for_more)
{
	const struct vring_avail *avail = vq->driver;
	struct vring_used *used = vq->device;
	uint16_t end = for_more ? vq->split.avail_idx : vq->split.last_avail;

	if (vq->event_idx) {
		ring_store16(&used->ring[vq->num], end);
		split_log(vq, used_offset(vq->num), 2);
	} else {
		ring_store16(&used->flags, 0);
		split_log(vq, 0, 2);
	}
	/* The driver publishes, then looks at our wish: one of the two sees the other. */
	ring_full_barrier();
	return for_more ? ring_load16(&avail->idx) != end : split_pending(vq);
}

void split_disable_kick(struct vdpa_vq *vq)
{
	struct vring_used *used = vq->device;

	/* With event index the event left behind does the same. */
	if (vq->event_idx)
		return;
	ring_store16(&used->flags, VRING_USED_F_NO_NOTIFY);
	split_log(vq, 0, 2);
}
