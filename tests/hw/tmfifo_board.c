/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A board with a TmFIFO: the hardware, and the computer at its other end.
 *
 *	tmfifo-board SOCKET CONSOLE [TAP]
 *
 * A driver gets the hardware from SOCKET (tmfifo_plugin.c).  What it sends to the console goes to
 * whoever is connected to the socket CONSOLE, or with `echo` comes back.  Frames go to and come
 *from an interface, which is made.  What was in the FIFOs stays there when a driver goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/defs.h"
#include "tmfifo_end.h"

#define FRAME_MAX   9018
#define CONSOLE_MSG 1024       /* bytes of a message */
#define BUFFER      (1u << 20) /* bytes that wait for either end of the console; more are lost */

struct buffer {
	uint8_t bytes[BUFFER];
	uint32_t len;
};

struct board {
	struct tmfifo_end end;
	struct buffer to_driver, to_client; /* of the console */
	int drivers, consoles;              /* listening; -1: none */
	int client, tap;                    /* -1: none */
	bool echo;
	bool console_next; /* whose turn it is to send */
};

static void fatal(const char *what)
{
	fprintf(stderr, "tmfifo-board: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- buffers */

static void append(struct buffer *buf, const uint8_t *data, uint32_t len)
{
	uint32_t room = BUFFER - buf->len;

	if (len > room)
		len = room;
	memcpy(buf->bytes + buf->len, data, len);
	buf->len += len;
}

static void drop(struct buffer *buf, uint32_t len)
{
	buf->len -= len;
	memmove(buf->bytes, buf->bytes + len, buf->len);
}

/* ---- from the driver */

static void on_message(struct tmfifo_end *end, uint8_t type, const uint8_t *data, uint32_t len)
{
	struct board *board = container_of(end, struct board, end);

	if (type == TMFIFO_END_CONSOLE)
		append(board->echo ? &board->to_driver : &board->to_client, data, len);
	else if (board->tap >= 0)
		(void)!write(board->tap, data, len);
}

static void serve_client(struct board *board)
{
	ssize_t len;

	if (board->client < 0 || !board->to_client.len)
		return;
	len = send(board->client, board->to_client.bytes, board->to_client.len,
		   MSG_DONTWAIT | MSG_NOSIGNAL);
	if (len > 0)
		drop(&board->to_client, (uint32_t)len);
}

/* ---- to the driver */

static bool send_console(struct board *board)
{
	uint32_t len = board->to_driver.len < CONSOLE_MSG ? board->to_driver.len : CONSOLE_MSG;

	if (!len)
		return false;
	tmfifo_end_put(&board->end, TMFIFO_END_CONSOLE, board->to_driver.bytes, len);
	drop(&board->to_driver, len);
	return true;
}

static bool send_frame(struct board *board)
{
	uint8_t frame[FRAME_MAX];
	ssize_t len = board->tap < 0 ? -1 : read(board->tap, frame, sizeof(frame));

	if (len <= 0)
		return false;
	tmfifo_end_put(&board->end, TMFIFO_END_NET, frame, (uint32_t)len);
	return true;
}

/* In turn, as long as there is something and room for it. */
static void serve_fifo(struct board *board)
{
	bool more = true;

	while (more) {
		more = tmfifo_end_run(&board->end);
		if (!tmfifo_end_ready(&board->end))
			continue;
		board->console_next = !board->console_next;
		if (board->console_next)
			more |= send_console(board) || send_frame(board);
		else
			more |= send_frame(board) || send_console(board);
	}
}

/* ---- who comes and goes */

static int listen_at(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (strlen(path) >= sizeof(addr.sun_path)) {
		errno = ENAMETOOLONG;
		fatal(path);
	}
	strcpy(addr.sun_path, path);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 4))
		fatal(path);
	return fd;
}

static int open_tap(const char *name)
{
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	struct ifreq req = {.ifr_flags = IFF_TAP | IFF_NO_PI};

	snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", name);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &req))
		fatal(name);
	return fd;
}

static void meet_driver(struct board *board)
{
	int fd = accept4(board->drivers, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	tmfifo_model_send(board->end.model, fd);
	close(fd);
}

static void meet_client(struct board *board)
{
	fd_closep(&board->client);
	board->client = accept4(board->consoles, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static void hear_client(struct board *board)
{
	uint8_t data[4096];
	uint32_t room = BUFFER - board->to_driver.len;
	ssize_t len = read(board->client, data, room < sizeof(data) ? room : sizeof(data));

	if (len > 0)
		append(&board->to_driver, data, (uint32_t)len);
	else if (!len || errno != EAGAIN)
		fd_closep(&board->client);
}

/* ---- all together */

enum { IRQ, DRIVERS, CONSOLES, CLIENT, TAP, NUM_FDS };

static void turn(struct board *board)
{
	bool hears = board->to_driver.len < BUFFER, sends = board->to_client.len;
	struct pollfd fds[NUM_FDS] = {
		[IRQ] = {tmfifo_model_irq(board->end.model, TMFIFO_THEIRS), POLLIN, 0},
		[DRIVERS] = {board->drivers, POLLIN, 0},
		[CONSOLES] = {board->consoles, POLLIN, 0},
		[CLIENT] = {board->client, (hears ? POLLIN : 0) | (sends ? POLLOUT : 0), 0},
		/* What waits for room stays in the interface's queue. */
		[TAP] = {tmfifo_end_ready(&board->end) ? board->tap : -1, POLLIN, 0},
	};

	if (poll(fds, NUM_FDS, -1) < 0 && errno != EINTR)
		fatal("poll");
	if (fds[IRQ].revents)
		tmfifo_model_irq_ack(board->end.model, TMFIFO_THEIRS);
	if (fds[DRIVERS].revents)
		meet_driver(board);
	if (fds[CLIENT].revents & (POLLIN | POLLHUP | POLLERR))
		hear_client(board);
	if (fds[CONSOLES].revents)
		meet_client(board);
	serve_fifo(board);
	serve_client(board);
}

int main(int argc, char **argv)
{
	static struct board board = {.drivers = -1, .consoles = -1, .client = -1, .tap = -1};
	struct tmfifo_model *model;
	int err;

	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: tmfifo-board SOCKET CONSOLE|echo [TAP]\n");
		return 2;
	}
	err = tmfifo_model_alloc(&model);
	if (err) {
		errno = -err;
		fatal("no hardware");
	}
	tmfifo_end_init(&board.end, model);
	board.end.message = on_message;
	board.echo = !strcmp(argv[2], "echo");
	if (!board.echo)
		board.consoles = listen_at(argv[2]);
	if (argc > 3)
		board.tap = open_tap(argv[3]);
	board.drivers = listen_at(argv[1]);
	for (;;)
		turn(&board);
}
