/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Frames of a guest before libslirp sees them.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backends/net/user_guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct user_guard guard = {0};
	/* As long as the frame, so that a look behind it is seen. */
	uint8_t *frame = malloc(len ? len : 1);
	bool calm, crowded;

	if (!frame || len > UINT16_MAX)
		goto out;
	memcpy(frame, data, len);
	calm = user_guard_pass(&guard, frame, (uint32_t)len, false, 1);
	crowded = user_guard_pass(&guard, frame, (uint32_t)len, true, 1);
	if (crowded && !calm)
		abort();
	/* At some time there are too many fragments, and nothing else runs out. */
	for (int i = 0; calm && i < 3000; i++) {
		if (user_guard_pass(&guard, frame, (uint32_t)len, false, 1) != calm)
			break;
		if (guard.fragments > USER_GUARD_FRAGMENTS)
			abort();
	}
out:
	free(frame);
	return 0;
}
