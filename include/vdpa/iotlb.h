/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * The memory map of a device: which IOVA ranges it may reach, and where they are in this process.
 *
 * A map is an immutable snapshot.  Whoever changes it makes a new one and publishes that
 * (vdpa_config_ops::set_map); readers keep a reference on the one they use.  The memory behind
 * a range is a mapping with its own reference count, shared by all snapshots that hold it, so
 * that adding one range neither maps nor unmaps the others.
 */
#ifndef VDPA_IOTLB_H
#define VDPA_IOTLB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vdpa/extack.h>

#ifdef __cplusplus
extern "C" {
#endif

/** What the device may do with a range. */
#define VDPA_PERM_READ  1u
#define VDPA_PERM_WRITE 2u
#define VDPA_PERM_RW    3u

/** Memory that somebody shares with us, mapped once, counted. */
struct vdpa_mem;

/**
 * Map a part of a descriptor.
 *
 * @param fd      borrowed; the mapping keeps its own duplicate, see vdpa_mem_fd()
 * @param offset  where the part begins in the file, bytes, of any alignment
 * @param len     bytes, not 0
 * @param perm    VDPA_PERM_*
 * @param ret     a reference for the caller; untouched on failure
 * @return 0, -EINVAL when the range is empty or wraps or lies behind the end of the file,
 *         else what mmap(2) says
 * @context any thread
 */
int vdpa_mem_map(int fd, uint64_t offset, uint64_t len, uint32_t perm, struct vdpa_mem **ret,
		 struct vdpa_extack *ack);

/**
 * Make an anonymous shared mapping of len bytes (a sealed memfd), for rings and buffers of our own.
 */
int vdpa_mem_alloc(const char *name, uint64_t len, struct vdpa_mem **ret, struct vdpa_extack *ack);

/** @return the same mapping, with one reference more.  Any thread. */
struct vdpa_mem *vdpa_mem_get(struct vdpa_mem *mem);

/** Drop a reference; the last one unmaps.  NULL is allowed.  Any thread. */
void vdpa_mem_put(struct vdpa_mem *mem);

/** @return where the first byte of the part is in this process. */
void *vdpa_mem_hva(const struct vdpa_mem *mem);
uint64_t vdpa_mem_len(const struct vdpa_mem *mem);
/** @return the mapping's own descriptor, borrowed. */
int vdpa_mem_fd(const struct vdpa_mem *mem);
/** @return where the part begins in that descriptor. */
uint64_t vdpa_mem_offset(const struct vdpa_mem *mem);
/**
 * @return true when its file has become shorter and somebody has touched what was cut off: all of
 * it reads as zeroes now, and whose memory it was has to go.  Needs vdpa_sigbus_install().  Any
 * thread.
 */
bool vdpa_mem_lost(const struct vdpa_mem *mem);

/** One range of a map. */
struct vdpa_iotlb_range {
	uint64_t iova;
	uint64_t len;         /**< bytes, not 0; iova + len does not wrap */
	uint8_t *hva;         /**< where iova is in this process; inside mem */
	struct vdpa_mem *mem; /**< borrowed in calls, referenced inside a map */
	uint32_t perm;        /**< VDPA_PERM_* */
};

struct vdpa_iotlb;

/**
 * Make a snapshot.
 *
 * @param ranges  in any order; copied, a reference is taken on each mem
 * @param num     0 is allowed: a map that translates nothing
 * @return 0, -EINVAL if a range is empty, wraps, lies outside its memory, or two overlap; -ENOMEM
 * @context any thread
 */
int vdpa_iotlb_alloc(const struct vdpa_iotlb_range *ranges, size_t num, struct vdpa_iotlb **ret,
		     struct vdpa_extack *ack);
struct vdpa_iotlb *vdpa_iotlb_get(struct vdpa_iotlb *iotlb);
void vdpa_iotlb_put(struct vdpa_iotlb *iotlb);

/** @return the ranges, sorted by iova; *num says how many. */
const struct vdpa_iotlb_range *vdpa_iotlb_ranges(const struct vdpa_iotlb *iotlb, size_t *num);

/** @return the range that holds iova, or NULL.  Logarithmic. */
const struct vdpa_iotlb_range *vdpa_iotlb_find(const struct vdpa_iotlb *iotlb, uint64_t iova);

/** @return the range that holds an address of this process, or NULL.  Linear: for the dirty log. */
const struct vdpa_iotlb_range *vdpa_iotlb_find_hva(const struct vdpa_iotlb *iotlb, const void *hva);

/**
 * Translate a range that must lie in one piece (a ring, a header that is read at once).  Ranges of
 * the map that follow each other both in iova and in this process count as one piece.
 *
 * @return the address, or NULL if a part is not mapped, perm is not granted, or it wraps
 */
void *vdpa_iotlb_translate(const struct vdpa_iotlb *iotlb, uint64_t iova, uint64_t len,
			   uint32_t perm);

/** Is each range of `old` still there, at the same place, in `now`?  Then no request must be
 * drained. */
int vdpa_iotlb_covers(const struct vdpa_iotlb *now, const struct vdpa_iotlb *old);

#ifdef __cplusplus
}
#endif

#endif
