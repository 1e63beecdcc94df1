/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel's generator. */
#include <errno.h>
#include <sys/random.h>

#include "backends/entropy/entropy.h"
#include "base/defs.h"

/* It has none only while the machine boots. */
static ssize_t kernel_read(struct entropy *src, void *buf, size_t len)
{
	ssize_t got = getrandom(buf, len, GRND_NONBLOCK);

	if (got >= 0)
		return got;
	return errno == EINTR ? -EAGAIN : -errno;
}

static void kernel_close(struct entropy *src)
{
	free(src);
}

static const struct entropy_ops kernel_ops = {
	.name = "kernel",
	.read = kernel_read,
	.close = kernel_close,
};

int entropy_kernel_open(struct entropy **ret, struct vdpa_extack *ack)
{
	struct entropy *src = calloc(1, sizeof(*src));

	if (!src)
		return -ENOMEM;
	src->ops = &kernel_ops;
	src->fd = -1;
	*ret = src;
	return 0;
}
