/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Positions count bytes and never go back; the byte at a position is bytes[position % size].  A
 * frame is its length and its bytes, from a multiple of ALIGN on.  Where it would go beyond the end
 * of the ring, a length of SKIP stands for the rest of it, and the frame begins at 0.
 *
 * Both positions are stored and loaded in one total order.  So of a putter that sees the ring as
 * not empty and does not wake, and a taker that sees it as empty and sleeps, there is never both.
 */
#include <stdlib.h>

#include "backends/net/frames.h"
#include "base/defs.h"

#define ALIGN 16u
#define SKIP  UINT32_MAX

struct frames {
	uint32_t size;
	uint8_t *bytes;
	/* The putter's: where it has got room, and up to where. */
	uint32_t room, room_end;
	uint32_t head __attribute__((aligned(64))); /* written by the putter */
	uint32_t tail __attribute__((aligned(64))); /* written by the taker */
};

struct frames *frames_alloc(uint32_t size)
{
	struct frames *frames;

	if (posix_memalign((void **)&frames, 64, sizeof(*frames)))
		return NULL;
	*frames = (struct frames){.size = size};
	if (posix_memalign((void **)&frames->bytes, ALIGN, size)) {
		free(frames);
		return NULL;
	}
	return frames;
}

void frames_free(struct frames *frames)
{
	if (!frames)
		return;
	free(frames->bytes);
	free(frames);
}

static uint32_t *length_at(const struct frames *frames, uint32_t pos)
{
	return (uint32_t *)(void *)(frames->bytes + pos % frames->size);
}

static uint32_t span(uint32_t len)
{
	return (uint32_t)align_up((uint64_t)len + sizeof(uint32_t), ALIGN);
}

void *frames_room(struct frames *frames, uint32_t len)
{
	uint32_t head = frames->head, rest = frames->size - head % frames->size;
	uint32_t skip, left;

	if (len > frames->size / 2)
		return NULL;
	left = frames->size - (head - __atomic_load_n(&frames->tail, __ATOMIC_ACQUIRE));
	skip = span(len) > rest ? rest : 0;
	if (skip + span(len) > left)
		return NULL;
	if (skip)
		*length_at(frames, head) = SKIP;
	frames->room = head + skip;
	frames->room_end = frames->room + span(len);
	*length_at(frames, frames->room) = len;
	return length_at(frames, frames->room) + 1;
}

bool frames_put(struct frames *frames)
{
	uint32_t head = frames->head;

	__atomic_store_n(&frames->head, frames->room_end, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&frames->tail, __ATOMIC_SEQ_CST) == head;
}

const void *frames_first(struct frames *frames, uint32_t *len)
{
	uint32_t tail = frames->tail;

	if (__atomic_load_n(&frames->head, __ATOMIC_SEQ_CST) == tail)
		return NULL;
	/* A frame follows: they are put at once. */
	if (*length_at(frames, tail) == SKIP)
		tail += frames->size - tail % frames->size;
	*len = *length_at(frames, tail);
	return length_at(frames, tail) + 1;
}

void frames_drop_first(struct frames *frames)
{
	uint32_t tail = frames->tail;

	if (*length_at(frames, tail) == SKIP)
		tail += frames->size - tail % frames->size;
	tail += span(*length_at(frames, tail));
	__atomic_store_n(&frames->tail, tail, __ATOMIC_SEQ_CST);
}

uint32_t frames_used(const struct frames *frames)
{
	uint32_t tail = __atomic_load_n(&frames->tail, __ATOMIC_SEQ_CST);

	return __atomic_load_n(&frames->head, __ATOMIC_SEQ_CST) - tail;
}
