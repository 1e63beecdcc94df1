/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Preloaded into user-mode Linux, so that it runs on processors with AMX.
 *
 * User-mode Linux keeps the vector registers of its processes in a buffer that ends before the
 * state of AMX, and the host kernel refuses to set a register set that is shorter than its own.
 * So a short set is laid over what the process has, and the whole is set.
 */
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

typedef long ptrace_fn(enum __ptrace_request request, pid_t pid, void *addr, void *data);

__attribute__((visibility("default"))) long ptrace(enum __ptrace_request request, ...)
{
	/* User-mode Linux traces from one thread, and its stacks are small. */
	static char state[65536];
	static ptrace_fn *next;
	struct iovec *part, whole = {state, sizeof(state)};
	va_list args;
	pid_t pid;
	void *addr, *data;

	va_start(args, request);
	pid = va_arg(args, pid_t);
	addr = va_arg(args, void *);
	data = va_arg(args, void *);
	va_end(args);

	if (!next)
		next = (ptrace_fn *)dlsym(RTLD_NEXT, "ptrace");
	if (request != PTRACE_SETREGSET || (long)addr != NT_X86_XSTATE)
		return next(request, pid, addr, data);

	if (next(PTRACE_GETREGSET, pid, addr, &whole) < 0)
		return -1;
	part = data;
	if (part->iov_len >= whole.iov_len)
		return next(request, pid, addr, data);
	memcpy(state, part->iov_base, part->iov_len);
	return next(request, pid, addr, &whole);
}
