/* SPDX-License-Identifier: BSD-2-Clause */
#include "disk_env.h"

#include <linux/falloc.h>
#include <stdio.h>

void env_run(struct env *env, struct vdpa_result *res)
{
	vdpa_bus_wait(env->bus, res);
}

struct vdpa_attrs *env_attrs(const char *const *words)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();

	for (; *words; words += 2)
		assert_int_equal(vdpa_attrs_add(attrs, words[0], words[1], NULL, NULL), 0);
	return attrs;
}

void env_add(struct env *env, const char *mgmtdev, struct vdpa_attrs *attrs)
{
	struct vdpa_result res = {0};

	vdpa_dev_add(env->bus, "disk0", mgmtdev, attrs, vdpa_result_done, &res);
	env_run(env, &res);
	if (res.err)
		fail_msg("%s", vdpa_extack_text(&res.ack, res.err));
}

int env_bind(struct env *env, const char *driver, struct vdpa_result *res)
{
	memset(res, 0, sizeof(*res));
	vdpa_dev_bind(env->bus, "disk0", driver, NULL, 0, vdpa_result_done, res);
	env_run(env, res);
	return res->err;
}

int env_unbind(struct env *env, uint32_t flags, struct vdpa_result *res)
{
	memset(res, 0, sizeof(*res));
	vdpa_dev_unbind(env->bus, "disk0", flags, vdpa_result_done, res);
	env_run(env, res);
	return res->err;
}

int env_set(struct env *env, struct vdpa_attrs *attrs)
{
	struct vdpa_result res = {0};

	vdpa_dev_set(env->bus, "disk0", attrs, vdpa_result_done, &res);
	env_run(env, &res);
	return res.err;
}

const char *env_path(struct env *env, const char *file)
{
	snprintf(env->path, sizeof(env->path), "%s/dev/disk0/%s", env->dir, file);
	return env->path;
}

int env_open(struct env *env, const char *file, int flags)
{
	int fd = open(env_path(env, file), flags | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

int env_stat(struct env *env, const char *file, struct stat *st)
{
	return stat(env_path(env, file), st);
}

int env_access(struct env *env, const char *file)
{
	return access(env_path(env, file), F_OK);
}

void env_punch_hole(struct env *env, const char *file)
{
	int fd = env_open(env, file, O_RDWR);
	char buf[8192];

	memset(buf, 'x', sizeof(buf));
	assert_int_equal(pwrite(fd, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096), 0);
	assert_int_equal(pread(fd, buf, sizeof(buf), 0), sizeof(buf));
	assert_int_equal(buf[4095], 'x');
	assert_int_equal(buf[4096], 0);
	assert_int_equal(buf[8191], 0);
	close(fd);
}

int env_setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));
	struct vdpa_bus_config cfg = {.run_dir = env->dir};
	struct vdpa_extack ack = {0};

	strcpy(env->dir, "/tmp/test_disk.XXXXXX");
	if (!mkdtemp(env->dir))
		return -1;
	if (vdpa_bus_alloc(&cfg, &env->bus, &ack) || vdpa_soft_register_builtin(env->bus, &ack) ||
	    vdpa_driver_register(env->bus, vdpa_driver_virtio, &ack)) {
		print_error("%s\n", ack.msg);
		return -1;
	}
	*state = env;
	return 0;
}

int env_teardown(void **state)
{
	struct env *env = *state;
	char dev[96];
	int err = vdpa_bus_free(env->bus);

	/* The bus leaves nothing of the device behind. */
	snprintf(dev, sizeof(dev), "%s/dev", env->dir);
	if (rmdir(dev) && errno != ENOENT)
		err = -errno;
	if (rmdir(env->dir))
		err = -errno;
	free(env);
	return err;
}
