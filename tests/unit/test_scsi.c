/* SPDX-License-Identifier: BSD-2-Clause */
#include "scsi_rig.h"

#include <linux/virtio_config.h>
/* ---- what is there */

static void test_scsi_inquiry_and_pages(void **state)
{
	struct cmd std = {.cdb = {0x12, 0, 0, 0, 200}, .in_len = 255};
	struct cmd list = {.cdb = {0x12, 1, 0, 0, 255}, .in_len = 255};
	struct cmd none = {.cdb = {0x12, 1, 0x99, 0, 255}, .in_len = 255};
	struct rig rig;

	OPEN(&rig, 0, RAM("0"), "serial", "S1");
	/* A unit attention does not keep it back. */
	cmd_good(&rig, 0, &std);
	assert_int_equal(std.in[0], 0);
	assert_memory_equal(std.in + 8, "uvdpa   ", 8);
	assert_int_equal(std.used, sizeof(std.resp) + std.in[4] + 5);
	cmd_good(&rig, 0, &list);
	for (unsigned int i = 0; i < list.in[3]; i++) {
		struct cmd page = {.cdb = {0x12, 1, list.in[4 + i], 0, 255}, .in_len = 255};

		cmd_good(&rig, 0, &page);
		assert_int_equal(page.in[1], list.in[4 + i]);
		assert_int_equal(page.used, sizeof(page.resp) + 4 + get_be16(page.in + 2));
		if (page.in[1] == 0x80)
			assert_memory_equal(page.in + 4, "S1-0", 4);
		if (page.in[1] == 0xb0)
			assert_true(get_be32(page.in + 20) > 0);
		if (page.in[1] == 0xb2)
			assert_int_equal(page.in[5] & 0x80, 0x80);
	}
	assert_true(list.in[3] >= 6);
	cmd_refused(&rig, 0, &none, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_CDB_FIELD);
	/* The byte that was wrong. */
	assert_int_equal(none.resp.sense[15], 0xc0);
	assert_int_equal(get_be16(none.resp.sense + 16), 2);
	rig_close(&rig);
}

static void test_scsi_units_and_those_that_are_not_there(void **state)
{
	struct cmd luns = {.cdb = {0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0}, .in_len = 256};
	struct cmd inquiry = {.cdb = {0x12, 0, 0, 0, 36}, .in_len = 36};
	struct cmd sense = {.cdb = {3, 0, 0, 0, 18}, .in_len = 18};
	struct cmd tur = CDB(0);
	struct virtio_scsi_cmd_req req = cmd_header(0, tur.cdb);
	struct rig rig;

	OPEN(&rig, 0, RAM("1"), RAM("3"));
	cmd_good(&rig, 0, &luns);
	assert_int_equal(get_be32(luns.in), 16);
	assert_int_equal(luns.in[9], 1);
	assert_int_equal(luns.in[17], 3);
	cmd_good(&rig, 0, &inquiry);
	assert_int_equal(inquiry.in[0], 0x7f);
	cmd_good(&rig, 2, &sense);
	assert_int_equal(sense.in[2], SCSI_KEY_ILLEGAL_REQUEST);
	assert_int_equal(get_be16(sense.in + 12), SCSI_ASC_NO_LUN);
	cmd_refused(&rig, 0, &tur, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_NO_LUN);
	cmd_ready(&rig, 3);
	req.lun[1] = 5;
	cmd_exchange(&rig, &req, &tur);
	assert_int_equal(tur.resp.response, VIRTIO_SCSI_S_BAD_TARGET);
	rig_close(&rig);
}

static void test_scsi_capacity(void **state)
{
	struct cmd ten = {.cdb = {0x25}, .in_len = 8};
	struct cmd sixteen = {.cdb = {0x9e, 0x10, [13] = 32}, .in_len = 32};
	struct rig rig;

	OPEN(&rig, 0, RAM("0"), "block-size", "1024");
	cmd_ready(&rig, 0);
	cmd_good(&rig, 0, &ten);
	assert_int_equal(get_be32(ten.in), 1023);
	assert_int_equal(get_be32(ten.in + 4), 1024);
	cmd_good(&rig, 0, &sixteen);
	assert_int_equal(get_be64(sixteen.in), 1023);
	assert_int_equal(get_be32(sixteen.in + 8), 1024);
	assert_int_equal(sixteen.in[13], 2);
	assert_int_equal(sixteen.in[14], 0xc0);
	rig_close(&rig);
}

static void test_scsi_well_known_unit(void **state)
{
	struct cmd inquiry = {.cdb = {0x12, 0, 0, 0, 36}, .in_len = 36}, tur = CDB(0);
	struct cmd luns = {.cdb = {0xa0, 0, 2, 0, 0, 0, 0, 0, 1, 0}, .in_len = 256};
	struct cmd sense = {.cdb = {3, 0, 0, 0, 18}, .in_len = 18}, start = CDB(0x1b, [4] = 1);
	struct cmd *good[] = {&inquiry, &tur, &luns, &sense, &start};
	struct rig rig;

	OPEN(&rig, 0, RAM("4"));
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct virtio_scsi_cmd_req req = cmd_header(0, good[i]->cdb);

		memcpy(req.lun, (uint8_t[8]){0xc1, 1}, 8);
		cmd_exchange(&rig, &req, good[i]);
		if (good[i] == &start)
			cmd_check_refused(&start, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_OPCODE);
		else
			cmd_check_good(good[i]);
	}
	assert_int_equal(inquiry.in[0], 0x1e);
	assert_int_equal(get_be32(luns.in), 16);
	assert_int_equal(luns.in[8], 0xc1);
	assert_int_equal(luns.in[17], 4);
	assert_int_equal(sense.in[2], SCSI_KEY_NONE);
	rig_close(&rig);
}

/* ---- data */

static void test_scsi_reads_what_it_wrote(void **state)
{
	static const struct {
		uint8_t write[16], read[16];
	} forms[] = {
		{{0x0a, 0, 0, 7, 3}, {0x08, 0, 0, 7, 3}},
		{{0x2a, 0, 0, 0, 0, 9, 0, 0, 3}, {0x28, 8, 0, 0, 0, 9, 0, 0, 3}},
		{{0xaa, 8, 0, 0, 0, 11, 0, 0, 0, 3}, {0xa8, 0, 0, 0, 0, 11, 0, 0, 0, 3}},
		{{0x8a, [9] = 13, [13] = 3}, {0x88, [9] = 13, [13] = 3}},
	};
	struct rig rig;

	OPEN(&rig, RIG_INDIRECT | RIG_EVENT_IDX, RAM("0"));
	cmd_ready(&rig, 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(forms); i++) {
		struct cmd w = {.out_len = 3 * BLOCK}, r = {.in_len = 3 * BLOCK};

		memcpy(w.cdb, forms[i].write, 16);
		memcpy(r.cdb, forms[i].read, 16);
		cmd_fill(w.out, w.out_len, i);
		cmd_good(&rig, 0, &w);
		cmd_good(&rig, 0, &r);
		assert_memory_equal(r.in, w.out, 3 * BLOCK);
	}
	assert_int_equal(rig_stats(&rig, REQUEST).errors, 1);
	rig_close(&rig);
}

static void test_scsi_refuses_what_does_not_fit(void **state)
{
	struct cmd behind = {.cdb = {0x28, 0, 0, 0, 0x07, 0xff, 0, 0, 2}, .in_len = 2 * BLOCK};
	struct cmd wraps = {
		.cdb = {0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1},
		.in_len = BLOCK};
	struct cmd protect = {.cdb = {0x28, 0x20, [8] = 1}, .in_len = BLOCK};
	struct cmd opcode = CDB(0xff), naca = CDB(0, [5] = 4);
	struct cmd action = CDB(0x9e, 0x11);
	struct cmd wide = {.cdb = {0x28, [8] = 2}, .in_len = BLOCK};
	struct rig rig;

	OPEN(&rig, 0, RAM("0"));
	cmd_ready(&rig, 0);
	cmd_refused(&rig, 0, &behind, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_LBA_RANGE);
	cmd_refused(&rig, 0, &wraps, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_LBA_RANGE);
	cmd_refused(&rig, 0, &protect, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_CDB_FIELD);
	cmd_refused(&rig, 0, &opcode, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_OPCODE);
	cmd_refused(&rig, 0, &action, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_CDB_FIELD);
	cmd_refused(&rig, 0, &naca, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_CDB_FIELD);
	assert_int_equal(get_be16(naca.resp.sense + 16), 5);
	/* Less room than the command needs. */
	cmd_run(&rig, 0, &wide);
	assert_int_equal(wide.resp.response, VIRTIO_SCSI_S_OVERRUN);
	assert_int_equal(le32toh(wide.resp.resid), BLOCK);
	rig_close(&rig);
}

static void test_scsi_read_only_unit(void **state)
{
	struct cmd w = {.cdb = {0x2a, [8] = 1}, .out_len = BLOCK};
	struct cmd mode = {.cdb = {0x1a, 8, 0x3f, 0, 255}, .in_len = 255};
	struct rig rig;

	OPEN(&rig, 0, RAM("0"), "lun0-readonly", "on");
	cmd_ready(&rig, 0);
	cmd_refused(&rig, 0, &w, SCSI_KEY_DATA_PROTECT, SCSI_ASC_WRITE_PROTECTED);
	cmd_good(&rig, 0, &mode);
	assert_int_equal(mode.in[2] & 0x80, 0x80);
	rig_close(&rig);
}

static void test_scsi_verify(void **state)
{
	struct cmd w = {.cdb = {0x2a, [8] = 3}, .out_len = 3 * BLOCK};
	struct cmd v = {.cdb = {0x2f, 2, [8] = 3}, .out_len = 3 * BLOCK};
	struct cmd medium = CDB(0x2f, 0, 0, 0, 0, 0, 0, 8);
	struct rig rig;

	OPEN(&rig, 0, RAM("0"));
	cmd_ready(&rig, 0);
	cmd_fill(w.out, w.out_len, 1);
	memcpy(v.out, w.out, w.out_len);
	cmd_good(&rig, 0, &w);
	cmd_good(&rig, 0, &v);
	v.out[777] ^= 1;
	cmd_refused(&rig, 0, &v, SCSI_KEY_MISCOMPARE, SCSI_ASC_MISCOMPARE);
	assert_int_equal(v.resp.sense[0], 0xf0);
	assert_int_equal(get_be32(v.resp.sense + 3), 777);
	/* The whole disk, without data. */
	cmd_good(&rig, 0, &medium);
	rig_close(&rig);
}

static void test_scsi_compare_and_write(void **state)
{
	struct cmd caw = {.cdb = {0x89, [9] = 5, [13] = 1}, .out_len = 2 * BLOCK};
	struct cmd r = {.cdb = {0x28, [5] = 5, [8] = 1}, .in_len = BLOCK};
	struct rig rig;

	OPEN(&rig, 0, RAM("0"));
	cmd_ready(&rig, 0);
	cmd_fill(caw.out + BLOCK, BLOCK, 9);
	cmd_good(&rig, 0, &caw);
	cmd_good(&rig, 0, &r);
	assert_memory_equal(r.in, caw.out + BLOCK, BLOCK);
	/* It is not zero any more: nothing is written. */
	cmd_fill(caw.out + BLOCK, BLOCK, 77);
	cmd_refused(&rig, 0, &caw, SCSI_KEY_MISCOMPARE, SCSI_ASC_MISCOMPARE);
	memcpy(caw.out, r.in, BLOCK);
	cmd_good(&rig, 0, &caw);
	cmd_good(&rig, 0, &r);
	assert_memory_equal(r.in, caw.out + BLOCK, BLOCK);
	rig_close(&rig);
}

static void test_scsi_write_same_and_unmap(void **state)
{
	struct cmd same = {.cdb = {0x93, [9] = 2, [13] = 2}, .out_len = BLOCK};
	struct cmd none = CDB(0x93, 1, [9] = 2, [13] = 1);
	struct cmd unmap = {.cdb = {0x42, [8] = 40}, .out_len = 40};
	struct cmd r = {.cdb = {0x28, [5] = 2, [8] = 2}, .in_len = 2 * BLOCK};
	uint8_t zero[BLOCK] = {0};
	struct rig rig;

	OPEN(&rig, 0, RAM("0"));
	cmd_ready(&rig, 0);
	cmd_fill(same.out, BLOCK, 3);
	cmd_good(&rig, 0, &same);
	cmd_good(&rig, 0, &r);
	assert_memory_equal(r.in, same.out, BLOCK);
	assert_memory_equal(r.in + BLOCK, same.out, BLOCK);
	/* Zeros without data. */
	cmd_good(&rig, 0, &none);
	cmd_good(&rig, 0, &r);
	assert_memory_equal(r.in, zero, BLOCK);
	assert_memory_equal(r.in + BLOCK, same.out, BLOCK);
	put_be16(unmap.out, 38);
	put_be16(unmap.out + 2, 32);
	put_be64(unmap.out + 8, 3);
	put_be32(unmap.out + 16, 1);
	put_be64(unmap.out + 24, 2047);
	put_be32(unmap.out + 32, 1);
	cmd_good(&rig, 0, &unmap);
	cmd_good(&rig, 0, &r);
	assert_memory_equal(r.in + BLOCK, zero, BLOCK);
	put_be32(unmap.out + 32, 2);
	cmd_refused(&rig, 0, &unmap, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_LBA_RANGE);
	rig_close(&rig);
}

static void test_scsi_unmap_only_where_it_gives_room_back(void **state)
{
	struct cmd unmap = {.cdb = {0x42, [8] = 8}, .out_len = 8};
	struct cmd sixteen = {.cdb = {0x9e, 0x10, [13] = 32}, .in_len = 32};
	struct rig rig;

	OPEN(&rig, 0, RAM("0"), "discard", "off");
	cmd_ready(&rig, 0);
	cmd_refused(&rig, 0, &unmap, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_OPCODE);
	cmd_good(&rig, 0, &sixteen);
	assert_int_equal(sixteen.in[14], 0);
	rig_close(&rig);
}

/* ---- state */

static void test_scsi_mode_pages(void **state)
{
	struct cmd sense = {.cdb = {0x1a, 8, 0x08, 0, 255}, .in_len = 255};
	struct cmd saved = {.cdb = {0x1a, 8, 0xff, 0, 255}, .in_len = 255};
	struct cmd select = {.cdb = {0x15, 0x10, 0, 0, 16}, .out_len = 16};
	struct cmd opcode = CDB(0xff);
	struct rig rig;

	OPEN(&rig, 0, RAM("0"));
	cmd_ready(&rig, 0);
	cmd_good(&rig, 0, &sense);
	assert_int_equal(sense.in[4], 8);
	assert_int_equal(sense.in[6], 4); /* WCE */
	cmd_refused(&rig, 0, &saved, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_NO_SAVED_PARAMETERS);
	/* D_SENSE: from now on sense data has descriptors. */
	memcpy(select.out + 4, (uint8_t[12]){0x0a, 10, 4, 0x10}, 12);
	cmd_good(&rig, 0, &select);
	cmd_run(&rig, 0, &opcode);
	assert_int_equal(opcode.resp.sense[0], 0x72);
	assert_int_equal(opcode.resp.sense[1], SCSI_KEY_ILLEGAL_REQUEST);
	assert_int_equal(get_be16(opcode.resp.sense + 2), SCSI_ASC_OPCODE);
	select.out[6] = 0;
	cmd_good(&rig, 0, &select);
	/* What cannot be changed. */
	select.out[7] = 0x20;
	cmd_refused(&rig, 0, &select, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_PARAM_FIELD);
	assert_int_equal(get_be16(select.resp.sense + 16), 7);
	rig_close(&rig);
}

static void test_scsi_stops_and_starts(void **state)
{
	struct cmd stop = CDB(0x1b), start = CDB(0x1b, 0, 0, 0, 1), tur = CDB(0);
	struct cmd sync = CDB(0x35), eject = CDB(0x1b, 0, 0, 0, 2);
	struct rig rig;

	OPEN(&rig, 0, RAM("0"));
	cmd_ready(&rig, 0);
	cmd_good(&rig, 0, &sync);
	cmd_good(&rig, 0, &stop);
	cmd_refused(&rig, 0, &tur, SCSI_KEY_NOT_READY, SCSI_ASC_STOPPED);
	cmd_refused(&rig, 0, &sync, SCSI_KEY_NOT_READY, SCSI_ASC_STOPPED);
	cmd_good(&rig, 0, &start);
	cmd_good(&rig, 0, &tur);
	cmd_refused(&rig, 0, &eject, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_CDB_FIELD);
	rig_close(&rig);
}

static struct cmd pr_out(uint8_t action, uint8_t type, uint64_t key, uint64_t new_key)
{
	struct cmd c = {.cdb = {0x5f, action, type, [8] = 24}, .out_len = 24};

	put_be64(c.out, key);
	put_be64(c.out + 8, new_key);
	return c;
}

static void conflict(struct rig *rig, struct cmd c)
{
	cmd_run(rig, 0, &c);
	assert_int_equal(c.resp.status, SCSI_RESERVATION_CONFLICT);
	assert_int_equal(le32toh(c.resp.sense_len), 0);
}

static void pr_good(struct rig *rig, struct cmd c)
{
	cmd_good(rig, 0, &c);
}

static struct cmd pr_in(struct rig *rig, uint8_t action)
{
	struct cmd c = {.cdb = {0x5e, action, [8] = 255}, .in_len = 255};

	cmd_good(rig, 0, &c);
	return c;
}

static void test_scsi_persistent_reservations(void **state)
{
	struct cmd release = pr_out(2, 3, 0xabc, 0), c;
	struct rig rig;

	OPEN(&rig, 0, RAM("0"));
	cmd_ready(&rig, 0);
	assert_int_equal(get_be32(pr_in(&rig, 0).in + 4), 0);
	conflict(&rig, pr_out(1, 1, 0xabc, 0)); /* not registered */
	conflict(&rig, pr_out(0, 0, 1, 0xabc)); /* by a key that is not its own */
	pr_good(&rig, pr_out(0, 0, 0, 0xabc));
	c = pr_in(&rig, 0);
	assert_int_equal(get_be32(c.in), 1);
	assert_int_equal(get_be64(c.in + 8), 0xabc);
	pr_good(&rig, pr_out(1, 1, 0xabc, 0));
	conflict(&rig, pr_out(1, 3, 0xabc, 0)); /* of another type */
	c = pr_in(&rig, 1);
	assert_int_equal(get_be64(c.in + 8), 0xabc);
	assert_int_equal(c.in[21], 1);
	cmd_refused(&rig, 0, &release, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_INVALID_RELEASE);
	pr_good(&rig, pr_out(4, 7, 0xabc, 0xabc)); /* itself, with another type */
	assert_int_equal(pr_in(&rig, 3).in[8 + 13], 7);
	conflict(&rig, pr_out(4, 7, 0xabc, 0xdef)); /* whoever that is */
	pr_good(&rig, pr_out(2, 7, 0xabc, 0));
	assert_int_equal(get_be32(pr_in(&rig, 1).in + 4), 0);
	pr_good(&rig, pr_out(3, 0, 0xabc, 0));
	assert_int_equal(get_be32(pr_in(&rig, 0).in + 4), 0);
	assert_int_equal(get_be16(pr_in(&rig, 2).in), 8);
	rig_close(&rig);
}

static void test_scsi_says_which_commands_it_has(void **state)
{
	struct cmd all = {.cdb = {0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 4, 0}, .in_len = 1024};
	struct cmd one = {.cdb = {0xa3, 0x0c, 1, 0x28, 0, 0, 0, 0, 0, 64}, .in_len = 64};
	struct cmd sa = {.cdb = {0xa3, 0x0c, 2, 0x9e, 0, 0x10, 0, 0, 0, 64}, .in_len = 64};
	struct cmd no = {.cdb = {0xa3, 0x0c, 1, 0x29, 0, 0, 0, 0, 0, 64}, .in_len = 64};
	struct rig rig;

	OPEN(&rig, 0, RAM("0"));
	cmd_ready(&rig, 0);
	cmd_good(&rig, 0, &all);
	assert_int_equal(get_be32(all.in) % 8, 0);
	assert_true(get_be32(all.in) / 8 > 30);
	cmd_good(&rig, 0, &one);
	assert_int_equal(one.in[1], 3);
	assert_int_equal(get_be16(one.in + 2), 10);
	assert_int_equal(one.in[4], 0x28);
	cmd_good(&rig, 0, &sa);
	assert_int_equal(sa.in[1], 3);
	cmd_good(&rig, 0, &no);
	assert_int_equal(no.in[1], 1);
	rig_close(&rig);
}

/* ---- task management */

static void test_scsi_task_management(void **state)
{
	struct cmd stop = CDB(0x1b), tur = CDB(0);
	struct rig rig;

	OPEN(&rig, 0, RAM("0"));
	cmd_ready(&rig, 0);
	assert_int_equal(tmf_run(&rig, VIRTIO_SCSI_T_TMF_QUERY_TASK, 0, 42), VIRTIO_SCSI_S_OK);
	assert_int_equal(tmf_run(&rig, VIRTIO_SCSI_T_TMF_ABORT_TASK, 0, 42), VIRTIO_SCSI_S_OK);
	assert_int_equal(tmf_run(&rig, VIRTIO_SCSI_T_TMF_CLEAR_ACA, 0, 42),
			 VIRTIO_SCSI_S_FUNCTION_REJECTED);
	assert_int_equal(tmf_run(&rig, VIRTIO_SCSI_T_TMF_ABORT_TASK, 1, 42),
			 VIRTIO_SCSI_S_INCORRECT_LUN);
	/* A reset starts what was stopped, and tells. */
	cmd_good(&rig, 0, &stop);
	assert_int_equal(tmf_run(&rig, VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0, 42),
			 VIRTIO_SCSI_S_OK);
	cmd_refused(&rig, 0, &tur, SCSI_KEY_UNIT_ATTENTION, SCSI_ASC_RESET);
	cmd_good(&rig, 0, &tur);
	rig_close(&rig);
}

static void test_scsi_control_request_that_is_too_short(void **state)
{
	struct rig_req *req;
	struct rig rig;
	uint32_t type = 0;

	OPEN(&rig, 0, RAM("0"));
	req = rig_send(&rig, CONTROL, &type, sizeof(type), 1);
	rig_wait_fd(rig.changed);
	assert_true(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
	rig_put(req);
	rig_close(&rig);
}

/* ---- units come and go */

static void test_scsi_hot_plug(void **state)
{
	struct cmd tur = CDB(0);
	struct rig rig;

	OPEN(&rig, HOTPLUG | CHANGE, RAM("0"), "request-queues", "2");
	cmd_ready(&rig, 0);
	assert_int_equal(SET(&rig, RAM("2")), 0);
	/* The event waits for a buffer. */
	event_expect(&rig, event_buffer(&rig), VIRTIO_SCSI_T_TRANSPORT_RESET, 2,
		     VIRTIO_SCSI_EVT_RESET_RESCAN);
	cmd_ready(&rig, 2);
	cmd_refused(&rig, 0, &tur, SCSI_KEY_UNIT_ATTENTION, SCSI_ASC_LUNS_CHANGED);
	assert_int_equal(SET(&rig, "lun2-backend", "none"), 0);
	event_expect(&rig, event_buffer(&rig), VIRTIO_SCSI_T_TRANSPORT_RESET, 2,
		     VIRTIO_SCSI_EVT_RESET_REMOVED);
	cmd_refused(&rig, 2, &tur, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_NO_LUN);
	assert_int_equal(SET(&rig, "lun2-backend", "none"), -ENODEV);
	assert_int_equal(SET(&rig, "lun2-size", "1M"), -EINVAL);
	assert_non_null(strstr(rig.ack.msg, "lun2-backend"));
	assert_int_equal(SET(&rig, "lun0-backend", "null"), -EBUSY);
	assert_int_equal(SET(&rig, "lun0-size", "2M", "lun2-size", "1M"), -EINVAL);
	rig_close(&rig);
}

static void test_scsi_resize(void **state)
{
	struct cmd ten = {.cdb = {0x25}, .in_len = 8};
	struct rig_req *req;
	struct rig rig;

	OPEN(&rig, HOTPLUG | CHANGE, RAM("0"));
	cmd_ready(&rig, 0);
	req = event_buffer(&rig);
	assert_int_equal(SET(&rig, "lun0-size", "2M"), 0);
	event_expect(&rig, req, VIRTIO_SCSI_T_PARAM_CHANGE, 0, 0x2a | 0x09 << 8);
	cmd_refused(&rig, 0, &ten, SCSI_KEY_UNIT_ATTENTION, SCSI_ASC_CAPACITY);
	cmd_good(&rig, 0, &ten);
	assert_int_equal(get_be32(ten.in), 4095);
	assert_int_equal(SET(&rig, "lun0-size", "1000"), -EINVAL);
	cmd_good(&rig, 0, &ten);
	rig_close(&rig);
}

static void test_scsi_missed_events_are_told(void **state)
{
	struct virtio_scsi_event ev;
	struct rig_req *req;
	struct rig rig;

	OPEN(&rig, HOTPLUG, RAM("0"));
	for (int i = 0; i < 9; i++) {
		assert_int_equal(SET(&rig, RAM("1")), 0);
		assert_int_equal(SET(&rig, "lun1-backend", "none"), 0);
	}
	req = event_buffer(&rig);
	rig_wait(&rig, EVENT, req);
	memcpy(&ev, req->in, sizeof(ev));
	assert_int_equal(le32toh(ev.event),
			 VIRTIO_SCSI_T_EVENTS_MISSED | VIRTIO_SCSI_T_TRANSPORT_RESET);
	rig_put(req);
	event_expect(&rig, event_buffer(&rig), VIRTIO_SCSI_T_TRANSPORT_RESET, 1,
		     VIRTIO_SCSI_EVT_RESET_REMOVED);
	rig_close(&rig);
}

/* ---- config space */

struct config_write {
	uint32_t off, value;
};

static int write_config_op(struct rig *rig, void *arg)
{
	struct config_write *w = arg;
	uint32_t value = htole32(w->value);

	return vdpa_set_config(rig->vdev, w->off, &value, sizeof(value), &rig->ack);
}

static int write_config(struct rig *rig, uint32_t off, uint32_t value)
{
	struct config_write w = {off, value};

	return rig_lane(rig, write_config_op, &w);
}

static void test_scsi_sizes_belong_to_the_driver(void **state)
{
	uint32_t sense = offsetof(struct virtio_scsi_config, sense_size);
	uint32_t cdb = offsetof(struct virtio_scsi_config, cdb_size);
	struct rig_req *r;
	uint8_t out[19 + 16] = {1, 0, 0x40, 0};
	struct rig rig;

	OPEN(&rig, 0, RAM("0"));
	assert_int_equal(write_config(&rig, cdb, 15), -ERANGE);
	assert_int_equal(write_config(&rig, sense, 253), -ERANGE);
	assert_int_equal(write_config(&rig, 0, 7), -EINVAL);
	assert_int_equal(write_config(&rig, cdb, 16), 0);
	assert_int_equal(write_config(&rig, sense, 8), 0);
	r = rig_send(&rig, REQUEST, out, sizeof(out), 12 + 8);
	rig_wait(&rig, REQUEST, r);
	assert_int_equal(r->len, 20);
	assert_int_equal(r->in[10], SCSI_CHECK_CONDITION);
	assert_int_equal(r->in[0], 8);
	assert_int_equal(r->in[12], 0x70);
	rig_put(r);
	rig_close(&rig);
}

static void test_scsi_request_without_room_breaks_the_queue(void **state)
{
	struct rig_req *req;
	struct rig rig;
	uint64_t none = 0;

	OPEN(&rig, 0, RAM("0"));
	req = rig_send(&rig, REQUEST, &none, sizeof(none), 200);
	rig_wait_fd(rig.changed);
	assert_int_equal(rig_stats(&rig, REQUEST).broken, 1);
	rig_put(req);
	rig_close(&rig);
}

static void test_scsi_refuses_attributes_that_make_no_sense(void **state)
{
	static const struct {
		const char *text, *attrs[7];
	} rows[] = {
		{"lun1", {"lun1-size", "1M"}},
		{"'size' is missing", {"lun0-backend", "ram"}},
		{"cannot open", {"lun3", "/nonexistent/disk"}},
		{"request-queues", {"queues", "4", "request-queues", "2"}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig rig;

		rig_open_bus(&rig, NULL);
		assert_true(rig_try_add(&rig, "scsi", rows[i].attrs) < 0);
		if (!strstr(rig.ack.msg, rows[i].text))
			fail_msg("'%s' does not say '%s'", rig.ack.msg, rows[i].text);
		rig_close(&rig);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scsi_inquiry_and_pages),
		cmocka_unit_test(test_scsi_units_and_those_that_are_not_there),
		cmocka_unit_test(test_scsi_well_known_unit),
		cmocka_unit_test(test_scsi_capacity),
		cmocka_unit_test(test_scsi_reads_what_it_wrote),
		cmocka_unit_test(test_scsi_refuses_what_does_not_fit),
		cmocka_unit_test(test_scsi_read_only_unit),
		cmocka_unit_test(test_scsi_verify),
		cmocka_unit_test(test_scsi_compare_and_write),
		cmocka_unit_test(test_scsi_write_same_and_unmap),
		cmocka_unit_test(test_scsi_unmap_only_where_it_gives_room_back),
		cmocka_unit_test(test_scsi_mode_pages),
		cmocka_unit_test(test_scsi_stops_and_starts),
		cmocka_unit_test(test_scsi_persistent_reservations),
		cmocka_unit_test(test_scsi_says_which_commands_it_has),
		cmocka_unit_test(test_scsi_task_management),
		cmocka_unit_test(test_scsi_control_request_that_is_too_short),
		cmocka_unit_test(test_scsi_hot_plug),
		cmocka_unit_test(test_scsi_resize),
		cmocka_unit_test(test_scsi_missed_events_are_told),
		cmocka_unit_test(test_scsi_sizes_belong_to_the_driver),
		cmocka_unit_test(test_scsi_request_without_room_breaks_the_queue),
		cmocka_unit_test(test_scsi_refuses_attributes_that_make_no_sense),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
