/* SPDX-License-Identifier: BSD-2-Clause */
#include "parents/tmfifo/msg.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "backends/net/net.h"
#include "base/defs.h"

#define HDR_SUM 7

static uint8_t sum_of(const uint8_t hdr[TMFIFO_WORD])
{
	uint8_t sum = 0;

	for (unsigned int i = 0; i < TMFIFO_WORD; i++)
		sum = (uint8_t)(sum + hdr[i]);
	return sum;
}

void tmfifo_hdr_write(uint8_t hdr[TMFIFO_WORD], uint8_t type, uint32_t len)
{
	memset(hdr, 0, TMFIFO_WORD);
	hdr[0] = type;
	hdr[1] = (uint8_t)(len >> 8);
	hdr[2] = (uint8_t)len;
	hdr[HDR_SUM] = (uint8_t)-sum_of(hdr);
}

int tmfifo_parser_init(struct tmfifo_parser *parser, const struct tmfifo_parser_ops *ops,
		       uint32_t frame_max)
{
	*parser = (struct tmfifo_parser){.ops = ops, .frame_max = frame_max};
	parser->frame = malloc(frame_max);
	return parser->frame ? 0 : -ENOMEM;
}

void tmfifo_parser_release(struct tmfifo_parser *parser)
{
	free(parser->frame);
	parser->frame = NULL;
}

void tmfifo_parser_cut(struct tmfifo_parser *parser)
{
	counter_add(&parser->stats.cut, 1);
	parser->left = 0;
}

static void begin(struct tmfifo_parser *parser, const uint8_t hdr[TMFIFO_WORD])
{
	uint32_t len = (uint32_t)hdr[1] << 8 | hdr[2];
	bool sum_is_right = !hdr[HDR_SUM] || !sum_of(hdr);

	if (sum_is_right && !len) {
		counter_add(&parser->stats.keepalives, 1);
		return;
	}
	if (!sum_is_right || (hdr[0] != VIRTIO_ID_NET && hdr[0] != VIRTIO_ID_CONSOLE)) {
		counter_add(&parser->stats.garbage, 1);
		return;
	}
	parser->type = hdr[0];
	parser->len = parser->left = len;
	parser->skip =
		parser->type == VIRTIO_ID_NET && (len < NET_ETH_LEN || len > parser->frame_max);
	if (parser->skip)
		counter_add(&parser->stats.refused, 1);
}

/* The next len bytes of the payload. */
static void go_on(struct tmfifo_parser *parser, const uint8_t *data, uint32_t len)
{
	uint32_t have = parser->len - parser->left;

	parser->left -= len;
	if (parser->skip)
		return;
	if (parser->type == VIRTIO_ID_CONSOLE) {
		parser->ops->console(parser, data, len);
		return;
	}
	memcpy(parser->frame + have, data, len);
	if (!parser->left)
		parser->ops->frame(parser, parser->frame, parser->len);
}

void tmfifo_parser_feed(struct tmfifo_parser *parser, const uint8_t *words, uint32_t num)
{
	while (num) {
		uint32_t used = 1;

		if (parser->left) {
			uint64_t have = (uint64_t)num * TMFIFO_WORD;
			uint32_t len = have < parser->left ? (uint32_t)have : parser->left;

			used = (len + TMFIFO_WORD - 1) / TMFIFO_WORD;
			go_on(parser, words, len);
		} else {
			begin(parser, words);
		}
		words += (size_t)used * TMFIFO_WORD;
		num -= used;
	}
}
