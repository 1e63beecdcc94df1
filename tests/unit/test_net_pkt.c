/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "backends/net/net.h"

#define LEN 12u

static const char text[LEN + 1] = "abcdefghijkl";

/*
 * A frame of LEN bytes: the first `head` of them in its head, then pieces of 0, first, 0, 1 and the
 * others, with `off` bytes in front and some behind that are no part of it.
 */
struct pieces {
	uint8_t head[LEN];
	uint8_t bytes[64];
	struct iovec iov[5];
	struct net_pkt pkt;
};

static void pieces_init(struct pieces *p, uint32_t head, uint32_t off, uint32_t first)
{
	memcpy(p->head, text, head);
	memset(p->bytes, '-', sizeof(p->bytes));
	memcpy(p->bytes + off, text + head, LEN - head);
	p->iov[0] = (struct iovec){NULL, 0};
	p->iov[1] = (struct iovec){p->bytes, first};
	p->iov[2] = (struct iovec){NULL, 0};
	p->iov[3] = (struct iovec){p->bytes + first, 1};
	p->iov[4] = (struct iovec){p->bytes + first + 1, 40};
	p->pkt = (struct net_pkt){
		.head = head ? p->head : NULL,
		.head_len = head,
		.iov = p->iov,
		.num = 5,
		.off = off,
		.len = LEN,
	};
}

static void for_each_shape(void (*fn)(struct pieces *p))
{
	struct pieces p;

	for (uint32_t head = 0; head <= LEN; head++)
		for (uint32_t off = 0; off < 5; off++)
			for (uint32_t first = 0; first <= 16; first++) {
				pieces_init(&p, head, off, first);
				fn(&p);
				/* The first piece has all, or something. */
				pieces_init(&p, head, off, first);
				p.pkt.iov++;
				p.pkt.num--;
				fn(&p);
			}
}

/* The frame is the text from byte `from` on. */
static void assert_frame(const struct net_pkt *pkt, uint32_t from)
{
	uint8_t buf[LEN + 1] = {0};

	assert_int_equal(pkt->len, LEN - from);
	assert_int_equal(net_pkt_peek(pkt, buf, LEN + 1), LEN - from);
	assert_string_equal((char *)buf, text + from);
}

static void check_peek(struct pieces *p)
{
	for (uint32_t len = 0; len <= LEN + 3; len++) {
		uint32_t want = len < LEN ? len : LEN;
		uint8_t buf[LEN + 4] = {0};

		assert_int_equal(net_pkt_peek(&p->pkt, buf, len), want);
		assert_memory_equal(buf, text, want);
		assert_int_equal(buf[want], 0);
	}
	assert_frame(&p->pkt, 0);
}

static void test_pkt_peek(void **state)
{
	for_each_shape(check_peek);
}

static void check_pull(struct pieces *p)
{
	for (uint32_t len = 0; len <= LEN + 3; len++) {
		uint32_t want = len < LEN ? len : LEN;
		struct net_pkt pkt = p->pkt;
		uint8_t buf[LEN + 3];

		/* Longer from one to the next, into the same buffer. */
		for (uint32_t part = 0; part <= len; part += 1 + len / 2) {
			net_pkt_pull(&pkt, buf, part);
			assert_frame(&pkt, 0);
		}
		assert_int_equal(net_pkt_pull(&pkt, buf, len), want);
		assert_true(pkt.head_len >= want);
		assert_memory_equal(want ? pkt.head : buf, text, want);
		assert_frame(&pkt, 0);
	}
}

static void test_pkt_pull(void **state)
{
	for_each_shape(check_pull);
}

static void test_pkt_pull_is_a_copy(void **state)
{
	struct pieces p;
	uint8_t buf[6];

	pieces_init(&p, 0, 2, 4);
	assert_int_equal(net_pkt_pull(&p.pkt, buf, 6), 6);
	memset(p.bytes, 'X', 8);
	assert_frame(&p.pkt, 0);
}

static void check_skip(struct pieces *p)
{
	for (uint32_t len = 0; len <= LEN; len++) {
		struct net_pkt pkt = p->pkt;

		net_pkt_skip(&pkt, len);
		assert_frame(&pkt, len);
		net_pkt_skip(&pkt, LEN + 1);
		assert_int_equal(pkt.len, 0);
		assert_int_equal(net_pkt_take(&pkt).iov_len, 0);
	}
}

static void test_pkt_skip(void **state)
{
	for_each_shape(check_skip);
}

static void check_iov(struct pieces *p)
{
	struct net_pkt rest = p->pkt;
	struct iovec iov[6];
	uint32_t num = net_pkt_iov(&p->pkt, iov, 6);
	char all[LEN + 1] = {0};
	size_t len = 0;

	assert_in_range(num, 1, 4);
	for (uint32_t i = 0; i < num; i++) {
		struct iovec piece = net_pkt_take(&rest);

		assert_ptr_equal(piece.iov_base, iov[i].iov_base);
		assert_int_equal(piece.iov_len, iov[i].iov_len);
		assert_true(iov[i].iov_len && iov[i].iov_len <= LEN - len);
		memcpy(all + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	assert_int_equal(rest.len, 0);
	assert_string_equal(all, text);
	assert_int_equal(net_pkt_iov(&p->pkt, iov, num), num);
	assert_int_equal(net_pkt_iov(&p->pkt, iov, num - 1), 0);
}

static void test_pkt_iov(void **state)
{
	for_each_shape(check_iov);
}

/* A caller's mistake, but not one to read past the end for, or not to return from. */
static void test_pkt_that_says_more_than_it_has(void **state)
{
	struct pieces p;
	struct iovec iov[6];
	uint8_t buf[64];

	pieces_init(&p, 3, 0, 4);
	p.pkt.num = 2;
	assert_int_equal(net_pkt_peek(&p.pkt, buf, 64), 7);
	assert_int_equal(net_pkt_iov(&p.pkt, iov, 6), 3);
	assert_int_equal(iov[2].iov_len, 0);
	assert_int_equal(net_pkt_pull(&p.pkt, buf, 64), 7);
}

#define CSUM VIRTIO_NET_HDR_F_NEEDS_CSUM
#define ECN  VIRTIO_NET_HDR_GSO_ECN
#define TSO4 VIRTIO_NET_HDR_GSO_TCPV4
#define TSO6 VIRTIO_NET_HDR_GSO_TCPV6
#define UFO  VIRTIO_NET_HDR_GSO_UDP
#define USO  VIRTIO_NET_HDR_GSO_UDP_L4

static void test_hdr_caps(void **state)
{
	static const struct {
		uint8_t flags, gso_type;
		unsigned int caps;
	} rows[] = {
		{0, 0, 0},
		{VIRTIO_NET_HDR_F_DATA_VALID, 0, 0},
		{CSUM, 0, NET_CAP_CSUM},
		{CSUM | VIRTIO_NET_HDR_F_DATA_VALID, 0, NET_CAP_CSUM},
		{CSUM, TSO4, NET_CAP_CSUM | NET_CAP_TSO4},
		{CSUM, TSO4 | ECN, NET_CAP_CSUM | NET_CAP_TSO4 | NET_CAP_ECN},
		{CSUM, TSO6, NET_CAP_CSUM | NET_CAP_TSO6},
		{CSUM, TSO6 | ECN, NET_CAP_CSUM | NET_CAP_TSO6 | NET_CAP_ECN},
		{CSUM, UFO, NET_CAP_CSUM | NET_CAP_UFO},
		{CSUM, USO, NET_CAP_CSUM | NET_CAP_USO4 | NET_CAP_USO6},
		{0, TSO4, NET_CAP_TSO4},
		{CSUM, UFO | ECN, ~0u},
		{CSUM, USO | ECN, ~0u},
		{CSUM, ECN, ~0u},
		{CSUM, 2, ~0u},
		{CSUM, 6, ~0u},
		{CSUM, 0x7f, ~0u},
		{VIRTIO_NET_HDR_F_RSC_INFO, 0, ~0u},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct net_hdr hdr = {.flags = rows[i].flags, .gso_type = rows[i].gso_type};

		assert_int_equal(net_hdr_caps(&hdr), rows[i].caps);
	}
}

static void test_hdr_check(void **state)
{
	static const struct {
		struct net_hdr hdr;
		uint32_t len;
		unsigned int caps;
		int err;
	} rows[] = {
		/* flags, type, hdr_len, size, start, offset; hdr_len may be anything */
		{{0, 0, 9999, 9999, 9999, 9999}, 0, 0, 0},
		{{CSUM, 0, 0, 0, 34, 16}, 52, NET_CAP_CSUM, 0},
		{{CSUM, 0, 0, 0, 34, 16}, 52, NET_CAP_ALL & ~NET_CAP_CSUM, -EINVAL},
		{{CSUM, 0, 0, 0, 34, 16}, 51, NET_CAP_CSUM, -EINVAL},
		{{CSUM, 0, 0, 0, 65535, 65535}, 65536, NET_CAP_CSUM, -EINVAL},
		{{CSUM, TSO4, 54, 1448, 34, 16}, 5000, NET_CAP_CSUM | NET_CAP_TSO4, 0},
		{{CSUM, TSO4, 0, 1, 34, 16}, 54, NET_CAP_ALL, 0},
		{{CSUM, TSO4, 0, 1, 34, 16}, 53, NET_CAP_ALL, -EINVAL},
		{{CSUM, TSO4, 0, 1448, 34, 16}, 5000, NET_CAP_ALL & ~NET_CAP_TSO4, -EINVAL},
		{{CSUM, TSO4 | ECN, 0, 1448, 34, 16}, 5000, NET_CAP_ALL & ~NET_CAP_ECN, -EINVAL},
		{{CSUM, TSO6, 0, 1448, 54, 16}, 5000, NET_CAP_CSUM | NET_CAP_TSO4, -EINVAL},
		{{CSUM, TSO4, 0, 0, 34, 16}, 5000, NET_CAP_ALL, -EINVAL},
		{{0, TSO4, 0, 1448, 34, 16}, 5000, NET_CAP_ALL, -EINVAL},
		{{CSUM, TSO4, 0, 1448, 34, 6}, 5000, NET_CAP_ALL, -EINVAL},
		{{CSUM, USO, 0, 1448, 34, 6}, 5000, NET_CAP_ALL, 0},
		{{CSUM, USO, 0, 1448, 34, 6}, 41, NET_CAP_ALL, -EINVAL},
		{{CSUM, USO, 0, 1448, 34, 16}, 5000, NET_CAP_ALL, -EINVAL},
		{{CSUM, USO, 0, 1448, 34, 6}, 5000, NET_CAP_ALL & ~NET_CAP_USO6, -EINVAL},
		{{CSUM, UFO, 0, 1480, 34, 6}, 5000, NET_CAP_CSUM | NET_CAP_UFO, 0},
		{{CSUM, 2, 0, 1448, 34, 16}, 5000, NET_CAP_ALL, -EINVAL},
		{{CSUM, ECN, 0, 1448, 34, 16}, 5000, NET_CAP_ALL, -EINVAL},
		{{8, 0, 0, 0, 0, 0}, 5000, NET_CAP_ALL, -EINVAL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		if (net_hdr_check(&rows[i].hdr, rows[i].len, rows[i].caps) != rows[i].err)
			fail_msg("row %zu", i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pkt_peek),
		cmocka_unit_test(test_pkt_pull),
		cmocka_unit_test(test_pkt_pull_is_a_copy),
		cmocka_unit_test(test_pkt_skip),
		cmocka_unit_test(test_pkt_iov),
		cmocka_unit_test(test_pkt_that_says_more_than_it_has),
		cmocka_unit_test(test_hdr_caps),
		cmocka_unit_test(test_hdr_check),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
