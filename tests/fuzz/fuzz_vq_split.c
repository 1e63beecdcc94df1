/* SPDX-License-Identifier: BSD-2-Clause */
#include "fuzz_ring.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	fuzz_ring(data, len, false, false);
	return 0;
}
