/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The crypto device: attributes, config space, and its queues.  The last queue takes commands, the
 * others operations.
 *
 * An operation is run on copies, so that a driver that changes its memory meanwhile changes nothing
 * that was checked.  Asymmetric ones take milliseconds, so threads run them.  Keys and texts are
 * wiped when they are not needed any more, and no state record has them: after a migration a driver
 * is told that its sessions are gone, and makes new ones.
 */
#include "parents/soft/crypto.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <openssl/crypto.h>
#include <string.h>

#include "bus/bus.h"

#define CRYPTO_FEATURES                                                                            \
	(BIT_ULL(CRYPTO_F_REVISION_1) | BIT_ULL(CRYPTO_F_CIPHER_STATELESS) |                       \
	 BIT_ULL(CRYPTO_F_HASH_STATELESS) | BIT_ULL(CRYPTO_F_MAC_STATELESS) |                      \
	 BIT_ULL(CRYPTO_F_AEAD_STATELESS) | BIT_ULL(CRYPTO_F_AKCIPHER_STATELESS))
#define STATELESS (CRYPTO_FEATURES & ~BIT_ULL(CRYPTO_F_REVISION_1))

#define MAX_VQS      65
#define MAX_SIZE     (256u << 10)
#define MAX_SIZE_MIN 4096u
#define MAX_SIZE_MAX (1u << 20)

/* The worker's. */
struct crypto_vq {
	uint8_t *out, *in;          /* of one operation: what it reads, what it writes */
	uint32_t used_out, used_in; /* how much of them is to be wiped */
	struct threads *threads;    /* made when first needed */
};

/* An operation for a thread; its memory follows. */
struct slow {
	struct threads_job job;
	struct cryptodev *dev;
	struct vdpa_soft_req *req;
	struct crypto_request r;
	uint8_t status;
	uint8_t bytes[];
};

static struct cryptodev *dev_of(struct vdpa_soft_vq *vq)
{
	return vdpa_soft_priv(vdpa_soft_vq_soft(vq));
}

static bool is_control(struct vdpa_soft_vq *vq)
{
	return vdpa_soft_vq_index(vq) + 1 == vdpa_soft_nvqs(vdpa_soft_vq_soft(vq));
}

static void answer(struct vdpa_soft_req *req, const struct crypto_request *r, uint8_t status,
		   const uint8_t *in)
{
	uint32_t len = crypto_request_answer(r, &req->elem, status, in);

	if (status == VIRTIO_CRYPTO_OK)
		vdpa_soft_complete(req, len);
	else
		vdpa_soft_complete_error(req, len);
}

/* ---- operations */

static void slow_run(struct threads_job *job)
{
	struct slow *slow = container_of(job, struct slow, job);

	slow->status =
		crypto_request_run(slow->dev, &slow->r, slow->bytes, slow->bytes + slow->r.out_len);
}

static void slow_done(struct threads_job *job)
{
	struct slow *slow = container_of(job, struct slow, job);

	answer(slow->req, &slow->r, slow->status, slow->bytes + slow->r.out_len);
	OPENSSL_cleanse(slow->bytes, slow->r.out_len + slow->r.op.dst_len);
	free(slow);
}

static bool start_slow(struct vdpa_soft_req *req, const struct crypto_request *r)
{
	struct crypto_vq *cvq = vdpa_soft_vq_priv(req->vq);
	struct vdpa_soft *soft = vdpa_soft_vq_soft(req->vq);
	struct slow *slow;

	if (!cvq->threads && threads_alloc(soft_vq_worker(req->vq), bus_lane_pool(soft->bus),
					   "crypto", NULL, NULL, &cvq->threads))
		return false;
	slow = malloc(sizeof(*slow) + r->out_len + r->in_len);
	if (!slow)
		return false;
	*slow = (struct slow){
		.job = {.run = slow_run, .done = slow_done},
		.dev = vdpa_soft_priv(soft),
		.req = req,
		.r = *r,
	};
	vdpa_iov_to_buf(req->elem.iov, req->elem.out_num, r->head, slow->bytes, r->out_len);
	threads_add(cvq->threads, &slow->job);
	return true;
}

static uint8_t run_here(struct vdpa_soft_req *req, struct crypto_request *r)
{
	struct crypto_vq *cvq = vdpa_soft_vq_priv(req->vq);

	vdpa_iov_to_buf(req->elem.iov, req->elem.out_num, r->head, cvq->out, r->out_len);
	if (r->out_len > cvq->used_out)
		cvq->used_out = r->out_len;
	if (r->in_len > cvq->used_in)
		cvq->used_in = r->in_len;
	return crypto_request_run(dev_of(req->vq), r, cvq->out, cvq->in);
}

static void operate(struct vdpa_soft_req *req)
{
	struct crypto_vq *cvq = vdpa_soft_vq_priv(req->vq);
	struct crypto_request r;
	uint8_t status;

	if (!req->elem.in_len) {
		vdpa_soft_broken(req, "crypto operation without room for a status");
		return;
	}
	status = crypto_request_read(dev_of(req->vq), &req->elem, &r);
	if (status == VIRTIO_CRYPTO_OK && CRYPTO_SLOW(r.params.service)) {
		if (start_slow(req, &r))
			return;
		status = VIRTIO_CRYPTO_ERR;
	} else if (status == VIRTIO_CRYPTO_OK) {
		status = run_here(req, &r);
	}
	answer(req, &r, status, cvq->in);
}

/* The worker's buffers hold nothing of anybody while it sleeps. */
static void crypto_flush(struct vdpa_soft_vq *vq)
{
	struct crypto_vq *cvq = vdpa_soft_vq_priv(vq);

	if (cvq->used_out)
		OPENSSL_cleanse(cvq->out, cvq->used_out);
	if (cvq->used_in)
		OPENSSL_cleanse(cvq->in, cvq->used_in);
	cvq->used_out = cvq->used_in = 0;
}

/* ---- commands */

static void command(struct vdpa_soft_req *req)
{
	const struct vdpa_vq_elem *elem = &req->elem;
	struct cryptodev *dev = dev_of(req->vq);
	uint8_t cmd[CRYPTO_CTRL_MAX], ans[CRYPTO_ANSWER_MAX], status;
	bool legacy = !cryptodev_has(dev, CRYPTO_F_REVISION_1);
	uint32_t len;

	if (!elem->in_len) {
		vdpa_soft_broken(req, "crypto command without room for an answer");
		return;
	}
	len = (uint32_t)vdpa_iov_to_buf(elem->iov, elem->out_num, 0, cmd, sizeof(cmd));
	len = crypto_ctrl(dev, cmd, len, legacy, ans, &status);
	len = (uint32_t)vdpa_iov_from_buf(elem->iov + elem->out_num, elem->in_num, 0, ans, len);
	OPENSSL_cleanse(cmd, sizeof(cmd));
	if (status == VIRTIO_CRYPTO_OK)
		vdpa_soft_complete(req, len);
	else
		vdpa_soft_complete_error(req, len);
}

static void crypto_handle(struct vdpa_soft_req *req)
{
	if (is_control(req->vq))
		command(req);
	else
		operate(req);
}

static int crypto_cmd(struct vdpa_soft *soft, uint32_t cmd, const void *in, uint32_t in_len,
		      void *out, uint32_t *out_len, struct vdpa_extack *ack)
{
	struct cryptodev *dev = vdpa_soft_priv(soft);
	bool create = cmd == VDPA_CMD_CRYPTO_CREATE_SESSION;
	uint8_t ans[CRYPTO_ANSWER_MAX], status;
	uint32_t opcode, len;

	if (in_len < sizeof(opcode))
		return vdpa_extack_set(ack, -EINVAL, "a crypto command of %u bytes", in_len);
	memcpy(&opcode, in, sizeof(opcode));
	/* Sessions are made by even opcodes. */
	if (create != !(le32toh(opcode) & 1))
		return vdpa_extack_set(ack, -EINVAL, "opcode 0x%x does not %s a session",
				       le32toh(opcode), create ? "make" : "end");
	len = crypto_ctrl(dev, in, in_len, false, ans, &status);
	if (len > *out_len)
		len = *out_len;
	memcpy(out, ans, len);
	*out_len = len;
	return 0;
}

/* ---- queues */

static int crypto_queue_start(struct vdpa_soft_vq *vq, struct vdpa_extack *ack)
{
	struct crypto_vq *cvq = vdpa_soft_vq_priv(vq);
	uint32_t size = dev_of(vq)->max_size;

	*cvq = (struct crypto_vq){0};
	if (is_control(vq))
		return 0;
	cvq->out = malloc(size);
	cvq->in = malloc(size);
	if (cvq->out && cvq->in)
		return 0;
	free(cvq->out);
	free(cvq->in);
	return -ENOMEM;
}

static void crypto_queue_stop(struct vdpa_soft_vq *vq)
{
	struct crypto_vq *cvq = vdpa_soft_vq_priv(vq);

	threads_free(cvq->threads);
	crypto_flush(vq);
	free(cvq->out);
	free(cvq->in);
	*cvq = (struct crypto_vq){0};
}

/* ---- device */

/* @spec virtio 1.3, 5.9.3.1 */
static int crypto_features_ok(struct vdpa_soft *soft, uint64_t features, struct vdpa_extack *ack)
{
	struct cryptodev *dev = vdpa_soft_priv(soft);

	if (features & STATELESS && !(features & BIT_ULL(CRYPTO_F_REVISION_1)))
		return vdpa_extack_set(ack, -EINVAL,
				       "a stateless mode was acked without REVISION_1, which it "
				       "needs");
	dev->features = features;
	return 0;
}

static void crypto_reset(struct vdpa_soft *soft)
{
	struct cryptodev *dev = vdpa_soft_priv(soft);

	dev->features = 0;
	crypto_sessions_clear(&dev->sessions);
}

static void write_config(struct vdpa_soft *soft, const struct cryptodev *dev)
{
	const struct crypto_algos *algos = crypto_lib_algos(dev->lib);
	struct virtio_crypto_config cfg = {
		.status = htole32(VIRTIO_CRYPTO_S_HW_READY),
		.max_dataqueues = htole32(vdpa_soft_nvqs(soft) - 1u),
		.crypto_services = htole32(algos->services),
		.cipher_algo_l = htole32((uint32_t)algos->cipher),
		.cipher_algo_h = htole32((uint32_t)(algos->cipher >> 32)),
		.hash_algo = htole32(algos->hash),
		.mac_algo_l = htole32((uint32_t)algos->mac),
		.mac_algo_h = htole32((uint32_t)(algos->mac >> 32)),
		.aead_algo = htole32(algos->aead),
		.max_cipher_key_len = htole32(CRYPTO_CIPHER_KEY),
		.max_auth_key_len = htole32(CRYPTO_AUTH_KEY),
		.akcipher_algo = htole32(algos->akcipher),
		.max_size = htole64(dev->max_size),
	};

	vdpa_soft_update_config(soft, 0, &cfg, sizeof(cfg));
}

static int crypto_create(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct cryptodev *dev = vdpa_soft_priv(soft);
	uint32_t max = (uint32_t)vdpa_attrs_u64(attrs, "sessions", 1024);
	int err;

	dev->max_size = (uint32_t)vdpa_attrs_u64(attrs, "max-size", MAX_SIZE);
	err = crypto_sessions_init(&dev->sessions, max);
	if (!err)
		err = crypto_lib_alloc(&dev->lib, ack);
	if (err) {
		crypto_sessions_release(&dev->sessions);
		return err;
	}
	write_config(soft, dev);
	return 0;
}

static void crypto_destroy(struct vdpa_soft *soft)
{
	struct cryptodev *dev = vdpa_soft_priv(soft);

	crypto_sessions_release(&dev->sessions);
	crypto_lib_free(dev->lib);
}

static void crypto_show(struct vdpa_soft *soft, struct vdpa_info *info)
{
	struct cryptodev *dev = vdpa_soft_priv(soft);

	vdpa_info_str(info, "backend", "libcrypto");
	vdpa_info_u64(info, "max_sessions", dev->sessions.max);
	vdpa_info_u64(info, "sessions", crypto_sessions_num(&dev->sessions));
}

static const struct vdpa_attr_desc crypto_attrs[] = {
	{.name = "sessions",
	 .type = VDPA_ATTR_UINT,
	 .min = 1,
	 .max = CRYPTO_SESSIONS_MAX,
	 .help = "sessions at the same time at most; default 1024"},
	{.name = "max-size",
	 .type = VDPA_ATTR_SIZE,
	 .min = MAX_SIZE_MIN,
	 .max = MAX_SIZE_MAX,
	 .help = "largest content of a request, bytes; default 256K"},
	{0},
};

const struct vdpa_soft_class soft_crypto_class = {
	.size = sizeof(soft_crypto_class),
	.name = "crypto",
	.help = "ciphers, hashes, MACs, AEAD and signatures by OpenSSL's libcrypto",
	.device_id = VIRTIO_ID_CRYPTO,
	.nvqs = 2,
	.max_vqs = MAX_VQS,
	.config_size = sizeof(struct virtio_crypto_config),
	.features = CRYPTO_FEATURES,
	.attrs = crypto_attrs,
	.priv_size = sizeof(struct cryptodev),
	.vq_priv_size = sizeof(struct crypto_vq),
	.create = crypto_create,
	.destroy = crypto_destroy,
	.features_ok = crypto_features_ok,
	.reset = crypto_reset,
	.queue_start = crypto_queue_start,
	.queue_stop = crypto_queue_stop,
	.handle = crypto_handle,
	.flush = crypto_flush,
	.show = crypto_show,
	.cmds = BIT_ULL(VDPA_CMD_CRYPTO_CREATE_SESSION) | BIT_ULL(VDPA_CMD_CRYPTO_CLOSE_SESSION),
	.cmd = crypto_cmd,
};
