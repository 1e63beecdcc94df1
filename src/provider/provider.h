/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An OpenSSL provider whose algorithms run on a crypto device of the bus: a shared object,
 *uvdpa.so.
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
	const OSSL_CORE_HANDLE *core;
	struct vdpa_crypto *crypto;
	OSSL_ALGORITHM *ciphers, *digests; /* what the device has; end with a row without names */
};

/* All that there is code for; `bit` is that of the device's mask. */
struct provided {
	uint32_t bit;
	OSSL_ALGORITHM algorithm;
};

extern const struct provided provided_ciphers[], provided_digests[];

/* Function pointers of OpenSSL's tables have no type. */
typedef void provider_fn(void);
#define FN(id, fn)                                                                                 \
	{                                                                                          \
		id, (provider_fn *)fn                                                              \
	}

#endif
