/* SPDX-License-Identifier: BSD-2-Clause */
/* A crypto device with two data queues under the driver `virtio`, on a bus of its own. */
#ifndef UNIT_CRYPTO_ENV_H
#define UNIT_CRYPTO_ENV_H

struct crypto_env {
	struct vdpa_bus *bus;
	char dir[64];
	char path[128]; /* its socket */
};

/* Fixtures of cmocka; *state is the env. */
int crypto_setup(void **state);
int crypto_teardown(void **state);

#endif
