/* A client that says what each of its steps was answered, for faults that are ordered from outside. */
#include "rules.h"

static long say(const char *step, long result) {
  printf("%s=%s ", step, result < 0 ? strerrorname_np(-result) : "ok");
  fflush(stdout);
  return result;
}

int main(int argc, char **argv) {
  if (argc == 2 && !strcmp(argv[1], "before")) {
    say("open", dev_open(O_RDWR));
    int dev = dev_open(O_RDWR);
    if (dev == -EBUSY) dev = 3;
    say("reopen", dev);
    say("create", create(dev, "a"));
    int s = say("create-again", create(dev, "b"));
    say("preserve-1", preserve(s, memfd("1", 0), 1));
    say("preserve-2", preserve(s, memfd("2", 0), 2));
    say("preserve-7", preserve(s, memfd("7", 0), 7));
    struct session_argument n = { sizeof n, 0, "" };
    say("name", neg(ioctl(s, GET_NAME, &n)));
    say("load", neg(syscall(SYS_kexec_file_load, memfd("k", 0), -1, 0L, 0L, 4L)));
    say("reboot", neg(syscall(SYS_reboot, 0xfee1dead, 672274793, 0x45584543, 0)));
    say("reboot-again", neg(syscall(SYS_reboot, 0xfee1dead, 672274793, 0x45584543, 0)));
    return 0;
  }
  int dev = say("open", dev_open(O_RDWR));
  if (dev < 0) say("open-again", dev_open(O_RDWR));
  say("retrieve-session", retrieve(dev, "b"));
  int s = say("retrieve-session-again", retrieve(dev, "b"));
  if (s < 0) s = 4;
  say("retrieve-7", retrieve_fd(s, 7));
  say("retrieve-7-again", retrieve_fd(s, 7));
  say("retrieve-1", retrieve_fd(s, 1));
  say("finish", finish(s));
  close(s);
  say("after-close", retrieve(dev, "b"));
  return 0;
}
