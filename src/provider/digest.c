/* SPDX-License-Identifier: BSD-2-Clause */
/* Digests. */
#include <linux/virtio_crypto.h>
#include <stdlib.h>

#include "base/defs.h"
#include "provider/message.h"
#include "provider/provider.h"

struct algo {
	uint32_t algo;
	size_t size, block;
};

struct digest {
	struct provider *prov;
	const struct algo *algo;
	struct message message;
};

static void *digest_new(void *provctx, const struct algo *algo)
{
	struct digest *digest = calloc(1, sizeof(*digest));

	if (digest) {
		digest->prov = provctx;
		digest->algo = algo;
	}
	return digest;
}

static void digest_free(void *ctx)
{
	struct digest *digest = ctx;

	if (!digest)
		return;
	message_release(&digest->message);
	free(digest);
}

static int digest_update(void *ctx, const unsigned char *in, size_t len)
{
	struct digest *digest = ctx;

	return message_add(&digest->message, digest->prov->crypto, in, len);
}

static int digest_init(void *ctx, const OSSL_PARAM params[])
{
	struct digest *digest = ctx;

	message_clear(&digest->message);
	return 1;
}

static void *digest_dup(void *ctx)
{
	struct digest *digest = ctx, *copy = digest_new(digest->prov, digest->algo);

	if (copy && !digest_update(copy, digest->message.data, digest->message.len)) {
		digest_free(copy);
		return NULL;
	}
	if (copy)
		copy->message.lost = digest->message.lost;
	return copy;
}

static int digest_final(void *ctx, unsigned char *out, size_t *out_len, size_t room)
{
	struct digest *digest = ctx;
	struct vdpa_crypto_params params = {.service = VIRTIO_CRYPTO_SERVICE_HASH,
					    .algo = digest->algo->algo};

	if (room < digest->algo->size ||
	    !message_run(&digest->message, digest->prov->crypto, &params, VIRTIO_CRYPTO_HASH, out,
			 digest->algo->size))
		return 0;
	*out_len = digest->algo->size;
	return 1;
}

static const OSSL_PARAM *digest_gettable(void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_DEFN(OSSL_DIGEST_PARAM_BLOCK_SIZE, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_DIGEST_PARAM_SIZE, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_DIGEST_PARAM_ALGID_ABSENT, OSSL_PARAM_INTEGER, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

static int digest_get(const struct algo *algo, OSSL_PARAM params[])
{
	OSSL_PARAM *p = OSSL_PARAM_locate(params, OSSL_DIGEST_PARAM_BLOCK_SIZE);

	if (p && !OSSL_PARAM_set_size_t(p, algo->block))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_DIGEST_PARAM_SIZE);
	if (p && !OSSL_PARAM_set_size_t(p, algo->size))
		return 0;
	p = OSSL_PARAM_locate(params, OSSL_DIGEST_PARAM_ALGID_ABSENT);
	return !p || OSSL_PARAM_set_int(p, 1);
}

/* Of each algorithm: who it is, and its table. */
#define DIGEST(name, number, bytes, block_bytes)                                                   \
	static const struct algo name##_algo = {number, bytes, block_bytes};                       \
                                                                                                   \
	static void *name##_new(void *provctx)                                                     \
	{                                                                                          \
		return digest_new(provctx, &name##_algo);                                          \
	}                                                                                          \
                                                                                                   \
	static int name##_get(OSSL_PARAM params[])                                                 \
	{                                                                                          \
		return digest_get(&name##_algo, params);                                           \
	}                                                                                          \
                                                                                                   \
	static const OSSL_DISPATCH name##_table[] = {                                              \
		FN(OSSL_FUNC_DIGEST_NEWCTX, name##_new),                                           \
		FN(OSSL_FUNC_DIGEST_FREECTX, digest_free),                                         \
		FN(OSSL_FUNC_DIGEST_DUPCTX, digest_dup),                                           \
		FN(OSSL_FUNC_DIGEST_INIT, digest_init),                                            \
		FN(OSSL_FUNC_DIGEST_UPDATE, digest_update),                                        \
		FN(OSSL_FUNC_DIGEST_FINAL, digest_final),                                          \
		FN(OSSL_FUNC_DIGEST_GETTABLE_PARAMS, digest_gettable),                             \
		FN(OSSL_FUNC_DIGEST_GET_PARAMS, name##_get),                                       \
		{0, NULL},                                                                         \
	};

DIGEST(sha1, VIRTIO_CRYPTO_HASH_SHA1, 20, 64)
DIGEST(sha224, VIRTIO_CRYPTO_HASH_SHA_224, 28, 64)
DIGEST(sha256, VIRTIO_CRYPTO_HASH_SHA_256, 32, 64)
DIGEST(sha384, VIRTIO_CRYPTO_HASH_SHA_384, 48, 128)
DIGEST(sha512, VIRTIO_CRYPTO_HASH_SHA_512, 64, 128)
DIGEST(sha3_224, VIRTIO_CRYPTO_HASH_SHA3_224, 28, 144)
DIGEST(sha3_256, VIRTIO_CRYPTO_HASH_SHA3_256, 32, 136)
DIGEST(sha3_384, VIRTIO_CRYPTO_HASH_SHA3_384, 48, 104)
DIGEST(sha3_512, VIRTIO_CRYPTO_HASH_SHA3_512, 64, 72)

/* Names as OpenSSL's own providers have them. */

const struct provided provided_digests[] = {
	ROW(VIRTIO_CRYPTO_HASH_SHA1, "SHA1:SHA-1:SSL3-SHA1:1.3.14.3.2.26", sha1),
	ROW(VIRTIO_CRYPTO_HASH_SHA_224, "SHA2-224:SHA-224:SHA224:2.16.840.1.101.3.4.2.4", sha224),
	ROW(VIRTIO_CRYPTO_HASH_SHA_256, "SHA2-256:SHA-256:SHA256:2.16.840.1.101.3.4.2.1", sha256),
	ROW(VIRTIO_CRYPTO_HASH_SHA_384, "SHA2-384:SHA-384:SHA384:2.16.840.1.101.3.4.2.2", sha384),
	ROW(VIRTIO_CRYPTO_HASH_SHA_512, "SHA2-512:SHA-512:SHA512:2.16.840.1.101.3.4.2.3", sha512),
	ROW(VIRTIO_CRYPTO_HASH_SHA3_224, "SHA3-224:2.16.840.1.101.3.4.2.7", sha3_224),
	ROW(VIRTIO_CRYPTO_HASH_SHA3_256, "SHA3-256:2.16.840.1.101.3.4.2.8", sha3_256),
	ROW(VIRTIO_CRYPTO_HASH_SHA3_384, "SHA3-384:2.16.840.1.101.3.4.2.9", sha3_384),
	ROW(VIRTIO_CRYPTO_HASH_SHA3_512, "SHA3-512:2.16.840.1.101.3.4.2.10", sha3_512),
	{0},
};
