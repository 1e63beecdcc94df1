/* SPDX-License-Identifier: BSD-2-Clause */
/* Keys and signatures that others have published: tests/data/crypto_signatures.txt. */
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "backends/crypto/crypto.h"
#include "base/defs.h"
#include "crypto_vectors.h"

#define BYTES_MAX 1024u

struct signature {
	unsigned int line;
	bool sign, good;
	struct crypto_params params;
	uint8_t key[BYTES_MAX], text[BYTES_MAX], bytes[BYTES_MAX];
	uint8_t digest[EVP_MAX_MD_SIZE];
	uint32_t len, digest_len; /* of bytes, of digest */
};

static struct crypto_lib *lib;

static int setup(void **state)
{
	return crypto_lib_alloc(&lib, NULL);
}

static int teardown(void **state)
{
	crypto_lib_free(lib);
	return 0;
}

/* ---- reading */

struct name {
	const char *name;
	uint32_t number;
};

static uint32_t find(const struct name *names, const char *word)
{
	while (names->name && strcmp(names->name, word))
		names++;
	if (!names->name)
		fail_msg("'%s'?", word);
	return names->number;
}

static void read_kind(struct signature *s, const char *word)
{
	static const struct name curves[] = {
		{"p192", VIRTIO_CRYPTO_CURVE_NIST_P192},
		{"p224", VIRTIO_CRYPTO_CURVE_NIST_P224},
		{"p256", VIRTIO_CRYPTO_CURVE_NIST_P256},
		{NULL, 0},
	};

	s->params.service = VIRTIO_CRYPTO_SERVICE_AKCIPHER;
	if (!strcmp(word, "rsa")) {
		s->params.algo = VIRTIO_CRYPTO_AKCIPHER_RSA;
		s->params.padding = VIRTIO_CRYPTO_RSA_PKCS1_PADDING;
	} else {
		s->params.algo = CRYPTO_AKCIPHER_ECDSA;
		s->params.curve = find(curves, word);
	}
}

static void read_signature(char *line, struct signature *s)
{
	static const struct name hashes[] = {
		{"sha1", VIRTIO_CRYPTO_RSA_SHA1},
		{"sha224", VIRTIO_CRYPTO_RSA_SHA224},
		{"sha256", VIRTIO_CRYPTO_RSA_SHA256},
		{NULL, 0},
	};
	char *save;
	const char *hash;
	uint32_t len;
	size_t digest_len;

	s->sign = !strcmp(strtok_r(line, " \n", &save), "sign");
	s->params.key_type = s->sign ? VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE
				     : VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PUBLIC;
	read_kind(s, strtok_r(NULL, " \n", &save));
	hash = strtok_r(NULL, " \n", &save);
	s->params.hash = find(hashes, hash);
	s->params.key = s->key;
	s->params.key_len = vectors_hex(strtok_r(NULL, " \n", &save), s->key, BYTES_MAX);
	len = vectors_hex(strtok_r(NULL, " \n", &save), s->text, BYTES_MAX);
	s->len = vectors_hex(strtok_r(NULL, " \n", &save), s->bytes, BYTES_MAX);
	s->good = s->sign || !strcmp(strtok_r(NULL, " \n", &save), "good");
	assert_true(EVP_Q_digest(NULL, hash, NULL, s->text, len, s->digest, &digest_len));
	s->digest_len = (uint32_t)digest_len;
}

/* ---- using */

static uint8_t verify(const struct signature *s, struct crypto_key *key)
{
	struct crypto_op op = {
		.opcode = VIRTIO_CRYPTO_AKCIPHER_VERIFY,
		.src = s->bytes,
		.src_len = s->len,
		.data = s->digest,
		.data_len = s->digest_len,
	};

	return crypto_run(key, &op);
}

static void check_verify(struct signature *s, struct crypto_key *key)
{
	uint8_t want = s->good ? VIRTIO_CRYPTO_OK : VIRTIO_CRYPTO_KEY_REJECTED;

	if (verify(s, key) != want)
		fail_msg("crypto_signatures.txt:%u: is%s taken", s->line, s->good ? " not" : "");
	/* No byte of it may be another one. */
	for (uint32_t i = 0; i < s->len; i++) {
		s->bytes[i] ^= 0x10;
		if (verify(s, key) != VIRTIO_CRYPTO_KEY_REJECTED)
			fail_msg("crypto_signatures.txt:%u: byte %u does not count", s->line, i);
		s->bytes[i] ^= 0x10;
	}
}

static void check_sign(const struct signature *s, struct crypto_key *key)
{
	uint8_t out[BYTES_MAX];
	struct crypto_op op = {
		.opcode = VIRTIO_CRYPTO_AKCIPHER_SIGN,
		.src = s->digest,
		.src_len = s->digest_len,
		.dst = out,
		.dst_room = sizeof(out),
	};

	assert_int_equal(crypto_run(key, &op), VIRTIO_CRYPTO_OK);
	if (op.dst_len != s->len || memcmp(out, s->bytes, s->len))
		fail_msg("crypto_signatures.txt:%u: another signature", s->line);
}

static void check(char *line, unsigned int number, void *arg)
{
	struct signature s = {.line = number};
	struct crypto_key *key;

	read_signature(line, &s);
	if (crypto_key_alloc(lib, &s.params, &key) != VIRTIO_CRYPTO_OK)
		fail_msg("crypto_signatures.txt:%u: the key is refused", number);
	if (s.sign)
		check_sign(&s, key);
	else
		check_verify(&s, key);
	crypto_key_free(key);
}

static void test_crypto_signatures(void **state)
{
	vectors_lines("crypto_signatures.txt", check, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crypto_signatures),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
