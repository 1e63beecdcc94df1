/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory maps of a device: whole tables for set_map, differences for dma_map. */
#include <errno.h>

#include "bus/priv.h"

VDPA_API void vdpa_get_iova_range(struct vdpa_device *vdev, uint64_t *first, uint64_t *last)
{
	*first = 0;
	*last = UINT64_MAX;
	if (priv_of(vdev)->ops.get_iova_range)
		priv_of(vdev)->ops.get_iova_range(vdev, first, last);
}

static bool same_range(const struct vdpa_iotlb_range *a, const struct vdpa_iotlb_range *b)
{
	return a->iova == b->iova && a->len == b->len && a->hva == b->hva && a->mem == b->mem &&
	       a->perm == b->perm;
}

static bool has_range(const struct vdpa_iotlb *iotlb, const struct vdpa_iotlb_range *range)
{
	const struct vdpa_iotlb_range *found = iotlb ? vdpa_iotlb_find(iotlb, range->iova) : NULL;

	return found && same_range(found, range);
}

static const struct vdpa_iotlb_range *ranges_of(const struct vdpa_iotlb *iotlb, size_t *num)
{
	*num = 0;
	return iotlb ? vdpa_iotlb_ranges(iotlb, num) : NULL;
}

/* Unmap the first `num` ranges of `map` that `keep` has not. */
static int unmap_others(struct vdpa_device *vdev, uint32_t asid, const struct vdpa_iotlb *map,
			size_t num, const struct vdpa_iotlb *keep)
{
	const struct vdpa_config_ops *ops = &priv_of(vdev)->ops;
	const struct vdpa_iotlb_range *range;
	size_t all;
	int err = 0, ret;

	range = ranges_of(map, &all);
	for (size_t i = 0; i < num && i < all; i++) {
		if (has_range(keep, &range[i]))
			continue;
		ret = ops->dma_unmap(vdev, asid, range[i].iova, range[i].len);
		if (ret)
			err = ret;
	}
	return err;
}

/* Map the ranges of `map` that `have` has not; *done says how many were gone through. */
static int map_others(struct vdpa_device *vdev, uint32_t asid, const struct vdpa_iotlb *map,
		      const struct vdpa_iotlb *have, size_t *done, struct vdpa_extack *ack)
{
	const struct vdpa_config_ops *ops = &priv_of(vdev)->ops;
	const struct vdpa_iotlb_range *range;
	size_t num;
	int err = 0;

	range = ranges_of(map, &num);
	for (*done = 0; *done < num; (*done)++) {
		if (has_range(have, &range[*done]))
			continue;
		err = ops->dma_map(vdev, asid, &range[*done], ack);
		if (err)
			break;
	}
	return err;
}

static int map_difference(struct vdpa_device *vdev, uint32_t asid, struct vdpa_iotlb *now,
			  struct vdpa_extack *ack)
{
	struct vdpa_iotlb *old = priv_of(vdev)->maps[asid];
	size_t done;
	int err;

	err = unmap_others(vdev, asid, old, SIZE_MAX, now);
	if (err)
		return vdpa_extack_set(ack, err, "the device does not let go of memory: %s",
				       vdpa_extack_text(NULL, err));
	err = map_others(vdev, asid, now, old, &done, ack);
	if (!err)
		return 0;
	/* Back to the map before; what fails now the device is without, as the caller learns. */
	vdpa_extack_set(ack, err, "the device cannot map memory: %s", vdpa_extack_text(NULL, err));
	unmap_others(vdev, asid, now, done, old);
	map_others(vdev, asid, old, now, &done, NULL);
	return err;
}

static int check_asid(struct vdpa_device *vdev, uint32_t asid, struct vdpa_extack *ack)
{
	if (asid < priv_of(vdev)->nas)
		return 0;
	return vdpa_extack_set(ack, -EINVAL, "no address space %u: the device has %u", asid,
			       priv_of(vdev)->nas);
}

void map_clear(struct vdpa_device_priv *priv, uint32_t asid)
{
	vdpa_iotlb_put(priv->maps[asid]);
	priv->maps[asid] = NULL;
}

VDPA_API int vdpa_set_map(struct vdpa_device *vdev, uint32_t asid, struct vdpa_iotlb *iotlb,
			  struct vdpa_extack *ack)
{
	struct vdpa_device_priv *priv = priv_of(vdev);
	int err = check_asid(vdev, asid, ack);

	if (err)
		return err;
	if (priv->ops.set_map)
		err = priv->ops.set_map(vdev, asid, iotlb, ack);
	else if (priv->ops.dma_map)
		err = map_difference(vdev, asid, iotlb, ack);
	if (err)
		return vdpa_extack_set(ack, err, "the device refuses the memory map: %s",
				       vdpa_extack_text(NULL, err));
	vdpa_iotlb_get(iotlb);
	map_clear(priv, asid);
	priv->maps[asid] = iotlb;
	return 0;
}

VDPA_API int vdpa_reset_map(struct vdpa_device *vdev, uint32_t asid)
{
	struct vdpa_device_priv *priv = priv_of(vdev);
	struct vdpa_iotlb *empty;
	int err = check_asid(vdev, asid, NULL);

	if (err)
		return err;
	if (priv->ops.reset_map) {
		err = priv->ops.reset_map(vdev, asid);
	} else if (priv->ops.dma_unmap) {
		err = unmap_others(vdev, asid, priv->maps[asid], SIZE_MAX, NULL);
	} else if (priv->ops.set_map) {
		err = vdpa_iotlb_alloc(NULL, 0, &empty, NULL);
		if (err)
			return err;
		err = priv->ops.set_map(vdev, asid, empty, NULL);
		vdpa_iotlb_put(empty);
	}
	if (!err)
		map_clear(priv, asid);
	return err;
}

VDPA_API int vdpa_set_group_asid(struct vdpa_device *vdev, uint32_t group, uint32_t asid)
{
	uint32_t ngroups = vdev->ngroups ? vdev->ngroups : 1;

	if (!priv_of(vdev)->ops.set_group_asid)
		return -EOPNOTSUPP;
	if (group >= ngroups || asid >= priv_of(vdev)->nas)
		return -EINVAL;
	return priv_of(vdev)->ops.set_group_asid(vdev, group, asid);
}
