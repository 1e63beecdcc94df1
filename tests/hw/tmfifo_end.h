/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the computer at the other end of a TmFIFO runs: messages over the model's registers, written
 * without a look at the library's driver.  One thread.
 */
#ifndef HW_TMFIFO_END_H
#define HW_TMFIFO_END_H

#include <stdint.h>

#include "tmfifo_model.h"

#define TMFIFO_END_NET     1
#define TMFIFO_END_CONSOLE 3

struct tmfifo_end {
	struct tmfifo_model *model;
	/* A whole message of the driver's; NULL: they are dropped. */
	void (*message)(struct tmfifo_end *end, uint8_t type, const uint8_t *data, uint32_t len);
	uint64_t bad; /* headers that make no sense */

	uint64_t out[1 + 65536 / 8];
	uint32_t out_next, out_end; /* words */
	uint8_t in[65536];
	uint8_t in_type;
	uint32_t in_len, in_have; /* bytes */
};

/* Sets the watermarks.  model: borrowed; message NULL. */
void tmfifo_end_init(struct tmfifo_end *end, struct tmfifo_model *model);
/* Has the last message gone? */
bool tmfifo_end_ready(const struct tmfifo_end *end);
/* Send a message; only when ready.  It goes on in tmfifo_end_run(). */
void tmfifo_end_put(struct tmfifo_end *end, uint8_t type, const void *data, uint32_t len);
/* The same of words as they are. */
void tmfifo_end_put_words(struct tmfifo_end *end, const uint64_t *words, uint32_t num);
/* Move words both ways, as many as go.  Returns whether there were any. */
bool tmfifo_end_run(struct tmfifo_end *end);

#endif
