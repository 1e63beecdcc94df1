/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Known answers of tests/data, whose path is the environment's UVDPA_TEST_DATA.
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

/* Each line of a file that is no comment; fails the test when there is none. */
void vectors_lines(const char *name, void (*fn)(char *line, unsigned int number, void *arg),
		   void *arg);
/* Bytes of a word; "-" for nothing.  Fails the test where it is no such word. */
uint32_t vectors_hex(const char *word, uint8_t *buf, uint32_t room);

/* Run fn on each of crypto.txt. */
void vectors_each(void (*fn)(const struct vector *v, void *arg), void *arg);

#endif
