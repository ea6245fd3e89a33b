/*
 * What a C program does to carry memfds over a kexec, and nothing else: the calls of upstream's luo_kexec_simple (a session with a
 * state memfd, a session with the memory; on the other side both retrieved, then finished), timed. For bench:kexec.
 *
 *   kexec-raw preserve BYTES...   make memfds of these sizes and fill them; then timed: open, create both sessions, preserve
 *                                 all; the times go into the state memfd; then reboot(2) into the loaded image
 *   kexec-raw restore             timed: open, retrieve both sessions and every memfd, look at the ends of each, finish;
 *                                 then one JSON object on stdout
 *
 * Any failure is a sentence on stderr and exit code 1; reboot(2) that comes back is one.
 * Sources: include/uapi/linux/liveupdate.h; tools/testing/selftests/liveupdate/luo_kexec_simple.c (Linux 7.3).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct session {
	uint32_t size;
	int32_t fd;
	uint8_t name[64];
};
struct token_fd {
	uint32_t size;
	int32_t fd;
	uint64_t token;
};
struct finish {
	uint32_t size;
	uint32_t reserved;
};
#define CREATE_SESSION _IO(0xBA, 0x00)
#define RETRIEVE_SESSION _IO(0xBA, 0x01)
#define PRESERVE_FD _IO(0xBA, 0x40)
#define RETRIEVE_FD _IO(0xBA, 0x41)
#define FINISH _IO(0xBA, 0x42)

#define COUNT_MAX 1024
#define STATE "bench-state"
#define MEMORY "bench-memory"

/* In the state memfd; times are CLOCK_MONOTONIC of the kernel that was left, ns. */
struct state {
	uint64_t count;
	uint64_t began_ns;
	uint64_t reboot_ns;
	uint64_t bytes[COUNT_MAX];
};

static void fail(const char *what)
{
	fprintf(stderr, "kexec-raw: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now(void)
{
	struct timespec at;

	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec * 1000000000ull + at.tv_nsec;
}

static int session(int device, unsigned long command, const char *name)
{
	struct session argument = { .size = sizeof(argument) };

	strcpy((char *)argument.name, name);
	if (ioctl(device, command, &argument) < 0)
		fail(name);
	return argument.fd;
}

static void preserve_fd(int of, int fd, uint64_t token)
{
	struct token_fd argument = { .size = sizeof(argument), .fd = fd, .token = token };

	if (ioctl(of, PRESERVE_FD, &argument) < 0)
		fail("preserve");
}

static int retrieve_fd(int of, uint64_t token)
{
	struct token_fd argument = { .size = sizeof(argument), .token = token };

	if (ioctl(of, RETRIEVE_FD, &argument) < 0)
		fail("retrieve");
	return argument.fd;
}

static void finish(int of)
{
	struct finish argument = { .size = sizeof(argument) };

	if (ioctl(of, FINISH, &argument) < 0)
		fail("finish");
}

static void *map(int fd, uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED)
		fail("mmap");
	return at;
}

static int memfd(const char *name, uint64_t bytes)
{
	int fd = memfd_create(name, 0);

	if (fd < 0 || ftruncate(fd, bytes) < 0)
		fail("memfd_create");
	return fd;
}

static int open_device(void)
{
	int device = open("/dev/liveupdate", O_RDWR);

	if (device < 0)
		fail("/dev/liveupdate");
	return device;
}

/* What stands in each word of memory number `index`. */
static uint64_t pattern(uint64_t index)
{
	return 0x9e3779b97f4a7c15ull * (index + 1);
}

static void preserve(int count, char **sizes)
{
	int state_fd = memfd("state", sizeof(struct state)), fds[COUNT_MAX], device, state_session, memory_session;
	struct state *state = map(state_fd, sizeof(*state));

	state->count = count;
	for (int index = 0; index < count; index++) {
		uint64_t bytes = strtoull(sizes[index], NULL, 10), *words;

		if (bytes < sizeof(uint64_t)) {
			errno = EINVAL;
			fail(sizes[index]);
		}
		state->bytes[index] = bytes;
		fds[index] = memfd("memory", bytes);
		words = map(fds[index], bytes);
		for (uint64_t at = 0; at < bytes / sizeof(*words); at++)
			words[at] = pattern(index);
		munmap(words, bytes);
	}

	state->began_ns = now();
	device = open_device();
	state_session = session(device, CREATE_SESSION, STATE);
	preserve_fd(state_session, state_fd, 1);
	memory_session = session(device, CREATE_SESSION, MEMORY);
	for (int index = 0; index < count; index++)
		preserve_fd(memory_session, fds[index], index + 1);
	close(device);
	state->reboot_ns = now();
	syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_KEXEC, NULL);
	fail("reboot");
}

static void restore(void)
{
	uint64_t began = now(), retrieved, finished, wrong = 0;
	int device = open_device(), state_session, memory_session, fds[COUNT_MAX];
	struct state *state;

	state_session = session(device, RETRIEVE_SESSION, STATE);
	state = map(retrieve_fd(state_session, 1), sizeof(*state));
	memory_session = session(device, RETRIEVE_SESSION, MEMORY);
	for (uint64_t index = 0; index < state->count; index++)
		fds[index] = retrieve_fd(memory_session, index + 1);
	retrieved = now();
	for (uint64_t index = 0; index < state->count; index++) {
		uint64_t bytes = state->bytes[index], *words;
		struct stat found;

		if (fstat(fds[index], &found) < 0)
			fail("fstat");
		words = map(fds[index], bytes);
		if ((uint64_t)found.st_size != bytes || words[0] != pattern(index) ||
		    words[bytes / sizeof(*words) - 1] != pattern(index))
			wrong++;
	}
	finish(memory_session);
	finish(state_session);
	finished = now();
	printf("{\"wrong\":%llu,\"count\":%llu,\"beganNs\":%llu,\"rebootNs\":%llu,"
	       "\"againNs\":%llu,\"retrievedNs\":%llu,\"finishedNs\":%llu}\n",
	       (unsigned long long)wrong, (unsigned long long)state->count, (unsigned long long)state->began_ns,
	       (unsigned long long)state->reboot_ns,
	       (unsigned long long)began, (unsigned long long)retrieved, (unsigned long long)finished);
}

int main(int argc, char **argv)
{
	if (argc >= 3 && argc - 2 <= COUNT_MAX && !strcmp(argv[1], "preserve"))
		preserve(argc - 2, argv + 2);
	else if (argc == 2 && !strcmp(argv[1], "restore"))
		restore();
	else {
		fprintf(stderr, "usage: kexec-raw preserve BYTES... | restore\n");
		return 2;
	}
	return 0;
}
