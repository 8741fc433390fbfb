/*
 * What a task can do to memory: one function per call, each of which stands alone and can be pasted
 * into a bug report.  They give a value, or minus an errno, or -(SIGNALLED + signal)
 * where the access to memory ended in a signal.
 */
#ifndef CALLS_H
#define CALLS_H

#include <errno.h>	/* errno */
#include <fcntl.h>	/* open fallocate vmsplice O_RDWR O_CLOEXEC */
#include <linux/futex.h>	/* FUTEX_WAKE */
#include <setjmp.h>	/* sigjmp_buf */
#include <signal.h>	/* signal SIGBUS */
#include <stdint.h>	/* uint64_t uint32_t uintptr_t */
#include <stdio.h>	/* printf snprintf */
#include <string.h>	/* strlen basename strerrorname_np sigabbrev_np */
#include <sys/mman.h>	/* mmap munmap madvise */
#include <sys/syscall.h>	/* SYS_* */
#include <unistd.h>	/* close read write pread pwrite pipe2 ftruncate fsync unlink sync syscall usleep fork */

#define SIGNALLED 4096
#define PAGE 4096

static long outcome(long value)
{
	return value < 0 ? -errno : value;
}

/* The name of what failed: ENXIO, SIGBUS. */
static const char *failure(long result)
{
	static __thread char name[32];

	if (result > -SIGNALLED)
		snprintf(name, sizeof(name), "%s", strerrorname_np(-result) ?: "EUNKNOWN");
	else
		snprintf(name, sizeof(name), "SIG%s", sigabbrev_np(-result - SIGNALLED) ?: "UNKNOWN");
	return name;
}

/* Maps a device or a file, shared, to be read and written. */
static long do_mmap(const char *path, long offset, size_t len)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	long result;

	if (fd < 0)
		return -errno;
	result = outcome((long)mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, offset));
	close(fd);
	return result;
}

static long do_munmap(unsigned long addr, size_t len)
{
	return outcome(munmap((void *)addr, len));
}

static __thread sigjmp_buf *volatile landing;

static void on_fault(int signo)
{
	if (landing)
		siglongjmp(*landing, signo);
	signal(signo, SIG_DFL);		/* not in copy(): it happens again, and kills */
}

/* Copies n bytes one by one; what ends in SIGBUS or SIGSEGV has that for its result. */
static long copy(volatile char *to, const volatile char *from, size_t n)
{
	sigjmp_buf here;
	int signo;

	signal(SIGBUS, on_fault);
	signal(SIGSEGV, on_fault);
	signo = sigsetjmp(here, 1);
	if (signo) {
		landing = NULL;
		return -(SIGNALLED + signo);
	}
	landing = &here;
	for (size_t i = 0; i < n; i++)
		to[i] = from[i];
	landing = NULL;
	return n;
}

/* One load or one store, for how 'r' or 'w'. */
static long do_touch(unsigned long addr, char how)
{
	char byte = 1;
	long result;

	if (how == 'w')
		result = copy((char *)addr, &byte, 1);
	else
		result = copy(&byte, (char *)addr, 1);
	return result < 0 ? result : 0;
}

static long do_read(unsigned long addr, char *bytes, size_t n)
{
	return copy(bytes, (char *)addr, n);
}

static long do_write(unsigned long addr, const char *bytes, size_t n)
{
	return copy((char *)addr, bytes, n);
}

/* The page frame that is mapped at an address; 0 for none, or where we may not know. */
static long do_pfn(unsigned long addr)
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
	return entry >> 63 ? entry & ((1ULL << 55) - 1) : 0;
}

/* Looks for threads to wake at a shared futex: get_user_pages_fast() finds its page, and puts it. */
static long do_futex_wake(unsigned long addr)
{
	return outcome(syscall(SYS_futex, addr, FUTEX_WAKE, 1, NULL, NULL, 0));
}

/* Writes a text to a file, as to sysfs. */
static long do_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	long result;

	if (fd < 0)
		return -errno;
	result = outcome(write(fd, text, strlen(text)));
	close(fd);
	return result;
}

#endif
