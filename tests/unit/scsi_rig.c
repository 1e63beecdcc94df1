/* SPDX-License-Identifier: BSD-2-Clause */
#include "scsi_rig.h"

void host_open(struct rig *rig, uint64_t features, const char *const *attrs)
{
	rig_open_bus(rig, NULL);
	rig_add(rig, "scsi", attrs);
	rig_start(rig, features);
}

int host_set(struct rig *rig, const char *const *words)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct vdpa_result res = {0};
	int err;

	for (; *words; words += 2)
		assert_int_equal(vdpa_attrs_add(attrs, words[0], words[1], NULL, NULL), 0);
	vdpa_dev_set(rig->bus, "dev0", attrs, vdpa_result_done, &res);
	err = vdpa_bus_wait(rig->bus, &res);
	rig->ack = res.ack;
	return err;
}

/* ---- commands */

struct virtio_scsi_cmd_req cmd_header(unsigned int lun, const uint8_t *cdb)
{
	struct virtio_scsi_cmd_req req = {.lun = {1, 0, 0x40, (uint8_t)lun}, .tag = 42};

	memcpy(req.cdb, cdb, sizeof(req.cdb));
	return req;
}

static void send(struct rig *rig, uint16_t queue, const struct virtio_scsi_cmd_req *req,
		 struct cmd *c)
{
	uint8_t out[sizeof(*req) + MAX_DATA];

	memcpy(out, req, sizeof(*req));
	memcpy(out + sizeof(*req), c->out, c->out_len);
	c->req = rig_send(rig, queue, out, (uint32_t)sizeof(*req) + c->out_len,
			  (uint32_t)sizeof(c->resp) + c->in_len);
}

void cmd_send(struct rig *rig, uint16_t queue, unsigned int lun, uint64_t tag, struct cmd *c)
{
	struct virtio_scsi_cmd_req req = cmd_header(lun, c->cdb);

	req.tag = tag;
	send(rig, queue, &req, c);
}

void cmd_wait(struct rig *rig, uint16_t queue, struct cmd *c)
{
	rig_wait(rig, queue, c->req);
	memcpy(&c->resp, c->req->in, sizeof(c->resp));
	memcpy(c->in, c->req->in + sizeof(c->resp), c->in_len);
	c->used = c->req->len;
	rig_put(c->req);
	c->req = NULL;
}

void cmd_exchange(struct rig *rig, const struct virtio_scsi_cmd_req *req, struct cmd *c)
{
	send(rig, REQUEST, req, c);
	cmd_wait(rig, REQUEST, c);
}

void cmd_run(struct rig *rig, unsigned int lun, struct cmd *c)
{
	struct virtio_scsi_cmd_req req = cmd_header(lun, c->cdb);

	cmd_exchange(rig, &req, c);
}

void cmd_check_good(const struct cmd *c)
{
	uint32_t moved = c->in_len ? c->used - (uint32_t)sizeof(c->resp) : c->out_len;

	if (c->resp.response || c->resp.status)
		fail_msg("command %02x: response %u status %02x sense %02x/%02x%02x", c->cdb[0],
			 c->resp.response, c->resp.status, c->resp.sense[2] & 0xf,
			 c->resp.sense[12], c->resp.sense[13]);
	assert_int_equal(le32toh(c->resp.resid), c->out_len + c->in_len - moved);
}

void cmd_good(struct rig *rig, unsigned int lun, struct cmd *c)
{
	cmd_run(rig, lun, c);
	cmd_check_good(c);
}

void cmd_check_refused(const struct cmd *c, uint8_t key, uint16_t asc)
{
	assert_int_equal(c->resp.response, VIRTIO_SCSI_S_OK);
	assert_int_equal(c->resp.status, SCSI_CHECK_CONDITION);
	assert_int_equal(le32toh(c->resp.sense_len), 18);
	assert_int_equal(c->resp.sense[0] & 0x7f, 0x70);
	assert_int_equal(c->resp.sense[2], key);
	assert_int_equal(get_be16(c->resp.sense + 12), asc);
	assert_int_equal(le32toh(c->resp.resid), c->out_len + c->in_len);
}

void cmd_refused(struct rig *rig, unsigned int lun, struct cmd *c, uint8_t key, uint16_t asc)
{
	cmd_run(rig, lun, c);
	cmd_check_refused(c, key, asc);
}

void cmd_ready(struct rig *rig, unsigned int lun)
{
	struct cmd tur = CDB(0);

	cmd_refused(rig, lun, &tur, SCSI_KEY_UNIT_ATTENTION, SCSI_ASC_POWER_ON);
	cmd_good(rig, lun, &tur);
}

void cmd_fill(uint8_t *p, size_t len, unsigned int seed)
{
	for (size_t i = 0; i < len; i++)
		p[i] = (uint8_t)(i * 7 + i / BLOCK * 31 + seed);
}

/* ---- task management, events */

struct rig_req *tmf_send(struct rig *rig, uint32_t subtype, unsigned int lun, uint64_t tag)
{
	struct virtio_scsi_ctrl_tmf_req req = {
		.subtype = htole32(subtype), .lun = {1, 0, 0x40, (uint8_t)lun}, .tag = tag};

	return rig_send(rig, CONTROL, &req, sizeof(req), 1);
}

uint8_t tmf_wait(struct rig *rig, struct rig_req *req)
{
	uint8_t response;

	rig_wait(rig, CONTROL, req);
	response = req->in[0];
	rig_put(req);
	return response;
}

uint8_t tmf_run(struct rig *rig, uint32_t subtype, unsigned int lun, uint64_t tag)
{
	return tmf_wait(rig, tmf_send(rig, subtype, lun, tag));
}

struct rig_req *event_buffer(struct rig *rig)
{
	return rig_send(rig, EVENT, "", 0, sizeof(struct virtio_scsi_event));
}

void event_expect(struct rig *rig, struct rig_req *req, uint32_t event, unsigned int lun,
		  uint32_t reason)
{
	struct virtio_scsi_event ev;

	rig_wait(rig, EVENT, req);
	assert_int_equal(req->len, sizeof(ev));
	memcpy(&ev, req->in, sizeof(ev));
	assert_int_equal(le32toh(ev.event), event);
	assert_int_equal(le32toh(ev.reason), reason);
	assert_int_equal(ev.lun[0], !!(event & ~VIRTIO_SCSI_T_EVENTS_MISSED));
	assert_int_equal(ev.lun[3], lun);
	rig_put(req);
}
