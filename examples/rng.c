/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The smallest device: a virtio entropy device, complete.
 *
 * As a program it serves itself over vhost-user:
 *
 *	rng /run/rng.sock &
 *	qemu-system-x86_64 ... -chardev socket,id=c,path=/run/rng.sock \
 *		-device vhost-user-rng-pci,chardev=c
 *
 * As a shared object it is a class of the daemon:
 *
 *	uvdpad --load ./rng.so &
 *	uvdpa dev add name rng0 mgmtdev my-rng && uvdpa dev bind rng0 driver vhost-user
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <signal.h>
#include <stdio.h>
#include <sys/random.h>

#include <vdpa/soft.h>

/* A request gets no more at once, so that none takes long. */
#define RNG_MAX 65536

static void rng_handle(struct vdpa_soft_req *req)
{
	const struct iovec *in = req->elem.iov + req->elem.out_num;
	uint32_t len = 0;

	for (uint16_t i = 0; i < req->elem.in_num && len < RNG_MAX; i++) {
		size_t want = in[i].iov_len < RNG_MAX - len ? in[i].iov_len : RNG_MAX - len;
		ssize_t got = getrandom(in[i].iov_base, want, 0);

		if (got < 0)
			break;
		len += (uint32_t)got;
	}
	vdpa_soft_complete(req, len);
}

__attribute__((visibility("default"))) const struct vdpa_soft_class vdpa_class = {
	.size = sizeof(vdpa_class),
	.name = "my-rng",
	.help = "entropy of the host",
	.device_id = VIRTIO_ID_RNG,
	.nvqs = 1,
	.handle = rng_handle,
};

/* ---- the program */

static volatile sig_atomic_t stop;

static void on_signal(int sig)
{
	stop = 1;
}

static int serve(struct vdpa_bus *bus, struct vdpa_attrs *attrs, struct vdpa_result *res)
{
	int err;

	vdpa_dev_add(bus, "rng0", "my-rng", NULL, vdpa_result_done, res);
	err = vdpa_bus_wait(bus, res);
	res->done = false;
	vdpa_dev_bind(bus, "rng0", "vhost-user", attrs, 0, vdpa_result_done, res);
	if (!err)
		err = vdpa_bus_wait(bus, res);
	if (!err)
		puts("ready"), fflush(stdout);
	while (!err && !stop)
		err = vdpa_bus_dispatch(bus, 1000);
	return err;
}

int main(int argc, char **argv)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct vdpa_result res = {0};
	struct vdpa_bus *bus = NULL;
	int err;

	if (argc != 2)
		return fprintf(stderr, "usage: rng SOCKET\n"), 2;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	vdpa_sigbus_install();
	err = vdpa_attrs_add(attrs, "socket", argv[1], NULL, &res.ack) ||
	      vdpa_bus_alloc(NULL, &bus, &res.ack) ||
	      vdpa_soft_class_register(bus, &vdpa_class, &res.ack) ||
	      vdpa_driver_register(bus, vdpa_driver_vhost_user, &res.ack) ||
	      serve(bus, attrs, &res);
	if (err)
		fprintf(stderr, "rng: %s\n", vdpa_extack_text(&res.ack, ENOMEM));
	vdpa_bus_free(bus);
	return err;
}
