/*
 * Calls that hold references to the pages of a mapping after they return.  Each gives a file
 * descriptor, which stands for what is held.
 */
#ifndef PINS_H
#define PINS_H

#include "calls.h"

#include <linux/aio_abi.h>	/* aio_context_t iocb */
#include <linux/dm-ioctl.h>	/* dm_ioctl */
#include <linux/if_xdp.h>	/* xdp_umem_reg */
#include <linux/io_uring.h>	/* io_uring_params io_uring_cqe */
#include <sys/socket.h>	/* socket setsockopt */
#include <sys/uio.h>	/* iovec */

#define FDS 1024

/* Takes plain references (FOLL_GET) and puts the pages into a pipe; closing the pipe drops them. */
static long do_vmsplice(unsigned long addr, size_t len)
{
	struct iovec pages = { (void *)addr, len };
	int ends[2];
	long result;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	result = outcome(vmsplice(ends[1], &pages, 1, SPLICE_F_NONBLOCK));
	close(ends[1]);
	if (result < 0) {
		close(ends[0]);
		return result;
	}
	return ends[0];
}

/* Registers the memory as packet buffers of a socket, which pins it for long
 * (FOLL_LONGTERM | FOLL_WRITE); closing the socket drops the pins. */
static long do_xdp_pin(unsigned long addr, size_t len)
{
	struct xdp_umem_reg umem = { .addr = addr, .len = len, .chunk_size = PAGE };
	int fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	long result;

	if (fd < 0)
		return -errno;
	result = outcome(setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &umem, sizeof(umem)));
	if (result == 0)
		return fd;
	close(fd);
	return result;
}

/* Drops what a pipe or a socket holds, or closes a file. */
static long do_drop(int fd)
{
	return outcome(close(fd));
}

/* Rings, by file descriptor. */
static struct ring {
	struct io_uring_params made;
	unsigned long addr;
} rings[FDS];

/* Registers the memory as a fixed buffer of io_uring, which pins it for long. */
static long do_uring_pin(unsigned long addr, size_t len)
{
	struct iovec buffer = { (void *)addr, len };
	struct ring ring = { .addr = addr };
	long fd = outcome(syscall(SYS_io_uring_setup, 1, &ring.made));
	long result;

	if (fd < 0)
		return fd;
	result = outcome(syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS, &buffer, 1));
	if (result < 0) {
		close(fd);
		return result;
	}
	rings[fd] = ring;
	return fd;
}

/* Has the kernel move n bytes between the fixed buffer and a file; the ring has room for one. */
static long uring_move(int fd, int opcode, int file, size_t n)
{
	const struct ring *ring = &rings[fd];
	const struct io_sqring_offsets *sq = &ring->made.sq_off;
	const struct io_cqring_offsets *cq = &ring->made.cq_off;
	size_t len = 2 * PAGE;		/* holds both queues, which are one mapping since 5.4 */
	char *queues = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	struct io_uring_sqe *sqe = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
	const struct io_uring_cqe *cqes;
	uint32_t *tail, *head;
	long result;

	if (queues == MAP_FAILED || sqe == MAP_FAILED)
		return -errno;
	*sqe = (struct io_uring_sqe){ .opcode = opcode, .fd = file, .addr = ring->addr, .len = n };
	tail = (uint32_t *)(queues + sq->tail);
	((uint32_t *)(queues + sq->array))[*tail & (ring->made.sq_entries - 1)] = 0;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	result = outcome(syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0));
	if (result >= 0) {
		head = (uint32_t *)(queues + cq->head);
		cqes = (struct io_uring_cqe *)(queues + cq->cqes);
		result = cqes[*head & (ring->made.cq_entries - 1)].res;
		__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	}
	munmap(sqe, PAGE);
	munmap(queues, len);
	return result;
}

/* The kernel writes bytes into the fixed buffer, through the pages that it has pinned. */
static long do_uring_write(int fd, const char *bytes, size_t n)
{
	int ends[2];
	long result;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	result = outcome(write(ends[1], bytes, n));
	if (result > 0)
		result = uring_move(fd, IORING_OP_READ_FIXED, ends[0], result);
	close(ends[0]);
	close(ends[1]);
	return result;
}

/* The kernel reads bytes from the fixed buffer, through the pages that it has pinned. */
static long do_uring_read(int fd, char *bytes, size_t n)
{
	int ends[2];
	long result;

	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	result = uring_move(fd, IORING_OP_WRITE_FIXED, ends[1], n);
	if (result > 0)
		result = outcome(read(ends[0], bytes, result));
	close(ends[0]);
	close(ends[1]);
	return result;
}

static long do_uring_drop(int fd)
{
	long result = outcome(syscall(SYS_io_uring_register, fd, IORING_UNREGISTER_BUFFERS, NULL, 0));

	close(fd);
	return result;
}

#define SLOW "slow"	/* a device-mapper device whose requests can be held back */

/* Holds back the requests to a device-mapper device, or lets them go. */
static long dm_suspend(const char *name, int suspend)
{
	struct dm_ioctl arg = { .version = { 4 }, .data_size = sizeof(arg), .data_start = sizeof(arg) };
	int fd = open("/dev/mapper/control", O_RDWR | O_CLOEXEC);
	long result;

	if (fd < 0)
		return -errno;
	snprintf(arg.name, sizeof(arg.name), "%s", name);
	if (suspend)
		arg.flags = DM_SUSPEND_FLAG | DM_SKIP_LOCKFS_FLAG | DM_NOFLUSH_FLAG;
	result = outcome(ioctl(fd, DM_DEV_SUSPEND, &arg));
	close(fd);
	return result;
}

/* AIO contexts, by file descriptor. */
static aio_context_t contexts[FDS];

/* Starts direct I/O from the disk to the memory (how 'r') or back ('w'), and has it wait there. */
static long do_dio_submit(unsigned long addr, size_t len, char how)
{
	int fd = open("/dev/mapper/" SLOW, O_RDWR | O_DIRECT | O_CLOEXEC);
	struct iocb request = {
		.aio_fildes = fd,
		.aio_lio_opcode = how == 'w' ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
		.aio_buf = addr,
		.aio_nbytes = len,
	};
	struct iocb *requests[] = { &request };
	struct timespec now = { 0 };
	struct io_event event;
	aio_context_t context = 0;
	long result;

	if (fd < 0)
		return -errno;
	result = outcome(syscall(SYS_io_setup, 1, &context));
	if (result == 0)
		result = dm_suspend(SLOW, 1);
	if (result == 0)
		result = outcome(syscall(SYS_io_submit, context, 1, requests));
	/* What is over already has failed: memory that cannot be pinned, for one. */
	if (result == 1 && syscall(SYS_io_getevents, context, 0, 1, &event, &now) == 1)
		result = event.res;
	if (result < 0) {
		dm_suspend(SLOW, 0);
		syscall(SYS_io_destroy, context);
		close(fd);
		return result;
	}
	contexts[fd] = context;
	return fd;
}

/* Lets the direct I/O go on, and waits for it: the bytes that it moved. */
static long do_dio_finish(int fd)
{
	struct io_event event = { 0 };
	long result = dm_suspend(SLOW, 0);

	if (result == 0)
		result = outcome(syscall(SYS_io_getevents, contexts[fd], 1, 1, &event, NULL));
	syscall(SYS_io_destroy, contexts[fd]);
	close(fd);
	return result < 0 ? result : (long)event.res;
}

/* Begins direct I/O between the memory and a disk that the host may hold up, for how 'r' or 'w'. */
static long do_aio_submit(const char *disk, unsigned long addr, size_t len, char how)
{
	int fd = open(disk, O_RDWR | O_DIRECT | O_CLOEXEC);
	struct iocb request = {
		.aio_fildes = fd,
		.aio_lio_opcode = how == 'w' ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
		.aio_buf = addr,
		.aio_nbytes = len,
	};
	struct iocb *requests[] = { &request };
	aio_context_t context = 0;
	long result;

	if (fd < 0)
		return -errno;
	result = outcome(syscall(SYS_io_setup, 1, &context));
	if (result == 0)
		result = outcome(syscall(SYS_io_submit, context, 1, requests));
	if (result < 0) {
		syscall(SYS_io_destroy, context);
		close(fd);
		return result;
	}
	contexts[fd] = context;
	return fd;
}

/* Waits for the direct I/O: the bytes that it moved. */
static long do_aio_finish(int fd)
{
	struct io_event event = { 0 };
	long result = outcome(syscall(SYS_io_getevents, contexts[fd], 1, 1, &event, NULL));

	syscall(SYS_io_destroy, contexts[fd]);
	close(fd);
	return result < 0 ? result : (long)event.res;
}

#endif
