/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * Software devices.  The core implements the config ops (status, features, config space,
 *generation, queues, workers, suspend, statistics, logs) once; a class says what it is, and handles
 *requests.
 *
 * The smallest class:
 *
 *	static void rng_handle(struct vdpa_soft_req *req)
 *	{
 *		vdpa_soft_complete(req, fill_random(req->elem.iov, req->elem.in_num));
 *	}
 *
 *	const struct vdpa_soft_class vdpa_class = {
 *		.size = sizeof(vdpa_class), .name = "rng", .device_id = VIRTIO_ID_RNG,
 *		.nvqs = 1, .handle = rng_handle,
 *	};
 *
 * Life of a device: create -> (config, set_attrs, ...) -> queue_start for each ready queue at
 *DRIVER_OK -> handle ... complete -> queue_stop -> destroy.
 *
 * Requests.  handle() gets a request on the queue's worker and completes it there: at once, or
 *later from a descriptor, a timer or a completion queue of the same worker.  It must not block.  A
 *queue is stopped only when all its requests are completed (drain); a class that can take very long
 *supplies `cancel`.
 */
#ifndef VDPA_SOFT_H
#define VDPA_SOFT_H

#include <vdpa/bus.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vdpa_soft;
struct vdpa_soft_vq;
struct vdpa_soft_req;

/** From here on tags of the state record are the core's. */
#define VDPA_SOFT_STATE_TAGS 0x40000000u

/** Requests wait for input from outside, maybe for ever: a queue that stops cancels them at once.
 */
#define VDPA_SOFT_F_WAITS  1u
/** Queues 2n and 2n + 1 belong together: one worker serves both, unless they are pinned apart. */
#define VDPA_SOFT_F_PAIRS  2u
/** Queues are used by other workers, too: vdpa_soft_vq_enter(). */
#define VDPA_SOFT_F_SHARED 4u

struct vdpa_soft_class {
	size_t size;
	const char *name;
	const char *help;     /**< one line for `mgmtdev show` */
	uint32_t device_id;   /**< virtio 1.3, 5 */
	uint16_t nvqs;        /**< queues at least, when create() does not say otherwise */
	uint16_t max_vqs;     /**< queues at most; 0: nvqs */
	uint32_t config_size; /**< bytes */
	uint64_t features;    /**< of the class (not ring features) that it can offer at most */
	const struct vdpa_attr_desc *attrs; /**< of `dev add`; LIVE ones of `dev set` */
	uint32_t priv_size;                 /**< zeroed memory for each device: vdpa_soft_priv() */
	uint32_t vq_priv_size;              /**< for each queue: vdpa_soft_vq_priv() */
	uint32_t req_priv_size;             /**< for each request: vdpa_soft_req_priv() */
	uint32_t max_segs;                  /**< pieces in a chain, 0: VDPA_VQ_SEGS_MAX */

	/**
	 * Read the attributes, open what is needed, set offer, queues and config space by the
	 * vdpa_soft_set_* functions.  Optional.  Lane; may block.  On failure destroy is not
	 * called.
	 */
	int (*create)(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack);
	void (*destroy)(struct vdpa_soft *soft); /**< Optional. */
	/** Live attributes; all or nothing.  Optional.  Lane; queues may run. */
	int (*set_attrs)(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack);
	/** The driver wrote the config space; may refuse.  The core stores it when this returns 0.
	 *  Optional: read-only.  Lane; queues may run. */
	int (*config_write)(struct vdpa_soft *soft, uint32_t off, const void *buf, uint32_t len,
			    struct vdpa_extack *ack);
	/** Features were negotiated; may refuse a set that makes no sense.  Optional.  Lane. */
	int (*features_ok)(struct vdpa_soft *soft, uint64_t features, struct vdpa_extack *ack);
	/** The device was reset: forget what the driver set.  Optional.  Lane; no queue runs. */
	void (*reset)(struct vdpa_soft *soft);
	/** A queue begins / ends on its worker.  Optional.  Worker. */
	int (*queue_start)(struct vdpa_soft_vq *vq, struct vdpa_extack *ack);
	void (*queue_stop)(struct vdpa_soft_vq *vq);
	/** One request.  Required, unless poll is there.  Worker; must not block. */
	void (*handle)(struct vdpa_soft_req *req);
	/** The batch ends: submit what was gathered.  Optional, with handle.  Worker. */
	void (*flush)(struct vdpa_soft_vq *vq);
	/**
	 * Complete outstanding requests soon, with an error, if they could take long.  Called when
	 * the device is reset, where the driver does not hear of them any more, and when a queue
	 * that is stopped has not drained after half of a verb's deadline.  Optional.  Worker.
	 */
	void (*cancel)(struct vdpa_soft_vq *vq);
	/** Optional.  Control thread; must not block. */
	void (*show)(struct vdpa_soft *soft, struct vdpa_info *info);
	/** Why a class bit is not offered, or NULL.  Optional. */
	const char *(*why_not)(struct vdpa_soft *soft, unsigned int bit);
	/** The class's part of the state record; tags below VDPA_SOFT_STATE_TAGS.  Optional, in
	 * pairs.  Lane. */
	int (*save)(struct vdpa_soft *soft, struct vdpa_state_blob *blob, struct vdpa_extack *ack);
	int (*load)(struct vdpa_soft *soft, const struct vdpa_state_blob *blob,
		    struct vdpa_extack *ack);
	uint32_t flags; /**< VDPA_SOFT_F_* */
	/**
	 * Instead of handle(): serve the queue.  For classes whose queues are not one request after
	 * the other, such as buffers that wait for input: they stay in the ring until there is
	 * some.  Take requests with vdpa_soft_vq_take(), at most about VDPA_SOFT_BURST at once.
	 * Called when the driver has kicked, after vdpa_soft_vq_wake(), and while the worker polls.
	 * Worker; must not block.
	 * @return whether there was something to do
	 */
	bool (*poll)(struct vdpa_soft_vq *vq);
	/** What the class counts of a queue beyond struct vdpa_vq_stats.  Optional.  Any thread. */
	void (*vq_stats)(struct vdpa_soft_vq *vq, struct vdpa_info *info);
	uint64_t cmds; /**< what cmd() knows: 1 << VDPA_CMD_* each */
	/**
	 * A command outside the rings: do as the control queue does, by the same code.  See
	 * class_cmd() of struct vdpa_config_ops.  With `cmds`.  Lane; queues may run, so what it
	 * shares with them needs a lock.
	 */
	int (*cmd)(struct vdpa_soft *soft, uint32_t cmd, const void *in, uint32_t in_len, void *out,
		   uint32_t *out_len, struct vdpa_extack *ack);
};

/** How much a queue does before the others have their turn. */
#define VDPA_SOFT_BURST 64

/** A request; the class's own part follows it in memory. */
struct vdpa_soft_req {
	struct vdpa_vq_elem elem; /**< the pieces: out (read), then in (write) */
	struct vdpa_soft_vq *vq;
	struct vdpa_soft_req
		*next; /**< the core's while free, the class's while it holds the request */
};

/** `dev add` attributes that each class has: queues, queue-size, packed, worker ... (see the
 * table). */
extern const struct vdpa_attr_desc vdpa_soft_common_attrs[];

/**
 * Make the class a management device of the bus, under its name.
 * @param cls  a constant that outlives the bus
 * @return 0, -EINVAL (handle missing, sizes), -EEXIST, -ENOMEM
 * @context control thread
 */
int vdpa_soft_class_register(struct vdpa_bus *bus, const struct vdpa_soft_class *cls,
			     struct vdpa_extack *ack);
/** All classes that come with the library. */
int vdpa_soft_register_builtin(struct vdpa_bus *bus, struct vdpa_extack *ack);

/** The name under which a shared object for `uvdpad --load` exports its class. */
#define VDPA_SOFT_CLASS_SYMBOL "vdpa_class"

/* ---- what a class calls; context: as the callbacks it is called from, any thread where said */

void *vdpa_soft_priv(struct vdpa_soft *soft);
struct vdpa_device *vdpa_soft_vdev(struct vdpa_soft *soft);
/** In create(): class features that this device offers; the core adds ring features. */
void vdpa_soft_set_features(struct vdpa_soft *soft, uint64_t features);
/** In create(): number of queues, 1 to max_vqs. */
void vdpa_soft_set_nvqs(struct vdpa_soft *soft, uint16_t nvqs);
uint16_t vdpa_soft_nvqs(const struct vdpa_soft *soft);
uint32_t vdpa_soft_queue_size(const struct vdpa_soft *soft);
/** Write the config space from inside; after registration the driver is told.  Any thread but
 * workers. */
void vdpa_soft_update_config(struct vdpa_soft *soft, uint32_t off, const void *buf, uint32_t len);
/** Negotiated features; constant while queues run.  Any thread. */
uint64_t vdpa_soft_features(const struct vdpa_soft *soft);
/** The device is beyond repair until reset: NEEDS_RESET, and the driver is told.  Any thread. */
void vdpa_soft_fail(struct vdpa_soft *soft, const char *why);

struct vdpa_soft *vdpa_soft_vq_soft(const struct vdpa_soft_vq *vq);
uint16_t vdpa_soft_vq_index(const struct vdpa_soft_vq *vq);
void *vdpa_soft_vq_priv(struct vdpa_soft_vq *vq);
void *vdpa_soft_req_priv(struct vdpa_soft_req *req);

/**
 * The request is done; the driver sees it at the end of the batch, or soon.  Worker of the queue.
 * @param len  bytes written into the in pieces
 */
void vdpa_soft_complete(struct vdpa_soft_req *req, uint32_t len);
/**
 * vdpa_soft_complete() of 1 to VDPA_SOFT_BURST requests of one queue.
 * @param lens  bytes written, for each
 */
void vdpa_soft_complete_many(struct vdpa_soft_req *const *reqs, const uint32_t *lens, uint32_t num);
/** As vdpa_soft_complete(), and counted as an error. */
void vdpa_soft_complete_error(struct vdpa_soft_req *req, uint32_t len);
/** The request itself breaks the rules of the class: the queue ends, the device needs a reset. */
void vdpa_soft_broken(struct vdpa_soft_req *req, const char *why);

/**
 * For classes with poll(): the next request of the ring, or NULL when there is none, or the queue
 * is being stopped.  Worker, or between enter and leave.
 */
struct vdpa_soft_req *vdpa_soft_vq_take(struct vdpa_soft_vq *vq);
/**
 * As vdpa_soft_vq_take(), at most VDPA_SOFT_BURST at once.
 * @return how many; fewer than num: there are no more
 */
uint32_t vdpa_soft_vq_take_many(struct vdpa_soft_vq *vq, struct vdpa_soft_req **reqs, uint32_t num);
/** Can be put back what is taken?  Not where an in-flight log is kept; constant while it runs. */
bool vdpa_soft_vq_may_untake(const struct vdpa_soft_vq *vq);
/** Put back what was taken last and is not needed; several: the last one first. */
void vdpa_soft_vq_untake(struct vdpa_soft_req *req);
/**
 * Does the class want to be woken when the driver adds to the ring?  At first it does; a queue of
 * buffers that wait for input is better without.  As vdpa_soft_vq_take().
 */
void vdpa_soft_vq_want_kicks(struct vdpa_soft_vq *vq, bool on);
/** Have poll() called soon.  Any thread, between queue_start and queue_stop. */
void vdpa_soft_vq_wake(struct vdpa_soft_vq *vq);
/**
 * Use a queue from another worker than its own, for a class with VDPA_SOFT_F_SHARED.  Between enter
 * and leave nobody else does; the driver sees at leave what was completed.  Any thread, between
 * queue_start and queue_stop.  Who enters several must do so in one order, that of
 * senders before receivers: a queue's own worker has entered it when it calls poll().
 * @return false: the queue does not take part now; then no leave
 */
bool vdpa_soft_vq_enter(struct vdpa_soft_vq *vq);
void vdpa_soft_vq_leave(struct vdpa_soft_vq *vq);
/** Count frames that were lost.  Who uses the queue. */
void vdpa_soft_vq_dropped(struct vdpa_soft_vq *vq, uint32_t num);

/**
 * Watch a descriptor on a queue's worker: fn(arg) runs there when it becomes readable, once each
 * time; what fn leaves unread is there when the next request comes.  In queue_start(); gone before
 * queue_stop(). For backends outside this library; those inside use src/loop.
 */
int vdpa_soft_vq_watch(struct vdpa_soft_vq *vq, int fd, void (*fn)(void *arg), void *arg);

#ifdef __cplusplus
}
#endif

#endif
