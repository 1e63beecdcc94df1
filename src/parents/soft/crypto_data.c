/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operations of the data queues: their fixed part is read and checked, then they are run on copies
 * of what the driver sent.  @spec virtio 1.3, 5.9.7.3 and on
 *
 * Where the specification leaves a choice: a tag is behind the text it belongs to, on both ways;
 * without a word on its length it has that of the session.
 */
#include <endian.h>
#include <string.h>

#include "parents/soft/crypto.h"

#define HEADER     sizeof(struct virtio_crypto_op_header)
#define LEGACY_FLF 48u

/* Words of the fixed part. */
struct words {
	uint32_t w[19];
};

static uint32_t total(const struct crypto_request *r)
{
	const struct crypto_op *op = &r->op;

	return r->params.key_len + op->iv_len + op->aad_len + op->src_len + op->data_len;
}

/*
 * The fixed part of each service.  In session mode of a driver that negotiated the stateless one
 * the parameters of the session are there, and mean nothing.
 */
typedef uint8_t read_fn(const struct words *f, bool stateless, struct crypto_request *r);

static uint8_t read_cipher(const struct words *f, bool stateless, struct crypto_request *r)
{
	uint32_t op_type = f->w[stateless ? 18 : 10];
	const uint32_t *w = f->w;

	if (op_type != VIRTIO_CRYPTO_SYM_OP_CIPHER)
		return VIRTIO_CRYPTO_NOTSUPP;
	if (stateless) {
		r->params.algo = w[0];
		r->params.key_len = w[1];
		r->params.op = w[2];
		w += 3;
	}
	r->op.iv_len = w[0];
	r->op.src_len = w[1];
	r->in_len = w[2];
	return VIRTIO_CRYPTO_OK;
}

static uint8_t read_hash(const struct words *f, bool stateless, struct crypto_request *r)
{
	const uint32_t *w = f->w;

	if (stateless)
		r->params.algo = *w++;
	r->op.src_len = w[0];
	r->op.result_len = r->in_len = w[1];
	return VIRTIO_CRYPTO_OK;
}

static uint8_t read_mac(const struct words *f, bool stateless, struct crypto_request *r)
{
	const uint32_t *w = f->w;

	if (stateless) {
		r->params.algo = w[0];
		r->params.key_len = w[1];
		w += 2;
	}
	r->op.src_len = w[0];
	r->op.result_len = r->in_len = w[1];
	return VIRTIO_CRYPTO_OK;
}

static uint8_t read_aead(const struct words *f, bool stateless, struct crypto_request *r)
{
	const uint32_t *w = f->w;

	if (stateless) {
		r->params.algo = w[0];
		r->params.key_len = w[1];
		r->params.op = w[2];
		r->op.iv_len = w[3];
		r->op.result_len = w[4];
		r->op.aad_len = w[5];
		r->op.src_len = w[6];
		r->in_len = w[7];
	} else {
		r->op.iv_len = w[0];
		r->op.aad_len = w[1];
		r->op.src_len = w[2];
		r->in_len = w[3];
		r->op.result_len = w[4];
	}
	return VIRTIO_CRYPTO_OK;
}

static uint8_t read_akcipher(const struct words *f, bool stateless, struct crypto_request *r)
{
	const uint32_t *w = f->w;

	if (stateless) {
		r->params.algo = w[0];
		r->params.key_type = w[1];
		r->params.key_len = w[2];
		if (r->params.algo == VIRTIO_CRYPTO_AKCIPHER_RSA) {
			r->params.padding = w[3];
			r->params.hash = w[4];
		} else {
			r->params.curve = w[3];
		}
		w += 5;
	}
	r->op.src_len = w[0];
	/* What was signed comes in, where other operations have their result. */
	if (r->op.opcode == VIRTIO_CRYPTO_AKCIPHER_VERIFY)
		r->op.data_len = w[1];
	else
		r->in_len = w[1];
	return VIRTIO_CRYPTO_OK;
}

static const struct {
	uint8_t flf, stateless_flf; /* bytes */
	uint8_t stateless_bit;
	read_fn *read;
} services[] = {
	[VIRTIO_CRYPTO_SERVICE_CIPHER] = {48, 76, CRYPTO_F_CIPHER_STATELESS, read_cipher},
	[VIRTIO_CRYPTO_SERVICE_HASH] = {8, 16, CRYPTO_F_HASH_STATELESS, read_hash},
	[VIRTIO_CRYPTO_SERVICE_MAC] = {8, 16, CRYPTO_F_MAC_STATELESS, read_mac},
	[VIRTIO_CRYPTO_SERVICE_AEAD] = {24, 32, CRYPTO_F_AEAD_STATELESS, read_aead},
	[VIRTIO_CRYPTO_SERVICE_AKCIPHER] = {8, 28, CRYPTO_F_AKCIPHER_STATELESS, read_akcipher},
};

/* Each alone, so that the sum does not wrap. */
static bool lengths_ok(const struct cryptodev *dev, const struct crypto_request *r)
{
	const struct crypto_op *op = &r->op;
	const uint32_t lens[] = {r->params.key_len, op->iv_len, op->aad_len, op->src_len,
				 op->data_len};
	uint64_t sum = 0;

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++)
		sum += lens[i];
	return sum <= dev->max_size && r->in_len <= dev->max_size;
}

uint8_t crypto_request_parse(const struct cryptodev *dev, const uint8_t *head, uint32_t len,
			     struct crypto_request *r)
{
	bool revision_1 = cryptodev_has(dev, CRYPTO_F_REVISION_1);
	struct virtio_crypto_op_header hdr;
	struct words words = {0};
	uint32_t service, flf;
	bool stateless;
	uint8_t status;

	memset(r, 0, sizeof(*r));
	if (len < HEADER)
		return VIRTIO_CRYPTO_ERR;
	memcpy(&hdr, head, HEADER);
	r->op.opcode = le32toh(hdr.opcode);
	service = r->op.opcode >> 8;
	if (service >= ARRAY_SIZE(services))
		return VIRTIO_CRYPTO_NOTSUPP;
	stateless = cryptodev_has(dev, services[service].stateless_bit);
	r->session = !revision_1 || le32toh(hdr.flag) & CRYPTO_FLAG_SESSION_MODE;
	if (!r->session && !stateless)
		return VIRTIO_CRYPTO_ERR;
	flf = stateless    ? services[service].stateless_flf
	      : revision_1 ? services[service].flf
			   : LEGACY_FLF;
	if (len - HEADER < flf)
		return VIRTIO_CRYPTO_ERR;
	memcpy(&words, head + HEADER, flf);
	for (size_t i = 0; i < ARRAY_SIZE(words.w); i++)
		words.w[i] = le32toh(words.w[i]);
	status = services[service].read(&words, stateless, r);
	if (r->session)
		r->params = (struct crypto_params){0};
	r->params.service = service;
	r->session_id = le64toh(hdr.session_id);
	r->head = (uint32_t)HEADER + flf;
	if (status == VIRTIO_CRYPTO_OK && !lengths_ok(dev, r))
		status = VIRTIO_CRYPTO_ERR;
	r->out_len = status == VIRTIO_CRYPTO_OK ? total(r) : 0;
	return status;
}

uint8_t crypto_request_read(const struct cryptodev *dev, const struct vdpa_vq_elem *elem,
			    struct crypto_request *r)
{
	uint8_t head[CRYPTO_HEAD_MAX], status;
	size_t len = vdpa_iov_to_buf(elem->iov, elem->out_num, 0, head, sizeof(head));

	status = crypto_request_parse(dev, head, (uint32_t)len, r);
	if (status == VIRTIO_CRYPTO_OK &&
	    (r->out_len > elem->out_len - r->head || r->in_len > elem->in_len - 1))
		status = VIRTIO_CRYPTO_ERR;
	return status;
}

static uint8_t run_session(struct cryptodev *dev, struct crypto_request *r)
{
	struct crypto_session *session = crypto_sessions_get(&dev->sessions, r->session_id);
	uint8_t status;

	if (!session)
		return VIRTIO_CRYPTO_INVSESS;
	status = crypto_key_service(session->key) == r->params.service
			 ? crypto_run(session->key, &r->op)
			 : VIRTIO_CRYPTO_INVSESS;
	crypto_session_put(session);
	return status;
}

uint8_t crypto_request_run(struct cryptodev *dev, struct crypto_request *r, const uint8_t *out,
			   uint8_t *in)
{
	struct crypto_op *op = &r->op;
	struct crypto_key *key;
	uint8_t status;

	r->params.key = out;
	op->iv = out + r->params.key_len;
	op->src = op->iv + op->iv_len;
	op->aad = op->data = op->src + op->src_len;
	op->dst = in;
	op->dst_room = r->in_len;
	op->dst_len = 0;
	if (r->session)
		return run_session(dev, r);
	status = crypto_key_alloc(dev->lib, &r->params, &key);
	if (status == VIRTIO_CRYPTO_OK) {
		status = crypto_run(key, op);
		crypto_key_free(key);
	}
	return status;
}

/* The status is the last byte that the driver has given room for. */
uint32_t crypto_request_answer(const struct crypto_request *r, const struct vdpa_vq_elem *elem,
			       uint8_t status, const uint8_t *in)
{
	const struct iovec *iov = elem->iov + elem->out_num;

	if (r->op.dst_len)
		vdpa_iov_from_buf(iov, elem->in_num, 0, in, r->op.dst_len);
	vdpa_iov_from_buf(iov, elem->in_num, elem->in_len - 1, &status, 1);
	/* @spec virtio 1.3, 5.9.7.7: how long a result is, only this says. */
	return CRYPTO_SLOW(r->params.service) ? r->op.dst_len + 1 : elem->in_len;
}
