/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's side of a driver's ring, for targets where the device is the fuzzer: it uses buffers
 * as it should, and writes anywhere.
 *
 * Each chain of the driver's is one descriptor.  Chains are used in the order in which they were
 * offered: what is at a position is there again after a lap.
 */
#ifndef FUZZ_DEVICE_H
#define FUZZ_DEVICE_H

#include <endian.h>
#include <stdlib.h>

#include "vdpa/virtqueue.h"
#include "virtqueue/ring.h"

/* What is left of the input; zeros after its end. */
struct fuzz_input {
	const uint8_t *data;
	size_t len;
};

struct fuzz_device {
	struct vdpa_drvq *ring;
	uint8_t *hva; /* of its areas */
	uint64_t iova;
	size_t bytes;
	uint64_t features;
	uint32_t num;
	uint16_t used; /* chains */
};

static inline void check(bool ok)
{
	if (!ok)
		abort();
}

static inline uint8_t next(struct fuzz_input *in)
{
	if (!in->len)
		return 0;
	in->len--;
	return *in->data++;
}

static inline uint16_t next16(struct fuzz_input *in)
{
	uint8_t low = next(in);

	return (uint16_t)(low | next(in) << 8);
}

/* Ring features from a byte: 1 event index, 2 packed, 4 in order. */
static inline uint64_t fuzz_features(uint8_t how)
{
	return (how & 1 ? RING_F_EVENT_IDX : 0) | (how & 2 ? RING_F_PACKED : 0) |
	       (how & 4 ? RING_F_IN_ORDER : 0);
}

/* Entries from a byte: up to most, which is a power of two. */
static inline uint32_t fuzz_num(uint8_t num, uint64_t features, uint32_t most)
{
	return features & RING_F_PACKED ? 1 + num % most
					: 1u << num % (unsigned int)__builtin_ffs((int)most);
}

/* A ring of the driver's in this memory. */
static inline void fuzz_device_open(struct fuzz_device *dev, uint32_t num, uint64_t features,
				    uint8_t *hva, uint64_t iova)
{
	const struct vdpa_drvq_config cfg = {
		.num = num, .features = features, .hva = hva, .iova = iova};

	*dev = (struct fuzz_device){.hva = hva, .iova = iova, .features = features, .num = num};
	dev->bytes = vdpa_drvq_bytes(num, features, 0);
	check(!vdpa_drvq_alloc(&cfg, &dev->ring, NULL));
}

/* Use the next chain, and say that len bytes were written. */
static inline void fuzz_use(struct fuzz_device *dev, uint32_t len)
{
	uint64_t desc, driver, device;
	uint32_t pos = dev->used % dev->num;

	vdpa_drvq_areas(dev->ring, &desc, &driver, &device);
	if (dev->features & RING_F_PACKED) {
		struct vring_packed_desc *d = (void *)(dev->hva + (desc - dev->iova));
		bool first_lap = dev->used / dev->num % 2 == 0;

		d[pos].len = htole32(len);
		d[pos].flags = htole16(first_lap ? VRING_DESC_F_WRITE | RING_DESC_F_MARKS
						 : VRING_DESC_F_WRITE);
	} else {
		struct vring_avail *avail = (void *)(dev->hva + (driver - dev->iova));
		struct vring_used *used = (void *)(dev->hva + (device - dev->iova));

		used->ring[pos].id = htole32(le16toh(avail->ring[pos]));
		used->ring[pos].len = htole32(len);
		used->idx = htole16((uint16_t)(dev->used + 1));
	}
	dev->used++;
}

/* A place, and len bytes for it. */
static inline void fuzz_write_anywhere(struct fuzz_device *dev, struct fuzz_input *in,
				       unsigned int len)
{
	size_t at = next16(in) % dev->bytes;

	for (unsigned int i = 0; i < len && at + i < dev->bytes && in->len; i++)
		dev->hva[at + i] = next(in);
}

#endif
