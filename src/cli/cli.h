/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tool: words in, requests out, results printed.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <jansson.h>

#include "cli/client.h"
#include "command/command.h"

/* Exit status. */
#define CLI_REFUSED 1
#define CLI_USAGE   2

struct cli {
	const char *run_dir;
	const char *batch;
	bool json, pretty, statistics, force;
	unsigned int count; /* -n, for `top` */
	struct client client;
	bool connected;
};

/* ---- run.c */

/* One command.  0, CLI_REFUSED or CLI_USAGE with the reason. */
int cli_run(struct cli *cli, char *const *words, size_t num, struct vdpa_extack *ack);
/* Connect, unless we are. */
int cli_connect(struct cli *cli, struct vdpa_extack *ack);
/* Ask; connects first. */
int cli_call(struct cli *cli, const char *method, json_t *params, json_t **ret,
	     struct vdpa_extack *ack);
/* A value as JSON and a newline, the way the options say. */
void cli_dump(const struct cli *cli, const json_t *value);

/* ---- files.c: attributes that are files */

#define CLI_FILES_MAX 16

struct cli_files {
	int fds[CLI_FILES_MAX];
	size_t num;
	char *socket; /* that was made; NULL: none */
};

/*
 * Names of files in the parameters become absolute; for `dev add` and `mgmtdev add` those that
 * exist are opened, with the rights of the one who runs the tool, and named in "fds".  A socket to
 * listen on is made and passed where the daemon would not make it for this user.  0 or -errno.
 */
int cli_files_open(struct cli *cli, const struct command *cmd, json_t *params,
		   struct cli_files *files, struct vdpa_extack *ack);
/* err: how the command ended.  The socket of one that failed is removed. */
void cli_files_close(struct cli_files *files, int err);

/* ---- monitor.c, top.c */

int cli_monitor(struct cli *cli, struct vdpa_extack *ack);
int cli_top(struct cli *cli, const json_t *params, struct vdpa_extack *ack);

/* ---- help.c, complete.c */

/* Prints the commands of an object, NULL: of all.  0, or CLI_USAGE when there is no such object. */
int cli_help(const char *object);
/* Prints what may come after these words, one a line. */
void cli_complete(struct cli *cli, char *const *words, size_t num);

#endif
