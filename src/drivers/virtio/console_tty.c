/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The thread of a terminal.  It sleeps when both sides have nothing, and is woken by edges.
 *
 * While nobody has the terminal open, what comes from the device stays there: it is the device that
 * holds back, or forgets, what nobody reads.
 */
#include "drivers/virtio/console_tty.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "base/defs.h"
#include "base/thread.h"

#define BATCH         16u  /* buffers in one direction, before the other has its turn */
#define DRAIN_WAIT_MS 1000 /* for the device to take what was typed */
#define SETTLE_MS     20   /* for the kernel to bring what was typed */

static bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

void tty_fail(struct tty *tty, const char *why)
{
	if (__atomic_exchange_n(&tty->failed, true, __ATOMIC_SEQ_CST))
		return;
	virtio_broken(tty->dev, why);
	eventfd_write(tty->wake, 1);
}

/* ---- buffers */

void tty_offer(struct tty *tty, struct tty_queue *q, uint8_t *buf)
{
	const struct vdpa_drvq_sg sg = {virtio_iova(tty->dev, buf), q->bytes};

	/* It has room: there are no more buffers than entries. */
	vdpa_drvq_add(q->vq->ring, &sg, 0, 1, buf);
}

void tty_reclaim(struct tty *tty, struct tty_queue *q)
{
	uint8_t *buf;
	uint32_t len;

	while ((buf = vdpa_drvq_get(q->vq->ring, &len)))
		q->free[q->nfree++] = buf;
	if (vdpa_drvq_broken(q->vq->ring))
		tty_fail(tty, vdpa_drvq_broken(q->vq->ring));
}

void tty_send(struct tty *tty, struct tty_queue *q, uint32_t len)
{
	const struct vdpa_drvq_sg sg = {virtio_iova(tty->dev, q->free[q->nfree - 1]), len};

	if (!vdpa_drvq_add(q->vq->ring, &sg, 1, 0, q->free[q->nfree - 1]))
		q->nfree--;
}

/* ---- the terminal */

static int watch(const struct tty *tty, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events | EPOLLET, .data.fd = fd};

	return epoll_ctl(tty->epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static void look_who_is_there(struct tty *tty)
{
	__atomic_store_n(&tty->open, pty_dev_is_open(&tty->pty), __ATOMIC_RELAXED);
	tty->readable = tty->writable = true;
}

static int watch_pty(struct tty *tty)
{
	int err = watch(tty, tty->pty.master, EPOLLIN | EPOLLOUT);

	if (!err)
		err = watch(tty, tty->pty.watch, EPOLLIN);
	if (!err)
		look_who_is_there(tty);
	return err;
}

void tty_set_size(struct tty *tty, uint16_t cols, uint16_t rows)
{
	tty->applied = (uint32_t)cols << 16 | rows;
	pty_dev_set_size(&tty->pty, cols, rows);
}

static void apply_size(struct tty *tty)
{
	uint32_t size = __atomic_exchange_n(&tty->size, 0, __ATOMIC_RELAXED);

	if (size && size != tty->applied)
		tty_set_size(tty, (uint16_t)(size >> 16), (uint16_t)size);
}

void tty_hang_up(struct tty *tty)
{
	int err;

	pty_dev_close(&tty->pty);
	err = pty_dev_open(&tty->pty, tty->path, NULL);
	if (!err)
		err = watch_pty(tty);
	if (err) {
		tty_fail(tty, "the terminal is gone");
		return;
	}
	tty_set_size(tty, (uint16_t)(tty->applied >> 16), (uint16_t)tty->applied);
}

/* ---- bytes to the terminal */

/* Returns false when it takes no more now. */
static bool write_part(struct tty *tty)
{
	while (tty->part_len) {
		ssize_t len = write(tty->pty.master, tty->part + tty->part_off, tty->part_len);

		if (len <= 0) {
			tty->writable = false;
			return false;
		}
		tty->part_off += (uint32_t)len;
		tty->part_len -= (uint32_t)len;
	}
	return true;
}

/* Returns true when there may be more. */
static bool receive(struct tty *tty)
{
	struct tty_queue *q = &tty->queues[TTY_RX];
	uint32_t num = 0;

	while (tty->open && tty->writable && num < BATCH) {
		if (!tty->part) {
			tty->part = vdpa_drvq_get(q->vq->ring, &tty->part_len);
			tty->part_off = 0;
		}
		if (!tty->part || !write_part(tty))
			break;
		tty_offer(tty, q, tty->part);
		tty->part = NULL;
		num++;
	}
	if (vdpa_drvq_broken(q->vq->ring))
		tty_fail(tty, vdpa_drvq_broken(q->vq->ring));
	else if (num)
		virtio_queue_publish(q->vq);
	return num == BATCH;
}

/* ---- bytes from the terminal */

/* Returns true when there may be more. */
static bool transmit(struct tty *tty)
{
	struct tty_queue *q = &tty->queues[TTY_TX];
	uint32_t num = 0;

	tty_reclaim(tty, q);
	while (tty->readable && q->nfree && num < BATCH) {
		ssize_t len = read(tty->pty.master, q->free[q->nfree - 1], q->bytes);

		if (len <= 0) {
			tty->readable = false;
			break;
		}
		tty_send(tty, q, (uint32_t)len);
		num++;
	}
	if (num)
		virtio_queue_publish(q->vq);
	return tty->readable && q->nfree;
}

/* ---- the thread */

static bool all_taken(const struct tty *tty)
{
	const struct tty_queue *q = &tty->queues[TTY_TX];

	return !tty->readable && q->nfree == q->num;
}

/* Ask to be called.  Returns true when something came in meanwhile. */
static bool arm(struct tty *tty)
{
	struct tty_queue *q = tty->queues;
	bool more = false;

	if (tty->open && !tty->part)
		more |= vdpa_drvq_enable_call(q[TTY_RX].vq->ring);
	if (q[TTY_TX].nfree < q[TTY_TX].num && (tty->readable || is_set(&tty->drain)))
		more |= vdpa_drvq_enable_call(q[TTY_TX].vq->ring);
	if (!q[TTY_CTRL_RX].vq)
		return more;
	if (q[TTY_CTRL_TX].nfree)
		return vdpa_drvq_enable_call(q[TTY_CTRL_RX].vq->ring) || more;
	return vdpa_drvq_enable_call(q[TTY_CTRL_TX].vq->ring) || more;
}

static void wait_for_work(struct tty *tty)
{
	struct epoll_event events[8];
	int num = epoll_wait(tty->epoll, events, ARRAY_SIZE(events), -1);

	for (int i = 0; i < num; i++)
		if (events[i].data.fd == tty->pty.master || events[i].data.fd == tty->pty.watch)
			look_who_is_there(tty);
	for (int i = 0; i < TTY_QUEUES_MAX; i++)
		if (tty->queues[i].vq)
			vdpa_drvq_disable_call(tty->queues[i].vq->ring);
}

bool tty_serve(struct tty *tty)
{
	bool more;

	apply_size(tty);
	more = tty_ctrl(tty);
	more |= receive(tty);
	more |= transmit(tty);
	return more || arm(tty);
}

static void *tty_thread(void *arg)
{
	struct tty *tty = arg;

	while (!is_set(&tty->stop)) {
		if (is_set(&tty->failed)) {
			pty_dev_close(&tty->pty);
			__atomic_store_n(&tty->open, false, __ATOMIC_RELAXED);
			wait_for_work(tty);
			continue;
		}
		if (tty_serve(tty))
			continue;
		if (is_set(&tty->drain) && all_taken(tty))
			eventfd_write(tty->idle, 1);
		wait_for_work(tty);
	}
	return NULL;
}

/* ---- start and stop; lane */

size_t tty_buffer_bytes(const struct tty *tty)
{
	size_t bytes = 0;

	for (int i = 0; i < TTY_QUEUES_MAX; i++)
		bytes += (size_t)tty->queues[i].num * tty->queues[i].bytes;
	return bytes;
}

void tty_lay_out(struct tty *tty)
{
	uint8_t *buf = tty->dev->buffers;

	for (int i = 0; i < TTY_QUEUES_MAX; i++) {
		struct tty_queue *q = &tty->queues[i];
		bool in = i == TTY_RX || i == TTY_CTRL_RX;

		for (uint32_t n = 0; n < q->num; n++, buf += q->bytes) {
			if (in)
				tty_offer(tty, q, buf);
			else
				q->free[q->nfree++] = buf;
		}
		if (in && q->num)
			virtio_queue_publish(q->vq);
	}
}

static int watch_all(struct tty *tty)
{
	int err;

	tty->epoll = epoll_create1(EPOLL_CLOEXEC);
	tty->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	tty->idle = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (tty->epoll < 0 || tty->wake < 0 || tty->idle < 0)
		return -errno;
	err = watch(tty, tty->wake, EPOLLIN);
	for (int i = 0; i < TTY_QUEUES_MAX && !err; i++)
		if (tty->queues[i].vq)
			err = watch(tty, tty->queues[i].vq->call, EPOLLIN);
	return err ? err : watch_pty(tty);
}

int tty_start(struct tty *tty)
{
	int err = watch_all(tty);

	if (err)
		return err;
	tty_lay_out(tty);
	tty_ctrl_begin(tty);
	err = thread_start(&tty->thread, "tty", tty_thread, tty);
	tty->started = !err;
	return err;
}

void tty_stop(struct tty *tty)
{
	if (tty->started) {
		__atomic_store_n(&tty->stop, true, __ATOMIC_RELEASE);
		eventfd_write(tty->wake, 1);
		pthread_join(tty->thread, NULL);
		tty->started = false;
	}
	pty_dev_close(&tty->pty);
	fd_closep(&tty->epoll);
	fd_closep(&tty->wake);
	fd_closep(&tty->idle);
}

bool tty_drain(struct tty *tty)
{
	struct pollfd pfd = {.fd = tty->idle, .events = POLLIN};
	eventfd_t count;
	bool drained;

	if (is_set(&tty->failed))
		return true;
	/* A write to the terminal returns before its bytes can be read, and nothing says when. */
	poll(NULL, 0, SETTLE_MS);
	eventfd_read(tty->idle, &count);
	__atomic_store_n(&tty->drain, true, __ATOMIC_RELEASE);
	eventfd_write(tty->wake, 1);
	drained = poll(&pfd, 1, DRAIN_WAIT_MS) == 1;
	__atomic_store_n(&tty->drain, false, __ATOMIC_RELEASE);
	return drained;
}
