/* SPDX-License-Identifier: BSD-2-Clause */
/* What can be seen of a device. */
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/verb.h"

/* ---- dev show: what is known without asking the lane */

static const char *state_name(const struct vdpa_device_priv *priv, uint8_t status, bool connected)
{
	const struct verb *busy = TAILQ_FIRST(&priv->node.verbs);

	if (priv->node.stuck)
		return "stuck";
	if (busy && busy->begun && (!strcmp(busy->ops->name, "bind") || priv->leaving))
		return priv->leaving ? "unbinding" : "binding";
	if (!priv->driver)
		return "unbound";
	if (status & (VIRTIO_CONFIG_S_NEEDS_RESET | VIRTIO_CONFIG_S_FAILED))
		return "broken";
	if (status & VIRTIO_CONFIG_S_DRIVER_OK)
		return "running";
	return connected ? "connected" : "waiting";
}

static void show_status(uint8_t status, struct vdpa_info *info)
{
	char names[96], *save, *name;

	status_names(status, names, sizeof(names));
	vdpa_info_open_list(info, "status");
	for (name = strtok_r(names, " ", &save); name; name = strtok_r(NULL, " ", &save))
		vdpa_info_str(info, NULL, name);
	vdpa_info_close(info);
}

/* iproute2 calls two classes otherwise than everybody else. */
static const char *type_name(uint32_t id, char buf[16])
{
	const char *name = vdpa_class_name(id);

	if (id == VIRTIO_ID_BLOCK)
		return "block";
	if (id == VIRTIO_ID_NET)
		return "network";
	snprintf(buf, 16, "%u", id);
	return name ? name : buf;
}

static void show_client(struct vdpa_device_priv *priv, uint8_t status, struct vdpa_info *info)
{
	char client[sizeof(priv->client)];
	bool connected;

	pthread_mutex_lock(&priv->lock);
	memcpy(client, priv->client, sizeof(client));
	connected = priv->connected;
	pthread_mutex_unlock(&priv->lock);
	vdpa_info_str(info, "state", state_name(priv, status, connected));
	if (client[0])
		vdpa_info_str(info, "client", client);
}

/* Words and order as iproute2's vdpa has them; what it lacks comes after. */
VDPA_API void vdpa_dev_show(struct vdpa_device *vdev, struct vdpa_info *info)
{
	struct vdpa_device_priv *priv = priv_of(vdev);
	uint32_t id = vdpa_get_device_id(vdev);
	uint8_t status = vdpa_get_status(vdev);
	char type[16];

	vdpa_info_str(info, "type", type_name(id, type));
	if (vdev->mdev)
		vdpa_info_str(info, "mgmtdev", vdev->mdev->name);
	vdpa_info_u64(info, "vendor_id", vdpa_get_vendor_id(vdev));
	vdpa_info_u64(info, "max_vqs", vdev->nvqs);
	vdpa_info_u64(info, "max_vq_size", atomic_load(&priv->num_max));
	if (priv->driver)
		vdpa_info_str(info, "driver", priv->driver->driver->name);
	show_client(priv, status, info);
	show_status(status, info);
	info_features(info, "device_features", id, atomic_load(&priv->offer) & priv->provisioned);
	info_features(info, "negotiated_features", id, atomic_load(&priv->acked));
	if (priv->ops.show) {
		vdpa_info_open(info, "device");
		priv->ops.show(vdev, info);
		vdpa_info_close(info);
	}
	if (priv->driver && priv->driver->ops.show && !priv->leaving) {
		vdpa_info_open(info, "binding");
		priv->driver->ops.show(vdev, info);
		vdpa_info_close(info);
	}
}

/* ---- dev config show */

#define CONFIG_MAX   4096
#define CONFIG_TRIES 16

/* A config space that changes while it is read is read again. @spec virtio 1.3, 2.5.1 */
static int read_config(struct vdpa_device *vdev, uint8_t *buf, uint32_t *len)
{
	size_t size = vdpa_get_config_size(vdev);
	uint32_t generation;
	int err;

	*len = size < CONFIG_MAX ? (uint32_t)size : CONFIG_MAX;
	for (int i = 0; i < CONFIG_TRIES; i++) {
		generation = vdpa_get_generation(vdev);
		err = vdpa_get_config(vdev, 0, buf, *len);
		if (err || generation == vdpa_get_generation(vdev))
			return err;
	}
	return -EAGAIN;
}

static int config_run(struct verb *v)
{
	struct vdpa_device *vdev = v->priv->vdev;
	uint8_t config[CONFIG_MAX];
	uint32_t len;
	int err = read_config(vdev, config, &len);

	if (err)
		return vdpa_extack_set(&v->ack, err, "cannot read the config space of '%s': %s",
				       v->priv->name, vdpa_extack_text(NULL, err));
	vdpa_info_u64(&v->record.info, "generation", vdpa_get_generation(vdev));
	vdpa_class_config_show(vdpa_get_device_id(vdev), vdpa_get_device_features(vdev), config,
			       len, &v->record.info);
	return 0;
}

static const struct verb_ops config_ops = {.name = "config show", .run = config_run};

VDPA_API void vdpa_dev_config_show(struct vdpa_bus *bus, const char *name, struct vdpa_info *info,
				   vdpa_done_fn *done, void *arg)
{
	struct verb *v = verb_new(bus, &config_ops, NULL, done, arg);

	if (!v)
		return;
	v->info = info;
	verb_start(v, name);
}

/* ---- dev vstats show */

static int vstats_prepare(struct verb *v)
{
	if (v->idx < v->priv->vdev->nvqs)
		return 0;
	return vdpa_extack_set(&v->ack, -EINVAL, "no queue %d: '%s' has %u", v->idx, v->priv->name,
			       v->priv->vdev->nvqs);
}

static void show_counters(struct vdpa_device *vdev, uint16_t idx, struct vdpa_info *info)
{
	struct vdpa_vq_stats stats;

	vdpa_info_u64(info, "qidx", idx);
	if (vdpa_get_vq_stats(vdev, idx, &stats))
		return;
	vdpa_info_u64(info, "requests", stats.requests);
	vdpa_info_u64(info, "bytes_out", stats.bytes_out);
	vdpa_info_u64(info, "bytes_in", stats.bytes_in);
	vdpa_info_u64(info, "kicks", stats.kicks);
	vdpa_info_u64(info, "calls", stats.calls);
	vdpa_info_u64(info, "errors", stats.errors);
	vdpa_info_u64(info, "drops", stats.drops);
	vdpa_info_u64(info, "broken", stats.broken);
}

VDPA_API void vdpa_dev_counters_show(struct vdpa_device *vdev, struct vdpa_info *info)
{
	vdpa_info_open_list(info, "queues");
	for (uint16_t idx = 0; idx < vdev->nvqs; idx++) {
		vdpa_info_open(info, NULL);
		show_counters(vdev, idx, info);
		vdpa_get_vendor_vq_stats(vdev, idx, info);
		vdpa_info_close(info);
	}
	vdpa_info_close(info);
}

static void vstats_queue(struct vdpa_device *vdev, uint16_t idx, struct vdpa_info *info)
{
	struct vdpa_worker *worker = vdpa_get_vq_affinity(vdev, idx);

	vdpa_info_open(info, NULL);
	show_counters(vdev, idx, info);
	if (worker)
		vdpa_info_str(info, "worker", vdpa_worker_name(worker));
	vdpa_get_vendor_vq_stats(vdev, idx, info);
	vdpa_info_close(info);
}

static int vstats_run(struct verb *v)
{
	struct vdpa_device *vdev = v->priv->vdev;
	int first = v->idx < 0 ? 0 : v->idx, last = v->idx < 0 ? vdev->nvqs - 1 : v->idx;

	vdpa_info_open_list(&v->record.info, "queues");
	for (int i = first; i <= last; i++)
		vstats_queue(vdev, (uint16_t)i, &v->record.info);
	vdpa_info_close(&v->record.info);
	return 0;
}

static const struct verb_ops vstats_ops = {
	.name = "vstats show",
	.prepare = vstats_prepare,
	.run = vstats_run,
};

VDPA_API void vdpa_dev_vstats_show(struct vdpa_bus *bus, const char *name, int idx,
				   struct vdpa_info *info, vdpa_done_fn *done, void *arg)
{
	struct verb *v = verb_new(bus, &vstats_ops, NULL, done, arg);

	if (!v)
		return;
	v->info = info;
	v->idx = idx;
	verb_start(v, name);
}
