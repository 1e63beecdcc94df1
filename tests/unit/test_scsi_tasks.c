/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SCSI tasks that take their time: on a backend that ends them when it is told to.  And what of the
 * host outlives its process.
 */
#include "scsi_rig.h"
#include "slow_block.h"

#include <linux/virtio_config.h>

#define REQUEST2 (REQUEST + 1)
#define SECTORS  2048u /* of a disk */

static struct cmd read_at(uint8_t lba)
{
	struct cmd c = {.cdb = {0x28, [5] = lba, [8] = 1}, .in_len = BLOCK};

	return c;
}

static struct cmd write_at(uint8_t lba, unsigned int seed)
{
	struct cmd c = {.cdb = {0x2a, [5] = lba, [8] = 1}, .out_len = BLOCK};

	cmd_fill(c.out, BLOCK, seed);
	return c;
}

/* All of the disk, in chunks of 256 KiB. */
static struct cmd write_same(unsigned int seed)
{
	struct cmd c = {.cdb = {0x93, [12] = SECTORS >> 8}, .out_len = BLOCK};

	cmd_fill(c.out, BLOCK, seed);
	return c;
}

static void expect_block(struct rig *rig, uint8_t lba, const void *data)
{
	struct cmd r = read_at(lba);

	cmd_good(rig, 0, &r);
	assert_memory_equal(r.in, data, BLOCK);
}

static void expect_last_block(struct rig *rig, const void *data)
{
	struct cmd r = {.cdb = {0x28, [4] = 7, 0xff, [8] = 1}, .in_len = BLOCK};

	cmd_good(rig, 0, &r);
	assert_memory_equal(r.in, data, BLOCK);
}

static void open_slow(struct rig *rig, uint64_t features)
{
	OPEN(rig, features, RAM("0"), RAM("1"), "request-queues", "2");
	cmd_ready(rig, 0);
	cmd_ready(rig, 1);
	slow_keep(true);
}

static void close_slow(struct rig *rig)
{
	slow_keep(false);
	assert_int_equal(slow_num(), 0);
	rig_close(rig);
}

/* ---- steps */

static void test_scsi_tasks_end_in_any_order(void **state)
{
	struct cmd w = write_at(1, 3), r = read_at(9), tur = CDB(0);
	uint8_t zero[BLOCK] = {0};
	struct rig rig;

	open_slow(&rig, RIG_INDIRECT);
	cmd_send(&rig, REQUEST, 0, 1, &w);
	slow_wait(1);
	cmd_send(&rig, REQUEST2, 0, 2, &r);
	slow_wait(2);
	/* What needs no medium does not wait. */
	cmd_good(&rig, 0, &tur);
	rig_collect(&rig, REQUEST);
	assert_false(w.req->done);
	slow_end();
	slow_end();
	cmd_wait(&rig, REQUEST, &w);
	cmd_wait(&rig, REQUEST2, &r);
	cmd_check_good(&w);
	cmd_check_good(&r);
	assert_memory_equal(r.in, zero, BLOCK);
	slow_keep(false);
	expect_block(&rig, 1, w.out);
	close_slow(&rig);
}

static void test_scsi_write_same_goes_in_steps(void **state)
{
	struct cmd same = write_same(5);
	struct rig rig;

	open_slow(&rig, 0);
	cmd_send(&rig, REQUEST, 0, 1, &same);
	for (int i = 0; i < 4; i++) {
		slow_wait(1);
		assert_int_equal(slow_num(), 1);
		slow_end();
	}
	cmd_wait(&rig, REQUEST, &same);
	cmd_check_good(&same);
	slow_keep(false);
	expect_block(&rig, 0, same.out);
	expect_last_block(&rig, same.out);
	close_slow(&rig);
}

static void test_scsi_unmap_goes_range_by_range(void **state)
{
	struct cmd unmap = {.cdb = {0x42, [8] = 40}, .out_len = 40}, w = write_at(3, 8);
	uint8_t zero[BLOCK] = {0};
	struct rig rig;

	open_slow(&rig, 0);
	slow_keep(false);
	cmd_good(&rig, 0, &w);
	slow_keep(true);
	put_be16(unmap.out + 2, 32);
	put_be64(unmap.out + 8, 100);
	put_be32(unmap.out + 16, 1);
	put_be64(unmap.out + 24, 3);
	put_be32(unmap.out + 32, 1);
	cmd_send(&rig, REQUEST, 0, 1, &unmap);
	slow_end();
	slow_end();
	cmd_wait(&rig, REQUEST, &unmap);
	cmd_check_good(&unmap);
	slow_keep(false);
	expect_block(&rig, 3, zero);
	close_slow(&rig);
}

static void test_scsi_verify_stops_at_the_first_difference(void **state)
{
	/* More than a chunk would be more than a slot of the rig holds. */
	struct cmd v = {.cdb = {0x2f, 2, [8] = 2}, .out_len = 2 * BLOCK};
	struct rig rig;

	open_slow(&rig, 0);
	v.out[BLOCK + 3] = 1;
	cmd_send(&rig, REQUEST, 0, 1, &v);
	slow_end();
	cmd_wait(&rig, REQUEST, &v);
	cmd_check_refused(&v, SCSI_KEY_MISCOMPARE, SCSI_ASC_MISCOMPARE);
	assert_int_equal(get_be32(v.resp.sense + 3), BLOCK + 3);
	close_slow(&rig);
}

static void test_scsi_compare_and_write_is_alone_on_its_unit(void **state)
{
	struct cmd caw = {.cdb = {0x89, [9] = 5, [13] = 1}, .out_len = 2 * BLOCK}, other = caw;
	struct rig rig;

	open_slow(&rig, 0);
	cmd_fill(caw.out + BLOCK, BLOCK, 9);
	cmd_send(&rig, REQUEST, 0, 1, &caw);
	slow_wait(1);
	/* From another queue: to be tried again.  Another unit does not mind. */
	cmd_send(&rig, REQUEST2, 0, 2, &other);
	cmd_wait(&rig, REQUEST2, &other);
	assert_int_equal(other.resp.status, SCSI_BUSY);
	cmd_send(&rig, REQUEST2, 1, 3, &other);
	slow_wait(2);
	for (int i = 0; i < 4; i++)
		slow_end();
	cmd_wait(&rig, REQUEST, &caw);
	cmd_check_good(&caw);
	cmd_wait(&rig, REQUEST2, &other);
	cmd_check_good(&other);
	slow_keep(false);
	expect_block(&rig, 5, caw.out + BLOCK);
	/* The unit is free again. */
	cmd_refused(&rig, 0, &other, SCSI_KEY_MISCOMPARE, SCSI_ASC_MISCOMPARE);
	close_slow(&rig);
}

static void test_scsi_says_what_the_backend_says(void **state)
{
	static const struct {
		int err;
		bool write;
		uint8_t key;
		uint16_t asc;
	} rows[] = {
		{-EIO, false, SCSI_KEY_MEDIUM_ERROR, SCSI_ASC_READ_ERROR},
		{-EIO, true, SCSI_KEY_MEDIUM_ERROR, SCSI_ASC_WRITE_ERROR},
		{-ENOSPC, true, SCSI_KEY_DATA_PROTECT, SCSI_ASC_SPACE},
		{-ENOMEM, false, SCSI_KEY_ABORTED_COMMAND, SCSI_ASC_RESOURCES},
		{-EOPNOTSUPP, true, SCSI_KEY_HARDWARE_ERROR, SCSI_ASC_INTERNAL},
	};
	struct rig rig;

	open_slow(&rig, 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct cmd c = rows[i].write ? write_at(1, 1) : read_at(1);

		cmd_send(&rig, REQUEST, 0, 1, &c);
		slow_fail(rows[i].err);
		cmd_wait(&rig, REQUEST, &c);
		cmd_check_refused(&c, rows[i].key, rows[i].asc);
	}
	assert_true(atomic_load(&rig.logs) > 0);
	close_slow(&rig);
}

/* ---- task management */

static void abort_one(struct rig *rig, uint32_t subtype, uint64_t tag, uint8_t response)
{
	struct cmd r = read_at(0), other = read_at(1);
	struct rig_req *tmf;

	cmd_send(rig, REQUEST, 0, 7, &r);
	slow_wait(1);
	cmd_send(rig, REQUEST2, 1, 7, &other);
	slow_wait(2);
	assert_int_equal(tmf_run(rig, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 7),
			 VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
	assert_int_equal(tmf_run(rig, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 8), VIRTIO_SCSI_S_OK);
	assert_int_equal(tmf_run(rig, VIRTIO_SCSI_T_TMF_QUERY_TASK_SET, 0, 8),
			 VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
	tmf = tmf_send(rig, subtype, 0, tag);
	/* Behind the function, which waits for the task. */
	assert_int_equal(tmf_run(rig, VIRTIO_SCSI_T_TMF_QUERY_TASK, 1, 7),
			 VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
	rig_collect(rig, CONTROL);
	assert_false(tmf->done);
	slow_end();
	assert_int_equal(tmf_wait(rig, tmf), VIRTIO_SCSI_S_OK);
	/* Whoever hears that a task was aborted finds that it has ended. */
	rig_collect(rig, REQUEST);
	assert_true(r.req->done);
	cmd_wait(rig, REQUEST, &r);
	assert_int_equal(r.resp.response, response);
	assert_int_equal(le32toh(r.resp.resid), BLOCK);
	/* That of another unit goes on. */
	slow_end();
	cmd_wait(rig, REQUEST2, &other);
	cmd_check_good(&other);
}

static void abort_rounds(uint64_t features)
{
	struct cmd tur = CDB(0);
	struct rig rig;

	open_slow(&rig, features);
	for (int round = 0; round < 20; round++) {
		abort_one(&rig, VIRTIO_SCSI_T_TMF_ABORT_TASK, 7, VIRTIO_SCSI_S_ABORTED);
		abort_one(&rig, VIRTIO_SCSI_T_TMF_ABORT_TASK_SET, 0, VIRTIO_SCSI_S_ABORTED);
		abort_one(&rig, VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET, 0, VIRTIO_SCSI_S_ABORTED);
		abort_one(&rig, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0, VIRTIO_SCSI_S_RESET);
		cmd_refused(&rig, 0, &tur, SCSI_KEY_UNIT_ATTENTION, SCSI_ASC_RESET);
	}
	close_slow(&rig);
}

static void test_scsi_aborts_split(void **state)
{
	abort_rounds(RIG_EVENT_IDX);
}

static void test_scsi_aborts_packed(void **state)
{
	abort_rounds(RIG_PACKED | RIG_EVENT_IDX);
}

static void test_scsi_nexus_reset_ends_all(void **state)
{
	struct cmd a = read_at(0), b = read_at(1), tur = CDB(0);
	struct rig_req *tmf;
	struct rig rig;

	open_slow(&rig, 0);
	cmd_send(&rig, REQUEST, 0, 1, &a);
	cmd_send(&rig, REQUEST2, 1, 2, &b);
	slow_wait(2);
	tmf = tmf_send(&rig, VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET, 0, 0);
	assert_int_equal(tmf_run(&rig, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 9), VIRTIO_SCSI_S_OK);
	slow_end();
	slow_end();
	assert_int_equal(tmf_wait(&rig, tmf), VIRTIO_SCSI_S_OK);
	cmd_wait(&rig, REQUEST, &a);
	cmd_wait(&rig, REQUEST2, &b);
	assert_int_equal(a.resp.response, VIRTIO_SCSI_S_RESET);
	assert_int_equal(b.resp.response, VIRTIO_SCSI_S_RESET);
	cmd_refused(&rig, 1, &tur, SCSI_KEY_UNIT_ATTENTION, SCSI_ASC_RESET);
	close_slow(&rig);
}

static void test_scsi_an_aborted_task_makes_no_further_step(void **state)
{
	struct cmd same = write_same(6), caw = {.cdb = {0x89, [13] = 1}, .out_len = 2 * BLOCK};
	uint8_t zero[BLOCK] = {0};
	struct rig_req *tmf;
	struct rig rig;

	open_slow(&rig, 0);
	cmd_fill(caw.out + BLOCK, BLOCK, 1);
	cmd_send(&rig, REQUEST, 0, 1, &caw);
	slow_wait(1);
	tmf = tmf_send(&rig, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 1);
	assert_int_equal(tmf_run(&rig, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 9), VIRTIO_SCSI_S_OK);
	slow_end();
	assert_int_equal(tmf_wait(&rig, tmf), VIRTIO_SCSI_S_OK);
	cmd_wait(&rig, REQUEST, &caw);
	assert_int_equal(caw.resp.response, VIRTIO_SCSI_S_ABORTED);

	cmd_send(&rig, REQUEST, 0, 2, &same);
	slow_wait(1);
	tmf = tmf_send(&rig, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 2);
	assert_int_equal(tmf_run(&rig, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 9), VIRTIO_SCSI_S_OK);
	slow_end();
	assert_int_equal(tmf_wait(&rig, tmf), VIRTIO_SCSI_S_OK);
	cmd_wait(&rig, REQUEST, &same);
	assert_int_equal(same.resp.response, VIRTIO_SCSI_S_ABORTED);
	assert_int_equal(slow_num(), 0);
	slow_keep(false);
	/* The first chunk of the one, nothing of the other. */
	expect_block(&rig, 0, same.out);
	expect_last_block(&rig, zero);
	close_slow(&rig);
}

/* ---- while tasks are under way */

static void test_scsi_a_unit_goes_when_its_tasks_have_ended(void **state)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct vdpa_result res = {0};
	struct cmd r = read_at(0), tur = CDB(0);
	struct rig rig;

	open_slow(&rig, HOTPLUG);
	cmd_send(&rig, REQUEST, 0, 1, &r);
	slow_wait(1);
	assert_int_equal(vdpa_attrs_add(attrs, "lun0-backend", "none", NULL, NULL), 0);
	vdpa_dev_set(rig.bus, "dev0", attrs, vdpa_result_done, &res);
	vdpa_bus_dispatch(rig.bus, 0);
	/* The other unit is served. */
	cmd_good(&rig, 1, &tur);
	assert_false(res.done);
	slow_end();
	cmd_wait(&rig, REQUEST, &r);
	cmd_check_good(&r);
	assert_int_equal(vdpa_bus_wait(rig.bus, &res), 0);
	cmd_refused(&rig, 0, &tur, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_NO_LUN);
	close_slow(&rig);
}

static void test_scsi_reset_waits_for_one_step(void **state)
{
	struct cmd same = write_same(2), r = read_at(0);
	struct rig rig;
	int reset;

	open_slow(&rig, 0);
	cmd_send(&rig, REQUEST, 0, 1, &same);
	slow_wait(1);
	reset = rig_lane_start(&rig, rig_do_reset, NULL);
	/* The order of the two is open: at most one more chunk is begun. */
	slow_end();
	if (!rig_fd_ready(reset)) {
		while (slow_num())
			slow_end();
	}
	rig_wait_fd(reset);
	close(reset);
	assert_int_equal(slow_num(), 0);
	rig_reset(&rig);
	slow_keep(false);
	rig_start(&rig, 0);
	cmd_ready(&rig, 0);
	cmd_good(&rig, 0, &r);
	close_slow(&rig);
}

/* ---- what outlives the process */

static int do_save(struct rig *rig, void *record)
{
	return vdpa_device_save(rig->vdev, VDPA_STATE_DEVICE, record, &rig->ack);
}

static int do_load(struct rig *rig, void *record)
{
	return vdpa_device_load(rig->vdev, VDPA_STATE_DEVICE, record, &rig->ack);
}

struct sizes {
	uint32_t sense, cdb;
};

static int do_set_sizes(struct rig *rig, void *arg)
{
	return vdpa_set_config(rig->vdev, offsetof(struct virtio_scsi_config, sense_size), arg,
			       sizeof(struct sizes), &rig->ack);
}

static int do_get_sizes(struct rig *rig, void *arg)
{
	return vdpa_get_config(rig->vdev, offsetof(struct virtio_scsi_config, sense_size), arg,
			       sizeof(struct sizes));
}

/* Those of the rig's commands. */
static void usual_sizes(struct rig *rig)
{
	struct sizes sizes = {htole32(96), htole32(32)};

	assert_int_equal(rig_lane(rig, do_set_sizes, &sizes), 0);
}

/* A host that was used, and its record. */
static void save_used_host(struct vdpa_state *record)
{
	struct cmd reg = {.cdb = {0x5f, 6, [8] = 24}, .out_len = 24};
	struct cmd reserve = {.cdb = {0x5f, 1, 5, [8] = 24}, .out_len = 24};
	struct cmd select = {.cdb = {0x15, 0x10, [4] = 16}, .out_len = 16};
	struct cmd stop = CDB(0x1b);
	struct sizes sizes = {htole32(200), htole32(256)};
	struct rig rig;

	OPEN(&rig, HOTPLUG, RAM("0"), RAM("1"), RAM("2"));
	cmd_ready(&rig, 0);
	cmd_ready(&rig, 1);
	put_be64(reg.out + 8, 0xabcd);
	cmd_good(&rig, 0, &reg);
	put_be64(reserve.out, 0xabcd);
	cmd_good(&rig, 0, &reserve);
	memcpy(select.out + 4, (uint8_t[12]){0x0a, 10, 4, 0x10}, 12);
	cmd_good(&rig, 0, &select);
	cmd_good(&rig, 1, &stop);
	assert_int_equal(rig_lane(&rig, do_set_sizes, &sizes), 0);
	assert_int_equal(rig_lane(&rig, do_save, record), 0);
	rig_close(&rig);
}

static void test_scsi_record_keeps_what_the_driver_set(void **state)
{
	struct cmd key = {.cdb = {0x5e, 1, [8] = 24}, .in_len = 24}, tur = CDB(0), op = CDB(0xff);
	struct vdpa_state record = {0};
	struct sizes sizes;
	struct rig rig;

	save_used_host(&record);
	rig_open_bus(&rig, NULL);
	rig_add(&rig, "scsi",
		(const char *const[]){RAM("0"), RAM("1"), "lun2-backend", "ram", "lun2-size", "2M",
				      RAM("3"), NULL});
	assert_int_equal(rig_lane(&rig, do_load, &record), 0);
	assert_int_equal(rig_lane(&rig, do_get_sizes, &sizes), 0);
	assert_int_equal(le32toh(sizes.sense), 200);
	assert_int_equal(le32toh(sizes.cdb), 256);
	usual_sizes(&rig);
	rig_start(&rig, HOTPLUG | CHANGE);
	/* The new process is no new unit: nothing is told that has been told. */
	cmd_good(&rig, 0, &key);
	assert_int_equal(get_be64(key.in + 8), 0xabcd);
	assert_int_equal(key.in[21], 5);
	cmd_run(&rig, 0, &op);
	assert_int_equal(op.resp.sense[0], 0x72);
	cmd_refused(&rig, 1, &tur, SCSI_KEY_NOT_READY, SCSI_ASC_STOPPED);
	/* But what is different. */
	event_expect(&rig, event_buffer(&rig), VIRTIO_SCSI_T_PARAM_CHANGE, 2, 0x2a | 0x09 << 8);
	event_expect(&rig, event_buffer(&rig), VIRTIO_SCSI_T_TRANSPORT_RESET, 3,
		     VIRTIO_SCSI_EVT_RESET_RESCAN);
	cmd_ready(&rig, 3);
	rig_close(&rig);
	vdpa_state_clear(&record);
}

static void test_scsi_record_of_other_units(void **state)
{
	struct cmd keys = {.cdb = {0x5e, 0, [8] = 24}, .in_len = 24};
	struct vdpa_state record = {0};
	struct rig rig;

	save_used_host(&record);
	rig_open_bus(&rig, NULL);
	rig_add(&rig, "scsi", (const char *const[]){RAM("0"), RAM("2"), "serial", "new", NULL});
	assert_int_equal(rig_lane(&rig, do_load, &record), 0);
	usual_sizes(&rig);
	rig_start(&rig, HOTPLUG | CHANGE);
	/* It is another disk: nobody has reserved it. */
	cmd_ready(&rig, 0);
	cmd_good(&rig, 0, &keys);
	assert_int_equal(get_be32(keys.in + 4), 0);
	for (unsigned int i = 0; i < 3; i++) {
		event_expect(&rig, event_buffer(&rig), VIRTIO_SCSI_T_TRANSPORT_RESET, i,
			     VIRTIO_SCSI_EVT_RESET_REMOVED);
		if (i != 1)
			event_expect(&rig, event_buffer(&rig), VIRTIO_SCSI_T_TRANSPORT_RESET, i,
				     VIRTIO_SCSI_EVT_RESET_RESCAN);
	}
	rig_close(&rig);
	vdpa_state_clear(&record);
}

static void test_scsi_record_tells_of_events_that_are_lost(void **state)
{
	struct vdpa_state record = {0};
	struct rig rig;

	OPEN(&rig, HOTPLUG, RAM("0"));
	assert_int_equal(SET(&rig, RAM("1")), 0);
	assert_int_equal(rig_lane(&rig, do_save, &record), 0);
	assert_int_equal(rig_lane(&rig, do_load, &record), 0);
	event_expect(&rig, event_buffer(&rig),
		     VIRTIO_SCSI_T_TRANSPORT_RESET | VIRTIO_SCSI_T_EVENTS_MISSED, 1,
		     VIRTIO_SCSI_EVT_RESET_RESCAN);
	rig_reset(&rig);
	assert_int_equal(rig_lane(&rig, do_load, &record), 0);
	rig_start(&rig, HOTPLUG);
	event_expect(&rig, event_buffer(&rig), (uint32_t)VIRTIO_SCSI_T_EVENTS_MISSED, 0, 0);
	rig_close(&rig);
	vdpa_state_clear(&record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scsi_tasks_end_in_any_order),
		cmocka_unit_test(test_scsi_write_same_goes_in_steps),
		cmocka_unit_test(test_scsi_unmap_goes_range_by_range),
		cmocka_unit_test(test_scsi_verify_stops_at_the_first_difference),
		cmocka_unit_test(test_scsi_compare_and_write_is_alone_on_its_unit),
		cmocka_unit_test(test_scsi_says_what_the_backend_says),
		cmocka_unit_test(test_scsi_aborts_split),
		cmocka_unit_test(test_scsi_aborts_packed),
		cmocka_unit_test(test_scsi_nexus_reset_ends_all),
		cmocka_unit_test(test_scsi_an_aborted_task_makes_no_further_step),
		cmocka_unit_test(test_scsi_a_unit_goes_when_its_tasks_have_ended),
		cmocka_unit_test(test_scsi_reset_waits_for_one_step),
		cmocka_unit_test(test_scsi_record_keeps_what_the_driver_set),
		cmocka_unit_test(test_scsi_record_of_other_units),
		cmocka_unit_test(test_scsi_record_tells_of_events_that_are_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
