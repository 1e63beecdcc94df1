/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sessions of a crypto device.  An id is a slot and a generation, so that one that has ended is
 * not taken for another.
 */
#include <errno.h>

#include "parents/soft/crypto.h"

#define SLOT_BITS       16
#define GENERATION_MASK 0x7fffffffu /* front-ends take ids for signed numbers */

int crypto_sessions_init(struct crypto_sessions *sessions, uint32_t max)
{
	*sessions = (struct crypto_sessions){.max = max};
	sessions->slots = calloc(max, sizeof(struct crypto_session *));
	if (!sessions->slots)
		return -ENOMEM;
	pthread_mutex_init(&sessions->lock, NULL);
	return 0;
}

void crypto_sessions_release(struct crypto_sessions *sessions)
{
	if (!sessions->slots)
		return;
	crypto_sessions_clear(sessions);
	free(sessions->slots);
	pthread_mutex_destroy(&sessions->lock);
}

void crypto_session_put(struct crypto_session *session)
{
	if (__atomic_sub_fetch(&session->refs, 1, __ATOMIC_ACQ_REL))
		return;
	crypto_key_free(session->key);
	free(session);
}

/* There is one. */
static uint32_t free_slot_locked(struct crypto_sessions *sessions)
{
	while (sessions->slots[sessions->next])
		sessions->next = (sessions->next + 1) % sessions->max;
	return sessions->next;
}

uint8_t crypto_sessions_add(struct crypto_sessions *sessions, struct crypto_key *key, uint64_t *id)
{
	struct crypto_session *session = malloc(sizeof(*session));
	uint32_t slot;

	if (!session)
		return VIRTIO_CRYPTO_ERR;
	pthread_mutex_lock(&sessions->lock);
	if (sessions->num == sessions->max) {
		pthread_mutex_unlock(&sessions->lock);
		free(session);
		return VIRTIO_CRYPTO_NOSPC;
	}
	slot = free_slot_locked(sessions);
	sessions->generation = (sessions->generation + 1) & GENERATION_MASK;
	*session = (struct crypto_session){
		.refs = 1,
		.id = (uint64_t)sessions->generation << SLOT_BITS | slot,
		.key = key,
	};
	*id = session->id;
	sessions->slots[slot] = session;
	sessions->num++;
	pthread_mutex_unlock(&sessions->lock);
	return VIRTIO_CRYPTO_OK;
}

static struct crypto_session **find_locked(struct crypto_sessions *sessions, uint64_t id)
{
	uint64_t slot = id & (BIT_ULL(SLOT_BITS) - 1);

	if (slot >= sessions->max || !sessions->slots[slot] || sessions->slots[slot]->id != id)
		return NULL;
	return &sessions->slots[slot];
}

bool crypto_sessions_del(struct crypto_sessions *sessions, uint64_t id, uint32_t service)
{
	struct crypto_session **slot, *session = NULL;

	pthread_mutex_lock(&sessions->lock);
	slot = find_locked(sessions, id);
	if (slot && crypto_key_service((*slot)->key) == service) {
		session = *slot;
		*slot = NULL;
		sessions->num--;
	}
	pthread_mutex_unlock(&sessions->lock);
	if (session)
		crypto_session_put(session);
	return session;
}

uint32_t crypto_sessions_num(struct crypto_sessions *sessions)
{
	uint32_t num;

	pthread_mutex_lock(&sessions->lock);
	num = sessions->num;
	pthread_mutex_unlock(&sessions->lock);
	return num;
}

void crypto_sessions_clear(struct crypto_sessions *sessions)
{
	pthread_mutex_lock(&sessions->lock);
	for (uint32_t i = 0; sessions->num; i++) {
		if (!sessions->slots[i])
			continue;
		crypto_session_put(sessions->slots[i]);
		sessions->slots[i] = NULL;
		sessions->num--;
	}
	pthread_mutex_unlock(&sessions->lock);
}

struct crypto_session *crypto_sessions_get(struct crypto_sessions *sessions, uint64_t id)
{
	struct crypto_session **slot, *session = NULL;

	pthread_mutex_lock(&sessions->lock);
	slot = find_locked(sessions, id);
	if (slot) {
		session = *slot;
		__atomic_add_fetch(&session->refs, 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&sessions->lock);
	return session;
}
