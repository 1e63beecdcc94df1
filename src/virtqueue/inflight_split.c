/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The in-flight log of a split ring.  @spec vhost-user, Inflight I/O tracking
 *
 * The used ring and the log are two memories; between the stores to the one and the other a crash
 * can come.  The heads of a batch are linked, newest first, before the used index moves; used_idx
 * follows when all their marks are taken back.  So when the two indices differ, their difference
 * says how many of the list were given back.
 */
#include "virtqueue/inflight_log.h"

/* Take back the marks of a batch that was published. */
static void repair(struct vdpa_inflight *log, uint16_t used_idx)
{
	struct inflight_split_region *region = log->split;
	uint16_t num = (uint16_t)(used_idx - log_load(region->used_idx));
	uint16_t head = log_load(region->last_batch_head);

	/* A list that leads nowhere, or is longer than the ring, is not of our making. */
	for (uint32_t n = 0; n < num && n < log->num && head < log->num; n++) {
		log_store(region->desc[head].inflight, 0);
		head = log_load(region->desc[head].next);
	}
	log_store(region->used_idx, used_idx);
}

int inflight_split_recover(struct vdpa_inflight *log, uint32_t num, uint16_t used_idx,
			   uint32_t *num_inflight, struct vdpa_extack *ack)
{
	struct inflight_split_region *region = log->split;

	log->num_found = log->next_found = log->num_batch = 0;
	if (!log->fresh)
		repair(log, used_idx);
	else
		log_store(region->used_idx, used_idx);
	for (uint32_t i = 0; i < log->num; i++) {
		log->under_way[i] = 0;
		if (!log_load(region->desc[i].inflight))
			continue;
		if (i >= num)
			return vdpa_extack_set(ack, -EINVAL,
					       "in-flight log knows descriptor %u of a ring of %u",
					       i, num);
		log->under_way[i] = 1;
		inflight_find(log, (uint16_t)i, log_load(region->desc[i].counter));
	}
	inflight_sort(log);
	log->ring_num = num;
	log->last_head = log_load(region->last_batch_head);
	inflight_adopted(log);
	*num_inflight = log->num_found;
	return 0;
}

bool inflight_split_take(struct vdpa_inflight *log, uint16_t head)
{
	struct inflight_split_state *state = &log->split->desc[head];

	/* Not what the shared memory says: twice the same head would be more than `batch` holds. */
	if (log->under_way[head])
		return false;
	log->under_way[head] = 1;
	log_store(state->counter, log->counter++);
	log_store(state->inflight, 1);
	return true;
}

void inflight_split_use(struct vdpa_inflight *log, uint16_t head)
{
	struct inflight_split_region *region = log->split;

	/* Each is under way once, so they are not more than there are heads. */
	log_store(region->desc[head].next, log->last_head);
	log_store(region->last_batch_head, head);
	log->last_head = head;
	log->batch[log->num_batch++] = head;
}

void inflight_split_published(struct vdpa_inflight *log, uint16_t used_idx)
{
	struct inflight_split_region *region = log->split;

	for (uint32_t i = 0; i < log->num_batch; i++) {
		log->under_way[log->batch[i]] = 0;
		log_store(region->desc[log->batch[i]].inflight, 0);
	}
	log_store(region->used_idx, used_idx);
	log->num_batch = 0;
}
