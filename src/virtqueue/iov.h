/* SPDX-License-Identifier: BSD-2-Clause */
/* Pieces of memory, beyond copying (vdpa/virtqueue.h). */
#ifndef VIRTQUEUE_IOV_H
#define VIRTQUEUE_IOV_H

#include <stddef.h>
#include <sys/uio.h>

/*
 * Pieces that hold exactly len bytes from byte `skip` of iov on, which has as many.  An array of
 * its own, of *ret_num pieces, to be freed: iov may be the ring's.  NULL: out of memory.
 */
struct iovec *iov_cut(const struct iovec *iov, unsigned int num, size_t skip, size_t len,
		      unsigned int *ret_num);

#endif
