/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What goes over the socket of a crypto device on the virtio bus (crypto.sock): requests of the
 * device itself, as its queues have them with REVISION_1 and in session mode.
 *
 *	server: struct crypto_hello
 *	client: struct crypto_frame, then out_len bytes, which the device reads
 *	server: struct crypto_frame, then in_len bytes, which the device wrote; ...
 *
 * A client has one request under way at a time.  Its sessions are its own, and end with the
 * connection.  Both ends run on one machine: numbers of this file are in its byte order, those of
 * requests in virtio's.
 */
#ifndef DRIVERS_VIRTIO_CRYPTO_PROTO_H
#define DRIVERS_VIRTIO_CRYPTO_PROTO_H

#include <linux/virtio_crypto.h>
#include <stdint.h>

#define CRYPTO_HELLO_MAGIC     0x31706376u
#define CRYPTO_HELLO_VERSION   1u
/* Longest request and longest answer, bytes: 64 KiB of data, a key, and what comes with it. */
#define CRYPTO_DATA_MAX        65536u
#define CRYPTO_FRAME_MAX       (CRYPTO_DATA_MAX + 16384u)
/* Sessions of a client at a time. */
#define CRYPTO_CLIENT_SESSIONS 64u
/* @spec virtio 1.3, 5.9.7.3: in the header of an operation. */
#define CRYPTO_FLAG_SESSION    1u

enum crypto_kind { CRYPTO_COMMAND = 0, CRYPTO_OPERATION = 1 };

struct crypto_hello {
	uint32_t magic, version;
	struct virtio_crypto_config config; /* little-endian, max_size as this way has it */
};

struct crypto_frame {
	uint32_t kind;
	uint32_t out_len; /* client: bytes that follow; server: bytes that the device says it wrote
			   */
	uint32_t in_len;  /* client: room for the answer; server: bytes that follow */
};

#endif
