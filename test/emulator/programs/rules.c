/* What the device and its sessions answer, errno by errno: each function is one test, named as its argument. */
#include "rules.h"

#include <linux/falloc.h>
#include <linux/openat2.h>

static void checks(void) {
  int dev = dev_open(O_RDWR | O_CLOEXEC), s = create(dev, "checks");
  char *page = mmap(0, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(page + 8192, 4096);
  OK(s);
  IS(neg(ioctl(dev, 0xBA02, page)), -EINVAL);
  IS(neg(ioctl(dev, PRESERVE_FD, page)), -EINVAL);
  IS(neg(ioctl(s, CREATE, page)), -EINVAL);
  IS(neg(ioctl(s, 0xBA44, page)), -EINVAL);
  IS(neg(ioctl(dev, CREATE, 0)), -EFAULT);
  IS(neg(ioctl(dev, CREATE, page + 8192)), -EFAULT);
  IS(neg(ioctl(dev, CREATE, page + 8190)), -EFAULT);
  IS(neg(ioctl(dev, _IOWR(0xBA, 0, struct session_argument), 0)), -EFAULT);
  IS(neg(ioctl(dev, _IOWR(0xBA, 0, struct session_argument), page)), -ENOTTY);
  IS(neg(ioctl(s, _IOW(0xBA, 0x42, int), page)), -ENOTTY);
  struct { struct session_argument a; char tail[8192]; } *big = (void *)page;
  /* The direction comes before the size, the size before the content. */
  IS(neg(ioctl(s, FINISH, page)), -EINVAL);
  big->a.size = 71;
  IS(neg(ioctl(dev, CREATE, page)), -EINVAL);
  big->a.size = 73; strcpy(big->a.name, "tail"); big->tail[0] = 1;
  IS(neg(ioctl(dev, CREATE, page)), -E2BIG);
  big->a.size = 9000;
  IS(neg(ioctl(dev, CREATE, page)), -E2BIG);
  big->tail[0] = 0;
  IS(neg(ioctl(dev, CREATE, page)), -EFAULT);
  big->tail[8100] = 1;
  IS(neg(ioctl(dev, CREATE, page)), -E2BIG);
  big->tail[8100] = 0;
  big->a.size = 8192;
  OK(neg(ioctl(dev, CREATE, page)));
  close(big->a.fd);
  struct session_argument *edge = (void *)(page + 8192 - sizeof *edge);
  *edge = (struct session_argument){ sizeof *edge, -1, "edge" };
  OK(neg(ioctl(dev, CREATE, edge)));
  close(edge->fd);
  struct fd_argument f = { 15, 0, 1 };
  IS(neg(ioctl(s, PRESERVE_FD, &f)), -EINVAL);
  IS(neg(ioctl(s, RETRIEVE_FD, &f)), -EINVAL);
  struct session_argument n = { sizeof n, 0, "" };
  OK(neg(ioctl(s, GET_NAME, &n)));
  IS(strcmp(n.name, "checks"), 0);
  n.fd = 1;
  IS(neg(ioctl(s, GET_NAME, &n)), -EINVAL);
  munmap(page, 8192);
  close(s);
  close(dev);
}

static void names(void) {
  int dev = dev_open(O_RDWR);
  char longest[65];
  memset(longest, 'x', 64); longest[64] = 0;
  IS(create(dev, ""), -EINVAL);
  IS(create(dev, longest), -EINVAL);
  longest[63] = 0;
  int a = create(dev, longest), b = create(dev, "a/\xff\n");
  OK(a); OK(b);
  IS(create(dev, longest), -EEXIST);
  IS(retrieve(dev, longest), -ENOENT);
  IS(fcntl(a, F_GETFD), FD_CLOEXEC);
  close(a);
  a = create(dev, longest); /* the close before it has taken effect */
  OK(a);
  close(dev);
  int m = memfd("x", 0);
  OK(preserve(b, m, 1)); /* sessions live on without the device */
  close(a); close(b); close(m);
}

static void busy(void) {
  int dev = dev_open(O_RDWR), copy = dup(dev), status;
  char path[64];
  IS(dev_open(O_RDWR), -EBUSY);
  close(dev);
  IS(dev_open(O_RDWR), -EBUSY);
  snprintf(path, sizeof path, "/proc/self/fd/%d", copy);
  IS(neg(open(path, O_RDWR)), -EBUSY);
  snprintf(path, sizeof path, "/dev/fd/%d", copy);
  IS(neg(open(path, O_RDWR)), -EBUSY);
  int gate[2];
  if (pipe(gate)) return;
  pid_t pid = fork();
  if (!pid) { char c; close(gate[1]); _exit(read(gate[0], &c, 1) != 0); }
  close(gate[0]);
  close(copy);
  IS(dev_open(O_RDWR), -EBUSY); /* the child has it */
  close(gate[1]);
  waitpid(pid, &status, 0);
  for (int i = 0; i < 50; i++) { dev = dev_open(O_RDWR); OK(dev); close(dev); }
  int s = (dev = dev_open(O_RDWR), create(dev, "again"));
  snprintf(path, sizeof path, "/proc/self/fd/%d", s);
  IS(neg(open(path, O_RDWR)), -ENXIO);
  close(s); close(dev);
}

static void preserving(void) {
  int dev = dev_open(O_RDWR), a = create(dev, "a"), b = create(dev, "b"), pair[2];
  int m = memfd("data", 0), again = dup(m), other = memfd("", 0), null = open("/dev/null", O_RDWR);
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", m);
  int reopened = open(path, O_RDONLY), named = open(path, O_PATH);
  IS(preserve(a, m, 1), 0);
  IS(preserve(a, other, 1), -EEXIST);
  IS(preserve(a, -1, 1), -EEXIST);
  IS(preserve(a, -1, 2), -EBADF);
  IS(preserve(a, 4000, 2), -EBADF);
  IS(preserve(a, named, 2), -EBADF);
  IS(preserve(a, again, 2), -EBUSY);
  IS(preserve(b, again, 2), -EBUSY);
  IS(preserve(b, reopened, 2), -EBUSY);
  IS(preserve(b, null, 2), -ENOENT);
  IS(preserve(b, dev, 2), -ENOENT);
  IS(preserve(b, a, 2), -ENOENT);
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) return;
  IS(preserve(b, pair[0], 2), -ENOENT);
  int temporary = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
  if (temporary >= 0) IS(preserve(b, temporary, 2), 0);
  char *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  snprintf(path, sizeof path, "/proc/self/map_files/%lx-%lx", (long)shared, (long)shared + 4096);
  int map = open(path, O_RDWR);
  if (map >= 0) IS(preserve(b, map, 3), 0);
  IS(preserve(b, other, UINT64_MAX), 0);
  int huge = memfd("", 0);
  OK(neg(ftruncate(huge, (off_t)1 << 45)));
  IS(preserve(b, huge, 5), -EFBIG);
  OK(neg(ftruncate(huge, (off_t)1 << 40)));
  IS(preserve(b, huge, 5), -ENOMEM);
  close(a);
  IS(preserve(b, again, 2 + (temporary < 0 ? 0 : 10)), 0); /* free again by the close */
  /* An answer that cannot be written comes after the deed. */
  struct fd_argument *sealed = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  int late = memfd("late", 0);
  *sealed = (struct fd_argument){ sizeof *sealed, late, 77 };
  mprotect(sealed, 4096, PROT_READ);
  IS(neg(ioctl(b, PRESERVE_FD, sealed)), -EFAULT);
  IS(preserve(b, late, 78), -EBUSY);
  mprotect(sealed, 4096, PROT_READ | PROT_WRITE);
  struct session_argument *made = (void *)sealed;
  *made = (struct session_argument){ sizeof *made, -1, "dropped" };
  mprotect(sealed, 4096, PROT_READ);
  IS(neg(ioctl(dev, CREATE, made)), -EFAULT);
  int dropped = create(dev, "dropped"); /* there is none, and no descriptor of it */
  OK(dropped);
  munmap(sealed, 4096); munmap(shared, 4096);
  int all[] = { dev, b, m, again, other, null, reopened, named, pair[0], pair[1], temporary, map, huge, late, dropped };
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) if (all[i] >= 0) close(all[i]);
}

static void frozen(void) {
  int dev = dev_open(O_RDWR), s = create(dev, "frozen"), m = memfd("0123456789", 0);
  char path[64], text[11] = "";
  int reader = (snprintf(path, sizeof path, "/proc/self/fd/%d", m), open(path, O_RDONLY));
  OK(preserve(s, m, 1));
  IS(neg(ftruncate(m, 5)), -EPERM);
  IS(neg(ftruncate(m, 5000)), -EPERM);
  IS(neg(ftruncate(m, 10)), 0);
  IS(neg(ftruncate(m, -1)), -EINVAL);
  IS(neg(ftruncate(reader, 5)), -EINVAL);
  IS(neg(truncate(path, 5)), -EPERM);
  IS(neg(fallocate(m, 0, 0, 10)), -EPERM);
  IS(neg(fallocate(m, FALLOC_FL_KEEP_SIZE, 0, 10)), -EPERM);
  IS(neg(fallocate(m, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 10)), -EPERM);
  IS(neg(fallocate(m, FALLOC_FL_ZERO_RANGE, 0, 10)), -EOPNOTSUPP);
  IS(neg(fallocate(m, FALLOC_FL_COLLAPSE_RANGE, 0, 10)), -EOPNOTSUPP);
  IS(neg(fallocate(m, 0, 0, 0)), -EINVAL);
  IS(neg(fallocate(reader, 0, 0, 10)), -EBADF);
  IS(neg(fcntl(m, F_ADD_SEALS, F_SEAL_WRITE)), -EBUSY);
  IS(neg(pwrite(m, "ab", 2, 3)), 2);
  close(s);
  IS(neg(ftruncate(m, 5)), 0);
  IS(neg(fcntl(m, F_ADD_SEALS, F_SEAL_WRITE)), 0);
  IS(neg(pread(reader, text, 10, 0)), 5);
  IS(strcmp(text, "012ab"), 0);
  int sparse = memfd("", 0);
  struct stat st;
  OK(neg(ftruncate(sparse, 1 << 20)));
  s = create(dev, "holes");
  OK(preserve(s, sparse, 1));
  fstat(sparse, &st);
  IS(st.st_blocks, (1 << 20) / 512); /* every hole has got its page */
  close(sparse); close(s); close(dev); close(m); close(reader);
}

static void limit(void) {
  struct rlimit old, small;
  int dev = dev_open(O_RDWR), s = create(dev, "limit"), lowest = dup(0);
  getrlimit(RLIMIT_NOFILE, &old);
  close(lowest);
  small = (struct rlimit){ lowest, old.rlim_max };
  setrlimit(RLIMIT_NOFILE, &small);
  IS(create(dev, "more"), -EMFILE);
  IS(create(dev, ""), -EMFILE); /* before the name */
  IS(retrieve(dev, "none"), -EMFILE);
  IS(dev_open(O_RDWR), -EMFILE);
  setrlimit(RLIMIT_NOFILE, &old);
  int more = create(dev, "more"); /* nothing was left of the first */
  OK(more);
  close(more); close(s); close(dev);
}

static int openat2_(int dir, const char *path, uint64_t flags, uint64_t resolve) {
  struct open_how how = { .flags = flags, .resolve = resolve };
  return neg(syscall(SYS_openat2, dir, path, &how, sizeof how));
}

static void opened(int fd, int line) {
  is_(fd >= 0 ? 0 : fd, 0, "open", line);
  if (fd < 0) return;
  is_(dev_open(O_RDWR), -EBUSY, "second open", line);
  close(fd);
}
#define OPENED(fd) opened(neg(fd), __LINE__)

static void paths(void) {
  char folder[] = "/tmp/luo-rules-XXXXXX", link[64], long_way[128];
  if (!mkdtemp(folder)) return;
  snprintf(link, sizeof link, "%s/link", folder);
  snprintf(long_way, sizeof long_way, "%s/../../dev/./liveupdate", folder);
  int dir = open("/dev", O_RDONLY | O_DIRECTORY), at = open("/", O_PATH);
  OPENED(open("//dev//liveupdate", O_RDWR));
  OPENED(open(long_way, O_RDWR));
  OPENED(openat(dir, "liveupdate", O_RDWR));
  OPENED(openat(at, "dev/../../dev/liveupdate", O_RDWR));
  OPENED(open("/proc/self/root/dev/liveupdate", O_RDWR));
  OPENED(open("/dev/liveupdate", O_RDWR | O_CREAT, 0600));
  IS(symlink("/dev/liveupdate", link), 0);
  OPENED(open(link, O_RDWR));
  IS(neg(open(link, O_RDWR | O_NOFOLLOW)), -ELOOP);
  unlink(link);
  IS(symlink("../../../../dev", link), 0);
  snprintf(long_way, sizeof long_way, "%s/liveupdate", link);
  OPENED(open(long_way, O_RDWR));
  unlink(link);
  if (chdir("/dev") == 0) OPENED(open("liveupdate", O_RDWR));
  if (chdir("/") == 0) OPENED(open("dev/liveupdate", O_RDWR));
  OPENED(openat2_(AT_FDCWD, "/dev/liveupdate", O_RDWR, 0));
  OPENED(openat2_(AT_FDCWD, "/dev/liveupdate", O_RDWR, RESOLVE_NO_SYMLINKS));
  OPENED(openat2_(at, "/dev/liveupdate", O_RDWR, RESOLVE_IN_ROOT));
  IS(openat2_(dir, "/dev/liveupdate", O_RDWR, RESOLVE_BENEATH), -EXDEV);
  IS(openat2_(AT_FDCWD, "/dev/liveupdate", O_RDWR | (1ull << 40), 0), -EINVAL);
  IS(neg(open("/dev/liveupdate/", O_RDWR)), -ENOTDIR);
  IS(neg(open("/dev/liveupdate", O_RDWR | O_CREAT | O_EXCL, 0600)), -EEXIST);
  IS(neg(open("/dev/liveupdate", O_RDWR | O_DIRECT)), -EINVAL);
  IS(neg(open("/dev/liveupdate2", O_RDWR)), -ENOENT);
  IS(neg(open("/dev/liveupdat", O_RDWR)), -ENOENT);
  IS(neg(open("liveupdate", O_RDWR)), -ENOENT);
  IS(neg(open((char *)8, O_RDWR)), -EFAULT);
  int fd = open("/dev/liveupdate", O_RDWR | O_NONBLOCK);
  IS(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_RDWR | O_NONBLOCK);
  IS(fcntl(fd, F_GETFD), 0);
  close(fd);
  /* A root without a /dev has no device. */
  pid_t pid = fork();
  int status = 0;
  if (!pid) {
    if (chroot(folder)) _exit(0);
    _exit(open("/dev/liveupdate", O_RDWR) >= 0 || errno != ENOENT);
  }
  waitpid(pid, &status, 0);
  IS(status, 0);
  close(dir); close(at);
  rmdir(folder);
}

static volatile sig_atomic_t ticks;
static void tick(int signal) { (void)signal; ticks++; }

/* Signals while a call waits for its answer: no session is made twice, none is lost, no descriptor is left. */
static void storm(void) {
  struct sigaction action = { .sa_handler = tick };
  struct itimerval every = { { 0, 300 }, { 0, 300 } }, never = { { 0, 0 }, { 0, 0 } };
  int dev = dev_open(O_RDWR), before = open_count(), interrupted = 0;
  sigaction(SIGALRM, &action, 0);
  setitimer(ITIMER_REAL, &every, 0);
  for (int i = 0; i < 1500; i++) {
    int s = create(dev, "storm");
    if (s == -EINTR) { interrupted++; i--; continue; }
    if (s < 0) { IS(s, 0); break; }
    close(s);
  }
  setitimer(ITIMER_REAL, &never, 0);
  signal(SIGALRM, SIG_DFL);
  IS(open_count(), before);
  IS(ticks > 0, 1);
  close(dev);
}

static void *maker(void *argument) {
  long id = (long)argument >> 32, dev = (long)argument & 0xffffffff;
  char name[32];
  for (int i = 0; i < 100; i++) {
    snprintf(name, sizeof name, "t%ld-%d", id, i);
    int s = create(dev, name), m = memfd(name, 0);
    IS(preserve(s, m, i), 0);
    close(m); close(s);
  }
  return 0;
}

static void threads(void) {
  long dev = dev_open(O_RDWR);
  pthread_t all[4];
  for (long i = 0; i < 4; i++) pthread_create(&all[i], 0, maker, (void *)(i << 32 | dev));
  for (int i = 0; i < 4; i++) pthread_join(all[i], 0);
  close(dev);
}

/* Killed in the middle of a call, again and again: nothing of it is left. */
static void killed(void) {
  for (int i = 0; i < 40; i++) {
    pid_t pid = fork();
    if (!pid) {
      int dev = dev_open(O_RDWR);
      for (int n = 0;; n++) { char name[16]; snprintf(name, sizeof name, "k%d", n); int s = create(dev, name); preserve(s, memfd("x", 0), 1); }
    }
    usleep(2000 + 137 * i);
    kill(pid, SIGKILL);
    waitpid(pid, 0, 0);
  }
  int dev = dev_open(O_RDWR), s = create(dev, "k0");
  OK(dev); OK(s);
  close(s); close(dev);
}

static void loading(void) {
  int kernel = memfd("kernel", 0), initrd = memfd("initrd", 0), empty = memfd("", 0), writer;
  char path[64];
  snprintf(path, sizeof path, "/proc/self/fd/%d", kernel);
  writer = open(path, O_WRONLY);
#define LOAD(k, i, len, line, flags) neg(syscall(SYS_kexec_file_load, k, i, (long)(len), line, (long)(flags)))
#define REBOOT(a, b, c) neg(syscall(SYS_reboot, a, b, c, 0))
  IS(REBOOT(0xfee1dead, 672274793, 0x45584543), -EINVAL); /* no image */
  IS(REBOOT(0xfee1deae, 672274793, 0x45584543), -EINVAL);
  IS(REBOOT(0xfee1dead, 1, 0x45584543), -EINVAL);
  IS(LOAD(kernel, initrd, 2, "x", 64), -EINVAL);
  IS(LOAD(-1, initrd, 2, "x", 0), -EBADF);
  IS(LOAD(kernel, -1, 2, "x", 0), -EBADF);
  IS(LOAD(writer, initrd, 2, "x", 0), -EBADF);
  IS(LOAD(empty, initrd, 2, "x", 0), -EINVAL);
  IS(LOAD(kernel, initrd, 1, "x", 0), -EINVAL);
  IS(LOAD(kernel, initrd, 2, 8, 0), -EFAULT);
  IS(LOAD(kernel, initrd, 2, "x", 2), -EADDRNOTAVAIL);
  IS(LOAD(kernel, -1, 2, "x", 4), 0);
  IS(LOAD(-1, -1, 0, 0, 1), 0);
  IS(REBOOT(0xfee1dead, 672274793, 0x45584543), -EINVAL); /* unloaded */
  IS(neg(syscall(SYS_io_uring_setup, 8, path)), -ENOSYS);
  close(kernel); close(initrd); close(empty); close(writer);
}

int main(int argc, char **argv) {
  static const struct test tests[] = {
    { "checks", checks }, { "names", names }, { "busy", busy }, { "preserving", preserving }, { "frozen", frozen },
    { "limit", limit }, { "paths", paths }, { "storm", storm }, { "threads", threads }, { "killed", killed },
    { "loading", loading }, { 0, 0 },
  };
  return run_tests(tests, argc, argv);
}
