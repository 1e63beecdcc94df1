/* SPDX-License-Identifier: BSD-2-Clause */
#include "vq_env.h"

void env_init(struct vq_env *env, uint32_t num, uint64_t features)
{
	memset(env, 0, sizeof(*env));
	assert_int_equal(vdpa_mem_alloc("env", ENV_SIZE, &env->mem, NULL), 0);
	env_map_steps(env, ENV_SIZE);
	env->vq = vdpa_vq_alloc();
	assert_non_null(env->vq);
	env->cfg.num = num;
	env->cfg.features = features;
	env->cfg.desc = ENV_IOVA;
	env->cfg.driver = ENV_DRIVER;
	env->cfg.device = ENV_DEVICE;
	env->wrap = true;
	if (features & RING_F_PACKED) {
		env->cfg.state.packed = true;
		env->cfg.state.packed_ring.last_avail_counter = true;
		env->cfg.state.packed_ring.last_used_counter = true;
	}
	vdpa_vq_elem_init(&env->elem);
}

void env_start(struct vq_env *env)
{
	struct vdpa_extack ack = {0};
	int err = vdpa_vq_start(env->vq, &env->cfg, &ack);

	if (err)
		fail_msg("cannot start: %s", vdpa_extack_text(&ack, err));
}

void env_free(struct vq_env *env)
{
	vdpa_vq_elem_release(&env->elem);
	vdpa_vq_free(env->vq);
	vdpa_iotlb_put(env->iotlb);
	vdpa_mem_put(env->mem);
}

void env_map_steps(struct vq_env *env, uint64_t step)
{
	size_t num = (ENV_SIZE + step - 1) / step;
	struct vdpa_iotlb_range *ranges = calloc(num, sizeof(*ranges));

	assert_non_null(ranges);
	for (size_t i = 0; i < num; i++) {
		uint64_t off = i * step;

		ranges[i].iova = ENV_IOVA + off;
		ranges[i].len = off + step < ENV_SIZE ? step : ENV_SIZE - off;
		ranges[i].hva = (uint8_t *)vdpa_mem_hva(env->mem) + off;
		ranges[i].mem = env->mem;
		ranges[i].perm = VDPA_PERM_RW;
	}
	vdpa_iotlb_put(env->iotlb);
	assert_int_equal(vdpa_iotlb_alloc(ranges, num, &env->iotlb, NULL), 0);
	env->cfg.iotlb = env->iotlb;
	free(ranges);
}

void *env_hva(struct vq_env *env, uint64_t iova)
{
	return (uint8_t *)vdpa_mem_hva(env->mem) + (iova - ENV_IOVA);
}

void env_desc(struct vq_env *env, uint64_t table, uint32_t i, uint64_t iova, uint32_t len,
	      uint16_t flags, uint16_t next)
{
	struct vring_desc desc = {htole64(iova), htole32(len), htole16(flags), htole16(next)};

	memcpy(env_hva(env, table + 16 * (uint64_t)i), &desc, sizeof(desc));
}

void env_offer(struct vq_env *env, uint16_t head)
{
	struct vring_avail *avail = env_hva(env, env->cfg.driver);

	ring_store16(&avail->ring[env->avail % env->cfg.num], head);
	ring_store16_release(&avail->idx, ++env->avail);
}

void env_packed(struct vq_env *env, uint64_t iova, uint32_t len, uint16_t flags, uint16_t id)
{
	struct vring_packed_desc *desc = env_hva(env, env->cfg.desc);
	uint16_t marks = env->wrap ? RING_DESC_F_AVAIL : RING_DESC_F_USED;

	desc += env->slot;
	desc->addr = htole64(iova);
	desc->len = htole32(len);
	desc->id = htole16(id);
	ring_store16_release(&desc->flags, flags | marks);
	if (++env->slot == env->cfg.num) {
		env->slot = 0;
		env->wrap = !env->wrap;
	}
}

void env_packed_entry(struct vq_env *env, uint64_t table, uint32_t i, uint64_t iova, uint32_t len,
		      uint16_t flags)
{
	struct vring_packed_desc desc = {htole64(iova), htole32(len), 0, htole16(flags)};

	memcpy(env_hva(env, table + 16 * (uint64_t)i), &desc, sizeof(desc));
}

void env_expect_broken(struct vq_env *env, const char *why)
{
	assert_int_equal(vdpa_vq_pop(env->vq, &env->elem), -EPROTO);
	assert_non_null(vdpa_vq_broken(env->vq));
	if (!strstr(vdpa_vq_broken(env->vq), why))
		fail_msg("broken because '%s', not '%s'", vdpa_vq_broken(env->vq), why);
	/* It stays so, and yields nothing. */
	assert_int_equal(vdpa_vq_pop(env->vq, &env->elem), -EPROTO);
	assert_false(vdpa_vq_pending(env->vq));
	assert_int_equal(vdpa_vq_stats(env->vq)->broken, 1);
}

uint32_t env_random(uint32_t *seed)
{
	/* xorshift32 */
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}
