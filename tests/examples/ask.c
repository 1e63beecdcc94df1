/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest with one question: connects to a vhost-user back-end, sends one request on queue 0 and
 * prints what comes back, in hex.
 *
 *	ask SOCKET LENGTH [BYTES TO SEND, in hex]
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vdpa/virtqueue.h"
#include "vhost_user/frontend.h"

#define MEM     0x100000ull
#define GPA     0x40000000ull
#define UADDR   0x7f0000000000ull /* what we say our own addresses are */
#define OUT     0x80000ull
#define IN      0x90000ull
#define NUM     16
#define WAIT_MS 20000

static uint32_t parse_hex(const char *text, uint8_t *bytes, uint32_t room)
{
	unsigned int byte;
	uint32_t len = 0;

	for (; len < room && sscanf(text, "%2x", &byte) == 1; text += 2)
		bytes[len++] = (uint8_t)byte;
	return len;
}

static int set_up(struct vu_frontend *fe, const char *path, int memfd, struct vdpa_drvq *q,
		  int kick, int call, struct vdpa_extack *ack)
{
	const struct vu_region region = {.gpa = GPA, .size = MEM, .uaddr = UADDR};
	struct vu_frontend_ring ring = {.num = NUM, .kick = kick, .call = call};
	int err;

	vdpa_drvq_areas(q, &ring.desc, &ring.avail, &ring.used);
	ring.desc += UADDR - GPA;
	ring.avail += UADDR - GPA;
	ring.used += UADDR - GPA;
	err = vu_frontend_connect(fe, path, WAIT_MS, ack);
	if (!err)
		err = vu_frontend_negotiate(fe, 0, ack);
	if (!err)
		err = vu_frontend_set_u64(fe, VU_SET_FEATURES, 1ull << 32, ack);
	if (!err)
		err = vu_frontend_set_mem(fe, &region, &memfd, 1, ack);
	return err ? err : vu_frontend_start_ring(fe, &ring, ack);
}

static int ask(struct vdpa_drvq *q, uint32_t out_len, uint32_t in_len, int kick, int call,
	       uint32_t *got)
{
	const struct vdpa_drvq_sg sg[2] = {{GPA + OUT, out_len}, {GPA + IN, in_len}};
	struct pollfd p = {.fd = call, .events = POLLIN};

	if (vdpa_drvq_add(q, out_len ? sg : sg + 1, !!out_len, 1, q))
		return -1;
	if (vdpa_drvq_publish(q))
		eventfd_write(kick, 1);
	if (poll(&p, 1, WAIT_MS) != 1)
		return -1;
	return vdpa_drvq_get(q, got) == q ? 0 : -1;
}

int main(int argc, char **argv)
{
	int memfd = memfd_create("guest", MFD_CLOEXEC);
	int kick = eventfd(0, EFD_CLOEXEC), call = eventfd(0, EFD_CLOEXEC);
	struct vdpa_drvq_config cfg = {.num = NUM, .iova = GPA};
	struct vdpa_extack ack = {0};
	struct vu_frontend fe = {0};
	struct vdpa_drvq *q;
	uint32_t out_len = 0, in_len, got = 0;
	uint8_t *mem;

	if (argc < 3 || ftruncate(memfd, MEM))
		return 2;
	mem = mmap(NULL, MEM, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	cfg.hva = mem;
	if (mem == MAP_FAILED || vdpa_drvq_alloc(&cfg, &q, &ack))
		return 2;
	in_len = (uint32_t)strtoul(argv[2], NULL, 10);
	if (argc > 3)
		out_len = parse_hex(argv[3], mem + OUT, IN - OUT);
	if (in_len > MEM - IN || set_up(&fe, argv[1], memfd, q, kick, call, &ack) ||
	    ask(q, out_len, in_len, kick, call, &got)) {
		fprintf(stderr, "ask: %s\n", ack.msg[0] ? ack.msg : "no answer");
		return 1;
	}
	for (uint32_t i = 0; i < got; i++)
		printf("%02x", mem[IN + i]);
	printf("\n");
	vu_frontend_close(&fe);
	vdpa_drvq_free(q);
	return 0;
}
