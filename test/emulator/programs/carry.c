/* What goes over a jump: "before" preserves and calls reboot(2), "after" looks at what came. */
#include "rules.h"

static int keep(int dev, const char *name, uint64_t token, int fd) {
  int s = create(dev, name);
  OK(preserve(s, fd, token));
  return s;
}

static void before(void) {
  int dev = dev_open(O_RDWR), many = create(dev, "many"), m;
  char path[64], page[4096];
  memset(page, 'p', sizeof page);
  /* 1: position at the jump, content that is written after it was preserved */
  OK(preserve(many, m = memfd("0123456789", 0), 1));
  lseek(m, 4, SEEK_SET);
  IS(pwrite(m, "XY", 2, 0), 2);
  /* 2: empty; 3: sparse, with its end in a hole */
  OK(preserve(many, memfd("", 0), 2));
  m = memfd("", 0);
  OK(neg(ftruncate(m, 3 << 20)));
  IS(pwrite(m, page, sizeof page, 1 << 20), sizeof page);
  OK(preserve(many, m, 3));
  /* 4: seals of before are kept, 5: seals of after are lost */
  m = memfd("sealed", 0);
  OK(neg(fcntl(m, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)));
  OK(preserve(many, m, 4));
  OK(preserve(many, m = memfd("late", 0), 5));
  OK(neg(fcntl(m, F_ADD_SEALS, F_SEAL_SHRINK)));
  /* 6: read-only, append, nonblocking */
  m = memfd("ro", 0);
  snprintf(path, sizeof path, "/proc/self/fd/%d", m);
  OK(preserve(many, open(path, O_RDONLY | O_APPEND | O_NONBLOCK), 6));
  OK(preserve(many, memfd("noexec", MFD_NOEXEC_SEAL), 7));
  m = open("/dev/shm", O_TMPFILE | O_RDWR, 0600);
  if (m >= 0 && write(m, "tmp", 3) == 3) OK(preserve(many, m, 8));
  /* 9: position beyond the end */
  m = memfd("short", 0);
  lseek(m, 9000, SEEK_SET);
  OK(preserve(many, m, 9));
  /* 10: sealed against writing, 11: opened for writing only */
  m = memfd("const", 0);
  OK(neg(fcntl(m, F_ADD_SEALS, F_SEAL_WRITE)));
  OK(preserve(many, m, 10));
  m = memfd("", 0);
  snprintf(path, sizeof path, "/proc/self/fd/%d", m);
  m = open(path, O_WRONLY);
  IS(write(m, "wo", 2), 2);
  OK(preserve(many, m, 11));
  OK(create(dev, "empty"));
  keep(dev, "unclaimed", 1, memfd("x", 0));
  keep(dev, "discarded", 1, memfd("x", 0));
  int closed = keep(dev, "closed", 1, memfd("x", 0));
  close(closed);
  OK(neg(syscall(SYS_kexec_file_load, memfd("kernel", 0), -1, 14L, "console=ttyS0", 4L)));
  fflush(stdout);
  if (!failures) IS(neg(syscall(SYS_reboot, 0xfee1dead, 672274793, 0x45584543, 0)), 0);
  fflush(stdout);
}

static void text_is(int fd, const char *wanted, int line) {
  char text[64] = "";
  struct stat st;
  is_(fd >= 0 ? 0 : fd, 0, "retrieve", line);
  if (fd < 0) return;
  is_(fstat(fd, &st), 0, "fstat", line);
  is_(st.st_size, strlen(wanted), "size", line);
  is_(pread(fd, text, sizeof text - 1, 0), strlen(wanted), "read", line);
  is_(strcmp(text, wanted), 0, text, line);
  is_(fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK), O_RDWR, "flags", line);
  is_(fcntl(fd, F_GETFD), FD_CLOEXEC, "close-on-exec", line);
  is_(st.st_mode & 07777, 0777, "mode", line);
}
#define TEXT_IS(fd, text) text_is((fd), (text), __LINE__)

static void after(void) {
  int dev = dev_open(O_RDWR), many, fd, again;
  struct stat st;
  char page[4096];
  IS(retrieve(dev, "nothing"), -ENOENT);
  IS(retrieve(dev, "closed"), -ENOENT);
  OK(many = retrieve(dev, "many"));
  IS(retrieve(dev, "many"), -EINVAL);
  IS(fcntl(many, F_GETFD), FD_CLOEXEC);
  IS(preserve(many, memfd("", 0), 100), -EINVAL); /* incoming */
  IS(retrieve_fd(many, 100), -ENOENT);
  TEXT_IS(fd = retrieve_fd(many, 1), "XY23456789");
  IS(lseek(fd, 0, SEEK_CUR), 4);
  again = retrieve_fd(many, 1);
  lseek(again, 7, SEEK_SET);
  IS(lseek(fd, 0, SEEK_CUR), 7); /* the same open file */
  int next = create(dev, "many"); /* of the same name as the incoming one */
  OK(next);
  IS(preserve(next, fd, 1), -EBUSY); /* until finish */
  TEXT_IS(retrieve_fd(many, 2), "");
  fd = retrieve_fd(many, 3);
  fstat(fd, &st);
  IS(st.st_size, 3 << 20);
  IS(st.st_blocks, (3 << 20) / 512);
  IS(pread(fd, page, 4096, 1 << 20), 4096);
  IS(page[0] == 'p' && page[4095] == 'p', 1);
  IS(pread(fd, page, 4096, 2 << 20), 4096);
  IS(page[0] == 0 && page[4095] == 0, 1);
  TEXT_IS(fd = retrieve_fd(many, 4), "sealed");
  IS(fcntl(fd, F_GET_SEALS), F_SEAL_SHRINK | F_SEAL_GROW);
  TEXT_IS(fd = retrieve_fd(many, 5), "late");
  IS(fcntl(fd, F_GET_SEALS), 0);
  IS(neg(ftruncate(fd, 1)), 0); /* mutable again */
  TEXT_IS(fd = retrieve_fd(many, 6), "ro");
  IS(pwrite(fd, "w", 1, 0), 1);
  TEXT_IS(fd = retrieve_fd(many, 7), "noexec");
  IS(fcntl(fd, F_GET_SEALS), 0x3e);
  fd = retrieve_fd(many, 8);
  if (fd >= 0) { IS(pread(fd, page, 9, 0), 3); IS(memcmp(page, "tmp", 3), 0); IS(fcntl(fd, F_GET_SEALS), F_SEAL_SEAL); }
  fd = retrieve_fd(many, 9);
  IS(lseek(fd, 0, SEEK_CUR), 9000);
  TEXT_IS(fd = retrieve_fd(many, 10), "const");
  IS(fcntl(fd, F_GET_SEALS), F_SEAL_WRITE);
  TEXT_IS(retrieve_fd(many, 11), "wo");
  int empty = retrieve(dev, "empty");
  OK(empty);
  IS(finish(empty), 0);
  IS(finish(many), 0);
  IS(finish(many), 0); /* as often as one likes */
  IS(retrieve_fd(many, 1), -ENOENT);
  IS(preserve(next, again, 1), 0);
  IS(finish(next), -EINVAL); /* outgoing */
  IS(retrieve_fd(next, 1), -EINVAL);
  /* An answer that cannot be written: the only descriptor is closed again, and with it the session ends. */
  struct session_argument *lost = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  *lost = (struct session_argument){ sizeof *lost, -1, "discarded" };
  mprotect(lost, 4096, PROT_READ);
  IS(neg(ioctl(dev, RETRIEVE, lost)), -EFAULT);
  IS(retrieve(dev, "discarded"), -ENOENT);
  printf("after done\n");
}

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "before")) before();
  else after();
  return failures != 0;
}
