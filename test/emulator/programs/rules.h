/* What the programs of these tests share: the interface, checks that say what was expected, and calls that give -errno. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x20
#endif

#define CREATE 0xBA00
#define RETRIEVE 0xBA01
#define PRESERVE_FD 0xBA40
#define RETRIEVE_FD 0xBA41
#define FINISH 0xBA42
#define GET_NAME 0xBA43

struct session_argument { uint32_t size; int32_t fd; char name[64]; };
struct fd_argument { uint32_t size; int32_t fd; uint64_t token; };
struct finish_argument { uint32_t size; uint32_t reserved; };

static int failures;

/* `got` is a result or -errno. */
static inline void is_(long got, long wanted, const char *what, int line) {
  if (got == wanted) return;
  failures++;
  printf("line %d: %s is %ld (%s), not %ld\n", line, what, got, got < 0 ? strerror(-got) : "ok", wanted);
}
#define IS(got, wanted) is_((got), (wanted), #got, __LINE__)
#define OK(got) IS((got) >= 0 ? 0 : (got), 0)

static inline long neg(long result) { return result < 0 ? -errno : result; }

static inline int dev_open(int flags) { return neg(open("/dev/liveupdate", flags)); }
static inline int session_call(int dev, unsigned long cmd, const char *name) {
  struct session_argument a = { sizeof a, -1, "" };
  strncpy(a.name, name, sizeof a.name);
  long r = neg(ioctl(dev, cmd, &a));
  return r < 0 ? r : a.fd;
}
static inline int create(int dev, const char *name) { return session_call(dev, CREATE, name); }
static inline int retrieve(int dev, const char *name) { return session_call(dev, RETRIEVE, name); }
static inline int preserve(int session, int fd, uint64_t token) {
  struct fd_argument a = { sizeof a, fd, token };
  return neg(ioctl(session, PRESERVE_FD, &a));
}
static inline int retrieve_fd(int session, uint64_t token) {
  struct fd_argument a = { sizeof a, -1, token };
  long r = neg(ioctl(session, RETRIEVE_FD, &a));
  return r < 0 ? r : a.fd;
}
static inline int finish(int session) {
  struct finish_argument a = { sizeof a, 0 };
  return neg(ioctl(session, FINISH, &a));
}
static inline int memfd(const char *text, unsigned flags) {
  int fd = syscall(SYS_memfd_create, "test", flags | MFD_ALLOW_SEALING);
  if (*text && write(fd, text, strlen(text)) != (ssize_t)strlen(text)) perror("write");
  return fd;
}
/* Number of open descriptors. */
static inline int open_count(void) {
  struct rlimit limit;
  int count = 0;
  getrlimit(RLIMIT_NOFILE, &limit);
  for (rlim_t fd = 0; fd < limit.rlim_cur && fd < 4096; fd++) count += fcntl(fd, F_GETFD) >= 0;
  return count;
}

struct test { const char *name; void (*run)(void); };
/* Run the tests that are named, or all. */
static inline int run_tests(const struct test *tests, int argc, char **argv) {
  for (; tests->name; tests++) {
    int wanted = argc < 2;
    for (int i = 1; i < argc; i++) wanted |= !strcmp(argv[i], tests->name);
    if (!wanted) continue;
    int before = open_count(), failed = failures;
    tests->run();
    IS(open_count(), before);
    printf("%s %s\n", failures == failed ? "pass" : "FAIL", tests->name);
    fflush(stdout);
  }
  return failures != 0;
}
