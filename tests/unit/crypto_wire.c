/* SPDX-License-Identifier: BSD-2-Clause */
#include "crypto_wire.h"

#include <endian.h>
#include <linux/virtio_crypto.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#define CTRL_HEADER 16u
#define CTRL_LEGACY (CTRL_HEADER + 56u)
#define DATA_HEADER 24u
#define DATA_LEGACY (DATA_HEADER + 48u)

const uint64_t wire_features[WIRE_FORMS] = {
	[WIRE_LEGACY] = 0,
	[WIRE_REVISION_1] = 1,
	[WIRE_STATELESS] = 0x3f,
};

void wire_bytes(struct wire *w, const void *data, uint32_t len)
{
	assert_true(len <= WIRE_MAX - w->len);
	memcpy(w->data + w->len, data, len);
	w->len += len;
}

void wire_u32(struct wire *w, uint32_t value)
{
	value = htole32(value);
	wire_bytes(w, &value, sizeof(value));
}

void wire_u64(struct wire *w, uint64_t value)
{
	value = htole64(value);
	wire_bytes(w, &value, sizeof(value));
}

/* Up to this many bytes. */
static void pad(struct wire *w, uint32_t len)
{
	while (w->len < len)
		wire_bytes(w, "", 1);
}

/* ---- commands */

static void begin_command(struct wire *w, uint32_t opcode)
{
	w->len = 0;
	wire_u32(w, opcode);
	pad(w, CTRL_HEADER);
}

static void put_words(struct wire *w, const uint32_t *words, size_t num)
{
	for (size_t i = 0; i < num; i++)
		wire_u32(w, words[i]);
}

#define WORDS(w, ...)                                                                              \
	put_words(w, (const uint32_t[]){__VA_ARGS__},                                              \
		  sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

void wire_create(struct wire *w, enum wire_form form, const struct vector *v, uint32_t op)
{
	begin_command(w, VIRTIO_CRYPTO_OPCODE(v->service, 2));
	switch (v->service) {
	case VIRTIO_CRYPTO_SERVICE_CIPHER:
		WORDS(w, v->algo, v->key.len, op, 0);
		pad(w, CTRL_HEADER + 48);
		WORDS(w, VIRTIO_CRYPTO_SYM_OP_CIPHER, 0);
		break;
	case VIRTIO_CRYPTO_SERVICE_HASH:
		WORDS(w, v->algo, v->out.len);
		break;
	case VIRTIO_CRYPTO_SERVICE_MAC:
		WORDS(w, v->algo, v->out.len, v->key.len, 0);
		break;
	case VIRTIO_CRYPTO_SERVICE_AEAD:
		WORDS(w, v->algo, v->key.len, v->tag.len, v->aad.len, op, 0);
		break;
	}
	if (form == WIRE_LEGACY)
		pad(w, CTRL_LEGACY);
	wire_bytes(w, v->key.data, v->key.len);
}

void wire_destroy(struct wire *w, enum wire_form form, uint32_t service, uint64_t id)
{
	begin_command(w, VIRTIO_CRYPTO_OPCODE(service, 3));
	wire_u64(w, id);
	if (form == WIRE_LEGACY)
		pad(w, CTRL_LEGACY);
}

/* ---- operations */

static void put_lengths(struct wire *w, const struct vector *v, uint32_t op, bool stateless,
			uint32_t src_len, uint32_t in_len)
{
	switch (v->service) {
	case VIRTIO_CRYPTO_SERVICE_CIPHER:
		if (stateless)
			WORDS(w, v->algo, v->key.len, op);
		WORDS(w, v->iv.len, src_len, in_len, 0);
		pad(w, DATA_HEADER + (stateless ? 72 : 40));
		WORDS(w, VIRTIO_CRYPTO_SYM_OP_CIPHER);
		if (!stateless)
			WORDS(w, 0);
		break;
	case VIRTIO_CRYPTO_SERVICE_HASH:
		if (stateless)
			WORDS(w, v->algo);
		WORDS(w, src_len, in_len);
		if (stateless)
			WORDS(w, 0);
		break;
	case VIRTIO_CRYPTO_SERVICE_MAC:
		if (stateless)
			WORDS(w, v->algo, v->key.len);
		WORDS(w, src_len, in_len);
		break;
	case VIRTIO_CRYPTO_SERVICE_AEAD:
		if (stateless)
			WORDS(w, v->algo, v->key.len, op, v->iv.len, v->tag.len, v->aad.len,
			      src_len, in_len);
		else
			WORDS(w, v->iv.len, v->aad.len, src_len, in_len, v->tag.len, 0);
		break;
	}
}

void wire_operation(struct wire *w, enum wire_form form, const struct vector *v, uint32_t op,
		    const uint64_t *session, uint32_t *in_len)
{
	bool decrypt = op == VIRTIO_CRYPTO_OP_DECRYPT;
	const struct vector_bytes *src = decrypt ? &v->out : &v->in;
	bool aead = v->service == VIRTIO_CRYPTO_SERVICE_AEAD;
	uint32_t src_len = src->len + (aead && decrypt ? v->tag.len : 0);

	*in_len = decrypt ? v->in.len : v->out.len + v->tag.len;
	w->len = 0;
	WORDS(w, VIRTIO_CRYPTO_OPCODE(v->service, decrypt), v->algo);
	wire_u64(w, session ? *session : 0);
	WORDS(w, session && form != WIRE_LEGACY, 0);
	put_lengths(w, v, op, form == WIRE_STATELESS, src_len, *in_len);
	if (form == WIRE_LEGACY)
		pad(w, DATA_LEGACY);
	if (!session)
		wire_bytes(w, v->key.data, v->key.len);
	wire_bytes(w, v->iv.data, v->iv.len);
	wire_bytes(w, src->data, src->len);
	if (aead && decrypt)
		wire_bytes(w, v->tag.data, v->tag.len);
	wire_bytes(w, v->aad.data, v->aad.len);
}
