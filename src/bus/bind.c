/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bus/verb.h"

/* ---- on the lane */

static void save_device_part(struct vdpa_device *vdev, struct vdpa_state *state)
{
	struct vdpa_extack ack = {0};
	int err = vdpa_device_save(vdev, VDPA_STATE_DEVICE, state, &ack);

	if (err)
		node_log(&priv_of(vdev)->node, VDPA_LOG_WARN,
			 "the state of the device is not saved: %s", vdpa_extack_text(&ack, err));
}

static void reset_keeping(struct vdpa_device *vdev, const struct vdpa_state *state)
{
	struct vdpa_extack ack = {0};
	int err = 0;

	session_reset(priv_of(vdev));
	if (state->parts)
		err = vdpa_device_load(vdev, VDPA_STATE_DEVICE, state, &ack);
	if (err)
		node_log(&priv_of(vdev)->node, VDPA_LOG_WARN,
			 "the device has lost its own state: %s", vdpa_extack_text(&ack, err));
	record_renew(priv_of(vdev));
}

void bus_end_session(struct vdpa_device *vdev)
{
	struct vdpa_state state = {0};

	save_device_part(vdev, &state);
	reset_keeping(vdev, &state);
	vdpa_state_clear(&state);
}

/* No trace of the last client, but what the device itself has learned stays. */
static void make_fresh(struct vdpa_device *vdev, const struct vdpa_state *state)
{
	vdpa_set_config_cb(vdev, NULL);
	reset_keeping(vdev, state);
	for (uint32_t asid = 0; asid < priv_of(vdev)->nas; asid++)
		vdpa_reset_map(vdev, asid);
}

static int check_last_user(struct vdpa_device_priv *priv, struct driver_entry *entry,
			   uint32_t flags, struct vdpa_extack *ack)
{
	if (!priv->last_user[0] || (flags & VDPA_FORCE) ||
	    !strcmp(priv->last_driver, entry->driver->name))
		return 0;
	return vdpa_extack_set(ack, -EBUSY,
			       "'%s' may still be in use by a client of '%s' (%.120s): "
			       "'force' binds it all the same",
			       priv->name, priv->last_driver, priv->last_user);
}

static int bind_lane(struct vdpa_device *vdev, struct driver_entry *entry, struct vdpa_attrs *attrs,
		     uint32_t flags, struct vdpa_extack *ack)
{
	struct vdpa_device_priv *priv = priv_of(vdev);
	struct vdpa_state state = {0};
	int err = check_last_user(priv, entry, flags, ack);

	if (err)
		return err;
	err = entry->ops.match ? entry->ops.match(vdev, ack) : 0;
	if (err)
		return vdpa_extack_set(ack, err, "driver '%s' does not serve '%s': %s",
				       entry->driver->name, priv->name,
				       vdpa_extack_text(NULL, err));
	save_device_part(vdev, &state);
	make_fresh(vdev, &state);
	ops_refresh(priv);
	err = entry->ops.probe(vdev, attrs, ack);
	if (err) {
		vdpa_extack_set(ack, err, "driver '%s' does not take '%s': %s", entry->driver->name,
				priv->name, vdpa_extack_text(NULL, err));
		vdpa_device_set_drvdata(vdev, NULL);
		make_fresh(vdev, &state);
	} else {
		priv->bound = entry;
		priv->last_user[0] = '\0';
	}
	vdpa_state_clear(&state);
	return err;
}

static void remember_user(struct vdpa_device_priv *priv, struct driver_entry *entry)
{
	struct vdpa_extack who = {0};

	priv->last_user[0] = '\0';
	if (!entry->ops.in_use || !entry->ops.in_use(priv->vdev, &who))
		return;
	snprintf(priv->last_user, sizeof(priv->last_user), "%s",
		 who.msg[0] ? who.msg : "it does not say who");
	snprintf(priv->last_driver, sizeof(priv->last_driver), "%s", entry->driver->name);
}

int unbind_lane(struct vdpa_device *vdev, bool force, struct vdpa_extack *ack)
{
	struct vdpa_device_priv *priv = priv_of(vdev);
	struct driver_entry *entry = priv->bound;
	struct vdpa_state state = {0};
	int err;

	if (!entry)
		return 0;
	remember_user(priv, entry);
	/* Before remove(): a driver may reset the device itself. */
	save_device_part(vdev, &state);
	err = entry->ops.remove(vdev, force, ack);
	if (err && force)
		node_log(&priv->node, VDPA_LOG_ERROR, "driver '%s' does not let go by force: %s",
			 entry->driver->name, vdpa_extack_text(ack, err));
	if (!err || force) {
		vdpa_device_set_drvdata(vdev, NULL);
		vdpa_device_client(vdev, false, "unbound");
		make_fresh(vdev, &state);
		priv->bound = NULL;
	}
	vdpa_state_clear(&state);
	return force ? 0 : err;
}

void unbind_done(struct vdpa_device_priv *priv, int err)
{
	priv->leaving = false;
	if (err || !priv->driver)
		return;
	priv->driver->users--;
	bus_event(priv, VDPA_EVENT_UNBIND, priv->driver->driver->name);
	priv->driver = NULL;
	vdpa_attrs_free(priv->bind_attrs);
	priv->bind_attrs = NULL;
}

/* ---- bind */

static int bind_find(struct verb *v)
{
	char names[128];

	if (v->priv->driver)
		return vdpa_extack_set(&v->ack, -EBUSY, "'%s' is bound to '%s' already",
				       v->priv->name, v->priv->driver->driver->name);
	v->driver = driver_find(v->bus, v->name);
	if (v->driver)
		return 0;
	driver_names(v->bus, names, sizeof(names));
	return vdpa_extack_set(&v->ack, -ENOENT, "no driver '%s': there are %s", v->name, names);
}

static int bind_prepare(struct verb *v)
{
	int err = bind_find(v);

	if (err)
		return err;
	if (!v->attrs) {
		v->attrs = vdpa_attrs_alloc();
		if (!v->attrs)
			err = -ENOMEM;
	}
	if (!err)
		err = vdpa_attrs_check(v->attrs, v->driver->driver->attrs, NULL, false, &v->ack);
	if (!err)
		err = vdpa_attrs_keep_fds(v->attrs, &v->ack);
	if (err)
		v->driver = NULL;
	else
		v->driver->users++;
	return err;
}

static int bind_run(struct verb *v)
{
	return bind_lane(v->priv->vdev, v->driver, v->attrs, v->flags, &v->ack);
}

static void rule_failed(struct verb *v)
{
	vdpa_extack_set(&v->ack, v->err, "%s", vdpa_extack_text(NULL, v->err));
	vdpa_extack_prefix(&v->ack, v->err, "'%s' was added, but not bound to '%s'", v->priv->name,
			   v->name);
	node_log(v->node, VDPA_LOG_WARN, "%s", v->ack.msg);
	v->err = 0;
}

static bool bind_finish(struct verb *v)
{
	if (!v->err) {
		v->priv->driver = v->driver;
		vdpa_attrs_drop_fds(v->attrs);
		v->priv->bind_attrs = v->attrs;
		v->attrs = NULL;
		bus_event(v->priv, VDPA_EVENT_BIND, v->driver->driver->name);
	} else if (v->driver) {
		v->driver->users--;
	}
	if (v->err && v->rule)
		rule_failed(v);
	return true;
}

static const struct verb_ops bind_ops = {
	.name = "bind",
	.prepare = bind_prepare,
	.run = bind_run,
	.finish = bind_finish,
};

VDPA_API void vdpa_dev_bind(struct vdpa_bus *bus, const char *name, const char *driver,
			    struct vdpa_attrs *attrs, uint32_t flags, vdpa_done_fn *done, void *arg)
{
	struct verb *v = verb_new(bus, &bind_ops, attrs, done, arg);

	if (!v)
		return;
	snprintf(v->name, sizeof(v->name), "%s", driver);
	v->flags = flags;
	verb_start(v, name);
}

static struct driver_entry *rule_of(struct vdpa_device_priv *priv)
{
	return driver_default(priv->bus, priv->ops.get_device_id(priv->vdev));
}

bool bind_by_rule(struct verb *v)
{
	struct driver_entry *entry = rule_of(v->priv);

	if (!entry)
		return false;
	v->ops = &bind_ops;
	v->rule = true;
	snprintf(v->name, sizeof(v->name), "%s", entry->driver->name);
	verb_begin(v);
	return true;
}

void bind_start_by_rule(struct vdpa_device_priv *priv)
{
	struct driver_entry *entry = rule_of(priv);
	struct verb *v = entry ? verb_new(priv->bus, &bind_ops, NULL, NULL, NULL) : NULL;

	if (!v)
		return;
	v->rule = true;
	snprintf(v->name, sizeof(v->name), "%s", entry->driver->name);
	verb_start_on(v, device_get(priv));
}

/* ---- unbind */

static int unbind_prepare(struct verb *v)
{
	if (!v->priv->driver)
		return vdpa_extack_set(&v->ack, -EINVAL, "'%s' is not bound", v->priv->name);
	v->priv->leaving = true;
	return 0;
}

static int unbind_run(struct verb *v)
{
	return unbind_lane(v->priv->vdev, v->flags & VDPA_FORCE, &v->ack);
}

static bool unbind_finish(struct verb *v)
{
	unbind_done(v->priv, v->err);
	return true;
}

static const struct verb_ops unbind_ops = {
	.name = "unbind",
	.prepare = unbind_prepare,
	.run = unbind_run,
	.finish = unbind_finish,
};

VDPA_API void vdpa_dev_unbind(struct vdpa_bus *bus, const char *name, uint32_t flags,
			      vdpa_done_fn *done, void *arg)
{
	struct verb *v = verb_new(bus, &unbind_ops, NULL, done, arg);

	if (!v)
		return;
	v->flags = flags;
	verb_start(v, name);
}
