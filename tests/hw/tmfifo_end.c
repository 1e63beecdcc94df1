/* SPDX-License-Identifier: BSD-2-Clause */
#include "tmfifo_end.h"

#include <endian.h>
#include <string.h>

void tmfifo_end_init(struct tmfifo_end *end, struct tmfifo_model *model)
{
	memset(end, 0, sizeof(*end));
	end->model = model;
	tmfifo_model_write(model, TMFIFO_THEIRS, VDPA_TMFIFO_RX, VDPA_TMFIFO_CTL, 0x0100);
	tmfifo_model_write(model, TMFIFO_THEIRS, VDPA_TMFIFO_TX, VDPA_TMFIFO_CTL, 0xff80);
}

bool tmfifo_end_ready(const struct tmfifo_end *end)
{
	return end->out_next == end->out_end;
}

void tmfifo_end_put_words(struct tmfifo_end *end, const uint64_t *words, uint32_t num)
{
	memcpy(end->out, words, num * sizeof(*words));
	end->out_next = 0;
	end->out_end = num;
}

void tmfifo_end_put(struct tmfifo_end *end, uint8_t type, const void *data, uint32_t len)
{
	uint8_t sum = (uint8_t)(type + (len >> 8) + len);
	uint64_t hdr = type | (uint64_t)(len >> 8 & 0xff) << 8 | (uint64_t)(len & 0xff) << 16 |
		       (uint64_t)(uint8_t)(0x100 - sum) << 56;

	end->out[0] = htole64(hdr);
	end->out_next = 0;
	end->out_end = 1 + (len + 7) / 8;
	end->out[end->out_end - 1] = end->out_end > 1 ? 0 : end->out[0];
	memcpy(end->out + 1, data, len);
}

static uint32_t count(struct tmfifo_end *end, enum vdpa_tmfifo_block block)
{
	return tmfifo_model_read(end->model, TMFIFO_THEIRS, block, VDPA_TMFIFO_STS) & 0x1ff;
}

static void take(struct tmfifo_end *end, uint64_t value)
{
	uint8_t word[8], sum = 0;
	uint32_t part;

	value = htole64(value);
	memcpy(word, &value, sizeof(word));
	if (end->in_have < end->in_len) {
		part = end->in_len - end->in_have < 8 ? end->in_len - end->in_have : 8;
		memcpy(end->in + end->in_have, word, part);
		end->in_have += part;
		if (end->in_have == end->in_len && end->message)
			end->message(end, end->in_type, end->in, end->in_len);
		return;
	}
	for (int i = 0; i < 8; i++)
		sum = (uint8_t)(sum + word[i]);
	if (!sum && !word[1] && !word[2])
		return;
	if (sum || (word[0] != TMFIFO_END_NET && word[0] != TMFIFO_END_CONSOLE)) {
		end->bad++;
		return;
	}
	end->in_type = word[0];
	end->in_len = (uint32_t)word[1] << 8 | word[2];
	end->in_have = 0;
}

bool tmfifo_end_run(struct tmfifo_end *end)
{
	uint32_t come = count(end, VDPA_TMFIFO_RX);
	uint32_t room = TMFIFO_MODEL_ENTRIES - count(end, VDPA_TMFIFO_TX), gone = 0;

	for (uint32_t i = 0; i < come; i++)
		take(end, tmfifo_model_read(end->model, TMFIFO_THEIRS, VDPA_TMFIFO_RX,
					    VDPA_TMFIFO_DATA));
	for (; gone < room && !tmfifo_end_ready(end); gone++)
		tmfifo_model_write(end->model, TMFIFO_THEIRS, VDPA_TMFIFO_TX, VDPA_TMFIFO_DATA,
				   le64toh(end->out[end->out_next++]));
	return come || gone;
}
