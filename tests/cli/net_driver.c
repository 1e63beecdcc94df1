/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver of a network device, which does what it is told:
 *
 *	net_driver SOCKET FEATURES
 *
 * It acknowledges these features (hex; VERSION_1 is added), starts the queues of one pair and the
 * control queue, and says "ready".  Then a line in is a line out:
 *
 *	ctrl HEX	a command with its data: "0" is VIRTIO_NET_OK, "1" VIRTIO_NET_ERR
 *	send HEX	a frame that begins like this: "back" when it comes in again, else "lost"
 *
 * It ends with its input, without a word to the device: as a driver does that is killed.
 */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backends/net/virtio_net_defs.h"
#include "vdpa/virtqueue.h"
#include "vhost_user/frontend.h"

enum { RX, TX, CTRL, QUEUES };

#define NUM       16u
#define PIECE     0x10000ull /* bytes of memory for each ring, and for each buffer */
#define MEM       (8 * PIECE)
#define GPA       0x40000000ull
#define UADDR     0x7f0000000000ull /* what we say our own addresses are */
#define HDR       sizeof(struct virtio_net_hdr_v1)
#define FRAME     60u
#define WAIT_MS   20000
#define VERSION_1 (1ull << 32)

struct queue {
	struct vdpa_drvq *ring;
	int kick, call;
	uint64_t out, in; /* offsets of its buffers */
	bool posted;      /* it has one that has not come back */
};

struct driver {
	struct vu_frontend fe;
	uint8_t *mem;
	struct queue queues[QUEUES];
};

/* ---- set up */

static int start_queue(struct driver *d, uint32_t idx, uint64_t features, struct vdpa_extack *ack)
{
	struct queue *queue = &d->queues[idx];
	const struct vdpa_drvq_config cfg = {.num = NUM,
					     .features = features,
					     .hva = d->mem + idx * PIECE,
					     .iova = GPA + idx * PIECE};
	struct vu_frontend_ring ring = {.idx = idx, .num = NUM};
	int err = vdpa_drvq_alloc(&cfg, &queue->ring, ack);

	if (err)
		return err;
	queue->kick = ring.kick = eventfd(0, EFD_CLOEXEC);
	queue->call = ring.call = eventfd(0, EFD_CLOEXEC);
	queue->out = (QUEUES + idx) * PIECE;
	queue->in = queue->out + PIECE / 2;
	vdpa_drvq_areas(queue->ring, &ring.desc, &ring.avail, &ring.used);
	ring.desc += UADDR - GPA;
	ring.avail += UADDR - GPA;
	ring.used += UADDR - GPA;
	return vu_frontend_start_ring(&d->fe, &ring, ack);
}

static int set_up(struct driver *d, const char *path, uint64_t features, struct vdpa_extack *ack)
{
	const struct vu_region region = {.gpa = GPA, .size = MEM, .uaddr = UADDR};
	int memfd = memfd_create("driver", MFD_CLOEXEC);
	int err;

	if (ftruncate(memfd, MEM))
		return -1;
	d->mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	if (d->mem == MAP_FAILED)
		return -1;
	err = vu_frontend_connect(&d->fe, path, WAIT_MS, ack);
	if (!err)
		err = vu_frontend_negotiate(&d->fe, 0, ack);
	if (!err)
		err = vu_frontend_set_u64(&d->fe, VU_SET_FEATURES, features, ack);
	if (!err)
		err = vu_frontend_set_mem(&d->fe, &region, &memfd, 1, ack);
	for (uint32_t idx = 0; idx < QUEUES && !err; idx++)
		err = start_queue(d, idx, features, ack);
	close(memfd);
	return err;
}

/* ---- what it is told */

static bool post(struct queue *queue, uint32_t out, uint32_t in)
{
	const struct vdpa_drvq_sg sg[2] = {{GPA + queue->out, out}, {GPA + queue->in, in}};

	if (vdpa_drvq_add(queue->ring, out ? sg : sg + 1, !!out, !!in, queue))
		return false;
	queue->posted = true;
	if (vdpa_drvq_publish(queue->ring))
		eventfd_write(queue->kick, 1);
	return true;
}

/* Has it come back by now? */
static bool done(struct queue *queue)
{
	uint32_t len;

	if (queue->posted && vdpa_drvq_get(queue->ring, &len))
		queue->posted = false;
	return !queue->posted;
}

/* Returns false when the device does not answer. */
static bool run(struct queue *queue, uint32_t out, uint32_t in)
{
	struct pollfd p = {.fd = queue->call, .events = POLLIN};
	eventfd_t calls;

	if (!post(queue, out, in))
		return false;
	while (!done(queue)) {
		if (poll(&p, 1, WAIT_MS) != 1 || eventfd_read(queue->call, &calls))
			return false;
	}
	return true;
}

static uint32_t parse_hex(const char *text, uint8_t *bytes, uint32_t room)
{
	unsigned int byte;
	uint32_t len = 0;

	for (; len < room && sscanf(text, "%2x", &byte) == 1; text += 2)
		bytes[len++] = (uint8_t)byte;
	return len;
}

static const char *ctrl(struct driver *d, const char *hex)
{
	struct queue *queue = &d->queues[CTRL];
	uint32_t len = parse_hex(hex, d->mem + queue->out, PIECE / 2);

	if (!run(queue, len, 1))
		return NULL;
	return d->mem[queue->in] == VIRTIO_NET_OK ? "0" : "1";
}

/* The device is done with a frame that was sent when it has been received, or has not been. */
static const char *send_frame(struct driver *d, const char *hex)
{
	struct queue *rx = &d->queues[RX], *tx = &d->queues[TX];
	uint8_t *out = d->mem + tx->out;

	memset(out, 0, HDR + FRAME);
	parse_hex(hex, out + HDR, FRAME);
	/* What did not come back is still there for the next frame. */
	if ((done(rx) && !post(rx, 0, PIECE / 2)) || !run(tx, HDR + FRAME, 0))
		return NULL;
	return done(rx) ? "back" : "lost";
}

static const char *obey(struct driver *d, const char *line)
{
	if (!strncmp(line, "ctrl ", 5))
		return ctrl(d, line + 5);
	if (!strncmp(line, "send ", 5))
		return send_frame(d, line + 5);
	return NULL;
}

int main(int argc, char **argv)
{
	struct vdpa_extack ack = {0};
	struct driver d = {0};
	const char *answer = "ready";
	char line[4096];

	if (argc != 3)
		return 2;
	if (set_up(&d, argv[1], strtoull(argv[2], NULL, 16) | VERSION_1, &ack)) {
		fprintf(stderr, "net_driver: %s\n", ack.msg);
		return 1;
	}
	do {
		puts(answer);
		fflush(stdout);
		if (!fgets(line, sizeof(line), stdin))
			return 0;
		answer = obey(&d, line);
	} while (answer);
	fprintf(stderr, "net_driver: no answer to %s", line);
	return 1;
}
