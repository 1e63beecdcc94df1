/* SPDX-License-Identifier: BSD-2-Clause */
#include "drivers/virtio/crypto_server.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/defs.h"
#include "base/thread.h"
#include "loop/loop.h"

#define CLIENTS_MAX     64u
#define SLOT_BYTES      (2 * CRYPTO_FRAME_MAX)
#define ACCEPT_RETRY_NS 100000000u
/* A command that ends a session. */
#define END_BYTES       (uint32_t)(sizeof(struct virtio_crypto_ctrl_header) + sizeof(uint64_t))

struct client;

struct session {
	uint64_t id;
	uint32_t service;
};

/* Memory for one request; the control queue has the last one. */
struct slot {
	struct client *client; /* NULL: it is free */
	uint8_t *out, *in;
	uint32_t in_len;
	/* Of a command, as it was given: what the device shares may have changed since. */
	bool create;            /* the session is being made */
	struct session session; /* without id then */
};

struct client {
	struct crypto_server *server;
	struct loop_watch watch;
	TAILQ_ENTRY(client) entry;
	TAILQ_ENTRY(client) wait;
	struct crypto_frame frame;
	uint32_t have; /* bytes of the frame and of the request */
	bool waiting;  /* for a slot */
	bool busy;     /* waiting, or at the device */
	bool gone;     /* its connection is closed; its sessions are being ended */
	uint32_t num;  /* of sessions */
	struct session sessions[CRYPTO_CLIENT_SESSIONS];
	uint8_t *request;
	uint32_t room; /* bytes of it: CRYPTO_FRAME_MAX, or END_BYTES of one that has gone */
};

struct crypto_server {
	struct virtio_queue *data, *ctrl;
	struct loop *loop;
	int sock;
	struct loop_watch listen, data_call, ctrl_call;
	struct loop_timer retry; /* of accepting */
	struct loop_call wake, end;
	pthread_t thread;
	bool stop, broken;    /* the thread's */
	uint32_t num_clients; /* atomic */
	struct crypto_hello hello;
	TAILQ_HEAD(, client) clients;
	TAILQ_HEAD(, client) waiting;
	struct slot slots[CRYPTO_SLOTS + 1];
	uint8_t answer[CRYPTO_FRAME_MAX]; /* a copy, of one at a time */
};

static void submit(struct client *client);

size_t crypto_server_bytes(void)
{
	return (CRYPTO_SLOTS + 1) * (size_t)SLOT_BYTES;
}

/* From now on no slot is looked at; clients are dropped when nobody is about to use one. */
static void server_break(struct crypto_server *server, const char *why)
{
	if (server->broken)
		return;
	server->broken = true;
	virtio_broken(server->data->dev, why);
}

/* ---- requests as they are */

static uint32_t get32(const uint8_t *at)
{
	uint32_t value;

	memcpy(&value, at, sizeof(value));
	return le32toh(value);
}

static uint64_t get64(const uint8_t *at)
{
	uint64_t value;

	memcpy(&value, at, sizeof(value));
	return le64toh(value);
}

static bool is_create(uint32_t opcode)
{
	return !(opcode & 1);
}

static uint32_t service_of(uint32_t opcode)
{
	return opcode >> 8;
}

/* What ends a session: opcodes of asymmetric services are two higher. */
static uint32_t end_opcode(uint32_t service)
{
	return VIRTIO_CRYPTO_OPCODE(service, service == VIRTIO_CRYPTO_SERVICE_AKCIPHER ? 5 : 3);
}

/* What a request is worth by itself. */
static int check_request(const struct crypto_frame *frame, const uint8_t *request)
{
	uint32_t opcode;

	if (frame->out_len < sizeof(struct virtio_crypto_op_header))
		return -EPROTO;
	opcode = get32(request);
	if (frame->kind == CRYPTO_COMMAND) {
		/* Sessions are made by even opcodes, and ended by odd ones. */
		if ((opcode & 0xff) < 2 || (opcode & 0xff) > 5)
			return -EPROTO;
		return frame->in_len == (is_create(opcode)
						 ? sizeof(struct virtio_crypto_session_input)
						 : sizeof(struct virtio_crypto_inhdr))
			       ? 0
			       : -EPROTO;
	}
	return get32(request + offsetof(struct virtio_crypto_op_header, flag)) & CRYPTO_FLAG_SESSION
		       ? 0
		       : -EPROTO;
}

static struct session *find_session(struct client *client, uint64_t id)
{
	for (uint32_t i = 0; i < client->num; i++)
		if (client->sessions[i].id == id)
			return &client->sessions[i];
	return NULL;
}

/*
 * The session that the request is about; NULL: none of the client's.  One that the device would not
 * end, since it is of another service, is none either: it would be lost to everybody.
 */
static struct session *session_of(struct client *client)
{
	bool command = client->frame.kind == CRYPTO_COMMAND;
	size_t at = command ? sizeof(struct virtio_crypto_ctrl_header)
			    : offsetof(struct virtio_crypto_op_header, session_id);
	struct session *session = find_session(client, get64(client->request + at));

	if (session && command && get32(client->request) != end_opcode(session->service))
		return NULL;
	return session;
}

/* ---- clients */

static void client_free(struct client *client)
{
	struct crypto_server *server = client->server;
	int fd = client->watch.fd;

	if (client->waiting)
		TAILQ_REMOVE(&server->waiting, client, wait);
	TAILQ_REMOVE(&server->clients, client, entry);
	loop_watch_del(&client->watch);
	if (fd >= 0)
		close(fd);
	if (!client->gone)
		__atomic_fetch_sub(&server->num_clients, 1, __ATOMIC_RELAXED);
	explicit_bzero(client->request, client->room);
	free(client->request);
	free(client);
}

/* Only sessions are left of it, of which the device has a bounded number. */
static void shrink(struct client *client)
{
	uint8_t *request;

	explicit_bzero(client->request, client->room);
	request = realloc(client->request, END_BYTES);
	if (!request)
		return;
	client->request = request;
	client->room = END_BYTES;
}

/* End a session of a client that has gone; when there is none any more, the client goes. */
static void clean_up(struct client *client)
{
	struct virtio_crypto_ctrl_header header = {0};
	const struct session *last;
	uint64_t id;

	if (!client->num) {
		client_free(client);
		return;
	}
	if (client->room > END_BYTES)
		shrink(client);
	last = &client->sessions[client->num - 1];
	id = htole64(last->id);
	header.opcode = htole32(end_opcode(last->service));
	memcpy(client->request, &header, sizeof(header));
	memcpy(client->request + sizeof(header), &id, sizeof(id));
	client->frame = (struct crypto_frame){CRYPTO_COMMAND, sizeof(header) + sizeof(id),
					      sizeof(struct virtio_crypto_inhdr)};
	submit(client);
}

static void hang_up(struct client *client)
{
	int fd = client->watch.fd;

	if (client->gone)
		return;
	loop_watch_del(&client->watch);
	close(fd);
	__atomic_fetch_sub(&client->server->num_clients, 1, __ATOMIC_RELAXED);
	client->gone = true;
	/* What the device has not got yet nobody waits for any more. */
	if (client->waiting) {
		TAILQ_REMOVE(&client->server->waiting, client, wait);
		client->waiting = client->busy = false;
	}
	if (!client->busy)
		clean_up(client);
}

/* A client that does not take one answer before its next request is no client. */
static bool send_all(struct client *client, const void *data, size_t len)
{
	ssize_t sent = send(client->watch.fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);

	return sent == (ssize_t)len;
}

static void reply(struct client *client, uint32_t used, const uint8_t *in, uint32_t in_len)
{
	struct crypto_frame frame = {client->frame.kind, used, in_len};

	client->busy = false;
	client->have = 0;
	if (client->gone) {
		clean_up(client);
		return;
	}
	if (!send_all(client, &frame, sizeof(frame)) || !send_all(client, in, in_len) ||
	    loop_watch_set(&client->watch, EPOLLIN))
		hang_up(client);
}

/* ---- the device */

static struct slot *free_slot(struct crypto_server *server, uint32_t kind)
{
	if (kind == CRYPTO_COMMAND)
		return server->slots[CRYPTO_SLOTS].client ? NULL : &server->slots[CRYPTO_SLOTS];
	for (uint32_t i = 0; i < CRYPTO_SLOTS; i++)
		if (!server->slots[i].client)
			return &server->slots[i];
	return NULL;
}

static void remember(const struct client *client, struct slot *slot)
{
	uint32_t opcode = get32(client->request);

	slot->create = is_create(opcode);
	slot->session = (struct session){.service = service_of(opcode)};
	if (!slot->create)
		slot->session.id =
			get64(client->request + sizeof(struct virtio_crypto_ctrl_header));
}

static void give(struct client *client, struct slot *slot)
{
	struct crypto_server *server = client->server;
	const struct crypto_frame *frame = &client->frame;
	struct virtio_queue *vq = frame->kind == CRYPTO_COMMAND ? server->ctrl : server->data;
	struct vdpa_drvq_sg sg[] = {
		{virtio_iova(vq->dev, slot->out), frame->out_len},
		{virtio_iova(vq->dev, slot->in), frame->in_len},
	};

	memcpy(slot->out, client->request, frame->out_len);
	memset(slot->in, 0, frame->in_len);
	slot->in_len = frame->in_len;
	if (frame->kind == CRYPTO_COMMAND)
		remember(client, slot);
	explicit_bzero(client->request, frame->out_len);
	if (vdpa_drvq_add(vq->ring, sg, 1, 1, slot)) {
		server_break(server, "its queue does not take a request");
		return;
	}
	slot->client = client;
	virtio_queue_publish(vq);
}

static void submit(struct client *client)
{
	struct crypto_server *server = client->server;
	struct slot *slot = free_slot(server, client->frame.kind);

	client->busy = true;
	if (slot) {
		give(client, slot);
		return;
	}
	client->waiting = true;
	TAILQ_INSERT_TAIL(&server->waiting, client, wait);
}

static void serve_waiting(struct crypto_server *server)
{
	struct client *client, *next;

	for (client = TAILQ_FIRST(&server->waiting); client && !server->broken; client = next) {
		struct slot *slot = free_slot(server, client->frame.kind);

		next = TAILQ_NEXT(client, wait);
		if (!slot)
			continue;
		client->waiting = false;
		TAILQ_REMOVE(&server->waiting, client, wait);
		give(client, slot);
	}
}

/* The answer to a command: the client has a session more, or one less. */
static void note(struct client *client, const struct slot *slot, const uint8_t *in)
{
	const struct virtio_crypto_session_input *input = (const void *)in;
	struct session *session;

	if (slot->create && input->status == htole32(VIRTIO_CRYPTO_OK)) {
		/* There is room: one command at a time, and that was looked at before. */
		client->sessions[client->num++] =
			(struct session){get64(in), slot->session.service};
	} else if (!slot->create) {
		/* Ended or unknown to the device: either way it is not there any more. */
		session = find_session(client, slot->session.id);
		if (session)
			*session = client->sessions[--client->num];
	}
}

static void finish(struct crypto_server *server, struct slot *slot, uint32_t used)
{
	struct client *client = slot->client;
	uint32_t len = slot->in_len;

	/* What is sent is what was looked at. */
	memcpy(server->answer, slot->in, len);
	if (client->frame.kind == CRYPTO_COMMAND)
		note(client, slot, server->answer);
	explicit_bzero(slot->out, CRYPTO_FRAME_MAX);
	explicit_bzero(slot->in, len);
	slot->client = NULL;
	reply(client, used, server->answer, len);
	explicit_bzero(server->answer, len);
}

static void collect(struct crypto_server *server, struct virtio_queue *vq)
{
	struct slot *slot;
	uint32_t len;

	do {
		while (!server->broken && (slot = vdpa_drvq_get(vq->ring, &len)))
			finish(server, slot, len);
	} while (!server->broken && !vdpa_drvq_broken(vq->ring) && vdpa_drvq_enable_call(vq->ring));
	if (vdpa_drvq_broken(vq->ring))
		server_break(server, vdpa_drvq_broken(vq->ring));
	else if (vdpa_get_status(vq->dev->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)
		server_break(server, "the device needs a reset");
}

/* ---- what clients send */

static int check_frame(const struct crypto_frame *frame)
{
	if (frame->kind > CRYPTO_OPERATION || frame->out_len > CRYPTO_FRAME_MAX ||
	    frame->in_len > CRYPTO_FRAME_MAX || !frame->in_len)
		return -EPROTO;
	return 0;
}

/* A request is whole. */
static void handle(struct client *client)
{
	uint8_t status[sizeof(struct virtio_crypto_session_input)] = {0};
	const struct crypto_frame *frame = &client->frame;
	bool create;

	if (check_request(frame, client->request)) {
		hang_up(client);
		return;
	}
	create = frame->kind == CRYPTO_COMMAND && is_create(get32(client->request));
	client->busy = true;
	if (create && client->num == CRYPTO_CLIENT_SESSIONS) {
		explicit_bzero(client->request, frame->out_len);
		status[offsetof(struct virtio_crypto_session_input, status)] = VIRTIO_CRYPTO_NOSPC;
		reply(client, sizeof(status), status, sizeof(status));
	} else if (!create && !session_of(client)) {
		memset(client->request, 0, frame->in_len);
		client->request[frame->in_len - 1] = VIRTIO_CRYPTO_INVSESS;
		reply(client, frame->in_len, client->request, frame->in_len);
	} else {
		loop_watch_set(&client->watch, 0);
		submit(client);
	}
}

/* Read on.  Returns whether something is whole: 1; not yet: 0; -errno. */
static int receive(struct client *client)
{
	struct crypto_frame *frame = &client->frame;
	bool head = client->have < sizeof(*frame);
	uint32_t at = head ? client->have : client->have - (uint32_t)sizeof(*frame);
	uint32_t want = head ? sizeof(*frame) : frame->out_len;
	uint8_t *to = head ? (uint8_t *)frame : client->request;
	ssize_t got = want > at ? recv(client->watch.fd, to + at, want - at, MSG_DONTWAIT) : 0;

	if (got < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (!got && want > at)
		return -EPIPE;
	client->have += (uint32_t)got;
	if (at + (uint32_t)got < want)
		return 0;
	return head ? check_frame(frame) : 1;
}

static void client_ready(struct loop_watch *watch, uint32_t events)
{
	struct client *client = container_of(watch, struct client, watch);
	int whole;

	if (client->busy) {
		/* Nothing is watched but that it hangs up. */
		hang_up(client);
		return;
	}
	whole = receive(client);
	if (whole < 0)
		hang_up(client);
	else if (whole)
		handle(client);
}

static struct client *client_alloc(struct crypto_server *server)
{
	struct client *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	client->server = server;
	client->watch = LOOP_WATCH_INIT(client_ready);
	client->room = CRYPTO_FRAME_MAX;
	client->request = malloc(client->room);
	if (client->request)
		return client;
	free(client);
	return NULL;
}

static void accept_retry(struct loop_timer *timer)
{
	loop_watch_set(&container_of(timer, struct crypto_server, retry)->listen, EPOLLIN);
}

static void accept_ready(struct loop_watch *watch, uint32_t events)
{
	struct crypto_server *server = container_of(watch, struct crypto_server, listen);
	int fd vdpa_cleanup(fd_closep) = accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC);
	struct client *client;

	/* Out of descriptors: it would be ready for ever. */
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
		loop_watch_set(watch, 0);
		loop_timer_set(server->loop, &server->retry, ACCEPT_RETRY_NS);
	}
	if (fd < 0 || server->num_clients == CLIENTS_MAX)
		return;
	client = client_alloc(server);
	if (!client)
		return;
	if (loop_watch_add(server->loop, &client->watch, fd, EPOLLIN)) {
		free(client->request);
		free(client);
		return;
	}
	fd_take(&fd);
	TAILQ_INSERT_TAIL(&server->clients, client, entry);
	__atomic_fetch_add(&server->num_clients, 1, __ATOMIC_RELAXED);
	if (!send_all(client, &server->hello, sizeof(server->hello)))
		hang_up(client);
}

/* ---- the thread */

static void look(struct crypto_server *server)
{
	collect(server, server->ctrl);
	collect(server, server->data);
	serve_waiting(server);
}

static void call_ready(struct crypto_server *server, int fd)
{
	uint64_t count;

	/* Edges would do; what is read is not signalled again. */
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	look(server);
}

static void data_called(struct loop_watch *watch, uint32_t events)
{
	call_ready(container_of(watch, struct crypto_server, data_call), watch->fd);
}

static void ctrl_called(struct loop_watch *watch, uint32_t events)
{
	call_ready(container_of(watch, struct crypto_server, ctrl_call), watch->fd);
}

static void woken(struct loop_call *call)
{
	look(container_of(call, struct crypto_server, wake));
}

static void ended(struct loop_call *call)
{
	container_of(call, struct crypto_server, end)->stop = true;
}

static void drop_clients(struct crypto_server *server)
{
	struct client *client;

	loop_timer_cancel(&server->retry);
	loop_watch_del(&server->listen);
	while ((client = TAILQ_FIRST(&server->clients)))
		client_free(client);
}

static void *server_thread(void *arg)
{
	struct crypto_server *server = arg;

	while (!server->stop) {
		if (loop_dispatch(server->loop, -1) < 0)
			break;
		if (server->broken)
			drop_clients(server);
	}
	drop_clients(server);
	return NULL;
}

/* ---- start and stop */

static void server_free(struct crypto_server *server)
{
	loop_watch_del(&server->listen);
	loop_watch_del(&server->data_call);
	loop_watch_del(&server->ctrl_call);
	loop_free(server->loop);
	fd_closep(&server->sock);
	explicit_bzero(server->answer, sizeof(server->answer));
	free(server);
}

static void init(struct crypto_server *server, uint8_t *buffers)
{
	server->listen = LOOP_WATCH_INIT(accept_ready);
	server->retry.fn = accept_retry;
	server->data_call = LOOP_WATCH_INIT(data_called);
	server->ctrl_call = LOOP_WATCH_INIT(ctrl_called);
	server->wake.fn = woken;
	server->end.fn = ended;
	TAILQ_INIT(&server->clients);
	TAILQ_INIT(&server->waiting);
	for (uint32_t i = 0; i <= CRYPTO_SLOTS; i++) {
		server->slots[i].out = buffers + i * (size_t)SLOT_BYTES;
		server->slots[i].in = server->slots[i].out + CRYPTO_FRAME_MAX;
	}
}

static int watch_all(struct crypto_server *server, int sock)
{
	int err = loop_watch_add(server->loop, &server->data_call, server->data->call, EPOLLIN);

	if (!err)
		err = loop_watch_add(server->loop, &server->ctrl_call, server->ctrl->call, EPOLLIN);
	if (!err)
		err = loop_watch_add(server->loop, &server->listen, sock, EPOLLIN);
	return err;
}

int crypto_server_start(struct virtio_queue *data, struct virtio_queue *ctrl, uint8_t *buffers,
			int *sock, const struct crypto_hello *hello, struct crypto_server **ret)
{
	struct crypto_server *server = calloc(1, sizeof(*server));
	int err;

	if (!server)
		return -ENOMEM;
	server->sock = -1;
	server->data = data;
	server->ctrl = ctrl;
	server->hello = *hello;
	init(server, buffers);
	err = loop_alloc(&server->loop);
	if (err) {
		free(server);
		return err;
	}
	err = watch_all(server, *sock);
	if (!err) {
		vdpa_drvq_enable_call(data->ring);
		vdpa_drvq_enable_call(ctrl->ring);
		err = thread_start(&server->thread, "crypto", server_thread, server);
	}
	if (err) {
		server_free(server);
		return err;
	}
	server->sock = fd_take(sock);
	*ret = server;
	return 0;
}

void crypto_server_stop(struct crypto_server *server)
{
	if (!server)
		return;
	loop_post(server->loop, &server->end);
	pthread_join(server->thread, NULL);
	server_free(server);
}

void crypto_server_wake(struct crypto_server *server)
{
	loop_post(server->loop, &server->wake);
}

uint32_t crypto_server_clients(const struct crypto_server *server)
{
	return __atomic_load_n(&server->num_clients, __ATOMIC_RELAXED);
}
