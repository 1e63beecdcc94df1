/* SPDX-License-Identifier: BSD-2-Clause */
#include "backends/stream/bytes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int bytes_init(struct bytes *bytes, uint32_t size)
{
	*bytes = (struct bytes){.buf = malloc(size), .size = size};
	return bytes->buf ? 0 : -ENOMEM;
}

void bytes_release(struct bytes *bytes)
{
	free(bytes->buf);
	*bytes = (struct bytes){0};
}

int bytes_resize(struct bytes *bytes, uint32_t size)
{
	struct bytes old = *bytes;
	struct iovec iov[2];
	int num = bytes_filled(&old, iov);

	if (size < old.len)
		size = old.len;
	if (size == old.size)
		return 0;
	if (bytes_init(bytes, size)) {
		*bytes = old;
		return -ENOMEM;
	}
	for (int i = 0; i < num; i++) {
		memcpy(bytes->buf + bytes->len, iov[i].iov_base, iov[i].iov_len);
		bytes->len += (uint32_t)iov[i].iov_len;
	}
	free(old.buf);
	return 0;
}

/* len bytes from position at on. */
static int pieces(const struct bytes *bytes, uint32_t at, uint32_t len, struct iovec iov[2])
{
	uint32_t first = len < bytes->size - at ? len : bytes->size - at;

	if (!len)
		return 0;
	iov[0] = (struct iovec){bytes->buf + at, first};
	iov[1] = (struct iovec){bytes->buf, len - first};
	return first < len ? 2 : 1;
}

int bytes_filled(const struct bytes *bytes, struct iovec iov[2])
{
	return pieces(bytes, bytes->head, bytes->len, iov);
}

int bytes_free(const struct bytes *bytes, struct iovec iov[2])
{
	uint64_t tail = (uint64_t)bytes->head + bytes->len;

	return pieces(bytes, (uint32_t)(tail < bytes->size ? tail : tail - bytes->size),
		      bytes_room(bytes), iov);
}

void bytes_added(struct bytes *bytes, uint32_t len)
{
	bytes->len += len;
}

void bytes_drop(struct bytes *bytes, uint32_t len)
{
	uint64_t head = (uint64_t)bytes->head + len;

	bytes->len -= len;
	bytes->head = (uint32_t)(head < bytes->size ? head : head - bytes->size);
}
