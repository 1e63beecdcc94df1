/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The software core, inside: shared by its files, and by the classes and backends of this library.
 *
 * Who owns what.  The lane owns the set-up of device and queues.  While a queue runs, its worker
 * owns the first part of struct vdpa_soft_vq; the lane reaches it by worker_call() only.  Config
 * space, generation and callback are under soft->lock, which is never taken for a request.
 */
#ifndef SOFT_INTERNAL_H
#define SOFT_INTERNAL_H

#include <pthread.h>

#include "base/defs.h"
#include "base/ratelimit.h"
#include "loop/loop.h"
#include "loop/worker.h"
#include "vdpa/soft.h"
#include "vdpa/state.h"

/* Chains that a queue takes before the next source has its turn, with one call at the end. */
#define SOFT_BATCH       VDPA_SOFT_BURST
/* Bytes of them after which the turn ends, too: a class may copy them here and now. */
#define SOFT_BATCH_BYTES (16u << 20)
/* Chains after which a driver that polls sees those that are done, and both sides work. */
#define SOFT_PUBLISH     16
/* Requests are allocated by this many. */
#define SOFT_SLAB        32

/* Why a queue takes nothing from its ring. */
#define SOFT_HOLD_STOPPED 1u  /* not started */
#define SOFT_HOLD_DRAIN   2u  /* somebody waits until no request is left */
#define SOFT_HOLD_PARKED  4u  /* a chain is not mapped; ends when the queue is polled again */
#define SOFT_HOLD_BROKEN  8u  /* ends with a reset or a new start */
#define SOFT_HOLD_NOMEM   16u /* out of memory; ends with a timer */
#define SOFT_HOLD_DROP    32u /* a reset: nobody waits for what is completed now */

struct soft_slab;
struct soft_watch;

struct vdpa_soft_vq {
	/*
	 * The worker's while the queue runs, else the lane's.  Of a shared queue it belongs to
	 * whoever holds the token while the queue runs.
	 */
	struct worker_source src;
	const struct vdpa_soft_class *cls;
	struct vdpa_vq *ring;
	struct vdpa_soft_req *free;
	uint32_t hold;
	uint32_t taken;         /* requests that the class has */
	unsigned int losses;    /* sigbus_count() when the map was whole */
	struct vdpa_iotlb *map; /* that the ring uses, borrowed from the lane's */
	bool dirty;             /* something is completed and not published */
	bool wants_call;        /* the driver does, since the last call */
	bool polling;           /* inside poll(), which publishes at its end */
	bool in_order;
	bool polled;    /* the driver does not kick */
	bool miss_told; /* a chain that is not mapped was complained of */
	bool call_lost; /* a call was wanted when there was no descriptor */
	bool no_kicks;  /* the class does not want them */
	bool short_of;  /* the class has put back what was not enough */
	bool shared;    /* constant */
	int call;
	int err;
	uint32_t idle_ns; /* pause between two looks at a ring without kicks */
	struct worker *thread;
	struct soft_slab *slabs;
	struct loop_timer timer; /* NOMEM, polled */
	struct soft_watch *watches;
	pthread_mutex_t token; /* of a shared queue */

	/* Constant. */
	struct vdpa_soft *soft;
	void *priv;
	uint16_t idx;

	/* The lane's. */
	bool ready; /* set_vq_ready */
	bool running;
	bool state_set; /* `state` was set or kept, else the ring begins at its beginning */
	bool kick_set;
	int kick;
	uint32_t num;
	uint64_t desc, driver, device;
	struct vdpa_vq_state state;
	bool log_used;
	uint64_t log_addr;
	struct vdpa_inflight *inflight;
	struct vdpa_worker *worker; /* that it runs on, picked */
	struct vdpa_worker *pinned; /* that it has to run on, picked; NULL: any */

	/* soft->lock */
	bool attached; /* it may be woken */
	bool drained;
};

struct vdpa_soft {
	struct vdpa_device vdev;
	struct vdpa_soft_class cls; /* as long as ours, zeroes where the class is older */
	struct vdpa_bus *bus;
	void *priv;
	void *arg; /* of soft_dev_make() */
	uint32_t req_stride;
	uint32_t queue_size;
	uint64_t ring_features;  /* offered */
	uint64_t class_features; /* offered */
	struct vdpa_soft_vq **vqs;
	bool created;

	/* The lane's; the worker reads features while queues run. */
	uint64_t driver_features;
	bool suspended;
	struct vdpa_iotlb *iotlb;
	struct vdpa_inflight_region inflight;
	struct vdpa_dirty_log *log;

	uint8_t status; /* atomic: workers set NEEDS_RESET */

	pthread_mutex_t lock;
	pthread_cond_t cond; /* drained, cb_users */
	uint8_t *config;     /* as the driver sees it */
	uint8_t *own_config; /* without what the driver wrote */
	uint32_t generation;
	struct vdpa_config_cb cb;
	unsigned int cb_users; /* calls under way */
	struct ratelimit faults;
};

/* Where the class's part of a request begins. */
#define SOFT_REQ_SIZE ((sizeof(struct vdpa_soft_req) + 15) & ~(size_t)15)

static inline struct vdpa_soft *to_soft(struct vdpa_device *vdev)
{
	return container_of(vdev, struct vdpa_soft, vdev);
}

/* NULL for a device that an ordinary `dev add` made. */
static inline void *soft_arg(const struct vdpa_soft *soft)
{
	return soft->arg;
}

/* the classes, one file each */
extern const struct vdpa_soft_class soft_blk_class;
extern const struct vdpa_soft_class soft_console_class;
extern const struct vdpa_soft_class soft_crypto_class;
extern const struct vdpa_soft_class soft_net_class;
extern const struct vdpa_soft_class soft_rng_class;
extern const struct vdpa_soft_class soft_scsi_class;

/* core.c */
extern const struct vdpa_soft_class *const soft_classes[]; /* ends with NULL */
/*
 * Make a device of a class for a management device of another kind: a switch, a TmFIFO.
 *
 * cls, live_attrs (of `dev set`; NULL: none): constants that outlive the device.  attrs (NULL: all
 * defaults): checked and borrowed, descriptors may be taken.  arg: what the class's create() finds
 * with soft_arg(): the backend that the parent brings.  Of the class net it is the address of a
 * struct net_backend *, of console of a struct stream *, which is NULL when the device has taken
 * it, also on failure.  ret: to be handed to the bus. -EINVAL, -ERANGE, -ENOMEM, what create()
 * says.  Lane; may block.
 */
int soft_dev_make(struct vdpa_bus *bus, struct vdpa_mgmtdev *mdev,
		  const struct vdpa_soft_class *cls, const struct vdpa_attr_desc *live_attrs,
		  const char *name, struct vdpa_attrs *attrs, void *arg, struct vdpa_device **ret,
		  struct vdpa_extack *ack);
/* All features that a device of the class can offer, those of the rings, too. */
uint64_t soft_class_offer(const struct vdpa_soft_class *cls);
/* A table's rows, and those that each class has.  To be freed; NULL: out of memory. */
struct vdpa_attr_desc *soft_attrs_join(const struct vdpa_attr_desc *own);
void soft_dev_free(struct vdpa_device *vdev);
const char *soft_why_not(struct vdpa_device *vdev, unsigned int bit);
/* Data pieces that a disk lets its driver use in a request, beside one piece in each direction. */
uint32_t soft_seg_max(const struct vdpa_soft *soft);

/* ops.c */
extern const struct vdpa_config_ops soft_ops;
static inline uint8_t soft_status(const struct vdpa_soft *soft)
{
	return __atomic_load_n(&soft->status, __ATOMIC_RELAXED);
}

/* config.c */
int soft_get_config(struct vdpa_device *vdev, uint32_t off, void *buf, uint32_t len);
int soft_set_config(struct vdpa_device *vdev, uint32_t off, const void *buf, uint32_t len,
		    struct vdpa_extack *ack);
size_t soft_get_config_size(struct vdpa_device *vdev);
uint32_t soft_get_generation(struct vdpa_device *vdev);
void soft_set_config_cb(struct vdpa_device *vdev, const struct vdpa_config_cb *cb);
/* Forget what the driver wrote. */
void soft_config_reset(struct vdpa_soft *soft);
/* As vdpa_soft_update_config() of a range inside, without telling the driver.  ANY THREAD. */
void soft_write_config(struct vdpa_soft *soft, uint32_t off, const void *buf, uint32_t len);
/* Tell the driver that config space or status changed.  ANY THREAD, without locks. */
void soft_notify(struct vdpa_soft *soft);
/* NEEDS_RESET, log, event, notification.  idx -1: the device as a whole.  ANY THREAD. */
void soft_fault(struct vdpa_soft *soft, int idx, const char *why);

/* One line about what a guest did, not too often.  ANY THREAD. */
void soft_complain(struct vdpa_soft *soft, int idx, const char *what);

/* state.c */
int soft_save(struct vdpa_device *vdev, struct vdpa_state_blob *blob, struct vdpa_extack *ack);
int soft_load(struct vdpa_device *vdev, const struct vdpa_state_blob *blob,
	      struct vdpa_extack *ack);

/* vq.c: on the worker.  Those from hold to call with the token. */
extern const struct worker_source_ops soft_vq_source_ops;
int soft_vq_begin(struct vdpa_soft_vq *vq, struct vdpa_extack *ack); /* start and attach */
void soft_vq_end(struct vdpa_soft_vq *vq);                           /* drained: detach and stop */
/* Begin to drain. */
void soft_vq_hold(struct vdpa_soft_vq *vq);
/* Have the class end its requests soon; with drop the driver never hears of them. */
void soft_vq_cancel(struct vdpa_soft_vq *vq, bool drop);
void soft_vq_resume(struct vdpa_soft_vq *vq); /* take chains again */
/* The driver sees what is completed when this returns, before the turn ends. */
void soft_vq_publish(struct vdpa_soft_vq *vq);
void soft_vq_call(struct vdpa_soft_vq *vq, int fd); /* use another call descriptor */
/* Free the requests; none is outstanding. */
void soft_vq_release(struct vdpa_soft_vq *vq);

/* queue.c: on the lane */
struct vdpa_soft_vq *soft_vq_alloc(struct vdpa_soft *soft, uint16_t idx);
/* It does not run.  NULL is allowed. */
void soft_vq_free(struct vdpa_soft_vq *vq);
int soft_vq_start(struct vdpa_soft_vq *vq, struct vdpa_extack *ack);
/*
 * Returns when the class has no request any more.  drop: it is a reset, and what is under way is
 * forgotten (the in-flight log keeps it).  Otherwise all of it is completed; what takes more than
 * half of a verb's deadline is cancelled.
 */
void soft_vq_stop(struct vdpa_soft_vq *vq, bool drop);
void soft_vq_reset(struct vdpa_soft_vq *vq);
/* Start the queues that may run now, all or none. */
int soft_start_all(struct vdpa_soft *soft, struct vdpa_extack *ack);
void soft_stop_all(struct vdpa_soft *soft);
/* Where rings of the negotiated kind begin. */
struct vdpa_vq_state soft_first_state(const struct vdpa_soft *soft);
bool soft_vq_may_run(const struct vdpa_soft_vq *vq);
/* Have running queues use soft->iotlb.  covers: nothing that they use has gone. */
void soft_vq_new_map(struct vdpa_soft_vq *vq, bool covers);
/* Run fn(arg) where the queue's first part is owned now, and with it. */
void soft_vq_run(struct vdpa_soft_vq *vq, void (*fn)(void *arg), void *arg);
int soft_vq_move(struct vdpa_soft_vq *vq, struct vdpa_worker *worker);

static inline struct vdpa_vq *soft_vq_ring(const struct vdpa_soft_vq *vq)
{
	return vq->ring;
}

/* The worker of a running queue: for timers, io_urings and such of backends in this library. */
static inline struct worker *soft_vq_worker(const struct vdpa_soft_vq *vq)
{
	return vq->thread;
}

#endif
