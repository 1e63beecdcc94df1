/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * A bus driver: takes a device of any parent and hands it to somebody (a VMM, the kernel, this
 * host).
 */
#ifndef VDPA_DRIVER_H
#define VDPA_DRIVER_H

#include <vdpa/device.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vdpa_driver {
	size_t size;                        /**< sizeof(struct vdpa_driver) */
	const char *name;                   /**< "vhost-user", "virtio", ... */
	const struct vdpa_attr_desc *attrs; /**< of `dev bind`; LIVE ones also of `dev set` */

	/** Can the device be served?  Says why not.  Optional: any device.  Lane. */
	int (*match)(struct vdpa_device *vdev, struct vdpa_extack *ack);
	/**
	 * Take the device.  It is reset, nobody else uses it.  Lane; may block.
	 * @param attrs  checked; borrowed, descriptors may be taken
	 */
	int (*probe)(struct vdpa_device *vdev, struct vdpa_attrs *attrs, struct vdpa_extack *ack);
	/**
	 * Give the device back.  Without force it may refuse with -EBUSY and the reason (a file
	 * that is open); with force it must succeed.  Afterwards nothing of the driver uses the
	 * device; the bus resets it.  Lane.
	 */
	int (*remove)(struct vdpa_device *vdev, bool force, struct vdpa_extack *ack);
	/** Live attributes (checked).  Optional.  Lane. */
	int (*set_attrs)(struct vdpa_device *vdev, struct vdpa_attrs *attrs,
			 struct vdpa_extack *ack);
	/** The driver's view: socket, client, file.  Optional.  Control thread: must not block. */
	void (*show)(struct vdpa_device *vdev, struct vdpa_info *info);
	/** Bits that this driver never passes on, whatever the device offers.  Optional: none.  Any
	 * thread. */
	uint64_t (*masked)(const struct vdpa_device *vdev);
	/** Why a bit is masked, for `dev explain`.  Optional, with masked. */
	const char *(*why_masked)(const struct vdpa_device *vdev, unsigned int bit);
	/** Might a client still use the content (a mounted disk)?  Then binding elsewhere needs
	 * force. The text says who.  Optional.  Lane. */
	int (*in_use)(struct vdpa_device *vdev, struct vdpa_extack *ack);
};

/** @return 0, -EEXIST, -EINVAL (probe or remove is missing).  Control thread. */
int vdpa_driver_register(struct vdpa_bus *bus, const struct vdpa_driver *driver,
			 struct vdpa_extack *ack);
/** @return 0, -EBUSY while it has devices.  Control thread. */
int vdpa_driver_unregister(struct vdpa_bus *bus, const struct vdpa_driver *driver);

/** The driver's own pointer for a device; NULL after remove.  Set in probe.  Lane; reading also in
 * show. */
void vdpa_device_set_drvdata(struct vdpa_device *vdev, void *data);
void *vdpa_device_drvdata(const struct vdpa_device *vdev);

/** Tell the bus what the client did: events, `dev show`, `dev explain`.  Any thread; does not
 * block. */
void vdpa_device_client(struct vdpa_device *vdev, bool connected, const char *who);

/** The drivers that come with the library, NULL where it was built without. */
extern const struct vdpa_driver *const vdpa_driver_vhost_user;
extern const struct vdpa_driver *const vdpa_driver_virtio;

#ifdef __cplusplus
}
#endif

#endif
