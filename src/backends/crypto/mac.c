/* SPDX-License-Identifier: BSD-2-Clause */
/* Message authentication codes. */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/params.h>
#include <string.h>

#include "backends/crypto/key.h"

#define BLOCK 16u

static const struct algo {
	uint32_t algo;
	const char *mac;
	const char *param;    /* what it is made of ... */
	const char *names[3]; /* ... by the length of the key, if that matters */
	bool cbc;             /* libcrypto has only what it is made of */
} algos[] = {
	{VIRTIO_CRYPTO_MAC_HMAC_SHA1, "HMAC", OSSL_MAC_PARAM_DIGEST, {"SHA1"}},
	{VIRTIO_CRYPTO_MAC_HMAC_SHA_224, "HMAC", OSSL_MAC_PARAM_DIGEST, {"SHA2-224"}},
	{VIRTIO_CRYPTO_MAC_HMAC_SHA_256, "HMAC", OSSL_MAC_PARAM_DIGEST, {"SHA2-256"}},
	{VIRTIO_CRYPTO_MAC_HMAC_SHA_384, "HMAC", OSSL_MAC_PARAM_DIGEST, {"SHA2-384"}},
	{VIRTIO_CRYPTO_MAC_HMAC_SHA_512, "HMAC", OSSL_MAC_PARAM_DIGEST, {"SHA2-512"}},
	{VIRTIO_CRYPTO_MAC_CMAC_AES,
	 "CMAC",
	 OSSL_MAC_PARAM_CIPHER,
	 {"AES-128-CBC", "AES-192-CBC", "AES-256-CBC"}},
	{VIRTIO_CRYPTO_MAC_CBCMAC_AES,
	 NULL,
	 NULL,
	 {"AES-128-CBC", "AES-192-CBC", "AES-256-CBC"},
	 true},
};

static const struct algo *find_algo(uint32_t number)
{
	for (size_t i = 0; i < ARRAY_SIZE(algos); i++)
		if (algos[i].algo == number)
			return &algos[i];
	return NULL;
}

/* NULL: there is no such key. */
static const char *name_of(const struct algo *algo, uint32_t key_len)
{
	if (!algo->names[1])
		return key_len && key_len <= CRYPTO_AUTH_KEY ? algo->names[0] : NULL;
	if (key_len % 8 || key_len < 16 || key_len > 32)
		return NULL;
	return algo->names[(key_len - 16) / 8];
}

static EVP_MAC_CTX *make_context(struct crypto_lib *lib, const struct algo *algo, const char *name,
				 const uint8_t *raw, uint32_t len)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(algo->param, (char *)name, 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC *mac = EVP_MAC_fetch(CRYPTO_CTX, algo->mac, NULL);
	EVP_MAC_CTX *ctx = mac ? EVP_MAC_CTX_new(mac) : NULL;

	EVP_MAC_free(mac);
	if (ctx && EVP_MAC_init(ctx, raw, len, params))
		return ctx;
	EVP_MAC_CTX_free(ctx);
	return NULL;
}

/* ---- CBC-MAC: the last block of CBC, which is safe for messages of one length only */

static uint8_t cbc_init(struct crypto_lib *lib, struct crypto_key *key, const char *name,
			const struct crypto_params *params)
{
	struct crypto_params encrypt = *params;
	uint8_t status;

	encrypt.op = key->params.op = VIRTIO_CRYPTO_OP_ENCRYPT;
	status = crypto_cipher_init(lib, key, name, &encrypt);
	return status == VIRTIO_CRYPTO_OK && params->result_len > BLOCK ? VIRTIO_CRYPTO_ERR
									: status;
}

static bool cbc_mac(struct crypto_key *key, const struct crypto_op *op, uint8_t mac[BLOCK])
{
	EVP_CIPHER_CTX *ctx = crypto_cipher_get(key);
	uint8_t out[64 * BLOCK], iv[BLOCK] = {0};
	bool ok = ctx && EVP_CipherInit_ex2(ctx, NULL, NULL, iv, -1, NULL);

	for (uint32_t at = 0; ok && at < op->src_len;) {
		uint32_t left = op->src_len - at, part = left < sizeof(out) ? left : sizeof(out);
		int len;

		ok = EVP_CipherUpdate(ctx, out, &len, op->src + at, (int)part);
		memcpy(mac, out + part - BLOCK, BLOCK);
		at += part;
	}
	if (ctx)
		crypto_cipher_put(key, ctx);
	OPENSSL_cleanse(out, sizeof(out));
	return ok;
}

static uint8_t cbc_run(struct crypto_key *key, struct crypto_op *op, uint32_t len)
{
	uint8_t mac[BLOCK];

	if (!len)
		len = BLOCK;
	if (len > BLOCK || len > op->dst_room || !op->src_len || op->src_len % BLOCK ||
	    !cbc_mac(key, op, mac))
		return VIRTIO_CRYPTO_ERR;
	memcpy(op->dst, mac, len);
	op->dst_len = len;
	return VIRTIO_CRYPTO_OK;
}

/* ---- the service */

static uint8_t mac_init(struct crypto_lib *lib, struct crypto_key *key,
			const struct crypto_params *params)
{
	const struct algo *algo = find_algo(params->algo);
	const char *name = algo ? name_of(algo, params->key_len) : NULL;

	if (algo && algo->cbc)
		return cbc_init(lib, key, name, params);
	if (!name)
		return VIRTIO_CRYPTO_NOTSUPP;
	key->mac = make_context(lib, algo, name, params->key, params->key_len);
	if (!key->mac)
		return VIRTIO_CRYPTO_ERR;
	return params->result_len <= EVP_MAC_CTX_get_mac_size(key->mac) ? VIRTIO_CRYPTO_OK
									: VIRTIO_CRYPTO_ERR;
}

static void mac_release(struct crypto_key *key)
{
	const struct algo *algo = find_algo(key->params.algo);

	if (algo && algo->cbc)
		crypto_cipher_release(key);
	else
		EVP_MAC_CTX_free(key->mac);
}

/* The context with the key is never used itself. */
static uint8_t mac_run(struct crypto_key *key, struct crypto_op *op)
{
	uint32_t len = op->result_len ? op->result_len : key->params.result_len;
	uint8_t mac[EVP_MAX_MD_SIZE];
	size_t size, got = 0;
	EVP_MAC_CTX *ctx;
	bool ok;

	if (op->opcode != VIRTIO_CRYPTO_MAC)
		return VIRTIO_CRYPTO_ERR;
	if (find_algo(key->params.algo)->cbc)
		return cbc_run(key, op, len);
	size = EVP_MAC_CTX_get_mac_size(key->mac);
	if (!len)
		len = (uint32_t)size;
	if (len > size || len > op->dst_room)
		return VIRTIO_CRYPTO_ERR;
	ctx = EVP_MAC_CTX_dup(key->mac);
	ok = ctx && EVP_MAC_update(ctx, op->src, op->src_len) &&
	     EVP_MAC_final(ctx, mac, &got, sizeof(mac)) && got == size;
	EVP_MAC_CTX_free(ctx);
	if (ok) {
		memcpy(op->dst, mac, len);
		op->dst_len = len;
	}
	OPENSSL_cleanse(mac, sizeof(mac));
	return ok ? VIRTIO_CRYPTO_OK : VIRTIO_CRYPTO_ERR;
}

static uint64_t mac_probe(struct crypto_lib *lib)
{
	static const uint8_t some[32] = {1};
	uint64_t mask = 0;

	for (size_t i = 0; i < ARRAY_SIZE(algos); i++) {
		EVP_MAC_CTX *ctx;

		if (algos[i].cbc) {
			if (crypto_cipher_there(lib, algos[i].names[0]))
				mask |= BIT_ULL(algos[i].algo);
			continue;
		}
		ctx = make_context(lib, &algos[i], name_of(&algos[i], sizeof(some)), some,
				   sizeof(some));

		if (ctx)
			mask |= BIT_ULL(algos[i].algo);
		EVP_MAC_CTX_free(ctx);
	}
	return mask;
}

const struct crypto_service crypto_mac = {
	.init = mac_init,
	.release = mac_release,
	.run = mac_run,
	.probe = mac_probe,
};
