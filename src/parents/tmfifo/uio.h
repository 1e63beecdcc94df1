/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Access to a TmFIFO's registers through a UIO device: its first mapping is the block for
 * receiving, its second the one for sending, its interrupt that of the receive FIFO's high
 * watermark.  A UIO device has one interrupt at most; when there is room for what is to be sent is
 * found out by looking.
 */
#ifndef TMFIFO_UIO_H
#define TMFIFO_UIO_H

#include "vdpa/tmfifo.h"

/*
 * path: for messages.  fd: consumed in every case.  0; -ENOTTY: it is no UIO device; -EINVAL: its
 * mappings are not what they should be; what open(2) and mmap(2) say.  Lane; may block.
 */
int tmfifo_uio_open(const char *path, int *fd, struct vdpa_tmfifo_regs **ret,
		    struct vdpa_extack *ack);
/* The same of a device that is described in another folder than sysfs's.  For tests. */
int tmfifo_uio_open_at(const char *sysfs, const char *path, int *fd, struct vdpa_tmfifo_regs **ret,
		       struct vdpa_extack *ack);

#endif
