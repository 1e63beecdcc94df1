/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The walker: turns the descriptors of one chain into pieces of memory.  One for both kinds of
 * ring; it is inline because it is most of the work of a small request.
 *
 * It sees copies of descriptors only, and checks: all readable pieces come before all writable
 * ones, the chain is not longer than allowed (which ends loops), the lengths fit 32 bits, each byte
 * is mapped with the right it needs, tables are whole, not empty and not nested.  Empty pieces are
 * allowed and left out.
 */
#ifndef VIRTQUEUE_WALK_H
#define VIRTQUEUE_WALK_H

#include "virtqueue/vq.h"

/* Lives in registers: its address is never taken outside of inline functions. */
struct walk {
	struct vdpa_vq *vq;
	struct vdpa_vq_elem *elem;
	uint64_t out_len, in_len;
	uint32_t out_num, num; /* pieces so far */
	uint32_t cap;          /* pieces for which there is room, and which are allowed */
	uint32_t left;         /* descriptors that may come */
	bool in;               /* a writable one was seen */
};

static inline uint32_t walk_cap(const struct vdpa_vq *vq, const struct vdpa_vq_elem *elem)
{
	return elem->iov_cap < vq->max_segs ? elem->iov_cap : vq->max_segs;
}

static inline struct walk walk_begin(struct vdpa_vq *vq, struct vdpa_vq_elem *elem)
{
	return (struct walk){
		.vq = vq,
		.elem = elem,
		.cap = walk_cap(vq, elem),
		.left = vq->num < vq->max_segs ? vq->num : vq->max_segs,
	};
}

/*
 * Add what the last range does not hold in one piece.  Returns how many pieces there are then, or
 * -EFAULT, -ENOMEM, -EPROTO.
 */
int walk_piece_slow(struct vdpa_vq *vq, struct vdpa_vq_elem *elem, uint32_t num, uint64_t iova,
		    uint32_t len, uint32_t perm);
/* The table's address, when it lies in one piece of memory and not in the last range. */
const uint8_t *walk_table_slow(struct vdpa_vq *vq, uint64_t iova, uint32_t len);
/* Copy an entry of a table that does not.  Returns 0 or -EFAULT. */
int walk_table_entry(struct vdpa_vq *vq, uint64_t iova, void *entry);

int walk_too_long(struct vdpa_vq *vq) __attribute__((cold));
int walk_too_large(struct vdpa_vq *vq) __attribute__((cold));
int walk_bad_order(struct vdpa_vq *vq) __attribute__((cold));
int walk_bad_table(struct vdpa_vq *vq, uint32_t len) __attribute__((cold));
int walk_bad_next(struct vdpa_vq *vq, uint32_t next, uint32_t num) __attribute__((cold));
int walk_bad_indirect(struct vdpa_vq *vq, const char *what) __attribute__((cold));

static inline bool walk_hits(const struct vdpa_vq *vq, uint64_t iova, uint32_t len, uint32_t perm,
			     uint64_t *off)
{
	*off = iova - vq->hit.iova;
	return range_fits(*off, len, vq->hit.len) && (vq->hit.perm & perm);
}

/* Add what one descriptor (no table) stands for. */
static __attribute__((always_inline)) inline int walk_desc(struct walk *w,
							   const struct ring_desc *desc)
{
	bool write = desc->flags & w->vq->write_flag;
	uint32_t perm = write ? VDPA_PERM_WRITE : VDPA_PERM_READ;
	uint64_t off;

	if (unlikely(!w->left--))
		return walk_too_long(w->vq);
	if (write) {
		w->in = true;
		w->in_len += desc->len;
	} else {
		if (unlikely(w->in))
			return walk_bad_order(w->vq);
		w->out_len += desc->len;
	}
	if (unlikely(!desc->len))
		return 0;

	if (likely(walk_hits(w->vq, desc->iova, desc->len, perm, &off) && w->num < w->cap)) {
		w->elem->iov[w->num].iov_base = w->vq->hit.hva + off;
		w->elem->iov[w->num].iov_len = desc->len;
		w->num++;
	} else {
		int num = walk_piece_slow(w->vq, w->elem, w->num, desc->iova, desc->len, perm);

		if (num < 0)
			return num;
		w->num = (uint32_t)num;
		w->cap = walk_cap(w->vq, w->elem);
	}
	if (!write)
		w->out_num = w->num;
	return 0;
}

/*
 * The most frequent chain in fewer steps: one descriptor, which is not empty, and whose memory lies
 * where that of the last one did.  false: it is another one, and nothing has changed.
 */
static __attribute__((always_inline)) inline bool walk_single(const struct vdpa_vq *vq,
							      struct vdpa_vq_elem *elem,
							      const struct ring_desc *desc,
							      uint16_t id)
{
	bool write = desc->flags & vq->write_flag;
	uint64_t off;

	if (unlikely(desc->flags & (VRING_DESC_F_NEXT | VRING_DESC_F_INDIRECT) || !desc->len ||
		     !walk_hits(vq, desc->iova, desc->len, write ? VDPA_PERM_WRITE : VDPA_PERM_READ,
				&off)))
		return false;
	elem->iov[0].iov_base = vq->hit.hva + off;
	elem->iov[0].iov_len = desc->len;
	elem->out_num = !write;
	elem->in_num = write;
	elem->out_len = write ? 0 : desc->len;
	elem->in_len = write ? desc->len : 0;
	elem->id = id;
	elem->num_desc = 1;
	return true;
}

/*
 * Walk an indirect table.  In a split ring its entries are linked; in a packed ring they follow
 * each other and only the write flag counts.
 */
static __attribute__((always_inline)) inline int walk_table(struct walk *w,
							    const struct ring_desc *indirect,
							    bool packed)
{
	uint32_t num = indirect->len / 16, i = 0;
	struct vdpa_vq *vq = w->vq;
	const uint8_t *table;
	uint64_t off;
	int err;

	if (unlikely(!vq->indirect))
		return walk_bad_indirect(vq, "not negotiated");
	if (unlikely(indirect->flags & VRING_DESC_F_NEXT))
		return walk_bad_indirect(vq, "followed by another");
	if (unlikely(indirect->len % 16 || !num || num > VDPA_VQ_NUM_MAX ||
		     indirect->iova + indirect->len < indirect->iova))
		return walk_bad_table(vq, indirect->len);

	w->left = num < vq->max_segs ? num : vq->max_segs;
	if (likely(walk_hits(vq, indirect->iova, indirect->len, VDPA_PERM_READ, &off)))
		table = vq->hit.hva + off;
	else
		table = walk_table_slow(vq, indirect->iova, indirect->len);

	for (;;) {
		struct ring_desc desc;
		const uint8_t *entry;
		uint8_t copy[16];

		if (likely(table)) {
			entry = table + 16 * (size_t)i;
		} else {
			err = walk_table_entry(vq, indirect->iova + 16 * (uint64_t)i, copy);
			if (err)
				return err;
			entry = copy;
		}
		desc = packed ? ring_packed_desc(entry) : ring_split_desc(entry);
		if (unlikely(desc.flags & VRING_DESC_F_INDIRECT))
			return walk_bad_indirect(vq, "inside a table");
		err = walk_desc(w, &desc);
		if (unlikely(err))
			return err;

		if (packed) {
			if (++i == num)
				return 0;
		} else {
			if (!(desc.flags & VRING_DESC_F_NEXT))
				return 0;
			i = desc.id;
			if (unlikely(i >= num))
				return walk_bad_next(vq, i, num);
		}
	}
}

/* Check the sums and fill the element. */
static __attribute__((always_inline)) inline int walk_end(struct walk *w, uint16_t id,
							  uint16_t num_desc)
{
	struct vdpa_vq_elem *elem = w->elem;

	uint64_t sum = w->out_len + w->in_len;

	/* 4 GiB are allowed, but only both sums together can reach them: each is kept in 32 bits.
	 */
	if (unlikely(sum > UINT32_MAX && (sum > 1ULL << 32 || !w->out_len || !w->in_len)))
		return walk_too_large(w->vq);
	elem->out_num = (uint16_t)w->out_num;
	elem->in_num = (uint16_t)(w->num - w->out_num);
	elem->out_len = (uint32_t)w->out_len;
	elem->in_len = (uint32_t)w->in_len;
	elem->id = id;
	elem->num_desc = num_desc;
	return 0;
}

#endif
