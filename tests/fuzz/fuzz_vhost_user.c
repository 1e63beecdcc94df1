/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a front-end sends to the vhost-user driver.  The input is a row of messages: header, number
 * and kind of the descriptors that come along (one byte), payload; behind a message that begins to
 * load the device's state one byte with a length, and so much of a state.  The device checks that
 * the driver keeps the rules of the config ops, and reads the ring areas that it is given.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "base/defs.h"
#include "drivers/vhost_user/session.h"
#include "vdpa/state.h"

#define QUEUES   4
#define NUM_MAX  64
#define CONFIG   24
#define MEM_SIZE (1u << 20)
#define FEATURES (1ull << 32 | 1ull << 34 | 1ull << 29 | 1ull << 28 | 1ull << 33 | 1ull << 3)

static void expect(bool ok)
{
	if (!ok)
		abort();
}

/* ---- the device */

struct fake_vq {
	uint32_t num;
	uint64_t areas[3];
	struct vdpa_vq_state state;
	bool ready;
};

static struct fake {
	struct vdpa_device vdev;
	struct fake_vq vqs[QUEUES];
	uint64_t features;
	uint8_t status;
	uint8_t config[CONFIG];
	struct vdpa_iotlb *map;
	struct vdpa_dirty_log *log;
	struct vdpa_inflight_region inflight;
	uint64_t learned; /* the class's state */
} fake;

static int set_address(struct vdpa_device *vdev, uint16_t idx, uint64_t desc, uint64_t driver,
		       uint64_t device)
{
	expect(!fake.vqs[idx].ready);
	fake.vqs[idx].areas[0] = desc;
	fake.vqs[idx].areas[1] = driver;
	fake.vqs[idx].areas[2] = device;
	return 0;
}

static int set_num(struct vdpa_device *vdev, uint16_t idx, uint32_t num)
{
	expect(!fake.vqs[idx].ready && num && num <= NUM_MAX);
	fake.vqs[idx].num = num;
	return 0;
}

static int set_fd(struct vdpa_device *vdev, uint16_t idx, int *fd)
{
	fd_closep(fd);
	return 0;
}

static volatile uint8_t sink;

/* As a device would: the areas must be mapped, and are read. */
static int set_ready(struct vdpa_device *vdev, uint16_t idx, bool ready, struct vdpa_extack *ack)
{
	struct fake_vq *vq = &fake.vqs[idx];
	bool packed = fake.features & BIT_ULL(VIRTIO_F_RING_PACKED);
	const uint64_t len[] = {16ull * vq->num, packed ? 4 : 6 + 2ull * vq->num,
				packed ? 4 : 6 + 8ull * vq->num};

	expect(ready != vq->ready);
	if (ready) {
		expect(fake.status & VIRTIO_CONFIG_S_DRIVER_OK && vq->num && fake.map);
		expect(vq->state.packed == packed);
	}
	for (int i = 0; ready && i < 3; i++) {
		const uint8_t *p =
			vdpa_iotlb_translate(fake.map, vq->areas[i], len[i], VDPA_PERM_RW);

		if (!p)
			return vdpa_extack_set(ack, -EFAULT, "area %d is not mapped", i);
		sink = p[0] ^ p[len[i] - 1];
	}
	vq->ready = ready;
	return 0;
}

static int set_state(struct vdpa_device *vdev, uint16_t idx, const struct vdpa_vq_state *state)
{
	expect(!fake.vqs[idx].ready);
	fake.vqs[idx].state = *state;
	return 0;
}

static int get_state(struct vdpa_device *vdev, uint16_t idx, struct vdpa_vq_state *state)
{
	expect(!fake.vqs[idx].ready);
	*state = fake.vqs[idx].state;
	return 0;
}

static uint32_t num_max(struct vdpa_device *vdev)
{
	return NUM_MAX;
}

static uint64_t device_features(struct vdpa_device *vdev)
{
	return FEATURES;
}

static int set_features(struct vdpa_device *vdev, uint64_t features, struct vdpa_extack *ack)
{
	expect(!(features & (VHU_MASKED_FEATURES | ~FEATURES)));
	fake.features = features;
	return 0;
}

static uint64_t driver_features(struct vdpa_device *vdev)
{
	return fake.features;
}

static void set_config_cb(struct vdpa_device *vdev, const struct vdpa_config_cb *cb)
{
}

static uint32_t device_id(struct vdpa_device *vdev)
{
	return 1;
}

static uint8_t get_status(struct vdpa_device *vdev)
{
	return fake.status;
}

static int set_status(struct vdpa_device *vdev, uint8_t status, struct vdpa_extack *ack)
{
	fake.status = status;
	return 0;
}

static void reset(struct vdpa_device *vdev)
{
	for (int i = 0; i < QUEUES; i++)
		fake.vqs[i].ready = false;
	fake.status = 0;
}

static size_t config_size(struct vdpa_device *vdev)
{
	return CONFIG;
}

static int get_config(struct vdpa_device *vdev, uint32_t off, void *buf, uint32_t len)
{
	expect(range_fits(off, len, CONFIG));
	memcpy(buf, fake.config + off, len);
	return 0;
}

static int set_config(struct vdpa_device *vdev, uint32_t off, const void *buf, uint32_t len,
		      struct vdpa_extack *ack)
{
	expect(range_fits(off, len, CONFIG));
	if (off + len > 8)
		return -EPERM;
	memcpy(fake.config + off, buf, len);
	return 0;
}

static uint32_t generation(struct vdpa_device *vdev)
{
	return 0;
}

static int set_map(struct vdpa_device *vdev, uint32_t asid, struct vdpa_iotlb *iotlb,
		   struct vdpa_extack *ack)
{
	if (fake.map)
		vdpa_iotlb_put(fake.map);
	fake.map = vdpa_iotlb_get(iotlb);
	return 0;
}

static int set_inflight(struct vdpa_device *vdev, const struct vdpa_inflight_region *region,
			struct vdpa_extack *ack)
{
	const uint8_t *p;

	if (region->mem) {
		expect(!(fake.status & VIRTIO_CONFIG_S_DRIVER_OK));
		p = vdpa_mem_hva(region->mem);
		sink = p[0] ^ p[vdpa_mem_len(region->mem) - 1];
	}
	return 0;
}

static int set_dirty_log(struct vdpa_device *vdev, struct vdpa_dirty_log *log)
{
	if (log)
		vdpa_dirty_log_mark(log, 0, MEM_SIZE);
	return 0;
}

static int set_vq_log(struct vdpa_device *vdev, uint16_t idx, bool on, uint64_t log_addr)
{
	return 0;
}

static int save(struct vdpa_device *vdev, struct vdpa_state_blob *blob, struct vdpa_extack *ack)
{
	return vdpa_state_put_u64(blob, 1, fake.learned);
}

/* Only between runs. */
static int load(struct vdpa_device *vdev, const struct vdpa_state_blob *blob,
		struct vdpa_extack *ack)
{
	for (int i = 0; i < QUEUES; i++)
		expect(!fake.vqs[i].ready);
	return vdpa_state_u64(blob, 1, &fake.learned);
}

static uint64_t class_cmds(struct vdpa_device *vdev)
{
	return BIT_ULL(VDPA_CMD_NET_RARP) | BIT_ULL(VDPA_CMD_NET_MTU);
}

static int class_cmd(struct vdpa_device *vdev, uint32_t cmd, const void *in, uint32_t in_len,
		     void *out, uint32_t *out_len, struct vdpa_extack *ack)
{
	const uint8_t *p = in;

	expect(class_cmds(vdev) & BIT_ULL(cmd));
	expect(in_len == (cmd == VDPA_CMD_NET_RARP ? 6 : 2) && !*out_len);
	return p[0] & 1 ? -EINVAL : 0;
}

static void free_device(struct vdpa_device *vdev)
{
}

static const struct vdpa_config_ops ops = {
	.size = sizeof(ops),
	.set_vq_address = set_address,
	.set_vq_num = set_num,
	.set_vq_kick = set_fd,
	.set_vq_call = set_fd,
	.set_vq_err = set_fd,
	.set_vq_ready = set_ready,
	.set_vq_state = set_state,
	.get_vq_state = get_state,
	.get_vq_num_max = num_max,
	.get_device_features = device_features,
	.set_driver_features = set_features,
	.get_driver_features = driver_features,
	.set_config_cb = set_config_cb,
	.get_device_id = device_id,
	.get_vendor_id = device_id,
	.get_status = get_status,
	.set_status = set_status,
	.reset = reset,
	.get_config_size = config_size,
	.get_config = get_config,
	.set_config = set_config,
	.get_generation = generation,
	.set_map = set_map,
	.set_inflight = set_inflight,
	.set_dirty_log = set_dirty_log,
	.set_vq_log = set_vq_log,
	.save = save,
	.load = load,
	.free = free_device,
	.get_class_cmds = class_cmds,
	.class_cmd = class_cmd,
};

/* ---- the front-end */

static struct vhu_session session;
static int pair[2], memory, event;

static void set_up(void)
{
	struct vdpa_bus *bus;

	expect(!vdpa_bus_alloc(NULL, &bus, NULL));
	fake.vdev = (struct vdpa_device){.ops = &ops, .name = "fake", .nvqs = QUEUES};
	expect(!vdpa_register_device(bus, &fake.vdev, NULL));
	expect(!vhu_session_init(&session, &fake.vdev));
	expect(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair));
	memory = memfd_create("guest", MFD_CLOEXEC);
	expect(memory >= 0 && !ftruncate(memory, MEM_SIZE));
	event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

/* Answers are read, and the descriptors in them dropped by not asking for them. */
static void read_answers(void)
{
	char buf[8192];

	while (recv(pair[1], buf, sizeof(buf), MSG_DONTWAIT) > 0)
		;
}

static void add_fds(struct vu_msg *msg, uint8_t what)
{
	const int kinds[] = {memory, event, pair[1], 0};

	msg->num_fds = what & 7;
	for (unsigned int i = 0; i < msg->num_fds; i++) {
		msg->fds[i] = dup(kinds[what >> 3 & 3]);
		expect(msg->fds[i] >= 0);
	}
}

/* What the front-end writes when a state is to be loaded. */
static const uint8_t *write_state(const uint8_t *data, size_t *len)
{
	size_t num;

	if (session.msg.hdr.request != VU_SET_DEVICE_STATE_FD || session.transfer.fd < 0 || !*len)
		return data;
	num = *data < *len - 1 ? *data : *len - 1;
	expect(pwrite(session.transfer.fd, data + 1, num, 0) == (ssize_t)num);
	*len -= 1 + num;
	return data + 1 + num;
}

/* One message.  Returns what is left of the input, or NULL when the session must end. */
static const uint8_t *feed(const uint8_t *data, size_t *len)
{
	struct vu_msg *msg = &session.msg;
	struct vdpa_extack ack = {0};
	int err;

	memcpy(&msg->hdr, data, sizeof(msg->hdr));
	data += sizeof(msg->hdr);
	*len -= sizeof(msg->hdr);
	if (vu_check_hdr(VU_TO_BACKEND, false, &msg->hdr, &ack)) {
		expect(ack.msg[0]);
		return NULL;
	}
	if (*len < 1 + (size_t)msg->hdr.size)
		return NULL;
	add_fds(msg, *data);
	memset(&msg->payload, 0xee, sizeof(msg->payload));
	memcpy(&msg->payload, data + 1, msg->hdr.size);
	data += 1 + msg->hdr.size;
	*len -= 1 + msg->hdr.size;
	err = vhu_session_handle(&session, &ack);
	/* Who ends a session says why. */
	expect(!err || ack.msg[0]);
	data = write_state(data, len);
	vu_msg_clear(msg);
	read_answers();
	vhu_session_config_changed(&session);
	return err ? NULL : data;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	if (!fake.vdev.ops)
		set_up();
	vhu_session_begin(&session, pair[0]);
	while (data && len >= sizeof(struct vu_hdr))
		data = feed(data, &len);
	vhu_session_end(&session);
	/* Nothing of it is left. */
	for (int i = 0; i < QUEUES; i++)
		expect(!fake.vqs[i].ready);
	expect(!fake.status && session.transfer.fd < 0);
	if (fake.map) {
		size_t num;

		vdpa_iotlb_ranges(fake.map, &num);
		expect(!num);
	}
	read_answers();
	return 0;
}
