/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "command/line.h"
#include "daemon/daemon.h"

struct startup {
	struct call call;
	bool done;
	bool left; /* nobody waits any more */
	int err;
	struct vdpa_extack ack;
};

static void startup_done(struct call *call, int err, const struct vdpa_extack *ack, json_t *result)
{
	struct startup *startup = container_of(call, struct startup, call);

	json_decref(result);
	if (startup->left) {
		free(startup);
		return;
	}
	startup->done = true;
	startup->err = err;
	if (err)
		vdpa_extack_set(&startup->ack, err, "%s", vdpa_extack_text(ack, err));
}

static const struct call_ops startup_ops = {.done = startup_done};

/* What comes with a command. */
struct given {
	bool trusted;
	json_t *indices; /* into fds, by the attribute's name */
	int fds[CONTROL_FDS_MAX];
	size_t num;
};

/* Runs a command to its end, or until a signal ends the daemon. */
static int run_command(struct daemon *daemon, const struct command *cmd, const json_t *params,
		       struct given *given, struct vdpa_extack *ack)
{
	struct startup *startup = calloc(1, sizeof(*startup));
	int err;

	if (!startup)
		return -ENOMEM;
	startup->call = (struct call){.ops = &startup_ops, .trusted = given->trusted};
	methods_run(daemon, cmd, params, given->fds, given->num, &startup->call);
	while (!startup->done && !daemon->stopped)
		loop_dispatch(daemon->loop, -1);
	if (!startup->done) {
		startup->left = true;
		return 0;
	}
	err = startup->err;
	if (err)
		vdpa_extack_set(ack, err, "%s", startup->ack.msg);
	free(startup);
	return err;
}

static int run_line(struct daemon *daemon, const struct line *line, struct given *given,
		    struct vdpa_extack *ack)
{
	const struct command *cmd;
	json_t *params = NULL;
	size_t used;
	int err;

	err = command_find(line->words, line->num, &cmd, &used, ack);
	if (err)
		return err;
	if (cmd->flags & (COMMAND_LOCAL | COMMAND_SESSION))
		return vdpa_extack_set(ack, -EINVAL, "'%s' has no place in a start-up file",
				       cmd->words[0]);
	err = command_parse(cmd, line->words + used, line->num - used, &params, ack);
	if (err)
		return err;
	if (given->num)
		json_object_set(params, "fds", given->indices);
	err = run_command(daemon, cmd, params, given, ack);
	json_decref(params);
	return err;
}

unsigned int startup_run(struct daemon *daemon, const char *path, bool carry_on)
{
	FILE *file = fopen(path, "re");
	struct given given = {.trusted = true};
	struct line line = {0};
	unsigned int failures = 0;
	int ret = 1;

	if (!file) {
		log_line(&daemon->log, VDPA_LOG_ERROR, NULL, "%s: %s", path,
			 strerrordesc_np(errno));
		return 1;
	}
	while (ret > 0 && !daemon->stopping && (carry_on || !failures)) {
		struct vdpa_extack ack = {0};
		int err;

		ret = line_read(&line, file, &ack);
		err = ret > 0 ? run_line(daemon, &line, &given, &ack) : ret;
		if (!err)
			continue;
		failures++;
		log_line(&daemon->log, VDPA_LOG_ERROR, NULL, "%s:%u: %s", path, line.number,
			 vdpa_extack_text(&ack, err));
	}
	line_free(&line);
	fclose(file);
	return failures;
}

/* Descriptors by name, to an array of them and indices by name, as a request has them. */
static void take_given(const json_t *from, struct given *given)
{
	const char *key;
	json_t *fd;

	given->trusted = !json_is_false(json_object_get(from, "trusted"));
	json_object_foreach(json_object_get(from, "fds"), key, fd)
	{
		if (given->num == CONTROL_FDS_MAX)
			break;
		json_object_set_new(given->indices, key, json_integer((json_int_t)given->num));
		given->fds[given->num++] = (int)json_integer_value(fd);
	}
}

int startup_line(struct daemon *daemon, const char *text, const json_t *from,
		 struct vdpa_extack *ack)
{
	FILE *file = fmemopen((char *)text, strlen(text), "r");
	struct given given = {.indices = json_object()};
	struct line line = {0};
	int err = file ? line_read(&line, file, ack) : -ENOMEM;

	take_given(from, &given);
	if (err > 0)
		err = run_line(daemon, &line, &given, ack);
	while (given.num--)
		fd_closep(&given.fds[given.num]);
	line_free(&line);
	json_decref(given.indices);
	if (file)
		fclose(file);
	return err;
}
