/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where random bytes come from.  A backend knows nothing of virtio.
 *
 * Life: entropy_open() -> entropy_read() ... -> entropy_close().  Open and close run on a lane and
 * may block; one thread reads, and never blocks.
 */
#ifndef BACKENDS_ENTROPY_ENTROPY_H
#define BACKENDS_ENTROPY_ENTROPY_H

#include <stdint.h>
#include <sys/types.h>

#include "vdpa/attrs.h"
#include "vdpa/info.h"

struct entropy;

struct entropy_ops {
	const char *name;
	/*
	 * Bytes read, at least one; -EAGAIN: none now; -ENODATA: there will never be more; or what
	 * went wrong for good.
	 */
	ssize_t (*read)(struct entropy *src, void *buf, size_t len);
	void (*show)(struct entropy *src, struct vdpa_info *info);
	void (*close)(struct entropy *src);
};

struct entropy {
	const struct entropy_ops *ops;
	int fd; /* becomes readable after -EAGAIN, if it can be watched; -1: look again later */
};

extern const char *const entropy_backend_names[];

/* Rows of `dev add`. */
#define ENTROPY_ATTRS                                                                              \
	{.name = "backend",                                                                        \
	 .type = VDPA_ATTR_ENUM,                                                                   \
	 .values = entropy_backend_names,                                                          \
	 .help = "where the bytes come from; file if a file is given, else the kernel"},           \
	{                                                                                          \
		.name = "file", .type = VDPA_ATTR_PATH,                                            \
		.help = "a device, a FIFO, a socket or a file of random bytes"                     \
	}

/* 0, -EINVAL (backend, kind of file), what open(2) says. */
int entropy_open(struct vdpa_attrs *attrs, struct entropy **ret, struct vdpa_extack *ack);
/* NULL is allowed. */
void entropy_close(struct entropy *src);

/* The backends, for entropy.c. */
int entropy_kernel_open(struct entropy **ret, struct vdpa_extack *ack);
int entropy_file_open(struct vdpa_attrs *attrs, struct entropy **ret, struct vdpa_extack *ack);

#endif
