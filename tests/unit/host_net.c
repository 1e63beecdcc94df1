/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <linux/veth.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <cmocka.h>

#include "base/defs.h"
#include "host_net.h"

#define PATIENCE_MS 20000
#define PROTOCOL    0x88b5 /* for experiments */

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

/* ---- the namespace */

static void write_file(const char *path, const char *text)
{
	int fd vdpa_cleanup(fd_closep) = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		printf("cannot write %s: %s\n", path, strerror(errno));
}

bool host_net_enter(void)
{
	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		printf("a network namespace cannot be made: %s\n", strerror(errno));
		return false;
	}
	if (access("/dev/net/tun", R_OK | W_OK)) {
		puts("there is no /dev/net/tun that may be opened");
		return false;
	}
	/* Else an interface that goes up begins to speak. */
	write_file("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
	return true;
}

/* ---- frames */

static void request(const char *ifname, unsigned long req, struct ifreq *ifr)
{
	int fd vdpa_cleanup(fd_closep) = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	snprintf(ifr->ifr_name, sizeof(ifr->ifr_name), "%s", ifname);
	if (ioctl(fd, req, ifr))
		fail_msg("ioctl 0x%lx of '%s': %s", req, ifname, strerror(errno));
}

void host_net_set_up(const char *ifname, bool up)
{
	struct ifreq ifr = {0};

	request(ifname, SIOCGIFFLAGS, &ifr);
	ifr.ifr_flags = (short)(up ? ifr.ifr_flags | IFF_UP : ifr.ifr_flags & ~IFF_UP);
	request(ifname, SIOCSIFFLAGS, &ifr);
}

int host_net_open(const char *ifname)
{
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0), on = 1, room = 16 << 20;
	struct sockaddr_ll addr = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
		.sll_ifindex = (int)if_nametoindex(ifname),
	};

	assert_true(fd >= 0);
	assert_int_not_equal(addr.sll_ifindex, 0);
	host_net_set_up(ifname, true);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	assert_int_equal(setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

void host_net_send(int fd, const struct virtio_net_hdr *hdr, const void *frame, size_t len)
{
	struct virtio_net_hdr none = {0};
	struct iovec iov[] = {
		{hdr ? (void *)hdr : &none, sizeof(none)},
		{(void *)frame, len},
	};

	assert_int_equal(writev(fd, iov, 2), sizeof(none) + len);
}

size_t host_net_recv(int fd, struct virtio_net_hdr *hdr, void *frame, size_t len)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	struct virtio_net_hdr own;
	struct iovec iov[] = {{hdr ? hdr : &own, sizeof(own)}, {frame, len}};
	ssize_t got;

	if (poll(&pfd, 1, PATIENCE_MS) != 1)
		fail_msg("no frame came for %d s", PATIENCE_MS / 1000);
	got = readv(fd, iov, 2);
	if (got < (ssize_t)sizeof(own))
		fail_msg("cannot read a frame: %s", strerror(errno));
	return (size_t)got - sizeof(own);
}

bool host_net_quiet(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	return poll(&pfd, 1, 0) == 0;
}

/* ---- what the interface is like */

void host_net_persist(const char *ifname, bool multi_queue, bool on)
{
	struct ifreq ifr = {
		.ifr_flags = (short)(IFF_TAP | IFF_NO_PI | (multi_queue ? IFF_MULTI_QUEUE : 0)),
	};
	int fd vdpa_cleanup(fd_closep) = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", ifname);
	assert_int_equal(ioctl(fd, TUNSETIFF, &ifr), 0);
	assert_int_equal(ioctl(fd, TUNSETPERSIST, (unsigned long)on), 0);
}

/* A message to the kernel's table of interfaces, in the making. */
struct link_msg {
	struct nlmsghdr head;
	struct ifinfomsg info;
	uint8_t attrs[512];
};

static void link_init(struct link_msg *msg, uint16_t type, uint16_t flags)
{
	*msg = (struct link_msg){
		.head = {.nlmsg_len = offsetof(struct link_msg, attrs),
			 .nlmsg_type = type,
			 .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags},
	};
}

/* Returns the attribute, which link_end() makes as long as what was put behind it. */
static struct nlattr *link_put(struct link_msg *msg, uint16_t type, const void *data, size_t len)
{
	struct nlattr *attr = (struct nlattr *)(void *)((uint8_t *)msg + msg->head.nlmsg_len);

	attr->nla_type = type;
	attr->nla_len = (uint16_t)(NLA_HDRLEN + len);
	memcpy((uint8_t *)attr + NLA_HDRLEN, data, len);
	msg->head.nlmsg_len += NLA_ALIGN(attr->nla_len);
	return attr;
}

static void link_end(struct link_msg *msg, struct nlattr *attr)
{
	attr->nla_len = (uint16_t)((uint8_t *)msg + msg->head.nlmsg_len - (uint8_t *)attr);
}

static void link_send(const struct link_msg *msg)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr err;
		char more[256];
	} reply = {0};
	int fd vdpa_cleanup(fd_closep) = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	assert_true(fd >= 0);
	assert_int_equal(send(fd, msg, msg->head.nlmsg_len, 0), msg->head.nlmsg_len);
	assert_true(recv(fd, &reply, sizeof(reply), 0) > 0);
	assert_int_equal(reply.err.error, 0);
}

void host_net_delete(const char *ifname)
{
	struct link_msg msg;

	link_init(&msg, RTM_DELLINK, 0);
	msg.info.ifi_index = (int)if_nametoindex(ifname);
	link_send(&msg);
}

static void link_put_side(struct link_msg *msg, const char *ifname, uint32_t queues)
{
	link_put(msg, IFLA_IFNAME, ifname, strlen(ifname) + 1);
	link_put(msg, IFLA_NUM_TX_QUEUES, &queues, sizeof(queues));
	link_put(msg, IFLA_NUM_RX_QUEUES, &queues, sizeof(queues));
}

void host_net_veth(const char *ifname, const char *peer, uint32_t queues)
{
	struct nlattr *linkinfo, *data, *other;
	struct ifinfomsg info = {0};
	struct link_msg msg;

	link_init(&msg, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	link_put_side(&msg, ifname, queues);
	linkinfo = link_put(&msg, IFLA_LINKINFO, "", 0);
	link_put(&msg, IFLA_INFO_KIND, "veth", 4);
	data = link_put(&msg, IFLA_INFO_DATA, "", 0);
	other = link_put(&msg, VETH_INFO_PEER, &info, sizeof(info));
	link_put_side(&msg, peer, 1);
	link_end(&msg, other);
	link_end(&msg, data);
	link_end(&msg, linkinfo);
	link_send(&msg);
	host_net_set_up(ifname, true);
	host_net_set_up(peer, true);
}

int host_net_watch(void)
{
	struct sockaddr_nl addr = {.nl_family = AF_NETLINK, .nl_groups = RTMGRP_LINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

void host_net_wait_carrier(int watch, const char *ifname)
{
	struct pollfd pfd = {.fd = watch, .events = POLLIN};
	struct {
		struct nlmsghdr head;
		struct ifinfomsg info;
		char more[4096];
	} msg;

	do {
		if (poll(&pfd, 1, PATIENCE_MS) != 1)
			fail_msg("'%s' had no carrier for %d s", ifname, PATIENCE_MS / 1000);
		assert_true(recv(watch, &msg, sizeof(msg), 0) > 0);
	} while (msg.head.nlmsg_type != RTM_NEWLINK ||
		 msg.info.ifi_index != (int)if_nametoindex(ifname) ||
		 !(msg.info.ifi_flags & IFF_RUNNING));
}

bool host_net_exists(const char *ifname)
{
	return if_nametoindex(ifname);
}

bool host_net_carrier(const char *ifname)
{
	struct ethtool_value value = {.cmd = ETHTOOL_GLINK};
	struct ifreq ifr = {.ifr_data = (void *)&value};

	request(ifname, SIOCETHTOOL, &ifr);
	return value.data;
}

uint32_t host_net_mtu(const char *ifname)
{
	struct ifreq ifr = {0};

	request(ifname, SIOCGIFMTU, &ifr);
	return (uint32_t)ifr.ifr_mtu;
}

void host_net_mac(const char *ifname, uint8_t mac[6])
{
	struct ifreq ifr = {0};

	request(ifname, SIOCGIFHWADDR, &ifr);
	memcpy(mac, ifr.ifr_hwaddr.sa_data, 6);
}

/* ---- content */

static const uint8_t dst[6] = {0x02, 0, 0, 0, 0, 1}, src[6] = {0x02, 0, 0, 0, 0, 2};

static size_t fill_eth(uint8_t *frame, uint16_t protocol)
{
	memcpy(frame, dst, 6);
	memcpy(frame + 6, src, 6);
	protocol = htons(protocol);
	memcpy(frame + 12, &protocol, 2);
	return 14;
}

void host_net_fill(uint8_t *frame, size_t len, unsigned int seed)
{
	for (size_t i = fill_eth(frame, PROTOCOL); i < len; i++)
		frame[i] = (uint8_t)(i * 7 + i / 256 + seed);
}

static uint16_t fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)(sum + (sum >> 16));
}

static uint32_t sum16(const void *buf, size_t len)
{
	uint32_t sum = 0;
	uint16_t word;

	for (size_t i = 0; i + 1 < len; i += 2) {
		memcpy(&word, (const uint8_t *)buf + i, 2);
		sum += word;
	}
	return sum;
}

struct virtio_net_hdr host_net_fill_tcp(uint8_t *frame, size_t len, uint16_t gso_size)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tot_len = htons((uint16_t)(len - 14)),
		.ttl = 64,
		.protocol = IPPROTO_TCP,
		.saddr = inet_addr("192.0.2.1"),
		.daddr = inet_addr("192.0.2.2"),
	};
	struct tcphdr tcp = {.source = htons(1000), .dest = htons(2000), .doff = 5, .ack = 1};
	uint32_t pseudo;

	host_net_fill(frame, len, 0);
	fill_eth(frame, ETHERTYPE_IP);
	ip.check = (uint16_t)~fold(sum16(&ip, sizeof(ip)));
	pseudo = sum16(&ip.saddr, 8) + htons(IPPROTO_TCP) + htons((uint16_t)(len - 34));
	tcp.check = fold(pseudo);
	memcpy(frame + 14, &ip, sizeof(ip));
	memcpy(frame + 34, &tcp, sizeof(tcp));
	return (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.gso_type = gso_size ? VIRTIO_NET_HDR_GSO_TCPV4 : VIRTIO_NET_HDR_GSO_NONE,
		.hdr_len = 54,
		.gso_size = gso_size,
		.csum_start = 34,
		.csum_offset = 16,
	};
}
