/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands of the control queue: sessions begin and end.  @spec virtio 1.3, 5.9.7.2
 */
#include <endian.h>
#include <openssl/crypto.h>
#include <string.h>

#include "parents/soft/crypto.h"

#define HEADER     sizeof(struct virtio_crypto_ctrl_header)
#define LEGACY_FLF 56u

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

/* What is of fixed length, of each command: `at` has all of it.  The key follows. */
typedef uint8_t read_fn(const uint8_t *at, struct crypto_params *params);

static uint8_t read_cipher(const uint8_t *at, struct crypto_params *params)
{
	/* Behind 48 bytes for either kind: chains of cipher and hash are none of ours. */
	if (get32(at + 48) != VIRTIO_CRYPTO_SYM_OP_CIPHER)
		return VIRTIO_CRYPTO_NOTSUPP;
	params->algo = get32(at);
	params->key_len = get32(at + 4);
	params->op = get32(at + 8);
	return VIRTIO_CRYPTO_OK;
}

static uint8_t read_hash(const uint8_t *at, struct crypto_params *params)
{
	params->algo = get32(at);
	params->result_len = get32(at + 4);
	return VIRTIO_CRYPTO_OK;
}

static uint8_t read_mac(const uint8_t *at, struct crypto_params *params)
{
	params->algo = get32(at);
	params->result_len = get32(at + 4);
	params->key_len = get32(at + 8);
	return VIRTIO_CRYPTO_OK;
}

static uint8_t read_aead(const uint8_t *at, struct crypto_params *params)
{
	params->algo = get32(at);
	params->key_len = get32(at + 4);
	params->result_len = get32(at + 8);
	params->op = get32(at + 16);
	return VIRTIO_CRYPTO_OK;
}

static uint8_t read_akcipher(const uint8_t *at, struct crypto_params *params)
{
	params->algo = get32(at);
	params->key_type = get32(at + 4);
	params->key_len = get32(at + 8);
	if (params->algo == VIRTIO_CRYPTO_AKCIPHER_RSA) {
		params->padding = get32(at + 12);
		params->hash = get32(at + 16);
	} else {
		params->curve = get32(at + 12);
	}
	return VIRTIO_CRYPTO_OK;
}

static const struct command {
	uint32_t create, destroy;
	uint32_t flf; /* bytes, of create */
	read_fn *read;
} commands[] = {
	[VIRTIO_CRYPTO_SERVICE_CIPHER] = {VIRTIO_CRYPTO_CIPHER_CREATE_SESSION,
					  VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION, 56, read_cipher},
	[VIRTIO_CRYPTO_SERVICE_HASH] = {VIRTIO_CRYPTO_HASH_CREATE_SESSION,
					VIRTIO_CRYPTO_HASH_DESTROY_SESSION, 8, read_hash},
	[VIRTIO_CRYPTO_SERVICE_MAC] = {VIRTIO_CRYPTO_MAC_CREATE_SESSION,
				       VIRTIO_CRYPTO_MAC_DESTROY_SESSION, 16, read_mac},
	[VIRTIO_CRYPTO_SERVICE_AEAD] = {VIRTIO_CRYPTO_AEAD_CREATE_SESSION,
					VIRTIO_CRYPTO_AEAD_DESTROY_SESSION, 24, read_aead},
	[VIRTIO_CRYPTO_SERVICE_AKCIPHER] = {VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION,
					    VIRTIO_CRYPTO_AKCIPHER_DESTROY_SESSION, 56,
					    read_akcipher},
};

static uint8_t create(struct cryptodev *dev, uint32_t service, const uint8_t *cmd, uint32_t len,
		      bool legacy, uint64_t *id)
{
	uint32_t flf = legacy ? LEGACY_FLF : commands[service].flf;
	struct crypto_params params = {.service = service};
	struct crypto_key *key;
	uint8_t status;

	if (len < HEADER + flf)
		return VIRTIO_CRYPTO_ERR;
	status = commands[service].read(cmd + HEADER, &params);
	if (status != VIRTIO_CRYPTO_OK)
		return status;
	if (params.key_len > len - HEADER - flf)
		return VIRTIO_CRYPTO_ERR;
	params.key = cmd + HEADER + flf;
	status = crypto_key_alloc(dev->lib, &params, &key);
	if (status != VIRTIO_CRYPTO_OK)
		return status;
	status = crypto_sessions_add(&dev->sessions, key, id);
	if (status != VIRTIO_CRYPTO_OK)
		crypto_key_free(key);
	/* The word for it came with revision 1. */
	return status == VIRTIO_CRYPTO_NOSPC && legacy ? VIRTIO_CRYPTO_ERR : status;
}

static uint8_t destroy(struct cryptodev *dev, uint32_t service, const uint8_t *cmd, uint32_t len)
{
	uint64_t id;

	if (len < HEADER + sizeof(id))
		return VIRTIO_CRYPTO_ERR;
	memcpy(&id, cmd + HEADER, sizeof(id));
	return crypto_sessions_del(&dev->sessions, le64toh(id), service) ? VIRTIO_CRYPTO_OK
									 : VIRTIO_CRYPTO_ERR;
}

uint32_t crypto_ctrl(struct cryptodev *dev, const uint8_t *cmd, uint32_t len, bool legacy,
		     uint8_t answer[CRYPTO_ANSWER_MAX], uint8_t *status)
{
	struct virtio_crypto_session_input *input = (void *)answer;
	uint32_t opcode, service;
	uint64_t id = 0;

	memset(answer, 0, CRYPTO_ANSWER_MAX);
	*status = VIRTIO_CRYPTO_NOTSUPP;
	opcode = len < sizeof(opcode) ? 0 : get32(cmd);
	service = opcode >> 8;
	/* Even opcodes make sessions, odd ones end them: so long is the answer, whatever it says.
	 */
	if (opcode & 1) {
		if (service < ARRAY_SIZE(commands) && opcode == commands[service].destroy)
			*status = destroy(dev, service, cmd, len);
		answer[0] = *status;
		return sizeof(struct virtio_crypto_inhdr);
	}
	if (service < ARRAY_SIZE(commands) && opcode == commands[service].create)
		*status = create(dev, service, cmd, len, legacy, &id);
	input->session_id = htole64(id);
	input->status = htole32(*status);
	return sizeof(*input);
}
