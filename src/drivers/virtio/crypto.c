/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_crypto: a crypto device on the bus for programs of this host, which reach it at the socket
 * `crypto.sock`: by the functions of vdpa/crypto.h, or through OpenSSL by the provider made of
 * them.
 * @spec virtio 1.3, 5.9
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>
#include <unistd.h>

#include "base/defs.h"
#include "drivers/virtio/crypto_server.h"
#include "drivers/virtio/owner.h"
#include "vhost_user/socket.h"

#define REVISION_1 BIT_ULL(0)

struct crypto {
	struct virtio_device *dev;
	struct crypto_server *server;
	struct crypto_hello hello;
	int sock;
	char path[4096];
};

static int listen_at(struct crypto *crypto, const struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct vu_socket_config cfg;
	struct virtio_owner owner;
	int err = virtio_owner(attrs, &owner, ack);

	if (err)
		return err;
	err = vdpa_device_path(crypto->dev->vdev, "crypto.sock", crypto->path,
			       sizeof(crypto->path));
	if (err)
		return vdpa_extack_set(ack, err,
				       "no place for the socket: a run directory is needed");
	cfg = (struct vu_socket_config){owner.mode, owner.uid, owner.gid};
	crypto->sock = vu_socket_listen(crypto->path, &cfg, ack);
	if (crypto->sock >= 0)
		return 0;
	crypto->path[0] = '\0';
	return crypto->sock;
}

static int read_config(struct crypto *crypto, struct vdpa_extack *ack)
{
	struct virtio_crypto_config *cfg = &crypto->hello.config;
	uint32_t queues;
	int err = virtio_config_read(crypto->dev, 0, cfg, sizeof(*cfg));

	if (err)
		return vdpa_extack_set(ack, err, "cannot read the config space");
	queues = le32toh(cfg->max_dataqueues);
	if (!queues || queues >= crypto->dev->vdev->nvqs)
		return vdpa_extack_set(ack, -EPROTO,
				       "the device says that it has %u data queues, of %u in all",
				       queues, crypto->dev->vdev->nvqs);
	if (!(le32toh(cfg->status) & VIRTIO_CRYPTO_S_HW_READY))
		return vdpa_extack_set(ack, -EAGAIN, "the device is not ready");
	if (le64toh(cfg->max_size) > CRYPTO_DATA_MAX)
		cfg->max_size = htole64(CRYPTO_DATA_MAX);
	crypto->hello.magic = CRYPTO_HELLO_MAGIC;
	crypto->hello.version = CRYPTO_HELLO_VERSION;
	return 0;
}

static int start(struct crypto *crypto, struct vdpa_extack *ack)
{
	struct virtio_queue_setup queues[2] = {{.num = 2 * CRYPTO_SLOTS}, {.num = 2}};
	struct virtio_setup setup = {queues, 2, crypto_server_bytes()};
	struct virtio_device *dev = crypto->dev;
	int err;

	err = virtio_negotiate(dev, REVISION_1, ack);
	if (!err && !(dev->features & REVISION_1))
		err = vdpa_extack_set(ack, -EOPNOTSUPP,
				      "the device does not offer REVISION_1, which the driver "
				      "needs");
	if (!err)
		err = read_config(crypto, ack);
	if (err)
		return err;
	queues[1].idx = (uint16_t)le32toh(crypto->hello.config.max_dataqueues);
	err = virtio_setup(dev, &setup, ack);
	if (err)
		return err;
	err = crypto_server_start(&dev->queues[0], &dev->queues[1], dev->buffers, &crypto->sock,
				  &crypto->hello, &crypto->server);
	return err ? vdpa_extack_set(ack, err, "cannot serve '%s'", crypto->path) : 0;
}

static void crypto_free(struct crypto *crypto)
{
	crypto_server_stop(crypto->server);
	virtio_teardown(crypto->dev);
	if (crypto->path[0])
		unlink(crypto->path);
	fd_closep(&crypto->sock);
	crypto->dev->priv = NULL;
	free(crypto);
}

static int crypto_probe(struct virtio_device *dev, struct vdpa_attrs *attrs,
			struct vdpa_extack *ack)
{
	struct crypto *crypto = calloc(1, sizeof(*crypto));
	int err;

	if (!crypto)
		return -ENOMEM;
	crypto->dev = dev;
	crypto->sock = -1;
	dev->priv = crypto;
	err = listen_at(crypto, attrs, ack);
	if (!err)
		err = start(crypto, ack);
	if (err)
		crypto_free(crypto);
	return err;
}

static int crypto_remove(struct virtio_device *dev, bool force, struct vdpa_extack *ack)
{
	struct crypto *crypto = dev->priv;
	uint32_t clients = crypto_server_clients(crypto->server);

	if (clients && !force)
		return vdpa_extack_set(ack, -EBUSY, "%u programs of this host use it", clients);
	crypto_free(crypto);
	return 0;
}

static void crypto_config_changed(struct virtio_device *dev)
{
	struct crypto *crypto = dev->priv;

	crypto_server_wake(crypto->server);
}

static void crypto_show(struct virtio_device *dev, struct vdpa_info *info)
{
	struct crypto *crypto = dev->priv;

	vdpa_info_str(info, "socket", crypto->path);
	vdpa_info_u64(info, "clients", crypto_server_clients(crypto->server));
}

static const char *const crypto_attrs[] = {"mode", "owner", "group", NULL};

const struct virtio_driver virtio_crypto_driver = {
	.name = "virtio_crypto",
	.device_id = VIRTIO_ID_CRYPTO,
	.features = REVISION_1,
	.attrs = crypto_attrs,
	.probe = crypto_probe,
	.remove = crypto_remove,
	.config_changed = crypto_config_changed,
	.show = crypto_show,
};
