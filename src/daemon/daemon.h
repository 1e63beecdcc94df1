/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The daemon: a bus, a control socket, and a start-up file.  Everything here runs on the control
 * thread.
 */
#ifndef DAEMON_DAEMON_H
#define DAEMON_DAEMON_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>
#include <jansson.h>

#include "daemon/control.h"
#include "daemon/log.h"
#include "daemon/rundir.h"
#include "loop/loop.h"
#include "vdpa/bus.h"

struct restart;

struct plugin {
	void *handle;
	STAILQ_ENTRY(plugin) entry;
};

struct daemon {
	struct log log;
	struct rundir rundir;
	struct loop *loop;
	struct loop_watch bus_watch;
	struct loop_watch signals; /* owns its descriptor */
	bool on_terminal;          /* it had a controlling one when it began */
	struct vdpa_bus *bus;
	struct control *control;
	STAILQ_HEAD(, plugin) plugins;
	uint32_t poll_us; /* of workers that are made without a word about it */

	bool stopping;          /* no new verbs */
	bool forced;            /* by a second signal, or after the first try */
	unsigned int to_free;   /* devices whose removal is under way */
	bool stopped;           /* the bus is empty: the main loop ends */
	struct call *stop_call; /* whoever said `stop`, first */

	char program[PATH_MAX]; /* what runs, as it was called when it began */
	char **argv;
	struct restart *restart; /* not NULL: at the end, execute it anew */
};

/* ---- methods.c: one function for each command of the table */

/* As struct control_ops has it. */
void methods_run(void *arg, const struct command *cmd, const json_t *params, int *fds, size_t nfds,
		 struct call *call);
/* Is there a function for this method?  For the test that compares it with the table. */
bool methods_known(const char *method);

/* ---- save.c */

/*
 * The commands that make the present state again: an array of strings, NULL: out of memory.
 * given: where to put an array of how each of them came, NULL: not wanted.  There "fds" has
 * descriptors by the attribute's name (borrowed: the attributes' own), and "trusted" is false when
 * the client could not have had files opened by name.
 */
json_t *save_commands(struct daemon *daemon, json_t **given);

/* ---- startup.c */

/*
 * Run the commands of a file, one after the other; failures are logged as "file:line: reason".
 * carry_on: do not stop at the first.  Returns the number of failures.  Dispatches the loop while
 * it waits.
 */
unsigned int startup_run(struct daemon *daemon, const char *path, bool carry_on);
/* Run one command in the same way; from: as save_commands() has it, the descriptors consumed. */
int startup_line(struct daemon *daemon, const char *text, const json_t *from,
		 struct vdpa_extack *ack);

/* ---- stop.c */

/* Begin to detach everything.  Again: by force. */
void stop_begin(struct daemon *daemon);

/* ---- reopen.c */

/* Have all devices open the files anew that they write to.  Failures are logged. */
void reopen_files(struct daemon *daemon);

/* ---- plugin.c */

/* Register the device class, the type of management devices, or both, that a shared object exports.
 * 0 or -errno. */
int plugin_load(struct daemon *daemon, const char *path, struct vdpa_extack *ack);
/* After the bus is gone. */
void plugin_unload_all(struct daemon *daemon);

#endif
