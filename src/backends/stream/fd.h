/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stream whose other end is a descriptor, or two.  It is watched by one worker of the bus, its
 * home, whatever serves the user's queues: so the other end comes and goes while no queue runs.
 */
#ifndef BACKENDS_STREAM_FD_H
#define BACKENDS_STREAM_FD_H

#include <sys/epoll.h>

#include "backends/stream/stream.h"
#include "loop/loop.h"

struct stream_fd;

struct stream_fd {
	struct stream stream;
	/* The other end hung up; what it sent before may still be read.  Home, lock held. */
	void (*hung_up)(struct stream_fd *sfd);
	/* After a hang-up: nothing is left to be read.  Home, lock held.  Optional. */
	void (*drained)(struct stream_fd *sfd);
	/* It is being closed: nothing may call it any more.  Home, without the lock.  Optional. */
	void (*stop)(struct stream_fd *sfd);
	struct vdpa_bus *bus;
	struct vdpa_worker *home;
	struct loop_watch in_watch, out_watch;
	struct loop_call end_call;

	/* stream.lock; changed by the home only. */
	int in, out; /* -1: none; the same, or two */
	bool hup;
	bool readable; /* as far as is known */
	bool ended;    /* nothing more comes */
};

/* Chooses the home.  0 or -errno; on success stream_fd_close() is due. */
int stream_fd_init(struct stream_fd *sfd, const struct stream_ops *ops,
		   const struct stream_open *open, struct vdpa_extack *ack);
/* Run fn(arg) at home and wait.  Lane, without the lock. */
void stream_fd_at_home(struct stream_fd *sfd, void (*fn)(void *arg), void *arg);
struct loop *stream_fd_loop(const struct stream_fd *sfd);
/* Close what is there, and release all but the memory.  Lane, without the lock. */
void stream_fd_close(struct stream_fd *sfd);

/*
 * Use these non-blocking descriptors from now on; they belong to the stream.  0 or -errno, and both
 * are closed.  Home, lock held.
 */
int stream_fd_set(struct stream_fd *sfd, int in, int out);
/* Close them.  Home, lock held. */
void stream_fd_unset(struct stream_fd *sfd);
/* The other end is there again, on the same descriptors.  Home, lock held. */
void stream_fd_resume(struct stream_fd *sfd);

/* For struct stream_ops. */
void stream_fd_push(struct stream *stream);
void stream_fd_pull(struct stream *stream);

#endif
