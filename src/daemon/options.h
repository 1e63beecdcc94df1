/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vdpa/bus.h"

#define OPTIONS_PLUGINS_MAX 32

struct options {
	const char *run_dir;
	const char *config;
	const char *plugins[OPTIONS_PLUGINS_MAX];
	unsigned int nplugins;
	enum vdpa_log_level log_level;
	uint32_t workers, poll_us, timeout_ms;
	mode_t socket_mode;
	gid_t socket_group; /* -1: the daemon's */
	bool keep_going;
};

/* Fills in what the command line says.  -1: go on; else the exit status, everything has been
 * printed. */
int options_parse(struct options *options, int argc, char **argv);

#endif
