/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is known of the virtio device classes: names, feature bits, config spaces.  One row for each
 * class; numbers and names are those of virtio 1.3, chapter 5, and of the kernel's virtio headers.
 */
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>

#include "base/defs.h"
#include "vdpa/bus.h"

struct bit_name {
	uint8_t bit;
	const char *name;
};

enum field_kind {
	FIELD_UINT,
	FIELD_MAC,
	FIELD_TEXT,    /* padded with NUL */
	FIELD_BITS,    /* a mask: of what has names, if there are some */
	FIELD_SECTORS, /* 512-byte sectors: shown as bytes, too */
};

#define ALWAYS 255

struct config_field {
	const char *name;
	uint16_t offset;
	uint8_t len;
	enum field_kind kind;
	uint8_t feature; /* there only when this bit is offered; ALWAYS */
	const struct bit_name *names;
};

struct class_row {
	const char *name;
	const struct bit_name *bits;       /* ends with a row without a name */
	const struct config_field *config; /* the same */
};

static const struct bit_name ring_bits[] = {
	{24, "NOTIFY_ON_EMPTY"},
	{26, "LOG_ALL"},
	{27, "ANY_LAYOUT"},
	{28, "INDIRECT_DESC"},
	{29, "EVENT_IDX"},
	{30, "PROTOCOL_FEATURES"},
	{32, "VERSION_1"},
	{33, "ACCESS_PLATFORM"},
	{34, "RING_PACKED"},
	{35, "IN_ORDER"},
	{36, "ORDER_PLATFORM"},
	{37, "SR_IOV"},
	{38, "NOTIFICATION_DATA"},
	{39, "NOTIF_CONFIG_DATA"},
	{40, "RING_RESET"},
	{41, "ADMIN_VQ"},
	{0, NULL},
};

static const struct bit_name net_bits[] = {
	{0, "CSUM"},
	{1, "GUEST_CSUM"},
	{2, "CTRL_GUEST_OFFLOADS"},
	{3, "MTU"},
	{5, "MAC"},
	{6, "GSO"},
	{7, "GUEST_TSO4"},
	{8, "GUEST_TSO6"},
	{9, "GUEST_ECN"},
	{10, "GUEST_UFO"},
	{11, "HOST_TSO4"},
	{12, "HOST_TSO6"},
	{13, "HOST_ECN"},
	{14, "HOST_UFO"},
	{15, "MRG_RXBUF"},
	{16, "STATUS"},
	{17, "CTRL_VQ"},
	{18, "CTRL_RX"},
	{19, "CTRL_VLAN"},
	{20, "CTRL_RX_EXTRA"},
	{21, "GUEST_ANNOUNCE"},
	{22, "MQ"},
	{23, "CTRL_MAC_ADDR"},
	{51, "DEVICE_STATS"},
	{52, "VQ_NOTF_COAL"},
	{53, "NOTF_COAL"},
	{54, "GUEST_USO4"},
	{55, "GUEST_USO6"},
	{56, "HOST_USO"},
	{57, "HASH_REPORT"},
	{59, "GUEST_HDRLEN"},
	{60, "RSS"},
	{61, "RSC_EXT"},
	{62, "STANDBY"},
	{63, "SPEED_DUPLEX"},
	{0, NULL},
};

static const struct config_field net_config[] = {
	{"mac", 0, 6, FIELD_MAC, 5},
	{"status", 6, 2, FIELD_UINT, 16},
	{"max_virtqueue_pairs", 8, 2, FIELD_UINT, 22},
	{"mtu", 10, 2, FIELD_UINT, 3},
	{"speed", 12, 4, FIELD_UINT, 63},
	{"duplex", 16, 1, FIELD_UINT, 63},
	{"rss_max_key_size", 17, 1, FIELD_UINT, 60},
	{"rss_max_indirection_table_length", 18, 2, FIELD_UINT, 60},
	{"supported_hash_types", 20, 4, FIELD_BITS, 57},
	{0},
};

static const struct bit_name blk_bits[] = {
	{0, "BARRIER"},       {1, "SIZE_MAX"},  {2, "SEG_MAX"},
	{4, "GEOMETRY"},      {5, "RO"},        {6, "BLK_SIZE"},
	{7, "SCSI"},          {9, "FLUSH"},     {10, "TOPOLOGY"},
	{11, "CONFIG_WCE"},   {12, "MQ"},       {13, "DISCARD"},
	{14, "WRITE_ZEROES"}, {15, "LIFETIME"}, {16, "SECURE_ERASE"},
	{17, "ZONED"},        {0, NULL},
};

static const struct config_field blk_config[] = {
	{"capacity", 0, 8, FIELD_SECTORS, ALWAYS},
	{"size_max", 8, 4, FIELD_UINT, 1},
	{"seg_max", 12, 4, FIELD_UINT, 2},
	{"cylinders", 16, 2, FIELD_UINT, 4},
	{"heads", 18, 1, FIELD_UINT, 4},
	{"sectors", 19, 1, FIELD_UINT, 4},
	{"blk_size", 20, 4, FIELD_UINT, 6},
	{"physical_block_exp", 24, 1, FIELD_UINT, 10},
	{"alignment_offset", 25, 1, FIELD_UINT, 10},
	{"min_io_size", 26, 2, FIELD_UINT, 10},
	{"opt_io_size", 28, 4, FIELD_UINT, 10},
	{"writeback", 32, 1, FIELD_UINT, 11},
	{"num_queues", 34, 2, FIELD_UINT, 12},
	{"max_discard_sectors", 36, 4, FIELD_UINT, 13},
	{"max_discard_seg", 40, 4, FIELD_UINT, 13},
	{"discard_sector_alignment", 44, 4, FIELD_UINT, 13},
	{"max_write_zeroes_sectors", 48, 4, FIELD_UINT, 14},
	{"max_write_zeroes_seg", 52, 4, FIELD_UINT, 14},
	{"write_zeroes_may_unmap", 56, 1, FIELD_UINT, 14},
	{"max_secure_erase_sectors", 60, 4, FIELD_UINT, 16},
	{"max_secure_erase_seg", 64, 4, FIELD_UINT, 16},
	{"secure_erase_sector_alignment", 68, 4, FIELD_UINT, 16},
	{"zone_sectors", 72, 4, FIELD_UINT, 17},
	{"max_open_zones", 76, 4, FIELD_UINT, 17},
	{"max_active_zones", 80, 4, FIELD_UINT, 17},
	{"max_append_sectors", 84, 4, FIELD_UINT, 17},
	{"write_granularity", 88, 4, FIELD_UINT, 17},
	{"zoned_model", 92, 1, FIELD_UINT, 17},
	{0},
};

static const struct bit_name console_bits[] = {
	{0, "SIZE"}, {1, "MULTIPORT"}, {2, "EMERG_WRITE"}, {0, NULL}};

static const struct config_field console_config[] = {
	{"cols", 0, 2, FIELD_UINT, 0},
	{"rows", 2, 2, FIELD_UINT, 0},
	{"max_nr_ports", 4, 4, FIELD_UINT, 1},
	{0},
};

/* Entropy devices have neither bits nor a config space. */
static const struct bit_name no_bits[] = {{0, NULL}};
static const struct config_field no_config[] = {{0}};

static const struct bit_name scsi_bits[] = {
	{0, "INOUT"}, {1, "HOTPLUG"}, {2, "CHANGE"}, {3, "T10_PI"}, {0, NULL}};

static const struct config_field scsi_config[] = {
	{"num_queues", 0, 4, FIELD_UINT, ALWAYS},
	{"seg_max", 4, 4, FIELD_UINT, ALWAYS},
	{"max_sectors", 8, 4, FIELD_UINT, ALWAYS},
	{"cmd_per_lun", 12, 4, FIELD_UINT, ALWAYS},
	{"event_info_size", 16, 4, FIELD_UINT, ALWAYS},
	{"sense_size", 20, 4, FIELD_UINT, ALWAYS},
	{"cdb_size", 24, 4, FIELD_UINT, ALWAYS},
	{"max_channel", 28, 2, FIELD_UINT, ALWAYS},
	{"max_target", 30, 2, FIELD_UINT, ALWAYS},
	{"max_lun", 32, 4, FIELD_UINT, ALWAYS},
	{0},
};

static const struct bit_name crypto_bits[] = {
	{0, "REVISION_1"},
	{1, "CIPHER_STATELESS_MODE"},
	{2, "HASH_STATELESS_MODE"},
	{3, "MAC_STATELESS_MODE"},
	{4, "AEAD_STATELESS_MODE"},
	{5, "AKCIPHER_STATELESS_MODE"},
	{0, NULL},
};

static const struct bit_name crypto_status[] = {{0, "HW_READY"}, {0, NULL}};

static const struct bit_name crypto_services[] = {
	{0, "CIPHER"}, {1, "HASH"}, {2, "MAC"}, {3, "AEAD"}, {4, "AKCIPHER"}, {0, NULL},
};

static const struct bit_name crypto_ciphers[] = {
	{1, "ARC4"},         {2, "AES_ECB"},  {3, "AES_CBC"},  {4, "AES_CTR"},   {5, "DES_ECB"},
	{6, "DES_CBC"},      {7, "3DES_ECB"}, {8, "3DES_CBC"}, {9, "3DES_CTR"},  {10, "KASUMI_F8"},
	{11, "SNOW3G_UEA2"}, {12, "AES_F8"},  {13, "AES_XTS"}, {14, "ZUC_EEA3"}, {0, NULL},
};

static const struct bit_name crypto_hashes[] = {
	{1, "MD5"},      {2, "SHA1"},      {3, "SHA_224"},        {4, "SHA_256"},
	{5, "SHA_384"},  {6, "SHA_512"},   {7, "SHA3_224"},       {8, "SHA3_256"},
	{9, "SHA3_384"}, {10, "SHA3_512"}, {11, "SHA3_SHAKE128"}, {12, "SHA3_SHAKE256"},
	{0, NULL},
};

static const struct bit_name crypto_macs[] = {
	{1, "HMAC_MD5"},     {2, "HMAC_SHA1"},         {3, "HMAC_SHA_224"}, {4, "HMAC_SHA_256"},
	{5, "HMAC_SHA_384"}, {6, "HMAC_SHA_512"},      {25, "CMAC_3DES"},   {26, "CMAC_AES"},
	{27, "KASUMI_F9"},   {28, "SNOW3G_UIA2"},      {41, "GMAC_AES"},    {42, "GMAC_TWOFISH"},
	{49, "CBCMAC_AES"},  {50, "CBCMAC_KASUMI_F9"}, {53, "XCBC_AES"},    {54, "ZUC_EIA3"},
	{0, NULL},
};

static const struct bit_name crypto_aeads[] = {
	{1, "GCM"},
	{2, "CCM"},
	{3, "CHACHA20_POLY1305"},
	{0, NULL},
};

static const struct bit_name crypto_akciphers[] = {{1, "RSA"}, {2, "ECDSA"}, {0, NULL}};

/* The two halves of a mask are shown as one. */
static const struct config_field crypto_config[] = {
	{"status", 0, 4, FIELD_BITS, ALWAYS, crypto_status},
	{"max_dataqueues", 4, 4, FIELD_UINT, ALWAYS},
	{"crypto_services", 8, 4, FIELD_BITS, ALWAYS, crypto_services},
	{"cipher_algo", 12, 8, FIELD_BITS, ALWAYS, crypto_ciphers},
	{"hash_algo", 20, 4, FIELD_BITS, ALWAYS, crypto_hashes},
	{"mac_algo", 24, 8, FIELD_BITS, ALWAYS, crypto_macs},
	{"aead_algo", 32, 4, FIELD_BITS, ALWAYS, crypto_aeads},
	{"max_cipher_key_len", 36, 4, FIELD_UINT, ALWAYS},
	{"max_auth_key_len", 40, 4, FIELD_UINT, ALWAYS},
	{"akcipher_algo", 44, 4, FIELD_BITS, ALWAYS, crypto_akciphers},
	{"max_size", 48, 8, FIELD_UINT, ALWAYS},
	{0},
};

static const struct bit_name fs_bits[] = {{0, "NOTIFICATION"}, {0, NULL}};

static const struct config_field fs_config[] = {
	{"tag", 0, 36, FIELD_TEXT, ALWAYS},
	{"num_request_queues", 36, 4, FIELD_UINT, ALWAYS},
	{"notify_buf_size", 40, 4, FIELD_UINT, 0},
	{0},
};

/* By device id.  Without a table of fields the config space is shown as it is. */
static const struct class_row classes[] = {
	[VIRTIO_ID_NET] = {"net", net_bits, net_config},
	[VIRTIO_ID_BLOCK] = {"blk", blk_bits, blk_config},
	[VIRTIO_ID_CONSOLE] = {"console", console_bits, console_config},
	[VIRTIO_ID_RNG] = {"rng", no_bits, no_config},
	[VIRTIO_ID_BALLOON] = {"balloon", NULL, NULL},
	[VIRTIO_ID_RPMSG] = {"rpmsg", NULL, NULL},
	[VIRTIO_ID_SCSI] = {"scsi", scsi_bits, scsi_config},
	[VIRTIO_ID_9P] = {"9p", NULL, NULL},
	[VIRTIO_ID_RPROC_SERIAL] = {"rproc-serial", NULL, NULL},
	[VIRTIO_ID_CAIF] = {"caif", NULL, NULL},
	[VIRTIO_ID_GPU] = {"gpu", NULL, NULL},
	[VIRTIO_ID_CLOCK] = {"clock", NULL, NULL},
	[VIRTIO_ID_INPUT] = {"input", NULL, NULL},
	[VIRTIO_ID_VSOCK] = {"vsock", NULL, NULL},
	[VIRTIO_ID_CRYPTO] = {"crypto", crypto_bits, crypto_config},
	[VIRTIO_ID_PSTORE] = {"pstore", NULL, NULL},
	[VIRTIO_ID_IOMMU] = {"iommu", NULL, NULL},
	[VIRTIO_ID_MEM] = {"mem", NULL, NULL},
	[VIRTIO_ID_SOUND] = {"sound", NULL, NULL},
	[VIRTIO_ID_FS] = {"fs", fs_bits, fs_config},
	[VIRTIO_ID_PMEM] = {"pmem", NULL, NULL},
	[VIRTIO_ID_RPMB] = {"rpmb", NULL, NULL},
	[VIRTIO_ID_VIDEO_ENCODER] = {"video-encoder", NULL, NULL},
	[VIRTIO_ID_VIDEO_DECODER] = {"video-decoder", NULL, NULL},
	[VIRTIO_ID_SCMI] = {"scmi", NULL, NULL},
	[VIRTIO_ID_I2C_ADAPTER] = {"i2c", NULL, NULL},
	[VIRTIO_ID_WATCHDOG] = {"watchdog", NULL, NULL},
	[VIRTIO_ID_CAN] = {"can", NULL, NULL},
	[VIRTIO_ID_DMABUF] = {"dmabuf", NULL, NULL},
	[VIRTIO_ID_PARAM_SERV] = {"parameter-server", NULL, NULL},
	[VIRTIO_ID_AUDIO_POLICY] = {"audio-policy", NULL, NULL},
	[VIRTIO_ID_BT] = {"bluetooth", NULL, NULL},
	[VIRTIO_ID_GPIO] = {"gpio", NULL, NULL},
};

static const struct class_row *class_row(uint32_t device_id)
{
	static const struct class_row unknown;

	return device_id < ARRAY_SIZE(classes) ? &classes[device_id] : &unknown;
}

VDPA_API const char *vdpa_class_name(uint32_t device_id)
{
	return class_row(device_id)->name;
}

VDPA_API uint32_t vdpa_class_id(const char *name)
{
	/* As iproute2 calls them. */
	if (!strcmp(name, "block"))
		return VIRTIO_ID_BLOCK;
	if (!strcmp(name, "network"))
		return VIRTIO_ID_NET;
	for (uint32_t id = 0; id < ARRAY_SIZE(classes); id++)
		if (classes[id].name && !strcmp(classes[id].name, name))
			return id;
	return 0;
}

static const char *bit_find(const struct bit_name *bits, unsigned int bit)
{
	for (; bits && bits->name; bits++)
		if (bits->bit == bit)
			return bits->name;
	return NULL;
}

/* Bits 24 to 40 are those of rings and transports, the others the class's. @spec virtio 1.3, 2.2 */
VDPA_API const char *vdpa_feature_name(uint32_t device_id, unsigned int bit, char buf[16])
{
	const char *name = bit_find(ring_bits, bit);

	if (!name)
		name = bit_find(class_row(device_id)->bits, bit);
	if (name)
		return name;
	snprintf(buf, 16, "bit %u", bit);
	return buf;
}

/* ---- config space */

static uint64_t le_value(const uint8_t *p, uint8_t len)
{
	uint64_t value = 0;

	while (len)
		value = value << 8 | p[--len];
	return value;
}

/* By name; bits that have none by number. */
static void show_bits(const struct config_field *f, uint64_t value, struct vdpa_info *info)
{
	if (!f->names) {
		vdpa_info_fmt(info, f->name, "0x%llx", (unsigned long long)value);
		return;
	}
	vdpa_info_open_list(info, f->name);
	for (unsigned int bit = 0; bit < 64; bit++) {
		const char *name = bit_find(f->names, bit);

		if (value & BIT_ULL(bit) && name)
			vdpa_info_str(info, NULL, name);
		else if (value & BIT_ULL(bit))
			vdpa_info_fmt(info, NULL, "bit %u", bit);
	}
	vdpa_info_close(info);
}

static void show_field(const struct config_field *f, const uint8_t *p, struct vdpa_info *info)
{
	uint64_t value = f->len <= 8 ? le_value(p, f->len) : 0;
	char text[64];

	switch (f->kind) {
	case FIELD_UINT:
		vdpa_info_u64(info, f->name, value);
		break;
	case FIELD_MAC:
		vdpa_info_fmt(info, f->name, "%02x:%02x:%02x:%02x:%02x:%02x", p[0], p[1], p[2],
			      p[3], p[4], p[5]);
		break;
	case FIELD_TEXT:
		snprintf(text, sizeof(text), "%.*s", (int)f->len, (const char *)p);
		vdpa_info_str(info, f->name, text);
		break;
	case FIELD_BITS:
		show_bits(f, value, info);
		break;
	case FIELD_SECTORS:
		vdpa_info_u64(info, f->name, value);
		vdpa_info_u64(info, "size", value << 9);
		break;
	}
}

static void show_hex(const uint8_t *p, size_t len, struct vdpa_info *info)
{
	char line[3 * 16 + 1];

	vdpa_info_open_list(info, "bytes");
	for (size_t off = 0; off < len; off += 16) {
		for (size_t i = 0; i < 16 && off + i < len; i++)
			sprintf(line + 3 * i - !!i, i ? " %02x" : "%02x", p[off + i]);
		vdpa_info_str(info, NULL, line);
	}
	vdpa_info_close(info);
}

VDPA_API void vdpa_class_config_show(uint32_t device_id, uint64_t features, const void *config,
				     size_t len, struct vdpa_info *info)
{
	const struct config_field *f = class_row(device_id)->config;
	const uint8_t *bytes = config;

	if (!f) {
		show_hex(bytes, len, info);
		return;
	}
	for (; f->name; f++)
		if (range_fits(f->offset, f->len, len) &&
		    (f->feature == ALWAYS || (features & BIT_ULL(f->feature))))
			show_field(f, bytes + f->offset, info);
}
