/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How messages are framed in the words of a TmFIFO: a header of one word, then the payload, its
 * last word filled up with zeroes.  Bytes are in the order in which a little-endian machine stores
 * the words.
 *
 *	byte 0      type: the virtio device id of who it is for
 *	byte 1-2    length of the payload in bytes, big-endian; 0: a keepalive, or control
 *	byte 3-6    of control messages
 *	byte 7      so that all eight bytes add up to 0; or 0, of older senders
 *
 * Nothing marks where a message begins.  A reader that is out of step takes words for headers until
 * one makes sense, or until a pause.
 *
 * The other end is hostile: whatever it sends costs a bounded time, and no memory.
 */
#ifndef TMFIFO_MSG_H
#define TMFIFO_MSG_H

#include <stdbool.h>
#include <stdint.h>

#define TMFIFO_WORD        8u     /* bytes of a word, and of a header */
#define TMFIFO_PAYLOAD_MAX 65535u /* bytes */

/* Words that a message of len bytes takes up, with its header. */
static inline uint32_t tmfifo_msg_words(uint32_t len)
{
	return 1 + (len + TMFIFO_WORD - 1) / TMFIFO_WORD;
}

/* The header of len bytes, TMFIFO_PAYLOAD_MAX at most. */
void tmfifo_hdr_write(uint8_t hdr[TMFIFO_WORD], uint8_t type, uint32_t len);

/* Counted by the parser; read by anybody. */
struct tmfifo_rx_stats {
	uint64_t keepalives; /* and control messages */
	uint64_t garbage;    /* words that were taken for headers, and are none */
	uint64_t refused;    /* frames too short or too long */
	uint64_t cut;        /* messages that never ended */
};

struct tmfifo_parser;

/* What was read is valid until they return. */
struct tmfifo_parser_ops {
	/* Bytes of a console, as they come. */
	void (*console)(struct tmfifo_parser *parser, const uint8_t *data, uint32_t len);
	/* A whole frame. */
	void (*frame)(struct tmfifo_parser *parser, const uint8_t *data, uint32_t len);
};

struct tmfifo_parser {
	const struct tmfifo_parser_ops *ops;
	struct tmfifo_rx_stats stats;
	uint32_t frame_max; /* bytes */
	uint8_t type;       /* of the message that is being read */
	bool skip;          /* its payload is of no use */
	uint32_t len, left; /* bytes of its payload, and those that are still to come; 0: none */
	uint8_t *frame;
};

/* frame_max: bytes of the longest frame, TMFIFO_PAYLOAD_MAX at most.  0 or -ENOMEM. */
int tmfifo_parser_init(struct tmfifo_parser *parser, const struct tmfifo_parser_ops *ops,
		       uint32_t frame_max);
void tmfifo_parser_release(struct tmfifo_parser *parser);
/* num words, as bytes. */
void tmfifo_parser_feed(struct tmfifo_parser *parser, const uint8_t *words, uint32_t num);
/* Is it amid a message? */
static inline bool tmfifo_parser_amid(const struct tmfifo_parser *parser)
{
	return parser->left;
}
/* The rest does not come: the next word is a header. */
void tmfifo_parser_cut(struct tmfifo_parser *parser);

#endif
