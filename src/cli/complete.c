/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <string.h>

#include "base/defs.h"
#include "cli/cli.h"

static const struct {
	const char *method, *group;
} sources[] = {
	[COMMAND_DEV] = {"dev.show", "dev"},
	[COMMAND_MGMTDEV] = {"mgmtdev.show", "mgmtdev"},
	[COMMAND_DRIVER] = {"driver.show", "driver"},
	[COMMAND_WORKER] = {"worker.show", "worker"},
	[COMMAND_CLASS] = {"mgmtdev.show", "mgmtdev"},
	[COMMAND_TYPE] = {"mgmtdev.show", "type"},
};

/* Names that the daemon knows; without one there are none. */
static void print_names(struct cli *cli, enum command_what what)
{
	json_t *result = NULL, *value;
	const char *name;

	if (what == COMMAND_ANYTHING || cli_call(cli, sources[what].method, NULL, &result, NULL))
		return;
	json_object_foreach(json_object_get(result, sources[what].group), name, value) puts(name);
	json_decref(result);
}

/* The keys of attributes, or the values of the one named `key`. */
static void print_attributes(struct cli *cli, enum command_what what, const char *name,
			     const char *key)
{
	json_t *ask = json_pack("{s:s}", "name", name), *result = NULL, *attr, *value;
	size_t i, j;

	if (cli_call(cli, sources[what].method, ask, &result, NULL)) {
		json_decref(ask);
		return;
	}
	json_array_foreach(
		json_object_get(json_object_get(json_object_get(result, sources[what].group), name),
				"attributes"),
		i, attr)
	{
		const char *attr_name = json_string_value(json_object_get(attr, "name"));
		const char *type = json_string_value(json_object_get(attr, "type"));

		if (!attr_name || !type)
			continue;
		if (!key)
			puts(attr_name);
		else if (!strcmp(key, attr_name) && !strcmp(type, "bool"))
			puts("on\noff");
		else if (!strcmp(key, attr_name))
			json_array_foreach(json_object_get(attr, "values"), j, value)
				puts(json_string_value(value));
	}
	json_decref(result);
	json_decref(ask);
}

/* How far the arguments have come. */
struct progress {
	const struct command_arg *value_of; /* the word is the value of this one */
	const char *attr;                   /* or of this attribute */
	const char *owner;                  /* who knows the attributes */
	enum command_what owner_what;
	unsigned int seen; /* bit for each argument */
};

static bool is_keyword(const struct command *cmd, const char *word)
{
	for (const struct command_arg *arg = cmd->args; arg->name; arg++) {
		if (!(arg->flags & (COMMAND_POSITIONAL | COMMAND_OPTION)) &&
		    arg->type != COMMAND_ATTRS && !strcmp(arg->name, word))
			return true;
	}
	return false;
}

static void advance(const struct command *cmd, const char *word, struct progress *p)
{
	const struct command_arg *arg;

	if (p->value_of) {
		if (p->value_of->what == COMMAND_MGMTDEV || p->value_of->what == COMMAND_DRIVER ||
		    p->value_of->what == COMMAND_TYPE) {
			p->owner = word;
			p->owner_what = p->value_of->what;
		}
		p->value_of = NULL;
		return;
	}
	if (p->attr) {
		p->attr = NULL;
		return;
	}
	for (arg = cmd->args; arg->name; arg++) {
		if (arg->flags & COMMAND_OPTION || p->seen & 1u << (arg - cmd->args))
			continue;
		if ((arg->flags & COMMAND_POSITIONAL) &&
		    ((arg->flags & COMMAND_REQUIRED) || !is_keyword(cmd, word))) {
			p->seen |= 1u << (arg - cmd->args);
			return;
		}
		if (!(arg->flags & COMMAND_POSITIONAL) && arg->type != COMMAND_ATTRS &&
		    !strcmp(arg->name, word)) {
			p->seen |= 1u << (arg - cmd->args);
			p->value_of = arg->type == COMMAND_FLAG ? NULL : arg;
			return;
		}
	}
	p->attr = word;
}

static void print_arguments(struct cli *cli, const struct command *cmd, const struct progress *p)
{
	const struct command_arg *arg;

	if (p->value_of) {
		print_names(cli, p->value_of->what);
		return;
	}
	if (p->attr) {
		if (p->owner)
			print_attributes(cli, p->owner_what, p->owner, p->attr);
		return;
	}
	for (arg = cmd->args; arg->name; arg++) {
		if (arg->flags & COMMAND_OPTION || p->seen & 1u << (arg - cmd->args))
			continue;
		if (arg->flags & COMMAND_POSITIONAL) {
			print_names(cli, arg->what);
			if (arg->flags & COMMAND_REQUIRED)
				return;
			continue;
		}
		if (arg->type != COMMAND_ATTRS)
			puts(arg->name);
		else if (p->owner)
			print_attributes(cli, p->owner_what, p->owner, NULL);
	}
}

void cli_complete(struct cli *cli, char *const *words, size_t num)
{
	struct progress progress = {0};
	const struct command *cmd;
	const char *next[24];
	size_t count, used;

	count = command_next(words, num, next, ARRAY_SIZE(next));
	for (size_t i = 0; i < count; i++)
		puts(next[i]);
	if (!num)
		puts("help");
	if (count || !num || command_find(words, num, &cmd, &used, NULL))
		return;
	for (size_t i = used; i < num; i++)
		advance(cmd, words[i], &progress);
	print_arguments(cli, cmd, &progress);
}
