/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the protocol has for one kind of device: messages that stand for commands of its control
 * queue, and how its queues are counted.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>

#include "base/defs.h"
#include "drivers/vhost_user/session.h"

/* Protocol features that need a command of the device. */
static const struct {
	unsigned int bit;
	enum vdpa_class_cmd cmd;
} commands[] = {
	{VU_PROTOCOL_F_RARP, VDPA_CMD_NET_RARP},
	{VU_PROTOCOL_F_MTU, VDPA_CMD_NET_MTU},
};

uint64_t vhu_class_masked(const struct vhu_session *s)
{
	uint64_t known = vdpa_get_class_cmds(s->vdev), masked = 0;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (!(known & BIT_ULL(commands[i].cmd)))
			masked |= BIT_ULL(commands[i].bit);
	if (!(vhu_offer(s) & BIT_ULL(VIRTIO_NET_F_MTU)))
		masked |= BIT_ULL(VU_PROTOCOL_F_MTU);
	return masked;
}

/*
 * Front-ends ask how many queues they may have, and for a network device they mean pairs: QEMU
 * compares the answer with the `queues` of its netdev, and sets up twice as many rings; DPDK's
 * back-end library answers so, too.  (DPDK's front-end does not ask.)  A control queue belongs to
 * no pair.
 */
int vhu_get_queue_num(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		      struct vdpa_extack *ack)
{
	bool pairs = vdpa_get_device_id(s->vdev) == VIRTIO_ID_NET;

	reply->payload.u64 = pairs ? s->num_rings / 2 : s->num_rings;
	reply->size = sizeof(reply->payload.u64);
	return 0;
}

/* A command without an answer.  What the device thinks of it ends no session. */
static int run(struct vhu_session *s, enum vdpa_class_cmd cmd, const void *in, uint32_t len)
{
	const struct vu_msg_desc *desc = vu_msg_desc(VU_TO_BACKEND, s->msg.hdr.request);
	struct vdpa_extack why = {0};
	uint32_t none = 0;
	int err;

	err = vdpa_class_cmd(s->vdev, cmd, in, len, NULL, &none, &why);
	if (!err)
		return 0;
	vhu_session_log(s, VDPA_LOG_WARN, "refused %s: %s", desc->name,
			vdpa_extack_text(&why, err));
	return -ECANCELED;
}

int vhu_send_rarp(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		  struct vdpa_extack *ack)
{
	/* The first bytes of the number as they lie in memory; two are padding. */
	return run(s, VDPA_CMD_NET_RARP, &msg->payload.u64, 6);
}

int vhu_net_set_mtu(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		    struct vdpa_extack *ack)
{
	uint16_t mtu = htole16((uint16_t)msg->payload.u64);

	if (msg->payload.u64 > UINT16_MAX)
		return vdpa_extack_set(ack, -EPROTO, "%llu, an MTU has 16 bits",
				       (unsigned long long)msg->payload.u64);
	return run(s, VDPA_CMD_NET_MTU, &mtu, sizeof(mtu));
}
