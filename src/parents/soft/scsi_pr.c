/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Persistent reservations.  There is one initiator, so it is the only one that can be registered,
 * and whoever holds a reservation is it.  Nothing is kept over a loss of power.
 * @spec SPC-4, 5.12, 6.15 and 6.16
 */
#include "parents/soft/scsi_task.h"

enum { READ_KEYS, READ_RESERVATION, REPORT_CAPABILITIES, READ_FULL_STATUS };
enum { REGISTER, RESERVE, RELEASE, CLEAR, PREEMPT, PREEMPT_AND_ABORT, REGISTER_AND_IGNORE };

#define TYPE_WE    1
#define TYPE_EA    3
#define TYPE_WE_RO 5
#define TYPE_EA_RO 6
#define TYPE_WE_AR 7
#define TYPE_EA_AR 8
#define TYPES                                                                                      \
	(1u << TYPE_WE | 1u << TYPE_EA | 1u << TYPE_WE_RO | 1u << TYPE_EA_RO | 1u << TYPE_WE_AR |  \
	 1u << TYPE_EA_AR)

#define PARAM_LEN 24

bool scsi_pr_is_type(uint32_t type)
{
	return type < 32 && TYPES >> type & 1;
}

static bool all_registrants(const struct scsi_pr *pr)
{
	return pr->type == TYPE_WE_AR || pr->type == TYPE_EA_AR;
}

struct scsi_pr scsi_pr_snapshot(struct scsi_unit *unit)
{
	struct scsi_pr pr;

	pthread_mutex_lock(&unit->lock);
	pr = unit->pr;
	pthread_mutex_unlock(&unit->lock);
	return pr;
}

/* ---- IN */

static enum scsi_step read_keys(struct scsi_task *t, const struct scsi_pr *pr, size_t alloc)
{
	uint8_t buf[16];
	size_t len = pr->registered ? 16 : 8;

	put_be32(buf, pr->generation);
	put_be32(buf + 4, (uint32_t)len - 8);
	put_be64(buf + 8, pr->key);
	return scsi_reply(t, buf, len, alloc);
}

static enum scsi_step read_reservation(struct scsi_task *t, const struct scsi_pr *pr, size_t alloc)
{
	uint8_t buf[24] = {0};
	size_t len = pr->held ? 24 : 8;

	put_be32(buf, pr->generation);
	put_be32(buf + 4, (uint32_t)len - 8);
	/* One that all registrants hold has no key. */
	put_be64(buf + 8, all_registrants(pr) ? 0 : pr->key);
	buf[21] = pr->type;
	return scsi_reply(t, buf, len, alloc);
}

static enum scsi_step report_capabilities(struct scsi_task *t, size_t alloc)
{
	uint8_t buf[8] = {0};

	put_be16(buf, sizeof(buf));
	buf[3] = 0x80; /* the types follow */
	/* Bits of byte 4 are numbered as the types, but for the last, which is bit 0 of byte 5. */
	buf[4] = TYPES & 0xff;
	buf[5] = TYPES >> 8;
	return scsi_reply(t, buf, sizeof(buf), alloc);
}

static enum scsi_step read_full_status(struct scsi_task *t, const struct scsi_pr *pr, size_t alloc)
{
	uint8_t buf[8 + 24 + 24] = {0}, *desc = buf + 8;
	size_t len = pr->registered ? sizeof(buf) : 8;

	put_be32(buf, pr->generation);
	put_be32(buf + 4, (uint32_t)len - 8);
	put_be64(desc, pr->key);
	desc[12] = pr->held;
	desc[13] = pr->held ? pr->type : 0;
	put_be16(desc + 18, 1); /* the port */
	put_be32(desc + 20, 24);
	/* The initiator, in the form of a SAS address, for want of a form for virtio. */
	desc[24] = 6;
	memcpy(desc + 28, t->unit->naa, sizeof(t->unit->naa));
	return scsi_reply(t, buf, len, alloc);
}

enum scsi_step scsi_pr_in(struct scsi_task *t)
{
	size_t alloc = get_be16(t->cdb + 7);
	struct scsi_pr pr = scsi_pr_snapshot(t->unit);

	switch (t->cdb[1] & 0x1f) {
	case READ_KEYS:
		return read_keys(t, &pr, alloc);
	case READ_RESERVATION:
		return read_reservation(t, &pr, alloc);
	case REPORT_CAPABILITIES:
		return report_capabilities(t, alloc);
	default:
		return read_full_status(t, &pr, alloc);
	}
}

/* ---- OUT: what happens under the lock; a status, or the code of an illegal request */

struct request {
	uint8_t action, type;
	uint64_t key, new_key;
};

static void unregister(struct scsi_pr *pr)
{
	pr->registered = pr->held = false;
	pr->type = 0;
	pr->key = 0;
}

static void do_register(struct scsi_pr *pr, uint64_t key)
{
	pr->generation++;
	if (key) {
		pr->registered = true;
		pr->key = key;
	} else {
		unregister(pr);
	}
}

static uint16_t do_reserve(struct scsi_pr *pr, uint8_t type)
{
	if (pr->held && pr->type != type)
		return SCSI_RESERVATION_CONFLICT;
	pr->held = true;
	pr->type = type;
	return SCSI_GOOD;
}

static uint16_t do_release(struct scsi_pr *pr, uint8_t type)
{
	if (pr->held && pr->type != type)
		return SCSI_ASC_INVALID_RELEASE;
	pr->held = false;
	pr->type = 0;
	return SCSI_GOOD;
}

/* The only one there is to preempt is the initiator itself. */
static uint16_t do_preempt(struct scsi_pr *pr, const struct request *r)
{
	bool everybody = !r->new_key && pr->held && all_registrants(pr);

	if (!r->new_key && !everybody)
		return SCSI_ASC_PARAM_FIELD;
	if (r->new_key != pr->key && !everybody)
		return SCSI_RESERVATION_CONFLICT;
	pr->generation++;
	if (pr->held)
		pr->type = r->type;
	else
		unregister(pr);
	return SCSI_GOOD;
}

static uint16_t run(struct scsi_pr *pr, const struct request *r)
{
	bool known = pr->registered && r->key == pr->key;

	switch (r->action) {
	case REGISTER:
		if (!known && (pr->registered || r->key))
			return SCSI_RESERVATION_CONFLICT;
		if (known || r->new_key)
			do_register(pr, r->new_key);
		return SCSI_GOOD;
	case REGISTER_AND_IGNORE:
		if (pr->registered || r->new_key)
			do_register(pr, r->new_key);
		return SCSI_GOOD;
	}
	if (!known)
		return SCSI_RESERVATION_CONFLICT;
	switch (r->action) {
	case RESERVE:
		return do_reserve(pr, r->type);
	case RELEASE:
		return do_release(pr, r->type);
	case CLEAR:
		pr->generation++;
		unregister(pr);
		return SCSI_GOOD;
	default:
		return do_preempt(pr, r);
	}
}

/* Actions that say which reservation they mean. */
static bool has_type(uint8_t action)
{
	return action == RESERVE || action == RELEASE || action == PREEMPT ||
	       action == PREEMPT_AND_ABORT;
}

enum scsi_step scsi_pr_out(struct scsi_task *t)
{
	struct request r = {.action = t->cdb[1] & 0x1f, .type = t->cdb[2] & 0xf};
	uint8_t param[PARAM_LEN];
	uint16_t res;

	/* Scope: the unit. */
	if (has_type(r.action) && (t->cdb[2] >> 4 || !scsi_pr_is_type(r.type)))
		return scsi_bad_cdb(t, 2);
	if (get_be32(t->cdb + 5) != PARAM_LEN)
		return scsi_check(t, SCSI_KEY_ILLEGAL_REQUEST, SCSI_ASC_PARAM_LIST_LEN);
	if (!scsi_fetch(t, param, sizeof(param)))
		return SCSI_STEP_END;
	/* SPEC_I_PT and APTPL. */
	if (param[20] & 0x09)
		return scsi_bad_param(t, 20);
	r.key = get_be64(param);
	r.new_key = get_be64(param + 8);
	pthread_mutex_lock(&t->unit->lock);
	res = run(&t->unit->pr, &r);
	pthread_mutex_unlock(&t->unit->lock);
	t->changed = res == SCSI_GOOD;
	if (res == SCSI_ASC_PARAM_FIELD)
		return scsi_bad_param(t, 8);
	if (res > UINT8_MAX)
		return scsi_check(t, SCSI_KEY_ILLEGAL_REQUEST, res);
	return scsi_status(t, (uint8_t)res);
}
