/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control queue of virtio-net.  @spec virtio 1.3, 5.1.6.5
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/defs.h"
#include "drivers/virtio/net_if.h"

#define CTRL_WAIT_MS 2000

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* 0, -ETIMEDOUT, -EPROTO.  The deadline holds, however often the device calls. */
static int wait_used(struct virtio_queue *vq)
{
	int64_t until = now_ms() + CTRL_WAIT_MS;
	struct pollfd pfd = {.fd = vq->call, .events = POLLIN};
	eventfd_t count;
	uint32_t len;

	while (!vdpa_drvq_get(vq->ring, &len)) {
		int64_t left = until - now_ms();

		if (vdpa_drvq_broken(vq->ring))
			return -EPROTO;
		if (left <= 0)
			return -ETIMEDOUT;
		if (vdpa_drvq_enable_call(vq->ring))
			continue;
		poll(&pfd, 1, (int)left);
		eventfd_read(vq->call, &count);
	}
	return 0;
}

int net_ctrl_command(struct net_if *net, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
	struct net_ctrl *ctrl = &net->ctrl;
	struct net_ctrl_msg *msg = ctrl->msg;
	struct vdpa_drvq_sg sg[2];
	int err;

	if (!ctrl->vq)
		return -EOPNOTSUPP;
	if (ctrl->stuck)
		return -ETIMEDOUT;
	msg->hdr = (struct virtio_net_ctrl_hdr){.class = class, .cmd = cmd};
	if (len)
		memcpy(msg->data, data, len);
	msg->ack = VIRTIO_NET_ERR;
	sg[0] = (struct vdpa_drvq_sg){virtio_iova(net->dev, msg),
				      (uint32_t)(sizeof(msg->hdr) + len)};
	sg[1] = (struct vdpa_drvq_sg){virtio_iova(net->dev, &msg->ack), sizeof(msg->ack)};
	err = vdpa_drvq_add(ctrl->vq->ring, sg, 1, 1, msg);
	if (err)
		return err;
	virtio_queue_publish(ctrl->vq);
	err = wait_used(ctrl->vq);
	ctrl->stuck = err;
	if (err)
		return err;
	return *(volatile uint8_t *)&msg->ack == VIRTIO_NET_OK ? 0 : -EIO;
}
