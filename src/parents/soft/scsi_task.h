/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SCSI commands on logical units that are block backends: whatever carries them.
 *
 * A unit is shared by all ports.  A port is the view of one queue: its own queue of each unit's
 * backend, and how many of its tasks are under way there.  There is one initiator, so that a
 * reservation never keeps anybody from a command; it is there to be asked for.
 *
 * @spec SPC-4, SBC-3, SAM-5
 */
#ifndef SOFT_SCSI_TASK_H
#define SOFT_SCSI_TASK_H

#include <pthread.h>
#include <string.h>

#include "backends/block/block.h"
#include "base/be.h"
#include "base/defs.h"
#include "base/scsi.h"
#include "vdpa/virtqueue.h"

#define SCSI_LUNS       8u
#define SCSI_WELL_KNOWN (SCSI_LUNS + 1) /* the unit that reports units */
#define SCSI_CDB_LEN    32u             /* of a command that is kept; longer ones are not known */
#define SCSI_SENSE_MAX  32u

/* Unit attentions that wait for the next command, by priority. */
#define SCSI_UA_POWER_ON 1u
#define SCSI_UA_RESET    2u
#define SCSI_UA_CAPACITY 4u
#define SCSI_UA_LUNS     8u
#define SCSI_UA_ALL      15u

/* Persistent reservation of the only initiator.  Under the unit's lock. */
struct scsi_pr {
	bool registered, held;
	uint8_t type;
	uint32_t generation;
	uint64_t key;
};

struct scsi_unit {
	/* Constant while the unit is there. */
	struct block *block;
	unsigned int idx;
	char serial[32];
	uint8_t naa[8];

	uint64_t capacity; /* atomic, bytes: a live resize changes it */
	uint32_t ua;       /* atomic: SCSI_UA_* */
	bool writeback;    /* atomic: mode page 08, WCE */
	bool descriptor;   /* atomic: mode page 0a, D_SENSE */
	bool stopped;      /* atomic */
	bool exclusive;    /* atomic: a COMPARE AND WRITE is under way */

	pthread_mutex_t lock;
	struct scsi_pr pr;
};

/* The worker's. */
struct scsi_port {
	struct {
		struct scsi_unit *unit; /* NULL: there is none */
		struct block_queue *queue;
		uint32_t tasks; /* under way in the backend */
	} units[SCSI_LUNS];
};

enum scsi_result {
	SCSI_DONE,
	SCSI_PENDING, /* done() follows */
};

struct scsi_task;
struct scsi_range;

/* What a step of a command returns. */
enum scsi_step {
	SCSI_STEP_END, /* the status is set */
	SCSI_STEP_IO,  /* task->io is to be submitted; `step` comes after it */
};
typedef enum scsi_step scsi_step_fn(struct scsi_task *t);

struct scsi_task {
	/* The caller's. */
	struct scsi_port *port;
	unsigned int lun; /* SCSI_WELL_KNOWN; others from SCSI_LUNS on: there is none */
	uint8_t cdb[SCSI_CDB_LEN];
	const struct iovec *out, *in; /* guest memory; data begins at byte out_off, in_off */
	unsigned int out_num, in_num;
	size_t out_off, in_off;
	uint32_t out_len, in_len;
	void (*done)(struct scsi_task *t); /* on the port's worker */

	/* The result. */
	uint8_t status;
	bool overrun;   /* the command moves more data than there is room for; nothing was done */
	uint32_t moved; /* bytes of data, out or in */
	uint8_t sense[SCSI_SENSE_MAX];
	uint32_t sense_len;
	int err;      /* what the backend said, for the log */
	bool changed; /* the unit has now what outlives a reset of the driver */

	bool aborted; /* atomic, set while the task is under way: no further step is made */

	/* The task's own. */
	struct scsi_unit *unit;
	struct block_io io;
	scsi_step_fn *step;
	struct iovec *pieces; /* allocated */
	struct iovec piece;
	uint8_t *buf; /* allocated */
	struct scsi_range *ranges;
	uint32_t num_ranges, range;
	uint64_t first, pos, end; /* bytes on the medium */
	bool exclusive;
};

/* A unit on a backend, which stays the caller's.  serial: printable, cut where too long.  0 or
 * -errno. */
int scsi_unit_init(struct scsi_unit *unit, struct block *block, unsigned int idx,
		   const char *serial);
void scsi_unit_destroy(struct scsi_unit *unit);
/* What a reset undoes: mode pages, started.  ua: SCSI_UA_* that tells of it. */
void scsi_unit_reset(struct scsi_unit *unit, uint32_t ua);
/* ANY THREAD. */
static inline void scsi_unit_attention(struct scsi_unit *unit, uint32_t ua)
{
	__atomic_fetch_or(&unit->ua, ua, __ATOMIC_RELAXED);
}

/* Run a command.  Its result is there when this returns SCSI_DONE, and when done() is called. */
enum scsi_result scsi_task_start(struct scsi_task *t);
/* A command that is refused before it begins. */
void scsi_task_refuse(struct scsi_task *t, uint8_t key, uint16_t asc);

/* ---- for commands; what ends one returns SCSI_STEP_END */

enum scsi_step scsi_good(struct scsi_task *t);
enum scsi_step scsi_status(struct scsi_task *t, uint8_t status);
enum scsi_step scsi_check(struct scsi_task *t, uint8_t key, uint16_t asc);
/* The same, with the value of the information field. */
enum scsi_step scsi_check_info(struct scsi_task *t, uint8_t key, uint16_t asc, uint64_t info);
/* The byte of the command / of the parameter list that is not supported. */
enum scsi_step scsi_bad_cdb(struct scsi_task *t, uint16_t byte);
enum scsi_step scsi_bad_param(struct scsi_task *t, uint16_t byte);
/* Data for the initiator, as much as it wants (alloc) of what there is. */
enum scsi_step scsi_reply(struct scsi_task *t, const void *buf, size_t len, size_t alloc);
/* Parameters from the initiator: false when there are less than len; the task has ended. */
bool scsi_fetch(struct scsi_task *t, void *buf, size_t len);
/* The task's own memory for bytes of the medium. */
bool scsi_buffer(struct scsi_task *t, size_t len);
/* Bytes of sense data, fixed or descriptor format. */
uint32_t scsi_sense_build(uint8_t sense[SCSI_SENSE_MAX], bool descriptor, uint8_t key,
			  uint16_t asc);
/* Key and code of the unit attention that comes first; it is taken out of ua.  0: none. */
uint16_t scsi_unit_take_attention(struct scsi_unit *unit);
static inline uint32_t scsi_block_size(const struct scsi_unit *unit)
{
	return unit->block->info.block_size;
}
/* Blocks that UNMAP may name at once, and WRITE SAME. */
uint32_t scsi_max_unmap(const struct scsi_unit *unit);
uint32_t scsi_max_write_same(const struct scsi_unit *unit);
uint32_t scsi_max_transfer(const struct scsi_unit *unit);
uint32_t scsi_max_compare(const struct scsi_unit *unit);
bool scsi_unmap_zeroes(const struct scsi_unit *unit);

#define SCSI_MAX_RANGES 64u /* of an UNMAP */

/* scsi_inquiry.c */
scsi_step_fn scsi_inquiry, scsi_report_luns, scsi_request_sense;
/* scsi_mode.c */
scsi_step_fn scsi_mode_sense, scsi_mode_select;
/* scsi_rw.c */
scsi_step_fn scsi_read, scsi_write, scsi_verify, scsi_sync, scsi_unmap, scsi_write_same,
	scsi_compare_and_write, scsi_read_capacity10, scsi_read_capacity16, scsi_start_stop;
/* scsi_pr.c */
struct scsi_pr scsi_pr_snapshot(struct scsi_unit *unit);
bool scsi_pr_is_type(uint32_t type);
scsi_step_fn scsi_pr_in, scsi_pr_out;

#endif
