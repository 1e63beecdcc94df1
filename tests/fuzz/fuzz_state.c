/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * State records as they may be found on a disk.  What is accepted is written and read again, and is
 * the same then; its inner row can be searched; and a disk or a SCSI host of the software core
 * takes it or not, but works afterwards.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/defs.h"
#include "vdpa/bus.h"
#include "vdpa/soft.h"
#include "vdpa/state.h"

static void expect(bool ok)
{
	if (!ok)
		abort();
}

static void look(const struct vdpa_state *state)
{
	uint64_t value;
	uint32_t len;

	expect(state->parts && state->parts <= (VDPA_STATE_DEVICE | VDPA_STATE_SESSION));
	expect(!state->config_len || state->config);
	for (uint32_t i = 0; i < state->nvqs; i++)
		expect(state->vqs[i].num <= VDPA_VQ_NUM_MAX);
	for (uint32_t i = 0; i < state->nregions; i++)
		expect(state->regions[i].len &&
		       state->regions[i].iova + (state->regions[i].len - 1) >=
			       state->regions[i].iova);
	for (uint32_t tag = 0; tag < 16; tag++)
		if (!vdpa_state_u64(state->blob, tag, &value))
			expect(vdpa_state_find(state->blob, tag, &len) && len == sizeof(value));
}

static void add(struct vdpa_bus *bus, const char *name, const char *mgmtdev,
		const char *const words[4])
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct vdpa_result res = {0};

	expect(attrs && !vdpa_attrs_add(attrs, words[0], words[1], NULL, NULL) &&
	       !vdpa_attrs_add(attrs, words[2], words[3], NULL, NULL));
	vdpa_dev_add(bus, name, mgmtdev, attrs, vdpa_result_done, &res);
	expect(!vdpa_bus_wait(bus, &res));
}

/* The one that a record is for, else a disk; the same for all inputs. */
static struct vdpa_device *device(uint32_t id, struct vdpa_bus **ret)
{
	static struct vdpa_bus *bus;

	if (!bus) {
		expect(!vdpa_bus_alloc(NULL, &bus, NULL));
		expect(!vdpa_soft_register_builtin(bus, NULL));
		add(bus, "disk0", "blk", (const char *[]){"backend", "null", "size", "1M"});
		add(bus, "dev0", "scsi",
		    (const char *[]){"lun0-backend", "null", "lun0-size", "1M"});
	}
	*ret = bus;
	return vdpa_dev_find(bus, id == VIRTIO_ID_SCSI ? "dev0" : "disk0");
}

struct load {
	const struct vdpa_state *state;
	int done; /* eventfd */
};

static void load_on_lane(struct vdpa_device *vdev, void *arg)
{
	struct load *load = arg;
	struct vdpa_extack ack = {0};
	struct vdpa_state now = {0};

	if (vdpa_device_load(vdev, load->state->parts, load->state, &ack))
		expect(ack.msg[0]);
	expect(!vdpa_device_save(vdev, VDPA_STATE_DEVICE | VDPA_STATE_SESSION, &now, NULL));
	expect(now.nvqs == vdev->nvqs && !now.nregions);
	vdpa_state_clear(&now);
	vdpa_reset(vdev);
	expect(!eventfd_write(load->done, 1));
}

static void load(const struct vdpa_state *state)
{
	struct load load = {.state = state, .done = eventfd(0, EFD_CLOEXEC)};
	struct vdpa_bus *bus;
	struct vdpa_device *vdev = device(state->device_id, &bus);
	eventfd_t num;

	expect(load.done >= 0 && !vdpa_device_run(vdev, load_on_lane, &load));
	/* The fuzzer's own clock interrupts. */
	while (eventfd_read(load.done, &num))
		expect(errno == EINTR);
	close(load.done);
	/* Events that it has caused. */
	while (poll(&(struct pollfd){.fd = vdpa_bus_fd(bus), .events = POLLIN}, 1, 0) > 0)
		expect(!vdpa_bus_dispatch(bus, 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vdpa_extack ack = {0};
	struct vdpa_state state, again;
	void *first, *second;
	size_t first_len, second_len;

	if (vdpa_state_decode(data, len, &state, &ack)) {
		expect(ack.msg[0]);
		return 0;
	}
	look(&state);
	load(&state);
	expect(!vdpa_state_encode(&state, &first, &first_len));
	expect(!vdpa_state_decode(first, first_len, &again, NULL));
	expect(!vdpa_state_encode(&again, &second, &second_len));
	expect(first_len == second_len && !memcmp(first, second, first_len));
	vdpa_state_clear(&state);
	vdpa_state_clear(&again);
	free(first);
	free(second);
	return 0;
}
