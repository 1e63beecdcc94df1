/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random bytes out of a file: a device, a FIFO or a socket is read as they come; a regular file
 * once, from its beginning to its end, since bytes that come twice are not random.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>

#include "backends/entropy/entropy.h"
#include "base/defs.h"

struct file {
	struct entropy src;
	char *path;
	bool regular, fifo;
	bool no_nowait; /* the file system has no reads that do not block: it is in memory */
	uint64_t pos;   /* of a regular file; read by others */
};

static struct file *to_file(struct entropy *src)
{
	return container_of(src, struct file, src);
}

/* What is not in memory yet is fetched, and read later. */
static ssize_t regular_read(struct file *file, void *buf, size_t len)
{
	struct iovec iov = {buf, len};
	off_t pos = (off_t)file->pos;
	ssize_t got;

	got = preadv2(file->src.fd, &iov, 1, pos, file->no_nowait ? 0 : RWF_NOWAIT);
	if (got < 0 && errno == EOPNOTSUPP) {
		file->no_nowait = true;
		got = preadv2(file->src.fd, &iov, 1, pos, 0);
	}
	if (got < 0 && errno == EAGAIN)
		posix_fadvise(file->src.fd, pos, (off_t)len, POSIX_FADV_WILLNEED);
	if (got > 0)
		__atomic_store_n(&file->pos, file->pos + (uint64_t)got, __ATOMIC_RELAXED);
	return got;
}

static ssize_t file_read(struct entropy *src, void *buf, size_t len)
{
	struct file *file = to_file(src);
	ssize_t got = file->regular ? regular_read(file, buf, len) : read(src->fd, buf, len);

	if (got > 0)
		return got;
	/* Of a FIFO the next one to write to it is waited for. */
	if (!got)
		return file->fifo ? -EAGAIN : -ENODATA;
	return errno == EINTR ? -EAGAIN : -errno;
}

static void file_show(struct entropy *src, struct vdpa_info *info)
{
	struct file *file = to_file(src);

	vdpa_info_str(info, "file", file->path);
	if (file->regular)
		vdpa_info_u64(info, "used", __atomic_load_n(&file->pos, __ATOMIC_RELAXED));
}

static void file_close(struct entropy *src)
{
	struct file *file = to_file(src);

	fd_closep(&src->fd);
	free(file->path);
	free(file);
}

static const struct entropy_ops file_ops = {
	.name = "file",
	.read = file_read,
	.show = file_show,
	.close = file_close,
};

static int check_kind(struct file *file, struct vdpa_extack *ack)
{
	struct stat st;

	if (fstat(file->src.fd, &st))
		return vdpa_extack_set(ack, -errno, "cannot look at '%s'", file->path);
	file->regular = S_ISREG(st.st_mode);
	file->fifo = S_ISFIFO(st.st_mode);
	if (!file->regular && !file->fifo && !S_ISCHR(st.st_mode) && !S_ISSOCK(st.st_mode))
		return vdpa_extack_set(ack, -EINVAL,
				       "'%s' is no file, character device, FIFO or socket",
				       file->path);
	if ((fcntl(file->src.fd, F_GETFL) & O_ACCMODE) == O_WRONLY)
		return vdpa_extack_set(ack, -EINVAL, "'%s' is open for writing only", file->path);
	if (!file->regular &&
	    fcntl(file->src.fd, F_SETFL, fcntl(file->src.fd, F_GETFL) | O_NONBLOCK))
		return vdpa_extack_set(ack, -errno, "'%s' cannot be read without waiting",
				       file->path);
	return 0;
}

static int file_open(struct file *file, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	const char *path = vdpa_attrs_str(attrs, "file", NULL);

	if (!path)
		return vdpa_extack_set(ack, -EINVAL, "backend 'file' needs the attribute 'file'");
	file->path = strdup(path);
	if (!file->path)
		return -ENOMEM;
	file->src.fd = vdpa_attrs_take_fd(attrs, "file");
	if (file->src.fd < 0)
		file->src.fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (file->src.fd < 0)
		return vdpa_extack_set(ack, -errno, "cannot open '%s': %s", path,
				       strerrordesc_np(errno));
	return check_kind(file, ack);
}

int entropy_file_open(struct vdpa_attrs *attrs, struct entropy **ret, struct vdpa_extack *ack)
{
	struct file *file = calloc(1, sizeof(*file));
	int err;

	if (!file)
		return -ENOMEM;
	file->src.ops = &file_ops;
	file->src.fd = -1;
	err = file_open(file, attrs, ack);
	if (err) {
		file_close(&file->src);
		return err;
	}
	*ret = &file->src;
	return 0;
}
