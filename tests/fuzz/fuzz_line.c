/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A start-up file: lines, words, commands, and words quoted again.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/command.h"
#include "command/line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What a word is quoted to is read as that word. */
static void check_quote(const char *word)
{
	char *quoted = line_quote(word);
	struct line line = {0};
	FILE *file;

	/* A file cannot hold these; the parser of commands refuses them. */
	if (!quoted || strpbrk(word, "\r\n"))
		goto out;
	file = fmemopen(quoted, strlen(quoted), "r");
	if (!file || line_read(&line, file, NULL) != 1 || line.num != 1 ||
	    strcmp(line.words[0], word))
		abort();
	fclose(file);
out:
	line_free(&line);
	free(quoted);
}

static void run(const struct line *line)
{
	char usage[COMMAND_USAGE_LEN];
	const struct command *cmd;
	struct vdpa_extack ack = {0};
	json_t *params = NULL;
	size_t used;

	if (command_find(line->words, line->num, &cmd, &used, &ack))
		return;
	command_usage(cmd, usage);
	if (command_parse(cmd, line->words + used, line->num - used, &params, &ack))
		return;
	/* What the words become, the daemon takes. */
	if (command_check(cmd, params, &ack))
		abort();
	json_decref(params);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	FILE *file = len ? fmemopen((void *)data, len, "r") : NULL;
	struct line line = {0};

	while (file && line_read(&line, file, NULL) > 0) {
		for (size_t i = 0; i < line.num; i++)
			check_quote(line.words[i]);
		run(&line);
	}
	line_free(&line);
	if (file)
		fclose(file);
	return 0;
}
