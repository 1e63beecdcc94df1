/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The run directory: one daemon at a time, and nothing of a dead one.
 */
#ifndef DAEMON_RUNDIR_H
#define DAEMON_RUNDIR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "vdpa/extack.h"

struct rundir {
	char path[PATH_MAX]; /* absolute, without links */
	int lock;            /* -1: not ours */
	bool made;           /* by us: goes at the end */
};

#define RUNDIR_INIT ((struct rundir){.lock = -1})

/*
 * Make the directory if it is not there, and lock it.
 * 0, -EBUSY when another daemon has it (the text names its process), -EPERM when it is not safe to
 * use.
 */
int rundir_open(struct rundir *dir, const char *path, struct vdpa_extack *ack);

/*
 * What a daemon that died has left: mounts are detached, sockets and mount points removed.  With
 * `all` also what would let a device go on after a crash (state records, in-flight logs). Returns
 * how many things were removed.
 */
unsigned int rundir_clean(const struct rundir *dir, bool all);

/* Listen on control.sock.  mode and gid (-1: ours) are set before anybody can connect.  A
 * descriptor or -errno. */
int rundir_listen(const struct rundir *dir, mode_t mode, gid_t gid, struct vdpa_extack *ack);

/* Remove all that is ours, and unlock.  Nothing happens when it is not open. */
void rundir_close(struct rundir *dir);

#endif
