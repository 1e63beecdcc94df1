/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The crypto device, inside: crypto.c (the device and its queues), crypto_session.c (its table of
 * sessions), crypto_ctrl.c (commands that make and end them), crypto_data.c (operations).
 *
 * @spec virtio 1.3, 5.9
 */
#ifndef SOFT_CRYPTO_H
#define SOFT_CRYPTO_H

#include <pthread.h>

#include "backends/crypto/crypto.h"
#include "loop/threads.h"
#include "parents/soft/internal.h"

/* Bits of the class, as the kernel's header has them not yet. */
#define CRYPTO_F_REVISION_1         0
#define CRYPTO_F_CIPHER_STATELESS   1
#define CRYPTO_F_HASH_STATELESS     2
#define CRYPTO_F_MAC_STATELESS      3
#define CRYPTO_F_AEAD_STATELESS     4
#define CRYPTO_F_AKCIPHER_STATELESS 5

/* @spec virtio 1.3, 5.9.7.3: in the header of an operation. */
#define CRYPTO_FLAG_SESSION_MODE 1u

#define CRYPTO_SESSIONS_MAX 65536u

/* ---- sessions; any thread */

struct crypto_session {
	int refs; /* atomic: the table's, and one for each operation under way */
	uint64_t id;
	struct crypto_key *key;
};

struct crypto_sessions {
	pthread_mutex_t lock;
	struct crypto_session **slots;
	uint32_t max, num;
	uint32_t next;       /* where the search for a free slot begins */
	uint32_t generation; /* makes ids differ from those that were */
};

/* 0, -ENOMEM */
int crypto_sessions_init(struct crypto_sessions *sessions, uint32_t max);
void crypto_sessions_release(struct crypto_sessions *sessions);
/* The key is taken on success.  VIRTIO_CRYPTO_OK, _NOSPC, _ERR */
uint8_t crypto_sessions_add(struct crypto_sessions *sessions, struct crypto_key *key, uint64_t *id);
/* Operations that have it go on; the key is wiped when the last one ends.  False: no such session
 * of this service. */
bool crypto_sessions_del(struct crypto_sessions *sessions, uint64_t id, uint32_t service);
uint32_t crypto_sessions_num(struct crypto_sessions *sessions);
void crypto_sessions_clear(struct crypto_sessions *sessions);
/* NULL: there is none.  Then crypto_session_put(). */
struct crypto_session *crypto_sessions_get(struct crypto_sessions *sessions, uint64_t id);
void crypto_session_put(struct crypto_session *session);

/* ---- the device */

struct cryptodev {
	struct crypto_lib *lib;
	struct crypto_sessions sessions;
	uint64_t features; /* negotiated */
	uint32_t max_size; /* bytes of what has no fixed length in a request, on either side */
};

static inline bool cryptodev_has(const struct cryptodev *dev, unsigned int bit)
{
	return dev->features & BIT_ULL(bit);
}

/* ---- commands */

/* Longest command and answer, bytes. */
#define CRYPTO_CTRL_MAX   (16u + 56u + CRYPTO_AKCIPHER_KEY)
#define CRYPTO_ANSWER_MAX 16u

/*
 * Run a command of which len bytes are there.  legacy: what is of fixed length is padded, as it is
 * without REVISION_1.  Returns the bytes of the answer.
 */
uint32_t crypto_ctrl(struct cryptodev *dev, const uint8_t *cmd, uint32_t len, bool legacy,
		     uint8_t answer[CRYPTO_ANSWER_MAX], uint8_t *status);

/* ---- operations */

/* What a request asks for; lengths are checked. */
struct crypto_request {
	struct crypto_op op;
	struct crypto_params params; /* stateless */
	bool session;
	uint64_t session_id;
	uint32_t head;    /* bytes before what is of any length */
	uint32_t out_len; /* bytes of that: key, IV, source ... */
	uint32_t in_len;  /* bytes of the result at most, without the status */
};

/* The longest header with its fixed part. */
#define CRYPTO_HEAD_MAX (24u + 76u)

/*
 * Read the fixed part of a request, of which len bytes are there.  VIRTIO_CRYPTO_OK, _NOTSUPP,
 * _ERR (lengths).  Sizes that the chain has are not looked at.
 */
uint8_t crypto_request_parse(const struct cryptodev *dev, const uint8_t *head, uint32_t len,
			     struct crypto_request *r);
/* The same of a chain, which has room for a status: _ERR also if it lacks what it speaks of. */
uint8_t crypto_request_read(const struct cryptodev *dev, const struct vdpa_vq_elem *elem,
			    struct crypto_request *r);
/* out_len bytes are at `out`, room for in_len at `in`; r->op.dst_len says how many were written. */
uint8_t crypto_request_run(struct cryptodev *dev, struct crypto_request *r, const uint8_t *out,
			   uint8_t *in);
/* Write the result, which is at `in`, and the status.  Returns the bytes that count as written. */
uint32_t crypto_request_answer(const struct crypto_request *r, const struct vdpa_vq_elem *elem,
			       uint8_t status, const uint8_t *in);

#endif
