/* SPDX-License-Identifier: BSD-2-Clause */
/* The crypto device: sessions, operations in each form, and what is refused. */
#include "rig.h"

#include <endian.h>
#include <linux/virtio_config.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "backends/crypto/crypto.h"
#include "crypto_wire.h"

#define DATA 0
#define CTRL 1

static void open_crypto(struct rig *rig, uint64_t features)
{
	rig_open_bus(rig, NULL);
	rig_add(rig, "crypto",
		(const char *const[]){"queues", "2", "sessions", "3", "max-size", "4K", NULL});
	rig_start(rig, features);
}

/* ---- commands and operations, waited for */

static uint32_t command(struct rig *rig, const struct wire *w, uint32_t room, void *answer)
{
	struct rig_req *req = rig_send(rig, CTRL, w->data, w->len, room);
	uint32_t len;

	rig_wait(rig, CTRL, req);
	len = req->len;
	memcpy(answer, req->in, len);
	rig_put(req);
	return len;
}

static uint32_t create_as(struct rig *rig, enum wire_form form, const struct vector *v, uint32_t op,
			  uint64_t *id)
{
	struct virtio_crypto_session_input input;
	struct wire w;

	wire_create(&w, form, v, op);
	assert_int_equal(command(rig, &w, sizeof(input), &input), sizeof(input));
	*id = le64toh(input.session_id);
	return le32toh(input.status);
}

static uint64_t create(struct rig *rig, enum wire_form form, const struct vector *v, uint32_t op)
{
	uint64_t id;

	assert_int_equal(create_as(rig, form, v, op, &id), VIRTIO_CRYPTO_OK);
	return id;
}

static uint8_t destroy(struct rig *rig, enum wire_form form, uint32_t service, uint64_t id)
{
	struct wire w;
	uint8_t status;

	wire_destroy(&w, form, service, id);
	assert_int_equal(command(rig, &w, 1, &status), 1);
	return status;
}

/* Returns the status; the result is in out, of in_len bytes. */
static uint8_t operate(struct rig *rig, const struct wire *w, uint32_t in_len, uint8_t *out)
{
	struct rig_req *req = rig_req(rig);
	uint8_t status;

	memset(req->in, 0xee, in_len + 1);
	memcpy(req->out, w->data, w->len);
	rig_offer(rig, DATA, req, w->len, in_len + 1);
	rig_kick(rig, DATA);
	rig_wait(rig, DATA, req);
	assert_in_range(req->len, 1, in_len + 1);
	status = req->in[in_len];
	if (out)
		memcpy(out, req->in, in_len);
	rig_put(req);
	return status;
}

/* ---- known answers */

struct run {
	struct rig *rig;
	enum wire_form form;
	bool session;
};

static void expect(const struct run *run, const struct vector *v, uint32_t op,
		   const uint64_t *session)
{
	bool decrypt = op == VIRTIO_CRYPTO_OP_DECRYPT;
	const struct vector_bytes *want = decrypt ? &v->in : &v->out;
	uint8_t out[WIRE_MAX], status;
	uint32_t in_len;
	struct wire w;

	wire_operation(&w, run->form, v, op, session, &in_len);
	status = operate(run->rig, &w, in_len, out);
	if (status != VIRTIO_CRYPTO_OK)
		fail_msg("crypto.txt:%u: form %d: status %u", v->line, run->form, status);
	if (memcmp(out, want->data, want->len) ||
	    (!decrypt && memcmp(out + want->len, v->tag.data, v->tag.len)))
		fail_msg("crypto.txt:%u: form %d: another result", v->line, run->form);
}

static void run_way(const struct run *run, const struct vector *v, uint32_t op)
{
	uint64_t id;

	if (!run->session) {
		expect(run, v, op, NULL);
		return;
	}
	id = create(run->rig, run->form, v, op);
	expect(run, v, op, &id);
	assert_int_equal(destroy(run->rig, run->form, v->service, id), VIRTIO_CRYPTO_OK);
}

static void run_vector(const struct vector *v, void *arg)
{
	run_way(arg, v, VIRTIO_CRYPTO_OP_ENCRYPT);
	if (v->service == VIRTIO_CRYPTO_SERVICE_CIPHER || v->service == VIRTIO_CRYPTO_SERVICE_AEAD)
		run_way(arg, v, VIRTIO_CRYPTO_OP_DECRYPT);
}

static void test_crypto_answers_in_sessions(void **state)
{
	for (int form = 0; form < WIRE_FORMS; form++) {
		struct rig rig;
		struct run run = {&rig, (enum wire_form)form, true};

		open_crypto(&rig, wire_features[form]);
		vectors_each(run_vector, &run);
		assert_int_equal(rig_stats(&rig, DATA).errors, 0);
		rig_close(&rig);
	}
}

static void test_crypto_answers_stateless(void **state)
{
	struct rig rig;
	struct run run = {&rig, WIRE_STATELESS, false};

	open_crypto(&rig, wire_features[WIRE_STATELESS] | RIG_PACKED | RIG_EVENT_IDX);
	vectors_each(run_vector, &run);
	assert_int_equal(rig_stats(&rig, DATA).errors, 0);
	rig_close(&rig);
}

/* ---- sessions */

static const struct vector some_cipher = {
	.service = VIRTIO_CRYPTO_SERVICE_CIPHER,
	.algo = VIRTIO_CRYPTO_CIPHER_AES_CTR,
	.key = {{1, 2, 3}, 16},
	.iv = {{0}, 16},
	.in = {{0}, 20},
	.out = {{0}, 20},
};
static const struct vector some_hash = {
	.service = VIRTIO_CRYPTO_SERVICE_HASH,
	.algo = VIRTIO_CRYPTO_HASH_SHA_256,
	.in = {{0}, 20},
	.out = {{0}, 32},
};

static uint8_t use(struct rig *rig, enum wire_form form, const struct vector *v, uint64_t id)
{
	uint32_t in_len;
	struct wire w;

	wire_operation(&w, form, v, VIRTIO_CRYPTO_OP_ENCRYPT, &id, &in_len);
	return operate(rig, &w, in_len, NULL);
}

static void test_crypto_sessions_are_bounded(void **state)
{
	for (int form = 0; form < WIRE_FORMS; form++) {
		bool legacy = form == WIRE_LEGACY;
		uint64_t ids[3], id;
		struct rig rig;

		open_crypto(&rig, wire_features[form]);
		for (int i = 0; i < 3; i++)
			ids[i] = create(&rig, (enum wire_form)form, &some_cipher,
					VIRTIO_CRYPTO_OP_ENCRYPT);
		assert_true(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
		assert_int_equal(create_as(&rig, (enum wire_form)form, &some_cipher,
					   VIRTIO_CRYPTO_OP_ENCRYPT, &id),
				 legacy ? VIRTIO_CRYPTO_ERR : VIRTIO_CRYPTO_NOSPC);
		/* One ends, another begins in its place, and has another id. */
		assert_int_equal(destroy(&rig, (enum wire_form)form, 0, ids[1]), VIRTIO_CRYPTO_OK);
		assert_int_equal(destroy(&rig, (enum wire_form)form, 0, ids[1]), VIRTIO_CRYPTO_ERR);
		id = create(&rig, (enum wire_form)form, &some_cipher, VIRTIO_CRYPTO_OP_ENCRYPT);
		assert_int_not_equal(id, ids[1]);
		assert_int_equal(use(&rig, (enum wire_form)form, &some_cipher, ids[1]),
				 VIRTIO_CRYPTO_INVSESS);
		assert_int_equal(use(&rig, (enum wire_form)form, &some_cipher, id),
				 VIRTIO_CRYPTO_OK);
		rig_close(&rig);
	}
}

static void test_crypto_sessions_end_with_a_reset(void **state)
{
	struct rig rig;
	uint64_t id;

	open_crypto(&rig, wire_features[WIRE_REVISION_1]);
	id = create(&rig, WIRE_REVISION_1, &some_cipher, VIRTIO_CRYPTO_OP_ENCRYPT);
	rig_reset(&rig);
	rig_start(&rig, wire_features[WIRE_REVISION_1]);
	assert_int_equal(use(&rig, WIRE_REVISION_1, &some_cipher, id), VIRTIO_CRYPTO_INVSESS);
	for (int i = 0; i < 3; i++)
		create(&rig, WIRE_REVISION_1, &some_cipher, VIRTIO_CRYPTO_OP_ENCRYPT);
	rig_close(&rig);
}

static void test_crypto_session_of_another_service(void **state)
{
	struct rig rig;
	uint64_t id;

	open_crypto(&rig, wire_features[WIRE_REVISION_1]);
	id = create(&rig, WIRE_REVISION_1, &some_hash, 0);
	assert_int_equal(use(&rig, WIRE_REVISION_1, &some_cipher, id), VIRTIO_CRYPTO_INVSESS);
	assert_int_equal(destroy(&rig, WIRE_REVISION_1, 0, id), VIRTIO_CRYPTO_ERR);
	assert_int_equal(use(&rig, WIRE_REVISION_1, &some_hash, id), VIRTIO_CRYPTO_OK);
	assert_int_equal(use(&rig, WIRE_REVISION_1, &some_hash, UINT64_MAX), VIRTIO_CRYPTO_INVSESS);
	rig_close(&rig);
}

/* ---- what is refused */

/* Any command that is cut short gets an answer, and makes no session. */
static void test_crypto_commands_cut_short(void **state)
{
	struct virtio_crypto_session_input input;
	struct rig rig;
	struct wire w;

	open_crypto(&rig, wire_features[WIRE_REVISION_1]);
	wire_create(&w, WIRE_REVISION_1, &some_cipher, VIRTIO_CRYPTO_OP_ENCRYPT);
	for (uint32_t len = w.len; w.len = --len, len;) {
		command(&rig, &w, sizeof(input), &input);
		assert_int_not_equal(le32toh(input.status), VIRTIO_CRYPTO_OK);
	}
	assert_int_equal(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	rig_close(&rig);
}

/* The answer is as long as that to a command which makes (even) or ends (odd) a session. */
static void test_crypto_unknown_commands(void **state)
{
	static const uint32_t opcodes[] = {0, 1, 0x104, 0x105, 0x402, 0x502, 0xffffffff};
	struct virtio_crypto_session_input input;
	struct rig rig;

	open_crypto(&rig, wire_features[WIRE_REVISION_1]);
	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++) {
		struct wire w = {.len = 0};
		uint8_t first;

		for (int word = 0; word < 30; word++)
			wire_u32(&w, opcodes[i]);
		if (opcodes[i] & 1) {
			assert_int_equal(command(&rig, &w, sizeof(input), &input), 1);
			memcpy(&first, &input, 1);
			assert_int_equal(first, VIRTIO_CRYPTO_NOTSUPP);
		} else {
			assert_int_equal(command(&rig, &w, sizeof(input), &input), sizeof(input));
			assert_int_equal(le32toh(input.status), VIRTIO_CRYPTO_NOTSUPP);
		}
	}
	rig_close(&rig);
}

/* An operation that is cut short anywhere is refused, whatever was negotiated. */
static void test_crypto_operations_cut_short(void **state)
{
	for (int form = 0; form < WIRE_FORMS; form++) {
		struct rig rig;
		uint32_t in_len;
		struct wire w;
		uint64_t id;

		open_crypto(&rig, wire_features[form]);
		id = create(&rig, (enum wire_form)form, &some_cipher, VIRTIO_CRYPTO_OP_ENCRYPT);
		wire_operation(&w, (enum wire_form)form, &some_cipher, VIRTIO_CRYPTO_OP_ENCRYPT,
			       &id, &in_len);
		assert_int_equal(operate(&rig, &w, in_len, NULL), VIRTIO_CRYPTO_OK);
		assert_int_equal(operate(&rig, &w, in_len - 1, NULL), VIRTIO_CRYPTO_ERR);
		for (uint32_t len = w.len; w.len = --len, len;)
			assert_int_not_equal(operate(&rig, &w, in_len, NULL), VIRTIO_CRYPTO_OK);
		assert_int_equal(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
		rig_close(&rig);
	}
}

/* Each length in turn is too large: by itself, and so that a sum of 32 bits would wrap. */
static void test_crypto_lengths_that_lie(void **state)
{
	static const uint32_t lies[] = {4097, 0x7fffffff, 0xfffffff0, 0xffffffff};
	struct rig rig;
	uint32_t in_len;
	struct wire w;

	open_crypto(&rig, wire_features[WIRE_STATELESS]);
	for (uint32_t word = 0; word < 6; word++) {
		for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
			uint32_t lie = htole32(lies[i]);

			wire_operation(&w, WIRE_STATELESS, &some_cipher, VIRTIO_CRYPTO_OP_ENCRYPT,
				       NULL, &in_len);
			memcpy(w.data + 24 + 4 * word, &lie, sizeof(lie));
			assert_int_not_equal(operate(&rig, &w, in_len, NULL), VIRTIO_CRYPTO_OK);
		}
	}
	rig_close(&rig);
}

static void test_crypto_stateless_must_be_negotiated(void **state)
{
	struct rig rig;
	uint32_t in_len;
	struct wire w;

	open_crypto(&rig, wire_features[WIRE_REVISION_1]);
	wire_operation(&w, WIRE_REVISION_1, &some_cipher, VIRTIO_CRYPTO_OP_ENCRYPT, NULL, &in_len);
	assert_int_equal(operate(&rig, &w, in_len, NULL), VIRTIO_CRYPTO_ERR);
	rig_close(&rig);
}

static void test_crypto_features_that_do_not_do(void **state)
{
	uint64_t features = wire_features[WIRE_STATELESS] & ~1ull;
	struct rig rig;

	rig_open_bus(&rig, NULL);
	rig_add(&rig, "crypto", NULL);
	assert_int_equal(rig_lane(&rig, rig_do_negotiate, &features), -EINVAL);
	assert_non_null(strstr(rig.ack.msg, "REVISION_1"));
	rig_close(&rig);
}

static void test_crypto_no_room_for_a_status(void **state)
{
	static const uint16_t queues[] = {DATA, CTRL};

	for (size_t i = 0; i < ARRAY_SIZE(queues); i++) {
		struct rig rig;

		open_crypto(&rig, 0);
		rig_send(&rig, queues[i], "", 1, 0);
		rig_wait_fd(rig.vqs[queues[i]].err);
		assert_true(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
		rig_close(&rig);
	}
}

/* ---- asymmetric operations, on threads */

static uint64_t create_rsa(struct rig *rig, EVP_PKEY *pkey, bool secret)
{
	struct virtio_crypto_session_input input;
	uint8_t *der = NULL;
	int len = secret ? i2d_PrivateKey(pkey, &der) : i2d_PublicKey(pkey, &der);
	struct wire w = {.len = 0};

	wire_u32(&w, VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION);
	while (w.len < 16)
		wire_u32(&w, 0);
	wire_u32(&w, VIRTIO_CRYPTO_AKCIPHER_RSA);
	wire_u32(&w, secret ? VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PRIVATE
			    : VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_PUBLIC);
	wire_u32(&w, (uint32_t)len);
	wire_u32(&w, VIRTIO_CRYPTO_RSA_PKCS1_PADDING);
	wire_u32(&w, VIRTIO_CRYPTO_RSA_SHA256);
	while (w.len < 16 + 56)
		wire_u32(&w, 0);
	wire_bytes(&w, der, (uint32_t)len);
	OPENSSL_clear_free(der, (size_t)len);
	command(rig, &w, sizeof(input), &input);
	assert_int_equal(le32toh(input.status), VIRTIO_CRYPTO_OK);
	return le64toh(input.session_id);
}

static void wire_akcipher(struct wire *w, uint32_t opcode, uint64_t id, uint32_t src_len,
			  uint32_t dst_len)
{
	w->len = 0;
	wire_u32(w, opcode);
	wire_u32(w, VIRTIO_CRYPTO_AKCIPHER_RSA);
	wire_u64(w, id);
	wire_u32(w, 1);
	wire_u32(w, 0);
	wire_u32(w, src_len);
	wire_u32(w, dst_len);
}

static void test_crypto_signs_and_verifies(void **state)
{
	uint8_t digest[32] = "a digest of thirty-two bytes...";
	EVP_PKEY *pkey = EVP_RSA_gen(1024);
	uint64_t secret, public;
	struct rig_req *reqs[16];
	uint8_t sig[128];
	struct rig rig;
	struct wire w;

	open_crypto(&rig, wire_features[WIRE_REVISION_1]);
	secret = create_rsa(&rig, pkey, true);
	public = create_rsa(&rig, pkey, false);
	/* Many at once; there is more room than a signature takes. */
	wire_akcipher(&w, VIRTIO_CRYPTO_AKCIPHER_SIGN, secret, 32, 200);
	wire_bytes(&w, digest, 32);
	for (size_t i = 0; i < ARRAY_SIZE(reqs); i++)
		reqs[i] = rig_send(&rig, DATA, w.data, w.len, 201);
	for (size_t i = 0; i < ARRAY_SIZE(reqs); i++) {
		rig_wait(&rig, DATA, reqs[i]);
		/* As long as the result, and the status. */
		assert_int_equal(reqs[i]->len, 129);
		assert_int_equal(reqs[i]->in[200], VIRTIO_CRYPTO_OK);
		assert_memory_equal(reqs[i]->in, reqs[0]->in, 128);
	}
	memcpy(sig, reqs[0]->in, sizeof(sig));
	for (int good = 1; good >= 0; good--) {
		wire_akcipher(&w, VIRTIO_CRYPTO_AKCIPHER_VERIFY, public, 128, 32);
		wire_bytes(&w, sig, sizeof(sig));
		wire_bytes(&w, digest, 32);
		assert_int_equal(operate(&rig, &w, 0, NULL),
				 good ? VIRTIO_CRYPTO_OK : VIRTIO_CRYPTO_KEY_REJECTED);
		sig[3] ^= 4;
	}
	rig_close(&rig);
	EVP_PKEY_free(pkey);
}

/* A reset does not wait for their results, and their session's key outlives it so long. */
static void test_crypto_reset_while_threads_work(void **state)
{
	EVP_PKEY *pkey = EVP_RSA_gen(1024);
	uint8_t digest[32] = {0};
	struct rig rig;
	struct wire w;

	for (int round = 0; round < 5; round++) {
		open_crypto(&rig, wire_features[WIRE_REVISION_1]);
		wire_akcipher(&w, VIRTIO_CRYPTO_AKCIPHER_SIGN, create_rsa(&rig, pkey, true), 32,
			      128);
		wire_bytes(&w, digest, 32);
		for (int i = 0; i < 20; i++)
			rig_send(&rig, DATA, w.data, w.len, 129);
		rig_reset(&rig);
		rig_close(&rig);
	}
	EVP_PKEY_free(pkey);
}

/* ---- outside the rings */

struct cmd {
	uint32_t cmd;
	struct wire w;
	uint8_t answer[16];
	uint32_t len;
};

static int do_cmd(struct rig *rig, void *arg)
{
	struct cmd *cmd = arg;

	cmd->len = sizeof(cmd->answer);
	return vdpa_class_cmd(rig->vdev, cmd->cmd, cmd->w.data, cmd->w.len, cmd->answer, &cmd->len,
			      &rig->ack);
}

/* Whatever was negotiated, the form is that of revision 1, and sessions are the same. */
static void test_crypto_commands_by_the_front_end(void **state)
{
	struct virtio_crypto_session_input input;
	struct cmd cmd = {.cmd = VDPA_CMD_CRYPTO_CREATE_SESSION};
	struct rig rig;

	open_crypto(&rig, wire_features[WIRE_LEGACY]);
	wire_create(&cmd.w, WIRE_REVISION_1, &some_cipher, VIRTIO_CRYPTO_OP_ENCRYPT);
	assert_int_equal(rig_lane(&rig, do_cmd, &cmd), 0);
	assert_int_equal(cmd.len, sizeof(input));
	memcpy(&input, cmd.answer, sizeof(input));
	assert_int_equal(le32toh(input.status), VIRTIO_CRYPTO_OK);
	assert_int_equal(use(&rig, WIRE_LEGACY, &some_cipher, le64toh(input.session_id)),
			 VIRTIO_CRYPTO_OK);
	cmd.cmd = VDPA_CMD_CRYPTO_CLOSE_SESSION;
	assert_int_equal(rig_lane(&rig, do_cmd, &cmd), -EINVAL);
	wire_destroy(&cmd.w, WIRE_REVISION_1, VIRTIO_CRYPTO_SERVICE_CIPHER,
		     le64toh(input.session_id));
	assert_int_equal(rig_lane(&rig, do_cmd, &cmd), 0);
	assert_int_equal(cmd.len, 1);
	assert_int_equal(cmd.answer[0], VIRTIO_CRYPTO_OK);
	assert_int_equal(use(&rig, WIRE_LEGACY, &some_cipher, le64toh(input.session_id)),
			 VIRTIO_CRYPTO_INVSESS);
	rig_close(&rig);
}

/* ---- what the device says of itself */

static int do_read_config(struct rig *rig, void *cfg)
{
	return vdpa_get_config(rig->vdev, 0, cfg, sizeof(struct virtio_crypto_config));
}

static void test_crypto_config(void **state)
{
	struct virtio_crypto_config cfg;
	struct rig rig;

	rig_open_bus(&rig, NULL);
	rig_add(&rig, "crypto", (const char *const[]){"queues", "4", NULL});
	assert_int_equal(rig_lane(&rig, do_read_config, &cfg), 0);
	assert_int_equal(le32toh(cfg.status), VIRTIO_CRYPTO_S_HW_READY);
	assert_int_equal(le32toh(cfg.max_dataqueues), 3);
	assert_int_equal(le32toh(cfg.crypto_services), 0x1f);
	assert_int_equal(le32toh(cfg.max_cipher_key_len), 64);
	assert_int_equal(le64toh(cfg.max_size), 256 << 10);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crypto_answers_in_sessions),
		cmocka_unit_test(test_crypto_answers_stateless),
		cmocka_unit_test(test_crypto_sessions_are_bounded),
		cmocka_unit_test(test_crypto_sessions_end_with_a_reset),
		cmocka_unit_test(test_crypto_session_of_another_service),
		cmocka_unit_test(test_crypto_commands_cut_short),
		cmocka_unit_test(test_crypto_unknown_commands),
		cmocka_unit_test(test_crypto_operations_cut_short),
		cmocka_unit_test(test_crypto_lengths_that_lie),
		cmocka_unit_test(test_crypto_stateless_must_be_negotiated),
		cmocka_unit_test(test_crypto_features_that_do_not_do),
		cmocka_unit_test(test_crypto_no_room_for_a_status),
		cmocka_unit_test(test_crypto_signs_and_verifies),
		cmocka_unit_test(test_crypto_reset_while_threads_work),
		cmocka_unit_test(test_crypto_commands_by_the_front_end),
		cmocka_unit_test(test_crypto_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
