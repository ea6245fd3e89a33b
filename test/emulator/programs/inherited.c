/* Prints what it has inherited into the file of its first argument: a program that is started in two ways must print the same. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

static void bytes(FILE *out, const char *what, const char *text)
{
	fprintf(out, "%s ", what);
	for (; *text; text++)
		fprintf(out, "%02x", (unsigned char)*text);
	fprintf(out, "\n");
}

int main(int argc, char **argv)
{
	char folder[4096];
	sigset_t blocked;
	FILE *out;
	int fds[1024], count = 0;

	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			fds[count++] = fd;
	out = fopen(argv[1], "w");
	for (int at = 0; at < count; at++) {
		struct stat status;

		fstat(fds[at], &status);
		fprintf(out, "fd %d flags %o descriptor %d inode %lu:%lu\n", fds[at], fcntl(fds[at], F_GETFL),
			fcntl(fds[at], F_GETFD), (unsigned long)status.st_dev, (unsigned long)status.st_ino);
	}
	sigprocmask(SIG_SETMASK, NULL, &blocked);
	for (int signal = 1; signal <= 64; signal++) {
		struct sigaction action;

		if (sigismember(&blocked, signal) == 1)
			fprintf(out, "blocked %d\n", signal);
		if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
			fprintf(out, "action %d %s\n", signal, action.sa_handler == SIG_IGN ? "ignored" : "strange");
	}
	for (int resource = 0; resource < 16; resource++) {
		struct rlimit limit;

		if (getrlimit(resource, &limit) == 0)
			fprintf(out, "limit %d %lu %lu\n", resource, (unsigned long)limit.rlim_cur,
				(unsigned long)limit.rlim_max);
	}
	fprintf(out, "umask %o uid %d gid %d group %d session %d nice %d\n", umask(0), getuid(), getgid(), getpgrp(),
		getsid(0), getpriority(PRIO_PROCESS, 0));
	fprintf(out, "dumpable %d\n", prctl(PR_GET_DUMPABLE));
	bytes(out, "folder", getcwd(folder, sizeof(folder)));
	for (int at = 0; at < argc; at++)
		bytes(out, "word", argv[at]);
	for (char **entry = environ; *entry; entry++)
		if (strncmp(*entry, "_=", 2) != 0)
			bytes(out, "environment", *entry);
	return 0;
}
