/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Digests.  The device hashes a message at once, so it is gathered first; one that is longer than
 * the device takes is refused.
 */
#include <errno.h>
#include <linux/virtio_crypto.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "provider/provider.h"

struct algo {
	uint32_t algo;
	size_t size, block;
};

struct digest {
	struct provider *prov;
	const struct algo *algo;
	uint8_t *data;
	size_t len, room;
	bool lost; /* a part of the message was refused: there is no digest of it */
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
	if (digest->data)
		explicit_bzero(digest->data, digest->room);
	free(digest->data);
	free(digest);
}

static int gather(struct digest *digest, const unsigned char *in, size_t len)
{
	uint64_t most = vdpa_crypto_info(digest->prov->crypto)->max_size;
	size_t room = digest->room ? digest->room : 4096;
	uint8_t *more;

	if (!range_fits(digest->len, len, most))
		return 0;
	while (room < digest->len + len)
		room *= 2;
	if (room > digest->room) {
		more = malloc(room);
		if (!more)
			return 0;
		if (digest->data) {
			memcpy(more, digest->data, digest->len);
			explicit_bzero(digest->data, digest->room);
			free(digest->data);
		}
		digest->data = more;
		digest->room = room;
	}
	if (len)
		memcpy(digest->data + digest->len, in, len);
	digest->len += len;
	return 1;
}

/* Not everybody looks at what this returns. */
static int digest_update(void *ctx, const unsigned char *in, size_t len)
{
	struct digest *digest = ctx;

	digest->lost |= !gather(digest, in, len);
	return !digest->lost;
}

static int digest_init(void *ctx, const OSSL_PARAM params[])
{
	struct digest *digest = ctx;

	digest->len = 0;
	digest->lost = false;
	return 1;
}

static void *digest_dup(void *ctx)
{
	struct digest *digest = ctx, *copy = digest_new(digest->prov, digest->algo);

	if (copy && !gather(copy, digest->data, digest->len)) {
		digest_free(copy);
		return NULL;
	}
	if (copy)
		copy->lost = digest->lost;
	return copy;
}

static int digest_final(void *ctx, unsigned char *out, size_t *out_len, size_t room)
{
	struct digest *digest = ctx;
	struct vdpa_crypto *crypto = digest->prov->crypto;
	struct vdpa_crypto_params params = {.service = VIRTIO_CRYPTO_SERVICE_HASH,
					    .algo = digest->algo->algo};
	struct vdpa_crypto_op op = {.opcode = VIRTIO_CRYPTO_HASH,
				    .src = digest->data,
				    .src_len = (uint32_t)digest->len,
				    .dst = out,
				    .dst_room = (uint32_t)digest->algo->size};
	uint64_t session;
	int err;

	if (digest->lost || room < digest->algo->size ||
	    vdpa_crypto_session(crypto, &params, &session, NULL))
		return 0;
	err = vdpa_crypto_run(crypto, session, &op, NULL);
	vdpa_crypto_end(crypto, session);
	*out_len = op.dst_len;
	return !err;
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
#define ROW(number, names, name)                                                                   \
	{                                                                                          \
		number,                                                                            \
		{                                                                                  \
			names, "provider=uvdpa", name##_table, "on a crypto device"                \
		}                                                                                  \
	}

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
