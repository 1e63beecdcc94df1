/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A block backend with one queue on a worker of its own, driven from a test's thread.
 */
#ifndef UNIT_BLOCK_RIG_H
#define UNIT_BLOCK_RIG_H

#include <pthread.h>

#include "backends/block/block.h"

struct block_rig {
	struct worker *worker; /* NULL: the test's thread is the worker */
	struct lane_pool *pool;
	struct block *block;
	struct block_queue *queue;
	struct vdpa_extack ack;
	pthread_mutex_t lock;
	pthread_cond_t cond;
};

/* A request, its buffer, and how it ended. */
struct brig_io {
	struct block_io io;
	struct block_rig *rig;
	bool done;
	int err;
	struct iovec iov[16];
};

/* words: "KEY VALUE KEY VALUE ...".  with_worker: the backend needs one.  0 or what failed, with
 * rig->ack. */
int brig_open(struct block_rig *rig, const char *words, bool with_worker);
void brig_close(struct block_rig *rig);

/* Prepare a request: one piece. */
void brig_prep(struct block_rig *rig, struct brig_io *rio, enum block_op op, uint32_t flags,
	       uint64_t off, void *buf, uint64_t len);
/* Submit them as one batch / wait for one to end, and return its result. */
void brig_submit(struct block_rig *rig, struct brig_io **rios, unsigned int num);
int brig_wait(struct brig_io *rio);
bool brig_is_done(struct brig_io *rio);
/* Run fn(arg) as the worker. */
void brig_call(struct block_rig *rig, void (*fn)(void *arg), void *arg);

/* One request from beginning to end. */
int brig_do(struct block_rig *rig, enum block_op op, uint32_t flags, uint64_t off, void *buf,
	    uint64_t len);

/*
 * Random requests of all kinds, several at once, in pieces that are multiples of `grain`; each byte
 * that is read is compared with what was written.  Fails the test when one differs.
 */
void brig_stress(struct block_rig *rig, unsigned int seed, unsigned int rounds, uint32_t grain);

#endif
