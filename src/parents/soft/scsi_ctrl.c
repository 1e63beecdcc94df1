/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control queue: task management.  A function goes in two steps:
 *
 * - It may mean a request that is in the ring of its queue, or that a worker has in its hands.  So
 *   each request queue is asked to take what there is; when all have answered, every task that the
 *   driver had started before is on a list.
 * - A task in a backend cannot be taken back.  So tasks that are meant are marked, and end as soon
 * as the backend lets them, with the response that says why; the function is complete when they
 * have ended, and the driver sees that.  (A ring in order may keep a task back behind others that
 * still run.)
 *
 * @spec virtio 1.3, 5.6.6.2; SAM-5, 7
 */
#include "parents/soft/scsi.h"

/* In the memory of its request. */
struct scsi_tmf {
	struct vdpa_soft_req *req;
	STAILQ_ENTRY(scsi_tmf) entry;
	uint32_t subtype;
	uint32_t sweep; /* that the queues have to answer */
	bool begun;     /* its tasks are marked */
	uint8_t lun;    /* SCSI_LUNS: all of them */
	bool one;
	uint64_t tag; /* of the one */
};

_Static_assert(sizeof(struct scsi_tmf) <= sizeof(struct scsi_req), "room in a request");

static void respond(struct vdpa_soft_req *req, const void *buf, size_t len)
{
	len = vdpa_iov_from_buf(req->elem.iov + req->elem.out_num, req->elem.in_num, 0, buf, len);
	vdpa_soft_complete(req, (uint32_t)len);
}

static void respond_tmf(struct vdpa_soft_req *req, uint8_t response)
{
	respond(req, &response, sizeof(response));
}

/* ---- request queues */

static struct scsi_vq *request_queue(const struct scsi *scsi, uint16_t idx)
{
	return scsi_vq(scsi->soft->vqs[idx]);
}

static uint32_t ask_queues(struct scsi *scsi)
{
	scsi->sweep++;
	for (uint16_t i = SCSI_VQ_REQUEST; i < vdpa_soft_nvqs(scsi->soft); i++) {
		__atomic_store_n(&request_queue(scsi, i)->asked, scsi->sweep, __ATOMIC_RELEASE);
		vdpa_soft_vq_wake(scsi->soft->vqs[i]);
	}
	return scsi->sweep;
}

static bool all_answered(struct scsi *scsi, uint32_t sweep)
{
	for (uint16_t i = SCSI_VQ_REQUEST; i < vdpa_soft_nvqs(scsi->soft); i++) {
		struct scsi_vq *svq = request_queue(scsi, i);

		if (__atomic_load_n(&svq->open, __ATOMIC_ACQUIRE) &&
		    (int32_t)(__atomic_load_n(&svq->swept, __ATOMIC_ACQUIRE) - sweep) < 0)
			return false;
	}
	return true;
}

/* ---- tasks */

static bool meant(const struct scsi_tmf *tmf, const struct scsi_req *sreq)
{
	return (tmf->lun == SCSI_LUNS || tmf->lun == sreq->r.lun) &&
	       (!tmf->one || tmf->tag == sreq->r.tag);
}

enum visit { MARK, COUNT, COUNT_MARKED };

/* Tasks that the function means; returns how many.  MARK: they end with this response. */
static unsigned int visit(struct scsi *scsi, const struct scsi_tmf *tmf, enum visit what,
			  uint8_t response)
{
	unsigned int num = 0;

	for (uint16_t i = SCSI_VQ_REQUEST; i < vdpa_soft_nvqs(scsi->soft); i++) {
		struct scsi_vq *svq = request_queue(scsi, i);
		struct scsi_req *sreq;

		pthread_mutex_lock(&svq->lock);
		TAILQ_FOREACH (sreq, &svq->tasks, entry) {
			if (!meant(tmf, sreq))
				continue;
			if (what == MARK && !sreq->r.aborted)
				scsi_request_abort(&sreq->r, response);
			num += what != COUNT_MARKED || sreq->r.aborted;
		}
		if (what == COUNT_MARKED)
			num += svq->ending;
		pthread_mutex_unlock(&svq->lock);
	}
	return num;
}

/* ---- functions */

/* The lane takes the lock to unplug a unit. */
static void reset_unit(struct scsi *scsi, unsigned int idx)
{
	pthread_mutex_lock(&scsi->lock);
	if (scsi->units[idx])
		scsi_unit_reset(scsi->units[idx], SCSI_UA_RESET);
	pthread_mutex_unlock(&scsi->lock);
}

static bool has_unit(struct scsi *scsi, unsigned int idx)
{
	bool has;

	pthread_mutex_lock(&scsi->lock);
	has = idx < SCSI_LUNS && scsi->units[idx];
	pthread_mutex_unlock(&scsi->lock);
	return has;
}

static void reset(struct scsi *scsi, const struct scsi_tmf *tmf)
{
	for (unsigned int i = 0; i < SCSI_LUNS; i++)
		if (tmf->lun == SCSI_LUNS || tmf->lun == i)
			reset_unit(scsi, i);
	visit(scsi, tmf, MARK, VIRTIO_SCSI_S_RESET);
}

/* All tasks are known.  Returns whether there is an answer already. */
static bool begin(struct scsi *scsi, struct scsi_tmf *tmf)
{
	tmf->begun = true;
	switch (tmf->subtype) {
	case VIRTIO_SCSI_T_TMF_QUERY_TASK:
	case VIRTIO_SCSI_T_TMF_QUERY_TASK_SET:
		respond_tmf(tmf->req, visit(scsi, tmf, COUNT, 0) ? VIRTIO_SCSI_S_FUNCTION_SUCCEEDED
								 : VIRTIO_SCSI_S_OK);
		return true;
	case VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET:
	case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
		reset(scsi, tmf);
		break;
	default:
		visit(scsi, tmf, MARK, VIRTIO_SCSI_S_ABORTED);
	}
	return false;
}

/* Returns whether the function is complete. */
static bool advance(struct scsi *scsi, struct scsi_tmf *tmf)
{
	if (!tmf->begun && !all_answered(scsi, tmf->sweep))
		return false;
	if (!tmf->begun && begin(scsi, tmf))
		return true;
	if (visit(scsi, tmf, COUNT_MARKED, 0))
		return false;
	respond_tmf(tmf->req, VIRTIO_SCSI_S_OK);
	return true;
}

static bool advance_all(struct scsi *scsi)
{
	struct scsi_tmf_list list = STAILQ_HEAD_INITIALIZER(list);
	struct scsi_tmf *tmf;
	bool found = false;

	STAILQ_CONCAT(&list, &scsi->tmfs);
	while ((tmf = STAILQ_FIRST(&list))) {
		STAILQ_REMOVE_HEAD(&list, entry);
		if (advance(scsi, tmf))
			found = true;
		else
			STAILQ_INSERT_TAIL(&scsi->tmfs, tmf, entry);
	}
	return found;
}

void scsi_ctrl_cancel(struct vdpa_soft_vq *vq)
{
	struct scsi *scsi = scsi_of(vq);
	struct scsi_tmf *tmf;

	while ((tmf = STAILQ_FIRST(&scsi->tmfs))) {
		STAILQ_REMOVE_HEAD(&scsi->tmfs, entry);
		respond_tmf(tmf->req, VIRTIO_SCSI_S_FAILURE);
	}
}

/* ---- requests */

/* What needs no look at tasks.  VIRTIO_SCSI_S_OK: the function has to run. */
static uint8_t check(struct scsi *scsi, struct scsi_tmf *tmf)
{
	switch (tmf->subtype) {
	case VIRTIO_SCSI_T_TMF_I_T_NEXUS_RESET:
		tmf->lun = SCSI_LUNS;
		return VIRTIO_SCSI_S_OK;
	case VIRTIO_SCSI_T_TMF_ABORT_TASK:
	case VIRTIO_SCSI_T_TMF_QUERY_TASK:
		tmf->one = true;
		break;
	case VIRTIO_SCSI_T_TMF_ABORT_TASK_SET:
	case VIRTIO_SCSI_T_TMF_CLEAR_TASK_SET:
	case VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET:
	case VIRTIO_SCSI_T_TMF_QUERY_TASK_SET:
		break;
	default:
		return VIRTIO_SCSI_S_FUNCTION_REJECTED;
	}
	return has_unit(scsi, tmf->lun) ? VIRTIO_SCSI_S_OK : VIRTIO_SCSI_S_INCORRECT_LUN;
}

static bool handle_tmf(struct scsi *scsi, struct vdpa_soft_req *req)
{
	struct scsi_tmf *tmf = vdpa_soft_req_priv(req);
	struct virtio_scsi_ctrl_tmf_req cmd;
	uint8_t response;

	if (vdpa_iov_to_buf(req->elem.iov, req->elem.out_num, 0, &cmd, sizeof(cmd)) != sizeof(cmd))
		return false;
	*tmf = (struct scsi_tmf){.req = req, .tag = cmd.tag, .subtype = le32toh(cmd.subtype)};
	response = scsi_parse_lun(cmd.lun, &tmf->lun) ? VIRTIO_SCSI_S_BAD_TARGET : check(scsi, tmf);
	if (response != VIRTIO_SCSI_S_OK) {
		respond_tmf(req, response);
		return true;
	}
	tmf->sweep = ask_queues(scsi);
	STAILQ_INSERT_TAIL(&scsi->tmfs, tmf, entry);
	return true;
}

/* There are no events of a medium to subscribe to. */
static bool handle_an(struct vdpa_soft_req *req)
{
	struct virtio_scsi_ctrl_an_resp resp = {.response = VIRTIO_SCSI_S_OK};

	if (req->elem.out_len < sizeof(struct virtio_scsi_ctrl_an_req) ||
	    req->elem.in_len < sizeof(resp))
		return false;
	respond(req, &resp, sizeof(resp));
	return true;
}

static void handle(struct scsi *scsi, struct vdpa_soft_req *req)
{
	uint32_t type = 0;
	bool ok;

	vdpa_iov_to_buf(req->elem.iov, req->elem.out_num, 0, &type, sizeof(type));
	switch (le32toh(type)) {
	case VIRTIO_SCSI_T_TMF:
		ok = req->elem.in_len && handle_tmf(scsi, req);
		break;
	case VIRTIO_SCSI_T_AN_QUERY:
	case VIRTIO_SCSI_T_AN_SUBSCRIBE:
		ok = handle_an(req);
		break;
	default:
		ok = false;
	}
	if (!ok)
		vdpa_soft_broken(req, "control request that is unknown or too short, or has no "
				      "room for an answer");
}

bool scsi_ctrl_poll(struct vdpa_soft_vq *vq)
{
	struct scsi *scsi = scsi_of(vq);
	struct vdpa_soft_req *req;
	unsigned int num = 0;

	while (num < VDPA_SOFT_BURST && (req = vdpa_soft_vq_take(vq))) {
		num++;
		handle(scsi, req);
	}
	return advance_all(scsi) || num;
}
