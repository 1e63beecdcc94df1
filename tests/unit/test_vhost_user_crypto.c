/* SPDX-License-Identifier: BSD-2-Clause */
/* Sessions of a crypto device as messages, in both forms that QEMU has had. */
#include "vhu_env.h"

#include <linux/virtio_crypto.h>

#define CRYPTO BIT_ULL(VU_PROTOCOL_F_CRYPTO_SESSION)

static struct env env;

static int setup(void **state)
{
	const char *const add[] = {"queues", "2", "sessions", "2", NULL};

	env_open_class(&env, "crypto", add, NULL);
	return 0;
}

static int teardown(void **state)
{
	env_close(&env);
	return 0;
}

static struct vu_crypto_session cbc_session(void)
{
	return (struct vu_crypto_session){
		.opcode = VIRTIO_CRYPTO_CIPHER_CREATE_SESSION,
		.sym = {.cipher_algo = VIRTIO_CRYPTO_CIPHER_AES_CBC,
			.cipher_key_len = 16,
			.op_type = VIRTIO_CRYPTO_SYM_OP_CIPHER,
			.direction = VIRTIO_CRYPTO_OP_ENCRYPT,
			.pointers = {1, 2},
			.cipher_key = "sixteen bytes..."},
		.session_id = 77,
	};
}

/* The id that the device gives; nothing else of the message comes back. */
static int64_t create(struct env_guest *g, const struct vu_crypto_session *crypto)
{
	static const struct vu_crypto_session none;
	struct vu_crypto_session got;
	int64_t id;

	env_ok(g, vu_frontend_call(&g->fe, VU_CREATE_CRYPTO_SESSION, crypto, sizeof(*crypto), NULL,
				   0, &g->ack));
	assert_int_equal(g->fe.msg.hdr.size, sizeof(got));
	got = g->fe.msg.payload.crypto;
	id = got.session_id;
	got.session_id = 0;
	assert_memory_equal(&got, &none, sizeof(got));
	return id;
}

static void close_session(struct env_guest *g, int64_t id)
{
	env_ok(g, vu_frontend_set_u64(&g->fe, VU_CLOSE_CRYPTO_SESSION, (uint64_t)id, &g->ack));
}

static void test_crypto_sessions(void **state)
{
	struct vu_crypto_session crypto = cbc_session();
	int64_t first, second, third;
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	assert_true(g.fe.protocol_features & CRYPTO);
	env_set_features(&g, g.features);
	first = create(&g, &crypto);
	second = create(&g, &crypto);
	assert_true(first > 0 && second > 0 && first != second);
	assert_int_equal(create(&g, &crypto), -1);
	assert_true(env_logged(&env, "CREATE_CRYPTO_SESSION: the device refuses (status 5)"));
	close_session(&g, first);
	third = create(&g, &crypto);
	assert_true(third > 0 && third != first);
	env_disconnect(&g);
}

static void test_crypto_session_that_is_not_there(void **state)
{
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	assert_int_equal(vu_frontend_set_u64(&g.fe, VU_CLOSE_CRYPTO_SESSION, 1234, &g.ack),
			 -EREMOTEIO);
	assert_true(env_logged(&env, "CLOSE_CRYPTO_SESSION: there is no session 0x4d2"));
	/* The session with the front-end goes on. */
	env_start_rings(&g, 1);
	env_disconnect(&g);
}

static void test_crypto_sessions_of_old_front_ends(void **state)
{
	struct vu_crypto_session_old old = {
		.opcode = VIRTIO_CRYPTO_CIPHER_CREATE_SESSION,
		.cipher_algo = VIRTIO_CRYPTO_CIPHER_AES_CBC,
		.cipher_key_len = 32,
		.op_type = VIRTIO_CRYPTO_SYM_OP_CIPHER,
		.direction = VIRTIO_CRYPTO_OP_DECRYPT,
	};
	struct env_guest g;
	int64_t id;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_ok(&g, vu_frontend_call(&g.fe, VU_CREATE_CRYPTO_SESSION, &old, sizeof(old), NULL, 0,
				    &g.ack));
	assert_int_equal(g.fe.msg.hdr.size, sizeof(old));
	id = g.fe.msg.payload.crypto_old.session_id;
	assert_true(id > 0);
	close_session(&g, id);
	env_disconnect(&g);
}

static void test_crypto_parameters_that_do_not_do(void **state)
{
	struct vu_crypto_session crypto;
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	crypto = cbc_session();
	crypto.sym.cipher_key_len = 15;
	assert_int_equal(create(&g, &crypto), -1);
	crypto.sym.cipher_key_len = 65;
	assert_int_equal(create(&g, &crypto), -1);
	crypto.sym.cipher_key_len = UINT32_MAX;
	assert_int_equal(create(&g, &crypto), -1);
	crypto = cbc_session();
	crypto.sym.op_type = VIRTIO_CRYPTO_SYM_OP_ALGORITHM_CHAINING;
	assert_int_equal(create(&g, &crypto), -1);
	crypto = cbc_session();
	crypto.opcode = VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION;
	crypto.asym.key_len = 1025;
	assert_int_equal(create(&g, &crypto), -1);
	crypto.opcode = VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION;
	assert_int_equal(create(&g, &crypto), -1);
	env_disconnect(&g);
}

static void test_crypto_message_of_another_size(void **state)
{
	struct vu_crypto_session crypto = cbc_session();
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	assert_int_not_equal(vu_frontend_call(&g.fe, VU_CREATE_CRYPTO_SESSION, &crypto,
					      sizeof(crypto) - 8, NULL, 0, &g.ack),
			     0);
	env_wait_log(&env, "session parameters have 1072 or 632");
	env_disconnect(&g);
}

#define CASE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(test_crypto_sessions),
		CASE(test_crypto_session_that_is_not_there),
		CASE(test_crypto_sessions_of_old_front_ends),
		CASE(test_crypto_parameters_that_do_not_do),
		CASE(test_crypto_message_of_another_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
