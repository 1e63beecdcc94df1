/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ports of this host that lead to a guest, as a user writes them.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backends/net/hostfwd.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void expect(bool ok)
{
	if (!ok)
		abort();
}

/* What is shown of a port, is read as that port. */
static void check_port(const struct hostfwd *fwd)
{
	struct hostfwd_list again;
	char text[HOSTFWD_TEXT];

	expect(fwd->host_port && fwd->guest_port);
	hostfwd_format(fwd, text);
	expect(!hostfwd_parse(text, &again, NULL));
	expect(again.num == 1 && again.list[0].udp == fwd->udp &&
	       again.list[0].host.s_addr == fwd->host.s_addr &&
	       again.list[0].guest.s_addr == fwd->guest.s_addr &&
	       again.list[0].host_port == fwd->host_port &&
	       again.list[0].guest_port == fwd->guest_port);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct hostfwd_list list = {0};
	struct vdpa_extack ack = {0};
	char *text = malloc(len + 1);
	int err;

	if (!text)
		return 0;
	memcpy(text, data, len);
	text[len] = '\0';
	err = hostfwd_parse(text, &list, &ack);
	expect((err == 0) == (ack.msg[0] == '\0'));
	expect(err ? list.num == 0 : list.num >= 1 && list.num <= HOSTFWD_MAX);
	for (unsigned int i = 0; i < list.num; i++)
		check_port(&list.list[i]);
	free(text);
	return 0;
}
