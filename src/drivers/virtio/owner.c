/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "drivers/virtio/owner.h"

int virtio_owner(const struct vdpa_attrs *attrs, struct virtio_owner *ret, struct vdpa_extack *ack)
{
	const char *owner = vdpa_attrs_str(attrs, "owner", NULL);
	const char *group = vdpa_attrs_str(attrs, "group", NULL);
	struct passwd pw, *pwp = NULL;
	struct group gr, *grp = NULL;
	char buf[4096];

	*ret = (struct virtio_owner){
		.mode = (mode_t)vdpa_attrs_u64(attrs, "mode", 0600),
		.uid = geteuid(),
		.gid = getegid(),
		.given = owner || group || vdpa_attrs_has(attrs, "mode"),
	};
	if (owner) {
		getpwnam_r(owner, &pw, buf, sizeof(buf), &pwp);
		if (!pwp)
			return vdpa_extack_set(ack, -EINVAL, "there is no user '%s'", owner);
		ret->uid = pw.pw_uid;
	}
	if (group) {
		getgrnam_r(group, &gr, buf, sizeof(buf), &grp);
		if (!grp)
			return vdpa_extack_set(ack, -EINVAL, "there is no group '%s'", group);
		ret->gid = gr.gr_gid;
	}
	return 0;
}
