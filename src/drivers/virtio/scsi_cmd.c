/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What units are asked, and what their answers mean.  All of it comes from the device, which may
 * lie.  @spec SPC-4, SBC-3
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "base/be.h"
#include "base/defs.h"
#include "base/scsi.h"
#include "drivers/virtio/scsi_host.h"

/* ---- results */

/* Key and code, whatever the format.  Returns false when there are none. */
static bool read_sense(const struct virtio_scsi_cmd_resp *resp, uint8_t *key, uint16_t *asc)
{
	const uint8_t *sense = resp->sense;
	bool descriptor = (sense[0] & 0x7e) == 0x72;
	uint32_t len = le32toh(resp->sense_len);

	if ((sense[0] & 0x7c) != 0x70 || len < (descriptor ? 4 : 3))
		return false;
	*key = sense[descriptor ? 1 : 2] & 0xf;
	/* The fixed format may end before the code. */
	*asc = descriptor ? get_be16(sense + 2) : len < 14 ? 0 : get_be16(sense + 12);
	return true;
}

static int check_condition(const struct virtio_scsi_cmd_resp *resp, bool *changed)
{
	uint8_t key;
	uint16_t asc;

	if (!read_sense(resp, &key, &asc))
		return -EIO;
	switch (key) {
	case SCSI_KEY_NONE:
	case SCSI_KEY_RECOVERED:
		return 0;
	case SCSI_KEY_ABORTED_COMMAND:
		return SCSI_AGAIN;
	case SCSI_KEY_UNIT_ATTENTION:
		*changed = asc == SCSI_ASC_CAPACITY || asc == SCSI_ASC_LUNS_CHANGED;
		return SCSI_AGAIN;
	case SCSI_KEY_DATA_PROTECT:
		return asc == SCSI_ASC_SPACE ? -ENOSPC : -EROFS;
	case SCSI_KEY_ILLEGAL_REQUEST:
		return asc == SCSI_ASC_NO_LUN ? -ENXIO : -EOPNOTSUPP;
	default:
		return -EIO;
	}
}

int scsi_cmd_result(const struct virtio_scsi_cmd_resp *resp, bool *changed)
{
	switch (resp->response) {
	case VIRTIO_SCSI_S_OK:
		break;
	case VIRTIO_SCSI_S_BAD_TARGET:
		return -ENXIO;
	case VIRTIO_SCSI_S_RESET:
	case VIRTIO_SCSI_S_BUSY:
		return SCSI_AGAIN;
	default:
		return -EIO;
	}
	switch (resp->status) {
	case SCSI_GOOD:
		return 0;
	case SCSI_CHECK_CONDITION:
		return check_condition(resp, changed);
	case SCSI_BUSY:
	case SCSI_TASK_SET_FULL:
		return SCSI_AGAIN;
	default:
		return -EIO;
	}
}

/* ---- questions */

static int inquire(struct scsi_host *host, uint16_t lun, uint8_t page)
{
	const uint8_t cdb[SCSI_CDB_BYTES] = {0x12, !!page, page, 0, 255};
	int err = scsi_host_ask(host, lun, cdb, 255);

	/* Who does not know a page may answer with another. */
	return !err && page && host->reply[1] != page ? -EOPNOTSUPP : err;
}

int scsi_list_units(struct scsi_host *host, uint16_t luns[SCSI_UNITS], unsigned int *num)
{
	const uint8_t cdb[SCSI_CDB_BYTES] = {0xa0, [8] = SCSI_REPLY_BYTES >> 8};
	int err = scsi_host_ask(host, 0, cdb, SCSI_REPLY_BYTES);
	uint32_t len;

	if (err)
		return err;
	*num = 0;
	len = get_be32(host->reply);
	if (len > SCSI_REPLY_BYTES - 8)
		len = SCSI_REPLY_BYTES - 8;
	for (uint32_t off = 8; off + 8 <= len + 8 && *num < SCSI_UNITS; off += 8) {
		uint16_t lun = get_be16(host->reply + off);

		/* By peripheral device on bus 0, or flat. */
		if (lun < 0x100 || (lun & 0xc000) == 0x4000)
			luns[(*num)++] = lun & 0x3fff;
	}
	return 0;
}

int scsi_ask_capacity(struct scsi_host *host, uint16_t lun, struct scsi_unit_info *ret)
{
	const uint8_t cdb[SCSI_CDB_BYTES] = {0x9e, 0x10, [13] = 32};
	int err = scsi_host_ask(host, lun, cdb, 32);

	if (err)
		return err;
	ret->blocks = get_be64(host->reply) + 1;
	ret->block_size = get_be32(host->reply + 8);
	return ret->blocks ? 0 : -EOVERFLOW;
}

/* Byte 2 of the mode parameter header: WP. */
static int ask_read_only(struct scsi_host *host, uint16_t lun, struct scsi_unit_info *ret)
{
	const uint8_t cdb[SCSI_CDB_BYTES] = {0x1a, 8, 0x3f, 0, 255};
	int err = scsi_host_ask(host, lun, cdb, 255);

	ret->read_only = !err && host->reply[2] & 0x80;
	return err == -EOPNOTSUPP ? 0 : err;
}

/* A unit that does not tell its limits has none, and no WRITE SAME that we would trust. */
static int ask_limits(struct scsi_host *host, uint16_t lun, struct scsi_unit_info *ret)
{
	int err = inquire(host, lun, 0xb0);
	uint32_t max;
	uint64_t zeroes;

	ret->max_bytes = UINT64_MAX;
	ret->max_zeroes = 0;
	if (err)
		return err == -EOPNOTSUPP ? 0 : err;
	max = get_be32(host->reply + 8);
	if (max)
		ret->max_bytes = (uint64_t)max * ret->block_size;
	zeroes = get_be64(host->reply + 36);
	ret->max_zeroes = (zeroes > UINT32_MAX ? UINT32_MAX : zeroes) * ret->block_size;
	return 0;
}

static int ask_provisioning(struct scsi_host *host, uint16_t lun, struct scsi_unit_info *ret)
{
	int err = inquire(host, lun, 0xb2);

	ret->unmap = !err && host->reply[5] & 0x40; /* LBPWS */
	return err == -EOPNOTSUPP ? 0 : err;
}

int scsi_ask_unit(struct scsi_host *host, uint16_t lun, struct scsi_unit_info *ret)
{
	int err = inquire(host, lun, 0);

	if (err)
		return err;
	if (host->reply[0] != 0) /* a disk, and it is there */
		return -ENODEV;
	err = scsi_ask_capacity(host, lun, ret);
	if (!err)
		err = ask_read_only(host, lun, ret);
	if (!err)
		err = ask_limits(host, lun, ret);
	return err ? err : ask_provisioning(host, lun, ret);
}
