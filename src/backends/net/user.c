/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "backends/net/frames.h"
#include "backends/net/user.h"
#include "backends/net/user_priv.h"
#include "base/defs.h"

/* Hosts of the network, when nobody says otherwise: those that users of QEMU know. */
#define HOST_OFFSET 2
#define DNS_OFFSET  3
#define DHCP_OFFSET 15

#define PREFIX_MIN 8
#define PREFIX_MAX 30

static struct user *to_user(struct net_backend *net)
{
	return container_of(net, struct user, net);
}

/* ---- attributes */

static int refuse_net(const char *text, struct vdpa_extack *ack)
{
	return vdpa_extack_set(ack, -EINVAL,
			       "'net' must be ADDRESS/LENGTH with a length from %d to %d, such as "
			       "10.0.2.0/24, not '%.40s'",
			       PREFIX_MIN, PREFIX_MAX, text);
}

static int parse_net(const char *text, struct user_config *config, struct vdpa_extack *ack)
{
	const char *slash = strchr(text, '/');
	char address[INET_ADDRSTRLEN];
	unsigned int bits = 0;
	const char *p;

	if (!slash || (size_t)(slash - text) >= sizeof(address))
		return refuse_net(text, ack);
	memcpy(address, text, (size_t)(slash - text));
	address[slash - text] = '\0';
	for (p = slash + 1; *p >= '0' && *p <= '9' && p < slash + 3; p++)
		bits = bits * 10 + (unsigned int)(*p - '0');
	if (*p || slash[1] == '0' || bits < PREFIX_MIN || bits > PREFIX_MAX ||
	    inet_pton(AF_INET, address, &config->net) != 1)
		return refuse_net(text, ack);
	config->mask.s_addr = htonl(UINT32_MAX << (32 - bits));
	if (config->net.s_addr & ~config->mask.s_addr) {
		struct in_addr net = {config->net.s_addr & config->mask.s_addr};

		inet_ntop(AF_INET, &net, address, sizeof(address));
		return vdpa_extack_set(ack, -EINVAL,
				       "'net' %s is an address in a network; the network is %s/%u",
				       text, address, bits);
	}
	return 0;
}

static bool in_net(const struct user_config *config, struct in_addr addr)
{
	uint32_t host = ntohl(addr.s_addr & ~config->mask.s_addr);

	return (addr.s_addr & config->mask.s_addr) == config->net.s_addr && host &&
	       host != ntohl(~config->mask.s_addr);
}

static int check_in_net(const struct user_config *config, const char *key, struct in_addr addr,
			struct vdpa_extack *ack)
{
	char text[INET_ADDRSTRLEN], net[INET_ADDRSTRLEN];

	if (in_net(config, addr))
		return 0;
	inet_ntop(AF_INET, &addr, text, sizeof(text));
	inet_ntop(AF_INET, &config->net, net, sizeof(net));
	return vdpa_extack_set(ack, -EINVAL, "'%s' %s is not the address of a host in 'net' %s/%d",
			       key, text, net, __builtin_popcount(config->mask.s_addr));
}

static int parse_host(const struct vdpa_attrs *attrs, const char *key, uint32_t offset,
		      const struct user_config *config, struct in_addr *ret,
		      struct vdpa_extack *ack)
{
	const char *text = vdpa_attrs_str(attrs, key, NULL);

	ret->s_addr = config->net.s_addr | htonl(offset);
	if (text && inet_pton(AF_INET, text, ret) != 1)
		return vdpa_extack_set(ack, -EINVAL,
				       "'%s' must be an IPv4 address, such as 10.0.2.%u, not "
				       "'%.40s'",
				       key, offset, text);
	return check_in_net(config, key, *ret, ack);
}

static int parse_hosts(const struct vdpa_attrs *attrs, struct user_config *config,
		       struct vdpa_extack *ack)
{
	int err = parse_host(attrs, "host", HOST_OFFSET, config, &config->host, ack);

	if (!err)
		err = parse_host(attrs, "dns", DNS_OFFSET, config, &config->dns, ack);
	if (!err)
		err = parse_host(attrs, "dhcpstart", DHCP_OFFSET, config, &config->dhcpstart, ack);
	if (err)
		return err;
	if (config->host.s_addr == config->dns.s_addr ||
	    config->host.s_addr == config->dhcpstart.s_addr ||
	    config->dns.s_addr == config->dhcpstart.s_addr)
		return vdpa_extack_set(ack, -EINVAL,
				       "'host', 'dns' and 'dhcpstart' must be three addresses");
	return 0;
}

static int parse_hostname(const char *text, struct user_config *config, struct vdpa_extack *ack)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.";
	size_t len = strlen(text);

	if (!len || len >= sizeof(config->hostname) || strspn(text, allowed) != len)
		return vdpa_extack_set(ack, -EINVAL,
				       "'hostname' must be up to %zu letters, digits, '-' and '.', "
				       "not '%.40s'",
				       sizeof(config->hostname) - 1, text);
	memcpy(config->hostname, text, len + 1);
	return 0;
}

static int parse_ports(const char *text, struct user_config *config, struct vdpa_extack *ack)
{
	struct hostfwd_list *list = &config->hostfwd;
	int err = hostfwd_parse(text, list, ack);

	for (unsigned int i = 0; !err && i < list->num; i++) {
		struct hostfwd *fwd = &list->list[i];

		if (fwd->guest.s_addr == INADDR_ANY)
			fwd->guest = config->dhcpstart;
		err = check_in_net(config, "hostfwd", fwd->guest, ack);
	}
	return err;
}

static int parse_config(const struct vdpa_attrs *attrs, struct user_config *config,
			struct vdpa_extack *ack)
{
	const char *hostname = vdpa_attrs_str(attrs, "hostname", NULL);
	const char *ports = vdpa_attrs_str(attrs, "hostfwd", NULL);
	int err = parse_net(vdpa_attrs_str(attrs, "net", "10.0.2.0/24"), config, ack);

	if (!err)
		err = parse_hosts(attrs, config, ack);
	if (!err && hostname)
		err = parse_hostname(hostname, config, ack);
	if (!err && ports)
		err = parse_ports(ports, config, ack);
	config->restricted = vdpa_attrs_bool(attrs, "restrict", false);
	config->ipv6 = vdpa_attrs_bool(attrs, "ipv6", true);
	return err;
}

/* ---- queues */

static int user_tx_attach(struct net_backend *net, uint16_t pair, struct worker *worker,
			  struct net_queue **ret, struct vdpa_extack *ack)
{
	*ret = &to_user(net)->tx;
	return 0;
}

static void user_tx_detach(struct net_queue *queue)
{
}

static int user_rx_attach(struct net_backend *net, uint16_t pair, struct worker *worker,
			  struct net_sink *sink, struct net_queue **ret, struct vdpa_extack *ack)
{
	struct user *user = to_user(net);

	pthread_mutex_lock(&user->lock);
	user->sink = sink;
	pthread_mutex_unlock(&user->lock);
	*ret = &user->rx;
	/* What was left when the queue ran elsewhere. */
	if (frames_used(user->to_guest))
		sink->ops->wake(sink);
	return 0;
}

static void user_rx_detach(struct net_queue *queue)
{
	struct user *user = to_user(queue->net);

	pthread_mutex_lock(&user->lock);
	user->sink = NULL;
	pthread_mutex_unlock(&user->lock);
}

static int user_send(struct net_queue *queue, const struct net_pkt *pkt)
{
	struct user *user = to_user(queue->net);
	void *room;

	if (pkt->len < NET_ETH_LEN || pkt->len > NET_FRAME_MAX)
		return -EMSGSIZE;
	room = frames_room(user->from_guest, pkt->len);
	if (!room) {
		counter_add(&user->full, 1);
		return -ENOBUFS;
	}
	net_pkt_peek(pkt, room, pkt->len);
	if (frames_put(user->from_guest))
		user->kick = true;
	return 0;
}

static void user_flush(struct net_queue *queue)
{
	struct user *user = to_user(queue->net);

	if (!user->kick)
		return;
	user->kick = false;
	user_wake(user);
}

static unsigned int deliver(struct user *user, unsigned int budget)
{
	struct net_pkt pkt = {0};
	unsigned int num;

	for (num = 0; num < budget; num++) {
		pkt.head = frames_first(user->to_guest, &pkt.len);
		pkt.head_len = pkt.len;
		if (!pkt.head || user->sink->ops->deliver(user->sink, &pkt) == -ENOBUFS)
			break;
		frames_drop_first(user->to_guest);
	}
	return num;
}

static unsigned int user_recv(struct net_queue *queue, unsigned int budget)
{
	struct user *user = to_user(queue->net);
	unsigned int num = deliver(user, budget);
	uint64_t lost;

	if (__atomic_load_n(&user->lost, __ATOMIC_RELAXED)) {
		lost = __atomic_exchange_n(&user->lost, 0, __ATOMIC_RELAXED);
		user->sink->ops->drop(user->sink, lost < UINT32_MAX ? (uint32_t)lost : UINT32_MAX);
	}
	if (__atomic_load_n(&user->held, __ATOMIC_SEQ_CST) &&
	    frames_used(user->to_guest) <= USER_LOW) {
		__atomic_store_n(&user->held, false, __ATOMIC_SEQ_CST);
		user_wake(user);
	}
	return num;
}

/* ---- life */

static void user_close(struct net_backend *net)
{
	struct user *user = to_user(net);

	user_stop(user);
	if (user->event >= 0)
		close(user->event);
	frames_free(user->from_guest);
	frames_free(user->to_guest);
	pthread_mutex_destroy(&user->lock);
	free(user->fds);
	free(user->name);
	free(user);
}

static void show_address(struct vdpa_info *info, const char *key, struct in_addr addr)
{
	char text[INET_ADDRSTRLEN];

	vdpa_info_str(info, key, inet_ntop(AF_INET, &addr, text, sizeof(text)));
}

static void show_ports(struct vdpa_info *info, const struct hostfwd_list *list)
{
	char text[HOSTFWD_TEXT];

	if (!list->num)
		return;
	vdpa_info_open_list(info, "hostfwd");
	for (unsigned int i = 0; i < list->num; i++) {
		hostfwd_format(&list->list[i], text);
		vdpa_info_str(info, NULL, text);
	}
	vdpa_info_close(info);
}

static void user_show(struct net_backend *net, struct vdpa_info *info)
{
	struct user *user = to_user(net);
	const struct user_config *config = &user->config;
	char text[INET_ADDRSTRLEN];

	vdpa_info_fmt(info, "net", "%s/%d", inet_ntop(AF_INET, &config->net, text, sizeof(text)),
		      __builtin_popcount(config->mask.s_addr));
	show_address(info, "host", config->host);
	show_address(info, "dns", config->dns);
	show_address(info, "dhcpstart", config->dhcpstart);
	vdpa_info_bool(info, "restrict", config->restricted);
	vdpa_info_bool(info, "ipv6", config->ipv6);
	show_ports(info, &config->hostfwd);
	vdpa_info_u64(info, "sockets", __atomic_load_n(&user->sockets, __ATOMIC_RELAXED));
	vdpa_info_u64(info, "refused", __atomic_load_n(&user->refused, __ATOMIC_RELAXED));
	vdpa_info_u64(info, "overruns", __atomic_load_n(&user->full, __ATOMIC_RELAXED));
}

static const struct net_backend_ops user_ops = {
	.name = "user",
	.close = user_close,
	.show = user_show,
	.tx_attach = user_tx_attach,
	.tx_detach = user_tx_detach,
	.rx_attach = user_rx_attach,
	.rx_detach = user_rx_detach,
	.send = user_send,
	.flush = user_flush,
	.recv = user_recv,
};

static int user_init(struct user *user, const struct net_open *open, struct vdpa_extack *ack)
{
	int err = parse_config(open->attrs, &user->config, ack);

	if (err)
		return err;
	user->name = strdup(open->name);
	user->from_guest = frames_alloc(USER_RING);
	user->to_guest = frames_alloc(USER_RING);
	if (!user->name || !user->from_guest || !user->to_guest)
		return -ENOMEM;
	user->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (user->event < 0)
		return -errno;
	return user_start(user, ack);
}

int net_user_open(const struct net_open *open, struct net_backend **ret, struct vdpa_extack *ack)
{
	struct user *user = calloc(1, sizeof(*user));
	int err;

	if (!user)
		return -ENOMEM;
	user->net = (struct net_backend){.ops = &user_ops, .max_pairs = 1};
	user->tx.net = user->rx.net = &user->net;
	user->bus = open->bus;
	user->event = -1;
	pthread_mutex_init(&user->lock, NULL);
	err = user_init(user, open, ack);
	if (err) {
		user_close(&user->net);
		return err;
	}
	*ret = &user->net;
	return 0;
}
