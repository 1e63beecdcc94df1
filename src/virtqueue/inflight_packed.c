/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The in-flight log of a packed ring.  @spec vhost-user, Inflight I/O tracking
 *
 * The records of a chain are taken from a free list and hold copies of its descriptors, since the
 * ring's slots are written over by used descriptors in another order.  What changes is prepared
 * behind free_head and becomes valid when old_free_head follows, by one store with it.
 *
 * A batch is put back into the free list and its used position is stored before the first used
 * descriptor is marked in the ring; that mark tells a recovery whether the driver has seen it.
 */
#include "virtqueue/inflight_log.h"

/* One store for a pair that must change together. */
static void store_free_heads(struct inflight_packed_region *region, uint16_t head, uint16_t old)
{
	const uint16_t pair[2] = {head, old};
	uint32_t word;

	memcpy(&word, pair, sizeof(word));
	__atomic_store_n((uint32_t *)(void *)&region->free_head, word, __ATOMIC_RELEASE);
}

static void store_used(struct inflight_packed_region *region, struct inflight_pos used,
		       struct inflight_pos old)
{
	const uint8_t wraps[4] = {used.wrap, old.wrap};
	const uint16_t slots[2] = {used.slot, old.slot};
	uint64_t word;

	memcpy(&word, slots, 4);
	memcpy((uint8_t *)&word + 4, wraps, 4);
	__atomic_store_n((uint64_t *)(void *)&region->used_idx, word, __ATOMIC_RELEASE);
}

static struct inflight_pos used_now(const struct inflight_packed_region *region)
{
	return (struct inflight_pos){log_load(region->used_idx),
				     log_load(region->used_wrap_counter)};
}

static struct inflight_pos used_old(const struct inflight_packed_region *region)
{
	return (struct inflight_pos){log_load(region->old_used_idx),
				     log_load(region->old_used_wrap_counter)};
}

static uint16_t avail_marks(bool wrap)
{
	return wrap ? RING_DESC_F_AVAIL : RING_DESC_F_USED;
}

/* Finish the batch that was under way, or undo it.  Returns the position that holds. */
static struct inflight_pos settle(struct vdpa_inflight *log, const struct vring_packed_desc *ring)
{
	struct inflight_packed_region *region = log->ring;
	struct inflight_pos now = used_now(region), old = used_old(region);
	uint16_t free_head = log_load(region->free_head);
	uint16_t old_free_head = log_load(region->old_free_head);

	if (old.slot >= log->ring_num || now.slot >= log->ring_num)
		return (struct inflight_pos){UINT16_MAX, false};
	if ((now.slot != old.slot || now.wrap != old.wrap) &&
	    (ring_load16(&ring[old.slot].flags) & RING_DESC_F_MARKS) != avail_marks(old.wrap)) {
		old = now;
		old_free_head = free_head;
	}
	store_free_heads(region, old_free_head, old_free_head);
	store_used(region, old, old);
	log->free_head = old_free_head;
	log->used = old;
	return old;
}

/* Walk the free list; its records are not under way, whatever they say.  Returns how many, -1:
 * damage. */
static int read_free_list(struct vdpa_inflight *log, uint8_t *seen)
{
	struct inflight_packed_region *region = log->ring;
	uint16_t i = log->free_head;
	int count = 0;

	while (i != log->num) {
		if (i > log->num || seen[i])
			return -1;
		seen[i] = 1;
		count++;
		log_store(region->desc[i].inflight, 0);
		log->next[i] = log_load(region->desc[i].next);
		i = log->next[i];
	}
	return count;
}

/* Read the records of the chain that begins at head.  Returns how many, -1: damage. */
static int read_chain(struct vdpa_inflight *log, uint16_t head, uint8_t *seen)
{
	struct inflight_packed_region *region = log->ring;
	uint16_t num = log_load(region->desc[head].num), i = head;

	if (!num)
		return -1;
	for (uint16_t n = 0; n < num; n++) {
		if (i >= log->num || seen[i])
			return -1;
		seen[i] = 1;
		log->last[head] = i;
		log->next[i] = log_load(region->desc[i].next);
		i = log->next[i];
	}
	return num;
}

/* Read all records.  Returns how many ring slots the requests under way take, -1: damage. */
static int read_records(struct vdpa_inflight *log, uint8_t *seen)
{
	struct inflight_packed_region *region = log->ring;
	int num_free, slots = 0;

	num_free = read_free_list(log, seen);
	if (num_free < 0)
		return -1;
	for (uint32_t i = 0; i < log->num; i++) {
		int num;

		if (seen[i] || !log_load(region->desc[i].inflight))
			continue;
		num = read_chain(log, (uint16_t)i, seen);
		if (num < 0)
			return -1;
		slots += num;
		inflight_find(log, (uint16_t)i, log_load(region->desc[i].counter));
	}
	log->num_free = (uint32_t)num_free;
	if (num_free + slots != (int)log->num || slots > (int)log->ring_num)
		return -1;
	return slots;
}

/*
 * Used marks of a batch that was not published would be taken for those of the next: take them
 * back.  The driver does not look there before the first slot is used.
 */
static void clean_slots(const struct vdpa_inflight *log, struct vring_packed_desc *ring,
			struct inflight_pos at, int slots)
{
	for (int n = 0; n < slots; n++) {
		ring_store16(&ring[at.slot].flags, avail_marks(at.wrap));
		if (++at.slot == log->ring_num) {
			at.slot = 0;
			at.wrap = !at.wrap;
		}
	}
}

static int start_fresh(struct vdpa_inflight *log, struct inflight_pos used)
{
	for (uint32_t i = 0; i < log->num; i++)
		log->next[i] = (uint16_t)(i + 1);
	log->free_head = 0;
	log->num_free = log->num;
	log->used = used;
	store_used(log->ring, used, used);
	log->counter = 1;
	inflight_adopted(log);
	return 0;
}

int inflight_packed_recover(struct vdpa_inflight *log, uint32_t num, void *ring,
			    struct inflight_pos *used, uint32_t *slots, struct vdpa_extack *ack)
{
	uint8_t *seen vdpa_cleanup(freep) = NULL;
	struct inflight_pos at;
	int taken;

	log->num_found = log->next_found = log->num_batch = 0;
	log->ring_num = num;
	*slots = 0;
	if (log->fresh)
		return start_fresh(log, *used);

	seen = calloc(log->num, 1);
	if (!seen)
		return -ENOMEM;
	at = settle(log, ring);
	taken = at.slot < num ? read_records(log, seen) : -1;
	if (taken < 0)
		return vdpa_extack_set(ack, -EINVAL, "in-flight region is damaged");
	clean_slots(log, ring, at, taken);
	inflight_sort(log);
	*used = at;
	*slots = (uint32_t)taken;
	return 0;
}

bool inflight_packed_take(struct vdpa_inflight *log, const void *ring, uint16_t at,
			  uint16_t num_desc, uint16_t *ret)
{
	const struct vring_packed_desc *slots = ring;
	struct inflight_packed_region *region = log->ring;
	uint16_t head = log->free_head, i = head, last = head;

	if (unlikely(num_desc > log->num_free))
		return false;
	log_store(region->desc[head].num, num_desc);
	log_store(region->desc[head].counter, log->counter++);
	log_store(region->desc[head].inflight, 1);
	for (uint16_t n = 0; n < num_desc; n++) {
		struct inflight_packed_state *state = &region->desc[i];
		struct ring_desc desc = ring_packed_desc(&slots[at]);

		log_store(state->id, desc.id);
		log_store(state->flags, desc.flags);
		log_store(state->len, desc.len);
		log_store(state->addr, desc.iova);
		last = i;
		i = log->next[i];
		if (++at == log->ring_num)
			at = 0;
	}
	log->last[head] = last;
	log_store(region->desc[head].last, last);
	log->free_head = i;
	log->num_free -= num_desc;
	store_free_heads(region, i, i);
	*ret = head;
	return true;
}

bool inflight_packed_desc(const struct vdpa_inflight *log, uint16_t head, uint16_t *at, void *desc)
{
	const struct inflight_packed_state *state = &log->ring->desc[*at];
	bool is_last = *at == log->last[head];
	struct vring_packed_desc raw;

	raw.addr = htole64(log_load(state->addr));
	raw.len = htole32(log_load(state->len));
	raw.id = htole16(log_load(state->id));
	raw.flags = htole16(log_load(state->flags));
	memcpy(desc, &raw, sizeof(raw));
	*at = log->next[*at];
	return is_last;
}

void inflight_packed_use(struct vdpa_inflight *log, uint16_t head)
{
	/* Each has a record of its own, so they are not more than there are records. */
	log->batch[log->num_batch++] = head;
}

void inflight_packed_publish(struct vdpa_inflight *log, struct inflight_pos used)
{
	struct inflight_packed_region *region = log->ring;
	uint16_t old = log->free_head;

	for (uint32_t n = 0; n < log->num_batch; n++) {
		uint16_t head = log->batch[n], last = log->last[head];

		for (uint16_t i = head; i != last; i = log->next[i])
			log->num_free++;
		log->num_free++;
		log->next[last] = log->free_head;
		log_store(region->desc[last].next, log->free_head);
		log->free_head = head;
	}
	store_free_heads(region, log->free_head, old);
	store_used(region, used, log->used);
	log->used = used;
}

void inflight_packed_published(struct vdpa_inflight *log)
{
	struct inflight_packed_region *region = log->ring;
	for (uint32_t n = 0; n < log->num_batch; n++)
		log_store(region->desc[log->batch[n]].inflight, 0);
	store_free_heads(region, log->free_head, log->free_head);
	store_used(region, log->used, log->used);
	log->num_batch = 0;
}
