/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a SCSI host keeps over a migration or a crash beyond its config space: of each unit what its
 * driver set, and does not set again, and what the unit has still to tell it.
 *
 * The host that loads it may have other units, or units of another size: the driver is told, as if
 * it had been done while it looked.
 */
#include <errno.h>

#include "parents/soft/scsi.h"

enum {
	TAG_EVENTS = 1, /* u64: whether there are some that the driver has not got */
	TAG_UNIT,       /* the first */
};

#define UNIT_REGISTERED 1u
#define UNIT_HELD       2u
#define UNIT_WRITEBACK  4u
#define UNIT_DESCRIPTOR 8u
#define UNIT_STOPPED    16u

/* Little-endian. */
struct unit_record {
	uint64_t identity; /* of the disk: its reservation is not another one's */
	uint64_t capacity; /* bytes */
	uint64_t key;
	uint32_t generation;
	uint32_t attentions;
	uint32_t flags;
	uint32_t type;
};

/* ---- save */

static uint32_t flags_of(const struct scsi_unit *unit, const struct scsi_pr *pr)
{
	uint32_t flags = 0;

	if (pr->registered)
		flags |= UNIT_REGISTERED;
	if (pr->held)
		flags |= UNIT_HELD;
	if (__atomic_load_n(&unit->writeback, __ATOMIC_RELAXED))
		flags |= UNIT_WRITEBACK;
	if (__atomic_load_n(&unit->descriptor, __ATOMIC_RELAXED))
		flags |= UNIT_DESCRIPTOR;
	if (__atomic_load_n(&unit->stopped, __ATOMIC_RELAXED))
		flags |= UNIT_STOPPED;
	return flags;
}

static int save_unit(struct scsi_unit *unit, struct vdpa_state_blob *blob)
{
	struct scsi_pr pr = scsi_pr_snapshot(unit);
	struct unit_record record = {
		.identity = htole64(get_be64(unit->naa)),
		.capacity = htole64(unit->capacity),
		.key = htole64(pr.key),
		.generation = htole32(pr.generation),
		.attentions = htole32(__atomic_load_n(&unit->ua, __ATOMIC_RELAXED)),
		.flags = htole32(flags_of(unit, &pr)),
		.type = htole32(pr.type),
	};

	return vdpa_state_put(blob, TAG_UNIT + unit->idx, &record, sizeof(record));
}

int scsi_save(struct vdpa_soft *soft, struct vdpa_state_blob *blob, struct vdpa_extack *ack)
{
	struct scsi *scsi = vdpa_soft_priv(soft);
	int err = vdpa_state_put_u64(blob, TAG_EVENTS, scsi_event_waiting(scsi));

	for (unsigned int i = 0; i < SCSI_LUNS && !err; i++)
		if (scsi->units[i])
			err = save_unit(scsi->units[i], blob);
	return err;
}

/* ---- load */

/* *there: is there one?  0 or -EINVAL. */
static int find_unit(const struct vdpa_state_blob *blob, unsigned int idx, bool *there,
		     struct unit_record *ret, struct vdpa_extack *ack)
{
	uint32_t len;
	const void *data = vdpa_state_find(blob, TAG_UNIT + idx, &len);

	*there = data;
	if (!data)
		return 0;
	if (len < sizeof(*ret))
		return vdpa_extack_set(ack, -EINVAL,
				       "the record of lun%u has %u bytes, less than %zu", idx, len,
				       sizeof(*ret));
	memcpy(ret, data, sizeof(*ret));
	if (!scsi_pr_is_type(le32toh(ret->type)) && (le32toh(ret->flags) & UNIT_HELD))
		return vdpa_extack_set(ack, -EINVAL,
				       "the record of lun%u has a reservation of type %u, which "
				       "there is not",
				       idx, le32toh(ret->type));
	return 0;
}

static void load_unit(struct scsi *scsi, struct scsi_unit *unit, const struct unit_record *record)
{
	uint32_t flags = le32toh(record->flags);

	pthread_mutex_lock(&unit->lock);
	unit->pr = (struct scsi_pr){
		.registered = flags & UNIT_REGISTERED,
		.held = flags & UNIT_HELD && flags & UNIT_REGISTERED,
		.type = flags & UNIT_HELD ? (uint8_t)le32toh(record->type) : 0,
		.generation = le32toh(record->generation),
		.key = flags & UNIT_REGISTERED ? le64toh(record->key) : 0,
	};
	pthread_mutex_unlock(&unit->lock);
	__atomic_store_n(&unit->writeback, flags & UNIT_WRITEBACK, __ATOMIC_RELAXED);
	__atomic_store_n(&unit->descriptor, flags & UNIT_DESCRIPTOR, __ATOMIC_RELAXED);
	__atomic_store_n(&unit->stopped, flags & UNIT_STOPPED, __ATOMIC_RELAXED);
	__atomic_store_n(&unit->ua, le32toh(record->attentions) & SCSI_UA_ALL, __ATOMIC_RELAXED);
	if (le64toh(record->capacity) == unit->capacity)
		return;
	scsi_unit_attention(unit, SCSI_UA_CAPACITY);
	scsi_event_capacity(scsi, unit->idx);
}

/* A unit is there as it was, is another one, has come or gone. */
static void compare_unit(struct scsi *scsi, unsigned int idx, const struct unit_record *record)
{
	struct scsi_unit *unit = scsi->units[idx];
	bool same = unit && record && le64toh(record->identity) == get_be64(unit->naa);

	if (same) {
		load_unit(scsi, unit, record);
		return;
	}
	if (record)
		scsi_event(scsi, VIRTIO_SCSI_T_TRANSPORT_RESET, idx, VIRTIO_SCSI_EVT_RESET_REMOVED);
	if (unit)
		scsi_event(scsi, VIRTIO_SCSI_T_TRANSPORT_RESET, idx, VIRTIO_SCSI_EVT_RESET_RESCAN);
}

int scsi_load(struct vdpa_soft *soft, const struct vdpa_state_blob *blob, struct vdpa_extack *ack)
{
	struct scsi *scsi = vdpa_soft_priv(soft);
	struct unit_record records[SCSI_LUNS];
	bool there[SCSI_LUNS];
	uint64_t waiting = 0;
	int err = 0;

	for (unsigned int i = 0; i < SCSI_LUNS && !err; i++)
		err = find_unit(blob, i, &there[i], &records[i], ack);
	if (err)
		return err;
	for (unsigned int i = 0; i < SCSI_LUNS; i++)
		compare_unit(scsi, i, there[i] ? &records[i] : NULL);
	if (!vdpa_state_u64(blob, TAG_EVENTS, &waiting) && waiting)
		scsi_event_missed(scsi);
	return 0;
}
