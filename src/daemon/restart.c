/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/restart.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>

#include "base/defs.h"
#include "daemon/notify.h"
#include "daemon/rpc.h"

#define VARIABLE "UVDPAD_RESTART"

struct restart {
	struct call *call; /* of the process that ends */
	json_t *commands;  /* as save_commands() has them */
	json_t *given;     /* the same */

	json_t *state; /* of the next one */
	int client;    /* -1: it has left */
};

static struct restart *restart_alloc(void)
{
	struct restart *restart = calloc(1, sizeof(*restart));

	if (restart)
		restart->client = -1;
	return restart;
}

/* Does something with each descriptor that came with a command. */
static void each_fd(const json_t *given, void (*fn)(json_t *fd))
{
	const char *key;
	json_t *of_one, *fd;
	size_t i;

	json_array_foreach(given, i, of_one)
	{
		json_object_foreach(json_object_get(of_one, "fds"), key, fd)
		{
			fn(fd);
		}
	}
}

static void close_one(json_t *number)
{
	int fd = (int)json_integer_value(number);

	fd_closep(&fd);
}

/* -1 where there is no room for another. */
static void duplicate_one(json_t *number)
{
	json_integer_set(number, fcntl((int)json_integer_value(number), F_DUPFD_CLOEXEC, 0));
}

static void restart_free(struct restart *restart)
{
	each_fd(restart->given, close_one);
	json_decref(restart->commands);
	json_decref(restart->given);
	json_decref(restart->state);
	fd_closep(&restart->client);
	free(restart);
}

/* ---- the process that ends */

/* @spec sd_notify(3), RELOADING=1 */
static void notify_reloading(void)
{
	struct timespec now;
	char text[64];

	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%lld",
		 (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	notify_manager(text);
}

int restart_begin(struct daemon *daemon, struct call *call, struct vdpa_extack *ack)
{
	unsigned int others = control_num_calls(daemon->control) - 1;
	struct restart *restart;

	if (access(daemon->program, X_OK))
		return vdpa_extack_set(ack, -errno, "cannot execute '%s': %s", daemon->program,
				       strerrordesc_np(errno));
	/* What they are about to do would be lost. */
	if (others)
		return vdpa_extack_set(ack, -EBUSY, "other commands are under way: %u", others);
	restart = restart_alloc();
	if (!restart)
		return -ENOMEM;
	restart->commands = save_commands(daemon, &restart->given);
	if (!restart->commands) {
		restart_free(restart);
		return -ENOMEM;
	}
	each_fd(restart->given, duplicate_one);
	restart->call = call;
	daemon->restart = restart;
	log_line(&daemon->log, VDPA_LOG_INFO, NULL, "restarting: detaching everything");
	notify_reloading();
	vdpa_bus_keep_records(daemon->bus);
	stop_begin(daemon);
	return 0;
}

void restart_cancel(struct daemon *daemon, const char *why)
{
	struct restart *restart = daemon->restart;
	struct vdpa_extack ack = {0};

	if (!restart)
		return;
	daemon->restart = NULL;
	notify_manager("STOPPING=1");
	vdpa_extack_set(&ack, -ECANCELED, "not restarted: %s", why);
	restart->call->ops->done(restart->call, -ECANCELED, &ack, NULL);
	restart_free(restart);
}

static void keep_open(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, 0);
}

static void keep_one(json_t *number)
{
	keep_open((int)json_integer_value(number));
}

/* Writes down what crosses over.  Returns the descriptor, which stays open. */
static int write_state(struct daemon *daemon)
{
	struct restart *restart = daemon->restart;
	int fd = memfd_create("uvdpad-restart", 0);
	json_t *id = NULL, *state;
	int err;

	restart->client = restart->call->ops->hand_over(restart->call, &id);
	state = json_pack("{s:s,s:b,s:i,s:i,s:o*,s:O,s:O}", "run_dir", daemon->rundir.path, "made",
			  daemon->rundir.made, "lock", daemon->rundir.lock, "client",
			  restart->client, "id", id, "commands", restart->commands, "given",
			  restart->given);
	err = fd < 0 || !state ? -ENOMEM : json_dumpfd(state, fd, JSON_COMPACT);
	json_decref(state);
	if (err)
		fd_closep(&fd);
	return fd;
}

void restart_exec(struct daemon *daemon)
{
	int fd = write_state(daemon);
	char number[16];

	if (fd < 0) {
		restart_cancel(daemon, "out of memory");
		return;
	}
	/* The next one says what a dead one has left; this one has not died. */
	rundir_clean(&daemon->rundir, false);
	each_fd(daemon->restart->given, keep_one);
	keep_open(daemon->restart->client);
	keep_open(daemon->rundir.lock);
	snprintf(number, sizeof(number), "%d", fd);
	setenv(VARIABLE, number, 1);
	execv(daemon->program, daemon->argv);
	log_line(&daemon->log, VDPA_LOG_ERROR, NULL, "cannot execute '%s': %s", daemon->program,
		 strerrordesc_np(errno));
	/* Better as it was than not at all. */
	execv("/proc/self/exe", daemon->argv);
	close(fd);
	restart_cancel(daemon, strerrordesc_np(errno));
}

/* ---- the next process */

static void close_on_exec(int fd)
{
	fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void close_one_on_exec(json_t *number)
{
	close_on_exec((int)json_integer_value(number));
}

static int state_int(const struct restart *restart, const char *key)
{
	const json_t *value = json_object_get(restart->state, key);

	return json_is_integer(value) ? (int)json_integer_value(value) : -1;
}

struct restart *restart_adopt(void)
{
	const char *number = getenv(VARIABLE);
	int fd vdpa_cleanup(fd_closep) = number ? atoi(number) : -1;
	struct restart *restart;

	unsetenv(VARIABLE);
	if (fd < 0 || lseek(fd, 0, SEEK_SET))
		return NULL;
	restart = restart_alloc();
	if (!restart)
		return NULL;
	restart->state = json_loadfd(fd, 0, NULL);
	restart->commands = json_incref(json_object_get(restart->state, "commands"));
	restart->given = json_incref(json_object_get(restart->state, "given"));
	restart->client = state_int(restart, "client");
	each_fd(restart->given, close_one_on_exec);
	close_on_exec(restart->client);
	close_on_exec(state_int(restart, "lock"));
	return restart;
}

void restart_take_rundir(struct restart *restart, struct rundir *dir)
{
	const char *path = json_string_value(json_object_get(restart->state, "run_dir"));

	snprintf(dir->path, sizeof(dir->path), "%s", path ? path : "");
	dir->made = json_is_true(json_object_get(restart->state, "made"));
	dir->lock = state_int(restart, "lock");
}

int restart_run(struct restart *restart, struct daemon *daemon, struct vdpa_extack *ack)
{
	size_t num = json_array_size(restart->commands), failed = 0;
	struct vdpa_extack first = {0};
	int err = 0;

	for (size_t i = 0; i < num; i++) {
		const char *text = json_string_value(json_array_get(restart->commands, i));
		struct vdpa_extack why = {0};
		int one = startup_line(daemon, text, json_array_get(restart->given, i), &why);

		/* A signal has come: what fails now does so because of that. */
		if (!one || daemon->stopping)
			continue;
		vdpa_extack_prefix(&why, one, "%s", text);
		log_line(&daemon->log, VDPA_LOG_ERROR, NULL, "%s", vdpa_extack_text(&why, one));
		if (!failed++) {
			err = one;
			first = why;
		}
	}
	/* All have been taken over. */
	json_decref(restart->given);
	restart->given = NULL;
	if (daemon->stopping)
		return vdpa_extack_set(ack, -ECANCELED, "not restarted: a signal came");
	return err ? vdpa_extack_set(ack, err, "restarted, but %zu of %zu commands failed: %s",
				     failed, num, vdpa_extack_text(&first, err))
		   : 0;
}

void restart_end(struct restart *restart, struct control *control, int err,
		 const struct vdpa_extack *ack)
{
	json_t *id = json_object_get(restart->state, "id");
	json_t *message = err ? rpc_error(id, RPC_REFUSED, err, vdpa_extack_text(ack, err))
			      : rpc_result(id, json_object());
	char *text vdpa_cleanup(freep) = message ? json_dumps(message, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;

	json_decref(message);
	if (len && id && restart->client >= 0) {
		/* The newline takes the place of the NUL.  Who does not take it is not waited for.
		 */
		text[len] = '\n';
		(void)!send(restart->client, text, len + 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	if (control && restart->client >= 0)
		control_add_client(control, &restart->client);
	restart_free(restart);
}
