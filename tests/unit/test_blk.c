/* SPDX-License-Identifier: BSD-2-Clause */
#include "rig.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define NO_STATUS 0xee
#define DATA_MAX  2048

#define F(name) (1ull << VIRTIO_BLK_F_##name)

/* KEY, VALUE, ...; a rig that runs with these class features. */
#define OPEN(rig, features, ...) open_disk(rig, features, (const char *const[]){__VA_ARGS__, NULL})

static void add_disk(struct rig *rig, const char *const *attrs)
{
	rig_open_bus(rig, NULL);
	rig_add(rig, "blk", attrs);
}

static void open_disk(struct rig *rig, uint64_t features, const char *const *attrs)
{
	add_disk(rig, attrs);
	rig_start(rig, features);
}

static uint8_t request(struct rig *rig, uint16_t idx, uint32_t type, uint64_t sector, void *data,
		       uint32_t out_len, uint32_t in_len)
{
	struct virtio_blk_outhdr hdr = {.type = htole32(type), .sector = htole64(sector)};
	uint8_t out[sizeof(hdr) + DATA_MAX], status;
	struct rig_req *req;

	assert_true(out_len <= DATA_MAX && in_len <= DATA_MAX);
	memcpy(out, &hdr, sizeof(hdr));
	if (out_len)
		memcpy(out + sizeof(hdr), data, out_len);
	req = rig_send(rig, idx, out, (uint32_t)sizeof(hdr) + out_len, in_len + 1);
	rig_wait(rig, idx, req);
	status = req->in[in_len];
	if (in_len)
		memcpy(data, req->in, in_len);
	rig_put(req);
	return status;
}

static uint8_t do_read(struct rig *rig, uint64_t sector, void *data, uint32_t len)
{
	return request(rig, 0, VIRTIO_BLK_T_IN, sector, data, 0, len);
}

static uint8_t do_write(struct rig *rig, uint64_t sector, void *data, uint32_t len)
{
	return request(rig, 0, VIRTIO_BLK_T_OUT, sector, data, len, 0);
}

static int get_config_op(struct rig *rig, void *cfg)
{
	size_t len = vdpa_get_config_size(rig->vdev);

	assert_int_equal(len, offsetof(struct virtio_blk_config, max_secure_erase_sectors));
	return vdpa_get_config(rig->vdev, 0, cfg, (uint32_t)len);
}

static struct virtio_blk_config get_config(struct rig *rig)
{
	struct virtio_blk_config cfg = {0};

	assert_int_equal(rig_lane(rig, get_config_op, &cfg), 0);
	return cfg;
}

static int get_features_op(struct rig *rig, void *features)
{
	*(uint64_t *)features = vdpa_get_device_features(rig->vdev);
	return 0;
}

static uint64_t get_features(struct rig *rig)
{
	uint64_t features = 0;

	rig_lane(rig, get_features_op, &features);
	return features;
}

static int set_writeback_op(struct rig *rig, void *value)
{
	return vdpa_set_config(rig->vdev, offsetof(struct virtio_blk_config, wce), value, 1,
			       &rig->ack);
}

static int set_writeback(struct rig *rig, uint8_t value)
{
	return rig_lane(rig, set_writeback_op, &value);
}

static int set_size(struct rig *rig, const char *size)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct vdpa_result res = {0};
	int err;

	assert_int_equal(vdpa_attrs_add(attrs, "size", size, NULL, NULL), 0);
	vdpa_dev_set(rig->bus, "dev0", attrs, vdpa_result_done, &res);
	err = vdpa_bus_wait(rig->bus, &res);
	rig->ack = res.ack;
	return err;
}

static void assert_refused(const char *const *attrs, const char *text)
{
	struct rig rig;

	rig_open_bus(&rig, NULL);
	assert_true(rig_try_add(&rig, "blk", attrs) < 0);
	if (!strstr(rig.ack.msg, text))
		fail_msg("'%s' does not say '%s'", rig.ack.msg, text);
	rig_close(&rig);
}

#define REFUSED(text, ...) assert_refused((const char *const[]){__VA_ARGS__, NULL}, text)

/* ---- set-up */

static void test_blk_refuses_attributes_that_make_no_sense(void **state)
{
	REFUSED("where is the data?", "size", "1M");
	REFUSED("'size' is missing", "backend", "ram");
	REFUSED("longer than 20", "backend", "ram", "size", "1M", "serial",
		"123456789012345678901");
	REFUSED("cannot open", "file", "/nonexistent/disk");
}

static void test_blk_config_space(void **state)
{
	struct virtio_blk_config cfg;
	struct rig rig;

	add_disk(&rig, (const char *const[]){"backend", "ram", "size", "64M", "block-size", "1024",
					     "queues", "3", "queue-size", "128", NULL});
	cfg = get_config(&rig);
	assert_int_equal(le64toh(cfg.capacity), 64 << 11);
	assert_int_equal(le32toh(cfg.seg_max), 126);
	assert_true(le32toh(cfg.size_max) >= 65536);
	assert_int_equal(le32toh(cfg.blk_size), 1024);
	assert_int_equal(cfg.physical_block_exp, 2);
	assert_int_equal(cfg.wce, 1);
	assert_int_equal(le16toh(cfg.num_queues), 3);
	assert_true(le32toh(cfg.max_discard_sectors) >= 2048);
	assert_true(le32toh(cfg.max_discard_seg) >= 1);
	assert_int_equal(le32toh(cfg.discard_sector_alignment), 8);
	assert_true(le32toh(cfg.max_write_zeroes_sectors) >= 2048);
	assert_int_equal(cfg.write_zeroes_may_unmap, 1);
	rig_close(&rig);
	/* Without indirect tables a chain must fit the queue, whatever size the driver chooses. */
	add_disk(&rig,
		 (const char *const[]){"backend", "ram", "size", "64M", "indirect", "off", NULL});
	assert_int_equal(le32toh(get_config(&rig).seg_max), 62);
	rig_close(&rig);
}

static void test_blk_offers_what_it_has(void **state)
{
	uint64_t always =
		F(SIZE_MAX) | F(SEG_MAX) | F(BLK_SIZE) | F(FLUSH) | F(TOPOLOGY) | F(CONFIG_WCE);
	uint64_t sometimes = F(RO) | F(MQ) | F(DISCARD) | F(WRITE_ZEROES);
	struct rig rig;

	add_disk(&rig, (const char *const[]){"backend", "ram", "size", "1M", NULL});
	assert_int_equal(get_features(&rig) & 0xffffff, always | F(DISCARD) | F(WRITE_ZEROES));
	rig_close(&rig);
	add_disk(&rig, (const char *const[]){"backend", "ram", "size", "1M", "discard", "off",
					     "queues", "2", NULL});
	assert_int_equal(get_features(&rig) & (always | sometimes),
			 always | F(MQ) | F(WRITE_ZEROES));
	rig_close(&rig);
	add_disk(&rig,
		 (const char *const[]){"backend", "null", "size", "1M", "readonly", "on", NULL});
	assert_int_equal(get_features(&rig) & (always | sometimes), always | F(RO));
	rig_close(&rig);
}

/* ---- requests, over the ring */

static void requests(uint64_t features)
{
	uint8_t data[DATA_MAX], same[DATA_MAX];
	struct vdpa_vq_stats stats;
	struct rig rig;

	OPEN(&rig, features | F(FLUSH), "backend", "ram", "size", "1M", "serial", "S/N 12");
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 13);
	assert_int_equal(do_write(&rig, 7, data, sizeof(data)), VIRTIO_BLK_S_OK);
	assert_int_equal(do_read(&rig, 7, same, sizeof(same)), VIRTIO_BLK_S_OK);
	assert_memory_equal(data, same, sizeof(data));
	assert_int_equal(request(&rig, 0, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(request(&rig, 0, VIRTIO_BLK_T_GET_ID, 0, same, 0, 20), VIRTIO_BLK_S_OK);
	assert_string_equal((char *)same, "S/N 12");
	assert_int_equal(rig_stats(&rig, 0).errors, 0);
	assert_int_equal(do_read(&rig, 2048, same, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(&rig, 0, 99, 0, NULL, 0, 0), VIRTIO_BLK_S_UNSUPP);
	stats = rig_stats(&rig, 0);
	assert_int_equal(stats.errors, 2);
	assert_int_equal(stats.requests, 6);
	rig_close(&rig);
}

static void test_blk_requests_over_the_ring(void **state)
{
	requests(0);
	requests(RIG_INDIRECT | RIG_EVENT_IDX);
	requests(RIG_PACKED | RIG_INDIRECT);
}

static void test_blk_request_without_status_breaks_the_queue(void **state)
{
	struct rig_req *req;
	struct rig rig;
	uint64_t hdr = 0;

	OPEN(&rig, 0, "backend", "ram", "size", "1M");
	req = rig_send(&rig, 0, &hdr, sizeof(hdr), 1);
	rig_wait_fd(rig.changed);
	assert_true(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(rig_stats(&rig, 0).broken, 1);
	rig_put(req);
	rig_reset(&rig);
	rig_start(&rig, 0);
	assert_int_equal(request(&rig, 0, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 0), VIRTIO_BLK_S_OK);
	rig_close(&rig);
}

static void test_blk_discard_needs_the_feature(void **state)
{
	struct virtio_blk_discard_write_zeroes seg = {0, htole32(8), 0};
	struct rig rig;

	OPEN(&rig, 0, "backend", "ram", "size", "1M");
	assert_int_equal(request(&rig, 0, VIRTIO_BLK_T_DISCARD, 0, &seg, sizeof(seg), 0),
			 VIRTIO_BLK_S_UNSUPP);
	rig_reset(&rig);
	rig_start(&rig, F(DISCARD));
	assert_int_equal(request(&rig, 0, VIRTIO_BLK_T_DISCARD, 0, &seg, sizeof(seg), 0),
			 VIRTIO_BLK_S_OK);
	assert_int_equal(request(&rig, 0, VIRTIO_BLK_T_WRITE_ZEROES, 0, &seg, sizeof(seg), 0),
			 VIRTIO_BLK_S_UNSUPP);
	rig_close(&rig);
}

/* ---- live */

static void test_blk_live_resize_reaches_the_driver(void **state)
{
	uint32_t generation;
	uint8_t data[512];
	struct rig rig;

	OPEN(&rig, 0, "backend", "ram", "size", "1M");
	generation = rig_generation(&rig);
	assert_int_equal(do_read(&rig, 4095, data, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(set_size(&rig, "2M"), 0);
	rig_wait_fd(rig.changed);
	assert_int_not_equal(rig_generation(&rig), generation);
	assert_int_equal(le64toh(get_config(&rig).capacity), 4096);
	assert_int_equal(do_read(&rig, 4095, data, 512), VIRTIO_BLK_S_OK);
	assert_int_equal(set_size(&rig, "512K"), 0);
	rig_wait_fd(rig.changed);
	assert_int_equal(le64toh(get_config(&rig).capacity), 1024);
	assert_int_equal(do_read(&rig, 1024, data, 512), VIRTIO_BLK_S_IOERR);
	assert_int_equal(do_read(&rig, 1023, data, 512), VIRTIO_BLK_S_OK);
	/* What is refused changes nothing. */
	generation = rig_generation(&rig);
	assert_int_equal(set_size(&rig, "1000"), -EINVAL);
	assert_int_equal(rig_generation(&rig), generation);
	assert_int_equal(do_read(&rig, 1023, data, 512), VIRTIO_BLK_S_OK);
	rig_close(&rig);
}

/* ---- cache mode; what reaches the backend is seen in test_blk_request.c */

static void test_blk_writeback_belongs_to_the_driver(void **state)
{
	struct rig rig;

	OPEN(&rig, F(FLUSH) | F(CONFIG_WCE), "backend", "ram", "size", "1M");
	assert_int_equal(set_writeback(&rig, 0), 0);
	assert_int_equal(get_config(&rig).wce, 0);
	assert_int_equal(set_writeback(&rig, 2), -EINVAL);
	assert_non_null(strstr(rig.ack.msg, "0 or 1"));
	assert_int_equal(get_config(&rig).wce, 0);
	/* A new driver finds it as the user wants it. */
	rig_reset(&rig);
	assert_int_equal(get_config(&rig).wce, 1);
	rig_start(&rig, F(FLUSH));
	assert_int_equal(set_writeback(&rig, 0), -EINVAL);
	rig_close(&rig);
}

static int save_op(struct rig *rig, void *st)
{
	return vdpa_device_save(rig->vdev, VDPA_STATE_DEVICE | VDPA_STATE_SESSION, st, &rig->ack);
}

static int load_op(struct rig *rig, void *st)
{
	return vdpa_device_load(rig->vdev, VDPA_STATE_DEVICE | VDPA_STATE_SESSION, st, &rig->ack);
}

static void test_blk_record_keeps_what_the_driver_wrote(void **state)
{
	struct vdpa_state st = {0};
	struct rig rig;

	OPEN(&rig, F(FLUSH) | F(CONFIG_WCE), "backend", "ram", "size", "1M");
	assert_int_equal(set_writeback(&rig, 0), 0);
	assert_int_equal(rig_lane(&rig, rig_do_suspend, NULL), 0);
	assert_int_equal(rig_lane(&rig, save_op, &st), 0);
	rig_reset(&rig);
	assert_int_equal(get_config(&rig).wce, 1);
	if (rig_lane(&rig, load_op, &st))
		fail_msg("cannot load: %s", rig.ack.msg);
	assert_int_equal(get_config(&rig).wce, 0);
	vdpa_state_clear(&st);
	rig_close(&rig);
}

/* ---- a file, four queues, requests under way on all of them */

#define QUEUES 4
#define DEPTH  32
#define BLOCKS 2048 /* of 2048 bytes */

static void fill(uint8_t *data, uint32_t block, uint32_t round)
{
	uint32_t words[DATA_MAX / 4];

	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = block * 0x9e3779b9u + round * 0x85ebca6bu + (uint32_t)i;
	memcpy(data, words, DATA_MAX);
}

static struct rig_req *send_block(struct rig *rig, uint16_t idx, bool write, uint32_t block,
				  uint32_t round)
{
	struct virtio_blk_outhdr hdr = {
		.type = htole32(write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN),
		.sector = htole64(block * (DATA_MAX / 512)),
	};
	uint8_t out[sizeof(hdr) + DATA_MAX];

	memcpy(out, &hdr, sizeof(hdr));
	fill(out + sizeof(hdr), block, round);
	return rig_send(rig, idx, out, (uint32_t)(write ? sizeof(out) : sizeof(hdr)),
			write ? 1 : DATA_MAX + 1);
}

/* Each queue has its own blocks. */
static void pass(struct rig *rig, bool write, uint32_t round)
{
	struct rig_req *reqs[QUEUES][DEPTH];
	uint8_t data[DATA_MAX];

	for (uint32_t base = 0; base < BLOCKS; base += QUEUES * DEPTH) {
		for (uint32_t i = 0; i < QUEUES * DEPTH; i++)
			reqs[i % QUEUES][i / QUEUES] =
				send_block(rig, i % QUEUES, write, base + i, round);
		for (uint32_t i = 0; i < QUEUES * DEPTH; i++) {
			struct rig_req *req = reqs[i % QUEUES][i / QUEUES];

			rig_wait(rig, i % QUEUES, req);
			assert_int_equal(req->in[write ? 0 : DATA_MAX], VIRTIO_BLK_S_OK);
			fill(data, base + i, round);
			if (!write)
				assert_memory_equal(req->in, data, DATA_MAX);
			rig_put(req);
		}
	}
}

static void run_file(const char *path, const char *direct, const char *aio)
{
	struct rig rig;

	rig_open_bus(&rig, NULL);
	if (rig_try_add(&rig, "blk",
			(const char *const[]){"file", path, "queues", "4", "direct", direct, "aio",
					      aio, NULL})) {
		/* What this kernel or file system has not cannot be tested here. */
		assert_true(strstr(rig.ack.msg, "direct") || strstr(rig.ack.msg, "io_uring"));
		print_message("left out: %s\n", rig.ack.msg);
		rig_close(&rig);
		return;
	}
	rig_close(&rig);
	OPEN(&rig, F(FLUSH) | F(MQ), "file", path, "queues", "4", "direct", direct, "aio", aio);
	for (uint32_t round = 0; round < 2; round++) {
		pass(&rig, true, round);
		for (uint16_t i = 0; i < QUEUES; i++)
			assert_int_equal(request(&rig, i, VIRTIO_BLK_T_FLUSH, 0, NULL, 0, 0),
					 VIRTIO_BLK_S_OK);
		pass(&rig, false, round);
	}
	rig_close(&rig);
}

static void test_blk_file_with_four_queues(void **state)
{
	const char *tmp = getenv("TMPDIR");
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/uvdpa-XXXXXX",
		 tmp && strlen(tmp) < 100 ? tmp : "/var/tmp");
	fd = mkostemp(path, O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, BLOCKS * DATA_MAX), 0);
	close(fd);
	run_file(path, "off", "io_uring");
	run_file(path, "on", "io_uring");
	run_file(path, "on", "threads");
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_blk_refuses_attributes_that_make_no_sense),
		cmocka_unit_test(test_blk_config_space),
		cmocka_unit_test(test_blk_offers_what_it_has),
		cmocka_unit_test(test_blk_requests_over_the_ring),
		cmocka_unit_test(test_blk_request_without_status_breaks_the_queue),
		cmocka_unit_test(test_blk_discard_needs_the_feature),
		cmocka_unit_test(test_blk_live_resize_reaches_the_driver),
		cmocka_unit_test(test_blk_writeback_belongs_to_the_driver),
		cmocka_unit_test(test_blk_record_keeps_what_the_driver_wrote),
		cmocka_unit_test(test_blk_file_with_four_queues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
