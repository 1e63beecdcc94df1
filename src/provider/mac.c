/* SPDX-License-Identifier: BSD-2-Clause */
/* Message authentication codes: HMAC and CMAC. */
#include <linux/virtio_crypto.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/defs.h"
#include "provider/message.h"
#include "provider/provider.h"

#define KEY_MAX 512u

/* What a MAC is made of, by the names that it has with OpenSSL. */
struct part {
	uint32_t algo;
	uint32_t size;
	uint32_t key_len; /* 0: any */
	const char *names[4];
};

struct kind {
	const char *param; /* which names the part */
	const struct part *parts;
};

static const struct part digests[] = {
	{VIRTIO_CRYPTO_MAC_HMAC_SHA1, 20, 0, {"SHA1", "SHA-1", "SSL3-SHA1"}},
	{VIRTIO_CRYPTO_MAC_HMAC_SHA_224, 28, 0, {"SHA224", "SHA-224", "SHA2-224"}},
	{VIRTIO_CRYPTO_MAC_HMAC_SHA_256, 32, 0, {"SHA256", "SHA-256", "SHA2-256"}},
	{VIRTIO_CRYPTO_MAC_HMAC_SHA_384, 48, 0, {"SHA384", "SHA-384", "SHA2-384"}},
	{VIRTIO_CRYPTO_MAC_HMAC_SHA_512, 64, 0, {"SHA512", "SHA-512", "SHA2-512"}},
	{0},
};

static const struct part ciphers[] = {
	{VIRTIO_CRYPTO_MAC_CMAC_AES, 16, 16, {"AES-128-CBC", "AES128"}},
	{VIRTIO_CRYPTO_MAC_CMAC_AES, 16, 24, {"AES-192-CBC", "AES192"}},
	{VIRTIO_CRYPTO_MAC_CMAC_AES, 16, 32, {"AES-256-CBC", "AES256"}},
	{0},
};

static const struct kind hmac = {OSSL_MAC_PARAM_DIGEST, digests};
static const struct kind cmac = {OSSL_MAC_PARAM_CIPHER, ciphers};

struct mac {
	struct provider *prov;
	const struct kind *kind;
	const struct part *part; /* NULL: not named yet */
	uint8_t key[KEY_MAX];
	uint32_t key_len; /* 0: none yet */
	struct message message;
};

/* ---- life */

static void *mac_new(void *provctx, const struct kind *kind)
{
	struct mac *mac = calloc(1, sizeof(*mac));

	if (mac) {
		mac->prov = provctx;
		mac->kind = kind;
	}
	return mac;
}

static void mac_free(void *ctx)
{
	struct mac *mac = ctx;

	if (!mac)
		return;
	message_release(&mac->message);
	explicit_bzero(mac, sizeof(*mac));
	free(mac);
}

static int mac_update(void *ctx, const unsigned char *in, size_t len)
{
	struct mac *mac = ctx;

	return message_add(&mac->message, mac->prov->crypto, in, len);
}

static void *mac_dup(void *ctx)
{
	struct mac *mac = ctx, *copy = malloc(sizeof(*copy));

	if (!copy)
		return NULL;
	*copy = *mac;
	copy->message = (struct message){0};
	if (!mac_update(copy, mac->message.data, mac->message.len)) {
		mac_free(copy);
		return NULL;
	}
	copy->message.lost = mac->message.lost;
	return copy;
}

/* ---- parameters */

static const struct part *find_part(const struct kind *kind, const char *name)
{
	for (const struct part *part = kind->parts; part->size; part++)
		for (size_t i = 0; i < ARRAY_SIZE(part->names) && part->names[i]; i++)
			if (!strcasecmp(part->names[i], name))
				return part;
	return NULL;
}

static int set_key(struct mac *mac, const void *key, size_t len)
{
	if (!len || len > KEY_MAX)
		return 0;
	explicit_bzero(mac->key, sizeof(mac->key));
	memcpy(mac->key, key, len);
	mac->key_len = (uint32_t)len;
	return 1;
}

static int set_params(void *ctx, const OSSL_PARAM params[])
{
	struct mac *mac = ctx;
	const OSSL_PARAM *p = OSSL_PARAM_locate_const(params, mac->kind->param);
	const struct part *part;

	if (p) {
		if (p->data_type != OSSL_PARAM_UTF8_STRING)
			return 0;
		part = find_part(mac->kind, p->data);
		if (!part || !(vdpa_crypto_info(mac->prov->crypto)->mac >> part->algo & 1))
			return 0;
		mac->part = part;
	}
	p = OSSL_PARAM_locate_const(params, OSSL_MAC_PARAM_KEY);
	return !p ||
	       (p->data_type == OSSL_PARAM_OCTET_STRING && set_key(mac, p->data, p->data_size));
}

static int get_params(void *ctx, OSSL_PARAM params[])
{
	struct mac *mac = ctx;

	return provider_set_size(params, OSSL_MAC_PARAM_SIZE, mac->part ? mac->part->size : 0);
}

static const OSSL_PARAM *gettable(void *ctx, void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_DEFN(OSSL_MAC_PARAM_SIZE, OSSL_PARAM_UNSIGNED_INTEGER, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

static const OSSL_PARAM *settable(void *ctx, void *provctx)
{
	static const OSSL_PARAM params[] = {
		OSSL_PARAM_DEFN(OSSL_MAC_PARAM_DIGEST, OSSL_PARAM_UTF8_STRING, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_MAC_PARAM_CIPHER, OSSL_PARAM_UTF8_STRING, NULL, 0),
		OSSL_PARAM_DEFN(OSSL_MAC_PARAM_KEY, OSSL_PARAM_OCTET_STRING, NULL, 0),
		OSSL_PARAM_END,
	};

	return params;
}

/* ---- a message */

static int mac_init(void *ctx, const unsigned char *key, size_t key_len, const OSSL_PARAM params[])
{
	struct mac *mac = ctx;

	message_clear(&mac->message);
	if ((params && !set_params(mac, params)) || (key && !set_key(mac, key, key_len)))
		return 0;
	if (!mac->part || !mac->key_len)
		return 0;
	return !mac->part->key_len || mac->part->key_len == mac->key_len;
}

static int mac_final(void *ctx, unsigned char *out, size_t *out_len, size_t room)
{
	struct mac *mac = ctx;
	struct vdpa_crypto_params params = {
		.service = VIRTIO_CRYPTO_SERVICE_MAC,
		.key = mac->key,
		.key_len = mac->key_len,
	};

	if (!mac->part || room < mac->part->size)
		return 0;
	params.algo = mac->part->algo;
	*out_len = mac->part->size;
	return message_run(&mac->message, mac->prov->crypto, &params, VIRTIO_CRYPTO_MAC, out,
			   mac->part->size);
}

#define MAC(name)                                                                                  \
	static void *name##_new(void *provctx)                                                     \
	{                                                                                          \
		return mac_new(provctx, &name);                                                    \
	}                                                                                          \
                                                                                                   \
	static const OSSL_DISPATCH name##_table[] = {                                              \
		FN(OSSL_FUNC_MAC_NEWCTX, name##_new),                                              \
		FN(OSSL_FUNC_MAC_FREECTX, mac_free),                                               \
		FN(OSSL_FUNC_MAC_DUPCTX, mac_dup),                                                 \
		FN(OSSL_FUNC_MAC_INIT, mac_init),                                                  \
		FN(OSSL_FUNC_MAC_UPDATE, mac_update),                                              \
		FN(OSSL_FUNC_MAC_FINAL, mac_final),                                                \
		FN(OSSL_FUNC_MAC_GETTABLE_CTX_PARAMS, gettable),                                   \
		FN(OSSL_FUNC_MAC_GET_CTX_PARAMS, get_params),                                      \
		FN(OSSL_FUNC_MAC_SETTABLE_CTX_PARAMS, settable),                                   \
		FN(OSSL_FUNC_MAC_SET_CTX_PARAMS, set_params),                                      \
		{0, NULL},                                                                         \
	};

MAC(hmac)
MAC(cmac)

const struct provided provided_macs[] = {
	ROW(VIRTIO_CRYPTO_MAC_HMAC_SHA_256, "HMAC", hmac),
	ROW(VIRTIO_CRYPTO_MAC_CMAC_AES, "CMAC", cmac),
	{0},
};
