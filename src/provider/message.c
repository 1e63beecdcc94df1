/* SPDX-License-Identifier: BSD-2-Clause */
#include "provider/message.h"

#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "vdpa/crypto.h"

#define ROOM_MIN 4096u

static bool grow(struct message *message, size_t len)
{
	size_t room = message->room ? message->room : ROOM_MIN;
	uint8_t *more;

	while (room < len)
		room *= 2;
	if (room == message->room)
		return true;
	more = malloc(room);
	if (!more)
		return false;
	if (message->data) {
		memcpy(more, message->data, message->len);
		explicit_bzero(message->data, message->room);
		free(message->data);
	}
	message->data = more;
	message->room = room;
	return true;
}

bool message_add(struct message *message, struct vdpa_crypto *crypto, const void *data, size_t len)
{
	if (message->lost || !range_fits(message->len, len, vdpa_crypto_info(crypto)->max_size) ||
	    !grow(message, message->len + len)) {
		message->lost = true;
		return false;
	}
	if (len)
		memcpy(message->data + message->len, data, len);
	message->len += len;
	return true;
}

void message_clear(struct message *message)
{
	message->len = 0;
	message->lost = false;
}

void message_release(struct message *message)
{
	if (message->data)
		explicit_bzero(message->data, message->room);
	free(message->data);
	*message = (struct message){0};
}

bool message_run(const struct message *message, struct vdpa_crypto *crypto,
		 const struct vdpa_crypto_params *params, uint32_t opcode, void *out, size_t len)
{
	struct vdpa_crypto_op op = {
		.opcode = opcode,
		.src = message->data,
		.src_len = (uint32_t)message->len,
		.dst = out,
		.dst_room = (uint32_t)len,
	};
	uint64_t session;
	int err;

	if (message->lost || vdpa_crypto_session(crypto, params, &session, NULL))
		return false;
	err = vdpa_crypto_run(crypto, session, &op, NULL);
	vdpa_crypto_end(crypto, session);
	return !err && op.dst_len == len;
}
