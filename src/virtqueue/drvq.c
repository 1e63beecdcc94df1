/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "virtqueue/drvq.h"

#define DRVQ_ALIGN 4096u
#define DRVQ_LINE  64u /* areas that different sides write share no cache line */

/* Where the parts are in the memory of a queue. */
struct layout {
	uint64_t driver;
	uint64_t device;
	uint64_t tables;
	uint64_t total;
};

static struct layout layout_of(uint32_t num, uint64_t features, uint32_t indirect)
{
	bool packed = features & RING_F_PACKED;
	struct layout l;

	l.driver = align_up(16 * (uint64_t)num, DRVQ_LINE);
	l.device = align_up(l.driver + (packed ? 4 : 6 + 2 * (uint64_t)num), DRVQ_LINE);
	l.tables = align_up(l.device + (packed ? 4 : 6 + 8 * (uint64_t)num), DRVQ_LINE);
	l.total = l.tables;
	if (features & RING_F_INDIRECT_DESC)
		l.total += 16 * (uint64_t)num * indirect;
	l.total = align_up(l.total, DRVQ_ALIGN);
	return l;
}

VDPA_API size_t vdpa_drvq_bytes(uint32_t num, uint64_t features, uint32_t indirect)
{
	return (size_t)layout_of(num, features, indirect).total;
}

void *drvq_break(struct vdpa_drvq *q, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(q->reason, sizeof(q->reason), fmt, ap);
	va_end(ap);
	q->broken = q->reason;
	return NULL;
}

void *drvq_claim_in_order(struct vdpa_drvq *q, uint32_t *id, uint32_t *len)
{
	if (!q->batch) {
		if (unlikely(*id >= q->num || !q->slots[*id].cookie))
			return drvq_break(q, "device used id %u, which is not offered", *id);
		q->batch = true;
		q->batch_id = (uint16_t)*id;
		q->batch_len = *len;
	}
	*id = q->oldest;
	/* Of those that were skipped each byte counts as written. */
	*len = UINT32_MAX;
	if (*id == q->batch_id) {
		*len = q->batch_len;
		q->batch = false;
	}
	return drvq_claim_one(q, *id, len);
}

static int config_check(const struct vdpa_drvq_config *cfg, struct vdpa_extack *ack)
{
	if (!cfg->num || cfg->num > VDPA_VQ_NUM_MAX)
		return vdpa_extack_set(ack, -EINVAL, "queue size %u is not in 1 to %u", cfg->num,
				       VDPA_VQ_NUM_MAX);
	if (!(cfg->features & RING_F_PACKED) && !is_power_of_2(cfg->num))
		return vdpa_extack_set(
			ack, -EINVAL, "queue size %u of a split ring is no power of two", cfg->num);
	if (cfg->indirect > VDPA_VQ_NUM_MAX)
		return vdpa_extack_set(ack, -EINVAL, "indirect tables of %u entries: at most %u",
				       cfg->indirect, VDPA_VQ_NUM_MAX);
	if (!cfg->hva || (uintptr_t)cfg->hva % DRVQ_ALIGN || cfg->iova % DRVQ_ALIGN)
		return vdpa_extack_set(ack, -EINVAL,
				       "ring memory at iova 0x%" PRIx64 " is not aligned to %u",
				       cfg->iova, DRVQ_ALIGN);
	if (cfg->iova + vdpa_drvq_bytes(cfg->num, cfg->features, cfg->indirect) < cfg->iova)
		return vdpa_extack_set(ack, -EINVAL, "ring memory at iova 0x%" PRIx64 " wraps",
				       cfg->iova);
	return 0;
}

VDPA_API int vdpa_drvq_alloc(const struct vdpa_drvq_config *cfg, struct vdpa_drvq **ret,
			     struct vdpa_extack *ack)
{
	struct vdpa_drvq *q;
	struct layout l;
	int err;

	err = config_check(cfg, ack);
	if (err)
		return err;
	q = calloc(1, sizeof(*q) + cfg->num * sizeof(q->slots[0]));
	if (!q)
		return -ENOMEM;

	l = layout_of(cfg->num, cfg->features, cfg->indirect);
	memset(cfg->hva, 0, l.total);
	q->packed = cfg->features & RING_F_PACKED;
	q->in_order = cfg->features & RING_F_IN_ORDER;
	q->event_idx = cfg->features & RING_F_EVENT_IDX;
	q->num = cfg->num;
	q->table_num = cfg->features & RING_F_INDIRECT_DESC ? cfg->indirect : 0;
	q->free_slots = cfg->num;
	q->free_tail = (uint16_t)(cfg->num - 1);
	q->desc = cfg->hva;
	q->driver = (uint8_t *)cfg->hva + l.driver;
	q->device = (uint8_t *)cfg->hva + l.device;
	q->tables = (void *)((uint8_t *)cfg->hva + l.tables);
	q->iova_desc = cfg->iova;
	q->iova_driver = cfg->iova + l.driver;
	q->iova_device = cfg->iova + l.device;
	q->tables_iova = cfg->iova + l.tables;
	for (uint32_t i = 0; i < cfg->num; i++)
		q->slots[i].next = (uint16_t)(i + 1);
	if (q->packed)
		drvq_packed_init(q);
	else
		q->split.mask = (uint16_t)(cfg->num - 1);
	*ret = q;
	return 0;
}

VDPA_API void vdpa_drvq_free(struct vdpa_drvq *q)
{
	free(q);
}

VDPA_API void vdpa_drvq_areas(const struct vdpa_drvq *q, uint64_t *desc, uint64_t *driver,
			      uint64_t *device)
{
	*desc = q->iova_desc;
	*driver = q->iova_driver;
	*device = q->iova_device;
}

VDPA_API int vdpa_drvq_add(struct vdpa_drvq *q, const struct vdpa_drvq_sg *sg, uint32_t out,
			   uint32_t in, void *cookie)
{
	if (unlikely(!cookie || !(out | in) || out > q->num || in > q->num - out))
		return -EINVAL;
	return q->packed ? drvq_packed_add(q, sg, out, in, cookie)
			 : drvq_split_add(q, sg, out, in, cookie);
}

VDPA_API bool vdpa_drvq_publish(struct vdpa_drvq *q)
{
	return q->packed ? drvq_packed_publish(q) : drvq_split_publish(q);
}

VDPA_API void *vdpa_drvq_get(struct vdpa_drvq *q, uint32_t *len)
{
	if (unlikely(q->broken))
		return NULL;
	return q->packed ? drvq_packed_get(q, len) : drvq_split_get(q, len);
}

VDPA_API bool vdpa_drvq_enable_call(struct vdpa_drvq *q)
{
	if (q->broken)
		return false;
	return q->packed ? drvq_packed_enable_call(q) : drvq_split_enable_call(q);
}

VDPA_API void vdpa_drvq_disable_call(struct vdpa_drvq *q)
{
	if (q->packed)
		drvq_packed_disable_call(q);
	else
		drvq_split_disable_call(q);
}

VDPA_API uint32_t vdpa_drvq_free_slots(const struct vdpa_drvq *q)
{
	return q->free_slots;
}

VDPA_API const char *vdpa_drvq_broken(const struct vdpa_drvq *q)
{
	return q->broken;
}
