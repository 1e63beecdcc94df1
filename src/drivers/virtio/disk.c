/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/disk.h"

#include <errno.h>
#include <stdio.h>

#include "base/defs.h"
#include "drivers/virtio/owner.h"

#define PATH_LEN 4096

const char *const disk_attrs[] = {"mode", "owner", "group", NULL};

int disk_read_attrs(const struct vdpa_attrs *attrs, struct disk_export_config *ret,
		    struct vdpa_extack *ack)
{
	struct virtio_owner owner;
	int err = virtio_owner(attrs, &owner, ack);

	if (!err)
		*ret = (struct disk_export_config){
			.mode = owner.mode,
			.uid = owner.uid,
			.gid = owner.gid,
			.allow_other = owner.given,
		};
	return err;
}

int disk_check_block_size(uint32_t block_size, struct vdpa_extack *ack)
{
	if (is_power_of_2(block_size) && block_size >= DISK_SECTOR && block_size <= 65536)
		return 0;
	return vdpa_extack_set(
		ack, -EPROTO, "block size %u is no power of two between 512 and 65536", block_size);
}

void disk_set_size(struct disk *disk, uint64_t num, uint32_t block_size)
{
	if (num > INT64_MAX / block_size)
		num = INT64_MAX / block_size;
	__atomic_store_n(&disk->size, num * block_size, __ATOMIC_RELAXED);
}

int disk_share(struct disk *disk, struct vdpa_device *vdev, const char *handle,
	       const struct disk_export_config *cfg, struct disk_export **ret,
	       struct vdpa_extack *ack)
{
	struct disk_export_config here = *cfg;
	char path[PATH_LEN];
	int err = vdpa_device_path(vdev, handle, path, sizeof(path));

	if (err)
		return vdpa_extack_set(ack, err,
				       "no place for the file: a run directory is needed");
	here.path = path;
	return disk_export_start(disk, &here, ret, ack);
}

void disk_show(const struct disk *disk, struct vdpa_device *vdev, const char *handle,
	       const struct disk_export *exp, struct vdpa_info *info)
{
	char path[PATH_LEN];

	if (!vdpa_device_path(vdev, handle, path, sizeof(path)))
		vdpa_info_str(info, "disk", path);
	vdpa_info_u64(info, "opens", disk_export_opens(exp));
	vdpa_info_u64(info, "size", __atomic_load_n(&disk->size, __ATOMIC_RELAXED));
}

int disk_in_use(struct disk_export *exp, struct vdpa_extack *ack)
{
	unsigned int opens = disk_export_wait_closed(exp);

	if (!opens)
		return 0;
	return vdpa_extack_set(ack, -EBUSY, "its file is open on this host (%u times)", opens);
}
