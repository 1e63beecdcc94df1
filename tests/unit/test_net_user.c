/* SPDX-License-Identifier: BSD-2-Clause */
/* The backend `user`: a guest by hand on one side, programs of this host on the other. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "backends/net/user.h"
#include "backends/net/user_guard.h"
#include "base/defs.h"
#include "fail_alloc.h"
#include "fail_syscall.h"
#include "net_guest.h"

#define GUEST GUEST_IP(10, 0, 2, 15)
#define HOST  GUEST_IP(10, 0, 2, 2)
#define DNS   GUEST_IP(10, 0, 2, 3)

static const struct vdpa_attr_desc table[] = {NET_USER_ATTRS, {0}};

struct env {
	struct net_rig rig;
	struct guest guest;
};

static int start(struct env *env, const char *words)
{
	int err = nrig_open(&env->rig, net_user_open, table, words);

	if (err)
		return err;
	guest_init(&env->guest, &env->rig, GUEST);
	assert_int_equal(nrig_attach(&env->rig, 0, 1), 0);
	return 0;
}

/* ---- this host */

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

/* A socket on a port of 127.0.0.1 that the kernel chooses. */
static int host_socket(int type, uint16_t *port)
{
	struct sockaddr_in addr = loopback(0);
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 8), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	*port = ntohs(addr.sin_port);
	return fd;
}

static int host_connect(int type, uint16_t port)
{
	struct sockaddr_in addr = loopback(port);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

/* A backend that listens on a port of this host nobody uses: until one of them is still free. */
static uint16_t start_forward(struct env *env, const char *proto, int type, unsigned int guest_port)
{
	char words[128];
	uint16_t port;
	int err;

	do {
		int fd = host_socket(type, &port);

		close(fd);
		snprintf(words, sizeof(words), "ipv6 off hostfwd %s:127.0.0.1:%u-:%u", proto, port,
			 guest_port);
		err = start(env, words);
	} while (err == -EADDRINUSE);
	assert_int_equal(err, 0);
	return port;
}

static void host_read(int fd, void *buf, size_t len)
{
	assert_int_equal(recv(fd, buf, len, MSG_WAITALL), len);
}

static void host_write(int fd, const void *buf, size_t len)
{
	assert_int_equal(send(fd, buf, len, MSG_NOSIGNAL), len);
}

/* ---- attributes */

static void refused(const char *words, int err, const char *text)
{
	struct net_rig rig;

	assert_int_equal(nrig_open(&rig, net_user_open, table, words), err);
	if (!strstr(rig.ack.msg, text))
		fail_msg("'%s' does not say '%s'", rig.ack.msg, text);
}

static void test_net_user_refuses_what_is_no_network(void **state)
{
	static const char *const bad[] = {"10.0.2.0",        "10.0.2.0/",    "10.0.2.0/33",
					  "10.0.2.0/7",      "10.0.2.0/31",  "10.0.2.0/024",
					  "10.0.2/24",       "10.0.2.0/24x", "10.0.2.0.0.0.0/8",
					  "10.0.2.0000000/8"};
	char words[64];

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(words, sizeof(words), "net %s", bad[i]);
		refused(words, -EINVAL, "'net' must be ADDRESS/LENGTH with a length from 8 to 30");
	}
	refused("net 10.0.2.9/24", -EINVAL, "the network is 10.0.2.0/24");
}

static void test_net_user_refuses_addresses_that_do_not_suit(void **state)
{
	refused("host 10.0.2", -EINVAL, "'host' must be an IPv4 address, such as 10.0.2.2");
	refused("dns 10.0.3.3", -EINVAL,
		"'dns' 10.0.3.3 is not the address of a host in 'net' "
		"10.0.2.0/24");
	refused("host 10.0.2.0", -EINVAL, "'host' 10.0.2.0 is not the address of a host");
	refused("dhcpstart 10.0.2.255", -EINVAL, "'dhcpstart' 10.0.2.255 is not the address");
	refused("net 10.0.2.0/28", -EINVAL, "'dhcpstart' 10.0.2.15 is not the address");
	refused("host 10.0.2.3", -EINVAL, "must be three addresses");
	refused("hostname a_b", -EINVAL, "'hostname' must be up to 32 letters");
	refused("hostname abcdefghijklmnopqrstuvwxyz0123456", -EINVAL, "'hostname' must be");
	refused("hostfwd tcp::1-10.0.3.1:1", -EINVAL, "'hostfwd' 10.0.3.1 is not the address");
}

static void test_net_user_refuses_bad_ports(void **state)
{
	static const char form[] = "is not tcp|udp:[ADDRESS]:PORT-[ADDRESS]:PORT, such as "
				   "tcp:127.0.0.1:8080-10.0.2.15:80";

	refused("hostfwd ,", -EINVAL, form);
	refused("hostfwd tcp:80", -EINVAL, form);
	refused("hostfwd tcp::80-", -EINVAL, form);
	refused("hostfwd tcp::80-:80,", -EINVAL, form);
	refused("hostfwd tcp:123456789012345678901234567890123456789012345678901234567890:1-:1",
		-EINVAL, form);
	refused("hostfwd sctp::80-:80", -EINVAL, "'sctp' is neither tcp nor udp");
	refused("hostfwd tcp:localhost:80-:80", -EINVAL, "'localhost' is no IPv4 address");
	refused("hostfwd tcp::80-1.2.3:80", -EINVAL, "'1.2.3' is no IPv4 address");
	refused("hostfwd tcp::0-:80", -EINVAL, "'0' is no port, a number from 1 to 65535");
	refused("hostfwd tcp::65536-:80", -EINVAL, "'65536' is no port");
	refused("hostfwd tcp::080-:80", -EINVAL, "'080' is no port");
	refused("hostfwd tcp::80-:+1", -EINVAL, "'+1' is no port");
	refused("hostfwd tcp::80-:4294967297", -EINVAL, "'4294967297' is no port");
	refused("hostfwd tcp::80-:1,tcp:127.0.0.1:80-:2", -EINVAL,
		"port 80 of this host is given twice (tcp)");
}

static void test_net_user_limits_how_many_ports(void **state)
{
	char words[4096] = "hostfwd ";
	size_t len = strlen(words);

	for (int i = 0; i < 65; i++)
		len += (size_t)snprintf(words + len, sizeof(words) - len, "%sudp::%d-:%d",
					i ? "," : "", 1000 + i, 1);
	refused(words, -E2BIG, "more than 64 ports");
}

static void test_net_user_refuses_a_port_in_use(void **state)
{
	char words[128];
	uint16_t port;
	int fd = host_socket(SOCK_STREAM, &port);

	snprintf(words, sizeof(words), "hostfwd tcp:127.0.0.1:%u-:80", port);
	refused(words, -EADDRINUSE, "10.0.2.15:80': cannot listen: Address already in use");
	close(fd);
}

static void test_net_user_shows_itself(void **state)
{
	struct env env;
	char text[64];
	uint16_t port = start_forward(&env, "udp", SOCK_DGRAM, 53);

	assert_true(nrig_shows(&env.rig, "net=10.0.2.0/24 host=10.0.2.2 dns=10.0.2.3 "
					 "dhcpstart=10.0.2.15 restrict=off ipv6=off"));
	snprintf(text, sizeof(text), "udp:127.0.0.1:%u-10.0.2.15:53", port);
	assert_true(nrig_shows(&env.rig, text));
	assert_true(nrig_shows(&env.rig, "sockets=0"));
	nrig_close(&env.rig);
}

/* ---- the guest's network */

static void test_net_user_answers_dhcp(void **state)
{
	struct env env;
	struct guest_dhcp dhcp;

	assert_int_equal(start(&env, "ipv6 off hostname vm1"), 0);
	guest_dhcp(&env.guest, 1, &dhcp);
	assert_int_equal(dhcp.type, 2);
	assert_int_equal(dhcp.ip, GUEST);
	assert_int_equal(dhcp.router, HOST);
	assert_int_equal(dhcp.server, HOST);
	assert_int_equal(dhcp.dns, DNS);
	assert_int_equal(dhcp.mask, 0xffffff00);
	assert_string_equal(dhcp.hostname, "vm1");
	guest_dhcp(&env.guest, 3, &dhcp);
	assert_int_equal(dhcp.type, 5);
	assert_int_equal(dhcp.ip, GUEST);
	nrig_close(&env.rig);
}

static void test_net_user_has_the_network_that_is_asked_for(void **state)
{
	struct env env;
	struct guest_dhcp dhcp;
	uint8_t mac[NET_MAC_LEN];

	assert_int_equal(start(&env, "ipv6 off net 192.168.9.0/28 host 192.168.9.1 "
				     "dns 192.168.9.2 dhcpstart 192.168.9.5"),
			 0);
	env.guest.ip = GUEST_IP(192, 168, 9, 5);
	guest_dhcp(&env.guest, 1, &dhcp);
	assert_int_equal(dhcp.ip, GUEST_IP(192, 168, 9, 5));
	assert_int_equal(dhcp.router, GUEST_IP(192, 168, 9, 1));
	assert_int_equal(dhcp.dns, GUEST_IP(192, 168, 9, 2));
	assert_int_equal(dhcp.mask, 0xfffffff0);
	guest_arp(&env.guest, GUEST_IP(192, 168, 9, 1), mac);
	assert_int_equal(mac[0] & 1, 0);
	nrig_close(&env.rig);
}

/* ---- connections */

static void talk(struct guest_tcp *tcp, int fd)
{
	char buf[64];

	guest_tcp_write(tcp, "to the host", 11);
	host_read(fd, buf, 11);
	assert_memory_equal(buf, "to the host", 11);
	host_write(fd, "to the guest", 12);
	assert_int_equal(guest_tcp_read(tcp, buf, sizeof(buf)), 12);
	assert_memory_equal(buf, "to the guest", 12);
}

static void test_net_user_connects_to_this_host(void **state)
{
	struct env env;
	struct guest_tcp tcp;
	char end;
	uint16_t port;
	int listener = host_socket(SOCK_STREAM, &port), fd;

	assert_int_equal(start(&env, "ipv6 off"), 0);
	guest_tcp_connect(&env.guest, HOST, port, 1234, &tcp);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	talk(&tcp, fd);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	guest_tcp_close(&tcp);
	assert_int_equal(recv(fd, &end, 1, 0), 0);
	close(fd);
	close(listener);
	nrig_close(&env.rig);
}

static void test_net_user_forwards_a_tcp_port(void **state)
{
	struct env env;
	struct guest_tcp tcp;
	uint16_t port = start_forward(&env, "tcp", SOCK_STREAM, 80);
	int fd = host_connect(SOCK_STREAM, port);

	guest_tcp_accept(&env.guest, 80, &tcp);
	talk(&tcp, fd);
	close(fd);
	guest_tcp_close(&tcp);
	nrig_close(&env.rig);
}

static void test_net_user_forwards_a_udp_port(void **state)
{
	struct env env;
	uint16_t port = start_forward(&env, "udp", SOCK_DGRAM, 53), sport;
	int fd = host_connect(SOCK_DGRAM, port);
	uint32_t src;
	char buf[64];

	host_write(fd, "question", 8);
	assert_int_equal(guest_udp_recv(&env.guest, 53, &src, &sport, buf, sizeof(buf)), 8);
	assert_memory_equal(buf, "question", 8);
	assert_int_equal(src, HOST);
	guest_udp_send(&env.guest, src, 53, sport, "answer", 6);
	host_read(fd, buf, 6);
	assert_memory_equal(buf, "answer", 6);
	close(fd);
	nrig_close(&env.rig);
}

static void test_net_user_restricts(void **state)
{
	struct env env;
	uint8_t mac[NET_MAC_LEN];
	uint16_t port;
	int fd = host_socket(SOCK_DGRAM, &port);
	char buf[8];

	assert_int_equal(start(&env, "ipv6 off restrict on"), 0);
	guest_arp(&env.guest, HOST, mac);
	memcpy(env.guest.peer_mac, mac, sizeof(mac));
	guest_udp_send(&env.guest, HOST, 1000, port, "out", 3);
	/* The frame before this one has been looked at when this one is answered. */
	guest_arp(&env.guest, HOST, mac);
	assert_int_equal(recv(fd, buf, sizeof(buf), MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	assert_true(nrig_shows(&env.rig, "sockets=0"));
	close(fd);
	nrig_close(&env.rig);
}

/* ---- a guest that is slow, or elsewhere */

#define BULK (1u << 20)

static void fill(uint8_t *buf, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(i * 2654435761u >> 24);
}

struct writer {
	int fd;
	const uint8_t *data;
};

static void *write_all(void *arg)
{
	struct writer *writer = arg;

	host_write(writer->fd, writer->data, BULK);
	shutdown(writer->fd, SHUT_WR);
	return NULL;
}

static void test_net_user_keeps_what_the_guest_has_no_room_for(void **state)
{
	struct env env;
	struct guest_tcp tcp;
	struct writer writer;
	uint8_t *sent = malloc(BULK), *got = malloc(BULK + 2048);
	uint32_t num = 0, len;
	pthread_t thread;
	uint16_t port;
	int listener = host_socket(SOCK_STREAM, &port), round = 0;

	assert_true(sent && got);
	fill(sent, BULK);
	assert_int_equal(start(&env, "ipv6 off"), 0);
	guest_tcp_connect(&env.guest, HOST, port, 1234, &tcp);
	writer = (struct writer){accept(listener, NULL, NULL), sent};
	assert_true(writer.fd >= 0);
	nrig_set_full(&env.rig, true);
	assert_int_equal(pthread_create(&thread, NULL, write_all, &writer), 0);
	nrig_wait_refused(&env.rig);
	nrig_set_full(&env.rig, false);
	while ((len = guest_tcp_read(&tcp, got + num, 2048))) {
		num += len;
		/* From one worker to the other, with frames under way. */
		if (num / (BULK / 4) > (uint32_t)round && ++round) {
			nrig_detach(&env.rig);
			assert_int_equal(nrig_attach(&env.rig, round % 2, round / 2 % 2), 0);
		}
		assert_true(num <= BULK);
	}
	assert_int_equal(num, BULK);
	assert_memory_equal(got, sent, BULK);
	pthread_join(thread, NULL);
	guest_tcp_close(&tcp);
	close(writer.fd);
	close(listener);
	free(sent);
	free(got);
	nrig_close(&env.rig);
}

/* ---- a guest that means harm */

static void test_net_user_refuses_frames_of_a_wrong_length(void **state)
{
	struct env env;
	uint8_t *frame = calloc(1, NET_FRAME_MAX + 1), mac[NET_MAC_LEN];

	assert_non_null(frame);
	assert_int_equal(start(&env, "ipv6 off"), 0);
	assert_int_equal(nrig_send(&env.rig, frame, NET_ETH_LEN - 1), -EMSGSIZE);
	assert_int_equal(nrig_send(&env.rig, frame, NET_FRAME_MAX + 1), -EMSGSIZE);
	/* These are frames, of no protocol that libslirp has to do with. */
	assert_int_equal(nrig_send(&env.rig, frame, NET_ETH_LEN), 0);
	assert_int_equal(nrig_send(&env.rig, frame, NET_FRAME_MAX), 0);
	guest_arp(&env.guest, HOST, mac);
	assert_true(nrig_shows(&env.rig, "refused=2"));
	free(frame);
	nrig_close(&env.rig);
}

static void test_net_user_limits_sockets(void **state)
{
	struct env env;
	struct rlimit limit, low;
	uint8_t mac[NET_MAC_LEN];
	uint16_t port;
	int fd = host_socket(SOCK_DGRAM, &port);

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	low = limit;
	low.rlim_cur = 512;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	assert_int_equal(start(&env, "ipv6 off"), 0);
	guest_arp(&env.guest, HOST, mac);
	memcpy(env.guest.peer_mac, mac, sizeof(mac));
	for (uint16_t i = 0; i < 100; i++)
		guest_udp_send(&env.guest, HOST, 1000 + i, port, "x", 1);
	guest_arp(&env.guest, HOST, mac);
	assert_true(nrig_shows(&env.rig, "sockets=64"));
	assert_true(nrig_shows(&env.rig, "refused=36"));
	nrig_close(&env.rig);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	close(fd);
}

static void test_net_user_survives_any_frames(void **state)
{
	static const uint8_t types[][2] = {{8, 0}, {8, 6}, {0x86, 0xdd}, {0x88, 0xf8}};
	struct env env;
	uint8_t frame[1514], mac[NET_MAC_LEN];
	unsigned int seed = 1;

	assert_int_equal(start(&env, ""), 0);
	for (int i = 0; i < 5000; i++) {
		uint32_t len = NET_ETH_LEN + (uint32_t)rand_r(&seed) % 200;

		for (uint32_t j = 0; j < len; j++)
			frame[j] = (uint8_t)rand_r(&seed);
		memcpy(frame + 12, types[(size_t)rand_r(&seed) % ARRAY_SIZE(types)], 2);
		frame[14] = frame[12] == 8 ? 0x45 : 0x60;
		if (nrig_send(&env.rig, frame, len))
			guest_arp(&env.guest, HOST, mac);
	}
	guest_arp(&env.guest, HOST, mac);
	nrig_close(&env.rig);
}

static void test_net_user_logs_what_libslirp_says(void **state)
{
	struct env env;

	assert_int_equal(start(&env, ""), 0);
	for (int i = 0; i < 20; i++)
		guest_ping6(&env.guest, "2001:db8::1");
	nrig_wait_log(&env.rig, "net0: libslirp: external icmpv6 not supported yet\n");
	nrig_close(&env.rig);
}

/* ---- the guard by itself */

static bool passes(struct user_guard *guard, const uint8_t *ip, uint32_t len, bool crowded)
{
	uint8_t frame[NET_ETH_LEN + 256] = {0};

	frame[12] = ip[0] >> 4 == 4 ? 0x08 : 0x86;
	frame[13] = ip[0] >> 4 == 4 ? 0x00 : 0xdd;
	memcpy(frame + NET_ETH_LEN, ip, len);
	return user_guard_pass(guard, frame, NET_ETH_LEN + len, crowded, 0);
}

static void test_user_guard_knows_what_opens_a_socket(void **state)
{
	struct user_guard guard = {0};
	uint8_t ip4[64] = {0x45}, ip6[64] = {0x60};

	ip4[9] = 6;
	ip6[6] = 6;
	assert_true(passes(&guard, ip4, 40, true));
	assert_true(passes(&guard, ip6, 60, true));
	ip4[20 + 13] = ip6[40 + 13] = 2; /* SYN */
	assert_false(passes(&guard, ip4, 40, true));
	assert_false(passes(&guard, ip6, 60, true));
	assert_true(passes(&guard, ip4, 40, false));
	assert_true(passes(&guard, ip6, 60, false));
	ip4[20 + 13] = ip6[40 + 13] = 0;
	assert_false(passes(&guard, ip4, 39, true));
	assert_false(passes(&guard, ip6, 59, true));
	ip4[9] = 17;
	ip6[6] = 17;
	assert_false(passes(&guard, ip4, 40, true));
	assert_false(passes(&guard, ip6, 60, true));
	ip6[6] = 58;
	assert_true(passes(&guard, ip6, 60, true));
	/* Headers that are not there. */
	assert_false(passes(&guard, ip4, 19, false));
	assert_false(passes(&guard, ip6, 39, false));
	ip4[0] = 0x44;
	assert_false(passes(&guard, ip4, 40, false));
	ip4[0] = 0x4f;
	assert_false(passes(&guard, ip4, 59, false));
	assert_true(passes(&guard, ip4, 60, false));
}

static void test_user_guard_limits_fragments(void **state)
{
	struct user_guard guard = {0};
	uint8_t frame[NET_ETH_LEN + 20] = {[12] = 8, [14] = 0x45, [20] = 0x20};
	uint32_t num = 0;

	while (user_guard_pass(&guard, frame, sizeof(frame), false, 5))
		num++;
	assert_int_equal(num, USER_GUARD_FRAGMENTS / 2048);
	assert_false(user_guard_pass(&guard, frame, sizeof(frame), false, 999999999));
	assert_true(user_guard_pass(&guard, frame, sizeof(frame), false, 1000000000));
	assert_false(user_guard_pass(&guard, frame, sizeof(frame), true, 1000000000));
	/* Not to be fragmented. */
	frame[20] = 0x40;
	assert_true(user_guard_pass(&guard, frame, sizeof(frame), false, 5));
}

/* ---- without memory */

static void test_net_user_survives_failures(void **state)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct net_open open = {.attrs = attrs, .name = "net1"};
	struct net_backend *net;
	struct env env;
	int err;

	assert_non_null(attrs);
	assert_int_equal(start(&env, "ipv6 off"), 0);
	open.bus = env.rig.bus;
	for (unsigned int n = 1;; n++) {
		fail_alloc_nth(n);
		err = net_user_open(&open, &net, NULL);
		if (!fail_alloc_done())
			break;
		assert_int_equal(err, -ENOMEM);
	}
	assert_int_equal(err, 0);
	net_close(net);
	for (unsigned int n = 1;; n++) {
		fail_syscall_nth(n);
		err = net_user_open(&open, &net, NULL);
		if (!fail_syscall_done())
			break;
		assert_true(err < 0);
	}
	assert_int_equal(err, 0);
	net_close(net);
	vdpa_attrs_free(attrs);
	nrig_close(&env.rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_net_user_refuses_what_is_no_network),
		cmocka_unit_test(test_net_user_refuses_addresses_that_do_not_suit),
		cmocka_unit_test(test_net_user_refuses_bad_ports),
		cmocka_unit_test(test_net_user_limits_how_many_ports),
		cmocka_unit_test(test_net_user_refuses_a_port_in_use),
		cmocka_unit_test(test_net_user_shows_itself),
		cmocka_unit_test(test_net_user_answers_dhcp),
		cmocka_unit_test(test_net_user_has_the_network_that_is_asked_for),
		cmocka_unit_test(test_net_user_connects_to_this_host),
		cmocka_unit_test(test_net_user_forwards_a_tcp_port),
		cmocka_unit_test(test_net_user_forwards_a_udp_port),
		cmocka_unit_test(test_net_user_restricts),
		cmocka_unit_test(test_net_user_keeps_what_the_guest_has_no_room_for),
		cmocka_unit_test(test_net_user_refuses_frames_of_a_wrong_length),
		cmocka_unit_test(test_net_user_limits_sockets),
		cmocka_unit_test(test_net_user_survives_any_frames),
		cmocka_unit_test(test_net_user_logs_what_libslirp_says),
		cmocka_unit_test(test_user_guard_knows_what_opens_a_socket),
		cmocka_unit_test(test_user_guard_limits_fragments),
		cmocka_unit_test(test_net_user_survives_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
