/* SPDX-License-Identifier: BSD-2-Clause */
#include "crypto_vectors.h"

#include <linux/virtio_crypto.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/defs.h"

static const struct {
	const char *name;
	uint32_t algo;
} algos[] = {
	{"ecb", VIRTIO_CRYPTO_CIPHER_AES_ECB},
	{"cbc", VIRTIO_CRYPTO_CIPHER_AES_CBC},
	{"ctr", VIRTIO_CRYPTO_CIPHER_AES_CTR},
	{"xts", VIRTIO_CRYPTO_CIPHER_AES_XTS},
	{"sha1", VIRTIO_CRYPTO_HASH_SHA1},
	{"sha224", VIRTIO_CRYPTO_HASH_SHA_224},
	{"sha256", VIRTIO_CRYPTO_HASH_SHA_256},
	{"sha384", VIRTIO_CRYPTO_HASH_SHA_384},
	{"sha512", VIRTIO_CRYPTO_HASH_SHA_512},
	{"sha3-224", VIRTIO_CRYPTO_HASH_SHA3_224},
	{"sha3-256", VIRTIO_CRYPTO_HASH_SHA3_256},
	{"sha3-384", VIRTIO_CRYPTO_HASH_SHA3_384},
	{"sha3-512", VIRTIO_CRYPTO_HASH_SHA3_512},
	{"shake128", VIRTIO_CRYPTO_HASH_SHA3_SHAKE128},
	{"shake256", VIRTIO_CRYPTO_HASH_SHA3_SHAKE256},
	{"hmac-sha1", VIRTIO_CRYPTO_MAC_HMAC_SHA1},
	{"hmac-sha224", VIRTIO_CRYPTO_MAC_HMAC_SHA_224},
	{"hmac-sha256", VIRTIO_CRYPTO_MAC_HMAC_SHA_256},
	{"hmac-sha384", VIRTIO_CRYPTO_MAC_HMAC_SHA_384},
	{"hmac-sha512", VIRTIO_CRYPTO_MAC_HMAC_SHA_512},
	{"cmac", VIRTIO_CRYPTO_MAC_CMAC_AES},
	{"cbcmac", VIRTIO_CRYPTO_MAC_CBCMAC_AES},
	{"gcm", VIRTIO_CRYPTO_AEAD_GCM},
	{"ccm", VIRTIO_CRYPTO_AEAD_CCM},
	{"chacha20-poly1305", VIRTIO_CRYPTO_AEAD_CHACHA20_POLY1305},
};

static uint32_t find_algo(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(algos); i++)
		if (!strcmp(algos[i].name, name))
			return algos[i].algo;
	fail_msg("there is no algorithm '%s'", name);
	return 0;
}

/* The words of each service behind the algorithm. */
static const struct {
	const char *name;
	uint32_t service;
	size_t fields[7];
} services[] = {
#define F(field) offsetof(struct vector, field)
	{"cipher", VIRTIO_CRYPTO_SERVICE_CIPHER, {F(key), F(iv), F(in), F(out)}},
	{"hash", VIRTIO_CRYPTO_SERVICE_HASH, {F(in), F(out)}},
	{"mac", VIRTIO_CRYPTO_SERVICE_MAC, {F(key), F(in), F(out)}},
	{"aead", VIRTIO_CRYPTO_SERVICE_AEAD, {F(key), F(iv), F(aad), F(in), F(out), F(tag)}},
#undef F
};

uint32_t vectors_hex(const char *word, uint8_t *buf, uint32_t room)
{
	uint32_t len = 0;

	if (!word)
		fail_msg("a word is missing");
	if (!strcmp(word, "-"))
		return 0;
	for (; *word; word += 2) {
		assert_true(len < room);
		assert_int_equal(sscanf(word, "%2hhx", &buf[len++]), 1);
	}
	return len;
}

static void read_hex(const char *word, struct vector_bytes *bytes)
{
	bytes->len = vectors_hex(word, bytes->data, VECTOR_MAX);
}

static void read_vector(char *line, struct vector *v)
{
	char *save, *word = strtok_r(line, " \n", &save);
	size_t s = 0;

	while (s < ARRAY_SIZE(services) && strcmp(services[s].name, word))
		s++;
	if (s == ARRAY_SIZE(services))
		fail_msg("there is no service '%s'", word);
	v->service = services[s].service;
	v->algo = find_algo(strtok_r(NULL, " \n", &save));
	for (size_t i = 0; services[s].fields[i]; i++)
		read_hex(strtok_r(NULL, " \n", &save),
			 (struct vector_bytes *)(void *)((char *)v + services[s].fields[i]));
}

void vectors_lines(const char *name, void (*fn)(char *line, unsigned int number, void *arg),
		   void *arg)
{
	const char *dir = getenv("UVDPA_TEST_DATA");
	char path[4096], line[4096];
	unsigned int number = 0, num = 0;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", dir ? dir : "tests/data", name);
	file = fopen(path, "re");
	if (!file)
		fail_msg("cannot open '%s'", path);
	while (fgets(line, sizeof(line), file)) {
		number++;
		if (line[0] == '#' || line[0] == '\n')
			continue;
		fn(line, number, arg);
		num++;
	}
	fclose(file);
	assert_true(num > 0);
}

struct each {
	void (*fn)(const struct vector *v, void *arg);
	void *arg;
};

static void each_line(char *line, unsigned int number, void *arg)
{
	const struct each *each = arg;
	struct vector v = {.line = number};

	read_vector(line, &v);
	each->fn(&v, each->arg);
}

void vectors_each(void (*fn)(const struct vector *v, void *arg), void *arg)
{
	struct each each = {fn, arg};

	vectors_lines("crypto.txt", each_line, &each);
}
