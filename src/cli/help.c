/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"

static const char head[] = "usage: uvdpa [OPTION]... COMMAND\n"
			   "       uvdpa [OPTION]... -batch FILE\n"
			   "\n"
			   "  -j, -json           print JSON\n"
			   "  -p, -pretty         with -j: lines and indents\n"
			   "  -s, -statistics     with dev show: also the counters of each queue\n"
			   "  -b, -batch FILE     run the commands of a file, or of stdin ('-')\n"
			   "  -f, -force          with -batch: go on after a failure\n"
			   "  -n, -count N        with top: end after N tables\n"
			   "  -r, -run-dir DIR    where uvdpad is ($UVDPA_RUN_DIR, /run/uvdpa, or\n"
			   "                      $XDG_RUNTIME_DIR/uvdpa)\n"
			   "  -V, -version        the version\n"
			   "  -h, -help           this text\n"
			   "\n"
			   "commands, each word of which may be cut short:\n";

int cli_help(const char *object)
{
	const struct command *cmd;
	char usage[COMMAND_USAGE_LEN];
	bool any = false;

	for (cmd = command_table; object && cmd->words[0]; cmd++)
		any |= !strncmp(cmd->words[0], object, strlen(object));
	if (object && !any) {
		fprintf(stderr, "uvdpa: no help for '%.40s'; see uvdpa help\n", object);
		return CLI_USAGE;
	}
	if (!object)
		fputs(head, stdout);
	for (cmd = command_table; cmd->words[0]; cmd++) {
		if (object && strncmp(cmd->words[0], object, strlen(object)))
			continue;
		command_usage(cmd, usage);
		printf("  %s\n      %s\n", usage, cmd->help);
	}
	return 0;
}
