/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device part of the state on disk: RUN/dev/NAME/state.  It is written when it changes, and
 * goes when the device does; so one that is found when a device is made was left by a process that
 * died, and the device goes on with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "bus/priv.h"

#define RECORD_MAX (1u << 20)
#define PATH_LEN   4096

static int write_all(const char *path, const uint8_t *data, size_t len)
{
	int fd vdpa_cleanup(fd_closep) = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t put;

	if (fd < 0)
		return -errno;
	while (len) {
		put = write(fd, data, len);
		if (put < 0 && errno != EINTR)
			return -errno;
		if (put > 0) {
			data += put;
			len -= (size_t)put;
		}
	}
	return 0;
}

static int encode(struct vdpa_device *vdev, void **ret, size_t *len, struct vdpa_extack *ack)
{
	struct vdpa_state state = {0};
	int err;

	err = vdpa_device_save(vdev, VDPA_STATE_DEVICE, &state, ack);
	if (err)
		return err;
	err = vdpa_state_encode(&state, ret, len);
	vdpa_state_clear(&state);
	return err;
}

/* Whoever removes the device holds the lock while it removes the file: none comes after. */
static int put_in_place(struct vdpa_device_priv *priv, const char *tmp, const char *path)
{
	int err = 0;

	pthread_mutex_lock(&priv->lock);
	if (atomic_load(&priv->going))
		unlink(tmp);
	else if (rename(tmp, path))
		err = -errno;
	pthread_mutex_unlock(&priv->lock);
	return err;
}

void record_write(struct vdpa_device_priv *priv)
{
	struct vdpa_extack ack = {0};
	void *data vdpa_cleanup(freep) = NULL;
	char tmp[PATH_LEN], path[PATH_LEN];
	size_t len;
	int err;

	if (!priv->bus->run_dir)
		return;
	err = encode(priv->vdev, &data, &len, &ack);
	if (!err)
		err = vdpa_device_path(priv->vdev, "state", path, sizeof(path));
	if (!err)
		err = vdpa_device_path(priv->vdev, "state.new", tmp, sizeof(tmp));
	if (!err)
		err = write_all(tmp, data, len);
	if (!err)
		err = put_in_place(priv, tmp, path);
	if (err)
		vdpa_log(priv->bus, priv->vdev, VDPA_LOG_WARN, "cannot write the state record: %s",
			 vdpa_extack_text(&ack, err));
	else
		priv->recorded = true;
}

void bus_record_state(struct vdpa_device *vdev)
{
	record_write(priv_of(vdev));
}

static void due_job(struct lane_job *job)
{
	struct vdpa_device_priv *priv = container_of(job, struct vdpa_device_priv, record_job);

	atomic_store(&priv->record_due, false);
	record_write(priv);
	device_put(priv);
}

void bus_state_changed(struct vdpa_device *vdev)
{
	struct vdpa_device_priv *priv = priv_of(vdev);

	if (priv && priv->bus->run_dir)
		device_post_once(priv, &priv->record_due, &priv->record_job);
}

void record_init(struct vdpa_device_priv *priv)
{
	priv->record_job.fn = due_job;
}

void record_renew(struct vdpa_device_priv *priv)
{
	if (priv->recorded)
		record_write(priv);
}

/* *ret stays NULL when there is none. */
static int read_all(const char *path, uint8_t **ret, size_t *len)
{
	int fd vdpa_cleanup(fd_closep) = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	ssize_t got;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_size > RECORD_MAX)
		return -EFBIG;
	*ret = malloc((size_t)st.st_size + 1);
	if (!*ret)
		return -ENOMEM;
	got = read(fd, *ret, (size_t)st.st_size);
	*len = got < 0 ? 0 : (size_t)got;
	return got < 0 ? -errno : 0;
}

static int load(struct vdpa_device *vdev, const void *data, size_t len, struct vdpa_extack *ack)
{
	struct vdpa_state state = {0};
	int err;

	err = vdpa_state_decode(data, len, &state, ack);
	if (!err)
		err = vdpa_device_load(vdev, VDPA_STATE_DEVICE, &state, ack);
	vdpa_state_clear(&state);
	return err;
}

/* A record that does not fit is no reason to refuse the device: it is as good as new. */
void record_read(struct vdpa_device_priv *priv)
{
	struct vdpa_extack ack = {0};
	uint8_t *data vdpa_cleanup(freep) = NULL;
	char path[PATH_LEN];
	size_t len = 0;
	int err;

	if (!priv->bus->run_dir || snprintf(path, sizeof(path), "%s/dev/%s/state",
					    priv->bus->run_dir, priv->name) >= (int)sizeof(path))
		return;
	err = read_all(path, &data, &len);
	if (!err && !data)
		return;
	if (!err)
		err = load(priv->vdev, data, len, &ack);
	if (err) {
		unlink(path);
		vdpa_log(priv->bus, priv->vdev, VDPA_LOG_WARN,
			 "the record of a dead process is of no use: %s",
			 vdpa_extack_text(&ack, err));
	} else {
		priv->recorded = true;
		vdpa_log(priv->bus, priv->vdev, VDPA_LOG_INFO,
			 "goes on with the record of a dead process");
	}
}

void record_remove(struct vdpa_device_priv *priv)
{
	char path[PATH_LEN];

	if (!priv->bus->run_dir || snprintf(path, sizeof(path), "%s/dev/%s/state",
					    priv->bus->run_dir, priv->name) >= (int)sizeof(path))
		return;
	pthread_mutex_lock(&priv->lock);
	atomic_store(&priv->going, true);
	unlink(path);
	pthread_mutex_unlock(&priv->lock);
}
