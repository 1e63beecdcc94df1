/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * Management devices: who makes devices.  A class of the software core is one, a piece of
 * hardware that offers several devices is one.
 *
 * Some are there from the start: they are registered (vdpa_mgmtdev_register()).  Others are made by
 * command (`mgmtdev add`), each of a type that is registered (vdpa_mgmtdev_type_register()): a
 * switch, a TmFIFO.
 */
#ifndef VDPA_MGMTDEV_H
#define VDPA_MGMTDEV_H

#include <vdpa/device.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vdpa_mgmtdev_ops {
	size_t size;
	/**
	 * Make a device, not yet registered: name, ops, nvqs, attrs are filled in by the parent.
	 * Required.
	 *
	 * @param name   checked and reserved
	 * @param attrs  checked against the table; borrowed, descriptors may be taken
	 * @param ret    the bus registers it, or calls ops->free
	 * @context a lane of its own; may block
	 */
	int (*dev_add)(struct vdpa_mgmtdev *mdev, const char *name, struct vdpa_attrs *attrs,
		       struct vdpa_device **ret, struct vdpa_extack *ack);
	/**
	 * Last: no device of it is left.  Optional.
	 *
	 * @context registered: control thread, must not block; made by command: its lane, may block
	 */
	void (*free)(struct vdpa_mgmtdev *mdev);
	/**
	 * What there is to see of it: ports, tables, counters.  Optional.
	 *
	 * @context control thread; must not block
	 */
	void (*show)(struct vdpa_mgmtdev *mdev, struct vdpa_info *info);
	/**
	 * `mgmtdev set`: live attributes of the table of its type; all or nothing.  Optional: there
	 * are none.
	 *
	 * @context its lane, beside dev_add() of its devices, which have lanes of their own; may
	 * block
	 */
	int (*set_attrs)(struct vdpa_mgmtdev *mdev, struct vdpa_attrs *attrs,
			 struct vdpa_extack *ack);
};

struct vdpa_mgmtdev {
	const struct vdpa_mgmtdev_ops *ops;
	char name[VDPA_NAME_MAX];
	const uint32_t *ids;                /**< virtio device ids that it makes, ends with 0 */
	const struct vdpa_attr_desc *attrs; /**< of `dev add` and `dev set` */
	uint16_t max_vqs;
	uint64_t features; /**< that its devices can offer at most */
	const char *help;  /**< one line */
};

/**
 * `dev add` attributes that every parent has, handled by the bus:
 * features MASK (provisioned: offer no others).
 */
extern const struct vdpa_attr_desc vdpa_dev_common_attrs[];

/** Owned by the caller until unregistered.  @return 0, -EEXIST, -EINVAL.  Control thread. */
int vdpa_mgmtdev_register(struct vdpa_bus *bus, struct vdpa_mgmtdev *mdev, struct vdpa_extack *ack);
/** @return 0, -EBUSY while it has devices.  Calls ops->free on success.  Control thread. */
int vdpa_mgmtdev_unregister(struct vdpa_bus *bus, struct vdpa_mgmtdev *mdev,
			    struct vdpa_extack *ack);

/* ------------------------------------------------------------------ made by command */

/** A kind of management device that `mgmtdev add NAME type TYPE` makes.  A constant. */
struct vdpa_mgmtdev_type {
	size_t size;
	const char *name;
	const char *help;                   /**< one line; may be NULL */
	const struct vdpa_attr_desc *attrs; /**< of `mgmtdev add`; LIVE ones of `mgmtdev set` */
	/**
	 * Make one, not yet on the bus: ops, ids, attrs, max_vqs, features, help are filled in, the
	 * name is the bus's to fill in.  Required.
	 *
	 * @param bus    for what makes devices later: workers, log
	 * @param name   checked and reserved
	 * @param attrs  checked against the table; borrowed, descriptors may be taken
	 * @param ret    it belongs to the bus, which ends with ops->free: when `mgmtdev del` says
	 *               so, with the bus, or at once when it comes after the deadline
	 * @context the lane of the management device; may block
	 */
	int (*add)(struct vdpa_bus *bus, const char *name, struct vdpa_attrs *attrs,
		   struct vdpa_mgmtdev **ret, struct vdpa_extack *ack);
};

/** The name under which a shared object for `uvdpad --load` exports its type. */
#define VDPA_MGMTDEV_TYPE_SYMBOL "vdpa_mgmtdev_type"

/**
 * @param type  a constant that outlives the bus
 * @return 0, -EEXIST, -EINVAL (add missing, size, name), -ENOMEM
 * @context control thread
 */
int vdpa_mgmtdev_type_register(struct vdpa_bus *bus, const struct vdpa_mgmtdev_type *type,
			       struct vdpa_extack *ack);
/** All types that come with the library: switch, tmfifo. */
int vdpa_mgmtdev_register_builtin(struct vdpa_bus *bus, struct vdpa_extack *ack);

#ifdef __cplusplus
}
#endif

#endif
