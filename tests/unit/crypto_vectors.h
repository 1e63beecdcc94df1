/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Known answers of tests/data/crypto.txt, whose path is the environment's UVDPA_TEST_DATA.
 */
#ifndef UNIT_CRYPTO_VECTORS_H
#define UNIT_CRYPTO_VECTORS_H

#include <stdint.h>

#define VECTOR_MAX 256u

struct vector_bytes {
	uint8_t data[VECTOR_MAX];
	uint32_t len;
};

struct vector {
	unsigned int line;
	uint32_t service, algo; /* VIRTIO_CRYPTO_* */
	struct vector_bytes key, iv, aad, in, out, tag;
};

/* Run fn on each; fails the test when there is none. */
void vectors_each(void (*fn)(const struct vector *v, void *arg), void *arg);

#endif
