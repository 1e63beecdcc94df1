/* SPDX-License-Identifier: BSD-2-Clause */
#include "parents/soft/scsi_task.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- units */

/* A name that stays the same as long as the serial number does. */
static uint64_t hash(const char *text)
{
	uint64_t h = 0xcbf29ce484222325u;

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 0x100000001b3u;
	return h;
}

int scsi_unit_init(struct scsi_unit *unit, struct block *block, unsigned int idx,
		   const char *serial)
{
	int err = -pthread_mutex_init(&unit->lock, NULL);

	if (err)
		return err;
	unit->block = block;
	unit->idx = idx;
	unit->capacity = block->info.size;
	snprintf(unit->serial, sizeof(unit->serial), "%s", serial);
	/* NAA 3: assigned locally. */
	put_be64(unit->naa, hash(serial) >> 4 | 0x3ull << 60);
	scsi_unit_reset(unit, SCSI_UA_POWER_ON);
	return 0;
}

void scsi_unit_destroy(struct scsi_unit *unit)
{
	pthread_mutex_destroy(&unit->lock);
}

void scsi_unit_reset(struct scsi_unit *unit, uint32_t ua)
{
	__atomic_store_n(&unit->writeback, unit->block->info.writeback, __ATOMIC_RELAXED);
	__atomic_store_n(&unit->descriptor, false, __ATOMIC_RELAXED);
	__atomic_store_n(&unit->stopped, false, __ATOMIC_RELAXED);
	scsi_unit_attention(unit, ua);
}

uint16_t scsi_unit_take_attention(struct scsi_unit *unit)
{
	static const struct {
		uint32_t bit, clears;
		uint16_t asc;
	} attentions[] = {
		/* Who hears of a power-on need not be told of a reset before it. */
		{SCSI_UA_POWER_ON, SCSI_UA_POWER_ON | SCSI_UA_RESET, SCSI_ASC_POWER_ON},
		{SCSI_UA_RESET, SCSI_UA_RESET, SCSI_ASC_RESET},
		{SCSI_UA_CAPACITY, SCSI_UA_CAPACITY, SCSI_ASC_CAPACITY},
		{SCSI_UA_LUNS, SCSI_UA_LUNS, SCSI_ASC_LUNS_CHANGED},
	};
	uint32_t ua = __atomic_load_n(&unit->ua, __ATOMIC_RELAXED);

	if (likely(!ua))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(attentions); i++) {
		if (!(ua & attentions[i].bit))
			continue;
		/* Two queues may look at once: one of them takes it. */
		ua = __atomic_fetch_and(&unit->ua, ~attentions[i].clears, __ATOMIC_RELAXED);
		if (ua & attentions[i].bit)
			return attentions[i].asc;
	}
	return 0;
}

/* ---- sense data */

uint32_t scsi_sense_build(uint8_t sense[SCSI_SENSE_MAX], bool descriptor, uint8_t key, uint16_t asc)
{
	memset(sense, 0, SCSI_SENSE_MAX);
	if (descriptor) {
		sense[0] = 0x72;
		sense[1] = key;
		put_be16(sense + 2, asc);
		return 8;
	}
	sense[0] = 0x70;
	sense[2] = key;
	sense[7] = 10;
	put_be16(sense + 12, asc);
	return 18;
}

static bool wants_descriptor(const struct scsi_task *t)
{
	return t->unit && __atomic_load_n(&t->unit->descriptor, __ATOMIC_RELAXED);
}

/* Room for one more descriptor, which is returned. */
static uint8_t *add_descriptor(struct scsi_task *t, uint8_t type, uint8_t len)
{
	uint8_t *desc = t->sense + t->sense_len;

	desc[0] = type;
	desc[1] = (uint8_t)(len - 2);
	t->sense[7] = (uint8_t)(t->sense[7] + len);
	t->sense_len += len;
	return desc;
}

enum scsi_step scsi_check(struct scsi_task *t, uint8_t key, uint16_t asc)
{
	t->sense_len = scsi_sense_build(t->sense, wants_descriptor(t), key, asc);
	return scsi_status(t, SCSI_CHECK_CONDITION);
}

enum scsi_step scsi_check_info(struct scsi_task *t, uint8_t key, uint16_t asc, uint64_t info)
{
	uint8_t *desc;

	scsi_check(t, key, asc);
	if (wants_descriptor(t)) {
		desc = add_descriptor(t, 0, 12);
		desc[2] = 0x80;
		put_be64(desc + 4, info);
	} else if (info <= UINT32_MAX) {
		t->sense[0] |= 0x80;
		put_be32(t->sense + 3, (uint32_t)info);
	}
	return SCSI_STEP_END;
}

/* Sense-key specific: which byte it was.  @spec SPC-4, 4.5.2.4.2 */
static enum scsi_step bad_field(struct scsi_task *t, uint16_t asc, uint8_t flags, uint16_t byte)
{
	uint8_t *specific;

	scsi_check(t, SCSI_KEY_ILLEGAL_REQUEST, asc);
	if (wants_descriptor(t))
		specific = add_descriptor(t, 2, 8) + 4;
	else
		specific = t->sense + 15;
	specific[0] = flags;
	put_be16(specific + 1, byte);
	return SCSI_STEP_END;
}

enum scsi_step scsi_bad_cdb(struct scsi_task *t, uint16_t byte)
{
	return bad_field(t, SCSI_ASC_CDB_FIELD, 0xc0, byte);
}

enum scsi_step scsi_bad_param(struct scsi_task *t, uint16_t byte)
{
	return bad_field(t, SCSI_ASC_PARAM_FIELD, 0x80, byte);
}

enum scsi_step scsi_status(struct scsi_task *t, uint8_t status)
{
	t->status = status;
	if (status != SCSI_GOOD)
		t->moved = 0;
	return SCSI_STEP_END;
}

enum scsi_step scsi_good(struct scsi_task *t)
{
	return scsi_status(t, SCSI_GOOD);
}

static enum scsi_step check_errno(struct scsi_task *t, int err)
{
	bool read = t->io.op == BLOCK_READ;

	t->err = err;
	switch (err) {
	case -ENOMEM:
		return scsi_check(t, SCSI_KEY_ABORTED_COMMAND, SCSI_ASC_RESOURCES);
	case -ENOSPC:
		return scsi_check(t, SCSI_KEY_DATA_PROTECT, SCSI_ASC_SPACE);
	case -EOPNOTSUPP:
		return scsi_check(t, SCSI_KEY_HARDWARE_ERROR, SCSI_ASC_INTERNAL);
	default:
		return scsi_check(t, SCSI_KEY_MEDIUM_ERROR,
				  read ? SCSI_ASC_READ_ERROR : SCSI_ASC_WRITE_ERROR);
	}
}

/* ---- data */

static enum scsi_step overrun(struct scsi_task *t)
{
	t->overrun = true;
	return scsi_good(t);
}

enum scsi_step scsi_reply(struct scsi_task *t, const void *buf, size_t len, size_t alloc)
{
	if (len > alloc)
		len = alloc;
	if (len > t->in_len)
		return overrun(t);
	vdpa_iov_from_buf(t->in, t->in_num, t->in_off, buf, len);
	t->moved = (uint32_t)len;
	return scsi_good(t);
}

bool scsi_fetch(struct scsi_task *t, void *buf, size_t len)
{
	if (len > t->out_len) {
		overrun(t);
		return false;
	}
	vdpa_iov_to_buf(t->out, t->out_num, t->out_off, buf, len);
	t->moved = (uint32_t)len;
	return true;
}

bool scsi_buffer(struct scsi_task *t, size_t len)
{
	/* Aligned as direct I/O likes it. */
	t->buf = aligned_alloc(4096, align_up(len, 4096));
	/* A backend may leave it as it is, and what is compared with it tells the guest. */
	if (t->buf)
		memset(t->buf, 0, len);
	else
		scsi_check(t, SCSI_KEY_ABORTED_COMMAND, SCSI_ASC_RESOURCES);
	return t->buf;
}

/* ---- commands */

#define ANY_SA    0xff
#define F_ALWAYS  1u /* also without a unit, and before unit attentions */
#define F_MEDIUM  2u /* the unit must be started */
#define F_WRITE   4u /* and must not be read-only */
#define F_DISCARD 8u /* the backend can give room back */

struct command {
	uint8_t op, sa;
	uint8_t flags;
	uint8_t usage[16]; /* bits of the command that mean something, from byte 1 on */
	scsi_step_fn *start;
};

static scsi_step_fn test_unit_ready, report_opcodes;

#define LBA6   0x1f, 0xff, 0xff, 0xff
#define LBA10  0xff, 0xff, 0xff, 0xff
#define LBA16  LBA10, LBA10
#define LEN32  0xff, 0xff, 0xff, 0xff
#define FUA_RW 0x18

static const struct command commands[] = {
	{0x00, ANY_SA, F_MEDIUM, {0}, test_unit_ready},
	{0x03, ANY_SA, F_ALWAYS, {1, 0, 0, 0xff}, scsi_request_sense},
	{0x08, ANY_SA, F_MEDIUM, {LBA6}, scsi_read},
	{0x0a, ANY_SA, F_MEDIUM | F_WRITE, {LBA6}, scsi_write},
	{0x12, ANY_SA, F_ALWAYS, {1, 0xff, 0xff, 0xff}, scsi_inquiry},
	{0x15, ANY_SA, 0, {0x11, 0, 0, 0xff}, scsi_mode_select},
	{0x1a, ANY_SA, 0, {8, 0xff, 0xff, 0xff}, scsi_mode_sense},
	{0x1b, ANY_SA, 0, {1, 0, 0, 0xf7}, scsi_start_stop},
	{0x25, ANY_SA, F_MEDIUM, {0}, scsi_read_capacity10},
	{0x28, ANY_SA, F_MEDIUM, {FUA_RW, LBA10, 0, 0xff, 0xff}, scsi_read},
	{0x2a, ANY_SA, F_MEDIUM | F_WRITE, {FUA_RW, LBA10, 0, 0xff, 0xff}, scsi_write},
	{0x2f, ANY_SA, F_MEDIUM, {0x16, LBA10, 0, 0xff, 0xff}, scsi_verify},
	{0x35, ANY_SA, F_MEDIUM, {2, LBA10, 0, 0xff, 0xff}, scsi_sync},
	{0x41, ANY_SA, F_MEDIUM | F_WRITE, {8, LBA10, 0, 0xff, 0xff}, scsi_write_same},
	{0x42, ANY_SA, F_MEDIUM | F_WRITE | F_DISCARD, {0, 0, 0, 0, 0, 0, 0xff, 0xff}, scsi_unmap},
	{0x55, ANY_SA, 0, {0x11, 0, 0, 0, 0, 0, 0xff, 0xff}, scsi_mode_select},
	{0x5a, ANY_SA, 0, {0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff}, scsi_mode_sense},
	{0x5e, 0, 0, {0x1f, 0, 0, 0, 0, 0, 0xff, 0xff}, scsi_pr_in},
	{0x5e, 1, 0, {0x1f, 0, 0, 0, 0, 0, 0xff, 0xff}, scsi_pr_in},
	{0x5e, 2, 0, {0x1f, 0, 0, 0, 0, 0, 0xff, 0xff}, scsi_pr_in},
	{0x5e, 3, 0, {0x1f, 0, 0, 0, 0, 0, 0xff, 0xff}, scsi_pr_in},
	{0x5f, 0, 0, {0x1f, 0xff, 0, 0, LEN32}, scsi_pr_out},
	{0x5f, 1, 0, {0x1f, 0xff, 0, 0, LEN32}, scsi_pr_out},
	{0x5f, 2, 0, {0x1f, 0xff, 0, 0, LEN32}, scsi_pr_out},
	{0x5f, 3, 0, {0x1f, 0xff, 0, 0, LEN32}, scsi_pr_out},
	{0x5f, 4, 0, {0x1f, 0xff, 0, 0, LEN32}, scsi_pr_out},
	{0x5f, 5, 0, {0x1f, 0xff, 0, 0, LEN32}, scsi_pr_out},
	{0x5f, 6, 0, {0x1f, 0xff, 0, 0, LEN32}, scsi_pr_out},
	{0x88, ANY_SA, F_MEDIUM, {FUA_RW, LBA16, LEN32}, scsi_read},
	{0x89, ANY_SA, F_MEDIUM | F_WRITE, {FUA_RW, LBA16, 0, 0, 0, 0xff}, scsi_compare_and_write},
	{0x8a, ANY_SA, F_MEDIUM | F_WRITE, {FUA_RW, LBA16, LEN32}, scsi_write},
	{0x8f, ANY_SA, F_MEDIUM, {0x16, LBA16, LEN32}, scsi_verify},
	{0x91, ANY_SA, F_MEDIUM, {2, LBA16, LEN32}, scsi_sync},
	{0x93, ANY_SA, F_MEDIUM | F_WRITE, {9, LBA16, LEN32}, scsi_write_same},
	{0x9e, 0x10, F_MEDIUM, {0x1f, 0, 0, 0, 0, 0, 0, 0, 0, LEN32}, scsi_read_capacity16},
	{0xa0, ANY_SA, F_ALWAYS, {0, 0xff, 0, 0, 0, LEN32}, scsi_report_luns},
	{0xa3, 0x0c, 0, {0x1f, 0x87, 0xff, 0xff, 0xff, LEN32}, report_opcodes},
	{0xa8, ANY_SA, F_MEDIUM, {FUA_RW, LBA10, LEN32}, scsi_read},
	{0xaa, ANY_SA, F_MEDIUM | F_WRITE, {FUA_RW, LBA10, LEN32}, scsi_write},
	{0xaf, ANY_SA, F_MEDIUM, {0x16, LBA10, LEN32}, scsi_verify},
};

/* By the group of the operation code.  @spec SPC-4, 4.2.5.1 */
static uint8_t cdb_len(uint8_t op)
{
	static const uint8_t lens[8] = {6, 10, 10, 0, 16, 12, 0, 0};

	return lens[op >> 5];
}

static bool has_command(const struct scsi_unit *unit, const struct command *c)
{
	return !(c->flags & F_DISCARD) || !unit || unit->block->info.discard;
}

/* any: whatever its service action. */
static const struct command *find(const struct scsi_unit *unit, uint8_t op, uint8_t sa, bool any)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		const struct command *c = &commands[i];

		if (c->op == op && (any || c->sa == ANY_SA || c->sa == sa) && has_command(unit, c))
			return c;
	}
	return NULL;
}

static enum scsi_step test_unit_ready(struct scsi_task *t)
{
	return scsi_good(t);
}

/* ---- REPORT SUPPORTED OPERATION CODES.  @spec SPC-4, 6.35 */

/* A row of all / the answer about one. */
static size_t put_row(const struct command *c, uint8_t *p)
{
	memset(p, 0, 8);
	p[0] = c->op;
	if (c->sa != ANY_SA) {
		p[3] = c->sa;
		p[5] = 1;
	}
	put_be16(p + 6, cdb_len(c->op));
	return 8;
}

static enum scsi_step report_all(struct scsi_task *t, size_t alloc)
{
	uint8_t buf[4 + 8 * ARRAY_SIZE(commands)];
	size_t len = 4;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (has_command(t->unit, &commands[i]))
			len += put_row(&commands[i], buf + len);
	put_be32(buf, (uint32_t)len - 4);
	return scsi_reply(t, buf, len, alloc);
}

static enum scsi_step report_one(struct scsi_task *t, const struct command *c, size_t alloc)
{
	uint8_t buf[4 + 16] = {0};
	uint8_t len;

	if (!c) {
		buf[1] = 1; /* not supported */
		return scsi_reply(t, buf, 4, alloc);
	}
	len = cdb_len(c->op);
	buf[1] = 3; /* as the standard says */
	put_be16(buf + 2, len);
	buf[4] = c->op;
	memcpy(buf + 5, c->usage, len - 1u);
	if (c->sa != ANY_SA)
		buf[5] = c->sa;
	return scsi_reply(t, buf, 4u + len, alloc);
}

static enum scsi_step report_opcodes(struct scsi_task *t)
{
	const struct command *c = find(t->unit, t->cdb[3], 0, true);
	uint16_t sa = get_be16(t->cdb + 4);
	size_t alloc = get_be32(t->cdb + 6);
	bool has_sa = c && c->sa != ANY_SA;

	if (t->cdb[2] & 0x80)
		return scsi_bad_cdb(t, 2); /* no timeouts to tell of */
	switch (t->cdb[2] & 7) {
	case 0:
		return report_all(t, alloc);
	case 1:
		return has_sa ? scsi_bad_cdb(t, 3) : report_one(t, c, alloc);
	case 2:
		if (c && !has_sa)
			return scsi_bad_cdb(t, 3);
		c = sa < ANY_SA ? find(t->unit, t->cdb[3], (uint8_t)sa, false) : NULL;
		return report_one(t, c, alloc);
	case 3:
		if (has_sa)
			c = sa < ANY_SA ? find(t->unit, t->cdb[3], (uint8_t)sa, false) : NULL;
		else if (sa)
			c = NULL;
		return report_one(t, c, alloc);
	default:
		return scsi_bad_cdb(t, 2);
	}
}

/* ---- tasks */

static void finish(struct scsi_task *t)
{
	if (t->exclusive)
		__atomic_store_n(&t->unit->exclusive, false, __ATOMIC_RELEASE);
	t->exclusive = false;
	free(t->pieces);
	free(t->buf);
	free(t->ranges);
	t->pieces = NULL;
	t->buf = NULL;
	t->ranges = NULL;
}

static void io_done(struct block_io *io, int err);

/* The backend is done with a step. */
static enum scsi_step next_step(struct scsi_task *t, int err)
{
	if (__atomic_load_n(&t->aborted, __ATOMIC_ACQUIRE))
		return scsi_status(t, SCSI_TASK_ABORTED);
	return err ? check_errno(t, err) : t->step(t);
}

static enum scsi_result advance(struct scsi_task *t, enum scsi_step step)
{
	while (step == SCSI_STEP_IO) {
		int err;

		t->io.done = io_done;
		err = block_submit(t->port->units[t->lun].queue, &t->io);
		if (err == BLOCK_PENDING) {
			t->port->units[t->lun].tasks++;
			return SCSI_PENDING;
		}
		step = err ? check_errno(t, err) : t->step(t);
	}
	finish(t);
	return SCSI_DONE;
}

static void io_done(struct block_io *io, int err)
{
	struct scsi_task *t = container_of(io, struct scsi_task, io);

	t->port->units[t->lun].tasks--;
	if (advance(t, next_step(t, err)) == SCSI_DONE)
		t->done(t);
}

/* One that no command may begin on, but those that are always possible. */
static enum scsi_step start_without_unit(struct scsi_task *t)
{
	if (t->lun != SCSI_WELL_KNOWN)
		return scsi_check(t, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_NO_LUN);
	/* TEST UNIT READY: it always is. */
	return t->cdb[0] ? scsi_check(t, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_OPCODE) : scsi_good(t);
}

static enum scsi_step start(struct scsi_task *t)
{
	const struct command *c = find(t->unit, t->cdb[0], t->cdb[1] & 0x1f, false);
	uint16_t asc;

	/* NACA: there is no auto contingent allegiance. */
	if (c && (t->cdb[cdb_len(c->op) - 1] & 4))
		return scsi_bad_cdb(t, cdb_len(c->op) - 1);
	if (c && (c->flags & F_ALWAYS))
		return c->start(t);
	if (!t->unit)
		return start_without_unit(t);
	asc = scsi_unit_take_attention(t->unit);
	if (asc)
		return scsi_check(t, SCSI_KEY_UNIT_ATTENTION, asc);
	if (!c && find(t->unit, t->cdb[0], 0, true))
		return scsi_bad_cdb(t, 1);
	if (!c)
		return scsi_check(t, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_OPCODE);
	if ((c->flags & F_MEDIUM) && __atomic_load_n(&t->unit->stopped, __ATOMIC_RELAXED))
		return scsi_check(t, SCSI_KEY_NOT_READY, SCSI_ASC_STOPPED);
	if ((c->flags & F_WRITE) && t->unit->block->info.readonly)
		return scsi_check(t, SCSI_KEY_DATA_PROTECT, SCSI_ASC_WRITE_PROTECTED);
	return c->start(t);
}

static void task_begin(struct scsi_task *t)
{
	t->unit = t->lun < SCSI_LUNS ? t->port->units[t->lun].unit : NULL;
	t->status = SCSI_GOOD;
	t->overrun = t->exclusive = t->changed = t->aborted = false;
	t->moved = t->sense_len = 0;
	t->err = 0;
	t->pieces = NULL;
	t->buf = NULL;
	t->ranges = NULL;
	t->io.flags = 0;
	t->step = scsi_good;
}

enum scsi_result scsi_task_start(struct scsi_task *t)
{
	task_begin(t);
	return advance(t, start(t));
}

void scsi_task_refuse(struct scsi_task *t, uint8_t key, uint16_t asc)
{
	task_begin(t);
	scsi_check(t, key, asc);
}
