/* SPDX-License-Identifier: BSD-2-Clause */
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "cli/print.h"

#define INDENT    2
#define DEPTH_MAX 12

char *print_safe(const char *text)
{
	const unsigned char *in = (const unsigned char *)text;
	char *ret = malloc(4 * strlen(text) + 1), *out = ret;

	if (!ret)
		return NULL;
	for (; *in; in++) {
		/* C0, DEL, and C1 in UTF-8: C2 80 to C2 9F. */
		if (*in < ' ' || *in == 0x7f || (in[0] == 0xc2 && in[1] >= 0x80 && in[1] < 0xa0)) {
			if (*in == 0xc2)
				in++;
			out += sprintf(out, "\\x%02x", *in);
		} else {
			*out++ = (char)*in;
		}
	}
	*out = '\0';
	return ret;
}

size_t print_width(const char *text)
{
	size_t width = 0;

	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

void print_newline(struct print *print)
{
	fputc('\n', print->out);
	print->column = 0;
}

void print_word(struct print *print, const char *word)
{
	size_t width = print_width(word);

	if (print->column && print->column + 1 + width > PRINT_COLUMNS) {
		print_newline(print);
		fprintf(print->out, "%*s", (int)print->indent, "");
		print->column = print->indent;
	} else if (print->column) {
		fputc(' ', print->out);
		print->column++;
	}
	fputs(word, print->out);
	print->column += width;
}

/* A scalar as text; to be freed. */
static char *scalar_text(const json_t *value)
{
	char number[32];

	switch (json_typeof(value)) {
	case JSON_STRING:
		return print_safe(json_string_value(value));
	case JSON_INTEGER:
		snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT,
			 json_integer_value(value));
		return strdup(number);
	case JSON_REAL:
		snprintf(number, sizeof(number), "%g", json_real_value(value));
		return strdup(number);
	case JSON_TRUE:
		return strdup("true");
	case JSON_FALSE:
		return strdup("false");
	default:
		return strdup("-");
	}
}

static bool is_group(const json_t *value)
{
	return json_is_object(value) || json_is_array(value);
}

static void print_scalar(struct print *print, const char *key, const json_t *value)
{
	char *text = scalar_text(value), *safe = key ? print_safe(key) : NULL, *both;

	/* A key and its value stay together. */
	if (text && safe && asprintf(&both, "%s %s", safe, text) >= 0) {
		print_word(print, both);
		free(both);
	} else if (text && !key) {
		print_word(print, text);
	}
	free(text);
	free(safe);
}

static void print_start(struct print *print, unsigned int indent)
{
	fprintf(print->out, "%*s", (int)indent, "");
	/* An indented line has nothing on it yet that a word would be parted from. */
	print->column = 0;
	print->indent = indent + 2 * INDENT;
}

static void print_members(struct print *print, const json_t *object, unsigned int indent);

/* A list: values on one line, groups on a line each. */
static void print_list(struct print *print, const char *key, const json_t *list,
		       unsigned int indent)
{
	size_t i;
	json_t *value;

	if (json_array_size(list) && is_group(json_array_get(list, 0))) {
		fprintf(print->out, "%*s%s:\n", (int)indent, "", key);
		json_array_foreach((json_t *)list, i, value)
		{
			print_start(print, indent + INDENT);
			print_members(print, value, indent + INDENT);
		}
		return;
	}
	print_start(print, indent);
	print->column = indent;
	fputs(key, print->out);
	print->column += (unsigned int)print_width(key);
	json_array_foreach((json_t *)list, i, value) print_scalar(print, NULL, value);
	print_newline(print);
}

/* The rest of the line that is begun, then what does not fit on a line. */
static void print_members(struct print *print, const json_t *object, unsigned int indent)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)object, key, value)
	{
		if (!is_group(value))
			print_scalar(print, key, value);
	}
	print_newline(print);
	if (indent > DEPTH_MAX * INDENT)
		return;
	json_object_foreach((json_t *)object, key, value)
	{
		char *safe vdpa_cleanup(freep) = print_safe(key);

		if (!safe)
			continue;
		if (json_is_array(value)) {
			print_list(print, safe, value, indent + INDENT);
		} else if (json_is_object(value)) {
			print_start(print, indent + INDENT);
			fprintf(print->out, "%s:", safe);
			print->column = indent + INDENT + (unsigned int)print_width(safe) + 1;
			print_members(print, value, indent + INDENT);
		}
	}
}

void print_result(FILE *out, const json_t *result)
{
	struct print print = {.out = out};
	const char *key, *name;
	json_t *group, *value;

	json_object_foreach((json_t *)result, key, group)
	{
		json_object_foreach(group, name, value)
		{
			char *safe vdpa_cleanup(freep) = print_safe(name);

			fprintf(out, "%s:", safe ? safe : "?");
			print.column = safe ? (unsigned int)print_width(safe) + 1 : 2;
			print.indent = 2 * INDENT;
			print_members(&print, value, 0);
		}
	}
}
