/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backend `stdio`: the standard streams of the process, for a daemon in the foreground.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backends/stream/fd.h"
#include "base/defs.h"

struct stdio {
	struct stream_fd sfd;
	int in, out;
	int err;
};

static void stdio_hung_up(struct stream_fd *sfd)
{
	stream_opened_locked(&sfd->stream, false);
}

static void stdio_close(struct stream *stream)
{
	struct stdio *stdio = container_of(stream, struct stdio, sfd.stream);

	stream_fd_close(&stdio->sfd);
	free(stdio);
}

static const struct stream_ops stdio_ops = {
	.name = "stdio",
	.close = stdio_close,
	.push = stream_fd_push,
	.pull = stream_fd_pull,
};

/*
 * The same file, opened anew where that can be done: whoever shares the descriptor with us shall
 * not find that it does not block any more.  A socket cannot be opened.
 */
static int non_blocking(int fd, int flags)
{
	char path[32];
	int copy;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	copy = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (copy >= 0)
		return copy;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (copy >= 0)
		fcntl(copy, F_SETFL, fcntl(copy, F_GETFL) | O_NONBLOCK);
	return copy < 0 ? -errno : copy;
}

static void start(void *arg)
{
	struct stdio *stdio = arg;

	pthread_mutex_lock(&stdio->sfd.stream.lock);
	stdio->err = stream_fd_set(&stdio->sfd, stdio->in, stdio->out);
	if (!stdio->err)
		stream_fd_resume(&stdio->sfd);
	pthread_mutex_unlock(&stdio->sfd.stream.lock);
}

/* A disk may keep a read or a write waiting, and with it the worker and all that it serves. */
static int check_kind(int fd, const char *which, struct vdpa_extack *ack)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return 0;
	return vdpa_extack_set(ack, -EINVAL,
			       "the standard %s is a file, which may keep others waiting: use a "
			       "pipe, or backend 'file'",
			       which);
}

static int open_both(struct stdio *stdio, const struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	int err;

	if (vdpa_attrs_names_forbidden(attrs))
		return vdpa_extack_set(ack, -EPERM,
				       "the standard streams are those of another user's daemon");
	err = check_kind(STDIN_FILENO, "input", ack);
	if (!err)
		err = check_kind(STDOUT_FILENO, "output", ack);
	if (err)
		return err;
	stdio->in = non_blocking(STDIN_FILENO, O_RDONLY);
	stdio->out = non_blocking(STDOUT_FILENO, O_WRONLY | O_APPEND);
	if (stdio->in >= 0 && stdio->out >= 0)
		return 0;
	return vdpa_extack_set(ack, stdio->in < 0 ? stdio->in : stdio->out,
			       "cannot open the standard streams");
}

int stream_stdio_open(const struct stream_open *open, struct stream **ret, struct vdpa_extack *ack)
{
	struct stdio *stdio;
	int err;

	if (open->port)
		return vdpa_extack_set(ack, -EINVAL,
				       "the standard streams are for one port: see 'ports'");
	stdio = calloc(1, sizeof(*stdio));
	if (!stdio)
		return -ENOMEM;
	stdio->in = stdio->out = -1;
	stdio->sfd.hung_up = stdio_hung_up;
	err = open_both(stdio, open->attrs, ack);
	if (!err)
		err = stream_fd_init(&stdio->sfd, &stdio_ops, open, ack);
	if (err) {
		fd_closep(&stdio->in);
		fd_closep(&stdio->out);
		free(stdio);
		return err;
	}
	stream_fd_at_home(&stdio->sfd, start, stdio);
	if (stdio->err) {
		err = stdio->err;
		stdio_close(&stdio->sfd.stream);
		return vdpa_extack_set(ack, err, "cannot watch the standard streams");
	}
	*ret = &stdio->sfd.stream;
	return 0;
}
