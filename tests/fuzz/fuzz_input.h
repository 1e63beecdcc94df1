/* SPDX-License-Identifier: BSD-2-Clause */
/* The fuzzer's bytes, taken one after the other; behind their end there are zeros. */
#ifndef FUZZ_INPUT_H
#define FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct input {
	const uint8_t *data;
	size_t len;
};

static inline uint8_t next(struct input *in)
{
	if (!in->len)
		return 0;
	in->len--;
	return *in->data++;
}

/* As many as there are: the rest of buf stays as it is.  Returns how many. */
static inline size_t take(struct input *in, void *buf, size_t len)
{
	if (len > in->len)
		len = in->len;
	memcpy(buf, in->data, len);
	in->data += len;
	in->len -= len;
	return len;
}

#endif
