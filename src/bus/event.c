/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/priv.h"

/* Of one device, waiting for the control thread: a peer that connects in a loop cannot fill the
 * memory. */
#define EVENTS_MAX 256

struct event_msg {
	struct bus_msg msg;
	struct bus_node *node; /* a reference */
	enum vdpa_event_type type;
	bool has_text;
	char text[];
};

static const char *const event_names[] = {
	[VDPA_EVENT_DEV_ADD] = "dev-add",
	[VDPA_EVENT_DEV_DEL] = "dev-del",
	[VDPA_EVENT_BIND] = "bind",
	[VDPA_EVENT_UNBIND] = "unbind",
	[VDPA_EVENT_CONNECT] = "connect",
	[VDPA_EVENT_DISCONNECT] = "disconnect",
	[VDPA_EVENT_STATUS] = "status",
	[VDPA_EVENT_CONFIG] = "config",
	[VDPA_EVENT_STUCK] = "stuck",
	[VDPA_EVENT_BROKEN] = "broken",
	[VDPA_EVENT_MGMTDEV_ADD] = "mgmtdev-add",
	[VDPA_EVENT_MGMTDEV_DEL] = "mgmtdev-del",
};

static void event_drop(struct bus_msg *msg)
{
	struct event_msg *ev = container_of(msg, struct event_msg, msg);
	struct bus_node *node = ev->node;

	atomic_fetch_sub_explicit(&node->events, 1, memory_order_relaxed);
	free(ev);
	node_put(node);
}

static void event_deliver(struct bus_msg *msg)
{
	struct event_msg *ev = container_of(msg, struct event_msg, msg);
	const struct bus_node *node = ev->node;
	struct vdpa_bus *bus = node->bus;
	struct vdpa_event event = {
		.type = ev->type,
		.name = event_names[ev->type],
		.dev = node->ops->is_device ? node->name : NULL,
		.text = ev->has_text ? ev->text : NULL,
		.mgmtdev = node->ops->is_device ? NULL : node->name,
	};

	if (bus->event_cb)
		bus->event_cb(bus->event_arg, &event);
	event_drop(msg);
}

void node_event(struct bus_node *node, enum vdpa_event_type type, const char *text)
{
	size_t len = text ? strlen(text) + 1 : 0;
	struct event_msg *ev = NULL;

	if (atomic_fetch_add_explicit(&node->events, 1, memory_order_relaxed) < EVENTS_MAX)
		ev = malloc(sizeof(*ev) + len);
	/* Its last reference may have gone already, while its queues still run until it is freed.
	 */
	if (ev && !node_tryget(node)) {
		free(ev);
		ev = NULL;
	}
	if (!ev) {
		atomic_fetch_sub_explicit(&node->events, 1, memory_order_relaxed);
		return;
	}
	ev->msg.fn = event_deliver;
	ev->msg.drop = event_drop;
	ev->node = node;
	ev->type = type;
	ev->has_text = text;
	if (text)
		memcpy(ev->text, text, len);
	bus_post(node->bus, &ev->msg);
}

VDPA_API void vdpa_device_event(struct vdpa_device *vdev, enum vdpa_event_type type,
				const char *text)
{
	bus_event(priv_of(vdev), type, text);
}

VDPA_API void vdpa_bus_set_event_cb(struct vdpa_bus *bus,
				    void (*fn)(void *arg, const struct vdpa_event *event),
				    void *arg)
{
	bus->event_cb = fn;
	bus->event_arg = arg;
}

VDPA_API void vdpa_device_client(struct vdpa_device *vdev, bool connected, const char *who)
{
	struct vdpa_device_priv *priv = priv_of(vdev);
	bool was;

	pthread_mutex_lock(&priv->lock);
	was = priv->connected;
	priv->connected = connected;
	snprintf(priv->client, sizeof(priv->client), "%s", connected && who ? who : "");
	pthread_mutex_unlock(&priv->lock);
	if (connected || was)
		bus_event(priv, connected ? VDPA_EVENT_CONNECT : VDPA_EVENT_DISCONNECT, who);
}

void status_names(uint8_t status, char *buf, size_t len)
{
	static const struct {
		uint8_t bit;
		const char *name;
	} names[] = {
		{VIRTIO_CONFIG_S_ACKNOWLEDGE, "ACKNOWLEDGE"},
		{VIRTIO_CONFIG_S_DRIVER, "DRIVER"},
		{VIRTIO_CONFIG_S_FEATURES_OK, "FEATURES_OK"},
		{VIRTIO_CONFIG_S_DRIVER_OK, "DRIVER_OK"},
		{VIRTIO_CONFIG_S_NEEDS_RESET, "NEEDS_RESET"},
		{VIRTIO_CONFIG_S_FAILED, "FAILED"},
	};
	size_t used = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if ((status & names[i].bit) && used < len)
			used += snprintf(buf + used, len - used, "%s%s", used ? " " : "",
					 names[i].name);
}
