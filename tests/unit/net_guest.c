/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "backends/net/csum.h"
#include "base/defs.h"
#include "net_guest.h"

#define FRAME_MAX 2048

#define BOOTP_SERVER 67
#define BOOTP_CLIENT 68
#define DHCP_MAGIC   0x63825363
#define DHCP_XID     0x12345678

/* A frame in the making: headers are put in front of what is there. */
struct out {
	uint8_t bytes[FRAME_MAX];
	uint32_t start, len;
};

static void out_init(struct out *out, const void *data, uint32_t len)
{
	out->start = 128;
	out->len = len;
	assert_true(out->start + len <= FRAME_MAX);
	memcpy(out->bytes + out->start, data, len);
}

static void *out_push(struct out *out, uint32_t len)
{
	out->start -= len;
	out->len += len;
	return memset(out->bytes + out->start, 0, len);
}

static void push_eth(struct out *out, const struct guest *guest, const uint8_t *dst, uint16_t type)
{
	struct ethhdr *eth = out_push(out, sizeof(*eth));

	memcpy(eth->h_dest, dst, ETH_ALEN);
	memcpy(eth->h_source, guest->mac, ETH_ALEN);
	eth->h_proto = htons(type);
}

static void send_out(struct guest *guest, struct out *out)
{
	assert_int_equal(nrig_send(guest->rig, out->bytes + out->start, out->len), 0);
}

void guest_init(struct guest *guest, struct net_rig *rig, uint32_t ip)
{
	static const uint8_t mac[] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};

	*guest = (struct guest){.rig = rig, .ip = ip};
	memcpy(guest->mac, mac, sizeof(mac));
	memset(guest->peer_mac, 0xff, sizeof(guest->peer_mac));
}

/* ---- ARP */

static void send_arp(struct guest *guest, uint16_t op, uint32_t ip, const uint8_t *mac)
{
	struct ether_arp arp = {
		.arp_hrd = htons(ARPHRD_ETHER),
		.arp_pro = htons(ETHERTYPE_IP),
		.arp_hln = ETH_ALEN,
		.arp_pln = 4,
		.arp_op = htons(op),
	};
	uint32_t from = htonl(guest->ip), to = htonl(ip);
	struct out out;

	memcpy(arp.arp_sha, guest->mac, ETH_ALEN);
	memcpy(arp.arp_spa, &from, 4);
	memcpy(arp.arp_tpa, &to, 4);
	if (op == ARPOP_REPLY)
		memcpy(arp.arp_tha, mac, ETH_ALEN);
	out_init(&out, &arp, sizeof(arp));
	push_eth(&out, guest, mac, ETHERTYPE_ARP);
	send_out(guest, &out);
}

struct in {
	uint8_t bytes[FRAME_MAX];
	uint32_t len;
	uint16_t type;
	const uint8_t *body; /* behind the Ethernet header */
	uint32_t body_len;
};

/* The next frame that is not a question that a stack answers by itself. */
static void recv_in(struct guest *guest, struct in *in)
{
	for (;;) {
		struct ethhdr eth;
		struct ether_arp arp;
		uint32_t who, from;

		in->len = nrig_recv(guest->rig, in->bytes, sizeof(in->bytes));
		assert_true(in->len >= sizeof(eth));
		memcpy(&eth, in->bytes, sizeof(eth));
		in->type = ntohs(eth.h_proto);
		in->body = in->bytes + sizeof(eth);
		in->body_len = in->len - (uint32_t)sizeof(eth);
		if (in->type != ETHERTYPE_ARP)
			return;
		assert_true(in->body_len >= sizeof(arp));
		memcpy(&arp, in->body, sizeof(arp));
		memcpy(&who, arp.arp_tpa, 4);
		memcpy(&from, arp.arp_spa, 4);
		if (ntohs(arp.arp_op) != ARPOP_REQUEST)
			return;
		assert_int_equal(ntohl(who), guest->ip);
		send_arp(guest, ARPOP_REPLY, ntohl(from), arp.arp_sha);
	}
}

void guest_arp(struct guest *guest, uint32_t ip, uint8_t mac[NET_MAC_LEN])
{
	static const uint8_t all[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
	struct ether_arp arp;
	struct in in;
	uint32_t from;

	send_arp(guest, ARPOP_REQUEST, ip, all);
	do
		recv_in(guest, &in);
	while (in.type != ETHERTYPE_ARP);
	memcpy(&arp, in.body, sizeof(arp));
	memcpy(&from, arp.arp_spa, 4);
	assert_int_equal(ntohl(from), ip);
	assert_memory_equal(arp.arp_tha, guest->mac, NET_MAC_LEN);
	memcpy(mac, arp.arp_sha, NET_MAC_LEN);
}

/* ---- IPv4 */

static void add_pseudo(struct csum *csum, uint32_t src, uint32_t dst, uint8_t proto, uint32_t len)
{
	uint32_t addrs[] = {htonl(src), htonl(dst)};
	uint16_t words[] = {htons(proto), htons((uint16_t)len)};

	csum_add(csum, addrs, sizeof(addrs));
	csum_add(csum, words, sizeof(words));
}

static uint16_t l4_csum(uint32_t src, uint32_t dst, uint8_t proto, const void *data, uint32_t len)
{
	struct csum csum = {0};

	add_pseudo(&csum, src, dst, proto, len);
	csum_add(&csum, data, len);
	return csum_finish(csum.sum);
}

static void send_ip(struct guest *guest, struct out *out, uint32_t dst, uint8_t proto)
{
	struct iphdr *ip = out_push(out, sizeof(*ip));

	*ip = (struct iphdr){
		.version = 4,
		.ihl = 5,
		.tot_len = htons((uint16_t)out->len),
		.id = htons(guest->ident++),
		.ttl = 64,
		.protocol = proto,
		.saddr = htonl(guest->ip),
		.daddr = htonl(dst),
	};
	ip->check = csum_finish(csum_bytes(ip, sizeof(*ip)));
	push_eth(out, guest, guest->peer_mac, ETHERTYPE_IP);
	send_out(guest, out);
}

/* The next IPv4 packet of a protocol: its header, and what is behind it; checksums are right. */
static const uint8_t *recv_ip(struct guest *guest, struct in *in, uint8_t proto, struct iphdr *ip,
			      uint32_t *len)
{
	const uint8_t *body;
	uint32_t hlen;

	do {
		recv_in(guest, in);
		if (in->type != ETHERTYPE_IP)
			continue;
		assert_true(in->body_len >= sizeof(*ip));
		memcpy(ip, in->body, sizeof(*ip));
	} while (in->type != ETHERTYPE_IP || ip->protocol != proto);
	hlen = ip->ihl * 4u;
	assert_true(ntohs(ip->tot_len) <= in->body_len && hlen <= ntohs(ip->tot_len));
	assert_int_equal(csum_finish(csum_bytes(in->body, hlen)), 0);
	body = in->body + hlen;
	*len = ntohs(ip->tot_len) - hlen;
	memcpy(guest->peer_mac, in->bytes + ETH_ALEN, ETH_ALEN);
	return body;
}

/* ---- UDP */

void guest_udp_send(struct guest *guest, uint32_t dst, uint16_t sport, uint16_t dport,
		    const void *data, uint32_t len)
{
	struct out out;
	struct udphdr *udp;

	out_init(&out, data, len);
	udp = out_push(&out, sizeof(*udp));
	udp->source = htons(sport);
	udp->dest = htons(dport);
	udp->len = htons((uint16_t)out.len);
	udp->check = l4_csum(guest->ip, dst, IPPROTO_UDP, udp, out.len);
	send_ip(guest, &out, dst, IPPROTO_UDP);
}

uint32_t guest_udp_recv(struct guest *guest, uint16_t dport, uint32_t *src, uint16_t *sport,
			void *data, uint32_t max)
{
	const uint8_t *body;
	struct udphdr udp;
	struct iphdr ip;
	struct in in;
	uint32_t len;

	do {
		body = recv_ip(guest, &in, IPPROTO_UDP, &ip, &len);
		assert_true(len >= sizeof(udp));
		memcpy(&udp, body, sizeof(udp));
	} while (ntohs(udp.dest) != dport);
	assert_int_equal(ntohs(udp.len), len);
	if (udp.check)
		assert_int_equal(l4_csum(ntohl(ip.saddr), ntohl(ip.daddr), IPPROTO_UDP, body, len),
				 0);
	*src = ntohl(ip.saddr);
	*sport = ntohs(udp.source);
	len -= (uint32_t)sizeof(udp);
	assert_true(len <= max);
	memcpy(data, body + sizeof(udp), len);
	return len;
}

/* ---- DHCP */

struct bootp {
	uint8_t op, htype, hlen, hops;
	uint32_t xid;
	uint16_t secs, flags;
	uint32_t ciaddr, yiaddr, siaddr, giaddr;
	uint8_t chaddr[16], sname[64], file[128];
	uint32_t magic;
	uint8_t options[312];
};

static void take_option(uint8_t code, const uint8_t *value, uint8_t len, struct guest_dhcp *ret)
{
	uint32_t word = 0;

	if (len >= 4)
		memcpy(&word, value, 4);
	switch (code) {
	case 1:
		ret->mask = ntohl(word);
		break;
	case 3:
		ret->router = ntohl(word);
		break;
	case 6:
		ret->dns = ntohl(word);
		break;
	case 12:
		snprintf(ret->hostname, sizeof(ret->hostname), "%.*s", len, (const char *)value);
		break;
	case 53:
		ret->type = value[0];
		break;
	case 54:
		ret->server = ntohl(word);
		break;
	default:
		break;
	}
}

void guest_dhcp(struct guest *guest, uint8_t type, struct guest_dhcp *ret)
{
	struct bootp msg = {.op = 1, .htype = 1, .hlen = NET_MAC_LEN, .xid = htonl(DHCP_XID)};
	uint8_t *opt = msg.options;
	uint32_t src, asked = htonl(guest->ip), len, ip = guest->ip;
	uint16_t sport;

	msg.magic = htonl(DHCP_MAGIC);
	memcpy(msg.chaddr, guest->mac, NET_MAC_LEN);
	memcpy(opt, (uint8_t[]){53, 1, type, 50, 4}, 5);
	memcpy(opt + 5, &asked, 4);
	opt[9] = 255;
	guest->ip = 0;
	guest_udp_send(guest, UINT32_MAX, BOOTP_CLIENT, BOOTP_SERVER, &msg, sizeof(msg));
	guest->ip = ip;
	len = guest_udp_recv(guest, BOOTP_CLIENT, &src, &sport, &msg, sizeof(msg));
	assert_true(len > offsetof(struct bootp, options));
	assert_int_equal(msg.op, 2);
	assert_int_equal(ntohl(msg.xid), DHCP_XID);
	assert_int_equal(sport, BOOTP_SERVER);
	*ret = (struct guest_dhcp){.ip = ntohl(msg.yiaddr)};
	len -= offsetof(struct bootp, options);
	for (uint32_t i = 0; i + 1 < len && opt[i] != 255; i += opt[i] ? 2u + opt[i + 1] : 1) {
		if (opt[i] && i + 2 + opt[i + 1] <= len)
			take_option(opt[i], opt + i + 2, opt[i + 1], ret);
	}
}

/* ---- ICMPv6 */

void guest_ping6(struct guest *guest, const char *dst)
{
	struct icmp6_hdr echo = {.icmp6_type = ICMP6_ECHO_REQUEST};
	struct ip6_hdr *ip;
	struct csum csum = {0};
	uint16_t pseudo[] = {htons(sizeof(echo)), htons(IPPROTO_ICMPV6)};
	struct in6_addr addrs[2];
	struct out out;

	assert_int_equal(inet_pton(AF_INET6, "fe80::1", &addrs[0]), 1);
	assert_int_equal(inet_pton(AF_INET6, dst, &addrs[1]), 1);
	csum_add(&csum, addrs, sizeof(addrs));
	csum_add(&csum, pseudo, sizeof(pseudo));
	csum_add(&csum, &echo, sizeof(echo));
	echo.icmp6_cksum = csum_finish(csum.sum);
	out_init(&out, &echo, sizeof(echo));
	ip = out_push(&out, sizeof(*ip));
	ip->ip6_vfc = 6 << 4;
	ip->ip6_plen = htons(sizeof(echo));
	ip->ip6_nxt = IPPROTO_ICMPV6;
	ip->ip6_hlim = 64;
	ip->ip6_src = addrs[0];
	ip->ip6_dst = addrs[1];
	push_eth(&out, guest, guest->peer_mac, ETHERTYPE_IPV6);
	send_out(guest, &out);
}

/* ---- TCP */

static void send_tcp(struct guest_tcp *tcp, uint8_t flags, const void *data, uint32_t len)
{
	struct out out;
	struct tcphdr *hdr;

	out_init(&out, data, len);
	hdr = out_push(&out, sizeof(*hdr));
	hdr->th_sport = htons(tcp->port);
	hdr->th_dport = htons(tcp->peer_port);
	hdr->th_seq = htonl(tcp->seq);
	hdr->th_ack = htonl(flags & TH_ACK ? tcp->ack : 0);
	hdr->th_off = 5;
	hdr->th_flags = flags;
	hdr->th_win = htons(32768);
	hdr->th_sum = l4_csum(tcp->guest->ip, tcp->peer, IPPROTO_TCP, hdr, out.len);
	send_ip(tcp->guest, &out, tcp->peer, IPPROTO_TCP);
	tcp->seq += len + (flags & (TH_SYN | TH_FIN) ? 1 : 0);
}

static void ack_tcp(struct guest_tcp *tcp)
{
	send_tcp(tcp, TH_ACK, "", 0);
}

struct segment {
	struct in in;
	struct iphdr ip;
	struct tcphdr tcp;
	const uint8_t *data;
	uint32_t len;
};

/* The next segment to a port of ours. */
static void recv_tcp(struct guest *guest, uint16_t port, struct segment *seg)
{
	do {
		seg->data = recv_ip(guest, &seg->in, IPPROTO_TCP, &seg->ip, &seg->len);
		assert_true(seg->len >= sizeof(seg->tcp));
		memcpy(&seg->tcp, seg->data, sizeof(seg->tcp));
	} while (ntohs(seg->tcp.th_dport) != port);
	assert_int_equal(l4_csum(ntohl(seg->ip.saddr), ntohl(seg->ip.daddr), IPPROTO_TCP, seg->data,
				 seg->len),
			 0);
	assert_false(seg->tcp.th_flags & TH_RST);
	assert_true(seg->tcp.th_off * 4u <= seg->len);
	seg->data += seg->tcp.th_off * 4u;
	seg->len -= seg->tcp.th_off * 4u;
}

void guest_tcp_connect(struct guest *guest, uint32_t dst, uint16_t dport, uint16_t sport,
		       struct guest_tcp *tcp)
{
	struct segment seg;

	*tcp = (struct guest_tcp){guest, dst, sport, dport, .seq = 1000u * sport};
	send_tcp(tcp, TH_SYN, "", 0);
	recv_tcp(guest, sport, &seg);
	assert_int_equal(seg.tcp.th_flags & (TH_SYN | TH_ACK), TH_SYN | TH_ACK);
	assert_int_equal(ntohl(seg.tcp.th_ack), tcp->seq);
	tcp->ack = ntohl(seg.tcp.th_seq) + 1;
	ack_tcp(tcp);
}

void guest_tcp_accept(struct guest *guest, uint16_t port, struct guest_tcp *tcp)
{
	struct segment seg;

	do
		recv_tcp(guest, port, &seg);
	while (!(seg.tcp.th_flags & TH_SYN));
	*tcp = (struct guest_tcp){guest,        ntohl(seg.ip.saddr),
				  port,         ntohs(seg.tcp.th_sport),
				  .seq = 77777, .ack = ntohl(seg.tcp.th_seq) + 1};
	send_tcp(tcp, TH_SYN | TH_ACK, "", 0);
	recv_tcp(guest, port, &seg);
	assert_int_equal(ntohl(seg.tcp.th_ack), tcp->seq);
	assert_int_equal(seg.len, 0);
}

/* Returns how many bytes of data were new. */
static uint32_t take_segment(struct guest_tcp *tcp, struct segment *seg, void *data, uint32_t max)
{
	uint32_t old = tcp->ack - ntohl(seg->tcp.th_seq), len;

	/* Sent again, or too early since one was lost. */
	if ((int32_t)old < 0 || old > seg->len)
		old = seg->len;
	else if (seg->tcp.th_flags & TH_FIN)
		tcp->peer_done = true;
	len = seg->len - old;
	assert_true(len <= max);
	memcpy(data, seg->data + old, len);
	tcp->ack += len + (tcp->peer_done ? 1 : 0);
	return len;
}

void guest_tcp_write(struct guest_tcp *tcp, const void *data, uint32_t len)
{
	struct segment seg;

	send_tcp(tcp, TH_ACK | TH_PUSH, data, len);
	do {
		recv_tcp(tcp->guest, tcp->port, &seg);
		assert_int_equal(seg.len, 0);
	} while (ntohl(seg.tcp.th_ack) != tcp->seq);
}

uint32_t guest_tcp_read(struct guest_tcp *tcp, void *data, uint32_t max)
{
	struct segment seg;
	uint32_t len = 0;

	while (!len && !tcp->peer_done) {
		recv_tcp(tcp->guest, tcp->port, &seg);
		len = take_segment(tcp, &seg, data, max);
		if (seg.len || seg.tcp.th_flags & TH_FIN)
			ack_tcp(tcp);
	}
	return len;
}

void guest_tcp_close(struct guest_tcp *tcp)
{
	uint8_t data[FRAME_MAX];
	struct segment seg;

	send_tcp(tcp, TH_ACK | TH_FIN, "", 0);
	do {
		recv_tcp(tcp->guest, tcp->port, &seg);
		if (!tcp->peer_done) {
			assert_int_equal(take_segment(tcp, &seg, data, sizeof(data)), 0);
			if (tcp->peer_done)
				ack_tcp(tcp);
		}
	} while (!tcp->peer_done || ntohl(seg.tcp.th_ack) != tcp->seq);
}
