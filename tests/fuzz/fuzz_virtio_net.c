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
#include "fuzz_device.h"

#include <string.h>

#include "backends/net/vnet.h"
#include "base/defs.h"
#include "drivers/virtio/net_rx.h"

#define IOVA  0x10000ull
#define NUM   16u
#define BYTES 64u /* of a buffer */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

struct fuzz {
	struct net_rx rx;
	struct fuzz_device dev;
	struct fuzz_input in;
};

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

static void say_num_buffers(struct fuzz *f)
{
	size_t buf = next(&f->in) % f->rx.num;
	struct virtio_net_hdr_v1 *hdr = (void *)(f->rx.buffers + buf * BYTES);

	hdr->num_buffers = htole16(next16(&f->in));
}

static void run(struct fuzz *f)
{
	net_rx_fill(&f->rx);
	vdpa_drvq_publish(f->rx.ring);
	while (f->in.len) {
		uint8_t step = next(&f->in);

		switch (step & 3) {
		case 0:
			receive(f, 1 + (step >> 2));
			break;
		case 1:
			fuzz_use(&f->dev, next16(&f->in));
			break;
		case 2:
			say_num_buffers(f);
			break;
		case 3:
			fuzz_write_anywhere(&f->dev, &f->in, 1 + (step >> 2 & 15));
			break;
		}
	}
	receive(f, UINT32_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t buffers[NUM * BYTES];
	static struct vdpa_mem *mem; /* for all runs: to make it anew is most of what one costs */
	struct fuzz f = {.in = {data, len}};
	uint8_t size = next(&f.in), how = next(&f.in);
	uint64_t features = fuzz_features(how);
	uint32_t num = fuzz_num(size, features, NUM);

	if (!mem)
		check(!vdpa_mem_alloc("fuzz", vdpa_drvq_bytes(NUM, features, 0) + 8192, &mem,
				      NULL));
	fuzz_device_open(&f.dev, num, features, vdpa_mem_hva(mem), IOVA);
	check(f.dev.bytes <= vdpa_mem_len(mem));
	memset(buffers, 0, sizeof(buffers));
	f.rx = (struct net_rx){
		.ring = f.dev.ring,
		.buffers = buffers,
		.iova = IOVA + f.dev.bytes,
		.buf_bytes = BYTES,
		.num = num,
		.mergeable = !(how & 8),
	};
	run(&f);
	vdpa_drvq_free(f.dev.ring);
	return 0;
}
