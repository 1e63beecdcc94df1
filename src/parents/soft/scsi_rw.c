/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands that use the medium.  Those that move no data of the initiator's in one piece go in
 * steps of a chunk.  @spec SBC-3, 5
 */
#include <stdlib.h>

#include "parents/soft/scsi_task.h"
#include "virtqueue/iov.h"

/* What one command may move: a worker copies it here and now, where the medium is memory. */
#define MAX_BYTES (16u << 20)
/* A multiple of any block size. */
#define CHUNK     (256u << 10)

#define FUA    0x08 /* byte 1 of READ, WRITE, COMPARE AND WRITE */
#define UNMAP  0x08 /* byte 1 of WRITE SAME */
#define ANCHOR 0x10
#define NDOB   0x01
#define IMMED  0x01

struct scsi_range {
	uint64_t off, len;
};

static uint32_t at_most(uint64_t bytes, uint64_t most, const struct scsi_unit *unit)
{
	if (bytes > most)
		bytes = most;
	return (uint32_t)(bytes / scsi_block_size(unit));
}

uint32_t scsi_max_transfer(const struct scsi_unit *unit)
{
	return MAX_BYTES / scsi_block_size(unit);
}

uint32_t scsi_max_write_same(const struct scsi_unit *unit)
{
	return at_most(unit->block->info.max_write_zeroes, MAX_BYTES, unit);
}

uint32_t scsi_max_compare(const struct scsi_unit *unit)
{
	uint32_t num = CHUNK / scsi_block_size(unit);

	return num < UINT8_MAX ? num : UINT8_MAX;
}

/* UNMAP makes zeros where it can: then the initiator may rely on that. */
bool scsi_unmap_zeroes(const struct scsi_unit *unit)
{
	return unit->block->info.discard && unit->block->info.unmap;
}

uint32_t scsi_max_unmap(const struct scsi_unit *unit)
{
	const struct block_info *info = &unit->block->info;

	return at_most(scsi_unmap_zeroes(unit) ? info->max_write_zeroes : info->max_discard,
		       UINT32_MAX, unit);
}

/* ---- ranges */

static bool range_ok(const struct scsi_unit *unit, uint64_t lba, uint64_t num,
		     struct scsi_range *ret)
{
	uint32_t size = scsi_block_size(unit);

	if (lba > UINT64_MAX / size)
		return false;
	ret->off = lba * size;
	ret->len = num * size;
	return block_range_ok(size, __atomic_load_n(&unit->capacity, __ATOMIC_RELAXED), ret->off,
			      ret->len);
}

static void decode(const uint8_t *cdb, uint64_t *lba, uint32_t *num)
{
	switch (cdb[0] >> 5) {
	case 0:
		*lba = get_be32(cdb) & 0x1fffff;
		*num = cdb[4] ? cdb[4] : 256;
		break;
	case 4:
		*lba = get_be64(cdb + 2);
		*num = get_be32(cdb + 10);
		break;
	case 5:
		*lba = get_be32(cdb + 2);
		*num = get_be32(cdb + 6);
		break;
	default:
		*lba = get_be32(cdb + 2);
		*num = get_be16(cdb + 7);
		break;
	}
}

/* The range of the command, at most `max` blocks; false: the task has ended. */
static bool get_range(struct scsi_task *t, uint32_t max, struct scsi_range *ret, uint32_t *num)
{
	uint64_t lba;

	decode(t->cdb, &lba, num);
	if (!range_ok(t->unit, lba, *num, ret)) {
		scsi_check(t, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_LBA_RANGE);
		return false;
	}
	if (*num > max) {
		scsi_bad_cdb(t, t->cdb[0] >> 5 == 4 ? 10 : t->cdb[0] >> 5 == 5 ? 6 : 7);
		return false;
	}
	return true;
}

/* Protection information is not supported: the field that asks for it is 0. */
static bool protection_ok(struct scsi_task *t)
{
	if (t->cdb[0] >> 5 == 0 || !(t->cdb[1] >> 5))
		return true;
	scsi_bad_cdb(t, 1);
	return false;
}

static uint32_t write_flags(const struct scsi_task *t, bool fua)
{
	return fua || !__atomic_load_n(&t->unit->writeback, __ATOMIC_RELAXED) ? BLOCK_FUA : 0;
}

static enum scsi_step io(struct scsi_task *t, enum block_op op, uint64_t off, uint64_t len,
			 scsi_step_fn *step)
{
	t->io.op = op;
	t->io.off = off;
	t->io.len = len;
	t->step = step;
	return SCSI_STEP_IO;
}

/* The same from or to our own memory. */
static enum scsi_step buffer_io(struct scsi_task *t, enum block_op op, uint64_t off, uint64_t len,
				scsi_step_fn *step)
{
	t->piece = (struct iovec){t->buf, len};
	t->io.iov = &t->piece;
	t->io.iovcnt = 1;
	return io(t, op, off, len, step);
}

/* ---- READ, WRITE */

static enum scsi_step read_write(struct scsi_task *t, bool write)
{
	struct scsi_range range;
	uint32_t num;

	if (!protection_ok(t) || !get_range(t, scsi_max_transfer(t->unit), &range, &num))
		return SCSI_STEP_END;
	if (!num)
		return scsi_good(t);
	if (range.len > (write ? t->out_len : t->in_len)) {
		t->overrun = true;
		return scsi_good(t);
	}
	t->pieces = iov_cut(write ? t->out : t->in, write ? t->out_num : t->in_num,
			    write ? t->out_off : t->in_off, range.len, &t->io.iovcnt);
	if (!t->pieces)
		return scsi_check(t, SCSI_KEY_ABORTED_COMMAND, SCSI_ASC_RESOURCES);
	t->io.iov = t->pieces;
	t->moved = (uint32_t)range.len;
	if (write)
		t->io.flags = write_flags(t, t->cdb[0] >> 5 && (t->cdb[1] & FUA));
	return io(t, write ? BLOCK_WRITE : BLOCK_READ, range.off, range.len, scsi_good);
}

enum scsi_step scsi_read(struct scsi_task *t)
{
	return read_write(t, false);
}

enum scsi_step scsi_write(struct scsi_task *t)
{
	return read_write(t, true);
}

/* ---- VERIFY */

static enum scsi_step verify_chunk(struct scsi_task *t);

static uint64_t chunk_len(const struct scsi_task *t)
{
	return t->end - t->pos < CHUNK ? t->end - t->pos : CHUNK;
}

/* Compares len bytes of buf with the initiator's from byte `at` on; its own follow buf.  Returns
 * the first that differs, or len. */
static size_t compare(const struct scsi_task *t, uint64_t at, size_t len)
{
	uint8_t *theirs = t->buf + len;
	size_t i = 0;

	vdpa_iov_to_buf(t->out, t->out_num, t->out_off + at, theirs, len);
	if (!memcmp(t->buf, theirs, len))
		return len;
	while (t->buf[i] == theirs[i])
		i++;
	return i;
}

static enum scsi_step verify_compare(struct scsi_task *t)
{
	size_t len = (size_t)chunk_len(t);
	uint64_t at = t->pos - t->first;
	size_t same = compare(t, at, len);

	if (same < len)
		return scsi_check_info(t, SCSI_KEY_MISCOMPARE, SCSI_ASC_MISCOMPARE, at + same);
	t->pos += len;
	return verify_chunk(t);
}

static enum scsi_step verify_medium(struct scsi_task *t)
{
	t->pos += chunk_len(t);
	return verify_chunk(t);
}

static enum scsi_step verify_chunk(struct scsi_task *t)
{
	bool with_data = t->cdb[1] & 2;

	if (t->pos == t->end)
		return scsi_good(t);
	return buffer_io(t, BLOCK_READ, t->pos, chunk_len(t),
			 with_data ? verify_compare : verify_medium);
}

enum scsi_step scsi_verify(struct scsi_task *t)
{
	unsigned int check = t->cdb[1] >> 1 & 3;
	struct scsi_range range;
	uint32_t num;

	if (check > 1)
		return scsi_bad_cdb(t, 1);
	if (!protection_ok(t) || !get_range(t, scsi_max_transfer(t->unit), &range, &num))
		return SCSI_STEP_END;
	if (!num)
		return scsi_good(t);
	if (check && range.len > t->out_len) {
		t->overrun = true;
		return scsi_good(t);
	}
	if (!scsi_buffer(t, 2 * CHUNK))
		return SCSI_STEP_END;
	t->moved = check ? (uint32_t)range.len : 0;
	t->first = t->pos = range.off;
	t->end = range.off + range.len;
	return verify_chunk(t);
}

/* ---- COMPARE AND WRITE: one at a time on a unit, whatever the range */

static enum scsi_step compare_done(struct scsi_task *t)
{
	size_t len = (size_t)(t->end - t->first), same = compare(t, 0, len);

	if (same < len)
		return scsi_check_info(t, SCSI_KEY_MISCOMPARE, SCSI_ASC_MISCOMPARE, same);
	vdpa_iov_to_buf(t->out, t->out_num, t->out_off + len, t->buf, len);
	t->io.flags = write_flags(t, t->cdb[1] & FUA);
	return buffer_io(t, BLOCK_WRITE, t->first, len, scsi_good);
}

enum scsi_step scsi_compare_and_write(struct scsi_task *t)
{
	uint8_t num = t->cdb[13];
	struct scsi_range range;

	if (!protection_ok(t))
		return SCSI_STEP_END;
	if (num > scsi_max_compare(t->unit))
		return scsi_bad_cdb(t, 13);
	if (!range_ok(t->unit, get_be64(t->cdb + 2), num, &range))
		return scsi_check(t, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_LBA_RANGE);
	if (!num)
		return scsi_good(t);
	if (2 * range.len > t->out_len) {
		t->overrun = true;
		return scsi_good(t);
	}
	if (!scsi_buffer(t, 2 * (size_t)range.len))
		return SCSI_STEP_END;
	/* The initiator tries again. */
	if (__atomic_exchange_n(&t->unit->exclusive, true, __ATOMIC_ACQUIRE))
		return scsi_status(t, SCSI_BUSY);
	t->exclusive = true;
	t->moved = 2 * (uint32_t)range.len;
	t->first = range.off;
	t->end = range.off + range.len;
	return buffer_io(t, BLOCK_READ, range.off, range.len, compare_done);
}

/* ---- WRITE SAME */

static enum scsi_step same_chunk(struct scsi_task *t)
{
	uint64_t off = t->pos, len = chunk_len(t);

	if (!len)
		return scsi_good(t);
	t->pos += len;
	return buffer_io(t, BLOCK_WRITE, off, len, same_chunk);
}

static bool is_zero(const uint8_t *p, size_t len)
{
	return !p[0] && !memcmp(p, p + 1, len - 1);
}

enum scsi_step scsi_write_same(struct scsi_task *t)
{
	bool no_data = t->cdb[0] == 0x93 && (t->cdb[1] & NDOB), unmap = t->cdb[1] & UNMAP;
	uint32_t size = scsi_block_size(t->unit), num;
	struct scsi_range range;

	if (t->cdb[1] & ANCHOR)
		return scsi_bad_cdb(t, 1);
	if (!protection_ok(t) || !get_range(t, scsi_max_write_same(t->unit), &range, &num))
		return SCSI_STEP_END;
	if (!num)
		return scsi_bad_cdb(t, t->cdb[0] == 0x93 ? 10 : 7);
	if (!scsi_buffer(t, CHUNK))
		return SCSI_STEP_END;
	if (!no_data && !scsi_fetch(t, t->buf, size))
		return SCSI_STEP_END;
	t->io.flags = write_flags(t, false);
	if (no_data || is_zero(t->buf, size)) {
		if (unmap && t->unit->block->info.unmap)
			t->io.flags |= BLOCK_UNMAP;
		return io(t, BLOCK_WRITE_ZEROES, range.off, range.len, scsi_good);
	}
	t->first = t->pos = range.off;
	t->end = range.off + range.len;
	for (uint32_t at = size; at < CHUNK && at < range.len; at += size)
		memcpy(t->buf + at, t->buf, size);
	return same_chunk(t);
}

/* ---- UNMAP */

static enum scsi_step next_range(struct scsi_task *t)
{
	bool zeroes = scsi_unmap_zeroes(t->unit);

	while (t->range < t->num_ranges) {
		const struct scsi_range *range = &t->ranges[t->range++];

		if (!range->len)
			continue;
		t->io.flags = write_flags(t, false) | (zeroes ? BLOCK_UNMAP : 0);
		return io(t, zeroes ? BLOCK_WRITE_ZEROES : BLOCK_DISCARD, range->off, range->len,
			  next_range);
	}
	return scsi_good(t);
}

/* Descriptors of 16 bytes behind a head of 8; false: the task has ended. */
static bool read_ranges(struct scsi_task *t, const uint8_t *list)
{
	for (uint32_t i = 0; i < t->num_ranges; i++) {
		const uint8_t *desc = list + 8 + 16 * i;
		uint32_t num = get_be32(desc + 8);

		if (num > scsi_max_unmap(t->unit)) {
			scsi_bad_param(t, (uint16_t)(16 + 16 * i));
			return false;
		}
		if (!range_ok(t->unit, get_be64(desc), num, &t->ranges[i])) {
			scsi_check(t, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_LBA_RANGE);
			return false;
		}
	}
	return true;
}

enum scsi_step scsi_unmap(struct scsi_task *t)
{
	uint8_t list[8 + 16 * SCSI_MAX_RANGES];
	size_t len = get_be16(t->cdb + 7);

	if (t->cdb[1] & 1)
		return scsi_bad_cdb(t, 1); /* ANCHOR */
	if (!len)
		return scsi_good(t);
	if (len < 8)
		return scsi_check(t, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_PARAM_LIST_LEN);
	if (len > sizeof(list))
		return scsi_bad_cdb(t, 7);
	if (!scsi_fetch(t, list, len))
		return SCSI_STEP_END;
	t->num_ranges = get_be16(list + 2) / 16;
	if (t->num_ranges > (len - 8) / 16)
		t->num_ranges = (uint32_t)(len - 8) / 16;
	t->range = 0;
	if (!t->num_ranges)
		return scsi_good(t);
	t->ranges = malloc(t->num_ranges * sizeof(*t->ranges));
	if (!t->ranges)
		return scsi_check(t, SCSI_KEY_ABORTED_COMMAND, SCSI_ASC_RESOURCES);
	return read_ranges(t, list) ? next_range(t) : SCSI_STEP_END;
}

/* ---- SYNCHRONIZE CACHE, START STOP UNIT */

static enum scsi_step flush(struct scsi_task *t, scsi_step_fn *step)
{
	t->io.iov = NULL;
	t->io.iovcnt = 0;
	return io(t, BLOCK_FLUSH, 0, 0, step);
}

/* All of it, whatever the range. */
enum scsi_step scsi_sync(struct scsi_task *t)
{
	struct scsi_range range;
	uint32_t num;

	return get_range(t, UINT32_MAX, &range, &num) ? flush(t, scsi_good) : SCSI_STEP_END;
}

static enum scsi_step stop(struct scsi_task *t)
{
	__atomic_store_n(&t->unit->stopped, true, __ATOMIC_RELAXED);
	t->changed = true;
	return scsi_good(t);
}

enum scsi_step scsi_start_stop(struct scsi_task *t)
{
	/* Neither power conditions nor a medium to eject. */
	if (t->cdb[4] & 0xf2)
		return scsi_bad_cdb(t, 4);
	if (!(t->cdb[4] & 1))
		return flush(t, stop);
	__atomic_store_n(&t->unit->stopped, false, __ATOMIC_RELAXED);
	t->changed = true;
	return scsi_good(t);
}

/* ---- READ CAPACITY */

static uint64_t last_lba(const struct scsi_unit *unit)
{
	return __atomic_load_n(&unit->capacity, __ATOMIC_RELAXED) / scsi_block_size(unit) - 1;
}

enum scsi_step scsi_read_capacity10(struct scsi_task *t)
{
	uint64_t last = last_lba(t->unit);
	uint8_t buf[8];

	put_be32(buf, last > UINT32_MAX ? UINT32_MAX : (uint32_t)last);
	put_be32(buf + 4, scsi_block_size(t->unit));
	return scsi_reply(t, buf, sizeof(buf), sizeof(buf));
}

enum scsi_step scsi_read_capacity16(struct scsi_task *t)
{
	const struct block_info *info = &t->unit->block->info;
	uint8_t buf[32] = {0};

	put_be64(buf, last_lba(t->unit));
	put_be32(buf + 8, info->block_size);
	buf[13] = (uint8_t)__builtin_ctz(info->physical_size / info->block_size);
	if (info->discard)
		buf[14] |= 0x80; /* LBPME */
	if (scsi_unmap_zeroes(t->unit))
		buf[14] |= 0x40; /* LBPRZ */
	return scsi_reply(t, buf, sizeof(buf), get_be32(t->cdb + 10));
}
