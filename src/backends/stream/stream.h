/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Stream backends: where the bytes of a console's port go, and where they come from.  A backend
 * knows nothing of virtio, and not which class uses it.
 *
 * Life: stream_open() -> stream_set_user() -> write, avail, read ... -> stream_close().
 *
 * What the user writes waits in a buffer of a bound that the attribute `buffer` sets, until the
 * other end takes it.  When that is full the user is held back: stream_write() takes less, and
 * writable() says when there is room again.  While nobody is at the other end there is a choice:
 * the latest output is kept for whoever comes (the oldest is overwritten), or the user is held
 * back as by a slow reader.
 *
 * Contexts.  open, close and set_attrs run on a lane and may block.  The others run on any thread
 * and never block, but one thread writes at a time, and one reads.
 */
#ifndef BACKENDS_STREAM_STREAM_H
#define BACKENDS_STREAM_STREAM_H

#include <pthread.h>
#include <stdbool.h>

#include "backends/stream/bytes.h"
#include "vdpa/attrs.h"
#include "vdpa/info.h"

struct stream;
struct stream_user;
struct vdpa_bus;

#define STREAM_BUFFER     65536u /* bytes that wait for a reader, unless set */
#define STREAM_BUFFER_MAX (64u << 20)
#define STREAM_INPUT      4096u      /* bytes that wait for the user */
#define STREAM_FORCED     (1u << 20) /* bytes beyond the bound that stream_force() adds at most */

/* Called with the stream's lock held: they do not call the stream. */
struct stream_user_ops {
	void (*readable)(struct stream_user *user); /* there is input */
	void (*writable)(struct stream_user *user); /* there is room, after a write that was cut */
	void (*opened)(struct stream_user *user, bool open); /* somebody came, or went */
};

struct stream_user {
	const struct stream_user_ops *ops;
};

/* What a backend does; unless said otherwise with the lock held, and on any thread. */
struct stream_ops {
	const char *name;
	void (*close)(struct stream *stream);                    /* Lane, without the lock. */
	void (*show)(struct stream *stream, struct vdpa_info *); /* Optional. */
	/* Send what is in stream->out, as much as goes; later more by itself. */
	void (*push)(struct stream *stream);
	/* Fetch what there is into stream->in.  Optional: it comes by itself, or never. */
	void (*pull)(struct stream *stream);
	/* The terminal has this size now.  Optional. */
	void (*set_size)(struct stream *stream, uint16_t cols, uint16_t rows);
	/* `reopen`: what was opened by name may be another file now.  Lane, without the lock;
	 * optional. */
	int (*reopen)(struct stream *stream, struct vdpa_extack *ack);
};

/* Embedded in the backend's own. */
struct stream {
	const struct stream_ops *ops; /* constant */
	pthread_mutex_t lock;         /* of all that follows */
	struct stream_user *user;
	struct bytes in, out;
	uint32_t bound; /* of out */
	bool open;      /* somebody is at the other end */
	bool keep;      /* while nobody is, keep the latest output */
	bool waits;     /* the user wants to hear of room */
	uint64_t lost;  /* bytes that were overwritten, or that the other end refused */
};

/* What every backend is opened with. */
struct stream_open {
	struct vdpa_attrs *attrs;
	const char *name; /* of the device */
	struct vdpa_bus *bus;
	uint16_t port; /* of the device; those behind the first have names with .1, .2 ... */
};

typedef int stream_open_fn(const struct stream_open *open, struct stream **ret,
			   struct vdpa_extack *ack);
stream_open_fn stream_pty_open, stream_socket_open, stream_file_open, stream_stdio_open;

extern const char *const stream_backend_names[];
extern const char *const stream_unread_names[];

/* The rows that a class with a stream behind it puts into its attribute table. */
#define STREAM_ATTRS                                                                               \
	{.name = "backend",                                                                        \
	 .type = VDPA_ATTR_ENUM,                                                                   \
	 .values = stream_backend_names,                                                           \
	 .help = "where the bytes go and come from (pty; file or socket when these are given)"},   \
		{.name = "file",                                                                   \
		 .type = VDPA_ATTR_PATH,                                                           \
		 .help = "file: what is appended to, made if it is not there"},                    \
		{.name = "reopen",                                                                 \
		 .type = VDPA_ATTR_BOOL,                                                           \
		 .flags = VDPA_ATTR_LIVE | VDPA_ATTR_NOADD,                                        \
		 .help = "on: open the file by its name again, after it was rotated"},             \
		{.name = "socket",                                                                 \
		 .type = VDPA_ATTR_LISTENER,                                                       \
		 .help = "socket: path of the Unix socket (dev/NAME/console.sock)"},               \
		{.name = "client",                                                                 \
		 .type = VDPA_ATTR_BOOL,                                                           \
		 .help = "socket: connect to one that listens, again when it leaves (off)"},       \
		{.name = "reconnect-ms",                                                           \
		 .type = VDPA_ATTR_UINT,                                                           \
		 .min = 1,                                                                         \
		 .max = 3600000,                                                                   \
		 .help = "socket: with client, longest pause between two attempts (1000)"},        \
		{.name = "buffer",                                                                 \
		 .type = VDPA_ATTR_SIZE,                                                           \
		 .flags = VDPA_ATTR_LIVE,                                                          \
		 .min = 1,                                                                         \
		 .max = STREAM_BUFFER_MAX,                                                         \
		 .help = "bytes that wait for a slow reader before the guest does (64K)"},         \
	{                                                                                          \
		.name = "unread", .type = VDPA_ATTR_ENUM, .flags = VDPA_ATTR_LIVE,                 \
		.values = stream_unread_names,                                                     \
		.help = "what is written while nobody is there: keep the latest, or hold the "     \
			"guest (keep)"                                                             \
	}

/*
 * Open what the attributes say.  0 or -errno with the reason: an attribute is missing or is for
 * another backend, what it needs is not there.
 */
stream_open_fn stream_open;
/* NULL is allowed.  The user hears nothing more. */
void stream_close(struct stream *stream);
/* Live attributes.  What fails leaves those before it changed. */
int stream_set_attrs(struct stream *stream, struct vdpa_attrs *attrs, struct vdpa_extack *ack);

/* NULL: none.  He is told at once whether somebody is there. */
void stream_set_user(struct stream *stream, struct stream_user *user);
/*
 * Take the len bytes of iov that begin with byte skip.  Returns how many: with fewer than all
 * writable() is due.
 */
uint32_t stream_write(struct stream *stream, const struct iovec *iov, uint32_t num, uint32_t skip,
		      uint32_t len);
/* As stream_write(), beyond the bound if need be: for what cannot wait any longer. */
uint32_t stream_force(struct stream *stream, const struct iovec *iov, uint32_t num, uint32_t skip,
		      uint32_t len);
/* How many bytes wait for the user. */
uint32_t stream_avail(struct stream *stream);
/* Take up to what fits into iov.  Returns how many. */
uint32_t stream_read(struct stream *stream, const struct iovec *iov, uint32_t num);
void stream_set_size(struct stream *stream, uint16_t cols, uint16_t rows);
void stream_show(struct stream *stream, struct vdpa_info *info);

/* ---- for backends; the lock is held where the name says so */

/* attrs as in stream_open.  0 or -ENOMEM; on success stream_release() is due. */
int stream_init(struct stream *stream, const struct stream_ops *ops,
		const struct vdpa_attrs *attrs);
void stream_release(struct stream *stream);
void stream_opened_locked(struct stream *stream, bool open);
void stream_readable_locked(struct stream *stream);
/* The first len bytes of `out` are gone. */
void stream_sent_locked(struct stream *stream, uint32_t len);
/* The file belongs to who may only use what he has opened himself.  -EPERM. */
int stream_refuse_name(const char *path, struct vdpa_extack *ack);
/* "NAME" or, for ports behind the first, "NAME.1" ...: -ENAMETOOLONG. */
int stream_port_name(const char *name, uint16_t port, char *buf, size_t len);

#endif
