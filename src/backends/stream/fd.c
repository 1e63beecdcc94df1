/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Descriptors are watched for edges: an end that nobody reads from costs nothing until there is
 * news.  Reads and writes are done by whoever wants them, on his thread.
 */
#include "backends/stream/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>

#include "base/defs.h"
#include "bus/bus.h"
#include "loop/worker.h"

static struct stream_fd *to_sfd(struct stream *stream)
{
	return container_of(stream, struct stream_fd, stream);
}

/* ---- bytes */

/* Is somebody expected to hang up, so that the watch says when? */
static bool comes_later(int err)
{
	return err == EAGAIN || err == EPIPE || err == ECONNRESET || err == EIO;
}

void stream_fd_push(struct stream *stream)
{
	struct stream_fd *sfd = to_sfd(stream);
	struct iovec iov[2];
	ssize_t len;

	while (sfd->out >= 0 && stream->out.len) {
		len = writev(sfd->out, iov, bytes_filled(&stream->out, iov));
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 && comes_later(errno))
			return;
		/* It will never be taken (a full disk): nobody shall wait for that. */
		if (len < 0) {
			stream->lost += stream->out.len;
			len = stream->out.len;
		}
		stream_sent_locked(stream, (uint32_t)len);
	}
}

static void end_of_input(struct stream_fd *sfd)
{
	sfd->ended = true;
	if (sfd->hup)
		loop_post(stream_fd_loop(sfd), &sfd->end_call);
}

void stream_fd_pull(struct stream *stream)
{
	struct stream_fd *sfd = to_sfd(stream);
	struct iovec iov[2];
	ssize_t len;

	if (sfd->in < 0 || !sfd->readable || sfd->ended)
		return;
	do {
		len = readv(sfd->in, iov, bytes_free(&stream->in, iov));
	} while (len < 0 && errno == EINTR);
	if (len > 0) {
		bytes_added(&stream->in, (uint32_t)len);
		return;
	}
	sfd->readable = false;
	/* EIO: a terminal that nobody has open; somebody may. */
	if (!len || (errno != EAGAIN && errno != EIO))
		end_of_input(sfd);
}

/* ---- news; home */

static void on_end(struct loop_call *call)
{
	struct stream_fd *sfd = container_of(call, struct stream_fd, end_call);

	pthread_mutex_lock(&sfd->stream.lock);
	if (sfd->hup && sfd->ended && sfd->drained)
		sfd->drained(sfd);
	pthread_mutex_unlock(&sfd->stream.lock);
}

static void hang_up(struct stream_fd *sfd)
{
	struct stream *stream = &sfd->stream;

	if (sfd->hup)
		return;
	sfd->hup = true;
	sfd->hung_up(sfd);
	/* With nothing left to be read that was all, whether the user reads or not. */
	if (!stream->in.len)
		stream_fd_pull(stream);
	if (sfd->ended && sfd->in >= 0 && sfd->drained)
		sfd->drained(sfd);
}

static void on_event(struct stream_fd *sfd, uint32_t events)
{
	pthread_mutex_lock(&sfd->stream.lock);
	if (events & ~(uint32_t)EPOLLOUT) {
		sfd->readable = true;
		stream_readable_locked(&sfd->stream);
	}
	if (events & EPOLLOUT)
		stream_fd_push(&sfd->stream);
	if (events & (EPOLLHUP | EPOLLERR))
		hang_up(sfd);
	pthread_mutex_unlock(&sfd->stream.lock);
}

static void on_in(struct loop_watch *watch, uint32_t events)
{
	struct stream_fd *sfd = container_of(watch, struct stream_fd, in_watch);

	/* Of two descriptors the other one says whether somebody is there: this one may just end.
	 */
	if (sfd->in != sfd->out)
		events = EPOLLIN;
	on_event(sfd, events);
}

static void on_out(struct loop_watch *watch, uint32_t events)
{
	on_event(container_of(watch, struct stream_fd, out_watch), events);
}

void stream_fd_resume(struct stream_fd *sfd)
{
	sfd->hup = sfd->ended = false;
	sfd->readable = true;
	stream_opened_locked(&sfd->stream, true);
	stream_readable_locked(&sfd->stream);
}

/* A file is always ready, and cannot be watched. */
static int watch(struct stream_fd *sfd, struct loop_watch *watch, int fd, uint32_t events)
{
	int err = loop_watch_add(stream_fd_loop(sfd), watch, fd, events | EPOLLET);

	return err == -EPERM ? 0 : err;
}

int stream_fd_set(struct stream_fd *sfd, int in, int out)
{
	bool both = in == out;
	int err;

	sfd->in = in;
	sfd->out = out;
	err = watch(sfd, &sfd->in_watch, in, EPOLLIN | EPOLLRDHUP | (both ? EPOLLOUT : 0));
	if (!err && !both)
		err = watch(sfd, &sfd->out_watch, out, EPOLLOUT);
	sfd->hup = sfd->ended = sfd->readable = false;
	if (err)
		stream_fd_unset(sfd);
	return err;
}

void stream_fd_unset(struct stream_fd *sfd)
{
	loop_watch_del(&sfd->in_watch);
	loop_watch_del(&sfd->out_watch);
	if (sfd->out != sfd->in)
		fd_closep(&sfd->out);
	fd_closep(&sfd->in);
	sfd->out = -1;
	stream_opened_locked(&sfd->stream, false);
}

/* ---- the whole */

int stream_fd_init(struct stream_fd *sfd, const struct stream_ops *ops,
		   const struct stream_open *open, struct vdpa_extack *ack)
{
	int err;

	sfd->bus = open->bus;
	sfd->in = sfd->out = -1;
	sfd->in_watch = LOOP_WATCH_INIT(on_in);
	sfd->out_watch = LOOP_WATCH_INIT(on_out);
	sfd->end_call.fn = on_end;
	err = stream_init(&sfd->stream, ops, open->attrs);
	if (err)
		return err;
	sfd->home = vdpa_worker_pick(open->bus);
	if (sfd->home)
		return 0;
	stream_release(&sfd->stream);
	return vdpa_extack_set(ack, -EAGAIN, "there is no worker to watch the other end");
}

struct loop *stream_fd_loop(const struct stream_fd *sfd)
{
	return worker_loop(vdpa_worker_thread(sfd->home));
}

void stream_fd_at_home(struct stream_fd *sfd, void (*fn)(void *arg), void *arg)
{
	worker_call(vdpa_worker_thread(sfd->home), fn, arg);
}

static void close_at_home(void *arg)
{
	struct stream_fd *sfd = arg;

	if (sfd->stop)
		sfd->stop(sfd);
	pthread_mutex_lock(&sfd->stream.lock);
	/* What can be sent at once still goes. */
	if (sfd->stream.open)
		stream_fd_push(&sfd->stream);
	stream_fd_unset(sfd);
	pthread_mutex_unlock(&sfd->stream.lock);
	loop_call_cancel(stream_fd_loop(sfd), &sfd->end_call);
}

void stream_fd_close(struct stream_fd *sfd)
{
	stream_fd_at_home(sfd, close_at_home, sfd);
	vdpa_worker_unpick(sfd->home);
	stream_release(&sfd->stream);
}
