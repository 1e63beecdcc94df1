/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest with a virtio disk is to a vhost-user back-end: memory, rings, requests.
 */
#ifndef BENCH_BLK_GUEST_H
#define BENCH_BLK_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "vdpa/virtqueue.h"
#include "vhost_user/frontend.h"

#define GUEST_QUEUES_MAX 8

struct guest_config {
	const char *socket;
	bool packed;
	bool indirect;
	uint32_t queues;
	uint32_t depth; /* requests on each queue */
	uint32_t bytes; /* of data, each */
};

/* One request: made once, sent again and again. */
struct guest_req {
	struct vdpa_drvq_sg sg[3]; /* header, data, status; in this order */
	struct virtio_blk_outhdr *hdr;
	uint8_t *data;
	uint8_t *status;
	uint64_t sent;  /* the owner's */
	uint64_t block; /* the owner's */
	uint32_t step;  /* the owner's */
	uint16_t queue;
};

struct guest_queue {
	struct vdpa_drvq *ring;
	int kick;
	uint64_t kicks;
};

struct guest {
	struct guest_config cfg;
	struct vu_frontend fe;
	uint64_t features;
	uint64_t capacity; /* bytes */
	int memfd;
	uint8_t *mem;
	uint64_t mem_len;
	int call; /* one for all queues */
	struct guest_queue queues[GUEST_QUEUES_MAX];
	struct guest_req *reqs; /* queues * depth */
};

/* Connects and starts the rings.  0 or -errno with a text. */
int guest_open(struct guest *g, const struct guest_config *cfg, struct vdpa_extack *ack);
/* Stops the rings; all requests have come back. */
int guest_close(struct guest *g, struct vdpa_extack *ack);

/* Fill a request in and put it on its ring; guest_publish() sends it. */
int guest_submit(struct guest *g, struct guest_req *req, uint32_t type, uint64_t offset);
/* Send what was put on a ring; kicks where the device wants that. */
void guest_publish(struct guest *g, uint32_t queue);

#endif
