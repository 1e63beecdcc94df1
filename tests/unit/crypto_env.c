/* SPDX-License-Identifier: BSD-2-Clause */
#include "crypto_env.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "vdpa/soft.h"

int crypto_setup(void **state)
{
	struct crypto_env *env = calloc(1, sizeof(*env));
	struct vdpa_bus_config cfg = {.run_dir = env->dir};
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct vdpa_result res = {0};

	strcpy(env->dir, "/tmp/test_virtio_crypto.XXXXXX");
	if (!mkdtemp(env->dir))
		return -1;
	snprintf(env->path, sizeof(env->path), "%s/dev/crypto0/crypto.sock", env->dir);
	if (vdpa_bus_alloc(&cfg, &env->bus, NULL) || vdpa_soft_register_builtin(env->bus, NULL) ||
	    vdpa_driver_register(env->bus, vdpa_driver_virtio, NULL) ||
	    vdpa_attrs_add(attrs, "queues", "3", NULL, NULL))
		return -1;
	vdpa_dev_add(env->bus, "crypto0", "crypto", attrs, vdpa_result_done, &res);
	if (vdpa_bus_wait(env->bus, &res))
		return -1;
	memset(&res, 0, sizeof(res));
	vdpa_dev_bind(env->bus, "crypto0", "virtio", NULL, 0, vdpa_result_done, &res);
	if (vdpa_bus_wait(env->bus, &res)) {
		print_error("%s\n", vdpa_extack_text(&res.ack, res.err));
		return -1;
	}
	*state = env;
	return 0;
}

int crypto_teardown(void **state)
{
	struct crypto_env *env = *state;
	char dev[96];
	int err = vdpa_bus_free(env->bus);

	if (!access(env->path, F_OK))
		err = -EEXIST;
	snprintf(dev, sizeof(dev), "%s/dev", env->dir);
	rmdir(dev);
	if (rmdir(env->dir))
		err = -errno;
	free(env);
	return err;
}
