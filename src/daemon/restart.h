/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `restart`: the process detaches everything and executes itself anew, with the same arguments, the
 * same process number and the lock of the run directory, and makes its state again.  What crosses
 * over is a JSON document in a file without a name, whose descriptor an environment variable names:
 * the commands that make the state, and by number the descriptors that clients have given with
 * them, the lock, and the connection of whoever asked.
 *
 * Control thread.
 */
#ifndef DAEMON_RESTART_H
#define DAEMON_RESTART_H

#include "daemon/daemon.h"

struct restart;

/* ---- in the process that ends */

/*
 * Take down the present state, and begin to detach.  call: answered by the next process, or by
 * restart_cancel().  On failure nothing has changed, and the call is the caller's still.
 */
int restart_begin(struct daemon *daemon, struct call *call, struct vdpa_extack *ack);
/* The process is to end, not to be restarted.  Nothing happens unless it was. */
void restart_cancel(struct daemon *daemon, const char *why);
/* The bus is gone.  Returns only if there is no program to execute; then the restart is cancelled.
 */
void restart_exec(struct daemon *daemon);

/* ---- in the next one */

/* Is this one?  NULL: it is not. */
struct restart *restart_adopt(void);
/* The run directory, locked as it was. */
void restart_take_rundir(struct restart *restart, struct rundir *dir);
/* Run the commands.  Failures are logged; the text tells of them.  0 or the error of the first. */
int restart_run(struct restart *restart, struct daemon *daemon, struct vdpa_extack *ack);
/* Answer whoever asked, who becomes a client of ours if there is a control socket.  Frees. */
void restart_end(struct restart *restart, struct control *control, int err,
		 const struct vdpa_extack *ack);

#endif
