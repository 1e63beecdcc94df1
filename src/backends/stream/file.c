/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backend `file`: output is appended, input there is none.  A write may wait for a disk, so it
 * is done on a lane.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backends/stream/stream.h"
#include "base/defs.h"
#include "bus/bus.h"
#include "loop/lane.h"

#define CHUNK 65536u /* bytes in a write */

struct file {
	struct stream stream;
	char *path;
	bool by_name; /* whoever chose it may have it opened by name */
	struct lane *lane;
	struct lane_job job;
	uint8_t *chunk; /* the lane's */

	/* stream.lock */
	pthread_cond_t moved; /* what follows has changed */
	bool writing;         /* the job is posted or runs */
	int fd;
	int next;      /* -1: none; goes on in this one ... */
	uint32_t rest; /* ... after so many bytes of `out` */
};

static struct file *to_file(struct stream *stream)
{
	return container_of(stream, struct file, stream);
}

/* ---- bytes */

static uint32_t copy_chunk(struct file *file)
{
	uint32_t most = file->next >= 0 && file->rest < CHUNK ? file->rest : CHUNK;
	struct iovec iov[2];
	int num = bytes_filled(&file->stream.out, iov);
	uint32_t len = 0;

	for (int i = 0; i < num; i++) {
		uint32_t room = most - len;
		uint32_t part = iov[i].iov_len < room ? (uint32_t)iov[i].iov_len : room;

		memcpy(file->chunk + len, iov[i].iov_base, part);
		len += part;
	}
	return len;
}

/* How many bytes were not taken: a full disk holds nobody back. */
static uint32_t write_all(int fd, const uint8_t *buf, uint32_t len)
{
	uint32_t done = 0;

	while (done < len) {
		ssize_t num = write(fd, buf + done, len - done);

		if (num < 0 && errno == EINTR)
			continue;
		if (num <= 0)
			break;
		done += (uint32_t)num;
	}
	return len - done;
}

static void change_file(struct file *file)
{
	if (file->next < 0 || file->rest)
		return;
	close(file->fd);
	file->fd = fd_take(&file->next);
	pthread_cond_broadcast(&file->moved);
}

static void write_out(struct lane_job *job)
{
	struct file *file = container_of(job, struct file, job);
	struct stream *stream = &file->stream;
	uint32_t len, lost;

	pthread_mutex_lock(&stream->lock);
	while ((len = copy_chunk(file))) {
		/* Only this job changes the file while it runs. */
		int fd = file->fd;

		pthread_mutex_unlock(&stream->lock);
		lost = write_all(fd, file->chunk, len);
		pthread_mutex_lock(&stream->lock);
		stream->lost += lost;
		file->rest -= len < file->rest ? len : file->rest;
		change_file(file);
		stream_sent_locked(stream, len);
	}
	file->writing = false;
	pthread_cond_broadcast(&file->moved);
	pthread_mutex_unlock(&stream->lock);
}

static void file_push(struct stream *stream)
{
	struct file *file = to_file(stream);

	if (file->writing || !stream->out.len)
		return;
	file->writing = true;
	lane_post(file->lane, &file->job);
}

/* ---- the file */

static int open_path(const char *path, struct vdpa_extack *ack)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);

	return fd < 0 ? vdpa_extack_set(ack, -errno, "cannot open '%s': %s", path,
					strerrordesc_np(errno))
		      : fd;
}

/* Anything else may keep a write waiting for ever. */
static int check_kind(int fd, const char *path, struct vdpa_extack *ack)
{
	struct stat st;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return vdpa_extack_set(ack, -EINVAL, "'%s' is no regular file", path);
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY)
		return vdpa_extack_set(ack, -EACCES, "'%s' is open for reading only", path);
	/* One that came from somebody else may be set to write elsewhere. */
	return fcntl(fd, F_SETFL, O_APPEND) ? -errno : 0;
}

static int open_checked(const char *path, int given, struct vdpa_extack *ack)
{
	int fd vdpa_cleanup(fd_closep) = given >= 0 ? given : open_path(path, ack);
	int err = fd < 0 ? fd : check_kind(fd, path, ack);

	return err ? err : fd_take(&fd);
}

/* What was written before goes to the old file, however much comes meanwhile. */
static int file_reopen(struct stream *stream, struct vdpa_extack *ack)
{
	struct file *file = to_file(stream);
	int fd = file->by_name ? open_checked(file->path, -1, ack)
			       : stream_refuse_name(file->path, ack);

	if (fd < 0)
		return fd;
	pthread_mutex_lock(&stream->lock);
	file->next = fd;
	file->rest = stream->out.len;
	change_file(file);
	while (file->next >= 0)
		pthread_cond_wait(&file->moved, &stream->lock);
	pthread_mutex_unlock(&stream->lock);
	return 0;
}

static void file_show(struct stream *stream, struct vdpa_info *info)
{
	vdpa_info_str(info, "file", to_file(stream)->path);
}

static void file_free(struct file *file)
{
	if (file->lane)
		lane_put(file->lane);
	fd_closep(&file->fd);
	free(file->chunk);
	free(file->path);
	free(file);
}

static void file_close(struct stream *stream)
{
	struct file *file = to_file(stream);

	pthread_mutex_lock(&stream->lock);
	while (file->writing)
		pthread_cond_wait(&file->moved, &stream->lock);
	pthread_mutex_unlock(&stream->lock);
	pthread_cond_destroy(&file->moved);
	stream_release(stream);
	file_free(file);
}

static const struct stream_ops file_ops = {
	.name = "file",
	.close = file_close,
	.show = file_show,
	.push = file_push,
	.reopen = file_reopen,
};

/* A descriptor that came along is that of the first port. */
static int open_first(struct file *file, const struct stream_open *open, struct vdpa_extack *ack)
{
	int given = open->port ? -1 : vdpa_attrs_take_fd(open->attrs, "file");

	return given >= 0 || file->by_name ? open_checked(file->path, given, ack)
					   : stream_refuse_name(file->path, ack);
}

static int prepare(struct file *file, const struct stream_open *open, struct vdpa_extack *ack)
{
	const char *given = vdpa_attrs_str(open->attrs, "file", NULL);
	char path[PATH_MAX];

	if (!given)
		return vdpa_extack_set(ack, -EINVAL, "backend 'file' needs 'file', the path");
	if (stream_port_name(given, open->port, path, sizeof(path)))
		return vdpa_extack_set(ack, -ENAMETOOLONG, "the path '%s' is too long", given);
	file->path = strdup(path);
	file->chunk = malloc(CHUNK);
	file->lane = lane_alloc(bus_lane_pool(open->bus), "stream-file");
	if (!file->path || !file->chunk || !file->lane)
		return -ENOMEM;
	file->by_name = !vdpa_attrs_names_forbidden(open->attrs);
	file->fd = open_first(file, open, ack);
	return file->fd < 0 ? file->fd : 0;
}

int stream_file_open(const struct stream_open *open, struct stream **ret, struct vdpa_extack *ack)
{
	struct file *file = calloc(1, sizeof(*file));
	int err;

	if (!file)
		return -ENOMEM;
	file->fd = file->next = -1;
	file->job.fn = write_out;
	err = prepare(file, open, ack);
	if (!err)
		err = stream_init(&file->stream, &file_ops, open->attrs);
	if (err) {
		file_free(file);
		return err;
	}
	pthread_cond_init(&file->moved, NULL);
	file->stream.open = true;
	*ret = &file->stream;
	return 0;
}
