/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Classes, and the devices made of them.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>

#include "bus/bus.h"
#include "parents/soft/internal.h"

/* The largest that QEMU's vhost-user front-ends ask for. */
#define QUEUE_SIZE 1024

/* Lines about what a guest did: so many at once, then one in this time. */
#define FAULTS_BURST       4
#define FAULTS_INTERVAL_NS 10000000000ULL

VDPA_API const struct vdpa_attr_desc vdpa_soft_common_attrs[] = {
	{.name = "queues",
	 .type = VDPA_ATTR_UINT,
	 .min = 1,
	 .max = UINT16_MAX,
	 .help = "number of virtqueues"},
	{.name = "queue-size",
	 .type = VDPA_ATTR_UINT,
	 .min = 2,
	 .max = VDPA_VQ_NUM_MAX,
	 .help = "largest size of a queue that the driver may choose, a power of two (1024)"},
	{.name = "packed", .type = VDPA_ATTR_BOOL, .help = "offer packed rings (on)"},
	{.name = "event-idx",
	 .type = VDPA_ATTR_BOOL,
	 .help = "offer notification suppression by event index (on)"},
	{.name = "indirect", .type = VDPA_ATTR_BOOL, .help = "offer indirect descriptors (on)"},
	{.name = "in-order",
	 .type = VDPA_ATTR_BOOL,
	 .help = "offer to give requests back in order (off)"},
	{.name = "worker",
	 .type = VDPA_ATTR_STRING,
	 .help = "the worker that serves the queues (the one with the fewest)"},
	{0},
};

/* ---- ring features */

struct ring_feature {
	unsigned int bit;
	const char *attr;
	bool on;
};

static const struct ring_feature ring_features[] = {
	{VIRTIO_F_RING_PACKED, "packed", true},
	{VIRTIO_RING_F_EVENT_IDX, "event-idx", true},
	{VIRTIO_RING_F_INDIRECT_DESC, "indirect", true},
	{VIRTIO_F_IN_ORDER, "in-order", false},
};

static uint64_t offer_rings(const struct vdpa_attrs *attrs)
{
	uint64_t features = BIT_ULL(VIRTIO_F_VERSION_1);

	for (size_t i = 0; i < ARRAY_SIZE(ring_features); i++) {
		if (vdpa_attrs_bool(attrs, ring_features[i].attr, ring_features[i].on))
			features |= BIT_ULL(ring_features[i].bit);
	}
	return features;
}

const char *soft_why_not(struct vdpa_device *vdev, unsigned int bit)
{
	struct vdpa_soft *soft = to_soft(vdev);

	switch (bit) {
	case VIRTIO_F_RING_PACKED:
		return "switched off by the attribute 'packed'";
	case VIRTIO_RING_F_EVENT_IDX:
		return "switched off by the attribute 'event-idx'";
	case VIRTIO_RING_F_INDIRECT_DESC:
		return "switched off by the attribute 'indirect'";
	case VIRTIO_F_IN_ORDER:
		return "needs the attribute 'in-order on'";
	default:
		return soft->cls.why_not ? soft->cls.why_not(soft, bit) : NULL;
	}
}

/* ---- devices */

static void free_vqs(struct vdpa_soft *soft)
{
	if (!soft->vqs)
		return;
	/* As long as one runs it may wake the others. */
	for (uint16_t i = 0; i < soft->vdev.nvqs; i++)
		if (soft->vqs[i])
			soft_vq_stop(soft->vqs[i], true);
	for (uint16_t i = 0; i < soft->vdev.nvqs; i++)
		soft_vq_free(soft->vqs[i]);
	free(soft->vqs);
}

static void soft_free(struct vdpa_soft *soft)
{
	free_vqs(soft);
	if (soft->created && soft->cls.destroy)
		soft->cls.destroy(soft);
	if (soft->iotlb)
		vdpa_iotlb_put(soft->iotlb);
	if (soft->log)
		vdpa_dirty_log_put(soft->log);
	vdpa_mem_put(soft->inflight.mem);
	pthread_mutex_destroy(&soft->lock);
	pthread_cond_destroy(&soft->cond);
	free(soft->config);
	free(soft->own_config);
	free(soft);
}

void soft_dev_free(struct vdpa_device *vdev)
{
	soft_free(to_soft(vdev));
}

/* A class of an older build is shorter. */
static int copy_class(struct vdpa_soft_class *copy, const struct vdpa_soft_class *cls,
		      struct vdpa_extack *ack)
{
	size_t least = offsetof(struct vdpa_soft_class, load) + sizeof(copy->load);

	if (cls->size < least)
		return vdpa_extack_set(ack, -EINVAL,
				       "the class says it is %zu bytes, less than %zu", cls->size,
				       least);
	*copy = (struct vdpa_soft_class){0};
	memcpy(copy, cls, cls->size < sizeof(*copy) ? cls->size : sizeof(*copy));
	if (!copy->max_vqs)
		copy->max_vqs = copy->nvqs;
	if (!copy->name || !copy->handle == !copy->poll || !copy->device_id || !copy->nvqs ||
	    copy->max_vqs < copy->nvqs)
		return vdpa_extack_set(ack, -EINVAL,
				       "class '%s' lacks its name, device id, queues, or one of "
				       "handle() and poll()",
				       copy->name ? copy->name : "?");
	if (copy->max_segs > VDPA_VQ_SEGS_MAX)
		return vdpa_extack_set(ack, -EINVAL, "class '%s' takes %u pieces, more than %u",
				       copy->name, copy->max_segs, VDPA_VQ_SEGS_MAX);
	if (strlen(copy->name) >= VDPA_NAME_MAX)
		return vdpa_extack_set(ack, -EINVAL, "class name '%s' is longer than %d",
				       copy->name, VDPA_NAME_MAX - 1);
	if (!copy->save != !copy->load)
		return vdpa_extack_set(ack, -EINVAL, "class '%s' has one of save() and load() only",
				       copy->name);
	if (!copy->cmd != !copy->cmds)
		return vdpa_extack_set(ack, -EINVAL, "class '%s' has one of cmd() and 'cmds' only",
				       copy->name);
	return 0;
}

static struct vdpa_soft *soft_alloc(struct vdpa_bus *bus, const struct vdpa_soft_class *cls,
				    const char *name)
{
	size_t size = align_up(sizeof(struct vdpa_soft), 16);
	struct vdpa_soft *soft = calloc(1, size + cls->priv_size);
	pthread_condattr_t attr;

	if (!soft)
		return NULL;
	soft->cls = *cls;
	soft->bus = bus;
	soft->priv = (char *)soft + size;
	soft->req_stride = (uint32_t)align_up(SOFT_REQ_SIZE + cls->req_priv_size, 64);
	soft->vdev.ops = &soft_ops;
	snprintf(soft->vdev.name, sizeof(soft->vdev.name), "%s", name);
	ratelimit_init(&soft->faults, FAULTS_BURST, FAULTS_INTERVAL_NS);
	pthread_mutex_init(&soft->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&soft->cond, &attr);
	pthread_condattr_destroy(&attr);
	soft->config = calloc(1, cls->config_size + 1);
	soft->own_config = calloc(1, cls->config_size + 1);
	if (!soft->config || !soft->own_config) {
		soft_free(soft);
		return NULL;
	}
	return soft;
}

static int read_attrs(struct vdpa_soft *soft, const struct vdpa_attrs *attrs,
		      struct vdpa_extack *ack)
{
	uint64_t queues = vdpa_attrs_u64(attrs, "queues", soft->cls.nvqs);
	uint64_t size = vdpa_attrs_u64(attrs, "queue-size", QUEUE_SIZE);

	if (queues < soft->cls.nvqs || queues > soft->cls.max_vqs)
		return vdpa_extack_set(ack, -ERANGE, "'queues' is %u to %u for '%s', not %u",
				       soft->cls.nvqs, soft->cls.max_vqs, soft->cls.name,
				       (unsigned int)queues);
	if (!is_power_of_2(size))
		return vdpa_extack_set(ack, -EINVAL, "'queue-size' is a power of two, not %u",
				       (unsigned int)size);
	soft->vdev.nvqs = (uint16_t)queues;
	soft->queue_size = (uint32_t)size;
	soft->ring_features = offer_rings(attrs);
	soft->class_features = soft->cls.features;
	return 0;
}

static int alloc_vqs(struct vdpa_soft *soft)
{
	soft->vqs = calloc(soft->vdev.nvqs, sizeof(struct vdpa_soft_vq *));
	if (!soft->vqs)
		return -ENOMEM;
	for (uint16_t i = 0; i < soft->vdev.nvqs; i++) {
		soft->vqs[i] = soft_vq_alloc(soft, i);
		if (!soft->vqs[i])
			return -ENOMEM;
	}
	return 0;
}

static int pin_vqs(struct vdpa_soft *soft, const char *name, struct vdpa_extack *ack)
{
	struct vdpa_worker *worker;

	if (!name)
		return 0;
	worker = vdpa_worker_pick_name(soft->bus, name);
	if (!worker)
		return vdpa_extack_set(ack, -ENOENT, "there is no worker '%s'", name);
	for (uint16_t i = 0; i < soft->vdev.nvqs; i++)
		soft_vq_move(soft->vqs[i], worker);
	vdpa_worker_unpick(worker);
	return 0;
}

struct soft_mgmtdev {
	struct vdpa_mgmtdev mdev;
	struct vdpa_bus *bus;
	struct vdpa_soft_class cls; /* as long as ours, zeroes where the class is older */
	uint32_t ids[2];
	struct vdpa_attr_desc *attrs; /* the class's, then the common ones */
};

int soft_dev_make(struct vdpa_bus *bus, struct vdpa_mgmtdev *mdev,
		  const struct vdpa_soft_class *cls, const struct vdpa_attr_desc *live_attrs,
		  const char *name, struct vdpa_attrs *attrs, void *arg, struct vdpa_device **ret,
		  struct vdpa_extack *ack)
{
	struct vdpa_soft_class copy;
	struct vdpa_soft *soft;
	int err = copy_class(&copy, cls, ack);

	if (err)
		return err;
	soft = soft_alloc(bus, &copy, name);
	if (!soft)
		return -ENOMEM;
	soft->vdev.mdev = mdev;
	soft->vdev.attrs = live_attrs;
	soft->arg = arg;
	err = read_attrs(soft, attrs, ack);
	if (!err && soft->cls.create)
		err = soft->cls.create(soft, attrs, ack);
	if (err)
		goto fail;
	soft->created = true;
	err = alloc_vqs(soft);
	if (!err)
		err = pin_vqs(soft, vdpa_attrs_str(attrs, "worker", NULL), ack);
	if (err)
		goto fail;
	*ret = &soft->vdev;
	return 0;

fail:
	soft_free(soft);
	return err;
}

static int soft_dev_add(struct vdpa_mgmtdev *mdev, const char *name, struct vdpa_attrs *attrs,
			struct vdpa_device **ret, struct vdpa_extack *ack)
{
	struct soft_mgmtdev *sm = container_of(mdev, struct soft_mgmtdev, mdev);

	return soft_dev_make(sm->bus, mdev, &sm->cls, sm->attrs, name, attrs, NULL, ret, ack);
}

/* ---- classes */

static void free_mgmtdev(struct soft_mgmtdev *sm)
{
	free(sm->attrs);
	free(sm);
}

static void soft_mgmtdev_free(struct vdpa_mgmtdev *mdev)
{
	free_mgmtdev(container_of(mdev, struct soft_mgmtdev, mdev));
}

static const struct vdpa_mgmtdev_ops soft_mgmtdev_ops = {
	.size = sizeof(soft_mgmtdev_ops),
	.dev_add = soft_dev_add,
	.free = soft_mgmtdev_free,
};

static size_t num_attrs(const struct vdpa_attr_desc *table)
{
	size_t num = 0;

	while (table && table[num].name)
		num++;
	return num;
}

struct vdpa_attr_desc *soft_attrs_join(const struct vdpa_attr_desc *own)
{
	size_t num = num_attrs(own), common = ARRAY_SIZE(vdpa_soft_common_attrs);
	struct vdpa_attr_desc *attrs = calloc(num + common, sizeof(*attrs));

	if (!attrs)
		return NULL;
	if (num)
		memcpy(attrs, own, num * sizeof(*attrs));
	memcpy(attrs + num, vdpa_soft_common_attrs, sizeof(vdpa_soft_common_attrs));
	return attrs;
}

uint64_t soft_class_offer(const struct vdpa_soft_class *cls)
{
	uint64_t features = cls->features | BIT_ULL(VIRTIO_F_VERSION_1);

	for (size_t i = 0; i < ARRAY_SIZE(ring_features); i++)
		features |= BIT_ULL(ring_features[i].bit);
	return features;
}

VDPA_API int vdpa_soft_class_register(struct vdpa_bus *bus, const struct vdpa_soft_class *cls,
				      struct vdpa_extack *ack)
{
	struct soft_mgmtdev *sm = calloc(1, sizeof(*sm));
	int err;

	if (!sm)
		return -ENOMEM;
	err = copy_class(&sm->cls, cls, ack);
	if (err)
		goto fail;
	err = -ENOMEM;
	sm->attrs = soft_attrs_join(cls->attrs);
	if (!sm->attrs)
		goto fail;
	sm->bus = bus;
	sm->ids[0] = cls->device_id;
	sm->mdev.ops = &soft_mgmtdev_ops;
	snprintf(sm->mdev.name, sizeof(sm->mdev.name), "%s", cls->name);
	sm->mdev.ids = sm->ids;
	sm->mdev.attrs = sm->attrs;
	sm->mdev.max_vqs = sm->cls.max_vqs;
	sm->mdev.features = soft_class_offer(&sm->cls);
	sm->mdev.help = sm->cls.help;
	err = vdpa_mgmtdev_register(bus, &sm->mdev, ack);
	if (err)
		goto fail;
	return 0;

fail:
	free_mgmtdev(sm);
	return err;
}

VDPA_API int vdpa_soft_register_builtin(struct vdpa_bus *bus, struct vdpa_extack *ack)
{
	for (size_t i = 0; soft_classes[i]; i++) {
		int err = vdpa_soft_class_register(bus, soft_classes[i], ack);

		if (err)
			return err;
	}
	return 0;
}

/* ---- what classes call */

VDPA_API void *vdpa_soft_priv(struct vdpa_soft *soft)
{
	return soft->priv;
}

VDPA_API struct vdpa_device *vdpa_soft_vdev(struct vdpa_soft *soft)
{
	return &soft->vdev;
}

VDPA_API void vdpa_soft_set_features(struct vdpa_soft *soft, uint64_t features)
{
	soft->class_features = features & soft->cls.features;
}

VDPA_API void vdpa_soft_set_nvqs(struct vdpa_soft *soft, uint16_t nvqs)
{
	if (nvqs && nvqs <= soft->cls.max_vqs && !soft->created)
		soft->vdev.nvqs = nvqs;
}

VDPA_API uint16_t vdpa_soft_nvqs(const struct vdpa_soft *soft)
{
	return soft->vdev.nvqs;
}

VDPA_API uint32_t vdpa_soft_queue_size(const struct vdpa_soft *soft)
{
	return soft->queue_size;
}

/*
 * The driver's queue may be smaller than ours, and stock drivers then use indirect tables that are
 * longer than it; without those a chain must fit even a small queue.  Half of what the walker takes
 * is left for pieces that cross a border of the memory map.
 */
uint32_t soft_seg_max(const struct vdpa_soft *soft)
{
	bool indirect = soft->ring_features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	uint32_t num = soft->queue_size, most = indirect ? VDPA_VQ_SEGS_MAX / 2 : 64;

	if (num > most)
		num = most;
	return num > 3 ? num - 2 : 1;
}

VDPA_API uint64_t vdpa_soft_features(const struct vdpa_soft *soft)
{
	return soft->driver_features;
}
