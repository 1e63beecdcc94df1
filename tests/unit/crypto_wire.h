/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests to a crypto device as a driver writes them, in each of the forms.
 * @spec virtio 1.3, 5.9.7.2 and 5.9.7.3
 */
#ifndef UNIT_CRYPTO_WIRE_H
#define UNIT_CRYPTO_WIRE_H

#include <stdint.h>

#include "crypto_vectors.h"

#define WIRE_MAX 4096u

/* Which features were negotiated. */
enum wire_form {
	WIRE_LEGACY, /* none */
	WIRE_REVISION_1,
	WIRE_STATELESS, /* all */
	WIRE_FORMS,
};

extern const uint64_t wire_features[WIRE_FORMS];

struct wire {
	uint8_t data[WIRE_MAX];
	uint32_t len;
};

void wire_u32(struct wire *w, uint32_t value);
void wire_u64(struct wire *w, uint64_t value);
void wire_bytes(struct wire *w, const void *data, uint32_t len);

/* A command that makes a session for the vector, for VIRTIO_CRYPTO_OP_*. */
void wire_create(struct wire *w, enum wire_form form, const struct vector *v, uint32_t op);
void wire_destroy(struct wire *w, enum wire_form form, uint32_t service, uint64_t id);
/*
 * The operation of a vector.  session: of it, else stateless with its key.  in_len: bytes of the
 * result.
 */
void wire_operation(struct wire *w, enum wire_form form, const struct vector *v, uint32_t op,
		    const uint64_t *session, uint32_t *in_len);

#endif
