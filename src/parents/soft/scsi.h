/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SCSI host: one target with up to SCSI_LUNS units.  @spec virtio 1.3, 5.6
 *
 * The lane plugs and unplugs units, and resizes them; each request queue has its own view of them,
 * its port, which only its worker touches.  Tasks that take their time are on a list of their
 * queue, where the control queue looks for them.
 */
#ifndef SOFT_SCSI_H
#define SOFT_SCSI_H

#include <linux/virtio_scsi.h>

#include "parents/soft/internal.h"
#include "parents/soft/scsi_request.h"

#define SCSI_VQ_CONTROL 0
#define SCSI_VQ_EVENT   1
#define SCSI_VQ_REQUEST 2 /* the first */

#define SCSI_EVENTS 16 /* that wait for the driver; more are missed */

struct scsi_req {
	struct scsi_request r;
	struct vdpa_soft_req *req;
	TAILQ_ENTRY(scsi_req) entry;
};

TAILQ_HEAD(scsi_req_list, scsi_req);
STAILQ_HEAD(scsi_tmf_list, scsi_tmf);

/* Zeroed when the device is made. */
struct scsi_vq {
	struct scsi_port port;
	uint32_t leaving; /* the worker's: units that go when their tasks have ended */

	/* The control queue asks that all that is in the ring be taken. */
	bool open;      /* atomic: there is somebody to answer */
	uint32_t asked; /* atomic: it has been this often */
	uint32_t swept; /* atomic: it was done for these */

	pthread_mutex_t lock;
	struct scsi_req_list tasks; /* under way in a backend */
	uint32_t ending; /* tasks that were aborted: the driver is about to see their end */
};

struct scsi {
	struct vdpa_soft *soft;
	uint32_t cdb_size, sense_size; /* atomic */
	struct vdpa_attrs *common;     /* of `dev add`, for units that come later */

	pthread_mutex_t lock;
	pthread_cond_t left;
	struct scsi_unit *units[SCSI_LUNS]; /* written by the lane, under the lock */
	unsigned int leaving;               /* queues that have yet to let go of a unit */
	struct virtio_scsi_event events[SCSI_EVENTS];
	unsigned int first_event, num_events;
	bool events_missed;

	struct scsi_tmf_list tmfs; /* the control queue's worker's, as the next */
	uint32_t sweep;
};

static inline struct scsi *scsi_of(const struct vdpa_soft_vq *vq)
{
	return vdpa_soft_priv(vdpa_soft_vq_soft(vq));
}

static inline struct scsi_vq *scsi_vq(struct vdpa_soft_vq *vq)
{
	return vdpa_soft_vq_priv(vq);
}

/* ---- scsi_lun.c: the lane's */

#define SCSI_LUN_ATTRS(n)                                                                          \
	{.name = "lun" n,                                                                          \
	 .type = VDPA_ATTR_PATH,                                                                   \
	 .flags = VDPA_ATTR_LIVE,                                                                  \
	 .help = "unit " n ": regular file or block device that holds its data"},                  \
		{.name = "lun" n "-backend",                                                       \
		 .type = VDPA_ATTR_ENUM,                                                           \
		 .flags = VDPA_ATTR_LIVE,                                                          \
		 .values = scsi_lun_backends,                                                      \
		 .help = "unit " n ": where its data is; none: unplugged"},                        \
		{.name = "lun" n "-size",                                                          \
		 .type = VDPA_ATTR_SIZE,                                                           \
		 .flags = VDPA_ATTR_LIVE,                                                          \
		 .help = "unit " n ": capacity; 0: the present size of the file"},                 \
	{                                                                                          \
		.name = "lun" n "-readonly", .type = VDPA_ATTR_BOOL, .flags = VDPA_ATTR_LIVE,      \
		.help = "unit " n ": refuse writes, default off"                                   \
	}

extern const char *const scsi_lun_backends[];

/* All units that `dev add` names / the change of one that `dev set` asks for. */
int scsi_add_units(struct scsi *scsi, struct vdpa_attrs *attrs, struct vdpa_extack *ack);
int scsi_set_unit(struct scsi *scsi, struct vdpa_attrs *attrs, struct vdpa_extack *ack);
void scsi_free_units(struct scsi *scsi);

/* A queue's view of all units.  The queue's worker. */
int scsi_port_open(struct vdpa_soft_vq *vq, struct vdpa_extack *ack);
void scsi_port_close(struct vdpa_soft_vq *vq);
/* Let go of units that nobody uses any more. */
void scsi_port_leave(struct vdpa_soft_vq *vq);

/* ---- scsi_ctrl.c, scsi_event.c: a queue is polled */

bool scsi_ctrl_poll(struct vdpa_soft_vq *vq);
void scsi_ctrl_cancel(struct vdpa_soft_vq *vq);
bool scsi_event_poll(struct vdpa_soft_vq *vq);
/* Tell the driver of a unit.  reason: of the event.  Lane. */
void scsi_event(struct scsi *scsi, uint32_t event, unsigned int lun, uint32_t reason);
void scsi_event_capacity(struct scsi *scsi, unsigned int lun);
/* Does the driver have to look for itself, for want of some that are lost? */
void scsi_event_missed(struct scsi *scsi);
bool scsi_event_waiting(struct scsi *scsi);
void scsi_event_reset(struct scsi *scsi);

/* ---- scsi_state.c: what outlives the process, on the lane */

int scsi_save(struct vdpa_soft *soft, struct vdpa_state_blob *blob, struct vdpa_extack *ack);
int scsi_load(struct vdpa_soft *soft, const struct vdpa_state_blob *blob, struct vdpa_extack *ack);

#endif
