/* SPDX-License-Identifier: BSD-2-Clause */
/* AES without authentication. */
#include <limits.h>
#include <openssl/crypto.h>
#include <string.h>

#include "backends/crypto/key.h"

#define BLOCK 16u

static const struct algo {
	uint32_t algo;
	bool iv, whole_blocks;
	const char *names[3]; /* by the length of the key: 16, 24, 32 bytes (XTS: twice that) */
} algos[] = {
	{VIRTIO_CRYPTO_CIPHER_AES_ECB, false, true, {"AES-128-ECB", "AES-192-ECB", "AES-256-ECB"}},
	{VIRTIO_CRYPTO_CIPHER_AES_CBC, true, true, {"AES-128-CBC", "AES-192-CBC", "AES-256-CBC"}},
	{VIRTIO_CRYPTO_CIPHER_AES_CTR, true, false, {"AES-128-CTR", "AES-192-CTR", "AES-256-CTR"}},
	{VIRTIO_CRYPTO_CIPHER_AES_XTS, true, false, {"AES-128-XTS", NULL, "AES-256-XTS"}},
};

static const struct algo *find_algo(uint32_t number)
{
	for (size_t i = 0; i < ARRAY_SIZE(algos); i++)
		if (algos[i].algo == number)
			return &algos[i];
	return NULL;
}

static const char *name_of(const struct algo *algo, uint32_t key_len)
{
	if (algo->algo == VIRTIO_CRYPTO_CIPHER_AES_XTS) {
		if (key_len % 2)
			return NULL;
		key_len /= 2;
	}
	if (key_len % 8 || key_len < 16 || key_len > 32)
		return NULL;
	return algo->names[(key_len - 16) / 8];
}

bool crypto_cipher_there(struct crypto_lib *lib, const char *name)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(CRYPTO_CTX, name, NULL);

	EVP_CIPHER_free(cipher);
	return cipher;
}

/* ---- the context */

static EVP_CIPHER_CTX *make_context(const struct crypto_key *key)
{
	bool encrypt = key->params.op == VIRTIO_CRYPTO_OP_ENCRYPT;
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

	if (ctx &&
	    EVP_CipherInit_ex2(ctx, key->cipher.cipher, key->cipher.key, NULL, encrypt, NULL) &&
	    EVP_CIPHER_CTX_set_padding(ctx, 0))
		return ctx;
	EVP_CIPHER_CTX_free(ctx);
	return NULL;
}

uint8_t crypto_cipher_init(struct crypto_lib *lib, struct crypto_key *key, const char *name,
			   const struct crypto_params *params)
{
	pthread_mutex_init(&key->cipher.lock, NULL);
	if (params->op != VIRTIO_CRYPTO_OP_ENCRYPT && params->op != VIRTIO_CRYPTO_OP_DECRYPT)
		return VIRTIO_CRYPTO_ERR;
	if (!name || params->key_len > CRYPTO_CIPHER_KEY)
		return VIRTIO_CRYPTO_NOTSUPP;
	memcpy(key->cipher.key, params->key, params->key_len);
	key->cipher.cipher = EVP_CIPHER_fetch(CRYPTO_CTX, name, NULL);
	if (!key->cipher.cipher)
		return VIRTIO_CRYPTO_NOTSUPP;
	/* Fails also for what is no key of the algorithm: XTS wants two different halves. */
	key->cipher.ctx = make_context(key);
	return key->cipher.ctx ? VIRTIO_CRYPTO_OK : VIRTIO_CRYPTO_ERR;
}

void crypto_cipher_release(struct crypto_key *key)
{
	EVP_CIPHER_CTX_free(key->cipher.ctx);
	EVP_CIPHER_free(key->cipher.cipher);
	pthread_mutex_destroy(&key->cipher.lock);
}

EVP_CIPHER_CTX *crypto_cipher_get(struct crypto_key *key)
{
	return pthread_mutex_trylock(&key->cipher.lock) ? make_context(key) : key->cipher.ctx;
}

void crypto_cipher_put(struct crypto_key *key, EVP_CIPHER_CTX *ctx)
{
	if (ctx == key->cipher.ctx)
		pthread_mutex_unlock(&key->cipher.lock);
	else
		EVP_CIPHER_CTX_free(ctx);
}

bool crypto_cipher_may(const struct crypto_key *key, const struct crypto_op *op)
{
	uint32_t way = op->opcode & 0xff ? VIRTIO_CRYPTO_OP_DECRYPT : VIRTIO_CRYPTO_OP_ENCRYPT;

	return (op->opcode & 0xff) <= 1 && way == key->params.op;
}

/* ---- the service */

static uint8_t cipher_init(struct crypto_lib *lib, struct crypto_key *key,
			   const struct crypto_params *params)
{
	const struct algo *algo = find_algo(params->algo);

	return crypto_cipher_init(lib, key, algo ? name_of(algo, params->key_len) : NULL, params);
}

static bool lengths_ok(const struct algo *algo, const struct crypto_op *op)
{
	if (op->src_len > op->dst_room || op->src_len > INT_MAX - BLOCK)
		return false;
	if (algo->iv && op->iv_len != CRYPTO_IV_MAX)
		return false;
	if (algo->algo == VIRTIO_CRYPTO_CIPHER_AES_XTS)
		return op->src_len >= BLOCK;
	return !algo->whole_blocks || op->src_len % BLOCK == 0;
}

static uint8_t cipher_run(struct crypto_key *key, struct crypto_op *op)
{
	const struct algo *algo = find_algo(key->params.algo);
	EVP_CIPHER_CTX *ctx;
	int len = 0, ok;

	if (!crypto_cipher_may(key, op) || !lengths_ok(algo, op))
		return VIRTIO_CRYPTO_ERR;
	if (!op->src_len)
		return VIRTIO_CRYPTO_OK;
	ctx = crypto_cipher_get(key);
	if (!ctx)
		return VIRTIO_CRYPTO_ERR;
	ok = EVP_CipherInit_ex2(ctx, NULL, NULL, algo->iv ? op->iv : NULL, -1, NULL) &&
	     EVP_CipherUpdate(ctx, op->dst, &len, op->src, (int)op->src_len);
	crypto_cipher_put(key, ctx);
	if (!ok || (uint32_t)len != op->src_len)
		return VIRTIO_CRYPTO_ERR;
	op->dst_len = op->src_len;
	return VIRTIO_CRYPTO_OK;
}

static uint64_t cipher_probe(struct crypto_lib *lib)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < ARRAY_SIZE(algos); i++)
		if (crypto_cipher_there(lib, algos[i].names[0]))
			mask |= BIT_ULL(algos[i].algo);
	return mask;
}

const struct crypto_service crypto_cipher = {
	.init = cipher_init,
	.release = crypto_cipher_release,
	.run = cipher_run,
	.probe = cipher_probe,
};
