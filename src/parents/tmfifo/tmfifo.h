/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Management devices of the type `tmfifo`: each is a FIFO whose registers a UIO device maps, and
 * makes the two devices that share it.
 */
#ifndef PARENTS_TMFIFO_H
#define PARENTS_TMFIFO_H

#include "vdpa/mgmtdev.h"

extern const struct vdpa_mgmtdev_type tmfifo_type;

#endif
