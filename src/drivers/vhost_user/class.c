/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the protocol has for one kind of device: messages that stand for commands of its control
 * queue, and how its queues are counted.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_crypto.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "base/defs.h"
#include "drivers/vhost_user/session.h"

/* Protocol features that need a command of the device. */
static const struct {
	unsigned int bit;
	enum vdpa_class_cmd cmd;
} commands[] = {
	{VU_PROTOCOL_F_RARP, VDPA_CMD_NET_RARP},
	{VU_PROTOCOL_F_MTU, VDPA_CMD_NET_MTU},
	{VU_PROTOCOL_F_CRYPTO_SESSION, VDPA_CMD_CRYPTO_CREATE_SESSION},
};

uint64_t vhu_class_masked(const struct vhu_session *s)
{
	uint64_t known = vdpa_get_class_cmds(s->vdev), masked = 0;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!(known & BIT_ULL(commands[i].cmd)))
			masked |= BIT_ULL(commands[i].bit);
	if (!(vhu_offer(s) & BIT_ULL(VIRTIO_NET_F_MTU)))
		masked |= BIT_ULL(VU_PROTOCOL_F_MTU);
	return masked;
}

/*
 * QEMU's cryptodev acks no feature of virtio at all, and its guest has negotiated with QEMU what
 * QEMU offers by itself: by default these.  (There are no legacy crypto devices.)  Nor does it
 * enable the rings of a device that it starts for the first time.
 */
uint64_t vhu_class_implied(const struct vhu_session *s)
{
	uint64_t qemu = BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC) |
			BIT_ULL(VIRTIO_RING_F_EVENT_IDX);

	if (vdpa_get_device_id(s->vdev) != VIRTIO_ID_CRYPTO ||
	    s->features & BIT_ULL(VIRTIO_F_VERSION_1))
		return 0;
	return qemu & vhu_offer(s);
}

/*
 * Front-ends ask how many queues they may have, and for a network device they mean pairs: QEMU
 * compares the answer with the `queues` of its netdev, and sets up twice as many rings; DPDK's
 * back-end library answers so, too.  (DPDK's front-end does not ask.)  A control queue belongs to
 * no pair.
 */
int vhu_get_queue_num(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		      struct vdpa_extack *ack)
{
	bool pairs = vdpa_get_device_id(s->vdev) == VIRTIO_ID_NET;

	reply->payload.u64 = pairs ? s->num_rings / 2 : s->num_rings;
	reply->size = sizeof(reply->payload.u64);
	return 0;
}

/* A command without an answer.  What the device thinks of it ends no session. */
static int run(struct vhu_session *s, enum vdpa_class_cmd cmd, const void *in, uint32_t len)
{
	const struct vu_msg_desc *desc = vu_msg_desc(VU_TO_BACKEND, s->msg.hdr.request);
	struct vdpa_extack why = {0};
	uint32_t none = 0;
	int err;

	err = vdpa_class_cmd(s->vdev, cmd, in, len, NULL, &none, &why);
	if (!err)
		return 0;
	vhu_session_log(s, VDPA_LOG_WARN, "refused %s: %s", desc->name,
			vdpa_extack_text(&why, err));
	return -ECANCELED;
}

int vhu_send_rarp(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		  struct vdpa_extack *ack)
{
	/* The first bytes of the number as they lie in memory; two are padding. */
	return run(s, VDPA_CMD_NET_RARP, &msg->payload.u64, 6);
}

int vhu_net_set_mtu(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		    struct vdpa_extack *ack)
{
	uint16_t mtu = htole16((uint16_t)msg->payload.u64);

	if (msg->payload.u64 > UINT16_MAX)
		return vdpa_extack_set(ack, -EPROTO, "%llu, an MTU has 16 bits",
				       (unsigned long long)msg->payload.u64);
	return run(s, VDPA_CMD_NET_MTU, &mtu, sizeof(mtu));
}

/* ---- crypto sessions: as the control queue has them with REVISION_1, whatever was negotiated */

struct crypto_create {
	struct virtio_crypto_ctrl_header header;
	union {
		struct virtio_crypto_sym_create_session_req sym;
		struct virtio_crypto_akcipher_session_para asym;
		uint8_t bytes[56];
	};
	uint8_t key[1024];
};

#define CREATE_HEAD offsetof(struct crypto_create, key)

_Static_assert(CREATE_HEAD == 72, "wire format");

/* How long the command is; 0: the message contradicts itself. */
static uint32_t fill_sym(struct crypto_create *cmd, const struct vu_crypto_sym *sym)
{
	struct virtio_crypto_cipher_session_para *para = &cmd->sym.u.cipher.para;

	if (sym->cipher_key_len > sizeof(sym->cipher_key))
		return 0;
	para->algo = htole32(sym->cipher_algo);
	para->keylen = htole32(sym->cipher_key_len);
	para->op = htole32(sym->direction);
	cmd->sym.op_type = htole32(sym->op_type);
	memcpy(cmd->key, sym->cipher_key, sym->cipher_key_len);
	return (uint32_t)CREATE_HEAD + sym->cipher_key_len;
}

static uint32_t fill_asym(struct crypto_create *cmd, const struct vu_crypto_asym *asym)
{
	if (asym->key_len > sizeof(asym->key))
		return 0;
	cmd->asym.algo = htole32(asym->algo);
	cmd->asym.keytype = htole32(asym->key_type);
	cmd->asym.keylen = htole32(asym->key_len);
	cmd->asym.u.rsa.padding_algo = htole32(asym->params[0]);
	cmd->asym.u.rsa.hash_algo = htole32(asym->params[1]);
	memcpy(cmd->key, asym->key, asym->key_len);
	return (uint32_t)CREATE_HEAD + asym->key_len;
}

/* The message of today out of the one of before. */
static void renew(struct vu_crypto_session *crypto, const struct vu_crypto_session_old *old)
{
	*crypto = (struct vu_crypto_session){
		.opcode = old->opcode,
		.sym = {.cipher_algo = old->cipher_algo,
			.cipher_key_len = old->cipher_key_len,
			.op_type = old->op_type,
			.direction = old->direction},
	};
	memcpy(crypto->sym.cipher_key, old->cipher_key, sizeof(old->cipher_key));
}

/* -1: the device makes none. */
static int64_t create_session(struct vhu_session *s, const struct vu_crypto_session *crypto)
{
	struct crypto_create cmd = {.header.opcode = htole32((uint32_t)crypto->opcode)};
	struct virtio_crypto_session_input input = {0};
	uint32_t len, room = sizeof(input);
	struct vdpa_extack why = {0};
	int err = -EINVAL;

	if (crypto->opcode == VIRTIO_CRYPTO_AKCIPHER_CREATE_SESSION)
		len = fill_asym(&cmd, &crypto->asym);
	else if (crypto->opcode == VIRTIO_CRYPTO_CIPHER_CREATE_SESSION)
		len = fill_sym(&cmd, &crypto->sym);
	else
		len = 0; /* the message has no room for the parameters of others */
	if (len)
		err = vdpa_class_cmd(s->vdev, VDPA_CMD_CRYPTO_CREATE_SESSION, &cmd, len, &input,
				     &room, &why);
	explicit_bzero(&cmd, sizeof(cmd));
	if (!err && !input.status)
		return (int64_t)le64toh(input.session_id);
	vhu_session_log(s, VDPA_LOG_WARN, "CREATE_CRYPTO_SESSION: %s (status %u)",
			err ? vdpa_extack_text(&why, err) : "the device refuses",
			le32toh(input.status));
	return -1;
}

int vhu_create_crypto_session(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
			      struct vdpa_extack *ack)
{
	bool old = msg->hdr.size == sizeof(msg->payload.crypto_old);
	struct vu_crypto_session crypto;
	int64_t id;

	if (!old && msg->hdr.size != sizeof(crypto))
		return vdpa_extack_set(ack, -EPROTO, "%u bytes: session parameters have %zu or %zu",
				       msg->hdr.size, sizeof(crypto),
				       sizeof(msg->payload.crypto_old));
	if (old)
		renew(&crypto, &msg->payload.crypto_old);
	else
		crypto = msg->payload.crypto;
	explicit_bzero(&msg->payload, msg->hdr.size);
	id = create_session(s, &crypto);
	explicit_bzero(&crypto, sizeof(crypto));
	memset(&reply->payload, 0, msg->hdr.size);
	if (old)
		reply->payload.crypto_old.session_id = id;
	else
		reply->payload.crypto.session_id = id;
	reply->size = msg->hdr.size;
	return 0;
}

/* The message does not say of which service it is. */
int vhu_close_crypto_session(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
			     struct vdpa_extack *ack)
{
	static const uint32_t opcodes[] = {VIRTIO_CRYPTO_CIPHER_DESTROY_SESSION,
					   VIRTIO_CRYPTO_AKCIPHER_DESTROY_SESSION};

	for (size_t i = 0; i < ARRAY_SIZE(opcodes); i++) {
		struct {
			struct virtio_crypto_ctrl_header header;
			uint64_t session_id;
		} cmd = {{.opcode = htole32(opcodes[i])}, htole64(msg->payload.u64)};
		uint8_t status = VIRTIO_CRYPTO_ERR;
		uint32_t room = sizeof(status);

		if (!vdpa_class_cmd(s->vdev, VDPA_CMD_CRYPTO_CLOSE_SESSION, &cmd, sizeof(cmd),
				    &status, &room, NULL) &&
		    status == VIRTIO_CRYPTO_OK)
			return 0;
	}
	vhu_session_log(s, VDPA_LOG_WARN, "CLOSE_CRYPTO_SESSION: there is no session 0x%llx",
			(unsigned long long)msg->payload.u64);
	return -ECANCELED;
}
