/* SPDX-License-Identifier: BSD-2-Clause */
/* Keys and operations of the crypto backend: known answers, and what is refused. */
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "backends/crypto/crypto.h"
#include "base/defs.h"
#include "crypto_vectors.h"

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

static struct crypto_key *make_key(const struct crypto_params *params)
{
	struct crypto_key *key = NULL;

	assert_int_equal(crypto_key_alloc(lib, params, &key), VIRTIO_CRYPTO_OK);
	return key;
}

static struct crypto_params params_of(const struct vector *v, uint32_t op)
{
	return (struct crypto_params){
		.service = v->service,
		.algo = v->algo,
		.op = op,
		.key = v->key.data,
		.key_len = v->key.len,
	};
}

/* ---- known answers */

static void check(const struct vector *v, const struct crypto_op *op, const void *want,
		  uint32_t len)
{
	if (op->dst_len != len || memcmp(op->dst, want, len))
		fail_msg("crypto.txt:%u: another result", v->line);
}

static void run(const struct vector *v, struct crypto_key *key, struct crypto_op *op)
{
	uint8_t status = crypto_run(key, op);

	if (status != VIRTIO_CRYPTO_OK)
		fail_msg("crypto.txt:%u: status %u", v->line, status);
}

static void run_cipher(const struct vector *v)
{
	uint8_t out[VECTOR_MAX];
	struct crypto_op op = {
		.opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT,
		.iv = v->iv.data,
		.iv_len = v->iv.len,
		.src = v->in.data,
		.src_len = v->in.len,
		.dst = out,
		.dst_room = sizeof(out),
	};
	struct crypto_params params = params_of(v, VIRTIO_CRYPTO_OP_ENCRYPT);
	struct crypto_key *key = make_key(&params);

	/* Twice: nothing of an operation stays in a key. */
	for (int i = 0; i < 2; i++) {
		run(v, key, &op);
		check(v, &op, v->out.data, v->out.len);
	}
	crypto_key_free(key);
	params.op = VIRTIO_CRYPTO_OP_DECRYPT;
	key = make_key(&params);
	op.opcode = VIRTIO_CRYPTO_CIPHER_DECRYPT;
	op.src = v->out.data;
	run(v, key, &op);
	check(v, &op, v->in.data, v->in.len);
	crypto_key_free(key);
}

static void run_digest(const struct vector *v, uint32_t opcode)
{
	uint8_t out[VECTOR_MAX];
	struct crypto_op op = {
		.opcode = opcode,
		.src = v->in.data,
		.src_len = v->in.len,
		.result_len = v->out.len,
		.dst = out,
		.dst_room = sizeof(out),
	};
	struct crypto_params params = params_of(v, 0);
	struct crypto_key *key = make_key(&params);

	for (int i = 0; i < 2; i++) {
		run(v, key, &op);
		check(v, &op, v->out.data, v->out.len);
	}
	op.dst_room = v->out.len - 1;
	assert_int_equal(crypto_run(key, &op), VIRTIO_CRYPTO_ERR);
	crypto_key_free(key);
}

/* Each bit of what is authenticated counts, and nothing comes out of what is not authentic. */
static void expect_forged(const struct vector *v, struct crypto_key *key, struct crypto_op *op)
{
	uint8_t zeroes[VECTOR_MAX] = {0};

	memset(op->dst, 0xaa, VECTOR_MAX);
	if (crypto_run(key, op) != VIRTIO_CRYPTO_BADMSG || op->dst_len)
		fail_msg("crypto.txt:%u: a forgery was taken", v->line);
	if (memcmp(op->dst, zeroes, v->in.len))
		fail_msg("crypto.txt:%u: a forgery was decrypted", v->line);
}

static void forge(const struct vector *v, struct crypto_key *key, struct crypto_op *op)
{
	uint8_t *const parts[] = {(uint8_t *)op->src, (uint8_t *)op->aad, (uint8_t *)op->iv};
	const uint32_t lens[] = {op->src_len, op->aad_len, op->iv_len};

	for (size_t part = 0; part < ARRAY_SIZE(parts); part++) {
		for (uint32_t bit = 0; bit < 8 * lens[part]; bit++) {
			parts[part][bit / 8] ^= (uint8_t)(1 << bit % 8);
			expect_forged(v, key, op);
			parts[part][bit / 8] ^= (uint8_t)(1 << bit % 8);
		}
	}
	/* A tag of zeroes, and one that is longer than what is there. */
	op->src_len = v->tag.len - 1;
	assert_int_equal(crypto_run(key, op), VIRTIO_CRYPTO_ERR);
}

static void run_aead(const struct vector *v)
{
	struct vector copy = *v;
	uint8_t both[2 * VECTOR_MAX], out[2 * VECTOR_MAX];
	struct crypto_op op = {
		.opcode = VIRTIO_CRYPTO_AEAD_ENCRYPT,
		.iv = copy.iv.data,
		.iv_len = v->iv.len,
		.aad = copy.aad.data,
		.aad_len = v->aad.len,
		.src = v->in.data,
		.src_len = v->in.len,
		.result_len = v->tag.len,
		.dst = out,
		.dst_room = sizeof(out),
	};
	struct crypto_params params = params_of(v, VIRTIO_CRYPTO_OP_ENCRYPT);
	struct crypto_key *key = make_key(&params);

	memcpy(both, v->out.data, v->out.len);
	memcpy(both + v->out.len, v->tag.data, v->tag.len);
	for (int i = 0; i < 2; i++) {
		run(v, key, &op);
		check(v, &op, both, v->out.len + v->tag.len);
	}
	op.dst_room = v->out.len + v->tag.len - 1;
	assert_int_equal(crypto_run(key, &op), VIRTIO_CRYPTO_ERR);
	crypto_key_free(key);

	params.op = VIRTIO_CRYPTO_OP_DECRYPT;
	key = make_key(&params);
	op.opcode = VIRTIO_CRYPTO_AEAD_DECRYPT;
	op.src = both;
	op.src_len = v->out.len + v->tag.len;
	op.dst_room = sizeof(out);
	for (int i = 0; i < 2; i++) {
		run(v, key, &op);
		check(v, &op, v->in.data, v->in.len);
	}
	forge(v, key, &op);
	crypto_key_free(key);
}

static void run_vector(const struct vector *v, void *arg)
{
	switch (v->service) {
	case VIRTIO_CRYPTO_SERVICE_CIPHER:
		run_cipher(v);
		break;
	case VIRTIO_CRYPTO_SERVICE_HASH:
		run_digest(v, VIRTIO_CRYPTO_HASH);
		break;
	case VIRTIO_CRYPTO_SERVICE_MAC:
		run_digest(v, VIRTIO_CRYPTO_MAC);
		break;
	default:
		run_aead(v);
	}
}

static void test_crypto_known_answers(void **state)
{
	vectors_each(run_vector, NULL);
}

/* ---- the mask says what works */

static void note_vector(const struct vector *v, void *arg)
{
	uint64_t *seen = arg;

	seen[v->service] |= BIT_ULL(v->algo);
}

static void test_crypto_mask_is_what_the_vectors_cover(void **state)
{
	const struct crypto_algos *algos = crypto_lib_algos(lib);
	uint64_t seen[4] = {0};

	vectors_each(note_vector, seen);
	assert_int_equal(algos->cipher, seen[VIRTIO_CRYPTO_SERVICE_CIPHER]);
	assert_int_equal(algos->hash, seen[VIRTIO_CRYPTO_SERVICE_HASH]);
	assert_int_equal(algos->mac, seen[VIRTIO_CRYPTO_SERVICE_MAC]);
	assert_int_equal(algos->aead, seen[VIRTIO_CRYPTO_SERVICE_AEAD]);
	assert_int_equal(algos->akcipher,
			 1 << VIRTIO_CRYPTO_AKCIPHER_RSA | 1 << CRYPTO_AKCIPHER_ECDSA);
	assert_int_equal(algos->services, 0x1f);
}

static void test_crypto_algorithms_outside_the_mask(void **state)
{
	const struct crypto_algos *algos = crypto_lib_algos(lib);
	const uint64_t masks[] = {algos->cipher, algos->hash, algos->mac, algos->aead,
				  algos->akcipher};
	static const uint8_t raw[32] = {1};
	struct crypto_key *key = NULL;

	for (uint32_t service = 0; service < 8; service++) {
		for (uint32_t algo = 0; algo < 70; algo++) {
			struct crypto_params params = {.service = service,
						       .algo = algo,
						       .op = VIRTIO_CRYPTO_OP_ENCRYPT,
						       .key = raw,
						       .key_len = sizeof(raw),
						       .key_type = 1};

			if (service < 5 && algo < 64 && masks[service] >> algo & 1)
				continue;
			assert_int_equal(crypto_key_alloc(lib, &params, &key),
					 VIRTIO_CRYPTO_NOTSUPP);
		}
	}
}

/* ---- lengths that do not do */

static void test_crypto_key_lengths(void **state)
{
	static const struct {
		uint32_t algo;
		uint32_t lens[3];
	} good[] = {
		{VIRTIO_CRYPTO_CIPHER_AES_CBC, {16, 24, 32}},
		{VIRTIO_CRYPTO_CIPHER_AES_XTS, {32, 64, 64}},
	};
	uint8_t raw[CRYPTO_CIPHER_KEY + 1];

	for (size_t i = 0; i < sizeof(raw); i++)
		raw[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		for (uint32_t len = 0; len <= sizeof(raw); len++) {
			const uint32_t *lens = good[i].lens;
			bool ok = len == lens[0] || len == lens[1] || len == lens[2];
			struct crypto_params params = {.algo = good[i].algo,
						       .op = VIRTIO_CRYPTO_OP_DECRYPT,
						       .key = raw,
						       .key_len = len};
			struct crypto_key *key = NULL;

			assert_int_equal(crypto_key_alloc(lib, &params, &key),
					 ok ? VIRTIO_CRYPTO_OK : VIRTIO_CRYPTO_NOTSUPP);
			crypto_key_free(ok ? key : NULL);
		}
	}
}

static void test_crypto_xts_wants_two_keys(void **state)
{
	uint8_t raw[32] = {0};
	struct crypto_params params = {.algo = VIRTIO_CRYPTO_CIPHER_AES_XTS,
				       .op = VIRTIO_CRYPTO_OP_ENCRYPT,
				       .key = raw,
				       .key_len = sizeof(raw)};
	struct crypto_key *key = NULL;

	assert_int_equal(crypto_key_alloc(lib, &params, &key), VIRTIO_CRYPTO_ERR);
}

static void test_crypto_cipher_lengths(void **state)
{
	uint8_t raw[32] = {1}, iv[16] = {0}, in[64] = {0}, out[64];
	struct crypto_params params = {.algo = VIRTIO_CRYPTO_CIPHER_AES_CBC,
				       .op = VIRTIO_CRYPTO_OP_ENCRYPT,
				       .key = raw,
				       .key_len = 16};
	const struct crypto_op good = {.opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT,
				       .iv = iv,
				       .iv_len = 16,
				       .src = in,
				       .src_len = 32,
				       .dst = out,
				       .dst_room = 32};
	struct crypto_key *key = make_key(&params);
	struct crypto_op op = good;

	assert_int_equal(crypto_run(key, &op), VIRTIO_CRYPTO_OK);
	op.src_len = 31;
	assert_int_equal(crypto_run(key, &op), VIRTIO_CRYPTO_ERR);
	op = good;
	op.iv_len = 12;
	assert_int_equal(crypto_run(key, &op), VIRTIO_CRYPTO_ERR);
	op = good;
	op.dst_room = 31;
	assert_int_equal(crypto_run(key, &op), VIRTIO_CRYPTO_ERR);
	op = good;
	op.opcode = VIRTIO_CRYPTO_CIPHER_DECRYPT;
	assert_int_equal(crypto_run(key, &op), VIRTIO_CRYPTO_ERR);
	op.opcode = VIRTIO_CRYPTO_AEAD_ENCRYPT;
	assert_int_equal(crypto_run(key, &op), VIRTIO_CRYPTO_ERR);
	op = good;
	op.src_len = 0;
	assert_int_equal(crypto_run(key, &op), VIRTIO_CRYPTO_OK);
	assert_int_equal(op.dst_len, 0);
	crypto_key_free(key);
}

/* ---- one key, several threads */

struct racer {
	struct crypto_key *key;
	pthread_t thread;
	uint8_t first; /* of the IV, so that each has its own result */
	bool ok;
};

static void *race(void *arg)
{
	struct racer *racer = arg;
	uint8_t iv[16] = {racer->first}, in[4096] = {0}, out[4096], again[4096];
	struct crypto_op op = {.opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT,
			       .iv = iv,
			       .iv_len = 16,
			       .src = in,
			       .src_len = sizeof(in),
			       .dst = out,
			       .dst_room = sizeof(out)};

	racer->ok = crypto_run(racer->key, &op) == VIRTIO_CRYPTO_OK;
	op.dst = again;
	for (int i = 0; i < 300 && racer->ok; i++)
		racer->ok = crypto_run(racer->key, &op) == VIRTIO_CRYPTO_OK &&
			    !memcmp(out, again, sizeof(out));
	return NULL;
}

static void test_crypto_key_is_shared(void **state)
{
	static const uint8_t raw[16] = {9};
	struct crypto_params params = {.algo = VIRTIO_CRYPTO_CIPHER_AES_CTR,
				       .op = VIRTIO_CRYPTO_OP_ENCRYPT,
				       .key = raw,
				       .key_len = sizeof(raw)};
	struct crypto_key *key = make_key(&params);
	struct racer racers[4];

	for (size_t i = 0; i < ARRAY_SIZE(racers); i++) {
		racers[i] = (struct racer){.key = key, .first = (uint8_t)i};
		assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(racers); i++) {
		pthread_join(racers[i].thread, NULL);
		assert_true(racers[i].ok);
	}
	crypto_key_free(key);
}

/* ---- RSA */

static struct crypto_key *rsa_key(EVP_PKEY *pkey, bool secret, uint32_t padding, uint32_t hash)
{
	uint8_t *der = NULL;
	int len = secret ? i2d_PrivateKey(pkey, &der) : i2d_PublicKey(pkey, &der);
	struct crypto_params params = {
		.service = VIRTIO_CRYPTO_SERVICE_AKCIPHER,
		.algo = VIRTIO_CRYPTO_AKCIPHER_RSA,
		.key_type = secret ? VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE
				   : VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PUBLIC,
		.padding = padding,
		.hash = hash,
		.key = der,
		.key_len = (uint32_t)len,
	};
	struct crypto_key *key;

	assert_true(len > 0);
	key = make_key(&params);
	OPENSSL_clear_free(der, (size_t)len);
	return key;
}

static uint8_t akcipher(struct crypto_key *key, uint32_t opcode, const uint8_t *src, uint32_t len,
			uint8_t *dst, uint32_t *dst_len)
{
	struct crypto_op op = {
		.opcode = opcode, .src = src, .src_len = len, .dst = dst, .dst_room = 512};
	uint8_t status = crypto_run(key, &op);

	*dst_len = op.dst_len;
	return status;
}

static uint8_t verify(struct crypto_key *key, const uint8_t *sig, uint32_t sig_len,
		      const uint8_t *data, uint32_t len)
{
	struct crypto_op op = {.opcode = VIRTIO_CRYPTO_AKCIPHER_VERIFY,
			       .src = sig,
			       .src_len = sig_len,
			       .data = data,
			       .data_len = len};

	return crypto_run(key, &op);
}

static void test_crypto_rsa_encrypts(void **state)
{
	EVP_PKEY *pkey = EVP_RSA_gen(1024);

	for (uint32_t padding = 0; padding < 2; padding++) {
		struct crypto_key *secret = rsa_key(pkey, true, padding, 0);
		struct crypto_key *public = rsa_key(pkey, false, padding, 0);
		uint32_t len = padding ? 53 : 128, out_len;
		uint8_t in[128] = {0}, out[512], back[512];

		memset(in + 1, 0x5a, len - 1);
		assert_int_equal(
			akcipher(public, VIRTIO_CRYPTO_AKCIPHER_ENCRYPT, in, len, out, &out_len),
			VIRTIO_CRYPTO_OK);
		assert_int_equal(out_len, 128);
		assert_int_equal(akcipher(secret, VIRTIO_CRYPTO_AKCIPHER_DECRYPT, out, out_len,
					  back, &out_len),
				 VIRTIO_CRYPTO_OK);
		assert_int_equal(out_len, len);
		assert_memory_equal(back, in, len);
		/* What only the secret can. */
		assert_int_equal(
			akcipher(public, VIRTIO_CRYPTO_AKCIPHER_DECRYPT, out, 128, back, &out_len),
			VIRTIO_CRYPTO_ERR);
		assert_int_equal(
			akcipher(public, VIRTIO_CRYPTO_AKCIPHER_SIGN, in, 20, back, &out_len),
			VIRTIO_CRYPTO_ERR);
		crypto_key_free(secret);
		crypto_key_free(public);
	}
	EVP_PKEY_free(pkey);
}

static void test_crypto_rsa_signs(void **state)
{
	EVP_PKEY *pkey = EVP_RSA_gen(1024);
	struct crypto_key *secret =
		rsa_key(pkey, true, VIRTIO_CRYPTO_RSA_PKCS1_PADDING, VIRTIO_CRYPTO_RSA_SHA256);
	struct crypto_key *public =
		rsa_key(pkey, false, VIRTIO_CRYPTO_RSA_PKCS1_PADDING, VIRTIO_CRYPTO_RSA_SHA256);
	struct crypto_key *raw =
		rsa_key(pkey, true, VIRTIO_CRYPTO_RSA_RAW_PADDING, VIRTIO_CRYPTO_RSA_NO_HASH);
	uint8_t digest[32] = "a digest of thirty-two bytes...", sig[512];
	uint32_t len;

	assert_int_equal(akcipher(secret, VIRTIO_CRYPTO_AKCIPHER_SIGN, digest, 32, sig, &len),
			 VIRTIO_CRYPTO_OK);
	assert_int_equal(len, 128);
	assert_int_equal(verify(public, sig, len, digest, 32), VIRTIO_CRYPTO_OK);
	sig[77] ^= 1;
	assert_int_equal(verify(public, sig, len, digest, 32), VIRTIO_CRYPTO_KEY_REJECTED);
	sig[77] ^= 1;
	digest[5] ^= 1;
	assert_int_equal(verify(public, sig, len, digest, 32), VIRTIO_CRYPTO_KEY_REJECTED);
	assert_int_equal(verify(public, sig, 0, digest, 32), VIRTIO_CRYPTO_KEY_REJECTED);
	/* A digest of another length is none of this hash. */
	assert_int_equal(akcipher(secret, VIRTIO_CRYPTO_AKCIPHER_SIGN, digest, 31, sig, &len),
			 VIRTIO_CRYPTO_ERR);
	assert_int_equal(akcipher(raw, VIRTIO_CRYPTO_AKCIPHER_SIGN, digest, 32, sig, &len),
			 VIRTIO_CRYPTO_NOTSUPP);
	crypto_key_free(raw);
	crypto_key_free(secret);
	crypto_key_free(public);
	EVP_PKEY_free(pkey);
}

/* A key that is cut short, or goes on, or is another one, is none. */
static void test_crypto_rsa_refuses_bad_keys(void **state)
{
	EVP_PKEY *pkey = EVP_RSA_gen(1024);
	uint8_t *der = NULL, longer[1024] = {0};
	uint32_t len = (uint32_t)i2d_PrivateKey(pkey, &der);
	struct crypto_params params = {
		.service = VIRTIO_CRYPTO_SERVICE_AKCIPHER,
		.algo = VIRTIO_CRYPTO_AKCIPHER_RSA,
		.key_type = VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE,
		.key = longer,
	};
	struct crypto_key *key = NULL;

	memcpy(longer, der, len);
	for (params.key_len = 1; params.key_len < len; params.key_len += 7)
		assert_int_equal(crypto_key_alloc(lib, &params, &key), VIRTIO_CRYPTO_ERR);
	params.key_len = len + 1;
	assert_int_equal(crypto_key_alloc(lib, &params, &key), VIRTIO_CRYPTO_ERR);
	params.key_len = 0;
	assert_int_equal(crypto_key_alloc(lib, &params, &key), VIRTIO_CRYPTO_NOTSUPP);
	params.key_len = len;
	params.key_type = VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PUBLIC;
	assert_int_equal(crypto_key_alloc(lib, &params, &key), VIRTIO_CRYPTO_ERR);
	OPENSSL_clear_free(der, len);
	EVP_PKEY_free(pkey);
}

/* ---- ECDSA: RFC 6979, A.2.5, the message "sample" with SHA-256 */

static const uint8_t ec_point[65] = {
	0x04, 0x60, 0xfe, 0xd4, 0xba, 0x25, 0x5a, 0x9d, 0x31, 0xc9, 0x61, 0xeb, 0x74,
	0xc6, 0x35, 0x6d, 0x68, 0xc0, 0x49, 0xb8, 0x92, 0x3b, 0x61, 0xfa, 0x6c, 0xe6,
	0x69, 0x62, 0x2e, 0x60, 0xf2, 0x9f, 0xb6, 0x79, 0x03, 0xfe, 0x10, 0x08, 0xb8,
	0xbc, 0x99, 0xa4, 0x1a, 0xe9, 0xe9, 0x56, 0x28, 0xbc, 0x64, 0xf2, 0xf1, 0xb2,
	0x0c, 0x2d, 0x7e, 0x9f, 0x51, 0x77, 0xa3, 0xc2, 0x94, 0xd4, 0x46, 0x22, 0x99,
};
static const uint8_t ec_secret[39] = {
	0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20, 0xc9, 0xaf, 0xa9, 0xd8, 0x45, 0xba,
	0x75, 0x16, 0x6b, 0x5c, 0x21, 0x57, 0x67, 0xb1, 0xd6, 0x93, 0x4e, 0x50, 0xc3,
	0xdb, 0x36, 0xe8, 0x9b, 0x12, 0x7b, 0x8a, 0x62, 0x2b, 0x12, 0x0f, 0x67, 0x21,
};
static const uint8_t ec_digest[32] = {
	0xaf, 0x2b, 0xdb, 0xe1, 0xaa, 0x9b, 0x6e, 0xc1, 0xe2, 0xad, 0xe1,
	0xd6, 0x94, 0xf4, 0x1f, 0xc7, 0x1a, 0x83, 0x1d, 0x02, 0x68, 0xe9,
	0x89, 0x15, 0x62, 0x11, 0x3d, 0x8a, 0x62, 0xad, 0xd1, 0xbf,
};
static const uint8_t ec_sig[72] = {
	0x30, 0x46, 0x02, 0x21, 0x00, 0xef, 0xd4, 0x8b, 0x2a, 0xac, 0xb6, 0xa8, 0xfd, 0x11, 0x40,
	0xdd, 0x9c, 0xd4, 0x5e, 0x81, 0xd6, 0x9d, 0x2c, 0x87, 0x7b, 0x56, 0xaa, 0xf9, 0x91, 0xc3,
	0x4d, 0x0e, 0xa8, 0x4e, 0xaf, 0x37, 0x16, 0x02, 0x21, 0x00, 0xf7, 0xcb, 0x1c, 0x94, 0x2d,
	0x65, 0x7c, 0x41, 0xd4, 0x36, 0xc7, 0xa1, 0xb6, 0xe2, 0x9f, 0x65, 0xf3, 0xe9, 0x00, 0xdb,
	0xb9, 0xaf, 0xf4, 0x06, 0x4d, 0xc4, 0xab, 0x2f, 0x84, 0x3a, 0xcd, 0xa8,
};

static struct crypto_params ec_params(uint32_t type, const uint8_t *key, uint32_t len)
{
	return (struct crypto_params){
		.service = VIRTIO_CRYPTO_SERVICE_AKCIPHER,
		.algo = CRYPTO_AKCIPHER_ECDSA,
		.key_type = type,
		.curve = VIRTIO_CRYPTO_CURVE_NIST_P256,
		.key = key,
		.key_len = len,
	};
}

static void test_crypto_ecdsa(void **state)
{
	struct crypto_params params =
		ec_params(VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PUBLIC, ec_point, sizeof(ec_point));
	struct crypto_key *public = make_key(&params), *secret;
	uint8_t sig[512], digest[32];
	uint32_t len;

	assert_int_equal(verify(public, ec_sig, sizeof(ec_sig), ec_digest, 32), VIRTIO_CRYPTO_OK);
	memcpy(digest, ec_digest, 32);
	digest[31] ^= 1;
	assert_int_equal(verify(public, ec_sig, sizeof(ec_sig), digest, 32),
			 VIRTIO_CRYPTO_KEY_REJECTED);
	/* Not the DER of two numbers. */
	assert_int_equal(verify(public, ec_sig, sizeof(ec_sig) - 1, ec_digest, 32),
			 VIRTIO_CRYPTO_KEY_REJECTED);

	params = ec_params(VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE, ec_secret, sizeof(ec_secret));
	secret = make_key(&params);
	assert_int_equal(akcipher(secret, VIRTIO_CRYPTO_AKCIPHER_SIGN, ec_digest, 32, sig, &len),
			 VIRTIO_CRYPTO_OK);
	assert_int_equal(verify(public, sig, len, ec_digest, 32), VIRTIO_CRYPTO_OK);
	assert_int_equal(akcipher(secret, VIRTIO_CRYPTO_AKCIPHER_ENCRYPT, ec_digest, 32, sig, &len),
			 VIRTIO_CRYPTO_NOTSUPP);
	crypto_key_free(secret);
	crypto_key_free(public);
}

static void test_crypto_ecdsa_refuses_bad_keys(void **state)
{
	struct crypto_params params =
		ec_params(VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PUBLIC, ec_point, sizeof(ec_point) - 1);
	uint8_t point[65], secret[40] = {0};
	struct crypto_key *key = NULL;

	assert_int_equal(crypto_key_alloc(lib, &params, &key), VIRTIO_CRYPTO_ERR);
	/* Not on the curve. */
	memcpy(point, ec_point, sizeof(point));
	point[64] ^= 1;
	params = ec_params(VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PUBLIC, point, sizeof(point));
	assert_int_equal(crypto_key_alloc(lib, &params, &key), VIRTIO_CRYPTO_ERR);
	params.curve = 6;
	assert_int_equal(crypto_key_alloc(lib, &params, &key), VIRTIO_CRYPTO_NOTSUPP);
	for (uint32_t len = 1; len <= sizeof(secret); len++) {
		memcpy(secret, ec_secret, sizeof(ec_secret));
		params = ec_params(VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE, secret, len);
		if (len != sizeof(ec_secret))
			assert_int_equal(crypto_key_alloc(lib, &params, &key), VIRTIO_CRYPTO_ERR);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crypto_known_answers),
		cmocka_unit_test(test_crypto_mask_is_what_the_vectors_cover),
		cmocka_unit_test(test_crypto_algorithms_outside_the_mask),
		cmocka_unit_test(test_crypto_key_lengths),
		cmocka_unit_test(test_crypto_xts_wants_two_keys),
		cmocka_unit_test(test_crypto_cipher_lengths),
		cmocka_unit_test(test_crypto_key_is_shared),
		cmocka_unit_test(test_crypto_rsa_encrypts),
		cmocka_unit_test(test_crypto_rsa_signs),
		cmocka_unit_test(test_crypto_rsa_refuses_bad_keys),
		cmocka_unit_test(test_crypto_ecdsa),
		cmocka_unit_test(test_crypto_ecdsa_refuses_bad_keys),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
