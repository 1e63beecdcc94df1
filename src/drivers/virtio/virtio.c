/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/defs.h"
#include "drivers/virtio/virtio.h"

#ifndef VIRTIO_F_IN_ORDER
#define VIRTIO_F_IN_ORDER 35
#endif

/* Ring features that the driver side of the ring has code for. */
#define RING_FEATURES                                                                              \
	(BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_F_RING_PACKED) |                             \
	 BIT_ULL(VIRTIO_F_IN_ORDER) | BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) |                       \
	 BIT_ULL(VIRTIO_RING_F_EVENT_IDX))

#define ARENA_ALIGN 4096u

static const struct virtio_driver *driver_of(uint32_t device_id)
{
	for (size_t i = 0; virtio_drivers[i]; i++)
		if (virtio_drivers[i]->device_id == device_id)
			return virtio_drivers[i];
	return NULL;
}

int virtio_negotiate(struct virtio_device *dev, uint64_t wanted, struct vdpa_extack *ack)
{
	vdpa_reset(dev->vdev);
	dev->features = vdpa_get_device_features(dev->vdev) &
			(RING_FEATURES | (wanted & dev->drv->features));
	return vdpa_negotiate(dev->vdev, dev->features, ack);
}

static void queue_teardown(struct virtio_queue *vq)
{
	vdpa_drvq_free(vq->ring);
	fd_closep(&vq->kick);
	fd_closep(&vq->call);
}

/* The device gets duplicates: it closes what it is given. */
static int queue_eventfds(struct virtio_queue *vq)
{
	struct vdpa_device *vdev = vq->dev->vdev;
	int kick vdpa_cleanup(fd_closep) = -1;
	int call vdpa_cleanup(fd_closep) = -1;
	int err;

	vq->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vq->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (vq->kick < 0 || vq->call < 0)
		return -errno;

	kick = fcntl(vq->kick, F_DUPFD_CLOEXEC, 0);
	call = fcntl(vq->call, F_DUPFD_CLOEXEC, 0);
	if (kick < 0 || call < 0)
		return -errno;

	err = vdpa_set_vq_call(vdev, vq->idx, &call);
	if (err)
		return err;
	err = vdpa_set_vq_kick(vdev, vq->idx, &kick);
	if (err == -EOPNOTSUPP) {
		fd_closep(&vq->kick);
		err = 0;
	}
	return err;
}

static int queue_setup(struct virtio_queue *vq, size_t off, const struct virtio_queue_setup *setup,
		       struct vdpa_extack *ack)
{
	struct virtio_device *dev = vq->dev;
	bool packed = dev->features & BIT_ULL(VIRTIO_F_RING_PACKED);
	struct vdpa_vq_state state = {.packed = packed};
	struct vdpa_drvq_config cfg = {
		.num = setup->num,
		.features = dev->features,
		.hva = (uint8_t *)vdpa_mem_hva(dev->arena) + off,
		.iova = dev->arena_iova + off,
		.indirect = setup->indirect,
	};
	uint64_t desc, driver, device;
	int err;

	err = vdpa_drvq_alloc(&cfg, &vq->ring, ack);
	if (err)
		return err;
	err = queue_eventfds(vq);
	if (err)
		return vdpa_extack_set(ack, err, "cannot make the eventfds of queue %u", vq->idx);

	if (packed) {
		state.packed_ring.last_avail_counter = true;
		state.packed_ring.last_used_counter = true;
	}
	vdpa_drvq_areas(vq->ring, &desc, &driver, &device);
	err = vdpa_set_vq_num(dev->vdev, vq->idx, setup->num, ack);
	if (!err)
		err = vdpa_set_vq_address(dev->vdev, vq->idx, desc, driver, device, ack);
	if (!err)
		err = vdpa_set_vq_state(dev->vdev, vq->idx, &state, ack);
	if (!err)
		err = vdpa_set_vq_ready(dev->vdev, vq->idx, true, ack);
	return err;
}

/* One range at the start of what the device can address, but not at 0: that reads as "none". */
static int arena_setup(struct virtio_device *dev, size_t bytes, struct vdpa_extack *ack)
{
	struct vdpa_iotlb *iotlb = NULL;
	struct vdpa_iotlb_range range = {.len = bytes, .perm = VDPA_PERM_RW};
	uint64_t first, last;
	int err;

	vdpa_get_iova_range(dev->vdev, &first, &last);
	if (first > UINT64_MAX - 2 * ARENA_ALIGN)
		return vdpa_extack_set(ack, -ERANGE, "the device can address too little memory");
	range.iova = first ? align_up(first, ARENA_ALIGN) : ARENA_ALIGN;
	if (range.iova > last || bytes - 1 > last - range.iova)
		return vdpa_extack_set(
			ack, -ERANGE,
			"the device can address too little memory: %zu bytes are needed", bytes);

	err = vdpa_mem_alloc(dev->vdev->name, bytes, &dev->arena, ack);
	if (err)
		return err;
	dev->arena_iova = range.iova;
	range.hva = vdpa_mem_hva(dev->arena);
	range.mem = dev->arena;
	err = vdpa_iotlb_alloc(&range, 1, &iotlb, ack);
	if (err)
		return err;
	err = vdpa_set_map(dev->vdev, 0, iotlb, ack);
	vdpa_iotlb_put(iotlb);
	return err;
}

int virtio_queue_size(const struct virtio_device *dev, uint16_t idx, uint32_t *num,
		      struct vdpa_extack *ack)
{
	uint32_t max = vdpa_get_vq_size(dev->vdev, idx);
	uint32_t min = vdpa_get_vq_num_min(dev->vdev);

	while (*num > max)
		*num /= 2;
	if (*num < min)
		*num = min;
	if (!*num || (!(dev->features & BIT_ULL(VIRTIO_F_RING_PACKED)) && !is_power_of_2(*num)))
		return vdpa_extack_set(ack, -EINVAL,
				       "no size of queue %u fits between the device's %u and %u",
				       idx, min, max);
	return 0;
}

/* What can be had of what is wanted.  Sizes the rings' memory. */
static int fit_queue(const struct virtio_device *dev, struct virtio_queue_setup *queue,
		     size_t *bytes, struct vdpa_extack *ack)
{
	int err = virtio_queue_size(dev, queue->idx, &queue->num, ack);

	if (!(dev->features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC)))
		queue->indirect = 0;
	if (!err)
		*bytes += align_up(vdpa_drvq_bytes(queue->num, dev->features, queue->indirect),
				   ARENA_ALIGN);
	return err;
}

static int setup_queues(struct virtio_device *dev, struct virtio_queue_setup *queues, uint16_t num,
			struct vdpa_extack *ack)
{
	size_t off = 0;

	for (uint16_t i = 0; i < num; i++) {
		dev->queues[i] = (struct virtio_queue){
			.dev = dev, .idx = queues[i].idx, .kick = -1, .call = -1};
		dev->nqueues = i + 1;
		int err = queue_setup(&dev->queues[i], off, &queues[i], ack);

		if (err)
			return err;
		off += align_up(vdpa_drvq_bytes(queues[i].num, dev->features, queues[i].indirect),
				ARENA_ALIGN);
	}
	return 0;
}

int virtio_setup(struct virtio_device *dev, const struct virtio_setup *setup,
		 struct vdpa_extack *ack)
{
	struct virtio_queue_setup *queues vdpa_cleanup(freep) =
		calloc(setup->num_queues, sizeof(*queues));
	size_t ring_bytes = 0;
	int err = 0;

	dev->queues = calloc(setup->num_queues, sizeof(*dev->queues));
	if (!queues || !dev->queues)
		return -ENOMEM;
	for (uint16_t i = 0; i < setup->num_queues && !err; i++) {
		queues[i] = setup->queues[i];
		err = fit_queue(dev, &queues[i], &ring_bytes, ack);
	}
	if (!err)
		err = arena_setup(dev, ring_bytes + setup->buffer_bytes, ack);
	if (err)
		return err;
	dev->buffers = (uint8_t *)vdpa_mem_hva(dev->arena) + ring_bytes;

	err = setup_queues(dev, queues, setup->num_queues, ack);
	if (err)
		return err;
	return vdpa_set_status(dev->vdev, vdpa_get_status(dev->vdev) | VIRTIO_CONFIG_S_DRIVER_OK,
			       ack);
}

void virtio_teardown(struct virtio_device *dev)
{
	vdpa_reset(dev->vdev);
	if (dev->arena)
		vdpa_reset_map(dev->vdev, 0);
	for (uint16_t i = 0; i < dev->nqueues; i++)
		queue_teardown(&dev->queues[i]);
	free(dev->queues);
	dev->queues = NULL;
	dev->nqueues = 0;
	vdpa_mem_put(dev->arena);
	dev->arena = NULL;
	dev->buffers = NULL;
}

int virtio_config_read(struct virtio_device *dev, uint32_t off, void *buf, uint32_t len)
{
	/* A device that never holds still does not hold us. */
	for (int tries = 0; tries < 100; tries++) {
		uint32_t generation = vdpa_get_generation(dev->vdev);
		int err = vdpa_get_config(dev->vdev, off, buf, len);

		if (err || vdpa_get_generation(dev->vdev) == generation)
			return err;
	}
	return -EAGAIN;
}

uint64_t virtio_iova(const struct virtio_device *dev, const void *hva)
{
	return dev->arena_iova +
	       (uint64_t)((const uint8_t *)hva - (const uint8_t *)vdpa_mem_hva(dev->arena));
}

void virtio_queue_publish(struct virtio_queue *vq)
{
	if (!vdpa_drvq_publish(vq->ring))
		return;
	if (vq->kick >= 0)
		eventfd_write(vq->kick, 1);
	else
		vdpa_kick_vq(vq->dev->vdev, vq->idx);
}

void virtio_broken(struct virtio_device *dev, const char *why)
{
	vdpa_log(vdpa_device_bus(dev->vdev), dev->vdev, VDPA_LOG_ERROR, "%s: %s", dev->drv->name,
		 why);
	vdpa_device_event(dev->vdev, VDPA_EVENT_BROKEN, why);
}

/* ---- the vDPA driver */

static void device_put(struct virtio_device *dev)
{
	if (__atomic_sub_fetch(&dev->refs, 1, __ATOMIC_ACQ_REL) == 0)
		free(dev);
}

static void config_changed_on_lane(struct vdpa_device *vdev, void *arg)
{
	struct virtio_device *dev = arg;

	__atomic_store_n(&dev->change_posted, false, __ATOMIC_SEQ_CST);
	if (!dev->removed && dev->drv->config_changed)
		dev->drv->config_changed(dev);
	device_put(dev);
}

/* The config space is read on the lane only; changes in a row are read once. */
void virtio_device_changed(struct virtio_device *dev)
{
	if (__atomic_exchange_n(&dev->change_posted, true, __ATOMIC_SEQ_CST))
		return;
	__atomic_add_fetch(&dev->refs, 1, __ATOMIC_RELAXED);
	if (vdpa_device_run(dev->vdev, config_changed_on_lane, dev)) {
		__atomic_store_n(&dev->change_posted, false, __ATOMIC_SEQ_CST);
		device_put(dev);
	}
}

static void config_changed(void *arg)
{
	virtio_device_changed(arg);
}

static int virtio_match(struct vdpa_device *vdev, struct vdpa_extack *ack)
{
	uint32_t id = vdpa_get_device_id(vdev);
	const char *name = vdpa_class_name(id);

	if (driver_of(id))
		return 0;
	return vdpa_extack_set(ack, -ENOTSUP,
			       "driver 'virtio' has no virtio driver for class '%s' (device id %u)",
			       name ? name : "unknown", id);
}

static bool takes(const struct virtio_driver *drv, const char *key)
{
	for (const char *const *attr = drv->attrs; *attr; attr++)
		if (!strcmp(*attr, key))
			return true;
	return false;
}

/* An attribute that would have no effect is a mistake, and said to be one. */
static int check_attrs(const struct virtio_driver *drv, const struct vdpa_attrs *attrs,
		       struct vdpa_extack *ack)
{
	for (size_t i = 0; i < vdpa_attrs_num(attrs); i++) {
		const char *key = vdpa_attrs_key(attrs, i);

		if (!takes(drv, key))
			return vdpa_extack_set(ack, -EINVAL, "'%s' means nothing to %s", key,
					       drv->name);
	}
	return 0;
}

static int virtio_probe(struct vdpa_device *vdev, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct virtio_device *dev = calloc(1, sizeof(*dev));
	struct vdpa_config_cb cb = {.changed = config_changed, .arg = dev};
	int err;

	if (!dev)
		return -ENOMEM;
	dev->refs = 1;
	dev->vdev = vdev;
	dev->drv = driver_of(vdpa_get_device_id(vdev));
	err = check_attrs(dev->drv, attrs, ack);
	if (!err)
		err = dev->drv->probe(dev, attrs, ack);
	if (err) {
		/* A change may be posted already. */
		dev->removed = true;
		device_put(dev);
		return err;
	}
	vdpa_device_set_drvdata(vdev, dev);
	/* Last: what changed before, probe has read. */
	vdpa_set_config_cb(vdev, &cb);
	if (dev->drv->config_changed)
		dev->drv->config_changed(dev);
	return 0;
}

static int virtio_remove(struct vdpa_device *vdev, bool force, struct vdpa_extack *ack)
{
	struct virtio_device *dev = vdpa_device_drvdata(vdev);
	struct vdpa_config_cb cb = {.changed = config_changed, .arg = dev};
	int err;

	vdpa_set_config_cb(vdev, NULL);
	err = dev->drv->remove(dev, force, ack);
	if (err) {
		vdpa_set_config_cb(vdev, &cb);
		return err;
	}
	vdpa_device_set_drvdata(vdev, NULL);
	dev->removed = true;
	device_put(dev);
	return 0;
}

static void virtio_show(struct vdpa_device *vdev, struct vdpa_info *info)
{
	struct virtio_device *dev = vdpa_device_drvdata(vdev);

	if (!dev)
		return;
	vdpa_info_str(info, "virtio_driver", dev->drv->name);
	if (dev->drv->show)
		dev->drv->show(dev, info);
}

static int virtio_in_use(struct vdpa_device *vdev, struct vdpa_extack *ack)
{
	struct virtio_device *dev = vdpa_device_drvdata(vdev);

	return dev && dev->drv->in_use ? dev->drv->in_use(dev, ack) : 0;
}

/* A driver never asks for bits that its code does not have. */
static uint64_t virtio_masked(const struct vdpa_device *vdev)
{
	const struct virtio_driver *drv = driver_of(vdpa_get_device_id((struct vdpa_device *)vdev));

	return ~(RING_FEATURES | (drv ? drv->features : 0));
}

static const char *virtio_why_masked(const struct vdpa_device *vdev, unsigned int bit)
{
	return "the virtio driver of this process does not use it";
}

static const struct vdpa_attr_desc virtio_attrs[] = {
	{.name = "mode",
	 .type = VDPA_ATTR_OCTAL,
	 .min = 0,
	 .max = 0777,
	 .help = "of the file that this host gets (blk, crypto, rng, scsi): permissions (default "
		 "0600)"},
	{.name = "owner",
	 .type = VDPA_ATTR_STRING,
	 .help = "of the file: user who owns it (default: the daemon's)"},
	{.name = "group",
	 .type = VDPA_ATTR_STRING,
	 .help = "of the file: its group (default: the daemon's)"},
	{.name = "ifname",
	 .type = VDPA_ATTR_STRING,
	 .help = "net: the network interface that this host gets (default: the device's name)"},
	{0},
};

static const struct vdpa_driver virtio = {
	.size = sizeof(virtio),
	.name = "virtio",
	.attrs = virtio_attrs,
	.match = virtio_match,
	.probe = virtio_probe,
	.remove = virtio_remove,
	.show = virtio_show,
	.masked = virtio_masked,
	.why_masked = virtio_why_masked,
	.in_use = virtio_in_use,
};

VDPA_API const struct vdpa_driver *const vdpa_driver_virtio = &virtio;
