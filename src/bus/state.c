/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state record as bytes: a magic number, the version, then tagged values (blob.h).  Values of
 * fixed size may grow at the end: a reader takes what it knows.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "bus/blob.h"
#include "vdpa/state.h"

#define MAGIC        "uvdpast\n"
#define MAGIC_LEN    8
#define VQ_WORDS     7
#define REGION_WORDS 6

enum state_tag {
	TAG_PARTS = 1,
	TAG_DEVICE_ID,
	TAG_GENERATION,
	TAG_CONFIG,
	TAG_BLOB,
	TAG_FEATURES = 16,
	TAG_STATUS,
	TAG_VQ,     /* one for each queue, in order */
	TAG_REGION, /* one for each region */
};

VDPA_API void vdpa_state_clear(struct vdpa_state *state)
{
	free(state->config);
	blob_free(state->blob);
	free(state->vqs);
	free(state->regions);
	memset(state, 0, sizeof(*state));
}

/* ---- a queue's position in one word: of a packed ring as in vhost-user's SET_VRING_BASE */

static uint64_t pack_position(const struct vdpa_vq_state *s)
{
	if (!s->packed)
		return s->split.avail_index;
	return (uint64_t)(s->packed_ring.last_avail_idx & 0x7fff) |
	       (uint64_t)s->packed_ring.last_avail_counter << 15 |
	       (uint64_t)(s->packed_ring.last_used_idx & 0x7fff) << 16 |
	       (uint64_t)s->packed_ring.last_used_counter << 31;
}

static void unpack_position(uint64_t word, bool packed, struct vdpa_vq_state *s)
{
	memset(s, 0, sizeof(*s));
	s->packed = packed;
	if (!packed) {
		s->split.avail_index = (uint16_t)word;
		return;
	}
	s->packed_ring.last_avail_idx = word & 0x7fff;
	s->packed_ring.last_avail_counter = word >> 15 & 1;
	s->packed_ring.last_used_idx = word >> 16 & 0x7fff;
	s->packed_ring.last_used_counter = word >> 31 & 1;
}

/* ---- encode */

static int put_words(struct vdpa_state_blob *row, uint32_t tag, uint64_t *words, uint32_t num)
{
	for (uint32_t i = 0; i < num; i++)
		words[i] = htole64(words[i]);
	return vdpa_state_put(row, tag, words, num * (uint32_t)sizeof(*words));
}

static int encode_device(struct vdpa_state_blob *row, const struct vdpa_state *state)
{
	int err = vdpa_state_put_u64(row, TAG_GENERATION, state->generation);

	if (!err)
		err = vdpa_state_put(row, TAG_CONFIG, state->config, state->config_len);
	if (!err && state->blob)
		err = vdpa_state_put(row, TAG_BLOB, state->blob->data, (uint32_t)state->blob->len);
	return err;
}

static int encode_session(struct vdpa_state_blob *row, const struct vdpa_state *state)
{
	int err = vdpa_state_put_u64(row, TAG_FEATURES, state->features);

	if (!err)
		err = vdpa_state_put_u64(row, TAG_STATUS, state->status);
	for (uint16_t i = 0; i < state->nvqs && !err; i++) {
		const struct vdpa_state_vq *vq = &state->vqs[i];
		uint64_t words[VQ_WORDS] = {vq->num,
					    vq->desc,
					    vq->driver,
					    vq->device,
					    vq->ready,
					    vq->state.packed,
					    pack_position(&vq->state)};

		err = put_words(row, TAG_VQ, words, VQ_WORDS);
	}
	for (uint32_t i = 0; i < state->nregions && !err; i++) {
		const struct vdpa_state_region *r = &state->regions[i];
		uint64_t words[REGION_WORDS] = {r->iova, r->len,     r->offset,
						r->perm, r->fd_slot, r->asid};

		err = put_words(row, TAG_REGION, words, REGION_WORDS);
	}
	return err;
}

VDPA_API int vdpa_state_encode(const struct vdpa_state *state, void **ret, size_t *len)
{
	struct vdpa_state_blob row = {0};
	uint32_t version = htole32(VDPA_STATE_VERSION);
	uint8_t *data;
	int err = vdpa_state_put_u64(&row, TAG_PARTS, state->parts);

	if (!err)
		err = vdpa_state_put_u64(&row, TAG_DEVICE_ID, state->device_id);
	if (!err && (state->parts & VDPA_STATE_DEVICE))
		err = encode_device(&row, state);
	if (!err && (state->parts & VDPA_STATE_SESSION))
		err = encode_session(&row, state);
	data = err ? NULL : malloc(MAGIC_LEN + sizeof(version) + row.len);
	if (!data) {
		free(row.data);
		return -ENOMEM;
	}
	memcpy(data, MAGIC, MAGIC_LEN);
	memcpy(data + MAGIC_LEN, &version, sizeof(version));
	memcpy(data + MAGIC_LEN + sizeof(version), row.data, row.len);
	*ret = data;
	*len = MAGIC_LEN + sizeof(version) + row.len;
	free(row.data);
	return 0;
}

/* ---- decode: what comes in may have been written by anybody */

static int bad(struct vdpa_extack *ack, const char *what)
{
	return vdpa_extack_set(ack, -EPROTO, "the state record is damaged: %s", what);
}

static int get_words(const struct blob_item *item, uint64_t *words, uint32_t num)
{
	if (item->len < num * sizeof(*words))
		return -EPROTO;
	memcpy(words, item->value, num * sizeof(*words));
	for (uint32_t i = 0; i < num; i++)
		words[i] = le64toh(words[i]);
	return 0;
}

static int decode_vq(const struct blob_item *item, struct vdpa_state *state)
{
	struct vdpa_state_vq *vq;
	uint64_t w[VQ_WORDS];

	if (get_words(item, w, VQ_WORDS) || w[0] > VDPA_VQ_NUM_MAX || w[4] > 1 || w[5] > 1 ||
	    w[6] > (w[5] ? UINT32_MAX : UINT16_MAX))
		return -EPROTO;
	vq = &state->vqs[state->nvqs++];
	vq->num = (uint32_t)w[0];
	vq->desc = w[1];
	vq->driver = w[2];
	vq->device = w[3];
	vq->ready = w[4];
	unpack_position(w[6], w[5], &vq->state);
	return 0;
}

static int decode_region(const struct blob_item *item, struct vdpa_state *state)
{
	struct vdpa_state_region *region;
	uint64_t w[REGION_WORDS];

	/* iova and offset: the last byte is below 2^64. */
	if (get_words(item, w, REGION_WORDS) || !w[1] || !range_fits(w[0], w[1] - 1, UINT64_MAX) ||
	    !range_fits(w[2], w[1], INT64_MAX) || !w[3] || w[3] > VDPA_PERM_RW ||
	    w[4] > UINT16_MAX || w[5] > UINT16_MAX)
		return -EPROTO;
	region = &state->regions[state->nregions++];
	*region = (struct vdpa_state_region){
		.iova = w[0],
		.len = w[1],
		.offset = w[2],
		.perm = (uint32_t)w[3],
		.fd_slot = (uint32_t)w[4],
		.asid = (uint32_t)w[5],
	};
	return 0;
}

static int copy_bytes(const struct blob_item *item, uint8_t **ret)
{
	uint8_t *copy = malloc(item->len ? item->len : 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, item->value, item->len);
	free(*ret);
	*ret = copy;
	return 0;
}

/* The inner row is walked once here, so that whoever reads it later cannot run off its end. */
static int decode_blob(const struct blob_item *item, struct vdpa_state *state)
{
	struct vdpa_state_blob probe = {.data = (uint8_t *)item->value, .len = item->len};
	struct blob_item inner;
	size_t pos = 0;
	int err;

	while ((err = blob_next(&probe, &pos, &inner)) > 0)
		;
	if (err)
		return err;
	if (!state->blob)
		state->blob = blob_alloc();
	if (!state->blob)
		return -ENOMEM;
	err = copy_bytes(item, &state->blob->data);
	if (!err)
		state->blob->len = state->blob->size = item->len;
	return err;
}

static int decode_number(const struct blob_item *item, uint64_t max, uint64_t *ret)
{
	return get_words(item, ret, 1) || *ret > max ? -EPROTO : 0;
}

static int decode_item(const struct blob_item *item, struct vdpa_state *state)
{
	uint64_t n = 0;
	int err = 0;

	switch (item->tag) {
	case TAG_PARTS:
		err = decode_number(item, VDPA_STATE_DEVICE | VDPA_STATE_SESSION, &n);
		state->parts = (uint32_t)n;
		return err;
	case TAG_DEVICE_ID:
		err = decode_number(item, UINT32_MAX, &n);
		state->device_id = (uint32_t)n;
		return err;
	case TAG_GENERATION:
		err = decode_number(item, UINT32_MAX, &n);
		state->generation = (uint32_t)n;
		return err;
	case TAG_CONFIG:
		err = copy_bytes(item, &state->config);
		if (!err)
			state->config_len = item->len;
		return err;
	case TAG_BLOB:
		return decode_blob(item, state);
	case TAG_FEATURES:
		return decode_number(item, UINT64_MAX, &state->features);
	case TAG_STATUS:
		err = decode_number(item, UINT8_MAX, &n);
		state->status = (uint8_t)n;
		return err;
	case TAG_VQ:
		return decode_vq(item, state);
	case TAG_REGION:
		return decode_region(item, state);
	default:
		return 0;
	}
}

/* Count first: growing step by step would take a long record very long. */
static int make_room(const struct vdpa_state_blob *row, struct vdpa_state *state)
{
	size_t vqs = 0, regions = 0, pos = 0;
	struct blob_item item;
	int more;

	while ((more = blob_next(row, &pos, &item)) > 0) {
		vqs += item.tag == TAG_VQ;
		regions += item.tag == TAG_REGION;
	}
	if (more || vqs > UINT16_MAX || regions > UINT16_MAX)
		return -EPROTO;
	state->vqs = calloc(vqs ? vqs : 1, sizeof(*state->vqs));
	state->regions = calloc(regions ? regions : 1, sizeof(*state->regions));
	return state->vqs && state->regions ? 0 : -ENOMEM;
}

static int check_head(const uint8_t *data, size_t len, struct vdpa_extack *ack)
{
	uint32_t version;

	if (len < MAGIC_LEN + sizeof(version) || memcmp(data, MAGIC, MAGIC_LEN))
		return vdpa_extack_set(ack, -EPROTO, "this is no state record");
	memcpy(&version, data + MAGIC_LEN, sizeof(version));
	if (le32toh(version) != VDPA_STATE_VERSION)
		return vdpa_extack_set(ack, -EPROTO,
				       "the state record is of version %u, version %u is known",
				       le32toh(version), VDPA_STATE_VERSION);
	return 0;
}

VDPA_API int vdpa_state_decode(const void *data, size_t len, struct vdpa_state *state,
			       struct vdpa_extack *ack)
{
	struct vdpa_state_blob row = {.data = (uint8_t *)data + MAGIC_LEN + 4};
	struct vdpa_state now = {0};
	struct blob_item item;
	size_t pos = 0;
	int err = check_head(data, len, ack);

	if (err)
		return err;
	row.len = len - MAGIC_LEN - 4;
	err = make_room(&row, &now);
	while (!err && blob_next(&row, &pos, &item) > 0)
		err = decode_item(&item, &now);
	if (!err && !now.parts)
		err = -EPROTO;
	if (err) {
		vdpa_state_clear(&now);
		return err == -EPROTO ? bad(ack, "a value is too long, too short or out of range")
				      : err;
	}
	*state = now;
	return 0;
}
