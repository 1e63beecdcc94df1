/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stream whose other end is a channel of a TmFIFO.  Nobody says whether somebody is there: it
 * counts as open as long as the other end takes what it is sent.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>

#include "base/defs.h"
#include "parents/tmfifo/ends.h"

struct console {
	struct stream stream;
	struct tmfifo_channel ch;
	struct tmfifo *fifo;
};

static struct console *to_console(struct tmfifo_channel *ch)
{
	return container_of(ch, struct console, ch);
}

/* ---- the channel; the FIFO's worker */

static bool console_pending(struct tmfifo_channel *ch)
{
	struct stream *stream = &to_console(ch)->stream;
	bool pending;

	pthread_mutex_lock(&stream->lock);
	pending = stream->out.len;
	pthread_mutex_unlock(&stream->lock);
	return pending;
}

static uint32_t console_next(struct tmfifo_channel *ch, uint8_t *buf, uint32_t max)
{
	struct stream *stream = &to_console(ch)->stream;
	struct iovec iov[2];
	uint32_t len;
	int num;

	pthread_mutex_lock(&stream->lock);
	len = stream->out.len < max ? stream->out.len : max;
	num = bytes_filled(&stream->out, iov);
	vdpa_iov_to_buf(iov, (uint32_t)num, 0, buf, len);
	stream_sent_locked(stream, len);
	pthread_mutex_unlock(&stream->lock);
	return len;
}

static void console_receive(struct tmfifo_channel *ch, const uint8_t *data, uint32_t len)
{
	struct stream *stream = &to_console(ch)->stream;
	struct iovec iov[2];
	uint32_t part;
	int num;

	pthread_mutex_lock(&stream->lock);
	part = len < bytes_room(&stream->in) ? len : bytes_room(&stream->in);
	num = bytes_free(&stream->in, iov);
	vdpa_iov_from_buf(iov, (uint32_t)num, 0, data, part);
	bytes_added(&stream->in, part);
	stream_readable_locked(stream);
	pthread_mutex_unlock(&stream->lock);
	counter_add(&ch->stats.lost, len - part);
}

static void console_silent(struct tmfifo_channel *ch, bool silent)
{
	struct stream *stream = &to_console(ch)->stream;

	pthread_mutex_lock(&stream->lock);
	stream_opened_locked(stream, !silent);
	pthread_mutex_unlock(&stream->lock);
}

static const struct tmfifo_channel_ops channel_ops = {
	.name = "console",
	.pending = console_pending,
	.next = console_next,
	.receive = console_receive,
	.silent = console_silent,
};

/* ---- the stream */

static void console_push(struct stream *stream)
{
	tmfifo_wake(container_of(stream, struct console, stream)->fifo);
}

static void console_free(struct console *con)
{
	stream_release(&con->stream);
	free(con);
}

static void console_close(struct stream *stream)
{
	struct console *con = container_of(stream, struct console, stream);

	tmfifo_detach(&con->ch);
	console_free(con);
}

static const struct stream_ops stream_ops = {
	.name = "tmfifo",
	.close = console_close,
	.push = console_push,
};

int tmfifo_console_open(struct tmfifo *fifo, const struct vdpa_attrs *attrs, struct stream **ret)
{
	struct console *con = calloc(1, sizeof(*con));
	int err;

	if (!con)
		return -ENOMEM;
	err = stream_init(&con->stream, &stream_ops, attrs);
	if (err) {
		free(con);
		return err;
	}
	con->fifo = fifo;
	con->stream.open = true;
	con->ch.ops = &channel_ops;
	con->ch.type = VIRTIO_ID_CONSOLE;
	err = bytes_resize(&con->stream.in, TMFIFO_CONSOLE_INPUT);
	if (!err)
		err = tmfifo_attach(fifo, &con->ch);
	if (err) {
		console_free(con);
		return err;
	}
	*ret = &con->stream;
	return 0;
}
