/* SPDX-License-Identifier: BSD-2-Clause */
#include "parents/soft/scsi_request.h"

#include <errno.h>
#include <linux/virtio_scsi.h>

#define REQ_HEAD  offsetof(struct virtio_scsi_cmd_req, cdb)
#define RESP_HEAD offsetof(struct virtio_scsi_cmd_resp, sense)

/* @spec virtio 1.3, 5.6.6.1: 1, target, unit in the flat format; or a well-known unit */
int scsi_parse_lun(const uint8_t lun[8], uint8_t *ret)
{
	uint16_t num = get_be16(lun + 2);

	*ret = SCSI_LUNS;
	if (lun[0] == 0xc1 && lun[1] == 1) {
		*ret = SCSI_WELL_KNOWN;
		return 0;
	}
	if (lun[0] != 1 || lun[1] != 0)
		return -ENODEV;
	/* Flat, or by peripheral device on bus 0: both are in use. */
	if ((num & 0xc000) == 0x4000)
		num &= 0x3fff;
	if (num < SCSI_LUNS && !get_be32(lun + 4))
		*ret = (uint8_t)num;
	return 0;
}

/* By peripheral device, as REPORT LUNS has it: drivers compare the two. */
void scsi_format_lun(uint8_t lun[8], unsigned int idx)
{
	memset(lun, 0, 8);
	lun[0] = 1;
	put_be16(lun + 2, idx);
}

static enum scsi_req_result respond(struct scsi_request *r, uint8_t response)
{
	const struct scsi_task *t = &r->task;
	uint32_t sense = t->sense_len < r->sense_size ? t->sense_len : r->sense_size;
	struct virtio_scsi_cmd_resp resp = {.response = response};
	const struct iovec *in = r->elem->iov + r->elem->out_num;

	if (response == VIRTIO_SCSI_S_OK) {
		resp.status = t->status;
		resp.sense_len = htole32(sense);
		memcpy(resp.sense, t->sense, t->sense_len);
	} else {
		sense = 0;
	}
	resp.resid = htole32(t->in_len + t->out_len - t->moved);
	vdpa_iov_from_buf(in, r->elem->in_num, 0, &resp, RESP_HEAD + sense);
	r->used = (uint32_t)RESP_HEAD + r->sense_size + (t->in_len ? t->moved : 0);
	return response == VIRTIO_SCSI_S_OK && !t->status ? SCSI_REQ_OK : SCSI_REQ_FAILED;
}

static enum scsi_req_result task_end(struct scsi_request *r)
{
	uint8_t aborted = __atomic_load_n(&r->aborted, __ATOMIC_RELAXED);

	if (aborted) {
		r->task.moved = 0;
		return respond(r, aborted);
	}
	return respond(r, r->task.overrun ? VIRTIO_SCSI_S_OVERRUN : VIRTIO_SCSI_S_OK);
}

static void task_done(struct scsi_task *t)
{
	struct scsi_request *r = container_of(t, struct scsi_request, task);

	r->done(r, task_end(r));
}

void scsi_request_abort(struct scsi_request *r, uint8_t response)
{
	__atomic_store_n(&r->aborted, response, __ATOMIC_RELAXED);
	__atomic_store_n(&r->task.aborted, true, __ATOMIC_RELEASE);
}

static enum scsi_req_result refuse(struct scsi_request *r, uint8_t response)
{
	r->task.moved = r->task.sense_len = 0;
	/* Of the one that had its place before. */
	r->task.changed = false;
	r->task.err = 0;
	return respond(r, response);
}

enum scsi_req_result scsi_request_start(struct scsi_request *r)
{
	const struct vdpa_vq_elem *elem = r->elem;
	uint32_t head = (uint32_t)REQ_HEAD + r->cdb_size,
		 tail = (uint32_t)RESP_HEAD + r->sense_size;
	struct virtio_scsi_cmd_req req;
	struct scsi_task *t = &r->task;

	if (elem->out_len < head || elem->in_len < tail)
		return SCSI_REQ_BROKEN;
	vdpa_iov_to_buf(elem->iov, elem->out_num, 0, &req, REQ_HEAD);
	memset(t->cdb, 0, sizeof(t->cdb));
	vdpa_iov_to_buf(elem->iov, elem->out_num, REQ_HEAD, t->cdb,
			r->cdb_size < sizeof(t->cdb) ? r->cdb_size : sizeof(t->cdb));
	r->tag = req.tag;
	r->aborted = 0;
	t->port = r->port;
	t->out = elem->iov;
	t->out_num = elem->out_num;
	t->out_off = head;
	t->out_len = elem->out_len - head;
	t->in = elem->iov + elem->out_num;
	t->in_num = elem->in_num;
	t->in_off = tail;
	t->in_len = elem->in_len - tail;
	t->done = task_done;
	if (scsi_parse_lun(req.lun, &r->lun))
		return refuse(r, VIRTIO_SCSI_S_BAD_TARGET);
	t->lun = r->lun;
	/* Data both ways need a feature that is not offered. */
	if (t->out_len && t->in_len)
		return refuse(r, VIRTIO_SCSI_S_FAILURE);
	/* Tasks begin when they come, so the head of the queue is where each is; order is not kept.
	 */
	if (req.task_attr != VIRTIO_SCSI_S_SIMPLE && req.task_attr != VIRTIO_SCSI_S_HEAD) {
		scsi_task_refuse(t, SCSI_KEY_ABORTED_COMMAND, SCSI_ASC_TASK_ATTRIBUTE);
		return task_end(r);
	}
	return scsi_task_start(t) == SCSI_PENDING ? SCSI_REQ_PENDING : task_end(r);
}
