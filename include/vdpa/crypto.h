/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * Use of a crypto device that the driver `virtio` holds, in this process or in another: through its
 * socket, `RUN/dev/NAME/crypto.sock`.
 *
 *	vdpa_crypto_open("/run/uvdpa/dev/crypto0/crypto.sock", &crypto, &ack);
 *	vdpa_crypto_session(crypto, &params, &id, &ack);
 *	vdpa_crypto_run(crypto, id, &op, &ack);
 *	vdpa_crypto_end(crypto, id);
 *	vdpa_crypto_close(crypto);
 *
 * Services and algorithms are the numbers of <linux/virtio_crypto.h> (ECDSA is 2, as in the
 * specification).
 *
 * Context: any thread; calls on one connection take turns.  They wait for the device.
 *
 * @spec virtio 1.3, 5.9
 */
#ifndef VDPA_CRYPTO_H
#define VDPA_CRYPTO_H

#include <stdint.h>

#include <vdpa/extack.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vdpa_crypto;

/** What the device can do: a bit for each service and algorithm. */
struct vdpa_crypto_info {
	uint32_t services;
	uint64_t cipher, mac;
	uint32_t hash, aead, akcipher;
	uint64_t max_size; /**< bytes of an operation: key, IV and data together */
};

/** @return 0, -EPROTO (somebody else listens there), -ENOMEM, what connect(2) says */
int vdpa_crypto_open(const char *path, struct vdpa_crypto **ret, struct vdpa_extack *ack);
/** Its sessions end.  NULL is allowed; no other call is under way. */
void vdpa_crypto_close(struct vdpa_crypto *crypto);
const struct vdpa_crypto_info *vdpa_crypto_info(const struct vdpa_crypto *crypto);

struct vdpa_crypto_params {
	uint32_t service; /**< VIRTIO_CRYPTO_SERVICE_* */
	uint32_t algo;
	uint32_t op;         /**< cipher, AEAD: VIRTIO_CRYPTO_OP_* */
	uint32_t result_len; /**< hash, MAC, tag: bytes; 0: all */
	uint32_t key_type;   /**< akcipher: VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_* */
	uint32_t padding;    /**< RSA */
	uint32_t hash;       /**< RSA */
	uint32_t curve;      /**< ECDSA */
	const void *key;
	uint32_t key_len;
};

/**
 * Make a session.
 * @return 0, -EOPNOTSUPP (algorithm, length of the key), -ENOSPC (too many sessions), -EINVAL (the
 * device does not like the key), -EPIPE (the device has gone), -EMSGSIZE
 */
int vdpa_crypto_session(struct vdpa_crypto *crypto, const struct vdpa_crypto_params *params,
			uint64_t *ret, struct vdpa_extack *ack);
/** End it: the key is wiped.  @return 0, -ENOENT, -EPIPE */
int vdpa_crypto_end(struct vdpa_crypto *crypto, uint64_t session);

struct vdpa_crypto_op {
	uint32_t opcode; /**< VIRTIO_CRYPTO_CIPHER_ENCRYPT ... */
	const void *iv;
	uint32_t iv_len;
	const void *aad;
	uint32_t aad_len;
	const void *src; /**< AEAD decryption: with the tag behind; verification: the signature */
	uint32_t src_len;
	const void *data; /**< verification: what was signed */
	uint32_t data_len;
	void *dst; /**< AEAD encryption: the tag comes behind */
	uint32_t dst_room;
	uint32_t dst_len; /**< out: bytes of the result */
};

/**
 * Run an operation in a session.
 * @return 0, -EBADMSG (not authentic), -EKEYREJECTED (no such signature), -EOPNOTSUPP, -ENOENT (no
 * such session), -EINVAL (lengths, or what the device does not like), -EMSGSIZE, -EPIPE
 */
int vdpa_crypto_run(struct vdpa_crypto *crypto, uint64_t session, struct vdpa_crypto_op *op,
		    struct vdpa_extack *ack);

#ifdef __cplusplus
}
#endif

#endif
