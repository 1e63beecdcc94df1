/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands and operations of a crypto device.
 *
 * Input: a byte (0: no feature, 1: REVISION_1, else all), then records: a byte (bit 7: an
 * operation, bit 6: it is of the session made last), two bytes of length, the record.  What an
 * operation reads behind its fixed part is the rest of the record, then zeroes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "parents/soft/crypto.h"

#define MAX_SIZE 4096u

static void expect(bool ok)
{
	if (!ok)
		abort();
}

/* One device for all inputs. */
static struct cryptodev *device(void)
{
	static struct cryptodev dev;

	if (dev.lib)
		return &dev;
	dev.max_size = MAX_SIZE;
	expect(!crypto_sessions_init(&dev.sessions, 4));
	expect(!crypto_lib_alloc(&dev.lib, NULL));
	return &dev;
}

/* Where address checkers see the first byte behind it. */
static uint8_t *copy(const uint8_t *data, uint32_t len)
{
	uint8_t *bytes = malloc(len ? len : 1);

	expect(bytes != NULL);
	memcpy(bytes, data, len);
	return bytes;
}

static void command(struct cryptodev *dev, const uint8_t *data, uint32_t len, uint64_t *id)
{
	uint8_t *cmd = copy(data, len), answer[CRYPTO_ANSWER_MAX], status;
	uint32_t before = crypto_sessions_num(&dev->sessions), after;

	len = crypto_ctrl(dev, cmd, len, !dev->features, answer, &status);
	after = crypto_sessions_num(&dev->sessions);
	expect(len == 1 || len == CRYPTO_ANSWER_MAX);
	expect(after <= 4);
	if (status != VIRTIO_CRYPTO_OK)
		expect(before == after);
	else
		expect(after == (len == 1 ? before - 1 : before + 1));
	if (status == VIRTIO_CRYPTO_OK && len != 1)
		memcpy(id, answer, sizeof(*id));
	free(cmd);
}

static void operation(struct cryptodev *dev, const uint8_t *data, uint32_t len, const uint64_t *id)
{
	uint8_t *head = copy(data, len < CRYPTO_HEAD_MAX ? len : CRYPTO_HEAD_MAX), *out, *in;
	struct crypto_request r;
	uint32_t have;
	uint8_t status;

	if (id && len >= 16)
		memcpy(head + 8, id, sizeof(*id));
	status = crypto_request_parse(dev, head, len < CRYPTO_HEAD_MAX ? len : CRYPTO_HEAD_MAX, &r);
	free(head);
	if (status != VIRTIO_CRYPTO_OK)
		return;
	expect(r.out_len <= MAX_SIZE && r.in_len <= MAX_SIZE && r.head <= len);
	have = len - r.head < r.out_len ? len - r.head : r.out_len;
	out = calloc(1, r.out_len + 1);
	expect(out != NULL);
	out = realloc(out, r.out_len ? r.out_len : 1);
	in = malloc(r.in_len ? r.in_len : 1);
	expect(out && in);
	memcpy(out, data + r.head, have);
	status = crypto_request_run(dev, &r, out, in);
	expect(status <= VIRTIO_CRYPTO_KEY_REJECTED);
	expect(r.op.dst_len <= r.in_len);
	expect(status == VIRTIO_CRYPTO_OK || !r.op.dst_len);
	free(out);
	free(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const uint64_t features[] = {0, 1, 0x3f};
	struct cryptodev *dev = device();
	uint64_t id = 0;

	if (!len)
		return 0;
	dev->features = features[data[0] < 2 ? data[0] : 2];
	for (size_t at = 1; at + 3 <= len;) {
		uint8_t kind = data[at];
		uint32_t size = (uint32_t)(data[at + 1] | data[at + 2] << 8);

		at += 3;
		if (size > len - at)
			size = (uint32_t)(len - at);
		if (kind & 0x80)
			operation(dev, data + at, size, kind & 0x40 ? &id : NULL);
		else
			command(dev, data + at, size, &id);
		at += size;
	}
	crypto_sessions_clear(&dev->sessions);
	return 0;
}
