/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "command/command.h"

/* Appends to a bounded string. */
static void append(char *buf, size_t len, const char *a, const char *b)
{
	size_t at = strlen(buf);

	snprintf(buf + at, len - at, "%s%s", a, b);
}

void command_method(const struct command *cmd, char buf[COMMAND_METHOD_LEN])
{
	buf[0] = '\0';
	for (size_t i = 0; cmd->words[i]; i++)
		append(buf, COMMAND_METHOD_LEN, i ? "." : "", cmd->words[i]);
}

static void usage_arg(const struct command_arg *arg, char *buf, size_t len)
{
	bool required = arg->flags & COMMAND_REQUIRED;

	append(buf, len, " ", required ? "" : "[");
	if (arg->type == COMMAND_ATTRS) {
		append(buf, len, "KEY VALUE", required ? "..." : "]...");
		return;
	}
	if (!(arg->flags & COMMAND_POSITIONAL))
		append(buf, len, arg->name, arg->value ? " " : "");
	append(buf, len, arg->value ? arg->value : "", required ? "" : "]");
}

void command_usage(const struct command *cmd, char buf[COMMAND_USAGE_LEN])
{
	buf[0] = '\0';
	for (size_t i = 0; cmd->words[i]; i++)
		append(buf, COMMAND_USAGE_LEN, i ? " " : "", cmd->words[i]);
	for (const struct command_arg *arg = cmd->args; arg->name; arg++) {
		if (!(arg->flags & COMMAND_OPTION))
			usage_arg(arg, buf, COMMAND_USAGE_LEN);
	}
}

const struct command *command_by_method(const char *method)
{
	char name[COMMAND_METHOD_LEN];

	for (const struct command *cmd = command_table; cmd->words[0]; cmd++) {
		command_method(cmd, name);
		if (!(cmd->flags & COMMAND_LOCAL) && !strcmp(name, method))
			return cmd;
	}
	return NULL;
}

/* ---- finding the command */

/* Does cmd have the first num words of path? */
static bool under(const struct command *cmd, const char *const *path, size_t num)
{
	for (size_t i = 0; i < num; i++) {
		if (!cmd->words[i] || strcmp(cmd->words[i], path[i]))
			return false;
	}
	return true;
}

/* The words that may follow path, each once, in the order of the table. */
static size_t choices(const char *const *path, size_t level, const char **ret, size_t max)
{
	size_t num = 0, i;

	for (const struct command *cmd = command_table; cmd->words[0]; cmd++) {
		if (!under(cmd, path, level) || !cmd->words[level])
			continue;
		for (i = 0; i < num && strcmp(ret[i], cmd->words[level]); i++)
			;
		if (i == num && num < max)
			ret[num++] = cmd->words[level];
	}
	return num;
}

static void list_words(char *buf, size_t len, const char *const *words, size_t num, const char * or)
{
	buf[0] = '\0';
	for (size_t i = 0; i < num; i++) {
		append(buf, len, i == 0 ? "'" : i + 1 == num ? or : "', '", words[i]);
		if (i + 1 == num)
			append(buf, len, "'", "");
	}
}

/* The one word of `have` that begins with `word`; NULL with the reason. */
static const char *pick(const char *word, const char *const *have, size_t num,
			struct vdpa_extack *ack)
{
	const char *hits[16];
	size_t nhits = 0;
	char list[160];

	for (size_t i = 0; i < num; i++) {
		if (!strcmp(have[i], word))
			return have[i];
		if (*word && !strncmp(have[i], word, strlen(word)) && nhits < ARRAY_SIZE(hits))
			hits[nhits++] = have[i];
	}
	if (nhits == 1)
		return hits[0];
	list_words(list, sizeof(list), nhits ? hits : have, nhits ? nhits : num, "' or '");
	if (nhits)
		vdpa_extack_set(ack, -EINVAL, "'%s' could be %s", word, list);
	else
		vdpa_extack_set(ack, -EINVAL, "'%s' is no command; try %s", word, list);
	return NULL;
}

int command_find(char *const *words, size_t num, const struct command **ret, size_t *used,
		 struct vdpa_extack *ack)
{
	const char *path[COMMAND_WORDS_MAX] = {NULL}, *have[24];
	size_t level, nhave;

	for (level = 0; level < COMMAND_WORDS_MAX; level++) {
		nhave = choices(path, level, have, ARRAY_SIZE(have));
		if (!nhave)
			break;
		if (level < num)
			path[level] = pick(words[level], have, nhave, ack);
		else if (level)
			path[level] = pick("show", have, nhave, ack);
		else
			return vdpa_extack_set(ack, -EINVAL, "a command is missing");
		if (!path[level])
			return -EINVAL;
	}
	*used = level < num ? level : num;
	for (const struct command *cmd = command_table; cmd->words[0]; cmd++) {
		if (under(cmd, path, level) && !cmd->words[level]) {
			*ret = cmd;
			return 0;
		}
	}
	return -EINVAL;
}

size_t command_next(char *const *words, size_t num, const char **ret, size_t max)
{
	const char *path[COMMAND_WORDS_MAX] = {NULL}, *have[24];
	size_t nhave;

	if (num >= COMMAND_WORDS_MAX)
		return 0;
	for (size_t i = 0; i < num; i++) {
		nhave = choices(path, i, have, ARRAY_SIZE(have));
		path[i] = nhave ? pick(words[i], have, nhave, NULL) : NULL;
		if (!path[i])
			return 0;
	}
	return choices(path, num, ret, max);
}

/* ---- words to parameters */

static int refuse(const struct command *cmd, struct vdpa_extack *ack, const char *word,
		  const char *what)
{
	char usage[COMMAND_USAGE_LEN];

	command_usage(cmd, usage);
	return vdpa_extack_set(ack, -EINVAL, "'%s' %s; usage: %s", word, what, usage);
}

static int parse_number(const char *text, int64_t *ret)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = strtoull(text, &end, 0);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value > INT32_MAX)
		return -EINVAL;
	*ret = (int64_t)value;
	return 0;
}

/* Takes value over. */
static int put(json_t *object, const char *key, json_t *value)
{
	return json_object_set_new(object, key, value) ? -ENOMEM : 0;
}

/* Such text would end up on terminals, and a batch file could not hold it. */
static bool has_control(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return true;
	}
	return false;
}

static int put_text(json_t *object, const char *key, const char *text, struct vdpa_extack *ack)
{
	json_t *value;

	if (has_control(text))
		return vdpa_extack_set(ack, -EINVAL, "the value of '%s' has a control character",
				       key);
	value = json_string(text);
	if (!value)
		return vdpa_extack_set(ack, -EINVAL, "the value of '%s' is not UTF-8", key);
	return put(object, key, value);
}

static int put_value(const struct command *cmd, const struct command_arg *arg, const char *word,
		     json_t *params, struct vdpa_extack *ack)
{
	int64_t number;

	if (json_object_get(params, arg->name))
		return refuse(cmd, ack, arg->name, "is given twice");
	if (arg->type == COMMAND_STRING)
		return put_text(params, arg->name, word, ack);
	if (arg->type == COMMAND_CPU && !strcmp(word, "any"))
		return put(params, arg->name, json_integer(-1));
	if (parse_number(word, &number))
		return vdpa_extack_set(ack, -EINVAL, "'%s' of '%s' is no number from 0 to %d%s",
				       word, arg->name, INT32_MAX,
				       arg->type == COMMAND_CPU ? ", nor 'any'" : "");
	return put(params, arg->name, json_integer(number));
}

static int put_attr(const struct command *cmd, const char *key, const char *value, json_t *params,
		    struct vdpa_extack *ack)
{
	json_t *attrs = json_object_get(params, "attrs");

	if (!attrs) {
		attrs = json_object();
		if (put(params, "attrs", attrs))
			return -ENOMEM;
	}
	if (has_control(key))
		return vdpa_extack_set(ack, -EINVAL, "an attribute's name has a control character");
	if (json_object_get(attrs, key))
		return refuse(cmd, ack, key, "is given twice");
	if (!json_object_set_new(attrs, key, json_null()))
		return put_text(attrs, key, value, ack);
	return vdpa_extack_set(ack, -EINVAL, "an attribute's name is not UTF-8");
}

static const struct command_arg *positional(const struct command *cmd, const json_t *params)
{
	for (const struct command_arg *arg = cmd->args; arg->name; arg++) {
		if ((arg->flags & COMMAND_POSITIONAL) && !json_object_get(params, arg->name))
			return arg;
	}
	return NULL;
}

static const struct command_arg *keyword(const struct command *cmd, const char *word)
{
	for (const struct command_arg *arg = cmd->args; arg->name; arg++) {
		if (!(arg->flags & (COMMAND_POSITIONAL | COMMAND_OPTION)) &&
		    arg->type != COMMAND_ATTRS && !strcmp(arg->name, word))
			return arg;
	}
	return NULL;
}

static bool takes_attrs(const struct command *cmd)
{
	for (const struct command_arg *arg = cmd->args; arg->name; arg++) {
		if (arg->type == COMMAND_ATTRS)
			return true;
	}
	return false;
}

/* Reads one argument from words[0] on.  Returns the number of words that it took, or -errno. */
static int parse_one(const struct command *cmd, char *const *words, size_t num, json_t *params,
		     struct vdpa_extack *ack)
{
	const struct command_arg *arg = positional(cmd, params), *key = keyword(cmd, words[0]);
	int err;

	/* Where the name may be left out, what could be a keyword is one. */
	if (arg && ((arg->flags & COMMAND_REQUIRED) || !key)) {
		/* "dev set name disk0", too: iproute2 has it that way. */
		bool named = num > 1 && !strcmp(words[0], arg->name);

		err = put_value(cmd, arg, words[named], params, ack);
		return err ? err : 1 + named;
	}
	arg = key;
	if (arg && arg->type == COMMAND_FLAG) {
		if (json_object_get(params, arg->name))
			return refuse(cmd, ack, arg->name, "is given twice");
		return put(params, arg->name, json_true()) ? -ENOMEM : 1;
	}
	if (!arg && !takes_attrs(cmd))
		return refuse(cmd, ack, words[0], "is not expected");
	if (num < 2)
		return refuse(cmd, ack, words[0], "has no value");
	err = arg ? put_value(cmd, arg, words[1], params, ack)
		  : put_attr(cmd, words[0], words[1], params, ack);
	return err ? err : 2;
}

static int check_required(const struct command *cmd, const json_t *params, struct vdpa_extack *ack)
{
	for (const struct command_arg *arg = cmd->args; arg->name; arg++) {
		if (!(arg->flags & COMMAND_REQUIRED) || json_object_get(params, arg->name))
			continue;
		return refuse(cmd, ack, arg->type == COMMAND_ATTRS ? "KEY VALUE" : arg->name,
			      "is missing");
	}
	return 0;
}

int command_parse(const struct command *cmd, char *const *words, size_t num, json_t **ret,
		  struct vdpa_extack *ack)
{
	json_t *params = json_object();
	int took, err;

	if (!params)
		return -ENOMEM;
	for (size_t i = 0; i < num; i += (size_t)took) {
		took = parse_one(cmd, words + i, num - i, params, ack);
		if (took < 0) {
			json_decref(params);
			return took;
		}
	}
	err = check_required(cmd, params, ack);
	if (err) {
		json_decref(params);
		return err;
	}
	*ret = params;
	return 0;
}

/* ---- parameters of a request */

static int check_attrs(const json_t *attrs, struct vdpa_extack *ack)
{
	const char *key;
	json_t *value;

	if (!json_is_object(attrs))
		return vdpa_extack_set(ack, -EINVAL, "'attrs' must be an object");
	json_object_foreach((json_t *)attrs, key, value)
	{
		if (!json_is_string(value) && !json_is_integer(value) && !json_is_boolean(value))
			return vdpa_extack_set(
				ack, -EINVAL,
				"attribute '%.64s' must be a string, an integer or a boolean", key);
		if (has_control(key) ||
		    (json_is_string(value) && has_control(json_string_value(value))))
			return vdpa_extack_set(ack, -EINVAL,
					       "an attribute has a control character");
	}
	return 0;
}

static int check_fds(const json_t *params, const json_t *fds, struct vdpa_extack *ack)
{
	const json_t *attrs = json_object_get(params, "attrs");
	const char *key;
	json_t *value;

	if (!json_is_object(fds))
		return vdpa_extack_set(ack, -EINVAL, "'fds' must be an object");
	json_object_foreach((json_t *)fds, key, value)
	{
		if (!json_is_integer(value) || json_integer_value(value) < 0)
			return vdpa_extack_set(ack, -EINVAL, "'fds': '%.64s' must be an index",
					       key);
		if (!json_object_get(attrs, key))
			return vdpa_extack_set(ack, -EINVAL, "'fds': no attribute '%.64s'", key);
	}
	return 0;
}

static int check_member(const struct command *cmd, const json_t *params, const char *key,
			const json_t *value, struct vdpa_extack *ack)
{
	const struct command_arg *arg = cmd->args;
	json_int_t number;

	while (arg->name && strcmp(arg->name, key))
		arg++;
	if (!arg->name) {
		if (!strcmp(key, "fds") && takes_attrs(cmd))
			return check_fds(params, value, ack);
		return vdpa_extack_set(ack, -EINVAL, "unknown parameter '%.64s'", key);
	}
	switch (arg->type) {
	case COMMAND_STRING:
		if (!json_is_string(value))
			return vdpa_extack_set(ack, -EINVAL, "'%s' must be a string", key);
		if (has_control(json_string_value(value)))
			return vdpa_extack_set(ack, -EINVAL, "'%s' has a control character", key);
		return 0;
	case COMMAND_UINT:
	case COMMAND_CPU:
		number = json_integer_value(value);
		if (!json_is_integer(value) || number > INT32_MAX ||
		    number < (arg->type == COMMAND_CPU ? -1 : 0))
			return vdpa_extack_set(ack, -EINVAL, "'%s' must be a number from %d to %d",
					       key, arg->type == COMMAND_CPU ? -1 : 0, INT32_MAX);
		return 0;
	case COMMAND_FLAG:
		if (!json_is_boolean(value))
			return vdpa_extack_set(ack, -EINVAL, "'%s' must be a boolean", key);
		return 0;
	case COMMAND_ATTRS:
		return check_attrs(value, ack);
	}
	return -EINVAL;
}

int command_check(const struct command *cmd, const json_t *params, struct vdpa_extack *ack)
{
	const char *key;
	json_t *value;
	int err;

	if (params && !json_is_object(params))
		return vdpa_extack_set(ack, -EINVAL, "parameters must be an object");
	json_object_foreach((json_t *)params, key, value)
	{
		err = check_member(cmd, params, key, value, ack);
		if (err)
			return err;
	}
	for (const struct command_arg *arg = cmd->args; arg->name; arg++) {
		if ((arg->flags & COMMAND_REQUIRED) && !json_object_get(params, arg->name))
			return vdpa_extack_set(ack, -EINVAL, "parameter '%s' is missing",
					       arg->name);
	}
	return 0;
}
