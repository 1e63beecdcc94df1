/* SPDX-License-Identifier: BSD-2-Clause */
/* What a table of ops must hold, checked once, when a device comes onto the bus. */
#include <string.h>

#include "bus/priv.h"

struct op_row {
	size_t offset;
	const char *name;
};

#define OP_ROW(op)                                                                                 \
	{                                                                                          \
		offsetof(struct vdpa_config_ops, op), #op                                          \
	}

static const struct op_row required[] = {
	OP_ROW(set_vq_address),
	OP_ROW(set_vq_num),
	OP_ROW(set_vq_call),
	OP_ROW(set_vq_ready),
	OP_ROW(set_vq_state),
	OP_ROW(get_vq_state),
	OP_ROW(get_vq_num_max),
	OP_ROW(get_device_features),
	OP_ROW(set_driver_features),
	OP_ROW(set_config_cb),
	OP_ROW(get_device_id),
	OP_ROW(get_vendor_id),
	OP_ROW(get_status),
	OP_ROW(set_status),
	OP_ROW(reset),
	OP_ROW(get_config_size),
	OP_ROW(get_config),
	OP_ROW(get_generation),
	OP_ROW(free),
};

static bool op_is_there(const struct vdpa_config_ops *ops, const struct op_row *row)
{
	void (*fn)(void);

	memcpy(&fn, (const char *)ops + row->offset, sizeof(fn));
	return fn;
}

/* Ops that make no sense alone, and those that exclude each other. */
static const char *ops_mismatch(const struct vdpa_config_ops *ops)
{
	if (!ops->kick_vq && !ops->set_vq_kick)
		return "'kick_vq' or 'set_vq_kick' must be there";
	if (!ops->suspend != !ops->resume)
		return "'suspend' and 'resume' come in pairs";
	if (!ops->dma_map != !ops->dma_unmap)
		return "'dma_map' and 'dma_unmap' come in pairs";
	if (ops->dma_map && ops->set_map)
		return "'set_map' and 'dma_map' exclude each other";
	if (!ops->save != !ops->load)
		return "'save' and 'load' come in pairs";
	if (!ops->class_cmd != !ops->get_class_cmds)
		return "'class_cmd' and 'get_class_cmds' come in pairs";
	if (ops->set_vq_log && !ops->set_dirty_log)
		return "'set_vq_log' needs 'set_dirty_log'";
	return NULL;
}

const char *ops_missing(const struct vdpa_config_ops *ops, bool *pair)
{
	*pair = false;
	for (size_t i = 0; i < ARRAY_SIZE(required); i++)
		if (!op_is_there(ops, &required[i]))
			return required[i].name;
	*pair = true;
	return ops_mismatch(ops);
}
