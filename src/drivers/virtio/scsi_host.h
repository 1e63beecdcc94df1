/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A SCSI host on the virtio bus, used by this host: its rings, and commands to its units.
 *
 * - scsi.c:      the driver: which units there are, each a disk
 * - scsi_cmd.c:  what units are asked before they are disks
 * - scsi_host.c: the rings and their thread
 *
 * Any thread sends commands; they end on the host's own thread, which waits for both rings.
 */
#ifndef DRIVERS_VIRTIO_SCSI_HOST_H
#define DRIVERS_VIRTIO_SCSI_HOST_H

#include <linux/virtio_scsi.h>
#include <pthread.h>
#include <sys/queue.h>

#include "drivers/virtio/virtio.h"

#define SCSI_UNITS       8u    /* that become disks */
#define SCSI_DEPTH       16u   /* commands of one that are under way at most */
#define SCSI_CDB_BYTES   16u   /* of any command that we send */
#define SCSI_REPLY_BYTES 4096u /* of data that is asked for */
#define SCSI_EVENTS      8u    /* buffers for them */

struct scsi_host;
struct scsi_cmd;

/* In shared memory.  The device writes the response, which is copied once. */
struct scsi_meta {
	struct virtio_scsi_cmd_req req;
	struct virtio_scsi_cmd_resp resp;
	uint8_t pad[33];
};

/* One command.  Who made it fills in the first part, and leaves it alone until done(). */
struct scsi_cmd {
	uint8_t cdb[SCSI_CDB_BYTES];
	uint16_t lun;
	bool out;     /* data goes to the device */
	uint8_t *buf; /* inside the buffers; NULL: no data */
	uint32_t len;
	void (*done)(struct scsi_cmd *cmd); /* on the host's thread */
	void *owner;

	/* The result. */
	int err;       /* 0 or -errno */
	uint32_t left; /* bytes of data that were not moved */

	/* The host's. */
	struct scsi_meta *meta;
	unsigned int tries;
	STAILQ_ENTRY(scsi_cmd) entry; /* the owner's when it is not under way */
};

STAILQ_HEAD(scsi_cmd_list, scsi_cmd);

struct scsi_host {
	struct virtio_device *dev;
	uint64_t max_bytes; /* in one command */
	unsigned int depth; /* commands of a unit that there is room for, at most SCSI_DEPTH */
	uint8_t *buffers;   /* SCSI_UNITS times unit_bytes, in shared memory */
	uint8_t *zeroes;    /* a block of them, in shared memory */
	size_t unit_bytes;
	bool broken; /* atomic */

	pthread_mutex_t lock; /* of the request ring and the commands in it */
	pthread_cond_t answered;
	struct scsi_cmd_list sent;
	struct scsi_meta *metas; /* for each command of each unit, then for `own` */
	struct scsi_cmd own;     /* of the lane */
	uint8_t *reply;          /* SCSI_REPLY_BYTES for it */
	bool own_busy;

	struct virtio_scsi_event *events; /* in shared memory */
	int stop;                         /* eventfd */
	pthread_t thread;
	bool started;
};

/* After negotiation: rings, buffers and thread.  On failure scsi_host_stop() is due, too.  Lane. */
int scsi_host_start(struct scsi_host *host, struct vdpa_extack *ack);
/* Commands that are under way end with -EIO before this returns.  Lane. */
void scsi_host_stop(struct scsi_host *host);
/* The device is beyond repair: said once, all commands end.  Any thread but the host's. */
void scsi_host_break(struct scsi_host *host, const char *why);
/* Have the thread look whether the device still works.  Lane. */
void scsi_host_check(struct scsi_host *host);

static inline bool scsi_host_broken(const struct scsi_host *host)
{
	return __atomic_load_n(&host->broken, __ATOMIC_RELAXED);
}

/* The memory of a unit's command. */
struct scsi_meta *scsi_host_meta(struct scsi_host *host, unsigned int unit, unsigned int cmd);
/* 0, or -EIO: there will be no done().  Any thread.  The device sees it at the next publish. */
int scsi_host_send(struct scsi_host *host, struct scsi_cmd *cmd);
void scsi_host_publish(struct scsi_host *host);

/*
 * Ask a unit for data, and wait.  It is in host->reply, zeros behind its end.  0, what the unit
 * says, -ETIMEDOUT (and the host is broken).  Lane.
 */
int scsi_host_ask(struct scsi_host *host, uint16_t lun, const uint8_t cdb[SCSI_CDB_BYTES],
		  uint32_t len);

/* ---- scsi_cmd.c; lane */

/* What a disk has to know of its unit. */
struct scsi_unit_info {
	uint64_t blocks;
	uint32_t block_size;
	bool read_only;
	uint64_t max_bytes;  /* in a command; UINT64_MAX: any number */
	uint64_t max_zeroes; /* bytes of a WRITE SAME; 0: it has none */
	bool unmap;          /* ... that may give room back */
};

/* The first units, at most SCSI_UNITS.  0 or -errno. */
int scsi_list_units(struct scsi_host *host, uint16_t luns[SCSI_UNITS], unsigned int *num);
/* 0; -ENODEV: it is no disk; other errors */
int scsi_ask_unit(struct scsi_host *host, uint16_t lun, struct scsi_unit_info *ret);
int scsi_ask_capacity(struct scsi_host *host, uint16_t lun, struct scsi_unit_info *ret);

/* 0, -errno, or SCSI_AGAIN: it was not done for a reason that is gone. */
#define SCSI_AGAIN 1
/* changed: set when the unit says that there is something to look at. */
int scsi_cmd_result(const struct virtio_scsi_cmd_resp *resp, bool *changed);

#endif
