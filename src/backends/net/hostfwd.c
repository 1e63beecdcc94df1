/* SPDX-License-Identifier: BSD-2-Clause */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/net/hostfwd.h"

/* Cuts the text behind *rest off at a character.  NULL: it is not there. */
static char *cut(char **rest, char at)
{
	char *word = *rest, *end = strchr(word, at);

	if (!end)
		return NULL;
	*end = '\0';
	*rest = end + 1;
	return word;
}

static int parse_address(const char *text, struct in_addr *ret, struct vdpa_extack *ack)
{
	ret->s_addr = INADDR_ANY;
	if (*text && inet_pton(AF_INET, text, ret) != 1)
		return vdpa_extack_set(ack, -EINVAL,
				       "hostfwd: '%s' is no IPv4 address, such as "
				       "127.0.0.1",
				       text);
	return 0;
}

static int parse_port(const char *text, uint16_t *ret, struct vdpa_extack *ack)
{
	unsigned int port = 0;
	const char *p;

	for (p = text; *p >= '0' && *p <= '9' && port <= UINT16_MAX; p++)
		port = port * 10 + (unsigned int)(*p - '0');
	if (*p || !port || port > UINT16_MAX || *text == '0')
		return vdpa_extack_set(ack, -EINVAL,
				       "hostfwd: '%s' is no port, a number from 1 to 65535", text);
	*ret = (uint16_t)port;
	return 0;
}

static int parse_fields(char *text, struct hostfwd *ret, struct vdpa_extack *ack)
{
	char *proto = cut(&text, ':');
	char *host = proto ? cut(&text, ':') : NULL;
	char *host_port = host ? cut(&text, '-') : NULL;
	char *guest = host_port ? cut(&text, ':') : NULL;
	int err;

	if (!guest)
		return -EINVAL;
	ret->udp = !strcmp(proto, "udp");
	if (!ret->udp && strcmp(proto, "tcp"))
		return vdpa_extack_set(ack, -EINVAL, "hostfwd: '%s' is neither tcp nor udp", proto);
	err = parse_address(host, &ret->host, ack);
	if (!err)
		err = parse_port(host_port, &ret->host_port, ack);
	if (!err)
		err = parse_address(guest, &ret->guest, ack);
	if (!err)
		err = parse_port(text, &ret->guest_port, ack);
	return err;
}

static int parse_one(const char *text, size_t len, struct hostfwd *ret, struct vdpa_extack *ack)
{
	char copy[HOSTFWD_TEXT];
	int err = -EINVAL;

	if (len < sizeof(copy)) {
		memcpy(copy, text, len);
		copy[len] = '\0';
		err = parse_fields(copy, ret, ack);
	}
	if (err)
		vdpa_extack_set(ack, err,
				"hostfwd: '%.*s' is not tcp|udp:[ADDRESS]:PORT-[ADDRESS]:PORT, "
				"such as tcp:127.0.0.1:8080-10.0.2.15:80",
				len < HOSTFWD_TEXT ? (int)len : HOSTFWD_TEXT, text);
	return err;
}

static bool same_port(const struct hostfwd *a, const struct hostfwd *b)
{
	return a->udp == b->udp && a->host_port == b->host_port &&
	       (a->host.s_addr == b->host.s_addr || a->host.s_addr == INADDR_ANY ||
		b->host.s_addr == INADDR_ANY);
}

static int add(struct hostfwd_list *list, const struct hostfwd *fwd, struct vdpa_extack *ack)
{
	for (unsigned int i = 0; i < list->num; i++) {
		if (same_port(&list->list[i], fwd))
			return vdpa_extack_set(ack, -EINVAL,
					       "hostfwd: port %u of this host is given twice (%s)",
					       fwd->host_port, fwd->udp ? "udp" : "tcp");
	}
	if (list->num == HOSTFWD_MAX)
		return vdpa_extack_set(ack, -E2BIG, "hostfwd: more than %d ports", HOSTFWD_MAX);
	list->list[list->num++] = *fwd;
	return 0;
}

int hostfwd_parse(const char *text, struct hostfwd_list *ret, struct vdpa_extack *ack)
{
	struct hostfwd_list list = {0};

	for (;;) {
		size_t len = strcspn(text, ",");
		struct hostfwd fwd;
		int err = parse_one(text, len, &fwd, ack);

		if (!err)
			err = add(&list, &fwd, ack);
		if (err)
			return err;
		if (!text[len])
			break;
		text += len + 1;
	}
	*ret = list;
	return 0;
}

void hostfwd_format(const struct hostfwd *fwd, char text[HOSTFWD_TEXT])
{
	char host[INET_ADDRSTRLEN], guest[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &fwd->host, host, sizeof(host));
	inet_ntop(AF_INET, &fwd->guest, guest, sizeof(guest));
	snprintf(text, HOSTFWD_TEXT, "%s:%s:%u-%s:%u", fwd->udp ? "udp" : "tcp", host,
		 fwd->host_port, guest, fwd->guest_port);
}
