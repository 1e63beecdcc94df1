/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_console: a console device on the bus as a terminal of this host.  @spec virtio 1.3, 5.3
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/defs.h"
#include "drivers/virtio/console_tty.h"

/* ---- config space */

/* Lane; the thread applies it. */
static void read_size(struct tty *tty)
{
	uint16_t size[2];

	if (!tty_has(tty, VIRTIO_CONSOLE_F_SIZE) ||
	    virtio_config_read(tty->dev, offsetof(struct virtio_console_config, cols), size,
			       sizeof(size)))
		return;
	__atomic_store_n(&tty->size, (uint32_t)le16toh(size[0]) << 16 | le16toh(size[1]),
			 __ATOMIC_RELAXED);
	eventfd_write(tty->wake, 1);
}

static void console_config_changed(struct virtio_device *dev)
{
	struct tty *tty = dev->priv;

	if (vdpa_get_status(dev->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)
		tty_fail(tty, "the device needs a reset");
	read_size(tty);
}

/* ---- start */

static int size_queues(struct tty *tty, struct virtio_queue_setup *queues, uint16_t num,
		       struct vdpa_extack *ack)
{
	for (uint16_t i = 0; i < num; i++) {
		struct tty_queue *q = &tty->queues[i];
		int err;

		queues[i] = (struct virtio_queue_setup){.idx = i, .num = TTY_BUFS};
		err = virtio_queue_size(tty->dev, i, &queues[i].num, ack);
		if (err)
			return err;
		q->num = queues[i].num < TTY_BUFS ? queues[i].num : TTY_BUFS;
		q->bytes = i < TTY_CTRL_RX ? TTY_BUF_BYTES : TTY_MSG_BYTES;
	}
	return 0;
}

/* The device goes live. */
static int set_up(struct tty *tty, struct vdpa_extack *ack)
{
	struct virtio_queue_setup queues[TTY_QUEUES_MAX];
	struct virtio_setup setup = {.queues = queues, .num_queues = 2};
	int err = virtio_negotiate(tty->dev, virtio_console_driver.features, ack);

	if (err)
		return err;
	if (tty_has(tty, VIRTIO_CONSOLE_F_MULTIPORT))
		setup.num_queues = TTY_QUEUES_MAX;
	if (tty->dev->vdev->nvqs < setup.num_queues)
		return vdpa_extack_set(ack, -EPROTO,
				       "a console has %u queues at least, and this one %u",
				       setup.num_queues, tty->dev->vdev->nvqs);
	err = size_queues(tty, queues, setup.num_queues, ack);
	if (err)
		return err;
	setup.buffer_bytes = tty_buffer_bytes(tty);
	err = virtio_setup(tty->dev, &setup, ack);
	for (uint16_t i = 0; i < setup.num_queues && !err; i++)
		tty->queues[i].vq = &tty->dev->queues[i];
	return err;
}

static int open_terminal(struct tty *tty, struct vdpa_extack *ack)
{
	int err = vdpa_device_path(tty->dev->vdev, "tty", tty->path, sizeof(tty->path));

	if (err)
		return vdpa_extack_set(ack, err,
				       "no place for the terminal: a run directory is needed");
	return pty_dev_open(&tty->pty, tty->path, ack);
}

static void tty_free(struct tty *tty)
{
	tty_stop(tty);
	virtio_teardown(tty->dev);
	tty->dev->priv = NULL;
	free(tty);
}

static int console_probe(struct virtio_device *dev, struct vdpa_attrs *attrs,
			 struct vdpa_extack *ack)
{
	struct tty *tty = calloc(1, sizeof(*tty));
	int err;

	if (!tty)
		return -ENOMEM;
	tty->dev = dev;
	tty->epoll = tty->wake = tty->idle = -1;
	tty->pty = PTY_DEV_NONE;
	dev->priv = tty;
	err = open_terminal(tty, ack);
	if (!err)
		err = set_up(tty, ack);
	if (!err) {
		err = tty_start(tty);
		if (err)
			vdpa_extack_set(ack, err, "cannot start a thread for the terminal");
	}
	if (err)
		tty_free(tty);
	return err;
}

static int console_remove(struct virtio_device *dev, bool force, struct vdpa_extack *ack)
{
	struct tty *tty = dev->priv;

	if (!force && !tty_drain(tty))
		return vdpa_extack_set(ack, -EBUSY,
				       "the device does not take what was typed: wait, or use "
				       "force and lose it");
	tty_free(tty);
	return 0;
}

static void console_show(struct virtio_device *dev, struct vdpa_info *info)
{
	struct tty *tty = dev->priv;

	vdpa_info_str(info, "tty", tty->path);
	vdpa_info_bool(info, "open", __atomic_load_n(&tty->open, __ATOMIC_RELAXED));
}

static const char *const console_attrs[] = {NULL};

const struct virtio_driver virtio_console_driver = {
	.name = "virtio_console",
	.device_id = VIRTIO_ID_CONSOLE,
	.features = BIT_ULL(VIRTIO_CONSOLE_F_SIZE) | BIT_ULL(VIRTIO_CONSOLE_F_MULTIPORT),
	.attrs = console_attrs,
	.probe = console_probe,
	.remove = console_remove,
	.config_changed = console_config_changed,
	.show = console_show,
};
