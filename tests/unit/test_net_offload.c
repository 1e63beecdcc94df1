/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What comes out is compared, byte for byte, with frames that the test makes by itself: one
 * function, make_frame(), makes large frames, the segments that they should become, and the
 * checksums of both, from a description.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "backends/net/net.h"

#define ROUNDS 4000
#define FIN    0x01
#define PSH    0x08
#define ACK    0x10
#define URG    0x20
#define ECE    0x40
#define CWR    0x80

enum csum_kind {
	CSUM_PSEUDO, /* the sum of the pseudo header alone: what a sender leaves */
	CSUM_DONE,
};

/* A frame in words. */
struct desc {
	unsigned int vlans;
	bool ip6;
	bool udp;
	unsigned int ip_opts;  /* IPv4: words of options */
	bool hop, route, dest; /* IPv6: extension headers, in this order, dest twice with route */
	unsigned int tcp_opts; /* words */
	uint8_t flags;
	uint16_t id, urg;
	uint32_t seq;
	const uint8_t *payload;
	uint32_t len; /* of the payload */
	enum csum_kind csum;
};

struct frame {
	uint32_t l3, l4, end, len;
	uint32_t frag; /* what IP fragments */
	uint8_t bytes[NET_FRAME_MAX + NET_HEADERS_MAX];
};

static uint8_t payload[NET_FRAME_MAX + 1000];
static struct frame frame, want;

static void put16(uint8_t *p, uint32_t value)
{
	p[0] = (uint8_t)(value >> 8);
	p[1] = (uint8_t)value;
}

static uint32_t get16(const uint8_t *p)
{
	return (uint32_t)p[0] << 8 | p[1];
}

/* Byte by byte, as the RFC tells it. */
static uint32_t naive_add(uint32_t sum, const uint8_t *buf, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++) {
		sum += i % 2 ? buf[i] : (uint32_t)buf[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return sum;
}

static uint8_t *put(struct frame *f, const void *bytes, uint32_t len)
{
	uint8_t *at = f->bytes + f->len;

	memcpy(at, bytes, len);
	f->len += len;
	return at;
}

/* An option that goes into each fragment, one that does not, and the end. */
static void put_ip4(struct frame *f, const struct desc *d)
{
	static const uint8_t opts[40] = {0x94, 4, 0, 0, 1, 1, 0x07, 6, 4, 0, 0, 0, 0x86, 4, 9, 9};
	uint8_t ip[20] = {(uint8_t)(0x45 + d->ip_opts),
			  0x2b,
			  0,
			  0,
			  0,
			  0,
			  0x40,
			  0,
			  63,
			  d->udp ? 17 : 6,
			  0,
			  0,
			  10,
			  1,
			  2,
			  3,
			  192,
			  168,
			  77,
			  88};

	put16(ip + 4, d->id);
	put(f, ip, 20);
	put(f, opts, d->ip_opts * 4);
}

static void put_ext(struct frame *f, uint8_t **next, uint8_t type, const uint8_t *body,
		    uint32_t len)
{
	**next = type;
	*next = put(f, body, len);
}

static void put_ip6(struct frame *f, const struct desc *d)
{
	static const uint8_t ip[40] = {0x62, 0xb0, 1,  2,  0,    0, 0,    60,   0x20, 1,
				       0x0d, 0xb8, 1,  2,  3,    4, 5,    6,    7,    8,
				       9,    10,   11, 12, 0x20, 1, 0x0d, 0xb8, 21,   22};
	static const uint8_t opts[16] = {0, 1, 1, 12};
	/* One segment left: the address in here is the last. */
	static const uint8_t route[24] = {0, 2, 2, 1, 0, 0, 0, 0, 0x20, 1, 0x0d, 0xb8, 77, 78, 79};
	uint8_t *next = put(f, ip, 40) + 6;

	f->frag = f->len;
	if (d->hop) {
		put_ext(f, &next, 0, opts, 16);
		f->frag = f->len;
	}
	if (d->route) {
		if (d->dest)
			put_ext(f, &next, 60, opts, 16);
		put_ext(f, &next, 43, route, 24);
		f->frag = f->len;
	}
	if (d->dest)
		put_ext(f, &next, 60, opts, 16);
	*next = d->udp ? 17 : 6;
}

static uint32_t pseudo_sum(const struct frame *f, const struct desc *d)
{
	uint8_t tail[4] = {0, d->udp ? 17 : 6};
	const uint8_t *ip = f->bytes + f->l3;
	uint32_t sum;

	put16(tail + 2, f->len - f->l4);
	sum = naive_add(0, tail, 4);
	if (!d->ip6)
		return naive_add(sum, ip + 12, 8);
	sum = naive_add(sum, ip + 8, 16);
	return naive_add(sum, d->route ? f->bytes + f->frag - 16 : ip + 24, 16);
}

static void put_l4(struct frame *f, const struct desc *d)
{
	uint8_t udp[8] = {0x12, 0x34, 0x56, 0x78};
	uint8_t tcp[60] = {0x12, 0x34, 0x56, 0x78};

	if (d->udp) {
		put16(udp + 4, 8 + d->len);
		put(f, udp, 8);
		return;
	}
	put16(tcp + 4, d->seq >> 16);
	put16(tcp + 6, d->seq);
	tcp[8] = 0x99;
	tcp[12] = (uint8_t)((5 + d->tcp_opts) << 4);
	tcp[13] = d->flags;
	put16(tcp + 14, 501);
	put16(tcp + 18, d->urg);
	memset(tcp + 20, 1, 40);
	put(f, tcp, 20 + d->tcp_opts * 4);
}

static void make_csums(struct frame *f, const struct desc *d)
{
	uint8_t *ip = f->bytes + f->l3, *field = f->bytes + f->l4 + (d->udp ? 6 : 16);
	uint32_t sum = pseudo_sum(f, d);

	if (d->csum == CSUM_DONE) {
		sum = 0xffff & ~naive_add(sum, f->bytes + f->l4, f->len - f->l4);
		if (!sum)
			sum = 0xffff;
	}
	put16(field, sum);
	if (d->ip6) {
		put16(ip + 4, f->len - f->l3 - 40);
		return;
	}
	put16(ip + 2, f->len - f->l3);
	put16(ip + 10, 0);
	put16(ip + 10, ~naive_add(0, ip, (ip[0] & 0xfu) * 4));
}

static void make_frame(struct frame *f, const struct desc *d)
{
	static const uint8_t macs[12] = {0x52, 0x54, 0, 1, 2, 3, 0x52, 0x54, 0, 4, 5, 6};
	static const uint8_t tags[2][4] = {{0x88, 0xa8, 0x20, 5}, {0x81, 0, 0, 7}};
	static const uint8_t types[2][2] = {{8, 0}, {0x86, 0xdd}};

	f->len = 0;
	put(f, macs, 12);
	for (unsigned int i = 0; i < d->vlans; i++)
		put(f, tags[i + 1 == d->vlans], 4);
	put(f, types[d->ip6], 2);
	f->l3 = f->len;
	if (d->ip6)
		put_ip6(f, d);
	else
		put_ip4(f, d);
	f->l4 = f->len;
	if (!d->ip6)
		f->frag = f->l4;
	put_l4(f, d);
	f->end = f->len;
	put(f, d->payload, d->len);
	make_csums(f, d);
}

static struct net_hdr gso_hdr(const struct frame *f, const struct desc *d, uint8_t type,
			      uint16_t size)
{
	return (struct net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = type,
		.hdr_len = 1, /* nobody relies on it */
		.gso_size = size,
		.csum_start = (uint16_t)f->l4,
		.csum_offset = d->udp ? 6 : 16,
	};
}

static uint8_t tso_type(const struct desc *d)
{
	if (d->udp)
		return VIRTIO_NET_HDR_GSO_UDP_L4;
	return d->ip6 ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
}

static uint32_t below(uint32_t end)
{
	return (uint32_t)rand() % end;
}

/* A frame in heap blocks of its own, so that an address checker sees the first byte behind each. */
struct scattered {
	uint8_t *blocks[NET_PIECES_MAX];
	struct iovec iov[NET_PIECES_MAX];
	uint32_t num_blocks;
	struct net_pkt pkt;
};

static uint8_t *block_of(struct scattered *s, uint32_t front, const uint8_t *bytes, uint32_t len)
{
	uint8_t *block = malloc(front + len ? front + len : 1);

	assert_non_null(block);
	memset(block, '-', front);
	memcpy(block + front, bytes, len);
	s->blocks[s->num_blocks++] = block;
	return block;
}

/* head: bytes in the head; grain: the longest piece. */
static void scatter(struct scattered *s, const struct frame *f, const struct net_hdr *hdr,
		    uint32_t head, uint32_t grain)
{
	uint32_t at = head < f->len ? head : f->len;

	s->num_blocks = 0;
	s->pkt = (struct net_pkt){.hdr = *hdr, .head_len = at, .iov = s->iov, .len = f->len};
	if (at)
		s->pkt.head = block_of(s, 0, f->bytes, at);
	s->pkt.off = below(20);
	while (at < f->len) {
		uint32_t front = s->pkt.num ? 0 : s->pkt.off, part = 1 + below(grain);

		if (part > f->len - at || s->num_blocks == NET_PIECES_MAX - 1)
			part = f->len - at;
		s->iov[s->pkt.num++] = (struct iovec){
			block_of(s, front, f->bytes + at, part),
			front + part,
		};
		at += part;
	}
}

static void scatter_free(struct scattered *s)
{
	for (uint32_t i = 0; i < s->num_blocks; i++)
		free(s->blocks[i]);
}

/* Looks at each frame that is emitted. */
struct sink {
	const struct desc *desc;
	struct scattered *from;
	unsigned int caps;
	uint16_t size;
	uint32_t num;
	uint32_t done; /* of the payload, or of what IP fragments */
	uint32_t id;   /* of IPv6 fragments */
	bool last;
	bool scribble; /* write over the frame's headers meanwhile */
	int result;
};

/* Copies the frame, and finishes its checksum as a receiver with NET_CAP_CSUM would. */
static uint32_t receive(const struct sink *sink, const struct net_pkt *pkt, uint8_t *buf)
{
	uint32_t len = net_pkt_peek(pkt, buf, NET_FRAME_MAX);
	uint32_t start = pkt->hdr.csum_start, sum;

	assert_int_equal(len, pkt->len);
	assert_int_equal(net_hdr_check(&pkt->hdr, pkt->len, sink->caps), 0);
	if (pkt->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		sum = 0xffff & ~naive_add(0, buf + start, len - start);
		put16(buf + start + pkt->hdr.csum_offset, sum ? sum : 0xffff);
	}
	return len;
}

static int take_segment(void *arg, const struct net_pkt *pkt)
{
	static uint8_t got[NET_FRAME_MAX];
	struct sink *sink = arg;
	struct desc d = *sink->desc;
	uint32_t len = receive(sink, pkt, got), left = d.len - sink->done;

	assert_false(sink->last);
	assert_int_equal(pkt->hdr.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	assert_int_equal(pkt->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM,
			 sink->caps & NET_CAP_CSUM ? VIRTIO_NET_HDR_F_NEEDS_CSUM : 0);
	sink->last = left <= sink->size;
	d.csum = CSUM_DONE;
	d.payload += sink->done;
	d.len = sink->last ? left : sink->size;
	d.seq += sink->done;
	d.id = (uint16_t)(d.id + sink->num);
	if (sink->num)
		d.flags &= (uint8_t)~CWR;
	if (!sink->last)
		d.flags &= (uint8_t) ~(FIN | PSH);
	if (d.flags & URG && d.urg > sink->done) {
		d.urg = (uint16_t)(d.urg - sink->done);
	} else if (d.flags & URG) {
		d.flags &= (uint8_t)~URG;
		d.urg = (uint16_t)get16(got + frame.l4 + 18); /* has no meaning then */
	}
	make_frame(&want, &d);
	assert_int_equal(len, want.len);
	assert_memory_equal(got, want.bytes, len);
	/* Pieces of one byte, if so. */
	for (uint32_t i = 0; sink->scribble && i < frame.end; i++)
		memset(sink->from->iov[i].iov_base, 0xee, sink->from->iov[i].iov_len);
	sink->done += d.len;
	sink->num++;
	return sink->result;
}

static int cut(struct sink *sink, const struct desc *d, uint32_t size, unsigned int caps,
	       uint32_t head, uint32_t grain)
{
	struct net_hdr hdr;
	struct scattered s;
	int ret;

	make_frame(&frame, d);
	hdr = gso_hdr(&frame, d, tso_type(d), (uint16_t)size);
	if (d->flags & CWR && !d->udp)
		hdr.gso_type |= VIRTIO_NET_HDR_GSO_ECN;
	assert_int_equal(net_hdr_check(&hdr, frame.len, NET_CAP_ALL), 0);
	scatter(&s, &frame, &hdr, head, grain);
	sink->desc = d;
	sink->from = &s;
	sink->size = (uint16_t)size;
	sink->caps = caps;
	ret = net_offload(&s.pkt, caps, take_segment, sink);
	scatter_free(&s);
	return ret;
}

static void random_desc(struct desc *d)
{
	*d = (struct desc){
		.vlans = below(4),
		.ip6 = below(2),
		.udp = below(2),
		.ip_opts = below(2) ? below(11) : 0,
		.hop = !below(3),
		.route = !below(3),
		.dest = !below(3),
		.tcp_opts = below(2) ? below(11) : 0,
		.flags = (uint8_t)rand(),
		.id = (uint16_t)rand(),
		.urg = (uint16_t)below(5000),
		.seq = (uint32_t)rand() << 3,
		.payload = payload + below(1000),
		.len = below(below(8) ? 9000 : 63000),
	};
}

/* Everything that can be in front of the payload, in pieces of any kind. */
static void test_offload_cuts_random_frames(void **state)
{
	srand(3);
	for (int round = 0; round < ROUNDS; round++) {
		unsigned int gso = NET_CAP_ALL & ~(unsigned int)NET_CAP_CSUM;
		struct sink sink = {0};
		struct desc d;
		uint32_t least, size;

		random_desc(&d);
		least = d.len / NET_SEGMENTS_MAX + 1;
		size = least + (below(2) ? below(1500) : below(d.len + 1));
		/* A receiver that cuts needs the checksum as well: without it, it takes none. */
		assert_int_equal(cut(&sink, &d, size, below(2) ? NET_CAP_CSUM : gso,
				     below(3) ? 0 : below(200), below(2) ? 200 : 20000),
				 0);
		assert_int_equal(sink.num, d.len ? (d.len + size - 1) / size : 1);
		assert_true(sink.last);
	}
}

static void test_offload_counts_on_past_the_end_of_numbers(void **state)
{
	const struct desc d = {
		.id = 65533, .seq = UINT32_MAX - 3000, .payload = payload, .len = 10000};
	struct sink sink = {0};

	assert_int_equal(cut(&sink, &d, 1000, 0, 0, 70000), 0);
	assert_int_equal(sink.num, 10);
}

static void test_offload_of_flags(void **state)
{
	struct desc d = {.payload = payload, .len = 5000, .urg = 2100};

	for (unsigned int flags = 0; flags < 256; flags++) {
		struct sink sink = {0};

		d.flags = (uint8_t)flags;
		assert_int_equal(cut(&sink, &d, 1000, 0, 0, 70000), 0);
		assert_int_equal(sink.num, 5);
	}
}

/* The receiver cuts TCP, but not with CWR in it. */
static void test_offload_for_a_receiver_without_ecn(void **state)
{
	const struct desc d = {.flags = ACK | ECE | CWR, .payload = payload, .len = 3000};
	struct sink sink = {0};

	assert_int_equal(cut(&sink, &d, 1000, NET_CAP_ALL & ~(unsigned int)NET_CAP_ECN, 0, 70000),
			 0);
	assert_int_equal(sink.num, 3);
}

/* What the headers said when they were copied counts, whatever becomes of them. */
static void test_offload_while_headers_change(void **state)
{
	for (int i = 0; i < 4; i++) {
		const struct desc d = {.ip6 = i & 1, .udp = i & 2, .payload = payload, .len = 5000};
		struct sink sink = {.scribble = true};

		assert_int_equal(cut(&sink, &d, 1000, 0, 0, 1), 0);
		assert_int_equal(sink.num, 5);
	}
}

static void test_offload_ends_when_emit_does(void **state)
{
	const struct desc d = {.payload = payload, .len = 5000};
	struct sink sink = {.result = -ENOBUFS};

	assert_int_equal(cut(&sink, &d, 1000, 0, 0, 70000), -ENOBUFS);
	assert_int_equal(sink.num, 1);
}

static void test_offload_bounds_the_number_of_segments(void **state)
{
	struct desc d = {.payload = payload, .len = NET_SEGMENTS_MAX};
	struct sink sink = {0}, none = {0};

	assert_int_equal(cut(&sink, &d, 1, 0, 0, 70000), 0);
	assert_int_equal(sink.num, NET_SEGMENTS_MAX);
	d.len++;
	assert_int_equal(cut(&none, &d, 1, 0, 0, 70000), -EINVAL);
	assert_int_equal(none.num, 0);
}

static void test_offload_bounds_the_frame(void **state)
{
	struct desc d = {.payload = payload, .len = 65535 - 40};
	struct sink sink = {0}, none = {0};

	assert_int_equal(cut(&sink, &d, 65535, 0, 0, 70000), 0);
	assert_int_equal(sink.num, 1);
	d.len++;
	assert_int_equal(cut(&none, &d, 1448, 0, 0, 70000), -EINVAL);
	d.len += 100;
	assert_int_equal(cut(&none, &d, 1448, 0, 0, 70000), -EINVAL);
	assert_int_equal(none.num, 0);
}

/* Puts fragments together again. */
static int take_fragment(void *arg, const struct net_pkt *pkt)
{
	static uint8_t got[NET_FRAME_MAX];
	struct sink *sink = arg;
	uint32_t len = receive(sink, pkt, got), unit = frame.frag, part, off;
	uint8_t *ip = got + frame.l3;
	bool more;

	assert_int_equal(net_hdr_caps(&pkt->hdr), 0);
	if (sink->desc->ip6) {
		uint32_t id = get16(got + unit + 4) << 16 | get16(got + unit + 6);

		off = get16(got + unit + 2);
		more = off & 1;
		off &= ~1u;
		assert_false(off & 6);
		sink->id = sink->num ? sink->id : id;
		assert_int_equal(id, sink->id);
		assert_int_equal(get16(ip + 4), len - frame.l3 - 40);
		unit += 8;
	} else {
		off = get16(ip + 6);
		more = off & 0x2000;
		off = (off & 0x1fff) * 8;
		assert_int_equal(get16(ip + 6) & 0xc000, 0);
		assert_int_equal(get16(ip + 2), len - frame.l3);
		assert_int_equal(get16(ip + 4), sink->desc->id);
		assert_int_equal(naive_add(0, ip, (ip[0] & 0xfu) * 4), 0xffff);
		/* Of all options, the one that is not for each fragment is gone, if it is whole. */
		for (uint32_t i = 20; i < frame.l4 - frame.l3; i++) {
			bool gone = off && sink->desc->ip_opts >= 3 && i >= 26 && i < 32;

			assert_int_equal(ip[i], gone ? 1 : frame.bytes[frame.l3 + i]);
		}
	}
	part = len - unit;
	assert_false(sink->last);
	assert_in_range(part, 1, sink->size);
	assert_int_equal(off, sink->done);
	assert_int_equal(more, off + part < want.len - want.frag);
	assert_memory_equal(got, frame.bytes, frame.l3);
	assert_memory_equal(got + unit, want.bytes + want.frag + off, part);
	sink->last = !more;
	sink->done += part;
	sink->num++;
	return 0;
}

/* `want` is the datagram as it would travel whole. */
static int fragment(struct sink *sink, const struct desc *d, uint16_t size, unsigned int caps)
{
	struct desc done = *d;
	struct net_hdr hdr;
	struct scattered s;
	int ret;

	done.csum = CSUM_DONE;
	make_frame(&want, &done);
	make_frame(&frame, d);
	hdr = gso_hdr(&frame, d, VIRTIO_NET_HDR_GSO_UDP, size);
	scatter(&s, &frame, &hdr, below(100), 3000);
	sink->desc = d;
	sink->size = size;
	sink->caps = caps;
	ret = net_offload(&s.pkt, caps, take_fragment, sink);
	scatter_free(&s);
	return ret;
}

static void test_offload_fragments_random_datagrams(void **state)
{
	srand(4);
	for (int round = 0; round < ROUNDS; round++) {
		struct sink sink = {0};
		struct desc d;
		uint16_t size;

		random_desc(&d);
		d.udp = true;
		/* In front of UDP there may be 16 more bytes that are cut. */
		size = (uint16_t)(d.len / NET_SEGMENTS_MAX + 32 + below(1500));
		d.len += size;
		assert_int_equal(fragment(&sink, &d, size, below(2) ? NET_CAP_CSUM : 0), 0);
		assert_int_equal(sink.done, want.len - want.frag);
		assert_int_equal(sink.num, (sink.done + (size & ~7u) - 1) / (size & ~7u));
	}
}

static void test_offload_fragments_only_what_is_too_long(void **state)
{
	const struct desc d = {.udp = true, .payload = payload, .len = 1000};
	struct sink sink = {.desc = &d, .size = 1000, .caps = NET_CAP_CSUM};
	struct net_hdr hdr;
	struct scattered s;

	make_frame(&frame, &d);
	hdr = gso_hdr(&frame, &d, VIRTIO_NET_HDR_GSO_UDP, 1008);
	scatter(&s, &frame, &hdr, 0, 300);
	assert_int_equal(net_offload(&s.pkt, NET_CAP_CSUM, take_segment, &sink), 0);
	assert_int_equal(sink.num, 1);
	scatter_free(&s);
}

static int take_any(void *arg, const struct net_pkt *pkt)
{
	*(const struct net_pkt **)arg = pkt;
	return 7;
}

static void test_offload_refuses_fragments_of_no_use(void **state)
{
	const struct desc d4 = {.udp = true, .payload = payload, .len = 1000};
	const struct desc d6 = {
		.udp = true, .ip6 = true, .dest = true, .payload = payload, .len = 1000};
	struct desc many = {.udp = true, .payload = payload, .len = 8 * NET_SEGMENTS_MAX - 7};
	struct sink sink = {0};

	assert_int_equal(fragment(&sink, &d4, 7, 0), -EINVAL);
	/* All headers must be in the first one. */
	assert_int_equal(fragment(&sink, &d6, 23, 0), -EINVAL);
	assert_int_equal(fragment(&sink, &many, 8, 0), -EINVAL);
	assert_int_equal(sink.num, 0);
	many.len--;
	assert_int_equal(fragment(&sink, &many, 8, 0), 0);
	assert_int_equal(sink.num, NET_SEGMENTS_MAX);
}

/* Frames whose headers are not what is said about them. */
static const struct lie {
	const char *what;
	bool ip6;
	int at; /* the byte that is wrong, from the IP header on */
	uint8_t value;
	uint8_t type;   /* of the header, 0: the right one */
	int csum_start; /* added to the right one */
	uint32_t len;   /* of the frame, 0: the right one */
} lies[] = {
	{"no IP", .at = -2, .value = 0x09},
	{"a tag without end", .at = -2, .value = 0x81, .len = 17},
	{"version 6 in IPv4", .at = 0, .value = 0x65},
	{"version 4 in IPv6", .ip6 = true, .at = 0, .value = 0x45},
	{"IPv4 header of 16 bytes", .at = 0, .value = 0x44},
	{"IPv4 header too long", .at = 0, .value = 0x4f, .len = 70},
	{"a fragment that is not the last", .at = 6, .value = 0x20},
	{"a fragment that is not the first", .at = 7, .value = 0x01},
	{"UDP in IPv4", .at = 9, .value = 17},
	{"neither TCP nor UDP", .at = 9, .value = 1},
	{"neither TCP nor UDP in IPv6", .ip6 = true, .at = 6, .value = 58},
	{"a fragment of IPv6", .ip6 = true, .at = 6, .value = 44},
	{"an extension that is TCP's header", .ip6 = true, .at = 6, .value = 60},
	{"TCP header of 16 bytes", .at = 20 + 12, .value = 0x40},
	{"TCP header too long", .at = 20 + 12, .value = 0xf0, .len = 14 + 20 + 59},
	{"TCP header in IPv6 too long", .ip6 = true, .at = 40 + 12, .value = 0xf0,
	 .len = 14 + 40 + 59},
	{"IPv6 as IPv4", .ip6 = true, .at = 8, .type = VIRTIO_NET_HDR_GSO_TCPV4},
	{"IPv4 as IPv6", .at = 8, .type = VIRTIO_NET_HDR_GSO_TCPV6},
	{"checksum from elsewhere", .at = 8, .csum_start = 2},
};

static void test_offload_refuses_headers_that_lie(void **state)
{
	struct desc d = {.payload = payload, .len = 5000};
	const struct net_pkt *seen = NULL;
	struct scattered s;

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		const struct lie *lie = &lies[i];
		struct net_hdr hdr;

		d.ip6 = lie->ip6;
		make_frame(&frame, &d);
		hdr = gso_hdr(&frame, &d, lie->type ? lie->type : tso_type(&d), 1000);
		hdr.csum_start = (uint16_t)(hdr.csum_start + lie->csum_start);
		frame.bytes[(int)frame.l3 + lie->at] = lie->value;
		if (lie->len)
			frame.len = lie->len;
		scatter(&s, &frame, &hdr, 0, 100);
		if (net_offload(&s.pkt, 0, take_any, &seen) != -EINVAL || seen)
			fail_msg("%s", lie->what);
		scatter_free(&s);
	}
}

static void test_offload_refuses_headers_that_go_on(void **state)
{
	const struct desc d = {.vlans = 130, .payload = payload, .len = 2000};
	const struct desc csum_only = {.vlans = 120, .payload = payload, .len = 100};
	const struct net_pkt *seen = NULL;
	struct net_hdr hdr = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM};
	struct sink sink = {0};
	struct scattered s;

	assert_int_equal(cut(&sink, &d, 1000, 0, 0, 100), -EINVAL);
	assert_int_equal(sink.num, 0);
	make_frame(&frame, &csum_only);
	hdr.csum_start = NET_HEADERS_MAX - 2;
	hdr.csum_offset = 1;
	scatter(&s, &frame, &hdr, 0, 100);
	assert_int_equal(net_offload(&s.pkt, 0, take_any, &seen), -EINVAL);
	assert_null(seen);
	s.pkt.hdr.csum_offset = 0;
	assert_int_equal(net_offload(&s.pkt, 0, take_any, &seen), 7);
	assert_non_null(seen);
	scatter_free(&s);
}

/* It does not rely on net_hdr_check() having been asked. */
static void test_offload_checks_the_header(void **state)
{
	static const struct net_hdr hdrs[] = {
		{.flags = 1, .csum_start = 65535, .csum_offset = 65535},
		{.flags = 1, .gso_type = 1, .csum_start = 34, .csum_offset = 16},
		{.flags = 1, .gso_type = 9, .gso_size = 9, .csum_start = 34, .csum_offset = 16},
		{.flags = 1, .gso_type = 1, .gso_size = 9, .csum_start = 34, .csum_offset = 60000},
		{.gso_type = 1, .gso_size = 9, .csum_start = 34, .csum_offset = 16},
	};
	const struct desc d = {.payload = payload, .len = 2000};
	const struct net_pkt *seen = NULL;
	struct scattered s;

	make_frame(&frame, &d);
	for (size_t i = 0; i < ARRAY_SIZE(hdrs); i++) {
		scatter(&s, &frame, &hdrs[i], 0, 100);
		assert_int_equal(net_offload(&s.pkt, 0, take_any, &seen), -EINVAL);
		assert_null(seen);
		scatter_free(&s);
	}
}

static void test_offload_leaves_alone_what_the_receiver_takes(void **state)
{
	const struct desc d = {.payload = payload, .len = 5000};
	const struct net_pkt *seen = NULL;
	struct net_hdr hdr, plain = {0};
	struct scattered s;

	make_frame(&frame, &d);
	hdr = gso_hdr(&frame, &d, VIRTIO_NET_HDR_GSO_TCPV4, 1000);
	scatter(&s, &frame, &hdr, 0, 100);
	assert_int_equal(net_offload(&s.pkt, NET_CAP_CSUM | NET_CAP_TSO4, take_any, &seen), 7);
	assert_ptr_equal(seen, &s.pkt);
	s.pkt.hdr = plain;
	seen = NULL;
	assert_int_equal(net_offload(&s.pkt, 0, take_any, &seen), 7);
	assert_ptr_equal(seen, &s.pkt);
	scatter_free(&s);
}

static void test_offload_completes_checksums(void **state)
{
	srand(5);
	for (int round = 0; round < ROUNDS; round++) {
		struct sink sink = {0};
		struct scattered s;
		struct net_hdr hdr;
		struct desc d;

		random_desc(&d);
		d.len %= 2000;
		make_frame(&frame, &d);
		hdr = gso_hdr(&frame, &d, VIRTIO_NET_HDR_GSO_NONE, 0);
		scatter(&s, &frame, &hdr, below(3) ? 0 : below(200), 1 + below(600));
		sink.desc = &d;
		sink.size = UINT16_MAX;
		assert_int_equal(net_offload(&s.pkt, 0, take_segment, &sink), 0);
		assert_int_equal(sink.num, 1);
		scatter_free(&s);
	}
}

static int take_exactly(void *arg, const struct net_pkt *pkt)
{
	static uint8_t got[NET_FRAME_MAX];
	uint32_t *num = arg;

	assert_int_equal(net_hdr_caps(&pkt->hdr), 0);
	assert_int_equal(net_pkt_peek(pkt, got, NET_FRAME_MAX), want.len);
	assert_memory_equal(got, want.bytes, want.len);
	(*num)++;
	return 0;
}

/* Whatever the field belongs to: it is at an odd place, or ends the frame. */
static void test_offload_completes_checksums_anywhere(void **state)
{
	const struct desc d = {.payload = payload, .len = 200};
	uint32_t num = 0, start, sum;
	struct scattered s;

	srand(6);
	make_frame(&frame, &d);
	for (start = 0; start <= frame.len - 2; start++) {
		struct net_hdr hdr = {
			.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
			.csum_start = (uint16_t)start,
			.csum_offset = (uint16_t)below(frame.len - 1 - start),
		};

		want = frame;
		sum = 0xffff & ~naive_add(0, frame.bytes + start, frame.len - start);
		put16(want.bytes + start + hdr.csum_offset, sum ? sum : 0xffff);
		scatter(&s, &frame, &hdr, below(2) ? 0 : below(300), 50);
		assert_int_equal(net_offload(&s.pkt, 0, take_exactly, &num), 0);
		scatter_free(&s);
	}
	assert_int_equal(num, start);
}

/* A datagram whose checksum is zero says so by all ones: zero says that there is none. */
static void test_offload_udp_checksum_is_never_zero(void **state)
{
	uint8_t bytes[2] = {0};
	struct desc d = {.udp = true, .payload = bytes, .len = 2, .csum = CSUM_DONE};
	struct sink sink = {.desc = &d, .size = 100};
	struct net_hdr hdr;
	struct scattered s;

	make_frame(&frame, &d);
	/* Two bytes that bring the sum to all ones. */
	memcpy(bytes, frame.bytes + frame.l4 + 6, 2);
	d.csum = CSUM_PSEUDO;
	make_frame(&frame, &d);
	hdr = gso_hdr(&frame, &d, VIRTIO_NET_HDR_GSO_NONE, 0);
	scatter(&s, &frame, &hdr, 0, 100);
	assert_int_equal(net_offload(&s.pkt, 0, take_segment, &sink), 0);
	assert_int_equal(get16(want.bytes + want.l4 + 6), 0xffff);
	scatter_free(&s);
}

static void test_offload_of_more_pieces_than_there_are(void **state)
{
	static struct iovec iov[NET_PIECES_MAX + 1];
	const struct desc d = {.payload = payload, .len = 5000};
	const struct net_pkt *seen = NULL;
	struct net_pkt pkt = {.iov = iov, .num = NET_PIECES_MAX + 1};

	make_frame(&frame, &d);
	pkt.hdr = gso_hdr(&frame, &d, VIRTIO_NET_HDR_GSO_TCPV4, 1000);
	pkt.head = frame.bytes;
	pkt.head_len = frame.end;
	pkt.len = frame.end + pkt.num;
	for (uint32_t i = 0; i < pkt.num; i++)
		iov[i] = (struct iovec){payload + i, 1};
	assert_int_equal(net_offload(&pkt, 0, take_any, &seen), -EINVAL);
	assert_null(seen);
	pkt.num--;
	pkt.len--;
	assert_int_equal(net_offload(&pkt, 0, take_any, &seen), 7);
}

static int setup(void **state)
{
	srand(1);
	for (size_t i = 0; i < sizeof(payload); i++)
		payload[i] = (uint8_t)(rand() >> 7);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_offload_cuts_random_frames),
		cmocka_unit_test(test_offload_counts_on_past_the_end_of_numbers),
		cmocka_unit_test(test_offload_of_flags),
		cmocka_unit_test(test_offload_for_a_receiver_without_ecn),
		cmocka_unit_test(test_offload_while_headers_change),
		cmocka_unit_test(test_offload_ends_when_emit_does),
		cmocka_unit_test(test_offload_bounds_the_number_of_segments),
		cmocka_unit_test(test_offload_bounds_the_frame),
		cmocka_unit_test(test_offload_fragments_random_datagrams),
		cmocka_unit_test(test_offload_fragments_only_what_is_too_long),
		cmocka_unit_test(test_offload_refuses_fragments_of_no_use),
		cmocka_unit_test(test_offload_refuses_headers_that_lie),
		cmocka_unit_test(test_offload_refuses_headers_that_go_on),
		cmocka_unit_test(test_offload_checks_the_header),
		cmocka_unit_test(test_offload_leaves_alone_what_the_receiver_takes),
		cmocka_unit_test(test_offload_completes_checksums),
		cmocka_unit_test(test_offload_completes_checksums_anywhere),
		cmocka_unit_test(test_offload_udp_checksum_is_never_zero),
		cmocka_unit_test(test_offload_of_more_pieces_than_there_are),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
