/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_console with a hostile device, on a terminal that somebody opens, reads, writes and
 *closes.
 *
 * Input: number of buffers, features (1 event index, 2 packed, 4 in order, 8 without messages),
 *then steps.  The low three bits of a step say what happens, bits 3 and 4 in which queue; the
 *driver has a look after each one:
 *
 *	0	nothing
 *	1	the device uses a buffer, with the length of the next two bytes
 *	2	the device sends a message: what the next byte says, for the port and with the value
 *		of the next two, and then the bytes of a size
 *	3	it writes up to 8 bytes anywhere into the rings, two bytes for the place and then
 *		what is written
 *	4, 5	somebody opens the terminal, closes it
 *	6, 7	he types, he reads
 */
#include "fuzz_device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/defs.h"
#include "drivers/virtio/console_tty.h"

#define IOVA  0x10000ull
#define BYTES (1u << 20) /* more than rings and buffers take */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fuzz {
	struct tty tty;
	struct virtio_device dev;
	struct virtio_queue queues[TTY_QUEUES_MAX];
	struct fuzz_device sides[TTY_QUEUES_MAX];
	uint16_t num_queues;
	struct fuzz_input in;
	int user; /* the terminal, as somebody has it open; -1 */
};

/* ---- set-up */

static void make_queues(struct fuzz *f, uint32_t num, uint64_t features, int kick)
{
	uint8_t *hva = vdpa_mem_hva(f->dev.arena);

	for (uint16_t i = 0; i < f->num_queues; i++) {
		struct tty_queue *q = &f->tty.queues[i];

		fuzz_device_open(&f->sides[i], num, features, hva,
				 IOVA + (uint64_t)(hva - (uint8_t *)vdpa_mem_hva(f->dev.arena)));
		f->queues[i] = (struct virtio_queue){&f->dev, i, f->sides[i].ring, kick, -1};
		q->vq = &f->queues[i];
		q->num = num;
		q->bytes = i < TTY_CTRL_RX ? TTY_BUF_BYTES : TTY_MSG_BYTES;
		hva += (f->sides[i].bytes + 4095) / 4096 * 4096;
	}
	f->dev.buffers = hva;
	check(hva + tty_buffer_bytes(&f->tty) <= (uint8_t *)vdpa_mem_hva(f->dev.arena) + BYTES);
}

/* What breaks a ring is said once, to a bus; here it has been said. */
static void start(struct fuzz *f)
{
	static struct vdpa_mem *arena;
	static int epoll = -1, kick = -1;
	uint8_t num = next(&f->in), how = next(&f->in);
	uint64_t features = fuzz_features(how);

	if (!arena) {
		check(!vdpa_mem_alloc("fuzz", BYTES, &arena, NULL));
		epoll = epoll_create1(EPOLL_CLOEXEC);
		kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	f->user = -1;
	f->num_queues = how & 8 ? 2 : TTY_QUEUES_MAX;
	f->dev.arena = arena;
	f->dev.arena_iova = IOVA;
	f->tty.dev = &f->dev;
	f->tty.epoll = epoll;
	f->tty.wake = f->tty.idle = -1;
	f->tty.failed = true;
	make_queues(f, fuzz_num(num, features, TTY_BUFS), features, kick);
	snprintf(f->tty.path, sizeof(f->tty.path), "/tmp/uvdpa-fuzz-tty-%d", getpid());
	check(!pty_dev_open(&f->tty.pty, f->tty.path, NULL));
	tty_lay_out(&f->tty);
	tty_ctrl_begin(&f->tty);
}

static void finish(struct fuzz *f)
{
	fd_closep(&f->user);
	pty_dev_close(&f->tty.pty);
	for (uint16_t i = 0; i < f->num_queues; i++)
		vdpa_drvq_free(f->sides[i].ring);
}

/* ---- what holds whatever the device does */

static bool is_buffer(const struct fuzz *f, const struct tty_queue *q, const uint8_t *buf)
{
	const uint8_t *first = f->dev.buffers;

	for (const struct tty_queue *before = f->tty.queues; before < q; before++)
		first += before->num * before->bytes;
	return buf >= first && buf < first + q->num * q->bytes &&
	       (size_t)(buf - first) % q->bytes == 0;
}

static void check_queue(const struct fuzz *f, const struct tty_queue *q)
{
	check(q->nfree <= q->num);
	for (uint32_t i = 0; i < q->nfree; i++) {
		check(is_buffer(f, q, q->free[i]));
		for (uint32_t j = 0; j < i; j++)
			check(q->free[i] != q->free[j]);
	}
}

static void check_all(const struct fuzz *f)
{
	const struct tty *tty = &f->tty;

	for (uint16_t i = 0; i < f->num_queues; i++)
		check_queue(f, &tty->queues[i]);
	if (tty->part) {
		check(is_buffer(f, &tty->queues[TTY_RX], tty->part));
		check(tty->part_off + tty->part_len <= tty->queues[TTY_RX].bytes);
	}
	check(tty->pty.master >= 0 && (!tty->told_open || tty->added));
}

/* ---- steps */

/* In the buffer that it uses next, if the driver has offered them in turn. */
static void send_message(struct fuzz *f, unsigned int more)
{
	struct tty_queue *q = &f->tty.queues[TTY_CTRL_RX];
	struct virtio_console_control head = {.event = htole16(next(&f->in)),
					      .id = htole32(next(&f->in)),
					      .value = htole16(next(&f->in))};
	uint8_t *buf;

	if (!q->vq)
		return;
	buf = f->dev.buffers + TTY_BUF_BYTES * 2 * q->num +
	      (size_t)(f->sides[TTY_CTRL_RX].used % q->num) * q->bytes;
	memcpy(buf, &head, sizeof(head));
	for (unsigned int i = 0; i < more; i++)
		buf[sizeof(head) + i] = next(&f->in);
	fuzz_use(&f->sides[TTY_CTRL_RX], (uint32_t)sizeof(head) + more);
}

static void open_terminal(struct fuzz *f)
{
	if (f->user < 0)
		f->user = open(f->tty.pty.slave, O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	check(f->user >= 0);
}

static void type(struct fuzz *f, unsigned int len)
{
	static const char text[] = "abcdefghijklmnopqrstuvwxyz012345";

	check(f->user < 0 || write(f->user, text, len) >= 0 || errno == EAGAIN || errno == EIO);
}

static void read_terminal(const struct fuzz *f)
{
	char buf[4096];

	while (f->user >= 0 && read(f->user, buf, sizeof(buf)) > 0)
		;
}

static void take_step(struct fuzz *f, uint8_t step)
{
	struct fuzz_device *side = &f->sides[(step >> 3 & 3) % f->num_queues];

	switch (step & 7) {
	case 1:
		fuzz_use(side, next16(&f->in));
		break;
	case 2:
		send_message(f, step >> 5);
		break;
	case 3:
		fuzz_write_anywhere(side, &f->in, 1 + (step >> 5));
		break;
	case 4:
		open_terminal(f);
		break;
	case 5:
		fd_closep(&f->user);
		break;
	case 6:
		type(f, 1 + (step >> 3));
		break;
	case 7:
		read_terminal(f);
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct fuzz f = {.in = {data, len}};

	start(&f);
	while (f.in.len) {
		take_step(&f, next(&f.in));
		/* What an event would tell the thread. */
		f.tty.open = pty_dev_is_open(&f.tty.pty);
		f.tty.readable = f.tty.writable = true;
		/* A round ends: what one queue holds is not for ever. */
		for (uint32_t rounds = 0; tty_serve(&f.tty) && rounds < TTY_BUFS; rounds++)
			;
		check_all(&f);
	}
	finish(&f);
	return 0;
}
