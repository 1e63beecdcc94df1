/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a SCSI host answers to the driver virtio_scsi when that looks for its disks.
 *
 * Input: a response (sense data, status and such); then answers, each a byte that says how the
 * command ends (0 to 3: well), two bytes of length, and the data, as far as the input goes.
 * scsi_host_ask() is replaced.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "drivers/virtio/scsi_host.h"
#include "fuzz_input.h"

int __wrap_scsi_host_ask(struct scsi_host *host, uint16_t lun, const uint8_t cdb[SCSI_CDB_BYTES],
			 uint32_t len);

static struct input input;

int __wrap_scsi_host_ask(struct scsi_host *host, uint16_t lun, const uint8_t cdb[SCSI_CDB_BYTES],
			 uint32_t len)
{
	static const int results[] = {0, 0, 0, 0, -EIO, -EOPNOTSUPP, -ENXIO, -ETIMEDOUT};
	uint8_t how = 4, most[2] = {0};
	uint32_t num;

	if (len > SCSI_REPLY_BYTES)
		abort();
	take(&input, &how, 1);
	take(&input, most, 2);
	num = (uint32_t)most[0] << 8 | most[1];
	memset(host->reply, 0, SCSI_REPLY_BYTES);
	take(&input, host->reply, num < len ? num : len);
	return results[how % ARRAY_SIZE(results)];
}

static void result(void)
{
	struct virtio_scsi_cmd_resp resp = {0};
	bool changed = false;
	int err;

	take(&input, &resp, sizeof(resp));
	err = scsi_cmd_result(&resp, &changed);
	if (err > SCSI_AGAIN || (changed && err != SCSI_AGAIN))
		abort();
}

static void unit(struct scsi_host *host, uint16_t lun)
{
	struct scsi_unit_info info = {0};

	if (scsi_ask_unit(host, lun, &info))
		return;
	if (!info.blocks || (info.block_size && info.max_zeroes % info.block_size))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct scsi_host host = {.reply = malloc(SCSI_REPLY_BYTES)};
	uint16_t luns[SCSI_UNITS];
	unsigned int num;

	if (!host.reply)
		abort();
	input = (struct input){data, len};
	result();
	if (!scsi_list_units(&host, luns, &num)) {
		if (num > SCSI_UNITS)
			abort();
		for (unsigned int i = 0; i < num; i++) {
			if (luns[i] > 0x3fff)
				abort();
			unit(&host, luns[i]);
		}
	}
	free(host.reply);
	return 0;
}
