/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each frame is copied once, between the guest's memory and a buffer that we share with the kernel.
 * One that the guest has no room for stays in the receive ring, and the kernel drops what comes
 * when that is full.
 */
#include <errno.h>
#include <inttypes.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "backends/net/xdp.h"
#include "backends/net/xdp_sock.h"
#include "base/defs.h"
#include "loop/worker.h"
#include "vdpa/bus.h"

#define VLAN_LEN  4
#define MTU_MAX   (XDP_FRAME_MAX - NET_ETH_LEN - VLAN_LEN)
#define BATCH     64 /* frames that are given back at once */
#define RETRY_NS  1000000
#define KICKS_MAX (XDP_TX / 16) /* the kernel sends 32 frames each time, or fewer */

struct xdp_pair {
	struct xdp_sock sock;

	struct net_queue tx;
	struct loop *loop;       /* of the worker that has tx */
	struct loop_timer retry; /* frames that the interface had no room for */
	uint64_t idle[XDP_TX];   /* buffers that hold no frame */
	uint32_t num_idle;
	bool gathered; /* the kernel has to be kicked at the end of the burst */
	bool gone;     /* the interface; somebody has been told */

	struct net_queue rx;
	struct net_sink *sink;
	struct loop_watch watch;
};

struct xdp {
	struct net_backend net;
	struct vdpa_bus *bus;
	char *name;
	char ifname[IF_NAMESIZE];
	uint32_t first; /* queue of the interface */
	struct xdp_config config;
	struct xdp_pair pairs[]; /* net.max_pairs */
};

static struct xdp *to_xdp(struct net_backend *net)
{
	return container_of(net, struct xdp, net);
}

/* ---- frames of the guest's */

/* Take back the buffers of frames that have been sent. */
static void reap(struct xdp_pair *pair)
{
	struct xsk_ring_cons *comp = &pair->sock.comp;
	uint32_t first, num = xsk_ring_cons__peek(comp, XDP_TX, &first);

	for (uint32_t i = 0; i < num; i++)
		pair->idle[pair->num_idle++] = *xsk_ring_cons__comp_addr(comp, first + i);
	if (num)
		xsk_ring_cons__release(comp, num);
}

static uint32_t num_waiting(const struct xdp_pair *pair)
{
	const struct xsk_ring_prod *tx = &pair->sock.tx;

	return *tx->producer - __atomic_load_n(tx->consumer, __ATOMIC_ACQUIRE);
}

/* The kernel tells who sends, and nobody else. */
static void check_gone(struct xdp_pair *pair, int err)
{
	struct xdp *xdp = to_xdp(pair->tx.net);

	if (err != ENXIO || pair->gone)
		return;
	pair->gone = true;
	vdpa_log(xdp->bus, NULL, VDPA_LOG_WARN, "%s: the interface '%s' is gone", xdp->name,
		 xdp->ifname);
}

/* Have the kernel send what is in the ring, if it waits to be asked. */
static void kick(struct xdp_pair *pair)
{
	int fd = xdp_sock_fd(&pair->sock);

	for (unsigned int i = 0; i < KICKS_MAX; i++) {
		uint32_t before = num_waiting(pair);

		if (!before || !xsk_ring_prod__needs_wakeup(&pair->sock.tx))
			return;
		if (!sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0))
			return;
		/* It is down, or gone: until the guest sends more there is no use in asking. */
		if (errno != EAGAIN && errno != EBUSY && errno != ENOBUFS) {
			check_gone(pair, errno);
			return;
		}
		if (num_waiting(pair) == before)
			break;
	}
	loop_timer_set(pair->loop, &pair->retry, RETRY_NS);
}

static void retry(struct loop_timer *timer)
{
	kick(container_of(timer, struct xdp_pair, retry));
}

static int xdp_tx_attach(struct net_backend *net, uint16_t idx, struct worker *worker,
			 struct net_queue **ret, struct vdpa_extack *ack)
{
	struct xdp_pair *pair = &to_xdp(net)->pairs[idx];

	pair->loop = worker_loop(worker);
	pair->retry = (struct loop_timer){.fn = retry};
	*ret = &pair->tx;
	/* What was left when the queue ran elsewhere. */
	kick(pair);
	return 0;
}

static void xdp_tx_detach(struct net_queue *queue)
{
	loop_timer_cancel(&container_of(queue, struct xdp_pair, tx)->retry);
}

static int xdp_send(struct net_queue *queue, const struct net_pkt *pkt)
{
	struct xdp_pair *pair = container_of(queue, struct xdp_pair, tx);
	struct xsk_ring_prod *tx = &pair->sock.tx;
	uint32_t slot;
	uint64_t buf;

	if (pkt->len < NET_ETH_LEN || pkt->len > queue->net->mtu + NET_ETH_LEN + VLAN_LEN)
		return -EMSGSIZE;
	if (!pair->num_idle)
		reap(pair);
	/* A kick, too, if there is no room: the interface may be up again. */
	pair->gathered = true;
	/* The ring has room for all buffers that there are. */
	if (!pair->num_idle || !xsk_ring_prod__reserve(tx, 1, &slot))
		return -ENOBUFS;
	buf = pair->idle[--pair->num_idle];
	net_pkt_peek(pkt, pair->sock.area + buf, pkt->len);
	*xsk_ring_prod__tx_desc(tx, slot) = (struct xdp_desc){.addr = buf, .len = pkt->len};
	xsk_ring_prod__submit(tx, 1);
	return 0;
}

static void xdp_flush(struct net_queue *queue)
{
	struct xdp_pair *pair = container_of(queue, struct xdp_pair, tx);

	if (!pair->gathered)
		return;
	pair->gathered = false;
	kick(pair);
}

/* ---- frames of the interface's */

static void xdp_readable(struct loop_watch *watch, uint32_t events)
{
	struct xdp_pair *pair = container_of(watch, struct xdp_pair, watch);

	pair->sink->ops->wake(pair->sink);
}

static int xdp_rx_attach(struct net_backend *net, uint16_t idx, struct worker *worker,
			 struct net_sink *sink, struct net_queue **ret, struct vdpa_extack *ack)
{
	struct xdp_pair *pair = &to_xdp(net)->pairs[idx];
	int err;

	pair->sink = sink;
	pair->watch = LOOP_WATCH_INIT(xdp_readable);
	/* Edges: what waits for room in the guest shall not keep the worker awake. */
	err = loop_watch_add(worker_loop(worker), &pair->watch, xdp_sock_fd(&pair->sock),
			     EPOLLIN | EPOLLET);
	if (err)
		return vdpa_extack_set(ack, err, "cannot watch the AF_XDP socket");
	*ret = &pair->rx;
	return 0;
}

static void xdp_rx_detach(struct net_queue *queue)
{
	loop_watch_del(&container_of(queue, struct xdp_pair, rx)->watch);
}

/* Deliver frames of the receive ring.  Returns how many were taken, with their buffers in `bufs`.
 */
static uint32_t deliver(struct xdp_pair *pair, uint32_t max, uint64_t bufs[BATCH])
{
	struct xsk_ring_cons *rx = &pair->sock.rx;
	uint32_t first, num = xsk_ring_cons__peek(rx, max, &first), done;

	for (done = 0; done < num; done++) {
		const struct xdp_desc *desc = xsk_ring_cons__rx_desc(rx, first + done);
		/* Ours until it is given back, so nobody changes it. */
		struct net_pkt pkt = {
			.head = pair->sock.area + desc->addr,
			.head_len = desc->len,
			.len = desc->len,
		};

		if (pair->sink->ops->deliver(pair->sink, &pkt) == -ENOBUFS)
			break;
		bufs[done] = desc->addr & ~(uint64_t)(XDP_BUF - 1);
	}
	xsk_ring_cons__cancel(rx, num - done);
	if (done)
		xsk_ring_cons__release(rx, done);
	return done;
}

static void give_back(struct xdp_pair *pair, const uint64_t *bufs, uint32_t num)
{
	struct xsk_ring_prod *fill = &pair->sock.fill;
	uint32_t first;

	/* It has room for all buffers that there are. */
	if (!num || !xsk_ring_prod__reserve(fill, num, &first))
		return;
	for (uint32_t i = 0; i < num; i++)
		*xsk_ring_prod__fill_addr(fill, first + i) = bufs[i];
	xsk_ring_prod__submit(fill, num);
	if (xsk_ring_prod__needs_wakeup(fill))
		(void)!recvfrom(xdp_sock_fd(&pair->sock), NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

static unsigned int xdp_recv(struct net_queue *queue, unsigned int budget)
{
	struct xdp_pair *pair = container_of(queue, struct xdp_pair, rx);
	unsigned int total = 0, wanted, num;
	uint64_t bufs[BATCH];

	do {
		wanted = budget - total < BATCH ? budget - total : BATCH;
		num = deliver(pair, wanted, bufs);
		give_back(pair, bufs, num);
		total += num;
	} while (num == BATCH && total < budget);
	return total;
}

/* ---- the whole */

static void close_socks(struct xdp *xdp)
{
	for (uint16_t i = 0; i < xdp->net.max_pairs; i++)
		xdp_sock_close(&xdp->config, &xdp->pairs[i].sock);
}

static int open_socks(struct xdp *xdp, struct vdpa_extack *ack)
{
	int err = 0;

	for (uint16_t i = 0; !err && i < xdp->net.max_pairs; i++)
		err = xdp_sock_open(&xdp->config, xdp->first + i, &xdp->pairs[i].sock, ack);
	if (err)
		close_socks(xdp);
	return err;
}

/* The driver of the interface, or what the kernel has for those whose drivers cannot. */
static int open_best(struct xdp *xdp, const struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	bool any = !vdpa_attrs_has(attrs, "xdp-mode");
	struct vdpa_extack native = {0};
	int err;

	if (vdpa_attrs_has(attrs, "zerocopy"))
		xdp->config.zerocopy = vdpa_attrs_bool(attrs, "zerocopy", false) ? XDP_YES : XDP_NO;
	xdp->config.native = any || vdpa_attrs_u64(attrs, "xdp-mode", 0) == 0;
	err = open_socks(xdp, any ? &native : ack);
	if (!err || !any)
		return err;
	/* A right or a limit that is missing here will be there, too. */
	if (err == -EPERM || err == -ENOBUFS || err == -ENOMEM || err == -EBUSY)
		return vdpa_extack_set(ack, err, "%s", vdpa_extack_text(&native, err));
	xdp->config.native = false;
	return open_socks(xdp, ack);
}

static int ask(int fd, unsigned long request, const char *ifname, struct ifreq *ifr)
{
	*ifr = (struct ifreq){0};
	memcpy(ifr->ifr_name, ifname, strlen(ifname) + 1);
	return ioctl(fd, request, ifr) ? -errno : 0;
}

static int look_at_interface(struct xdp *xdp, struct vdpa_extack *ack)
{
	int fd vdpa_cleanup(fd_closep) = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr;
	int err;

	if (fd < 0)
		return -errno;
	err = ask(fd, SIOCGIFMTU, xdp->ifname, &ifr);
	if (!err)
		xdp->net.mtu = (uint32_t)ifr.ifr_mtu;
	if (!err)
		err = ask(fd, SIOCGIFHWADDR, xdp->ifname, &ifr);
	if (err)
		return vdpa_extack_set(ack, err, "cannot look at the interface '%s': %s",
				       xdp->ifname, strerrordesc_np(-err));
	memcpy(xdp->net.mac, ifr.ifr_hwaddr.sa_data, NET_MAC_LEN);
	if (xdp->net.mtu > MTU_MAX)
		return vdpa_extack_set(ack, -EINVAL,
				       "the MTU of '%s' is %u, and af_xdp has %u at most: ip link "
				       "set %s mtu %u",
				       xdp->ifname, xdp->net.mtu, MTU_MAX, xdp->ifname, MTU_MAX);
	return 0;
}

static void xdp_show(struct net_backend *net, struct vdpa_info *info)
{
	struct xdp *xdp = to_xdp(net);
	uint64_t dropped = 0;

	for (uint16_t i = 0; i < net->max_pairs; i++)
		dropped += xdp_sock_dropped(&xdp->pairs[i].sock);
	vdpa_info_str(info, "ifname", xdp->ifname);
	vdpa_info_u64(info, "xdp-queue", xdp->first);
	vdpa_info_str(info, "xdp-mode", net_xdp_modes[xdp->config.native ? 0 : 1]);
	vdpa_info_bool(info, "zerocopy", xdp->pairs[0].sock.zerocopy);
	vdpa_info_u64(info, "overruns", dropped);
}

static void xdp_close(struct net_backend *net)
{
	struct xdp *xdp = to_xdp(net);

	close_socks(xdp);
	free(xdp->name);
	free(xdp);
}

static const struct net_backend_ops xdp_ops = {
	.name = "af_xdp",
	.close = xdp_close,
	.show = xdp_show,
	.tx_attach = xdp_tx_attach,
	.tx_detach = xdp_tx_detach,
	.rx_attach = xdp_rx_attach,
	.rx_detach = xdp_rx_detach,
	.send = xdp_send,
	.flush = xdp_flush,
	.recv = xdp_recv,
};

static void init_pair(struct xdp *xdp, struct xdp_pair *pair)
{
	pair->tx.net = pair->rx.net = &xdp->net;
	for (pair->num_idle = 0; pair->num_idle < XDP_TX; pair->num_idle++)
		pair->idle[pair->num_idle] = (uint64_t)(XDP_RX + pair->num_idle) * XDP_BUF;
}

static int xdp_init(struct xdp *xdp, const struct net_open *open, struct vdpa_extack *ack)
{
	const char *ifname = vdpa_attrs_str(open->attrs, "ifname", "");
	int err;

	if (!*ifname)
		return vdpa_extack_set(ack, -EINVAL,
				       "'ifname' is missing: the interface of this host, such as "
				       "'ifname eth1'");
	if (strlen(ifname) >= sizeof(xdp->ifname) || !if_nametoindex(ifname))
		return vdpa_extack_set(ack, -ENODEV, "there is no interface '%.40s'", ifname);
	memcpy(xdp->ifname, ifname, strlen(ifname) + 1);
	xdp->name = strdup(open->name);
	if (!xdp->name)
		return -ENOMEM;
	xdp->config = (struct xdp_config){
		.bus = open->bus,
		.device = xdp->name,
		.ifname = xdp->ifname,
	};
	xdp->first = (uint32_t)vdpa_attrs_u64(open->attrs, "xdp-queue", 0);
	err = look_at_interface(xdp, ack);
	return err ? err : open_best(xdp, open->attrs, ack);
}

int net_xdp_open(const struct net_open *open, struct net_backend **ret, struct vdpa_extack *ack)
{
	struct xdp *xdp = calloc(1, sizeof(*xdp) + open->pairs * sizeof(xdp->pairs[0]));
	int err;

	if (!xdp)
		return -ENOMEM;
	xdp->net = (struct net_backend){.ops = &xdp_ops, .max_pairs = open->pairs};
	xdp->bus = open->bus;
	for (uint16_t i = 0; i < open->pairs; i++)
		init_pair(xdp, &xdp->pairs[i]);
	err = xdp_init(xdp, open, ack);
	if (err) {
		xdp_close(&xdp->net);
		return err;
	}
	*ret = &xdp->net;
	return 0;
}
