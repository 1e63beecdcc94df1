/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device's state on its way to or from a front-end that migrates its guest: the device part of
 * the state record, encoded.  What belongs to the session the front-end tells anew.
 *
 * A front-end brings a pipe for it, and the back-end may give it another channel instead.  We
 * always do, an anonymous file: nobody ever waits for who is slow at the other end or does nothing,
 * and what was not read or written when the session ends goes with the file.  A state to be loaded
 * is looked at when the front-end says that it is whole, by CHECK_DEVICE_STATE.  Until then the
 * file grows at the front-end's expense, like any memory that it shares.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "base/defs.h"
#include "bus/bus.h"
#include "drivers/vhost_user/session.h"
#include "vdpa/state.h"

void vhu_state_end(struct vhu_session *s)
{
	fd_closep(&s->transfer.fd);
	s->transfer.under_way = false;
}

static int write_all(int fd, const uint8_t *data, size_t len)
{
	size_t done = 0;

	while (done < len) {
		/* Where the reader begins stays at the beginning. */
		ssize_t put = pwrite(fd, data + done, len - done, (off_t)done);

		if (put < 0 && errno != EINTR)
			return -errno;
		done += put > 0 ? (size_t)put : 0;
	}
	return 0;
}

/* A file with the state, which nobody can change any more. */
static int seal_state(const void *data, size_t len, int *ret)
{
	int fd vdpa_cleanup(fd_closep) = memfd_create("state", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int err;

	if (fd < 0)
		return -errno;
	err = write_all(fd, data, len);
	if (err)
		return err;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL))
		return -errno;
	*ret = fd_take(&fd);
	return 0;
}

static int begin_save(struct vhu_session *s, int *channel, struct vdpa_extack *ack)
{
	void *data vdpa_cleanup(freep) = NULL;
	struct vdpa_state state = {0};
	size_t len = 0;
	int err;

	err = vdpa_device_save(s->vdev, VDPA_STATE_DEVICE, &state, ack);
	if (err)
		return err;
	err = vdpa_state_encode(&state, &data, &len);
	vdpa_state_clear(&state);
	if (err)
		return err;
	if (len > VHU_STATE_MAX)
		return vdpa_extack_set(ack, -EFBIG, "a state of %zu bytes, at most %u", len,
				       VHU_STATE_MAX);
	return seal_state(data, len, channel);
}

static int begin_load(struct vhu_session *s, int *channel)
{
	int fd vdpa_cleanup(fd_closep) = memfd_create("state", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	*channel = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (*channel < 0)
		return -errno;
	s->transfer.fd = fd_take(&fd);
	return 0;
}

static int begin(struct vhu_session *s, const struct vu_device_state *params, int *channel,
		 struct vdpa_extack *ack)
{
	bool load = params->direction == VU_STATE_LOAD;
	int err;

	/* One that was begun before and never checked is given up. */
	vhu_state_end(s);
	if (params->direction != VU_STATE_SAVE && !load)
		return vdpa_extack_set(ack, -EINVAL, "direction %u, neither 0 (save) nor 1 (load)",
				       params->direction);
	if (params->phase != VU_STATE_STOPPED)
		return vdpa_extack_set(ack, -EINVAL, "phase %u, only 0 (stopped) is known",
				       params->phase);
	if (vhu_rings_running(s))
		return vdpa_extack_set(ack, -EBUSY, "rings run, they must be stopped before");
	err = load ? begin_load(s, channel) : begin_save(s, channel, ack);
	s->transfer.under_way = !err;
	return err;
}

int vhu_set_device_state_fd(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
			    struct vdpa_extack *ack)
{
	struct vdpa_extack why = {0};
	int err;

	err = begin(s, &msg->payload.device_state, &reply->fd, &why);
	if (err)
		vhu_session_log(s, VDPA_LOG_WARN, "refused SET_DEVICE_STATE_FD: %s",
				vdpa_extack_text(&why, err));
	reply->payload.u64 = err ? VU_STATE_FAILED | VU_STATE_FD_NONE : 0;
	reply->size = sizeof(reply->payload.u64);
	return 0;
}

/* What the front-end has written, once: it can still change the file. */
static int read_all(int fd, uint8_t **ret, size_t *len, struct vdpa_extack *ack)
{
	struct stat st;
	size_t size;

	if (fstat(fd, &st))
		return -errno;
	if (st.st_size > VHU_STATE_MAX)
		return vdpa_extack_set(ack, -EFBIG, "a state of %lld bytes, at most %u",
				       (long long)st.st_size, VHU_STATE_MAX);
	size = (size_t)st.st_size;
	*ret = malloc(size ? size : 1);
	if (!*ret)
		return -ENOMEM;
	while (*len < size) {
		ssize_t got = pread(fd, *ret + *len, size - *len, (off_t)*len);

		if (!got)
			break;
		if (got < 0 && errno != EINTR)
			return -errno;
		*len += got > 0 ? (size_t)got : 0;
	}
	return 0;
}

static int load(struct vhu_session *s, struct vdpa_extack *ack)
{
	uint8_t *data vdpa_cleanup(freep) = NULL;
	struct vdpa_state state = {0};
	size_t len = 0;
	int err;

	err = read_all(s->transfer.fd, &data, &len, ack);
	if (err)
		return err;
	err = vdpa_state_decode(data, len, &state, ack);
	if (err)
		return err;
	err = vdpa_device_load(s->vdev, VDPA_STATE_DEVICE, &state, ack);
	vdpa_state_clear(&state);
	if (!err)
		bus_record_state(s->vdev);
	return err;
}

/* A state that was saved is in the file, all of it, before the front-end hears of the file. */
static int finish(struct vhu_session *s, struct vdpa_extack *ack)
{
	if (!s->transfer.under_way)
		return vdpa_extack_set(ack, -EINVAL, "there was no SET_DEVICE_STATE_FD before");
	if (vhu_rings_running(s))
		return vdpa_extack_set(ack, -EBUSY,
				       "rings were started before the state was checked");
	return s->transfer.fd >= 0 ? load(s, ack) : 0;
}

int vhu_check_device_state(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
			   struct vdpa_extack *ack)
{
	struct vdpa_extack why = {0};
	int err;

	err = finish(s, &why);
	vhu_state_end(s);
	if (err)
		vhu_session_log(s, VDPA_LOG_WARN, "CHECK_DEVICE_STATE: %s",
				vdpa_extack_text(&why, err));
	reply->payload.u64 = err ? VU_STATE_FAILED : 0;
	reply->size = sizeof(reply->payload.u64);
	return 0;
}
