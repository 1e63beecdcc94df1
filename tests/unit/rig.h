/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device on a bus and a driver that uses it through the config ops: for tests of parents.
 * Requests are one piece out and one piece in.  The test's thread is the control thread; ops run on
 * the lane.
 */
#ifndef UNIT_RIG_H
#define UNIT_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/defs.h"
#include "vdpa/soft.h"
#include "vdpa/state.h"

#define RIG_VQS   8
#define RIG_SLOTS 512
#define RIG_IOVA  0x10000000ull
#define RIG_RING  0x80000ull  /* bytes of each queue's rings */
#define RIG_DATA  0x400000ull /* offset of the slots */
#define RIG_SLOT  8192ull     /* half of it out, half in */
#define RIG_SIZE  (RIG_DATA + RIG_SLOTS * RIG_SLOT)

#define RIG_VERSION_1 (1ull << 32)
#define RIG_PACKED    (1ull << 34)
#define RIG_IN_ORDER  (1ull << 35)
#define RIG_INDIRECT  (1ull << 28)
#define RIG_EVENT_IDX (1ull << 29)

struct rig_req {
	bool busy, done;
	uint32_t len;
	uint32_t in_len;
	uint8_t *out, *in; /* in this process */
	uint64_t out_iova, in_iova;
};

struct rig_vq {
	struct vdpa_drvq *q;
	int kick, call, err; /* ours; the device has duplicates */
};

struct rig {
	struct vdpa_bus *bus;
	struct vdpa_device *vdev;
	uint16_t nvqs;
	uint32_t num;      /* size of the rings; set before rig_start() */
	uint64_t features; /* negotiated */
	uint64_t rings;    /* offset of their memory */
	struct vdpa_mem *mem;
	struct vdpa_iotlb *map;
	struct rig_vq vqs[RIG_VQS];
	struct rig_req reqs[RIG_SLOTS];
	int changed; /* eventfd: the config callback was called */
	atomic_uint logs;
	struct vdpa_extack ack; /* of the last rig_lane() */
	char run_dir[64];
};

/* The deadline of verbs on buses opened from now on, ms; 0: the default. */
extern uint32_t rig_timeout_ms;
/* Memory of the driver in buses opened from now on; -1: memory that cannot vanish. */
extern int rig_memfd;
/* A bus with these classes; NULL: those of the library. */
void rig_open_bus(struct rig *rig, const struct vdpa_soft_class *const *classes);
/* KEY, VALUE, ..., NULL.  Returns what `dev add` says, the text in rig->ack. */
int rig_try_add(struct rig *rig, const char *mgmtdev, const char *const *attrs);
void rig_add(struct rig *rig, const char *mgmtdev, const char *const *attrs);
void rig_close(struct rig *rig);

/* Other verbs: what they say, the text in rig->ack.  A NULL-ended list of KEY, VALUE ...: NULL:
 * none. */
struct vdpa_attrs *rig_attrs(const char *const *words);
int rig_verb(struct rig *rig, const struct vdpa_result *res);
int rig_mgmtdev_add(struct rig *rig, const char *type, const char *name, const char *const *words);
int rig_mgmtdev_del(struct rig *rig, const char *name);
int rig_del(struct rig *rig, const char *name);

/* Run fn on the device's lane and wait.  Returns what it returns; its text is in rig->ack. */
int rig_lane(struct rig *rig, int (*fn)(struct rig *rig, void *arg), void *arg);
/* The same without waiting: the eventfd that is returned becomes readable. */
int rig_lane_start(struct rig *rig, int (*fn)(struct rig *rig, void *arg), void *arg);

/* Negotiate features (VERSION_1 is added) and start all queues. */
void rig_start(struct rig *rig, uint64_t features);
/* The parts of it; for rig_lane(). */
int rig_do_negotiate(struct rig *rig, void *features);
int rig_do_setup(struct rig *rig, void *unused); /* rings, descriptors, map; ready */
int rig_do_driver_ok(struct rig *rig, void *unused);
/* After a reset, the device gets the rings as they are; rig_do_driver_ok() is next. */
int rig_do_reconnect(struct rig *rig, void *inflight_region);
int rig_do_reset(struct rig *rig, void *unused);
int rig_do_suspend(struct rig *rig, void *unused);
int rig_do_resume(struct rig *rig, void *unused);
int rig_do_stop(struct rig *rig, void *idx);  /* set_vq_ready(false) of *(uint16_t *)idx */
int rig_do_ready(struct rig *rig, void *idx); /* true */
int rig_do_set_map(struct rig *rig, void *iotlb);
int rig_do_move(struct rig *rig, void *move);

struct rig_move {
	uint16_t idx;
	struct vdpa_worker *worker;
};

/* Back to what rig_add() left. */
void rig_reset(struct rig *rig);
uint8_t rig_status(struct rig *rig);
uint32_t rig_generation(struct rig *rig);
struct vdpa_vq_stats rig_stats(struct rig *rig, uint16_t idx);

/* The whole memory as one map, less [from, from + len) of it. */
struct vdpa_iotlb *rig_make_map(struct rig *rig, uint64_t from, uint64_t len);
/* A free slot. */
struct rig_req *rig_req(struct rig *rig);
void rig_put(struct rig_req *req);
/* Offer a request, not yet published. */
void rig_offer(struct rig *rig, uint16_t idx, struct rig_req *req, uint32_t out_len,
	       uint32_t in_len);
/* Publish, and kick where the device wants it. */
void rig_kick(struct rig *rig, uint16_t idx);
/* All at once. */
struct rig_req *rig_send(struct rig *rig, uint16_t idx, const void *out, uint32_t out_len,
			 uint32_t in_len);
/* Take what is used by now. */
void rig_collect(struct rig *rig, uint16_t idx);
/* Until the request is done; fails the test after a while. */
void rig_wait(struct rig *rig, uint16_t idx, struct rig_req *req);
/* Let the avail index of a split ring jump. */
void rig_break_ring(struct rig *rig, uint16_t idx);
/* Wait for a descriptor and read it; fails the test after a while. */
uint64_t rig_wait_fd(int fd);
/* Is it readable now? */
bool rig_fd_ready(int fd);

#endif
