/* SPDX-License-Identifier: BSD-2-Clause */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>

#include "daemon/daemon.h"
#include "vdpa/soft.h"

int plugin_load(struct daemon *daemon, const char *path, struct vdpa_extack *ack)
{
	struct plugin *plugin = calloc(1, sizeof(*plugin));
	const struct vdpa_soft_class *cls;
	int err;

	if (!plugin)
		return -ENOMEM;
	plugin->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!plugin->handle) {
		err = vdpa_extack_set(ack, -ENOEXEC, "%s", dlerror());
		goto out_free;
	}
	cls = dlsym(plugin->handle, VDPA_SOFT_CLASS_SYMBOL);
	if (!cls) {
		err = vdpa_extack_set(ack, -ENOEXEC, "'%s' exports no '" VDPA_SOFT_CLASS_SYMBOL "'",
				      path);
		goto out_close;
	}
	err = vdpa_soft_class_register(daemon->bus, cls, ack);
	if (err)
		goto out_close;
	STAILQ_INSERT_TAIL(&daemon->plugins, plugin, entry);
	return 0;

out_close:
	dlclose(plugin->handle);
out_free:
	free(plugin);
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
