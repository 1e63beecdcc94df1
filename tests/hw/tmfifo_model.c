/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Both counters of a FIFO are stored and loaded in one total order: of an end that finds it empty
 * and sleeps, and another one that has put a word in without an interrupt, there is never both.
 */
#include "tmfifo_model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/defs.h"

#define WATERMARK 128ull
#define CTL_RESET                                                                                  \
	(WATERMARK | WATERMARK << VDPA_TMFIFO_CTL_HWM_SHIFT |                                      \
	 (uint64_t)TMFIFO_MODEL_ENTRIES << VDPA_TMFIFO_CTL_ENTRIES_SHIFT)
#define NUM_FDS 3

/* One direction.  Counts go on for ever. */
struct fifo {
	uint64_t head, tail; /* words put in / taken out */
	uint64_t ctl[2];     /* at the receiving and the sending end: enum vdpa_tmfifo_block */
	uint64_t faults[2];
	uint64_t words[TMFIFO_MODEL_ENTRIES];
};

struct shared {
	struct fifo fifos[2]; /* by who sends */
};

struct tmfifo_model {
	struct shared *mem;
	int fds[NUM_FDS]; /* the memory, and the interrupts of both ends */
};

/* ---- registers */

static struct fifo *fifo_of(const struct tmfifo_model *model, enum tmfifo_side side,
			    enum vdpa_tmfifo_block block)
{
	return &model->mem->fifos[block == VDPA_TMFIFO_TX ? side : !side];
}

static void interrupt(const struct tmfifo_model *model, enum tmfifo_side side)
{
	(void)!write(model->fds[1 + side], &(uint64_t){1}, sizeof(uint64_t));
}

static uint64_t high_watermark(const struct fifo *fifo)
{
	uint64_t ctl = __atomic_load_n(&fifo->ctl[VDPA_TMFIFO_RX], __ATOMIC_RELAXED);

	return (ctl & VDPA_TMFIFO_CTL_HWM) >> VDPA_TMFIFO_CTL_HWM_SHIFT;
}

static uint64_t low_watermark(const struct fifo *fifo)
{
	return __atomic_load_n(&fifo->ctl[VDPA_TMFIFO_TX], __ATOMIC_RELAXED) & VDPA_TMFIFO_CTL_LWM;
}

static void push(struct tmfifo_model *model, enum tmfifo_side side, struct fifo *fifo,
		 uint64_t value)
{
	uint64_t head = fifo->head, count;

	if (head - __atomic_load_n(&fifo->tail, __ATOMIC_SEQ_CST) >= TMFIFO_MODEL_ENTRIES) {
		counter_add(&fifo->faults[VDPA_TMFIFO_TX], 1);
		return;
	}
	fifo->words[head % TMFIFO_MODEL_ENTRIES] = value;
	__atomic_store_n(&fifo->head, head + 1, __ATOMIC_SEQ_CST);
	count = head + 1 - __atomic_load_n(&fifo->tail, __ATOMIC_SEQ_CST);
	if (count == high_watermark(fifo))
		interrupt(model, !side);
}

static uint64_t pop(struct tmfifo_model *model, enum tmfifo_side side, struct fifo *fifo)
{
	uint64_t tail = fifo->tail, count, value;

	if (__atomic_load_n(&fifo->head, __ATOMIC_SEQ_CST) == tail) {
		counter_add(&fifo->faults[VDPA_TMFIFO_RX], 1);
		return 0;
	}
	value = fifo->words[tail % TMFIFO_MODEL_ENTRIES];
	__atomic_store_n(&fifo->tail, tail + 1, __ATOMIC_SEQ_CST);
	count = __atomic_load_n(&fifo->head, __ATOMIC_SEQ_CST) - (tail + 1);
	if (count == low_watermark(fifo))
		interrupt(model, !side);
	return value;
}

uint64_t tmfifo_model_read(struct tmfifo_model *model, enum tmfifo_side side,
			   enum vdpa_tmfifo_block block, uint32_t reg)
{
	struct fifo *fifo = fifo_of(model, side, block);

	switch (reg) {
	case VDPA_TMFIFO_DATA:
		return block == VDPA_TMFIFO_RX ? pop(model, side, fifo) : 0;
	case VDPA_TMFIFO_STS:
		return __atomic_load_n(&fifo->head, __ATOMIC_SEQ_CST) -
		       __atomic_load_n(&fifo->tail, __ATOMIC_SEQ_CST);
	case VDPA_TMFIFO_CTL:
		return __atomic_load_n(&fifo->ctl[block], __ATOMIC_RELAXED);
	default:
		return 0;
	}
}

void tmfifo_model_write(struct tmfifo_model *model, enum tmfifo_side side,
			enum vdpa_tmfifo_block block, uint32_t reg, uint64_t value)
{
	struct fifo *fifo = fifo_of(model, side, block);

	if (reg == VDPA_TMFIFO_DATA && block == VDPA_TMFIFO_TX)
		push(model, side, fifo, value);
	if (reg == VDPA_TMFIFO_CTL)
		__atomic_store_n(&fifo->ctl[block],
				 (CTL_RESET & VDPA_TMFIFO_CTL_ENTRIES) |
					 (value & (VDPA_TMFIFO_CTL_LWM | VDPA_TMFIFO_CTL_HWM)),
				 __ATOMIC_RELAXED);
}

uint64_t tmfifo_model_faults(const struct tmfifo_model *model, enum tmfifo_side side)
{
	uint64_t faults = 0;

	for (unsigned int block = 0; block < 2; block++)
		faults += __atomic_load_n(&fifo_of(model, side, block)->faults[block],
					  __ATOMIC_RELAXED);
	return faults;
}

int tmfifo_model_irq(const struct tmfifo_model *model, enum tmfifo_side side)
{
	return model->fds[1 + side];
}

void tmfifo_model_irq_ack(struct tmfifo_model *model, enum tmfifo_side side)
{
	uint64_t count;

	(void)!read(model->fds[1 + side], &count, sizeof(count));
}

/* ---- access for a driver */

struct model_regs {
	struct vdpa_tmfifo_regs regs;
	struct tmfifo_model *model;
	enum tmfifo_side side;
	bool owned;
};

static struct model_regs *to_model(struct vdpa_tmfifo_regs *regs)
{
	return container_of(regs, struct model_regs, regs);
}

static uint64_t regs_read(struct vdpa_tmfifo_regs *regs, enum vdpa_tmfifo_block block, uint32_t reg)
{
	return tmfifo_model_read(to_model(regs)->model, to_model(regs)->side, block, reg);
}

static void regs_write(struct vdpa_tmfifo_regs *regs, enum vdpa_tmfifo_block block, uint32_t reg,
		       uint64_t value)
{
	tmfifo_model_write(to_model(regs)->model, to_model(regs)->side, block, reg, value);
}

static void regs_irq_ack(struct vdpa_tmfifo_regs *regs)
{
	tmfifo_model_irq_ack(to_model(regs)->model, to_model(regs)->side);
}

static void regs_free(struct vdpa_tmfifo_regs *regs)
{
	struct model_regs *mr = to_model(regs);

	if (mr->owned)
		tmfifo_model_free(mr->model);
	free(mr);
}

static const struct vdpa_tmfifo_regs_ops regs_ops = {
	.size = sizeof(regs_ops),
	.read = regs_read,
	.write = regs_write,
	.irq_ack = regs_irq_ack,
	.free = regs_free,
};

struct vdpa_tmfifo_regs *tmfifo_model_regs(struct tmfifo_model *model, enum tmfifo_side side,
					   bool irqs, bool owned)
{
	struct model_regs *mr = calloc(1, sizeof(*mr));

	if (!mr)
		return NULL;
	mr->regs.ops = &regs_ops;
	mr->regs.irq = irqs ? tmfifo_model_irq(model, side) : -1;
	mr->model = model;
	mr->side = side;
	mr->owned = owned;
	return &mr->regs;
}

/* ---- life */

void tmfifo_model_free(struct tmfifo_model *model)
{
	if (!model)
		return;
	if (model->mem)
		munmap(model->mem, sizeof(*model->mem));
	for (unsigned int i = 0; i < NUM_FDS; i++)
		fd_closep(&model->fds[i]);
	free(model);
}

/* Of these descriptors, which it owns from now on. */
static int open_model(const int fds[NUM_FDS], struct tmfifo_model **ret)
{
	struct tmfifo_model *model = calloc(1, sizeof(*model));
	void *mem = MAP_FAILED;
	int err;

	if (model) {
		memcpy(model->fds, fds, sizeof(model->fds));
		mem = mmap(NULL, sizeof(*model->mem), PROT_READ | PROT_WRITE, MAP_SHARED, fds[0],
			   0);
	}
	if (mem == MAP_FAILED) {
		err = -errno;
		for (unsigned int i = 0; i < NUM_FDS; i++)
			close(fds[i]);
		free(model);
		return err;
	}
	model->mem = mem;
	*ret = model;
	return 0;
}

int tmfifo_model_alloc(struct tmfifo_model **ret)
{
	const int fds[NUM_FDS] = {
		memfd_create("tmfifo", MFD_CLOEXEC),
		eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	int err = 0;

	if (ftruncate(fds[0], sizeof(struct shared)))
		err = -errno;
	if (!err)
		err = open_model(fds, ret);
	if (err)
		return err;
	for (unsigned int side = 0; side < 2; side++)
		for (unsigned int block = 0; block < 2; block++)
			(*ret)->mem->fifos[side].ctl[block] = CTL_RESET;
	return 0;
}

/* ---- sharing */

union fds_control {
	struct cmsghdr hdr;
	char buf[CMSG_SPACE(sizeof(int[NUM_FDS]))];
};

int tmfifo_model_send(const struct tmfifo_model *model, int sock)
{
	union fds_control control = {.hdr = {CMSG_LEN(sizeof(model->fds)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec iov = {(char[1]){0}, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};

	memcpy(CMSG_DATA(&control.hdr), model->fds, sizeof(model->fds));
	return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int tmfifo_model_receive(int sock, struct tmfifo_model **ret)
{
	union fds_control control;
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &control,
			     .msg_controllen = sizeof(control)};
	int fds[NUM_FDS];

	if (recvmsg(sock, &msg, MSG_CMSG_CLOEXEC) < 0)
		return -errno;
	if (msg.msg_controllen != sizeof(control) || control.hdr.cmsg_type != SCM_RIGHTS ||
	    control.hdr.cmsg_len != CMSG_LEN(sizeof(fds)))
		return -EPROTO;
	memcpy(fds, CMSG_DATA(&control.hdr), sizeof(fds));
	return open_model(fds, ret);
}
