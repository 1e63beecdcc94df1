/* SPDX-License-Identifier: BSD-2-Clause */
/* @spec virtio 1.3, 5.6 */
#include "drivers/virtio/scsi_host.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/defs.h"
#include "base/thread.h"
#include "drivers/virtio/disk.h"

#define EVENT_QUEUE   1
#define REQUEST_QUEUE 2 /* the first */

#define RING_ENTRIES 512u /* of the request queue, if the device takes so many */
#define CHAIN        3u   /* pieces of a command: header, data, response */
#define MAX_TRIES    16u  /* of a command that the unit wants to see again */
#define WAIT_S       5    /* for an answer to what the lane asks */
#define MAX_BYTES    (1024u * 1024)
#define ZERO_BYTES   65536u /* the largest block */

_Static_assert(sizeof(struct scsi_meta) % 64 == 0, "commands do not share cache lines");

static struct virtio_queue *events_of(const struct scsi_host *host)
{
	return &host->dev->queues[0];
}

static struct virtio_queue *requests_of(const struct scsi_host *host)
{
	return &host->dev->queues[1];
}

struct scsi_meta *scsi_host_meta(struct scsi_host *host, unsigned int unit, unsigned int cmd)
{
	return &host->metas[unit * SCSI_DEPTH + cmd];
}

/* ---- commands; those _locked with host->lock */

static void fill_header(struct scsi_cmd *cmd)
{
	struct virtio_scsi_cmd_req *req = &cmd->meta->req;

	memset(req, 0, sizeof(*req));
	req->lun[0] = 1;
	req->lun[2] = (uint8_t)(0x40 | cmd->lun >> 8);
	req->lun[3] = (uint8_t)cmd->lun;
	req->tag = htole64((uint64_t)(uintptr_t)cmd);
	memcpy(req->cdb, cmd->cdb, sizeof(cmd->cdb));
	/* Of a response that was not written. */
	cmd->meta->resp.response = VIRTIO_SCSI_S_FAILURE;
}

static int add_locked(struct scsi_host *host, struct scsi_cmd *cmd)
{
	uint64_t iova = virtio_iova(host->dev, cmd->meta);
	struct vdpa_drvq_sg sg[CHAIN], data = {0};
	uint32_t n = 0, out;
	int err;

	if (cmd->len)
		data = (struct vdpa_drvq_sg){virtio_iova(host->dev, cmd->buf), cmd->len};
	fill_header(cmd);
	sg[n++] = (struct vdpa_drvq_sg){iova, sizeof(cmd->meta->req)};
	if (cmd->len && cmd->out)
		sg[n++] = data;
	out = n;
	sg[n++] = (struct vdpa_drvq_sg){iova + offsetof(struct scsi_meta, resp),
					sizeof(cmd->meta->resp)};
	if (cmd->len && !cmd->out)
		sg[n++] = data;
	err = vdpa_drvq_add(requests_of(host)->ring, sg, out, n - out, cmd);
	if (!err)
		STAILQ_INSERT_TAIL(&host->sent, cmd, entry);
	return err;
}

int scsi_host_send(struct scsi_host *host, struct scsi_cmd *cmd)
{
	int err = -EIO;

	cmd->tries = 0;
	pthread_mutex_lock(&host->lock);
	if (!scsi_host_broken(host))
		err = add_locked(host, cmd);
	pthread_mutex_unlock(&host->lock);
	/* There is room for all that there are. */
	return err ? -EIO : 0;
}

void scsi_host_publish(struct scsi_host *host)
{
	pthread_mutex_lock(&host->lock);
	if (!scsi_host_broken(host))
		virtio_queue_publish(requests_of(host));
	pthread_mutex_unlock(&host->lock);
}

/* ---- the thread */

static void end_all(struct scsi_cmd_list *list)
{
	struct scsi_cmd *cmd;

	while ((cmd = STAILQ_FIRST(list))) {
		STAILQ_REMOVE_HEAD(list, entry);
		cmd->done(cmd);
	}
}

/* Said once.  Who holds the lock may still add a command; who takes it from now on does not. */
static void mark_broken(struct scsi_host *host, const char *why)
{
	if (!__atomic_exchange_n(&host->broken, true, __ATOMIC_RELAXED) && why)
		virtio_broken(host->dev, why);
}

/* What the device does with the rings now means nothing. */
static void break_host(struct scsi_host *host, const char *why)
{
	struct scsi_cmd_list list = STAILQ_HEAD_INITIALIZER(list);
	struct scsi_cmd *cmd;

	mark_broken(host, why);
	pthread_mutex_lock(&host->lock);
	STAILQ_CONCAT(&list, &host->sent);
	pthread_mutex_unlock(&host->lock);
	STAILQ_FOREACH (cmd, &list, entry)
		cmd->err = -EIO;
	end_all(&list);
}

void scsi_host_break(struct scsi_host *host, const char *why)
{
	mark_broken(host, why);
	scsi_host_check(host);
}

void scsi_host_check(struct scsi_host *host)
{
	eventfd_write(requests_of(host)->call, 1);
}

/* Sets the result.  Returns whether the command is done, or was sent again. */
static bool finish_locked(struct scsi_host *host, struct scsi_cmd *cmd, bool *changed)
{
	struct virtio_scsi_cmd_resp resp;
	bool look = false;
	int result;

	memcpy(&resp, &cmd->meta->resp, sizeof(resp));
	STAILQ_REMOVE(&host->sent, cmd, scsi_cmd, entry);
	result = scsi_cmd_result(&resp, &look);
	*changed |= look;
	if (result == SCSI_AGAIN && ++cmd->tries < MAX_TRIES && !add_locked(host, cmd))
		return false;
	cmd->err = result == SCSI_AGAIN ? -EIO : result;
	cmd->left = le32toh(resp.resid) < cmd->len ? le32toh(resp.resid) : cmd->len;
	return true;
}

/* Commands that have ended.  Returns what is wrong with the device, or NULL. */
static const char *reap(struct scsi_host *host, struct scsi_cmd_list *list, bool *changed)
{
	struct vdpa_drvq *ring = requests_of(host)->ring;
	const char *why = NULL;
	struct scsi_cmd *cmd;
	uint32_t len;

	pthread_mutex_lock(&host->lock);
	do {
		while ((cmd = vdpa_drvq_get(ring, &len)))
			if (finish_locked(host, cmd, changed))
				STAILQ_INSERT_TAIL(list, cmd, entry);
	} while (!vdpa_drvq_broken(ring) && vdpa_drvq_enable_call(ring));
	why = vdpa_drvq_broken(ring);
	/* Those that were sent again. */
	if (!why)
		virtio_queue_publish(requests_of(host));
	pthread_mutex_unlock(&host->lock);
	return why;
}

static void handle_requests(struct scsi_host *host)
{
	struct scsi_cmd_list list = STAILQ_HEAD_INITIALIZER(list);
	bool changed = false;
	const char *why = NULL;

	if (!scsi_host_broken(host))
		why = reap(host, &list, &changed);
	end_all(&list);
	if (!why && vdpa_get_status(host->dev->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)
		why = "the device needs a reset";
	if (why || scsi_host_broken(host))
		break_host(host, why);
	else if (changed)
		virtio_device_changed(host->dev);
}

static void offer_event(struct scsi_host *host, struct virtio_scsi_event *event)
{
	struct vdpa_drvq_sg sg = {virtio_iova(host->dev, event), sizeof(*event)};

	/* A buffer that does not fit is not offered. */
	vdpa_drvq_add(events_of(host)->ring, &sg, 0, 1, event);
}

/* Whatever it says: the units are asked. */
static void handle_events(struct scsi_host *host)
{
	struct vdpa_drvq *ring = events_of(host)->ring;
	struct virtio_scsi_event *event;
	bool any = false;
	uint32_t len;

	if (scsi_host_broken(host))
		return;
	do {
		while ((event = vdpa_drvq_get(ring, &len))) {
			any = true;
			offer_event(host, event);
		}
	} while (!vdpa_drvq_broken(ring) && vdpa_drvq_enable_call(ring));
	if (vdpa_drvq_broken(ring)) {
		break_host(host, vdpa_drvq_broken(ring));
		return;
	}
	virtio_queue_publish(events_of(host));
	if (any)
		virtio_device_changed(host->dev);
}

static void *host_thread(void *arg)
{
	struct scsi_host *host = arg;
	struct pollfd fds[] = {
		{.fd = requests_of(host)->call, .events = POLLIN},
		{.fd = events_of(host)->call, .events = POLLIN},
		{.fd = host->stop, .events = POLLIN},
	};
	eventfd_t count;

	while (!(fds[2].revents & POLLIN)) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0) {
			fds[2].revents = 0;
			continue;
		}
		if (fds[0].revents & POLLIN) {
			eventfd_read(fds[0].fd, &count);
			handle_requests(host);
		}
		if (fds[1].revents & POLLIN) {
			eventfd_read(fds[1].fd, &count);
			handle_events(host);
		}
	}
	break_host(host, NULL);
	return NULL;
}

/* ---- questions */

static void own_done(struct scsi_cmd *cmd)
{
	struct scsi_host *host = container_of(cmd, struct scsi_host, own);

	pthread_mutex_lock(&host->lock);
	host->own_busy = false;
	pthread_cond_signal(&host->answered);
	pthread_mutex_unlock(&host->lock);
}

/* 0 or -ETIMEDOUT */
static int wait_own(struct scsi_host *host)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += WAIT_S;
	pthread_mutex_lock(&host->lock);
	while (host->own_busy && !err)
		err = -pthread_cond_timedwait(&host->answered, &host->lock, &until);
	pthread_mutex_unlock(&host->lock);
	return err;
}

int scsi_host_ask(struct scsi_host *host, uint16_t lun, const uint8_t cdb[SCSI_CDB_BYTES],
		  uint32_t len)
{
	struct scsi_cmd *own = &host->own;
	int err;

	/* One that was not answered is the device's for ever. */
	if (scsi_host_broken(host))
		return -EIO;
	memcpy(own->cdb, cdb, SCSI_CDB_BYTES);
	own->lun = lun;
	own->out = false;
	own->buf = host->reply;
	own->len = len;
	own->done = own_done;
	memset(host->reply, 0, SCSI_REPLY_BYTES);
	host->own_busy = true;
	err = scsi_host_send(host, own);
	if (err)
		return err;
	scsi_host_publish(host);
	err = wait_own(host);
	if (err) {
		scsi_host_break(host, "a command was not answered");
		return err;
	}
	return own->err;
}

/* ---- begin and end */

static int read_limits(struct scsi_host *host)
{
	uint32_t sectors;
	int err = virtio_config_read(host->dev, offsetof(struct virtio_scsi_config, max_sectors),
				     &sectors, sizeof(sectors));

	host->max_bytes = (uint64_t)le32toh(sectors) * DISK_SECTOR;
	if (!host->max_bytes || host->max_bytes > MAX_BYTES)
		host->max_bytes = MAX_BYTES;
	return err;
}

/* How many commands of a unit the ring has room for, with one for the lane. */
static int fit_depth(struct scsi_host *host, uint32_t *num, struct vdpa_extack *ack)
{
	bool indirect = host->dev->features & BIT_ULL(VIRTIO_RING_F_INDIRECT_DESC);
	uint32_t room;
	int err = virtio_queue_size(host->dev, REQUEST_QUEUE, num, ack);

	if (err)
		return err;
	room = *num / (indirect ? 1 : CHAIN);
	host->depth = room ? (room - 1) / SCSI_UNITS : 0;
	if (host->depth > SCSI_DEPTH)
		host->depth = SCSI_DEPTH;
	if (!host->depth)
		return vdpa_extack_set(ack, -ENOSPC,
				       "a request queue of %u entries is too small for the "
				       "commands of %u units",
				       *num, SCSI_UNITS);
	return 0;
}

static size_t metas_bytes(void)
{
	return sizeof(struct scsi_meta) * (SCSI_UNITS * SCSI_DEPTH + 1);
}

static void place_buffers(struct scsi_host *host)
{
	uint8_t *p = host->dev->buffers;

	host->metas = (struct scsi_meta *)(void *)p;
	host->own.meta = &host->metas[SCSI_UNITS * SCSI_DEPTH];
	p += align_up(metas_bytes(), 4096);
	host->reply = p;
	p += SCSI_REPLY_BYTES;
	host->events = (struct virtio_scsi_event *)(void *)p;
	p += 4096;
	host->zeroes = p;
	p += ZERO_BYTES;
	host->buffers = p;
}

static int start_thread(struct scsi_host *host)
{
	int err;

	for (unsigned int i = 0; i < SCSI_EVENTS; i++)
		offer_event(host, &host->events[i]);
	vdpa_drvq_enable_call(events_of(host)->ring);
	vdpa_drvq_enable_call(requests_of(host)->ring);
	virtio_queue_publish(events_of(host));
	host->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (host->stop < 0)
		return -errno;
	err = thread_start(&host->thread, "scsi", host_thread, host);
	host->started = !err;
	return err;
}

int scsi_host_start(struct scsi_host *host, struct vdpa_extack *ack)
{
	struct virtio_queue_setup queues[] = {
		{.idx = EVENT_QUEUE, .num = SCSI_EVENTS},
		{.idx = REQUEST_QUEUE, .num = RING_ENTRIES, .indirect = CHAIN},
	};
	struct virtio_setup setup = {
		.queues = queues,
		.num_queues = ARRAY_SIZE(queues),
		.buffer_bytes = align_up(metas_bytes(), 4096) + SCSI_REPLY_BYTES + 4096 +
				ZERO_BYTES + SCSI_UNITS * host->unit_bytes,
	};
	pthread_condattr_t attr;
	int err;

	STAILQ_INIT(&host->sent);
	host->stop = -1;
	pthread_mutex_init(&host->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&host->answered, &attr);
	pthread_condattr_destroy(&attr);
	err = read_limits(host);
	if (err)
		return vdpa_extack_set(ack, err, "cannot read the config space of the SCSI host");
	err = fit_depth(host, &queues[1].num, ack);
	if (!err)
		err = virtio_setup(host->dev, &setup, ack);
	if (err)
		return err;
	place_buffers(host);
	return start_thread(host);
}

void scsi_host_stop(struct scsi_host *host)
{
	if (host->started) {
		eventfd_write(host->stop, 1);
		pthread_join(host->thread, NULL);
	}
	fd_closep(&host->stop);
	virtio_teardown(host->dev);
	pthread_cond_destroy(&host->answered);
	pthread_mutex_destroy(&host->lock);
}
