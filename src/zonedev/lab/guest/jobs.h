/*
 * Shell commands, which run beside everything else.
 */
#ifndef JOBS_H
#define JOBS_H

#include "host.h"
#include "task.h"

#include <sys/wait.h>

#define JOBS 8
#define OUTPUT 16384

/* Commands that run. */
static struct job {
	unsigned long id;
	pid_t pid;			/* 0: no job */
	int fd;
	int len;
	char output[OUTPUT];
} jobs[JOBS];

static void run_shell(unsigned long id, const char *command)
{
	struct job *job = jobs;
	int ends[2];

	while (job < jobs + JOBS && job->pid)
		job++;
	if (job == jobs + JOBS)
		return refuse(id, EAGAIN);
	if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
		return refuse(id, errno);
	*job = (struct job){ .id = id, .fd = ends[0], .pid = fork() };
	if (job->pid == 0) {
		dup2(open("/dev/null", O_RDONLY), 0);
		fcntl(ends[1], F_SETFL, 0);
		dup2(ends[1], 1);
		dup2(ends[1], 2);
		fresh_process();
		execl("/bin/sh", "sh", "-c", command, NULL);
		_exit(127);
	}
	close(ends[1]);
	if (job->pid < 0) {
		job->pid = 0;
		close(ends[0]);
		refuse(id, EAGAIN);
	}
}

static void from_job(struct job *job)
{
	char bytes[4096];
	ssize_t n;

	while ((n = read(job->fd, bytes, sizeof(bytes))) > 0) {
		if (n > OUTPUT - job->len)
			n = OUTPUT - job->len;
		memcpy(job->output + job->len, bytes, n);
		job->len += n;
	}
	if (n == 0) {
		close(job->fd);		/* waitpid() will say how it ended */
		job->fd = -1;
	}
}

static void end_job(struct job *job, int status)
{
	int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);

	if (job->fd >= 0)
		from_job(job);
	fprintf(host, "%lu = %d ", job->id, code);
	for (int i = 0; i < job->len; i++) {
		unsigned char c = job->output[i];

		fprintf(host, c <= ' ' || c == '%' || c > '~' ? "%%%02x" : "%c", c);
	}
	fputs("\n", host);
	fflush(host);
	if (job->fd >= 0)
		close(job->fd);
	job->pid = 0;
}

#endif
