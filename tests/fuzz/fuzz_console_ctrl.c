/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages of a console driver, and what it is told.
 *
 * Input: records of a length byte and a message of so many bytes.  Bit 7 of the length: the driver
 * listens after it, until there is nothing more to be told.  After each one the state is saved and
 * loaded.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "bus/blob.h"
#include "parents/soft/console.h"

#define PORTS 3

static void expect(bool ok)
{
	if (!ok)
		abort();
}

static void add(struct vdpa_attrs *attrs, const char *key, const char *value)
{
	expect(!vdpa_attrs_add(attrs, key, value, NULL, NULL));
}

/* One device for all inputs; no queue of it runs, and nobody is at the other end. */
static struct console *device(void)
{
	static struct console *con;
	struct vdpa_result res = {0};
	struct vdpa_attrs *attrs;
	struct vdpa_bus *bus = NULL;

	if (con)
		return con;
	attrs = vdpa_attrs_alloc();
	expect(attrs && !vdpa_bus_alloc(NULL, &bus, NULL));
	expect(!vdpa_soft_register_builtin(bus, NULL));
	add(attrs, "socket", "/nowhere/console");
	add(attrs, "client", "on");
	add(attrs, "reconnect-ms", "3600000");
	add(attrs, "ports", "3");
	add(attrs, "names", "first,,third");
	vdpa_dev_add(bus, "con0", "console", attrs, vdpa_result_done, &res);
	expect(!vdpa_bus_wait(bus, &res));
	con = vdpa_soft_priv(to_soft(vdpa_dev_find(bus, "con0")));
	return con;
}

/* Each thing is told once: there is an end. */
static void listen_to_all(struct console *con)
{
	uint8_t msg[CONSOLE_MSG_MAX];
	unsigned int num = 0;
	uint32_t len;

	while ((len = console_next_msg(con, msg))) {
		struct virtio_console_control head;

		memcpy(&head, msg, sizeof(head));
		expect(con->ready && len >= sizeof(head) && len <= sizeof(msg));
		expect(le32toh(head.id) < PORTS);
		expect(le16toh(head.event) != VIRTIO_CONSOLE_PORT_NAME || len > sizeof(head));
		expect(++num <= 5 * PORTS);
	}
}

/* What is loaded is what was saved, and the size that may be another. */
static void save_and_load(struct console *con)
{
	struct vdpa_state_blob *blob = blob_alloc();
	struct console_port before[PORTS];
	bool ready = con->ready;

	expect(blob != NULL);
	memcpy(before, con->ports, sizeof(before));
	expect(!console_save(con->soft, blob, NULL));
	console_ctrl_reset(con);
	expect(!console_load(con->soft, blob, NULL));
	expect(con->ready == ready);
	for (int i = 0; i < PORTS; i++) {
		expect(con->ports[i].ready == before[i].ready);
		expect(con->ports[i].guest_open == before[i].guest_open);
		expect(!ready || !(before[i].tell & ~con->ports[i].tell));
	}
	blob_free(blob);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct console *con = device();

	console_ctrl_reset(con);
	for (size_t at = 0; at < len;) {
		bool listens = data[at] & 0x80;
		uint32_t size = data[at++] & 0x7f;
		uint8_t *msg;

		if (size > len - at)
			size = (uint32_t)(len - at);
		/* Where address checkers see the first byte behind it. */
		msg = malloc(size ? size : 1);
		expect(msg != NULL);
		memcpy(msg, data + at, size);
		console_ctrl(con, msg, size);
		free(msg);
		if (listens)
			listen_to_all(con);
		save_and_load(con);
		at += size;
	}
	return 0;
}
