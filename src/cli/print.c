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
		return json_string_length(value) ? print_safe(json_string_value(value))
						 : strdup("\"\"");
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

/* Words of a text, each where it fits. */
static void print_text(struct print *print, const char *text)
{
	char *copy vdpa_cleanup(freep) = strdup(text), *save = NULL, *word;

	for (word = copy ? strtok_r(copy, " ", &save) : NULL; word;
	     word = strtok_r(NULL, " ", &save))
		print_word(print, word);
}

static bool is_group(const json_t *value)
{
	return json_is_object(value) || json_is_array(value);
}

static void print_scalar(struct print *print, const char *key, const json_t *value)
{
	char *text vdpa_cleanup(freep) = scalar_text(value);
	char *safe vdpa_cleanup(freep) = key ? print_safe(key) : NULL;
	char *both vdpa_cleanup(freep) = NULL;

	if (!text || (key && !safe))
		return;
	if (!key) {
		print_word(print, text);
	} else if (print_width(safe) + 1 + print_width(text) + print->indent > PRINT_COLUMNS &&
		   strchr(text, ' ')) {
		print_word(print, safe);
		print_text(print, text);
	} else if (asprintf(&both, "%s %s", safe, text) >= 0) {
		/* A key and its value stay together. */
		print_word(print, both);
	}
}

/* Begins a line with its first word; what goes on below stands further in. */
static void print_start(struct print *print, unsigned int indent, const char *word)
{
	fprintf(print->out, "%*s%s", (int)indent, "", word);
	print->column = indent + (unsigned int)print_width(word);
	print->indent = indent + 2 * INDENT;
}

/* ---- lists that are tables */

/* Goes to a column, on the next line where this one is beyond it. */
static void print_column(struct print *print, unsigned int column)
{
	if (print->column >= column)
		print_newline(print);
	fprintf(print->out, "%*s", (int)(column - print->column), "");
	print->column = column;
	print->indent = column;
}

static char *member_text(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return value ? scalar_text(value) : strdup("");
}

/* The first word of a column, which needs no blank before it. */
static void print_cell(struct print *print, const char *text)
{
	size_t first = strcspn(text, " ");

	fprintf(print->out, "%.*s", (int)first, text);
	print->column += (unsigned int)first;
	print_text(print, text + first);
}

/* What an attribute takes: "file|ram|null", "size, live". */
static char *attribute_type(const json_t *attr)
{
	const json_t *values = json_object_get(attr, "values"), *value;
	const char *type = json_string_value(json_object_get(attr, "type"));
	char *text = NULL;
	size_t i, len;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	if (!values && type)
		fputs(type, out);
	json_array_foreach(values, i, value) fprintf(
		out, "%s%s", i ? "|" : "", json_is_string(value) ? json_string_value(value) : "?");
	if (json_is_true(json_object_get(attr, "required")))
		fputs(", required", out);
	if (json_is_true(json_object_get(attr, "live")))
		fputs(", live", out);
	fclose(out);
	return text;
}

static void print_attributes(struct print *print, const json_t *list, unsigned int indent)
{
	json_t *attr;
	size_t i;

	json_array_foreach((json_t *)list, i, attr)
	{
		char *name vdpa_cleanup(freep) = member_text(attr, "name");
		char *help vdpa_cleanup(freep) = member_text(attr, "help");
		char *type vdpa_cleanup(freep) = attribute_type(attr);

		if (!name || !help || !type)
			continue;
		print_start(print, indent, name);
		print_column(print, indent + 14);
		print_cell(print, type);
		print_column(print, indent + 28);
		print_cell(print, help);
		print_newline(print);
	}
}

static void print_explained(struct print *print, const json_t *list, unsigned int indent)
{
	static const unsigned int columns[] = {7, 26, 38, 49};
	static const char *const keys[] = {"name", "state", "by", "why"};
	json_t *bit;
	size_t i;

	json_array_foreach((json_t *)list, i, bit)
	{
		char number[8];

		snprintf(number, sizeof(number), "%2d",
			 (int)json_integer_value(json_object_get(bit, "bit")));
		print_start(print, indent, number);
		for (size_t c = 0; c < ARRAY_SIZE(keys); c++) {
			char *text vdpa_cleanup(freep) = member_text(bit, keys[c]);

			if (!text || !*text)
				continue;
			print_column(print, columns[c]);
			print_cell(print, text);
		}
		print_newline(print);
	}
}

/* ---- anything */

static void print_members(struct print *print, const json_t *object, unsigned int indent);

static void print_groups(struct print *print, const json_t *list, unsigned int indent)
{
	json_t *value;
	size_t i;

	json_array_foreach((json_t *)list, i, value)
	{
		print_start(print, indent, "");
		/* The indent parts the first word already. */
		print->column = 0;
		print_members(print, value, indent);
	}
}

/* A list: values on one line, groups on a line each. */
static void print_list(struct print *print, const char *key, const json_t *list,
		       unsigned int indent)
{
	size_t i;
	json_t *value;

	if (!json_array_size(list))
		return;
	print_start(print, indent, key);
	if (!is_group(json_array_get(list, 0))) {
		json_array_foreach((json_t *)list, i, value) print_scalar(print, NULL, value);
		print_newline(print);
		return;
	}
	fputc(':', print->out);
	print_newline(print);
	if (!strcmp(key, "attributes"))
		print_attributes(print, list, indent + INDENT);
	else if (!strcmp(key, "features"))
		print_explained(print, list, indent + INDENT);
	else
		print_groups(print, list, indent + INDENT);
}

static void print_group(struct print *print, const char *key, const json_t *value,
			unsigned int indent)
{
	char *safe vdpa_cleanup(freep) = print_safe(key);

	if (!safe)
		return;
	if (json_is_array(value)) {
		print_list(print, safe, value, indent);
	} else if (json_object_size(value)) {
		print_start(print, indent, safe);
		fputc(':', print->out);
		print->column++;
		print_members(print, value, indent);
	}
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
	json_object_foreach((json_t *)object, key, value)
	{
		if (is_group(value) && indent < DEPTH_MAX * INDENT)
			print_group(print, key, value, indent + INDENT);
	}
}

/* Each member on a line of its own. */
static void print_lines(struct print *print, const json_t *object)
{
	const char *key;
	json_t *value;

	print_newline(print);
	json_object_foreach((json_t *)object, key, value)
	{
		if (is_group(value)) {
			print_group(print, key, value, INDENT);
		} else {
			print_start(print, INDENT, "");
			print->column = 0;
			print_scalar(print, key, value);
			print_newline(print);
		}
	}
}

static void print_named(struct print *print, const char *group, const char *name,
			const json_t *value)
{
	char *safe vdpa_cleanup(freep) = print_safe(name);
	bool is_type = !strcmp(group, "type");

	/* It may have the name of a management device. */
	print->column = (unsigned int)fprintf(print->out, "%s", is_type ? "type " : "");
	fprintf(print->out, "%s:", safe ? safe : "?");
	print->column += safe ? (unsigned int)print_width(safe) + 1 : 2;
	print->indent = 2 * INDENT;
	if (is_type || !strcmp(group, "mgmtdev") || !strcmp(group, "driver"))
		print_lines(print, value);
	else
		print_members(print, value, 0);
}

void print_result(FILE *out, json_t *result, bool brief)
{
	struct print print = {.out = out};
	const char *key, *name;
	json_t *group, *value;

	json_object_foreach(result, key, group)
	{
		json_object_foreach(group, name, value)
		{
			/* Long, and the same for all of a kind. */
			if (brief && !strcmp(key, "dev")) {
				json_object_del(value, "device_features");
				json_object_del(value, "negotiated_features");
			}
			print_named(&print, key, name, value);
		}
	}
}
