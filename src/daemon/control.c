/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "base/defs.h"
#include "daemon/control.h"
#include "daemon/rpc.h"
#include "loop/loop.h"

#define ACCEPT_RETRY_NS 100000000u

struct client;

/* A request under way. */
struct request {
	struct call call;
	struct client *client; /* NULL: it has left */
	json_t *id;            /* NULL: nobody wants to know */
	LIST_ENTRY(request) entry;
};

struct client {
	struct control *control;
	struct loop_watch watch;
	LIST_ENTRY(client) entry;
	LIST_HEAD(, request) requests;
	unsigned int calls;

	char *in; /* CONTROL_LINE_MAX bytes */
	size_t in_len;
	int fds[CONTROL_FDS_MAX];
	size_t nfds;
	size_t fds_at; /* an offset into the line that they belong to */

	char *out;
	size_t out_len, out_off, out_room;

	bool trusted;
	bool monitor;
	uint64_t lost; /* events that did not fit */
	bool eof;      /* nothing more to read */
	bool dead;     /* to be closed as soon as nobody is inside */
	bool inside;   /* client_work() runs */
	bool told;     /* an event was queued */
};

struct control {
	struct loop *loop;
	const struct control_ops *ops;
	void *arg;
	struct loop_watch listener; /* owns its descriptor */
	struct loop_timer retry;    /* accept again */
	LIST_HEAD(, client) clients;
	size_t nclients;
};

static void client_work(struct client *client);

/* ---- clients come and go */

static void drop_fds(struct client *client)
{
	for (size_t i = 0; i < client->nfds; i++) {
		if (client->fds[i] >= 0)
			close(client->fds[i]);
	}
	client->nfds = 0;
}

static void client_free(struct client *client)
{
	struct request *request;
	int fd = client->watch.fd;

	while ((request = LIST_FIRST(&client->requests))) {
		LIST_REMOVE(request, entry);
		request->client = NULL;
	}
	loop_watch_del(&client->watch);
	if (fd >= 0)
		close(fd);
	drop_fds(client);
	LIST_REMOVE(client, entry);
	client->control->nclients--;
	free(client->in);
	free(client->out);
	free(client);
}

/* ---- output */

static void client_write(struct client *client)
{
	ssize_t put;

	while (client->out_off < client->out_len && !client->dead) {
		put = send(client->watch.fd, client->out + client->out_off,
			   client->out_len - client->out_off, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (put > 0)
			client->out_off += (size_t)put;
		else if (put < 0 && errno == EAGAIN)
			return;
		else if (put == 0 || errno != EINTR)
			client->dead = true;
	}
	client->out_off = client->out_len = 0;
	if (client->out_room > 4096) {
		free(client->out);
		client->out = NULL;
		client->out_room = 0;
	}
}

static int out_reserve(struct client *client, size_t len)
{
	size_t room = client->out_room ? client->out_room : 1024;
	char *out;

	if (client->out_off) {
		memmove(client->out, client->out + client->out_off,
			client->out_len - client->out_off);
		client->out_len -= client->out_off;
		client->out_off = 0;
	}
	while (room < client->out_len + len)
		room *= 2;
	if (room == client->out_room)
		return 0;
	out = realloc(client->out, room);
	if (!out)
		return -ENOMEM;
	client->out = out;
	client->out_room = room;
	return 0;
}

/* Queues a message (taken over) and its newline.  A client whose message is lost cannot go on. */
static void client_send(struct client *client, json_t *message)
{
	char *text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	size_t len = text ? strlen(text) : 0;

	if (!text || out_reserve(client, len + 1)) {
		client->dead = true;
	} else {
		memcpy(client->out + client->out_len, text, len);
		client->out[client->out_len + len] = '\n';
		client->out_len += len + 1;
	}
	free(text);
	json_decref(message);
}

static size_t out_waiting(const struct client *client)
{
	return client->out_len - client->out_off;
}

/* ---- requests */

static void request_done(struct call *call, int err, const struct vdpa_extack *ack, json_t *result)
{
	struct request *request = container_of(call, struct request, call);
	struct client *client = request->client;

	if (client) {
		LIST_REMOVE(request, entry);
		client->calls--;
		if (request->id && err)
			client_send(client, rpc_error(request->id, RPC_REFUSED, err,
						      vdpa_extack_text(ack, err)));
		else if (request->id)
			client_send(client, rpc_result(request->id, json_incref(result)));
	}
	json_decref(result);
	json_decref(request->id);
	free(request);
	if (client)
		client_work(client);
}

static void request_monitor(struct call *call)
{
	struct request *request = container_of(call, struct request, call);

	if (request->client)
		request->client->monitor = true;
}

static int request_hand_over(struct call *call, json_t **id)
{
	struct request *request = container_of(call, struct request, call);
	struct client *client = request->client;

	*id = json_incref(request->id);
	if (!client)
		return -1;
	client_write(client);
	return fcntl(client->watch.fd, F_DUPFD_CLOEXEC, 0);
}

static const struct call_ops request_ops = {
	.done = request_done,
	.monitor = request_monitor,
	.hand_over = request_hand_over,
};

static void client_run(struct client *client, struct rpc_request *rpc, int *fds, size_t nfds)
{
	struct request *request = calloc(1, sizeof(*request));

	if (!request) {
		client->dead = true;
		return;
	}
	request->call.ops = &request_ops;
	request->call.trusted = client->trusted;
	request->client = client;
	request->id = json_incref(rpc->id);
	LIST_INSERT_HEAD(&client->requests, request, entry);
	client->calls++;
	client->control->ops->run(client->control->arg, rpc->cmd, rpc->params, fds, nfds,
				  &request->call);
}

static void client_line(struct client *client, const char *line, size_t len, int *fds, size_t nfds)
{
	struct vdpa_extack ack = {0};
	struct rpc_request rpc;
	int code;

	code = rpc_parse(line, len, nfds, &rpc, &ack);
	if (!code)
		client_run(client, &rpc, fds, nfds);
	else if (rpc.id)
		client_send(client, rpc_error(rpc.id, code, 0, ack.msg));
	rpc_clear(&rpc);
}

/* ---- input */

static void take_fds(struct client *client, struct msghdr *msg)
{
	struct cmsghdr *cmsg;
	int fd;

	for (cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
		if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; CMSG_LEN((i + 1) * sizeof(fd)) <= cmsg->cmsg_len; i++) {
			memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(fd), sizeof(fd));
			if (client->nfds < CONTROL_FDS_MAX)
				client->fds[client->nfds++] = fd;
			else
				close(fd);
		}
	}
	if (client->nfds)
		client->fds_at = client->in_len - (client->in[client->in_len - 1] == '\n');
}

/* Reads once.  Returns whether anything came. */
static bool client_read(struct client *client)
{
	char control[CMSG_SPACE(CONTROL_FDS_MAX * sizeof(int))] __attribute__((aligned(8)));
	struct iovec iov = {client->in + client->in_len, CONTROL_LINE_MAX - client->in_len};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = sizeof(control),
	};
	ssize_t got;

	got = recvmsg(client->watch.fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	if (got < 0) {
		if (errno != EAGAIN && errno != EINTR)
			client->dead = true;
		return false;
	}
	if (got == 0) {
		client->eof = true;
		return false;
	}
	client->in_len += (size_t)got;
	if (msg.msg_controllen)
		take_fds(client, &msg);
	return true;
}

static bool client_full(const struct client *client)
{
	return client->calls >= CONTROL_CALLS_MAX || out_waiting(client) > CONTROL_OUT_MAX;
}

/* Handles the complete lines.  Lines that have to wait stay at the start of the buffer. */
static void client_lines(struct client *client)
{
	size_t start = 0;
	char *end;

	while (!client->dead && !client_full(client)) {
		bool mine;

		end = memchr(client->in + start, '\n', client->in_len - start);
		if (!end)
			break;
		mine = client->nfds && start + client->fds_at <= (size_t)(end - client->in);
		client_line(client, client->in + start, (size_t)(end - client->in) - start,
			    client->fds, mine ? client->nfds : 0);
		if (mine)
			drop_fds(client);
		else if (client->nfds)
			client->fds_at -= (size_t)(end - client->in) + 1 - start;
		start = (size_t)(end - client->in) + 1;
	}
	memmove(client->in, client->in + start, client->in_len - start);
	client->in_len -= start;
	if (client->in_len < CONTROL_LINE_MAX || client_full(client) || client->dead ||
	    memchr(client->in, '\n', client->in_len))
		return;
	client_send(client, rpc_error(json_null(), RPC_PARSE, 0, "the line is too long"));
	client->in_len = 0;
	client->eof = true;
}

static void client_watch(struct client *client)
{
	uint32_t events = 0;

	if (!client->eof && !client_full(client))
		events |= EPOLLIN;
	if (out_waiting(client))
		events |= EPOLLOUT;
	if (client->watch.events != events && loop_watch_set(&client->watch, events))
		client->dead = true;
}

static void tell_lost(struct client *client)
{
	json_t *params;

	if (!client->lost || out_waiting(client) > CONTROL_OUT_MAX / 2)
		return;
	params = json_pack("{s:s,s:I}", "event", "lost", "count", (json_int_t)client->lost);
	client->lost = 0;
	client_send(client, rpc_notification("event", params));
	json_decref(params);
}

/*
 * Do what can be done for a client: handle what it sent, send what it waits for.  A request that
 * ends at once calls this from inside: then the outer one goes on.  The client may be gone
 * afterwards.
 */
static void client_work(struct client *client)
{
	size_t before;

	if (client->inside)
		return;
	client->inside = true;
	do {
		before = client->in_len;
		client_lines(client);
		client_write(client);
		tell_lost(client);
	} while (client->in_len != before && !client->dead);
	client->inside = false;
	if (client->eof && !client->calls && !out_waiting(client) &&
	    (!client->in_len || !memchr(client->in, '\n', client->in_len)))
		client->dead = true;
	if (!client->dead)
		client_watch(client);
	if (client->dead)
		client_free(client);
}

static void client_ready(struct loop_watch *watch, uint32_t events)
{
	struct client *client = container_of(watch, struct client, watch);

	/* Both directions are closed: nobody will read a reply, but what was sent counts. */
	if ((events & EPOLLERR) ||
	    ((events & EPOLLHUP) && (!(events & EPOLLIN) || client_full(client))))
		client->dead = true;
	else if (events & EPOLLIN)
		client_read(client);
	client_work(client);
}

int control_add_client(struct control *control, int *fd)
{
	struct client *client = calloc(1, sizeof(*client));
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int err;

	if (!client)
		return -ENOMEM;
	client->control = control;
	client->watch = LOOP_WATCH_INIT(client_ready);
	LIST_INIT(&client->requests);
	client->in = malloc(CONTROL_LINE_MAX);
	if (!client->in) {
		free(client);
		return -ENOMEM;
	}
	if (!getsockopt(*fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		client->trusted = cred.uid == 0 || cred.uid == geteuid();
	err = loop_watch_add(control->loop, &client->watch, *fd, EPOLLIN);
	if (err) {
		free(client->in);
		free(client);
		return err;
	}
	*fd = -1;
	LIST_INSERT_HEAD(&control->clients, client, entry);
	control->nclients++;
	return 0;
}

/* ---- the listener */

static void turn_away(int fd)
{
	json_t *message = rpc_error(json_null(), RPC_REFUSED, -EUSERS, "too many clients");
	char text[256];
	size_t len = message ? json_dumpb(message, text, sizeof(text) - 1, JSON_COMPACT) : 0;

	if (len && len < sizeof(text)) {
		text[len] = '\n';
		(void)!send(fd, text, len + 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	}
	json_decref(message);
}

static void accept_retry(struct loop_timer *timer)
{
	struct control *control = container_of(timer, struct control, retry);

	if (control->listener.fd >= 0)
		loop_watch_set(&control->listener, EPOLLIN);
}

static void accept_ready(struct loop_watch *watch, uint32_t events)
{
	struct control *control = container_of(watch, struct control, listener);
	int fd vdpa_cleanup(fd_closep) =
		accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		/* Out of descriptors or memory: level-triggered, it would fire for ever. */
		if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {
			loop_watch_set(watch, 0);
			loop_timer_set(control->loop, &control->retry, ACCEPT_RETRY_NS);
		}
		return;
	}
	if (control->nclients >= CONTROL_CLIENTS_MAX)
		turn_away(fd);
	else
		control_add_client(control, &fd);
}

int control_listen(struct control *control, int *fd)
{
	int err = loop_watch_add(control->loop, &control->listener, *fd, EPOLLIN);

	if (!err)
		*fd = -1;
	return err;
}

int control_alloc(struct loop *loop, const struct control_ops *ops, void *arg, struct control **ret)
{
	struct control *control = calloc(1, sizeof(*control));

	if (!control)
		return -ENOMEM;
	control->loop = loop;
	control->ops = ops;
	control->arg = arg;
	control->listener = LOOP_WATCH_INIT(accept_ready);
	control->retry.fn = accept_retry;
	LIST_INIT(&control->clients);
	*ret = control;
	return 0;
}

void control_free(struct control *control)
{
	struct client *client;
	int fd;

	if (!control)
		return;
	fd = control->listener.fd;
	loop_watch_del(&control->listener);
	loop_timer_cancel(&control->retry);
	if (fd >= 0)
		close(fd);
	while ((client = LIST_FIRST(&control->clients)))
		client_free(client);
	free(control);
}

size_t control_num_clients(const struct control *control)
{
	return control->nclients;
}

unsigned int control_num_calls(const struct control *control)
{
	const struct client *client;
	unsigned int num = 0;

	if (!control)
		return 0;
	LIST_FOREACH (client, &control->clients, entry)
		num += client->calls;
	return num;
}

void control_notify(struct control *control, const char *method, json_t *params)
{
	struct client *client;

	LIST_FOREACH (client, &control->clients, entry) {
		if (!client->monitor)
			continue;
		if (client->lost || out_waiting(client) > CONTROL_OUT_MAX)
			client->lost++;
		else
			client_send(client, rpc_notification(method, params));
		client->told = true;
	}
	/* Work may run requests, and with them anything: begin anew each time. */
	do {
		LIST_FOREACH (client, &control->clients, entry) {
			if (client->told)
				break;
		}
		if (client) {
			client->told = false;
			client_work(client);
		}
	} while (client);
}
