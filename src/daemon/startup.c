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

/* Runs a command to its end, or until a signal ends the daemon. */
static int run_command(struct daemon *daemon, const struct command *cmd, const json_t *params,
		       int *fds, size_t nfds, struct vdpa_extack *ack)
{
	struct startup *startup = calloc(1, sizeof(*startup));
	int err;

	if (!startup)
		return -ENOMEM;
	startup->call = (struct call){.ops = &startup_ops, .trusted = true};
	methods_run(daemon, cmd, params, fds, nfds, &startup->call);
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

static int run_line(struct daemon *daemon, const struct line *line, const json_t *indices, int *fds,
		    size_t nfds, struct vdpa_extack *ack)
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
	if (nfds)
		json_object_set(params, "fds", (json_t *)indices);
	err = run_command(daemon, cmd, params, fds, nfds, ack);
	json_decref(params);
	return err;
}

unsigned int startup_run(struct daemon *daemon, const char *path, bool carry_on)
{
	FILE *file = fopen(path, "re");
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
		err = ret > 0 ? run_line(daemon, &line, NULL, NULL, 0, &ack) : ret;
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
static size_t split_fds(const json_t *by_name, json_t *indices, int fds[CONTROL_FDS_MAX])
{
	const char *key;
	size_t num = 0;
	json_t *fd;

	json_object_foreach((json_t *)by_name, key, fd)
	{
		if (num == CONTROL_FDS_MAX)
			break;
		json_object_set_new(indices, key, json_integer((json_int_t)num));
		fds[num++] = (int)json_integer_value(fd);
	}
	return num;
}

int startup_line(struct daemon *daemon, const char *text, const json_t *fds,
		 struct vdpa_extack *ack)
{
	FILE *file = fmemopen((char *)text, strlen(text), "r");
	json_t *indices = json_object();
	int passed[CONTROL_FDS_MAX];
	size_t num = split_fds(fds, indices, passed);
	struct line line = {0};
	int err = file ? line_read(&line, file, ack) : -ENOMEM;

	if (err > 0)
		err = run_line(daemon, &line, indices, passed, num, ack);
	while (num--)
		fd_closep(&passed[num]);
	line_free(&line);
	json_decref(indices);
	if (file)
		fclose(file);
	return err;
}
