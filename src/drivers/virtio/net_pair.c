/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The thread of a pair reads from the TAP into buffers of the device, and writes to it out of them:
 * nothing else is copied.  It sleeps when both sides have nothing, and is woken by edges, so its
 * descriptors need not be read: a frame costs its read or write, a batch a kick or less.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/defs.h"
#include "base/thread.h"
#include "drivers/virtio/net_if.h"

#define BATCH         32u  /* frames in one direction, before the other has its turn */
#define DRAIN_WAIT_MS 1000 /* for the device to take what this host has sent */

static bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

/* ---- frames of the device */

static void write_frame(struct net_pair *pair)
{
	const struct net_rx *rx = &pair->rx;

	if (rx->bytes <= NET_HDR_LEN + NET_FRAME_MAX &&
	    writev(pair->tap, rx->iov, (int)rx->pieces) >= 0)
		return;
	/* What the kernel does not like of it, or has no room for, is the kernel's to say: the
	 * interface counts it, too. */
	counter_add(&pair->dropped, 1);
}

/* Returns true when there may be more. */
static bool receive(struct net_pair *pair)
{
	unsigned int num = 0;

	while (num < BATCH && net_rx_next(&pair->rx)) {
		write_frame(pair);
		net_rx_release(&pair->rx);
		num++;
	}
	if (pair->rx.broken)
		net_if_fail(pair->net, pair->rx.broken);
	else if (num)
		virtio_queue_publish(pair->rxq);
	return num == BATCH;
}

/* ---- frames of this host */

static void reclaim(struct net_pair *pair)
{
	uint8_t *slot;
	uint32_t len;

	while ((slot = vdpa_drvq_get(pair->txq->ring, &len)))
		pair->free[pair->nfree++] = slot;
	if (vdpa_drvq_broken(pair->txq->ring))
		net_if_fail(pair->net, vdpa_drvq_broken(pair->txq->ring));
}

/* Returns false when the TAP has no frame. */
static bool send_frame(struct net_pair *pair)
{
	uint8_t *slot = pair->free[pair->nfree - 1];
	struct virtio_net_hdr_v1 *hdr = (void *)slot;
	ssize_t len = read(pair->tap, slot, NET_SLOT_BYTES);
	struct vdpa_drvq_sg sg;

	if (len < (ssize_t)(NET_HDR_LEN + NET_ETH_LEN)) {
		if (len < 0 && errno != EAGAIN && errno != EINTR)
			net_if_fail(pair->net, "the interface is gone");
		return false;
	}
	/* What the kernel knows of checksums that are right is not for a device.  @spec virtio 1.3,
	 * 5.1.6.2.1 */
	hdr->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr->num_buffers = 0;
	sg = (struct vdpa_drvq_sg){virtio_iova(pair->net->dev, slot), (uint32_t)len};
	/* It has room: there are no more slots than entries. */
	if (!vdpa_drvq_add(pair->txq->ring, &sg, 1, 0, slot))
		pair->nfree--;
	return true;
}

/* Returns true when there may be more. */
static bool transmit(struct net_pair *pair)
{
	unsigned int num = 0;

	reclaim(pair);
	while (pair->readable && pair->nfree && num < BATCH) {
		pair->readable = send_frame(pair);
		num++;
	}
	if (num)
		virtio_queue_publish(pair->txq);
	return pair->readable && pair->nfree;
}

/* ---- the thread */

/*
 * Ask to be called.  The device says when it has taken frames only where somebody waits for that.
 * Returns true when something came in meanwhile.
 */
static bool arm(struct net_pair *pair)
{
	bool more = vdpa_drvq_enable_call(pair->rxq->ring);

	if (pair->nfree < pair->slots && (pair->readable || is_set(&pair->drain)))
		more |= vdpa_drvq_enable_call(pair->txq->ring);
	return more;
}

static void tell_when_drained(struct net_pair *pair)
{
	if (is_set(&pair->drain) && !pair->readable && pair->nfree == pair->slots)
		eventfd_write(pair->idle, 1);
}

static void wait_for_work(struct net_pair *pair)
{
	struct epoll_event events[4];
	int num = epoll_wait(pair->epoll, events, ARRAY_SIZE(events), -1);

	for (int i = 0; i < num; i++)
		if (events[i].data.fd == pair->tap)
			pair->readable = true;
	vdpa_drvq_disable_call(pair->rxq->ring);
	vdpa_drvq_disable_call(pair->txq->ring);
}

static void *pair_thread(void *arg)
{
	struct net_pair *pair = arg;

	while (!is_set(&pair->stop)) {
		bool more = false;

		if (!is_set(&pair->net->failed)) {
			more = receive(pair);
			more |= transmit(pair);
			more = more || arm(pair);
		}
		if (more)
			continue;
		tell_when_drained(pair);
		wait_for_work(pair);
	}
	return NULL;
}

/* ---- start and stop; lane */

void net_pair_init(struct net_pair *pair, struct net_if *net, uint32_t rx_num, uint32_t tx_num)
{
	pair->net = net;
	pair->epoll = pair->wake = pair->idle = -1;
	pair->rx.mergeable = net_has(net, VIRTIO_NET_F_MRG_RXBUF);
	pair->rx.num = rx_num < NET_RX_MAX ? rx_num : NET_RX_MAX;
	pair->rx.buf_bytes = pair->rx.mergeable ? NET_PIECE : NET_SLOT_BYTES;
	pair->slots = tx_num < NET_TX_SLOTS ? tx_num : NET_TX_SLOTS;
}

size_t net_pair_bytes(const struct net_pair *pair)
{
	return (size_t)pair->rx.num * pair->rx.buf_bytes + pair->slots * NET_SLOT_BYTES;
}

static int watch(const struct net_pair *pair, int fd)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = fd};

	return epoll_ctl(pair->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int watch_all(struct net_pair *pair)
{
	int err;

	pair->epoll = epoll_create1(EPOLL_CLOEXEC);
	pair->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pair->idle = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (pair->epoll < 0 || pair->wake < 0 || pair->idle < 0)
		return -errno;
	err = watch(pair, pair->tap);
	if (!err)
		err = watch(pair, pair->wake);
	if (!err)
		err = watch(pair, pair->rxq->call);
	if (!err)
		err = watch(pair, pair->txq->call);
	return err;
}

int net_pair_start(struct net_pair *pair, uint8_t *buffers)
{
	uint8_t *slots = buffers + (size_t)pair->rx.num * pair->rx.buf_bytes;
	int err;

	pair->rx.ring = pair->rxq->ring;
	pair->rx.buffers = buffers;
	pair->rx.iova = virtio_iova(pair->net->dev, buffers);
	net_rx_fill(&pair->rx);
	virtio_queue_publish(pair->rxq);
	while (pair->nfree < pair->slots) {
		pair->free[pair->nfree] = slots + pair->nfree * NET_SLOT_BYTES;
		pair->nfree++;
	}
	pair->readable = true;

	err = watch_all(pair);
	if (!err)
		err = thread_start(&pair->thread, "net", pair_thread, pair);
	pair->started = !err;
	return err;
}

void net_pair_stop(struct net_pair *pair)
{
	if (pair->started) {
		__atomic_store_n(&pair->stop, true, __ATOMIC_RELEASE);
		eventfd_write(pair->wake, 1);
		pthread_join(pair->thread, NULL);
		pair->started = false;
	}
	fd_closep(&pair->epoll);
	fd_closep(&pair->wake);
	fd_closep(&pair->idle);
}

bool net_pair_drain(struct net_pair *pair)
{
	struct pollfd pfd = {.fd = pair->idle, .events = POLLIN};
	eventfd_t count;
	bool drained;

	eventfd_read(pair->idle, &count);
	__atomic_store_n(&pair->drain, true, __ATOMIC_RELEASE);
	eventfd_write(pair->wake, 1);
	drained = poll(&pfd, 1, DRAIN_WAIT_MS) == 1;
	__atomic_store_n(&pair->drain, false, __ATOMIC_RELEASE);
	return drained;
}
