/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One request of a request queue: read, run as a task, answered.  @spec virtio 1.3, 5.6.6.1
 */
#ifndef SOFT_SCSI_REQUEST_H
#define SOFT_SCSI_REQUEST_H

#include "parents/soft/scsi_task.h"

/* Bounds of what a driver may write into the config space. */
#define SCSI_CDB_SIZE_MIN   16u
#define SCSI_CDB_SIZE_MAX   256u
#define SCSI_SENSE_SIZE_MAX 252u

enum scsi_req_result {
	SCSI_REQ_OK,
	SCSI_REQ_FAILED, /* the answer says what */
	SCSI_REQ_PENDING,
	SCSI_REQ_BROKEN, /* no room for a header or for an answer: nothing was done */
};

struct scsi_request {
	/* The caller's. */
	struct scsi_port *port;
	const struct vdpa_vq_elem *elem;
	uint32_t cdb_size, sense_size; /* of the config space */
	void (*done)(struct scsi_request *r, enum scsi_req_result result);

	uint8_t lun; /* of the task */
	uint64_t tag;
	uint8_t aborted; /* atomic: instead of its own, the response VIRTIO_SCSI_S_* */
	uint32_t used;   /* bytes that were written into the in pieces */

	struct scsi_task task;
};

/* The answer is written when this returns OK or FAILED, and before done() is called. */
enum scsi_req_result scsi_request_start(struct scsi_request *r);

/* It ends as soon as the backend lets it, with this response.  While it is under way, any thread.
 */
void scsi_request_abort(struct scsi_request *r, uint8_t response);

/*
 * The unit that an address of virtio means: 0 and its number (SCSI_WELL_KNOWN, or SCSI_LUNS where
 * it can be none of ours), or -ENODEV: another target.
 */
int scsi_parse_lun(const uint8_t lun[8], uint8_t *ret);
void scsi_format_lun(uint8_t lun[8], unsigned int idx);

#endif
