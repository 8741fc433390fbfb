/*
 * Steps of several tasks in one order, for a program of its own (see emit.py); the agent has no use
 * for it.
 */
#ifndef STEPS_H
#define STEPS_H

#include "calls.h"

#include <pthread.h>	/* pthread_create */
#include <stdlib.h>	/* exit */
#include <sys/prctl.h>	/* prctl */

#define STEPS 100

/* What all processes share. */
static volatile struct {
	int turn;			/* the step that may begin */
	int returned[STEPS];
	pid_t leaves[STEPS];		/* the process whose exit is the step */
} *steps;

/* Waits for a step's turn. */
static void begin(int step, const char *task, const char *call)
{
	while (steps->turn < step)
		usleep(1000);
	printf("%2d %s: %s\n", step, task, call);
}

static long end(int step, long result)
{
	if (result < 0)
		printf("%2d    ! %s\n", step, failure(result));
	else
		printf(result < 1 << 20 ? "%2d    = %ld\n" : "%2d    = %#lx\n", step, result);
	steps->returned[step] = 1;
	return result;
}

#define STEP(step, call) (begin(step, __func__, #call), end(step, call))

/* A step that is the end of its process. */
static void leave(int step, const char *task)
{
	begin(step, task, "exit");
	steps->leaves[step] = getpid();
	_exit(0);
}

/* Shows the bytes that a call has read. */
static long show(const char *bytes, long n)
{
	for (long i = 0; i < n; i++)
		printf("%s%02x", i ? " " : "      ", (unsigned char)bytes[i]);
	if (n > 0)
		printf("\n");
	return n;
}

/* Runs a task in a process of its own, which keeps no file, and so no pin, of its parent's. */
static long start_process(void (*task)(void))
{
	pid_t pid = fork();

	if (pid != 0)
		return outcome(pid);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close_range(3, ~0U, 0);
	task();
	for (;;)
		pause();		/* with what it holds */
}

static void *run_thread(void *task)
{
	((void (*)(void))task)();
	return NULL;
}

/* Runs a task in a thread of this process. */
static long start_thread(void (*task)(void))
{
	pthread_t thread;

	return -pthread_create(&thread, NULL, run_thread, task);
}

/* To be called before any task is started. */
static void share_steps(void)
{
	setlinebuf(stdout);
	signal(SIGCHLD, SIG_IGN);
	steps = mmap(NULL, sizeof(*steps), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (steps == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
}

static int returned(int step)
{
	return steps->returned[step] || (steps->leaves[step] && kill(steps->leaves[step], 0) < 0);
}

/* Gives each step its turn; one that has not returned after a second is left, and said to block. */
static void run_steps(int last)
{
	for (int step = 1; step <= last; step++) {
		steps->turn = step;
		for (int ms = 0; ms < 1000 && !returned(step); ms++)
			usleep(1000);
		if (!returned(step))
			printf("%2d    blocks\n", step);
	}
	sleep(1);			/* for what the kernel puts off */
	for (int step = 1; step <= last; step++)
		if (!returned(step))
			printf("%2d    has not returned\n", step);
}

#endif
