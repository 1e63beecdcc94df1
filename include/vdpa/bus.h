/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * The bus: devices, drivers, management devices and workers, and the verbs that join them.
 *
 * A process may hold several buses; nothing is shared between them.  A bus has one control thread:
 * the one that calls vdpa_bus_dispatch().  All functions here belong to it unless they say any
 * thread.  They never wait for a peer, a disk or another process: verbs that may are started here,
 * run on the device's lane, and report through a callback on the control thread, at the latest when
 * their deadline passes.  Callbacks may start verbs; they must not dispatch or free the bus.
 *
 * In a program that has a main loop already:
 *
 *	poll() on vdpa_bus_fd(bus); when readable: vdpa_bus_dispatch(bus, 0);
 *
 * In one that has none:
 *
 *	struct vdpa_result res = {0};
 *	vdpa_dev_bind(bus, "disk0", "vhost-user", NULL, 0, vdpa_result_done, &res);
 *	err = vdpa_bus_wait(bus, &res);
 */
#ifndef VDPA_BUS_H
#define VDPA_BUS_H

#include <stdarg.h>

#include <vdpa/device.h>
#include <vdpa/driver.h>
#include <vdpa/mgmtdev.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vdpa_log_level { VDPA_LOG_ERROR, VDPA_LOG_WARN, VDPA_LOG_INFO, VDPA_LOG_DEBUG };

/** One line.  dev: the device or management device that it is about, or NULL.  Any thread; must not
 * call the bus. */
typedef void vdpa_log_fn(void *arg, enum vdpa_log_level level, const char *dev, const char *text);

struct vdpa_bus_config {
	const char *run_dir; /**< existing folder; NULL: devices have no path (vdpa_device_path
				fails) */
	uint32_t timeout_ms; /**< deadline of a verb; 0: 10 s */
	vdpa_log_fn *log;    /**< NULL: nobody */
	void *log_arg;
	uint32_t workers; /**< workers made when the first device needs one; 0: one */
	uint32_t poll_us; /**< their adaptive polling, microseconds */
};

/** @param cfg  copied; NULL: defaults.  @return 0, -ENOMEM, -EMFILE ... */
int vdpa_bus_alloc(const struct vdpa_bus_config *cfg, struct vdpa_bus **ret,
		   struct vdpa_extack *ack);
/**
 * Unbind and free everything, by force where something hangs, then the bus.  Blocks for the
 * deadline at most.
 * @return 0, or -ETIMEDOUT when a thread still hangs in some op and was left behind
 */
int vdpa_bus_free(struct vdpa_bus *bus);
/** From now on the records in the run directory outlive their devices: another process is about to
 * go on with them.  Control thread. */
void vdpa_bus_keep_records(struct vdpa_bus *bus);

/** Readable when vdpa_bus_dispatch() has something to do.  Borrowed. */
int vdpa_bus_fd(const struct vdpa_bus *bus);
/** @param timeout_ms  -1: until something happened; 0: do not wait.  @return 0 or -errno */
int vdpa_bus_dispatch(struct vdpa_bus *bus, int timeout_ms);

/* ------------------------------------------------------------------ verbs */

/**
 * Called once, on the control thread, never from inside the function that started the verb (but for
 * -ENOMEM when two verbs in a row find no memory at all).
 *
 * @param err  -ETIMEDOUT at the deadline: a verb that had not begun will not happen; one that had
 *             may still, and is seen in `dev show` and the events when it does
 * @param ack  may hold text also when err is 0: a warning
 */
typedef void vdpa_done_fn(void *arg, int err, const struct vdpa_extack *ack);

struct vdpa_result {
	bool done;
	int err;
	struct vdpa_extack ack;
};
/** A vdpa_done_fn for vdpa_bus_wait(): arg is the struct vdpa_result. */
void vdpa_result_done(void *arg, int err, const struct vdpa_extack *ack);
/** Dispatch until res->done.  @return res->err */
int vdpa_bus_wait(struct vdpa_bus *bus, const struct vdpa_result *res);

#define VDPA_FORCE 1u

/*
 * attrs: consumed in every case; NULL: none.  Failures, too, come through done.  Verbs on one
 * device run in the order in which they were started.
 */
/**
 * Make a device; where there is a default driver for its class, bind it, too.  If only the latter
 * fails the device is there, unbound: err is 0, and ack says why (as does the log).
 */
void vdpa_dev_add(struct vdpa_bus *bus, const char *name, const char *mgmtdev,
		  struct vdpa_attrs *attrs, vdpa_done_fn *done, void *arg);
/**
 * Unbind and remove.  Refused when the driver does not let go.  Done when the device is freed; at
 * the deadline done gets 0 if only that is still to come.
 *
 * VDPA_FORCE: the driver cannot refuse, and whatever hangs: the device is off the bus and the name
 * free again when the function returns.  What is left is undone when the op that hangs comes back.
 */
void vdpa_dev_del(struct vdpa_bus *bus, const char *name, uint32_t flags, vdpa_done_fn *done,
		  void *arg);
/** VDPA_FORCE: although a client of the driver before may still use the content.  Bound already:
 * -EBUSY. */
void vdpa_dev_bind(struct vdpa_bus *bus, const char *name, const char *driver,
		   struct vdpa_attrs *attrs, uint32_t flags, vdpa_done_fn *done, void *arg);
void vdpa_dev_unbind(struct vdpa_bus *bus, const char *name, uint32_t flags, vdpa_done_fn *done,
		     void *arg);
/** Live attributes of the parent, of the driver, and of the bus (`worker NAME [queue N]`). */
void vdpa_dev_set(struct vdpa_bus *bus, const char *name, struct vdpa_attrs *attrs,
		  vdpa_done_fn *done, void *arg);
/** The config space, decoded by the class; info is filled before done. */
void vdpa_dev_config_show(struct vdpa_bus *bus, const char *name, struct vdpa_info *info,
			  vdpa_done_fn *done, void *arg);
/** idx -1: all queues. */
void vdpa_dev_vstats_show(struct vdpa_bus *bus, const char *name, int idx, struct vdpa_info *info,
			  vdpa_done_fn *done, void *arg);
/** Each feature bit: who offered, masked, refused it or never asked. */
void vdpa_dev_explain(struct vdpa_bus *bus, const char *name, struct vdpa_info *info,
		      vdpa_done_fn *done, void *arg);

/**
 * Make a management device of a type.  At the deadline the name stays taken until the type's add()
 * comes back; what it has made then is freed again.
 */
void vdpa_mgmtdev_add(struct vdpa_bus *bus, const char *type, const char *name,
		      struct vdpa_attrs *attrs, vdpa_done_fn *done, void *arg);
/**
 * Remove one that was made so.  -EBUSY while it has devices, -EPERM for one that was registered.
 * Done when it is freed; at the deadline done gets 0 if only that is still to come.
 */
void vdpa_mgmtdev_del(struct vdpa_bus *bus, const char *name, vdpa_done_fn *done, void *arg);
/** Its live attributes. */
void vdpa_mgmtdev_set(struct vdpa_bus *bus, const char *name, struct vdpa_attrs *attrs,
		      vdpa_done_fn *done, void *arg);

/** New devices of a class ("blk") are bound to this driver; NULL: to none.  @return 0, -ENOENT,
 * -ENOMEM */
int vdpa_driver_set_default(struct vdpa_bus *bus, const char *class_name, const char *driver,
			    struct vdpa_extack *ack);

/* ------------------------------------------------------------------ looking around; none of it
 * blocks */

/** @return the device, borrowed until the next dispatch, or NULL */
struct vdpa_device *vdpa_dev_find(struct vdpa_bus *bus, const char *name);
/** In the order of adding; fn returns non-zero to stop.  @return what fn returned last */
int vdpa_dev_each(struct vdpa_bus *bus, int (*fn)(struct vdpa_device *vdev, void *arg), void *arg);
int vdpa_mgmtdev_each(struct vdpa_bus *bus, int (*fn)(struct vdpa_mgmtdev *mdev, void *arg),
		      void *arg);
int vdpa_driver_each(struct vdpa_bus *bus, int (*fn)(const struct vdpa_driver *driver, void *arg),
		     void *arg);
/** Type, management device, sizes, driver, state, client, features; the words are iproute2's where
 * it has them. */
void vdpa_dev_show(struct vdpa_device *vdev, struct vdpa_info *info);
/** The counters of all queues, which any thread may read: a device that hangs delays nobody. */
void vdpa_dev_counters_show(struct vdpa_device *vdev, struct vdpa_info *info);
void vdpa_mgmtdev_show(struct vdpa_bus *bus, struct vdpa_mgmtdev *mdev, struct vdpa_info *info);
/** The type that it was made of; NULL: it was registered. */
const struct vdpa_mgmtdev_type *vdpa_mgmtdev_type_of(struct vdpa_bus *bus,
						     const struct vdpa_mgmtdev *mdev);
/** How it was made and set since, so that `save` can print the command; NULL: it was registered. */
const struct vdpa_attrs *vdpa_mgmtdev_add_attrs(struct vdpa_bus *bus,
						const struct vdpa_mgmtdev *mdev);
int vdpa_mgmtdev_type_each(struct vdpa_bus *bus,
			   int (*fn)(const struct vdpa_mgmtdev_type *type, void *arg), void *arg);
void vdpa_mgmtdev_type_show(const struct vdpa_mgmtdev_type *type, struct vdpa_info *info);
/** With the classes that it is the default of. */
void vdpa_driver_show(struct vdpa_bus *bus, const struct vdpa_driver *driver,
		      struct vdpa_info *info);
/** The driver a device is bound to, or NULL. */
const struct vdpa_driver *vdpa_device_driver(const struct vdpa_device *vdev);
/** How the device was added and bound, so that `save` can print commands; NULL when not bound. */
const struct vdpa_attrs *vdpa_device_add_attrs(const struct vdpa_device *vdev);
const struct vdpa_attrs *vdpa_device_bind_attrs(const struct vdpa_device *vdev);
/** The worker that `dev set` moved queue idx (below nvqs) to, by name; NULL when it did not. */
const char *vdpa_device_placed(const struct vdpa_device *vdev, uint16_t idx);

/* ------------------------------------------------------------------ events */

enum vdpa_event_type {
	VDPA_EVENT_DEV_ADD,
	VDPA_EVENT_DEV_DEL,
	VDPA_EVENT_BIND,
	VDPA_EVENT_UNBIND,
	VDPA_EVENT_CONNECT,    /**< a client came; text: who */
	VDPA_EVENT_DISCONNECT, /**< it left or was put out; text: why */
	VDPA_EVENT_STATUS,     /**< device status changed; text: the bits by name */
	VDPA_EVENT_CONFIG,     /**< config generation changed */
	VDPA_EVENT_STUCK,      /**< a verb missed its deadline; text: which */
	VDPA_EVENT_BROKEN, /**< a ring broke the rules, or the device needs a reset; text: why */
	VDPA_EVENT_MGMTDEV_ADD, /**< by command; text: the type */
	VDPA_EVENT_MGMTDEV_DEL,
};

struct vdpa_event {
	enum vdpa_event_type type;
	const char *name;    /**< of the type: "dev-add" */
	const char *dev;     /**< NULL: it is about a management device */
	const char *text;    /**< may be NULL */
	const char *mgmtdev; /**< NULL: it is about a device */
};

/** fn runs on the control thread.  NULL: nobody listens. */
void vdpa_bus_set_event_cb(struct vdpa_bus *bus,
			   void (*fn)(void *arg, const struct vdpa_event *event), void *arg);
/** Post an event about a device.  Any thread; text is copied. */
void vdpa_device_event(struct vdpa_device *vdev, enum vdpa_event_type type, const char *text);

/** One line for people.  vdev or NULL.  Any thread. */
void vdpa_log(struct vdpa_bus *bus, const struct vdpa_device *vdev, enum vdpa_log_level level,
	      const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* ------------------------------------------------------------------ workers */

/** @param cpu  -1: anywhere.  @return 0, -EEXIST, -EINVAL (no such processor), -EAGAIN ... */
int vdpa_worker_add(struct vdpa_bus *bus, const char *name, int cpu, uint32_t poll_us,
		    struct vdpa_extack *ack);
/** @return 0, -ENOENT, -EBUSY while it serves queues */
int vdpa_worker_del(struct vdpa_bus *bus, const char *name, struct vdpa_extack *ack);
/** poll_us UINT32_MAX, cpu INT_MIN: as it is. */
int vdpa_worker_set(struct vdpa_bus *bus, const char *name, int cpu, uint32_t poll_us,
		    struct vdpa_extack *ack);
struct vdpa_worker *vdpa_worker_find(struct vdpa_bus *bus, const char *name);
int vdpa_worker_each(struct vdpa_bus *bus, int (*fn)(struct vdpa_worker *worker, void *arg),
		     void *arg);
void vdpa_worker_show(struct vdpa_worker *worker, struct vdpa_info *info);
const char *vdpa_worker_name(const struct vdpa_worker *worker); /**< Any thread. */
/**
 * The worker with the fewest queues; makes the first ones.  For parents that place queues.  Any
 * thread.
 * @return a worker that counts one queue more until vdpa_worker_unpick(), or NULL (out of threads)
 */
struct vdpa_worker *vdpa_worker_pick(struct vdpa_bus *bus);
/** Count one queue more on this very worker. */
void vdpa_worker_pick_this(struct vdpa_worker *worker);
void vdpa_worker_unpick(struct vdpa_worker *worker);

/* ------------------------------------------------------------------ signals */

/**
 * Take SIGBUS over for memory of peers that vanishes (vdpa_mem_lost()); what is not about such
 * memory goes to whoever had the signal before.  The one thing here that is the process's and not a
 * bus's; a program that does without dies of a front-end that cuts its memory.  Any thread.
 *
 * @return 0, what sigaction(2) says
 */
int vdpa_sigbus_install(void);

/* ------------------------------------------------------------------ names */

/** "blk" of 2, or NULL.  @spec virtio 1.3, 5 */
const char *vdpa_class_name(uint32_t device_id);
/** 2 of "blk" (and of iproute2's "block"), 0 when unknown. */
uint32_t vdpa_class_id(const char *name);
/** "VIRTIO_BLK_F_FLUSH" in short ("FLUSH") of bit 9 of device id 2; "bit N" in buf when unknown. */
const char *vdpa_feature_name(uint32_t device_id, unsigned int bit, char buf[16]);
/** Decode a config space for people.  Unknown classes: as hex. */
void vdpa_class_config_show(uint32_t device_id, uint64_t features, const void *config, size_t len,
			    struct vdpa_info *info);

#ifdef __cplusplus
}
#endif

#endif
