/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * State records as they may be found on a disk.  What is accepted is written and read again, and is
 * the same then; and its inner row can be searched.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "vdpa/state.h"

static void expect(bool ok)
{
	if (!ok)
		abort();
}

static void look(const struct vdpa_state *state)
{
	uint64_t value;
	uint32_t len;

	expect(state->parts && state->parts <= (VDPA_STATE_DEVICE | VDPA_STATE_SESSION));
	expect(!state->config_len || state->config);
	for (uint32_t i = 0; i < state->nvqs; i++)
		expect(state->vqs[i].num <= VDPA_VQ_NUM_MAX);
	for (uint32_t i = 0; i < state->nregions; i++)
		expect(state->regions[i].len &&
		       state->regions[i].iova + (state->regions[i].len - 1) >=
			       state->regions[i].iova);
	for (uint32_t tag = 0; tag < 16; tag++)
		if (!vdpa_state_u64(state->blob, tag, &value))
			expect(vdpa_state_find(state->blob, tag, &len) && len == sizeof(value));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vdpa_extack ack = {0};
	struct vdpa_state state, again;
	void *first, *second;
	size_t first_len, second_len;

	if (vdpa_state_decode(data, len, &state, &ack)) {
		expect(ack.msg[0]);
		return 0;
	}
	look(&state);
	expect(!vdpa_state_encode(&state, &first, &first_len));
	expect(!vdpa_state_decode(first, first_len, &again, NULL));
	expect(!vdpa_state_encode(&again, &second, &second_len));
	expect(first_len == second_len && !memcmp(first, second, first_len));
	vdpa_state_clear(&state);
	vdpa_state_clear(&again);
	free(first);
	free(second);
	return 0;
}
