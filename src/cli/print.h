/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Results, for people.  Lines fit 80 columns where words let them; nothing that a device says
 * reaches the terminal as a control sequence.
 */
#ifndef CLI_PRINT_H
#define CLI_PRINT_H

#include <stdbool.h>
#include <stdio.h>
#include <jansson.h>

#define PRINT_COLUMNS 80

/* A line that breaks between words. */
struct print {
	FILE *out;
	unsigned int column;
	unsigned int indent; /* of the lines after the first */
};

/* Text that is safe to print: control characters become \xNN.  NULL when out of memory; to be
 * freed. */
char *print_safe(const char *text);
/* One more word; those that must stay together are passed as one. */
void print_word(struct print *print, const char *word);
void print_newline(struct print *print);
/* Columns that a text takes. */
size_t print_width(const char *text);

/*
 * {"dev": {"disk0": {...}, ...}}: a paragraph for each name.
 * brief: features of devices are left out, of the result, too.
 */
void print_result(FILE *out, json_t *result, bool brief);

#endif
