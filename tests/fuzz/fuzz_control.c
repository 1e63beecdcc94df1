/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a client of the control socket may send: lines in any pieces, with or without descriptors.
 * A byte 0xff (which no JSON text has) ends a piece; the byte after it says how many descriptors go
 * with the next one.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/defs.h"
#include "daemon/control.h"
#include "loop/loop.h"

#define PIECE_END 0xff

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void answer(void *arg, const struct command *cmd, const json_t *params, int *fds,
		   size_t nfds, struct call *call)
{
	char usage[COMMAND_USAGE_LEN];

	command_usage(cmd, usage);
	/* One that takes a descriptor, one that leaves it. */
	if (nfds > 1)
		close(fd_take(&fds[0]));
	if (!strcmp(cmd->words[0], "monitor"))
		call->ops->monitor(call);
	call->ops->done(call, 0, NULL, json_pack("{s:s,s:O*}", "usage", usage, "params", params));
}

static void send_piece(int fd, const uint8_t *data, size_t len, size_t nfds)
{
	char control[CMSG_SPACE(32 * sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec iov = {(void *)data, len};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	struct cmsghdr *cmsg;
	int passed = STDERR_FILENO;

	if (nfds) {
		msg.msg_control = control;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&msg);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		for (size_t i = 0; i < nfds; i++)
			memcpy(CMSG_DATA(cmsg) + i * sizeof(int), &passed, sizeof(int));
	}
	(void)!sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void settle(struct loop *loop, int fd)
{
	char buf[4096];

	do {
		while (loop_dispatch(loop, 0) > 0)
			;
	} while (recv(fd, buf, sizeof(buf), MSG_DONTWAIT) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct control_ops ops = {.run = answer};
	struct control *control;
	struct loop *loop;
	const uint8_t *end;
	size_t nfds = 0, piece;
	int fds[2];

	if (loop_alloc(&loop) || control_alloc(loop, &ops, NULL, &control) ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		abort();
	if (control_add_client(control, &fds[1]))
		abort();
	while (len) {
		end = memchr(data, PIECE_END, len);
		piece = end ? (size_t)(end - data) : len;
		if (piece)
			send_piece(fds[0], data, piece, nfds);
		settle(loop, fds[0]);
		nfds = end && piece + 1 < len ? data[piece + 1] % 32 : 0;
		piece += end ? (piece + 1 < len ? 2 : 1) : 0;
		data += piece;
		len -= piece;
	}
	close(fds[0]);
	while (loop_dispatch(loop, 0) > 0)
		;
	control_free(control);
	loop_free(loop);
	return 0;
}
