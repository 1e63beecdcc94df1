/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "bus_env.h"
#include "fail_alloc.h"

#define PAGE 4096UL

/* Three pages of memory and what a parent with dma_map has mapped of them, by iova in pages. */
struct maps {
	struct env *env;
	struct vdpa_mem *mem;
	char mapped[16];
	unsigned int calls;
	unsigned int fail_at; /* this call of dma_map fails */
};

static struct maps *maps_now; /* the ops below have no other way to the test */

static int dma_map(struct vdpa_device *vdev, uint32_t asid, const struct vdpa_iotlb_range *range,
		   struct vdpa_extack *ack)
{
	if (++maps_now->calls == maps_now->fail_at)
		return vdpa_extack_set(ack, -ENOSPC, "the table is full");
	assert_int_equal(maps_now->mapped[range->iova / PAGE], 0);
	maps_now->mapped[range->iova / PAGE] = '0' + (char)(range->len / PAGE);
	return 0;
}

static int dma_unmap(struct vdpa_device *vdev, uint32_t asid, uint64_t iova, uint64_t len)
{
	assert_int_equal(maps_now->mapped[iova / PAGE], '0' + (char)(len / PAGE));
	maps_now->mapped[iova / PAGE] = 0;
	return 0;
}

static struct vdpa_iotlb *iotlb(struct maps *maps, const uint64_t *pages, size_t num)
{
	struct vdpa_iotlb_range ranges[8];
	struct vdpa_iotlb *ret;

	for (size_t i = 0; i < num; i++)
		ranges[i] = (struct vdpa_iotlb_range){.iova = pages[i] * PAGE,
						      .len = PAGE,
						      .hva = vdpa_mem_hva(maps->mem),
						      .mem = maps->mem,
						      .perm = VDPA_PERM_RW};
	assert_int_equal(vdpa_iotlb_alloc(ranges, num, &ret, NULL), 0);
	return ret;
}

static int set(struct maps *maps, struct vdpa_device *vdev, const char *pages,
	       struct vdpa_extack *ack)
{
	struct vdpa_iotlb *map;
	uint64_t list[8];
	size_t num = strlen(pages);
	int err;

	for (size_t i = 0; i < num; i++)
		list[i] = (uint64_t)(pages[i] - '0');
	map = iotlb(maps, list, num);
	err = vdpa_set_map(vdev, 0, map, ack);
	vdpa_iotlb_put(map);
	return err;
}

static void assert_mapped(const struct maps *maps, const char *pages)
{
	for (int i = 0; i < 10; i++)
		assert_int_equal(!!maps->mapped[i], !!strchr(pages, '0' + i));
}

static void with_device(void **state, const struct vdpa_config_ops *ops,
			void (*fn)(struct vdpa_device *vdev, void *arg))
{
	struct env *env = *state;
	struct maps maps = {.env = env};
	struct fake_vdev *fake = fake_vdev_alloc(&env->world, "own0");
	struct vdpa_result res;

	fake->vdev.ops = ops;
	maps_now = &maps;
	assert_int_equal(vdpa_mem_alloc("test", PAGE, &maps.mem, NULL), 0);
	assert_int_equal(vdpa_register_device(env->bus, &fake->vdev, NULL), 0);
	env_on_lane(&fake->vdev, fn, &maps);
	assert_int_equal(env_del(env, "own0", 0, &res), 0);
	vdpa_mem_put(maps.mem);
}

static void lane_difference(struct vdpa_device *vdev, void *arg)
{
	struct vdpa_extack ack = {0};
	struct maps *maps = arg;

	assert_int_equal(set(maps, vdev, "13", NULL), 0);
	assert_mapped(maps, "13");
	assert_int_equal(maps->calls, 2);
	/* What stays is not touched. */
	assert_int_equal(set(maps, vdev, "1357", NULL), 0);
	assert_mapped(maps, "1357");
	assert_int_equal(maps->calls, 4);
	assert_int_equal(set(maps, vdev, "7", NULL), 0);
	assert_mapped(maps, "7");

	/* A failure half way: back to what was. */
	maps->fail_at = maps->calls + 2;
	assert_int_equal(set(maps, vdev, "24", &ack), -ENOSPC);
	assert_string_equal(ack.msg, "the table is full");
	assert_mapped(maps, "7");
	assert_int_equal(set(maps, vdev, "24", NULL), 0);
	assert_mapped(maps, "24");
	assert_int_equal(vdpa_reset_map(vdev, 0), 0);
	assert_mapped(maps, "");
	assert_int_equal(vdpa_set_map(vdev, 1, NULL, NULL), -EINVAL);
}

static void lane_no_memory_to_reset(struct vdpa_device *vdev, void *arg)
{
	struct maps *maps = arg;

	assert_int_equal(set(maps, vdev, "13", NULL), 0);
	fail_alloc_nth(1);
	assert_int_equal(vdpa_reset_map(vdev, 0), -ENOMEM);
	assert_true(fail_alloc_done());
	assert_int_equal(vdpa_reset_map(vdev, 0), 0);
}

static void test_map_reset_out_of_memory(void **state)
{
	with_device(state, &fake_ops, lane_no_memory_to_reset);
}

static void test_map_difference(void **state)
{
	struct vdpa_config_ops ops = fake_ops;

	ops.set_map = NULL;
	ops.dma_map = dma_map;
	ops.dma_unmap = dma_unmap;
	with_device(state, &ops, lane_difference);
}

static void lane_whole(struct vdpa_device *vdev, void *arg)
{
	struct maps *maps = arg;
	size_t num;

	assert_int_equal(set(maps, vdev, "13", NULL), 0);
	vdpa_iotlb_ranges(fake_of(vdev)->map, &num);
	assert_int_equal(num, 2);
	assert_int_equal(vdpa_reset_map(vdev, 0), 0);
	vdpa_iotlb_ranges(fake_of(vdev)->map, &num);
	assert_int_equal(num, 0);
}

static void test_map_whole_table(void **state)
{
	with_device(state, &fake_ops, lane_whole);
}

static void lane_none(struct vdpa_device *vdev, void *arg)
{
	assert_int_equal(set(arg, vdev, "13", NULL), 0);
	assert_int_equal(vdpa_reset_map(vdev, 0), 0);
}

/* The device gets at memory by itself. */
static void test_map_by_nobody(void **state)
{
	struct vdpa_config_ops ops = fake_ops;

	ops.set_map = NULL;
	with_device(state, &ops, lane_none);
}

static void lane_refused(struct vdpa_device *vdev, void *arg)
{
	struct maps *maps = arg;
	struct vdpa_extack ack = {0};

	maps->env->world.fail_err = -ENOMEM;
	maps->env->world.fail = "set_map";
	assert_int_equal(set(maps, vdev, "1", &ack), -ENOMEM);
	assert_string_equal(ack.msg, "the device refuses the memory map: Cannot allocate memory");
	maps->env->world.fail = NULL;
}

static void test_map_refused(void **state)
{
	with_device(state, &fake_ops, lane_refused);
}

#define MAP_TEST(name) cmocka_unit_test_setup_teardown(name, env_setup, env_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MAP_TEST(test_map_difference),
		MAP_TEST(test_map_whole_table),
		MAP_TEST(test_map_reset_out_of_memory),
		MAP_TEST(test_map_by_nobody),
		MAP_TEST(test_map_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
