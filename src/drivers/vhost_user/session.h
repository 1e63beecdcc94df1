/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One front-end's use of a device: what it has told us, and how that becomes calls of the config
 * ops.
 *
 * Front-ends send their messages in any order, and some again while rings run.  So nothing but what
 * the protocol wants answered at once reaches the device when a message comes: messages only change
 * the record below.  The device is brought up when the first ring can start (enabled, and with its
 * size, its addresses and its kick), from the whole record.
 *
 * All of it runs on the device's lane, but for what is said to be any thread's.
 */
#ifndef DRIVERS_VHOST_USER_SESSION_H
#define DRIVERS_VHOST_USER_SESSION_H

#include <pthread.h>

#include "base/ratelimit.h"
#include "vdpa/bus.h"
#include "vhost_user/msg.h"

/* Protocol features with code behind them. */
#define VHU_PROTOCOL_FEATURES                                                                      \
	(1ull << VU_PROTOCOL_F_MQ | 1ull << VU_PROTOCOL_F_LOG_SHMFD | 1ull << VU_PROTOCOL_F_RARP | \
	 1ull << VU_PROTOCOL_F_REPLY_ACK | 1ull << VU_PROTOCOL_F_MTU |                             \
	 1ull << VU_PROTOCOL_F_BACKEND_REQ | 1ull << VU_PROTOCOL_F_CONFIG |                        \
	 1ull << VU_PROTOCOL_F_INFLIGHT_SHMFD | 1ull << VU_PROTOCOL_F_RESET_DEVICE |               \
	 1ull << VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS | 1ull << VU_PROTOCOL_F_STATUS |                \
	 1ull << VU_PROTOCOL_F_DEVICE_STATE | 1ull << VU_PROTOCOL_F_CRYPTO_SESSION)

/* Virtio feature bits that end here: they mean something else on the wire, or we cannot serve them.
 */
#define VHU_MASKED_FEATURES                                                                        \
	(1ull << VU_F_LOG_ALL | 1ull << VU_F_PROTOCOL_FEATURES | 1ull << VU_F_ACCESS_PLATFORM)

#define VHU_SLOTS_MAX  1024 /* memory regions of a session */
/* Bytes of them together: sparse files must not use up the address space that all share. */
#define VHU_MEMORY_MAX (1ull << 43)

/* Bytes of a device's state that is saved or loaded. */
#define VHU_STATE_MAX (1u << 24)

/* How long a front-end may not take our answer, milliseconds. */
#define VHU_SEND_TIMEOUT_MS 2000

struct vhu_ring {
	uint32_t num; /* 0: not set */
	bool addr_set;
	bool base_set;
	struct vu_vring_addr addr;
	uint32_t base; /* as sent; decoded when the ring starts */
	bool enabled;
	bool kicked; /* SET_VRING_KICK came: with a descriptor, or to say that there is none */
	int kick, call,
		err;  /* -1: none.  The device gets duplicates, since a reset closes its own */
	bool running; /* ready on the device */
	bool resume;  /* state, not base, says where it goes on */
	struct vdpa_vq_state state;
};

struct vhu_region {
	struct vu_region region;
	struct vdpa_mem *mem;
};

/* What CONFIG_CHANGE_MSG needs: the one part that other threads use. */
struct vhu_backend_channel {
	pthread_mutex_t lock;
	int fd;           /* -1: none */
	unsigned running; /* rings; with none running nothing may be sent */
	bool config;      /* CONFIG was negotiated */
	bool pending;     /* a change that was not told yet */
};

/* The device's state on its way, from SET_DEVICE_STATE_FD to CHECK_DEVICE_STATE. */
struct vhu_transfer {
	bool under_way;
	int fd; /* what the front-end writes and we are to load; -1: it reads */
};

struct vhu_session {
	struct vdpa_device *vdev;
	int sock; /* borrowed; -1: no session */
	uint64_t protocol_features;
	uint64_t features; /* as acked, with LOG_ALL and PROTOCOL_FEATURES */
	bool features_set;
	uint8_t status; /* as the front-end has set it */
	bool uses_status;
	bool negotiated; /* the device is at FEATURES_OK at least, with up_features */
	bool up;         /* ... and at DRIVER_OK */
	uint64_t up_features;
	bool map_published;
	uint16_t num_rings;
	struct vhu_ring *rings;
	uint32_t num_regions;
	struct vhu_region *regions;
	struct vdpa_dirty_log *log;
	struct vdpa_inflight_region inflight;
	struct vhu_transfer transfer;
	struct vhu_backend_channel channel;
	struct vu_msg msg; /* the one being received */
	pthread_mutex_t log_lock;
	struct ratelimit log_limit; /* under log_lock */
};

/* 0, -ENOMEM */
int vhu_session_init(struct vhu_session *s, struct vdpa_device *vdev);
void vhu_session_destroy(struct vhu_session *s);
bool vhu_session_open(const struct vhu_session *s);
/* A front-end is there.  sock stays the caller's. */
void vhu_session_begin(struct vhu_session *s, int sock);
/* Drains and resets the device, forgets the front-end.  Without a session nothing happens. */
void vhu_session_end(struct vhu_session *s);
/*
 * Read and handle up to max messages.  1: there may be more, 0: all read, -EPIPE: the front-end has
 * left, other errors: the session must end; the text says why.
 */
int vhu_session_read(struct vhu_session *s, unsigned int max, struct vdpa_extack *ack);
/* Handle s->msg, which is whole.  As vhu_session_read(). */
int vhu_session_handle(struct vhu_session *s, struct vdpa_extack *ack);
/* The device's config space has changed.  ANY THREAD. */
void vhu_session_config_changed(struct vhu_session *s);

/* A line about what the front-end does; one that does too much is cut short.  ANY THREAD. */
void vhu_session_log(struct vhu_session *s, enum vdpa_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Do rings run? */
bool vhu_session_active(const struct vhu_session *s);

/* ---- between the files of this folder */

/*
 * A handler returns 0, or an error: -EPROTO ends the session, others end it unless the front-end
 * wants an answer (which then says no).  `reply` is the payload to answer with; reply_fd is closed
 * after sending.
 */
struct vhu_reply {
	union vu_payload payload;
	uint32_t size;
	int fd; /* -1: none */
};
typedef int vhu_handler_fn(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
			   struct vdpa_extack *ack);

/* features.c */
vhu_handler_fn vhu_get_features, vhu_set_features, vhu_get_protocol_features;
vhu_handler_fn vhu_set_protocol_features;
/* What we offer for this device, of virtio features / protocol features. */
uint64_t vhu_offer(const struct vhu_session *s);
uint64_t vhu_protocol_offer(const struct vhu_session *s);

/* class.c */
vhu_handler_fn vhu_get_queue_num, vhu_send_rarp, vhu_net_set_mtu;
vhu_handler_fn vhu_create_crypto_session, vhu_close_crypto_session;
/* Protocol features that the device does not know the commands for. */
uint64_t vhu_class_masked(const struct vhu_session *s);
/* Virtio features that the guest has, though the front-end does not say so.  It does not enable
 * rings either: they begin so. */
uint64_t vhu_class_implied(const struct vhu_session *s);

/* config.c */
vhu_handler_fn vhu_get_config, vhu_set_config, vhu_set_backend_req_fd;
/* Protocol features were acked: may changes be told? */
void vhu_channel_update(struct vhu_session *s);
void vhu_channel_close(struct vhu_session *s);

/* memory.c */
vhu_handler_fn vhu_set_mem_table, vhu_add_mem_reg, vhu_rem_mem_reg, vhu_get_max_mem_slots;
vhu_handler_fn vhu_set_log_base, vhu_set_log_fd, vhu_get_inflight_fd, vhu_set_inflight_fd;
void vhu_memory_forget(struct vhu_session *s);
/* Has the front-end taken memory away that it shares?  The text says which. */
bool vhu_memory_lost(const struct vhu_session *s, struct vdpa_extack *ack);
/* Publish the map if that is not done.  */
int vhu_memory_publish(struct vhu_session *s, struct vdpa_extack *ack);
/* The range that holds [uaddr, uaddr + len); NULL when none does. */
const struct vhu_region *vhu_memory_find(const struct vhu_session *s, uint64_t uaddr, uint64_t len);
/* Have the device log its writes, or not, as the front-end wants it now. */
int vhu_log_apply(struct vhu_session *s, struct vdpa_extack *ack);

/* state.c */
vhu_handler_fn vhu_set_device_state_fd, vhu_check_device_state;
void vhu_state_end(struct vhu_session *s);

/* vring.c */
vhu_handler_fn vhu_set_vring_num, vhu_set_vring_addr, vhu_set_vring_base, vhu_get_vring_base;
vhu_handler_fn vhu_set_vring_kick, vhu_set_vring_call, vhu_set_vring_err, vhu_set_vring_enable;
bool vhu_rings_running(const struct vhu_session *s);
/* Start each ring that can, stop each that may not run.  After every message. */
int vhu_rings_update(struct vhu_session *s, struct vdpa_extack *ack);
/* Stop all; they keep where they stand. */
void vhu_rings_stop(struct vhu_session *s);
/* They count as stopped, and the reset that follows stops them: what the in-flight log has is
 * dropped and not waited for. */
void vhu_rings_leave(struct vhu_session *s);
/* Stop all and forget what the front-end has told of them. */
void vhu_rings_forget(struct vhu_session *s);

/* device.c */
vhu_handler_fn vhu_set_status, vhu_get_status, vhu_reset_device;
/* The features as the device sees them. */
uint64_t vhu_device_features(const struct vhu_session *s);
/* Negotiate with the device: up to FEATURES_OK / up to DRIVER_OK, map and logs included. */
int vhu_device_negotiate(struct vhu_session *s, struct vdpa_extack *ack);
int vhu_device_up(struct vhu_session *s, struct vdpa_extack *ack);
/* Stop the rings and reset the device. */
void vhu_device_down(struct vhu_session *s);

#endif
