/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backend `socket`: one client at a time on a Unix socket, or a client of somebody who listens.
 *
 * A client that comes while another is there waits in the kernel.  Whoever has hung up gives way to
 * the next, even if the guest has not read all that he sent.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "backends/stream/fd.h"
#include "base/defs.h"
#include "bus/bus.h"
#include "vhost_user/socket.h"

#define RECONNECT_MS       1000
#define FIRST_RECONNECT_MS 10
#define ACCEPT_RETRY_NS    100000000ull

struct sock {
	struct stream_fd sfd;
	char *path;
	bool client;
	bool bound; /* the socket file is ours to remove */
	uint32_t max_delay_ms;
	int err; /* of what was done at home while it was opened */

	/* The home's. */
	int listener; /* -1: we are the client */
	struct loop_watch watch;
	struct loop_timer timer;
	uint32_t delay_ms;
	char peer[64]; /* stream.lock */
};

static struct sock *to_sock(struct stream_fd *sfd)
{
	return container_of(sfd, struct sock, sfd);
}

/* ---- who is there; home, lock held */

static int use(struct sock *sock, int fd)
{
	int err = stream_fd_set(&sock->sfd, fd, fd);

	if (err)
		return err;
	vu_socket_peer(fd, sock->peer, sizeof(sock->peer));
	stream_fd_resume(&sock->sfd);
	return 0;
}

static void accept_client(struct sock *sock)
{
	int fd;

	if (sock->sfd.in >= 0 && !sock->sfd.hup)
		return;
	fd = accept4(sock->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0) {
		/* Out of descriptors, say: who waits is not told of again. */
		if (errno != EAGAIN)
			loop_timer_set(stream_fd_loop(&sock->sfd), &sock->timer, ACCEPT_RETRY_NS);
		return;
	}
	stream_fd_unset(&sock->sfd);
	use(sock, fd);
}

static uint32_t first_delay_ms(const struct sock *sock)
{
	return FIRST_RECONNECT_MS < sock->max_delay_ms ? FIRST_RECONNECT_MS : sock->max_delay_ms;
}

static int connect_server(struct sock *sock)
{
	int fd = vu_socket_connect(sock->path, NULL);

	if (fd < 0)
		return fd;
	sock->delay_ms = first_delay_ms(sock);
	stream_fd_unset(&sock->sfd);
	return use(sock, fd);
}

static void connect_later(struct sock *sock)
{
	loop_timer_set(stream_fd_loop(&sock->sfd), &sock->timer, sock->delay_ms * 1000000ull);
	sock->delay_ms =
		sock->delay_ms < sock->max_delay_ms / 2 ? 2 * sock->delay_ms : sock->max_delay_ms;
}

static void on_timer(struct loop_timer *timer)
{
	struct sock *sock = container_of(timer, struct sock, timer);

	pthread_mutex_lock(&sock->sfd.stream.lock);
	if (!sock->client)
		accept_client(sock);
	else if (connect_server(sock))
		connect_later(sock);
	pthread_mutex_unlock(&sock->sfd.stream.lock);
}

static void on_client(struct loop_watch *watch, uint32_t events)
{
	struct sock *sock = container_of(watch, struct sock, watch);

	pthread_mutex_lock(&sock->sfd.stream.lock);
	accept_client(sock);
	pthread_mutex_unlock(&sock->sfd.stream.lock);
}

static void sock_hung_up(struct stream_fd *sfd)
{
	struct sock *sock = to_sock(sfd);

	stream_opened_locked(&sfd->stream, false);
	if (sock->listener >= 0)
		accept_client(sock);
	else
		connect_later(sock);
}

/* One that was accepted in its place has not hung up. */
static void sock_drained(struct stream_fd *sfd)
{
	if (sfd->hup)
		stream_fd_unset(sfd);
}

/* ---- start and stop */

static int listen_at(struct sock *sock, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	const struct vu_socket_config cfg = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};

	sock->listener = vdpa_attrs_take_fd(attrs, "socket");
	if (sock->listener >= 0)
		return vu_socket_check(sock->listener, ack);
	sock->listener = vu_socket_listen(sock->path, &cfg, ack);
	if (sock->listener < 0)
		return sock->listener;
	sock->bound = true;
	return 0;
}

static void start(void *arg)
{
	struct sock *sock = arg;

	pthread_mutex_lock(&sock->sfd.stream.lock);
	if (sock->client) {
		if (connect_server(sock))
			connect_later(sock);
	} else {
		sock->err = loop_watch_add(stream_fd_loop(&sock->sfd), &sock->watch, sock->listener,
					   EPOLLIN | EPOLLET);
	}
	pthread_mutex_unlock(&sock->sfd.stream.lock);
}

static void sock_stop(struct stream_fd *sfd)
{
	struct sock *sock = to_sock(sfd);

	loop_watch_del(&sock->watch);
	loop_timer_cancel(&sock->timer);
}

static void sock_free(struct sock *sock)
{
	if (sock->bound)
		unlink(sock->path);
	fd_closep(&sock->listener);
	free(sock->path);
	free(sock);
}

static void sock_close(struct stream *stream)
{
	struct sock *sock = container_of(stream, struct sock, sfd.stream);

	stream_fd_close(&sock->sfd);
	sock_free(sock);
}

static void sock_show(struct stream *stream, struct vdpa_info *info)
{
	struct sock *sock = container_of(stream, struct sock, sfd.stream);

	vdpa_info_str(info, "socket", sock->path);
	if (stream->open)
		vdpa_info_str(info, "peer", sock->peer);
}

static const struct stream_ops sock_ops = {
	.name = "socket",
	.close = sock_close,
	.show = sock_show,
	.push = stream_fd_push,
	.pull = stream_fd_pull,
};

/* What the user names, for ports behind the first with their number; else a place of our own. */
static int choose_path(struct sock *sock, const struct stream_open *open, struct vdpa_extack *ack)
{
	const char *given = vdpa_attrs_str(open->attrs, "socket", NULL);
	char name[PATH_MAX], path[PATH_MAX];
	int err = stream_port_name(given ? given : "console.sock", open->port, name, sizeof(name));

	if (!err && !given)
		err = bus_device_path(open->bus, open->name, name, path, sizeof(path));
	if (err == -ENOENT)
		return vdpa_extack_set(ack, -EINVAL, "backend 'socket' needs 'socket', the path");
	if (err)
		return vdpa_extack_set(ack, err, "no place for the socket");
	sock->path = strdup(given ? name : path);
	return sock->path ? 0 : -ENOMEM;
}

/* One that came along is that of the first port; a place of our own is nobody's choice. */
static bool may_use_path(const struct sock *sock, const struct stream_open *open)
{
	return !vdpa_attrs_names_forbidden(open->attrs) || !vdpa_attrs_has(open->attrs, "socket") ||
	       (!sock->client && !open->port);
}

static int prepare(struct sock *sock, const struct stream_open *open, struct vdpa_extack *ack)
{
	int err = choose_path(sock, open, ack);

	if (!err && !may_use_path(sock, open))
		err = stream_refuse_name(sock->path, ack);
	if (!err && !sock->client && vdpa_attrs_has(open->attrs, "reconnect-ms"))
		err = vdpa_extack_set(ack, -EINVAL, "'reconnect-ms' needs 'client on'");
	if (!err && !sock->client)
		err = listen_at(sock, open->attrs, ack);
	return err;
}

int stream_socket_open(const struct stream_open *open, struct stream **ret, struct vdpa_extack *ack)
{
	struct sock *sock = calloc(1, sizeof(*sock));
	int err;

	if (!sock)
		return -ENOMEM;
	sock->listener = -1;
	sock->client = vdpa_attrs_bool(open->attrs, "client", false);
	sock->max_delay_ms = (uint32_t)vdpa_attrs_u64(open->attrs, "reconnect-ms", RECONNECT_MS);
	sock->delay_ms = first_delay_ms(sock);
	sock->watch = LOOP_WATCH_INIT(on_client);
	sock->timer.fn = on_timer;
	sock->sfd.hung_up = sock_hung_up;
	sock->sfd.drained = sock_drained;
	sock->sfd.stop = sock_stop;
	err = prepare(sock, open, ack);
	if (!err)
		err = stream_fd_init(&sock->sfd, &sock_ops, open, ack);
	if (err) {
		sock_free(sock);
		return err;
	}
	stream_fd_at_home(&sock->sfd, start, sock);
	if (sock->err) {
		err = sock->err;
		sock_close(&sock->sfd.stream);
		return vdpa_extack_set(ack, err, "cannot watch the socket");
	}
	*ret = &sock->sfd.stream;
	return 0;
}
