/* SPDX-License-Identifier: BSD-2-Clause */
#include "fuzz_ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* The first byte says which kind of ring. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (len)
		fuzz_ring(data + 1, len - 1, data[0] & 1, true);
	return 0;
}
