/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdlib.h>

#include "virtqueue/walk.h"

int walk_too_long(struct vdpa_vq *vq)
{
	return vq_break(vq, "descriptor chain is too long, or a loop");
}

int walk_too_large(struct vdpa_vq *vq)
{
	return vq_break(vq, "descriptor chain stands for more than 4 GiB");
}

int walk_bad_order(struct vdpa_vq *vq)
{
	return vq_break(vq, "readable descriptor behind a writable one");
}

int walk_bad_table(struct vdpa_vq *vq, uint32_t len)
{
	return vq_break(vq, "indirect table of %u bytes: must be 1 to %u times 16, and not wrap",
			len, VDPA_VQ_NUM_MAX);
}

int walk_bad_next(struct vdpa_vq *vq, uint32_t next, uint32_t num)
{
	return vq_break(vq, "descriptor %u is linked, but there are only %u", next, num);
}

int walk_bad_indirect(struct vdpa_vq *vq, const char *what)
{
	return vq_break(vq, "indirect descriptor %s", what);
}

/* Make room for one piece more.  Returns 0, -ENOMEM, -EPROTO. */
static int walk_grow(struct vdpa_vq *vq, struct vdpa_vq_elem *elem, uint32_t num)
{
	bool small = elem->iov == elem->iov_small;
	uint32_t cap = elem->iov_cap * 2;
	struct iovec *iov;

	if (num >= vq->max_segs)
		return vq_break(vq, "descriptor chain has more than %u pieces", vq->max_segs);
	if (num < elem->iov_cap)
		return 0;
	iov = realloc(small ? NULL : elem->iov, cap * sizeof(*iov));
	if (!iov)
		return -ENOMEM;
	if (small)
		memcpy(iov, elem->iov_small, sizeof(elem->iov_small));
	elem->iov = iov;
	elem->iov_cap = cap;
	return 0;
}

/* Find the range that holds iova and remember it; NULL: a miss, noted. */
static const struct vdpa_iotlb_range *walk_find(struct vdpa_vq *vq, uint64_t iova, uint32_t perm)
{
	const struct vdpa_iotlb_range *range = vdpa_iotlb_find(vq->iotlb, iova);

	if (!range || !(range->perm & perm)) {
		vq->miss_iova = iova;
		vq->miss_perm = perm;
		return NULL;
	}
	vq->hit = *range;
	return &vq->hit;
}

int walk_piece_slow(struct vdpa_vq *vq, struct vdpa_vq_elem *elem, uint32_t num, uint64_t iova,
		    uint32_t len, uint32_t perm)
{
	const uint8_t *end = NULL;

	if (iova + len < iova)
		return vq_break(vq, "descriptor of %u bytes wraps", len);
	while (len) {
		const struct vdpa_iotlb_range *range = walk_find(vq, iova, perm);
		uint64_t off, part;
		uint8_t *hva;

		if (!range)
			return -EFAULT;
		off = iova - range->iova;
		part = range->len - off < len ? range->len - off : len;
		hva = range->hva + off;
		if (hva == end) {
			elem->iov[num - 1].iov_len += part;
		} else {
			int err = walk_grow(vq, elem, num);

			if (err)
				return err;
			elem->iov[num].iov_base = hva;
			elem->iov[num].iov_len = part;
			num++;
		}
		end = hva + part;
		iova += part;
		len -= (uint32_t)part;
	}
	return (int)num;
}

const uint8_t *walk_table_slow(struct vdpa_vq *vq, uint64_t iova, uint32_t len)
{
	return vdpa_iotlb_translate(vq->iotlb, iova, len, VDPA_PERM_READ);
}

int walk_table_entry(struct vdpa_vq *vq, uint64_t iova, void *entry)
{
	uint8_t *dst = entry;

	for (uint32_t len = 16; len;) {
		const struct vdpa_iotlb_range *range = walk_find(vq, iova, VDPA_PERM_READ);
		uint64_t off, part;

		if (!range)
			return -EFAULT;
		off = iova - range->iova;
		part = range->len - off < len ? range->len - off : len;
		memcpy(dst, range->hva + off, part);
		dst += part;
		iova += part;
		len -= (uint32_t)part;
	}
	return 0;
}
