/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/virtio.h"

const struct virtio_driver *const virtio_drivers[] = {
#ifdef HAVE_VIRTIO_BLK
	&virtio_blk_driver,     &virtio_scsi_driver,
#endif
	&virtio_console_driver,
#ifdef HAVE_VIRTIO_NET
	&virtio_net_driver,
#endif
	&virtio_crypto_driver,  &virtio_rng_driver,  NULL,
};
