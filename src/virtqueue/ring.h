/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Access to memory that the other side of a ring writes at the same time.
 *
 * 16- and 32-bit fields that both sides poll are read and written with atomics; everything else is
 * ordered by them and copied once.  All values in the rings are little-endian.
 */
#ifndef VIRTQUEUE_RING_H
#define VIRTQUEUE_RING_H

#include <endian.h>
#include <linux/virtio_ring.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__SANITIZE_THREAD__)
#define RING_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RING_TSAN 1
#endif
#endif

/* Feature bits, which <linux/virtio_config.h> has by number only. */
#define RING_F_INDIRECT_DESC (1ULL << VIRTIO_RING_F_INDIRECT_DESC)
#define RING_F_EVENT_IDX     (1ULL << VIRTIO_RING_F_EVENT_IDX)
#define RING_F_PACKED        (1ULL << 34)
#define RING_F_IN_ORDER      (1ULL << 35)

/* Two marks that tell an available descriptor of a packed ring from a used one. */
#define RING_DESC_F_AVAIL (1u << VRING_PACKED_DESC_F_AVAIL)
#define RING_DESC_F_USED  (1u << VRING_PACKED_DESC_F_USED)
#define RING_DESC_F_MARKS (RING_DESC_F_AVAIL | RING_DESC_F_USED)

/* A descriptor in host order, copied: split and packed rings differ in the last two fields. */
struct ring_desc {
	uint64_t iova;
	uint32_t len;
	uint16_t flags;
	uint16_t id; /* next of a split ring, buffer id of a packed one */
};

static inline uint16_t ring_load16(const void *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_RELAXED));
}

static inline uint16_t ring_load16_acquire(const void *p)
{
	return le16toh(__atomic_load_n((const uint16_t *)p, __ATOMIC_ACQUIRE));
}

static inline void ring_store16(void *p, uint16_t value)
{
	__atomic_store_n((uint16_t *)p, htole16(value), __ATOMIC_RELAXED);
}

static inline void ring_store16_release(void *p, uint16_t value)
{
	__atomic_store_n((uint16_t *)p, htole16(value), __ATOMIC_RELEASE);
}

static inline uint32_t ring_load32(const void *p)
{
	return le32toh(__atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED));
}

static inline void ring_store32(void *p, uint32_t value)
{
	__atomic_store_n((uint32_t *)p, htole32(value), __ATOMIC_RELAXED);
}

static inline void ring_store64(void *p, uint64_t value)
{
	__atomic_store_n((uint64_t *)p, htole64(value), __ATOMIC_RELAXED);
}

/* What was stored before is seen by the other side before what is loaded after is read. */
static inline void ring_full_barrier(void)
{
#ifdef RING_TSAN
	/* The checker knows no fences.  It needs none here: all that is ordered is atomic. */
	uint32_t dummy = 0;

	__atomic_fetch_add(&dummy, 1, __ATOMIC_SEQ_CST);
#elif defined(__x86_64__)
	/* Half of what mfence costs. */
	__asm__ volatile("lock; addl $0, -4(%%rsp)" : : : "memory", "cc");
#else
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

/*
 * Copies a descriptor, of any alignment, that may change meanwhile.  The compiler cannot know where
 * the two words come from, so it cannot read them again.
 */
static inline void ring_fetch16(const void *p, uint64_t *low, uint64_t *high)
{
	uint64_t l, h;

	memcpy(&l, p, 8);
	memcpy(&h, (const uint8_t *)p + 8, 8);
	__asm__("" : "+r"(l), "+r"(h));
	*low = le64toh(l);
	*high = le64toh(h);
}

static inline struct ring_desc ring_split_desc(const void *p)
{
	uint64_t low, high;

	ring_fetch16(p, &low, &high);
	return (struct ring_desc){low, (uint32_t)high, (uint16_t)(high >> 32),
				  (uint16_t)(high >> 48)};
}

static inline struct ring_desc ring_packed_desc(const void *p)
{
	uint64_t low, high;

	ring_fetch16(p, &low, &high);
	return (struct ring_desc){low, (uint32_t)high, (uint16_t)(high >> 48),
				  (uint16_t)(high >> 32)};
}

/*
 * Does the other side, which waits for index `event`, want a notification now that the index went
 * from `old` to `now`?  Indices run free and wrap at 65536.
 */
static inline bool ring_need_event(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

/* An event suppression structure of a packed ring, as one word: wait for a slot of a lap. */
static inline uint32_t ring_packed_event(uint16_t slot, bool wrap)
{
	return (uint32_t)VRING_PACKED_EVENT_FLAG_DESC << 16 |
	       (uint32_t)wrap << VRING_PACKED_EVENT_F_WRAP_CTR | slot;
}

/*
 * The same for packed rings: `event` is the structure of the other side, `now` and `wrap` where we
 * stand after `slots` more slots.
 */
static inline bool ring_packed_need_event(uint32_t event, bool event_idx, uint16_t now, bool wrap,
					  uint32_t slots, uint32_t num)
{
	uint32_t flags = event >> 16 & 3;
	int32_t behind, at = event & 0x7fff;

	if (flags == VRING_PACKED_EVENT_FLAG_DISABLE)
		return false;
	if (flags != VRING_PACKED_EVENT_FLAG_DESC || !event_idx)
		return true;
	if ((event >> VRING_PACKED_EVENT_F_WRAP_CTR & 1) != wrap)
		at -= (int32_t)num; /* in the lap before */
	behind = now - at - 1;
	return behind >= 0 && (uint32_t)behind < slots;
}

#endif
