/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the daemon and the tool meet. */
#ifndef COMMAND_RUNDIR_H
#define COMMAND_RUNDIR_H

#include <limits.h>
#include <stddef.h>

#include "vdpa/extack.h"

#define CONTROL_SOCKET "control.sock"

/*
 * The run directory: `option` (--run-dir, may be NULL), else $UVDPA_RUN_DIR, else /run/uvdpa for
 * root and $XDG_RUNTIME_DIR/uvdpa for others.  0, -ENOENT when there is none, -ENAMETOOLONG.
 */
int rundir_choose(const char *option, char buf[PATH_MAX], struct vdpa_extack *ack);

#endif
