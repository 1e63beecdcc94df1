/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/priv.h"

struct driver_entry *driver_find(struct vdpa_bus *bus, const char *name)
{
	struct driver_entry *entry;

	TAILQ_FOREACH (entry, &bus->drivers, entry)
		if (!strcmp(entry->driver->name, name))
			return entry;
	return NULL;
}

void driver_names(struct vdpa_bus *bus, char *buf, size_t len)
{
	struct driver_entry *entry;
	size_t used = 0;

	snprintf(buf, len, "none");
	TAILQ_FOREACH (entry, &bus->drivers, entry)
		if (used < len)
			used += snprintf(buf + used, len - used, "%s'%s'", used ? ", " : "",
					 entry->driver->name);
}

VDPA_API int vdpa_driver_register(struct vdpa_bus *bus, const struct vdpa_driver *driver,
				  struct vdpa_extack *ack)
{
	struct driver_entry *entry;

	if (!driver->name || !bus_name_valid(driver->name))
		return vdpa_extack_set(ack, -EINVAL, "'%.40s' is no name for a driver",
				       driver->name ? driver->name : "");
	if (driver_find(bus, driver->name))
		return vdpa_extack_set(ack, -EEXIST, "there is a driver '%s' already",
				       driver->name);
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	entry->driver = driver;
	memcpy(&entry->ops, driver,
	       driver->size < sizeof(entry->ops) ? driver->size : sizeof(entry->ops));
	if (!entry->ops.probe || !entry->ops.remove) {
		vdpa_extack_set(ack, -EINVAL, "driver '%s' has no '%s'", driver->name,
				entry->ops.probe ? "remove" : "probe");
		free(entry);
		return -EINVAL;
	}
	TAILQ_INSERT_TAIL(&bus->drivers, entry, entry);
	return 0;
}

static void default_drop(struct default_entry *rule)
{
	LIST_REMOVE(rule, entry);
	free(rule);
}

static void driver_drop(struct vdpa_bus *bus, struct driver_entry *entry)
{
	struct default_entry *rule, *next;

	for (rule = LIST_FIRST(&bus->defaults); rule; rule = next) {
		next = LIST_NEXT(rule, entry);
		if (rule->driver == entry)
			default_drop(rule);
	}
	TAILQ_REMOVE(&bus->drivers, entry, entry);
	free(entry);
}

VDPA_API int vdpa_driver_unregister(struct vdpa_bus *bus, const struct vdpa_driver *driver)
{
	struct driver_entry *entry = driver_find(bus, driver->name);

	if (!entry || entry->driver != driver)
		return -ENOENT;
	if (entry->users)
		return -EBUSY;
	driver_drop(bus, entry);
	return 0;
}

void drivers_free(struct vdpa_bus *bus)
{
	struct driver_entry *entry;

	while ((entry = TAILQ_FIRST(&bus->drivers)))
		driver_drop(bus, entry);
}

VDPA_API int vdpa_driver_each(struct vdpa_bus *bus,
			      int (*fn)(const struct vdpa_driver *driver, void *arg), void *arg)
{
	struct driver_entry *entry, *next;
	int err = 0;

	for (entry = TAILQ_FIRST(&bus->drivers); entry && !err; entry = next) {
		next = TAILQ_NEXT(entry, entry);
		err = fn(entry->driver, arg);
	}
	return err;
}

/* ---- defaults */

static struct default_entry *default_find(struct vdpa_bus *bus, uint32_t device_id)
{
	struct default_entry *rule;

	LIST_FOREACH (rule, &bus->defaults, entry)
		if (rule->device_id == device_id)
			return rule;
	return NULL;
}

struct driver_entry *driver_default(struct vdpa_bus *bus, uint32_t device_id)
{
	struct default_entry *rule = default_find(bus, device_id);

	return rule ? rule->driver : NULL;
}

VDPA_API int vdpa_driver_set_default(struct vdpa_bus *bus, const char *class_name,
				     const char *driver, struct vdpa_extack *ack)
{
	struct driver_entry *entry = driver ? driver_find(bus, driver) : NULL;
	uint32_t device_id = vdpa_class_id(class_name);
	struct default_entry *rule;
	char names[128];

	if (!device_id)
		return vdpa_extack_set(
			ack, -ENOENT,
			"no class '%.40s': one of virtio is needed, as 'blk' or 'net'", class_name);
	driver_names(bus, names, sizeof(names));
	if (driver && !entry)
		return vdpa_extack_set(ack, -ENOENT, "no driver '%.40s': there are %s", driver,
				       names);
	rule = default_find(bus, device_id);
	if (!entry) {
		if (rule)
			default_drop(rule);
		return 0;
	}
	if (!rule) {
		rule = calloc(1, sizeof(*rule));
		if (!rule)
			return -ENOMEM;
		rule->device_id = device_id;
		LIST_INSERT_HEAD(&bus->defaults, rule, entry);
	}
	rule->driver = entry;
	return 0;
}

VDPA_API void vdpa_driver_show(struct vdpa_bus *bus, const struct vdpa_driver *driver,
			       struct vdpa_info *info)
{
	struct driver_entry *entry = driver_find(bus, driver->name);
	struct default_entry *rule;

	vdpa_info_u64(info, "devices", entry ? entry->users : 0);
	vdpa_info_open_list(info, "default_of");
	LIST_FOREACH (rule, &bus->defaults, entry)
		if (rule->driver == entry)
			vdpa_info_str(info, NULL, vdpa_class_name(rule->device_id));
	vdpa_info_close(info);
	vdpa_info_open_list(info, "attributes");
	info_attrs(info, driver->attrs);
	vdpa_info_close(info);
}
