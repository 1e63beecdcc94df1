/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket: JSON-RPC 2.0, one object a line, file descriptors beside it.  Many clients,
 * none of which is trusted to read, to write, or to speak sense:
 *
 * - a line has at most CONTROL_LINE_MAX bytes and CONTROL_DEPTH_MAX levels;
 * - a client has at most CONTROL_CALLS_MAX requests under way and CONTROL_OUT_MAX bytes to read
 * before its next request is looked at;
 * - a client that monitors and does not read loses events, and is told how many.
 *
 * Descriptors belong to the line that they come with.
 */
#ifndef DAEMON_CONTROL_H
#define DAEMON_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <jansson.h>

#include "command/command.h"
#include "vdpa/extack.h"

#define CONTROL_LINE_MAX    65536
#define CONTROL_DEPTH_MAX   16
#define CONTROL_FDS_MAX     16
#define CONTROL_CALLS_MAX   32
#define CONTROL_CLIENTS_MAX 128
#define CONTROL_OUT_MAX     (1u << 20)

struct loop;
struct control;
struct call;

/* Whoever started a command and waits for its end. */
struct call_ops {
	/* Once.  result: taken over, NULL unless err is 0.  The call is gone afterwards. */
	void (*done)(struct call *call, int err, const struct vdpa_extack *ack, json_t *result);
	/* Send events to this caller from now on.  NULL: it has no use for them. */
	void (*monitor)(struct call *call);
	/*
	 * For another process that will answer: a duplicate of the connection (-1 when the caller
	 * has left) and the id of the request (taken over by the receiver, NULL: no answer is
	 * wanted).  What was to be sent before is sent as far as it goes.  done() still follows,
	 * should this process be the one after all.  NULL: nobody waits outside.
	 */
	int (*hand_over)(struct call *call, json_t **id);
};

struct call {
	const struct call_ops *ops;
	/* May have the daemon open files with the daemon's rights. */
	bool trusted;
};

struct control_ops {
	/*
	 * Carry out a command.  params (NULL: none) are checked and borrowed; of the descriptors
	 * those that are taken become -1.  Ends with call->ops->done(), at once or later.
	 */
	void (*run)(void *arg, const struct command *cmd, const json_t *params, int *fds,
		    size_t nfds, struct call *call);
};

int control_alloc(struct loop *loop, const struct control_ops *ops, void *arg,
		  struct control **ret);
/* Closes everything; calls under way end without a reply.  NULL is allowed. */
void control_free(struct control *control);

/* Accept clients from a listening socket.  fd: taken on success. */
int control_listen(struct control *control, int *fd);
/* A client that is connected already.  fd: taken on success. */
int control_add_client(struct control *control, int *fd);
size_t control_num_clients(const struct control *control);
/* Requests under way, of all clients.  NULL is allowed. */
unsigned int control_num_calls(const struct control *control);

/* Tell those who monitor: a notification with this method.  params: borrowed. */
void control_notify(struct control *control, const char *method, json_t *params);

#endif
