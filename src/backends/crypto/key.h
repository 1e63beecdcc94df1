/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A key, inside: each service is a table of functions.
 */
#ifndef BACKENDS_CRYPTO_KEY_H
#define BACKENDS_CRYPTO_KEY_H

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>

#include "backends/crypto/crypto.h"
#include "base/defs.h"

/*
 * It uses the library context of the process, NULL: one of its own could only be freed after each
 * thread that ever used it, and workers are not ours to end.
 */
struct crypto_lib {
	struct crypto_algos algos;
};

#define CRYPTO_CTX NULL

struct crypto_key {
	const struct crypto_service *service;
	struct crypto_params params; /* without the key itself */
	union {
		EVP_MD *md;
		EVP_MAC_CTX *mac;
		EVP_PKEY *pkey;
		struct {
			EVP_CIPHER *cipher;
			/* Used by whoever gets the lock, so that nobody waits for it. */
			EVP_CIPHER_CTX *ctx;
			pthread_mutex_t lock;
			uint8_t key[CRYPTO_CIPHER_KEY]; /* for contexts of the others */
		} cipher;
	};
};

struct crypto_service {
	uint8_t (*init)(struct crypto_lib *lib, struct crypto_key *key,
			const struct crypto_params *params);
	/* Also after an init() that failed. */
	void (*release)(struct crypto_key *key);
	uint8_t (*run)(struct crypto_key *key, struct crypto_op *op);
	/* The algorithms that libcrypto has. */
	uint64_t (*probe)(struct crypto_lib *lib);
};

extern const struct crypto_service crypto_cipher, crypto_hash, crypto_mac, crypto_aead,
	crypto_akcipher;

/* ---- cipher.c, for AEAD, too */

/* A context with the key of this cipher, where encrypt says. */
uint8_t crypto_cipher_init(struct crypto_lib *lib, struct crypto_key *key, const char *name,
			   const struct crypto_params *params);
void crypto_cipher_release(struct crypto_key *key);
/* The key's context, or another one while a thread has that; NULL: out of memory. */
EVP_CIPHER_CTX *crypto_cipher_get(struct crypto_key *key);
void crypto_cipher_put(struct crypto_key *key, EVP_CIPHER_CTX *ctx);
/* Does the operation fit the only one that the key is for? */
bool crypto_cipher_may(const struct crypto_key *key, const struct crypto_op *op);
bool crypto_cipher_there(struct crypto_lib *lib, const char *name);

#endif
