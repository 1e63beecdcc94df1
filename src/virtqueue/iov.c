/* SPDX-License-Identifier: BSD-2-Clause */
#include "virtqueue/iov.h"

#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "vdpa/virtqueue.h"

/* The part of a piece from byte *off on, cut to len; *off is what remains to skip in later pieces.
 */
static size_t piece(const struct iovec *iov, size_t *off, size_t len, void **ret)
{
	size_t left;

	if (*off >= iov->iov_len) {
		*off -= iov->iov_len;
		return 0;
	}
	left = iov->iov_len - *off;
	*ret = (uint8_t *)iov->iov_base + *off;
	*off = 0;
	return left < len ? left : len;
}

VDPA_API size_t vdpa_iov_to_buf(const struct iovec *iov, size_t num, size_t off, void *buf,
				size_t len)
{
	size_t done = 0;
	void *src;

	for (size_t i = 0; i < num && done < len; i++) {
		size_t part = piece(&iov[i], &off, len - done, &src);

		if (part)
			memcpy((uint8_t *)buf + done, src, part);
		done += part;
	}
	return done;
}

VDPA_API size_t vdpa_iov_from_buf(const struct iovec *iov, size_t num, size_t off, const void *buf,
				  size_t len)
{
	size_t done = 0;
	void *dst;

	for (size_t i = 0; i < num && done < len; i++) {
		size_t part = piece(&iov[i], &off, len - done, &dst);

		if (part)
			memcpy(dst, (const uint8_t *)buf + done, part);
		done += part;
	}
	return done;
}

VDPA_API size_t vdpa_iov_set(const struct iovec *iov, size_t num, size_t off, int byte, size_t len)
{
	size_t done = 0;
	void *dst;

	for (size_t i = 0; i < num && done < len; i++) {
		size_t part = piece(&iov[i], &off, len - done, &dst);

		if (part)
			memset(dst, byte, part);
		done += part;
	}
	return done;
}

struct iovec *iov_cut(const struct iovec *iov, unsigned int num, size_t skip, size_t len,
		      unsigned int *ret_num)
{
	struct iovec *cut = malloc((num ? num : 1) * sizeof(*cut));
	unsigned int n = 0;
	void *base;

	for (unsigned int i = 0; cut && i < num && len; i++) {
		size_t part = piece(&iov[i], &skip, len, &base);

		if (part)
			cut[n++] = (struct iovec){base, part};
		len -= part;
	}
	*ret_num = n;
	return cut;
}
