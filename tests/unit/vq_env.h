/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device-side queue on shared memory of its own, and a driver that writes the ring by hand, right
 * or wrong.  The memory is one piece; the map divides it into several ranges where a test wants
 * that.
 */
#ifndef UNIT_VQ_ENV_H
#define UNIT_VQ_ENV_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/defs.h"
#include "vdpa/virtqueue.h"
#include "virtqueue/ring.h"

#define ENV_IOVA   0x100000ull
#define ENV_SIZE   0x400000ull
#define ENV_DRIVER (ENV_IOVA + 0x80000)
#define ENV_DEVICE (ENV_IOVA + 0xa0000)
#define ENV_TABLE  (ENV_IOVA + 0x100000) /* indirect tables */
#define ENV_DATA   (ENV_IOVA + 0x200000) /* buffers, to the end */

struct vq_env {
	struct vdpa_mem *mem;
	struct vdpa_iotlb *iotlb;
	struct vdpa_vq *vq;
	struct vdpa_vq_config cfg;
	struct vdpa_vq_elem elem;
	uint16_t avail; /* split: the index that env_offer() writes next */
	uint16_t slot;  /* packed: the next slot to write */
	bool wrap;
};

/* All memory mapped as one range; the queue is not started. */
void env_init(struct vq_env *env, uint32_t num, uint64_t features);
void env_start(struct vq_env *env);
void env_free(struct vq_env *env);

/* Map [ENV_IOVA, +ENV_SIZE) as ranges of `step` bytes each. */
void env_map_steps(struct vq_env *env, uint64_t step);

/* Where an iova of the environment is in this process. */
void *env_hva(struct vq_env *env, uint64_t iova);

/* Write entry i of a split table (the ring's own with table = env->cfg.desc). */
void env_desc(struct vq_env *env, uint64_t table, uint32_t i, uint64_t iova, uint32_t len,
	      uint16_t flags, uint16_t next);
/* Make a head available and publish it. */
void env_offer(struct vq_env *env, uint16_t head);

/* Write the next descriptor of a packed ring, available now; or an entry of a packed table. */
void env_packed(struct vq_env *env, uint64_t iova, uint32_t len, uint16_t flags, uint16_t id);
void env_packed_entry(struct vq_env *env, uint64_t table, uint32_t i, uint64_t iova, uint32_t len,
		      uint16_t flags);

/* The ring breaks at the next pop, for a reason that contains `why`. */
void env_expect_broken(struct vq_env *env, const char *why);

/* Pseudo-random numbers, the same in each run. */
uint32_t env_random(uint32_t *seed);

#endif
