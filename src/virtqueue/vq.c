/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "virtqueue/vq.h"

int vq_break(struct vdpa_vq *vq, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(vq->reason, sizeof(vq->reason), fmt, ap);
	va_end(ap);
	vq->broken = vq->reason;
	vq->ready = false;
	vq_count(&vq->stats.broken, 1);
	return -EPROTO;
}

VDPA_API void vdpa_vq_elem_init(struct vdpa_vq_elem *elem)
{
	memset(elem, 0, sizeof(*elem));
	elem->iov = elem->iov_small;
	elem->iov_cap = ARRAY_SIZE(elem->iov_small);
}

VDPA_API void vdpa_vq_elem_release(struct vdpa_vq_elem *elem)
{
	if (elem->iov != elem->iov_small)
		free(elem->iov);
	elem->iov = NULL;
	elem->iov_cap = 0;
}

VDPA_API struct vdpa_vq *vdpa_vq_alloc(void)
{
	return calloc(1, sizeof(struct vdpa_vq));
}

VDPA_API void vdpa_vq_free(struct vdpa_vq *vq)
{
	if (!vq)
		return;
	if (vq->started)
		vdpa_vq_stop(vq, NULL);
	free(vq);
}

/* One of the three areas, as the specification describes it. */
struct area {
	const char *name;
	uint64_t iova;
	uint64_t len;
	uint64_t align;
	uint32_t perm;
};

/* Translate an area, which must be aligned there and here. */
static int area_map(const struct area *area, const struct vdpa_iotlb *iotlb, void **ret,
		    struct vdpa_extack *ack)
{
	void *hva;

	if (area->iova % area->align)
		return vdpa_extack_set(ack, -EINVAL,
				       "%s area at iova 0x%" PRIx64 " is not aligned to %" PRIu64,
				       area->name, area->iova, area->align);
	hva = vdpa_iotlb_translate(iotlb, area->iova, area->len, area->perm);
	if (!hva)
		return vdpa_extack_set(ack, -EFAULT,
				       "%s area of %" PRIu64 " bytes at iova 0x%" PRIx64
				       " is not mapped in one piece",
				       area->name, area->len, area->iova);
	if ((uintptr_t)hva % area->align)
		return vdpa_extack_set(ack, -EINVAL,
				       "%s area at iova 0x%" PRIx64
				       " is mapped without alignment to %" PRIu64,
				       area->name, area->iova, area->align);
	*ret = hva;
	return 0;
}

/* Translate the three areas; vq changes only when all are mapped. */
static int areas_map(struct vdpa_vq *vq, const struct vdpa_vq_config *cfg,
		     const struct vdpa_iotlb *iotlb, struct vdpa_extack *ack)
{
	uint64_t num = cfg->num, event = cfg->features & RING_F_EVENT_IDX ? 2 : 0;
	const struct area split[3] = {
		{"descriptor", cfg->desc, 16 * num, 16, VDPA_PERM_READ},
		{"driver", cfg->driver, 4 + 2 * num + event, 2, VDPA_PERM_READ},
		{"device", cfg->device, 4 + 8 * num + event, 4, VDPA_PERM_RW},
	};
	const struct area packed[3] = {
		{"descriptor", cfg->desc, 16 * num, 16, VDPA_PERM_RW},
		{"driver", cfg->driver, 4, 4, VDPA_PERM_READ},
		{"device", cfg->device, 4, 4, VDPA_PERM_RW},
	};
	const struct area *areas = cfg->features & RING_F_PACKED ? packed : split;
	void *hva[3];

	if (!iotlb)
		return vdpa_extack_set(ack, -EFAULT, "there is no memory map");
	for (int i = 0; i < 3; i++) {
		int err = area_map(&areas[i], iotlb, &hva[i], ack);

		if (err)
			return err;
	}
	vq->desc = hva[0];
	vq->driver = hva[1];
	vq->device = hva[2];
	return 0;
}

static int config_check(const struct vdpa_vq_config *cfg, struct vdpa_extack *ack)
{
	bool packed = cfg->features & RING_F_PACKED;

	if (!cfg->num || cfg->num > VDPA_VQ_NUM_MAX)
		return vdpa_extack_set(ack, -EINVAL, "queue size %u is not in 1 to %u", cfg->num,
				       VDPA_VQ_NUM_MAX);
	if (!packed && !is_power_of_2(cfg->num))
		return vdpa_extack_set(
			ack, -EINVAL, "queue size %u of a split ring is no power of two", cfg->num);
	if (cfg->state.packed != packed)
		return vdpa_extack_set(ack, -EINVAL, "queue state is that of a %s ring",
				       packed ? "split" : "packed");
	if (cfg->max_segs > VDPA_VQ_SEGS_MAX)
		return vdpa_extack_set(ack, -EINVAL, "limit of %u pieces a chain is over %u",
				       cfg->max_segs, VDPA_VQ_SEGS_MAX);
	if (cfg->inflight && !inflight_matches(cfg->inflight, cfg->num, packed))
		return vdpa_extack_set(ack, -EINVAL,
				       "in-flight log is not that of a %s ring of %u or more",
				       packed ? "packed" : "split", cfg->num);
	return 0;
}

/* The fields that do not depend on the kind of ring. */
static void vq_adopt(struct vdpa_vq *vq, const struct vdpa_vq_config *cfg)
{
	vq->cfg = *cfg;
	vq->num = cfg->num;
	vq->max_segs = cfg->max_segs ? cfg->max_segs : VDPA_VQ_SEGS_MAX;
	vq->packed = cfg->features & RING_F_PACKED;
	vq->in_order = cfg->features & RING_F_IN_ORDER;
	vq->event_idx = cfg->features & RING_F_EVENT_IDX;
	vq->indirect = cfg->features & RING_F_INDIRECT_DESC;
	vq->inflight = cfg->inflight;
	if (cfg->inflight && !inflight_fresh(cfg->inflight))
		vq->call_lost = true;
	vq->write_flag = VRING_DESC_F_WRITE;
	vq->outstanding = 0;
	vq->hit = (struct vdpa_iotlb_range){0};
	vq->order_head = vq->order_tail = NULL;
	vq->reap_head = vq->reap_tail = NULL;
	vq->broken = NULL;
}

VDPA_API void vdpa_vq_set_log(struct vdpa_vq *vq, struct vdpa_dirty_log *log, bool log_used,
			      uint64_t log_addr)
{
	struct vdpa_dirty_log *old = vq->log;

	if (!vq->started)
		return;
	vq->log = log ? vdpa_dirty_log_get(log) : NULL;
	vq->log_used = log && log_used;
	vq->cfg.log_addr = log_addr;
	vdpa_dirty_log_put(old);
}

/* Mark all that the device may have written for an element, however much it says it has. */
static void log_pieces(const struct vdpa_vq *vq, const struct vdpa_vq_elem *elem)
{
	for (uint32_t i = elem->out_num; i < (uint32_t)elem->out_num + elem->in_num; i++) {
		const uint8_t *hva = elem->iov[i].iov_base;
		uint64_t len = elem->iov[i].iov_len;

		while (len) {
			const struct vdpa_iotlb_range *range = vdpa_iotlb_find_hva(vq->iotlb, hva);
			uint64_t off, part;

			if (!range)
				break;
			off = (uint64_t)(hva - range->hva);
			part = range->len - off < len ? range->len - off : len;
			vdpa_dirty_log_mark(vq->log, range->iova + off, part);
			hva += part;
			len -= part;
		}
	}
}

VDPA_API int vdpa_vq_start(struct vdpa_vq *vq, const struct vdpa_vq_config *cfg,
			   struct vdpa_extack *ack)
{
	int err;

	if (vq->started)
		return vdpa_extack_set(ack, -EBUSY, "queue is started already");
	err = config_check(cfg, ack);
	if (!err)
		err = areas_map(vq, cfg, cfg->iotlb, ack);
	if (err)
		return err;

	vq_adopt(vq, cfg);
	err = vq->packed ? packed_start(vq, ack) : split_start(vq, ack);
	if (err) {
		vq->inflight = NULL;
		return err;
	}
	vq->iotlb = vdpa_iotlb_get(cfg->iotlb);
	vq->started = true;
	vq->ready = true;
	vdpa_vq_set_log(vq, cfg->log, cfg->log_used, cfg->log_addr);
	return 0;
}

VDPA_API void vdpa_vq_stop(struct vdpa_vq *vq, struct vdpa_vq_state *state)
{
	if (!vq->started)
		return;
	if (vdpa_vq_publish(vq))
		vq->call_lost = true;
	if (state) {
		*state = (struct vdpa_vq_state){.packed = vq->packed};
		if (vq->packed)
			packed_stop(vq, state);
		else
			split_stop(vq, state);
	}
	vdpa_vq_set_log(vq, NULL, false, 0);
	vq->started = false;
	vq->ready = false;
	vq->inflight = NULL;
	vq->outstanding = 0;
	vdpa_iotlb_put(vq->iotlb);
	vq->iotlb = NULL;
}

VDPA_API void vdpa_vq_read_all(struct vdpa_vq *vq)
{
	vq->write_flag = 0;
}

VDPA_API bool vdpa_vq_started(const struct vdpa_vq *vq)
{
	return vq->started;
}

VDPA_API int vdpa_vq_set_map(struct vdpa_vq *vq, struct vdpa_iotlb *iotlb, struct vdpa_extack *ack)
{
	int err;

	if (!vq->started)
		return 0;
	err = areas_map(vq, &vq->cfg, iotlb, ack);
	if (err)
		return err;
	vdpa_iotlb_get(iotlb);
	vdpa_iotlb_put(vq->iotlb);
	vq->iotlb = iotlb;
	vq->hit = (struct vdpa_iotlb_range){0};
	return 0;
}

/* Remember that this is the last of the elements that are taken. */
static void order_pop(struct vdpa_vq *vq, struct vdpa_vq_elem *elem)
{
	elem->next = NULL;
	elem->done = false;
	if (vq->order_tail)
		vq->order_tail->next = elem;
	else
		vq->order_head = elem;
	vq->order_tail = elem;
}

VDPA_API int vdpa_vq_pop(struct vdpa_vq *vq, struct vdpa_vq_elem *elem)
{
	int got;

	if (unlikely(!vq->ready))
		return vq->broken ? -EPROTO : 0;
	got = vq->packed ? packed_pop(vq, elem) : split_pop(vq, elem);
	if (got <= 0)
		return got;
	vq->outstanding++;
	if (unlikely(vq->in_order))
		order_pop(vq, elem);
	return 1;
}

VDPA_API uint32_t vdpa_vq_pop_singles(struct vdpa_vq *vq, struct vdpa_vq_elem *const *elems,
				      uint32_t num)
{
	uint32_t got;

	if (unlikely(!vq->ready || vq->inflight))
		return 0;
	got = vq->packed ? packed_pop_singles(vq, elems, num) : split_pop_singles(vq, elems, num);
	vq->outstanding += got;
	for (uint32_t i = 0; unlikely(vq->in_order) && i < got; i++)
		order_pop(vq, elems[i]);
	return got;
}

/* Forget the last of the elements that are taken. */
static void order_unpop(struct vdpa_vq *vq, const struct vdpa_vq_elem *elem)
{
	struct vdpa_vq_elem *last = NULL;

	for (struct vdpa_vq_elem *e = vq->order_head; e != elem; e = e->next)
		last = e;
	vq->order_tail = last;
	if (last)
		last->next = NULL;
	else
		vq->order_head = NULL;
}

VDPA_API bool vdpa_vq_unpop(struct vdpa_vq *vq, struct vdpa_vq_elem *elem)
{
	if (vq->inflight || !vq->started)
		return false;
	if (vq->packed)
		packed_unpop(vq, elem);
	else
		split_unpop(vq);
	if (vq->in_order)
		order_unpop(vq, elem);
	vq->outstanding--;
	return true;
}

VDPA_API void vdpa_vq_miss(const struct vdpa_vq *vq, uint64_t *iova, uint32_t *perm)
{
	*iova = vq->miss_iova;
	*perm = vq->miss_perm;
}

/* Does the in-flight log have something to submit again? */
static bool pending_again(const struct vdpa_vq *vq)
{
	uint16_t head;

	return vq->inflight && inflight_resubmit(vq->inflight, &head);
}

VDPA_API bool vdpa_vq_pending(struct vdpa_vq *vq)
{
	return vq->ready &&
	       (pending_again(vq) || (vq->packed ? packed_pending(vq) : split_pending(vq)));
}

/* Write the used entries of elements whose turn it is. */
static inline void vq_use(struct vdpa_vq *vq, struct vdpa_vq_elem *const *elems, uint32_t num)
{
	uint64_t out = 0, in = 0;

	for (uint32_t i = 0; i < num; i++) {
		if (unlikely(vq->log))
			log_pieces(vq, elems[i]);
		out += elems[i]->out_len;
		in += elems[i]->used_len;
	}
	if (vq->packed)
		packed_use(vq, elems, num);
	else
		split_use(vq, elems, num);
	vq->outstanding -= num;
	vq_count(&vq->stats.requests, num);
	vq_count(&vq->stats.bytes_out, out);
	vq_count(&vq->stats.bytes_in, in);
}

static inline void set_used(struct vdpa_vq_elem *elem, uint32_t len)
{
	elem->used_len = len < elem->in_len ? len : elem->in_len;
}

/* Use elem and those behind it that wait for it; the latter are reaped later. */
static bool complete_in_order(struct vdpa_vq *vq, struct vdpa_vq_elem *elem)
{
	elem->done = true;
	if (elem != vq->order_head)
		return false;

	do {
		struct vdpa_vq_elem *done = vq->order_head;

		vq->order_head = done->next;
		vq_use(vq, &done, 1);
		if (done == elem)
			continue;
		done->next = NULL;
		if (vq->reap_tail)
			vq->reap_tail->next = done;
		else
			vq->reap_head = done;
		vq->reap_tail = done;
	} while (vq->order_head && vq->order_head->done);
	if (!vq->order_head)
		vq->order_tail = NULL;
	return true;
}

VDPA_API bool vdpa_vq_complete(struct vdpa_vq *vq, struct vdpa_vq_elem *elem, uint32_t len)
{
	if (unlikely(!vq->started))
		return true;
	set_used(elem, len);
	if (unlikely(vq->in_order))
		return complete_in_order(vq, elem);
	vq_use(vq, &elem, 1);
	return true;
}

VDPA_API void vdpa_vq_complete_many(struct vdpa_vq *vq, struct vdpa_vq_elem *const *elems,
				    const uint32_t *lens, uint32_t num)
{
	if (unlikely(!vq->started))
		return;
	for (uint32_t i = 0; i < num; i++)
		set_used(elems[i], lens[i]);
	vq_use(vq, elems, num);
}

VDPA_API struct vdpa_vq_elem *vdpa_vq_reap(struct vdpa_vq *vq)
{
	struct vdpa_vq_elem *elem = vq->reap_head;

	if (elem) {
		vq->reap_head = elem->next;
		if (!vq->reap_head)
			vq->reap_tail = NULL;
	}
	return elem;
}

VDPA_API bool vdpa_vq_publish(struct vdpa_vq *vq)
{
	bool call;

	if (unlikely(!vq->started))
		return false;
	call = vq->packed ? packed_publish(vq) : split_publish(vq);
	if (unlikely(vq->call_lost)) {
		vq->call_lost = false;
		call = true;
	}
	if (call)
		vq_count(&vq->stats.calls, 1);
	return call;
}

static bool enable_kick(struct vdpa_vq *vq, bool for_more)
{
	if (!vq->ready)
		return false;
	return vq->packed ? packed_enable_kick(vq, for_more) : split_enable_kick(vq, for_more);
}

VDPA_API bool vdpa_vq_enable_kick(struct vdpa_vq *vq)
{
	return enable_kick(vq, false) || (vq->ready && pending_again(vq));
}

VDPA_API bool vdpa_vq_enable_kick_for_more(struct vdpa_vq *vq)
{
	return enable_kick(vq, true);
}

VDPA_API void vdpa_vq_disable_kick(struct vdpa_vq *vq)
{
	if (!vq->ready)
		return;
	if (vq->packed)
		packed_disable_kick(vq);
	else
		split_disable_kick(vq);
}

VDPA_API uint32_t vdpa_vq_outstanding(const struct vdpa_vq *vq)
{
	return vq->outstanding;
}

VDPA_API const char *vdpa_vq_broken(const struct vdpa_vq *vq)
{
	return vq->broken;
}

VDPA_API struct vdpa_vq_stats *vdpa_vq_stats(struct vdpa_vq *vq)
{
	return &vq->stats;
}
