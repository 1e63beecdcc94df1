/* SPDX-License-Identifier: BSD-2-Clause */
#include <linux/virtio_blk.h>

#include "guest.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/defs.h"

#define HUGE_PAGE   (2u << 20)
#define GUEST_BASE  0x100000000ull /* guest physical */
#define TIMEOUT_MS  10000
#define SECTOR      512
#define REQ_HEADERS 64 /* header and status of a request, in a cache line of their own */

static uint32_t ring_size(const struct guest_config *cfg)
{
	uint32_t num = 16;

	/* Three descriptors where they are not indirect. */
	while (num < cfg->depth * (cfg->indirect ? 1 : 3))
		num *= 2;
	return num;
}

/* Large pages where there are some: translation is not what is measured. */
static int alloc_memory(struct guest *g, uint64_t len, struct vdpa_extack *ack)
{
	g->mem_len = align_up(len, HUGE_PAGE);
	for (unsigned int flags = MFD_HUGETLB;; flags = 0) {
		g->memfd = memfd_create("guest", MFD_CLOEXEC | flags);
		if (g->memfd >= 0 && !ftruncate(g->memfd, (off_t)g->mem_len)) {
			g->mem = mmap(NULL, g->mem_len, PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_POPULATE, g->memfd, 0);
			if (g->mem != MAP_FAILED)
				return 0;
		}
		fd_closep(&g->memfd);
		if (!flags)
			return vdpa_extack_set(ack, -ENOMEM, "no %llu bytes of memory",
					       (unsigned long long)g->mem_len);
	}
}

/* ---- set-up */

static int negotiate(struct guest *g, struct vdpa_extack *ack)
{
	uint64_t want = BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VIRTIO_RING_F_EVENT_IDX) |
			BIT_ULL(VIRTIO_BLK_F_FLUSH) | BIT_ULL(VIRTIO_BLK_F_SEG_MAX) |
			BIT_ULL(VIRTIO_BLK_F_MQ) | BIT_ULL(VU_F_PROTOCOL_FEATURES);
	uint64_t protocol = BIT_ULL(VU_PROTOCOL_F_MQ) | BIT_ULL(VU_PROTOCOL_F_REPLY_ACK) |
			    BIT_ULL(VU_PROTOCOL_F_CONFIG) | BIT_ULL(VU_PROTOCOL_F_BACKEND_REQ);
	uint64_t sectors;
	int err;

	if (g->cfg.packed)
		want |= BIT_ULL(VIRTIO_F_RING_PACKED);
	if (g->cfg.indirect)
		want |= BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	err = vu_frontend_negotiate(&g->fe, protocol, ack);
	if (err)
		return err;
	g->features = g->fe.offer & want;
	if (g->cfg.packed && !(g->features & BIT_ULL(VIRTIO_F_RING_PACKED)))
		return vdpa_extack_set(ack, -EOPNOTSUPP, "the back-end has no packed rings");
	if (g->cfg.indirect && !(g->features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC)))
		return vdpa_extack_set(ack, -EOPNOTSUPP,
				       "the back-end has no indirect descriptors");
	err = vu_frontend_get_config(&g->fe, 0, &sectors, sizeof(sectors), ack);
	if (err)
		return err;
	g->capacity = sectors * SECTOR;
	if (g->capacity < g->cfg.bytes)
		return vdpa_extack_set(ack, -ENOSPC, "the disk has %llu bytes",
				       (unsigned long long)g->capacity);
	return vu_frontend_set_u64(&g->fe, VU_SET_FEATURES, g->features, ack);
}

static uint64_t gpa(const struct guest *g, const void *p)
{
	return GUEST_BASE + (uint64_t)((const uint8_t *)p - g->mem);
}

static int start_ring(struct guest *g, uint32_t idx, uint8_t *mem, struct vdpa_extack *ack)
{
	struct guest_queue *q = &g->queues[idx];
	struct vdpa_drvq_config cfg = {.num = ring_size(&g->cfg),
				       .features = g->features,
				       .hva = mem,
				       .iova = gpa(g, mem),
				       .indirect = g->cfg.indirect ? 3 : 0};
	uint64_t user = (uintptr_t)g->mem - GUEST_BASE;
	struct vu_frontend_ring ring = {.idx = idx,
					.num = cfg.num,
					.base = g->cfg.packed ? 0x80008000 : 0,
					.call = g->call};
	int err;

	err = vdpa_drvq_alloc(&cfg, &q->ring, ack);
	if (err)
		return err;
	q->kick = ring.kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (q->kick < 0)
		return -errno;
	vdpa_drvq_areas(q->ring, &ring.desc, &ring.avail, &ring.used);
	ring.desc += user;
	ring.avail += user;
	ring.used += user;
	return vu_frontend_start_ring(&g->fe, &ring, ack);
}

static void make_requests(struct guest *g, uint8_t *headers, uint8_t *data)
{
	for (uint32_t i = 0; i < g->cfg.queues * g->cfg.depth; i++) {
		struct guest_req *r = &g->reqs[i];

		r->queue = (uint16_t)(i / g->cfg.depth);
		r->hdr = (void *)(headers + (size_t)i * REQ_HEADERS);
		r->status = (uint8_t *)(r->hdr + 1);
		r->data = data + (size_t)i * g->cfg.bytes;
		r->sg[0] = (struct vdpa_drvq_sg){gpa(g, r->hdr), sizeof(*r->hdr)};
		r->sg[1] = (struct vdpa_drvq_sg){gpa(g, r->data), g->cfg.bytes};
		r->sg[2] = (struct vdpa_drvq_sg){gpa(g, r->status), 1};
	}
}

static int set_up(struct guest *g, struct vdpa_extack *ack)
{
	uint32_t num = g->cfg.queues * g->cfg.depth;
	uint64_t ring, headers = align_up((uint64_t)num * REQ_HEADERS, 4096);
	struct vu_region region;
	int err;

	err = negotiate(g, ack);
	if (err)
		return err;
	ring = align_up(vdpa_drvq_bytes(ring_size(&g->cfg), g->features, g->cfg.indirect ? 3 : 0),
			4096);
	err = alloc_memory(g, g->cfg.queues * ring + headers + (uint64_t)num * g->cfg.bytes, ack);
	if (err)
		return err;
	g->reqs = calloc(num, sizeof(*g->reqs));
	g->call = eventfd(0, EFD_CLOEXEC);
	if (!g->reqs || g->call < 0)
		return -ENOMEM;
	region = (struct vu_region){
		.gpa = GUEST_BASE, .size = g->mem_len, .uaddr = (uintptr_t)g->mem};
	err = vu_frontend_set_mem(&g->fe, &region, &g->memfd, 1, ack);
	for (uint32_t i = 0; !err && i < g->cfg.queues; i++)
		err = start_ring(g, i, g->mem + i * ring, ack);
	if (!err)
		make_requests(g, g->mem + g->cfg.queues * ring,
			      g->mem + g->cfg.queues * ring + headers);
	return err;
}

static void release(struct guest *g)
{
	vu_frontend_close(&g->fe);
	for (uint32_t i = 0; i < g->cfg.queues; i++) {
		if (g->queues[i].ring)
			vdpa_drvq_free(g->queues[i].ring);
		fd_closep(&g->queues[i].kick);
	}
	if (g->mem && g->mem != MAP_FAILED)
		munmap(g->mem, g->mem_len);
	fd_closep(&g->memfd);
	fd_closep(&g->call);
	free(g->reqs);
}

int guest_open(struct guest *g, const struct guest_config *cfg, struct vdpa_extack *ack)
{
	int err;

	*g = (struct guest){.cfg = *cfg, .memfd = -1, .call = -1};
	for (uint32_t i = 0; i < GUEST_QUEUES_MAX; i++)
		g->queues[i].kick = -1;
	err = vu_frontend_connect(&g->fe, cfg->socket, TIMEOUT_MS, ack);
	if (!err)
		err = set_up(g, ack);
	if (err)
		release(g);
	return err;
}

int guest_close(struct guest *g, struct vdpa_extack *ack)
{
	int err = 0;

	for (uint32_t i = 0; i < g->cfg.queues && !err; i++) {
		uint32_t base;

		err = vu_frontend_get_base(&g->fe, i, &base, ack);
	}
	release(g);
	return err;
}

/* ---- requests */

int guest_submit(struct guest *g, struct guest_req *req, uint32_t type, uint64_t offset)
{
	bool out = type == VIRTIO_BLK_T_OUT;

	req->hdr->type = htole32(type);
	req->hdr->sector = htole64(offset / SECTOR);
	*req->status = 0xff;
	return vdpa_drvq_add(g->queues[req->queue].ring, req->sg, out ? 2 : 1, out ? 1 : 2, req);
}

void guest_publish(struct guest *g, uint32_t queue)
{
	struct guest_queue *q = &g->queues[queue];
	static const uint64_t one = 1;

	if (!vdpa_drvq_publish(q->ring))
		return;
	q->kicks++;
	if (write(q->kick, &one, sizeof(one)) < 0)
		/* Full of kicks: the device is told. */
		return;
}
