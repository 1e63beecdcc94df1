/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mode pages: caching (WCE can be changed) and control (D_SENSE can).
 * @spec SPC-4, 6.11 to 6.14 and 7.5; SBC-3, 6.4
 */
#include "parents/soft/scsi_task.h"

#define PAGE_CACHING 0x08
#define PAGE_CONTROL 0x0a
#define PAGE_ALL     0x3f

#define WCE     0x04 /* byte 2 of the caching page */
#define D_SENSE 0x04 /* byte 2 of the control page */

enum control { CURRENT, CHANGEABLE, DEFAULT, SAVED };

struct mode_page {
	uint8_t code, len; /* with its two bytes of head */
	void (*fill)(const struct scsi_unit *unit, enum control pc, uint8_t *p);
	void (*change)(struct scsi_unit *unit, const uint8_t *p);
};

static void fill_caching(const struct scsi_unit *unit, enum control pc, uint8_t *p)
{
	bool on = pc == CURRENT ? __atomic_load_n(&unit->writeback, __ATOMIC_RELAXED)
				: unit->block->info.writeback;

	p[2] = on || pc == CHANGEABLE ? WCE : 0;
}

static void change_caching(struct scsi_unit *unit, const uint8_t *p)
{
	__atomic_store_n(&unit->writeback, !!(p[2] & WCE), __ATOMIC_RELAXED);
}

static void fill_control(const struct scsi_unit *unit, enum control pc, uint8_t *p)
{
	bool on = pc == CURRENT && __atomic_load_n(&unit->descriptor, __ATOMIC_RELAXED);

	p[2] = on || pc == CHANGEABLE ? D_SENSE : 0;
	if (pc != CHANGEABLE)
		p[3] = 0x10; /* commands may be reordered */
}

static void change_control(struct scsi_unit *unit, const uint8_t *p)
{
	__atomic_store_n(&unit->descriptor, !!(p[2] & D_SENSE), __ATOMIC_RELAXED);
}

static const struct mode_page mode_pages[] = {
	{PAGE_CACHING, 20, fill_caching, change_caching},
	{PAGE_CONTROL, 12, fill_control, change_control},
};

static void put_page(const struct mode_page *page, const struct scsi_unit *unit, enum control pc,
		     uint8_t *p)
{
	memset(p, 0, page->len);
	p[0] = page->code;
	p[1] = (uint8_t)(page->len - 2);
	page->fill(unit, pc, p);
}

/* ---- MODE SENSE */

/* One block descriptor: all blocks.  Returns its length. */
static size_t put_blocks(const struct scsi_unit *unit, bool long_form, uint8_t *p)
{
	uint64_t num = __atomic_load_n(&unit->capacity, __ATOMIC_RELAXED) / scsi_block_size(unit);

	if (long_form) {
		put_be64(p, num);
		put_be32(p + 12, scsi_block_size(unit));
		return 16;
	}
	put_be32(p, num > UINT32_MAX ? UINT32_MAX : (uint32_t)num);
	put_be32(p + 4, scsi_block_size(unit));
	return 8;
}

/* Returns the length of the pages, 0 when there is none of that code. */
static size_t put_pages(const struct scsi_unit *unit, uint8_t code, enum control pc, uint8_t *p)
{
	size_t len = 0;

	for (size_t i = 0; i < ARRAY_SIZE(mode_pages); i++) {
		if (code != PAGE_ALL && code != mode_pages[i].code)
			continue;
		put_page(&mode_pages[i], unit, pc, p + len);
		len += mode_pages[i].len;
	}
	return len;
}

enum scsi_step scsi_mode_sense(struct scsi_task *t)
{
	bool six = t->cdb[0] == 0x1a, long_form = !six && (t->cdb[1] & 0x10);
	size_t head = six ? 4 : 8, blocks = 0, len;
	enum control pc = t->cdb[2] >> 6;
	uint8_t buf[64] = {0};

	if (pc == SAVED)
		return scsi_check(t, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_NO_SAVED_PARAMETERS);
	if (t->cdb[3] && !((t->cdb[2] & 0x3f) == PAGE_ALL && t->cdb[3] == 0xff))
		return scsi_bad_cdb(t, 3); /* no subpages */
	if (!(t->cdb[1] & 8))
		blocks = put_blocks(t->unit, long_form, buf + head);
	len = put_pages(t->unit, t->cdb[2] & 0x3f, pc, buf + head + blocks);
	if (!len)
		return scsi_bad_cdb(t, 2);
	len += head + blocks;
	/* WP, DPOFUA */
	buf[six ? 2 : 3] = (uint8_t)(t->unit->block->info.readonly << 7 | 0x10);
	if (six) {
		buf[0] = (uint8_t)(len - 1);
		buf[3] = (uint8_t)blocks;
		return scsi_reply(t, buf, len, t->cdb[4]);
	}
	put_be16(buf, (uint32_t)len - 2);
	buf[4] = long_form;
	put_be16(buf + 6, (uint32_t)blocks);
	return scsi_reply(t, buf, len, get_be16(t->cdb + 7));
}

/* ---- MODE SELECT */

static const struct mode_page *find_page(const uint8_t *p, size_t left)
{
	for (size_t i = 0; i < ARRAY_SIZE(mode_pages); i++)
		if (left >= mode_pages[i].len && (p[0] & 0x7f) == mode_pages[i].code &&
		    p[1] == mode_pages[i].len - 2)
			return &mode_pages[i];
	return NULL;
}

/* Does it change only what can be changed?  Returns the byte that does not, or 0. */
static uint8_t forbidden_byte(const struct mode_page *page, const struct scsi_unit *unit,
			      const uint8_t *p)
{
	uint8_t now[20], mask[20];

	put_page(page, unit, CURRENT, now);
	put_page(page, unit, CHANGEABLE, mask);
	for (uint8_t i = 2; i < page->len; i++)
		if ((now[i] ^ p[i]) & ~mask[i])
			return i;
	return 0;
}

/* Pages from byte `at` on: checked, or changed.  Returns whether they are right. */
static bool each_page(struct scsi_task *t, const uint8_t *buf, size_t at, size_t len, bool change)
{
	while (at < len) {
		const struct mode_page *page = find_page(buf + at, len - at);
		uint8_t byte;

		if (!page) {
			scsi_bad_param(t, (uint16_t)at);
			return false;
		}
		byte = change ? 0 : forbidden_byte(page, t->unit, buf + at);
		if (byte) {
			scsi_bad_param(t, (uint16_t)(at + byte));
			return false;
		}
		if (change)
			page->change(t->unit, buf + at);
		at += page->len;
	}
	return true;
}

/* Writes that were completed before are on the medium when write-through begins. */
static enum scsi_step settle(struct scsi_task *t)
{
	if (__atomic_load_n(&t->unit->writeback, __ATOMIC_RELAXED))
		return scsi_good(t);
	t->io.op = BLOCK_FLUSH;
	t->io.off = t->io.len = 0;
	t->io.iov = NULL;
	t->io.iovcnt = 0;
	t->step = scsi_good;
	return SCSI_STEP_IO;
}

enum scsi_step scsi_mode_select(struct scsi_task *t)
{
	bool six = t->cdb[0] == 0x15;
	size_t head = six ? 4 : 8, len = six ? t->cdb[4] : get_be16(t->cdb + 7), at;
	uint8_t buf[256];

	if (!(t->cdb[1] & 0x10) || (t->cdb[1] & 1))
		return scsi_bad_cdb(t, 1); /* PF, and nothing is saved */
	if (!len)
		return scsi_good(t);
	if (len < head || len > sizeof(buf))
		return scsi_check(t, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_PARAM_LIST_LEN);
	if (!scsi_fetch(t, buf, len))
		return SCSI_STEP_END;
	/* The block descriptor says nothing that could be changed. */
	at = head + (six ? buf[3] : get_be16(buf + 6));
	if (at > len)
		return scsi_check(t, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_PARAM_LIST_LEN);
	if (!each_page(t, buf, at, len, false))
		return SCSI_STEP_END;
	each_page(t, buf, at, len, true);
	t->changed = true;
	return settle(t);
}
