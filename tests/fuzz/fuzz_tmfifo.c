/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Words of a hostile other end of a TmFIFO.  The first byte says how many words come at once (0:
 * all that there are), and where the stream breaks off and goes on.
 *
 * A second reader, which looks at the stream as a whole, says what has to come out.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "parents/tmfifo/msg.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define FRAME_MAX 1518u
#define FRAME_MIN 14u
#define NET       1
#define CONSOLE   3

/* What has come out, as a sum over all bytes and lengths in their order. */
struct result {
	uint64_t console_bytes, frames, sum;
	struct tmfifo_rx_stats stats;
};

struct reader {
	struct tmfifo_parser parser;
	struct result result;
};

static void expect(bool ok)
{
	if (!ok)
		abort();
}

static void add(struct result *result, const uint8_t *data, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		result->sum = (result->sum ^ data[i]) * 0x100000001b3u;
}

static void on_console(struct tmfifo_parser *parser, const uint8_t *data, uint32_t len)
{
	struct reader *reader = container_of(parser, struct reader, parser);

	expect(len);
	reader->result.console_bytes += len;
	add(&reader->result, data, len);
}

static void on_frame(struct tmfifo_parser *parser, const uint8_t *data, uint32_t len)
{
	struct reader *reader = container_of(parser, struct reader, parser);

	expect(len >= FRAME_MIN && len <= FRAME_MAX);
	reader->result.frames++;
	add(&reader->result, data, len);
}

static const struct tmfifo_parser_ops ops = {.console = on_console, .frame = on_frame};

/* Exactly as many bytes as there are words, so that a look behind them is seen. */
static void feed(struct reader *reader, const uint8_t *data, uint32_t num)
{
	size_t len = (size_t)num * TMFIFO_WORD;
	uint8_t *words = malloc(len);

	if (!words)
		abort();
	memcpy(words, data, len);
	tmfifo_parser_feed(&reader->parser, words, num);
	free(words);
}

static void read_stream(const uint8_t *data, uint32_t num, uint32_t piece, uint32_t cut_at,
			struct result *result)
{
	struct reader reader = {.result = {0}};

	if (tmfifo_parser_init(&reader.parser, &ops, FRAME_MAX))
		abort();
	for (uint32_t at = 0; at < num;) {
		uint32_t part = num - at < piece ? num - at : piece;

		if (at < cut_at && cut_at < at + part)
			part = cut_at - at;
		if (at == cut_at && tmfifo_parser_amid(&reader.parser))
			tmfifo_parser_cut(&reader.parser);
		feed(&reader, data + (size_t)at * TMFIFO_WORD, part);
		at += part;
	}
	*result = reader.result;
	result->stats = reader.parser.stats;
	tmfifo_parser_release(&reader.parser);
}

/* ---- the other reader */

static bool is_right(const uint8_t *hdr)
{
	uint8_t sum = 0;

	for (int i = 0; i < 8; i++)
		sum = (uint8_t)(sum + hdr[i]);
	return !hdr[7] || !sum;
}

/* Up to word end, where the stream breaks off. */
static void read_up_to(const uint8_t *data, uint64_t at, uint64_t end, bool cut,
		       struct result *result)
{
	while (at < end) {
		const uint8_t *hdr = data + at++ * 8;
		uint32_t len = hdr[1] * 256u + hdr[2], words = (len + 7) / 8;
		uint64_t left = end - at;
		uint32_t have = left < words ? (uint32_t)left * 8 : len;

		if (!is_right(hdr) || (len && hdr[0] != NET && hdr[0] != CONSOLE)) {
			result->stats.garbage++;
			continue;
		}
		if (!len)
			result->stats.keepalives++;
		else if (hdr[0] == NET && (len < FRAME_MIN || len > FRAME_MAX))
			result->stats.refused++;
		else if (hdr[0] == CONSOLE || have == len)
			add(result, hdr + 8, have);
		if (len && hdr[0] == CONSOLE)
			result->console_bytes += have;
		if (hdr[0] == NET && have == len && len >= FRAME_MIN && len <= FRAME_MAX)
			result->frames++;
		if (have < len && cut)
			result->stats.cut++;
		at += words;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct result found, expected = {0};
	uint32_t piece, num, cut_at;

	if (len < 1 || len > 1u << 20)
		return 0;
	piece = data[0] & 15 ? data[0] & 15 : UINT32_MAX;
	cut_at = data[0] >> 4 ? 4u * (data[0] >> 4) : UINT32_MAX;
	num = (uint32_t)((len - 1) / TMFIFO_WORD);
	read_stream(data + 1, num, piece, cut_at, &found);
	if (cut_at < num) {
		read_up_to(data + 1, 0, cut_at, true, &expected);
		read_up_to(data + 1, cut_at, num, false, &expected);
	} else {
		read_up_to(data + 1, 0, num, false, &expected);
	}
	expect(!memcmp(&found, &expected, sizeof(found)));
	return 0;
}
