/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backend `pty`: a terminal of this host, dev/NAME/pty.
 */
#include <errno.h>
#include <stdlib.h>

#include "backends/stream/fd.h"
#include "backends/stream/pty_dev.h"
#include "base/defs.h"
#include "bus/bus.h"

struct pty {
	struct stream_fd sfd;
	struct pty_dev dev;
	struct loop_watch watch;
	int err; /* of what was done at home */
};

static struct pty *to_pty(struct stream *stream)
{
	return container_of(stream, struct pty, sfd.stream);
}

static void look_who_is_there(struct pty *pty)
{
	if (pty_dev_is_open(&pty->dev) && !pty->sfd.stream.open)
		stream_fd_resume(&pty->sfd);
}

/* The next one may have come before this was noticed. */
static void pty_hung_up(struct stream_fd *sfd)
{
	stream_opened_locked(&sfd->stream, false);
	look_who_is_there(to_pty(&sfd->stream));
}

static void on_open(struct loop_watch *watch, uint32_t events)
{
	struct pty *pty = container_of(watch, struct pty, watch);

	pthread_mutex_lock(&pty->sfd.stream.lock);
	look_who_is_there(pty);
	pthread_mutex_unlock(&pty->sfd.stream.lock);
}

static void pty_show(struct stream *stream, struct vdpa_info *info)
{
	const struct pty_dev *dev = &to_pty(stream)->dev;

	vdpa_info_str(info, "pty", dev->link ? dev->link : dev->slave);
}

static void pty_set_size(struct stream *stream, uint16_t cols, uint16_t rows)
{
	pty_dev_set_size(&to_pty(stream)->dev, cols, rows);
}

static void pty_stop(struct stream_fd *sfd)
{
	loop_watch_del(&to_pty(&sfd->stream)->watch);
}

static void pty_close(struct stream *stream)
{
	struct pty *pty = to_pty(stream);

	stream_fd_close(&pty->sfd);
	/* The stream had the master. */
	pty->dev.master = -1;
	pty_dev_close(&pty->dev);
	free(pty);
}

static const struct stream_ops pty_ops = {
	.name = "pty",
	.close = pty_close,
	.show = pty_show,
	.push = stream_fd_push,
	.pull = stream_fd_pull,
	.set_size = pty_set_size,
};

static void start(void *arg)
{
	struct pty *pty = arg;
	struct stream_fd *sfd = &pty->sfd;

	pthread_mutex_lock(&sfd->stream.lock);
	/* From now on the master is the stream's. */
	pty->err = stream_fd_set(sfd, pty->dev.master, pty->dev.master);
	if (!pty->err)
		pty->err =
			loop_watch_add(stream_fd_loop(sfd), &pty->watch, pty->dev.watch, EPOLLIN);
	/* Somebody may have found the name already. */
	if (!pty->err)
		look_who_is_there(pty);
	pthread_mutex_unlock(&sfd->stream.lock);
}

/* Without a run directory there is no place for a name. */
static int open_dev(struct pty *pty, const struct stream_open *open, struct vdpa_extack *ack)
{
	char name[16], path[PATH_MAX];
	int err = stream_port_name("pty", open->port, name, sizeof(name));

	if (!err)
		err = bus_device_path(open->bus, open->name, name, path, sizeof(path));
	if (err && err != -ENOENT)
		return vdpa_extack_set(ack, err, "no place for the name of the terminal");
	return pty_dev_open(&pty->dev, err ? NULL : path, ack);
}

int stream_pty_open(const struct stream_open *open, struct stream **ret, struct vdpa_extack *ack)
{
	struct pty *pty = calloc(1, sizeof(*pty));
	int err;

	if (!pty)
		return -ENOMEM;
	pty->watch = LOOP_WATCH_INIT(on_open);
	pty->sfd.hung_up = pty_hung_up;
	pty->sfd.stop = pty_stop;
	err = open_dev(pty, open, ack);
	if (err) {
		free(pty);
		return err;
	}
	err = stream_fd_init(&pty->sfd, &pty_ops, open, ack);
	if (err) {
		pty_dev_close(&pty->dev);
		free(pty);
		return err;
	}
	stream_fd_at_home(&pty->sfd, start, pty);
	if (pty->err) {
		err = pty->err;
		pty_close(&pty->sfd.stream);
		return vdpa_extack_set(ack, err, "cannot watch the terminal");
	}
	*ret = &pty->sfd.stream;
	return 0;
}
