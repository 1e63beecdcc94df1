/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of src/bus share.
 *
 * Who owns what: a field of struct vdpa_bus and struct vdpa_device_priv belongs to the control
 * thread unless its group says otherwise.
 */
#ifndef BUS_PRIV_H
#define BUS_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "base/defs.h"
#include "bus/bus.h"
#include "loop/lane.h"
#include "loop/loop.h"
#include "vdpa/state.h"

struct bus_msg;
struct bus_node;
struct verb;

/* ---- bus.c: messages to the control thread, run there in the order of posting */

struct bus_msg {
	void (*fn)(struct bus_msg *msg);
	/* Instead of fn when the bus is gone: release what the message holds.  Any thread. */
	void (*drop)(struct bus_msg *msg);
	STAILQ_ENTRY(bus_msg) entry;
};

/* ANY THREAD that holds a reference on the bus or on one of its devices. */
void bus_post(struct vdpa_bus *bus, struct bus_msg *msg);
void bus_get(struct vdpa_bus *bus);
/* The last one frees what vdpa_bus_free() had to leave behind. */
void bus_put(struct vdpa_bus *bus);

/* ---- node.c: what has a name on the bus, a lane, and verbs of its own: a device, a management
 * device that was made by command */

struct bus_node_ops {
	const char *kind; /* "device": for texts */
	bool is_device;   /* else it is a management device */
	const char *del;  /* "dev del": with "force" it removes what hangs; NULL: nothing does */
	/* No reference is left: take it apart.  Lane, the last job; may block. */
	void (*free)(struct bus_node *node);
	/* That is done.  Control thread.  Optional. */
	void (*freed)(struct bus_node *node);
	/* Last: its memory.  Control thread, or any thread when the bus is gone. */
	void (*release)(struct bus_node *node);
};

struct bus_node {
	const struct bus_node_ops *ops;
	struct vdpa_bus *bus; /* a reference */
	const char *name;     /* of the struct around it */
	struct lane *lane;
	atomic_uint refs;
	atomic_uint events; /* posted and not delivered */
	struct lane_job free_job;
	struct bus_msg freed;

	bool listed;              /* the name is taken */
	bool present;             /* made and on the bus */
	bool stuck;               /* the verb on the lane has missed its deadline */
	TAILQ_HEAD(, verb) verbs; /* the first one is on the lane */
	struct verb *del;         /* waits for it to be freed */
};

/*
 * The rest is zeroed.  The caller gets a reference beside the registry's, whose list is its own
 * business.  0 or -ENOMEM.
 */
int node_init(struct bus_node *node, const struct bus_node_ops *ops, struct vdpa_bus *bus,
	      const char *name);
/* It is off its list: verbs that wait are refused, the registry's reference is dropped. */
void node_unlink(struct bus_node *node);
struct bus_node *node_get(struct bus_node *node);
/* For those who hold no reference, but know that the memory is there: false when the last one is
 * gone. */
bool node_tryget(struct bus_node *node);
void node_put(struct bus_node *node);

/* ---- registered things */

struct driver_entry {
	const struct vdpa_driver *driver;
	struct vdpa_driver
		ops; /* a copy, as long as ours: what an older driver does not know is NULL */
	unsigned int users;
	TAILQ_ENTRY(driver_entry) entry;
};

struct mgmtdev_type {
	const struct vdpa_mgmtdev_type *type;
	struct vdpa_mgmtdev_type ops; /* a copy, as long as ours */
	TAILQ_ENTRY(mgmtdev_type) entry;
};

struct mgmtdev_entry {
	char name[VDPA_NAME_MAX];
	struct vdpa_mgmtdev *mdev; /* NULL until it is made */
	struct vdpa_mgmtdev_ops ops;
	unsigned int users; /* devices of it that are not freed */
	TAILQ_ENTRY(mgmtdev_entry) entry;

	/* Only where it was made by command. */
	struct mgmtdev_type *type; /* NULL: it was registered */
	struct bus_node node;
	struct vdpa_attrs *add_attrs;
};

/* A rule: new devices of a class go to this driver. */
struct default_entry {
	uint32_t device_id;
	struct driver_entry *driver;
	LIST_ENTRY(default_entry) entry;
};

struct vdpa_bus {
	struct loop *loop;
	struct lane_pool *lanes;
	char *run_dir;
	uint32_t timeout_ms;
	atomic_uint refs;

	pthread_mutex_t lock; /* of this group */
	STAILQ_HEAD(, bus_msg) inbox;
	struct loop_call inbox_call;
	bool dead;

	pthread_mutex_t log_lock; /* of this group */
	vdpa_log_fn *log;
	void *log_arg;

	pthread_mutex_t worker_lock; /* of this group */
	TAILQ_HEAD(, vdpa_worker) workers;
	uint32_t first_workers;
	uint32_t poll_us;

	bool closing;
	bool keep_records;
	unsigned int live; /* nodes that are not freed yet */
	void (*event_cb)(void *arg, const struct vdpa_event *event);
	void *event_arg;
	TAILQ_HEAD(, vdpa_device_priv) devices; /* those whose name is taken */
	TAILQ_HEAD(, driver_entry) drivers;
	TAILQ_HEAD(, mgmtdev_entry) mgmtdevs; /* those whose name is taken */
	TAILQ_HEAD(, mgmtdev_type) mgmtdev_types;
	LIST_HEAD(, default_entry) defaults;
	TAILQ_HEAD(, verb) verbs;
	struct verb *reserve; /* for the one verb that finds no memory */
};

/* ---- device.c */

struct vdpa_device_priv {
	struct bus_node node;
	struct vdpa_bus *bus; /* the node's */
	char name[VDPA_NAME_MAX];
	atomic_bool going;         /* nothing more for the lane from outside */
	struct lane_job force_job; /* of the control thread */

	TAILQ_ENTRY(vdpa_device_priv) entry;
	bool leaving; /* an unbind is on the lane: the driver must not be asked any more */
	struct mgmtdev_entry *mdev;
	struct bus_node *maker; /* a reference, where mdev was made by command */
	struct driver_entry *driver;
	struct vdpa_attrs *add_attrs;
	struct vdpa_attrs *bind_attrs;
	char (*placed)[VDPA_NAME_MAX]; /* worker of each queue that `dev set` moved; NULL: none was
					*/

	/* Set once, before the device is on the bus. */
	struct vdpa_device *vdev; /* NULL until it is made */
	struct vdpa_config_ops
		ops; /* a copy, as long as ours: what an older parent does not know is NULL */
	uint64_t provisioned;

	/* Any thread. */
	atomic_uintptr_t drvdata;
	_Atomic uint64_t offer; /* as the device said last */
	_Atomic uint64_t acked; /* negotiated, 0 before */
	atomic_bool negotiated;
	atomic_uint num_max;
	pthread_mutex_t lock; /* of this group */
	char client[128];
	bool connected;

	/* Lane. */
	struct driver_entry *bound;
	char last_user[VDPA_EXTACK_LEN]; /* who may still use the content; empty: nobody */
	char last_driver[VDPA_NAME_MAX];
	struct vdpa_state_vq *vqs;
	struct vdpa_iotlb **maps; /* one for each address space */
	uint32_t nas;
	uint32_t generation;
	uint8_t status;
	bool recorded;          /* there is a record on disk */
	atomic_bool record_due; /* record_job is on the lane */
	struct lane_job record_job;

	/* Changes that the device reports. */
	struct vdpa_config_cb wrap;
	pthread_mutex_t cb_lock;
	struct vdpa_config_cb inner; /* the driver's; called with cb_lock held */
	atomic_bool changed;         /* changed_job is on the lane */
	struct lane_job changed_job;
};

static inline struct vdpa_device_priv *priv_of(const struct vdpa_device *vdev)
{
	return vdev->priv;
}

bool bus_name_valid(const char *name);
struct vdpa_device_priv *bus_find(struct vdpa_bus *bus, const char *name);
/* Take the name, with a lane, for a device that is still to be made.  The caller gets a reference
 * beside the registry's. */
int device_reserve(struct vdpa_bus *bus, const char *name, struct vdpa_device_priv **ret,
		   struct vdpa_extack *ack);
/* The device is made: check its ops and its offer, and belong together from now on.  Lane (or
 * nobody else knows it). */
int device_attach(struct vdpa_device_priv *priv, struct vdpa_device *vdev, uint64_t provisioned,
		  struct vdpa_extack *ack);
/* On the bus from now on. */
void device_publish(struct vdpa_device_priv *priv);
/* Off the bus: the name is free, verbs that wait are refused, the registry's reference is dropped.
 */
void device_unlink(struct vdpa_device_priv *priv);
/* Off the bus, whatever hangs; bound or not. */
void device_remove(struct vdpa_device_priv *priv);
static inline struct vdpa_device_priv *device_get(struct vdpa_device_priv *priv)
{
	node_get(&priv->node);
	return priv;
}
/*
 * Have the lane run a job, once for all who ask before it begins: it clears `due` first, and drops
 * a reference at its end.  ANY THREAD, also without a reference, but from inside the device.
 */
void device_post_once(struct vdpa_device_priv *priv, atomic_bool *due, struct lane_job *job);
static inline void device_put(struct vdpa_device_priv *priv)
{
	node_put(&priv->node);
}

/* ---- ops.c, map.c */

/*
 * Each hop has its own: vhost's log and its protocol features, and how the device gets at memory.
 * None of them says anything about the device, so none crosses the bus.
 */
#define HOP_FEATURES (BIT_ULL(26) | BIT_ULL(30) | BIT_ULL(33))

/* Which required op a table lacks, or what does not go together; NULL: nothing. */
const char *ops_missing(const struct vdpa_config_ops *ops, bool *pair);
/* Read what is shown without asking the device: offer, largest queue.  Lane. */
void ops_refresh(struct vdpa_device_priv *priv);
/* As vdpa_reset(), and the record on disk stays as it is.  Lane. */
void session_reset(struct vdpa_device_priv *priv);
/* The callback that the parent gets; changes become events and go on to the driver. */
void ops_watch_changes(struct vdpa_device_priv *priv);
void map_clear(struct vdpa_device_priv *priv, uint32_t asid);

/* ---- record.c: the device part of the state, in the run directory.  Without one nothing happens.
 */

/* The device is made, and nobody else knows it. */
void record_init(struct vdpa_device_priv *priv);
/* Lane. */
void record_write(struct vdpa_device_priv *priv);
/* Write it again if there is one: the device may have lost what it says.  Lane. */
void record_renew(struct vdpa_device_priv *priv);
/* Go on with what a process that died has left.  Lane; the device is made and not yet bound. */
void record_read(struct vdpa_device_priv *priv);
/* A clean end: nothing to go on with, from now on.  Control thread. */
void record_remove(struct vdpa_device_priv *priv);

/* ---- bind.c */

/* Take the device from its driver, if it has one.  Lane. */
int unbind_lane(struct vdpa_device *vdev, bool force, struct vdpa_extack *ack);
/* The result of unbind_lane(), as the control thread sees it. */
void unbind_done(struct vdpa_device_priv *priv, int err);
/* Bind by rule as (the rest of) a verb; false: there is no rule. */
bool bind_by_rule(struct verb *v);
/* Bind a device by rule, with nobody waiting. */
void bind_start_by_rule(struct vdpa_device_priv *priv);

/* ---- driver.c, mgmtdev.c */

struct driver_entry *driver_find(struct vdpa_bus *bus, const char *name);
struct driver_entry *driver_default(struct vdpa_bus *bus, uint32_t device_id);
/* "'vhost-user', 'virtio'": for texts. */
void driver_names(struct vdpa_bus *bus, char *buf, size_t len);
/* One that makes devices. */
struct mgmtdev_entry *mgmtdev_find(struct vdpa_bus *bus, const char *name);
/* Also one that is still to be made. */
struct mgmtdev_entry *mgmtdev_listed(struct vdpa_bus *bus, const char *name);
/* -ENOENT, with those that there are. */
int mgmtdev_refuse_unknown(struct vdpa_bus *bus, const char *name, struct vdpa_extack *ack);
/* May the name be taken? */
int mgmtdev_check_name(struct vdpa_bus *bus, const char *name, struct vdpa_extack *ack);
/* The table of ops, as long as ours, with all that is required. */
int mgmtdev_copy_ops(struct mgmtdev_entry *entry, const struct vdpa_mgmtdev *mdev,
		     struct vdpa_extack *ack);
/* -EBUSY while it has devices. */
int mgmtdev_check_unused(const struct mgmtdev_entry *entry, struct vdpa_extack *ack);
/* The device counts as its until it is freed. */
void mgmtdev_use(struct mgmtdev_entry *entry, struct vdpa_device_priv *priv);
void drivers_free(struct vdpa_bus *bus);
void mgmtdevs_free(struct vdpa_bus *bus);

/* ---- mgmtdev_type.c */

/* Those that were made by command are off the bus, and freed when their devices are. */
void mgmtdevs_close(struct vdpa_bus *bus);
void mgmtdev_types_free(struct vdpa_bus *bus);

/* ---- set.c: attributes that a verb has used */

/*
 * What was set, into the attributes that `save` prints: those of the tables (more may be NULL) that
 * `add` knows.  Without memory they stay as they are.
 */
void attrs_remember(struct vdpa_attrs **attrs, const struct vdpa_attrs *now,
		    const struct vdpa_attr_desc *table, const struct vdpa_attr_desc *more);

/* ---- worker.c */

void workers_free(struct vdpa_bus *bus);

/* ---- log.c */

/* As vdpa_log(), for a node that may still have to be made.  Any thread. */
void node_log(struct bus_node *node, enum vdpa_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* ---- event.c */

void node_event(struct bus_node *node, enum vdpa_event_type type, const char *text);
static inline void bus_event(struct vdpa_device_priv *priv, enum vdpa_event_type type,
			     const char *text)
{
	node_event(&priv->node, type, text);
}
/* "ACKNOWLEDGE DRIVER ..." */
void status_names(uint8_t status, char *buf, size_t len);

/* ---- info.c: values that are written down now and read later, by another thread */

struct info_item;
struct info_record {
	struct vdpa_info info;
	STAILQ_HEAD(, info_item) items;
	bool failed; /* out of memory */
};

/* The attributes of a table with their help. */
void info_attrs(struct vdpa_info *info, const struct vdpa_attr_desc *attrs);
/* A list of the names of feature bits. */
void info_features(struct vdpa_info *info, const char *key, uint32_t device_id, uint64_t features);
void info_record_init(struct info_record *record);
void info_record_replay(const struct info_record *record, struct vdpa_info *info);
void info_record_release(struct info_record *record);

#endif
