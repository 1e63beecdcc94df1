/* SPDX-License-Identifier: BSD-2-Clause */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

#include "daemon/daemon.h"
#include "vdpa/soft.h"

int plugin_load(struct daemon *daemon, const char *path, struct vdpa_extack *ack)
{
	struct plugin *plugin = calloc(1, sizeof(*plugin));
	const struct vdpa_mgmtdev_type *type;
	const struct vdpa_soft_class *cls;
	int err = 0;

	if (!plugin)
		return -ENOMEM;
	plugin->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!plugin->handle) {
		free(plugin);
		return vdpa_extack_set(ack, -ENOEXEC, "%s", dlerror());
	}
	/* Whatever of it is registered, it stays as long as the bus. */
	STAILQ_INSERT_TAIL(&daemon->plugins, plugin, entry);
	cls = dlsym(plugin->handle, VDPA_SOFT_CLASS_SYMBOL);
	type = dlsym(plugin->handle, VDPA_MGMTDEV_TYPE_SYMBOL);
	if (!cls && !type)
		return vdpa_extack_set(ack, -ENOEXEC,
				       "'%s' exports no '" VDPA_SOFT_CLASS_SYMBOL
				       "' and no '" VDPA_MGMTDEV_TYPE_SYMBOL "'",
				       path);
	if (cls)
		err = vdpa_soft_class_register(daemon->bus, cls, ack);
	if (type && !err)
		err = vdpa_mgmtdev_type_register(daemon->bus, type, ack);
	return err;
}

void plugin_unload_all(struct daemon *daemon)
{
	struct plugin *plugin;

	while ((plugin = STAILQ_FIRST(&daemon->plugins))) {
		STAILQ_REMOVE_HEAD(&daemon->plugins, entry);
		dlclose(plugin->handle);
		free(plugin);
	}
}
