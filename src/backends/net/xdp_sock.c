/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libxdp and libbpf print through one function of the process each.  So only one thread is in them
 * at a time, under xdp_lock, which only lanes take: it also keeps two devices from looking for the
 * program of an interface, and attaching one, at once.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <xdp/libxdp.h>

#include "backends/net/xdp_sock.h"
#include "base/defs.h"
#include "vdpa/bus.h"

#define AREA_BYTES   ((size_t)(XDP_RX + XDP_TX) * XDP_BUF)
#define BUSY_MS      1000
#define BUSY_STEP_MS 20

static pthread_mutex_t xdp_lock = PTHREAD_MUTEX_INITIALIZER;
/* Of xdp_lock: who is in there, and what printed before. */
static const struct xdp_config *inside;
static libxdp_print_fn_t old_xdp_print;
static libbpf_print_fn_t old_bpf_print;

/* ---- messages */

/* What went wrong is in the error that is returned: this is for who wants to know more. */
static void __attribute__((format(printf, 1, 0))) log_text(const char *fmt, va_list ap)
{
	char text[256];

	vsnprintf(text, sizeof(text), fmt, ap);
	text[strcspn(text, "\n")] = '\0';
	vdpa_log(inside->bus, NULL, VDPA_LOG_DEBUG, "%s: %s", inside->device, text);
}

static int __attribute__((format(printf, 2, 0)))
on_xdp_print(enum libxdp_print_level level, const char *fmt, va_list ap)
{
	if (level <= LIBXDP_INFO)
		log_text(fmt, ap);
	return 0;
}

static int __attribute__((format(printf, 2, 0)))
on_bpf_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (level <= LIBBPF_INFO)
		log_text(fmt, ap);
	return 0;
}

static void enter(const struct xdp_config *cfg)
{
	pthread_mutex_lock(&xdp_lock);
	inside = cfg;
	old_xdp_print = libxdp_set_print(on_xdp_print);
	old_bpf_print = libbpf_set_print(on_bpf_print);
}

static void leave(void)
{
	libxdp_set_print(old_xdp_print);
	libbpf_set_print(old_bpf_print);
	inside = NULL;
	pthread_mutex_unlock(&xdp_lock);
}

/* ---- reasons */

static int refuse_umem(int err, struct vdpa_extack *ack)
{
	struct rlimit limit;

	if (err == -ENOBUFS && !getrlimit(RLIMIT_MEMLOCK, &limit))
		return vdpa_extack_set(ack, err,
				       "frames need %zuK of memory that is locked, and the limit "
				       "(RLIMIT_MEMLOCK) is %lluK; raise it, or give CAP_IPC_LOCK",
				       AREA_BYTES >> 10, (unsigned long long)limit.rlim_cur >> 10);
	if (err == -EPERM)
		return vdpa_extack_set(ack, err, "AF_XDP needs CAP_NET_RAW");
	if (err == -EAFNOSUPPORT)
		return vdpa_extack_set(ack, err, "this kernel has no AF_XDP (CONFIG_XDP_SOCKETS)");
	return vdpa_extack_set(ack, err, "cannot set up AF_XDP: %s", strerrordesc_np(-err));
}

static int refuse_bind(const struct xdp_config *cfg, uint32_t queue, int err,
		       struct vdpa_extack *ack)
{
	const char *mode = cfg->native ? "native" : "skb";

	switch (err) {
	case -EPERM:
		return vdpa_extack_set(ack, err,
				       "to attach a program to '%s' needs CAP_NET_ADMIN and "
				       "CAP_BPF, or root",
				       cfg->ifname);
	case -EBUSY:
		return vdpa_extack_set(ack, err,
				       "queue %u of '%s' is in use, or another XDP program is "
				       "(ip link set %s xdp off)",
				       queue, cfg->ifname, cfg->ifname);
	case -EINVAL:
		return vdpa_extack_set(ack, err, "'%s' has no queue %u for AF_XDP in mode %s",
				       cfg->ifname, queue, mode);
	case -EOPNOTSUPP:
		if (cfg->zerocopy == XDP_YES)
			return vdpa_extack_set(ack, err,
					       "'%s' cannot use our memory in mode %s: "
					       "'zerocopy off'",
					       cfg->ifname, mode);
		break;
	default:
		break;
	}
	return vdpa_extack_set(ack, err, "cannot attach to queue %u of '%s' in mode %s: %s", queue,
			       cfg->ifname, mode, strerrordesc_np(-err));
}

/* ---- open and close */

static int make_umem(struct xdp_sock *sock, struct vdpa_extack *ack)
{
	struct xsk_umem_config cfg = {
		.fill_size = XDP_RX,
		.comp_size = XDP_TX,
		.frame_size = XDP_BUF,
	};
	int err;

	sock->area =
		mmap(NULL, AREA_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (sock->area == MAP_FAILED) {
		sock->area = NULL;
		return -ENOMEM;
	}
	err = xsk_umem__create(&sock->umem, sock->area, AREA_BYTES, &sock->fill, &sock->comp, &cfg);
	if (err)
		return refuse_umem(err, ack);
	/* The socket, which libxdp lets programs that are executed have. */
	fcntl(xsk_umem__fd(sock->umem), F_SETFD, FD_CLOEXEC);
	return 0;
}

static int make_socket(const struct xdp_config *cfg, uint32_t queue, struct xdp_sock *sock,
		       struct vdpa_extack *ack)
{
	struct xsk_socket_config xsk = {
		.rx_size = XDP_RX,
		.tx_size = XDP_TX,
		.xdp_flags = cfg->native ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE,
		.bind_flags = XDP_USE_NEED_WAKEUP,
	};
	int err;

	if (cfg->zerocopy != XDP_AUTO)
		xsk.bind_flags |= cfg->zerocopy == XDP_YES ? XDP_ZEROCOPY : XDP_COPY;
	err = xsk_socket__create(&sock->xsk, cfg->ifname, queue, sock->umem, &sock->rx, &sock->tx,
				 &xsk);
	return err ? refuse_bind(cfg, queue, err, ack) : 0;
}

static void give_buffers(struct xdp_sock *sock)
{
	uint32_t first = 0;

	xsk_ring_prod__reserve(&sock->fill, XDP_RX, &first);
	for (uint32_t i = 0; i < XDP_RX; i++)
		*xsk_ring_prod__fill_addr(&sock->fill, first + i) = (uint64_t)i * XDP_BUF;
	xsk_ring_prod__submit(&sock->fill, XDP_RX);
}

static void look_at_options(struct xdp_sock *sock)
{
	struct xdp_options options = {0};
	socklen_t len = sizeof(options);

	if (!getsockopt(xdp_sock_fd(sock), SOL_XDP, XDP_OPTIONS, &options, &len))
		sock->zerocopy = options.flags & XDP_OPTIONS_ZEROCOPY;
}

static void close_inside(struct xdp_sock *sock)
{
	xsk_socket__delete(sock->xsk);
	xsk_umem__delete(sock->umem);
	if (sock->area)
		munmap(sock->area, AREA_BYTES);
	*sock = (struct xdp_sock){0};
}

static int open_once(const struct xdp_config *cfg, uint32_t queue, struct xdp_sock *sock,
		     struct vdpa_extack *ack)
{
	int err;

	*sock = (struct xdp_sock){0};
	enter(cfg);
	err = make_umem(sock, ack);
	if (!err)
		err = make_socket(cfg, queue, sock, ack);
	if (err)
		close_inside(sock);
	leave();
	return err;
}

/* The kernel lets go of a queue some time after the socket was closed, and does not say when. */
static int open_patiently(const struct xdp_config *cfg, uint32_t queue, struct xdp_sock *sock,
			  struct vdpa_extack *ack)
{
	struct vdpa_extack last = {0};
	int err = open_once(cfg, queue, sock, &last);

	for (unsigned int ms = 0; err == -EBUSY && ms < BUSY_MS; ms += BUSY_STEP_MS) {
		nanosleep(&(struct timespec){.tv_nsec = BUSY_STEP_MS * 1000000}, NULL);
		last = (struct vdpa_extack){0};
		err = open_once(cfg, queue, sock, &last);
	}
	return err ? vdpa_extack_set(ack, err, "%s", vdpa_extack_text(&last, err)) : 0;
}

int xdp_sock_open(const struct xdp_config *cfg, uint32_t queue, struct xdp_sock *sock,
		  struct vdpa_extack *ack)
{
	int err = open_patiently(cfg, queue, sock, ack);

	if (err)
		return err;
	give_buffers(sock);
	look_at_options(sock);
	return 0;
}

void xdp_sock_close(const struct xdp_config *cfg, struct xdp_sock *sock)
{
	if (!sock->xsk)
		return;
	enter(cfg);
	close_inside(sock);
	leave();
}

int xdp_sock_fd(const struct xdp_sock *sock)
{
	return xsk_socket__fd(sock->xsk);
}

uint64_t xdp_sock_dropped(const struct xdp_sock *sock)
{
	struct xdp_statistics stats = {0};
	socklen_t len = sizeof(stats);

	if (getsockopt(xdp_sock_fd(sock), SOL_XDP, XDP_STATISTICS, &stats, &len))
		return 0;
	return stats.rx_dropped + stats.rx_ring_full;
}
