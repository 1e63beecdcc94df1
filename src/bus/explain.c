/* SPDX-License-Identifier: BSD-2-Clause */
/* dev explain: what became of each feature bit between the device and its client. */
#include <errno.h>
#include <linux/virtio_config.h>

#include "bus/verb.h"

struct explained {
	struct vdpa_device *vdev;
	struct driver_entry *driver; /* NULL: unbound */
	uint64_t able;               /* what the device has */
	uint64_t masked;             /* what the driver keeps back */
	uint64_t acked;
	bool negotiated;
};

struct verdict {
	const char *state;
	const char *by;
	const char *why;
};

static const char *not_offered(struct vdpa_device *vdev, unsigned int bit)
{
	const struct vdpa_config_ops *ops = &priv_of(vdev)->ops;
	const char *why = ops->why_not ? ops->why_not(vdev, bit) : NULL;

	return why ? why : "this kind of device does not have it";
}

static struct verdict explain_driver(const struct explained *e, unsigned int bit)
{
	const struct vdpa_driver *ops = &e->driver->ops;
	const char *why = ops->why_masked ? ops->why_masked(e->vdev, bit) : NULL;

	return (struct verdict){"masked", e->driver->driver->name,
				why ? why : "this driver does not pass it on"};
}

static struct verdict explain_bit(const struct explained *e, unsigned int bit)
{
	uint64_t mask = BIT_ULL(bit);

	if (HOP_FEATURES & mask)
		return (struct verdict){"hop", "bus",
					"each hop has its own: it never crosses the bus"};
	if (!(e->able & mask))
		return (struct verdict){"not offered", "device", not_offered(e->vdev, bit)};
	if (!(priv_of(e->vdev)->provisioned & mask))
		return (struct verdict){"taken away", "dev add", "'features' does not have it"};
	if (e->driver && (e->masked & mask))
		return explain_driver(e, bit);
	if (!e->driver)
		return (struct verdict){"offered", NULL, "no driver is bound"};
	if (!e->negotiated)
		return (struct verdict){"offered", NULL, "no client has negotiated yet"};
	if (e->acked & mask)
		return (struct verdict){"acked", "client", NULL};
	return (struct verdict){"refused", "client", "the client did not ask for it"};
}

/* Bits that somebody has a name for, or has set. */
static bool worth_showing(const struct explained *e, uint32_t id, unsigned int bit)
{
	char buf[16];

	return vdpa_feature_name(id, bit, buf) != buf || ((e->able | e->acked) & BIT_ULL(bit));
}

static int explain_run(struct verb *v)
{
	struct vdpa_device *vdev = v->priv->vdev;
	struct vdpa_info *info = &v->record.info;
	uint32_t id = vdpa_get_device_id(vdev);
	struct explained e = {
		.vdev = vdev,
		.driver = v->priv->bound,
		.acked = vdpa_get_driver_features(vdev),
		.negotiated = atomic_load(&v->priv->negotiated),
	};
	char buf[16];

	vdpa_get_device_features(vdev);
	e.able = atomic_load(&v->priv->offer);
	if (e.driver && e.driver->ops.masked)
		e.masked = e.driver->ops.masked(vdev);
	vdpa_info_open_list(info, "features");
	for (unsigned int bit = 0; bit < 64; bit++) {
		struct verdict verdict = explain_bit(&e, bit);

		if (!worth_showing(&e, id, bit))
			continue;
		vdpa_info_open(info, NULL);
		vdpa_info_u64(info, "bit", bit);
		vdpa_info_str(info, "name", vdpa_feature_name(id, bit, buf));
		vdpa_info_str(info, "state", verdict.state);
		if (verdict.by)
			vdpa_info_str(info, "by", verdict.by);
		if (verdict.why)
			vdpa_info_str(info, "why", verdict.why);
		vdpa_info_close(info);
	}
	vdpa_info_close(info);
	return 0;
}

static const struct verb_ops explain_ops = {.name = "explain", .run = explain_run};

VDPA_API void vdpa_dev_explain(struct vdpa_bus *bus, const char *name, struct vdpa_info *info,
			       vdpa_done_fn *done, void *arg)
{
	struct verb *v = verb_new(bus, &explain_ops, NULL, done, arg);

	if (!v)
		return;
	v->info = info;
	verb_start(v, name);
}
