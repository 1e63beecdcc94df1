/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests of a SCSI request queue, with chains of any content and any layout, on small disks in
 * memory.
 *
 * Input: a byte of flags, then requests.  Flags: 1 unit 0 is read-only, 2 has 4096-byte blocks, 4
 * cannot discard, 8 a driver with a short sense field.  A request: a byte that counts pieces of
 * data out, one of data in, each times 64 bytes; a byte of unit (high bit: the well-known one); 16
 * bytes of command; then data out, as far as the input goes, else zeros.  The header is cut in two
 * at a place that the unit's byte tells.
 */
#include <stdlib.h>
#include <string.h>

#include <linux/virtio_scsi.h>

#include "fuzz_input.h"
#include "parents/soft/scsi_request.h"

#define DISK     "64K"
#define HEAD     19u
#define CDB_SIZE 32u

static const struct vdpa_attr_desc table[] = {BLOCK_ATTRS, {0}};

static struct block *open_disk(const char *block_size, const char *readonly, const char *discard)
{
	const char *const words[] = {"backend",  "ram",      "size",   DISK,      "block-size",
				     block_size, "readonly", readonly, "discard", discard};
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct block *block = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(words); i += 2)
		if (vdpa_attrs_add(attrs, words[i], words[i + 1], NULL, NULL))
			abort();
	if (vdpa_attrs_check(attrs, table, NULL, false, NULL) || block_open(attrs, &block, NULL))
		abort();
	vdpa_attrs_free(attrs);
	return block;
}

static void done(struct scsi_request *r, enum scsi_req_result result)
{
	abort(); /* memory takes no time */
}

static void check(const struct scsi_request *r, const uint8_t *in, uint32_t in_len,
		  enum scsi_req_result result)
{
	const struct virtio_scsi_cmd_resp *resp = (const void *)in;
	uint32_t sense = le32toh(resp->sense_len);

	if (result == SCSI_REQ_BROKEN || result == SCSI_REQ_PENDING || r->used > in_len)
		abort();
	if ((result == SCSI_REQ_OK) != (!resp->response && !resp->status))
		abort();
	if (sense > r->sense_size || sense > SCSI_SENSE_MAX)
		abort();
	/* A check condition says why. */
	if (!resp->response && (resp->status == SCSI_CHECK_CONDITION) != (r->task.sense_len != 0))
		abort();
	if (le32toh(resp->resid) > r->task.in_len + r->task.out_len)
		abort();
}

static void run(struct scsi_port *port, uint32_t sense_size, struct input *in)
{
	uint32_t data_out = 64u * next(in), data_in = 64u * next(in);
	uint32_t out_len = HEAD + CDB_SIZE + data_out, in_len = 12 + sense_size + data_in;
	uint8_t where = next(in), *out = calloc(1, out_len), *back = calloc(1, in_len);
	uint32_t cut = where % 64u < out_len ? where % 64u : 0;
	struct iovec iov[3] = {{out, cut}, {out + cut, out_len - cut}, {back, in_len}};
	struct vdpa_vq_elem elem = {
		.iov = iov, .out_num = 2, .in_num = 1, .out_len = out_len, .in_len = in_len};
	struct scsi_request r = {.port = port,
				 .elem = &elem,
				 .cdb_size = CDB_SIZE,
				 .sense_size = sense_size,
				 .done = done};

	if (!out || !back)
		abort();
	out[0] = where & 0x80 ? 0xc1 : 1;
	out[1] = where & 0x80 ? 1 : 0;
	out[3] = where & 7;
	take(in, out + HEAD, 16);
	take(in, out + HEAD + CDB_SIZE, data_out);
	check(&r, back, in_len, scsi_request_start(&r));
	free(out);
	free(back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct input in = {data, len};
	uint8_t flags = next(&in);
	struct scsi_port port = {0};
	struct scsi_unit units[2] = {0};

	for (unsigned int i = 0; i < ARRAY_SIZE(units); i++) {
		struct block *block =
			open_disk(!i && flags & 2 ? "4096" : "512", !i && flags & 1 ? "on" : "off",
				  !i && flags & 4 ? "off" : "on");

		if (scsi_unit_init(&units[i], block, i, "fuzz") ||
		    block_attach(block, NULL, NULL, &port.units[i].queue, NULL))
			abort();
		port.units[i].unit = &units[i];
	}
	units[0].ua = 0;
	while (in.len)
		run(&port, flags & 8 ? 10 : 96, &in);
	for (unsigned int i = 0; i < ARRAY_SIZE(units); i++) {
		if (port.units[i].tasks || units[i].exclusive)
			abort();
		block_detach(port.units[i].queue);
		block_close(units[i].block);
		scsi_unit_destroy(&units[i]);
	}
	return 0;
}
