/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The vocabulary: one table of commands.  The command-line tool parses by it, the daemon checks and
 * dispatches by it, help, completion and the synopses of the manual come from it.
 *
 * A command has two forms: words ("dev add name disk0 mgmtdev blk file a.img"), and a method with
 * parameters ("dev.add", {"name": "disk0", "mgmtdev": "blk", "attrs": {"file": "a.img"}}).
 */
#ifndef COMMAND_COMMAND_H
#define COMMAND_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <jansson.h>

#include "vdpa/extack.h"

#define COMMAND_WORDS_MAX  3
#define COMMAND_METHOD_LEN 32
#define COMMAND_USAGE_LEN  160

enum command_arg_type {
	COMMAND_STRING,
	COMMAND_UINT,
	COMMAND_CPU,   /* a number, or "any": -1 */
	COMMAND_FLAG,  /* the word alone */
	COMMAND_ATTRS, /* KEY VALUE pairs; the last argument */
};

#define COMMAND_REQUIRED   1u
#define COMMAND_POSITIONAL 2u /* no keyword before the value */
#define COMMAND_OPTION     4u /* not a word: an option of the tool (-s), a member of the parameters */

/* What the values are, for completion. */
enum command_what {
	COMMAND_ANYTHING,
	COMMAND_DEV,
	COMMAND_MGMTDEV,
	COMMAND_DRIVER,
	COMMAND_WORKER,
	COMMAND_CLASS,
	COMMAND_TYPE, /* of management devices */
};

struct command_arg {
	const char *name; /* the member of the parameters, and the keyword; NULL ends the row */
	enum command_arg_type type;
	unsigned int flags;
	enum command_what what;
	const char *value; /* how the usage calls it: "NAME" */
};

#define COMMAND_ARGS_MAX 6

/* Runs in the tool, not in the daemon. */
#define COMMAND_LOCAL   1u
/* Belongs to a connection or ends the daemon: not in a start-up file. */
#define COMMAND_SESSION 2u

struct command {
	const char *words[COMMAND_WORDS_MAX + 1]; /* ends with NULL */
	struct command_arg args[COMMAND_ARGS_MAX + 1];
	unsigned int flags;
	const char *help;
};

/* Ends with a command without words. */
extern const struct command command_table[];

/* "dev.config.show" */
void command_method(const struct command *cmd, char buf[COMMAND_METHOD_LEN]);
/* "dev bind NAME driver DRIVER [force] [KEY VALUE]..." */
void command_usage(const struct command *cmd, char buf[COMMAND_USAGE_LEN]);
const struct command *command_by_method(const char *method);

/*
 * Find the command that the words begin with.  Each may be cut short as long as it is not
 * ambiguous; where the verb is missing it is "show".  used: how many words name the command.  0, or
 * -EINVAL with the reason.
 */
int command_find(char *const *words, size_t num, const struct command **ret, size_t *used,
		 struct vdpa_extack *ack);
/*
 * The words that may follow these (whole or cut short), for completion.  Returns how many; 0 when
 * they name a command already, or none at all.
 */
size_t command_next(char *const *words, size_t num, const char **ret, size_t max);
/*
 * The words after the command to parameters.  Checks what the table knows: the values of attributes
 * are the daemon's to judge.  0, -EINVAL with the word that is wrong, -ENOMEM.
 */
int command_parse(const struct command *cmd, char *const *words, size_t num, json_t **ret,
		  struct vdpa_extack *ack);
/*
 * Check the parameters of a request (NULL: none): members, types, what is required.  "fds" is
 * allowed beside "attrs": an object of indices.  0 or -EINVAL.
 */
int command_check(const struct command *cmd, const json_t *params, struct vdpa_extack *ack);

#endif
