/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <string.h>

#include "backends/entropy/entropy.h"

const char *const entropy_backend_names[] = {"kernel", "file", NULL};

int entropy_open(struct vdpa_attrs *attrs, struct entropy **ret, struct vdpa_extack *ack)
{
	bool file = vdpa_attrs_has(attrs, "file");
	const char *name = vdpa_attrs_str(attrs, "backend", file ? "file" : "kernel");

	if (!strcmp(name, "file"))
		return entropy_file_open(attrs, ret, ack);
	if (file)
		return vdpa_extack_set(ack, -EINVAL, "'file' is for backend 'file', not for '%s'",
				       name);
	return entropy_kernel_open(ret, ack);
}

void entropy_close(struct entropy *src)
{
	if (src)
		src->ops->close(src);
}
