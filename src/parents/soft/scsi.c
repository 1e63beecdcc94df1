/* SPDX-License-Identifier: BSD-2-Clause */
/* The SCSI host: queues, features and config space. */
#include "parents/soft/scsi.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>

#include "bus/bus.h"

#define SCSI_MAX_REQUEST_VQS 64u
#define SCSI_MAX_SECTORS     32768u /* what one command may move */
#define SCSI_FEATURES        (BIT_ULL(VIRTIO_SCSI_F_HOTPLUG) | BIT_ULL(VIRTIO_SCSI_F_CHANGE))

/* ---- requests */

static void finish(struct scsi_req *sreq, enum scsi_req_result result)
{
	const struct scsi_task *t = &sreq->r.task;
	struct vdpa_soft_req *req = sreq->req;
	char text[128];

	if (unlikely(t->changed))
		bus_state_changed(vdpa_soft_vdev(req->vq->soft));
	if (likely(result == SCSI_REQ_OK)) {
		vdpa_soft_complete(req, sreq->r.used);
		return;
	}
	if (t->err) {
		snprintf(text, sizeof(text), "lun%u: I/O error at byte %" PRIu64 ": %s", t->lun,
			 t->io.off, strerrordesc_np(-t->err));
		soft_complain(vdpa_soft_vq_soft(req->vq), vdpa_soft_vq_index(req->vq), text);
	}
	vdpa_soft_complete_error(req, sreq->r.used);
}

/* Returns whether a function waits for the task: then the driver has to see its end first. */
static bool forget_task(struct scsi_vq *svq, struct scsi_req *sreq)
{
	bool aborted;

	pthread_mutex_lock(&svq->lock);
	TAILQ_REMOVE(&svq->tasks, sreq, entry);
	aborted = sreq->r.aborted;
	svq->ending += aborted;
	pthread_mutex_unlock(&svq->lock);
	return aborted;
}

static void show_end(struct vdpa_soft_vq *vq, struct scsi_vq *svq)
{
	soft_vq_publish(vq);
	pthread_mutex_lock(&svq->lock);
	svq->ending--;
	pthread_mutex_unlock(&svq->lock);
	vdpa_soft_vq_wake(vq->soft->vqs[SCSI_VQ_CONTROL]);
}

static void request_done(struct scsi_request *r, enum scsi_req_result result)
{
	struct scsi_req *sreq = container_of(r, struct scsi_req, r);
	struct vdpa_soft_vq *vq = sreq->req->vq;
	struct scsi_vq *svq = scsi_vq(vq);
	bool aborted = forget_task(svq, sreq);

	finish(sreq, result);
	if (unlikely(aborted))
		show_end(vq, svq);
	if (unlikely(svq->leaving))
		vdpa_soft_vq_wake(vq);
}

static void remember_task(struct scsi_vq *svq, struct scsi_req *sreq)
{
	pthread_mutex_lock(&svq->lock);
	TAILQ_INSERT_TAIL(&svq->tasks, sreq, entry);
	pthread_mutex_unlock(&svq->lock);
}

static void handle(struct scsi *scsi, struct vdpa_soft_req *req)
{
	struct scsi_vq *svq = scsi_vq(req->vq);
	struct scsi_req *sreq = vdpa_soft_req_priv(req);
	enum scsi_req_result result;

	sreq->req = req;
	sreq->r.port = &svq->port;
	sreq->r.elem = &req->elem;
	sreq->r.cdb_size = __atomic_load_n(&scsi->cdb_size, __ATOMIC_RELAXED);
	sreq->r.sense_size = __atomic_load_n(&scsi->sense_size, __ATOMIC_RELAXED);
	sreq->r.done = request_done;
	result = scsi_request_start(&sreq->r);
	if (result == SCSI_REQ_PENDING)
		remember_task(svq, sreq);
	else if (result == SCSI_REQ_BROKEN)
		vdpa_soft_broken(req, "command without header, or without room for a response");
	else
		finish(sreq, result);
}

static void kick_backends(struct scsi_vq *svq)
{
	for (unsigned int i = 0; i < SCSI_LUNS; i++)
		if (svq->port.units[i].queue)
			block_kick(svq->port.units[i].queue);
}

/* Whatever was in the ring when the control queue asked is a task, or has ended. */
static void answer_sweep(struct vdpa_soft_vq *vq, uint32_t sweep)
{
	__atomic_store_n(&scsi_vq(vq)->swept, sweep, __ATOMIC_RELEASE);
	vdpa_soft_vq_wake(vq->soft->vqs[SCSI_VQ_CONTROL]);
}

/* Are there commands that will be taken later, though not now? */
static bool has_more(struct vdpa_soft_vq *vq)
{
	return !(vq->hold & (SOFT_HOLD_BROKEN | SOFT_HOLD_DRAIN)) &&
	       vdpa_vq_pending(soft_vq_ring(vq));
}

static bool request_poll(struct vdpa_soft_vq *vq)
{
	struct scsi *scsi = scsi_of(vq);
	struct scsi_vq *svq = scsi_vq(vq);
	uint32_t asked = __atomic_load_n(&svq->asked, __ATOMIC_ACQUIRE);
	struct vdpa_soft_req *req = NULL;
	uint64_t bytes = 0;
	unsigned int num = 0;

	while (num < VDPA_SOFT_BURST && bytes < SOFT_BATCH_BYTES && (req = vdpa_soft_vq_take(vq))) {
		bytes += (uint64_t)req->elem.out_len + req->elem.in_len;
		num++;
		handle(scsi, req);
	}
	if (num)
		kick_backends(svq);
	if (unlikely(svq->leaving))
		scsi_port_leave(vq);
	if (unlikely(asked != svq->swept && !req && !has_more(vq)))
		answer_sweep(vq, asked);
	return num;
}

static bool scsi_poll(struct vdpa_soft_vq *vq)
{
	switch (vdpa_soft_vq_index(vq)) {
	case SCSI_VQ_CONTROL:
		return scsi_ctrl_poll(vq);
	case SCSI_VQ_EVENT:
		return scsi_event_poll(vq);
	default:
		return request_poll(vq);
	}
}

/* ---- queues */

/* Those that go in several steps end after the present one. */
static void scsi_cancel(struct vdpa_soft_vq *vq)
{
	struct scsi_vq *svq = scsi_vq(vq);
	struct scsi_req *sreq;

	if (vdpa_soft_vq_index(vq) == SCSI_VQ_CONTROL)
		scsi_ctrl_cancel(vq);
	if (vdpa_soft_vq_index(vq) < SCSI_VQ_REQUEST)
		return;
	pthread_mutex_lock(&svq->lock);
	TAILQ_FOREACH (sreq, &svq->tasks, entry)
		scsi_request_abort(&sreq->r, VIRTIO_SCSI_S_ABORTED);
	pthread_mutex_unlock(&svq->lock);
}

static int scsi_queue_start(struct vdpa_soft_vq *vq, struct vdpa_extack *ack)
{
	struct scsi_vq *svq = scsi_vq(vq);
	int err;

	if (vdpa_soft_vq_index(vq) < SCSI_VQ_REQUEST)
		return 0;
	err = scsi_port_open(vq, ack);
	if (err)
		return err;
	pthread_mutex_lock(&svq->lock);
	TAILQ_INIT(&svq->tasks);
	pthread_mutex_unlock(&svq->lock);
	__atomic_store_n(&svq->open, true, __ATOMIC_RELEASE);
	return 0;
}

static void scsi_queue_stop(struct vdpa_soft_vq *vq)
{
	if (vdpa_soft_vq_index(vq) < SCSI_VQ_REQUEST)
		return;
	__atomic_store_n(&scsi_vq(vq)->open, false, __ATOMIC_RELEASE);
	vdpa_soft_vq_wake(vq->soft->vqs[SCSI_VQ_CONTROL]);
	scsi_port_close(vq);
}

/* ---- config space */

static void set_sizes(struct scsi *scsi, uint32_t cdb_size, uint32_t sense_size)
{
	__atomic_store_n(&scsi->cdb_size, cdb_size, __ATOMIC_RELAXED);
	__atomic_store_n(&scsi->sense_size, sense_size, __ATOMIC_RELAXED);
}

static void write_config(struct vdpa_soft *soft)
{
	struct virtio_scsi_config cfg = {
		.num_queues = htole32(vdpa_soft_nvqs(soft) - SCSI_VQ_REQUEST),
		.seg_max = htole32(soft_seg_max(soft)),
		.max_sectors = htole32(SCSI_MAX_SECTORS),
		.cmd_per_lun = htole32(vdpa_soft_queue_size(soft)),
		.event_info_size = htole32(sizeof(struct virtio_scsi_event)),
		.sense_size = htole32(VIRTIO_SCSI_SENSE_DEFAULT_SIZE),
		.cdb_size = htole32(VIRTIO_SCSI_CDB_DEFAULT_SIZE),
		.max_lun = htole32(SCSI_LUNS - 1),
	};

	vdpa_soft_update_config(soft, 0, &cfg, sizeof(cfg));
}

/* A driver writes a field, a state record that is loaded the bytes of it that differ. */
static int scsi_config_write(struct vdpa_soft *soft, uint32_t off, const void *buf, uint32_t len,
			     struct vdpa_extack *ack)
{
	struct scsi *scsi = vdpa_soft_priv(soft);
	uint32_t sizes[2] = {htole32(scsi->sense_size), htole32(scsi->cdb_size)};
	uint32_t first = offsetof(struct virtio_scsi_config, sense_size);

	if (off < first || !range_fits(off - first, len, sizeof(sizes)))
		return vdpa_extack_set(ack, -EINVAL,
				       "config space: only 'sense_size' and 'cdb_size' can be "
				       "written, not %u bytes at %u",
				       len, off);
	memcpy((uint8_t *)sizes + (off - first), buf, len);
	sizes[0] = le32toh(sizes[0]);
	sizes[1] = le32toh(sizes[1]);
	if (sizes[0] > SCSI_SENSE_SIZE_MAX)
		return vdpa_extack_set(ack, -ERANGE, "sense_size is %u at most, not %u",
				       SCSI_SENSE_SIZE_MAX, sizes[0]);
	if (sizes[1] < SCSI_CDB_SIZE_MIN || sizes[1] > SCSI_CDB_SIZE_MAX)
		return vdpa_extack_set(ack, -ERANGE, "cdb_size is %u to %u, not %u",
				       SCSI_CDB_SIZE_MIN, SCSI_CDB_SIZE_MAX, sizes[1]);
	set_sizes(scsi, sizes[1], sizes[0]);
	return 0;
}

/* ---- set-up */

static void scsi_reset(struct vdpa_soft *soft)
{
	struct scsi *scsi = vdpa_soft_priv(soft);

	set_sizes(scsi, VIRTIO_SCSI_CDB_DEFAULT_SIZE, VIRTIO_SCSI_SENSE_DEFAULT_SIZE);
	scsi_event_reset(scsi);
	for (unsigned int i = 0; i < SCSI_LUNS; i++)
		if (scsi->units[i])
			scsi_unit_reset(scsi->units[i], SCSI_UA_POWER_ON);
}

static int choose_queues(struct vdpa_soft *soft, const struct vdpa_attrs *attrs,
			 struct vdpa_extack *ack)
{
	if (!vdpa_attrs_has(attrs, "request-queues"))
		return 0;
	if (vdpa_attrs_has(attrs, "queues"))
		return vdpa_extack_set(ack, -EINVAL,
				       "'queues' counts control and event queue, too: give that "
				       "or 'request-queues'");
	vdpa_soft_set_nvqs(
		soft, (uint16_t)(vdpa_attrs_u64(attrs, "request-queues", 1) + SCSI_VQ_REQUEST));
	return 0;
}

static void scsi_destroy(struct vdpa_soft *soft)
{
	struct scsi *scsi = vdpa_soft_priv(soft);

	scsi_free_units(scsi);
	vdpa_attrs_free(scsi->common);
	pthread_cond_destroy(&scsi->left);
	pthread_mutex_destroy(&scsi->lock);
}

static int scsi_create(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct scsi *scsi = vdpa_soft_priv(soft);
	int err;

	scsi->soft = soft;
	STAILQ_INIT(&scsi->tmfs);
	pthread_mutex_init(&scsi->lock, NULL);
	pthread_cond_init(&scsi->left, NULL);
	scsi->common = vdpa_attrs_alloc();
	err = scsi->common ? choose_queues(soft, attrs, ack) : -ENOMEM;
	if (!err)
		err = scsi_add_units(scsi, attrs, ack);
	if (err) {
		scsi_destroy(soft);
		return err;
	}
	scsi_reset(soft);
	write_config(soft);
	return 0;
}

static int scsi_set_attrs(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	int err = scsi_set_unit(vdpa_soft_priv(soft), attrs, ack);

	/* Which units the driver has seen. */
	if (!err)
		bus_state_changed(vdpa_soft_vdev(soft));
	return err;
}

static void scsi_show(struct vdpa_soft *soft, struct vdpa_info *info)
{
	struct scsi *scsi = vdpa_soft_priv(soft);

	pthread_mutex_lock(&scsi->lock);
	vdpa_info_open_list(info, "luns");
	for (unsigned int i = 0; i < SCSI_LUNS; i++) {
		if (!scsi->units[i])
			continue;
		vdpa_info_open(info, NULL);
		vdpa_info_u64(info, "lun", i);
		vdpa_info_str(info, "serial", scsi->units[i]->serial);
		block_show(scsi->units[i]->block, info);
		vdpa_info_close(info);
	}
	vdpa_info_close(info);
	pthread_mutex_unlock(&scsi->lock);
}

static const char *scsi_why_not(struct vdpa_soft *soft, unsigned int bit)
{
	switch (bit) {
	case VIRTIO_SCSI_F_INOUT:
		return "no command of a disk moves data both ways";
	case VIRTIO_SCSI_F_T10_PI:
		return "there is no protection information";
	default:
		return NULL;
	}
}

static const struct vdpa_attr_desc scsi_attrs[] = {
	SCSI_LUN_ATTRS("0"),
	SCSI_LUN_ATTRS("1"),
	SCSI_LUN_ATTRS("2"),
	SCSI_LUN_ATTRS("3"),
	SCSI_LUN_ATTRS("4"),
	SCSI_LUN_ATTRS("5"),
	SCSI_LUN_ATTRS("6"),
	SCSI_LUN_ATTRS("7"),
	BLOCK_ATTRS_COMMON,
	{.name = "serial",
	 .type = VDPA_ATTR_STRING,
	 .help = "how serial numbers of units begin, 20 characters; default: the name"},
	{.name = "request-queues",
	 .type = VDPA_ATTR_UINT,
	 .min = 1,
	 .max = SCSI_MAX_REQUEST_VQS,
	 .help = "queues for commands, default 1"},
	{0},
};

const struct vdpa_soft_class soft_scsi_class = {
	.size = sizeof(soft_scsi_class),
	.name = "scsi",
	.help = "SCSI host with disks on files, block devices, in memory or on nothing",
	.device_id = VIRTIO_ID_SCSI,
	.nvqs = SCSI_VQ_REQUEST + 1,
	.max_vqs = SCSI_VQ_REQUEST + SCSI_MAX_REQUEST_VQS,
	.config_size = sizeof(struct virtio_scsi_config),
	.features = SCSI_FEATURES,
	.attrs = scsi_attrs,
	.priv_size = sizeof(struct scsi),
	.vq_priv_size = sizeof(struct scsi_vq),
	.req_priv_size = sizeof(struct scsi_req),
	.create = scsi_create,
	.destroy = scsi_destroy,
	.set_attrs = scsi_set_attrs,
	.config_write = scsi_config_write,
	.reset = scsi_reset,
	.queue_start = scsi_queue_start,
	.queue_stop = scsi_queue_stop,
	.cancel = scsi_cancel,
	.poll = scsi_poll,
	.show = scsi_show,
	.why_not = scsi_why_not,
	.save = scsi_save,
	.load = scsi_load,
};
