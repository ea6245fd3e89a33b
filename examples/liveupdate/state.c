/*
 * Carry a stream of bytes into the next kernel: what a VMM or a database does with its memory, in its smallest form.
 *
 *   state save NAME COMMAND...   read standard input into memory, preserve it in session NAME, and run COMMAND, which
 *                                makes the jump (kexec -e, luoctl emulate kexec): the session lives as long as this process
 *   state load NAME              in the next kernel: write it to standard output
 *
 *   cc -o state state.c          (linux/liveupdate.h of Linux 7.3; what it says is repeated here for older headers)
 *
 * Unhappy: if COMMAND comes back, there was no jump; everything goes on as before, and its exit code is ours.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* Every struct begins with its size, which is how the kernel knows older and newer callers. */
struct session_arg { uint32_t size; int32_t fd; char name[64]; };
struct fd_arg { uint32_t size; int32_t fd; uint64_t token; };
struct finish_arg { uint32_t size; uint32_t reserved; };
#define CREATE_SESSION   _IO(0xBA, 0x00) /* of the device */
#define RETRIEVE_SESSION _IO(0xBA, 0x01)
#define PRESERVE_FD      _IO(0xBA, 0x40) /* of a session */
#define RETRIEVE_FD      _IO(0xBA, 0x41)
#define FINISH           _IO(0xBA, 0x42)

/* Our own numbering of what is in the session; nobody can list it, so both kernels' programs must know it. */
#define CONTENT_TOKEN 1

static void check(int failed, const char *what)
{
	if (!failed)
		return;
	fprintf(stderr, "state: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* One process has the device at a time: take the session and let the device go at once. */
static int session(unsigned long request, const char *name)
{
	struct session_arg arg = { .size = sizeof(arg) };
	int device = open("/dev/liveupdate", O_RDWR | O_CLOEXEC);

	check(device < 0, "/dev/liveupdate");
	snprintf(arg.name, sizeof(arg.name), "%s", name);
	check(ioctl(device, request, &arg) < 0, name);
	close(device);
	return arg.fd;
}

static void copy(int from, int to)
{
	char buffer[65536];
	ssize_t count;

	while ((count = read(from, buffer, sizeof(buffer))) > 0)
		for (ssize_t done = 0; done < count;) {
			ssize_t written = write(to, buffer + done, count - done);

			check(written < 0, "write");
			done += written;
		}
	check(count < 0, "read");
}

static int save(const char *name, char **command)
{
	int held = session(CREATE_SESSION, name);
	int memory = memfd_create(name, MFD_CLOEXEC);
	struct fd_arg arg = { .size = sizeof(arg), .token = CONTENT_TOKEN };
	int status;
	pid_t pid;

	check(memory < 0, "memfd_create");
	copy(STDIN_FILENO, memory);
	/* From here on its size is fixed; writes in place go on, and are carried too. */
	arg.fd = memory;
	check(ioctl(held, PRESERVE_FD, &arg) < 0, "PRESERVE_FD");
	/* `held` must stay open until the jump: the last close of a session takes everything back. */
	pid = fork();
	check(pid < 0, "fork");
	if (pid == 0) {
		execvp(command[0], command);
		check(1, command[0]);
	}
	while (waitpid(pid, &status, 0) < 0)
		check(errno != EINTR, "waitpid");
	fprintf(stderr, "state: %s came back: there was no jump\n", command[0]);
	return WIFEXITED(status) && WEXITSTATUS(status) != 0 ? WEXITSTATUS(status) : 1;
}

static int load(const char *name)
{
	/* EINVAL: somebody has it already. ENOENT: it is not there, or was closed without FINISH, which destroys it. */
	int held = session(RETRIEVE_SESSION, name);
	struct fd_arg arg = { .size = sizeof(arg), .token = CONTENT_TOKEN };
	struct finish_arg finish = { .size = sizeof(finish) };

	/* An error of this call is for ever: the kernel does not try again. */
	check(ioctl(held, RETRIEVE_FD, &arg) < 0, "RETRIEVE_FD");
	/* The position came over as well: behind what was written. */
	check(lseek(arg.fd, 0, SEEK_SET) < 0, "lseek");
	copy(arg.fd, STDOUT_FILENO);
	/* Only now: what was not retrieved is destroyed, and what was can be preserved again. */
	check(ioctl(held, FINISH, &finish) < 0, "FINISH");
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 4 && strcmp(argv[1], "save") == 0)
		return save(argv[2], argv + 3);
	if (argc == 3 && strcmp(argv[1], "load") == 0)
		return load(argv[2]);
	fprintf(stderr, "usage: state save NAME COMMAND... | state load NAME\n");
	return 2;
}
