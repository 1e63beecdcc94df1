/* SPDX-License-Identifier: BSD-2-Clause */
/* The event queue.  @spec virtio 1.3, 5.6.6.3 */
#include "parents/soft/scsi.h"

static void push(struct scsi *scsi, uint32_t event, unsigned int lun, uint32_t reason)
{
	struct virtio_scsi_event *ev;

	if (scsi->num_events == SCSI_EVENTS) {
		scsi->events_missed = true;
		return;
	}
	ev = &scsi->events[(scsi->first_event + scsi->num_events++) % SCSI_EVENTS];
	ev->event = htole32(event);
	ev->reason = htole32(reason);
	if (event == VIRTIO_SCSI_T_NO_EVENT)
		memset(ev->lun, 0, sizeof(ev->lun));
	else
		scsi_format_lun(ev->lun, lun);
}

static void wake(struct scsi *scsi)
{
	struct vdpa_soft_vq *vq = scsi->soft->vqs[SCSI_VQ_EVENT];

	if (vq->running)
		vdpa_soft_vq_wake(vq);
}

void scsi_event(struct scsi *scsi, uint32_t event, unsigned int lun, uint32_t reason)
{
	pthread_mutex_lock(&scsi->lock);
	push(scsi, event, lun, reason);
	pthread_mutex_unlock(&scsi->lock);
	wake(scsi);
}

/* The code in the low byte, its qualifier in the next. */
void scsi_event_capacity(struct scsi *scsi, unsigned int lun)
{
	scsi_event(scsi, VIRTIO_SCSI_T_PARAM_CHANGE, lun,
		   SCSI_ASC_CAPACITY >> 8 | (SCSI_ASC_CAPACITY & 0xff) << 8);
}

void scsi_event_missed(struct scsi *scsi)
{
	pthread_mutex_lock(&scsi->lock);
	if (!scsi->num_events)
		push(scsi, VIRTIO_SCSI_T_NO_EVENT, 0, 0);
	scsi->events_missed = true;
	pthread_mutex_unlock(&scsi->lock);
	wake(scsi);
}

bool scsi_event_waiting(struct scsi *scsi)
{
	bool any;

	pthread_mutex_lock(&scsi->lock);
	any = scsi->num_events;
	pthread_mutex_unlock(&scsi->lock);
	return any;
}

void scsi_event_reset(struct scsi *scsi)
{
	pthread_mutex_lock(&scsi->lock);
	scsi->num_events = 0;
	scsi->events_missed = false;
	pthread_mutex_unlock(&scsi->lock);
}

/* Does the driver want to hear of such? */
static bool wanted(const struct scsi *scsi, const struct virtio_scsi_event *ev)
{
	uint64_t features = vdpa_soft_features(scsi->soft);
	bool change = le32toh(ev->event) == VIRTIO_SCSI_T_PARAM_CHANGE;

	return features & BIT_ULL(change ? VIRTIO_SCSI_F_CHANGE : VIRTIO_SCSI_F_HOTPLUG);
}

static void drop_first_locked(struct scsi *scsi)
{
	scsi->first_event = (scsi->first_event + 1) % SCSI_EVENTS;
	scsi->num_events--;
}

/* The event that waits longest; returns whether there is one. */
static bool peek(struct scsi *scsi, struct virtio_scsi_event *ret)
{
	bool any;

	pthread_mutex_lock(&scsi->lock);
	while (scsi->num_events && !wanted(scsi, &scsi->events[scsi->first_event]))
		drop_first_locked(scsi);
	any = scsi->num_events;
	if (any) {
		*ret = scsi->events[scsi->first_event];
		if (scsi->events_missed)
			ret->event |= htole32(VIRTIO_SCSI_T_EVENTS_MISSED);
	}
	pthread_mutex_unlock(&scsi->lock);
	return any;
}

/* What was found by peek() is told. */
static void pop(struct scsi *scsi, const struct virtio_scsi_event *told)
{
	pthread_mutex_lock(&scsi->lock);
	drop_first_locked(scsi);
	if (told->event & htole32(VIRTIO_SCSI_T_EVENTS_MISSED))
		scsi->events_missed = false;
	pthread_mutex_unlock(&scsi->lock);
}

bool scsi_event_poll(struct vdpa_soft_vq *vq)
{
	struct scsi *scsi = scsi_of(vq);
	struct virtio_scsi_event ev;
	struct vdpa_soft_req *req;
	bool any, found = false;

	while ((any = peek(scsi, &ev)) && (req = vdpa_soft_vq_take(vq))) {
		size_t len;

		found = true;
		pop(scsi, &ev);
		len = vdpa_iov_from_buf(req->elem.iov + req->elem.out_num, req->elem.in_num, 0, &ev,
					sizeof(ev));
		vdpa_soft_complete(req, (uint32_t)len);
	}
	/* Buffers wait in the ring; we wait for them only when there is something to say. */
	vdpa_soft_vq_want_kicks(vq, any);
	return found;
}
