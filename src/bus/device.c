/* SPDX-License-Identifier: BSD-2-Clause */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bus/verb.h"

bool bus_name_valid(const char *name)
{
	size_t len = strlen(name);

	if (!len || len >= VDPA_NAME_MAX || *name == '-' || *name == '.')
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !strchr("-_.", *name))
			return false;
	return true;
}

struct vdpa_device_priv *bus_find(struct vdpa_bus *bus, const char *name)
{
	struct vdpa_device_priv *priv;

	TAILQ_FOREACH (priv, &bus->devices, entry)
		if (!strcmp(priv->name, name))
			return priv;
	return NULL;
}

/* Who finds that the last reference has gone leaves it due: nobody will ask again. */
void device_post_once(struct vdpa_device_priv *priv, atomic_bool *due, struct lane_job *job)
{
	if (!atomic_exchange(due, true) && node_tryget(&priv->node))
		lane_post(priv->node.lane, job);
}

/* ---- the end */

static void device_free(struct bus_node *node)
{
	struct vdpa_device_priv *priv = container_of(node, struct vdpa_device_priv, node);

	if (!priv->vdev)
		return;
	if (priv->ops.set_config_cb)
		priv->ops.set_config_cb(priv->vdev, NULL);
	for (uint32_t asid = 0; asid < priv->nas; asid++)
		map_clear(priv, asid);
	priv->ops.free(priv->vdev);
	priv->vdev = NULL;
}

/* The folder goes when nobody has taken the name again; sockets in it are their drivers'. */
static void device_rmdir(struct vdpa_device_priv *priv)
{
	char path[4096];

	if (!priv->bus->run_dir || bus_find(priv->bus, priv->name))
		return;
	if (snprintf(path, sizeof(path), "%s/dev/%s", priv->bus->run_dir, priv->name) <
	    (int)sizeof(path))
		rmdir(path);
}

static void device_freed(struct bus_node *node)
{
	struct vdpa_device_priv *priv = container_of(node, struct vdpa_device_priv, node);

	if (priv->mdev)
		priv->mdev->users--;
	if (priv->driver)
		priv->driver->users--;
	device_rmdir(priv);
	/* With the descriptors in it, before anybody hears that the device is gone. */
	vdpa_attrs_free(priv->add_attrs);
	priv->add_attrs = NULL;
}

static void device_release(struct bus_node *node)
{
	struct vdpa_device_priv *priv = container_of(node, struct vdpa_device_priv, node);

	vdpa_attrs_free(priv->add_attrs);
	vdpa_attrs_free(priv->bind_attrs);
	free(priv->placed);
	pthread_mutex_destroy(&priv->cb_lock);
	pthread_mutex_destroy(&priv->lock);
	free(priv->maps);
	free(priv->vqs);
	if (priv->maker)
		node_put(priv->maker);
	free(priv);
}

static const struct bus_node_ops device_node_ops = {
	.kind = "device",
	.is_device = true,
	.del = "dev del",
	.free = device_free,
	.freed = device_freed,
	.release = device_release,
};

/* ---- birth */

int device_reserve(struct vdpa_bus *bus, const char *name, struct vdpa_device_priv **ret,
		   struct vdpa_extack *ack)
{
	struct vdpa_device_priv *priv;

	if (bus->closing)
		return vdpa_extack_set(ack, -ESHUTDOWN, "the bus is being closed");
	if (!bus_name_valid(name))
		return vdpa_extack_set(ack, -EINVAL,
				       "'%.40s' is no name for a device: 1 to %d letters, digits, "
				       "'-', '_', '.', not first a '-' or '.'",
				       name, VDPA_NAME_MAX - 1);
	if (bus_find(bus, name))
		return vdpa_extack_set(ack, -EEXIST, "there is a device '%s' already", name);
	priv = calloc(1, sizeof(*priv));
	if (!priv)
		return -ENOMEM;
	memcpy(priv->name, name, strlen(name) + 1);
	priv->bus = bus;
	if (node_init(&priv->node, &device_node_ops, bus, priv->name)) {
		free(priv);
		return -ENOMEM;
	}
	pthread_mutex_init(&priv->lock, NULL);
	pthread_mutex_init(&priv->cb_lock, NULL);
	TAILQ_INSERT_TAIL(&bus->devices, priv, entry);
	*ret = priv;
	return 0;
}

static int check_ops(const struct vdpa_device *vdev, struct vdpa_config_ops *copy,
		     struct vdpa_extack *ack)
{
	const struct vdpa_config_ops *ops = vdev->ops;
	const char *missing;
	bool pair;

	if (!ops || ops->size < sizeof(ops->size))
		return vdpa_extack_set(ack, -EINVAL,
				       "device '%.31s' has no table of ops: 'size' is 0",
				       vdev->name);
	memset(copy, 0, sizeof(*copy));
	memcpy(copy, ops, ops->size < sizeof(*copy) ? ops->size : sizeof(*copy));
	missing = ops_missing(copy, &pair);
	if (missing && pair)
		return vdpa_extack_set(ack, -EINVAL, "the ops of device '%.31s' do not fit: %s",
				       vdev->name, missing);
	if (missing)
		return vdpa_extack_set(ack, -EINVAL, "the ops of device '%.31s' lack '%s'",
				       vdev->name, missing);
	if (!vdev->nvqs)
		return vdpa_extack_set(ack, -EINVAL, "device '%.31s' has no virtqueue", vdev->name);
	if (vdev->nas > 1 && !copy->set_group_asid)
		return vdpa_extack_set(
			ack, -EINVAL,
			"device '%.31s' has %u address spaces, but no 'set_group_asid'", vdev->name,
			vdev->nas);
	return 0;
}

/* The core of features: what was provisioned must be there, and VERSION_1 cannot be taken away. */
static int check_offer(struct vdpa_device_priv *priv, uint64_t provisioned, struct vdpa_extack *ack)
{
	uint64_t offer = atomic_load(&priv->offer), odd = provisioned & ~offer;
	uint32_t id = priv->ops.get_device_id(priv->vdev);
	char buf[16];

	if (!(offer & provisioned & BIT_ULL(32)))
		return vdpa_extack_set(
			ack, -EINVAL,
			"'%s' would not offer VERSION_1 (bit 32), which every device needs",
			priv->name);
	if (provisioned != UINT64_MAX && odd)
		return vdpa_extack_set(
			ack, -EINVAL, "'%s' does not offer feature %s (of 0x%llx)", priv->name,
			vdpa_feature_name(id, (unsigned int)__builtin_ctzll(odd), buf),
			(unsigned long long)provisioned);
	return 0;
}

int device_attach(struct vdpa_device_priv *priv, struct vdpa_device *vdev, uint64_t provisioned,
		  struct vdpa_extack *ack)
{
	int err = check_ops(vdev, &priv->ops, ack);

	if (err)
		return err;
	priv->nas = vdev->nas ? vdev->nas : 1;
	priv->vqs = calloc(vdev->nvqs, sizeof(*priv->vqs));
	priv->maps = calloc(priv->nas, sizeof(struct vdpa_iotlb *));
	if (!priv->vqs || !priv->maps)
		return -ENOMEM;
	memcpy(vdev->name, priv->name, sizeof(vdev->name));
	vdev->priv = priv;
	priv->vdev = vdev;
	priv->provisioned = provisioned;
	ops_refresh(priv);
	priv->generation = vdpa_get_generation(vdev);
	priv->status = vdpa_get_status(vdev);
	err = check_offer(priv, provisioned, ack);
	if (err) {
		priv->vdev = NULL;
		vdev->priv = NULL;
		return err;
	}
	record_init(priv);
	ops_watch_changes(priv);
	return 0;
}

void device_publish(struct vdpa_device_priv *priv)
{
	priv->node.present = true;
	bus_event(priv, VDPA_EVENT_DEV_ADD, NULL);
}

void device_unlink(struct vdpa_device_priv *priv)
{
	if (!priv->node.listed)
		return;
	TAILQ_REMOVE(&priv->bus->devices, priv, entry);
	if (priv->node.present) {
		bus_event(priv, VDPA_EVENT_DEV_DEL, NULL);
		if (!priv->bus->keep_records)
			record_remove(priv);
	}
	atomic_store(&priv->going, true);
	node_unlink(&priv->node);
}

VDPA_API int vdpa_register_device(struct vdpa_bus *bus, struct vdpa_device *vdev,
				  struct vdpa_extack *ack)
{
	struct vdpa_device_priv *priv;
	struct mgmtdev_entry *entry;
	int err;

	if (!memchr(vdev->name, '\0', sizeof(vdev->name)))
		return vdpa_extack_set(ack, -EINVAL, "the name of a device has no end");
	err = device_reserve(bus, vdev->name, &priv, ack);
	if (err)
		return err;
	err = device_attach(priv, vdev, UINT64_MAX, ack);
	if (err) {
		priv->vdev = NULL;
		device_unlink(priv);
	} else {
		entry = vdev->mdev ? mgmtdev_find(bus, vdev->mdev->name) : NULL;
		if (entry)
			mgmtdev_use(entry, priv);
		device_publish(priv);
		bind_start_by_rule(priv);
	}
	device_put(priv);
	return err;
}

/* ---- for parents and drivers */

VDPA_API struct vdpa_bus *vdpa_device_bus(const struct vdpa_device *vdev)
{
	return priv_of(vdev)->bus;
}

static int make_dir(const char *path)
{
	return mkdir(path, 0755) && errno != EEXIST ? -errno : 0;
}

int bus_device_path(const struct vdpa_bus *bus, const char *name, const char *file, char *buf,
		    size_t len)
{
	char dir[4096];
	int err;

	if (!bus->run_dir)
		return -ENOENT;
	if (snprintf(dir, sizeof(dir), "%s/dev", bus->run_dir) >=
	    (int)sizeof(dir) - VDPA_NAME_MAX - 1)
		return -ENAMETOOLONG;
	err = make_dir(dir);
	if (err)
		return err;
	strcat(dir, "/");
	strcat(dir, name);
	err = make_dir(dir);
	if (err)
		return err;
	return snprintf(buf, len, "%s/%s", dir, file) < (int)len ? 0 : -ENAMETOOLONG;
}

VDPA_API int vdpa_device_path(const struct vdpa_device *vdev, const char *file, char *buf,
			      size_t len)
{
	return bus_device_path(priv_of(vdev)->bus, vdev->name, file, buf, len);
}

VDPA_API struct vdpa_device *vdpa_device_get(struct vdpa_device *vdev)
{
	device_get(priv_of(vdev));
	return vdev;
}

VDPA_API void vdpa_device_put(struct vdpa_device *vdev)
{
	device_put(priv_of(vdev));
}

struct run_job {
	struct lane_job job;
	struct vdpa_device *vdev; /* a reference */
	void (*fn)(struct vdpa_device *vdev, void *arg);
	void *arg;
};

static void run_job(struct lane_job *job)
{
	struct run_job *run = container_of(job, struct run_job, job);

	run->fn(run->vdev, run->arg);
	vdpa_device_put(run->vdev);
	free(run);
}

VDPA_API int vdpa_device_run(struct vdpa_device *vdev,
			     void (*fn)(struct vdpa_device *vdev, void *arg), void *arg)
{
	struct run_job *run;

	if (atomic_load(&priv_of(vdev)->going))
		return -ENODEV;
	run = malloc(sizeof(*run));
	if (!run)
		return -ENOMEM;
	*run = (struct run_job){
		.job.fn = run_job, .vdev = vdpa_device_get(vdev), .fn = fn, .arg = arg};
	lane_post(priv_of(vdev)->node.lane, &run->job);
	return 0;
}

VDPA_API bool vdpa_device_on_lane(const struct vdpa_device *vdev)
{
	return lane_current(priv_of(vdev)->node.lane);
}

VDPA_API struct vdpa_device *vdpa_dev_find(struct vdpa_bus *bus, const char *name)
{
	struct vdpa_device_priv *priv = bus_find(bus, name);

	return priv && priv->node.present ? priv->vdev : NULL;
}

VDPA_API int vdpa_dev_each(struct vdpa_bus *bus, int (*fn)(struct vdpa_device *vdev, void *arg),
			   void *arg)
{
	struct vdpa_device_priv *priv, *next;
	int err = 0;

	for (priv = TAILQ_FIRST(&bus->devices); priv && !err; priv = next) {
		next = TAILQ_NEXT(priv, entry);
		if (priv->node.present)
			err = fn(priv->vdev, arg);
	}
	return err;
}

VDPA_API const struct vdpa_driver *vdpa_device_driver(const struct vdpa_device *vdev)
{
	const struct driver_entry *entry = priv_of(vdev)->driver;

	return entry ? entry->driver : NULL;
}

VDPA_API const struct vdpa_attrs *vdpa_device_add_attrs(const struct vdpa_device *vdev)
{
	return priv_of(vdev)->add_attrs;
}

VDPA_API const char *vdpa_device_placed(const struct vdpa_device *vdev, uint16_t idx)
{
	const struct vdpa_device_priv *priv = priv_of(vdev);

	return priv->placed && priv->placed[idx][0] ? priv->placed[idx] : NULL;
}

VDPA_API const struct vdpa_attrs *vdpa_device_bind_attrs(const struct vdpa_device *vdev)
{
	return priv_of(vdev)->bind_attrs;
}

VDPA_API void vdpa_device_set_drvdata(struct vdpa_device *vdev, void *data)
{
	atomic_store(&priv_of(vdev)->drvdata, (uintptr_t)data);
}

VDPA_API void *vdpa_device_drvdata(const struct vdpa_device *vdev)
{
	return (void *)atomic_load(&priv_of(vdev)->drvdata);
}
