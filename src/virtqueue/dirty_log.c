/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdlib.h>

#include "base/defs.h"
#include "vdpa/virtqueue.h"

#define LOG_PAGE 4096u

struct vdpa_dirty_log {
	uint32_t refs;
	struct vdpa_mem *mem;
	uint8_t *bits; /* page n is bit n % 8 of byte n / 8 */
	uint64_t pages;
};

VDPA_API int vdpa_dirty_log_alloc(struct vdpa_mem *mem, struct vdpa_dirty_log **ret,
				  struct vdpa_extack *ack)
{
	struct vdpa_dirty_log *log = malloc(sizeof(*log));

	if (!log)
		return -ENOMEM;
	log->refs = 1;
	log->mem = mem;
	log->bits = vdpa_mem_hva(mem);
	log->pages = vdpa_mem_len(mem) * 8;
	*ret = log;
	return 0;
}

VDPA_API struct vdpa_dirty_log *vdpa_dirty_log_get(struct vdpa_dirty_log *log)
{
	__atomic_fetch_add(&log->refs, 1, __ATOMIC_RELAXED);
	return log;
}

VDPA_API void vdpa_dirty_log_put(struct vdpa_dirty_log *log)
{
	if (!log || __atomic_sub_fetch(&log->refs, 1, __ATOMIC_ACQ_REL))
		return;
	vdpa_mem_put(log->mem);
	free(log);
}

VDPA_API void vdpa_dirty_log_mark(struct vdpa_dirty_log *log, uint64_t addr, uint64_t len)
{
	uint64_t page = addr / LOG_PAGE, last;

	if (!len || page >= log->pages)
		return;
	last = len - 1 > UINT64_MAX - addr ? UINT64_MAX : addr + (len - 1);
	last /= LOG_PAGE;
	if (last >= log->pages)
		last = log->pages - 1;
	while (page <= last) {
		uint64_t byte = page / 8, end = byte * 8 + 7 < last ? byte * 8 + 7 : last;
		unsigned mask = (0xffu << page % 8) & (0xffu >> (7 - end % 8));

		/*
		 * The reader takes bits out while it reads pages.  Looking first, to spare the
		 * write, could see a bit that is just being taken: the data must be older than the
		 * mark.
		 */
		__atomic_fetch_or(&log->bits[byte], (uint8_t)mask, __ATOMIC_SEQ_CST);
		page = end + 1;
	}
}
