/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/defs.h"
#include "command/rundir.h"
#include "daemon/daemon.h"
#include "daemon/json_info.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/restart.h"
#include "vdpa/soft.h"

static void bus_ready(struct loop_watch *watch, uint32_t events)
{
	struct daemon *daemon = container_of(watch, struct daemon, bus_watch);

	vdpa_bus_dispatch(daemon->bus, 0);
}

static bool has_terminal(void)
{
	int fd = open("/dev/tty", O_RDONLY | O_NOCTTY | O_CLOEXEC);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

/* A signal that has its name from a terminal that is gone; it has another meaning for daemons. */
static bool is_rotation(const struct daemon *daemon, const struct signalfd_siginfo *info)
{
	return info->ssi_signo == SIGHUP && (!daemon->on_terminal || has_terminal());
}

static void signal_ready(struct loop_watch *watch, uint32_t events)
{
	struct daemon *daemon = container_of(watch, struct daemon, signals);
	struct signalfd_siginfo info;

	if (read(watch->fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (is_rotation(daemon, &info)) {
		log_line(&daemon->log, VDPA_LOG_INFO, NULL, "opening files again");
		if (!daemon->stopping)
			reopen_files(daemon);
		return;
	}
	restart_cancel(daemon, "a signal came");
	log_line(&daemon->log, VDPA_LOG_INFO, NULL, "%s: detaching everything%s",
		 strsignal((int)info.ssi_signo), daemon->stopping ? ", by force" : "");
	stop_begin(daemon);
}

static void on_event(void *arg, const struct vdpa_event *event)
{
	struct daemon *daemon = arg;
	json_t *params;

	if (!daemon->control)
		return;
	params = json_pack("{s:s,s:s*,s:s*,s:o*}", "event", event->name, "dev", event->dev,
			   "mgmtdev", event->mgmtdev, "text",
			   event->text ? json_text(event->text) : NULL);
	if (params)
		control_notify(daemon->control, "event", params);
	json_decref(params);
}

static const struct control_ops control_ops = {.run = methods_run};

/* ---- bring-up */

/* A front-end may bring more than a thousand descriptors; the usual soft limit is for select(). */
static void raise_fd_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int watch_signals(struct daemon *daemon)
{
	sigset_t set;
	int fd, err;

	raise_fd_limit();
	signal(SIGPIPE, SIG_IGN);
	/* A disk that would outgrow RLIMIT_FSIZE gets an error instead. */
	signal(SIGXFSZ, SIG_IGN);
	err = vdpa_sigbus_install();
	if (err)
		return err;
	daemon->on_terminal = has_terminal();
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	/* Before any thread is made: all of them inherit it. */
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -errno;
	fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (fd < 0)
		return -errno;
	daemon->signals = LOOP_WATCH_INIT(signal_ready);
	err = loop_watch_add(daemon->loop, &daemon->signals, fd, EPOLLIN);
	if (err)
		close(fd);
	return err;
}

static int start_bus(struct daemon *daemon, const struct options *options, struct vdpa_extack *ack)
{
	const struct vdpa_bus_config config = {
		.run_dir = daemon->rundir.path,
		.timeout_ms = options->timeout_ms,
		.log = log_text,
		.log_arg = &daemon->log,
		.workers = options->workers,
		.poll_us = options->poll_us,
	};
	const struct vdpa_driver *const drivers[] = {vdpa_driver_vhost_user, vdpa_driver_virtio};
	int err;

	daemon->poll_us = options->poll_us;
	err = vdpa_bus_alloc(&config, &daemon->bus, ack);
	if (err)
		return err;
	daemon->bus_watch = LOOP_WATCH_INIT(bus_ready);
	err = loop_watch_add(daemon->loop, &daemon->bus_watch, vdpa_bus_fd(daemon->bus), EPOLLIN);
	if (err)
		return err;
	vdpa_bus_set_event_cb(daemon->bus, on_event, daemon);
	err = vdpa_soft_register_builtin(daemon->bus, ack);
	if (!err)
		err = vdpa_mgmtdev_register_builtin(daemon->bus, ack);
	for (size_t i = 0; i < ARRAY_SIZE(drivers) && !err; i++) {
		/* One that this build lacks is NULL. */
		if (drivers[i])
			err = vdpa_driver_register(daemon->bus, drivers[i], ack);
	}
	for (unsigned int i = 0; i < options->nplugins && !err; i++)
		err = plugin_load(daemon, options->plugins[i], ack);
	return err;
}

static int start_control(struct daemon *daemon, const struct options *options,
			 struct vdpa_extack *ack)
{
	int fd, err;

	fd = rundir_listen(&daemon->rundir, options->socket_mode, options->socket_group, ack);
	if (fd < 0)
		return fd;
	err = control_alloc(daemon->loop, &control_ops, daemon, &daemon->control);
	if (!err)
		err = control_listen(daemon->control, &fd);
	if (fd >= 0)
		close(fd);
	return err;
}

static int open_rundir(struct daemon *daemon, const struct options *options,
		       struct vdpa_extack *ack)
{
	char path[PATH_MAX];
	unsigned int num;
	int err;

	err = rundir_choose(options->run_dir, path, ack);
	if (!err)
		err = rundir_open(&daemon->rundir, path, ack);
	if (err)
		return err;
	num = rundir_clean(&daemon->rundir, false);
	if (num)
		log_line(&daemon->log, VDPA_LOG_INFO, NULL,
			 "removed %u things that a dead uvdpad had left in '%s'", num,
			 daemon->rundir.path);
	return 0;
}

static int start(struct daemon *daemon, const struct options *options, struct restart *restart,
		 struct vdpa_extack *ack)
{
	int err = 0;

	if (restart)
		restart_take_rundir(restart, &daemon->rundir);
	else
		err = open_rundir(daemon, options, ack);
	if (!err)
		err = loop_alloc(&daemon->loop);
	if (!err)
		err = watch_signals(daemon);
	return err ? err : start_bus(daemon, options, ack);
}

/* Runs until everything is detached. */
static int run(struct daemon *daemon, const struct options *options, struct restart *restart)
{
	struct vdpa_extack ack = {0}, why = {0};
	int err, failed = 0;

	/* A guest that waits for its disk is not made to wait for the one whose file is gone. */
	if (restart)
		failed = restart_run(restart, daemon, &why);
	else if (options->config && startup_run(daemon, options->config, options->keep_going) &&
		 !options->keep_going)
		return 1;
	/* A signal may have come meanwhile. */
	err = daemon->stopping ? 0 : start_control(daemon, options, &ack);
	if (err) {
		log_line(&daemon->log, VDPA_LOG_ERROR, NULL, "%s", vdpa_extack_text(&ack, err));
		if (restart)
			restart_end(restart, NULL, err, &ack);
		return 1;
	}
	if (!daemon->stopping) {
		log_line(&daemon->log, VDPA_LOG_INFO, NULL, "ready in '%s'", daemon->rundir.path);
		notify_manager("READY=1");
	}
	if (restart)
		restart_end(restart, daemon->control, failed, &why);
	while (!daemon->stopped)
		loop_dispatch(daemon->loop, -1);
	return 0;
}

/* Ends what start() began, as far as it came.  Nothing of ours stays behind. */
static int finish(struct daemon *daemon)
{
	int fd = daemon->signals.fd, err = 0;

	if (daemon->bus) {
		vdpa_bus_set_event_cb(daemon->bus, NULL, NULL);
		loop_watch_del(&daemon->bus_watch);
		err = vdpa_bus_free(daemon->bus);
		daemon->bus = NULL;
	}
	if (err)
		log_line(&daemon->log, VDPA_LOG_WARN, NULL,
			 "a device still hangs: it ends with the process");
	else
		plugin_unload_all(daemon);
	if (daemon->restart)
		restart_exec(daemon);
	rundir_close(&daemon->rundir);
	if (daemon->stop_call)
		daemon->stop_call->ops->done(daemon->stop_call, 0, NULL, json_object());
	control_free(daemon->control);
	loop_watch_del(&daemon->signals);
	if (fd >= 0)
		close(fd);
	if (daemon->loop && !err)
		loop_free(daemon->loop);
	return err;
}

int main(int argc, char **argv)
{
	struct vdpa_extack ack = {0};
	struct daemon daemon = {.rundir = RUNDIR_INIT, .signals = {.fd = -1}, .argv = argv};
	struct restart *restart;
	struct options options;
	int status, err;

	status = options_parse(&options, argc, argv);
	if (status >= 0)
		return status;
	STAILQ_INIT(&daemon.plugins);
	log_init(&daemon.log, options.log_level);
	umask(022);
	/* Now, since later another program may be there, and that is the one to restart with. */
	if (readlink("/proc/self/exe", daemon.program, sizeof(daemon.program) - 1) < 0)
		daemon.program[0] = '\0';
	restart = restart_adopt();
	err = start(&daemon, &options, restart, &ack);
	if (err) {
		log_line(&daemon.log, VDPA_LOG_ERROR, NULL, "%s", vdpa_extack_text(&ack, err));
		if (restart)
			restart_end(restart, NULL, err, &ack);
		status = 1;
	} else {
		status = run(&daemon, &options, restart);
	}
	err = finish(&daemon);
	/* A thread that hangs may still use what exit() would take down. */
	if (err)
		_exit(status);
	return status;
}
