/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Block backends: where the bytes of a disk are.  A backend knows nothing of virtio, and not which
 * class uses it.
 *
 * Life: block_open() -> block_attach() for each queue -> submit ... kick -> block_detach() ->
 * block_close().
 *
 * Contexts.  open, close, resize and sync run on a lane and may block.  Everything about a queue
 * runs on the queue's worker and does not block, but for bounded copies out of memory that is there
 * (each backend says how it keeps to that).  A queue is detached only when none of its requests is
 * under way.
 *
 * The caller has checked a request against the size that it knows; a backend meets requests behind
 * its end with -EIO, for the end may move.
 */
#ifndef BACKENDS_BLOCK_BLOCK_H
#define BACKENDS_BLOCK_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "loop/threads.h"
#include "base/defs.h"
#include "vdpa/attrs.h"
#include "vdpa/info.h"

struct block;
struct block_io;
struct block_queue;
struct lane_pool;
struct worker;

enum block_op {
	BLOCK_READ,
	BLOCK_WRITE,
	BLOCK_FLUSH,   /* what was written and completed before is on the medium when this completes
			*/
	BLOCK_DISCARD, /* the range's content does not matter any more */
	BLOCK_WRITE_ZEROES, /* the range reads as zeros */
};

#define BLOCK_FUA   1u /* WRITE, WRITE_ZEROES, DISCARD: on the medium before it completes */
#define BLOCK_UNMAP 2u /* WRITE_ZEROES: the room may be given back */

/* What submit returns when done() will follow. */
#define BLOCK_PENDING 1

struct block_io {
	/* The caller's; constant until the request is done. */
	enum block_op op;
	uint32_t flags;          /* BLOCK_FUA, BLOCK_UNMAP */
	uint64_t off, len;       /* bytes, multiples of the block size; not of FLUSH */
	const struct iovec *iov; /* READ, WRITE: exactly len bytes, at most IOV_MAX pieces */
	unsigned int iovcnt;
	/* err: 0 or -errno.  On the worker, never from inside the submit of the same request. */
	void (*done)(struct block_io *io, int err);

	/* The backend's, while the request is under way. */
	struct block_queue *queue;
	union {
		STAILQ_ENTRY(block_io) wait; /* for room */
		struct threads_job job;      /* for a thread */
	};
	uint64_t pos;       /* bytes done */
	uint64_t mark;      /* FLUSH: what it covers */
	struct iovec *rest; /* the pieces behind pos, when pos is not 0; allocated */
	unsigned int restcnt;
	int err;
};

struct block_info {
	uint64_t size;             /* bytes, a multiple of block_size; block_resize() changes it */
	uint32_t block_size;       /* bytes, a power of two, 512 at least */
	uint32_t physical_size;    /* bytes that are written at once, a multiple of block_size */
	uint32_t min_io, opt_io;   /* bytes that suit best; 0: not known */
	uint32_t discard_align;    /* bytes */
	uint64_t max_discard;      /* bytes in one request that do not take long */
	uint64_t max_write_zeroes; /* the same */
	bool readonly;
	bool discard;   /* DISCARD is more than nothing */
	bool unmap;     /* WRITE_ZEROES with UNMAP gives room back */
	bool writeback; /* completed writes may be in a cache until FLUSH: what the user wants to
			   begin with */
};

struct block_ops {
	const char *name;
	void (*close)(struct block *block);
	int (*resize)(struct block *block, uint64_t size, struct vdpa_extack *ack);
	int (*sync)(struct block *block); /* Optional: nothing is cached. */
	void (*show)(struct block *block, struct vdpa_info *info); /* Optional. */
	int (*attach)(struct block *block, struct worker *worker, struct lane_pool *pool,
		      struct block_queue **ret, struct vdpa_extack *ack);
	void (*detach)(struct block_queue *queue);
	int (*submit)(struct block_queue *queue, struct block_io *io);
	void (*kick)(struct block_queue *queue); /* Optional: submit holds nothing back. */
};

/* Embedded in the backend's own. */
struct block {
	const struct block_ops *ops;
	struct block_info info;
};

struct block_queue {
	const struct block_ops *ops;
	struct block *block;
};

extern const char *const block_backend_names[];
extern const char *const block_cache_modes[];
extern const char *const block_aio_modes[];

/* Rows that do not depend on where the data is: disks of one device have them in common. */
#define BLOCK_ATTRS_COMMON                                                                         \
	{.name = "block-size",                                                                     \
	 .type = VDPA_ATTR_UINT,                                                                   \
	 .min = 512,                                                                               \
	 .max = 65536,                                                                             \
	 .help = "logical block, bytes, a power of two; default 512, or what 'direct' needs"},     \
		{.name = "direct",                                                                 \
		 .type = VDPA_ATTR_BOOL,                                                           \
		 .help = "file: past the page cache (O_DIRECT), default off"},                     \
		{.name = "cache",                                                                  \
		 .type = VDPA_ATTR_ENUM,                                                           \
		 .values = block_cache_modes,                                                      \
		 .help = "writethrough: a write is on the medium when it completes; default "      \
			 "writeback"},                                                             \
		{.name = "discard",                                                                \
		 .type = VDPA_ATTR_BOOL,                                                           \
		 .help = "give discarded room back where that is possible, default on"},           \
		{.name = "aio",                                                                    \
		 .type = VDPA_ATTR_ENUM,                                                           \
		 .values = block_aio_modes,                                                        \
		 .help = "file: how to wait for the medium; auto: io_uring where it is allowed"},  \
	{                                                                                          \
		.name = "lock", .type = VDPA_ATTR_BOOL,                                            \
		.help = "file: refuse one that another program has locked, and lock it; default "  \
			"on"                                                                       \
	}

/* The rows that a class with a disk behind it puts into its attribute table. */
#define BLOCK_ATTRS                                                                                \
	{.name = "backend",                                                                        \
	 .type = VDPA_ATTR_ENUM,                                                                   \
	 .values = block_backend_names,                                                            \
	 .help = "where the data is; file when 'file' is given"},                                  \
		{.name = "file",                                                                   \
		 .type = VDPA_ATTR_PATH,                                                           \
		 .help = "regular file or block device that holds the data"},                      \
		{.name = "size",                                                                   \
		 .type = VDPA_ATTR_SIZE,                                                           \
		 .flags = VDPA_ATTR_LIVE,                                                          \
		 .help = "capacity; a shorter file is extended, 0: the present size of the file"}, \
		{.name = "readonly",                                                               \
		 .type = VDPA_ATTR_BOOL,                                                           \
		 .help = "refuse writes, default off"},                                            \
		BLOCK_ATTRS_COMMON,                                                                \
	{                                                                                          \
		.name = "zeroes", .type = VDPA_ATTR_BOOL,                                          \
		.help = "null: reads give zeros; default off: they write nothing at all"           \
	}

/*
 * Open what the attributes say.  0 or -errno with the reason: an attribute is missing or is for
 * another backend, the file cannot be opened, is in use, or does not suit.
 */
int block_open(struct vdpa_attrs *attrs, struct block **ret, struct vdpa_extack *ack);
/* NULL is allowed.  No queue is attached. */
void block_close(struct block *block);
/*
 * Grow or shrink; size 0: what the file has now.  The new size is in info.size.  A file is never
 * cut: bytes behind the new end are only out of reach.  Queues may run.
 */
int block_resize(struct block *block, uint64_t size, struct vdpa_extack *ack);
/*
 * The same for who keeps the size himself, where his workers read it (atomic, bytes), and checks
 * requests against it: nobody begins behind the new end while the backend cuts it off.  On failure
 * it is what it was.
 */
int block_resize_shared(struct block *block, uint64_t size, uint64_t *capacity,
			struct vdpa_extack *ack);
/* What has been written and completed is on the medium. */
int block_sync(struct block *block);
/* Does a disk of `capacity` bytes have these, and are they whole blocks?  Of a request of a peer.
 */
static inline bool block_range_ok(uint32_t block_size, uint64_t capacity, uint64_t off,
				  uint64_t len)
{
	return !((off | len) & (block_size - 1)) && range_fits(off, len, capacity);
}

/* Backend, file, size and so on. */
void block_show(struct block *block, struct vdpa_info *info);

/* pool: for what has to block; outlives the queue. */
static inline int block_attach(struct block *block, struct worker *worker, struct lane_pool *pool,
			       struct block_queue **ret, struct vdpa_extack *ack)
{
	return block->ops->attach(block, worker, pool, ret, ack);
}

static inline void block_detach(struct block_queue *queue)
{
	queue->ops->detach(queue);
}

/* The result, 0 or -errno, when it is done already; or BLOCK_PENDING, and done() will be called. */
static inline int block_submit(struct block_queue *queue, struct block_io *io)
{
	return queue->ops->submit(queue, io);
}

/* The batch ends: start what submit has gathered.  May call done(). */
static inline void block_kick(struct block_queue *queue)
{
	if (queue->ops->kick)
		queue->ops->kick(queue);
}

/* ---- for backends */

typedef int block_open_fn(struct vdpa_attrs *attrs, struct block **ret, struct vdpa_extack *ack);
block_open_fn block_file_open;
block_open_fn block_ram_open;
block_open_fn block_null_open;

/* The logical block size that was asked for, def when none was.  0 or -EINVAL. */
int block_attr_block_size(const struct vdpa_attrs *attrs, uint32_t def, uint32_t *ret,
			  struct vdpa_extack *ack);
/* Is this a size for a disk?  Not 0, a multiple of the block size, no more than an off_t holds. */
int block_check_size(uint64_t size, uint32_t block_size, struct vdpa_extack *ack);
/* Set what is alike for backends in memory: everything but size and flags. */
void block_info_init(struct block_info *info, uint32_t block_size);

#endif
