/* SPDX-License-Identifier: BSD-2-Clause */
/* A device that writes to files that may be rotated is known by an attribute, `reopen`. */
#include <errno.h>
#include <string.h>

#include "daemon/daemon.h"

#define KEY "reopen"

/* What writes to no file has none to open. */
static void reopened(void *arg, int err, const struct vdpa_extack *ack)
{
	struct daemon *daemon = arg;

	if (err && err != -EOPNOTSUPP)
		log_line(&daemon->log, VDPA_LOG_WARN, NULL, "%s", vdpa_extack_text(ack, err));
}

static bool can_reopen(const struct vdpa_device *vdev)
{
	const struct vdpa_attr_desc *desc = vdev->attrs;

	while (desc && desc->name && strcmp(desc->name, KEY) != 0)
		desc++;
	return desc && desc->name && desc->flags & VDPA_ATTR_LIVE;
}

static int reopen_one(struct vdpa_device *vdev, void *arg)
{
	struct daemon *daemon = arg;
	struct vdpa_attrs *attrs;
	int err;

	if (!can_reopen(vdev))
		return 0;
	attrs = vdpa_attrs_alloc();
	err = attrs ? vdpa_attrs_add(attrs, KEY, "on", NULL, NULL) : -ENOMEM;
	if (err) {
		vdpa_attrs_free(attrs);
		reopened(daemon, err, NULL);
		return 0;
	}
	vdpa_dev_set(daemon->bus, vdev->name, attrs, reopened, daemon);
	return 0;
}

void reopen_files(struct daemon *daemon)
{
	vdpa_dev_each(daemon->bus, reopen_one, daemon);
}
