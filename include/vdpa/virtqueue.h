/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * Virtqueues: the one implementation of split and packed rings, both sides.
 *
 * - `vdpa_vq` is the device's side: take chains, give them back used.
 * - `vdpa_drvq` is the driver's side: offer buffers, get them back.
 *
 * Neither locks anything: a queue belongs to whoever holds its token, normally one worker thread.
 * Neither does any system call: kicks and calls are descriptors of whoever owns the queue.
 *
 * The other side is hostile.  Each field of shared memory is read once, into a local copy, then
 * checked.  A ring that breaks the rules is marked broken with a reason and yields nothing more.
 *
 * @spec virtio 1.3, 2.7 (split) and 2.8 (packed)
 */
#ifndef VDPA_VIRTQUEUE_H
#define VDPA_VIRTQUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include <vdpa/extack.h>
#include <vdpa/iotlb.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Largest queue, entries. @spec virtio 1.3, 2.7 and 2.8.10.1 */
#define VDPA_VQ_NUM_MAX  32768
/** Pieces of memory in one chain that the walker accepts (also IOV_MAX). */
#define VDPA_VQ_SEGS_MAX 1024

/**
 * Where a queue stands, as in the kernel's struct vdpa_vq_state.
 * Of a split ring the used index is in memory; a packed ring needs both positions and both
 * counters.
 */
struct vdpa_vq_state {
	bool packed;
	union {
		struct {
			uint16_t avail_index;
		} split;
		struct {
			uint16_t last_avail_idx; /**< next slot to look at, below num */
			uint16_t last_used_idx;  /**< next slot to write, below num */
			bool last_avail_counter; /**< wrap counters; both start at 1 */
			bool last_used_counter;
		} packed_ring;
	};
};

/** Counts of one queue since the device was made.  Any thread may read them (relaxed). */
struct vdpa_vq_stats {
	uint64_t requests;  /**< chains given back used */
	uint64_t bytes_out; /**< driver to device, as laid out by the driver */
	uint64_t bytes_in;  /**< device to driver, as really written */
	uint64_t kicks;     /**< notifications from the driver that woke us */
	uint64_t calls;     /**< notifications that the driver wanted from us */
	uint64_t errors;    /**< requests that ended with an error status */
	uint64_t drops;     /**< frames that were lost at this queue */
	uint64_t broken;    /**< times that the ring broke the rules */
};

struct vdpa_inflight; /* virtqueue/inflight.h: crash-safe log of requests under way */
struct vdpa_dirty_log;

/* ------------------------------------------------------------------ dirty log */

/**
 * A bitmap of 4096-byte pages that the device has written, in memory shared with the one who
 * migrates.  Counted.
 */
/** @param mem  consumed only on success: one reference */
int vdpa_dirty_log_alloc(struct vdpa_mem *mem, struct vdpa_dirty_log **ret,
			 struct vdpa_extack *ack);
struct vdpa_dirty_log *vdpa_dirty_log_get(struct vdpa_dirty_log *log);
void vdpa_dirty_log_put(struct vdpa_dirty_log *log);
/** Mark [addr, addr + len) as written; what lies behind the bitmap's end is ignored.  Any thread.
 */
void vdpa_dirty_log_mark(struct vdpa_dirty_log *log, uint64_t addr, uint64_t len);

/* ------------------------------------------------------------------ device side */

/** How a queue is set up; copied by vdpa_vq_start(). */
struct vdpa_vq_config {
	uint32_t num;      /**< entries; split: a power of two; 1 to VDPA_VQ_NUM_MAX */
	uint64_t features; /**< negotiated; of these RING_PACKED, EVENT_IDX, INDIRECT_DESC, IN_ORDER
			      matter */
	uint64_t desc, driver, device; /**< IOVA of the three areas */
	struct vdpa_vq_state state;
	struct vdpa_iotlb *iotlb;       /**< a reference is taken */
	struct vdpa_inflight *inflight; /**< NULL without; borrowed until stop */
	struct vdpa_dirty_log *log;     /**< NULL without; a reference is taken */
	bool log_used;                  /**< also log writes of the used ring, at: */
	uint64_t log_addr;              /**< guest physical address of the used ring, for the log; a
					 *   packed ring has none and is logged at its IOVA */
	uint32_t max_segs;              /**< pieces in a chain, 0: VDPA_VQ_SEGS_MAX */
};

/**
 * A chain taken from the ring.  Embedded in the owner's request.  The owner zeroes it once with
 * vdpa_vq_elem_init(); after that it is used again and again, and keeps its grown iov.
 */
struct vdpa_vq_elem {
	struct iovec *iov; /**< out_num pieces to read, then in_num to write; guest memory! */
	uint16_t out_num;
	uint16_t in_num;
	uint32_t out_len; /**< bytes the device may read */
	uint32_t in_len;  /**< bytes the device may write */

	/* The ring's own, below. */
	uint16_t id;       /**< head index, or buffer id of a packed ring */
	uint16_t num_desc; /**< ring slots taken */
	uint16_t record;   /**< packed: its place in the in-flight log */
	uint32_t used_len;
	uint32_t iov_cap;
	bool done;                 /**< completed, waits for its turn (in-order) */
	struct vdpa_vq_elem *next; /**< in-order: the one taken after this */
	struct iovec iov_small[8];
};

void vdpa_vq_elem_init(struct vdpa_vq_elem *elem);
/** Free what the element has grown; it may be initialised again. */
void vdpa_vq_elem_release(struct vdpa_vq_elem *elem);

struct vdpa_vq;

/** @return a queue that is not started, or NULL when out of memory. */
struct vdpa_vq *vdpa_vq_alloc(void);
/** Stopped or not; NULL is allowed.  No element may be outstanding. */
void vdpa_vq_free(struct vdpa_vq *vq);

/**
 * Check the set-up, translate the areas and take the ring into use.  Requests that the in-flight
 * log knows come first, oldest first, then new ones.
 *
 * With a log that was in use before, the position comes from the log, cfg->state is not used, and
 * the first vdpa_vq_publish() returns true even if nothing was completed: whoever used the log may
 * have died before its call.
 *
 * @return 0, -EINVAL (size, alignment of an area, damaged log), -EFAULT (an area is not wholly
 * mapped), -EBUSY (started already), -ENOMEM
 */
int vdpa_vq_start(struct vdpa_vq *vq, const struct vdpa_vq_config *cfg, struct vdpa_extack *ack);

/**
 * Publish, stop, and drop the references on map and log.  The call that may be due comes with the
 * first vdpa_vq_publish() after the next start; so publish before.
 *
 * Elements that were taken and not completed stay in the in-flight log; those of an in-order ring
 * are taken again when it starts from `state`; without either they are lost to the driver, so drain
 * first.  To complete them after stop has no effect; after the next start it is forbidden.
 *
 * @param state  where the queue stands: to start it again there.  May be NULL.
 */
void vdpa_vq_stop(struct vdpa_vq *vq, struct vdpa_vq_state *state);
/**
 * The device writes nothing in this queue: all pieces of its chains are to be read, whatever their
 * flags say.  There are drivers that mark them wrongly where only this can be meant (DPDK's virtio:
 * the header of a frame in the indirect table of a packed ring).  After start, before the first
 * pop.
 */
void vdpa_vq_read_all(struct vdpa_vq *vq);
bool vdpa_vq_started(const struct vdpa_vq *vq);

/** Use another map from now on.  The owner has drained when vdpa_iotlb_covers() says so.
 *  @return 0, -EFAULT if an area of the ring is not mapped there: the old map stays */
int vdpa_vq_set_map(struct vdpa_vq *vq, struct vdpa_iotlb *iotlb, struct vdpa_extack *ack);
/** Switch the dirty log on (a reference is taken) or off (NULL). */
void vdpa_vq_set_log(struct vdpa_vq *vq, struct vdpa_dirty_log *log, bool log_used,
		     uint64_t log_addr);

/**
 * Take the next chain.
 *
 * @return 1 with elem filled; 0 when there is none; -EFAULT when a piece is not mapped (the chain
 * is not consumed, vdpa_vq_miss() says where); -ENOMEM (not consumed); -EPROTO when the ring is
 * broken
 */
int vdpa_vq_pop(struct vdpa_vq *vq, struct vdpa_vq_elem *elem);

/**
 * Take up to num of the next chains at once, as long as they are of the most frequent kind: one
 * descriptor, in the memory where the last one was.  None where an in-flight log is kept.  For
 * queues of many small chains: what it leaves there is for vdpa_vq_pop(), which also says why.
 *
 * @return how many; elems[0] on are filled
 */
uint32_t vdpa_vq_pop_singles(struct vdpa_vq *vq, struct vdpa_vq_elem *const *elems, uint32_t num);

/**
 * Undo the last vdpa_vq_pop(): the chain is the next one again.  For who finds that a chain is not
 * enough for what he has.  Several one after the other: the last one first.
 *
 * @param elem  the one that was taken last, not completed
 * @return false, and nothing has changed, when an in-flight log knows of it: complete it
 */
bool vdpa_vq_unpop(struct vdpa_vq *vq, struct vdpa_vq_elem *elem);

/** Where the last -EFAULT of vdpa_vq_pop() was. */
void vdpa_vq_miss(const struct vdpa_vq *vq, uint64_t *iova, uint32_t *perm);

/** Is there a chain that vdpa_vq_pop() would look at?  Cheap: for polling. */
bool vdpa_vq_pending(struct vdpa_vq *vq);

/**
 * Give a chain back; the driver sees it after vdpa_vq_publish().  Any order; an in-order ring holds
 * it back until those before it are done, so elem stays the ring's until `done` elements were
 * released: the owner may reuse elem only when vdpa_vq_complete() returned true, or, if false,
 * when a later call returns it through vdpa_vq_reap().
 *
 * @param len  bytes written into the in pieces, at most in_len (larger is cut)
 * @return true when elem is the owner's again
 */
bool vdpa_vq_complete(struct vdpa_vq *vq, struct vdpa_vq_elem *elem, uint32_t len);

/**
 * vdpa_vq_complete() of many, for a ring that is not in-order: the elements are the owner's again.
 * @param lens  bytes written, for each
 */
void vdpa_vq_complete_many(struct vdpa_vq *vq, struct vdpa_vq_elem *const *elems,
			   const uint32_t *lens, uint32_t num);

/** @return an element that an earlier vdpa_vq_complete() kept and that is free again, or NULL. */
struct vdpa_vq_elem *vdpa_vq_reap(struct vdpa_vq *vq);

/** Publish what was completed since the last time.  @return true when the driver wants a call. */
bool vdpa_vq_publish(struct vdpa_vq *vq);

/** Ask the driver for kicks.  @return true when a chain came in meanwhile: poll again. */
bool vdpa_vq_enable_kick(struct vdpa_vq *vq);
/**
 * The same for who leaves chains in the ring since they are not enough: the driver kicks when it
 * adds to those that vdpa_vq_pop() has seen the end of.  @return true when it has added meanwhile
 */
bool vdpa_vq_enable_kick_for_more(struct vdpa_vq *vq);
/** Tell the driver that kicks are not needed (a hint). */
void vdpa_vq_disable_kick(struct vdpa_vq *vq);

/** Elements taken and not given back. */
uint32_t vdpa_vq_outstanding(const struct vdpa_vq *vq);
/** @return why the ring is broken, or NULL.  A string that lives as long as vq. */
const char *vdpa_vq_broken(const struct vdpa_vq *vq);
/** The counters: kept over stop and start.  The owner adds kicks and errors itself. */
struct vdpa_vq_stats *vdpa_vq_stats(struct vdpa_vq *vq);

/** Copy between a buffer and pieces of guest memory, from byte `off` of them on.
 *  @return bytes copied: less than len when the pieces end before */
size_t vdpa_iov_to_buf(const struct iovec *iov, size_t num, size_t off, void *buf, size_t len);
size_t vdpa_iov_from_buf(const struct iovec *iov, size_t num, size_t off, const void *buf,
			 size_t len);
size_t vdpa_iov_set(const struct iovec *iov, size_t num, size_t off, int byte, size_t len);

/* ------------------------------------------------------------------ driver side */

struct vdpa_drvq;

/** A buffer as the device sees it. */
struct vdpa_drvq_sg {
	uint64_t iova;
	uint32_t len;
};

struct vdpa_drvq_config {
	uint32_t num;
	uint64_t features; /**< as for the device side */
	void *hva; /**< vdpa_drvq_bytes() of memory shared with the device, 4096-aligned; zeroed by
		      init */
	uint64_t iova;     /**< the same for the device */
	uint32_t indirect; /**< longest indirect table, entries; 0: none are used */
};

/** @return how much shared memory a queue takes, bytes */
size_t vdpa_drvq_bytes(uint32_t num, uint64_t features, uint32_t indirect);

/** @return 0, -EINVAL, -ENOMEM */
int vdpa_drvq_alloc(const struct vdpa_drvq_config *cfg, struct vdpa_drvq **ret,
		    struct vdpa_extack *ack);
void vdpa_drvq_free(struct vdpa_drvq *q);

/** The IOVA of the three areas, for set_vq_address. */
void vdpa_drvq_areas(const struct vdpa_drvq *q, uint64_t *desc, uint64_t *driver, uint64_t *device);

/**
 * Offer a chain; the device sees it after vdpa_drvq_publish().
 *
 * @param sg      `out` pieces that the device reads, then `in` that it writes
 * @param cookie  what vdpa_drvq_get() returns; not NULL
 * @return 0, -ENOSPC when the ring is full, -EINVAL (no piece, more pieces than the ring has)
 */
int vdpa_drvq_add(struct vdpa_drvq *q, const struct vdpa_drvq_sg *sg, uint32_t out, uint32_t in,
		  void *cookie);
/** Publish what was added.  @return true when the device wants a kick. */
bool vdpa_drvq_publish(struct vdpa_drvq *q);
/**
 * Get back a chain that the device has used.
 *
 * @return its cookie, NULL when there is none (or the ring is broken: vdpa_drvq_broken())
 */
void *vdpa_drvq_get(struct vdpa_drvq *q, uint32_t *len);
bool vdpa_drvq_enable_call(struct vdpa_drvq *q); /**< true: something came in meanwhile */
void vdpa_drvq_disable_call(struct vdpa_drvq *q);
uint32_t vdpa_drvq_free_slots(const struct vdpa_drvq *q);
const char *vdpa_drvq_broken(const struct vdpa_drvq *q);

#ifdef __cplusplus
}
#endif

#endif
