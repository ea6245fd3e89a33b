/*
 * Starts a program with a given inheritance: -i N ignore signal N, -b N block it, -c N close descriptor N, -o N open
 * /dev/null at N, -d N make it non-blocking, -n N soft limit of open files, then -- PROGRAM ARGS...
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	sigset_t blocked;
	int at = 1;

	sigemptyset(&blocked);
	for (; at + 1 < argc && strcmp(argv[at], "--") != 0; at += 2) {
		int number = atoi(argv[at + 1]);
		struct rlimit limit;
		int fd;

		switch (argv[at][1]) {
		case 'i':
			signal(number, SIG_IGN);
			break;
		case 'b':
			sigaddset(&blocked, number);
			break;
		case 'c':
			close(number);
			break;
		case 'o':
			fd = open("/dev/null", O_RDONLY);
			dup2(fd, number);
			if (fd != number)
				close(fd);
			break;
		case 'd':
			fcntl(number, F_SETFL, fcntl(number, F_GETFL) | O_NONBLOCK);
			break;
		case 'n':
			getrlimit(RLIMIT_NOFILE, &limit);
			limit.rlim_cur = number;
			setrlimit(RLIMIT_NOFILE, &limit);
			break;
		}
	}
	sigprocmask(SIG_SETMASK, &blocked, NULL);
	execvp(argv[at + 1], argv + at + 1);
	perror(argv[at + 1]);
	return 127;
}
