/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "daemon/daemon.h"
#include "daemon/json_info.h"
#include "daemon/restart.h"

/* One command under way. */
struct op {
	struct daemon *daemon;
	struct call *call;
	const json_t *params; /* only while the method starts */
	int *fds;
	size_t nfds;

	/* For those that collect what devices say. */
	const char *group; /* the member of the result: "config" */
	unsigned int pending;
	int err;
	struct vdpa_extack ack;
	json_t *collected;
};

/* What one device says, into an op. */
struct piece {
	struct op *op;
	struct json_info info;
	char name[VDPA_NAME_MAX];
};

static void op_end(struct op *op, int err, const struct vdpa_extack *ack, json_t *result)
{
	if (!err && !result) {
		result = json_object();
		if (!result)
			err = -ENOMEM;
	}
	op->call->ops->done(op->call, err, ack, result);
	json_decref(op->collected);
	free(op);
}

/* For what ends at once. */
static void op_return(struct op *op, int err, const struct vdpa_extack *ack)
{
	op_end(op, err, ack, NULL);
}

static void op_refuse(struct op *op, int err, const char *what, const char *name)
{
	struct vdpa_extack ack = {0};

	vdpa_extack_set(&ack, err, "%s '%.64s'", what, name);
	op_end(op, err, &ack, NULL);
}

/* A vdpa_done_fn. */
static void op_done(void *arg, int err, const struct vdpa_extack *ack)
{
	op_end(arg, err, ack, NULL);
}

static const char *param(const struct op *op, const char *name)
{
	return json_string_value(json_object_get(op->params, name));
}

static uint32_t param_force(const struct op *op)
{
	return json_is_true(json_object_get(op->params, "force")) ? VDPA_FORCE : 0;
}

/* ---- attributes */

static int add_attr(struct op *op, struct vdpa_attrs *attrs, const char *key, const json_t *value,
		    struct vdpa_extack *ack)
{
	const json_t *index = json_object_get(json_object_get(op->params, "fds"), key);
	int *fd = index ? &op->fds[json_integer_value(index)] : NULL;
	const char *text;
	char number[32];

	if (json_is_string(value)) {
		text = json_string_value(value);
	} else if (json_is_integer(value)) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(value));
		text = number;
	} else {
		text = json_is_true(value) ? "on" : "off";
	}
	return vdpa_attrs_add(attrs, key, text, fd, ack);
}

static int take_attrs(struct op *op, struct vdpa_attrs **ret, struct vdpa_extack *ack)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	const char *key;
	json_t *value;
	int err;

	if (!attrs)
		return -ENOMEM;
	if (!op->call->trusted)
		vdpa_attrs_forbid_names(attrs);
	json_object_foreach(json_object_get(op->params, "attrs"), key, value)
	{
		err = add_attr(op, attrs, key, value, ack);
		if (err) {
			vdpa_attrs_free(attrs);
			return err;
		}
	}
	*ret = attrs;
	return 0;
}

/*
 * A client with less rights than the daemon has must not have it open files: they come as
 * descriptors, which show what the client may open itself.
 */
static int check_paths(const struct op *op, const struct vdpa_attr_desc *table,
		       struct vdpa_extack *ack)
{
	const json_t *attrs = json_object_get(op->params, "attrs");
	const json_t *fds = json_object_get(op->params, "fds");

	for (; !op->call->trusted && table && table->name; table++) {
		if (table->type != VDPA_ATTR_PATH && table->type != VDPA_ATTR_LISTENER)
			continue;
		if (json_object_get(attrs, table->name) && !json_object_get(fds, table->name))
			return vdpa_extack_set(ack, -EPERM,
					       "'%s' must come as a descriptor: another user's "
					       "daemon opens no files for you",
					       table->name);
	}
	return 0;
}

/* ---- finding */

struct find {
	const char *name;
	const void *found;
};

static int find_mgmtdev(struct vdpa_mgmtdev *mdev, void *arg)
{
	struct find *find = arg;

	if (!strcmp(mdev->name, find->name))
		find->found = mdev;
	return find->found != NULL;
}

static int find_driver(const struct vdpa_driver *driver, void *arg)
{
	struct find *find = arg;

	if (!strcmp(driver->name, find->name))
		find->found = driver;
	return find->found != NULL;
}

static const struct vdpa_mgmtdev *mgmtdev_named(struct op *op, const char *name)
{
	struct find find = {.name = name};

	vdpa_mgmtdev_each(op->daemon->bus, find_mgmtdev, &find);
	return find.found;
}

static const struct vdpa_attr_desc *mgmtdev_attrs(struct op *op, const char *name)
{
	const struct vdpa_mgmtdev *mdev = mgmtdev_named(op, name);

	return mdev ? mdev->attrs : NULL;
}

static int find_type(const struct vdpa_mgmtdev_type *type, void *arg)
{
	struct find *find = arg;

	if (!strcmp(type->name, find->name))
		find->found = type;
	return find->found != NULL;
}

static const struct vdpa_attr_desc *type_attrs(struct op *op, const char *name)
{
	struct find find = {.name = name};

	vdpa_mgmtdev_type_each(op->daemon->bus, find_type, &find);
	return find.found ? ((const struct vdpa_mgmtdev_type *)find.found)->attrs : NULL;
}

static const struct vdpa_attr_desc *driver_attrs(struct op *op, const char *name)
{
	struct find find = {.name = name};

	vdpa_driver_each(op->daemon->bus, find_driver, &find);
	return find.found ? ((const struct vdpa_driver *)find.found)->attrs : NULL;
}

/* ---- verbs */

static void mgmtdev_add(struct op *op)
{
	struct vdpa_extack ack = {0};
	struct vdpa_attrs *attrs;
	int err;

	err = check_paths(op, type_attrs(op, param(op, "type")), &ack);
	if (!err)
		err = take_attrs(op, &attrs, &ack);
	if (err)
		op_return(op, err, &ack);
	else
		vdpa_mgmtdev_add(op->daemon->bus, param(op, "type"), param(op, "name"), attrs,
				 op_done, op);
}

static void mgmtdev_set(struct op *op)
{
	const struct vdpa_mgmtdev *mdev = mgmtdev_named(op, param(op, "name"));
	const struct vdpa_mgmtdev_type *type =
		mdev ? vdpa_mgmtdev_type_of(op->daemon->bus, mdev) : NULL;
	struct vdpa_extack ack = {0};
	struct vdpa_attrs *attrs;
	int err;

	err = check_paths(op, type ? type->attrs : NULL, &ack);
	if (!err)
		err = take_attrs(op, &attrs, &ack);
	if (err)
		op_return(op, err, &ack);
	else
		vdpa_mgmtdev_set(op->daemon->bus, param(op, "name"), attrs, op_done, op);
}

static void mgmtdev_del(struct op *op)
{
	vdpa_mgmtdev_del(op->daemon->bus, param(op, "name"), op_done, op);
}

static void dev_add(struct op *op)
{
	struct vdpa_extack ack = {0};
	struct vdpa_attrs *attrs;
	int err;

	err = check_paths(op, mgmtdev_attrs(op, param(op, "mgmtdev")), &ack);
	if (!err)
		err = take_attrs(op, &attrs, &ack);
	if (err)
		op_return(op, err, &ack);
	else
		vdpa_dev_add(op->daemon->bus, param(op, "name"), param(op, "mgmtdev"), attrs,
			     op_done, op);
}

static void dev_del(struct op *op)
{
	vdpa_dev_del(op->daemon->bus, param(op, "name"), param_force(op), op_done, op);
}

static void dev_set(struct op *op)
{
	struct vdpa_device *vdev = vdpa_dev_find(op->daemon->bus, param(op, "name"));
	const struct vdpa_driver *driver = vdev ? vdpa_device_driver(vdev) : NULL;
	struct vdpa_extack ack = {0};
	struct vdpa_attrs *attrs;
	int err;

	err = check_paths(op, vdev ? vdev->attrs : NULL, &ack);
	if (!err)
		err = check_paths(op, driver ? driver->attrs : NULL, &ack);
	if (!err)
		err = take_attrs(op, &attrs, &ack);
	if (err)
		op_return(op, err, &ack);
	else
		vdpa_dev_set(op->daemon->bus, param(op, "name"), attrs, op_done, op);
}

static void dev_bind(struct op *op)
{
	struct vdpa_extack ack = {0};
	struct vdpa_attrs *attrs;
	int err;

	err = check_paths(op, driver_attrs(op, param(op, "driver")), &ack);
	if (!err)
		err = take_attrs(op, &attrs, &ack);
	if (err)
		op_return(op, err, &ack);
	else
		vdpa_dev_bind(op->daemon->bus, param(op, "name"), param(op, "driver"), attrs,
			      param_force(op), op_done, op);
}

static void dev_unbind(struct op *op)
{
	vdpa_dev_unbind(op->daemon->bus, param(op, "name"), param_force(op), op_done, op);
}

static void driver_default(struct op *op)
{
	const char *driver = param(op, "driver");
	struct vdpa_extack ack = {0};
	int err;

	err = vdpa_driver_set_default(op->daemon->bus, param(op, "class"),
				      strcmp(driver, "none") ? driver : NULL, &ack);
	op_return(op, err, &ack);
}

/* ---- what can be said at once */

/* The member of what the op has collected that is named after its group; NULL: out of memory. */
static json_t *group_of(struct op *op)
{
	json_t *group;

	if (!op->collected)
		op->collected = json_object();
	group = json_object_get(op->collected, op->group);
	if (!group && !json_object_set_new(op->collected, op->group, json_object()))
		group = json_object_get(op->collected, op->group);
	return group;
}

/* Adds {name: what info holds} to the group. */
static int collect(struct op *op, const char *name, struct json_info *info)
{
	json_t *value = json_info_take(info), *group = group_of(op);

	if (!group || !value) {
		json_decref(value);
		return -ENOMEM;
	}
	return json_object_set_new(group, name, value) ? -ENOMEM : 0;
}

/* Ends an op with {group: {...}}. */
static void op_collected(struct op *op)
{
	if (!op->err && !op->collected && !group_of(op))
		op->err = -ENOMEM;
	op_end(op, op->err, &op->ack, op->err ? NULL : json_incref(op->collected));
}

/* Does the op ask for this one, or for all? */
static bool wanted(const struct op *op, const char *name)
{
	const char *only = param(op, "name");

	return !only || !strcmp(only, name);
}

static void op_listed(struct op *op, const char *kind)
{
	const char *only = param(op, "name");

	if (only && !op->collected && !op->err)
		op_refuse(op, -ENOENT, kind, only);
	else
		op_collected(op);
}

static int mgmtdev_one(struct vdpa_mgmtdev *mdev, void *arg)
{
	struct op *op = arg;
	struct json_info info;

	if (!wanted(op, mdev->name))
		return 0;
	op->err = json_info_init(&info);
	if (!op->err) {
		vdpa_mgmtdev_show(op->daemon->bus, mdev, &info.info);
		op->err = collect(op, mdev->name, &info);
	}
	return op->err;
}

static int type_one(const struct vdpa_mgmtdev_type *type, void *arg)
{
	struct op *op = arg;
	struct json_info info;

	if (!wanted(op, type->name))
		return 0;
	op->err = json_info_init(&info);
	if (!op->err) {
		vdpa_mgmtdev_type_show(type, &info.info);
		op->err = collect(op, type->name, &info);
	}
	return op->err;
}

/* With the types that more can be made of. */
static void mgmtdev_show(struct op *op)
{
	op->group = "mgmtdev";
	vdpa_mgmtdev_each(op->daemon->bus, mgmtdev_one, op);
	op->group = "type";
	if (!op->err)
		vdpa_mgmtdev_type_each(op->daemon->bus, type_one, op);
	op_listed(op, "no management device");
}

static int driver_one(const struct vdpa_driver *driver, void *arg)
{
	struct op *op = arg;
	struct json_info info;

	if (!wanted(op, driver->name))
		return 0;
	op->err = json_info_init(&info);
	if (!op->err) {
		vdpa_driver_show(op->daemon->bus, driver, &info.info);
		op->err = collect(op, driver->name, &info);
	}
	return op->err;
}

static void driver_show(struct op *op)
{
	op->group = "driver";
	vdpa_driver_each(op->daemon->bus, driver_one, op);
	op_listed(op, "no driver");
}

static int worker_one(struct vdpa_worker *worker, void *arg)
{
	struct op *op = arg;
	struct json_info info;

	if (!wanted(op, vdpa_worker_name(worker)))
		return 0;
	op->err = json_info_init(&info);
	if (!op->err) {
		vdpa_worker_show(worker, &info.info);
		op->err = collect(op, vdpa_worker_name(worker), &info);
	}
	return op->err;
}

static void worker_show(struct op *op)
{
	op->group = "worker";
	vdpa_worker_each(op->daemon->bus, worker_one, op);
	op_listed(op, "no worker");
}

static int dev_one(struct vdpa_device *vdev, void *arg)
{
	struct op *op = arg;
	struct json_info info;

	if (!wanted(op, vdev->name))
		return 0;
	op->err = json_info_init(&info);
	if (!op->err) {
		vdpa_dev_show(vdev, &info.info);
		if (json_is_true(json_object_get(op->params, "statistics")))
			vdpa_dev_counters_show(vdev, &info.info);
		op->err = collect(op, vdev->name, &info);
	}
	return op->err;
}

static void dev_show(struct op *op)
{
	op->group = "dev";
	vdpa_dev_each(op->daemon->bus, dev_one, op);
	op_listed(op, "no device");
}

/* ---- what has to be asked on lanes */

static void piece_done(void *arg, int err, const struct vdpa_extack *ack)
{
	struct piece *piece = arg;
	struct op *op = piece->op;

	if (!err)
		err = collect(op, piece->name, &piece->info);
	if (err && !op->err) {
		op->err = err;
		vdpa_extack_set(&op->ack, err, "%s", vdpa_extack_text(ack, err));
	}
	json_info_clear(&piece->info);
	free(piece);
	if (--op->pending == 0)
		op_collected(op);
}

static struct piece *piece_alloc(struct op *op, const char *name)
{
	struct piece *piece = calloc(1, sizeof(*piece));

	if (!piece || json_info_init(&piece->info)) {
		free(piece);
		return NULL;
	}
	snprintf(piece->name, sizeof(piece->name), "%s", name);
	piece->op = op;
	op->pending++;
	return piece;
}

static int config_one(struct vdpa_device *vdev, void *arg)
{
	struct op *op = arg;
	struct piece *piece;

	if (!wanted(op, vdev->name))
		return 0;
	piece = piece_alloc(op, vdev->name);
	if (!piece) {
		op->err = -ENOMEM;
		return op->err;
	}
	vdpa_dev_config_show(op->daemon->bus, vdev->name, &piece->info.info, piece_done, piece);
	return 0;
}

static void dev_config_show(struct op *op)
{
	op->group = "config";
	/* Counts itself, so that nothing ends before all are started. */
	op->pending = 1;
	vdpa_dev_each(op->daemon->bus, config_one, op);
	if (param(op, "name") && op->pending == 1 && !op->err)
		op_refuse(op, -ENOENT, "no device", param(op, "name"));
	else if (--op->pending == 0)
		op_collected(op);
}

static void dev_vstats_show(struct op *op)
{
	const json_t *idx = json_object_get(op->params, "qidx");
	struct piece *piece = piece_alloc(op, param(op, "name"));

	op->group = "vstats";
	if (!piece)
		op_return(op, -ENOMEM, NULL);
	else
		vdpa_dev_vstats_show(op->daemon->bus, param(op, "name"),
				     idx ? (int)json_integer_value(idx) : -1, &piece->info.info,
				     piece_done, piece);
}

static void dev_explain(struct op *op)
{
	struct piece *piece = piece_alloc(op, param(op, "name"));

	op->group = "explain";
	if (!piece)
		op_return(op, -ENOMEM, NULL);
	else
		vdpa_dev_explain(op->daemon->bus, param(op, "name"), &piece->info.info, piece_done,
				 piece);
}

/* ---- workers */

static int param_int(const struct op *op, const char *name, int def)
{
	const json_t *value = json_object_get(op->params, name);

	return value ? (int)json_integer_value(value) : def;
}

static void worker_add(struct op *op)
{
	struct vdpa_extack ack = {0};
	int err;

	err = vdpa_worker_add(op->daemon->bus, param(op, "name"), param_int(op, "cpu", -1),
			      (uint32_t)param_int(op, "poll-us", (int)op->daemon->poll_us), &ack);
	op_return(op, err, &ack);
}

static void worker_set(struct op *op)
{
	struct vdpa_extack ack = {0};
	int err;

	/* -1 becomes UINT32_MAX: as it is. */
	err = vdpa_worker_set(op->daemon->bus, param(op, "name"), param_int(op, "cpu", INT_MIN),
			      (uint32_t)param_int(op, "poll-us", -1), &ack);
	op_return(op, err, &ack);
}

static void worker_del(struct op *op)
{
	struct vdpa_extack ack = {0};

	op_return(op, vdpa_worker_del(op->daemon->bus, param(op, "name"), &ack), &ack);
}

/* ---- the daemon itself */

static void monitor(struct op *op)
{
	if (op->call->ops->monitor)
		op->call->ops->monitor(op->call);
	op_return(op, 0, NULL);
}

static void save(struct op *op)
{
	json_t *commands = save_commands(op->daemon, NULL);

	op_end(op, commands ? 0 : -ENOMEM, NULL,
	       commands ? json_pack("{s:o}", "commands", commands) : NULL);
}

/* The reply comes when everything is detached. */
static void stop(struct op *op)
{
	struct daemon *daemon = op->daemon;

	daemon->stop_call = op->call;
	free(op);
	stop_begin(daemon);
}

/* The reply is the next process's. */
static void restart(struct op *op)
{
	struct vdpa_extack ack = {0};
	int err = restart_begin(op->daemon, op->call, &ack);

	if (err)
		op_return(op, err, &ack);
	else
		free(op);
}

/* ---- dispatch */

static const struct method {
	const char *name;
	void (*run)(struct op *op);
} methods[] = {
	{"mgmtdev.show", mgmtdev_show},
	{"mgmtdev.add", mgmtdev_add},
	{"mgmtdev.set", mgmtdev_set},
	{"mgmtdev.del", mgmtdev_del},
	{"dev.add", dev_add},
	{"dev.del", dev_del},
	{"dev.show", dev_show},
	{"dev.set", dev_set},
	{"dev.bind", dev_bind},
	{"dev.unbind", dev_unbind},
	{"dev.config.show", dev_config_show},
	{"dev.vstats.show", dev_vstats_show},
	{"dev.explain", dev_explain},
	{"driver.show", driver_show},
	{"driver.default", driver_default},
	{"worker.show", worker_show},
	{"worker.add", worker_add},
	{"worker.set", worker_set},
	{"worker.del", worker_del},
	{"monitor", monitor},
	{"save", save},
	{"stop", stop},
	{"restart", restart},
};

static const struct method *find_method(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		if (!strcmp(methods[i].name, name))
			return &methods[i];
	}
	return NULL;
}

bool methods_known(const char *name)
{
	return find_method(name) != NULL;
}

void methods_run(void *arg, const struct command *cmd, const json_t *params, int *fds, size_t nfds,
		 struct call *call)
{
	struct daemon *daemon = arg;
	struct op *op = calloc(1, sizeof(*op));
	const struct method *method;
	char name[COMMAND_METHOD_LEN];

	if (!op) {
		call->ops->done(call, -ENOMEM, NULL, NULL);
		return;
	}
	*op = (struct op){
		.daemon = daemon, .call = call, .params = params, .fds = fds, .nfds = nfds};
	command_method(cmd, name);
	method = find_method(name);
	if (daemon->stopping)
		op_refuse(op, -ESHUTDOWN, "uvdpad is stopping, no", name);
	else if (!method)
		op_refuse(op, -ENOSYS, "no method", name);
	else
		method->run(op);
}
