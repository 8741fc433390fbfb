/*
 * A task: a thread of some process, which serves one request at a time.
 */
#ifndef TASK_H
#define TASK_H

#include "files.h"
#include "mirror.h"
#include "pins.h"
#include "words.h"

#include <pthread.h>
#include <sys/prctl.h>
#include <sys/un.h>

#define WORDS 8
#define NAME 32

/* Where tasks find the agent. */
static struct sockaddr_un agent;
static socklen_t agent_len;

struct request {
	unsigned long id;
	const char *op;
	int count;
	char *words[WORDS];
	unsigned long n[WORDS];		/* the arguments that are numbers */
	char bytes[BYTES];		/* those that are bytes; and the bytes of an answer */
	int len;
};

/* Whether a request is `op` with arguments of these kinds: a number, bytes in hex, a text, a handle. */
static bool is(struct request *r, const char *op, const char *kinds)
{
	if (strcmp(r->op, op) || r->count != (int)strlen(kinds))
		return false;
	for (int i = 0; i < r->count; i++) {
		if (strchr("nh", kinds[i]) && !number(r->words[i], &r->n[i]))
			return false;
		if (kinds[i] == 'h' && r->n[i] >= FDS)
			return false;
		if (kinds[i] == 'b' && (r->len = from_hex(r->words[i], r->bytes)) < 0)
			return false;
	}
	return true;
}

/* What the handles of this process stand for: 'f'ile, 'r'ing, 'a'io, 'd'isk with I/O under way. */
static char handles[FDS];

static long keep(long fd, char kind)
{
	if (fd >= 0)
		handles[fd] = kind;
	return fd;
}

static long drop(int fd)
{
	char kind = handles[fd];

	handles[fd] = 0;
	if (kind == 'f')
		return do_drop(fd);
	if (kind == 'r')
		return do_uring_drop(fd);
	if (kind == 'a')
		return do_dio_finish(fd) < 0 ? -EIO : 0;
	if (kind == 'd')
		return do_aio_finish(fd) < 0 ? -EIO : 0;
	return -EBADF;
}

static long finish(int fd, char kind)
{
	if (handles[fd] != kind)
		return -EBADF;
	handles[fd] = 0;
	return kind == 'a' ? do_dio_finish(fd) : do_aio_finish(fd);
}

static void serve(const char *name, unsigned long id) __attribute__((noreturn));

struct start {
	char name[NAME];
	unsigned long id;
};

static void *begin_thread(void *start)
{
	struct start own = *(struct start *)start;

	free(start);
	serve(own.name, own.id);
}

static long start_thread(const char *name, unsigned long id)
{
	struct start *start = calloc(1, sizeof(*start));
	pthread_t thread;
	int error;

	if (!start)
		return -ENOMEM;
	snprintf(start->name, NAME, "%s", name);
	start->id = id;
	error = pthread_create(&thread, NULL, begin_thread, start);
	if (!error)
		pthread_detach(thread);
	return -error;
}

/* What a new process does first: it keeps no descriptor of its parent's, and so no pin. */
static void fresh_process(void)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close_range(3, ~0U, 0);
	memset(handles, 0, sizeof(handles));
}

/* As fork(), but the child is the agent's, which is so told of its end. */
static long fork_task(const char *name, unsigned long id)
{
	long pid = outcome(syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, 0));

	if (pid == 0) {
		fresh_process();
		serve(name, id);
	}
	return pid;
}

/* A file by its path, or "fd:N" by a handle: it may have no path any more. */
static const char *file(const char *word)
{
	return strncmp(word, "fd:", 3) ? word : fd_path(atol(word + 3));
}

#define LATER 0x7fffffffffffffffL	/* the agent answers, when it sees what was asked for */

static long later(long result)
{
	return result < 0 ? result : LATER;
}

static long call(struct request *r)
{
	char **s = r->words;
	unsigned long *n = r->n;

	if (is(r, "thread", "s") && strlen(s[0]) < NAME)
		return later(start_thread(s[0], r->id));
	if (is(r, "fork", "s") && strlen(s[0]) < NAME)
		return later(fork_task(s[0], r->id));
	if (is(r, "exit", ""))
		_exit(0);
	if (is(r, "mmap", "snn"))
		return do_mmap(s[0], n[1], n[2]);
	if (is(r, "mmap_sync", "snn"))
		return do_mmap_sync(s[0], n[1], n[2]);
	if (is(r, "mmap_private", "snn"))
		return do_mmap_private(s[0], n[1], n[2]);
	if (is(r, "munmap", "nn"))
		return do_munmap(n[0], n[1]);
	if (is(r, "touch", "ns") && strchr("rw", *s[1]))
		return do_touch(n[0], *s[1]);
	if (is(r, "read", "nn") && n[1] <= BYTES)
		return r->len = do_read(n[0], r->bytes, n[1]);
	if (is(r, "write", "nb"))
		return do_write(n[0], r->bytes, r->len);
	if (is(r, "pfn", "n"))
		return do_pfn(n[0]);
	if (is(r, "futex_wake", "n"))
		return do_futex_wake(n[0]);
	if (is(r, "vmsplice", "nn"))
		return keep(do_vmsplice(n[0], n[1]), 'f');
	if (is(r, "xdp_pin", "nn"))
		return keep(do_xdp_pin(n[0], n[1]), 'f');
	if (is(r, "uring_pin", "nn"))
		return keep(do_uring_pin(n[0], n[1]), 'r');
	if (is(r, "uring_write", "hb"))
		return handles[n[0]] == 'r' ? do_uring_write(n[0], r->bytes, r->len) : -EBADF;
	if (is(r, "uring_read", "hn") && n[1] <= BYTES)
		return handles[n[0]] == 'r' ? (r->len = do_uring_read(n[0], r->bytes, n[1])) : -EBADF;
	if (is(r, "dio_submit", "nns") && strchr("rw", *s[2]))
		return keep(do_dio_submit(n[0], n[1], *s[2]), 'a');
	if (is(r, "dio_finish", "h"))
		return finish(n[0], 'a');
	if (is(r, "aio_submit", "snns") && strchr("rw", *s[3]))
		return keep(do_aio_submit(s[0], n[1], n[2], *s[3]), 'd');
	if (is(r, "aio_finish", "h"))
		return finish(n[0], 'd');
	if (is(r, "drop", "h"))
		return drop(n[0]);
	if (is(r, "write_file", "ss"))
		return do_write_file(s[0], s[1]);
	if (is(r, "ftruncate", "sn"))
		return do_ftruncate(file(s[0]), n[1]);
	if (is(r, "punch", "snn"))
		return do_punch(file(s[0]), n[1], n[2]);
	if (is(r, "allocate", "sn"))
		return do_allocate(s[0], n[1]);
	if (is(r, "unlink", "s"))
		return do_unlink(s[0]);
	if (is(r, "fsync", "s"))
		return do_fsync(file(s[0]));
	if (is(r, "fiemap", "sn"))
		return do_fiemap(s[0], n[1]);
	if (is(r, "open", "s"))
		return keep(do_open(s[0]), 'f');
	if (is(r, "pwrite", "snns"))
		return do_pwrite(file(s[0]), n[1], n[2], *s[3]);
	if (is(r, "clone", "ss"))
		return do_clone(s[0], s[1]);
	if (is(r, "mmap_anon", "n"))
		return do_mmap_anon(n[0]);
	if (is(r, "mirror_read", "hnn") && n[2] <= BYTES)
		return r->len = do_mirror_read(n[0], n[1], r->bytes, n[2]);
	if (is(r, "mirror_write", "hnb"))
		return do_mirror_write(n[0], n[1], r->bytes, r->len);
	if (is(r, "mirror_migrate", "hnns") && strchr("dsx", *s[3]))
		return do_mirror_migrate(n[0], n[1], n[2], *s[3]);
	if (is(r, "private_pfn", "n"))
		return do_private_pfn(n[0]);
	if (is(r, "sync", ""))
		return do_sync();
	if (is(r, "drop_caches", ""))
		return do_drop_caches();
	if (is(r, "umount", "s"))
		return do_umount(s[0]);
	return -EPROTO;			/* no such request */
}

/* Serves one request: "ID OP ARGUMENT...". */
static void answer(int fd, char *line)
{
	char text[2 * BYTES + 64], *words[WORDS + 2] = { "", "" };
	struct request r = { .op = "" };
	long result;
	int n;

	n = split(line, words, WORDS + 2);
	number(words[0], &r.id);
	r.op = words[1];
	r.count = n - 2;
	for (int i = 0; i < r.count; i++) {
		r.words[i] = words[i + 2];
		decode(r.words[i]);
	}
	result = call(&r);
	if (result == LATER)
		return;
	n = sprintf(text, "%lu %c ", r.id, result < 0 ? '!' : '=');
	if (result < 0)
		strcpy(text + n, failure(result));
	else if (strstr(r.op, "read") && strcmp(r.op, "thread"))
		to_hex(text + n, r.bytes, result);
	else
		sprintf(text + n, strncmp(r.op, "mmap", 4) ? "%ld" : "0x%lx", result);
	send(fd, text, strlen(text), MSG_NOSIGNAL);
}

/* Says "NAME PID TID ID" to the agent, and serves what it then asks for. */
static void serve(const char *name, unsigned long id)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	char line[LINE];
	ssize_t n;

	connect(fd, (struct sockaddr *)&agent, agent_len);
	n = sprintf(line, "%s %d %d %lu", name, getpid(), gettid(), id);
	send(fd, line, n, MSG_NOSIGNAL);
	while ((n = recv(fd, line, LINE - 1, 0)) > 0) {
		line[n] = '\0';
		answer(fd, line);
	}
	for (;;)
		syscall(SYS_exit, 0);	/* this thread alone */
}

#endif
