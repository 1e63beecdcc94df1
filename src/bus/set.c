/* SPDX-License-Identifier: BSD-2-Clause */
/* dev set: live attributes of the parent, the driver and the bus. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/verb.h"

static const struct vdpa_attr_desc bus_attrs[] = {
	{"worker", VDPA_ATTR_STRING, VDPA_ATTR_LIVE | VDPA_ATTR_NOADD, 0, 0, NULL,
	 "worker that serves the queues from now on"},
	{"queue", VDPA_ATTR_UINT, VDPA_ATTR_LIVE | VDPA_ATTR_NOADD, 0, UINT16_MAX, NULL,
	 "with worker: only this queue (default: all)"},
	{0},
};

static const struct vdpa_attr_desc *find_key(const struct vdpa_attr_desc *table, const char *key)
{
	for (; table && table->name; table++)
		if (!strcmp(table->name, key))
			return table;
	return NULL;
}

static size_t count_live(const struct vdpa_attr_desc *table)
{
	size_t num = 0;

	for (; table && table->name; table++)
		num += !!(table->flags & VDPA_ATTR_LIVE);
	return num;
}

static struct vdpa_attr_desc *append_live(struct vdpa_attr_desc *to,
					  const struct vdpa_attr_desc *table)
{
	for (; table && table->name; table++)
		if (table->flags & VDPA_ATTR_LIVE)
			*to++ = *table;
	return to;
}

/* Where a key goes when several know it: the bus, then the device, then the driver. */
static int check_keys(struct verb *v, const struct vdpa_attr_desc *parent,
		      const struct vdpa_attr_desc *driver)
{
	size_t num = count_live(bus_attrs) + count_live(parent) + count_live(driver);
	struct vdpa_attr_desc *table vdpa_cleanup(freep) = calloc(num + 1, sizeof(*table));
	struct vdpa_attr_desc *end = table;

	if (!table)
		return -ENOMEM;
	end = append_live(end, bus_attrs);
	end = append_live(end, parent);
	append_live(end, driver);
	return vdpa_attrs_check(v->attrs, table, NULL, true, &v->ack);
}

static bool is_live(const struct vdpa_attr_desc *table, const char *key)
{
	const struct vdpa_attr_desc *desc = find_key(table, key);

	return desc && (desc->flags & VDPA_ATTR_LIVE);
}

/* v->attrs keeps what is the parent's, v->driver_attrs gets the driver's; the bus's own are taken
 * out. */
static int split_keys(struct verb *v, const struct vdpa_attr_desc *parent,
		      const struct vdpa_attr_desc *driver)
{
	struct vdpa_attrs *all = v->attrs;
	const char *key;
	int err = 0;

	v->attrs = vdpa_attrs_alloc();
	v->driver_attrs = vdpa_attrs_alloc();
	if (!v->attrs || !v->driver_attrs)
		err = -ENOMEM;
	for (size_t i = 0; i < vdpa_attrs_num(all) && !err; i++) {
		int fd vdpa_cleanup(fd_closep) = -1;

		key = vdpa_attrs_key(all, i);
		if (is_live(bus_attrs, key))
			continue;
		fd = vdpa_attrs_take_fd(all, key);
		err = vdpa_attrs_add(is_live(parent, key) ? v->attrs : v->driver_attrs, key,
				     vdpa_attrs_value(all, i), &fd, &v->ack);
	}
	vdpa_attrs_free(all);
	/* They have been checked; that is also what reads the numbers. */
	if (!err)
		err = vdpa_attrs_check(v->attrs, parent, NULL, true, &v->ack);
	if (!err)
		err = vdpa_attrs_check(v->driver_attrs, driver, NULL, true, &v->ack);
	return err;
}

static int find_worker(struct verb *v)
{
	const char *name = vdpa_attrs_str(v->attrs, "worker", NULL);

	v->idx = vdpa_attrs_has(v->attrs, "queue") ? (int)vdpa_attrs_u64(v->attrs, "queue", 0) : -1;
	if (!name)
		return v->idx < 0 ? 0
				  : vdpa_extack_set(&v->ack, -EINVAL,
						    "'queue' says which queue goes to a 'worker': "
						    "give both");
	if (v->idx >= v->priv->vdev->nvqs)
		return vdpa_extack_set(&v->ack, -EINVAL, "no queue %d: '%s' has %u", v->idx,
				       v->priv->name, v->priv->vdev->nvqs);
	if (!v->priv->ops.set_vq_affinity)
		return vdpa_extack_set(&v->ack, -EOPNOTSUPP, "the queues of '%s' have no worker",
				       v->priv->name);
	v->worker = vdpa_worker_pick_name(v->bus, name);
	if (!v->worker)
		return vdpa_extack_set(&v->ack, -ENOENT, "no worker '%.40s'", name);
	return 0;
}

static int set_prepare(struct verb *v)
{
	struct vdpa_device_priv *priv = v->priv;
	const struct vdpa_attr_desc *parent = priv->ops.set_attrs ? priv->vdev->attrs : NULL;
	const struct vdpa_attr_desc *driver = NULL;
	int err;

	if (priv->driver && priv->driver->ops.set_attrs)
		driver = priv->driver->driver->attrs;
	if (!v->attrs || !vdpa_attrs_num(v->attrs))
		return vdpa_extack_set(&v->ack, -EINVAL,
				       "nothing to set: a key and a value are needed");
	err = check_keys(v, parent, driver);
	if (!err)
		err = find_worker(v);
	if (!err)
		err = split_keys(v, parent, driver);
	return err;
}

static int set_worker(struct verb *v)
{
	struct vdpa_device *vdev = v->priv->vdev;
	int first = v->idx < 0 ? 0 : v->idx, last = v->idx < 0 ? vdev->nvqs - 1 : v->idx;
	int err = 0;

	for (int i = first; i <= last && !err; i++) {
		err = vdpa_set_vq_affinity(vdev, (uint16_t)i, v->worker);
		if (err)
			vdpa_extack_set(&v->ack, err, "queue %d does not move to worker '%s': %s",
					i, vdpa_worker_name(v->worker),
					vdpa_extack_text(NULL, err));
	}
	return err;
}

static int set_run(struct verb *v)
{
	struct vdpa_device_priv *priv = v->priv;
	bool changed = false;
	int err = 0;

	if (vdpa_attrs_num(v->attrs)) {
		err = priv->ops.set_attrs(priv->vdev, v->attrs, &v->ack);
		changed = !err;
	}
	if (!err && vdpa_attrs_num(v->driver_attrs)) {
		err = priv->bound->ops.set_attrs(priv->vdev, v->driver_attrs, &v->ack);
		changed |= !err;
	}
	if (!err && v->worker)
		err = set_worker(v);
	if (err && changed) {
		vdpa_extack_set(&v->ack, err, "%s", vdpa_extack_text(NULL, err));
		vdpa_extack_prefix(&v->ack, err, "the keys before were set, this one was not");
	}
	ops_refresh(priv);
	return err;
}

static bool is_name(const struct vdpa_attr_desc *desc)
{
	return desc->type == VDPA_ATTR_PATH || desc->type == VDPA_ATTR_LISTENER;
}

static int remember_new(struct vdpa_attrs *merged, const struct vdpa_attrs *now,
			const struct vdpa_attr_desc *table, const struct vdpa_attr_desc *more)
{
	const struct vdpa_attr_desc *desc;
	int err = 0;

	for (size_t i = 0; i < vdpa_attrs_num(now) && !err; i++) {
		desc = find_key(table, vdpa_attrs_key(now, i));
		if (!desc)
			desc = find_key(more, vdpa_attrs_key(now, i));
		if (!desc || desc->flags & VDPA_ATTR_NOADD)
			continue;
		if (is_name(desc) && vdpa_attrs_names_forbidden(now))
			vdpa_attrs_forbid_names(merged);
		err = vdpa_attrs_add(merged, vdpa_attrs_key(now, i), vdpa_attrs_value(now, i), NULL,
				     NULL);
	}
	return err;
}

/* What has not been set anew.  Of a client whose names do not count the descriptors are kept. */
static int remember_old(struct vdpa_attrs *merged, const struct vdpa_attrs *old)
{
	bool forbidden = vdpa_attrs_names_forbidden(old);
	int err = 0;

	for (size_t i = 0; !err && i < vdpa_attrs_num(old); i++) {
		int kept = forbidden ? vdpa_attrs_kept_fd(old, i) : -1;
		int fd vdpa_cleanup(fd_closep) = kept < 0 ? -1 : fcntl(kept, F_DUPFD_CLOEXEC, 0);

		if (kept >= 0 && fd < 0)
			err = -errno;
		else if (!vdpa_attrs_has(merged, vdpa_attrs_key(old, i)))
			err = vdpa_attrs_add(merged, vdpa_attrs_key(old, i),
					     vdpa_attrs_value(old, i), &fd, NULL);
	}
	if (forbidden)
		vdpa_attrs_forbid_names(merged);
	return err ? err : vdpa_attrs_keep_fds(merged, NULL);
}

void attrs_remember(struct vdpa_attrs **attrs, const struct vdpa_attrs *now,
		    const struct vdpa_attr_desc *table, const struct vdpa_attr_desc *more)
{
	struct vdpa_attrs *merged = vdpa_attrs_alloc();
	int err = merged && *attrs ? 0 : -ENOMEM;

	if (!err)
		err = remember_new(merged, now, table, more);
	if (!err)
		err = remember_old(merged, *attrs);
	if (err) {
		vdpa_attrs_free(merged);
		return;
	}
	vdpa_attrs_free(*attrs);
	*attrs = merged;
}

/* Without memory `save` misses the move, the queue does not. */
static void remember_worker(struct verb *v)
{
	struct vdpa_device_priv *priv = v->priv;
	uint16_t nvqs = priv->vdev->nvqs;

	if (!priv->placed)
		priv->placed = calloc(nvqs, sizeof(*priv->placed));
	for (uint16_t idx = 0; priv->placed && idx < nvqs; idx++)
		if (v->idx < 0 || v->idx == idx)
			snprintf(priv->placed[idx], VDPA_NAME_MAX, "%s",
				 vdpa_worker_name(v->worker));
}

static bool set_finish(struct verb *v)
{
	struct vdpa_device_priv *priv = v->priv;

	if (v->err)
		return true;
	if (priv->mdev && vdpa_attrs_num(v->attrs))
		attrs_remember(&priv->add_attrs, v->attrs, priv->mdev->mdev->attrs,
			       vdpa_dev_common_attrs);
	if (priv->driver && vdpa_attrs_num(v->driver_attrs))
		attrs_remember(&priv->bind_attrs, v->driver_attrs, priv->driver->driver->attrs,
			       NULL);
	if (v->worker)
		remember_worker(v);
	return true;
}

static const struct verb_ops set_ops = {
	.name = "set",
	.prepare = set_prepare,
	.run = set_run,
	.finish = set_finish,
};

VDPA_API void vdpa_dev_set(struct vdpa_bus *bus, const char *name, struct vdpa_attrs *attrs,
			   vdpa_done_fn *done, void *arg)
{
	struct verb *v = verb_new(bus, &set_ops, attrs, done, arg);

	if (v)
		verb_start(v, name);
}
