/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Batch files: one command a line.  Words are separated by blanks; "..." and '...' keep blanks
 * together, inside "..." and outside quotes a backslash takes the next character as it is; `#` at
 * the start of a word begins a comment; a backslash at the end continues the line.
 */
#ifndef COMMAND_LINE_H
#define COMMAND_LINE_H

#include <stddef.h>
#include <stdio.h>

#include "vdpa/extack.h"

#define LINE_WORDS_MAX 128
#define LINE_LEN_MAX   65536

struct line {
	char *words[LINE_WORDS_MAX]; /* point into text */
	size_t num;
	unsigned int number; /* of the first of the physical lines, from 1 */
	char *text;
	unsigned int next; /* physical lines read so far */
};

/*
 * The next line with words on it.  1, 0 at the end of the file, -errno with the reason (number says
 * where). Zero `line` before the first call.
 */
int line_read(struct line *line, FILE *file, struct vdpa_extack *ack);
void line_free(struct line *line);

/* The word as a batch file and a shell would need it, NULL when out of memory; to be freed. */
char *line_quote(const char *word);

#endif
