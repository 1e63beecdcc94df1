/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "vdpa/iotlb.h"

struct vdpa_iotlb {
	uint32_t refs;
	size_t num;
	struct vdpa_iotlb_range ranges[]; /* sorted by iova, none overlaps another */
};

static int range_check(const struct vdpa_iotlb_range *range, struct vdpa_extack *ack)
{
	uint64_t base;

	if (!range->len || range->iova + range->len < range->iova)
		return vdpa_extack_set(ack, -EINVAL,
				       "range of 0x%" PRIx64 " bytes at iova 0x%" PRIx64
				       " is empty or wraps",
				       range->len, range->iova);
	if (!range->mem)
		return vdpa_extack_set(ack, -EINVAL, "range at iova 0x%" PRIx64 " has no memory",
				       range->iova);
	base = (uint64_t)(uintptr_t)vdpa_mem_hva(range->mem);
	if ((uint64_t)(uintptr_t)range->hva < base ||
	    !range_fits((uint64_t)(uintptr_t)range->hva - base, range->len,
			vdpa_mem_len(range->mem)))
		return vdpa_extack_set(ack, -EINVAL,
				       "range of 0x%" PRIx64 " bytes at iova 0x%" PRIx64
				       " lies outside its memory",
				       range->len, range->iova);
	return 0;
}

static int range_order(const void *a, const void *b)
{
	const struct vdpa_iotlb_range *ra = a, *rb = b;

	return (ra->iova > rb->iova) - (ra->iova < rb->iova);
}

VDPA_API int vdpa_iotlb_alloc(const struct vdpa_iotlb_range *ranges, size_t num,
			      struct vdpa_iotlb **ret, struct vdpa_extack *ack)
{
	struct vdpa_iotlb *iotlb vdpa_cleanup(freep) = NULL;
	size_t size;

	for (size_t i = 0; i < num; i++) {
		int err = range_check(&ranges[i], ack);

		if (err)
			return err;
	}

	if (__builtin_mul_overflow(num, sizeof(*ranges), &size) ||
	    __builtin_add_overflow(size, sizeof(*iotlb), &size))
		return -ENOMEM;
	iotlb = malloc(size);
	if (!iotlb)
		return -ENOMEM;
	iotlb->refs = 1;
	iotlb->num = num;
	if (num) {
		memcpy(iotlb->ranges, ranges, num * sizeof(*ranges));
		qsort(iotlb->ranges, num, sizeof(*ranges), range_order);
	}

	for (size_t i = 1; i < num; i++) {
		const struct vdpa_iotlb_range *prev = &iotlb->ranges[i - 1];

		if (iotlb->ranges[i].iova - prev->iova < prev->len)
			return vdpa_extack_set(ack, -EINVAL,
					       "ranges at iova 0x%" PRIx64 " and 0x%" PRIx64
					       " overlap",
					       prev->iova, iotlb->ranges[i].iova);
	}
	for (size_t i = 0; i < num; i++)
		vdpa_mem_get(iotlb->ranges[i].mem);
	*ret = iotlb;
	iotlb = NULL;
	return 0;
}

VDPA_API struct vdpa_iotlb *vdpa_iotlb_get(struct vdpa_iotlb *iotlb)
{
	__atomic_fetch_add(&iotlb->refs, 1, __ATOMIC_RELAXED);
	return iotlb;
}

VDPA_API void vdpa_iotlb_put(struct vdpa_iotlb *iotlb)
{
	if (!iotlb || __atomic_sub_fetch(&iotlb->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (size_t i = 0; i < iotlb->num; i++)
		vdpa_mem_put(iotlb->ranges[i].mem);
	free(iotlb);
}

VDPA_API const struct vdpa_iotlb_range *vdpa_iotlb_ranges(const struct vdpa_iotlb *iotlb,
							  size_t *num)
{
	*num = iotlb->num;
	return iotlb->ranges;
}

VDPA_API const struct vdpa_iotlb_range *vdpa_iotlb_find(const struct vdpa_iotlb *iotlb,
							uint64_t iova)
{
	size_t low = 0, high = iotlb->num;

	/* The range wanted is the last one that does not begin behind iova. */
	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (iotlb->ranges[mid].iova <= iova)
			low = mid + 1;
		else
			high = mid;
	}
	if (!low || iova - iotlb->ranges[low - 1].iova >= iotlb->ranges[low - 1].len)
		return NULL;
	return &iotlb->ranges[low - 1];
}

VDPA_API const struct vdpa_iotlb_range *vdpa_iotlb_find_hva(const struct vdpa_iotlb *iotlb,
							    const void *hva)
{
	for (size_t i = 0; i < iotlb->num; i++) {
		const struct vdpa_iotlb_range *range = &iotlb->ranges[i];

		if ((uintptr_t)hva - (uintptr_t)range->hva < range->len)
			return range;
	}
	return NULL;
}

VDPA_API void *vdpa_iotlb_translate(const struct vdpa_iotlb *iotlb, uint64_t iova, uint64_t len,
				    uint32_t perm)
{
	const struct vdpa_iotlb_range *range = vdpa_iotlb_find(iotlb, iova);
	const struct vdpa_iotlb_range *end = iotlb->ranges + iotlb->num;
	uint64_t skip;
	uint8_t *hva;

	if (!range || (range->perm & perm) != perm || iova + len < iova)
		return NULL;
	skip = iova - range->iova;
	hva = range->hva + skip;

	/* What the range does not hold must follow in the next, here and there. */
	for (uint64_t left = len; left > range->len - skip; skip = 0) {
		const struct vdpa_iotlb_range *next = range + 1;

		left -= range->len - skip;
		if (next == end || next->iova != range->iova + range->len ||
		    next->hva != range->hva + range->len || (next->perm & perm) != perm)
			return NULL;
		range = next;
	}
	return hva;
}

VDPA_API int vdpa_iotlb_covers(const struct vdpa_iotlb *now, const struct vdpa_iotlb *old)
{
	for (size_t i = 0; i < old->num; i++) {
		const struct vdpa_iotlb_range *range = &old->ranges[i];
		const struct vdpa_iotlb_range *same = vdpa_iotlb_find(now, range->iova);

		/* The same mapping, or the address could be unmapped while it is in use. */
		if (!same || same->mem != range->mem || same->iova != range->iova ||
		    same->hva != range->hva || same->len != range->len ||
		    (same->perm & range->perm) != range->perm)
			return 0;
	}
	return 1;
}
