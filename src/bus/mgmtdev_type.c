/* SPDX-License-Identifier: BSD-2-Clause */
/* Management devices that are made by command: their types, and the verbs on them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/verb.h"

/* ---- types */

static struct mgmtdev_type *type_find(struct vdpa_bus *bus, const char *name)
{
	struct mgmtdev_type *type;

	TAILQ_FOREACH (type, &bus->mgmtdev_types, entry)
		if (!strcmp(type->type->name, name))
			return type;
	return NULL;
}

static void type_names(struct vdpa_bus *bus, char *buf, size_t len)
{
	struct mgmtdev_type *type;
	size_t used = 0;

	snprintf(buf, len, "none");
	TAILQ_FOREACH (type, &bus->mgmtdev_types, entry)
		if (used < len)
			used += snprintf(buf + used, len - used, "%s'%s'", used ? ", " : "",
					 type->type->name);
}

/* A type of an older build is shorter. */
static int type_copy(struct vdpa_mgmtdev_type *copy, const struct vdpa_mgmtdev_type *type,
		     struct vdpa_extack *ack)
{
	size_t least = offsetof(struct vdpa_mgmtdev_type, add) + sizeof(type->add);

	if (type->size < least)
		return vdpa_extack_set(ack, -EINVAL,
				       "the type of management devices says it is %zu bytes, less "
				       "than %zu",
				       type->size, least);
	memcpy(copy, type, type->size < sizeof(*copy) ? type->size : sizeof(*copy));
	if (!copy->name || !bus_name_valid(copy->name))
		return vdpa_extack_set(ack, -EINVAL,
				       "'%.40s' is no name for a type of management devices",
				       copy->name ? copy->name : "");
	if (!copy->add)
		return vdpa_extack_set(ack, -EINVAL, "type '%s' has no 'add'", copy->name);
	return 0;
}

VDPA_API int vdpa_mgmtdev_type_register(struct vdpa_bus *bus, const struct vdpa_mgmtdev_type *type,
					struct vdpa_extack *ack)
{
	struct mgmtdev_type *entry = calloc(1, sizeof(*entry));
	int err;

	if (!entry)
		return -ENOMEM;
	err = type_copy(&entry->ops, type, ack);
	if (!err && type_find(bus, type->name))
		err = vdpa_extack_set(ack, -EEXIST, "there is a type '%s' already", type->name);
	if (err) {
		free(entry);
		return err;
	}
	entry->type = type;
	TAILQ_INSERT_TAIL(&bus->mgmtdev_types, entry, entry);
	return 0;
}

void mgmtdev_types_free(struct vdpa_bus *bus)
{
	struct mgmtdev_type *type;

	while ((type = TAILQ_FIRST(&bus->mgmtdev_types))) {
		TAILQ_REMOVE(&bus->mgmtdev_types, type, entry);
		free(type);
	}
}

VDPA_API int vdpa_mgmtdev_type_each(struct vdpa_bus *bus,
				    int (*fn)(const struct vdpa_mgmtdev_type *type, void *arg),
				    void *arg)
{
	struct mgmtdev_type *type;
	int err = 0;

	for (type = TAILQ_FIRST(&bus->mgmtdev_types); type && !err; type = TAILQ_NEXT(type, entry))
		err = fn(type->type, arg);
	return err;
}

VDPA_API void vdpa_mgmtdev_type_show(const struct vdpa_mgmtdev_type *type, struct vdpa_info *info)
{
	if (type->help)
		vdpa_info_str(info, "help", type->help);
	vdpa_info_open_list(info, "attributes");
	info_attrs(info, type->attrs);
	vdpa_info_close(info);
}

VDPA_API const struct vdpa_mgmtdev_type *vdpa_mgmtdev_type_of(struct vdpa_bus *bus,
							      const struct vdpa_mgmtdev *mdev)
{
	const struct mgmtdev_entry *entry = mgmtdev_find(bus, mdev->name);

	return entry && entry->type ? entry->type->type : NULL;
}

VDPA_API const struct vdpa_attrs *vdpa_mgmtdev_add_attrs(struct vdpa_bus *bus,
							 const struct vdpa_mgmtdev *mdev)
{
	const struct mgmtdev_entry *entry = mgmtdev_find(bus, mdev->name);

	return entry ? entry->add_attrs : NULL;
}

/* ---- life */

static struct mgmtdev_entry *entry_of(struct bus_node *node)
{
	return container_of(node, struct mgmtdev_entry, node);
}

static void made_free(struct bus_node *node)
{
	struct mgmtdev_entry *entry = entry_of(node);

	if (entry->mdev && entry->ops.free)
		entry->ops.free(entry->mdev);
	entry->mdev = NULL;
}

static void made_release(struct bus_node *node)
{
	struct mgmtdev_entry *entry = entry_of(node);

	vdpa_attrs_free(entry->add_attrs);
	free(entry);
}

static const struct bus_node_ops made_node_ops = {
	.kind = "management device",
	.free = made_free,
	.release = made_release,
};

/* Take the name, with a lane, for one that is still to be made. */
static int made_reserve(struct vdpa_bus *bus, const char *name, struct mgmtdev_type *type,
			struct mgmtdev_entry **ret, struct vdpa_extack *ack)
{
	struct mgmtdev_entry *entry;
	int err = mgmtdev_check_name(bus, name, ack);

	if (err)
		return err;
	entry = calloc(1, sizeof(*entry));
	if (!entry)
		return -ENOMEM;
	memcpy(entry->name, name, strlen(name) + 1);
	err = node_init(&entry->node, &made_node_ops, bus, entry->name);
	if (err) {
		free(entry);
		return err;
	}
	entry->type = type;
	TAILQ_INSERT_TAIL(&bus->mgmtdevs, entry, entry);
	*ret = entry;
	return 0;
}

static void made_unlink(struct mgmtdev_entry *entry)
{
	TAILQ_REMOVE(&entry->node.bus->mgmtdevs, entry, entry);
	if (entry->node.present)
		node_event(&entry->node, VDPA_EVENT_MGMTDEV_DEL, NULL);
	node_unlink(&entry->node);
}

void mgmtdevs_close(struct vdpa_bus *bus)
{
	struct mgmtdev_entry *entry, *next;

	for (entry = TAILQ_FIRST(&bus->mgmtdevs); entry; entry = next) {
		next = TAILQ_NEXT(entry, entry);
		if (entry->type)
			made_unlink(entry);
	}
}

/* ---- add */

static int add_run(struct verb *v)
{
	struct mgmtdev_entry *entry = entry_of(v->node);
	struct vdpa_mgmtdev *mdev = NULL;
	int err = entry->type->ops.add(v->bus, entry->name, v->attrs, &mdev, &v->ack);

	if (err)
		return err;
	/* From here on it is freed with its entry. */
	entry->mdev = mdev;
	memcpy(mdev->name, entry->name, sizeof(mdev->name));
	return mgmtdev_copy_ops(entry, mdev, &v->ack);
}

static bool add_finish(struct verb *v)
{
	struct mgmtdev_entry *entry = entry_of(v->node);

	if (!v->err && !entry->node.listed)
		v->err = vdpa_extack_set(&v->ack, -ECANCELED, "the bus was closed meanwhile");
	else if (!v->err && v->answered)
		v->err = -ETIMEDOUT;
	if (v->err) {
		if (entry->node.listed)
			made_unlink(entry);
		return true;
	}
	vdpa_attrs_drop_fds(v->attrs);
	entry->add_attrs = v->attrs;
	v->attrs = NULL;
	entry->node.present = true;
	node_event(&entry->node, VDPA_EVENT_MGMTDEV_ADD, entry->type->type->name);
	return true;
}

static const struct verb_ops add_ops = {
	.name = "add",
	.makes = true,
	.run = add_run,
	.finish = add_finish,
};

/* Finds the type, and has it look at the attributes. */
static int add_check(struct verb *v, const char *name, struct mgmtdev_type **ret)
{
	struct mgmtdev_type *type = type_find(v->bus, name);
	char names[160];
	int err;

	if (!type) {
		type_names(v->bus, names, sizeof(names));
		return vdpa_extack_set(&v->ack, -ENOENT,
				       "no type '%.31s' of management devices: there are %s", name,
				       names);
	}
	if (!v->attrs)
		v->attrs = vdpa_attrs_alloc();
	if (!v->attrs)
		return -ENOMEM;
	*ret = type;
	err = vdpa_attrs_check(v->attrs, type->ops.attrs, NULL, false, &v->ack);
	return err ? err : vdpa_attrs_keep_fds(v->attrs, &v->ack);
}

VDPA_API void vdpa_mgmtdev_add(struct vdpa_bus *bus, const char *type_name, const char *name,
			       struct vdpa_attrs *attrs, vdpa_done_fn *done, void *arg)
{
	struct verb *v = verb_new(bus, &add_ops, attrs, done, arg);
	struct mgmtdev_type *type = NULL;
	struct mgmtdev_entry *entry;
	int err;

	if (!v)
		return;
	err = add_check(v, type_name, &type);
	if (!err)
		err = made_reserve(bus, name, type, &entry, &v->ack);
	if (err)
		verb_refuse(v, err);
	else
		verb_start_node(v, &entry->node);
}

/* ---- del, set */

/* Let a verb wait for its turn on the named one. */
static void start_on(struct verb *v, const char *name)
{
	struct mgmtdev_entry *entry = mgmtdev_listed(v->bus, name);

	if (!entry)
		verb_refuse(v, mgmtdev_refuse_unknown(v->bus, name, &v->ack));
	else if (!entry->type)
		verb_refuse(v, vdpa_extack_set(&v->ack, -EPERM,
					       "'%s' is built in, and stays as it is: only what "
					       "'mgmtdev add' made can be set and removed",
					       entry->name));
	else
		verb_start_node(v, node_get(&entry->node));
}

static bool del_finish(struct verb *v)
{
	struct mgmtdev_entry *entry = entry_of(v->node);

	/* The end of the bus may have come first. */
	if (!entry->node.listed)
		return true;
	v->err = mgmtdev_check_unused(entry, &v->ack);
	if (v->err)
		return true;
	made_unlink(entry);
	verb_wait_freed(v, &entry->node);
	verb_detach(v);
	return false;
}

static const struct verb_ops del_ops = {
	.name = "del",
	.finish = del_finish,
};

VDPA_API void vdpa_mgmtdev_del(struct vdpa_bus *bus, const char *name, vdpa_done_fn *done,
			       void *arg)
{
	struct verb *v = verb_new(bus, &del_ops, NULL, done, arg);

	if (v)
		start_on(v, name);
}

static int set_prepare(struct verb *v)
{
	struct mgmtdev_entry *entry = entry_of(v->node);
	const struct vdpa_attr_desc *table = entry->ops.set_attrs ? entry->type->ops.attrs : NULL;

	if (!vdpa_attrs_num(v->attrs))
		return vdpa_extack_set(&v->ack, -EINVAL,
				       "nothing to set: a key and a value are needed");
	return vdpa_attrs_check(v->attrs, table, NULL, true, &v->ack);
}

static int set_run(struct verb *v)
{
	struct mgmtdev_entry *entry = entry_of(v->node);

	return entry->ops.set_attrs(entry->mdev, v->attrs, &v->ack);
}

static bool set_finish(struct verb *v)
{
	struct mgmtdev_entry *entry = entry_of(v->node);

	if (!v->err)
		attrs_remember(&entry->add_attrs, v->attrs, entry->type->ops.attrs, NULL);
	return true;
}

static const struct verb_ops set_ops = {
	.name = "set",
	.prepare = set_prepare,
	.run = set_run,
	.finish = set_finish,
};

VDPA_API void vdpa_mgmtdev_set(struct vdpa_bus *bus, const char *name, struct vdpa_attrs *attrs,
			       vdpa_done_fn *done, void *arg)
{
	struct verb *v = verb_new(bus, &set_ops, attrs, done, arg);

	if (v)
		start_on(v, name);
}
