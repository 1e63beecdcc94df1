/* SPDX-License-Identifier: BSD-2-Clause */
#include "vdpa/crypto.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

#include "base/defs.h"
#include "drivers/virtio/crypto_proto.h"
#include "vhost_user/socket.h"

/* How long a device may take, milliseconds. */
#define PATIENCE_MS 30000
#define DOOR_MS     5

struct vdpa_crypto {
	struct vdpa_crypto_info info;
	pthread_mutex_t lock;
	/* Below: lock. */
	int fd; /* -1: the connection is lost */
	uint32_t len;
	uint8_t out[CRYPTO_FRAME_MAX]; /* a request, being made */
	uint8_t in[CRYPTO_FRAME_MAX];
};

/* ---- bytes */

static bool wait_fd(int fd, short events)
{
	struct pollfd pfd = {.fd = fd, .events = events};
	int num;

	do
		num = poll(&pfd, 1, PATIENCE_MS);
	while (num < 0 && errno == EINTR);
	return num == 1;
}

static int send_all(int fd, const void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t sent = send(fd, (const uint8_t *)data + done, len - done, MSG_NOSIGNAL);

		if (sent > 0)
			done += (size_t)sent;
		else if ((errno != EAGAIN && errno != EINTR) || !wait_fd(fd, POLLOUT))
			return -EPIPE;
	}
	return 0;
}

static int recv_all(int fd, void *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t got = recv(fd, (uint8_t *)data + done, len - done, 0);

		if (got > 0)
			done += (size_t)got;
		else if (!got || (errno != EAGAIN && errno != EINTR) || !wait_fd(fd, POLLIN))
			return -EPIPE;
	}
	return 0;
}

/* ---- requests; crypto->lock is held.  What does not fit makes the length too large. */

static void put(struct vdpa_crypto *crypto, const void *data, uint32_t len)
{
	if (crypto->len <= CRYPTO_FRAME_MAX && len <= CRYPTO_FRAME_MAX - crypto->len) {
		if (len)
			memcpy(crypto->out + crypto->len, data, len);
		crypto->len += len;
	} else {
		crypto->len = CRYPTO_FRAME_MAX + 1;
	}
}

static void put32(struct vdpa_crypto *crypto, uint32_t value)
{
	value = htole32(value);
	put(crypto, &value, sizeof(value));
}

static void put64(struct vdpa_crypto *crypto, uint64_t value)
{
	value = htole64(value);
	put(crypto, &value, sizeof(value));
}

static void pad(struct vdpa_crypto *crypto, uint32_t len)
{
	while (crypto->len < len)
		put(crypto, "", 1);
}

static int lose(struct vdpa_crypto *crypto, struct vdpa_extack *ack)
{
	fd_closep(&crypto->fd);
	return vdpa_extack_set(ack, -EPIPE, "the crypto device has gone");
}

/* Send what is there, and wait for in_len bytes.  used: how many the device says it wrote. */
static int ask(struct vdpa_crypto *crypto, uint32_t kind, uint32_t in_len, uint32_t *used,
	       struct vdpa_extack *ack)
{
	struct crypto_frame frame = {kind, crypto->len, in_len};
	bool fits = crypto->len <= CRYPTO_FRAME_MAX && in_len <= CRYPTO_FRAME_MAX;
	int err = crypto->fd < 0 ? -EPIPE : fits ? 0 : -EMSGSIZE;

	if (!err)
		err = send_all(crypto->fd, &frame, sizeof(frame));
	if (!err)
		err = send_all(crypto->fd, crypto->out, crypto->len);
	explicit_bzero(crypto->out, fits ? crypto->len : sizeof(crypto->out));
	if (err == -EMSGSIZE && !fits)
		return vdpa_extack_set(ack, err, "a request has %u bytes at most",
				       CRYPTO_FRAME_MAX);
	if (!err)
		err = recv_all(crypto->fd, &frame, sizeof(frame));
	if (err || frame.in_len != in_len || frame.out_len > in_len ||
	    recv_all(crypto->fd, crypto->in, in_len))
		return lose(crypto, ack);
	*used = frame.out_len;
	return 0;
}

static int status_error(uint32_t status, struct vdpa_extack *ack)
{
	switch (status) {
	case VIRTIO_CRYPTO_OK:
		return 0;
	case VIRTIO_CRYPTO_BADMSG:
		return vdpa_extack_set(ack, -EBADMSG, "the message is not authentic");
	case VIRTIO_CRYPTO_NOTSUPP:
		return vdpa_extack_set(ack, -EOPNOTSUPP, "the crypto device cannot do that");
	case VIRTIO_CRYPTO_INVSESS:
		return vdpa_extack_set(ack, -ENOENT, "there is no such session");
	case VIRTIO_CRYPTO_NOSPC:
		return vdpa_extack_set(ack, -ENOSPC, "too many sessions");
	case VIRTIO_CRYPTO_KEY_REJECTED:
		return vdpa_extack_set(ack, -EKEYREJECTED, "the signature is not valid");
	default:
		return vdpa_extack_set(ack, -EINVAL, "the crypto device refuses");
	}
}

/* ---- sessions */

static void put_params(struct vdpa_crypto *crypto, const struct vdpa_crypto_params *p)
{
	bool rsa = p->algo == VIRTIO_CRYPTO_AKCIPHER_RSA;

	put32(crypto, p->algo);
	switch (p->service) {
	case VIRTIO_CRYPTO_SERVICE_CIPHER:
		put32(crypto, p->key_len);
		put32(crypto, p->op);
		pad(crypto, 16 + 48);
		put32(crypto, VIRTIO_CRYPTO_SYM_OP_CIPHER);
		put32(crypto, 0);
		break;
	case VIRTIO_CRYPTO_SERVICE_HASH:
		put32(crypto, p->result_len);
		break;
	case VIRTIO_CRYPTO_SERVICE_MAC:
		put32(crypto, p->result_len);
		put32(crypto, p->key_len);
		put32(crypto, 0);
		break;
	case VIRTIO_CRYPTO_SERVICE_AEAD:
		put32(crypto, p->key_len);
		put32(crypto, p->result_len);
		put32(crypto, 0);
		put32(crypto, p->op);
		put32(crypto, 0);
		break;
	case VIRTIO_CRYPTO_SERVICE_AKCIPHER:
		put32(crypto, p->key_type);
		put32(crypto, p->key_len);
		put32(crypto, rsa ? p->padding : p->curve);
		put32(crypto, rsa ? p->hash : 0);
		pad(crypto, 16 + 56);
		break;
	}
	put(crypto, p->key, p->key_len);
}

static void begin_command(struct vdpa_crypto *crypto, uint32_t service, bool create)
{
	/* Those of asymmetric services are two higher. */
	uint32_t op = (create ? 2 : 3) + (service == VIRTIO_CRYPTO_SERVICE_AKCIPHER ? 2 : 0);

	crypto->len = 0;
	put32(crypto, VIRTIO_CRYPTO_OPCODE(service, op));
	pad(crypto, sizeof(struct virtio_crypto_ctrl_header));
}

VDPA_API int vdpa_crypto_session(struct vdpa_crypto *crypto,
				 const struct vdpa_crypto_params *params, uint64_t *ret,
				 struct vdpa_extack *ack)
{
	struct virtio_crypto_session_input input;
	uint32_t used;
	int err;

	if (params->service > VIRTIO_CRYPTO_SERVICE_AKCIPHER)
		return vdpa_extack_set(ack, -EOPNOTSUPP, "there is no service %u", params->service);
	pthread_mutex_lock(&crypto->lock);
	begin_command(crypto, params->service, true);
	put_params(crypto, params);
	err = ask(crypto, CRYPTO_COMMAND, sizeof(input), &used, ack);
	if (!err) {
		memcpy(&input, crypto->in, sizeof(input));
		err = status_error(le32toh(input.status), ack);
	}
	pthread_mutex_unlock(&crypto->lock);
	/* The service goes along, since whoever ends it does not say it again. */
	if (!err)
		*ret = le64toh(input.session_id) | (uint64_t)params->service << 56;
	return err;
}

static uint64_t device_id(uint64_t session)
{
	return session & (BIT_ULL(56) - 1);
}

VDPA_API int vdpa_crypto_end(struct vdpa_crypto *crypto, uint64_t session)
{
	uint32_t used;
	int err;

	pthread_mutex_lock(&crypto->lock);
	begin_command(crypto, (uint32_t)(session >> 56), false);
	put64(crypto, device_id(session));
	err = ask(crypto, CRYPTO_COMMAND, sizeof(struct virtio_crypto_inhdr), &used, NULL);
	if (!err && crypto->in[0] != VIRTIO_CRYPTO_OK)
		err = -ENOENT;
	pthread_mutex_unlock(&crypto->lock);
	return err;
}

/* ---- operations */

static void put_operation(struct vdpa_crypto *crypto, uint64_t session,
			  const struct vdpa_crypto_op *op)
{
	const uint32_t header = sizeof(struct virtio_crypto_op_header);

	crypto->len = 0;
	put32(crypto, op->opcode);
	put32(crypto, 0);
	put64(crypto, device_id(session));
	put32(crypto, CRYPTO_FLAG_SESSION);
	put32(crypto, 0);
	switch (op->opcode >> 8) {
	case VIRTIO_CRYPTO_SERVICE_CIPHER:
		put32(crypto, op->iv_len);
		put32(crypto, op->src_len);
		put32(crypto, op->dst_room);
		pad(crypto, header + 40);
		put32(crypto, VIRTIO_CRYPTO_SYM_OP_CIPHER);
		put32(crypto, 0);
		break;
	case VIRTIO_CRYPTO_SERVICE_AEAD:
		put32(crypto, op->iv_len);
		put32(crypto, op->aad_len);
		put32(crypto, op->src_len);
		put32(crypto, op->dst_room);
		put32(crypto, 0);
		put32(crypto, 0);
		break;
	default:
		put32(crypto, op->src_len);
		put32(crypto,
		      op->opcode == VIRTIO_CRYPTO_AKCIPHER_VERIFY ? op->data_len : op->dst_room);
	}
	put(crypto, op->iv, op->iv_len);
	put(crypto, op->src, op->src_len);
	put(crypto, op->aad, op->aad_len);
	put(crypto, op->data, op->data_len);
}

/* Bytes of the result: where the device does not say it, they follow from the operation. */
static uint32_t result_len(const struct vdpa_crypto_op *op, uint32_t used)
{
	switch (op->opcode >> 8) {
	case VIRTIO_CRYPTO_SERVICE_CIPHER:
		return op->src_len;
	case VIRTIO_CRYPTO_SERVICE_AKCIPHER:
		return used ? used - 1 : 0;
	default:
		return op->dst_room;
	}
}

VDPA_API int vdpa_crypto_run(struct vdpa_crypto *crypto, uint64_t session,
			     struct vdpa_crypto_op *op, struct vdpa_extack *ack)
{
	uint32_t room = op->dst_room, used;
	int err;

	op->dst_len = 0;
	if (op->opcode == VIRTIO_CRYPTO_AKCIPHER_VERIFY)
		room = 0;
	if (op->opcode >> 8 != session >> 56)
		return vdpa_extack_set(ack, -ENOENT, "the session is of another service");
	if (room > CRYPTO_FRAME_MAX - 1)
		return vdpa_extack_set(ack, -EMSGSIZE, "a result has %u bytes at most",
				       CRYPTO_FRAME_MAX - 1);
	pthread_mutex_lock(&crypto->lock);
	put_operation(crypto, session, op);
	err = ask(crypto, CRYPTO_OPERATION, room + 1, &used, ack);
	if (!err)
		err = status_error(crypto->in[room], ack);
	if (!err) {
		uint32_t len = result_len(op, used);

		op->dst_len = len < room ? len : room;
		if (op->dst_len)
			memcpy(op->dst, crypto->in, op->dst_len);
	}
	explicit_bzero(crypto->in, room + 1);
	pthread_mutex_unlock(&crypto->lock);
	return err;
}

/* ---- the connection */

static void read_info(struct vdpa_crypto_info *info, const struct virtio_crypto_config *cfg)
{
	info->services = le32toh(cfg->crypto_services);
	info->cipher = le32toh(cfg->cipher_algo_l) | (uint64_t)le32toh(cfg->cipher_algo_h) << 32;
	info->mac = le32toh(cfg->mac_algo_l) | (uint64_t)le32toh(cfg->mac_algo_h) << 32;
	info->hash = le32toh(cfg->hash_algo);
	info->aead = le32toh(cfg->aead_algo);
	info->akcipher = le32toh(cfg->akcipher_algo);
	info->max_size = le64toh(cfg->max_size);
}

/* Others may be before us in the queue at the door, and a Unix socket tells nobody when it is
 * shorter. */
static int connect_to(const char *path, struct vdpa_extack *ack)
{
	int fd, waited = 0;

	while ((fd = vu_socket_connect(path, ack)) == -EAGAIN && waited < PATIENCE_MS) {
		poll(NULL, 0, DOOR_MS);
		waited += DOOR_MS;
	}
	return fd;
}

VDPA_API int vdpa_crypto_open(const char *path, struct vdpa_crypto **ret, struct vdpa_extack *ack)
{
	struct vdpa_crypto *crypto = calloc(1, sizeof(*crypto));
	struct crypto_hello hello;

	if (!crypto)
		return -ENOMEM;
	pthread_mutex_init(&crypto->lock, NULL);
	crypto->fd = connect_to(path, ack);
	if (crypto->fd < 0) {
		int err = crypto->fd;

		vdpa_crypto_close(crypto);
		return err;
	}
	if (recv_all(crypto->fd, &hello, sizeof(hello)) || hello.magic != CRYPTO_HELLO_MAGIC ||
	    hello.version != CRYPTO_HELLO_VERSION) {
		vdpa_crypto_close(crypto);
		return vdpa_extack_set(ack, -EPROTO, "no crypto device of this version at '%s'",
				       path);
	}
	read_info(&crypto->info, &hello.config);
	*ret = crypto;
	return 0;
}

VDPA_API void vdpa_crypto_close(struct vdpa_crypto *crypto)
{
	if (!crypto)
		return;
	fd_closep(&crypto->fd);
	pthread_mutex_destroy(&crypto->lock);
	explicit_bzero(crypto, sizeof(*crypto));
	free(crypto);
}

VDPA_API const struct vdpa_crypto_info *vdpa_crypto_info(const struct vdpa_crypto *crypto)
{
	return &crypto->info;
}
