/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/priv.h"

VDPA_API const struct vdpa_attr_desc vdpa_dev_common_attrs[] = {
	{"features", VDPA_ATTR_HEX64, 0, 0, 0, NULL,
	 "mask of feature bits: the device offers no others (default: all it has)"},
	{0},
};

struct mgmtdev_entry *mgmtdev_listed(struct vdpa_bus *bus, const char *name)
{
	struct mgmtdev_entry *entry;

	TAILQ_FOREACH (entry, &bus->mgmtdevs, entry)
		if (!strcmp(entry->name, name))
			return entry;
	return NULL;
}

static bool is_made(const struct mgmtdev_entry *entry)
{
	return !entry->type || entry->node.present;
}

struct mgmtdev_entry *mgmtdev_find(struct vdpa_bus *bus, const char *name)
{
	struct mgmtdev_entry *entry = mgmtdev_listed(bus, name);

	return entry && is_made(entry) ? entry : NULL;
}

int mgmtdev_refuse_unknown(struct vdpa_bus *bus, const char *name, struct vdpa_extack *ack)
{
	struct mgmtdev_entry *entry;
	char names[160] = "none";
	size_t used = 0;

	TAILQ_FOREACH (entry, &bus->mgmtdevs, entry)
		if (is_made(entry) && used < sizeof(names))
			used += snprintf(names + used, sizeof(names) - used, "%s'%s'",
					 used ? ", " : "", entry->name);
	return vdpa_extack_set(ack, -ENOENT, "no management device '%.31s': there are %s", name,
			       names);
}

int mgmtdev_check_name(struct vdpa_bus *bus, const char *name, struct vdpa_extack *ack)
{
	if (bus->closing)
		return vdpa_extack_set(ack, -ESHUTDOWN, "the bus is being closed");
	if (!bus_name_valid(name))
		return vdpa_extack_set(ack, -EINVAL, "'%.31s' is no name for a management device",
				       name);
	if (mgmtdev_listed(bus, name))
		return vdpa_extack_set(ack, -EEXIST, "there is a management device '%s' already",
				       name);
	return 0;
}

int mgmtdev_copy_ops(struct mgmtdev_entry *entry, const struct vdpa_mgmtdev *mdev,
		     struct vdpa_extack *ack)
{
	const struct vdpa_mgmtdev_ops *ops = mdev->ops;

	if (ops)
		memcpy(&entry->ops, ops,
		       ops->size < sizeof(entry->ops) ? ops->size : sizeof(entry->ops));
	if (!entry->ops.dev_add)
		return vdpa_extack_set(ack, -EINVAL, "management device '%s' has no 'dev_add'",
				       mdev->name);
	return 0;
}

VDPA_API int vdpa_mgmtdev_register(struct vdpa_bus *bus, struct vdpa_mgmtdev *mdev,
				   struct vdpa_extack *ack)
{
	struct mgmtdev_entry *entry;
	int err;

	if (!memchr(mdev->name, '\0', sizeof(mdev->name)))
		return vdpa_extack_set(ack, -EINVAL, "the name of a management device has no end");
	err = mgmtdev_check_name(bus, mdev->name, ack);
	if (err)
		return err;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	err = mgmtdev_copy_ops(entry, mdev, ack);
	if (err) {
		free(entry);
		return err;
	}
	memcpy(entry->name, mdev->name, sizeof(entry->name));
	entry->mdev = mdev;
	TAILQ_INSERT_TAIL(&bus->mgmtdevs, entry, entry);
	return 0;
}

void mgmtdev_use(struct mgmtdev_entry *entry, struct vdpa_device_priv *priv)
{
	priv->mdev = entry;
	entry->users++;
	if (entry->type)
		priv->maker = node_get(&entry->node);
}

int mgmtdev_check_unused(const struct mgmtdev_entry *entry, struct vdpa_extack *ack)
{
	if (!entry->users)
		return 0;
	return vdpa_extack_set(ack, -EBUSY, "'%s' has %u device%s: remove %s first", entry->name,
			       entry->users, entry->users > 1 ? "s" : "",
			       entry->users > 1 ? "them" : "it");
}

static void mgmtdev_drop(struct vdpa_bus *bus, struct mgmtdev_entry *entry)
{
	TAILQ_REMOVE(&bus->mgmtdevs, entry, entry);
	if (entry->ops.free)
		entry->ops.free(entry->mdev);
	free(entry);
}

VDPA_API int vdpa_mgmtdev_unregister(struct vdpa_bus *bus, struct vdpa_mgmtdev *mdev,
				     struct vdpa_extack *ack)
{
	struct mgmtdev_entry *entry = mgmtdev_find(bus, mdev->name);
	int err;

	if (!entry || entry->mdev != mdev || entry->type)
		return vdpa_extack_set(ack, -ENOENT,
				       "no management device '%.31s' has been registered",
				       mdev->name);
	err = mgmtdev_check_unused(entry, ack);
	if (err)
		return err;
	mgmtdev_drop(bus, entry);
	return 0;
}

void mgmtdevs_free(struct vdpa_bus *bus)
{
	struct mgmtdev_entry *entry;

	while ((entry = TAILQ_FIRST(&bus->mgmtdevs)))
		mgmtdev_drop(bus, entry);
}

VDPA_API int vdpa_mgmtdev_each(struct vdpa_bus *bus,
			       int (*fn)(struct vdpa_mgmtdev *mdev, void *arg), void *arg)
{
	struct mgmtdev_entry *entry, *next;
	int err = 0;

	for (entry = TAILQ_FIRST(&bus->mgmtdevs); entry && !err; entry = next) {
		next = TAILQ_NEXT(entry, entry);
		if (is_made(entry))
			err = fn(entry->mdev, arg);
	}
	return err;
}

static void show_classes(const struct vdpa_mgmtdev *mdev, struct vdpa_info *info)
{
	const char *name;

	vdpa_info_open_list(info, "supported_classes");
	for (const uint32_t *id = mdev->ids; id && *id; id++) {
		name = vdpa_class_name(*id);
		if (name)
			vdpa_info_str(info, NULL, name);
		else
			vdpa_info_fmt(info, NULL, "id %u", *id);
	}
	vdpa_info_close(info);
}

VDPA_API void vdpa_mgmtdev_show(struct vdpa_bus *bus, struct vdpa_mgmtdev *mdev,
				struct vdpa_info *info)
{
	struct mgmtdev_entry *entry = mgmtdev_find(bus, mdev->name);
	const struct vdpa_mgmtdev_type *type = vdpa_mgmtdev_type_of(bus, mdev);
	uint32_t id = mdev->ids ? mdev->ids[0] : 0;

	if (mdev->help)
		vdpa_info_str(info, "help", mdev->help);
	if (type)
		vdpa_info_str(info, "type", type->name);
	show_classes(mdev, info);
	vdpa_info_u64(info, "devices", entry ? entry->users : 0);
	vdpa_info_u64(info, "max_supported_vqs", mdev->max_vqs);
	info_features(info, "dev_features", id, mdev->features);
	if (entry && entry->ops.show) {
		vdpa_info_open(info, "device");
		entry->ops.show(mdev, info);
		vdpa_info_close(info);
	}
	vdpa_info_open_list(info, "attributes");
	info_attrs(info, mdev->attrs);
	info_attrs(info, vdpa_dev_common_attrs);
	vdpa_info_close(info);
}
