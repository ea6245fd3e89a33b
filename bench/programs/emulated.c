/*
 * The client of bench:emulator. `calls N`: N ioctls of the device's type on no descriptor; `names N`: N times the name of a
 * session; both print nanoseconds per call. `save`: ten memfds into a session, then `saved`, then wait. `restore`: takes them out,
 * finishes.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define FILES 10

struct session { uint32_t size; int32_t fd; char name[64]; };
struct file { uint32_t size; int32_t fd; uint64_t token; };
struct finish { uint32_t size; uint32_t reserved; };
struct name { uint32_t size; uint32_t reserved; char name[64]; };

static double now_ns(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1e9 + time.tv_nsec;
}

int main(int argc, char **argv)
{
	struct session session = { sizeof(session), -1, "bench" };
	struct name name = { sizeof(name), 0, "" };
	struct finish finish = { sizeof(finish), 0 };
	int count = argc > 2 ? atoi(argv[2]) : 0;
	int restoring = strcmp(argv[1], "restore") == 0;
	int device = -1;
	double start;

	if (strcmp(argv[1], "calls") != 0) {
		device = open("/dev/liveupdate", O_RDWR | O_CLOEXEC);
		if (device < 0 || ioctl(device, _IO(0xBA, restoring), &session) < 0)
			err(1, "session");
	}
	start = now_ns();
	for (int at = 0; at < count; at++)
		ioctl(session.fd, _IO(0xBA, 0x43), &name);
	if (count > 0) {
		printf("%f\n", (now_ns() - start) / count);
		return 0;
	}
	for (int at = 0; at < FILES; at++) {
		struct file file = { sizeof(file), -1, at };
		int found = -1;

		if (!restoring) {
			file.fd = memfd_create("bench", 0);
			if (write(file.fd, &at, sizeof(at)) != sizeof(at))
				err(1, "write");
		}
		if (ioctl(session.fd, _IO(0xBA, restoring ? 0x41 : 0x40), &file) < 0)
			err(1, "file %d", at);
		if (restoring && (pread(file.fd, &found, sizeof(found), 0) != sizeof(found) || found != at))
			errx(1, "file %d holds %d", at, found);
	}
	if (restoring)
		return ioctl(session.fd, _IO(0xBA, 0x42), &finish) < 0;
	puts("saved");
	fflush(stdout);
	pause();
	return 0;
}
