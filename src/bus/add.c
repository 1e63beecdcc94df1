/* SPDX-License-Identifier: BSD-2-Clause */
/* dev add and dev del. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bus/verb.h"

/* ---- add */

static int add_run(struct verb *v)
{
	struct vdpa_device_priv *priv = v->priv;
	struct mgmtdev_entry *entry = priv->mdev;
	struct vdpa_device *vdev = NULL;
	int err = entry->ops.dev_add(entry->mdev, priv->name, v->attrs, &vdev, &v->ack);

	if (err)
		return err;
	vdev->mdev = entry->mdev;
	err = device_attach(priv, vdev, v->mask, &v->ack);
	if (err && vdev->ops && vdev->ops->free)
		vdev->ops->free(vdev);
	if (!err)
		record_read(priv);
	return err;
}

static bool add_finish(struct verb *v)
{
	struct vdpa_device_priv *priv = v->priv;

	if (!v->err && !priv->node.listed)
		v->err = vdpa_extack_set(&v->ack, -ECANCELED, "'%s' was removed while it was made",
					 priv->name);
	else if (!v->err && v->answered)
		v->err = -ETIMEDOUT;
	if (v->err) {
		/* Before anybody hears of it: a file may be locked as long as it is open. */
		vdpa_attrs_free(v->attrs);
		v->attrs = NULL;
		device_unlink(priv);
		return true;
	}
	vdpa_attrs_drop_fds(v->attrs);
	priv->add_attrs = v->attrs;
	v->attrs = NULL;
	device_publish(priv);
	return !bind_by_rule(v);
}

static const struct verb_ops add_ops = {
	.name = "add",
	.makes = true,
	.run = add_run,
	.finish = add_finish,
};

/* Finds the management device, and has it look at the attributes. */
static int add_check(struct verb *v, const char *mgmtdev, struct mgmtdev_entry **ret)
{
	struct mgmtdev_entry *entry = mgmtdev_find(v->bus, mgmtdev);
	int err;

	if (!entry)
		return mgmtdev_refuse_unknown(v->bus, mgmtdev, &v->ack);
	if (!v->attrs)
		v->attrs = vdpa_attrs_alloc();
	if (!v->attrs)
		return -ENOMEM;
	err = vdpa_attrs_check(v->attrs, entry->mdev->attrs, vdpa_dev_common_attrs, false, &v->ack);
	if (!err)
		err = vdpa_attrs_keep_fds(v->attrs, &v->ack);
	v->mask = vdpa_attrs_u64(v->attrs, "features", UINT64_MAX);
	*ret = entry;
	return err;
}

VDPA_API void vdpa_dev_add(struct vdpa_bus *bus, const char *name, const char *mgmtdev,
			   struct vdpa_attrs *attrs, vdpa_done_fn *done, void *arg)
{
	struct verb *v = verb_new(bus, &add_ops, attrs, done, arg);
	struct vdpa_device_priv *priv;
	struct mgmtdev_entry *entry = NULL;
	int err;

	if (!v)
		return;
	err = add_check(v, mgmtdev, &entry);
	if (!err)
		err = device_reserve(bus, name, &priv, &v->ack);
	if (err) {
		verb_refuse(v, err);
		return;
	}
	mgmtdev_use(entry, priv);
	verb_start_on(v, priv);
}

/* ---- del */

static int del_prepare(struct verb *v)
{
	v->priv->leaving = true;
	return 0;
}

static int del_run(struct verb *v)
{
	return unbind_lane(v->priv->vdev, false, &v->ack);
}

static bool del_finish(struct verb *v)
{
	struct vdpa_device_priv *priv = v->priv;

	unbind_done(priv, v->err);
	if (v->err || !priv->node.listed)
		return true;
	device_unlink(priv);
	verb_wait_freed(v, &priv->node);
	verb_detach(v);
	return false;
}

static const struct verb_ops del_ops = {
	.name = "del",
	.prepare = del_prepare,
	.run = del_run,
	.finish = del_finish,
};

static void force_job(struct lane_job *job)
{
	struct vdpa_device_priv *priv = container_of(job, struct vdpa_device_priv, force_job);

	if (priv->bound) {
		bus_event(priv, VDPA_EVENT_UNBIND, priv->bound->driver->name);
		unbind_lane(priv->vdev, true, NULL);
	}
	device_put(priv);
}

/* What hangs on the lane may hang for ever; what has to be undone is undone behind it. */
void device_remove(struct vdpa_device_priv *priv)
{
	device_get(priv);
	priv->leaving = true;
	device_unlink(priv);
	priv->force_job.fn = force_job;
	lane_post(priv->node.lane, &priv->force_job);
}

VDPA_API void vdpa_dev_del(struct vdpa_bus *bus, const char *name, uint32_t flags,
			   vdpa_done_fn *done, void *arg)
{
	struct verb *v = verb_new(bus, &del_ops, NULL, done, arg);
	struct vdpa_device_priv *priv = bus_find(bus, name);

	if (!v)
		return;
	if (!priv || !(flags & VDPA_FORCE)) {
		verb_start(v, name);
		return;
	}
	verb_wait_freed(v, &priv->node);
	verb_arm(v);
	device_remove(priv);
}
