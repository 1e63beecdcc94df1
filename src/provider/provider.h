/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An OpenSSL provider whose algorithms run on a crypto device of the bus: a shared object,
 * uvdpa.so.
 *
 *	UVDPA_CRYPTO_SOCKET=RUN/dev/NAME/crypto.sock openssl enc -provider uvdpa -aes-128-cbc ...
 *
 * The socket is named by the environment, or by `socket` in the provider's section of OpenSSL's
 * configuration file.  There is one connection for each library context that loads it.
 */
#ifndef PROVIDER_PROVIDER_H
#define PROVIDER_PROVIDER_H

#include <openssl/core.h>
#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/params.h>

#include "vdpa/crypto.h"

struct provider {
	struct vdpa_crypto *crypto;
	/* What the device has; end with a row without names. */
	OSSL_ALGORITHM *ciphers, *digests, *macs;
};

/* All that there is code for; `bit` is that of the device's mask. */
struct provided {
	uint32_t bit;
	OSSL_ALGORITHM algorithm;
};

extern const struct provided provided_ciphers[], provided_aeads[], provided_digests[],
	provided_macs[];

/* One of them; name: of its table. */
#define ROW(number, names, name)                                                                   \
	{                                                                                          \
		number,                                                                            \
		{                                                                                  \
			names, "provider=uvdpa", name##_table, "on a crypto device"                \
		}                                                                                  \
	}

/* Function pointers of OpenSSL's tables have no type. */
typedef void provider_fn(void);
#define FN(id, fn)                                                                                 \
	{                                                                                          \
		id, (provider_fn *)fn                                                              \
	}

/* The table of a cipher: who it is, name##_algo says; what it does, the functions of its kind. */
#define PROVIDED_CIPHER(name, kind)                                                                \
	static void *name##_new(void *provctx)                                                     \
	{                                                                                          \
		return kind##_new(provctx, &name##_algo);                                          \
	}                                                                                          \
                                                                                                   \
	static int name##_get(OSSL_PARAM params[])                                                 \
	{                                                                                          \
		return kind##_get_params(&name##_algo, params);                                    \
	}                                                                                          \
                                                                                                   \
	static const OSSL_DISPATCH name##_table[] = {                                              \
		FN(OSSL_FUNC_CIPHER_NEWCTX, name##_new),                                           \
		FN(OSSL_FUNC_CIPHER_FREECTX, kind##_free),                                         \
		FN(OSSL_FUNC_CIPHER_DUPCTX, kind##_dup),                                           \
		FN(OSSL_FUNC_CIPHER_ENCRYPT_INIT, kind##_encrypt_init),                            \
		FN(OSSL_FUNC_CIPHER_DECRYPT_INIT, kind##_decrypt_init),                            \
		FN(OSSL_FUNC_CIPHER_UPDATE, kind##_update),                                        \
		FN(OSSL_FUNC_CIPHER_FINAL, kind##_final),                                          \
		FN(OSSL_FUNC_CIPHER_GETTABLE_PARAMS, kind##_gettable),                             \
		FN(OSSL_FUNC_CIPHER_GET_PARAMS, name##_get),                                       \
		FN(OSSL_FUNC_CIPHER_GETTABLE_CTX_PARAMS, kind##_gettable_ctx),                     \
		FN(OSSL_FUNC_CIPHER_GET_CTX_PARAMS, kind##_get_ctx_params),                        \
		FN(OSSL_FUNC_CIPHER_SETTABLE_CTX_PARAMS, kind##_settable_ctx),                     \
		FN(OSSL_FUNC_CIPHER_SET_CTX_PARAMS, kind##_set_params),                            \
		{0, NULL},                                                                         \
	};

/* Nothing happens when nobody asks for it. */
static inline int provider_set_size(OSSL_PARAM params[], const char *name, size_t value)
{
	OSSL_PARAM *p = OSSL_PARAM_locate(params, name);

	return !p || OSSL_PARAM_set_size_t(p, value);
}

#endif
