/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "command/rundir.h"

int rundir_choose(const char *option, char buf[PATH_MAX], struct vdpa_extack *ack)
{
	const char *dir = option, *below = "";

	if (!dir)
		dir = getenv("UVDPA_RUN_DIR");
	if (!dir && geteuid() == 0)
		dir = "/run/uvdpa";
	if (!dir) {
		dir = getenv("XDG_RUNTIME_DIR");
		below = "/uvdpa";
	}
	if (!dir || !*dir)
		return vdpa_extack_set(
			ack, -ENOENT,
			"no run directory: not root, and XDG_RUNTIME_DIR is not set; "
			"give one by --run-dir or UVDPA_RUN_DIR");
	if (snprintf(buf, PATH_MAX, "%s%s", dir, below) >= PATH_MAX)
		return vdpa_extack_set(ack, -ENAMETOOLONG,
				       "the name of the run directory is too long");
	return 0;
}
