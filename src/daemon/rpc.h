/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One JSON-RPC 2.0 message: from text to a checked command, and replies.  No input or output here.
 */
#ifndef DAEMON_RPC_H
#define DAEMON_RPC_H

#include <stddef.h>
#include <jansson.h>

#include "command/command.h"
#include "vdpa/extack.h"

/* @spec JSON-RPC 2.0, 5.1; from -32000 on they are the server's. */
#define RPC_PARSE   (-32700)
#define RPC_INVALID (-32600)
#define RPC_METHOD  (-32601)
#define RPC_PARAMS  (-32602)
#define RPC_REFUSED (-32000)

struct rpc_request {
	json_t *root;
	json_t *id; /* NULL: a notification, no reply; null where it could not be read */
	const struct command *cmd;
	const json_t *params; /* may be NULL */
};

/*
 * Returns 0 or an RPC_ code with the reason; `ret` is valid in both cases, for rpc_clear().
 * nfds: descriptors that came along; each must be named once.
 */
int rpc_parse(const char *line, size_t len, size_t nfds, struct rpc_request *ret,
	      struct vdpa_extack *ack);
void rpc_clear(struct rpc_request *request);

/* Messages to send; NULL: out of memory.  id and params: borrowed; result: taken over. */
json_t *rpc_result(json_t *id, json_t *result);
/* err: an errno that tells more, or 0. */
json_t *rpc_error(json_t *id, int code, int err, const char *text);
json_t *rpc_notification(const char *method, json_t *params);

#endif
