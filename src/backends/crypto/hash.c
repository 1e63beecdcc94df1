/* SPDX-License-Identifier: BSD-2-Clause */
/* Digests. */
#include <string.h>

#include "backends/crypto/key.h"

/* The longest that SHAKE is asked for. */
#define RESULT_MAX 65536u

static const struct algo {
	uint32_t algo;
	bool any_length;
	const char *name;
} algos[] = {
	{VIRTIO_CRYPTO_HASH_SHA1, false, "SHA1"},
	{VIRTIO_CRYPTO_HASH_SHA_224, false, "SHA2-224"},
	{VIRTIO_CRYPTO_HASH_SHA_256, false, "SHA2-256"},
	{VIRTIO_CRYPTO_HASH_SHA_384, false, "SHA2-384"},
	{VIRTIO_CRYPTO_HASH_SHA_512, false, "SHA2-512"},
	{VIRTIO_CRYPTO_HASH_SHA3_224, false, "SHA3-224"},
	{VIRTIO_CRYPTO_HASH_SHA3_256, false, "SHA3-256"},
	{VIRTIO_CRYPTO_HASH_SHA3_384, false, "SHA3-384"},
	{VIRTIO_CRYPTO_HASH_SHA3_512, false, "SHA3-512"},
	{VIRTIO_CRYPTO_HASH_SHA3_SHAKE128, true, "SHAKE-128"},
	{VIRTIO_CRYPTO_HASH_SHA3_SHAKE256, true, "SHAKE-256"},
};

static const struct algo *find_algo(uint32_t number)
{
	for (size_t i = 0; i < ARRAY_SIZE(algos); i++)
		if (algos[i].algo == number)
			return &algos[i];
	return NULL;
}

static bool length_ok(const struct crypto_key *key, uint32_t len)
{
	if (find_algo(key->params.algo)->any_length)
		return len <= RESULT_MAX;
	return len <= (uint32_t)EVP_MD_get_size(key->md);
}

static uint8_t hash_init(struct crypto_lib *lib, struct crypto_key *key,
			 const struct crypto_params *params)
{
	const struct algo *algo = find_algo(params->algo);

	if (algo)
		key->md = EVP_MD_fetch(CRYPTO_CTX, algo->name, NULL);
	if (!key->md)
		return VIRTIO_CRYPTO_NOTSUPP;
	return length_ok(key, params->result_len) ? VIRTIO_CRYPTO_OK : VIRTIO_CRYPTO_ERR;
}

static void hash_release(struct crypto_key *key)
{
	EVP_MD_free(key->md);
}

static bool extend(const struct crypto_key *key, const struct crypto_op *op, uint32_t len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = ctx && EVP_DigestInit_ex2(ctx, key->md, NULL) &&
		  EVP_DigestUpdate(ctx, op->src, op->src_len) &&
		  EVP_DigestFinalXOF(ctx, op->dst, len);

	EVP_MD_CTX_free(ctx);
	return ok;
}

static uint8_t hash_run(struct crypto_key *key, struct crypto_op *op)
{
	uint32_t len = op->result_len ? op->result_len : key->params.result_len;
	uint8_t md[EVP_MAX_MD_SIZE];
	unsigned int got = 0;

	if (op->opcode != VIRTIO_CRYPTO_HASH)
		return VIRTIO_CRYPTO_ERR;
	if (!len)
		len = (uint32_t)EVP_MD_get_size(key->md);
	if (!length_ok(key, len) || len > op->dst_room)
		return VIRTIO_CRYPTO_ERR;
	if (find_algo(key->params.algo)->any_length) {
		if (!extend(key, op, len))
			return VIRTIO_CRYPTO_ERR;
	} else {
		if (!EVP_Digest(op->src, op->src_len, md, &got, key->md, NULL) || got < len)
			return VIRTIO_CRYPTO_ERR;
		memcpy(op->dst, md, len);
	}
	op->dst_len = len;
	return VIRTIO_CRYPTO_OK;
}

static uint64_t hash_probe(struct crypto_lib *lib)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < ARRAY_SIZE(algos); i++) {
		EVP_MD *md = EVP_MD_fetch(CRYPTO_CTX, algos[i].name, NULL);

		if (md)
			mask |= BIT_ULL(algos[i].algo);
		EVP_MD_free(md);
	}
	return mask;
}

const struct crypto_service crypto_hash = {
	.init = hash_init,
	.release = hash_release,
	.run = hash_run,
	.probe = hash_probe,
};
