/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The receive path of virtio_net with a hostile device.
 *
 * Input: number of buffers, features (1 event index, 2 packed, 4 in order, 8 not mergeable), then
 * steps.  The low two bits of a step say what happens: 0, the driver takes frames, as many as the
 * other bits say; 1, the device uses a buffer as it should, with the length of the next two bytes;
 * 2, it says in the header of a buffer how many make up the frame; 3, it writes up to 16 bytes
 * anywhere into the rings, two bytes for the place and then what is written.
 */
#include <endian.h>
#include <stdlib.h>
#include <string.h>

#include "backends/net/vnet.h"
#include "base/defs.h"
#include "drivers/virtio/net_rx.h"
#include "virtqueue/ring.h"

#define IOVA  0x10000ull
#define NUM   16u
#define BYTES 64u /* of a buffer */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fuzz {
	struct net_rx rx;
	uint8_t *rings;
	size_t ring_bytes;
	uint64_t features;
	uint16_t used; /* buffers that the device has used as it should */
	const uint8_t *data;
	size_t len;
};

static void check(bool ok)
{
	if (!ok)
		abort();
}

static uint8_t next(struct fuzz *f)
{
	if (!f->len)
		return 0;
	f->len--;
	return *f->data++;
}

static uint16_t next16(struct fuzz *f)
{
	uint8_t low = next(f);

	return (uint16_t)(low | next(f) << 8);
}

/* Whatever the device does: the pieces are buffers, each once, with no more than they hold. */
static void check_frame(const struct net_rx *rx)
{
	bool seen[NUM] = {false};
	uint32_t bytes = 0;

	check(rx->pieces && rx->pieces <= rx->num && rx->iov[0].iov_len >= NET_HDR_LEN);
	check(rx->mergeable || rx->pieces == 1);
	for (uint32_t i = 0; i < rx->pieces; i++) {
		size_t off = (size_t)((uint8_t *)rx->iov[i].iov_base - rx->buffers);

		check(off % BYTES == 0 && off / BYTES < rx->num && !seen[off / BYTES]);
		check(rx->iov[i].iov_len <= BYTES);
		seen[off / BYTES] = true;
		bytes += (uint32_t)rx->iov[i].iov_len;
	}
	check(bytes == rx->bytes);
}

static void receive(struct fuzz *f, unsigned int num)
{
	while (num-- && net_rx_next(&f->rx)) {
		check_frame(&f->rx);
		net_rx_release(&f->rx);
	}
	vdpa_drvq_publish(f->rx.ring);
}

/* The buffers are offered, and used, in turn: what is at a position is there again after a lap. */
static void use(struct fuzz *f, uint32_t len)
{
	uint64_t desc, driver, device;
	uint16_t pos = f->used % f->rx.num;

	vdpa_drvq_areas(f->rx.ring, &desc, &driver, &device);
	if (f->features & RING_F_PACKED) {
		struct vring_packed_desc *d = (void *)(f->rings + (desc - IOVA) + 16 * pos);

		d->len = htole32(len);
		d->flags =
			htole16(f->used / f->rx.num % 2 ? VRING_DESC_F_WRITE
							: VRING_DESC_F_WRITE | RING_DESC_F_MARKS);
	} else {
		struct vring_avail *avail = (void *)(f->rings + (driver - IOVA));
		struct vring_used *used = (void *)(f->rings + (device - IOVA));

		used->ring[pos].id = htole32(le16toh(avail->ring[pos]));
		used->ring[pos].len = htole32(len);
		used->idx = htole16((uint16_t)(f->used + 1));
	}
	f->used++;
}

static void say_num_buffers(struct fuzz *f)
{
	size_t buf = next(f) % f->rx.num;
	struct virtio_net_hdr_v1 *hdr = (void *)(f->rx.buffers + buf * BYTES);

	hdr->num_buffers = htole16(next16(f));
}

static void write_anywhere(struct fuzz *f, unsigned int len)
{
	size_t at = next16(f) % f->ring_bytes;

	for (unsigned int i = 0; i <= len && at + i < f->ring_bytes && f->len; i++)
		f->rings[at + i] = next(f);
}

static void run(struct fuzz *f)
{
	net_rx_fill(&f->rx);
	vdpa_drvq_publish(f->rx.ring);
	while (f->len) {
		uint8_t step = next(f);

		switch (step & 3) {
		case 0:
			receive(f, 1 + (step >> 2));
			break;
		case 1:
			use(f, next16(f));
			break;
		case 2:
			say_num_buffers(f);
			break;
		case 3:
			write_anywhere(f, step >> 2 & 15);
			break;
		}
	}
	receive(f, UINT32_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t buffers[NUM * BYTES];
	static struct vdpa_mem *mem; /* for all runs: to make it anew is most of what one costs */
	struct vdpa_drvq_config cfg = {.iova = IOVA};
	struct fuzz f = {.data = data, .len = len};
	uint8_t num = next(&f), how = next(&f);

	f.features = (how & 1 ? RING_F_EVENT_IDX : 0) | (how & 2 ? RING_F_PACKED : 0) |
		     (how & 4 ? RING_F_IN_ORDER : 0);
	cfg.features = f.features;
	cfg.num = f.features & RING_F_PACKED ? 1 + num % NUM : 1u << num % 5;
	f.ring_bytes = vdpa_drvq_bytes(cfg.num, cfg.features, 0);
	if (!mem)
		check(!vdpa_mem_alloc("fuzz", vdpa_drvq_bytes(NUM, cfg.features, 0) + 8192, &mem,
				      NULL));
	check(f.ring_bytes <= vdpa_mem_len(mem));
	f.rings = cfg.hva = vdpa_mem_hva(mem);
	memset(buffers, 0, sizeof(buffers));
	f.rx = (struct net_rx){
		.buffers = buffers,
		.iova = IOVA + f.ring_bytes,
		.buf_bytes = BYTES,
		.num = cfg.num,
		.mergeable = !(how & 8),
	};
	check(!vdpa_drvq_alloc(&cfg, &f.rx.ring, NULL));
	run(&f);
	vdpa_drvq_free(f.rx.ring);
	return 0;
}
