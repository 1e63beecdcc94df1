/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Programs of this host at a socket, and a crypto device that works for them: crypto_proto.h.
 * Clients are hostile to the device and to each other: a request is copied, then looked at, and
 * names no session but the client's own.
 */
#ifndef DRIVERS_VIRTIO_CRYPTO_SERVER_H
#define DRIVERS_VIRTIO_CRYPTO_SERVER_H

#include "drivers/virtio/crypto_proto.h"
#include "drivers/virtio/virtio.h"

struct crypto_server;

/* Operations at the device at a time. */
#define CRYPTO_SLOTS 16u

/* Bytes of shared memory that it needs. */
size_t crypto_server_bytes(void);

/*
 * Serve whoever connects, on a thread of its own.  data, ctrl: queues with twice CRYPTO_SLOTS
 * entries, and with two.  buffers: crypto_server_bytes().  sock: listening; taken on success.
 * hello: borrowed.  0, -ENOMEM, -errno.  Lane.
 */
int crypto_server_start(struct virtio_queue *data, struct virtio_queue *ctrl, uint8_t *buffers,
			int *sock, const struct crypto_hello *hello, struct crypto_server **ret);
/* Clients lose their connections.  The device may still write to the buffers.  NULL is allowed. */
void crypto_server_stop(struct crypto_server *server);
/* Have its thread look at the device.  ANY THREAD. */
void crypto_server_wake(struct crypto_server *server);
/* ANY THREAD. */
uint32_t crypto_server_clients(const struct crypto_server *server);

#endif
