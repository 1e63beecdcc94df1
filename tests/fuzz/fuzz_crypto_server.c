/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client of a crypto device's socket that sends what the fuzzer says, with a device behind it
 * that does what it is asked.
 *
 * Input: what the client sends, frames and all.  It reads until the server hangs up, which it does
 * since the client has said that there is no more.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "drivers/virtio/crypto_proto.h"
#include "vdpa/crypto.h"
#include "vdpa/soft.h"

static char dir[] = "/tmp/fuzz_crypto_server.XXXXXX";
static struct vdpa_bus *bus;
static char path[100];

#define expect(ok) expected(ok, #ok)

static void expected(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz_crypto_server: not so: %s (%s)\n", what, strerrordesc_np(errno));
	abort();
}

static void end(void)
{
	char name[128];

	vdpa_bus_free(bus);
	snprintf(name, sizeof(name), "%s/dev", dir);
	rmdir(name);
	rmdir(dir);
}

/* One device for all inputs. */
static void open_device(void)
{
	struct vdpa_bus_config cfg = {.run_dir = dir};
	struct vdpa_result res = {0};

	if (bus)
		return;
	expect(mkdtemp(dir) && !vdpa_bus_alloc(&cfg, &bus, NULL));
	expect(!vdpa_soft_register_builtin(bus, NULL));
	expect(!vdpa_driver_register(bus, vdpa_driver_virtio, NULL));
	vdpa_dev_add(bus, "crypto0", "crypto", NULL, vdpa_result_done, &res);
	expect(!vdpa_bus_wait(bus, &res));
	res.done = false;
	vdpa_dev_bind(bus, "crypto0", "virtio", NULL, 0, vdpa_result_done, &res);
	expect(!vdpa_bus_wait(bus, &res));
	snprintf(path, sizeof(path), "%s/dev/crypto0/crypto.sock", dir);
	/* Last: libcrypto has begun by now, so it ends after our threads. */
	atexit(end);
}

static int connect_client(void)
{
	struct {
		unsigned short family;
		char path[108];
	} addr = {.family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.path, sizeof(addr.path), "%.99s", path);
	expect(fd >= 0);
	while (connect(fd, (const void *)&addr, sizeof(addr)))
		expect(errno == EINTR);
	return fd;
}

/* The fuzzer's clock interrupts. */
static ssize_t receive(int fd, void *buf, size_t len)
{
	ssize_t got;

	do
		got = recv(fd, buf, len, 0);
	while (got < 0 && errno == EINTR);
	return got;
}

static void greet(int fd)
{
	struct crypto_hello hello;

	for (size_t have = 0; have < sizeof(hello);) {
		ssize_t got = receive(fd, (uint8_t *)&hello + have, sizeof(hello) - have);

		expect(got > 0);
		have += (size_t)got;
	}
	expect(hello.magic == CRYPTO_HELLO_MAGIC);
}

/* The server may have heard enough before the end. */
static void say(int fd, const uint8_t *data, size_t len)
{
	while (len) {
		ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0) {
			expect(errno == EPIPE || errno == ECONNRESET);
			return;
		}
		data += sent;
		len -= (size_t)sent;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static uint8_t sink[65536];
	struct vdpa_crypto *other = NULL;
	struct vdpa_extack ack = {0};
	int fd, err;

	open_device();
	fd = connect_client();
	greet(fd);
	say(fd, data, len);
	shutdown(fd, SHUT_WR);
	while (receive(fd, sink, sizeof(sink)) > 0)
		;
	close(fd);
	/* Nobody else suffers. */
	err = vdpa_crypto_open(path, &other, &ack);
	if (err)
		fprintf(stderr, "vdpa_crypto_open: %s\n", vdpa_extack_text(&ack, err));
	expect(!err);
	vdpa_crypto_close(other);
	return 0;
}
