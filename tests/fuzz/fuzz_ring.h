/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device side on ring memory from a fuzzer.  The targets differ in the kind of ring and in
 * whether the in-flight log comes from the fuzzer as well.
 *
 * Input: one byte each for size, features, pieces a chain, work; then the log (where there is
 * one), then the memory from iova 0 on.
 */
#ifndef FUZZ_RING_H
#define FUZZ_RING_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "vdpa/virtqueue.h"
#include "virtqueue/inflight.h"
#include "virtqueue/ring.h"

#define FUZZ_BYTES 8192u
#define FUZZ_NUM   32u
#define FUZZ_POPS  100u

static void fuzz_check(bool ok)
{
	if (!ok)
		abort();
}

/* Three ranges: the first two follow each other there, not here; the third may only be read. */
static struct vdpa_iotlb *fuzz_map(struct vdpa_mem *mem)
{
	uint8_t *hva = vdpa_mem_hva(mem);
	const struct vdpa_iotlb_range ranges[] = {
		{0, 4096, hva, mem, VDPA_PERM_RW},
		{4096, 1024, hva + 6144, mem, VDPA_PERM_RW},
		{5120, 512, hva + 4096, mem, VDPA_PERM_READ},
	};
	struct vdpa_iotlb *iotlb = NULL;

	fuzz_check(!vdpa_iotlb_alloc(ranges, ARRAY_SIZE(ranges), &iotlb, NULL));
	return iotlb;
}

/* What the walker promises about a chain. */
static void fuzz_elem(const struct vdpa_vq_elem *elem, struct vdpa_mem *mem, uint32_t max_segs)
{
	uint64_t out = 0, in = 0;

	fuzz_check(elem->out_num + elem->in_num <= (int)max_segs);
	for (int i = 0; i < elem->out_num + elem->in_num; i++) {
		uint8_t *hva = elem->iov[i].iov_base;
		size_t len = elem->iov[i].iov_len;

		fuzz_check(len && range_fits((uint64_t)(hva - (uint8_t *)vdpa_mem_hva(mem)), len,
					     vdpa_mem_len(mem)));
		if (i < elem->out_num)
			out += len;
		else
			in += len;
	}
	fuzz_check(out == elem->out_len && in == elem->in_len);
	/* What is written may be the ring itself. */
	vdpa_iov_set(elem->iov + elem->out_num, elem->in_num, 0, elem->id, 16);
}

/* Take some at once.  Returns how many of the idle, which end at idle[*num_idle], are held now. */
static uint32_t fuzz_singles(struct vdpa_vq *vq, struct vdpa_mem *mem, struct vdpa_vq_elem **idle,
			     uint32_t *num_idle, struct vdpa_vq_elem **held)
{
	uint32_t num = *num_idle < 4 ? *num_idle : 4, got;
	struct vdpa_vq_elem **first = idle + *num_idle - num;

	got = vdpa_vq_pop_singles(vq, first, num);
	fuzz_check(got <= num);
	for (uint32_t i = 0; i < got; i++) {
		fuzz_elem(first[i], mem, 1);
		held[i] = first[i];
	}
	memmove(first, first + got, (num - got) * sizeof(*first));
	*num_idle -= got;
	return got;
}

/* Give all back at once.  Returns how many. */
static uint32_t fuzz_complete(struct vdpa_vq *vq, struct vdpa_vq_elem **held, uint32_t num,
			      uint32_t len)
{
	uint32_t lens[FUZZ_NUM];

	for (uint32_t i = 0; i < num; i++)
		lens[i] = len * i;
	vdpa_vq_complete_many(vq, held, lens, num);
	return num;
}

/* Whoever shares the log writes there meanwhile.  NULL: there is none. */
static void fuzz_pops(struct vdpa_vq *vq, struct vdpa_mem *mem, struct vdpa_mem *log,
		      uint32_t max_segs, bool in_order, uint8_t work)
{
	struct vdpa_vq_elem elems[FUZZ_NUM], *held[FUZZ_NUM], *idle[FUZZ_NUM], *elem;
	uint32_t num_held = 0, num_idle = FUZZ_NUM;

	for (uint32_t i = 0; i < FUZZ_NUM; i++) {
		vdpa_vq_elem_init(&elems[i]);
		idle[i] = &elems[i];
	}
	for (uint32_t n = 0; n < FUZZ_POPS; n++) {
		int got;

		if (num_idle && (work ^ n) % 5 == 0)
			num_held += fuzz_singles(vq, mem, idle, &num_idle, held + num_held);
		got = num_idle ? vdpa_vq_pop(vq, idle[num_idle - 1]) : 0;
		fuzz_check(got == 1 || got == 0 || got == -EFAULT || got == -EPROTO);
		fuzz_check((got == -EPROTO) == (vdpa_vq_broken(vq) != NULL));
		if (got == 1) {
			fuzz_elem(idle[num_idle - 1], mem, max_segs);
			/* Put back, and taken again: it may be another by now. */
			if ((work ^ n) % 7 == 0 && vdpa_vq_unpop(vq, idle[num_idle - 1]))
				continue;
			held[num_held++] = idle[--num_idle];
		}
		if (num_held > 2 && !in_order && (work + n) % 4 == 0) {
			num_held -= fuzz_complete(vq, held, num_held, n);
			for (uint32_t i = 0; i < FUZZ_NUM; i++)
				idle[i] = &elems[i];
			num_idle = FUZZ_NUM;
		} else if (num_held && (got != 1 || (work + n) % 3)) {
			uint32_t which = (work + n) % num_held;

			elem = held[which];
			held[which] = held[--num_held];
			if (vdpa_vq_complete(vq, elem, work * n))
				idle[num_idle++] = elem;
			while ((elem = vdpa_vq_reap(vq)))
				idle[num_idle++] = elem;
		} else if (got != 1) {
			break;
		}
		if ((work ^ n) & 1)
			vdpa_vq_publish(vq);
		if ((work ^ n) & 4)
			vdpa_vq_enable_kick(vq);
		else
			vdpa_vq_disable_kick(vq);
		fuzz_check(vdpa_vq_outstanding(vq) <= FUZZ_NUM);
		if (log && (work & 0x80))
			((uint8_t *)vdpa_mem_hva(log))[(work + n * 37) % vdpa_mem_len(log)] =
				(uint8_t)n;
	}
	for (uint32_t i = 0; i < FUZZ_NUM; i++)
		vdpa_vq_elem_release(&elems[i]);
}

/* Run the queue on the log and memory given; a second time where the log goes on. */
static void fuzz_start(struct vdpa_vq_config *cfg, struct vdpa_mem *mem, struct vdpa_mem *log_mem,
		       uint8_t work)
{
	uint32_t max_segs = cfg->max_segs ? cfg->max_segs : VDPA_VQ_SEGS_MAX;
	struct vdpa_vq *vq = vdpa_vq_alloc();
	struct vdpa_inflight *log = NULL;

	fuzz_check(vq != NULL);
	for (int round = 0; round < 2; round++) {
		if (log_mem && inflight_open(log_mem, 0, cfg->num, cfg->state.packed, &log, NULL))
			break;
		cfg->inflight = log;
		if (!vdpa_vq_start(vq, cfg, NULL)) {
			fuzz_pops(vq, mem, log_mem, max_segs, cfg->features & RING_F_IN_ORDER,
				  work);
			vdpa_vq_stop(vq, &cfg->state);
		}
		inflight_close(log);
		if (!log_mem)
			break;
	}
	vdpa_vq_free(vq);
}

/* Memory for all runs: to make it anew is most of what a run would cost. */
static struct vdpa_mem *fuzz_memory(struct vdpa_mem **mem, uint64_t bytes)
{
	if (!*mem)
		fuzz_check(!vdpa_mem_alloc("fuzz", bytes, mem, NULL));
	return *mem;
}

/* Copy what there is of the input, and zeroes behind it. */
static void fuzz_fill(void *dst, size_t size, const uint8_t **data, size_t *len)
{
	size_t part = *len < size ? *len : size;

	memcpy(dst, *data, part);
	memset((uint8_t *)dst + part, 0, size - part);
	*data += part;
	*len -= part;
}

static inline void fuzz_ring(const uint8_t *data, size_t len, bool packed, bool logged)
{
	static struct vdpa_mem *all, *all_log;
	struct vdpa_mem *mem = fuzz_memory(&all, FUZZ_BYTES), *log_mem = NULL;
	struct vdpa_vq_config cfg = {0};
	uint8_t head[4] = {0};

	fuzz_fill(head, sizeof(head), &data, &len);
	cfg.num = packed ? 1 + head[0] % FUZZ_NUM : 1u << head[0] % 6;
	cfg.features = (head[1] & 1 ? RING_F_EVENT_IDX : 0) |
		       (head[1] & 2 ? 0 : RING_F_INDIRECT_DESC) |
		       (head[1] & 4 ? RING_F_IN_ORDER : 0) | (packed ? RING_F_PACKED : 0);
	cfg.max_segs = head[2] & 0x1f;
	cfg.driver = 512;
	cfg.device = 640;
	cfg.state.packed = packed;
	if (packed)
		cfg.state.packed_ring.last_avail_counter = cfg.state.packed_ring.last_used_counter =
			!(head[1] & 8);

	if (logged) {
		log_mem = fuzz_memory(&all_log, inflight_queue_bytes(FUZZ_NUM, true));
		fuzz_fill(vdpa_mem_hva(log_mem), inflight_queue_bytes(cfg.num, packed), &data,
			  &len);
	}
	fuzz_fill(vdpa_mem_hva(mem), FUZZ_BYTES, &data, &len);
	cfg.iotlb = fuzz_map(mem);
	fuzz_start(&cfg, mem, log_mem, head[3]);
	vdpa_iotlb_put(cfg.iotlb);
}

#endif
