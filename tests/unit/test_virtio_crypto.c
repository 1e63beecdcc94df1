/* SPDX-License-Identifier: BSD-2-Clause */
/* A crypto device under the driver `virtio`, used by vdpa/crypto.h, and by clients that misbehave.
 */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/defs.h"
#include "crypto_env.h"
#include "crypto_vectors.h"
#include "drivers/virtio/crypto_server.h"
#include "vdpa/crypto.h"
#include "vdpa/soft.h"
#include "vhost_user/socket.h"

static struct vdpa_crypto *open_crypto(struct crypto_env *env)
{
	struct vdpa_crypto *crypto = NULL;
	struct vdpa_extack ack = {0};

	if (vdpa_crypto_open(env->path, &crypto, &ack))
		fail_msg("%s", ack.msg);
	return crypto;
}

/* ---- known answers */

static void run_way(struct vdpa_crypto *crypto, const struct vector *v, uint32_t way)
{
	bool decrypt = way == VIRTIO_CRYPTO_OP_DECRYPT;
	const struct vector_bytes *src = decrypt ? &v->out : &v->in;
	const struct vector_bytes *want = decrypt ? &v->in : &v->out;
	struct vdpa_crypto_params params = {.service = v->service,
					    .algo = v->algo,
					    .op = way,
					    .result_len = v->tag.len,
					    .key = v->key.data,
					    .key_len = v->key.len};
	uint8_t in[2 * VECTOR_MAX], out[2 * VECTOR_MAX];
	struct vdpa_crypto_op op = {.opcode = VIRTIO_CRYPTO_OPCODE(v->service, decrypt),
				    .iv = v->iv.data,
				    .iv_len = v->iv.len,
				    .aad = v->aad.data,
				    .aad_len = v->aad.len,
				    .src = in,
				    .src_len = src->len + (decrypt ? v->tag.len : 0),
				    .dst = out,
				    .dst_room = want->len + (decrypt ? 0 : v->tag.len)};
	struct vdpa_extack ack = {0};
	uint64_t session;

	memcpy(in, src->data, src->len);
	memcpy(in + src->len, v->tag.data, v->tag.len);
	if (vdpa_crypto_session(crypto, &params, &session, &ack) ||
	    vdpa_crypto_run(crypto, session, &op, &ack))
		fail_msg("crypto.txt:%u: %s", v->line, ack.msg);
	if (op.dst_len != op.dst_room || memcmp(out, want->data, want->len) ||
	    (!decrypt && memcmp(out + want->len, v->tag.data, v->tag.len)))
		fail_msg("crypto.txt:%u: another result", v->line);
	assert_int_equal(vdpa_crypto_end(crypto, session), 0);
	assert_int_equal(vdpa_crypto_end(crypto, session), -ENOENT);
	assert_int_equal(vdpa_crypto_run(crypto, session, &op, &ack), -ENOENT);
}

static void run_vector(const struct vector *v, void *crypto)
{
	run_way(crypto, v, VIRTIO_CRYPTO_OP_ENCRYPT);
	if (v->service == VIRTIO_CRYPTO_SERVICE_CIPHER || v->service == VIRTIO_CRYPTO_SERVICE_AEAD)
		run_way(crypto, v, VIRTIO_CRYPTO_OP_DECRYPT);
}

static void test_virtio_crypto_known_answers(void **state)
{
	struct vdpa_crypto *crypto = open_crypto(*state);

	assert_int_equal(vdpa_crypto_info(crypto)->services, 0x1f);
	assert_int_equal(vdpa_crypto_info(crypto)->max_size, CRYPTO_DATA_MAX);
	vectors_each(run_vector, crypto);
	vdpa_crypto_close(crypto);
}

/* ---- sizes, errors */

static const uint8_t some_key[16] = "sixteen bytes...";
static const struct vdpa_crypto_params cbc = {.algo = VIRTIO_CRYPTO_CIPHER_AES_CBC,
					      .op = VIRTIO_CRYPTO_OP_ENCRYPT,
					      .key = some_key,
					      .key_len = 16};

static int encrypt(struct vdpa_crypto *crypto, uint64_t session, uint8_t *data, uint32_t len)
{
	uint8_t iv[16] = {0};
	struct vdpa_crypto_op op = {.opcode = VIRTIO_CRYPTO_CIPHER_ENCRYPT,
				    .iv = iv,
				    .iv_len = 16,
				    .src = data,
				    .src_len = len,
				    .dst = data,
				    .dst_room = len};

	return vdpa_crypto_run(crypto, session, &op, NULL);
}

static void test_virtio_crypto_sizes(void **state)
{
	struct vdpa_crypto *crypto = open_crypto(*state);
	uint8_t *data = calloc(1, 2 * CRYPTO_FRAME_MAX);
	uint64_t session;

	assert_int_equal(vdpa_crypto_session(crypto, &cbc, &session, NULL), 0);
	assert_int_equal(encrypt(crypto, session, data, 0), 0);
	assert_int_equal(encrypt(crypto, session, data, CRYPTO_DATA_MAX), 0);
	assert_int_equal(encrypt(crypto, session, data, 15), -EINVAL);
	assert_int_equal(encrypt(crypto, session, data, 2 * CRYPTO_FRAME_MAX), -EMSGSIZE);
	assert_int_equal(encrypt(crypto, session, data, CRYPTO_FRAME_MAX - 16), -EMSGSIZE);
	/* None of that harms the connection. */
	assert_int_equal(encrypt(crypto, session, data, 16), 0);
	free(data);
	vdpa_crypto_close(crypto);
}

static void test_virtio_crypto_sessions_of_a_client(void **state)
{
	struct vdpa_crypto *one = open_crypto(*state), *other = open_crypto(*state);
	uint64_t sessions[CRYPTO_CLIENT_SESSIONS], more;
	struct vdpa_crypto_params bad = cbc;
	uint8_t data[16] = {0};

	for (uint32_t i = 0; i < CRYPTO_CLIENT_SESSIONS; i++)
		assert_int_equal(vdpa_crypto_session(one, &cbc, &sessions[i], NULL), 0);
	assert_int_equal(vdpa_crypto_session(one, &cbc, &more, NULL), -ENOSPC);
	/* What one has made, another cannot use or end. */
	assert_int_equal(encrypt(other, sessions[0], data, 16), -ENOENT);
	assert_int_equal(vdpa_crypto_end(other, sessions[0]), -ENOENT);
	assert_int_equal(encrypt(one, sessions[0], data, 16), 0);
	bad.key_len = 15;
	assert_int_equal(vdpa_crypto_session(other, &bad, &more, NULL), -EOPNOTSUPP);
	vdpa_crypto_close(one);
	vdpa_crypto_close(other);
}

/* Sessions end with the connection: a thousand and more are made, one client after another. */
static void test_virtio_crypto_clients_come_and_go(void **state)
{
	uint8_t data[16] = {0};

	for (int round = 0; round < 20; round++) {
		struct vdpa_crypto *crypto = open_crypto(*state);
		uint64_t session;

		for (uint32_t i = 0; i < CRYPTO_CLIENT_SESSIONS; i++)
			assert_int_equal(vdpa_crypto_session(crypto, &cbc, &session, NULL), 0);
		assert_int_equal(encrypt(crypto, session, data, 16), 0);
		vdpa_crypto_close(crypto);
	}
}

static void test_virtio_crypto_signs(void **state)
{
	struct vdpa_crypto *crypto = open_crypto(*state);
	EVP_PKEY *pkey = EVP_RSA_gen(1024);
	uint8_t *der = NULL, digest[32] = {7}, sig[128];
	struct vdpa_crypto_params params = {
		.service = VIRTIO_CRYPTO_SERVICE_AKCIPHER,
		.algo = VIRTIO_CRYPTO_AKCIPHER_RSA,
		.key_type = VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE,
		.padding = VIRTIO_CRYPTO_RSA_PKCS1_PADDING,
		.hash = VIRTIO_CRYPTO_RSA_SHA256,
	};
	struct vdpa_crypto_op op = {.opcode = VIRTIO_CRYPTO_AKCIPHER_SIGN,
				    .src = digest,
				    .src_len = 32,
				    .dst = sig,
				    .dst_room = sizeof(sig)};
	struct vdpa_extack ack = {0};
	uint64_t session;

	params.key_len = (uint32_t)i2d_PrivateKey(pkey, &der);
	params.key = der;
	assert_int_equal(vdpa_crypto_session(crypto, &params, &session, &ack), 0);
	assert_int_equal(vdpa_crypto_run(crypto, session, &op, &ack), 0);
	assert_int_equal(op.dst_len, 128);
	op = (struct vdpa_crypto_op){.opcode = VIRTIO_CRYPTO_AKCIPHER_VERIFY,
				     .src = sig,
				     .src_len = 128,
				     .data = digest,
				     .data_len = 32};
	assert_int_equal(vdpa_crypto_run(crypto, session, &op, &ack), 0);
	digest[0]++;
	assert_int_equal(vdpa_crypto_run(crypto, session, &op, &ack), -EKEYREJECTED);
	OPENSSL_clear_free(der, params.key_len);
	EVP_PKEY_free(pkey);
	vdpa_crypto_close(crypto);
}

/* ---- several at once */

struct worker {
	struct crypto_env *env;
	pthread_t thread;
	uint8_t first;
	bool ok;
};

static void *work(void *arg)
{
	struct worker *worker = arg;
	struct vdpa_crypto *crypto = NULL;
	uint8_t data[8192], again[8192];
	struct vdpa_crypto_params params = cbc;
	uint8_t key[16] = {worker->first};
	uint64_t session;

	params.key = key;
	worker->ok = !vdpa_crypto_open(worker->env->path, &crypto, NULL) &&
		     !vdpa_crypto_session(crypto, &params, &session, NULL);
	memset(data, 0, sizeof(data));
	worker->ok = worker->ok && !encrypt(crypto, session, data, sizeof(data));
	for (int i = 0; i < 100 && worker->ok; i++) {
		memset(again, 0, sizeof(again));
		worker->ok = !encrypt(crypto, session, again, sizeof(again)) &&
			     !memcmp(data, again, sizeof(data));
	}
	vdpa_crypto_close(crypto);
	return NULL;
}

/* More clients than the device takes requests. */
static void test_virtio_crypto_many_clients(void **state)
{
	struct worker workers[2 * CRYPTO_SLOTS];

	for (size_t i = 0; i < ARRAY_SIZE(workers); i++) {
		workers[i] = (struct worker){.env = *state, .first = (uint8_t)i};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(workers); i++) {
		pthread_join(workers[i].thread, NULL);
		assert_true(workers[i].ok);
	}
}

/* ---- unbind */

static int unbind(struct crypto_env *env, uint32_t flags, struct vdpa_result *res)
{
	memset(res, 0, sizeof(*res));
	vdpa_dev_unbind(env->bus, "crypto0", flags, vdpa_result_done, res);
	return vdpa_bus_wait(env->bus, res);
}

static void test_virtio_crypto_unbind(void **state)
{
	struct crypto_env *env = *state;
	struct vdpa_crypto *crypto = open_crypto(env);
	struct vdpa_result res;
	uint64_t session;

	assert_int_equal(vdpa_crypto_session(crypto, &cbc, &session, NULL), 0);
	assert_int_equal(unbind(env, 0, &res), -EBUSY);
	assert_non_null(strstr(res.ack.msg, "1 programs"));
	assert_int_equal(vdpa_crypto_end(crypto, session), 0);
	assert_int_equal(unbind(env, VDPA_FORCE, &res), 0);
	assert_int_equal(vdpa_crypto_session(crypto, &cbc, &session, NULL), -EPIPE);
	assert_int_equal(vdpa_crypto_session(crypto, &cbc, &session, NULL), -EPIPE);
	assert_int_equal(access(env->path, F_OK), -1);
	vdpa_crypto_close(crypto);
}

/* ---- clients that misbehave */

static int connect_raw(struct crypto_env *env)
{
	struct crypto_hello hello;
	int fd = vu_socket_connect(env->path, NULL);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	assert_int_equal(recv(fd, &hello, sizeof(hello), MSG_WAITALL), sizeof(hello));
	assert_int_equal(hello.magic, CRYPTO_HELLO_MAGIC);
	return fd;
}

/* What it sends ends the connection. */
static void expect_dropped(struct crypto_env *env, const struct crypto_frame *frame,
			   const void *data, size_t len)
{
	int fd = connect_raw(env);
	char byte;

	assert_int_equal(send(fd, frame, sizeof(*frame), MSG_NOSIGNAL), sizeof(*frame));
	if (len)
		send(fd, data, len, MSG_NOSIGNAL);
	assert_true(recv(fd, &byte, 1, 0) <= 0);
	close(fd);
}

static void test_virtio_crypto_drops_who_breaks_the_rules(void **state)
{
	struct crypto_env *env = *state;
	static const uint8_t zeroes[64];
	static const uint32_t stateless[16] = {VIRTIO_CRYPTO_HASH};
	static const uint32_t create[16] = {VIRTIO_CRYPTO_CIPHER_CREATE_SESSION};

	expect_dropped(env, &(struct crypto_frame){2, 64, 16}, NULL, 0);
	expect_dropped(env, &(struct crypto_frame){CRYPTO_OPERATION, CRYPTO_FRAME_MAX + 1, 16},
		       NULL, 0);
	expect_dropped(env, &(struct crypto_frame){CRYPTO_OPERATION, 64, UINT32_MAX}, NULL, 0);
	expect_dropped(env, &(struct crypto_frame){CRYPTO_OPERATION, 64, 0}, NULL, 0);
	expect_dropped(env, &(struct crypto_frame){CRYPTO_COMMAND, 8, 16}, zeroes, 8);
	expect_dropped(env, &(struct crypto_frame){CRYPTO_COMMAND, 64, 16}, zeroes, 64);
	expect_dropped(env, &(struct crypto_frame){CRYPTO_COMMAND, 64, 17}, create, 64);
	expect_dropped(env, &(struct crypto_frame){CRYPTO_OPERATION, 64, 33}, stateless, 64);
	/* Others are served as ever. */
	vdpa_crypto_close(open_crypto(env));
}

/* A request in pieces, and one whose client does not wait for the answer. */
static void test_virtio_crypto_requests_in_pieces(void **state)
{
	struct crypto_frame frame = {CRYPTO_COMMAND, 24, 16};
	struct virtio_crypto_session_input input;
	uint8_t bytes[sizeof(frame) + 24] = {0};
	uint32_t words[2] = {VIRTIO_CRYPTO_HASH_CREATE_SESSION, VIRTIO_CRYPTO_HASH_SHA_256};
	int fd = connect_raw(*state);

	memcpy(bytes, &frame, sizeof(frame));
	memcpy(bytes + sizeof(frame), words, 4);
	memcpy(bytes + sizeof(frame) + 16, words + 1, 4);
	for (size_t i = 0; i < sizeof(bytes); i++)
		assert_int_equal(send(fd, bytes + i, 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(fd, &frame, sizeof(frame), MSG_WAITALL), sizeof(frame));
	assert_int_equal(frame.in_len, sizeof(input));
	assert_int_equal(recv(fd, &input, sizeof(input), MSG_WAITALL), sizeof(input));
	assert_int_equal(input.status, VIRTIO_CRYPTO_OK);
	for (int i = 0; i < 10; i++)
		assert_int_equal(send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL), sizeof(bytes));
	close(fd);
	vdpa_crypto_close(open_crypto(*state));
}

/* Sends a command of 24 bytes.  Returns the status of the answer, and the session of the first 8.
 */
static uint8_t command(int fd, uint32_t opcode, uint32_t at_16, uint32_t at_20, uint64_t *session)
{
	bool create = !(opcode & 1);
	struct crypto_frame frame = {CRYPTO_COMMAND, 24, create ? 16 : 1};
	uint32_t words[6] = {opcode, [4] = at_16, at_20};
	struct virtio_crypto_session_input input = {0};

	assert_int_equal(send(fd, &frame, sizeof(frame), MSG_NOSIGNAL), sizeof(frame));
	assert_int_equal(send(fd, words, sizeof(words), MSG_NOSIGNAL), sizeof(words));
	assert_int_equal(recv(fd, &frame, sizeof(frame), MSG_WAITALL), sizeof(frame));
	assert_int_equal(recv(fd, &input, frame.in_len, MSG_WAITALL), create ? 16 : 1);
	if (session)
		*session = input.session_id;
	return create ? (uint8_t)input.status : *(uint8_t *)&input;
}

/* Else the device would keep a session that nobody knows of, and its key. */
static void test_virtio_crypto_sessions_end_as_what_they_are(void **state)
{
	int fd = connect_raw(*state);
	uint32_t low, high;
	uint64_t id;

	assert_int_equal(
		command(fd, VIRTIO_CRYPTO_HASH_CREATE_SESSION, VIRTIO_CRYPTO_HASH_SHA_256, 0, &id),
		VIRTIO_CRYPTO_OK);
	low = (uint32_t)id;
	high = (uint32_t)(id >> 32);
	assert_int_equal(command(fd, VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION, low, high, NULL),
			 VIRTIO_CRYPTO_INVSESS);
	assert_int_equal(command(fd, VIRTIO_CRYPTO_OPCODE(1, 5), low, high, NULL),
			 VIRTIO_CRYPTO_INVSESS);
	assert_int_equal(command(fd, VIRTIO_CRYPTO_HASH_DESTROY_SESSION, low, high, NULL),
			 VIRTIO_CRYPTO_OK);
	assert_int_equal(command(fd, VIRTIO_CRYPTO_HASH_DESTROY_SESSION, low, high, NULL),
			 VIRTIO_CRYPTO_INVSESS);
	close(fd);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, crypto_setup, crypto_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_virtio_crypto_known_answers),
		CASE(test_virtio_crypto_sizes),
		CASE(test_virtio_crypto_sessions_of_a_client),
		CASE(test_virtio_crypto_clients_come_and_go),
		CASE(test_virtio_crypto_signs),
		CASE(test_virtio_crypto_many_clients),
		CASE(test_virtio_crypto_unbind),
		CASE(test_virtio_crypto_drops_who_breaks_the_rules),
		CASE(test_virtio_crypto_requests_in_pieces),
		CASE(test_virtio_crypto_sessions_end_as_what_they_are),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
