/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A type of management devices for the tests of the tool, loaded by `uvdpad --load`.  Their devices
 * are what a parent of its own must have at least, and do nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <vdpa/bus.h>

extern const struct vdpa_mgmtdev_type vdpa_mgmtdev_type;

/* ---- devices */

struct port {
	struct vdpa_device vdev;
	atomic_uchar status;
};

static struct port *to_port(struct vdpa_device *vdev)
{
	return (struct port *)(void *)vdev;
}

static int set_vq_address(struct vdpa_device *vdev, uint16_t idx, uint64_t desc, uint64_t driver,
			  uint64_t device)
{
	return 0;
}

static int set_vq_num(struct vdpa_device *vdev, uint16_t idx, uint32_t num)
{
	return 0;
}

static int kick_vq(struct vdpa_device *vdev, uint16_t idx)
{
	return 0;
}

static int set_vq_call(struct vdpa_device *vdev, uint16_t idx, int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return 0;
}

static int set_vq_ready(struct vdpa_device *vdev, uint16_t idx, bool ready, struct vdpa_extack *ack)
{
	return 0;
}

static int set_vq_state(struct vdpa_device *vdev, uint16_t idx, const struct vdpa_vq_state *state)
{
	return 0;
}

static int get_vq_state(struct vdpa_device *vdev, uint16_t idx, struct vdpa_vq_state *state)
{
	memset(state, 0, sizeof(*state));
	return 0;
}

static uint32_t get_vq_num_max(struct vdpa_device *vdev)
{
	return 64;
}

static uint64_t get_device_features(struct vdpa_device *vdev)
{
	return 1ull << 32;
}

static int set_driver_features(struct vdpa_device *vdev, uint64_t features, struct vdpa_extack *ack)
{
	return 0;
}

static void set_config_cb(struct vdpa_device *vdev, const struct vdpa_config_cb *cb)
{
}

static uint32_t get_device_id(struct vdpa_device *vdev)
{
	return 4;
}

static uint32_t get_vendor_id(struct vdpa_device *vdev)
{
	return 0;
}

static uint8_t get_status(struct vdpa_device *vdev)
{
	return to_port(vdev)->status;
}

static int set_status(struct vdpa_device *vdev, uint8_t status, struct vdpa_extack *ack)
{
	to_port(vdev)->status = status;
	return 0;
}

static void reset(struct vdpa_device *vdev)
{
	to_port(vdev)->status = 0;
}

static size_t get_config_size(struct vdpa_device *vdev)
{
	return 0;
}

static int get_config(struct vdpa_device *vdev, uint32_t off, void *buf, uint32_t len)
{
	return 0;
}

static uint32_t get_generation(struct vdpa_device *vdev)
{
	return 0;
}

static void port_free(struct vdpa_device *vdev)
{
	free(to_port(vdev));
}

static const struct vdpa_config_ops port_ops = {
	.size = sizeof(port_ops),
	.set_vq_address = set_vq_address,
	.set_vq_num = set_vq_num,
	.kick_vq = kick_vq,
	.set_vq_call = set_vq_call,
	.set_vq_ready = set_vq_ready,
	.set_vq_state = set_vq_state,
	.get_vq_state = get_vq_state,
	.get_vq_num_max = get_vq_num_max,
	.get_device_features = get_device_features,
	.set_driver_features = set_driver_features,
	.set_config_cb = set_config_cb,
	.get_device_id = get_device_id,
	.get_vendor_id = get_vendor_id,
	.get_status = get_status,
	.set_status = set_status,
	.reset = reset,
	.get_config_size = get_config_size,
	.get_config = get_config,
	.get_generation = get_generation,
	.free = port_free,
};

/* ---- management devices */

struct hub {
	struct vdpa_mgmtdev mdev;
	atomic_uint ports; /* at most */
	bool passed;       /* the file came as a descriptor */
};

static struct hub *to_hub(struct vdpa_mgmtdev *mdev)
{
	return (struct hub *)(void *)mdev;
}

static int hub_dev_add(struct vdpa_mgmtdev *mdev, const char *name, struct vdpa_attrs *attrs,
		       struct vdpa_device **ret, struct vdpa_extack *ack)
{
	struct port *port = calloc(1, sizeof(*port));

	if (!port)
		return -ENOMEM;
	port->vdev.ops = &port_ops;
	port->vdev.nvqs = 1;
	*ret = &port->vdev;
	return 0;
}

static int hub_set_attrs(struct vdpa_mgmtdev *mdev, struct vdpa_attrs *attrs,
			 struct vdpa_extack *ack)
{
	to_hub(mdev)->ports = (unsigned int)vdpa_attrs_u64(attrs, "ports", 0);
	return 0;
}

static void hub_show(struct vdpa_mgmtdev *mdev, struct vdpa_info *info)
{
	vdpa_info_u64(info, "ports", to_hub(mdev)->ports);
	vdpa_info_bool(info, "passed", to_hub(mdev)->passed);
}

static void hub_free(struct vdpa_mgmtdev *mdev)
{
	free(to_hub(mdev));
}

static const struct vdpa_mgmtdev_ops hub_ops = {
	.size = sizeof(hub_ops),
	.dev_add = hub_dev_add,
	.free = hub_free,
	.show = hub_show,
	.set_attrs = hub_set_attrs,
};

/* ---- their type */

static const struct vdpa_attr_desc hub_attrs[] = {
	{"ports", VDPA_ATTR_UINT, VDPA_ATTR_LIVE, 1, 64, NULL, "shown as it is (8)"},
	{"file", VDPA_ATTR_PATH, 0, 0, 0, NULL, "a file that is not looked at"},
	{"hang", VDPA_ATTR_STRING, 0, 0, 0, NULL, "a FIFO to wait for before it is made"},
	{0},
};

static int wait_for(const char *fifo, struct vdpa_extack *ack)
{
	int fd = open(fifo, O_RDONLY | O_CLOEXEC);
	char byte;

	if (fd < 0 || read(fd, &byte, 1) < 0)
		return vdpa_extack_set(ack, -errno, "cannot wait for '%s'", fifo);
	close(fd);
	return 0;
}

static int hub_add(struct vdpa_bus *bus, const char *name, struct vdpa_attrs *attrs,
		   struct vdpa_mgmtdev **ret, struct vdpa_extack *ack)
{
	static const uint32_t ids[] = {4, 0};
	const char *hang = vdpa_attrs_str(attrs, "hang", NULL);
	struct hub *hub;
	int fd, err = hang ? wait_for(hang, ack) : 0;

	if (err)
		return err;
	hub = calloc(1, sizeof(*hub));
	if (!hub)
		return -ENOMEM;
	hub->mdev = (struct vdpa_mgmtdev){.ops = &hub_ops, .ids = ids, .max_vqs = 1};
	hub->mdev.features = 1ull << 32;
	hub->ports = (unsigned int)vdpa_attrs_u64(attrs, "ports", 8);
	fd = vdpa_attrs_take_fd(attrs, "file");
	hub->passed = fd >= 0;
	if (fd >= 0)
		close(fd);
	*ret = &hub->mdev;
	return 0;
}

__attribute__((visibility("default"))) const struct vdpa_mgmtdev_type vdpa_mgmtdev_type = {
	.size = sizeof(vdpa_mgmtdev_type),
	.name = "hub",
	.help = "makes devices that do nothing",
	.attrs = hub_attrs,
	.add = hub_add,
};
