/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes in a row, in a ring.  No locks.
 */
#ifndef BACKENDS_STREAM_BYTES_H
#define BACKENDS_STREAM_BYTES_H

#include <stdint.h>
#include <sys/uio.h>

struct bytes {
	uint8_t *buf;
	uint32_t size, head, len; /* head: the oldest byte */
};

/* 0 or -ENOMEM. */
int bytes_init(struct bytes *bytes, uint32_t size);
void bytes_release(struct bytes *bytes);

static inline uint32_t bytes_room(const struct bytes *bytes)
{
	return bytes->len < bytes->size ? bytes->size - bytes->len : 0;
}

/* Another size, at least what is in it.  0 or -ENOMEM, and nothing has changed. */
int bytes_resize(struct bytes *bytes, uint32_t size);
/* What is in it, or where more would go, in at most two pieces.  Returns how many pieces. */
int bytes_filled(const struct bytes *bytes, struct iovec iov[2]);
int bytes_free(const struct bytes *bytes, struct iovec iov[2]);
/* len bytes were written to bytes_free(). */
void bytes_added(struct bytes *bytes, uint32_t len);
/* Forget the oldest len bytes. */
void bytes_drop(struct bytes *bytes, uint32_t len);

#endif
