/* SPDX-License-Identifier: BSD-2-Clause */
#include "backends/stream/stream.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/choice.h"
#include "base/defs.h"
#include "vdpa/virtqueue.h"

static const struct choice backends[] = {
	{"pty", {NULL}},
	{"socket", {"socket", "client", "reconnect-ms"}},
	{"file", {"file"}},
	{"stdio", {NULL}},
};

static stream_open_fn *const ways[ARRAY_SIZE(backends)] = {
	stream_pty_open,
	stream_socket_open,
	stream_file_open,
	stream_stdio_open,
};

const char *const stream_backend_names[] = {"pty", "socket", "file", "stdio", NULL};
const char *const stream_unread_names[] = {"keep", "hold", NULL};

/* What only one backend has a use for says which one is meant. */
static const char *implied(const struct vdpa_attrs *attrs)
{
	if (vdpa_attrs_has(attrs, "file"))
		return "file";
	return vdpa_attrs_has(attrs, "socket") ? "socket" : "pty";
}

int stream_open(const struct stream_open *open, struct stream **ret, struct vdpa_extack *ack)
{
	const char *name = vdpa_attrs_str(open->attrs, "backend", implied(open->attrs));
	int idx = choice_find(backends, ARRAY_SIZE(backends), name, open->attrs, ack);

	return idx < 0 ? idx : ways[idx](open, ret, ack);
}

void stream_close(struct stream *stream)
{
	if (!stream)
		return;
	stream_set_user(stream, NULL);
	stream->ops->close(stream);
}

int stream_port_name(const char *name, uint16_t port, char *buf, size_t len)
{
	int need = port ? snprintf(buf, len, "%s.%u", name, port) : snprintf(buf, len, "%s", name);

	return need < (int)len ? 0 : -ENAMETOOLONG;
}

int stream_refuse_name(const char *path, struct vdpa_extack *ack)
{
	return vdpa_extack_set(ack, -EPERM,
			       "'%s' would have to be opened by name: another user's daemon does "
			       "not do that for you",
			       path);
}

/* ---- set-up */

static bool keeps(const struct vdpa_attrs *attrs)
{
	return !strcmp(vdpa_attrs_str(attrs, "unread", "keep"), "keep");
}

int stream_init(struct stream *stream, const struct stream_ops *ops, const struct vdpa_attrs *attrs)
{
	int err;

	stream->ops = ops;
	stream->bound = (uint32_t)vdpa_attrs_u64(attrs, "buffer", STREAM_BUFFER);
	stream->keep = keeps(attrs);
	err = bytes_init(&stream->out, stream->bound);
	if (err)
		return err;
	err = bytes_init(&stream->in, STREAM_INPUT);
	if (err) {
		bytes_release(&stream->out);
		return err;
	}
	pthread_mutex_init(&stream->lock, NULL);
	return 0;
}

void stream_release(struct stream *stream)
{
	pthread_mutex_destroy(&stream->lock);
	bytes_release(&stream->out);
	bytes_release(&stream->in);
}

void stream_set_user(struct stream *stream, struct stream_user *user)
{
	pthread_mutex_lock(&stream->lock);
	stream->user = user;
	if (user)
		user->ops->opened(user, stream->open);
	pthread_mutex_unlock(&stream->lock);
}

/* ---- what the user hears; the lock is held */

/* Room is what a write may use: a forced one may have gone beyond the bound. */
static uint32_t room(const struct stream *stream)
{
	return stream->out.len < stream->bound ? stream->bound - stream->out.len : 0;
}

/* While nobody is there to be waited for, the oldest gives way. */
static bool overwrites(const struct stream *stream)
{
	return stream->keep && !stream->open;
}

static void tell_of_room(struct stream *stream)
{
	if (!stream->waits || !stream->user || !(room(stream) || overwrites(stream)))
		return;
	stream->waits = false;
	stream->user->ops->writable(stream->user);
}

void stream_opened_locked(struct stream *stream, bool open)
{
	if (stream->open == open)
		return;
	stream->open = open;
	if (stream->user)
		stream->user->ops->opened(stream->user, open);
	if (open)
		stream->ops->push(stream);
	else
		tell_of_room(stream);
}

void stream_readable_locked(struct stream *stream)
{
	if (stream->user)
		stream->user->ops->readable(stream->user);
}

void stream_sent_locked(struct stream *stream, uint32_t len)
{
	bytes_drop(&stream->out, len);
	tell_of_room(stream);
}

/* ---- bytes of the user's */

/* Copies len bytes, for which there is room. */
static void append(struct stream *stream, const struct iovec *iov, uint32_t num, uint32_t skip,
		   uint32_t len)
{
	struct iovec to[2];
	int pieces = bytes_free(&stream->out, to);

	for (int i = 0; i < pieces && len; i++) {
		uint32_t part = to[i].iov_len < len ? (uint32_t)to[i].iov_len : len;

		vdpa_iov_to_buf(iov, num, skip, to[i].iov_base, part);
		bytes_added(&stream->out, part);
		skip += part;
		len -= part;
	}
}

/* The latest of len bytes, as many as fit. */
static void keep_latest(struct stream *stream, const struct iovec *iov, uint32_t num, uint32_t skip,
			uint32_t len)
{
	uint32_t part = len < stream->bound ? len : stream->bound;
	uint64_t total = (uint64_t)stream->out.len + part;
	uint32_t over = total > stream->bound ? (uint32_t)(total - stream->bound) : 0;

	bytes_drop(&stream->out, over);
	stream->lost += over + (len - part);
	append(stream, iov, num, skip + (len - part), part);
}

static uint32_t write_locked(struct stream *stream, const struct iovec *iov, uint32_t num,
			     uint32_t skip, uint32_t len)
{
	uint32_t done = 0;

	if (overwrites(stream)) {
		keep_latest(stream, iov, num, skip, len);
		return len;
	}
	/* What is sent at once leaves room for more. */
	while (done < len) {
		uint32_t part = room(stream) < len - done ? room(stream) : len - done;

		if (!part)
			break;
		append(stream, iov, num, skip + done, part);
		done += part;
		if (stream->open)
			stream->ops->push(stream);
	}
	stream->waits = done < len;
	return done;
}

uint32_t stream_write(struct stream *stream, const struct iovec *iov, uint32_t num, uint32_t skip,
		      uint32_t len)
{
	uint32_t done;

	pthread_mutex_lock(&stream->lock);
	done = write_locked(stream, iov, num, skip, len);
	pthread_mutex_unlock(&stream->lock);
	return done;
}

uint32_t stream_force(struct stream *stream, const struct iovec *iov, uint32_t num, uint32_t skip,
		      uint32_t len)
{
	uint32_t done, more;
	uint64_t most;
	bool waits;

	pthread_mutex_lock(&stream->lock);
	most = (uint64_t)stream->bound + STREAM_FORCED;
	/* Another one's write may be cut, and he wants to hear of room. */
	waits = stream->waits;
	done = write_locked(stream, iov, num, skip, len);
	more = len - done;
	if (stream->out.len + (uint64_t)more > most)
		more = stream->out.len < most ? (uint32_t)(most - stream->out.len) : 0;
	if (more && !bytes_resize(&stream->out, stream->out.len + more)) {
		append(stream, iov, num, skip + done, more);
		done += more;
	}
	stream->waits = waits;
	stream->lost += len - done;
	pthread_mutex_unlock(&stream->lock);
	return done;
}

/* ---- bytes for the user */

uint32_t stream_avail(struct stream *stream)
{
	uint32_t len;

	pthread_mutex_lock(&stream->lock);
	if (!stream->in.len && stream->ops->pull)
		stream->ops->pull(stream);
	len = stream->in.len;
	pthread_mutex_unlock(&stream->lock);
	return len;
}

uint32_t stream_read(struct stream *stream, const struct iovec *iov, uint32_t num)
{
	struct iovec from[2];
	uint32_t done = 0;
	int pieces;

	pthread_mutex_lock(&stream->lock);
	pieces = bytes_filled(&stream->in, from);
	for (int i = 0; i < pieces; i++)
		done += (uint32_t)vdpa_iov_from_buf(iov, num, done, from[i].iov_base,
						    from[i].iov_len);
	bytes_drop(&stream->in, done);
	pthread_mutex_unlock(&stream->lock);
	return done;
}

/* ---- the rest */

void stream_set_size(struct stream *stream, uint16_t cols, uint16_t rows)
{
	pthread_mutex_lock(&stream->lock);
	if (stream->ops->set_size)
		stream->ops->set_size(stream, cols, rows);
	pthread_mutex_unlock(&stream->lock);
}

static int set_bound(struct stream *stream, const struct vdpa_attrs *attrs)
{
	uint32_t bound = (uint32_t)vdpa_attrs_u64(attrs, "buffer", STREAM_BUFFER);
	int err;

	pthread_mutex_lock(&stream->lock);
	err = bytes_resize(&stream->out, bound);
	if (!err)
		stream->bound = bound;
	tell_of_room(stream);
	pthread_mutex_unlock(&stream->lock);
	return err;
}

static void set_keep(struct stream *stream, bool keep)
{
	pthread_mutex_lock(&stream->lock);
	stream->keep = keep;
	tell_of_room(stream);
	pthread_mutex_unlock(&stream->lock);
}

int stream_set_attrs(struct stream *stream, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	int err = 0;

	if (vdpa_attrs_bool(attrs, "reopen", false)) {
		if (!stream->ops->reopen)
			return vdpa_extack_set(ack, -EOPNOTSUPP,
					       "'reopen' is for backend 'file', not for '%s'",
					       stream->ops->name);
		err = stream->ops->reopen(stream, ack);
	}
	if (!err && vdpa_attrs_has(attrs, "buffer"))
		err = set_bound(stream, attrs);
	if (!err && vdpa_attrs_has(attrs, "unread"))
		set_keep(stream, keeps(attrs));
	return err;
}

void stream_show(struct stream *stream, struct vdpa_info *info)
{
	pthread_mutex_lock(&stream->lock);
	vdpa_info_str(info, "backend", stream->ops->name);
	vdpa_info_bool(info, "open", stream->open);
	vdpa_info_u64(info, "unread", stream->out.len);
	if (stream->lost)
		vdpa_info_u64(info, "lost", stream->lost);
	if (stream->ops->show)
		stream->ops->show(stream, info);
	pthread_mutex_unlock(&stream->lock);
}
