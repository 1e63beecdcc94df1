/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel tells the master's side when the last user of the slave closes it (POLLHUP), but not
 * when somebody opens it: for that its name is watched.
 */
#include "backends/stream/pty_dev.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#include "base/defs.h"

static int make_master(struct pty_dev *pty)
{
	pty->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (pty->master < 0 || grantpt(pty->master) || unlockpt(pty->master) ||
	    ptsname_r(pty->master, pty->slave, sizeof(pty->slave)))
		return -errno;
	return 0;
}

/* Opened once, it is hung up from the beginning, and keeps the mode. */
static int make_raw(const struct pty_dev *pty)
{
	int fd vdpa_cleanup(fd_closep) = open(pty->slave, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios mode;

	if (fd < 0 || tcgetattr(fd, &mode))
		return -errno;
	cfmakeraw(&mode);
	return tcsetattr(fd, TCSANOW, &mode) ? -errno : 0;
}

static int make_watch(struct pty_dev *pty)
{
	pty->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (pty->watch < 0 || inotify_add_watch(pty->watch, pty->slave, IN_OPEN | IN_CLOSE) < 0)
		return -errno;
	return 0;
}

static int make_link(struct pty_dev *pty, const char *link, struct vdpa_extack *ack)
{
	struct stat st;

	if (!lstat(link, &st) && S_ISLNK(st.st_mode))
		unlink(link);
	if (symlink(pty->slave, link))
		return vdpa_extack_set(ack, -errno, "cannot make the link '%s': %s", link,
				       strerrordesc_np(errno));
	pty->link = strdup(link);
	if (pty->link)
		return 0;
	unlink(link);
	return -ENOMEM;
}

int pty_dev_open(struct pty_dev *pty, const char *link, struct vdpa_extack *ack)
{
	int err;

	*pty = PTY_DEV_NONE;
	err = make_master(pty);
	if (!err)
		err = make_raw(pty);
	if (!err)
		err = make_watch(pty);
	if (err)
		vdpa_extack_set(ack, err, "cannot make a pseudo-terminal: %s",
				strerrordesc_np(-err));
	if (!err && link)
		err = make_link(pty, link, ack);
	if (err)
		pty_dev_close(pty);
	return err;
}

/* One that points elsewhere by now is somebody else's. */
static void remove_link(const struct pty_dev *pty)
{
	char target[sizeof(pty->slave)];
	ssize_t len = readlink(pty->link, target, sizeof(target) - 1);

	if (len < 0)
		return;
	target[len] = 0;
	if (!strcmp(target, pty->slave))
		unlink(pty->link);
}

void pty_dev_close(struct pty_dev *pty)
{
	if (pty->link)
		remove_link(pty);
	free(pty->link);
	pty->link = NULL;
	fd_closep(&pty->master);
	fd_closep(&pty->watch);
}

bool pty_dev_is_open(struct pty_dev *pty)
{
	struct pollfd pfd = {.fd = pty->master};
	char events[4096];

	while (read(pty->watch, events, sizeof(events)) > 0)
		;
	return poll(&pfd, 1, 0) >= 0 && !(pfd.revents & POLLHUP);
}

void pty_dev_set_size(const struct pty_dev *pty, uint16_t cols, uint16_t rows)
{
	const struct winsize size = {.ws_col = cols, .ws_row = rows};

	ioctl(pty->master, TIOCSWINSZ, &size);
}
