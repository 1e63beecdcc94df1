/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * Management devices: who makes devices.  A class of the software core is one, a piece of
 * hardware that offers several devices is one.
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
	/** Last: no device of it is left.  Optional.  Control thread. */
	void (*free)(struct vdpa_mgmtdev *mdev);
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

#ifdef __cplusplus
}
#endif

#endif
