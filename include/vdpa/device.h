/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * A device on the bus, and the one interface between parents (who make devices) and drivers (who
 * hand them to somebody): `struct vdpa_config_ops`.
 *
 * Names and meaning are those of the kernel's table (include/linux/vdpa.h).  The differences:
 *
 * - every op that can fail returns 0 or -errno, and can say why (`ack`);
 * - kicks, calls and memory travel as file descriptors;
 * - the op table is checked once, when the device is registered;
 * - bind_mm, unbind_mm and get_vq_map have no counterpart: there is one address space, ours;
 * - the in-flight log and the dirty log are ops (the kernel has neither).
 *
 * A parent fills the table.  Drivers do not call it: they call the wrapper of the same name
 * (vdpa_set_vq_address() and so on, below), which checks arguments and state, keeps the session
 * part of the state record, and answers -EOPNOTSUPP for an op that is not there.
 *
 * Contexts.  Unless an op says otherwise it runs on the **device's lane**: one after the other, on
 * a thread that may block.  Each verb has a deadline; an op that misses it is not interrupted, but
 * nobody waits for it any more.
 */
#ifndef VDPA_DEVICE_H
#define VDPA_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vdpa/attrs.h>
#include <vdpa/extack.h>
#include <vdpa/info.h>
#include <vdpa/iotlb.h>
#include <vdpa/virtqueue.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vdpa_bus;
struct vdpa_device;
struct vdpa_device_priv;
struct vdpa_mgmtdev;
struct vdpa_worker;
struct vdpa_state_blob;

/** Longest name of a device, a driver, a management device or a worker, bytes with the NUL. */
#define VDPA_NAME_MAX 32

/** What a device tells its driver, on any thread; it must not block. */
struct vdpa_config_cb {
	/** The config space changed (generation went up), or the status did (NEEDS_RESET). */
	void (*changed)(void *arg);
	void *arg;
};

/** A page that a client may write to, to kick a queue of a hardware device. */
struct vdpa_notification_area {
	int fd; /**< borrowed */
	uint64_t offset;
	uint64_t len;
};

/** Where the in-flight log of a device is. @spec vhost-user, "Inflight I/O tracking" */
struct vdpa_inflight_region {
	struct vdpa_mem *mem; /**< a reference is taken; NULL: no log */
	uint16_t num_queues;
	uint16_t queue_size;
};

/**
 * What a client asks of a device outside the rings: class_cmd().  Numbers are in the byte order of
 * virtio, little-endian.
 */
enum vdpa_class_cmd {
	/**
	 * A command of a net device's control queue.  In: class, command and its data, as there;
	 * out: the ack byte.  @spec virtio 1.3, 5.1.6.5
	 */
	VDPA_CMD_NET_CTRL,
	/** Tell the network where this MAC address is now.  In: its 6 bytes. */
	VDPA_CMD_NET_RARP,
	/** The driver goes by this MTU.  In: 16 bits, bytes of a packet. */
	VDPA_CMD_NET_MTU,
	/**
	 * A request of a crypto device's control queue: make a session.  In: what the device reads
	 * there with REVISION_1, whatever was negotiated; out: what it writes.  @spec virtio 1.3,
	 * 5.9.7.2
	 */
	VDPA_CMD_CRYPTO_CREATE_SESSION,
	/** The same: end a session. */
	VDPA_CMD_CRYPTO_CLOSE_SESSION,
	VDPA_CMD_MAX, /**< how many there are */
};

/** Most bytes that go in or come out with one command. */
#define VDPA_CMD_DATA_MAX 65536u

struct vdpa_config_ops {
	size_t size; /**< sizeof(struct vdpa_config_ops) of the parent's build */

	/* ---- virtqueues; idx is below nvqs, the wrappers have checked */

	/** Set the ring addresses (IOVA).  Required.  @spec virtio 1.3, 2.7 */
	int (*set_vq_address)(struct vdpa_device *vdev, uint16_t idx, uint64_t desc,
			      uint64_t driver, uint64_t device);
	/** Set the size, entries: within min and max; a power of two for a split ring.  Required.
	 */
	int (*set_vq_num)(struct vdpa_device *vdev, uint16_t idx, uint32_t num);
	/** Notify the queue without a descriptor.  Any thread.  Required unless set_vq_kick is
	 * there. */
	int (*kick_vq)(struct vdpa_device *vdev, uint16_t idx);
	/** As kick_vq, with VIRTIO_F_NOTIFICATION_DATA.  Optional: else the feature is masked. */
	int (*kick_vq_with_data)(struct vdpa_device *vdev, uint32_t data);
	/**
	 * The eventfd that the driver writes to kick; fd -1: none, the device polls.  May be called
	 * while the queue runs.  Optional.
	 * @param fd  taken (set to -1) on success, the caller's on failure
	 */
	int (*set_vq_kick)(struct vdpa_device *vdev, uint16_t idx, int *fd);
	/** The eventfd that the device writes to call; -1: none.  As set_vq_kick.  Required. */
	int (*set_vq_call)(struct vdpa_device *vdev, uint16_t idx, int *fd);
	/** The eventfd that the device writes when the ring is broken; -1: none.  Optional. */
	int (*set_vq_err)(struct vdpa_device *vdev, uint16_t idx, int *fd);
	/**
	 * Start or stop a queue.  Start needs DRIVER_OK or is deferred until it; stop returns when
	 * no request uses the driver's memory any more.  Required.
	 */
	int (*set_vq_ready)(struct vdpa_device *vdev, uint16_t idx, bool ready,
			    struct vdpa_extack *ack);
	bool (*get_vq_ready)(struct vdpa_device *vdev, uint16_t idx);
	/** Where to begin; the queue is stopped.  Required. */
	int (*set_vq_state)(struct vdpa_device *vdev, uint16_t idx,
			    const struct vdpa_vq_state *state);
	/** Where it stands; meaningful when the queue is stopped or the device suspended. Required.
	 */
	int (*get_vq_state)(struct vdpa_device *vdev, uint16_t idx, struct vdpa_vq_state *state);
	/** Any thread.  Optional. */
	int (*get_vq_stats)(struct vdpa_device *vdev, uint16_t idx, struct vdpa_vq_stats *stats);
	/** What only this parent counts.  Any thread.  Optional. */
	int (*get_vendor_vq_stats)(struct vdpa_device *vdev, uint16_t idx, struct vdpa_info *info);
	/** Optional: hardware with a doorbell page. */
	int (*get_vq_notification)(struct vdpa_device *vdev, uint16_t idx,
				   struct vdpa_notification_area *area);
	/** The host interrupt of a queue, for placement.  Optional. */
	int (*get_vq_irq)(struct vdpa_device *vdev, uint16_t idx);
	/** Alignment of the areas, bytes.  Optional: 4096. */
	uint32_t (*get_vq_align)(struct vdpa_device *vdev);
	/** Largest size of any queue / of queue idx (optional) / smallest (optional: 1), entries.
	 */
	uint32_t (*get_vq_num_max)(struct vdpa_device *vdev);
	uint32_t (*get_vq_size)(struct vdpa_device *vdev, uint16_t idx);
	uint32_t (*get_vq_num_min)(struct vdpa_device *vdev);
	/** Which group a queue's buffers / its rings belong to.  Optional: all in group 0. */
	uint32_t (*get_vq_group)(struct vdpa_device *vdev, uint16_t idx);
	uint32_t (*get_vq_desc_group)(struct vdpa_device *vdev, uint16_t idx);
	/** Move a queue to a worker, running or not.  Optional. */
	int (*set_vq_affinity)(struct vdpa_device *vdev, uint16_t idx, struct vdpa_worker *worker);
	struct vdpa_worker *(*get_vq_affinity)(struct vdpa_device *vdev, uint16_t idx);

	/* ---- device */

	/** What can be offered.  Constant while a driver is bound.  Required. */
	uint64_t (*get_device_features)(struct vdpa_device *vdev);
	/** VHOST_BACKEND_F_*: what suspend, resume, ... can do.  Optional: 0. */
	uint64_t (*get_backend_features)(struct vdpa_device *vdev);
	/**
	 * Take the negotiated features: a subset of the offer (checked) that makes sense together.
	 * Required.
	 * @return 0, -EINVAL with the reason in ack
	 */
	int (*set_driver_features)(struct vdpa_device *vdev, uint64_t features,
				   struct vdpa_extack *ack);
	uint64_t (*get_driver_features)(struct vdpa_device *vdev);
	/** Whom to tell of changes; NULL: nobody, and no call is under way on return.  Required. */
	void (*set_config_cb)(struct vdpa_device *vdev, const struct vdpa_config_cb *cb);
	uint32_t (*get_device_id)(struct vdpa_device *vdev); /**< Required.  Any thread. */
	uint32_t (*get_vendor_id)(struct vdpa_device *vdev); /**< Required.  Any thread. */
	uint8_t (*get_status)(struct vdpa_device *vdev);     /**< Required.  Any thread. */
	/** Required.  @spec virtio 1.3, 2.1 */
	int (*set_status)(struct vdpa_device *vdev, uint8_t status, struct vdpa_extack *ack);
	/**
	 * Back to the state after creation: status 0, no ring ready, descriptors closed, map of
	 * address space 0 kept (as the kernel's parents do with IOTLB_PERSIST).  Never refuses.
	 * Required.
	 */
	void (*reset)(struct vdpa_device *vdev);
	/** Stop all queues so that get_vq_state() holds; they go on at resume().  Optional, in
	 * pairs. */
	int (*suspend)(struct vdpa_device *vdev, struct vdpa_extack *ack);
	int (*resume)(struct vdpa_device *vdev, struct vdpa_extack *ack);
	size_t (*get_config_size)(struct vdpa_device *vdev); /**< Required. */
	/** off and len lie inside the config space.  Required; set_config is optional: read-only.
	 */
	int (*get_config)(struct vdpa_device *vdev, uint32_t off, void *buf, uint32_t len);
	int (*set_config)(struct vdpa_device *vdev, uint32_t off, const void *buf, uint32_t len,
			  struct vdpa_extack *ack);
	uint32_t (*get_generation)(struct vdpa_device *vdev); /**< Required. */

	/* ---- memory: set_map, or dma_map with dma_unmap, or none (the device does its own DMA) */

	/** Optional: everything. */
	void (*get_iova_range)(struct vdpa_device *vdev, uint64_t *first, uint64_t *last);
	/**
	 * Publish the whole map of an address space.  Returns when nothing uses what the new map
	 * has not.
	 * @param iotlb  borrowed: keep a reference
	 */
	int (*set_map)(struct vdpa_device *vdev, uint32_t asid, struct vdpa_iotlb *iotlb,
		       struct vdpa_extack *ack);
	/** Add a range to / take it from an address space. */
	int (*dma_map)(struct vdpa_device *vdev, uint32_t asid,
		       const struct vdpa_iotlb_range *range, struct vdpa_extack *ack);
	int (*dma_unmap)(struct vdpa_device *vdev, uint32_t asid, uint64_t iova, uint64_t len);
	/** Forget the map of an address space.  Optional: an empty one is set. */
	int (*reset_map)(struct vdpa_device *vdev, uint32_t asid);
	int (*set_group_asid)(struct vdpa_device *vdev, uint32_t group, uint32_t asid);

	/* ---- logs */

	/** Optional.  Before DRIVER_OK.  region->mem NULL: none. */
	int (*set_inflight)(struct vdpa_device *vdev, const struct vdpa_inflight_region *region,
			    struct vdpa_extack *ack);
	/** Log writes to guest memory from now on; NULL: no more.  Any time.  Optional. */
	int (*set_dirty_log)(struct vdpa_device *vdev, struct vdpa_dirty_log *log);
	/** Log also the used ring of idx, at this guest physical address.  Optional, with
	 * set_dirty_log. */
	int (*set_vq_log)(struct vdpa_device *vdev, uint16_t idx, bool on, uint64_t log_addr);

	/* ---- management */

	/** Live attributes (`dev set`); the keys have been checked against `attrs`.  All or
	 * nothing.  Optional. */
	int (*set_attrs)(struct vdpa_device *vdev, struct vdpa_attrs *attrs,
			 struct vdpa_extack *ack);
	/** What this parent has to say of the device: backend, file, size.  Any thread.  Optional.
	 */
	void (*show)(struct vdpa_device *vdev, struct vdpa_info *info);
	/** Why a bit is not in get_device_features(); NULL: this kind of device does not have it.
	 * Optional. */
	const char *(*why_not)(struct vdpa_device *vdev, unsigned int bit);
	/** The parent's own part of the device record.  Optional, in pairs.  See vdpa/state.h. */
	int (*save)(struct vdpa_device *vdev, struct vdpa_state_blob *blob,
		    struct vdpa_extack *ack);
	int (*load)(struct vdpa_device *vdev, const struct vdpa_state_blob *blob,
		    struct vdpa_extack *ack);
	/** Last: nobody uses the device any more; free what embeds it.  Required. */
	void (*free)(struct vdpa_device *vdev);

	/* ---- commands outside the rings, in pairs */

	/** Which class_cmd() knows: 1 << VDPA_CMD_* each.  Constant.  Optional: none. */
	uint64_t (*get_class_cmds)(struct vdpa_device *vdev);
	/**
	 * Run a command by the code that runs it when it comes in the control queue.  That queue
	 * may run meanwhile.  Optional.
	 * @param cmd      of get_class_cmds() (checked)
	 * @param in       in_len bytes, at least as many as the command has (checked)
	 * @param out      room for *out_len bytes
	 * @param out_len  in: the room, at least what the command answers (checked); out: what was
	 *                 answered
	 * @return 0; what the class thinks of a command that has an answer stands in the answer
	 */
	int (*class_cmd)(struct vdpa_device *vdev, uint32_t cmd, const void *in, uint32_t in_len,
			 void *out, uint32_t *out_len, struct vdpa_extack *ack);
};

/**
 * A device.  Embedded in the parent's own struct; zeroed, then filled in by the parent, then
 * registered.
 */
struct vdpa_device {
	const struct vdpa_config_ops *ops;
	char name[VDPA_NAME_MAX]; /**< letters, digits, dash, underscore, dot; the first a letter or
				     digit */
	uint16_t nvqs;            /**< virtqueues, with control queues */
	uint32_t ngroups, nas;    /**< groups and address spaces; 0 counts as 1 */
	const struct vdpa_attr_desc *attrs; /**< live attributes; NULL: none */
	struct vdpa_mgmtdev *mdev;          /**< who made it; NULL: the embedding program */
	struct vdpa_device_priv *priv;      /**< the bus's */
};

/**
 * Put a device on the bus: the ops are checked, a lane is made, the default driver of its class is
 * bound. On success the bus owns it and calls ops->free at the end; on failure it is still the
 * caller's.
 *
 * @return 0, -EINVAL (an op is missing; the text names it; a bad name), -EEXIST (name taken),
 * -ENOMEM
 * @context control thread
 */
int vdpa_register_device(struct vdpa_bus *bus, struct vdpa_device *vdev, struct vdpa_extack *ack);

/** The bus of a registered device.  Any thread. */
struct vdpa_bus *vdpa_device_bus(const struct vdpa_device *vdev);

/** A path in the device's folder of the run directory (`dev/NAME/FILE`); the folder is made.
 *  @return 0, -ENAMETOOLONG, what mkdir(2) says */
int vdpa_device_path(const struct vdpa_device *vdev, const char *file, char *buf, size_t len);

/** Hold a device while it is used outside its lane; ops->free waits for the last reference.  Any
 * thread. */
struct vdpa_device *vdpa_device_get(struct vdpa_device *vdev);
void vdpa_device_put(struct vdpa_device *vdev);

/** Run fn(arg) on the device's lane, after what is queued there.  Any thread that holds a
 * reference.
 *  @return 0, -ENODEV when the device is being removed, -ENOMEM */
int vdpa_device_run(struct vdpa_device *vdev, void (*fn)(struct vdpa_device *vdev, void *arg),
		    void *arg);
bool vdpa_device_on_lane(const struct vdpa_device *vdev);

/* ------------------------------------------------------------------ what drivers call
 *
 * One wrapper for each op, same name, same arguments; context: the device's lane unless the op says
 * any thread.  They return what the op returns, and before that: -EOPNOTSUPP (op not there),
 * -EINVAL (index, size or offset out of range, features not offered, VERSION_1 missing), -EBUSY
 * (not in this state: addresses of a ready queue, features after FEATURES_OK).
 */
int vdpa_set_vq_address(struct vdpa_device *vdev, uint16_t idx, uint64_t desc, uint64_t driver,
			uint64_t device, struct vdpa_extack *ack);
int vdpa_set_vq_num(struct vdpa_device *vdev, uint16_t idx, uint32_t num, struct vdpa_extack *ack);
int vdpa_kick_vq(struct vdpa_device *vdev, uint16_t idx);
int vdpa_kick_vq_with_data(struct vdpa_device *vdev, uint32_t data);
int vdpa_set_vq_kick(struct vdpa_device *vdev, uint16_t idx, int *fd);
int vdpa_set_vq_call(struct vdpa_device *vdev, uint16_t idx, int *fd);
int vdpa_set_vq_err(struct vdpa_device *vdev, uint16_t idx, int *fd);
int vdpa_set_vq_ready(struct vdpa_device *vdev, uint16_t idx, bool ready, struct vdpa_extack *ack);
bool vdpa_get_vq_ready(struct vdpa_device *vdev, uint16_t idx);
int vdpa_set_vq_state(struct vdpa_device *vdev, uint16_t idx, const struct vdpa_vq_state *state,
		      struct vdpa_extack *ack);
int vdpa_get_vq_state(struct vdpa_device *vdev, uint16_t idx, struct vdpa_vq_state *state);
int vdpa_get_vq_stats(struct vdpa_device *vdev, uint16_t idx, struct vdpa_vq_stats *stats);
int vdpa_get_vendor_vq_stats(struct vdpa_device *vdev, uint16_t idx, struct vdpa_info *info);
int vdpa_get_vq_notification(struct vdpa_device *vdev, uint16_t idx,
			     struct vdpa_notification_area *area);
int vdpa_get_vq_irq(struct vdpa_device *vdev, uint16_t idx);
uint32_t vdpa_get_vq_align(struct vdpa_device *vdev);
uint32_t vdpa_get_vq_num_max(struct vdpa_device *vdev);
uint32_t vdpa_get_vq_size(struct vdpa_device *vdev, uint16_t idx);
uint32_t vdpa_get_vq_num_min(struct vdpa_device *vdev);
uint32_t vdpa_get_vq_group(struct vdpa_device *vdev, uint16_t idx);
uint32_t vdpa_get_vq_desc_group(struct vdpa_device *vdev, uint16_t idx);
int vdpa_set_vq_affinity(struct vdpa_device *vdev, uint16_t idx, struct vdpa_worker *worker);
struct vdpa_worker *vdpa_get_vq_affinity(struct vdpa_device *vdev, uint16_t idx);
/** The offer: get_device_features() less what `dev add ... features MASK` took away. */
uint64_t vdpa_get_device_features(struct vdpa_device *vdev);
uint64_t vdpa_get_backend_features(struct vdpa_device *vdev);
int vdpa_set_driver_features(struct vdpa_device *vdev, uint64_t features, struct vdpa_extack *ack);
uint64_t vdpa_get_driver_features(struct vdpa_device *vdev);
void vdpa_set_config_cb(struct vdpa_device *vdev, const struct vdpa_config_cb *cb);
uint32_t vdpa_get_device_id(struct vdpa_device *vdev);
uint32_t vdpa_get_vendor_id(struct vdpa_device *vdev);
uint8_t vdpa_get_status(struct vdpa_device *vdev);
int vdpa_set_status(struct vdpa_device *vdev, uint8_t status, struct vdpa_extack *ack);
/** From reset to FEATURES_OK.  On failure the device is to be reset. @return 0, -EINVAL when it
 * does not take the features, or what an op says.  Lane.  @spec virtio 1.3, 3.1.1 */
int vdpa_negotiate(struct vdpa_device *vdev, uint64_t features, struct vdpa_extack *ack);
void vdpa_reset(struct vdpa_device *vdev);
int vdpa_suspend(struct vdpa_device *vdev, struct vdpa_extack *ack);
int vdpa_resume(struct vdpa_device *vdev, struct vdpa_extack *ack);
size_t vdpa_get_config_size(struct vdpa_device *vdev);
int vdpa_get_config(struct vdpa_device *vdev, uint32_t off, void *buf, uint32_t len);
int vdpa_set_config(struct vdpa_device *vdev, uint32_t off, const void *buf, uint32_t len,
		    struct vdpa_extack *ack);
uint32_t vdpa_get_generation(struct vdpa_device *vdev);
void vdpa_get_iova_range(struct vdpa_device *vdev, uint64_t *first, uint64_t *last);
/** For a parent with dma_map: the difference to the map before is mapped and unmapped. */
int vdpa_set_map(struct vdpa_device *vdev, uint32_t asid, struct vdpa_iotlb *iotlb,
		 struct vdpa_extack *ack);
int vdpa_reset_map(struct vdpa_device *vdev, uint32_t asid);
int vdpa_set_group_asid(struct vdpa_device *vdev, uint32_t group, uint32_t asid);
int vdpa_set_inflight(struct vdpa_device *vdev, const struct vdpa_inflight_region *region,
		      struct vdpa_extack *ack);
int vdpa_set_dirty_log(struct vdpa_device *vdev, struct vdpa_dirty_log *log);
int vdpa_set_vq_log(struct vdpa_device *vdev, uint16_t idx, bool on, uint64_t log_addr);
uint64_t vdpa_get_class_cmds(struct vdpa_device *vdev);
/** -EOPNOTSUPP also for a command that is not one of vdpa_get_class_cmds().  out may be NULL, and
 * *out_len 0, for one without an answer; *out_len is 0 after an error. */
int vdpa_class_cmd(struct vdpa_device *vdev, uint32_t cmd, const void *in, uint32_t in_len,
		   void *out, uint32_t *out_len, struct vdpa_extack *ack);

#ifdef __cplusplus
}
#endif

#endif
