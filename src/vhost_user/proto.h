/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The words of the vhost-user protocol: message numbers, feature bits, payloads.  All numbers are
 * in the machine's byte order.  What each message may carry stands in one table, in msg.c.
 */
#ifndef VHOST_USER_PROTO_H
#define VHOST_USER_PROTO_H

#include <stdint.h>

/* Front-end to back-end. */
enum vu_request {
	VU_GET_FEATURES = 1,
	VU_SET_FEATURES = 2,
	VU_SET_OWNER = 3,
	VU_RESET_OWNER = 4,
	VU_SET_MEM_TABLE = 5,
	VU_SET_LOG_BASE = 6,
	VU_SET_LOG_FD = 7,
	VU_SET_VRING_NUM = 8,
	VU_SET_VRING_ADDR = 9,
	VU_SET_VRING_BASE = 10,
	VU_GET_VRING_BASE = 11,
	VU_SET_VRING_KICK = 12,
	VU_SET_VRING_CALL = 13,
	VU_SET_VRING_ERR = 14,
	VU_GET_PROTOCOL_FEATURES = 15,
	VU_SET_PROTOCOL_FEATURES = 16,
	VU_GET_QUEUE_NUM = 17,
	VU_SET_VRING_ENABLE = 18,
	VU_SEND_RARP = 19,
	VU_NET_SET_MTU = 20,
	VU_SET_BACKEND_REQ_FD = 21,
	VU_IOTLB_MSG = 22,
	VU_SET_VRING_ENDIAN = 23,
	VU_GET_CONFIG = 24,
	VU_SET_CONFIG = 25,
	VU_CREATE_CRYPTO_SESSION = 26,
	VU_CLOSE_CRYPTO_SESSION = 27,
	VU_POSTCOPY_ADVISE = 28,
	VU_POSTCOPY_LISTEN = 29,
	VU_POSTCOPY_END = 30,
	VU_GET_INFLIGHT_FD = 31,
	VU_SET_INFLIGHT_FD = 32,
	VU_GPU_SET_SOCKET = 33,
	VU_RESET_DEVICE = 34,
	VU_VRING_KICK = 35,
	VU_GET_MAX_MEM_SLOTS = 36,
	VU_ADD_MEM_REG = 37,
	VU_REM_MEM_REG = 38,
	VU_SET_STATUS = 39,
	VU_GET_STATUS = 40,
	VU_GET_SHARED_OBJECT = 41,
	VU_SET_DEVICE_STATE_FD = 42,
	VU_CHECK_DEVICE_STATE = 43,
	VU_GET_SHMEM_CONFIG = 44,
	VU_REQUEST_MAX,
};

/* Back-end to front-end, on the channel of SET_BACKEND_REQ_FD. */
enum vu_backend_request {
	VU_BACKEND_IOTLB_MSG = 1,
	VU_BACKEND_CONFIG_CHANGE_MSG = 2,
	VU_BACKEND_VRING_HOST_NOTIFIER_MSG = 3,
	VU_BACKEND_VRING_CALL = 4,
	VU_BACKEND_VRING_ERR = 5,
	VU_BACKEND_SHARED_OBJECT_ADD = 6,
	VU_BACKEND_SHARED_OBJECT_REMOVE = 7,
	VU_BACKEND_SHARED_OBJECT_LOOKUP = 8,
	VU_BACKEND_SHMEM_MAP = 9,
	VU_BACKEND_SHMEM_UNMAP = 10,
	VU_BACKEND_REQUEST_MAX,
};

/* Protocol feature bits. */
enum vu_protocol_feature {
	VU_PROTOCOL_F_MQ = 0,
	VU_PROTOCOL_F_LOG_SHMFD = 1,
	VU_PROTOCOL_F_RARP = 2,
	VU_PROTOCOL_F_REPLY_ACK = 3,
	VU_PROTOCOL_F_MTU = 4,
	VU_PROTOCOL_F_BACKEND_REQ = 5,
	VU_PROTOCOL_F_CROSS_ENDIAN = 6,
	VU_PROTOCOL_F_CRYPTO_SESSION = 7,
	VU_PROTOCOL_F_PAGEFAULT = 8,
	VU_PROTOCOL_F_CONFIG = 9,
	VU_PROTOCOL_F_BACKEND_SEND_FD = 10,
	VU_PROTOCOL_F_HOST_NOTIFIER = 11,
	VU_PROTOCOL_F_INFLIGHT_SHMFD = 12,
	VU_PROTOCOL_F_RESET_DEVICE = 13,
	VU_PROTOCOL_F_INBAND_NOTIFICATIONS = 14,
	VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS = 15,
	VU_PROTOCOL_F_STATUS = 16,
	VU_PROTOCOL_F_XEN_MMAP = 17,
	VU_PROTOCOL_F_SHARED_OBJECT = 18,
	VU_PROTOCOL_F_DEVICE_STATE = 19,
	VU_PROTOCOL_F_GET_VRING_BASE_INFLIGHT = 20,
	VU_PROTOCOL_F_GPA_ADDRESSES = 21,
	VU_PROTOCOL_F_SHMEM = 22,
	VU_PROTOCOL_F_MAX,
};

/* Virtio feature bits that have a meaning of their own between front-end and back-end. */
#define VU_F_LOG_ALL           26
#define VU_F_PROTOCOL_FEATURES 30
#define VU_F_ACCESS_PLATFORM   33

#define VU_FLAG_VERSION      1u
#define VU_FLAG_VERSION_MASK 3u
#define VU_FLAG_REPLY        4u
#define VU_FLAG_NEED_REPLY   8u

#define VU_FDS_MAX    8    /* descriptors with one message */
#define VU_TABLE_MAX  8    /* regions in SET_MEM_TABLE */
#define VU_CONFIG_MAX 4096 /* bytes of config space in one message */
#define VU_RINGS_MAX  256  /* the index field of SET_VRING_KICK has 8 bits */
#define VU_LOG_PAGE   4096

struct vu_hdr {
	uint32_t request;
	uint32_t flags;
	uint32_t size; /* of the payload, bytes */
};

struct vu_vring_state {
	uint32_t index;
	uint32_t num;
};

#define VU_VRING_F_LOG 1u

struct vu_vring_addr {
	uint32_t index;
	uint32_t flags;             /* VU_VRING_F_LOG */
	uint64_t desc, used, avail; /* user addresses of the front-end */
	uint64_t log;               /* guest address of the used ring, for the log */
};

/* The u64 of SET_VRING_KICK, CALL and ERR. */
#define VU_VRING_FD_INDEX 0xffull
#define VU_VRING_FD_NONE  0x100ull

struct vu_region {
	uint64_t gpa;
	uint64_t size;
	uint64_t uaddr;  /* where the front-end has it */
	uint64_t offset; /* in the descriptor */
};

struct vu_mem_table {
	uint32_t num;
	uint32_t padding;
	struct vu_region regions[VU_TABLE_MAX];
};

struct vu_mem_reg {
	uint64_t padding;
	struct vu_region region;
};

struct vu_log {
	uint64_t size;
	uint64_t offset;
};

struct vu_config {
	uint32_t offset;
	uint32_t size;
	uint32_t flags; /* 1: for migration */
	uint8_t data[VU_CONFIG_MAX];
};

struct vu_inflight {
	uint64_t mmap_size;
	uint64_t mmap_offset;
	uint16_t num_queues;
	uint16_t queue_size;
	uint32_t padding; /* some front-ends send it, some do not */
};

enum vu_state_direction {
	VU_STATE_SAVE = 0, /* from the back-end */
	VU_STATE_LOAD = 1, /* to the back-end */
};

#define VU_STATE_STOPPED 0u /* the phase: no ring runs */

struct vu_device_state {
	uint32_t direction; /* enum vu_state_direction */
	uint32_t phase;
};

/* The u64 of the answers to SET_DEVICE_STATE_FD and CHECK_DEVICE_STATE. */
#define VU_STATE_FAILED     1ull /* any number in the bits below says so */
#define VU_STATE_ERROR_MASK 0xffull
#define VU_STATE_FD_NONE    0x100ull /* no other channel comes with the answer */

/*
 * Session parameters as QEMU sends them: with what are pointers in its memory, and mean nothing
 * here. Opcodes and algorithms are those of virtio; the session id is negative when there is none.
 */
struct vu_crypto_sym {
	uint32_t cipher_algo, cipher_key_len;
	uint32_t hash_algo, hash_result_len, auth_key_len, aad_len;
	uint8_t op_type, direction, hash_mode, chain_order;
	uint32_t padding;
	uint64_t pointers[2];
	uint8_t cipher_key[64], auth_key[512];
};

struct vu_crypto_asym {
	uint32_t algo, key_type, key_len, padding;
	uint64_t pointer;
	uint32_t params[2]; /* RSA: padding and hash; ECDSA: the curve */
	uint8_t key[1024];
};

struct vu_crypto_session {
	uint64_t opcode;
	union {
		struct vu_crypto_sym sym;
		struct vu_crypto_asym asym;
	};
	int64_t session_id;
};

/* Before version 7.1. */
struct vu_crypto_session_old {
	int64_t session_id;
	uint32_t opcode;
	uint32_t cipher_algo, cipher_key_len;
	uint32_t hash_algo, hash_result_len, auth_key_len, aad_len;
	uint8_t op_type, direction, hash_mode, chain_order;
	uint64_t pointers[2];
	uint8_t cipher_key[64], auth_key[512];
};

union vu_payload {
	uint64_t u64;
	struct vu_vring_state state;
	struct vu_vring_addr addr;
	struct vu_mem_table table;
	struct vu_mem_reg reg;
	struct vu_log log;
	struct vu_config config;
	struct vu_inflight inflight;
	struct vu_device_state device_state;
	struct vu_crypto_session crypto;
	struct vu_crypto_session_old crypto_old;
};

/* Sizes on the wire. */
#define VU_TABLE_HDR     8u
#define VU_CONFIG_HDR    12u
#define VU_INFLIGHT_SIZE 20u

_Static_assert(sizeof(struct vu_hdr) == 12, "wire format");
_Static_assert(sizeof(struct vu_vring_addr) == 40, "wire format");
_Static_assert(sizeof(struct vu_mem_table) == VU_TABLE_HDR + 32 * VU_TABLE_MAX, "wire format");
_Static_assert(sizeof(struct vu_mem_reg) == 40, "wire format");
_Static_assert(sizeof(struct vu_inflight) == 24, "wire format");
_Static_assert(sizeof(struct vu_crypto_session) == 1072, "wire format");
_Static_assert(sizeof(struct vu_crypto_session_old) == 632, "wire format");

#endif
