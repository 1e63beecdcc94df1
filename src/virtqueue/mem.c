/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/defs.h"
#include "base/sigbus.h"
#include "vdpa/iotlb.h"

#ifndef FUSE_SUPER_MAGIC
#define FUSE_SUPER_MAGIC 0x65735546
#endif

struct vdpa_mem {
	uint32_t refs;
	int fd;
	uint8_t *map; /* what mmap() gave: whole pages around the part */
	size_t map_len;
	uint8_t *hva;
	uint64_t len;
	uint64_t offset;
	bool fragile; /* its file may become shorter, or have no page to give */
	struct sigbus_range range;
};

/*
 * Huge pages are mapped and unmapped as a whole.  Who serves a FUSE file system could keep us
 * waiting at each page.
 */
static int mem_page_size(int fd, uint64_t *ret, struct vdpa_extack *ack)
{
	struct statfs fs;

	*ret = (uint64_t)sysconf(_SC_PAGESIZE);
	if (fstatfs(fd, &fs))
		return 0;
	if (fs.f_type == FUSE_SUPER_MAGIC)
		return vdpa_extack_set(ack, -EINVAL,
				       "memory cannot be in a file of a FUSE file system");
	if (fs.f_type == HUGETLBFS_MAGIC && is_power_of_2((uint64_t)fs.f_bsize))
		*ret = (uint64_t)fs.f_bsize;
	return 0;
}

static int mem_check(int fd, uint64_t offset, uint64_t len, struct vdpa_extack *ack)
{
	struct stat st;

	/* Below INT64_MAX also after rounding up to pages. */
	if (!len || !range_fits(offset, len, INT64_MAX / 2))
		return vdpa_extack_set(ack, -EINVAL,
				       "memory of %" PRIu64 " bytes at offset %" PRIu64
				       " is empty or wraps",
				       len, offset);
	if (fstat(fd, &st))
		return vdpa_extack_set(ack, -errno, "cannot examine a memory descriptor: %s",
				       strerrordesc_np(errno));
	if (S_ISREG(st.st_mode) && !range_fits(offset, len, (uint64_t)st.st_size))
		return vdpa_extack_set(ack, -EINVAL,
				       "memory of %" PRIu64 " bytes at offset %" PRIu64
				       " ends behind its file of %" PRIu64 " bytes",
				       len, offset, (uint64_t)st.st_size);
	return 0;
}

VDPA_API int vdpa_mem_map(int fd, uint64_t offset, uint64_t len, uint32_t perm,
			  struct vdpa_mem **ret, struct vdpa_extack *ack)
{
	struct vdpa_mem *mem vdpa_cleanup(freep) = NULL;
	int own_fd vdpa_cleanup(fd_closep) = -1;
	uint64_t page, skip;
	int prot = PROT_READ, seals, err;

	err = mem_check(fd, offset, len, ack);
	if (!err)
		err = mem_page_size(fd, &page, ack);
	if (err)
		return err;

	mem = calloc(1, sizeof(*mem));
	if (!mem)
		return -ENOMEM;
	own_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (own_fd < 0)
		return vdpa_extack_set(ack, -errno, "cannot duplicate a memory descriptor: %s",
				       strerrordesc_np(errno));

	skip = offset & (page - 1);
	mem->map_len = align_up(skip + len, page);
	if (perm & VDPA_PERM_WRITE)
		prot |= PROT_WRITE;
	mem->map = mmap(NULL, mem->map_len, prot, MAP_SHARED | MAP_NORESERVE, fd,
			(off_t)(offset - skip));
	if (mem->map == MAP_FAILED)
		return vdpa_extack_set(ack, -errno, "cannot map %" PRIu64 " bytes of memory: %s",
				       len, strerrordesc_np(errno));

	mem->refs = 1;
	mem->hva = mem->map + skip;
	mem->len = len;
	mem->offset = offset;
	mem->fd = fd_take(&own_fd);
	seals = fcntl(mem->fd, F_GET_SEALS);
	/* Huge pages may run out at any time: nothing is reserved for us. */
	mem->fragile =
		seals < 0 || !(seals & F_SEAL_SHRINK) || page != (uint64_t)sysconf(_SC_PAGESIZE);
	if (mem->fragile) {
		mem->range.start = (uintptr_t)mem->map;
		mem->range.len = mem->map_len;
		sigbus_add(&mem->range);
	}
	*ret = mem;
	mem = NULL;
	return 0;
}

VDPA_API int vdpa_mem_alloc(const char *name, uint64_t len, struct vdpa_mem **ret,
			    struct vdpa_extack *ack)
{
	int fd vdpa_cleanup(fd_closep) = -1;

	if (!len || len > INT64_MAX / 2)
		return vdpa_extack_set(ack, -EINVAL,
				       "cannot make shared memory of %" PRIu64 " bytes", len);
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)len) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return vdpa_extack_set(ack, -errno,
				       "cannot make shared memory '%s' of %" PRIu64 " bytes: %s",
				       name, len, strerrordesc_np(errno));
	return vdpa_mem_map(fd, 0, len, VDPA_PERM_RW, ret, ack);
}

VDPA_API struct vdpa_mem *vdpa_mem_get(struct vdpa_mem *mem)
{
	__atomic_fetch_add(&mem->refs, 1, __ATOMIC_RELAXED);
	return mem;
}

VDPA_API void vdpa_mem_put(struct vdpa_mem *mem)
{
	if (!mem || __atomic_sub_fetch(&mem->refs, 1, __ATOMIC_ACQ_REL))
		return;
	if (mem->fragile)
		sigbus_remove(&mem->range);
	munmap(mem->map, mem->map_len);
	close(mem->fd);
	free(mem);
}

VDPA_API void *vdpa_mem_hva(const struct vdpa_mem *mem)
{
	return mem->hva;
}

VDPA_API uint64_t vdpa_mem_len(const struct vdpa_mem *mem)
{
	return mem->len;
}

VDPA_API int vdpa_mem_fd(const struct vdpa_mem *mem)
{
	return mem->fd;
}

VDPA_API uint64_t vdpa_mem_offset(const struct vdpa_mem *mem)
{
	return mem->offset;
}

VDPA_API bool vdpa_mem_lost(const struct vdpa_mem *mem)
{
	return mem->fragile && sigbus_lost(&mem->range);
}
