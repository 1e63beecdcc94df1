/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>

#include "virtqueue/inflight_log.h"

uint64_t inflight_queue_bytes(uint32_t num, bool packed)
{
	uint64_t bytes = packed ? offsetof(struct inflight_packed_region, desc) +
					  sizeof(struct inflight_packed_state) * (uint64_t)num
				: offsetof(struct inflight_split_region, desc) +
					  sizeof(struct inflight_split_state) * (uint64_t)num;

	return align_up(bytes, 64);
}

uint64_t inflight_bytes(uint32_t num_queues, uint32_t num, bool packed)
{
	return num_queues * inflight_queue_bytes(num, packed);
}

void inflight_reset(struct vdpa_inflight *log)
{
	uint16_t num = (uint16_t)log->num;

	/* Version 0 means not initialised: it becomes 1 when a queue has told its position. */
	log_store(log->split->version, 0);
	memset(log->region, 0, inflight_queue_bytes(log->num, log->packed));
	log_store(log->split->desc_num, num);
	if (log->packed) {
		for (uint16_t i = 0; i < num; i++)
			log_store(log->ring->desc[i].next, (uint16_t)(i + 1));
		log_store(log->ring->used_wrap_counter, 1);
		log_store(log->ring->old_used_wrap_counter, 1);
	}
	log->fresh = true;
}

void inflight_adopted(struct vdpa_inflight *log)
{
	log_store(log->split->version, INFLIGHT_VERSION);
	log->fresh = false;
}

static int region_check(struct vdpa_mem *mem, uint64_t offset, uint32_t num, bool packed,
			struct vdpa_extack *ack)
{
	const uint8_t *hva = vdpa_mem_hva(mem);

	if (!num || num > 32768)
		return vdpa_extack_set(ack, -EINVAL, "queue size %u is not in 1 to 32768", num);
	if (!range_fits(offset, inflight_queue_bytes(num, packed), vdpa_mem_len(mem)) ||
	    (uintptr_t)(hva + offset) % 8)
		return vdpa_extack_set(ack, -EINVAL,
				       "in-flight region at offset %" PRIu64
				       " does not fit %" PRIu64 " bytes, or is not aligned to 8",
				       offset, vdpa_mem_len(mem));
	return 0;
}

int inflight_open(struct vdpa_mem *mem, uint64_t offset, uint32_t num, bool packed,
		  struct vdpa_inflight **ret, struct vdpa_extack *ack)
{
	struct vdpa_inflight *log;
	uint16_t version, desc_num;
	int err;

	err = region_check(mem, offset, num, packed, ack);
	if (err)
		return err;
	log = calloc(1, sizeof(*log) + num * (sizeof(log->found[0]) + 3 * sizeof(log->batch[0])));
	if (!log)
		return -ENOMEM;
	log->found = (struct inflight_found *)(log + 1);
	log->batch = (uint16_t *)(log->found + num);
	/* One array serves both kinds. */
	log->under_way = log->next = log->batch + num;
	log->last = log->next + num;
	log->region = (uint8_t *)vdpa_mem_hva(mem) + offset;
	log->packed = packed;
	log->num = num;

	version = log_load(log->split->version);
	desc_num = log_load(log->split->desc_num);
	if (!version) {
		inflight_reset(log);
	} else if (version != INFLIGHT_VERSION || desc_num != num) {
		free(log);
		return vdpa_extack_set(
			ack, -EINVAL,
			"in-flight region is of version %u and %u entries, not %u and %u", version,
			desc_num, INFLIGHT_VERSION, num);
	}
	log->mem = vdpa_mem_get(mem);
	*ret = log;
	return 0;
}

void inflight_close(struct vdpa_inflight *log)
{
	if (!log)
		return;
	vdpa_mem_put(log->mem);
	free(log);
}

bool inflight_matches(const struct vdpa_inflight *log, uint32_t num, bool packed)
{
	return num <= log->num && log->packed == packed;
}

bool inflight_fresh(const struct vdpa_inflight *log)
{
	return log->fresh;
}

static int found_order(const void *a, const void *b)
{
	const struct inflight_found *fa = a, *fb = b;

	return (fa->counter > fb->counter) - (fa->counter < fb->counter);
}

void inflight_sort(struct vdpa_inflight *log)
{
	qsort(log->found, log->num_found, sizeof(log->found[0]), found_order);
	log->counter = log->num_found ? log->found[log->num_found - 1].counter + 1 : 1;
}

bool inflight_resubmit(const struct vdpa_inflight *log, uint16_t *head)
{
	if (log->next_found == log->num_found)
		return false;
	*head = log->found[log->next_found].head;
	return true;
}

void inflight_resubmitted(struct vdpa_inflight *log)
{
	log->next_found++;
}
