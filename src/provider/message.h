/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a device does at once and OpenSSL hands over in pieces: gathered first, and refused when it
 * is longer than the device takes.
 */
#ifndef PROVIDER_MESSAGE_H
#define PROVIDER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vdpa_crypto;
struct vdpa_crypto_params;

struct message {
	uint8_t *data;
	size_t len, room;
	bool lost; /* a part was refused: there is no result of the whole */
};

/* False when it does not fit, from then on: not everybody looks at what an update returns. */
bool message_add(struct message *message, struct vdpa_crypto *crypto, const void *data, size_t len);
void message_clear(struct message *message);
/* Wipe it.  It is as a new one. */
void message_release(struct message *message);
/* A session for one operation on all of it, with a result of len bytes. */
bool message_run(const struct message *message, struct vdpa_crypto *crypto,
		 const struct vdpa_crypto_params *params, uint32_t opcode, void *out, size_t len);

#endif
