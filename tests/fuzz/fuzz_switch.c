/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A switch with frames, tags, VLANs, stations, links and times from the input, against a model that
 * does the obvious thing slowly: who has to get which frame, in which form.
 */
#include <linux/virtio_net.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/net/switch.h"
#include "base/defs.h"
#include "fuzz_input.h"

#define PORTS  5
#define QUEUES 2
#define FRAME  72u /* bytes at most, as it was sent */
#define GOT    64  /* a burst */
#define KNOWN  192
#define AGEING 10

struct frame {
	uint8_t bytes[FRAME + 4];
	uint32_t len;
	uint32_t csum_start; /* 0: none */
	uint32_t serial;
};

struct list {
	struct frame frames[GOT];
	unsigned int num;
};

struct queue {
	struct net_sink sink;
	struct net_queue *rx;
	bool open; /* between begin and end */
	struct list got;
};

struct port {
	struct net_backend *net;
	struct net_queue *tx;
	struct queue queues[QUEUES];
	struct list expected;
	bool up, vlans[4096]; /* tagged ones */
	unsigned int own;
	char trunk[12];
};

struct known {
	unsigned int vlan, port;
	uint64_t seen; /* seconds */
	uint8_t mac[6];
};

static struct town {
	struct net_switch *sw;
	uint64_t now;
	struct port ports[PORTS];
	struct known known[KNOWN];
	unsigned int num_known;
	uint32_t serial;
	unsigned int pending, sender; /* frames of a burst, and whose */
	struct frame sent[64];
	struct iovec iov[64][3];
} town;

static void expect(bool ok)
{
	if (!ok)
		abort();
}

/* ---- the input */

/* ---- the model */

static int model_find(const uint8_t *mac, unsigned int vlan)
{
	for (unsigned int i = 0; i < town.num_known; i++) {
		struct known *k = &town.known[i];

		if (k->vlan == vlan && !memcmp(k->mac, mac, 6) &&
		    town.now / 1000000000 - k->seen <= AGEING)
			return (int)i;
	}
	return -1;
}

static void model_forget_port(unsigned int port)
{
	unsigned int num = 0;

	for (unsigned int i = 0; i < town.num_known; i++) {
		if (town.known[i].port != port)
			town.known[num++] = town.known[i];
	}
	town.num_known = num;
}

static void model_learn(const uint8_t *mac, unsigned int vlan, unsigned int port)
{
	int i = model_find(mac, vlan);
	struct known *k = &town.known[i < 0 ? (int)town.num_known : i];

	if (i < 0)
		town.num_known++;
	expect(town.num_known < KNOWN);
	memcpy(k->mac, mac, 6);
	k->vlan = vlan;
	k->port = port;
	k->seen = town.now / 1000000000;
}

static unsigned int word(const uint8_t *at)
{
	return at[0] * 256u + at[1];
}

/* The VLAN, or 0; *tci: -1 without a tag. */
static unsigned int model_vlan(const struct port *port, const struct frame *f, int *tci)
{
	*tci = -1;
	if (word(f->bytes + 12) != 0x8100)
		return port->own;
	if (f->len < 18 || word(f->bytes + 16) == 0x8100)
		return 0;
	*tci = (int)word(f->bytes + 14);
	if (*tci % 4096 == 0)
		return port->own;
	if (!port->trunk[0])
		return 0;
	return port->vlans[*tci % 4096] || (unsigned int)*tci % 4096 == port->own
		       ? (unsigned int)*tci % 4096
		       : 0;
}

static void model_deliver(struct port *to, const struct frame *f, unsigned int vlan, int tci)
{
	uint32_t old = tci < 0 ? 14 : 18, new = vlan == to->own ? 14 : 18;
	struct frame *e = &to->expected.frames[to->expected.num];

	/* A checksum that begins in the addresses: it cannot move with a tag. */
	if (f->csum_start && f->csum_start < old &&
	    (old != new || (new == 18 && (unsigned int)tci % 4096 != vlan)))
		return;
	expect(to->expected.num++ < GOT);
	*e = *f;
	if (f->csum_start)
		e->csum_start = f->csum_start + new - old;
	e->len = f->len + new - old;
	if (new == 18) {
		unsigned int out = (tci < 0 ? 0 : (unsigned int)tci & 0xf000) | vlan;

		memcpy(e->bytes + 12, (uint8_t[]){0x81, 0, (uint8_t)(out / 256), (uint8_t)out}, 4);
	}
	memcpy(e->bytes + new - 2, f->bytes + old - 2, f->len - old + 2);
}

static bool model_member(const struct port *port, unsigned int vlan)
{
	return port->net && port->up && (vlan == port->own || port->vlans[vlan]);
}

static void model_send(unsigned int from, const struct frame *f)
{
	static const uint8_t nobody[6], reserved[5] = {1, 0x80, 0xc2, 0, 0};
	struct port *port = &town.ports[from];
	unsigned int vlan;
	int tci, i;

	if (!port->up || f->len < 14)
		return;
	vlan = model_vlan(port, f, &tci);
	if (!vlan || f->bytes[6] & 1 || !memcmp(f->bytes + 6, nobody, 6) ||
	    (!memcmp(f->bytes, reserved, 5) && f->bytes[5] < 16))
		return;
	model_learn(f->bytes + 6, vlan, from);
	i = f->bytes[0] & 1 ? -1 : model_find(f->bytes, vlan);
	for (unsigned int to = 0; to < PORTS; to++) {
		if (to != from && model_member(&town.ports[to], vlan) &&
		    (i < 0 || town.known[i].port == to))
			model_deliver(&town.ports[to], f, vlan, tci);
	}
}

/* A number at the text's beginning, 1 to 4094, or 0. */
static unsigned int model_number(const char **text)
{
	unsigned long n = 0;

	while (**text >= '0' && **text <= '9' && n < 100000)
		n = n * 10 + (unsigned int)(*(*text)++ - '0');
	return n <= 4094 ? (unsigned int)n : 0;
}

static bool model_trunk(struct port *port)
{
	const char *at = port->trunk;

	memset(port->vlans, 0, sizeof(port->vlans));
	if (!strcmp(at, "all"))
		at = "1-4094";
	do {
		unsigned int first = model_number(&at), last = first;

		if (first && *at == '-') {
			at++;
			last = model_number(&at);
		}
		if (!first || last < first || (*at && *at != ','))
			return false;
		while (first <= last)
			port->vlans[first++] = true;
	} while (*at++);
	port->vlans[port->own] = false;
	return true;
}

/* ---- receivers */

static bool queue_begin(struct net_sink *sink)
{
	struct queue *q = container_of(sink, struct queue, sink);

	expect(!q->open);
	return q->open = true;
}

static void queue_end(struct net_sink *sink)
{
	struct queue *q = container_of(sink, struct queue, sink);

	expect(q->open);
	q->open = false;
}

static int queue_deliver(struct net_sink *sink, const struct net_pkt *pkt)
{
	struct queue *q = container_of(sink, struct queue, sink);
	struct frame *f = &q->got.frames[q->got.num];
	struct iovec iov[NET_PIECES_MAX];
	uint32_t num = net_pkt_iov(pkt, iov, NET_PIECES_MAX), len = 0;

	expect(q->open && q->got.num++ < GOT);
	expect(pkt->len <= sizeof(f->bytes));
	memset(f, 0, sizeof(*f));
	for (uint32_t i = 0; i < num; i++) {
		memcpy(f->bytes + len, iov[i].iov_base, iov[i].iov_len);
		len += (uint32_t)iov[i].iov_len;
	}
	expect(len == pkt->len);
	f->len = len;
	f->csum_start = pkt->hdr.csum_start;
	f->serial = pkt->hdr.gso_size;
	return 0;
}

static void queue_drop(struct net_sink *sink, uint32_t num)
{
	abort();
}

static const struct net_sink_ops queue_ops = {
	.begin = queue_begin,
	.end = queue_end,
	.deliver = queue_deliver,
	.drop = queue_drop,
};

/* All that was expected has come, each queue's in order, and nothing else. */
static void check_port(struct port *port)
{
	unsigned int at[QUEUES] = {0};

	for (unsigned int i = 0; i < port->expected.num; i++) {
		const struct frame *e = &port->expected.frames[i], *f = NULL;

		for (unsigned int q = 0; q < QUEUES && !f; q++) {
			struct list *got = &port->queues[q].got;

			if (at[q] < got->num && got->frames[at[q]].serial == e->serial)
				f = &got->frames[at[q]++];
		}
		expect(f && f->len == e->len && f->csum_start == e->csum_start &&
		       !memcmp(f->bytes, e->bytes, e->len));
	}
	for (unsigned int q = 0; q < QUEUES; q++) {
		expect(at[q] == port->queues[q].got.num && !port->queues[q].open);
		port->queues[q].got.num = 0;
	}
	port->expected.num = 0;
}

/* ---- what happens */

static void flush(void)
{
	struct port *port = &town.ports[town.sender];

	if (!town.pending)
		return;
	for (unsigned int i = 0; i < town.pending; i++)
		model_send(town.sender, &town.sent[i]);
	port->net->ops->flush(port->tx);
	town.pending = 0;
	for (unsigned int i = 0; i < PORTS; i++)
		check_port(&town.ports[i]);
}

static void open_port(struct input *in, unsigned int i)
{
	struct port *port = &town.ports[i];
	uint8_t kind = next(in);
	struct net_open open = {vdpa_attrs_alloc(), "port", NULL, (uint16_t)(1 + kind / 128)};
	char number[12];
	int err;

	memset(port, 0, sizeof(*port));
	port->up = true;
	port->own = kind & 1 ? next(in) % 4u + 1 : 0;
	if (kind & 2)
		strcpy(port->trunk, kind & 4 ? "2,3-4" : "all");
	if (kind & 8) {
		for (unsigned int k = 0; k < sizeof(port->trunk) - 1; k++)
			port->trunk[k] = (char)next(in);
	}
	if (port->own) {
		snprintf(number, sizeof(number), "%u", port->own);
		expect(!vdpa_attrs_add(open.attrs, "vlan", number, NULL, NULL));
	} else if (!port->trunk[0]) {
		port->own = 1;
	}
	if (port->trunk[0])
		expect(!vdpa_attrs_add(open.attrs, "trunk", port->trunk, NULL, NULL));
	expect(!vdpa_attrs_check(open.attrs, switch_port_attrs, NULL, false, NULL));
	err = switch_port_open(town.sw, &open, &port->net, NULL);
	vdpa_attrs_free(open.attrs);
	expect(!err == (!port->trunk[0] || model_trunk(port)));
	if (err)
		return;
	expect(!port->net->ops->tx_attach(port->net, 0, NULL, &port->tx, NULL));
	for (uint16_t q = 0; q < open.pairs; q++) {
		port->queues[q].sink.ops = &queue_ops;
		expect(!port->net->ops->rx_attach(port->net, q, NULL, &port->queues[q].sink,
						  &port->queues[q].rx, NULL));
	}
}

static void close_port(unsigned int i)
{
	struct port *port = &town.ports[i];

	if (!port->net)
		return;
	for (unsigned int q = 0; q < QUEUES; q++) {
		if (port->queues[q].rx)
			port->net->ops->rx_detach(port->queues[q].rx);
	}
	port->net->ops->tx_detach(port->tx);
	port->net->ops->close(port->net);
	port->net = NULL;
	model_forget_port(i);
}

static void set_link(unsigned int i, bool up)
{
	struct port *port = &town.ports[i];

	if (!port->net)
		return;
	port->net->ops->set_link(port->net, up);
	port->up = up;
	if (!up)
		model_forget_port(i);
}

/* One of a few stations, a group, or anything. */
static void take_mac(struct input *in, uint8_t *mac)
{
	uint8_t kind = next(in);

	memset(mac, 0, 6);
	if (kind < 128) {
		mac[0] = 2;
		mac[5] = kind % 16;
	} else if (kind < 160) {
		memset(mac, 0xff, 6);
	} else {
		for (unsigned int i = 0; i < 6; i++)
			mac[i] = next(in);
	}
}

static void take_frame(struct input *in, struct frame *f)
{
	uint8_t kind = next(in);

	memset(f, 0, sizeof(*f));
	f->serial = town.serial++ % 65536;
	f->len = kind % 8 ? FRAME - kind % 8 : next(in) % (FRAME + 1);
	for (unsigned int i = 0; i < FRAME; i++)
		f->bytes[i] = (uint8_t)(f->serial + i);
	take_mac(in, f->bytes);
	take_mac(in, f->bytes + 6);
	if (kind & 8) {
		f->bytes[12] = 0x81;
		f->bytes[13] = 0;
		f->bytes[14] = next(in) & 0xf0;
		f->bytes[15] = next(in) % 8;
	}
	if (kind & 16) {
		for (unsigned int i = 0; i < 10; i++)
			f->bytes[(kind & 8 ? 16 : 12) + i] = next(in);
	}
	if (kind & 32 && f->len > 4)
		f->csum_start = 1 + next(in) % (f->len - 4);
}

/* In up to three pieces, one of which may be the head. */
static void send_frame(struct input *in, unsigned int from)
{
	struct port *port = &town.ports[from];
	unsigned int i = town.pending;
	struct frame *f = &town.sent[i];
	struct iovec *iov = town.iov[i];
	uint32_t a, b;
	struct net_pkt pkt = {.iov = iov, .num = 3};

	if (town.num_known + 64 >= KNOWN || !port->net)
		return;
	town.sender = from;
	take_frame(in, f);
	a = next(in) % (f->len + 1);
	b = a + next(in) % (f->len - a + 1);
	pkt.len = f->len;
	/* The serial number rides along where the switch does not look. */
	pkt.hdr.gso_size = (uint16_t)f->serial;
	if (f->csum_start)
		pkt.hdr.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	pkt.hdr.csum_start = (uint16_t)f->csum_start;
	iov[0] = (struct iovec){f->bytes, a};
	iov[1] = (struct iovec){f->bytes + a, b - a};
	iov[2] = (struct iovec){f->bytes + b, f->len - b};
	if (next(in) & 1 && a) {
		pkt.head = f->bytes;
		pkt.head_len = a;
		pkt.off = a;
	}
	expect(!port->net->ops->send(port->tx, &pkt));
	if (++town.pending == 64)
		flush();
}

static void step(struct input *in)
{
	uint8_t what = next(in);
	unsigned int i = what / 16 % PORTS;

	if (what % 16 < 10) {
		if (i != town.sender)
			flush();
		send_frame(in, i);
		return;
	}
	flush();
	switch (what % 16) {
	case 10:
		town.now += next(in) * UINT64_C(100000000);
		break;
	case 11:
		set_link(i, next(in) & 1);
		break;
	case 12:
		close_port(i);
		open_port(in, i);
		break;
	default:
		break;
	}
}

static uint64_t town_clock(void *arg)
{
	return town.now;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct net_switch_config config = {
		.macs = 2048,
		.port_macs = 2048,
		.ageing = AGEING,
		.seed = UINT64_C(0x9e3779b97f4a7c15),
		.clock = town_clock,
	};
	struct input in = {data, len};

	memset(&town, 0, sizeof(town));
	town.now = UINT64_C(100000000000);
	town.sw = net_switch_alloc(&config);
	if (!town.sw)
		return 0;
	for (unsigned int i = 0; i < PORTS; i++)
		open_port(&in, i);
	while (in.len)
		step(&in);
	flush();
	for (unsigned int i = 0; i < PORTS; i++)
		close_port(i);
	net_switch_put(town.sw);
	return 0;
}
