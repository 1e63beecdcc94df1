/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a crypto device adds to libcrypto: requests as a guest's driver makes them go through a ring
 * to the device's code and back, beside calls of libcrypto for the same.  Both on one thread, in
 * turns, by its processor time, so that other load matters little.
 *
 *	crypto-bench [SECONDS]
 *
 * SECONDS: of a sample.  The middle one of SAMPLES counts; MB are 10^6 bytes of text.
 */
#include <endian.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/defs.h"
#include "parents/soft/crypto.h"
#include "vdpa/virtqueue.h"
#include "virtqueue/ring.h"

#define IOVA     0x100000000ull
#define NUM      64u
#define BATCH    16u
#define SAMPLES  9
#define TEXT_MAX 65536u
#define TAG      16u
#define HEAD     128u /* header, fixed part and IV, in lines of their own */
#define SLOT     (HEAD + 2 * (TEXT_MAX + 64u))
#define FEATURES (RING_F_INDIRECT_DESC | RING_F_EVENT_IDX)
#define MAX_SIZE (256u << 10)

struct algo {
	const char *name;
	uint32_t service, algo, opcode;
	uint32_t key_len, iv_len, more; /* more: bytes of the result beyond the text's, or all */
	const char *cipher, *digest;    /* libcrypto's */
};

static const struct algo algos[] = {
	{"AES-128-GCM", VIRTIO_CRYPTO_SERVICE_AEAD, VIRTIO_CRYPTO_AEAD_GCM,
	 VIRTIO_CRYPTO_AEAD_ENCRYPT, 16, 12, TAG, "AES-128-GCM", NULL},
	{"AES-256-XTS", VIRTIO_CRYPTO_SERVICE_CIPHER, VIRTIO_CRYPTO_CIPHER_AES_XTS,
	 VIRTIO_CRYPTO_CIPHER_ENCRYPT, 64, 16, 0, "AES-256-XTS", NULL},
	{"SHA-256", VIRTIO_CRYPTO_SERVICE_HASH, VIRTIO_CRYPTO_HASH_SHA_256, VIRTIO_CRYPTO_HASH, 0,
	 0, 32, NULL, "SHA2-256"},
};

static const uint32_t sizes[] = {64, 256, 1024, 4096, 16384, 65536};

struct bench {
	const struct algo *algo;
	uint32_t size;

	/* driver */
	struct vdpa_mem *mem;
	uint8_t *slots;
	struct vdpa_drvq *drvq;

	/* device */
	struct vdpa_iotlb *iotlb;
	struct vdpa_vq *vq;
	struct vdpa_vq_elem elems[BATCH];
	struct cryptodev dev;
	uint64_t session;
	uint8_t *out, *in;

	/* libcrypto */
	EVP_CIPHER *cipher;
	EVP_CIPHER_CTX *ctx;
	EVP_MD *md;
};

static uint8_t key[64];

static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "crypto-bench: %s\n", what);
	exit(1);
}

static uint32_t result_len(const struct bench *b)
{
	return (b->algo->digest ? 0 : b->size) + b->algo->more;
}

static uint8_t *slot(const struct bench *b, uint32_t which)
{
	return b->slots + which * (size_t)SLOT;
}

/* ---- the driver */

/* A request, all but what `which` makes different. */
static uint32_t write_head(const struct bench *b, uint8_t *to)
{
	struct virtio_crypto_op_header header = {
		.opcode = htole32(b->algo->opcode),
		.session_id = htole64(b->session),
		.flag = htole32(CRYPTO_FLAG_SESSION_MODE),
	};
	uint32_t words[12] = {0}, len;

	switch (b->algo->service) {
	case VIRTIO_CRYPTO_SERVICE_CIPHER:
		words[0] = htole32(b->algo->iv_len);
		words[1] = htole32(b->size);
		words[2] = htole32(result_len(b));
		words[10] = htole32(VIRTIO_CRYPTO_SYM_OP_CIPHER);
		len = 48;
		break;
	case VIRTIO_CRYPTO_SERVICE_AEAD:
		words[0] = htole32(b->algo->iv_len);
		words[2] = htole32(b->size);
		words[3] = htole32(result_len(b));
		words[4] = htole32(TAG);
		len = 24;
		break;
	default:
		words[0] = htole32(b->size);
		words[1] = htole32(result_len(b));
		len = 8;
	}
	memcpy(to, &header, sizeof(header));
	memcpy(to + sizeof(header), words, len);
	memset(to + sizeof(header) + len, 0x5a, b->algo->iv_len);
	return (uint32_t)sizeof(header) + len + b->algo->iv_len;
}

/* Header, text, result and status, each a piece of its own. */
static void offer(const struct bench *b, uint32_t which)
{
	uint8_t *at = slot(b, which);
	uint64_t iova = IOVA + (uint64_t)(at - (uint8_t *)vdpa_mem_hva(b->mem));
	uint64_t in = iova + HEAD + b->size;
	const struct vdpa_drvq_sg sg[] = {
		{iova, write_head(b, at)},
		{iova + HEAD, b->size},
		{in, result_len(b)},
		{in + result_len(b), 1},
	};

	check(!vdpa_drvq_add(b->drvq, sg, 2, 2, at), "the ring is full");
}

static void collect(const struct bench *b)
{
	uint8_t *at;
	uint32_t len;

	while ((at = vdpa_drvq_get(b->drvq, &len)))
		check(at[HEAD + b->size + result_len(b)] == VIRTIO_CRYPTO_OK, "the device refuses");
}

/* ---- the device */

static void serve(struct bench *b)
{
	uint32_t num = 0;

	while (num < BATCH && vdpa_vq_pop(b->vq, &b->elems[num]) == 1)
		num++;
	for (uint32_t i = 0; i < num; i++) {
		struct vdpa_vq_elem *elem = &b->elems[i];
		struct crypto_request r;
		uint8_t status = crypto_request_read(&b->dev, elem, &r);

		if (status == VIRTIO_CRYPTO_OK) {
			vdpa_iov_to_buf(elem->iov, elem->out_num, r.head, b->out, r.out_len);
			status = crypto_request_run(&b->dev, &r, b->out, b->in);
		}
		vdpa_vq_complete(b->vq, elem, crypto_request_answer(&r, elem, status, b->in));
	}
	vdpa_vq_publish(b->vq);
	while (vdpa_vq_reap(b->vq))
		;
}

static void through_ring(struct bench *b)
{
	for (uint32_t i = 0; i < BATCH; i++)
		offer(b, i);
	vdpa_drvq_publish(b->drvq);
	serve(b);
	collect(b);
}

/* ---- libcrypto */

static void plain_cipher(struct bench *b, uint8_t *in, uint8_t *out)
{
	static const uint8_t iv[16] = {0x5a};
	bool aead = b->algo->service == VIRTIO_CRYPTO_SERVICE_AEAD;
	int len;

	check(EVP_CipherInit_ex2(b->ctx, NULL, NULL, iv, -1, NULL) &&
		      EVP_CipherUpdate(b->ctx, out, &len, in, (int)b->size) &&
		      (!aead ||
		       (EVP_CipherFinal_ex(b->ctx, out + len, &len) &&
			EVP_CIPHER_CTX_ctrl(b->ctx, EVP_CTRL_AEAD_GET_TAG, TAG, out + b->size))),
	      "libcrypto refuses");
}

static void plain(struct bench *b)
{
	for (uint32_t i = 0; i < BATCH; i++) {
		uint8_t *in = slot(b, i) + HEAD, *out = in + b->size;

		if (b->cipher)
			plain_cipher(b, in, out);
		else
			check(EVP_Digest(in, b->size, out, NULL, b->md, NULL), "libcrypto refuses");
	}
}

/* ---- set-up */

static void open_ring(struct bench *b)
{
	uint64_t bytes = vdpa_drvq_bytes(NUM, FEATURES, 4);
	struct vdpa_drvq_config dcfg = {NUM, FEATURES, NULL, IOVA, 4};
	struct vdpa_vq_config cfg = {.num = NUM, .features = FEATURES};
	struct vdpa_iotlb_range range;

	check(!vdpa_mem_alloc("bench", bytes + BATCH * (uint64_t)SLOT, &b->mem, NULL), "no memory");
	dcfg.hva = vdpa_mem_hva(b->mem);
	b->slots = (uint8_t *)dcfg.hva + bytes;
	memset(b->slots, 0xa5, BATCH * (size_t)SLOT);
	range = (struct vdpa_iotlb_range){IOVA, vdpa_mem_len(b->mem), dcfg.hva, b->mem,
					  VDPA_PERM_RW};
	check(!vdpa_iotlb_alloc(&range, 1, &b->iotlb, NULL) &&
		      !vdpa_drvq_alloc(&dcfg, &b->drvq, NULL),
	      "no ring");
	vdpa_drvq_areas(b->drvq, &cfg.desc, &cfg.driver, &cfg.device);
	cfg.iotlb = b->iotlb;
	for (uint32_t i = 0; i < BATCH; i++)
		vdpa_vq_elem_init(&b->elems[i]);
	b->vq = vdpa_vq_alloc();
	check(b->vq && !vdpa_vq_start(b->vq, &cfg, NULL), "no ring");
}

static void open_device(struct bench *b)
{
	struct crypto_params params = {
		.service = b->algo->service,
		.algo = b->algo->algo,
		.op = VIRTIO_CRYPTO_OP_ENCRYPT,
		.key = key,
		.key_len = b->algo->key_len,
	};
	struct crypto_key *session_key;

	b->dev.features = BIT_ULL(CRYPTO_F_REVISION_1);
	b->dev.max_size = MAX_SIZE;
	b->out = malloc(MAX_SIZE);
	b->in = malloc(MAX_SIZE);
	check(b->out && b->in && !crypto_lib_alloc(&b->dev.lib, NULL) &&
		      !crypto_sessions_init(&b->dev.sessions, 1) &&
		      crypto_key_alloc(b->dev.lib, &params, &session_key) == VIRTIO_CRYPTO_OK &&
		      crypto_sessions_add(&b->dev.sessions, session_key, &b->session) ==
			      VIRTIO_CRYPTO_OK,
	      "no session");
}

static void open_plain(struct bench *b)
{
	if (b->algo->digest) {
		b->md = EVP_MD_fetch(NULL, b->algo->digest, NULL);
		check(b->md, "libcrypto lacks a digest");
		return;
	}
	b->cipher = EVP_CIPHER_fetch(NULL, b->algo->cipher, NULL);
	b->ctx = EVP_CIPHER_CTX_new();
	check(b->cipher && b->ctx && EVP_CipherInit_ex2(b->ctx, b->cipher, key, NULL, 1, NULL),
	      "libcrypto lacks a cipher");
}

static void release(struct bench *b)
{
	EVP_CIPHER_CTX_free(b->ctx);
	EVP_CIPHER_free(b->cipher);
	EVP_MD_free(b->md);
	crypto_sessions_release(&b->dev.sessions);
	crypto_lib_free(b->dev.lib);
	free(b->out);
	free(b->in);
	vdpa_vq_free(b->vq);
	vdpa_drvq_free(b->drvq);
	vdpa_iotlb_put(b->iotlb);
	vdpa_mem_put(b->mem);
}

/* ---- samples */

static double thread_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

/* MB a second */
static double sample(struct bench *b, void (*fn)(struct bench *b), double seconds)
{
	double begin = thread_seconds(), end;
	uint64_t batches = 0;

	do {
		fn(b);
		batches++;
		end = thread_seconds();
	} while (end - begin < seconds);
	return 1e-6 * (double)(batches * BATCH * b->size) / (end - begin);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void run(const struct algo *algo, uint32_t size, double seconds)
{
	struct bench b = {.algo = algo, .size = size};
	double ring[SAMPLES], lib[SAMPLES];

	open_ring(&b);
	open_device(&b);
	open_plain(&b);
	for (int i = 0; i < SAMPLES; i++) {
		ring[i] = sample(&b, through_ring, seconds);
		lib[i] = sample(&b, plain, seconds);
	}
	qsort(ring, SAMPLES, sizeof(*ring), compare);
	qsort(lib, SAMPLES, sizeof(*lib), compare);
	printf("%-14s %8u %12.0f %12.0f %8.2f\n", algo->name, size, ring[SAMPLES / 2],
	       lib[SAMPLES / 2], ring[SAMPLES / 2] / lib[SAMPLES / 2]);
	fflush(stdout);
	release(&b);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.05;

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)i;
	printf("%-14s %8s %12s %12s %8s\n", "algorithm", "bytes", "ring, MB/s", "libcrypto",
	       "ratio");
	for (size_t a = 0; a < ARRAY_SIZE(algos); a++)
		for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
			run(&algos[a], sizes[i], seconds);
	return 0;
}
