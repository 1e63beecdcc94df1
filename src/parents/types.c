/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The types of management devices that come with the library, one row each.
 */
#include "base/defs.h"
#include "parents/switch/switch.h"
#include "parents/tmfifo/tmfifo.h"

static const struct vdpa_mgmtdev_type *const types[] = {
	&switch_type,
	&tmfifo_type,
};

VDPA_API int vdpa_mgmtdev_register_builtin(struct vdpa_bus *bus, struct vdpa_extack *ack)
{
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(types) && !err; i++)
		err = vdpa_mgmtdev_type_register(bus, types[i], ack);
	return err;
}
