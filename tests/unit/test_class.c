/* SPDX-License-Identifier: BSD-2-Clause */
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_scsi.h>
#include <linux/virtio_crypto.h>
#include <linux/virtio_fs.h>
#include <linux/virtio_console.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "fake_vdev.h"

static void test_class_names(void **state)
{
	for (uint32_t id = 0; id < 100; id++)
		if (vdpa_class_name(id))
			assert_int_equal(vdpa_class_id(vdpa_class_name(id)), id);
	assert_string_equal(vdpa_class_name(VIRTIO_ID_BLOCK), "blk");
	assert_int_equal(vdpa_class_id("crypto"), VIRTIO_ID_CRYPTO);
	assert_null(vdpa_class_name(0));
	assert_null(vdpa_class_name(UINT32_MAX));
	assert_int_equal(vdpa_class_id("block"), VIRTIO_ID_BLOCK);
	assert_int_equal(vdpa_class_id("nobody"), 0);
	assert_int_equal(vdpa_class_id(""), 0);
}

static void test_class_feature_names(void **state)
{
	char buf[16];

	assert_string_equal(vdpa_feature_name(2, VIRTIO_BLK_F_FLUSH, buf), "FLUSH");
	assert_string_equal(vdpa_feature_name(2, VIRTIO_BLK_F_WRITE_ZEROES, buf), "WRITE_ZEROES");
	assert_string_equal(vdpa_feature_name(1, VIRTIO_NET_F_CTRL_VQ, buf), "CTRL_VQ");
	assert_string_equal(vdpa_feature_name(1, VIRTIO_NET_F_SPEED_DUPLEX, buf), "SPEED_DUPLEX");
	assert_string_equal(vdpa_feature_name(4, 32, buf), "VERSION_1");
	assert_string_equal(vdpa_feature_name(0, 34, buf), "RING_PACKED");
	assert_string_equal(vdpa_feature_name(2, 20, buf), "bit 20");
	assert_ptr_equal(vdpa_feature_name(999, 9, buf), buf);
}

static struct fake_info info;

static void show(uint32_t id, uint64_t features, const void *config, size_t len)
{
	fake_info_init(&info);
	vdpa_class_config_show(id, features, config, len, &info.info);
}

static void test_class_config_of_blk(void **state)
{
	struct virtio_blk_config cfg = {
		.capacity = 2048,
		.seg_max = 126,
		.blk_size = 4096,
		.wce = 1,
		.num_queues = 4,
		.max_discard_sectors = 100,
		.max_write_zeroes_seg = 3,
	};

	show(2, UINT64_MAX, &cfg, sizeof(cfg));
	assert_true(fake_info_has(&info, "capacity=2048 size=1048576 "));
	assert_true(fake_info_has(&info, "seg_max=126 "));
	assert_true(fake_info_has(&info, "blk_size=4096 "));
	assert_true(fake_info_has(&info, "writeback=1 "));
	assert_true(fake_info_has(&info, "num_queues=4 "));
	assert_true(fake_info_has(&info, "max_discard_sectors=100 "));
	assert_true(fake_info_has(&info, "max_write_zeroes_seg=3 "));
	/* What the device does not offer is not there. */
	show(2, 1 << VIRTIO_BLK_F_MQ, &cfg, sizeof(cfg));
	assert_string_equal(info.text, "capacity=2048 size=1048576 num_queues=4 ");
	/* Nor what lies behind the end of a short one. */
	show(2, UINT64_MAX, &cfg, 12);
	assert_string_equal(info.text, "capacity=2048 size=1048576 size_max=0 ");
	show(2, UINT64_MAX, &cfg, 7);
	assert_string_equal(info.text, "");
}

static void test_class_config_of_net(void **state)
{
	struct virtio_net_config cfg = {
		.mac = {0x52, 0x54, 0, 0x12, 0x34, 0xab},
		.status = 1,
		.max_virtqueue_pairs = 4,
		.mtu = 9000,
		.speed = 100000,
	};

	show(1, UINT64_MAX, &cfg, sizeof(cfg));
	assert_true(fake_info_has(&info, "mac=52:54:00:12:34:ab status=1 max_virtqueue_pairs=4 "
					 "mtu=9000 speed=100000 duplex=0 "));
	assert_true(fake_info_has(&info, "supported_hash_types=0x0 "));
}

/* Masks by name, in two words, too, and what nobody has named. */
static void test_class_config_of_crypto(void **state)
{
	struct virtio_crypto_config cfg = {
		.status = 1,
		.max_dataqueues = 2,
		.crypto_services = 0x11,
		.cipher_algo_l = 1u << VIRTIO_CRYPTO_CIPHER_AES_XTS | 1u << 31,
		.hash_algo = 1u << VIRTIO_CRYPTO_HASH_SHA3_SHAKE256,
		.mac_algo_l = 1u << VIRTIO_CRYPTO_MAC_CMAC_AES,
		.mac_algo_h = 1u << (VIRTIO_CRYPTO_MAC_CBCMAC_AES - 32),
		.akcipher_algo = 6,
		.max_size = 1ull << 33,
	};

	show(VIRTIO_ID_CRYPTO, 0, &cfg, sizeof(cfg));
	assert_string_equal(
		info.text,
		"status [ HW_READY } max_dataqueues=2 crypto_services [ CIPHER AKCIPHER } "
		"cipher_algo [ AES_XTS bit 31 } hash_algo [ SHA3_SHAKE256 } "
		"mac_algo [ CMAC_AES CBCMAC_AES } aead_algo [ } max_cipher_key_len=0 "
		"max_auth_key_len=0 akcipher_algo [ RSA ECDSA } max_size=8589934592 ");
}

static void test_class_config_of_others(void **state)
{
	struct virtio_console_config console = {.cols = 80, .rows = 25};
	struct virtio_scsi_config scsi = {.num_queues = 3, .max_target = 7, .max_lun = 9};
	struct virtio_fs_config fs = {.num_request_queues = 2};
	uint8_t unknown[18] = {0xab, [17] = 1};

	show(3, 1, &console, sizeof(console));
	assert_string_equal(info.text, "cols=80 rows=25 ");
	show(8, 0, &scsi, sizeof(scsi));
	assert_true(fake_info_has(&info, "num_queues=3 "));
	assert_true(fake_info_has(&info, "max_target=7 max_lun=9 "));
	memset(fs.tag, 'x', sizeof(fs.tag));
	show(26, 0, &fs, sizeof(fs));
	assert_string_equal(info.text, "tag=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx "
				       "num_request_queues=2 ");
	show(4, 0, NULL, 0);
	assert_string_equal(info.text, "");
	show(99, 0, unknown, sizeof(unknown));
	assert_string_equal(info.text, "bytes [ ab 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 "
				       "00 01 } ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_class_names),
		cmocka_unit_test(test_class_feature_names),
		cmocka_unit_test(test_class_config_of_blk),
		cmocka_unit_test(test_class_config_of_net),
		cmocka_unit_test(test_class_config_of_crypto),
		cmocka_unit_test(test_class_config_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
