/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Authenticated encryption.  The tag is behind what is encrypted, on both ways.
 *
 * GCM takes IVs of 96 bits: the specification's other form, J0 itself, is none of libcrypto's.
 */
#include <limits.h>
#include <string.h>

#include "backends/crypto/key.h"

#define AEAD_LEN_MAX (INT_MAX - 64)

static const struct algo {
	uint32_t algo;
	uint8_t iv_min, iv_max;
	bool lengths_first;   /* those of IV, tag and text come before the key */
	const char *names[3]; /* by the length of the key: 16, 24, 32 bytes */
} algos[] = {
	{VIRTIO_CRYPTO_AEAD_GCM, 12, 12, false, {"AES-128-GCM", "AES-192-GCM", "AES-256-GCM"}},
	{VIRTIO_CRYPTO_AEAD_CCM, 7, 13, true, {"AES-128-CCM", "AES-192-CCM", "AES-256-CCM"}},
	{VIRTIO_CRYPTO_AEAD_CHACHA20_POLY1305, 12, 12, false, {NULL, NULL, "ChaCha20-Poly1305"}},
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
	if (key_len % 8 || key_len < 16 || key_len > 32)
		return NULL;
	return algo->names[(key_len - 16) / 8];
}

/* GCM and ChaCha20-Poly1305: 12 to 16, and the short ones of SP 800-38D, 8 and 4; CCM: even. */
static bool tag_ok(const struct algo *algo, uint32_t len)
{
	if (len < 4 || len > CRYPTO_TAG_MAX)
		return false;
	return algo->lengths_first ? len % 2 == 0 : len >= 12 || len == 8 || len == 4;
}

static uint8_t aead_init(struct crypto_lib *lib, struct crypto_key *key,
			 const struct crypto_params *params)
{
	const struct algo *algo = find_algo(params->algo);
	uint8_t status =
		crypto_cipher_init(lib, key, algo ? name_of(algo, params->key_len) : NULL, params);

	if (status != VIRTIO_CRYPTO_OK)
		return status;
	return !params->result_len || tag_ok(algo, params->result_len) ? VIRTIO_CRYPTO_OK
								       : VIRTIO_CRYPTO_ERR;
}

/* Everything that comes before the data. */
static bool begin(const struct crypto_key *key, const struct algo *algo, EVP_CIPHER_CTX *ctx,
		  const struct crypto_op *op, uint32_t text, uint32_t tag_len)
{
	void *tag = op->opcode == VIRTIO_CRYPTO_AEAD_DECRYPT ? (void *)(op->src + text) : NULL;
	int unused;

	/* Where there is one length only, it is so to begin with. */
	if (algo->iv_min != algo->iv_max &&
	    !EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_IVLEN, (int)op->iv_len, NULL))
		return false;
	if ((algo->lengths_first || tag) &&
	    !EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, (int)tag_len, tag))
		return false;
	if (!EVP_CipherInit_ex2(ctx, NULL, algo->lengths_first ? key->cipher.key : NULL, op->iv, -1,
				NULL))
		return false;
	if (algo->lengths_first && !EVP_CipherUpdate(ctx, NULL, &unused, NULL, (int)text))
		return false;
	return !op->aad_len || EVP_CipherUpdate(ctx, NULL, &unused, op->aad, (int)op->aad_len);
}

static uint8_t encrypt(struct crypto_key *key, const struct algo *algo, EVP_CIPHER_CTX *ctx,
		       struct crypto_op *op, uint32_t tag_len)
{
	static const uint8_t nothing[1];
	int len = 0, last = 0;

	if (tag_len > op->dst_room || op->src_len > op->dst_room - tag_len)
		return VIRTIO_CRYPTO_ERR;
	if (!begin(key, algo, ctx, op, op->src_len, tag_len))
		return VIRTIO_CRYPTO_ERR;
	/* CCM wants an update even without a text. */
	if ((op->src_len || algo->lengths_first) &&
	    !EVP_CipherUpdate(ctx, op->dst, &len, op->src_len ? op->src : nothing,
			      (int)op->src_len))
		return VIRTIO_CRYPTO_ERR;
	if (!EVP_CipherFinal_ex(ctx, op->dst + len, &last) ||
	    (uint32_t)len + (uint32_t)last != op->src_len ||
	    !EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, (int)tag_len, op->dst + op->src_len))
		return VIRTIO_CRYPTO_ERR;
	op->dst_len = op->src_len + tag_len;
	return VIRTIO_CRYPTO_OK;
}

/* What was not authentic is not seen by anybody. */
static uint8_t decrypt(struct crypto_key *key, const struct algo *algo, EVP_CIPHER_CTX *ctx,
		       struct crypto_op *op, uint32_t tag_len)
{
	uint32_t text = op->src_len - tag_len;
	int len = 0, last = 0, ok;

	if (op->src_len < tag_len || text > op->dst_room)
		return VIRTIO_CRYPTO_ERR;
	if (!begin(key, algo, ctx, op, text, tag_len))
		return VIRTIO_CRYPTO_ERR;
	ok = !(text || algo->lengths_first) ||
	     EVP_CipherUpdate(ctx, op->dst, &len, op->src, (int)text);
	/* CCM has checked the tag by now. */
	if (ok && !algo->lengths_first)
		ok = EVP_CipherFinal_ex(ctx, op->dst + len, &last);
	if (!ok || (uint32_t)len + (uint32_t)last != text) {
		OPENSSL_cleanse(op->dst, text);
		return VIRTIO_CRYPTO_BADMSG;
	}
	op->dst_len = text;
	return VIRTIO_CRYPTO_OK;
}

static uint8_t aead_run(struct crypto_key *key, struct crypto_op *op)
{
	const struct algo *algo = find_algo(key->params.algo);
	uint32_t tag_len = op->result_len ? op->result_len : key->params.result_len;
	EVP_CIPHER_CTX *ctx;
	uint8_t status;

	if (!tag_len)
		tag_len = CRYPTO_TAG_MAX;
	if (!crypto_cipher_may(key, op) || !tag_ok(algo, tag_len) || op->src_len > AEAD_LEN_MAX ||
	    op->aad_len > AEAD_LEN_MAX)
		return VIRTIO_CRYPTO_ERR;
	if (op->iv_len < algo->iv_min || op->iv_len > algo->iv_max)
		return VIRTIO_CRYPTO_NOTSUPP;
	ctx = crypto_cipher_get(key);
	if (!ctx)
		return VIRTIO_CRYPTO_ERR;
	if (op->opcode == VIRTIO_CRYPTO_AEAD_ENCRYPT)
		status = encrypt(key, algo, ctx, op, tag_len);
	else
		status = decrypt(key, algo, ctx, op, tag_len);
	crypto_cipher_put(key, ctx);
	return status;
}

static uint64_t aead_probe(struct crypto_lib *lib)
{
	uint64_t mask = 0;

	for (size_t i = 0; i < ARRAY_SIZE(algos); i++)
		if (crypto_cipher_there(lib, algos[i].names[2]))
			mask |= BIT_ULL(algos[i].algo);
	return mask;
}

const struct crypto_service crypto_aead = {
	.init = aead_init,
	.release = crypto_cipher_release,
	.run = aead_run,
	.probe = aead_probe,
};
