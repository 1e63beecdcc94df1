/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "daemon/control.h"
#include "daemon/json_info.h"
#include "daemon/rpc.h"

#define RPC_ID_MAX 128

/* Is the text nested deeper than we want our parser to recurse? */
static bool too_deep(const char *text, size_t len)
{
	unsigned int depth = 0;
	bool quoted = false;

	for (size_t i = 0; i < len; i++) {
		if (quoted) {
			if (text[i] == '\\')
				i++;
			else if (text[i] == '"')
				quoted = false;
		} else if (text[i] == '"') {
			quoted = true;
		} else if (text[i] == '{' || text[i] == '[') {
			if (++depth > CONTROL_DEPTH_MAX)
				return true;
		} else if ((text[i] == '}' || text[i] == ']') && depth) {
			depth--;
		}
	}
	return false;
}

static bool good_id(const json_t *id)
{
	return json_is_integer(id) || json_is_null(id) ||
	       (json_is_string(id) && json_string_length(id) <= RPC_ID_MAX);
}

/* Each descriptor is named by one attribute, once. */
static int check_indices(const json_t *params, size_t nfds, struct vdpa_extack *ack)
{
	uint32_t seen = 0;
	size_t num = 0;
	const char *key;
	json_t *value;

	json_object_foreach(json_object_get(params, "fds"), key, value)
	{
		json_int_t index = json_integer_value(value);

		if (index >= (json_int_t)nfds)
			return vdpa_extack_set(
				ack, -EINVAL,
				"'fds': '%.64s' is descriptor %lld, but %zu came along", key,
				(long long)index, nfds);
		if (seen & (1u << index))
			return vdpa_extack_set(ack, -EINVAL,
					       "'fds': descriptor %lld is named twice",
					       (long long)index);
		seen |= 1u << index;
		num++;
	}
	if (num != nfds)
		return vdpa_extack_set(ack, -EINVAL,
				       "%zu descriptors came along, %zu are named in 'fds'", nfds,
				       num);
	return 0;
}

static int parse_root(struct rpc_request *ret, size_t nfds, struct vdpa_extack *ack)
{
	const json_t *version = json_object_get(ret->root, "jsonrpc");
	const json_t *method = json_object_get(ret->root, "method");
	json_t *id = json_object_get(ret->root, "id");

	if (id && !good_id(id)) {
		vdpa_extack_set(ack, -EINVAL,
				"'id' must be a number, null or a string of at most %d bytes",
				RPC_ID_MAX);
		return RPC_INVALID;
	}
	if (id)
		ret->id = json_incref(id);
	if (!json_is_string(version) || strcmp(json_string_value(version), "2.0") ||
	    !json_is_string(method)) {
		/* Without a method it is no notification either. */
		if (!ret->id)
			ret->id = json_null();
		vdpa_extack_set(ack, -EINVAL, "'jsonrpc' must be \"2.0\" and 'method' a string");
		return RPC_INVALID;
	}
	ret->cmd = command_by_method(json_string_value(method));
	if (!ret->cmd) {
		vdpa_extack_set(ack, -EINVAL, "unknown method '%.64s'", json_string_value(method));
		return RPC_METHOD;
	}
	ret->params = json_object_get(ret->root, "params");
	if (command_check(ret->cmd, ret->params, ack) || check_indices(ret->params, nfds, ack))
		return RPC_PARAMS;
	return 0;
}

int rpc_parse(const char *line, size_t len, size_t nfds, struct rpc_request *ret,
	      struct vdpa_extack *ack)
{
	json_error_t error;
	int code;

	memset(ret, 0, sizeof(*ret));
	if (too_deep(line, len)) {
		vdpa_extack_set(ack, -EINVAL, "nested deeper than %d", CONTROL_DEPTH_MAX);
		ret->id = json_null();
		return RPC_PARSE;
	}
	ret->root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	if (!ret->root) {
		vdpa_extack_set(ack, -EINVAL, "%s at byte %d", error.text, error.position);
		ret->id = json_null();
		return RPC_PARSE;
	}
	if (!json_is_object(ret->root)) {
		vdpa_extack_set(ack, -EINVAL, "a request must be one object");
		ret->id = json_null();
		return RPC_INVALID;
	}
	code = parse_root(ret, nfds, ack);
	if (code == RPC_INVALID && !ret->id)
		ret->id = json_null();
	return code;
}

void rpc_clear(struct rpc_request *request)
{
	json_decref(request->id);
	json_decref(request->root);
	memset(request, 0, sizeof(*request));
}

json_t *rpc_result(json_t *id, json_t *result)
{
	return json_pack("{s:s,s:O,s:o}", "jsonrpc", "2.0", "id", id, "result",
			 result ? result : json_object());
}

json_t *rpc_error(json_t *id, int code, int err, const char *text)
{
	json_t *error = json_pack("{s:i,s:o}", "code", code, "message", json_text(text));
	const char *name = err ? strerrorname_np(abs(err)) : NULL;

	if (error && name)
		json_object_set_new(error, "data",
				    json_pack("{s:i,s:s}", "errno", abs(err), "name", name));
	return json_pack("{s:s,s:O,s:o}", "jsonrpc", "2.0", "id", id, "error", error);
}

json_t *rpc_notification(const char *method, json_t *params)
{
	return json_pack("{s:s,s:s,s:O}", "jsonrpc", "2.0", "method", method, "params", params);
}
