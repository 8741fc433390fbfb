/*
 * What /proc tells of a thread, and does not wait to tell.
 */
#ifndef LOOK_H
#define LOOK_H

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Reads a small file of a thread's in /proc. */
static bool read_proc(pid_t tid, const char *file, char *text, size_t size)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", tid, file);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, size - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* R, S, D, ...; X where there is no such thread. */
static char state(pid_t tid)
{
	char stat[512], *name_end;

	if (!read_proc(tid, "stat", stat, sizeof(stat)))
		return 'X';
	name_end = strrchr(stat, ')');
	return name_end ? name_end[2] : 'X';
}

/* "[<0>] wait_for+0x12/0x34 [module]" per line, to "wait_for,..." */
static void frames(pid_t tid, char *names, size_t size)
{
	char stack[4096], *rest;
	size_t n = 0;

	read_proc(tid, "stack", stack, sizeof(stack));
	for (char *l = strtok_r(stack, "\n", &rest); l; l = strtok_r(NULL, "\n", &rest)) {
		char *name = strstr(l, "] ");

		if (name && n < size - 128)
			n += sprintf(names + n, "%s%.100s", n ? "," : "", strtok(name + 2, "+"));
	}
	if (!n)
		strcpy(names, "-");
}

#endif
