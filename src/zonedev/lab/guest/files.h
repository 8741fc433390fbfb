/*
 * What a task can do to files and to the file system that they lie on.  A file is named by its path,
 * one that has none any more by a descriptor that somebody has opened before (see fd_path).
 */
#ifndef FILES_H
#define FILES_H

#include "calls.h"

#include <linux/falloc.h>	/* FALLOC_FL_PUNCH_HOLE */
#include <linux/fiemap.h>	/* fiemap */
#include <linux/fs.h>	/* FS_IOC_FIEMAP FICLONE */
#include <linux/mman.h>	/* MAP_SHARED_VALIDATE MAP_SYNC */
#include <sys/ioctl.h>	/* ioctl */
#include <sys/mount.h>	/* umount2 */

/* The path of a file that this process has open, also if it was unlinked. */
static const char *fd_path(long fd)
{
	static __thread char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%ld", fd);
	return path;
}

/* As do_mmap(); a fault that writes commits the file's blocks first. */
static long do_mmap_sync(const char *path, long offset, size_t len)
{
	int fd = open(path, O_RDWR | O_CLOEXEC), flags = MAP_SHARED_VALIDATE | MAP_SYNC;
	long result;

	if (fd < 0)
		return -errno;
	result = outcome((long)mmap(NULL, len, PROT_READ | PROT_WRITE, flags, fd, offset));
	close(fd);
	return result;
}

/* As do_mmap(); what is written goes to copies. */
static long do_mmap_private(const char *path, long offset, size_t len)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	long result;

	if (fd < 0)
		return -errno;
	result = outcome((long)mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, offset));
	close(fd);
	return result;
}

/* Opens a file, and keeps it open. */
static long do_open(const char *path)
{
	return outcome(open(path, O_RDWR | O_CLOEXEC));
}

static long do_ftruncate(const char *path, long len)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	long result;

	if (fd < 0)
		return -errno;
	result = outcome(ftruncate(fd, len));
	close(fd);
	return result;
}

static long do_punch(const char *path, long offset, long len)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	long result;

	if (fd < 0)
		return -errno;
	result = outcome(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len));
	close(fd);
	return result;
}

/* Makes the file where there is none, with blocks up to len. */
static long do_allocate(const char *path, long len)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	long result;

	if (fd < 0)
		return -errno;
	result = outcome(fallocate(fd, 0, 0, len));
	close(fd);
	return result;
}

static long do_unlink(const char *path)
{
	return outcome(unlink(path));
}

static long do_fsync(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	long result;

	if (fd < 0)
		return -errno;
	result = outcome(fsync(fd));
	close(fd);
	return result;
}

/* Where the byte at an offset of a file lies on the file system's device. */
static long do_fiemap(const char *path, unsigned long offset)
{
	union {
		struct fiemap map;
		char space[sizeof(struct fiemap) + sizeof(struct fiemap_extent)];
	} of = { .map = { .fm_start = offset, .fm_length = 1, .fm_extent_count = 1 } };
	struct fiemap_extent *extent = of.map.fm_extents;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	long result;

	if (fd < 0)
		return -errno;
	result = outcome(ioctl(fd, FS_IOC_FIEMAP, &of.map));
	close(fd);
	if (result < 0)
		return result;
	if (!of.map.fm_mapped_extents)
		return -ENODATA;
	return extent->fe_physical + (offset - extent->fe_logical);
}

/* Writes bytes to a file that are all the same. */
static long do_pwrite(const char *path, long offset, size_t len, char byte)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	char bytes[PAGE];
	long result;

	if (fd < 0)
		return -errno;
	memset(bytes, byte, sizeof(bytes));
	result = outcome(pwrite(fd, bytes, len < PAGE ? len : PAGE, offset));
	close(fd);
	return result;
}

/* Makes the file where there is none, and has it share the blocks of another one (a reflink). */
static long do_clone(const char *path, const char *other)
{
	int from = open(other, O_RDONLY | O_CLOEXEC), fd;
	long result;

	if (from < 0)
		return -errno;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	result = outcome(fd < 0 ? fd : ioctl(fd, FICLONE, from));
	close(fd);
	close(from);
	return result;
}

static long do_sync(void)
{
	sync();
	return 0;
}

/* Evicts what nobody uses: inodes that are clean, the second time, for the first one only marks them. */
static long do_drop_caches(void)
{
	long result = 0;

	sync();
	for (int i = 0; i < 2 && result >= 0; i++)
		result = do_write_file("/proc/sys/vm/drop_caches", "2");
	return result < 0 ? result : 0;
}

static long do_umount(const char *path)
{
	return outcome(umount2(path, 0));
}

#endif
