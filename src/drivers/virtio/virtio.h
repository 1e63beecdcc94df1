/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtio bus of this process: the vDPA driver `virtio` takes a device, and a virtio driver that
 * matches its device id uses it for this host.  It sees what a guest would see: config ops, rings,
 * eventfds.
 *
 * Rings and buffers come from one arena of shared memory for each device, so that any parent, in
 * any process or in hardware, can reach them; everything else is copied in and out.
 *
 * Context: probe, remove and all functions below run on the device's lane, but for the queue
 * functions, which belong to the thread that the virtio driver has chosen for its queues.
 */
#ifndef DRIVERS_VIRTIO_VIRTIO_H
#define DRIVERS_VIRTIO_VIRTIO_H

#include "vdpa/bus.h"

struct virtio_device;

struct virtio_driver {
	const char *name; /* "virtio_blk" */
	uint32_t device_id;
	uint64_t features; /* class features that it understands; ring features are the bus's */
	/* The attributes of `dev bind` that mean something to it; ends with NULL. */
	const char *const *attrs;
	int (*probe)(struct virtio_device *dev, struct vdpa_attrs *attrs, struct vdpa_extack *ack);
	/* May refuse with -EBUSY unless forced; see struct vdpa_driver. */
	int (*remove)(struct virtio_device *dev, bool force, struct vdpa_extack *ack);
	/* The config space changed (or may have since probe).  Lane.  Optional. */
	void (*config_changed)(struct virtio_device *dev);
	/* Control thread; must not block.  Optional. */
	void (*show)(struct virtio_device *dev, struct vdpa_info *info);
	int (*in_use)(struct virtio_device *dev, struct vdpa_extack *ack);
};

struct virtio_queue {
	struct virtio_device *dev;
	uint16_t idx;
	struct vdpa_drvq *ring;
	int kick; /* eventfd that we write; -1: the device wants to be kicked by call */
	int call; /* eventfd that the device writes */
};

struct virtio_device {
	struct vdpa_device *vdev;
	const struct virtio_driver *drv;
	void *priv;        /* the virtio driver's */
	uint64_t features; /* negotiated */
	struct vdpa_mem *arena;
	uint64_t arena_iova;
	uint8_t *buffers; /* the arena behind the rings */
	uint16_t nqueues;
	struct virtio_queue *queues; /* in the order of virtio_setup */
	int refs;                    /* atomic: the driver's, and one while a change is posted */
	bool change_posted;          /* atomic */
	bool removed;                /* lane */
};

struct virtio_queue_setup {
	uint16_t idx;      /* the device has it */
	uint32_t num;      /* entries; cut to what the device takes */
	uint32_t indirect; /* longest chain of descriptors; 0: no tables */
};

/* What virtio_setup() prepares. */
struct virtio_setup {
	const struct virtio_queue_setup *queues;
	uint16_t num_queues;
	size_t buffer_bytes; /* memory for buffers, shared by all queues */
};

/*
 * Reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK.  After it the config space may be read.
 * wanted: class features, of those that the driver understands; those that are offered are taken.
 */
int virtio_negotiate(struct virtio_device *dev, uint64_t wanted, struct vdpa_extack *ack);
/* Arena, memory map and queues; then the device is live (DRIVER_OK). */
int virtio_setup(struct virtio_device *dev, const struct virtio_setup *setup,
		 struct vdpa_extack *ack);
/* Stop the device and free what virtio_setup() made.  No thread uses the queues any more. */
void virtio_teardown(struct virtio_device *dev);

/* A field of the config space that may change: read until the generation holds still. */
int virtio_config_read(struct virtio_device *dev, uint32_t off, void *buf, uint32_t len);

/* The queue size that both sides can have: at most num; a power of two for a split ring. */
int virtio_queue_size(const struct virtio_device *dev, uint16_t idx, uint32_t *num,
		      struct vdpa_extack *ack);

/* The IOVA of a byte of the buffers. */
uint64_t virtio_iova(const struct virtio_device *dev, const void *hva);
/* Publish what was added to the ring, and kick if the device wants that. */
void virtio_queue_publish(struct virtio_queue *vq);

/* Have the virtio driver's config_changed() called soon.  ANY THREAD between probe and remove. */
void virtio_device_changed(struct virtio_device *dev);

/* The device does what it must not: log and event. */
void virtio_broken(struct virtio_device *dev, const char *why);

extern const struct virtio_driver virtio_blk_driver;
extern const struct virtio_driver virtio_console_driver;
extern const struct virtio_driver virtio_crypto_driver;
extern const struct virtio_driver virtio_net_driver;
extern const struct virtio_driver virtio_rng_driver;
extern const struct virtio_driver virtio_scsi_driver;

/* The virtio drivers of this build, ends with NULL. */
extern const struct virtio_driver *const virtio_drivers[];

#endif
