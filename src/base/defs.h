/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every file may use: visibility, cleanup at the end of a scope, small arithmetic.
 */
#ifndef BASE_DEFS_H
#define BASE_DEFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

/* Marks a symbol of the shared library; everything else is hidden. */
#define VDPA_API __attribute__((visibility("default")))

#define vdpa_cleanup(fn) __attribute__((cleanup(fn), unused))

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define ARRAY_SIZE(a)                   (sizeof(a) / sizeof((a)[0]))
#define BIT_ULL(n)                      (1ULL << (n))

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* Does [off, off + len) lie inside [0, size)?  Never wraps.  An empty range at the end does. */
static inline bool range_fits(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

/* Rounds up to a power of two; the caller has made sure that it does not wrap. */
static inline uint64_t align_up(uint64_t x, uint64_t align)
{
	return (x + align - 1) & ~(align - 1);
}

static inline bool is_power_of_2(uint64_t x)
{
	return x && !(x & (x - 1));
}

/* A counter with one writer; readers on other threads see whole values. */
static inline void counter_add(uint64_t *counter, uint64_t more)
{
	__atomic_store_n(counter, *counter + more, __ATOMIC_RELAXED);
}

/* Scope attribute for memory of malloc(): `char *s vdpa_cleanup(freep) = strdup(...)`. */
static inline void freep(void *p)
{
	free(*(void **)p);
}

/* Scope attribute for descriptors; -1 means none. */
static inline void fd_closep(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Hands a descriptor on: the variable holds none afterwards. */
static inline int fd_take(int *fd)
{
	int taken = *fd;

	*fd = -1;
	return taken;
}

#endif
