/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The tool's end of the control socket.
 */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <jansson.h>

#include "vdpa/extack.h"

struct client {
	int fd;
	char *in;
	size_t in_len, in_room;
	size_t scanned; /* bytes of `in` that hold no newline */
	json_int_t next_id;
	bool spin; /* show on stderr that we wait */
};

/* 0, -ENOTCONN when no daemon listens: the text says how to start one. */
int client_open(struct client *client, const char *run_dir, struct vdpa_extack *ack);
void client_close(struct client *client);

/*
 * Ask and wait for the answer.  params: borrowed, may be NULL; fds: borrowed.
 * 0, -EREMOTEIO when the daemon refused (the text is its), another errno when the connection broke.
 */
int client_call(struct client *client, const char *method, json_t *params, const int *fds,
		size_t nfds, json_t **ret, struct vdpa_extack *ack);

/* The next message, whatever it is.  timeout_ms: -1 for ever.  1, 0 in time nothing, -ECONNRESET at
 * the end. */
int client_receive(struct client *client, int timeout_ms, json_t **ret, struct vdpa_extack *ack);

/* Does the daemon open files and make sockets for us?  Its own user and root. */
bool client_trusted(const struct client *client);

/* Wait until the daemon's process is gone. */
void client_wait_exit(struct client *client);

#endif
