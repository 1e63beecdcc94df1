/* SPDX-License-Identifier: BSD-2-Clause */
#include "backends/crypto/crypto.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>

#include "backends/crypto/key.h"

static const struct crypto_service *const services[] = {
	[VIRTIO_CRYPTO_SERVICE_CIPHER] = &crypto_cipher,
	[VIRTIO_CRYPTO_SERVICE_HASH] = &crypto_hash,
	[VIRTIO_CRYPTO_SERVICE_MAC] = &crypto_mac,
	[VIRTIO_CRYPTO_SERVICE_AEAD] = &crypto_aead,
	[VIRTIO_CRYPTO_SERVICE_AKCIPHER] = &crypto_akcipher,
};

static void probe(struct crypto_lib *lib)
{
	struct crypto_algos *algos = &lib->algos;

	algos->cipher = crypto_cipher.probe(lib);
	algos->hash = (uint32_t)crypto_hash.probe(lib);
	algos->mac = crypto_mac.probe(lib);
	algos->aead = (uint32_t)crypto_aead.probe(lib);
	algos->akcipher = (uint32_t)crypto_akcipher.probe(lib);
	algos->services = (algos->cipher ? 1u << VIRTIO_CRYPTO_SERVICE_CIPHER : 0) |
			  (algos->hash ? 1u << VIRTIO_CRYPTO_SERVICE_HASH : 0) |
			  (algos->mac ? 1u << VIRTIO_CRYPTO_SERVICE_MAC : 0) |
			  (algos->aead ? 1u << VIRTIO_CRYPTO_SERVICE_AEAD : 0) |
			  (algos->akcipher ? 1u << VIRTIO_CRYPTO_SERVICE_AKCIPHER : 0);
	ERR_clear_error();
}

int crypto_lib_alloc(struct crypto_lib **ret, struct vdpa_extack *ack)
{
	struct crypto_lib *lib = calloc(1, sizeof(*lib));

	if (!lib)
		return -ENOMEM;
	probe(lib);
	if (!lib->algos.services) {
		crypto_lib_free(lib);
		return vdpa_extack_set(ack, -EIO, "libcrypto has no algorithm for us");
	}
	*ret = lib;
	return 0;
}

void crypto_lib_free(struct crypto_lib *lib)
{
	free(lib);
}

const struct crypto_algos *crypto_lib_algos(const struct crypto_lib *lib)
{
	return &lib->algos;
}

uint8_t crypto_key_alloc(struct crypto_lib *lib, const struct crypto_params *params,
			 struct crypto_key **ret)
{
	struct crypto_key *key;
	uint8_t status;

	if (params->service >= ARRAY_SIZE(services))
		return VIRTIO_CRYPTO_NOTSUPP;
	key = calloc(1, sizeof(*key));
	if (!key)
		return VIRTIO_CRYPTO_ERR;
	key->service = services[params->service];
	key->params = *params;
	key->params.key = NULL;
	status = key->service->init(lib, key, params);
	if (status == VIRTIO_CRYPTO_OK)
		*ret = key;
	else
		crypto_key_free(key);
	ERR_clear_error();
	return status;
}

void crypto_key_free(struct crypto_key *key)
{
	if (!key)
		return;
	key->service->release(key);
	OPENSSL_cleanse(key, sizeof(*key));
	free(key);
}

uint32_t crypto_key_service(const struct crypto_key *key)
{
	return key->params.service;
}

uint8_t crypto_run(struct crypto_key *key, struct crypto_op *op)
{
	uint8_t status;

	op->dst_len = 0;
	if (op->opcode >> 8 != key->params.service)
		return VIRTIO_CRYPTO_ERR;
	status = key->service->run(key, op);
	if (status != VIRTIO_CRYPTO_OK) {
		op->dst_len = 0;
		ERR_clear_error();
	}
	return status;
}
