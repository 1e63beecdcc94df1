/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames on their way from one thread to another: a ring of bytes, each frame in one piece.  One
 * thread puts, one takes; neither waits for the other, nor takes a lock.
 */
#ifndef BACKENDS_NET_FRAMES_H
#define BACKENDS_NET_FRAMES_H

#include <stdbool.h>
#include <stdint.h>

struct frames;

/* Of so many bytes, frames and a few bytes more for each; a power of two.  NULL: no memory. */
struct frames *frames_alloc(uint32_t size);
/* NULL is allowed. */
void frames_free(struct frames *frames);

/* Who puts: room for a frame of len bytes, NULL when there is none.  It counts when put. */
void *frames_room(struct frames *frames, uint32_t len);
/* The room holds a frame now.  Returns whether the taker had nothing left, and may be asleep. */
bool frames_put(struct frames *frames);

/* Who takes: the oldest frame, until it is dropped; NULL when there is none. */
const void *frames_first(struct frames *frames, uint32_t *len);
void frames_drop_first(struct frames *frames);

/* Bytes that are taken up.  ANY THREAD; the others go on meanwhile. */
uint32_t frames_used(const struct frames *frames);

#endif
