/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhu_env.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "vdpa/state.h"

/* ---- the device */

struct toy {
	struct env *env;
	struct vdpa_soft *soft;
};

struct toy_vq {
	struct vdpa_soft_req *held; /* linked by next, the last one first */
	int wake;                   /* eventfd: let go of them */
};

/* The class has no pointer of its own; one environment is open at a time. */
static struct env *the_env;
static struct toy *the_toy;

static void toy_answer(struct vdpa_soft_req *req)
{
	const struct vdpa_vq_elem *e = &req->elem;
	uint64_t value = 0;

	vdpa_iov_to_buf(e->iov, e->out_num, 0, &value, sizeof(value));
	value = ~value;
	vdpa_iov_from_buf(e->iov + e->out_num, e->in_num, 0, &value, sizeof(value));
	vdpa_soft_complete(req, sizeof(value));
}

static void toy_let_go(void *arg)
{
	struct toy_vq *vq = arg;
	uint64_t count;

	if (read(vq->wake, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return;
	while (vq->held) {
		struct vdpa_soft_req *req = vq->held;

		vq->held = req->next;
		toy_answer(req);
	}
}

static void toy_handle(struct vdpa_soft_req *req)
{
	struct toy_vq *vq = vdpa_soft_vq_priv(req->vq);

	if (atomic_load(&the_env->hold)) {
		req->next = vq->held;
		vq->held = req;
	} else {
		toy_answer(req);
	}
	atomic_fetch_add(&the_env->handled, 1);
}

static int toy_queue_start(struct vdpa_soft_vq *q, struct vdpa_extack *ack)
{
	struct toy_vq *vq = vdpa_soft_vq_priv(q);

	vq->held = NULL;
	vq->wake = the_env->wakes[vdpa_soft_vq_index(q)];
	return vdpa_soft_vq_watch(q, vq->wake, toy_let_go, vq);
}

static void toy_cancel(struct vdpa_soft_vq *q)
{
	toy_let_go(vdpa_soft_vq_priv(q));
}

static int toy_config_write(struct vdpa_soft *soft, uint32_t off, const void *buf, uint32_t len,
			    struct vdpa_extack *ack)
{
	if (off + len > 8)
		return vdpa_extack_set(ack, -EPERM, "only bytes 0 to 7 may be written");
	return 0;
}

static int toy_create(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct toy *toy = vdpa_soft_priv(soft);
	uint8_t config[ENV_CONFIG];

	for (unsigned int i = 0; i < sizeof(config); i++)
		config[i] = (uint8_t)(i + 1);
	vdpa_soft_update_config(soft, 0, config, sizeof(config));
	toy->soft = soft;
	the_toy = toy;
	return 0;
}

static int toy_cmd(struct vdpa_soft *soft, uint32_t cmd, const void *in, uint32_t in_len, void *out,
		   uint32_t *out_len, struct vdpa_extack *ack)
{
	struct env *env = the_env;
	int err;

	pthread_mutex_lock(&env->lock);
	env->cmd = cmd;
	env->cmd_len = in_len < sizeof(env->cmd_in) ? in_len : sizeof(env->cmd_in);
	memcpy(env->cmd_in, in, env->cmd_len);
	env->cmds++;
	err = env->cmd_err;
	pthread_mutex_unlock(&env->lock);
	return err ? vdpa_extack_set(ack, err, "not today") : 0;
}

static int toy_save(struct vdpa_soft *soft, struct vdpa_state_blob *blob, struct vdpa_extack *ack)
{
	struct env *env = the_env;
	int err;

	pthread_mutex_lock(&env->lock);
	err = vdpa_state_put(blob, 1, env->kept, env->kept_len);
	pthread_mutex_unlock(&env->lock);
	return err;
}

static int toy_load(struct vdpa_soft *soft, const struct vdpa_state_blob *blob,
		    struct vdpa_extack *ack)
{
	struct env *env = the_env;
	uint32_t len;
	const void *kept = vdpa_state_find(blob, 1, &len);

	if (!kept || len > ENV_KEPT)
		return vdpa_extack_set(ack, -EINVAL, "nothing that a toy keeps");
	pthread_mutex_lock(&env->lock);
	memcpy(env->kept, kept, len);
	env->kept_len = len;
	pthread_mutex_unlock(&env->lock);
	return 0;
}

static void toy_reset(struct vdpa_soft *soft)
{
	struct env *env = the_env;

	pthread_mutex_lock(&env->lock);
	env->kept_len = 0;
	pthread_mutex_unlock(&env->lock);
}

#define TOY_CLASS                                                                                  \
	.size = sizeof(struct vdpa_soft_class), .nvqs = 1, .max_vqs = ENV_QUEUES,                  \
	.config_size = ENV_CONFIG, .priv_size = sizeof(struct toy),                                \
	.vq_priv_size = sizeof(struct toy_vq), .create = toy_create,                               \
	.config_write = toy_config_write, .queue_start = toy_queue_start, .handle = toy_handle,    \
	.cancel = toy_cancel, .reset = toy_reset, .save = toy_save, .load = toy_load

/* A disk by its number: the driver then asks whether a client may have it mounted. */
static const struct vdpa_soft_class toy_class = {
	.name = "toy", .device_id = 2, .features = BIT_ULL(5) | BIT_ULL(9), TOY_CLASS};
static const struct vdpa_soft_class toynet_class = {.name = "toynet",
						    .device_id = 1,
						    .features = BIT_ULL(VIRTIO_NET_F_MTU),
						    .cmds = BIT_ULL(VDPA_CMD_NET_RARP) |
							    BIT_ULL(VDPA_CMD_NET_MTU),
						    .cmd = toy_cmd,
						    TOY_CLASS};

void env_release(struct env *env)
{
	static const uint64_t one = 1;

	atomic_store(&env->hold, false);
	for (int i = 0; i < ENV_QUEUES; i++)
		assert_int_equal(write(env->wakes[i], &one, sizeof(one)), sizeof(one));
}

void env_set_config(struct env *env, uint64_t value)
{
	vdpa_soft_update_config(the_toy->soft, 8, &value, sizeof(value));
}

/* ---- the bus */

static void append(struct env *env, char *buf, size_t len, const char *text)
{
	static const uint64_t one = 1;

	pthread_mutex_lock(&env->lock);
	snprintf(buf + strlen(buf), len - strlen(buf), "%s\n", text);
	pthread_mutex_unlock(&env->lock);
	assert_int_equal(write(env->changed, &one, sizeof(one)), sizeof(one));
}

static void on_log(void *arg, enum vdpa_log_level level, const char *dev, const char *text)
{
	struct env *env = arg;

	if (level <= VDPA_LOG_WARN)
		append(env, env->log, sizeof(env->log), text);
}

static void on_event(void *arg, const struct vdpa_event *event)
{
	struct env *env = arg;
	char text[512];

	snprintf(text, sizeof(text), "%s %s", event->name, event->text ? event->text : "");
	append(env, env->events, sizeof(env->events), text);
}

void env_start(struct env *env)
{
	bus_thread_start(&env->control);
}

void env_stop(struct env *env)
{
	bus_thread_stop(&env->control);
}

static int wait_result(struct env *env, struct vdpa_result *res, struct vdpa_extack *ack)
{
	int err = vdpa_bus_wait(env->bus, res);

	if (ack)
		*ack = res->ack;
	return err;
}

int env_bind(struct env *env, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct vdpa_result res = {0};

	vdpa_dev_bind(env->bus, "toy0", "vhost-user", attrs, 0, vdpa_result_done, &res);
	return wait_result(env, &res, ack);
}

int env_unbind(struct env *env, uint32_t flags, struct vdpa_extack *ack)
{
	struct vdpa_result res = {0};

	vdpa_dev_unbind(env->bus, "toy0", flags, vdpa_result_done, &res);
	return wait_result(env, &res, ack);
}

static struct vdpa_attrs *make_attrs(const char *const *kv)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();

	assert_non_null(attrs);
	for (; kv && *kv; kv += 2)
		assert_int_equal(vdpa_attrs_add(attrs, kv[0], kv[1], NULL, NULL), 0);
	return attrs;
}

void env_open(struct env *env, const char *const *bind_attrs)
{
	static const char *const add[] = {"queues", "4", "queue-size", "64", NULL};

	env_open_class(env, "toy", add, bind_attrs);
}

void env_open_class(struct env *env, const char *class_name, const char *const *add_attrs,
		    const char *const *bind_attrs)
{
	struct vdpa_bus_config cfg = {
		.run_dir = env->run_dir, .log = on_log, .log_arg = env, .workers = 2};
	struct vdpa_extack ack = {0};
	struct vdpa_result res = {0};

	memset(env, 0, sizeof(*env));
	the_env = env;
	pthread_mutex_init(&env->lock, NULL);
	strcpy(env->run_dir, "/tmp/uvdpa-vhu-XXXXXX");
	assert_non_null(mkdtemp(env->run_dir));
	snprintf(env->socket, sizeof(env->socket), "%s/dev/toy0/vhost.sock", env->run_dir);
	env->changed = eventfd(0, EFD_CLOEXEC);
	for (int i = 0; i < ENV_QUEUES; i++)
		env->wakes[i] = env_eventfd();
	assert_int_equal(vdpa_bus_alloc(&cfg, &env->bus, NULL), 0);
	bus_thread_init(&env->control, env->bus);
	vdpa_bus_set_event_cb(env->bus, on_event, env);
	assert_int_equal(vdpa_soft_class_register(env->bus, &toy_class, NULL), 0);
	assert_int_equal(vdpa_soft_class_register(env->bus, &toynet_class, NULL), 0);
	assert_int_equal(vdpa_soft_register_builtin(env->bus, NULL), 0);
	assert_int_equal(vdpa_driver_register(env->bus, vdpa_driver_vhost_user, NULL), 0);
	vdpa_dev_add(env->bus, "toy0", class_name, make_attrs(add_attrs), vdpa_result_done, &res);
	assert_int_equal(wait_result(env, &res, &ack), 0);
	if (env_bind(env, make_attrs(bind_attrs), &ack))
		fail_msg("bind: %s", ack.msg);
	env_start(env);
}

void env_close(struct env *env)
{
	char path[128];

	env_stop(env);
	assert_int_equal(vdpa_bus_free(env->bus), 0);
	/* Nothing is left behind. */
	assert_int_equal(access(env->socket, F_OK), -1);
	snprintf(path, sizeof(path), "%s/dev/toy0", env->run_dir);
	rmdir(path);
	snprintf(path, sizeof(path), "%s/dev", env->run_dir);
	rmdir(path);
	rmdir(env->run_dir);
	bus_thread_release(&env->control);
	close(env->changed);
	for (int i = 0; i < ENV_QUEUES; i++)
		close(env->wakes[i]);
	pthread_mutex_destroy(&env->lock);
}

int env_setup(void **state)
{
	env_open(*state, NULL);
	return 0;
}

int env_teardown(void **state)
{
	env_close(*state);
	return 0;
}

static bool holds(struct env *env, const char *buf, const char *text)
{
	bool found;

	pthread_mutex_lock(&env->lock);
	found = strstr(buf, text);
	pthread_mutex_unlock(&env->lock);
	return found;
}

bool env_logged(struct env *env, const char *text)
{
	return holds(env, env->log, text);
}

static void wait_text(struct env *env, const char *buf, const char *text)
{
	struct pollfd p = {.fd = env->changed, .events = POLLIN};
	uint64_t count;

	while (!holds(env, buf, text)) {
		if (poll(&p, 1, ENV_WAIT_MS) != 1)
			fail_msg("'%s' did not come; there is: %s", text, buf);
		assert_int_equal(read(env->changed, &count, sizeof(count)), sizeof(count));
	}
}

void env_wait_log(struct env *env, const char *text)
{
	wait_text(env, env->log, text);
}

void env_wait_event(struct env *env, const char *text)
{
	wait_text(env, env->events, text);
}

void env_forget(struct env *env)
{
	pthread_mutex_lock(&env->lock);
	env->log[0] = env->events[0] = '\0';
	pthread_mutex_unlock(&env->lock);
}

/* ---- dev show */

struct show {
	struct vdpa_info info;
	char *buf;
	size_t len;
};

static void show_text(struct vdpa_info *info, const char *key, const char *value)
{
	struct show *show = (struct show *)(void *)info;
	size_t used = strlen(show->buf);

	snprintf(show->buf + used, show->len - used, "%s=%s ", key ? key : "", value);
}

static void show_u64(struct vdpa_info *info, const char *key, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	show_text(info, key, text);
}

static void show_bool(struct vdpa_info *info, const char *key, bool value)
{
	show_text(info, key, value ? "true" : "false");
}

static void show_open(struct vdpa_info *info, const char *key, bool list)
{
}

static void show_close(struct vdpa_info *info)
{
}

void env_show(struct env *env, char *buf, size_t len)
{
	static const struct vdpa_info_ops ops = {.str = show_text,
						 .u64 = show_u64,
						 .boolean = show_bool,
						 .open = show_open,
						 .close = show_close};
	struct show show = {.info.ops = &ops, .buf = buf, .len = len};

	buf[0] = '\0';
	vdpa_dev_show(vdpa_dev_find(env->bus, "toy0"), &show.info);
}

/* ---- the front-end */

void env_wait_fd(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t count;

	if (poll(&p, 1, ENV_WAIT_MS) != 1)
		fail_msg("nothing came in %d ms", ENV_WAIT_MS);
	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
}

static void make_memory(struct env_guest *g)
{
	g->memfd = memfd_create("guest", MFD_CLOEXEC);
	assert_true(g->memfd >= 0);
	assert_int_equal(ftruncate(g->memfd, ENV_MEM), 0);
	g->mem = mmap(NULL, ENV_MEM, PROT_READ | PROT_WRITE, MAP_SHARED, g->memfd, 0);
	assert_true(g->mem != MAP_FAILED);
}

void env_connect_raw(struct env *env, struct env_guest *g)
{
	*g = (struct env_guest){.env = env};
	for (int i = 0; i < ENV_QUEUES; i++)
		g->rings[i] = (struct env_ring){
			.kick = -1, .call = -1, .err = -1, .offset = (uint64_t)i * ENV_RING};
	make_memory(g);
	assert_int_equal(vu_frontend_connect(&g->fe, env->socket, ENV_WAIT_MS, NULL), 0);
}

void env_connect(struct env *env, struct env_guest *g, uint64_t features, uint64_t protocol)
{
	env_connect_raw(env, g);
	if (vu_frontend_negotiate(&g->fe, protocol, &g->ack))
		fail_msg("%s", g->ack.msg);
	g->features = features | BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VU_F_PROTOCOL_FEATURES);
}

void env_ok(struct env_guest *g, int err)
{
	if (err)
		fail_msg("%s; log: %s", vdpa_extack_text(&g->ack, err), g->env->log);
}

void env_set_features(struct env_guest *g, uint64_t features)
{
	env_ok(g, vu_frontend_set_u64(&g->fe, VU_SET_FEATURES, features, &g->ack));
}

uint32_t env_get_base(struct env_guest *g, uint32_t idx)
{
	uint32_t base = 0;

	env_ok(g, vu_frontend_get_base(&g->fe, idx, &base, &g->ack));
	return base;
}

void env_disconnect(struct env_guest *g)
{
	vu_frontend_close(&g->fe);
	for (int i = 0; i < ENV_QUEUES; i++) {
		vdpa_drvq_free(g->rings[i].q);
		fd_closep(&g->rings[i].kick);
		fd_closep(&g->rings[i].call);
		fd_closep(&g->rings[i].err);
	}
	munmap(g->mem, ENV_MEM);
	fd_closep(&g->memfd);
}

void env_send_memory(struct env_guest *g)
{
	struct vu_region region = {.gpa = ENV_GPA, .size = ENV_MEM, .uaddr = ENV_UADDR};

	if (vu_frontend_set_mem(&g->fe, &region, &g->memfd, 1, &g->ack))
		fail_msg("%s", g->ack.msg);
}

void env_make_ring(struct env_guest *g, uint32_t idx)
{
	struct env_ring *r = &g->rings[idx];
	uint64_t off = r->offset;
	struct vdpa_drvq_config cfg = {.num = ENV_NUM,
				       .features = g->features,
				       .hva = g->mem + off,
				       .iova = ENV_GPA + off};

	vdpa_drvq_free(r->q);
	assert_int_equal(vdpa_drvq_alloc(&cfg, &r->q, NULL), 0);
	if (r->kick < 0) {
		r->kick = env_eventfd();
		r->call = env_eventfd();
		r->err = env_eventfd();
	}
}

int env_eventfd(void)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	assert_true(fd >= 0);
	return fd;
}

void env_ring_at(const struct env_guest *g, uint32_t idx, struct vu_frontend_ring *ring)
{
	struct vdpa_drvq_config cfg = {
		.num = ENV_NUM, .features = g->features, .iova = ENV_GPA + g->rings[idx].offset};
	const struct env_ring *r = &g->rings[idx];
	struct vdpa_drvq *q;

	/* Where the areas are only depends on the configuration: ask for them in other memory. */
	cfg.hva = aligned_alloc(4096, ENV_RING);
	assert_non_null(cfg.hva);
	assert_int_equal(vdpa_drvq_alloc(&cfg, &q, NULL), 0);
	*ring = (struct vu_frontend_ring){
		.idx = idx, .num = ENV_NUM, .kick = r->kick, .call = r->call};
	vdpa_drvq_areas(q, &ring->desc, &ring->avail, &ring->used);
	ring->desc += ENV_UADDR - ENV_GPA;
	ring->avail += ENV_UADDR - ENV_GPA;
	ring->used += ENV_UADDR - ENV_GPA;
	vdpa_drvq_free(q);
	free(cfg.hva);
}

void env_ring_setup(struct env_guest *g, uint32_t idx, struct vu_frontend_ring *ring)
{
	struct env_ring *r = &g->rings[idx];

	*ring = (struct vu_frontend_ring){
		.idx = idx, .num = ENV_NUM, .kick = r->kick, .call = r->call};
	if (g->features & BIT_ULL(VIRTIO_F_RING_PACKED))
		ring->base = 0x80008000;
	vdpa_drvq_areas(r->q, &ring->desc, &ring->avail, &ring->used);
	ring->desc += ENV_UADDR - ENV_GPA;
	ring->avail += ENV_UADDR - ENV_GPA;
	ring->used += ENV_UADDR - ENV_GPA;
}

void env_start_ring(struct env_guest *g, uint32_t idx)
{
	struct vu_frontend_ring ring;

	env_make_ring(g, idx);
	env_ring_setup(g, idx, &ring);
	if (vu_frontend_start_ring(&g->fe, &ring, &g->ack))
		fail_msg("%s", g->ack.msg);
}

void env_start_rings(struct env_guest *g, uint32_t num)
{
	if (vu_frontend_set_u64(&g->fe, VU_SET_FEATURES, g->features, &g->ack))
		fail_msg("%s", g->ack.msg);
	env_send_memory(g);
	for (uint32_t i = 0; i < num; i++)
		env_start_ring(g, i);
}

/* Each ring has 64 places for 8 bytes out and 8 bytes in. */
static uint64_t slot_offset(uint32_t idx, uint64_t n)
{
	return ENV_DATA + (idx * ENV_NUM + n % ENV_NUM) * ENV_SLOT;
}

void env_offer(struct env_guest *g, uint32_t idx, unsigned int n)
{
	struct env_ring *r = &g->rings[idx];
	static const uint64_t one = 1;

	while (n--) {
		uint64_t off = slot_offset(idx, r->next);
		struct vdpa_drvq_sg sg[2] = {{ENV_GPA + off, 8}, {ENV_GPA + off + 8, 8}};

		memcpy(g->mem + off, &r->next, 8);
		memset(g->mem + off + 8, 0, 8);
		assert_int_equal(vdpa_drvq_add(r->q, sg, 1, 1, g->mem + off), 0);
		r->next++;
	}
	if (vdpa_drvq_publish(r->q))
		assert_int_equal(write(r->kick, &one, sizeof(one)), sizeof(one));
}

void env_collect(struct env_guest *g, uint32_t idx, unsigned int n)
{
	struct env_ring *r = &g->rings[idx];

	while (n) {
		uint32_t len;
		uint64_t value[2];
		void *slot = vdpa_drvq_get(r->q, &len);

		if (!slot) {
			assert_null(vdpa_drvq_broken(r->q));
			if (!vdpa_drvq_enable_call(r->q))
				env_wait_fd(r->call);
			continue;
		}
		memcpy(value, slot, sizeof(value));
		assert_int_equal(len, 8);
		assert_true(value[1] == ~value[0]);
		n--;
	}
}

void env_roundtrip(struct env_guest *g, uint32_t idx, unsigned int n)
{
	env_offer(g, idx, n);
	env_collect(g, idx, n);
}

unsigned int env_open_fds(void)
{
	unsigned int num = 0;

	for (int fd = 0; fd < 1024; fd++)
		num += fcntl(fd, F_GETFD) >= 0;
	return num;
}
