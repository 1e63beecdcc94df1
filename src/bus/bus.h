/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the drivers and parents of this library may use of the bus beyond its public headers.
 */
#ifndef BUS_BUS_H
#define BUS_BUS_H

#include "vdpa/bus.h"

struct lane;
struct lane_pool;
struct loop;
struct worker;

/* The loop of the control thread: watches and timers are added there, calls posted from anywhere.
 */
struct loop *bus_loop(struct vdpa_bus *bus);
/* Threads for jobs that may block. */
struct lane_pool *bus_lane_pool(struct vdpa_bus *bus);
const char *bus_run_dir(const struct vdpa_bus *bus); /* NULL: none */
uint32_t bus_timeout_ms(const struct vdpa_bus *bus);
/*
 * As vdpa_device_path(), of a device that is being made.  The folder goes with the device.  ANY
 * THREAD.
 */
int bus_device_path(const struct vdpa_bus *bus, const char *name, const char *file, char *buf,
		    size_t len);

/* As vdpa_worker_pick_this(), by name.  NULL: there is no such worker.  ANY THREAD. */
struct vdpa_worker *vdpa_worker_pick_name(struct vdpa_bus *bus, const char *name);

/*
 * A client went away without a reset of its driver's: reset the device, but what it has learned
 * (the config space that the driver wrote, the class's state) stays, since a client that comes back
 * does not write it again.  Lane.
 */
void bus_end_session(struct vdpa_device *vdev);

/* The device part of the state came from elsewhere, such as a migration: have it on disk, too.
 * Lane. */
void bus_record_state(struct vdpa_device *vdev);
/*
 * What class or parent keep in the state has changed, by a driver's command for example: the record
 * on disk will follow soon, once for all changes up to then.  ANY THREAD; does not block.  A device
 * that is on no bus has no record.
 */
void bus_state_changed(struct vdpa_device *vdev);

/* The thread behind a worker of the bus.  Lives as long as it is picked. */
struct worker *vdpa_worker_thread(struct vdpa_worker *worker);

#endif
