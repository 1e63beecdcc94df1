/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk as a file: a FUSE file system whose root is one regular file, mounted on a file.
 *
 * One thread serves a mount.  It waits for requests of the kernel and completions of the device,
 * and blocks on neither.  A request takes a slot: a piece of the buffers that are shared with the
 * device; when all are taken, the kernel's requests wait in the kernel.
 *
 * The file behaves like a block device: its size is the disk's, truncation to nothing (as `dd` and
 * the shell ask for) is ignored.  Bytes that do not fill a block are written by reading the block
 * first; nothing else is under way meanwhile, so such a write is atomic to the others.
 */
#define FUSE_USE_VERSION 35

#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <linux/falloc.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/defs.h"
#include "base/thread.h"
#include "drivers/virtio/disk.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57 /* Linux 5.6 */
#endif

#define EXPORT_MAX_IO        (1024u * 1024) /* bytes in a request of the kernel */
#define EXPORT_EDGE          65536u         /* largest block */
#define EXPORT_SLOT_BYTES    (EXPORT_MAX_IO + 2 * EXPORT_EDGE)
#define EXPORT_SLOTS         32u
#define EXPORT_CLOSE_WAIT_MS 1000 /* the kernel tells of the last close() a little later */

struct slot {
	struct disk_export *exp;
	struct disk_io io;
	fuse_req_t req;
	enum disk_op op;
	uint64_t offset; /* of the request, bytes */
	uint64_t len;
	uint64_t first, last; /* the blocks that hold it: [first, last) */
	uint64_t done;        /* bytes of [first, last) finished */
	bool unmap;
	bool merge;   /* a write of partial blocks: read, merge, write */
	bool reading; /* of those: the read is under way */
	uint8_t *buf;
	STAILQ_ENTRY(slot) entry; /* free, waiting, or stalled for want of room in the ring */
};

STAILQ_HEAD(slot_list, slot);

struct disk_export {
	struct disk *disk;
	struct fuse_session *se;
	struct fuse_buf fbuf;
	char *path;
	struct stat st;
	pthread_t thread;
	int stop; /* eventfd */

	/* The thread's. */
	struct slot slots[EXPORT_SLOTS];
	struct slot_list free, waiting, stalled;
	unsigned int nfree, running;
	bool merging;
	uint8_t *scratch; /* the payload of the write that is being merged */

	pthread_mutex_t lock; /* for opens */
	pthread_cond_t closed;
	unsigned int opens;
};

size_t disk_export_buffer_bytes(void)
{
	return (size_t)EXPORT_SLOT_BYTES * EXPORT_SLOTS;
}

static uint64_t disk_size(const struct disk_export *exp)
{
	return __atomic_load_n(&exp->disk->size, __ATOMIC_RELAXED);
}

/* ---- requests under way */

static void slot_next(struct slot *slot);

static void slot_release(struct slot *slot)
{
	struct disk_export *exp = slot->exp;

	if (slot->merge)
		exp->merging = false;
	exp->running--;
	exp->nfree++;
	slot->req = NULL;
	STAILQ_INSERT_HEAD(&exp->free, slot, entry);
}

static void slot_reply(struct slot *slot)
{
	switch (slot->op) {
	case DISK_READ:
		fuse_reply_buf(slot->req, (char *)slot->buf + (slot->offset - slot->first),
			       slot->len);
		break;
	case DISK_WRITE:
		fuse_reply_write(slot->req, slot->len);
		break;
	case DISK_FLUSH:
	case DISK_WRITE_ZEROES:
		fuse_reply_err(slot->req, 0);
		break;
	}
	slot_release(slot);
}

static void slot_fail(struct slot *slot, int err)
{
	fuse_reply_err(slot->req, -err);
	slot_release(slot);
}

static void slot_io_done(struct disk_io *io)
{
	struct slot *slot = container_of(io, struct slot, io);

	if (io->err) {
		slot_fail(slot, io->err);
		return;
	}
	slot->done += io->len;
	if (slot->op != DISK_FLUSH && slot->first + slot->done < slot->last) {
		slot_next(slot);
	} else if (slot->reading) {
		slot->reading = false;
		slot->done = 0;
		memcpy(slot->buf + (slot->offset - slot->first), slot->exp->scratch, slot->len);
		slot_next(slot);
	} else {
		slot_reply(slot);
	}
}

/* The next piece: as much as the device takes at once. */
static void slot_next(struct slot *slot)
{
	struct disk *disk = slot->exp->disk;
	uint64_t max = slot->op == DISK_WRITE_ZEROES ? disk->max_zeroes : disk->max_io;
	struct disk_io *io = &slot->io;
	int err;

	*io = (struct disk_io){
		.op = slot->reading ? DISK_READ : slot->op,
		.offset = slot->first + slot->done,
		.len = slot->last - slot->first - slot->done,
		.buf = slot->buf + slot->done,
		.unmap = slot->unmap,
		.done = slot_io_done,
	};
	if (io->len > max)
		io->len = max;
	err = disk->ops->submit(disk, io);
	if (err == -EAGAIN)
		STAILQ_INSERT_TAIL(&slot->exp->stalled, slot, entry);
	else if (err)
		slot_fail(slot, err);
}

/* Completions have made room in the ring. */
static void retry_stalled(struct disk_export *exp)
{
	struct slot_list list = STAILQ_HEAD_INITIALIZER(list);
	struct slot *slot;

	STAILQ_CONCAT(&list, &exp->stalled);
	while ((slot = STAILQ_FIRST(&list))) {
		STAILQ_REMOVE_HEAD(&list, entry);
		slot_next(slot);
	}
}

/* Start what waits, in order.  A merge runs alone. */
static void start_waiting(struct disk_export *exp)
{
	struct slot *slot;

	while ((slot = STAILQ_FIRST(&exp->waiting)) && !exp->merging) {
		if (slot->merge && exp->running)
			return;
		STAILQ_REMOVE_HEAD(&exp->waiting, entry);
		exp->running++;
		if (slot->merge) {
			exp->merging = true;
			slot->reading = true;
			memcpy(exp->scratch, slot->buf, slot->len);
		}
		slot_next(slot);
	}
}

static struct slot *slot_take(struct disk_export *exp, fuse_req_t req, enum disk_op op,
			      uint64_t offset, uint64_t len)
{
	struct slot *slot = STAILQ_FIRST(&exp->free);
	uint64_t mask = exp->disk->block_size - 1;

	/* The thread does not read requests while there is none. */
	STAILQ_REMOVE_HEAD(&exp->free, entry);
	exp->nfree--;
	slot->req = req;
	slot->op = op;
	slot->offset = offset;
	slot->len = len;
	slot->first = offset & ~mask;
	slot->last = (offset + len + mask) & ~mask;
	slot->done = 0;
	slot->unmap = slot->reading = false;
	slot->merge = op == DISK_WRITE && (slot->first != offset || slot->last != offset + len);
	STAILQ_INSERT_TAIL(&exp->waiting, slot, entry);
	return slot;
}

/* ---- what the kernel asks; the file is the root */

static void fill_stat(struct disk_export *exp, struct stat *st)
{
	*st = exp->st;
	st->st_size = disk_size(exp);
	st->st_blocks = st->st_size / DISK_SECTOR;
}

static void on_init(void *data, struct fuse_conn_info *conn)
{
	conn->max_read = EXPORT_MAX_IO; /* as in the mount options */
	conn->max_write = EXPORT_MAX_IO;
	conn->max_readahead = EXPORT_MAX_IO;
	/* Data go by our own buffers. */
	conn->want &= ~(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;

	fill_stat(fuse_req_userdata(req), &st);
	fuse_reply_attr(req, &st, 0);
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set,
		       struct fuse_file_info *fi)
{
	struct disk_export *exp = fuse_req_userdata(req);
	struct stat st;

	fill_stat(exp, &st);
	if (to_set & (FUSE_SET_ATTR_MODE | FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID))
		fuse_reply_err(req, EPERM);
	else if ((to_set & FUSE_SET_ATTR_SIZE) && attr->st_size && attr->st_size != st.st_size)
		fuse_reply_err(req, EINVAL);
	else
		fuse_reply_attr(req, &st, 0);
}

static void on_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct disk_export *exp = fuse_req_userdata(req);

	if (exp->disk->read_only && (fi->flags & O_ACCMODE) != O_RDONLY) {
		fuse_reply_err(req, EROFS);
		return;
	}
	pthread_mutex_lock(&exp->lock);
	exp->opens++;
	pthread_mutex_unlock(&exp->lock);
	fuse_reply_open(req, fi);
}

static void on_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct disk_export *exp = fuse_req_userdata(req);

	pthread_mutex_lock(&exp->lock);
	exp->opens--;
	pthread_cond_signal(&exp->closed);
	pthread_mutex_unlock(&exp->lock);
	fuse_reply_err(req, 0);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t len, off_t off,
		    struct fuse_file_info *fi)
{
	struct disk_export *exp = fuse_req_userdata(req);
	uint64_t size = disk_size(exp);

	if (off < 0 || len > EXPORT_MAX_IO) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if ((uint64_t)off >= size) {
		fuse_reply_buf(req, NULL, 0);
		return;
	}
	if (len > size - off)
		len = size - off;
	if (!len)
		fuse_reply_buf(req, NULL, 0);
	else
		slot_take(exp, req, DISK_READ, off, len);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t len, off_t off,
		     struct fuse_file_info *fi)
{
	struct disk_export *exp = fuse_req_userdata(req);
	uint64_t size = disk_size(exp);
	struct slot *slot;

	if (exp->disk->read_only) {
		fuse_reply_err(req, EROFS);
		return;
	}
	if (off < 0 || len > EXPORT_MAX_IO) {
		fuse_reply_err(req, EINVAL);
		return;
	}
	if (len && (uint64_t)off >= size) {
		fuse_reply_err(req, ENOSPC);
		return;
	}
	if (!len) {
		fuse_reply_write(req, 0);
		return;
	}
	if (len > size - off)
		len = size - off;
	slot = slot_take(exp, req, DISK_WRITE, off, len);
	/* A merge moves it to its place when its turn comes. */
	memcpy(slot->buf, data, len);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	struct disk_export *exp = fuse_req_userdata(req);

	if (exp->disk->flush)
		slot_take(exp, req, DISK_FLUSH, 0, 0);
	else
		fuse_reply_err(req, 0); /* writes are on the medium already */
}

/*
 * Both ways to make zeroes.  A hole must read as zeroes, which virtio's discard does not promise:
 * it is a write-zeroes that may unmap.
 */
static void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
			 struct fuse_file_info *fi)
{
	struct disk_export *exp = fuse_req_userdata(req);
	uint64_t size = disk_size(exp), mask = exp->disk->block_size - 1;
	struct slot *slot;

	if (exp->disk->read_only) {
		fuse_reply_err(req, EROFS);
	} else if (off < 0 || len <= 0 || !range_fits(off, len, size)) {
		fuse_reply_err(req, ENOSPC);
	} else if ((mode & ~FALLOC_FL_KEEP_SIZE) == 0) {
		fuse_reply_err(req, 0); /* the disk has its space */
	} else if (!exp->disk->max_zeroes || ((off | len) & mask) ||
		   ((mode & ~FALLOC_FL_KEEP_SIZE) != FALLOC_FL_PUNCH_HOLE &&
		    (mode & ~FALLOC_FL_KEEP_SIZE) != FALLOC_FL_ZERO_RANGE)) {
		fuse_reply_err(req, EOPNOTSUPP);
	} else {
		slot = slot_take(exp, req, DISK_WRITE_ZEROES, off, len);
		slot->unmap = mode & FALLOC_FL_PUNCH_HOLE;
	}
}

static void on_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct disk_export *exp = fuse_req_userdata(req);
	struct statvfs st = {
		.f_bsize = exp->disk->block_size,
		.f_frsize = exp->disk->block_size,
		.f_blocks = disk_size(exp) / exp->disk->block_size,
		.f_files = 1,
		.f_namemax = 255,
	};

	fuse_reply_statfs(req, &st);
}

static const struct fuse_lowlevel_ops export_ops = {
	.init = on_init,
	.getattr = on_getattr,
	.setattr = on_setattr,
	.open = on_open,
	.release = on_release,
	.read = on_read,
	.write = on_write,
	.fsync = on_fsync,
	.fallocate = on_fallocate,
	.statfs = on_statfs,
};

/* ---- the thread */

/* Returns false when the mount is gone. */
static bool read_requests(struct disk_export *exp)
{
	while (exp->nfree) {
		int n = fuse_session_receive_buf(exp->se, &exp->fbuf);

		if (n == -EINTR)
			continue;
		if (n == -EAGAIN)
			return true;
		if (n <= 0)
			return false;
		fuse_session_process_buf(exp->se, &exp->fbuf);
		if (fuse_session_exited(exp->se))
			return false;
	}
	return true;
}

static void drain_eventfd(int fd)
{
	eventfd_t count;

	eventfd_read(fd, &count);
}

/* A mount that ended by force leaves its requests: their memory must go. */
static void fail_all(struct disk_export *exp)
{
	STAILQ_INIT(&exp->waiting);
	for (unsigned int i = 0; i < EXPORT_SLOTS; i++) {
		if (exp->slots[i].req)
			fuse_reply_err(exp->slots[i].req, EIO);
		exp->slots[i].req = NULL;
	}
}

static void *export_thread(void *arg)
{
	struct disk_export *exp = arg;
	struct pollfd fds[] = {
		{.fd = exp->disk->call, .events = POLLIN},
		{.fd = exp->stop, .events = POLLIN},
		{.fd = fuse_session_fd(exp->se), .events = POLLIN},
	};
	bool alive = true;

	/* Writing dirty pages of this host must not wait for the memory that it frees.  Needs a
	 * privilege. */
	prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);

	while (!(fds[1].revents & POLLIN)) {
		fds[2].fd = alive && exp->nfree ? fuse_session_fd(exp->se) : -1;
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0) {
			fds[1].revents = 0;
			continue;
		}
		if (fds[0].revents & POLLIN) {
			drain_eventfd(exp->disk->call);
			exp->disk->ops->complete(exp->disk);
			retry_stalled(exp);
		}
		if (fds[2].revents)
			alive = read_requests(exp);
		start_waiting(exp);
		exp->disk->ops->commit(exp->disk);
	}
	fail_all(exp);
	return NULL;
}

/* ---- mount */

/* As root by the system call, else by fusermount3, which is setuid. */
static int unmount(const char *path)
{
	char *argv[] = {(char *)"fusermount3", (char *)"-qu", (char *)"--", (char *)path, NULL};
	int status;
	pid_t pid;

	if (geteuid() == 0)
		return umount2(path, UMOUNT_NOFOLLOW) ? -errno : 0;
	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ))
		return -errno;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -EBUSY;
}

static int make_mountpoint(struct disk_export *exp, struct vdpa_extack *ack)
{
	int fd vdpa_cleanup(fd_closep) =
		open(exp->path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);

	if (fd < 0)
		return vdpa_extack_set(ack, -errno, "cannot make the file '%s': %s", exp->path,
				       strerrordesc_np(errno));
	return 0;
}

static int mount_session(struct disk_export *exp, const struct disk_export_config *cfg,
			 struct vdpa_extack *ack)
{
	char options[256];
	char *argv[] = {(char *)"uvdpa", (char *)"-o", options, NULL};
	struct fuse_args args = FUSE_ARGS_INIT(3, argv);
	int fd, err = 0;

	snprintf(options, sizeof(options), "fsname=%s,subtype=uvdpa,max_read=%u%s", exp->disk->name,
		 EXPORT_MAX_IO, cfg->allow_other ? ",allow_other,default_permissions" : "");
	exp->se = fuse_session_new(&args, &export_ops, sizeof(export_ops), exp);
	fuse_opt_free_args(&args);
	if (!exp->se)
		return vdpa_extack_set(ack, -ENOMEM, "cannot make a FUSE session");

	if (fuse_session_mount(exp->se, exp->path)) {
		err = vdpa_extack_set(ack, -EACCES, "cannot mount on '%s': %s", exp->path,
				      geteuid() ? "is fusermount3 installed, and /dev/fuse there?"
						: "is /dev/fuse there?");
	} else {
		fd = fuse_session_fd(exp->se);
		if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK))
			err = -errno;
	}
	if (err) {
		fuse_session_destroy(exp->se);
		exp->se = NULL;
	}
	return err;
}

static void export_free(struct disk_export *exp)
{
	if (exp->se) {
		fuse_session_unmount(exp->se);
		fuse_session_destroy(exp->se);
	}
	if (exp->path)
		unlink(exp->path);
	fd_closep(&exp->stop);
	free(exp->fbuf.mem);
	free(exp->scratch);
	free(exp->path);
	pthread_cond_destroy(&exp->closed);
	pthread_mutex_destroy(&exp->lock);
	free(exp);
}

static struct disk_export *export_alloc(struct disk *disk, const struct disk_export_config *cfg)
{
	struct disk_export *exp = calloc(1, sizeof(*exp));

	if (!exp)
		return NULL;
	exp->disk = disk;
	pthread_mutex_init(&exp->lock, NULL);
	pthread_cond_init(&exp->closed, NULL);
	STAILQ_INIT(&exp->free);
	STAILQ_INIT(&exp->waiting);
	STAILQ_INIT(&exp->stalled);
	for (unsigned int i = 0; i < EXPORT_SLOTS; i++) {
		exp->slots[i].exp = exp;
		exp->slots[i].buf = disk->buffers + (size_t)i * EXPORT_SLOT_BYTES;
		STAILQ_INSERT_TAIL(&exp->free, &exp->slots[i], entry);
	}
	exp->nfree = EXPORT_SLOTS;
	exp->st = (struct stat){
		.st_ino = FUSE_ROOT_ID,
		.st_mode = S_IFREG | (disk->read_only ? cfg->mode & ~0222u : cfg->mode),
		.st_nlink = 1,
		.st_uid = cfg->uid,
		.st_gid = cfg->gid,
		.st_blksize = disk->block_size,
	};
	clock_gettime(CLOCK_REALTIME, &exp->st.st_mtim);
	exp->st.st_atim = exp->st.st_ctim = exp->st.st_mtim;
	exp->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	exp->scratch = malloc(EXPORT_MAX_IO);
	exp->path = strdup(cfg->path);
	if (exp->stop < 0 || !exp->scratch || !exp->path) {
		free(exp->path);
		exp->path = NULL;
		export_free(exp);
		return NULL;
	}
	return exp;
}

int disk_export_start(struct disk *disk, const struct disk_export_config *cfg,
		      struct disk_export **ret, struct vdpa_extack *ack)
{
	struct disk_export *exp;
	int err;

	if (disk->block_size > EXPORT_EDGE || disk->buffer_bytes < disk_export_buffer_bytes())
		return vdpa_extack_set(ack, -EINVAL, "blocks of %u bytes are too large for a file",
				       disk->block_size);
	exp = export_alloc(disk, cfg);
	if (!exp)
		return -ENOMEM;
	err = make_mountpoint(exp, ack);
	if (!err)
		err = mount_session(exp, cfg, ack);
	if (!err)
		err = thread_start(&exp->thread, "disk", export_thread, exp);
	if (err) {
		export_free(exp);
		return err;
	}
	*ret = exp;
	return 0;
}

unsigned int disk_export_wait_closed(struct disk_export *exp)
{
	struct timespec until;
	unsigned int opens;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += EXPORT_CLOSE_WAIT_MS / 1000;
	pthread_mutex_lock(&exp->lock);
	while (exp->opens && !pthread_cond_timedwait(&exp->closed, &exp->lock, &until))
		;
	opens = exp->opens;
	pthread_mutex_unlock(&exp->lock);
	return opens;
}

int disk_export_stop(struct disk_export *exp, bool force, struct vdpa_extack *ack)
{
	unsigned int opens = force ? 0 : disk_export_wait_closed(exp);
	int err;

	if (opens)
		return vdpa_extack_set(ack, -EBUSY,
				       "'%s' is open (%u times): close it, or use force", exp->path,
				       opens);
	/* By force: the session is closed, which ends the mount lazily, and what is under way at
	 * once. */
	err = force ? 0 : unmount(exp->path);
	/* EINVAL: it is no mount any more, somebody has unmounted it. */
	if (err && err != -EINVAL)
		return vdpa_extack_set(ack, err, "cannot unmount '%s': %s", exp->path,
				       strerrordesc_np(-err));
	eventfd_write(exp->stop, 1);
	pthread_join(exp->thread, NULL);
	export_free(exp);
	return 0;
}

unsigned int disk_export_opens(const struct disk_export *exp)
{
	struct disk_export *e = (struct disk_export *)exp;
	unsigned int opens;

	pthread_mutex_lock(&e->lock);
	opens = e->opens;
	pthread_mutex_unlock(&e->lock);
	return opens;
}
