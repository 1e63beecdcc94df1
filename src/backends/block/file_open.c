/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "backends/block/file.h"
#include "backends/block/uring.h"
#include "base/defs.h"

/* What programs that use disk images lock to tell each other: see lock_shared(). */
#define LOCK_USED_READ      100 /* somebody reads */
#define LOCK_USED_WRITE     101 /* somebody writes */
#define LOCK_UNSHARED_WRITE 201 /* somebody wants nobody to write */

/* ---- descriptor */

/* A FIFO or a tape drive must not keep us waiting before we have seen what it is. */
static int open_path(const char *path, bool readonly, bool direct, bool lock,
		     struct vdpa_extack *ack)
{
	int flags = (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	struct stat st;
	int fd;

	/* Of a block device: no file system of this host may be mounted from it. */
	if (!readonly && lock && !stat(path, &st) && S_ISBLK(st.st_mode))
		flags |= O_EXCL;
	fd = open(path, flags | (direct ? O_DIRECT : 0));
	if (fd >= 0)
		return fd;
	if (errno == EBUSY && flags & O_EXCL)
		return vdpa_extack_set(ack, -EBUSY,
				       "'%s' is in use by this host, such as mounted; "
				       "'lock off' takes it nevertheless",
				       path);
	if (errno == EINVAL && direct)
		return vdpa_extack_set(ack, -EINVAL,
				       "the file system of '%s' has no direct I/O: 'direct off'",
				       path);
	if (!readonly && (errno == EACCES || errno == EROFS || errno == EPERM))
		return vdpa_extack_set(ack, -errno,
				       "cannot open '%s' for writing: %s; 'readonly on' may do",
				       path, strerror(errno));
	return vdpa_extack_set(ack, -errno, "cannot open '%s': %s", path, strerror(errno));
}

/* Give the descriptor the flags we need: one that was handed to us may have any. */
static int set_flags(struct file *file, struct vdpa_extack *ack)
{
	int flags = fcntl(file->fd, F_GETFL);
	int mode = flags & O_ACCMODE;

	if (flags < 0 || flags & O_PATH)
		return vdpa_extack_set(ack, -EBADF, "'%s' came as a descriptor that cannot be read",
				       file->path);
	if (mode == O_WRONLY || (mode == O_RDONLY && !file->block.info.readonly))
		return vdpa_extack_set(ack, -EACCES,
				       mode == O_RDONLY ? "'%s' came open for reading only: "
							  "'readonly on'"
							: "'%s' came open for writing only",
				       file->path);
	if (fcntl(file->fd, F_SETFL, file->direct ? O_DIRECT : 0))
		return vdpa_extack_set(ack, -errno,
				       "the file system of '%s' has no direct I/O: 'direct off'",
				       file->path);
	return 0;
}

static int check_kind(struct file *file, struct stat *st, struct vdpa_extack *ack)
{
	struct statfs fs;

	if (fstat(file->fd, st))
		return vdpa_extack_set(ack, -errno, "cannot look at '%s': %s", file->path,
				       strerror(errno));
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode))
		return vdpa_extack_set(ack, -EINVAL,
				       "'%s' is neither a regular file nor a block device",
				       file->path);
	file->regular = S_ISREG(st->st_mode);
	if (file->regular && !fstatfs(file->fd, &fs))
		file->memory = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
	return 0;
}

uint64_t file_present_size(const struct file *file)
{
	uint64_t size = 0;
	struct stat st;

	if (!file->regular)
		return ioctl(file->fd, BLKGETSIZE64, &size) ? 0 : size;
	return fstat(file->fd, &st) || st.st_size < 0 ? 0 : (uint64_t)st.st_size;
}

/* ---- lock */

static int lock_range(const struct file *file, int cmd, short type, off_t start, off_t len)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = len};

	if (fcntl(file->fd, cmd, &lock))
		return -errno;
	return cmd == F_OFD_GETLK && lock.l_type != F_UNLCK ? -EAGAIN : 0;
}

/*
 * A writer locks the whole file, which keeps out everybody who locks any of it.  Readers may be
 * many.  They lock single bytes, in the places where QEMU looks for them, and fit as well beside
 * those who hold a read lock on the whole file.
 */
static int lock_shared(const struct file *file)
{
	int err = lock_range(file, F_OFD_SETLK, F_RDLCK, LOCK_USED_READ, 1);

	if (!err)
		err = lock_range(file, F_OFD_SETLK, F_RDLCK, LOCK_UNSHARED_WRITE, 1);
	/* A lock on this byte means a writer; one on the whole file was met above, if it was a
	 * writer's. */
	if (!err)
		err = lock_range(file, F_OFD_GETLK, F_WRLCK, LOCK_USED_WRITE, 1);
	return err;
}

static int lock_file(const struct file *file, struct vdpa_extack *ack)
{
	bool readonly = file->block.info.readonly;
	int err;

	if (readonly)
		err = lock_shared(file);
	else
		err = lock_range(file, F_OFD_SETLK, F_WRLCK, 0, 0);
	if (err == -EAGAIN || err == -EACCES)
		return vdpa_extack_set(
			ack, -EBUSY,
			"another program %s '%s' and has locked it, as 'lslocks' may "
			"tell; 'lock off' takes it nevertheless",
			readonly ? "writes to" : "uses", file->path);
	if (err)
		return vdpa_extack_set(ack, err, "cannot lock '%s': %s; 'lock off' goes without",
				       file->path, strerror(-err));
	return 0;
}

/* ---- direct I/O */

/* Does a direct read of this length work?  The file may be shorter: that is no error. */
static bool direct_read_works(const struct file *file, uint32_t len)
{
	void *buf vdpa_cleanup(freep) = aligned_alloc(4096, 4096);

	return buf && pread(file->fd, buf, len, 0) >= 0;
}

static void find_alignment(struct file *file)
{
	struct statx stx = {0};
	int sector;

	file->mem_align = file->off_align = 512;
#ifdef STATX_DIOALIGN
	if (!statx(file->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    stx.stx_mask & STATX_DIOALIGN && stx.stx_dio_offset_align) {
		file->mem_align = stx.stx_dio_mem_align;
		file->off_align = stx.stx_dio_offset_align;
		return;
	}
#endif
	if (!file->regular && !ioctl(file->fd, BLKSSZGET, &sector) && sector >= 512)
		file->mem_align = file->off_align = (uint32_t)sector;
	else if (!direct_read_works(file, 512))
		file->mem_align = file->off_align = 4096;
}

static int set_block_size(struct file *file, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	uint32_t least = file->direct && file->off_align > 512 ? file->off_align : 512;
	uint32_t size;
	int err = block_attr_block_size(attrs, least, &size, ack);

	if (err)
		return err;
	if (size < least)
		return vdpa_extack_set(
			ack, -EINVAL,
			"direct I/O on '%s' needs 'block-size %u' at least, not %u; or "
			"'direct off'",
			file->path, least, size);
	block_info_init(&file->block.info, size);
	return 0;
}

/* ---- what it can do */

/* A number out of the queue's folder of sysfs: of the disk, where this is a partition.  0: not
 * there. */
static uint64_t queue_limit(const struct stat *st, const char *name)
{
	unsigned long long value = 0;
	char path[128];

	for (int part = 0; part < 2 && !value; part++) {
		FILE *f;

		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/%s", major(st->st_rdev),
			 minor(st->st_rdev), part ? "../" : "", name);
		f = fopen(path, "re");
		if (!f)
			continue;
		if (fscanf(f, "%llu", &value) != 1)
			value = 0;
		fclose(f);
	}
	return value;
}

static uint32_t sane_size(uint64_t size, uint32_t block_size)
{
	if (!is_power_of_2(size) || size > 65536)
		size = 4096;
	return size > block_size ? (uint32_t)size : block_size;
}

static void block_device_info(struct file *file, const struct stat *st)
{
	struct block_info *info = &file->block.info;
	unsigned int size;
	uint64_t granularity;

	if (!ioctl(file->fd, BLKPBSZGET, &size))
		info->physical_size = sane_size(size, info->block_size);
	if (!ioctl(file->fd, BLKIOMIN, &size) && size <= 1u << 24)
		info->min_io = size;
	if (!ioctl(file->fd, BLKIOOPT, &size) && size <= 1u << 30)
		info->opt_io = size;
	info->discard = queue_limit(st, "discard_max_bytes");
	granularity = queue_limit(st, "discard_granularity");
	if (granularity >= info->block_size && granularity <= 1u << 30)
		info->discard_align = (uint32_t)granularity;
	file->punch = queue_limit(st, "write_zeroes_max_bytes");
	file->zero_range = true;
}

/* Behind the end of a file there is nothing to lose. */
static void regular_info(struct file *file, const struct stat *st)
{
	off_t behind = (off_t)align_up((uint64_t)st->st_size, 1 << 20);
	struct block_info *info = &file->block.info;

	info->physical_size = sane_size((uint64_t)st->st_blksize, info->block_size);
	info->discard_align = info->physical_size;
	file->punch =
		!info->readonly && st->st_size < INT64_MAX / 2 &&
		!fallocate(file->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, behind, 4096);
	file->zero_range = true;
	info->discard = file->punch;
}

static void find_abilities(struct file *file, const struct stat *st, bool discard)
{
	struct block_info *info = &file->block.info;

	if (file->regular)
		regular_info(file, st);
	else
		block_device_info(file, st);
	info->unmap = file->punch && discard;
	info->discard = info->discard && discard;
	info->max_discard = 1 << 30;
	info->max_write_zeroes = 64 << 20;
	file->nowait_read = !file->direct;
	file->nowait_write = !file->direct;
	file->written = 1;
}

static int choose_engine(struct file *file, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	const char *aio = vdpa_attrs_str(attrs, "aio", "auto");
	int err = strcmp(aio, "threads") ? uring_probe() : 0;

	file->must_uring = !strcmp(aio, "io_uring");
	file->uring = strcmp(aio, "threads") && !err;
	if (err && file->must_uring)
		return vdpa_extack_set(
			ack, err, "io_uring cannot be used here: %s; 'aio threads' does without",
			strerror(-err));
	return 0;
}

static int set_up(struct file *file, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	bool readonly = file->block.info.readonly;
	struct stat st;
	int err;

	err = check_kind(file, &st, ack);
	if (err)
		return err;
	/* In memory there is no cache to go past, and copying is all there is. */
	if (file->memory)
		file->direct = false;
	err = set_flags(file, ack);
	if (!err && vdpa_attrs_bool(attrs, "lock", true))
		err = lock_file(file, ack);
	if (err)
		return err;
	find_alignment(file);
	err = set_block_size(file, attrs, ack);
	if (err)
		return err;
	file->block.info.readonly = readonly;
	file->block.info.writeback =
		!strcmp(vdpa_attrs_str(attrs, "cache", "writeback"), "writeback");
	find_abilities(file, &st, vdpa_attrs_bool(attrs, "discard", true));
	err = choose_engine(file, attrs, ack);
	if (err)
		return err;
	return block_resize(&file->block, vdpa_attrs_u64(attrs, "size", 0), ack);
}

int block_file_open(struct vdpa_attrs *attrs, struct block **ret, struct vdpa_extack *ack)
{
	const char *path = vdpa_attrs_str(attrs, "file", NULL);
	struct file *file;
	int err = -ENOMEM;

	if (!path)
		return vdpa_extack_set(ack, -EINVAL, "which file? give 'file PATH'");
	file = calloc(1, sizeof(*file));
	if (!file)
		return -ENOMEM;
	file->fd = -1;
	file->path = strdup(path);
	if (!file->path)
		goto fail;
	file->block.ops = &file_block_ops;
	file->block.info.readonly = vdpa_attrs_bool(attrs, "readonly", false);
	file->direct = vdpa_attrs_bool(attrs, "direct", false);
	file->fd = vdpa_attrs_take_fd(attrs, "file");
	if (file->fd < 0)
		file->fd = open_path(path, file->block.info.readonly, file->direct,
				     vdpa_attrs_bool(attrs, "lock", true), ack);
	err = file->fd < 0 ? file->fd : set_up(file, attrs, ack);
	if (err)
		goto fail;
	*ret = &file->block;
	return 0;
fail:
	fd_closep(&file->fd);
	free(file->path);
	free(file);
	return err;
}
