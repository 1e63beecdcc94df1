/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The classes that come with the library, one row each.
 */
#include "parents/soft/internal.h"

const struct vdpa_soft_class *const soft_classes[] = {
	&soft_blk_class,    &soft_console_class,
	&soft_net_class,    &soft_rng_class,
#ifdef HAVE_LIBCRYPTO
	&soft_crypto_class,
#endif
	&soft_scsi_class,   NULL,
};
