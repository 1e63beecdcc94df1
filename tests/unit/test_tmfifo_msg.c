/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/defs.h"
#include "parents/tmfifo/msg.h"

#define FRAME_MAX 1518u
#define NET       1
#define CONSOLE   3

struct reader {
	struct tmfifo_parser parser;
	uint8_t console[4096], frame[FRAME_MAX];
	uint32_t console_len, frame_len, frames;
};

static void on_console(struct tmfifo_parser *parser, const uint8_t *data, uint32_t len)
{
	struct reader *reader = container_of(parser, struct reader, parser);

	assert_true(len && len <= sizeof(reader->console) - reader->console_len);
	memcpy(reader->console + reader->console_len, data, len);
	reader->console_len += len;
}

static void on_frame(struct tmfifo_parser *parser, const uint8_t *data, uint32_t len)
{
	struct reader *reader = container_of(parser, struct reader, parser);

	assert_in_range(len, 14, FRAME_MAX);
	memcpy(reader->frame, data, len);
	reader->frame_len = len;
	reader->frames++;
}

static const struct tmfifo_parser_ops ops = {.console = on_console, .frame = on_frame};

static int set_up(void **state)
{
	struct reader *reader = calloc(1, sizeof(*reader));

	*state = reader;
	return tmfifo_parser_init(&reader->parser, &ops, FRAME_MAX);
}

static int tear_down(void **state)
{
	struct reader *reader = *state;

	tmfifo_parser_release(&reader->parser);
	free(reader);
	return 0;
}

/* A message in words; returns how many. */
static uint32_t make(uint8_t *words, uint8_t type, uint32_t len, uint8_t first)
{
	uint32_t num = tmfifo_msg_words(len);

	memset(words, 0, (size_t)num * TMFIFO_WORD);
	tmfifo_hdr_write(words, type, len);
	for (uint32_t i = 0; i < len; i++)
		words[TMFIFO_WORD + i] = (uint8_t)(first + i);
	return num;
}

static void check(const uint8_t *data, uint32_t len, uint8_t first)
{
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(data[i], (uint8_t)(first + i));
}

/* As other implementations have it: the length is big-endian, the bytes add up to 0. */
static void test_tmfifo_msg_header(void **state)
{
	uint8_t hdr[TMFIFO_WORD];

	tmfifo_hdr_write(hdr, NET, 0x0102);
	assert_memory_equal(hdr, "\x01\x01\x02\0\0\0\0\xfc", TMFIFO_WORD);
	tmfifo_hdr_write(hdr, CONSOLE, 5);
	assert_memory_equal(hdr, "\x03\0\x05\0\0\0\0\xf8", TMFIFO_WORD);
	assert_int_equal(tmfifo_msg_words(0), 1);
	assert_int_equal(tmfifo_msg_words(1), 2);
	assert_int_equal(tmfifo_msg_words(8), 2);
	assert_int_equal(tmfifo_msg_words(9), 3);
	assert_int_equal(tmfifo_msg_words(TMFIFO_PAYLOAD_MAX), 8193);
}

/* Each length, in pieces of each size. */
static void test_tmfifo_msg_pieces(void **state)
{
	struct reader *reader = *state;
	uint8_t words[2 * 64 * TMFIFO_WORD];

	for (uint32_t len = 14; len < 40; len++) {
		uint32_t num = make(words, NET, len, (uint8_t)len);

		num += make(words + (size_t)num * TMFIFO_WORD, CONSOLE, len, 7);
		for (uint32_t piece = 1; piece <= num; piece++) {
			reader->frame_len = reader->console_len = 0;
			for (uint32_t at = 0; at < num; at += piece)
				tmfifo_parser_feed(&reader->parser,
						   words + (size_t)at * TMFIFO_WORD,
						   num - at < piece ? num - at : piece);
			assert_int_equal(reader->frame_len, len);
			check(reader->frame, len, (uint8_t)len);
			assert_int_equal(reader->console_len, len);
			check(reader->console, len, 7);
			assert_false(tmfifo_parser_amid(&reader->parser));
		}
	}
	assert_int_equal(reader->parser.stats.garbage, 0);
}

/* A console's bytes do not wait for the end of their message; a frame does. */
static void test_tmfifo_msg_console_at_once(void **state)
{
	struct reader *reader = *state;
	uint8_t words[64 * TMFIFO_WORD];

	make(words, CONSOLE, 100, 0);
	tmfifo_parser_feed(&reader->parser, words, 2);
	assert_int_equal(reader->console_len, 8);
	assert_true(tmfifo_parser_amid(&reader->parser));
	tmfifo_parser_cut(&reader->parser);
	make(words, NET, 100, 0);
	tmfifo_parser_feed(&reader->parser, words, 13);
	assert_int_equal(reader->frames, 0);
	tmfifo_parser_feed(&reader->parser, words + 13 * TMFIFO_WORD, 1);
	assert_int_equal(reader->frames, 1);
	assert_int_equal(reader->parser.stats.cut, 1);
}

/* Keepalives and control messages, in and out of turn. */
static void test_tmfifo_msg_without_payload(void **state)
{
	struct reader *reader = *state;
	uint8_t words[4 * TMFIFO_WORD] = {0};

	tmfifo_hdr_write(words + TMFIFO_WORD, CONSOLE, 0);
	memcpy(words + 2 * TMFIFO_WORD, "\xfe\0\0\x02\x03\x04\0\xf9", TMFIFO_WORD);
	make(words + 2 * TMFIFO_WORD, NET, 0, 0);
	tmfifo_parser_feed(&reader->parser, words, 4);
	assert_int_equal(reader->parser.stats.keepalives, 4);
	assert_int_equal(reader->parser.stats.garbage, 0);
	assert_int_equal(reader->frames + reader->console_len, 0);
}

/* What is no header is left out, word for word, until one comes. */
static void test_tmfifo_msg_garbage(void **state)
{
	static const uint8_t bad[][TMFIFO_WORD + 1] = {
		"\x02\0\x08\0\0\0\0\xf6",           /* a type that nobody has */
		"\x01\0\x20\0\0\0\0\x01",           /* a sum that is wrong */
		"\0\0\0\0\0\0\0\x01",               /* the same without a length */
		"\xff\xff\xff\xff\xff\xff\xff\xff", /* hardware that is not there */
	};
	struct reader *reader = *state;
	uint8_t words[8 * TMFIFO_WORD];
	uint32_t num = make(words, CONSOLE, 20, 1);

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		reader->console_len = 0;
		tmfifo_parser_feed(&reader->parser, bad[i], 1);
		assert_int_equal(reader->parser.stats.garbage, i + 1);
		tmfifo_parser_feed(&reader->parser, words, num);
		assert_int_equal(reader->console_len, 20);
		check(reader->console, 20, 1);
	}
	/* Older senders have no sum, and whatever was there instead of zeroes. */
	memcpy(words, "\x03\0\x14wxyz", TMFIFO_WORD);
	reader->console_len = 0;
	tmfifo_parser_feed(&reader->parser, words, num);
	assert_int_equal(reader->console_len, 20);
}

/* Frames that are none are skipped as a whole: what is in them is not taken for headers. */
static void test_tmfifo_msg_refused(void **state)
{
	static const uint32_t lens[] = {1, 13, FRAME_MAX + 1, TMFIFO_PAYLOAD_MAX};
	struct reader *reader = *state;
	uint8_t *words = calloc(tmfifo_msg_words(TMFIFO_PAYLOAD_MAX), TMFIFO_WORD);

	for (size_t i = 0; i < ARRAY_SIZE(lens); i++) {
		uint32_t num = make(words, NET, lens[i], 0);

		for (uint32_t at = 1; at + 1 < num; at++)
			tmfifo_hdr_write(words + (size_t)at * TMFIFO_WORD, CONSOLE, 8);
		tmfifo_parser_feed(&reader->parser, words, num);
		assert_int_equal(reader->parser.stats.refused, i + 1);
		assert_false(tmfifo_parser_amid(&reader->parser));
	}
	assert_int_equal(reader->frames + reader->console_len, 0);
	tmfifo_parser_feed(&reader->parser, words, make(words, NET, FRAME_MAX, 3));
	assert_int_equal(reader->frame_len, FRAME_MAX);
	check(reader->frame, FRAME_MAX, 3);
	free(words);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tmfifo_msg_header),
		cmocka_unit_test_setup_teardown(test_tmfifo_msg_pieces, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_tmfifo_msg_console_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_tmfifo_msg_without_payload, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_tmfifo_msg_garbage, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_tmfifo_msg_refused, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
