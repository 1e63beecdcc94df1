/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver of a SCSI host on the rig: commands, task management, events.  Functions that wait fail
 * the test after a while.
 */
#ifndef UNIT_SCSI_RIG_H
#define UNIT_SCSI_RIG_H

#include "rig.h"

#include <endian.h>
#include <linux/virtio_scsi.h>

#include "parents/soft/scsi_task.h"

#define CONTROL 0
#define EVENT   1
#define REQUEST 2 /* the first */

#define HOTPLUG (1ull << VIRTIO_SCSI_F_HOTPLUG)
#define CHANGE  (1ull << VIRTIO_SCSI_F_CHANGE)

#define MAX_DATA 2048
#define BLOCK    512

/* A command and its answer. */
struct cmd {
	uint8_t cdb[32];
	uint32_t out_len, in_len;
	uint8_t out[MAX_DATA], in[MAX_DATA];
	struct virtio_scsi_cmd_resp resp;
	uint32_t used;

	struct rig_req *req; /* while it is under way */
};

#define CDB(...)                                                                                   \
	{                                                                                          \
		.cdb = { __VA_ARGS__ }                                                             \
	}
#define RAM(n) "lun" n "-backend", "ram", "lun" n "-size", "1M"

/* A host that runs.  KEY, VALUE, ..., NULL. */
void host_open(struct rig *rig, uint64_t features, const char *const *attrs);
#define OPEN(rig, features, ...) host_open(rig, features, (const char *const[]){__VA_ARGS__, NULL})
/* What `dev set` says, the text in rig->ack. */
int host_set(struct rig *rig, const char *const *words);
#define SET(rig, ...) host_set(rig, (const char *const[]){__VA_ARGS__, NULL})

/* Begin a command with this tag / wait for its end. */
void cmd_send(struct rig *rig, uint16_t queue, unsigned int lun, uint64_t tag, struct cmd *c);
void cmd_wait(struct rig *rig, uint16_t queue, struct cmd *c);
/* Whole commands on the first queue, with a header of one's own, or one for a unit. */
void cmd_exchange(struct rig *rig, const struct virtio_scsi_cmd_req *req, struct cmd *c);
void cmd_run(struct rig *rig, unsigned int lun, struct cmd *c);
/* It ends well / with sense data, in the fixed format. */
void cmd_good(struct rig *rig, unsigned int lun, struct cmd *c);
void cmd_refused(struct rig *rig, unsigned int lun, struct cmd *c, uint8_t key, uint16_t asc);
void cmd_check_good(const struct cmd *c);
void cmd_check_refused(const struct cmd *c, uint8_t key, uint16_t asc);
/* Take the unit attention with which each unit begins. */
void cmd_ready(struct rig *rig, unsigned int lun);
/* A header as cmd_run() makes it. */
struct virtio_scsi_cmd_req cmd_header(unsigned int lun, const uint8_t *cdb);
/* Bytes that tell where they belong. */
void cmd_fill(uint8_t *p, size_t len, unsigned int seed);

struct rig_req *tmf_send(struct rig *rig, uint32_t subtype, unsigned int lun, uint64_t tag);
/* Its response. */
uint8_t tmf_wait(struct rig *rig, struct rig_req *req);
uint8_t tmf_run(struct rig *rig, uint32_t subtype, unsigned int lun, uint64_t tag);

/* A buffer for an event / the event that comes into it. */
struct rig_req *event_buffer(struct rig *rig);
void event_expect(struct rig *rig, struct rig_req *req, uint32_t event, unsigned int lun,
		  uint32_t reason);

#endif
