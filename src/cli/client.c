/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/defs.h"
#include "cli/client.h"
#include "command/rundir.h"

#define FDS_MAX      16
#define SPIN_FIRST   1000
#define SPIN_NEXT    250
#define EXIT_TIMEOUT 10000

int client_open(struct client *client, const char *run_dir, struct vdpa_extack *ack)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char dir[PATH_MAX];
	int err;

	*client = (struct client){.fd = -1, .spin = isatty(STDERR_FILENO)};
	err = rundir_choose(run_dir, dir, ack);
	if (err)
		return err;
	if (snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/" CONTROL_SOCKET, dir) >=
	    (int)sizeof(addr.sun_path))
		return vdpa_extack_set(ack, -ENAMETOOLONG, "'%.150s' is too long for a socket",
				       dir);
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		return -errno;
	if (!connect(client->fd, (struct sockaddr *)&addr, sizeof(addr)))
		return 0;
	err = -errno;
	client_close(client);
	if (err == -ENOENT || err == -ECONNREFUSED || err == -ENOTDIR)
		return vdpa_extack_set(
			ack, -ENOTCONN,
			"no uvdpad runs in '%.80s'; start one: uvdpad --run-dir %.80s", dir, dir);
	return vdpa_extack_set(ack, err, "cannot connect to '%s': %s", addr.sun_path,
			       strerrordesc_np(-err));
}

void client_close(struct client *client)
{
	fd_closep(&client->fd);
	free(client->in);
	client->in = NULL;
	client->in_len = client->in_room = client->scanned = 0;
}

/* ---- sending */

/* The descriptors go with the first byte. */
static int send_all(struct client *client, const char *text, size_t len, const int *fds,
		    size_t nfds)
{
	char control[CMSG_SPACE(FDS_MAX * sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec iov;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;
	ssize_t put;

	if (nfds) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, nfds * sizeof(int));
	}
	while (len) {
		iov = (struct iovec){(char *)text, len};
		put = sendmsg(client->fd, &msg, MSG_NOSIGNAL);
		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return -errno;
		text += put;
		len -= (size_t)put;
		msg.msg_control = NULL;
		msg.msg_controllen = 0;
	}
	return 0;
}

static int send_request(struct client *client, const char *method, json_t *params, const int *fds,
			size_t nfds)
{
	json_t *message;
	char *text;
	size_t len;
	int err;

	message = json_pack("{s:s,s:I,s:s,s:O*}", "jsonrpc", "2.0", "id", ++client->next_id,
			    "method", method, "params", params);
	text = message ? json_dumps(message, JSON_COMPACT) : NULL;
	json_decref(message);
	if (!text)
		return -ENOMEM;
	len = strlen(text);
	/* The newline takes the place of the NUL. */
	text[len] = '\n';
	err = nfds > FDS_MAX ? -E2BIG : send_all(client, text, len + 1, fds, nfds);
	free(text);
	return err;
}

/* ---- receiving */

/* Takes one line from the buffer.  1, 0 when there is none, -errno. */
static int take_line(struct client *client, json_t **ret, struct vdpa_extack *ack)
{
	char *end = client->in_len ? memchr(client->in + client->scanned, '\n',
					    client->in_len - client->scanned)
				   : NULL;
	json_error_t error;
	size_t len;

	client->scanned = client->in_len;
	if (!end)
		return 0;
	len = (size_t)(end - client->in);
	*ret = json_loadb(client->in, len, 0, &error);
	client->in_len -= len + 1;
	client->scanned = 0;
	memmove(client->in, end + 1, client->in_len);
	return *ret ? 1 : vdpa_extack_set(ack, -EPROTO, "no JSON from the daemon: %s", error.text);
}

static int read_more(struct client *client, struct vdpa_extack *ack)
{
	size_t room = client->in_room ? 2 * client->in_room : 65536;
	ssize_t got;
	char *in;

	if (client->in_len == client->in_room) {
		in = realloc(client->in, room);
		if (!in)
			return -ENOMEM;
		client->in = in;
		client->in_room = room;
	}
	got = recv(client->fd, client->in + client->in_len, client->in_room - client->in_len, 0);
	if (got < 0)
		return errno == EINTR ? 0 : -errno;
	if (got == 0)
		return vdpa_extack_set(ack, -ECONNRESET, "uvdpad has closed the connection");
	client->in_len += (size_t)got;
	return 0;
}

int client_receive(struct client *client, int timeout_ms, json_t **ret, struct vdpa_extack *ack)
{
	struct pollfd pollfd = {.fd = client->fd, .events = POLLIN};
	int got, err;

	for (;;) {
		got = take_line(client, ret, ack);
		if (got)
			return got;
		got = poll(&pollfd, 1, timeout_ms);
		if (got == 0)
			return 0;
		if (got < 0 && errno != EINTR)
			return -errno;
		err = got < 0 ? 0 : read_more(client, ack);
		if (err)
			return err;
	}
}

static void spin(unsigned int step)
{
	fprintf(stderr, "\r%c", "|/-\\"[step % 4]);
	fflush(stderr);
}

/* Waits for the reply with our number; shows that it does after a second. */
static int wait_reply(struct client *client, json_t **ret, struct vdpa_extack *ack)
{
	unsigned int step = 0;
	int got;

	for (;;) {
		got = client_receive(client,
				     !client->spin ? -1
				     : step        ? SPIN_NEXT
						   : SPIN_FIRST,
				     ret, ack);
		if (got == 0)
			spin(step++);
		if (got > 0 && json_integer_value(json_object_get(*ret, "id")) != client->next_id) {
			json_decref(*ret);
			continue;
		}
		if (got) {
			if (step)
				fputs("\r \r", stderr);
			return got < 0 ? got : 0;
		}
	}
}

int client_call(struct client *client, const char *method, json_t *params, const int *fds,
		size_t nfds, json_t **ret, struct vdpa_extack *ack)
{
	json_t *reply = NULL, *error;
	int err;

	err = send_request(client, method, params, fds, nfds);
	if (err)
		return vdpa_extack_set(ack, err, "cannot write to uvdpad: %s",
				       strerrordesc_np(-err));
	err = wait_reply(client, &reply, ack);
	if (err)
		return err;
	error = json_object_get(reply, "error");
	if (error) {
		const char *text = json_string_value(json_object_get(error, "message"));

		err = vdpa_extack_set(ack, -EREMOTEIO, "%s", text ? text : "refused");
	} else if (ret) {
		*ret = json_incref(json_object_get(reply, "result"));
	}
	json_decref(reply);
	return err;
}

bool client_trusted(const struct client *client)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return !geteuid() || (!getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) &&
			      cred.uid == geteuid());
}

void client_wait_exit(struct client *client)
{
	struct pollfd pollfd = {.events = POLLIN};
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(client->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return;
	pollfd.fd = (int)syscall(SYS_pidfd_open, cred.pid, 0);
	if (pollfd.fd < 0)
		return;
	poll(&pollfd, 1, EXIT_TIMEOUT);
	close(pollfd.fd);
}
