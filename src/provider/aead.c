/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Authenticated encryption.  The device does a message at once, and shows nothing of one that is
 * not authentic.  So the text comes in one update; what is only authenticated comes before it in as
 * many as one likes, and to decrypt the tag comes first, too.
 */
#include <linux/virtio_crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "provider/message.h"
#include "provider/provider.h"

#define TAG_MAX 16u
#define IV_MAX  16u

struct algo {
	uint32_t algo;
	uint32_t key_len;
	uint32_t iv_min, iv_max;
	unsigned int mode;
};

struct aead {
	struct provider *prov;
	const struct algo *algo;
	bool encrypt, have_key, have_iv, have_tag, done;
	uint8_t key[32];
	uint8_t iv[IV_MAX];
	uint32_t iv_len;
	uint8_t tag[TAG_MAX]; /* to be found, or made */
	uint32_t tag_len;
	struct message aad;
	bool have_session;
	uint64_t session;
	uint32_t session_tag; /* bytes of its tags */
};

/* ---- life */

static void *aead_new(void *provctx, const struct algo *algo)
{
	struct aead *c = calloc(1, sizeof(*c));

	if (c) {
		c->prov = provctx;
		c->algo = algo;
		c->iv_len = 12;
		c->tag_len = TAG_MAX;
	}
	return c;
}

static void end_session(struct aead *c)
{
	if (c->have_session)
		vdpa_crypto_end(c->prov->crypto, c->session);
	c->have_session = false;
}

static void aead_free(void *ctx)
{
	struct aead *c = ctx;

	if (!c)
		return;
	end_session(c);
	message_release(&c->aad);
	explicit_bzero(c, sizeof(*c));
	free(c);
}

static void *aead_dup(void *ctx)
{
	struct aead *c = ctx, *copy = malloc(sizeof(*copy));

	if (!copy)
		return NULL;
	*copy = *c;
	copy->have_session = false;
	copy->aad = (struct message){0};
	if (!c->aad.lost && message_add(&copy->aad, c->prov->crypto, c->aad.data, c->aad.len))
		return copy;
	aead_free(copy);
	return NULL;
}

/* The session of this key, way and length of the tag. */
static bool begin_session(struct aead *c)
{
	struct vdpa_crypto_params params = {
		.service = VIRTIO_CRYPTO_SERVICE_AEAD,
		.algo = c->algo->algo,
		.op = c->encrypt ? VIRTIO_CRYPTO_OP_ENCRYPT : VIRTIO_CRYPTO_OP_DECRYPT,
		.result_len = c->tag_len,
		.key = c->key,
		.key_len = c->algo->key_len,
	};

	if (c->have_session && c->session_tag == c->tag_len)
		return true;
	end_session(c);
	c->have_session = !vdpa_crypto_session(c->prov->crypto, &params, &c->session, NULL);
	c->session_tag = c->tag_len;
	return c->have_session;
}

/* ---- parameters */

static int set_iv_len(struct aead *c, const OSSL_PARAM *p)
{
	size_t len;

	if (!OSSL_PARAM_get_size_t(p, &len) || len < c->algo->iv_min || len > c->algo->iv_max)
		return 0;
	if (c->iv_len != len)
		c->have_iv = false;
	c->iv_len = (uint32_t)len;
	return 1;
}

/* Without bytes only its length. */
static int set_tag(struct aead *c, const OSSL_PARAM *p)
{
	if (p->data_type != OSSL_PARAM_OCTET_STRING || !p->data_size || p->data_size > TAG_MAX)
		return 0;
	c->tag_len = (uint32_t)p->data_size;
	if (!p->data)
		return 1;
	if (c->encrypt)
		return 0;
	memcpy(c->tag, p->data, p->data_size);
	c->have_tag = true;
	return 1;
}

static int aead_set_params(void *ctx, const OSSL_PARAM params[])
{
	struct aead *c = ctx;
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, OSSL_CIPHER_PARAM_AEAD_IVLEN);

	if (p && !set_iv_len(c, p))
		return 0;
	p = OSSL_PARAM_locate_const(params, OSSL_CIPHER_PARAM_AEAD_TAG);
	return !p || set_tag(c, p);
}

static int get_tag(const struct aead *c, OSSL_PARAM *p)
{
	if (!c->encrypt || !c->done || p->data_size > c->tag_len)
		return 0;
	return OSSL_PARAM_set_octet_string(p, c->tag, p->data_size);
}

static int aead_get_ctx_params(void *ctx, OSSL_PARAM params[])
{
	struct aead *c = ctx;
	OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_AEAD_TAG);

	if (p && !get_tag(c, p))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_IV);
	if (p && !OSSL_PARAM_set_octet_string(p, c->iv, c->iv_len))
		return 0;
	return provider_set_size(params, OSSL_CIPHER_PARAM_KEYLEN, c->algo->key_len) &&
	       provider_set_size(params, OSSL_CIPHER_PARAM_IVLEN, c->iv_len) &&
	       provider_set_size(params, OSSL_CIPHER_PARAM_AEAD_TAGLEN, c->tag_len);
}

static int aead_get_params(const struct algo *algo, OSSL_PARAM params[])
{
	OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_MODE);

	if (p && !OSSL_PARAM_set_uint(p, algo->mode))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_AEAD);
	if (p && !OSSL_PARAM_set_int(p, 1))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_CIPHER_PARAM_CUSTOM_IV);
	if (p && !OSSL_PARAM_set_int(p, 1))
		return 0;
	return provider_set_size(params, OSSL_CIPHER_PARAM_KEYLEN, algo->key_len) &&
	       provider_set_size(params, OSSL_CIPHER_PARAM_IVLEN, 12) &&
	       provider_set_size(params, OSSL_CIPHER_PARAM_BLOCK_SIZE, 1);
}

static const OSSL_PARAM *aead_gettable(void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_MODE, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_KEYLEN, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_IVLEN, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_BLOCK_SIZE, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_AEAD, OSSL_PARAM_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_CUSTOM_IV, OSSL_PARAM_INTEGER, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

static const OSSL_PARAM *aead_gettable_ctx(void *ctx, void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_KEYLEN, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_IVLEN, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_AEAD_TAGLEN, OSSL_PARAM_UNSIGNED_INTEGER, NULL,
				0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_AEAD_TAG, OSSL_PARAM_OCTET_STRING, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_IV, OSSL_PARAM_OCTET_STRING, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

static const OSSL_PARAM *aead_settable_ctx(void *ctx, void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_AEAD_IVLEN, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_CIPHER_PARAM_AEAD_TAG, OSSL_PARAM_OCTET_STRING, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

/* ---- a message */

static int init(struct aead *c, const unsigned char *key, size_t key_len, const unsigned char *iv,
		size_t iv_len, const OSSL_PARAM params[], bool encrypt)
{
	if ((key && key_len != c->algo->key_len) || (iv && iv_len != c->iv_len))
		return 0;
	if (key || c->encrypt != encrypt)
		end_session(c);
	if (key)
		memcpy(c->key, key, key_len);
	if (iv)
		memcpy(c->iv, iv, iv_len);
	c->have_key |= key != NULL;
	c->have_iv |= iv != NULL;
	c->encrypt = encrypt;
	c->have_tag &= !encrypt && !c->done;
	c->done = false;
	message_clear(&c->aad);
	return params ? aead_set_params(c, params) : 1;
}

static int aead_encrypt_init(void *ctx, const unsigned char *key, size_t key_len,
			     const unsigned char *iv, size_t iv_len, const OSSL_PARAM params[])
{
	return init(ctx, key, key_len, iv, iv_len, params, true);
}

static int aead_decrypt_init(void *ctx, const unsigned char *key, size_t key_len,
			     const unsigned char *iv, size_t iv_len, const OSSL_PARAM params[])
{
	return init(ctx, key, key_len, iv, iv_len, params, false);
}

/* The tag is behind the text, on both ways. */
static bool run(struct aead *c, uint8_t *both, uint32_t len)
{
	struct vdpa_crypto_op op = {
		.opcode = c->encrypt ? VIRTIO_CRYPTO_AEAD_ENCRYPT : VIRTIO_CRYPTO_AEAD_DECRYPT,
		.iv = c->iv,
		.iv_len = c->iv_len,
		.aad = c->aad.data,
		.aad_len = (uint32_t)c->aad.len,
		.src = both,
		.src_len = c->encrypt ? len : len + c->tag_len,
		.dst = both,
		.dst_room = c->encrypt ? len + c->tag_len : len,
	};

	return begin_session(c) && !vdpa_crypto_run(c->prov->crypto, c->session, &op, NULL);
}

/* All of it.  out may be in. */
static bool whole(struct aead *c, uint8_t *out, const uint8_t *in, size_t len)
{
	uint8_t *both;
	bool ok;

	if (!c->have_key || !c->have_iv || c->done || c->aad.lost || (!c->encrypt && !c->have_tag))
		return false;
	if (len > vdpa_crypto_info(c->prov->crypto)->max_size)
		return false;
	both = malloc(len + c->tag_len);
	if (!both)
		return false;
	if (len)
		memcpy(both, in, len);
	if (!c->encrypt)
		memcpy(both + len, c->tag, c->tag_len);
	ok = run(c, both, (uint32_t)len);
	if (ok && len)
		memcpy(out, both, len);
	if (ok && c->encrypt)
		memcpy(c->tag, both + len, c->tag_len);
	explicit_bzero(both, len + c->tag_len);
	free(both);
	/* An IV is good for one message. */
	c->done = ok;
	c->have_iv = false;
	return ok;
}

static int aead_update(void *ctx, unsigned char *out, size_t *out_len, size_t room,
		       const unsigned char *in, size_t len)
{
	struct aead *c = ctx;

	*out_len = 0;
	/* With neither CCM is told how long the text will be. */
	if (in && !out && !message_add(&c->aad, c->prov->crypto, in, len))
		return 0;
	if (in && out && len && (room < len || !whole(c, out, in, len)))
		return 0;
	*out_len = len;
	return 1;
}

static int aead_final(void *ctx, unsigned char *out, size_t *out_len, size_t room)
{
	struct aead *c = ctx;

	*out_len = 0;
	return c->done || whole(c, NULL, NULL, 0);
}

/* ---- tables */

#define AEAD(name, number, bytes, min, max, mode)                                                  \
	static const struct algo name##_algo = {number, bytes, min, max, mode};                    \
	PROVIDED_CIPHER(name, aead)

AEAD(gcm128, VIRTIO_CRYPTO_AEAD_GCM, 16, 12, 12, EVP_CIPH_GCM_MODE)
AEAD(gcm192, VIRTIO_CRYPTO_AEAD_GCM, 24, 12, 12, EVP_CIPH_GCM_MODE)
AEAD(gcm256, VIRTIO_CRYPTO_AEAD_GCM, 32, 12, 12, EVP_CIPH_GCM_MODE)
AEAD(ccm128, VIRTIO_CRYPTO_AEAD_CCM, 16, 7, 13, EVP_CIPH_CCM_MODE)
AEAD(ccm192, VIRTIO_CRYPTO_AEAD_CCM, 24, 7, 13, EVP_CIPH_CCM_MODE)
AEAD(ccm256, VIRTIO_CRYPTO_AEAD_CCM, 32, 7, 13, EVP_CIPH_CCM_MODE)
AEAD(chacha, VIRTIO_CRYPTO_AEAD_CHACHA20_POLY1305, 32, 12, 12, EVP_CIPH_STREAM_CIPHER)

const struct provided provided_aeads[] = {
	ROW(VIRTIO_CRYPTO_AEAD_GCM, "AES-128-GCM:id-aes128-GCM:2.16.840.1.101.3.4.1.6", gcm128),
	ROW(VIRTIO_CRYPTO_AEAD_GCM, "AES-192-GCM:id-aes192-GCM:2.16.840.1.101.3.4.1.26", gcm192),
	ROW(VIRTIO_CRYPTO_AEAD_GCM, "AES-256-GCM:id-aes256-GCM:2.16.840.1.101.3.4.1.46", gcm256),
	ROW(VIRTIO_CRYPTO_AEAD_CCM, "AES-128-CCM:id-aes128-CCM:2.16.840.1.101.3.4.1.7", ccm128),
	ROW(VIRTIO_CRYPTO_AEAD_CCM, "AES-192-CCM:id-aes192-CCM:2.16.840.1.101.3.4.1.27", ccm192),
	ROW(VIRTIO_CRYPTO_AEAD_CCM, "AES-256-CCM:id-aes256-CCM:2.16.840.1.101.3.4.1.47", ccm256),
	ROW(VIRTIO_CRYPTO_AEAD_CHACHA20_POLY1305, "ChaCha20-Poly1305", chacha),
	{0},
};
