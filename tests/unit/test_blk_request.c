/* SPDX-License-Identifier: BSD-2-Clause */
#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/defs.h"
#include "block_rig.h"
#include "fail_alloc.h"
#include "parents/soft/blk_request.h"

#define DISK_SIZE  (1u << 20)
#define NO_STATUS  0xee
#define MAX_PIECES 512

/* How a request is laid out in pieces. */
enum layout {
	NATURAL, /* header, data, status */
	WHOLE,   /* one piece that is read, one that is written */
	BYTES,   /* pieces of seven bytes */
	EMPTY,   /* natural, with empty pieces between and behind */
	NUM_LAYOUTS,
};

struct fix {
	struct block_rig rig;
	struct blk_disk disk;
	struct blk_request r;
	struct vdpa_vq_elem elem;
	struct iovec iov[MAX_PIECES];
	unsigned int num;
	uint8_t *out, *in;
	int ended; /* results of done() */
	/* A backend that takes its time. */
	struct block slow;
	struct block_queue slow_queue;
	struct block_io *held;
	enum block_op op;
	uint32_t flags;
	int submits;
	int result; /* of submit */
};

static void done(struct blk_request *r, enum blk_result result)
{
	container_of(r, struct fix, r)->ended = result;
}

static struct fix *fix_open(const char *words)
{
	struct fix *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	assert_int_equal(brig_open(&f->rig, words, false), 0);
	f->disk = (struct blk_disk){
		.capacity = f->rig.block->info.size,
		.readonly = f->rig.block->info.readonly,
		.discard = true,
		.write_zeroes = true,
		.unmap = true,
		.block_size = f->rig.block->info.block_size,
		.max_discard = 64,
		.max_write_zeroes = 64,
		.serial = "01234567890123456789",
	};
	f->ended = -1;
	return f;
}

static void fix_close(struct fix *f)
{
	brig_close(&f->rig);
	free(f->out);
	free(f->in);
	free(f);
}

static void add(struct fix *f, uint8_t *base, size_t len)
{
	assert_true(f->num < MAX_PIECES);
	f->iov[f->num++] = (struct iovec){base, len};
}

/* One direction: `head` bytes, data, `tail` bytes. */
static void lay_out(struct fix *f, enum layout layout, uint8_t *buf, size_t head, size_t len,
		    size_t tail)
{
	size_t all = head + len + tail;

	if (layout == WHOLE) {
		add(f, buf, all);
	} else if (layout == BYTES) {
		for (size_t i = 0; i < all; i += 7)
			add(f, buf + i, all - i < 7 ? all - i : 7);
	} else {
		if (head)
			add(f, buf, head);
		if (layout == EMPTY)
			add(f, buf, 0);
		if (len)
			add(f, buf + head, len);
		if (layout == EMPTY)
			add(f, buf, 0);
		if (tail)
			add(f, buf + head + len, tail);
		if (layout == EMPTY)
			add(f, buf, 0);
	}
}

/* Buffers are exactly as long as they look, for address checkers. */
static void build(struct fix *f, enum layout layout, uint32_t type, uint64_t sector,
		  const void *data, uint32_t out_len, uint32_t in_len)
{
	struct virtio_blk_outhdr hdr = {.type = htole32(type), .sector = htole64(sector)};

	free(f->out);
	free(f->in);
	f->out = malloc(sizeof(hdr) + out_len);
	f->in = malloc(in_len + 1);
	assert_true(f->out && f->in);
	memcpy(f->out, &hdr, sizeof(hdr));
	if (out_len)
		memcpy(f->out + sizeof(hdr), data, out_len);
	memset(f->in, NO_STATUS, in_len + 1);
	f->num = 0;
	lay_out(f, layout, f->out, sizeof(hdr), out_len, 0);
	f->elem.out_num = (uint16_t)f->num;
	lay_out(f, layout, f->in, 0, in_len, 1);
	f->elem.in_num = (uint16_t)(f->num - f->elem.out_num);
	f->elem.iov = f->iov;
	f->elem.out_len = (uint32_t)sizeof(hdr) + out_len;
	f->elem.in_len = in_len + 1;
}

static enum blk_result start(struct fix *f, struct block_queue *queue)
{
	f->r.disk = &f->disk;
	f->r.queue = queue;
	f->r.elem = &f->elem;
	f->r.done = done;
	return blk_request_start(&f->r);
}

static uint8_t status(const struct fix *f)
{
	return f->in[f->elem.in_len - 1];
}

/* Run a request that ends at once; returns its status. */
static uint8_t run(struct fix *f, enum layout layout, uint32_t type, uint64_t sector,
		   const void *data, uint32_t out_len, uint32_t in_len)
{
	enum blk_result result;

	build(f, layout, type, sector, data, out_len, in_len);
	result = start(f, f->rig.queue);
	assert_int_equal(result, status(f) == VIRTIO_BLK_S_OK ? BLK_OK : BLK_FAILED);
	return status(f);
}

static uint8_t run_range(struct fix *f, uint32_t type, uint64_t sector, uint32_t num,
			 uint32_t flags)
{
	struct virtio_blk_discard_write_zeroes seg = {htole64(sector), htole32(num),
						      htole32(flags)};

	return run(f, NATURAL, type, 0, &seg, sizeof(seg), 0);
}

/* ---- data */

static void test_read_and_write_in_any_layout(void **state)
{
	struct fix *f = fix_open("backend ram size 1M");
	uint8_t data[1536];

	for (enum layout w = 0; w < NUM_LAYOUTS; w++) {
		for (enum layout r = 0; r < NUM_LAYOUTS; r++) {
			for (size_t i = 0; i < sizeof(data); i++)
				data[i] = (uint8_t)(i * 7 + w * 16 + r);
			assert_int_equal(run(f, w, VIRTIO_BLK_T_OUT, 5, data, sizeof(data), 0),
					 VIRTIO_BLK_S_OK);
			assert_int_equal(run(f, r, VIRTIO_BLK_T_IN, 5, NULL, 0, sizeof(data)),
					 VIRTIO_BLK_S_OK);
			assert_memory_equal(f->in, data, sizeof(data));
		}
	}
	fix_close(f);
}

static void test_ranges_are_checked(void **state)
{
	struct fix *f = fix_open("backend ram size 1M");
	uint64_t last = DISK_SIZE / 512 - 1;
	uint8_t data[4096] = {0};

	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_IN, last, NULL, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_OUT, last, data, 512, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_IN, last, NULL, 0, 1024), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_OUT, last + 1, data, 512, 0),
			 VIRTIO_BLK_S_IOERR);
	/* Sectors that wrap when they become bytes. */
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_IN, UINT64_MAX, NULL, 0, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_IN, 1ull << 55, NULL, 0, 512),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_IN, UINT64_MAX / 512, NULL, 0, 512),
			 VIRTIO_BLK_S_IOERR);
	/* No sectors at all; a part of one. */
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_IN, 0, NULL, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_IN, 0, NULL, 0, 100), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_OUT, 0, data, 513, 0), VIRTIO_BLK_S_IOERR);
	/* A resize is seen by the next request. */
	f->disk.capacity = DISK_SIZE / 2;
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_IN, last, NULL, 0, 512), VIRTIO_BLK_S_IOERR);
	fix_close(f);
}

static void test_requests_are_multiples_of_the_block_size(void **state)
{
	struct fix *f = fix_open("backend ram size 1M block-size 4096");

	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_IN, 8, NULL, 0, 4096), VIRTIO_BLK_S_OK);
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_IN, 1, NULL, 0, 4096), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_IN, 0, NULL, 0, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run_range(f, VIRTIO_BLK_T_DISCARD, 0, 1, 0), VIRTIO_BLK_S_IOERR);
	fix_close(f);
}

static void test_readonly_refuses_what_writes(void **state)
{
	struct fix *f = fix_open("backend ram size 1M readonly on");
	uint8_t data[512] = {0};

	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_IN, 0, NULL, 0, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_OUT, 0, data, 512, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run_range(f, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run_range(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 0), VIRTIO_BLK_S_OK);
	fix_close(f);
}

/* ---- the other requests */

static void test_get_id_and_unknown(void **state)
{
	struct fix *f = fix_open("backend ram size 1M");

	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_GET_ID, 0, NULL, 0, 20), VIRTIO_BLK_S_OK);
	assert_memory_equal(f->in, "01234567890123456789", 20);
	assert_int_equal(run(f, BYTES, VIRTIO_BLK_T_GET_ID, 0, NULL, 0, 5), VIRTIO_BLK_S_OK);
	assert_memory_equal(f->in, "01234", 5);
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_GET_ID, 0, NULL, 0, 64), VIRTIO_BLK_S_OK);
	assert_int_equal(f->in[20], NO_STATUS);
	assert_int_equal(run(f, NATURAL, 2, 0, NULL, 0, 512), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(run(f, NATURAL, 0xffffffff, 0, NULL, 0, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_SECURE_ERASE, 0, NULL, 0, 0),
			 VIRTIO_BLK_S_UNSUPP);
	fix_close(f);
}

static void test_requests_without_header_or_status_are_broken(void **state)
{
	struct fix *f = fix_open("backend ram size 1M");

	build(f, NATURAL, VIRTIO_BLK_T_IN, 0, NULL, 0, 512);
	f->iov[0].iov_len = 15;
	f->elem.out_len = 15;
	assert_int_equal(start(f, f->rig.queue), BLK_BROKEN);
	assert_int_equal(status(f), NO_STATUS);
	build(f, NATURAL, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 0);
	f->elem.in_num = 0;
	f->elem.in_len = 0;
	assert_int_equal(start(f, f->rig.queue), BLK_BROKEN);
	build(f, NATURAL, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 0);
	f->elem.out_num = 0;
	f->elem.out_len = 0;
	assert_int_equal(start(f, f->rig.queue), BLK_BROKEN);
	fix_close(f);
}

static void test_discard_and_write_zeroes(void **state)
{
	struct fix *f = fix_open("backend ram size 1M");
	uint8_t data[8192];

	for (int zeroes = 0; zeroes < 2; zeroes++) {
		memset(data, 1, sizeof(data));
		assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_OUT, 0, data, sizeof(data), 0),
				 VIRTIO_BLK_S_OK);
		assert_int_equal(
			run_range(f, zeroes ? VIRTIO_BLK_T_WRITE_ZEROES : VIRTIO_BLK_T_DISCARD, 4,
				  8, 0),
			VIRTIO_BLK_S_OK);
		memset(data + 2048, 0, 4096);
		assert_int_equal(run(f, NATURAL, VIRTIO_BLK_T_IN, 0, NULL, 0, sizeof(data)),
				 VIRTIO_BLK_S_OK);
		assert_memory_equal(f->in, data, sizeof(data));
	}
	fix_close(f);
}

static void test_discard_ranges_are_checked(void **state)
{
	static const uint32_t types[] = {VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES};
	struct fix *f = fix_open("backend ram size 1M");
	uint8_t segs[17 * 16] = {0};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		uint32_t t = types[i];

		assert_int_equal(run_range(f, t, 0, 0, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(run_range(f, t, 0, 64, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(run_range(f, t, 0, 65, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run_range(f, t, DISK_SIZE / 512 - 8, 9, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run_range(f, t, UINT64_MAX, 8, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run_range(f, t, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
		assert_int_equal(run_range(f, t, 0, 8, 1),
				 t == VIRTIO_BLK_T_DISCARD ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_OK);
		/* No range, a part of one, one too many. */
		assert_int_equal(run(f, NATURAL, t, 0, NULL, 0, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run(f, NATURAL, t, 0, segs, 15, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run(f, NATURAL, t, 0, segs, 17, 0), VIRTIO_BLK_S_IOERR);
		assert_int_equal(run(f, BYTES, t, 0, segs, 16 * 16, 0), VIRTIO_BLK_S_OK);
		assert_int_equal(run(f, NATURAL, t, 0, segs, 17 * 16, 0), VIRTIO_BLK_S_IOERR);
	}
	/* Features that were not negotiated. */
	f->disk.discard = f->disk.write_zeroes = false;
	assert_int_equal(run_range(f, VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	assert_int_equal(run_range(f, VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	fix_close(f);
}

/* ---- a backend that takes its time */

static int slow_submit(struct block_queue *queue, struct block_io *io)
{
	struct fix *f = container_of(queue, struct fix, slow_queue);

	f->submits++;
	f->op = io->op;
	f->flags = io->flags;
	if (f->result == BLOCK_PENDING)
		f->held = io;
	return f->result;
}

static const struct block_ops slow_ops = {.name = "slow", .submit = slow_submit};

static struct fix *fix_slow(void)
{
	struct fix *f = fix_open("backend null size 1M");

	f->slow.ops = f->slow_queue.ops = &slow_ops;
	f->slow_queue.block = &f->slow;
	f->result = BLOCK_PENDING;
	return f;
}

static void end_held(struct fix *f, int err)
{
	struct block_io *io = f->held;

	assert_non_null(io);
	f->held = NULL;
	io->done(io, err);
}

static void test_requests_end_later(void **state)
{
	struct fix *f = fix_slow();
	uint8_t data[512] = {0};

	for (enum layout layout = 0; layout < NUM_LAYOUTS; layout++) {
		f->ended = -1;
		build(f, layout, VIRTIO_BLK_T_OUT, 0, data, 512, 0);
		assert_int_equal(start(f, &f->slow_queue), BLK_PENDING);
		assert_int_equal(status(f), NO_STATUS);
		end_held(f, 0);
		assert_int_equal(f->ended, BLK_OK);
		assert_int_equal(status(f), VIRTIO_BLK_S_OK);
	}
	build(f, NATURAL, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 0);
	assert_int_equal(start(f, &f->slow_queue), BLK_PENDING);
	end_held(f, -ENOSPC);
	assert_int_equal(f->ended, BLK_FAILED);
	assert_int_equal(f->r.err, -ENOSPC);
	assert_int_equal(status(f), VIRTIO_BLK_S_IOERR);
	fix_close(f);
}

static void test_ranges_follow_each_other(void **state)
{
	struct virtio_blk_discard_write_zeroes segs[3] = {
		{htole64(0), htole32(8)}, {htole64(8), htole32(8)}, {htole64(16), htole32(8)}};
	struct fix *f = fix_slow();

	for (int fail = 0; fail < 4; fail++) {
		f->submits = 0;
		f->ended = -1;
		build(f, NATURAL, VIRTIO_BLK_T_DISCARD, 0, segs, sizeof(segs), 0);
		assert_int_equal(start(f, &f->slow_queue), BLK_PENDING);
		while (f->held) {
			assert_int_equal(f->ended, -1);
			assert_int_equal(f->r.io.off, (f->submits - 1) * 4096);
			end_held(f, f->submits == fail ? -EOPNOTSUPP : 0);
		}
		assert_int_equal(f->submits, fail ? fail : 3);
		assert_int_equal(status(f), fail ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_OK);
	}
	fix_close(f);
}

static void test_writethrough_and_unmap_reach_the_backend(void **state)
{
	struct fix *f = fix_slow();
	uint8_t data[512] = {0};

	f->result = 0;
	for (int through = 0; through < 2; through++) {
		uint32_t fua = through ? BLOCK_FUA : 0;

		f->disk.writethrough = through;
		build(f, NATURAL, VIRTIO_BLK_T_OUT, 0, data, 512, 0);
		assert_int_equal(start(f, &f->slow_queue), BLK_OK);
		assert_int_equal(f->op, BLOCK_WRITE);
		assert_int_equal(f->flags, fua);
		build(f, NATURAL, VIRTIO_BLK_T_IN, 0, NULL, 0, 512);
		assert_int_equal(start(f, &f->slow_queue), BLK_OK);
		assert_int_equal(f->flags, 0);
		for (int unmap = 0; unmap < 2; unmap++) {
			struct virtio_blk_discard_write_zeroes seg = {0, htole32(8), htole32(1)};

			f->disk.unmap = unmap;
			build(f, NATURAL, VIRTIO_BLK_T_WRITE_ZEROES, 0, &seg, sizeof(seg), 0);
			assert_int_equal(start(f, &f->slow_queue), BLK_OK);
			assert_int_equal(f->op, BLOCK_WRITE_ZEROES);
			assert_int_equal(f->flags, fua | (unmap ? BLOCK_UNMAP : 0));
		}
	}
	fix_close(f);
}

static void test_requests_survive_failing_allocations(void **state)
{
	struct fix *f = fix_open("backend ram size 1M");
	uint8_t data[512] = {0}, segs[32] = {0};

	build(f, WHOLE, VIRTIO_BLK_T_OUT, 0, data, sizeof(data), 0);
	fail_alloc_nth(1);
	assert_int_equal(start(f, f->rig.queue), BLK_FAILED);
	assert_true(fail_alloc_done());
	assert_int_equal(status(f), VIRTIO_BLK_S_IOERR);
	build(f, NATURAL, VIRTIO_BLK_T_DISCARD, 0, segs, sizeof(segs), 0);
	fail_alloc_nth(1);
	assert_int_equal(start(f, f->rig.queue), BLK_FAILED);
	assert_true(fail_alloc_done());
	fix_close(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_and_write_in_any_layout),
		cmocka_unit_test(test_ranges_are_checked),
		cmocka_unit_test(test_requests_are_multiples_of_the_block_size),
		cmocka_unit_test(test_readonly_refuses_what_writes),
		cmocka_unit_test(test_get_id_and_unknown),
		cmocka_unit_test(test_requests_without_header_or_status_are_broken),
		cmocka_unit_test(test_discard_and_write_zeroes),
		cmocka_unit_test(test_discard_ranges_are_checked),
		cmocka_unit_test(test_requests_end_later),
		cmocka_unit_test(test_ranges_follow_each_other),
		cmocka_unit_test(test_writethrough_and_unmap_reach_the_backend),
		cmocka_unit_test(test_requests_survive_failing_allocations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
