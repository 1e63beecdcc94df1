/* SPDX-License-Identifier: BSD-2-Clause */
#include "parents/tmfifo/tmfifo.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>

#include "base/choice.h"
#include "base/defs.h"
#include "parents/soft/internal.h"
#include "parents/soft/net.h"
#include "parents/tmfifo/ends.h"
#include "parents/tmfifo/uio.h"

#define MTU       1500
#define POLL_MS   10 /* without an interrupt */
#define SILENT_MS 2000
#define CUT_MS    1000

struct tmfifo_mgmtdev {
	struct vdpa_mgmtdev mdev;
	struct vdpa_bus *bus;
	struct tmfifo *fifo;
	struct vdpa_attr_desc *attrs;
	uint32_t mtu;
};

/* What BlueField has unless it is told otherwise. */
static const uint8_t default_mac[NET_MAC_LEN] = {0x00, 0x1a, 0xca, 0xff, 0xff, 0x01};

static const uint32_t ids[] = {VIRTIO_ID_NET, VIRTIO_ID_CONSOLE, 0};

/* ---- devices */

/* What they may be told: rows of their classes' tables. */
static const struct choice kinds[] = {
	{"console", {"cols", "rows", "buffer", "unread"}},
	{"net", {"mac", "mtu", "speed", "link", "announce"}},
};

static const struct vdpa_soft_class *const classes[ARRAY_SIZE(kinds)] = {
	&soft_console_class,
	&soft_net_class,
};

static const char *const kind_names[] = {"console", "net", NULL};

static const struct vdpa_attr_desc type_row = {
	.name = "type",
	.type = VDPA_ATTR_ENUM,
	.flags = VDPA_ATTR_REQUIRED,
	.values = kind_names,
	.help = "which of the two it is",
};

static struct vdpa_attr_desc *join_attrs(void)
{
	struct vdpa_attr_desc rows[2 + ARRAY_SIZE(kinds) * CHOICE_ONLY_MAX] = {type_row};
	size_t num = 1;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		for (const char *const *name = kinds[i].only; *name; name++) {
			const struct vdpa_attr_desc *row = classes[i]->attrs;

			while (row->name && strcmp(row->name, *name))
				row++;
			if (row->name)
				rows[num++] = *row;
		}
	}
	return soft_attrs_join(rows);
}

static int taken(const char *name, int err, struct vdpa_extack *ack)
{
	if (err == -EBUSY)
		return vdpa_extack_set(ack, err, "the FIFO has its %s device already", name);
	return err;
}

static int add_console(struct tmfifo_mgmtdev *tm, const char *name, struct vdpa_attrs *attrs,
		       struct vdpa_device **ret, struct vdpa_extack *ack)
{
	struct stream *stream = NULL;
	int err = tmfifo_console_open(tm->fifo, attrs, &stream);

	if (err)
		return taken("console", err, ack);
	err = soft_dev_make(tm->bus, &tm->mdev, &soft_console_class, tm->attrs, name, attrs,
			    &stream, ret, ack);
	/* Ours still, if it has not come to a device. */
	stream_close(stream);
	return err;
}

static int add_net(struct tmfifo_mgmtdev *tm, const char *name, struct vdpa_attrs *attrs,
		   struct vdpa_device **ret, struct vdpa_extack *ack)
{
	struct net_backend *net = NULL;
	int err = tmfifo_net_open(tm->fifo, tm->mtu, default_mac, &net);

	if (err)
		return taken("net", err, ack);
	err = soft_dev_make(tm->bus, &tm->mdev, &soft_net_class, tm->attrs, name, attrs, &net, ret,
			    ack);
	net_close(net);
	return err;
}

static int tmfifo_dev_add(struct vdpa_mgmtdev *mdev, const char *name, struct vdpa_attrs *attrs,
			  struct vdpa_device **ret, struct vdpa_extack *ack)
{
	struct tmfifo_mgmtdev *tm = container_of(mdev, struct tmfifo_mgmtdev, mdev);
	int idx = choice_find_kind(kinds, ARRAY_SIZE(kinds), "type",
				   vdpa_attrs_str(attrs, "type", ""), attrs, ack);

	if (idx < 0)
		return idx;
	return idx ? add_net(tm, name, attrs, ret, ack) : add_console(tm, name, attrs, ret, ack);
}

/* ---- the FIFO */

static void free_tmfifo(struct tmfifo_mgmtdev *tm)
{
	tmfifo_close(tm->fifo);
	free(tm->attrs);
	free(tm);
}

static void tmfifo_free(struct vdpa_mgmtdev *mdev)
{
	free_tmfifo(container_of(mdev, struct tmfifo_mgmtdev, mdev));
}

static void tmfifo_mgmtdev_show(struct vdpa_mgmtdev *mdev, struct vdpa_info *info)
{
	tmfifo_show(container_of(mdev, struct tmfifo_mgmtdev, mdev)->fifo, info);
}

static const struct vdpa_mgmtdev_ops tmfifo_ops = {
	.size = sizeof(tmfifo_ops),
	.dev_add = tmfifo_dev_add,
	.free = tmfifo_free,
	.show = tmfifo_mgmtdev_show,
};

static int open_fifo(struct tmfifo_mgmtdev *tm, struct vdpa_tmfifo_regs *regs,
		     const struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	const struct tmfifo_config config = {
		.frame_max = tm->mtu + TMFIFO_FRAME_EXTRA,
		.poll_ms = (uint32_t)vdpa_attrs_u64(attrs, "poll-ms", regs->irq < 0 ? POLL_MS : 0),
		.silent_ms = SILENT_MS,
		.cut_ms = CUT_MS,
		.worker = vdpa_attrs_str(attrs, "worker", NULL),
	};

	return tmfifo_open(tm->bus, regs, &config, &tm->fifo, ack);
}

VDPA_API int vdpa_tmfifo_make(struct vdpa_bus *bus, struct vdpa_tmfifo_regs *regs,
			      const struct vdpa_attrs *attrs, struct vdpa_mgmtdev **ret,
			      struct vdpa_extack *ack)
{
	struct tmfifo_mgmtdev *tm = calloc(1, sizeof(*tm));
	int err;

	if (!tm) {
		regs->ops->free(regs);
		return -ENOMEM;
	}
	tm->bus = bus;
	tm->mtu = (uint32_t)vdpa_attrs_u64(attrs, "mtu", MTU);
	err = open_fifo(tm, regs, attrs, ack);
	if (!err) {
		tm->attrs = join_attrs();
		err = tm->attrs ? 0 : -ENOMEM;
	}
	if (err) {
		free_tmfifo(tm);
		return err;
	}
	tm->mdev.ops = &tmfifo_ops;
	tm->mdev.ids = ids;
	tm->mdev.attrs = tm->attrs;
	tm->mdev.max_vqs = 3;
	tm->mdev.features =
		soft_class_offer(&soft_net_class) | soft_class_offer(&soft_console_class);
	tm->mdev.help = "TmFIFO: a console and a network that share a pair of register FIFOs";
	*ret = &tm->mdev;
	return 0;
}

/* ---- its type */

static const struct vdpa_attr_desc type_attrs[] = {
	{.name = "uio",
	 .type = VDPA_ATTR_PATH,
	 .flags = VDPA_ATTR_REQUIRED,
	 .help = "UIO device that maps the registers: first those for receiving, then those for "
		 "sending"},
	VDPA_TMFIFO_ATTRS,
	{0},
};

static int tmfifo_add(struct vdpa_bus *bus, const char *name, struct vdpa_attrs *attrs,
		      struct vdpa_mgmtdev **ret, struct vdpa_extack *ack)
{
	const char *path = vdpa_attrs_str(attrs, "uio", "");
	int fd = vdpa_attrs_take_fd(attrs, "uio");
	struct vdpa_tmfifo_regs *regs;
	int err;

	if (fd < 0)
		fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return vdpa_extack_set(ack, -errno, "cannot open '%s': %s", path,
				       strerrordesc_np(errno));
	err = tmfifo_uio_open(path, &fd, &regs, ack);
	return err ? err : vdpa_tmfifo_make(bus, regs, attrs, ret, ack);
}

const struct vdpa_mgmtdev_type tmfifo_type = {
	.size = sizeof(tmfifo_type),
	.name = "tmfifo",
	.help = "TmFIFO of a BlueField, by a UIO device: a console and a network",
	.attrs = type_attrs,
	.add = tmfifo_add,
};
