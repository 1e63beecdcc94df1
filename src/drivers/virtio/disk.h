/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk of this host, between the virtio driver that does its I/O (virtio_blk; a LUN of
 * virtio_scsi) and what shows it to the host's programs (a file by FUSE).  Neither knows the other.
 *
 * Everything but disk_export_start() and disk_export_stop() runs on the export's thread.
 */
#ifndef DRIVERS_VIRTIO_DISK_H
#define DRIVERS_VIRTIO_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vdpa/bus.h"

#define DISK_SECTOR 512u

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_WRITE_ZEROES };

struct disk;
struct disk_export;

/* One request to the device. */
struct disk_io {
	enum disk_op op;
	uint64_t offset; /* bytes, a multiple of the block size, as len */
	uint64_t len;    /* READ and WRITE: at most max_io; WRITE_ZEROES: at most max_zeroes */
	uint8_t *buf;    /* READ, WRITE: inside the disk's buffers */
	bool unmap;      /* WRITE_ZEROES: the space may be given back */
	int err;         /* 0 or -errno */
	void (*done)(struct disk_io *io);
};

struct disk_ops {
	/* 0; -EAGAIN when the device has no room now: try again after a completion. */
	int (*submit)(struct disk *disk, struct disk_io *io);
	/* What was submitted becomes visible to the device. */
	void (*commit)(struct disk *disk);
	/* disk->call was readable: call done() of what is finished. */
	void (*complete)(struct disk *disk);
};

struct disk {
	const struct disk_ops *ops;
	const char *name;
	int call;      /* eventfd: completions */
	uint64_t size; /* atomic: changes at any time */
	uint32_t block_size;
	uint32_t max_io;
	uint64_t max_zeroes; /* 0: WRITE_ZEROES is not there */
	bool read_only;
	bool flush;          /* there is a volatile cache */
	uint8_t *buffers;    /* shared with the device */
	size_t buffer_bytes; /* disk_export_buffer_bytes() at least */
};

struct disk_export_config {
	const char *path; /* made, and removed at the end; borrowed until start returns */
	mode_t mode;
	uid_t uid;
	gid_t gid;
	bool allow_other; /* mode and owner count for everybody; else only our own user may open it
			   */
};

/* ---- disk.c: what the files of all kinds of disks have in common */

/* The attributes of `dev bind` that say who may open a file; ends with NULL. */
extern const char *const disk_attrs[];
/* Read them; the path is not set.  0 or -EINVAL: no such user or group. */
int disk_read_attrs(const struct vdpa_attrs *attrs, struct disk_export_config *ret,
		    struct vdpa_extack *ack);
/* 0 or -EPROTO */
int disk_check_block_size(uint32_t block_size, struct vdpa_extack *ack);
/* As large as the device says, or as a file can be. */
void disk_set_size(struct disk *disk, uint64_t num, uint32_t block_size);
/* Start an export in the device's folder of the run directory.  Lane. */
int disk_share(struct disk *disk, struct vdpa_device *vdev, const char *handle,
	       const struct disk_export_config *cfg, struct disk_export **ret,
	       struct vdpa_extack *ack);
/* Control thread. */
void disk_show(const struct disk *disk, struct vdpa_device *vdev, const char *handle,
	       const struct disk_export *exp, struct vdpa_info *info);
/* 0, or -EBUSY while the file is open.  Lane. */
int disk_in_use(struct disk_export *exp, struct vdpa_extack *ack);

/* ---- disk_fuse.c: the file */

/* How much memory the export wants for buffers. */
size_t disk_export_buffer_bytes(void);

/* Lane.  The disk stays the caller's, and in use until stop. */
int disk_export_start(struct disk *disk, const struct disk_export_config *cfg,
		      struct disk_export **ret, struct vdpa_extack *ack);
/*
 * Lane.  Without force: -EBUSY while somebody has the file open, and nothing has changed.  With
 * force requests that are under way fail with EIO.
 */
int disk_export_stop(struct disk_export *exp, bool force, struct vdpa_extack *ack);
/* Any thread: how often the file is open now. */
unsigned int disk_export_opens(const struct disk_export *exp);
/* Lane.  The same, after a short wait for none: the kernel reports a close() after it has returned.
 */
unsigned int disk_export_wait_closed(struct disk_export *exp);

#endif
