/*
 * The agent in a guest.  It reads requests from a terminal, hands them to tasks, and writes what
 * they answer.  The process that holds the terminal makes no call that could wait, so that it can
 * say at any time where another one waits.
 */
#define _GNU_SOURCE

#include "jobs.h"
#include "tasks.h"

#include <poll.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <termios.h>

static int tty, listener, children;

static void where(unsigned long id, const struct task *t)
{
	char wchan[128], names[4096];

	if (!read_proc(t->tid, "wchan", wchan, sizeof(wchan)) || !strcmp(wchan, "0"))
		strcpy(wchan, "-");
	frames(t->tid, names, sizeof(names));
	reply(id, '=', "%c %s %s", state(t->tid), wchan, names);
}

static void own_request(unsigned long id, const char *op, char *arg)
{
	if (!strcmp(op, "spawn") && arg) {
		if (find_task(arg))
			refuse(id, EEXIST);
		else if (strlen(arg) >= NAME)
			refuse(id, EPROTO);
		else
			spawn(id, arg);
	} else if (!strcmp(op, "where") && arg) {
		if (find_task(arg))
			where(id, find_task(arg));
		else
			refuse(id, ESRCH);
	} else if (!strcmp(op, "sh") && arg) {
		decode(arg);
		run_shell(id, arg);
	} else if (!strcmp(op, "poweroff")) {
		if (getpid() != 1)
			return refuse(id, EPERM);	/* this is no guest */
		reply(id, '=', "0");
		tcdrain(tty);
		reboot(RB_POWER_OFF);
	} else {
		refuse(id, EPROTO);
	}
}

/* "ID TASK OP ARGUMENT..." */
static void request(char *line)
{
	char copied[LINE], *words[4] = { "" };
	unsigned long id;
	struct task *t;
	int n;

	strcpy(copied, line);
	n = split(copied, words, 4);
	if (!number(words[0], &id))
		return refuse(0, EPROTO);
	if (n < 3)
		return refuse(id, EPROTO);
	if (!strcmp(words[1], "-"))
		return own_request(id, words[2], words[3]);
	t = find_task(words[1]);
	if (!t || t->fd < 0)
		return refuse(id, ESRCH);
	if (!strcmp(words[2], "exit"))
		t->exit = id;
	n = sprintf(copied, "%lu %s", id, line + (words[2] - copied));
	if (t->count == QUEUE || send(t->fd, copied, n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return refuse(id, EAGAIN);
	t->pending[t->count++] = id;
}

static void from_tty(void)
{
	static char line[LINE];
	static int len;
	char bytes[512];
	ssize_t n = read(tty, bytes, sizeof(bytes));

	if (n <= 0)
		exit(0);		/* the host is gone, and tasks go with the agent */
	for (int i = 0; i < n; i++) {
		if (bytes[i] != '\n') {
			if (len < LINE - 1)
				line[len++] = bytes[i];
			continue;
		}
		line[len] = '\0';
		if (len)
			request(line);
		len = 0;
	}
}

static void reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		for (struct task *t = tasks; t < tasks + TASKS; t++)
			if (t->name[0] && t->pid == pid)
				bury(t, status);
		for (struct job *job = jobs; job < jobs + JOBS; job++)
			if (job->pid == pid)
				end_job(job, status);
	}
}

static int open_tty(const char *path)
{
	int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios raw;

	if (fd < 0 || tcgetattr(fd, &raw) < 0) {
		perror(path);
		exit(1);
	}
	cfmakeraw(&raw);
	raw.c_cflag |= CLOCAL | CREAD;
	cfsetspeed(&raw, B115200);
	tcsetattr(fd, TCSANOW, &raw);
	return fd;
}

static int listen_for_tasks(void)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	agent.sun_family = AF_UNIX;
	bind(fd, (struct sockaddr *)&agent, sizeof(sa_family_t));	/* the kernel finds a name */
	agent_len = sizeof(agent);
	getsockname(fd, (struct sockaddr *)&agent, &agent_len);
	listen(fd, TASKS);
	return fd;
}

static int watch_children(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void wait_for_something(void)
{
	struct pollfd fds[3 + TASKS + JOBS];
	struct signalfd_siginfo info;
	int n = 3;

	fds[0] = (struct pollfd){ tty, POLLIN, 0 };
	fds[1] = (struct pollfd){ listener, POLLIN, 0 };
	fds[2] = (struct pollfd){ children, POLLIN, 0 };
	for (int i = 0; i < TASKS; i++)
		fds[n++] = (struct pollfd){ tasks[i].name[0] ? tasks[i].fd : -1, POLLIN, 0 };
	for (int i = 0; i < JOBS; i++)
		fds[n++] = (struct pollfd){ jobs[i].pid ? jobs[i].fd : -1, POLLIN, 0 };
	poll(fds, n, 500);
	if (fds[1].revents)
		new_task(listener);
	for (int i = 0; i < TASKS; i++)
		if (fds[3 + i].revents)
			from_task(&tasks[i]);
	for (int i = 0; i < JOBS; i++)
		if (fds[3 + TASKS + i].revents)
			from_job(&jobs[i]);
	while (read(children, &info, sizeof(info)) > 0)
		;
	reap();
	look_for_dead();
	if (fds[0].revents)
		from_tty();
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: %s TTY\n", argv[0]);
		return 1;
	}
	tty = open_tty(argv[1]);
	listener = listen_for_tasks();
	children = watch_children();
	host = fdopen(tty, "w");
	fputs("zonedev: ready 1\n", host);
	fflush(host);
	for (;;)
		wait_for_something();
}
