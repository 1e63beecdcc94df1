/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A parent, a management device and a driver that do nothing but remember what was done to them,
 * fail where a test tells them, and hang until it lets them go.
 */
#ifndef UNIT_FAKE_VDEV_H
#define UNIT_FAKE_VDEV_H

#include <pthread.h>
#include <stdatomic.h>

#include "vdpa/bus.h"
#include "vdpa/state.h"

#define FAKE_NVQS        3
#define FAKE_CONFIG_SIZE 16
/* Config bytes that a driver may write. */
#define FAKE_CONFIG_RW   8
#define FAKE_CMDS        (1ULL << VDPA_CMD_NET_CTRL | 1ULL << VDPA_CMD_NET_RARP)
#define FAKE_FEATURES    (1ULL << 32 | 1ULL << 34 | 1ULL << 28 | 1ULL << 9 | 1ULL << 11)

/* A place where somebody waits until the test lets him go. */
struct fake_gate {
	int entered; /* eventfd: readable when somebody is inside */
	int open;
};

void fake_gate_init(struct fake_gate *gate);
void fake_gate_release(struct fake_gate *gate);
void fake_gate_pass(struct fake_gate *gate);         /* wait inside */
void fake_gate_wait_entered(struct fake_gate *gate); /* the test: until somebody is inside */
void fake_gate_open(struct fake_gate *gate);         /* the test: one may go */

/* What happened, as words in order, and what shall happen.  Shared by all fakes of a test. */
struct fake_world {
	pthread_mutex_t lock;
	char log[4096];
	atomic_int devices; /* made and not freed */
	atomic_int made;    /* management devices of the type, the same */
	int made_freed;     /* eventfd: readable when one was freed */
	atomic_int fail_err;
	_Atomic(const char *) fail; /* the op of this name fails with fail_err */
	_Atomic(const char *) hang; /* the op of this name passes the gate */
	struct fake_gate gate;
	atomic_bool in_use; /* what the driver says of its client */
	atomic_bool refuse_remove;
	atomic_bool tell_at_end;            /* an event when the device is freed */
	_Atomic(struct vdpa_device *) last; /* made last */
};

void fake_world_init(struct fake_world *world);
void fake_world_release(struct fake_world *world);
void fake_world_wait_made_freed(struct fake_world *world);
/* Note a word; fail or hang if that is wanted of it. */
int fake_did(struct fake_world *world, const char *what);
/* Were these words said, in this order (others in between)? */
bool fake_saw(struct fake_world *world, const char *const *words, size_t num);
void fake_forget(struct fake_world *world);
#define FAKE_SAW(world, ...)                                                                       \
	fake_saw(world, (const char *const[]){__VA_ARGS__},                                        \
		 sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

struct fake_vq {
	uint32_t num;
	uint64_t desc, driver, device;
	struct vdpa_vq_state state;
	bool ready;
	struct vdpa_worker *worker;
};

struct fake_vdev {
	struct vdpa_device vdev;
	struct fake_world *world;
	uint64_t features;
	uint64_t acked;
	_Atomic uint8_t status;
	_Atomic uint32_t generation;
	uint8_t config[FAKE_CONFIG_SIZE];
	uint64_t learned; /* the class's own state: saved and loaded, lost on reset */
	uint64_t size;    /* a live attribute */
	uint8_t cmd[16];  /* what came in with the last command */
	uint32_t cmd_len;
	struct fake_vq vqs[FAKE_NVQS];
	struct vdpa_iotlb *map;
	pthread_mutex_t cb_lock;
	struct vdpa_config_cb cb;
};

static inline struct fake_vdev *fake_of(struct vdpa_device *vdev)
{
	return (struct fake_vdev *)(void *)vdev;
}

extern const struct vdpa_config_ops fake_ops;

/* A device that is not registered; NULL: out of memory. */
struct fake_vdev *fake_vdev_alloc(struct fake_world *world, const char *name);
/* From any thread: the config space or the status is another now, the driver is told. */
void fake_vdev_change(struct fake_vdev *fake, uint8_t status_bits);

/* "fake": makes fake devices of class blk; attributes: size (live), file (a path). */
struct fake_mgmtdev {
	struct vdpa_mgmtdev mdev;
	struct fake_world *world;
	int freed; /* eventfd: readable when it was freed */
};

void fake_mgmtdev_init(struct fake_mgmtdev *fake, struct fake_world *world);
void fake_mgmtdev_wait_freed(struct fake_mgmtdev *fake);
void fake_mgmtdev_release(struct fake_mgmtdev *fake);

/*
 * The type "fakes": management devices like "fake", made by command; attributes: ports (live), file
 * (a path).  Its words are "type.add", "type.set" and "type.free".
 */
extern const struct vdpa_mgmtdev_type fake_mgmtdev_type;
/* Whose words they are; a type has nothing to hang that on. */
extern struct fake_world *fake_type_world;

/*
 * Two drivers, "one" and "two", which bind anything; attributes of "one": mode, colour (live).
 * Their words in the log are "one.probe" and so on.
 */
extern const struct vdpa_driver fake_driver_one, fake_driver_two;

/* ---- a reader of info: "key=value key { ... } key [ ... } " */

struct fake_info {
	struct vdpa_info info;
	char text[16384];
};

void fake_info_init(struct fake_info *info);
bool fake_info_has(const struct fake_info *info, const char *text);

#endif
