/*
 * A tree of processes that does not want to end: children, grandchildren in sessions of their own, orphans, a thread, all ignoring
 * what can be ignored. Prints `ready` when all stand; `tree storm` forks and ends children without a pause besides.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void *wait_forever(void *unused)
{
	for (;;)
		pause();
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	char byte;
	int ends[2];

	for (int number = 1; number < 32; number++)
		if (number != SIGKILL && number != SIGSTOP && number != SIGCHLD)
			signal(number, SIG_IGN);
	if (pipe(ends) != 0)
		return 1;
	for (int count = 0; count < 8; count++) {
		if (fork() != 0)
			continue;
		setsid();
		if (fork() != 0) {
			if (count % 2 == 0)
				_exit(0); /* the grandchild is an orphan now */
			wait_forever(NULL);
		}
		setsid();
		if (write(ends[1], "x", 1) != 1)
			return 1;
		if (count == 7)
			raise(SIGSTOP);
		wait_forever(NULL);
	}
	for (int count = 0; count < 8; count++)
		if (read(ends[0], &byte, 1) != 1)
			return 1;
	pthread_create(&thread, NULL, wait_forever, NULL);
	puts("ready");
	fflush(stdout);
	if (argc > 1 && strcmp(argv[1], "storm") == 0)
		for (;;) {
			if (fork() == 0)
				_exit(fork() < 0);
			while (waitpid(-1, NULL, WNOHANG) > 0)
				;
		}
	wait_forever(NULL);
	return 0;
}
