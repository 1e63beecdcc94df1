/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RSA and ECDSA.  Keys come encoded: RSAPrivateKey and RSAPublicKey of PKCS #1, ECPrivateKey of
 * RFC 5915, an uncompressed point of SEC 1.
 *
 * @spec virtio 1.3, 5.9.7.2.1.5 and 5.9.7.7
 */
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/decoder.h>
#include <openssl/ec.h>
#include <openssl/param_build.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <string.h>

#include "backends/crypto/key.h"

static bool is_private(const struct crypto_params *params)
{
	return params->key_type == VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE;
}

/* ---- RSA */

static const char *rsa_hash(uint32_t hash)
{
	switch (hash) {
	case VIRTIO_CRYPTO_RSA_SHA1:
		return "SHA1";
	case VIRTIO_CRYPTO_RSA_SHA224:
		return "SHA2-224";
	case VIRTIO_CRYPTO_RSA_SHA256:
		return "SHA2-256";
	case VIRTIO_CRYPTO_RSA_SHA384:
		return "SHA2-384";
	case VIRTIO_CRYPTO_RSA_SHA512:
		return "SHA2-512";
	default:
		return NULL;
	}
}

/* NULL: there is something else, or more. */
static EVP_PKEY *rsa_decode(struct crypto_lib *lib, const struct crypto_params *params)
{
	int selection = is_private(params) ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY;
	const uint8_t *at = params->key;
	size_t left = params->key_len;
	EVP_PKEY *pkey = NULL;
	OSSL_DECODER_CTX *ctx;

	ctx = OSSL_DECODER_CTX_new_for_pkey(&pkey, "DER", "type-specific", "RSA", selection,
					    CRYPTO_CTX, NULL);
	if (ctx && OSSL_DECODER_from_data(ctx, &at, &left) == 1 && left) {
		EVP_PKEY_free(pkey);
		pkey = NULL;
	}
	OSSL_DECODER_CTX_free(ctx);
	return pkey;
}

static uint8_t rsa_init(struct crypto_lib *lib, struct crypto_key *key,
			const struct crypto_params *params)
{
	if (params->padding > VIRTIO_CRYPTO_RSA_PKCS1_PADDING)
		return VIRTIO_CRYPTO_NOTSUPP;
	if (params->padding == VIRTIO_CRYPTO_RSA_PKCS1_PADDING &&
	    params->hash != VIRTIO_CRYPTO_RSA_NO_HASH && !rsa_hash(params->hash))
		return VIRTIO_CRYPTO_NOTSUPP;
	key->pkey = rsa_decode(lib, params);
	if (!key->pkey)
		return VIRTIO_CRYPTO_ERR;
	return EVP_PKEY_get_bits(key->pkey) <= CRYPTO_RSA_BITS ? VIRTIO_CRYPTO_OK
							       : VIRTIO_CRYPTO_NOTSUPP;
}

static bool rsa_set_up(const struct crypto_params *params, EVP_PKEY_CTX *ctx, bool sign)
{
	bool raw = params->padding == VIRTIO_CRYPTO_RSA_RAW_PADDING;
	const char *hash = rsa_hash(params->hash);
	OSSL_PARAM md[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_SIGNATURE_PARAM_DIGEST, (char *)hash, 0),
		OSSL_PARAM_construct_end(),
	};

	if (EVP_PKEY_CTX_set_rsa_padding(ctx, raw ? RSA_NO_PADDING : RSA_PKCS1_PADDING) <= 0)
		return false;
	return !sign || !hash || EVP_PKEY_CTX_set_params(ctx, md) > 0;
}

/* ---- ECDSA */

static const char *curve_name(uint32_t curve)
{
	static const char *const names[] = {
		[VIRTIO_CRYPTO_CURVE_NIST_P192] = "P-192",
		[VIRTIO_CRYPTO_CURVE_NIST_P224] = "P-224",
		[VIRTIO_CRYPTO_CURVE_NIST_P256] = "P-256",
		[VIRTIO_CRYPTO_CURVE_NIST_P384] = "P-384",
		[VIRTIO_CRYPTO_CURVE_NIST_P521] = "P-521",
	};

	return curve < ARRAY_SIZE(names) ? names[curve] : NULL;
}

/* The number in an ECPrivateKey; what follows it is optional, and says what the session says. */
static BIGNUM *ec_secret(const struct crypto_params *params)
{
	const uint8_t *at = params->key, *end = at + params->key_len;
	int tag, class;
	long len;

	if (ASN1_get_object(&at, &len, &tag, &class, end - at) != V_ASN1_CONSTRUCTED ||
	    tag != V_ASN1_SEQUENCE || at + len != end)
		return NULL;
	if (end - at < 3 || at[0] != V_ASN1_INTEGER || at[1] != 1 || at[2] != 1)
		return NULL;
	at += 3;
	if (ASN1_get_object(&at, &len, &tag, &class, end - at) != 0 || tag != V_ASN1_OCTET_STRING ||
	    len > 66)
		return NULL;
	return BN_bin2bn(at, (int)len, NULL);
}

static OSSL_PARAM *ec_params(const struct crypto_params *params, const char *curve)
{
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	OSSL_PARAM *ret = NULL;
	BIGNUM *secret = NULL;
	bool ok;

	ok = bld && OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, curve, 0);
	if (ok && is_private(params)) {
		secret = ec_secret(params);
		if (secret)
			BN_set_flags(secret, BN_FLG_CONSTTIME);
		ok = secret && OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, secret);
	} else if (ok) {
		ok = OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, params->key,
						      params->key_len);
	}
	if (ok)
		ret = OSSL_PARAM_BLD_to_param(bld);
	BN_clear_free(secret);
	OSSL_PARAM_BLD_free(bld);
	return ret;
}

static void wipe_params(OSSL_PARAM *params)
{
	for (OSSL_PARAM *p = params; p && p->key; p++)
		OPENSSL_cleanse(p->data, p->data_size);
	OSSL_PARAM_free(params);
}

static uint8_t ecdsa_init(struct crypto_lib *lib, struct crypto_key *key,
			  const struct crypto_params *params)
{
	int selection = is_private(params) ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY;
	const char *curve = curve_name(params->curve);
	OSSL_PARAM *all;
	EVP_PKEY_CTX *ctx;
	bool ok;

	if (!curve)
		return VIRTIO_CRYPTO_NOTSUPP;
	all = ec_params(params, curve);
	ctx = all ? EVP_PKEY_CTX_new_from_name(CRYPTO_CTX, "EC", NULL) : NULL;
	ok = ctx && EVP_PKEY_fromdata_init(ctx) > 0 &&
	     EVP_PKEY_fromdata(ctx, &key->pkey, selection, all) > 0;
	EVP_PKEY_CTX_free(ctx);
	wipe_params(all);
	return ok ? VIRTIO_CRYPTO_OK : VIRTIO_CRYPTO_ERR;
}

/* ---- operations */

static uint8_t produce(const struct crypto_key *key, EVP_PKEY_CTX *ctx, struct crypto_op *op,
		       int (*fn)(EVP_PKEY_CTX *ctx, uint8_t *out, size_t *out_len,
				 const uint8_t *in, size_t in_len))
{
	uint8_t out[CRYPTO_RSA_BITS / 8];
	size_t len = sizeof(out);
	uint8_t status = VIRTIO_CRYPTO_ERR;

	/* libcrypto wants room for the longest result. */
	if ((size_t)EVP_PKEY_get_size(key->pkey) > sizeof(out))
		return VIRTIO_CRYPTO_NOTSUPP;
	if (fn(ctx, out, &len, op->src, op->src_len) > 0 && len <= op->dst_room) {
		memcpy(op->dst, out, len);
		op->dst_len = (uint32_t)len;
		status = VIRTIO_CRYPTO_OK;
	}
	OPENSSL_cleanse(out, sizeof(out));
	return status;
}

static uint8_t verify(EVP_PKEY_CTX *ctx, const struct crypto_op *op)
{
	return EVP_PKEY_verify(ctx, op->src, op->src_len, op->data, op->data_len) == 1
		       ? VIRTIO_CRYPTO_OK
		       : VIRTIO_CRYPTO_KEY_REJECTED;
}

static uint8_t run_on(const struct crypto_key *key, EVP_PKEY_CTX *ctx, struct crypto_op *op)
{
	const struct crypto_params *params = &key->params;
	bool rsa = params->algo == VIRTIO_CRYPTO_AKCIPHER_RSA;
	bool sign = op->opcode == VIRTIO_CRYPTO_AKCIPHER_SIGN ||
		    op->opcode == VIRTIO_CRYPTO_AKCIPHER_VERIFY;
	bool secret = op->opcode == VIRTIO_CRYPTO_AKCIPHER_SIGN ||
		      op->opcode == VIRTIO_CRYPTO_AKCIPHER_DECRYPT;
	int (*init)(EVP_PKEY_CTX * ctx);

	if (secret && !is_private(params))
		return VIRTIO_CRYPTO_ERR;
	/* A raw signature is none. */
	if (sign ? rsa && params->padding == VIRTIO_CRYPTO_RSA_RAW_PADDING : !rsa)
		return VIRTIO_CRYPTO_NOTSUPP;
	init = op->opcode == VIRTIO_CRYPTO_AKCIPHER_SIGN      ? EVP_PKEY_sign_init
	       : op->opcode == VIRTIO_CRYPTO_AKCIPHER_VERIFY  ? EVP_PKEY_verify_init
	       : op->opcode == VIRTIO_CRYPTO_AKCIPHER_DECRYPT ? EVP_PKEY_decrypt_init
							      : EVP_PKEY_encrypt_init;
	if (init(ctx) <= 0 || (rsa && !rsa_set_up(params, ctx, sign)))
		return VIRTIO_CRYPTO_ERR;
	switch (op->opcode) {
	case VIRTIO_CRYPTO_AKCIPHER_SIGN:
		return produce(key, ctx, op, EVP_PKEY_sign);
	case VIRTIO_CRYPTO_AKCIPHER_VERIFY:
		return verify(ctx, op);
	case VIRTIO_CRYPTO_AKCIPHER_DECRYPT:
		return produce(key, ctx, op, EVP_PKEY_decrypt);
	default:
		return produce(key, ctx, op, EVP_PKEY_encrypt);
	}
}

static uint8_t akcipher_run(struct crypto_key *key, struct crypto_op *op)
{
	EVP_PKEY_CTX *ctx;
	uint8_t status;

	if (op->opcode > VIRTIO_CRYPTO_AKCIPHER_VERIFY)
		return VIRTIO_CRYPTO_NOTSUPP;
	ctx = EVP_PKEY_CTX_new_from_pkey(CRYPTO_CTX, key->pkey, NULL);
	status = ctx ? run_on(key, ctx, op) : VIRTIO_CRYPTO_ERR;
	EVP_PKEY_CTX_free(ctx);
	return status;
}

static uint8_t akcipher_init(struct crypto_lib *lib, struct crypto_key *key,
			     const struct crypto_params *params)
{
	if (params->key_type != VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PUBLIC && !is_private(params))
		return VIRTIO_CRYPTO_NOTSUPP;
	if (!params->key_len || params->key_len > CRYPTO_AKCIPHER_KEY)
		return VIRTIO_CRYPTO_NOTSUPP;
	switch (params->algo) {
	case VIRTIO_CRYPTO_AKCIPHER_RSA:
		return rsa_init(lib, key, params);
	case CRYPTO_AKCIPHER_ECDSA:
		return ecdsa_init(lib, key, params);
	default:
		return VIRTIO_CRYPTO_NOTSUPP;
	}
}

static void akcipher_release(struct crypto_key *key)
{
	EVP_PKEY_free(key->pkey);
}

static bool there(struct crypto_lib *lib, const char *name)
{
	EVP_KEYMGMT *mgmt = EVP_KEYMGMT_fetch(CRYPTO_CTX, name, NULL);

	EVP_KEYMGMT_free(mgmt);
	return mgmt;
}

static uint64_t akcipher_probe(struct crypto_lib *lib)
{
	return (there(lib, "RSA") ? BIT_ULL(VIRTIO_CRYPTO_AKCIPHER_RSA) : 0) |
	       (there(lib, "EC") ? BIT_ULL(CRYPTO_AKCIPHER_ECDSA) : 0);
}

const struct crypto_service crypto_akcipher = {
	.init = akcipher_init,
	.release = akcipher_release,
	.run = akcipher_run,
	.probe = akcipher_probe,
};
