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

struct mgmtdev_entry *mgmtdev_find(struct vdpa_bus *bus, const char *name)
{
	struct mgmtdev_entry *entry;

	TAILQ_FOREACH (entry, &bus->mgmtdevs, entry)
		if (!strcmp(entry->mdev->name, name))
			return entry;
	return NULL;
}

void mgmtdev_names(struct vdpa_bus *bus, char *buf, size_t len)
{
	struct mgmtdev_entry *entry;
	size_t used = 0;

	snprintf(buf, len, "none");
	TAILQ_FOREACH (entry, &bus->mgmtdevs, entry)
		if (used < len)
			used += snprintf(buf + used, len - used, "%s'%s'", used ? ", " : "",
					 entry->mdev->name);
}

VDPA_API int vdpa_mgmtdev_register(struct vdpa_bus *bus, struct vdpa_mgmtdev *mdev,
				   struct vdpa_extack *ack)
{
	const struct vdpa_mgmtdev_ops *ops = mdev->ops;
	struct mgmtdev_entry *entry;

	if (!memchr(mdev->name, '\0', sizeof(mdev->name)) || !bus_name_valid(mdev->name))
		return vdpa_extack_set(ack, -EINVAL, "'%.31s' is no name for a management device",
				       mdev->name);
	if (mgmtdev_find(bus, mdev->name))
		return vdpa_extack_set(ack, -EEXIST, "there is a management device '%s' already",
				       mdev->name);
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	entry->mdev = mdev;
	memcpy(&entry->ops, ops, ops->size < sizeof(entry->ops) ? ops->size : sizeof(entry->ops));
	if (!entry->ops.dev_add) {
		free(entry);
		return vdpa_extack_set(ack, -EINVAL, "management device '%s' has no 'dev_add'",
				       mdev->name);
	}
	TAILQ_INSERT_TAIL(&bus->mgmtdevs, entry, entry);
	return 0;
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

	if (!entry || entry->mdev != mdev)
		return vdpa_extack_set(ack, -ENOENT, "no management device '%.31s'", mdev->name);
	if (entry->users)
		return vdpa_extack_set(ack, -EBUSY, "'%s' has %u devices: remove them first",
				       mdev->name, entry->users);
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
	uint32_t id = mdev->ids ? mdev->ids[0] : 0;

	if (mdev->help)
		vdpa_info_str(info, "help", mdev->help);
	show_classes(mdev, info);
	vdpa_info_u64(info, "devices", entry ? entry->users : 0);
	vdpa_info_u64(info, "max_supported_vqs", mdev->max_vqs);
	info_features(info, "dev_features", id, mdev->features);
	vdpa_info_open_list(info, "attributes");
	info_attrs(info, mdev->attrs);
	info_attrs(info, vdpa_dev_common_attrs);
	vdpa_info_close(info);
}
