/* SPDX-License-Identifier: BSD-2-Clause */
/* What a unit is: INQUIRY and its pages, REPORT LUNS, REQUEST SENSE.  @spec SPC-4, 6.4, 6.33, 6.39
 */
#include "parents/soft/scsi_task.h"

#define VENDOR   "uvdpa   "
#define PRODUCT  "virtual disk    "
#define REVISION "1.0 "

#define TYPE_DISK       0x00
#define TYPE_WELL_KNOWN 0x1e
#define TYPE_NO_UNIT    0x7f /* there is none, and cannot be one of a known type */

static uint8_t device_type(const struct scsi_task *t)
{
	if (t->unit)
		return TYPE_DISK;
	return t->lun == SCSI_WELL_KNOWN ? TYPE_WELL_KNOWN : TYPE_NO_UNIT;
}

static enum scsi_step standard(struct scsi_task *t, size_t alloc)
{
	uint8_t buf[66] = {0};

	buf[0] = device_type(t);
	buf[2] = 6;    /* SPC-4 */
	buf[3] = 0x12; /* HiSup; format 2 */
	buf[4] = sizeof(buf) - 5;
	buf[7] = 2; /* CmdQue */
	memcpy(buf + 8, VENDOR, 8);
	memcpy(buf + 16, PRODUCT, 16);
	memcpy(buf + 32, REVISION, 4);
	put_be16(buf + 58, 0x00a0); /* SAM-5 */
	put_be16(buf + 60, 0x0460); /* SPC-4 */
	put_be16(buf + 62, 0x04c0); /* SBC-3 */
	return scsi_reply(t, buf, sizeof(buf), alloc);
}

/* ---- pages: content from byte 4 on; its length is returned */

static size_t page_serial(const struct scsi_unit *unit, uint8_t *p)
{
	size_t len = strlen(unit->serial);

	memcpy(p, unit->serial, len);
	return len;
}

static size_t page_ids(const struct scsi_unit *unit, uint8_t *p)
{
	size_t serial = strlen(unit->serial);

	/* T10 vendor id and serial number, ASCII. */
	p[0] = 2;
	p[1] = 1;
	p[3] = (uint8_t)(8 + serial);
	memcpy(p + 4, VENDOR, 8);
	memcpy(p + 12, unit->serial, serial);
	p += 12 + serial;
	/* NAA, binary. */
	p[0] = 1;
	p[1] = 3;
	p[3] = sizeof(unit->naa);
	memcpy(p + 4, unit->naa, sizeof(unit->naa));
	return 12 + serial + 4 + sizeof(unit->naa);
}

static size_t page_extended(const struct scsi_unit *unit, uint8_t *p)
{
	p[1] = 3;                           /* tasks: simple ones, and for the head of the queue */
	p[2] = unit->block->info.writeback; /* V_SUP */
	return 60;
}

static uint32_t in_blocks(const struct scsi_unit *unit, uint32_t bytes)
{
	return bytes / scsi_block_size(unit);
}

/* @spec SBC-3, 6.5.3 */
static size_t page_limits(const struct scsi_unit *unit, uint8_t *p)
{
	const struct block_info *info = &unit->block->info;

	p[0] = 1; /* WSNZ */
	p[1] = (uint8_t)scsi_max_compare(unit);
	put_be16(p + 2, in_blocks(unit, info->min_io));
	put_be32(p + 4, scsi_max_transfer(unit));
	put_be32(p + 8, in_blocks(unit, info->opt_io));
	if (info->discard) {
		put_be32(p + 16, scsi_max_unmap(unit));
		put_be32(p + 20, SCSI_MAX_RANGES);
		put_be32(p + 24, in_blocks(unit, info->discard_align));
		put_be32(p + 28, 0x80000000); /* UGAVALID, alignment 0 */
	}
	put_be64(p + 32, scsi_max_write_same(unit));
	return 60;
}

static size_t page_characteristics(const struct scsi_unit *unit, uint8_t *p)
{
	put_be16(p, 1); /* it does not rotate */
	return 60;
}

static size_t page_provisioning(const struct scsi_unit *unit, uint8_t *p)
{
	const struct block_info *info = &unit->block->info;

	if (info->discard)
		p[1] = 0x80; /* LBPU */
	if (info->unmap)
		p[1] |= 0x60; /* LBPWS, LBPWS10 */
	if (scsi_unmap_zeroes(unit))
		p[1] |= 0x04;         /* LBPRZ */
	p[2] = info->discard ? 2 : 0; /* thin */
	return 4;
}

static size_t page_list(const struct scsi_unit *unit, uint8_t *p);

static const struct page {
	uint8_t code;
	size_t (*fill)(const struct scsi_unit *unit, uint8_t *p);
} pages[] = {
	{0x00, page_list},         {0x80, page_serial}, {0x83, page_ids},
	{0x86, page_extended},     {0xb0, page_limits}, {0xb1, page_characteristics},
	{0xb2, page_provisioning},
};

static size_t page_list(const struct scsi_unit *unit, uint8_t *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		p[i] = pages[i].code;
	return ARRAY_SIZE(pages);
}

enum scsi_step scsi_inquiry(struct scsi_task *t)
{
	size_t alloc = get_be16(t->cdb + 3), len;
	uint8_t buf[128] = {0};

	if (t->cdb[1] & 2)
		return scsi_bad_cdb(t, 1); /* CmdDt: obsolete */
	if (!(t->cdb[1] & 1))
		return t->cdb[2] ? scsi_bad_cdb(t, 2) : standard(t, alloc);
	for (size_t i = 0; t->unit && i < ARRAY_SIZE(pages); i++) {
		if (pages[i].code != t->cdb[2])
			continue;
		buf[0] = device_type(t);
		buf[1] = pages[i].code;
		len = pages[i].fill(t->unit, buf + 4);
		put_be16(buf + 2, (uint32_t)len);
		return scsi_reply(t, buf, 4 + len, alloc);
	}
	return scsi_bad_cdb(t, 2);
}

/* ---- */

enum scsi_step scsi_report_luns(struct scsi_task *t)
{
	uint8_t buf[8 + 8 * (SCSI_LUNS + 1)] = {0};
	size_t alloc = get_be32(t->cdb + 6), len = 8;
	uint8_t select = t->cdb[2];

	if (select > 2)
		return scsi_bad_cdb(t, 2);
	if (alloc < 16)
		return scsi_bad_cdb(t, 6);
	if (select != 0) {
		buf[len] = 0xc1; /* the well-known unit that reports units */
		buf[len + 1] = 1;
		len += 8;
	}
	for (unsigned int i = 0; i < SCSI_LUNS && select != 1; i++) {
		if (!t->port->units[i].unit)
			continue;
		buf[len + 1] = (uint8_t)i;
		len += 8;
	}
	put_be32(buf, (uint32_t)len - 8);
	if (t->unit)
		__atomic_fetch_and(&t->unit->ua, ~SCSI_UA_LUNS, __ATOMIC_RELAXED);
	return scsi_reply(t, buf, len, alloc);
}

enum scsi_step scsi_request_sense(struct scsi_task *t)
{
	uint8_t sense[SCSI_SENSE_MAX], key = SCSI_KEY_NONE;
	uint16_t asc = SCSI_ASC_NONE;
	uint32_t len;

	if (!t->unit && t->lun != SCSI_WELL_KNOWN) {
		key = SCSI_KEY_ILLEGAL_REQUEST;
		asc = SCSI_ASC_NO_LUN;
	} else if (t->unit && (asc = scsi_unit_take_attention(t->unit))) {
		key = SCSI_KEY_UNIT_ATTENTION;
	} else if (t->unit && __atomic_load_n(&t->unit->stopped, __ATOMIC_RELAXED)) {
		key = SCSI_KEY_NOT_READY;
		asc = SCSI_ASC_STOPPED;
	}
	len = scsi_sense_build(sense, t->cdb[1] & 1, key, asc);
	return scsi_reply(t, sense, len, t->cdb[4]);
}
