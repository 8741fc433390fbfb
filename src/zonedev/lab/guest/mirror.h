/*
 * What the device of lib/test_hmm.c does.  Who opens it has its own address space mirrored.
 */
#ifndef MIRROR_H
#define MIRROR_H

#include "calls.h"

#include <stdlib.h>	/* calloc free */
#include <sys/ioctl.h>	/* ioctl _IOWR */

/* Maps ordinary memory, in small pages. */
static long do_mmap_anon(size_t len)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at != MAP_FAILED)
		madvise(at, len, MADV_NOHUGEPAGE);
	return outcome((long)at);
}

/* A request to the device: on pages at addr, with data in or for buffer. */
static long do_mirror(int fd, int number, unsigned long addr, unsigned long pages, void *buffer)
{
	/* The last two come back: how many pages it did, and how often it faulted. */
	uint64_t request[5] = { addr & -PAGE, (uintptr_t)buffer, pages, 0, 0 };

	return outcome(ioctl(fd, _IOWR('H', number, uint64_t[5]), request));
}

/* The device loads n bytes of a page, and faults as often as it takes. */
static long do_mirror_read(int fd, unsigned long addr, char *bytes, size_t n)
{
	char page[PAGE];
	long result = do_mirror(fd, 0, addr, 1, page);

	if (result < 0)
		return result;
	if (n > PAGE - addr % PAGE)
		n = PAGE - addr % PAGE;
	memcpy(bytes, page + addr % PAGE, n);
	return n;
}

/* The device stores n bytes in a page, and zeroes in the rest of it. */
static long do_mirror_write(int fd, unsigned long addr, const char *bytes, size_t n)
{
	char page[PAGE] = "";

	if (n > PAGE - addr % PAGE)
		n = PAGE - addr % PAGE;
	memcpy(page + addr % PAGE, bytes, n);
	return do_mirror(fd, 1, addr, 1, page);
}

/* Pages go to the device, come back to the system, or are made exclusive to the device, for
 * to 'd', 's' or 'x'. */
static long do_mirror_migrate(int fd, unsigned long addr, unsigned long pages, char to)
{
	void *data = calloc(pages, PAGE);
	long result = data ? do_mirror(fd, to == 'd' ? 2 : to == 's' ? 3 : 5, addr, pages, data) : -ENOMEM;

	free(data);
	return result;
}

/* The page frame of the device's private memory that an address stands for; 0 for none. */
static long do_private_pfn(unsigned long addr)
{
	int fd = open("/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC);
	uint64_t entry = 0;
	long result;

	if (fd < 0)
		return -errno;
	result = outcome(pread(fd, &entry, sizeof(entry), addr / PAGE * sizeof(entry)));
	close(fd);
	if (result < 0)
		return result;
	/* It looks like memory in a swap file: five bits say in which, and the rest where. */
	return entry >> 62 == 1 ? (entry & ((1ULL << 55) - 1)) >> 5 : 0;
}

#endif
