/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Cryptography for crypto devices, over OpenSSL's libcrypto.  Services, algorithms and results have
 * the numbers of the virtio specification; rings and requests are the class's.
 *
 * Keys are wiped when they are freed, and are nowhere else in this library by then.
 *
 * Context: any thread, also several on one key at once.  Nothing blocks; what CRYPTO_SLOW() says
 * may take milliseconds.
 *
 * @spec virtio 1.3, 5.9
 */
#ifndef BACKENDS_CRYPTO_CRYPTO_H
#define BACKENDS_CRYPTO_CRYPTO_H

#include <linux/virtio_crypto.h>
#include <stdbool.h>
#include <stdint.h>

#include "vdpa/extack.h"

/* The specification's number; the kernel's header has another algorithm there. */
#define CRYPTO_AKCIPHER_ECDSA 2u

#define CRYPTO_IV_MAX        16u
#define CRYPTO_CIPHER_KEY    64u /* longest keys, bytes: XTS has two of 32 */
#define CRYPTO_AUTH_KEY      512u
#define CRYPTO_AKCIPHER_KEY  8192u /* encoded */
#define CRYPTO_RSA_BITS      8192
#define CRYPTO_TAG_MAX       16u
#define CRYPTO_SLOW(service) ((service) == VIRTIO_CRYPTO_SERVICE_AKCIPHER)

/* libcrypto as this process has configured it, and what works there. */
struct crypto_lib;

/* What works here: a bit for each algorithm; a service without any is not offered. */
struct crypto_algos {
	uint32_t services;
	uint64_t cipher, mac;
	uint32_t hash, aead, akcipher;
};

/* 0, -ENOMEM, -EIO: libcrypto has nothing for us. */
int crypto_lib_alloc(struct crypto_lib **ret, struct vdpa_extack *ack);
/* All keys have been freed.  NULL is allowed. */
void crypto_lib_free(struct crypto_lib *lib);
const struct crypto_algos *crypto_lib_algos(const struct crypto_lib *lib);

/* What a key is for. */
struct crypto_params {
	uint32_t service;
	uint32_t algo;
	uint32_t op;         /* cipher, AEAD: VIRTIO_CRYPTO_OP_*, the only one it is used for */
	uint32_t result_len; /* hash, MAC, tag: bytes where a request does not say; 0: all */
	uint32_t key_type;   /* akcipher: VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_* */
	uint32_t padding;    /* RSA */
	uint32_t hash;       /* RSA */
	uint32_t curve;      /* ECDSA */
	const uint8_t *key;
	uint32_t key_len;
};

struct crypto_key;

/* VIRTIO_CRYPTO_OK, _NOTSUPP (algorithm, length of the key), _ERR (no such key, out of memory) */
uint8_t crypto_key_alloc(struct crypto_lib *lib, const struct crypto_params *params,
			 struct crypto_key **ret);
/* NULL is allowed. */
void crypto_key_free(struct crypto_key *key);
uint32_t crypto_key_service(const struct crypto_key *key);

/* One operation.  Nothing overlaps. */
struct crypto_op {
	uint32_t opcode; /* VIRTIO_CRYPTO_CIPHER_ENCRYPT ... */
	const uint8_t *iv;
	uint32_t iv_len;
	const uint8_t *aad;
	uint32_t aad_len;
	const uint8_t *src; /* AEAD decryption: with the tag behind; verification: the signature */
	uint32_t src_len;
	const uint8_t *data; /* verification: what was signed */
	uint32_t data_len;
	uint32_t result_len; /* hash, MAC, tag; 0: the key's */
	uint8_t *dst;
	uint32_t dst_room;
	uint32_t dst_len; /* written; 0 unless the result is VIRTIO_CRYPTO_OK */
};

/* VIRTIO_CRYPTO_OK, _BADMSG, _KEY_REJECTED, _NOTSUPP, _ERR */
uint8_t crypto_run(struct crypto_key *key, struct crypto_op *op);

#endif
