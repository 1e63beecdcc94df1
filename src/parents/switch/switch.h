/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Management devices of the type `switch`: each is a switch (src/backends/net/switch.h), whose
 * ports are the network devices that it makes.
 */
#ifndef PARENTS_SWITCH_H
#define PARENTS_SWITCH_H

#include "vdpa/mgmtdev.h"

extern const struct vdpa_mgmtdev_type switch_type;

#endif
