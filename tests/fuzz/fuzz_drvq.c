/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver side with a hostile device.  Input: size, features, then steps: two bits say what the
 * driver does or how the device writes, the others how much; a device's write takes two bytes for
 * the place and up to eight for what is written.
 */
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "vdpa/virtqueue.h"
#include "virtqueue/ring.h"

#define IOVA  0x10000ull
#define NUM   16u
#define TABLE 3u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct ticket {
	bool busy;
	uint32_t in_len;
};

struct fuzz {
	struct vdpa_drvq *q;
	uint8_t *hva;
	size_t bytes;
	struct ticket tickets[NUM];
	uint32_t num_busy;
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

static void offer(struct fuzz *f, unsigned how)
{
	struct vdpa_drvq_sg sg[4];
	uint32_t out = how & 3, in = how >> 2 & 1;
	uint32_t i = 0;

	while (i < NUM && f->tickets[i].busy)
		i++;
	if (i == NUM)
		return;
	for (uint32_t n = 0; n < out + in; n++)
		sg[n] = (struct vdpa_drvq_sg){0x1000 * n, 100};
	if (vdpa_drvq_add(f->q, sg, out, in, &f->tickets[i]))
		return;
	f->tickets[i] = (struct ticket){true, in * 100};
	f->num_busy++;
}

/* Whatever the device does: each ticket comes back once, with no more than it had room for. */
static void collect(struct fuzz *f)
{
	struct ticket *ticket;
	uint32_t len;

	while ((ticket = vdpa_drvq_get(f->q, &len))) {
		check(ticket->busy && len <= ticket->in_len);
		ticket->busy = false;
		check(f->num_busy--);
	}
}

static void device_writes(struct fuzz *f, unsigned len, const uint8_t **data, size_t *left)
{
	uint16_t at;

	if (*left < 2)
		return;
	memcpy(&at, *data, 2);
	*data += 2;
	*left -= 2;
	at %= f->bytes;
	for (unsigned i = 0; i <= len && *left && at + i < f->bytes; i++, ++*data, --*left)
		f->hva[at + i] = **data;
}

static void run(struct fuzz *f, uint32_t num, const uint8_t *data, size_t len)
{
	while (len) {
		uint8_t step = *data++;

		len--;
		switch (step & 3) {
		case 0:
			offer(f, step >> 2);
			break;
		case 1:
			vdpa_drvq_publish(f->q);
			break;
		case 2:
			collect(f);
			if (step & 4)
				vdpa_drvq_enable_call(f->q);
			else
				vdpa_drvq_disable_call(f->q);
			break;
		case 3:
			device_writes(f, step >> 2 & 7, &data, &len);
			break;
		}
		check(vdpa_drvq_free_slots(f->q) <= num);
		check(f->num_busy || vdpa_drvq_free_slots(f->q) == num);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vdpa_drvq_config cfg = {.iova = IOVA, .indirect = TABLE};
	static struct vdpa_mem *mem; /* for all runs: to make it anew is most of what one costs */
	struct fuzz f = {0};

	if (len < 2)
		return 0;
	cfg.features = (data[1] & 1 ? RING_F_EVENT_IDX : 0) |
		       (data[1] & 2 ? 0 : RING_F_INDIRECT_DESC) |
		       (data[1] & 4 ? RING_F_IN_ORDER : 0) | (data[1] & 8 ? RING_F_PACKED : 0);
	cfg.num = cfg.features & RING_F_PACKED ? 1 + data[0] % NUM : 1u << data[0] % 5;
	f.bytes = vdpa_drvq_bytes(cfg.num, cfg.features, TABLE);
	if (!mem)
		check(!vdpa_mem_alloc("fuzz", vdpa_drvq_bytes(NUM, cfg.features, TABLE) + 8192,
				      &mem, NULL));
	check(f.bytes <= vdpa_mem_len(mem));
	f.hva = cfg.hva = vdpa_mem_hva(mem);
	check(!vdpa_drvq_alloc(&cfg, &f.q, NULL));
	run(&f, cfg.num, data + 2, len - 2);
	vdpa_drvq_free(f.q);
	return 0;
}
