/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/defs.h"
#include "fake_vdev.h"

/* ---- gate */

void fake_gate_init(struct fake_gate *gate)
{
	gate->entered = eventfd(0, EFD_CLOEXEC);
	gate->open = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
	if (gate->entered < 0 || gate->open < 0)
		abort();
}

void fake_gate_release(struct fake_gate *gate)
{
	close(gate->entered);
	close(gate->open);
}

static void bump(int fd)
{
	uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		abort();
}

static void wait_for(int fd)
{
	uint64_t num;

	if (read(fd, &num, sizeof(num)) != sizeof(num))
		abort();
}

void fake_gate_pass(struct fake_gate *gate)
{
	bump(gate->entered);
	wait_for(gate->open);
}

void fake_gate_wait_entered(struct fake_gate *gate)
{
	wait_for(gate->entered);
}

void fake_gate_open(struct fake_gate *gate)
{
	bump(gate->open);
}

/* ---- world */

void fake_world_init(struct fake_world *world)
{
	memset(world, 0, sizeof(*world));
	pthread_mutex_init(&world->lock, NULL);
	fake_gate_init(&world->gate);
	world->made_freed = eventfd(0, EFD_CLOEXEC);
	if (world->made_freed < 0)
		abort();
}

void fake_world_release(struct fake_world *world)
{
	fake_gate_release(&world->gate);
	close(world->made_freed);
	pthread_mutex_destroy(&world->lock);
}

void fake_world_wait_made_freed(struct fake_world *world)
{
	wait_for(world->made_freed);
}

int fake_did(struct fake_world *world, const char *what)
{
	const char *fail, *hang;
	size_t len;

	pthread_mutex_lock(&world->lock);
	len = strlen(world->log);
	snprintf(world->log + len, sizeof(world->log) - len, "%s ", what);
	pthread_mutex_unlock(&world->lock);
	hang = atomic_load(&world->hang);
	if (hang && !strcmp(hang, what)) {
		atomic_store(&world->hang, NULL);
		fake_gate_pass(&world->gate);
	}
	fail = atomic_load(&world->fail);
	return fail && !strcmp(fail, what) ? atomic_load(&world->fail_err) : 0;
}

bool fake_saw(struct fake_world *world, const char *const *words, size_t num)
{
	const char *at = world->log;
	char word[64];
	bool seen = true;

	pthread_mutex_lock(&world->lock);
	for (size_t i = 0; i < num && seen; i++) {
		snprintf(word, sizeof(word), "%s ", words[i]);
		while (at && strncmp(at, word, strlen(word)) != 0) {
			at = strchr(at, ' ');
			at = at && at[1] ? at + 1 : NULL;
		}
		seen = at;
		at = at ? at + strlen(word) : NULL;
	}
	pthread_mutex_unlock(&world->lock);
	return seen;
}

void fake_forget(struct fake_world *world)
{
	pthread_mutex_lock(&world->lock);
	world->log[0] = '\0';
	pthread_mutex_unlock(&world->lock);
}

/* ---- device */

static int did(struct vdpa_device *vdev, const char *what)
{
	return fake_did(fake_of(vdev)->world, what);
}

static int op_set_vq_address(struct vdpa_device *vdev, uint16_t idx, uint64_t desc, uint64_t driver,
			     uint64_t device)
{
	struct fake_vq *vq = &fake_of(vdev)->vqs[idx];

	vq->desc = desc;
	vq->driver = driver;
	vq->device = device;
	return did(vdev, "set_vq_address");
}

static int op_set_vq_num(struct vdpa_device *vdev, uint16_t idx, uint32_t num)
{
	fake_of(vdev)->vqs[idx].num = num;
	return did(vdev, "set_vq_num");
}

static int op_kick_vq(struct vdpa_device *vdev, uint16_t idx)
{
	return did(vdev, "kick_vq");
}

static int op_set_vq_fd(struct vdpa_device *vdev, uint16_t idx, int *fd)
{
	int err = did(vdev, "set_vq_fd");

	if (!err)
		fd_closep(fd);
	return err;
}

static int op_set_vq_ready(struct vdpa_device *vdev, uint16_t idx, bool ready,
			   struct vdpa_extack *ack)
{
	fake_of(vdev)->vqs[idx].ready = ready;
	return did(vdev, "set_vq_ready");
}

static int op_set_vq_state(struct vdpa_device *vdev, uint16_t idx,
			   const struct vdpa_vq_state *state)
{
	fake_of(vdev)->vqs[idx].state = *state;
	return did(vdev, "set_vq_state");
}

static int op_get_vq_state(struct vdpa_device *vdev, uint16_t idx, struct vdpa_vq_state *state)
{
	*state = fake_of(vdev)->vqs[idx].state;
	return did(vdev, "get_vq_state");
}

static int op_get_vq_stats(struct vdpa_device *vdev, uint16_t idx, struct vdpa_vq_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->requests = 100 + idx;
	return did(vdev, "get_vq_stats");
}

static uint32_t op_get_vq_num_max(struct vdpa_device *vdev)
{
	return 256;
}

static int op_set_vq_affinity(struct vdpa_device *vdev, uint16_t idx, struct vdpa_worker *worker)
{
	int err = did(vdev, "set_vq_affinity");

	if (!err)
		fake_of(vdev)->vqs[idx].worker = worker;
	return err;
}

static struct vdpa_worker *op_get_vq_affinity(struct vdpa_device *vdev, uint16_t idx)
{
	return fake_of(vdev)->vqs[idx].worker;
}

static uint64_t op_get_device_features(struct vdpa_device *vdev)
{
	return fake_of(vdev)->features;
}

static int op_set_driver_features(struct vdpa_device *vdev, uint64_t features,
				  struct vdpa_extack *ack)
{
	fake_of(vdev)->acked = features;
	return did(vdev, "set_driver_features");
}

static void op_set_config_cb(struct vdpa_device *vdev, const struct vdpa_config_cb *cb)
{
	struct fake_vdev *fake = fake_of(vdev);

	pthread_mutex_lock(&fake->cb_lock);
	fake->cb = cb ? *cb : (struct vdpa_config_cb){0};
	pthread_mutex_unlock(&fake->cb_lock);
}

static uint32_t op_get_device_id(struct vdpa_device *vdev)
{
	return 2;
}

static uint32_t op_get_vendor_id(struct vdpa_device *vdev)
{
	return 0xfa4e;
}

static uint8_t op_get_status(struct vdpa_device *vdev)
{
	return fake_of(vdev)->status;
}

static int op_set_status(struct vdpa_device *vdev, uint8_t status, struct vdpa_extack *ack)
{
	int err = did(vdev, "set_status");

	if (!err)
		fake_of(vdev)->status = status;
	return err;
}

static void op_reset(struct vdpa_device *vdev)
{
	struct fake_vdev *fake = fake_of(vdev);

	did(vdev, "reset");
	fake->status = 0;
	fake->acked = 0;
	fake->learned = 0;
	memset(fake->config + FAKE_CONFIG_SIZE - FAKE_CONFIG_RW, 0, FAKE_CONFIG_RW);
	for (int i = 0; i < FAKE_NVQS; i++) {
		struct vdpa_worker *worker = fake->vqs[i].worker;

		fake->vqs[i] = (struct fake_vq){.worker = worker};
	}
}

static size_t op_get_config_size(struct vdpa_device *vdev)
{
	return FAKE_CONFIG_SIZE;
}

static int op_get_config(struct vdpa_device *vdev, uint32_t off, void *buf, uint32_t len)
{
	memcpy(buf, fake_of(vdev)->config + off, len);
	return did(vdev, "get_config");
}

static int op_set_config(struct vdpa_device *vdev, uint32_t off, const void *buf, uint32_t len,
			 struct vdpa_extack *ack)
{
	if (off < FAKE_CONFIG_SIZE - FAKE_CONFIG_RW)
		return vdpa_extack_set(ack, -EPERM, "byte %u is read-only", off);
	memcpy(fake_of(vdev)->config + off, buf, len);
	return did(vdev, "set_config");
}

static uint32_t op_get_generation(struct vdpa_device *vdev)
{
	return fake_of(vdev)->generation;
}

static int op_set_map(struct vdpa_device *vdev, uint32_t asid, struct vdpa_iotlb *iotlb,
		      struct vdpa_extack *ack)
{
	struct fake_vdev *fake = fake_of(vdev);

	vdpa_iotlb_get(iotlb);
	vdpa_iotlb_put(fake->map);
	fake->map = iotlb;
	return did(vdev, "set_map");
}

static int op_set_attrs(struct vdpa_device *vdev, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	int err = did(vdev, "set_attrs");

	if (!err)
		fake_of(vdev)->size = vdpa_attrs_u64(attrs, "size", 0);
	return err;
}

static void op_show(struct vdpa_device *vdev, struct vdpa_info *info)
{
	vdpa_info_str(info, "backend", "fake");
}

static const char *op_why_not(struct vdpa_device *vdev, unsigned int bit)
{
	return bit == 13 ? "the file cannot punch holes" : NULL;
}

static int op_save(struct vdpa_device *vdev, struct vdpa_state_blob *blob, struct vdpa_extack *ack)
{
	int err = did(vdev, "save");

	return err ? err : vdpa_state_put_u64(blob, 7, fake_of(vdev)->learned);
}

static int op_load(struct vdpa_device *vdev, const struct vdpa_state_blob *blob,
		   struct vdpa_extack *ack)
{
	int err = did(vdev, "load");

	return err ? err : vdpa_state_u64(blob, 7, &fake_of(vdev)->learned);
}

static uint64_t op_get_class_cmds(struct vdpa_device *vdev)
{
	return FAKE_CMDS;
}

/* What has an answer is answered by the complement of its first byte. */
static int op_class_cmd(struct vdpa_device *vdev, uint32_t cmd, const void *in, uint32_t in_len,
			void *out, uint32_t *out_len, struct vdpa_extack *ack)
{
	struct fake_vdev *fake = fake_of(vdev);
	int err = did(vdev, "class_cmd");

	if (err)
		return err;
	fake->cmd_len = in_len < sizeof(fake->cmd) ? in_len : sizeof(fake->cmd);
	memcpy(fake->cmd, in, fake->cmd_len);
	if (*out_len)
		*(uint8_t *)out = (uint8_t)~fake->cmd[0];
	*out_len = *out_len ? 1 : 0;
	return 0;
}

static void op_free(struct vdpa_device *vdev)
{
	struct fake_vdev *fake = fake_of(vdev);

	did(vdev, "free");
	if (atomic_load(&fake->world->tell_at_end))
		vdpa_device_event(vdev, VDPA_EVENT_BROKEN, "too late");
	vdpa_iotlb_put(fake->map);
	atomic_fetch_sub(&fake->world->devices, 1);
	pthread_mutex_destroy(&fake->cb_lock);
	free(fake);
}

const struct vdpa_config_ops fake_ops = {
	.size = sizeof(struct vdpa_config_ops),
	.set_vq_address = op_set_vq_address,
	.set_vq_num = op_set_vq_num,
	.kick_vq = op_kick_vq,
	.set_vq_kick = op_set_vq_fd,
	.set_vq_call = op_set_vq_fd,
	.set_vq_ready = op_set_vq_ready,
	.set_vq_state = op_set_vq_state,
	.get_vq_state = op_get_vq_state,
	.get_vq_stats = op_get_vq_stats,
	.get_vq_num_max = op_get_vq_num_max,
	.set_vq_affinity = op_set_vq_affinity,
	.get_vq_affinity = op_get_vq_affinity,
	.get_device_features = op_get_device_features,
	.set_driver_features = op_set_driver_features,
	.set_config_cb = op_set_config_cb,
	.get_device_id = op_get_device_id,
	.get_vendor_id = op_get_vendor_id,
	.get_status = op_get_status,
	.set_status = op_set_status,
	.reset = op_reset,
	.get_config_size = op_get_config_size,
	.get_config = op_get_config,
	.set_config = op_set_config,
	.get_generation = op_get_generation,
	.set_map = op_set_map,
	.set_attrs = op_set_attrs,
	.show = op_show,
	.why_not = op_why_not,
	.save = op_save,
	.load = op_load,
	.free = op_free,
	.get_class_cmds = op_get_class_cmds,
	.class_cmd = op_class_cmd,
};

static const struct vdpa_attr_desc dev_attrs[] = {
	{"size", VDPA_ATTR_SIZE, VDPA_ATTR_LIVE, 0, 0, NULL, "bytes"},
	{"file", VDPA_ATTR_PATH, 0, 0, 0, NULL, "a file"},
	{0},
};

struct fake_vdev *fake_vdev_alloc(struct fake_world *world, const char *name)
{
	struct fake_vdev *fake = calloc(1, sizeof(*fake));

	if (!fake)
		return NULL;
	fake->world = world;
	fake->vdev.ops = &fake_ops;
	fake->vdev.nvqs = FAKE_NVQS;
	fake->vdev.attrs = dev_attrs;
	snprintf(fake->vdev.name, sizeof(fake->vdev.name), "%s", name);
	fake->features = FAKE_FEATURES;
	fake->config[0] = 8; /* capacity: 8 sectors */
	pthread_mutex_init(&fake->cb_lock, NULL);
	atomic_fetch_add(&world->devices, 1);
	world->last = &fake->vdev;
	return fake;
}

void fake_vdev_change(struct fake_vdev *fake, uint8_t status_bits)
{
	if (status_bits)
		fake->status |= status_bits;
	else
		fake->generation++;
	pthread_mutex_lock(&fake->cb_lock);
	if (fake->cb.changed)
		fake->cb.changed(fake->cb.arg);
	pthread_mutex_unlock(&fake->cb_lock);
}

/* ---- management device */

static const uint32_t mgmt_ids[] = {2, 0};

static int mgmt_dev_add(struct vdpa_mgmtdev *mdev, const char *name, struct vdpa_attrs *attrs,
			struct vdpa_device **ret, struct vdpa_extack *ack)
{
	struct fake_mgmtdev *mgmt = (struct fake_mgmtdev *)(void *)mdev;
	struct fake_vdev *fake;
	int err = fake_did(mgmt->world, "dev_add");

	if (err)
		return vdpa_extack_set(ack, err, "no more fakes");
	fake = fake_vdev_alloc(mgmt->world, name);
	if (!fake)
		return -ENOMEM;
	fake->size = vdpa_attrs_u64(attrs, "size", 0);
	*ret = &fake->vdev;
	return 0;
}

static void mgmt_free(struct vdpa_mgmtdev *mdev)
{
	bump(((struct fake_mgmtdev *)(void *)mdev)->freed);
}

void fake_mgmtdev_init(struct fake_mgmtdev *fake, struct fake_world *world)
{
	static const struct vdpa_mgmtdev_ops ops = {
		.size = sizeof(ops), .dev_add = mgmt_dev_add, .free = mgmt_free};

	*fake = (struct fake_mgmtdev){
		.mdev = {.ops = &ops,
			 .name = "fake",
			 .ids = mgmt_ids,
			 .attrs = dev_attrs,
			 .max_vqs = FAKE_NVQS,
			 .features = FAKE_FEATURES,
			 .help = "devices for tests"},
		.world = world,
		.freed = eventfd(0, EFD_CLOEXEC),
	};
	if (fake->freed < 0)
		abort();
}

void fake_mgmtdev_wait_freed(struct fake_mgmtdev *fake)
{
	wait_for(fake->freed);
}

void fake_mgmtdev_release(struct fake_mgmtdev *fake)
{
	close(fake->freed);
}

/* ---- type of management devices */

struct fake_world *fake_type_world;

static const struct vdpa_attr_desc type_attrs[] = {
	{"ports", VDPA_ATTR_UINT, VDPA_ATTR_LIVE, 1, 16, NULL, "how many (4)"},
	{"file", VDPA_ATTR_PATH, 0, 0, 0, NULL, "a file"},
	{0},
};

struct made_mgmtdev {
	struct fake_mgmtdev fake; /* first */
	atomic_uint ports;
};

static void made_free(struct vdpa_mgmtdev *mdev)
{
	struct made_mgmtdev *made = (struct made_mgmtdev *)(void *)mdev;
	struct fake_world *world = made->fake.world;

	fake_did(world, "type.free");
	free(made);
	atomic_fetch_sub(&world->made, 1);
	bump(world->made_freed);
}

static void made_show(struct vdpa_mgmtdev *mdev, struct vdpa_info *info)
{
	vdpa_info_u64(info, "ports", ((struct made_mgmtdev *)(void *)mdev)->ports);
}

static int made_set_attrs(struct vdpa_mgmtdev *mdev, struct vdpa_attrs *attrs,
			  struct vdpa_extack *ack)
{
	struct made_mgmtdev *made = (struct made_mgmtdev *)(void *)mdev;
	int err = fake_did(made->fake.world, "type.set");

	if (err)
		return vdpa_extack_set(ack, err, "the ports are welded on");
	made->ports = (unsigned int)vdpa_attrs_u64(attrs, "ports", 0);
	return 0;
}

static int type_add(struct vdpa_bus *bus, const char *name, struct vdpa_attrs *attrs,
		    struct vdpa_mgmtdev **ret, struct vdpa_extack *ack)
{
	static const struct vdpa_mgmtdev_ops ops = {
		.size = sizeof(ops),
		.dev_add = mgmt_dev_add,
		.free = made_free,
		.show = made_show,
		.set_attrs = made_set_attrs,
	};
	struct made_mgmtdev *made;
	int err = fake_did(fake_type_world, "type.add");

	if (err)
		return vdpa_extack_set(ack, err, "no register answers");
	made = calloc(1, sizeof(*made));
	if (!made)
		return -ENOMEM;
	made->fake = (struct fake_mgmtdev){
		.mdev = {.ops = &ops, .ids = mgmt_ids, .attrs = dev_attrs, .max_vqs = FAKE_NVQS},
		.world = fake_type_world,
	};
	made->ports = (unsigned int)vdpa_attrs_u64(attrs, "ports", 4);
	atomic_fetch_add(&fake_type_world->made, 1);
	*ret = &made->fake.mdev;
	return 0;
}

const struct vdpa_mgmtdev_type fake_mgmtdev_type = {
	.size = sizeof(fake_mgmtdev_type),
	.name = "fakes",
	.help = "management devices for tests",
	.attrs = type_attrs,
	.add = type_add,
};

/* ---- driver: two of them, so that a device can go from one to the other */

static int drv_in_use(struct vdpa_device *vdev, struct vdpa_extack *ack)
{
	if (!atomic_load(&fake_of(vdev)->world->in_use))
		return 0;
	return vdpa_extack_set(ack, -EBUSY, "the guest 'vm7' has mounted it");
}

static int drv_remove(struct vdpa_device *vdev, const char *what, bool force,
		      struct vdpa_extack *ack)
{
	if (atomic_load(&fake_of(vdev)->world->refuse_remove) && !force)
		return vdpa_extack_set(ack, -EBUSY, "the file is open");
	return did(vdev, what);
}

static void drv_show(struct vdpa_device *vdev, struct vdpa_info *info)
{
	vdpa_info_str(info, "data", vdpa_device_drvdata(vdev));
}

static uint64_t drv_masked(const struct vdpa_device *vdev)
{
	return 1ULL << 28;
}

static const char *drv_why_masked(const struct vdpa_device *vdev, unsigned int bit)
{
	return "its clients cannot do it";
}

static int drv_set_attrs(struct vdpa_device *vdev, struct vdpa_attrs *attrs,
			 struct vdpa_extack *ack)
{
	return did(vdev, "drv.set_attrs");
}

static int one_match(struct vdpa_device *vdev, struct vdpa_extack *ack)
{
	return did(vdev, "one.match");
}

static int one_probe(struct vdpa_device *vdev, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	vdpa_device_set_drvdata(vdev, (void *)"data of one");
	return did(vdev, "one.probe");
}

static int one_remove(struct vdpa_device *vdev, bool force, struct vdpa_extack *ack)
{
	return drv_remove(vdev, "one.remove", force, ack);
}

static int two_probe(struct vdpa_device *vdev, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	vdpa_device_set_drvdata(vdev, (void *)"data of two");
	return did(vdev, "two.probe");
}

static int two_remove(struct vdpa_device *vdev, bool force, struct vdpa_extack *ack)
{
	return drv_remove(vdev, "two.remove", force, ack);
}

static const struct vdpa_attr_desc drv_attrs[] = {
	{"mode", VDPA_ATTR_OCTAL, 0, 0, 0, NULL, "file mode"},
	{"colour", VDPA_ATTR_STRING, VDPA_ATTR_LIVE, 0, 0, NULL, "any"},
	{0},
};

const struct vdpa_driver fake_driver_one = {
	.size = sizeof(struct vdpa_driver),
	.name = "one",
	.attrs = drv_attrs,
	.match = one_match,
	.probe = one_probe,
	.remove = one_remove,
	.set_attrs = drv_set_attrs,
	.show = drv_show,
	.masked = drv_masked,
	.why_masked = drv_why_masked,
	.in_use = drv_in_use,
};

const struct vdpa_driver fake_driver_two = {
	.size = sizeof(struct vdpa_driver),
	.name = "two",
	.probe = two_probe,
	.remove = two_remove,
};

/* ---- info */

static void put(struct vdpa_info *info, const char *key, const char *value)
{
	struct fake_info *fake = (struct fake_info *)(void *)info;
	size_t len = strlen(fake->text);

	snprintf(fake->text + len, sizeof(fake->text) - len, "%s%s%s ", key ? key : "",
		 key && value ? "=" : "", value ? value : "");
}

static void put_str(struct vdpa_info *info, const char *key, const char *value)
{
	put(info, key, value);
}

static void put_u64(struct vdpa_info *info, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	put(info, key, text);
}

static void put_bool(struct vdpa_info *info, const char *key, bool value)
{
	put(info, key, value ? "on" : "off");
}

static void put_open(struct vdpa_info *info, const char *key, bool list)
{
	if (key)
		put(info, key, NULL);
	put(info, list ? "[" : "{", NULL);
}

static void put_close(struct vdpa_info *info)
{
	put(info, "}", NULL);
}

void fake_info_init(struct fake_info *info)
{
	static const struct vdpa_info_ops ops = {put_str, put_u64, put_bool, put_open, put_close};

	info->info.ops = &ops;
	info->text[0] = '\0';
}

bool fake_info_has(const struct fake_info *info, const char *text)
{
	return strstr(info->text, text);
}
