/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The OpenSSL provider on a crypto device, beside OpenSSL's own of the same name: the same results,
 * in whatever pieces the text comes.  UVDPA_TEST_PROVIDER is the folder it is in.
 */
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/defs.h"
#include "crypto_env.h"

#define DATA_MAX 65000u
#define OURS     "provider=uvdpa"
#define THEIRS   "provider=default"

static OSSL_LIB_CTX *libctx;
static OSSL_PROVIDER *ours, *theirs;
static uint8_t data[DATA_MAX], key[64], iv[16];

static int setup(void **state)
{
	struct crypto_env *env;
	const char *dir = getenv("UVDPA_TEST_PROVIDER");

	if (crypto_setup(state))
		return -1;
	env = *state;
	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + i / 253);
	for (uint32_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(i * i + 3);
	memset(iv, 0xff, sizeof(iv)); /* a counter that wraps */
	setenv("UVDPA_CRYPTO_SOCKET", env->path, 1);
	libctx = OSSL_LIB_CTX_new();
	OSSL_PROVIDER_set_default_search_path(libctx, dir ? dir : "build/src/provider");
	ours = OSSL_PROVIDER_load(libctx, "uvdpa");
	theirs = OSSL_PROVIDER_load(libctx, "default");
	return ours && theirs ? 0 : -1;
}

static int teardown(void **state)
{
	OSSL_PROVIDER_unload(ours);
	OSSL_PROVIDER_unload(theirs);
	OSSL_LIB_CTX_free(libctx);
	return crypto_teardown(state);
}

/* ---- ciphers */

static EVP_CIPHER *fetch_cipher(const char *name, const char *properties)
{
	EVP_CIPHER *cipher = EVP_CIPHER_fetch(libctx, name, properties);

	if (!cipher)
		fail_msg("no %s of %s", name, properties);
	return cipher;
}

/* Bytes that came out; the text comes in pieces of `piece` bytes. */
static size_t run_cipher(const char *name, const char *properties, bool encrypt, size_t piece,
			 const uint8_t *in, size_t len, uint8_t *out)
{
	EVP_CIPHER *cipher = fetch_cipher(name, properties);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	size_t done = 0;
	int part;

	assert_int_equal(EVP_CipherInit_ex2(ctx, cipher, key, iv, encrypt, NULL), 1);
	for (size_t at = 0; at < len; at += piece) {
		size_t now = len - at < piece ? len - at : piece;

		assert_int_equal(EVP_CipherUpdate(ctx, out + done, &part, in + at, (int)now), 1);
		done += (size_t)part;
	}
	assert_int_equal(EVP_CipherFinal_ex(ctx, out + done, &part), 1);
	EVP_CIPHER_CTX_free(ctx);
	EVP_CIPHER_free(cipher);
	return done + (size_t)part;
}

static void same_cipher(const char *name, size_t piece, size_t len)
{
	static uint8_t a[DATA_MAX + 64], b[DATA_MAX + 64];
	size_t num = run_cipher(name, OURS, true, piece, data, len, a);

	if (num != run_cipher(name, THEIRS, true, piece, data, len, b) || memcmp(a, b, num))
		fail_msg("%s of %zu bytes in pieces of %zu differs", name, len, piece);
	if (run_cipher(name, OURS, false, piece, a, num, b) != len || memcmp(b, data, len))
		fail_msg("%s of %zu bytes in pieces of %zu does not come back", name, len, piece);
}

static void test_provider_ciphers(void **state)
{
	static const char *const names[] = {"AES-128-ECB", "AES-192-ECB", "AES-256-ECB",
					    "AES-128-CBC", "AES-192-CBC", "AES-256-CBC",
					    "AES-128-CTR", "AES-192-CTR", "AES-256-CTR"};
	static const size_t lens[] = {0, 1, 15, 16, 17, 32, 1000, 65000};

	for (size_t n = 0; n < ARRAY_SIZE(names); n++)
		for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
			same_cipher(names[n], DATA_MAX, lens[i]);
			same_cipher(names[n], 7777, lens[i]);
			if (lens[i] <= 1000)
				same_cipher(names[n], 5, lens[i]);
		}
}

/* Each piece is a data unit; no bytes are none. */
static void test_provider_xts(void **state)
{
	static const char *const names[] = {"AES-128-XTS", "AES-256-XTS"};
	static const size_t lens[] = {16, 17, 31, 32, 512, 4096, 65000};

	for (size_t n = 0; n < ARRAY_SIZE(names); n++)
		for (size_t i = 0; i < ARRAY_SIZE(lens); i++)
			same_cipher(names[n], DATA_MAX, lens[i]);
	same_cipher("AES-256-XTS", 512, 4096);
}

/* ---- AEAD */

struct sealed {
	size_t len;
	uint32_t iv_len, tag_len;
	uint8_t text[DATA_MAX];
	uint8_t tag[16];
};

static EVP_CIPHER_CTX *aead_begin(const char *name, const char *properties, bool encrypt,
				  struct sealed *s)
{
	EVP_CIPHER *cipher = fetch_cipher(name, properties);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	bool ccm = EVP_CIPHER_get_mode(cipher) == EVP_CIPH_CCM_MODE;
	int part;

	assert_int_equal(EVP_CipherInit_ex2(ctx, cipher, NULL, NULL, encrypt, NULL), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_IVLEN, (int)s->iv_len, NULL),
			 1);
	if (ccm || !encrypt)
		assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, (int)s->tag_len,
						     encrypt ? NULL : s->tag),
				 1);
	assert_int_equal(EVP_CipherInit_ex2(ctx, NULL, key, iv, encrypt, NULL), 1);
	if (ccm)
		assert_int_equal(EVP_CipherUpdate(ctx, NULL, &part, NULL, (int)s->len), 1);
	assert_int_equal(EVP_CipherUpdate(ctx, NULL, &part, key, 20), 1);
	EVP_CIPHER_free(cipher);
	return ctx;
}

static void seal(const char *name, const char *properties, struct sealed *s)
{
	EVP_CIPHER_CTX *ctx = aead_begin(name, properties, true, s);
	int part;

	/* OpenSSL's CCM wants that also without a text. */
	assert_int_equal(EVP_CipherUpdate(ctx, s->text, &part, data, (int)s->len), 1);
	assert_int_equal(EVP_CipherFinal_ex(ctx, s->text, &part), 1);
	assert_int_equal(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, (int)s->tag_len, s->tag),
			 1);
	EVP_CIPHER_CTX_free(ctx);
}

/* Is it authentic? */
static bool unseal(const char *name, const char *properties, struct sealed *s, uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = aead_begin(name, properties, false, s);
	int part;
	bool ok = (!s->len || EVP_CipherUpdate(ctx, out, &part, s->text, (int)s->len) == 1) &&
		  EVP_CipherFinal_ex(ctx, out, &part) == 1;

	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

static void same_aead(const char *name, uint32_t iv_len, uint32_t tag_len, size_t len)
{
	static struct sealed a, b;
	static uint8_t out[DATA_MAX];

	a.len = b.len = len;
	a.iv_len = b.iv_len = iv_len;
	a.tag_len = b.tag_len = tag_len;
	seal(name, OURS, &a);
	seal(name, THEIRS, &b);
	if (memcmp(a.text, b.text, len) || memcmp(a.tag, b.tag, tag_len))
		fail_msg("%s of %zu bytes differs", name, len);
	if (!unseal(name, OURS, &b, out) || memcmp(out, data, len))
		fail_msg("%s of %zu bytes does not come back", name, len);
	b.tag[tag_len - 1] ^= 1;
	memset(out, 0, sizeof(out));
	if (unseal(name, OURS, &b, out))
		fail_msg("%s takes a forgery", name);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(out[i], 0);
}

static void test_provider_aead(void **state)
{
	static const char *const gcm[] = {"AES-128-GCM", "AES-192-GCM", "AES-256-GCM",
					  "ChaCha20-Poly1305"};
	static const char *const ccm[] = {"AES-128-CCM", "AES-192-CCM", "AES-256-CCM"};
	static const size_t lens[] = {0, 1, 16, 100, 4096, 65000};

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		for (size_t n = 0; n < ARRAY_SIZE(gcm); n++)
			same_aead(gcm[n], 12, 16, lens[i]);
		for (size_t n = 0; n < ARRAY_SIZE(ccm); n++) {
			/* An IV of 13 bytes leaves 2 for the length of the text. */
			same_aead(ccm[n], 13, 8, lens[i]);
			same_aead(ccm[n], 7, 16, lens[i]);
		}
	}
	same_aead("AES-256-GCM", 12, 12, 100);
}

/* No IV twice, no second text, no decryption before the tag is known. */
static void test_provider_aead_refuses(void **state)
{
	struct sealed *s = calloc(1, sizeof(*s));
	uint8_t out[64];
	EVP_CIPHER_CTX *ctx;
	int part;

	s->iv_len = 12;
	s->tag_len = 16;
	ctx = aead_begin("AES-128-GCM", OURS, true, s);
	assert_int_equal(EVP_CipherUpdate(ctx, out, &part, data, 16), 1);
	assert_int_equal(EVP_CipherUpdate(ctx, out, &part, data, 16), 0);
	assert_int_equal(EVP_CipherInit_ex2(ctx, NULL, NULL, NULL, 1, NULL), 1);
	assert_int_equal(EVP_CipherUpdate(ctx, out, &part, data, 16), 0);
	assert_int_equal(EVP_CipherInit_ex2(ctx, NULL, NULL, iv, 1, NULL), 1);
	assert_int_equal(EVP_CipherUpdate(ctx, out, &part, data, 16), 1);
	assert_int_equal(EVP_CipherInit_ex2(ctx, NULL, NULL, iv, 0, NULL), 1);
	assert_int_equal(EVP_CipherUpdate(ctx, out, &part, data, 16), 0);
	EVP_CIPHER_CTX_free(ctx);
	free(s);
}

/* ---- digests and MACs */

static void test_provider_digests(void **state)
{
	static const char *const names[] = {"SHA1",     "SHA2-224", "SHA2-256",
					    "SHA2-384", "SHA2-512", "SHA3-224",
					    "SHA3-256", "SHA3-384", "SHA3-512"};
	static const size_t lens[] = {0, 1, 64, 1000, 65000};
	uint8_t a[EVP_MAX_MD_SIZE], b[EVP_MAX_MD_SIZE];
	size_t a_len, b_len;

	for (size_t n = 0; n < ARRAY_SIZE(names); n++) {
		for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
			assert_true(EVP_Q_digest(libctx, names[n], OURS, data, lens[i], a, &a_len));
			assert_true(
				EVP_Q_digest(libctx, names[n], THEIRS, data, lens[i], b, &b_len));
			if (a_len != b_len || memcmp(a, b, a_len))
				fail_msg("%s of %zu bytes differs", names[n], lens[i]);
		}
	}
}

/* Longer than what the device takes: refused to the end, whoever looks. */
static void test_provider_digest_of_too_much(void **state)
{
	EVP_MD *md = EVP_MD_fetch(libctx, "SHA2-256", OURS);
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	uint8_t out[EVP_MAX_MD_SIZE];

	assert_int_equal(EVP_DigestInit_ex2(ctx, md, NULL), 1);
	assert_int_equal(EVP_DigestUpdate(ctx, data, 65000), 1);
	assert_int_equal(EVP_DigestUpdate(ctx, data, 65000), 0);
	assert_int_equal(EVP_DigestUpdate(ctx, data, 1), 0);
	assert_int_equal(EVP_DigestFinal_ex(ctx, out, NULL), 0);
	assert_int_equal(EVP_DigestInit_ex2(ctx, md, NULL), 1);
	assert_int_equal(EVP_DigestFinal_ex(ctx, out, NULL), 1);
	EVP_MD_CTX_free(ctx);
	EVP_MD_free(md);
}

static size_t run_mac(const char *name, const char *properties, const char *param, const char *part,
		      size_t key_len, size_t len, uint8_t *out)
{
	OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(param, (char *)part, 0),
			       OSSL_PARAM_construct_end()};
	EVP_MAC *mac = EVP_MAC_fetch(libctx, name, properties);
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac), *copy;
	size_t half = len / 2, got = 0;

	assert_int_equal(EVP_MAC_init(ctx, key, key_len, params), 1);
	assert_int_equal(EVP_MAC_update(ctx, data, half), 1);
	copy = EVP_MAC_CTX_dup(ctx);
	assert_non_null(copy);
	EVP_MAC_CTX_free(ctx);
	assert_int_equal(EVP_MAC_update(copy, data + half, len - half), 1);
	assert_int_equal(EVP_MAC_final(copy, out, &got, EVP_MAX_MD_SIZE), 1);
	EVP_MAC_CTX_free(copy);
	EVP_MAC_free(mac);
	return got;
}

static void same_mac(const char *name, const char *param, const char *part, size_t key_len)
{
	static const size_t lens[] = {0, 1, 16, 1000, 65000};
	uint8_t a[EVP_MAX_MD_SIZE], b[EVP_MAX_MD_SIZE];

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		size_t len = run_mac(name, OURS, param, part, key_len, lens[i], a);

		if (len != run_mac(name, THEIRS, param, part, key_len, lens[i], b) ||
		    memcmp(a, b, len))
			fail_msg("%s with %s of %zu bytes differs", name, part, lens[i]);
	}
}

static void test_provider_macs(void **state)
{
	static const char *const digests[] = {"SHA1", "SHA224", "SHA256", "SHA384", "SHA512"};

	for (size_t n = 0; n < ARRAY_SIZE(digests); n++) {
		same_mac("HMAC", OSSL_MAC_PARAM_DIGEST, digests[n], 1);
		same_mac("HMAC", OSSL_MAC_PARAM_DIGEST, digests[n], 64);
	}
	same_mac("CMAC", OSSL_MAC_PARAM_CIPHER, "AES-128-CBC", 16);
	same_mac("CMAC", OSSL_MAC_PARAM_CIPHER, "AES-192-CBC", 24);
	same_mac("CMAC", OSSL_MAC_PARAM_CIPHER, "AES-256-CBC", 32);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_provider_ciphers),
		cmocka_unit_test(test_provider_xts),
		cmocka_unit_test(test_provider_aead),
		cmocka_unit_test(test_provider_aead_refuses),
		cmocka_unit_test(test_provider_digests),
		cmocka_unit_test(test_provider_digest_of_too_much),
		cmocka_unit_test(test_provider_macs),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
