/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AES in ECB, CBC, CTR and XTS mode.  A session with the key lives as long as the context; what
 * chains one call to the next (IV, counter) is kept here.
 */
#include <linux/virtio_crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "provider/provider.h"

#define BLOCK 16u
/* Bytes to the device at a time, if it takes so many. */
#define CHUNK 32768u

struct algo {
	uint32_t algo;
	uint32_t key_len;
};

struct cipher {
	struct provider *prov;
	const struct algo *algo;
	bool encrypt, pad, have_session, have_iv;
	uint64_t session;
	uint8_t key[64];
	bool have_key;
	uint8_t iv[BLOCK];    /* as given */
	uint8_t chain[BLOCK]; /* of the next block */
	uint8_t part[BLOCK];  /* ECB, CBC: a block that is not whole, or held back */
	uint32_t part_len;
	uint8_t stream[BLOCK]; /* CTR: what is left of the last block's */
	uint32_t stream_len;
};

static bool is_ctr(const struct cipher *c)
{
	return c->algo->algo == VIRTIO_CRYPTO_CIPHER_AES_CTR;
}

/* A call is a data unit, and all of them have the IV that was given. */
static bool is_xts(const struct cipher *c)
{
	return c->algo->algo == VIRTIO_CRYPTO_CIPHER_AES_XTS;
}

static bool has_iv(const struct cipher *c)
{
	return c->algo->algo != VIRTIO_CRYPTO_CIPHER_AES_ECB;
}

/* ---- life */

static void *cipher_new(void *provctx, const struct algo *algo)
{
	struct cipher *c = calloc(1, sizeof(*c));

	if (c) {
		c->prov = provctx;
		c->algo = algo;
		c->pad = true;
	}
	return c;
}

static void end_session(struct cipher *c)
{
	if (c->have_session)
		vdpa_crypto_end(c->prov->crypto, c->session);
	c->have_session = false;
}

static void cipher_free(void *ctx)
{
	struct cipher *c = ctx;

	if (!c)
		return;
	end_session(c);
	explicit_bzero(c, sizeof(*c));
	free(c);
}

/* A counter is encrypted on both ways. */
static int begin_session(struct cipher *c)
{
	bool encrypt = c->encrypt || is_ctr(c);
	struct vdpa_crypto_params params = {
		.service = VIRTIO_CRYPTO_SERVICE_CIPHER,
		.algo = c->algo->algo,
		.op = encrypt ? VIRTIO_CRYPTO_OP_ENCRYPT : VIRTIO_CRYPTO_OP_DECRYPT,
		.key = c->key,
		.key_len = c->algo->key_len,
	};

	end_session(c);
	c->have_session = !vdpa_crypto_session(c->prov->crypto, &params, &c->session, NULL);
	return c->have_session;
}

static void *cipher_dup(void *ctx)
{
	struct cipher *c = ctx, *copy = malloc(sizeof(*copy));

	if (!copy)
		return NULL;
	*copy = *c;
	copy->have_session = false;
	if (c->have_session && !begin_session(copy)) {
		cipher_free(copy);
		return NULL;
	}
	return copy;
}

static int cipher_set_params(void *ctx, const OSSL_PARAM params[])
{
	struct cipher *c = ctx;
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_CIPHER_PARAM_PADDING);
	unsigned int pad;

	if (!p)
		return 1;
	if (!OSSL_PARAM_get_uint(p, &pad))
		return 0;
	c->pad = pad;
	return 1;
}

static int init(struct cipher *c, const unsigned char *key, size_t key_len, const unsigned char *iv,
		size_t iv_len, const OSSL_PARAM params[], bool encrypt)
{
	bool turned = c->encrypt != encrypt;

	if ((key && key_len != c->algo->key_len) || (iv && has_iv(c) && iv_len != BLOCK))
		return 0;
	c->encrypt = encrypt;
	c->part_len = c->stream_len = 0;
	if (iv && has_iv(c)) {
		memcpy(c->iv, iv, BLOCK);
		c->have_iv = true;
	}
	memcpy(c->chain, c->iv, BLOCK);
	if (key) {
		memcpy(c->key, key, key_len);
		c->have_key = true;
	}
	if (c->have_key && (key || turned || !c->have_session) && !begin_session(c))
		return 0;
	return params ? cipher_set_params(c, params) : 1;
}

static int cipher_encrypt_init(void *ctx, const unsigned char *key, size_t key_len,
			       const unsigned char *iv, size_t iv_len, const OSSL_PARAM params[])
{
	return init(ctx, key, key_len, iv, iv_len, params, true);
}

static int cipher_decrypt_init(void *ctx, const unsigned char *key, size_t key_len,
			       const unsigned char *iv, size_t iv_len, const OSSL_PARAM params[])
{
	return init(ctx, key, key_len, iv, iv_len, params, false);
}

/* ---- whole blocks */

/* Whole blocks that the device takes at a time, with an IV. */
static size_t chunk(const struct cipher *c)
{
	uint64_t max = vdpa_crypto_info(c->prov->crypto)->max_size;

	if (max >= CHUNK + BLOCK)
		return CHUNK;
	return max < 2 * BLOCK ? BLOCK : max / BLOCK * BLOCK - BLOCK;
}

static int run(struct cipher *c, bool encrypt, uint8_t *out, const uint8_t *in, uint32_t len)
{
	struct vdpa_crypto_op op = {
		.opcode = encrypt ? VIRTIO_CRYPTO_CIPHER_ENCRYPT : VIRTIO_CRYPTO_CIPHER_DECRYPT,
		.iv = c->chain,
		.iv_len = has_iv(c) ? BLOCK : 0,
		.src = in,
		.src_len = len,
		.dst = out,
		.dst_room = len,
	};

	return !vdpa_crypto_run(c->prov->crypto, c->session, &op, NULL);
}

/* ECB, CBC.  out may be in. */
static int blocks(struct cipher *c, uint8_t *out, const uint8_t *in, size_t len)
{
	uint8_t last[BLOCK];

	while (len) {
		uint32_t part = (uint32_t)(len < chunk(c) ? len : chunk(c));

		memcpy(last, in + part - BLOCK, BLOCK);
		if (!run(c, c->encrypt, out, in, part))
			return 0;
		memcpy(c->chain, c->encrypt ? out + part - BLOCK : last, BLOCK);
		out += part;
		in += part;
		len -= part;
	}
	return 1;
}

/* ---- ECB, CBC */

/* out may be in only where no part of a block is left from before, as with OpenSSL's own. */
static int block_update(struct cipher *c, uint8_t *out, size_t *out_len, const uint8_t *in,
			size_t len)
{
	/* The last block may be padding, which only the end shows. */
	bool hold = c->pad && !c->encrypt;
	size_t all = c->part_len + len, whole = all - all % BLOCK, rest;
	uint8_t first[BLOCK];
	size_t done = 0;

	if (hold && whole == all && whole)
		whole -= BLOCK;
	if (c->part_len && whole) {
		size_t fill = BLOCK - c->part_len;

		memcpy(first, c->part, c->part_len);
		memcpy(first + c->part_len, in, fill);
		in += fill;
		len -= fill;
		c->part_len = 0;
		if (!blocks(c, first, first, BLOCK))
			return 0;
		whole -= BLOCK;
		memcpy(out, first, BLOCK);
		done = BLOCK;
	}
	rest = len - whole;
	memcpy(c->part + c->part_len, in + whole, rest);
	c->part_len += (uint32_t)rest;
	if (whole && !blocks(c, out + done, in, whole))
		return 0;
	*out_len = done + whole;
	return 1;
}

static int unpad(struct cipher *c, uint8_t *out, size_t *out_len)
{
	uint8_t block[BLOCK], pad;
	uint32_t bad = 0;

	if (c->part_len != BLOCK || !blocks(c, block, c->part, BLOCK))
		return 0;
	pad = block[BLOCK - 1];
	if (!pad || pad > BLOCK)
		return 0;
	for (uint32_t i = BLOCK - pad; i < BLOCK; i++)
		bad |= block[i] ^ pad;
	if (bad)
		return 0;
	memcpy(out, block, BLOCK - pad);
	*out_len = BLOCK - pad;
	return 1;
}

static int block_final(struct cipher *c, uint8_t *out, size_t *out_len)
{
	uint8_t block[BLOCK], pad = (uint8_t)(BLOCK - c->part_len);

	*out_len = 0;
	if (!c->pad)
		return c->part_len == 0;
	if (!c->encrypt)
		return unpad(c, out, out_len);
	memset(block, pad, BLOCK);
	memcpy(block, c->part, c->part_len);
	c->part_len = 0;
	if (!blocks(c, block, block, BLOCK))
		return 0;
	memcpy(out, block, BLOCK);
	*out_len = BLOCK;
	return 1;
}

/* ---- CTR */

static void count(uint8_t counter[BLOCK], size_t num)
{
	for (int i = BLOCK - 1; i >= 0 && num; i--) {
		num += counter[i];
		counter[i] = (uint8_t)num;
		num >>= 8;
	}
}

static int ctr_update(struct cipher *c, uint8_t *out, const uint8_t *in, size_t len)
{
	static const uint8_t zeroes[BLOCK];

	for (; len && c->stream_len; len--)
		*out++ = *in++ ^ c->stream[BLOCK - c->stream_len--];
	while (len >= BLOCK) {
		size_t part = len < chunk(c) ? len - len % BLOCK : chunk(c);

		if (!run(c, true, out, in, (uint32_t)part))
			return 0;
		count(c->chain, part / BLOCK);
		out += part;
		in += part;
		len -= part;
	}
	if (!len)
		return 1;
	if (!run(c, true, c->stream, zeroes, BLOCK))
		return 0;
	count(c->chain, 1);
	c->stream_len = BLOCK;
	for (; len; len--)
		*out++ = *in++ ^ c->stream[BLOCK - c->stream_len--];
	return 1;
}

/* ---- XTS */

static int xts_update(struct cipher *c, uint8_t *out, const uint8_t *in, size_t len)
{
	return !len || (range_fits(BLOCK, len, vdpa_crypto_info(c->prov->crypto)->max_size) &&
			run(c, c->encrypt, out, in, (uint32_t)len));
}

/* ---- what OpenSSL calls */

static int cipher_update(void *ctx, unsigned char *out, size_t *out_len, size_t room,
			 const unsigned char *in, size_t len)
{
	struct cipher *c = ctx;

	*out_len = 0;
	if (!c->have_session || (has_iv(c) && !c->have_iv))
		return 0;
	if (is_ctr(c) || is_xts(c)) {
		*out_len = len;
		return room >= len &&
		       (is_ctr(c) ? ctr_update(c, out, in, len) : xts_update(c, out, in, len));
	}
	if (room < c->part_len + len - (c->part_len + len) % BLOCK)
		return 0;
	return block_update(c, out, out_len, in, len);
}

static int cipher_final(void *ctx, unsigned char *out, size_t *out_len, size_t room)
{
	struct cipher *c = ctx;

	*out_len = 0;
	if (!c->have_session)
		return 0;
	if (is_ctr(c) || is_xts(c))
		return 1;
	return (room >= BLOCK || !c->pad) && block_final(c, out, out_len);
}

static const OSSL_PARAM *cipher_gettable(void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_MODE, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_KEYLEN, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_IVLEN, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_BLOCK_SIZE, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

static unsigned int mode_of(const struct algo *algo)
{
	switch (algo->algo) {
	case VIRTIO_CRYPTO_CIPHER_AES_ECB:
		return EVP_CIPH_ECB_MODE;
	case VIRTIO_CRYPTO_CIPHER_AES_CBC:
		return EVP_CIPH_CBC_MODE;
	case VIRTIO_CRYPTO_CIPHER_AES_CTR:
		return EVP_CIPH_CTR_MODE;
	default:
		return EVP_CIPH_XTS_MODE;
	}
}

static int cipher_get_params(const struct algo *algo, OSSL_PARAM params[])
{
	OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_MODE);
	unsigned int mode = mode_of(algo);
	bool blocks = mode == EVP_CIPH_ECB_MODE || mode == EVP_CIPH_CBC_MODE;

	if (p && !OSSL_PARAM_set_uint(p, mode))
		return 0;
	return provider_set_size(params, OSSL_CIPHER_PARAM_KEYLEN, algo->key_len) &&
	       provider_set_size(params, OSSL_CIPHER_PARAM_IVLEN,
				 mode == EVP_CIPH_ECB_MODE ? 0 : BLOCK) &&
	       provider_set_size(params, OSSL_CIPHER_PARAM_BLOCK_SIZE, blocks ? BLOCK : 1);
}

static const OSSL_PARAM *cipher_gettable_ctx(void *ctx, void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_KEYLEN, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_IVLEN, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_PADDING, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_IV, OSSL_PARAM_OCTET_STRING, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_UPDATED_IV, OSSL_PARAM_OCTET_STRING, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

static int cipher_get_ctx_params(void *ctx, OSSL_PARAM params[])
{
	struct cipher *c = ctx;
	OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_PADDING);

	if (p && !OSSL_PARAM_set_uint(p, c->pad))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_IV);
	if (p && !OSSL_PARAM_set_octet_string(p, c->iv, BLOCK))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_UPDATED_IV);
	if (p && !OSSL_PARAM_set_octet_string(p, c->chain, BLOCK))
		return 0;
	return provider_set_size(params, OSSL_CIPHER_PARAM_KEYLEN, c->algo->key_len) &&
	       provider_set_size(params, OSSL_CIPHER_PARAM_IVLEN, has_iv(c) ? BLOCK : 0);
}

static const OSSL_PARAM *cipher_settable_ctx(void *ctx, void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_PADDING, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

#define CIPHER(name, number, bytes)                                                                \
	static const struct algo name##_algo = {number, bytes};                                    \
	PROVIDED_CIPHER(name, cipher)

CIPHER(ecb128, VIRTIO_CRYPTO_CIPHER_AES_ECB, 16)
CIPHER(ecb192, VIRTIO_CRYPTO_CIPHER_AES_ECB, 24)
CIPHER(ecb256, VIRTIO_CRYPTO_CIPHER_AES_ECB, 32)
CIPHER(cbc128, VIRTIO_CRYPTO_CIPHER_AES_CBC, 16)
CIPHER(cbc192, VIRTIO_CRYPTO_CIPHER_AES_CBC, 24)
CIPHER(cbc256, VIRTIO_CRYPTO_CIPHER_AES_CBC, 32)
CIPHER(ctr128, VIRTIO_CRYPTO_CIPHER_AES_CTR, 16)
CIPHER(ctr192, VIRTIO_CRYPTO_CIPHER_AES_CTR, 24)
CIPHER(ctr256, VIRTIO_CRYPTO_CIPHER_AES_CTR, 32)
CIPHER(xts128, VIRTIO_CRYPTO_CIPHER_AES_XTS, 32)
CIPHER(xts256, VIRTIO_CRYPTO_CIPHER_AES_XTS, 64)

/* Names as OpenSSL's own providers have them. */

const struct provided provided_ciphers[] = {
	ROW(VIRTIO_CRYPTO_CIPHER_AES_ECB, "AES-128-ECB:2.16.840.1.101.3.4.1.1", ecb128),
	ROW(VIRTIO_CRYPTO_CIPHER_AES_ECB, "AES-192-ECB:2.16.840.1.101.3.4.1.21", ecb192),
	ROW(VIRTIO_CRYPTO_CIPHER_AES_ECB, "AES-256-ECB:2.16.840.1.101.3.4.1.41", ecb256),
	ROW(VIRTIO_CRYPTO_CIPHER_AES_CBC, "AES-128-CBC:AES128:2.16.840.1.101.3.4.1.2", cbc128),
	ROW(VIRTIO_CRYPTO_CIPHER_AES_CBC, "AES-192-CBC:AES192:2.16.840.1.101.3.4.1.22", cbc192),
	ROW(VIRTIO_CRYPTO_CIPHER_AES_CBC, "AES-256-CBC:AES256:2.16.840.1.101.3.4.1.42", cbc256),
	ROW(VIRTIO_CRYPTO_CIPHER_AES_CTR, "AES-128-CTR", ctr128),
	ROW(VIRTIO_CRYPTO_CIPHER_AES_CTR, "AES-192-CTR", ctr192),
	ROW(VIRTIO_CRYPTO_CIPHER_AES_CTR, "AES-256-CTR", ctr256),
	ROW(VIRTIO_CRYPTO_CIPHER_AES_XTS, "AES-128-XTS:1.3.111.2.1619.0.1.1", xts128),
	ROW(VIRTIO_CRYPTO_CIPHER_AES_XTS, "AES-256-XTS:1.3.111.2.1619.0.1.2", xts256),
	{0},
};
