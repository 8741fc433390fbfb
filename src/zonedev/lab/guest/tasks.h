/*
 * The tasks, as the agent sees them, and the requests that they have not answered.
 */
#ifndef TASKS_H
#define TASKS_H

#include "host.h"
#include "look.h"
#include "task.h"

#include <sys/wait.h>

#define TASKS 32
#define QUEUE 16

static struct task {
	char name[NAME];		/* empty: no task */
	pid_t pid, tid;
	int fd;
	unsigned long pending[QUEUE];	/* requests that are not answered, oldest first */
	int count;
	unsigned long exit;		/* the request to exit */
	int gone;			/* how often it was seen to have ended */
} tasks[TASKS];

static struct task *find_task(const char *name)
{
	for (struct task *t = tasks; t < tasks + TASKS; t++)
		if (!strcmp(t->name, name))
			return t;
	return NULL;
}

static void settle(struct task *t, unsigned long id)
{
	for (int i = 0; i < t->count; i++) {
		if (t->pending[i] != id)
			continue;
		t->count--;
		memmove(&t->pending[i], &t->pending[i + 1], (t->count - i) * sizeof(t->pending[0]));
		return;
	}
}

static void spawn(unsigned long id, const char *name)
{
	pid_t pid = fork();

	if (pid < 0)
		refuse(id, errno);
	if (pid != 0)
		return;			/* the answer comes when the task has said its name */
	fresh_process();
	serve(name, id);
}

/* A task says who it is: "NAME PID TID ID", where ID is of the request that made it. */
static void new_task(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	char line[LINE] = "", name[NAME] = "";
	struct task *t = find_task("");
	unsigned long id = 0;
	pid_t pid, tid;

	if (fd < 0)
		return;
	if (recv(fd, line, LINE - 1, 0) <= 0 || sscanf(line, "%31s %d %d %lu", name, &pid, &tid, &id) != 4) {
		close(fd);
		return;
	}
	for (struct task *maker = tasks; maker < tasks + TASKS; maker++)
		settle(maker, id);
	if (!t || find_task(name)) {
		close(fd);
		return refuse(id, t ? EEXIST : EAGAIN);
	}
	*t = (struct task){ .pid = pid, .tid = tid, .fd = fd };
	strcpy(t->name, name);
	reply(id, '=', "%d", tid);
}

/* False where there is nothing more to read. */
static bool from_task(struct task *t)
{
	char line[LINE];
	ssize_t n = recv(t->fd, line, LINE - 1, MSG_DONTWAIT);
	unsigned long id;

	if (n > 0) {
		line[n] = '\0';
		sscanf(line, "%lu", &id);
		settle(t, id);
		fprintf(host, "%s\n", line);
		fflush(host);
		return true;
	}
	if (n == 0 || errno != EAGAIN) {
		close(t->fd);		/* waitpid() will say how it ended */
		t->fd = -1;
	}
	return false;
}

static void bury(struct task *t, int status)
{
	while (t->fd >= 0 && from_task(t))
		;
	for (int i = 0; i < t->count; i++) {
		if (WIFSIGNALED(status))
			refuse(t->pending[i], SIGNALLED + WTERMSIG(status));
		else if (t->pending[i] == t->exit)
			reply(t->exit, '=', "0");
		else
			refuse(t->pending[i], ESRCH);
	}
	if (t->fd >= 0)
		close(t->fd);
	*t = (struct task){ .fd = -1 };
}

/* Whether a process was asked to exit: its threads end before waitpid() says so. */
static bool leaving(pid_t pid)
{
	for (struct task *t = tasks; t < tasks + TASKS; t++)
		if (t->name[0] && t->pid == pid && t->exit)
			return true;
	return false;
}

/* An oops kills a thread and leaves the rest of its process, so that waitpid() says nothing. */
static void look_for_dead(void)
{
	for (struct task *t = tasks; t < tasks + TASKS; t++)
		if (t->name[0] && t->count && !leaving(t->pid) && strchr("ZX", state(t->tid)) && t->gone++)
			bury(t, SIGKILL);
}

#endif
