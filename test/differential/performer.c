/*
 * Performs operations on /dev/liveupdate and on what it preserves, and prints the outcome of each: the same program natively
 * on a kernel that has the device, and under the emulator.
 *
 * performer INPUT OUTPUT DIR
 *
 * INPUT is text: `S NAME` begins a sequence, `E` ends it, `H` ends it and holds what it has until this program is killed (by the
 * jump). Between them one operation a line; operation.ts says which there are. OUTPUT gets `NAME INDEX OUTCOME` for each, and
 * `END` at last. DIR is a folder on tmpfs, for named files.
 *
 * Each sequence runs in a process of its own, so that fd numbers, limits and deaths are its own; the next begins when it has
 * ended or holds. Operations name fds by slots, each slot is filled once. It never decides whether an outcome is right.
 * A sequence that takes longer than LIMIT_S is killed, and its outcomes end there.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEVICE "/dev/liveupdate"
#define SLOTS 256
#define HELPERS 8
#define WORDS 16
#define LINE 16384
#define HIGH_FD 400
#define LIMIT_S 60
#define PAGE 4096L
#define CANARY 0xa5

struct slot {
	int fd;
	int device; /* an open file of the device: closed at the end of a stage */
};
struct helper {
	pid_t pid;
	int to, from;
};

static struct slot slots[SLOTS];
static struct helper helpers[HELPERS];
static const char *folder;
static const char *sequence = "-";
static char outcome[LINE];
static size_t outcome_length;

static void die(const char *what)
{
	perror(what);
	_exit(70);
}

static void say(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	outcome_length += vsnprintf(outcome + outcome_length, sizeof(outcome) - outcome_length, format, list);
	va_end(list);
	if (outcome_length >= sizeof(outcome))
		outcome_length = sizeof(outcome) - 1;
}

static void say_errno(void)
{
	const char *name = strerrorname_np(errno);

	if (name)
		say("%s", name);
	else
		say("E%d", errno);
}

/* `ok`, or the errno. */
static void say_result(long result)
{
	if (result < 0)
		say_errno();
	else
		say("ok");
}

static long number(const char *word)
{
	return word ? strtoll(word, NULL, 0) : 0;
}

static struct slot *slot_of(const char *word)
{
	long index = number(word);

	if (index < 0 || index >= SLOTS) {
		errno = EINVAL;
		die("slot");
	}
	return &slots[index];
}

/* A new fd for `slot`, and the outcome: its number, or the errno. */
static void say_fd(struct slot *slot, int fd, int device)
{
	if (fd < 0) {
		say_errno();
		return;
	}
	slot->fd = fd;
	slot->device = device;
	say("fd %d", fd);
}

static int high(int fd)
{
	int moved = fcntl(fd, F_DUPFD, HIGH_FD);

	if (moved >= 0)
		close(fd);
	return moved;
}

static uint64_t digest(uint64_t hash, const unsigned char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3ull;
	return hash;
}

static unsigned char *pattern(size_t length, unsigned long seed)
{
	unsigned char *bytes = malloc(length + 1);

	for (size_t i = 0; i < length; i++)
		bytes[i] = (unsigned char)(seed + i * 7 + (i >> 8));
	return bytes;
}

/* ---------------------------------------------------------------------------------------------- ioctl */

static int hex_digit(char c)
{
	return c <= '9' ? c - '0' : (c | 32) - 'a' + 10;
}

static size_t put_hex(unsigned char *to, const char *word, size_t length)
{
	for (size_t i = 0; i + 1 < length; i += 2)
		to[i / 2] = (unsigned char)(hex_digit(word[i]) << 4 | hex_digit(word[i + 1]));
	return length / 2;
}

/* Pieces with a dot between: uN u32, qN u64, iN s32, fS the fd of a slot, nHEX a name in its field of 64, xHEX, zN zeros, rN 0xff. */
static size_t build(unsigned char *to, const char *spec)
{
	size_t length = 0;

	while (*spec) {
		size_t piece = strcspn(spec, ".");
		const char *value = spec + 1;
		uint32_t word;
		uint64_t wide;
		int32_t fd;

		switch (*spec) {
		case 'u':
			word = (uint32_t)strtoull(value, NULL, 10);
			memcpy(to + length, &word, 4);
			length += 4;
			break;
		case 'q':
			wide = strtoull(value, NULL, 10);
			memcpy(to + length, &wide, 8);
			length += 8;
			break;
		case 'i':
			fd = (int32_t)strtol(value, NULL, 10);
			memcpy(to + length, &fd, 4);
			length += 4;
			break;
		case 'f':
			fd = slots[strtol(value, NULL, 10)].fd;
			memcpy(to + length, &fd, 4);
			length += 4;
			break;
		case 'n':
			memset(to + length, 0, 64);
			put_hex(to + length, value, piece - 1);
			length += 64;
			break;
		case 'x':
			length += put_hex(to + length, value, piece - 1);
			break;
		case 'z':
			memset(to + length, 0, strtol(value, NULL, 10));
			length += strtol(value, NULL, 10);
			break;
		case 'r':
			memset(to + length, 0xff, strtol(value, NULL, 10));
			length += strtol(value, NULL, 10);
			break;
		}
		spec += piece;
		if (*spec == '.')
			spec++;
	}
	return length;
}

/* Bytes of an area that are not as they were, as ` OFFSET:HEX`; offsets are counted from `origin`, what is before it may not change either. */
static void say_changes(const unsigned char *now, const unsigned char *was, long length, long origin)
{
	for (long i = 0; i < length; i++) {
		if (now[i] == was[i])
			continue;
		say(" %+ld:", i - origin);
		for (; i < length && now[i] != was[i]; i++)
			say("%02x", now[i]);
	}
}

/* Memory: two areas that touch; where the struct lies and what the second one allows is said by `memory`. */
static void do_ioctl(char **words)
{
	static unsigned char spec[PAGE * 4];
	static unsigned char was[PAGE * 8];
	struct slot *on = slot_of(words[1]);
	unsigned long command = strtoul(words[2], NULL, 16);
	const char *memory = words[3];
	long length = (long)build(spec, words[4]);
	struct slot *out = words[5] ? slot_of(words[5] + 1) : NULL;
	long area = (length / PAGE + 2) * PAGE;
	unsigned char *map, *at;
	long first, total = 2 * area;
	int result, failed, second = PROT_READ | PROT_WRITE, readable = 1;

	map = mmap(NULL, total + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		die("mmap");
	memset(map, CANARY, total);
	if (!strcmp(memory, "ok")) {
		at = map + 64;
	} else if (!strcmp(memory, "odd")) {
		at = map + 65;
	} else if (!strcmp(memory, "end")) {
		at = map + area - length;
		readable = 0;
	} else if (!strncmp(memory, "cut", 3)) {
		at = map + area - number(memory + 3);
		readable = 0;
	} else if (!strncmp(memory, "none", 4)) {
		at = map + area - number(memory + 4);
		second = PROT_NONE;
	} else if (!strncmp(memory, "ro", 2)) {
		at = map + area - number(memory + 2);
		second = PROT_READ;
	} else if (!strcmp(memory, "null")) {
		at = NULL;
	} else if (!strcmp(memory, "low")) {
		at = (unsigned char *)PAGE;
	} else {
		at = (unsigned char *)0xffff888000000000ul;
	}
	first = at - map;
	if (at >= map && at < map + total) {
		memcpy(at, spec, first + length > total ? total - first : length);
		memcpy(was, map, total);
		if (!readable)
			munmap(map + area, area);
		else if (second != (PROT_READ | PROT_WRITE))
			mprotect(map + area, area, second);
	} else {
		first = -1;
	}

	result = ioctl(on->fd, command, at);
	failed = errno;
	if (second == PROT_NONE)
		mprotect(map + area, area, PROT_READ);
	errno = failed;
	say_result(result);
	if (result > 0)
		say(" %d", result);
	if (first >= 0) {
		long seen = readable ? total : area;

		say_changes(map, was, seen, first);
		if (result >= 0 && out && first + 8 <= seen) {
			int32_t fd;

			memcpy(&fd, at + 4, 4);
			out->fd = fd;
			out->device = 0;
		}
	}
	munmap(map, total + PAGE);
}

/* ---------------------------------------------------------------------------------------------- files */

static void named(char *path, size_t size, const char *word)
{
	snprintf(path, size, "%s/%s-%s", folder, sequence, word);
}

static void do_file(char **words)
{
	struct slot *slot = slot_of(words[1]);
	const char *kind = words[2];
	char path[512];
	int pair[2], fd = -1;
	sigset_t none;

	named(path, sizeof(path), words[1]);
	if (!strcmp(kind, "null"))
		fd = open("/dev/null", O_RDWR);
	else if (!strcmp(kind, "zero"))
		fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	else if (!strcmp(kind, "pipe")) {
		if (!pipe(pair))
			close(pair[1]), fd = pair[0];
	} else if (!strcmp(kind, "socket"))
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
	else if (!strcmp(kind, "pair")) {
		if (!socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair))
			close(pair[1]), fd = pair[0];
	} else if (!strcmp(kind, "eventfd"))
		fd = eventfd(3, 0);
	else if (!strcmp(kind, "timerfd"))
		fd = timerfd_create(CLOCK_MONOTONIC, 0);
	else if (!strcmp(kind, "signalfd")) {
		sigemptyset(&none);
		fd = signalfd(-1, &none, 0);
	} else if (!strcmp(kind, "epoll"))
		fd = epoll_create1(0);
	else if (!strcmp(kind, "inotify"))
		fd = inotify_init1(0);
	else if (!strcmp(kind, "pidfd"))
		fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	else if (!strcmp(kind, "folder"))
		fd = open("/", O_RDONLY | O_DIRECTORY);
	else if (!strcmp(kind, "tmpfile"))
		fd = open(folder, O_TMPFILE | O_RDWR, 0640);
	else if (!strcmp(kind, "named"))
		fd = open(path, O_CREAT | O_EXCL | O_RDWR, 0640);
	else if (!strcmp(kind, "proc"))
		fd = open("/proc/self/maps", O_RDONLY);
	else
		errno = ENOSYS;
	say_fd(slot, fd, 0);
}

static void do_look(struct slot *slot)
{
	static unsigned char chunk[65536];
	struct stat st;
	uint64_t hash = 0xcbf29ce484222325ull;
	off_t at = 0;
	ssize_t got;
	int seals;

	if (fstat(slot->fd, &st)) {
		say_errno();
		return;
	}
	while ((got = pread(slot->fd, chunk, sizeof(chunk), at)) > 0) {
		hash = digest(hash, chunk, (size_t)got);
		at += got;
	}
	seals = fcntl(slot->fd, F_GET_SEALS);
	say("size %lld pos %lld mode %o flags %#x cloexec %d links %d seals ", (long long)st.st_size,
	    (long long)lseek(slot->fd, 0, SEEK_CUR), st.st_mode, fcntl(slot->fd, F_GETFL), fcntl(slot->fd, F_GETFD),
	    (int)st.st_nlink);
	if (seals < 0)
		say_errno();
	else
		say("%#x", seals);
	say(" bytes %lld %016llx", (long long)at, (unsigned long long)hash);
	if (got < 0) {
		say(" ");
		say_errno();
	}
}

/* The flags of the open file and of the fd. */
static void do_flags(struct slot *slot)
{
	int flags = fcntl(slot->fd, F_GETFL);

	if (flags < 0)
		say_errno();
	else
		say("flags %#x cloexec %d", flags, fcntl(slot->fd, F_GETFD));
}

static void do_stat(struct slot *slot)
{
	char path[64], link[512];
	struct stat st;
	ssize_t length;

	if (fstat(slot->fd, &st)) {
		say_errno();
		return;
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d", slot->fd);
	length = readlink(path, link, sizeof(link));
	say("type %o ", st.st_mode & S_IFMT);
	for (ssize_t i = 0; i < length; i++)
		say(link[i] > ' ' && link[i] < 127 && link[i] != '%' ? "%c" : "%%%02x", (unsigned char)link[i]);
}

/* Interrupted after a while: what reads from a session is not held for ever, wherever it runs. */
static void on_alarm(int signal)
{
	(void)signal;
}

static void do_transfer(struct slot *slot, int reading)
{
	struct sigaction action = { .sa_handler = on_alarm };
	struct itimerval soon = { .it_value = { .tv_usec = 300000 }, .it_interval = { .tv_usec = 300000 } }, never = { 0 };
	char bytes[8] = "12345678";
	ssize_t result;
	int failed;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &soon, NULL);
	result = reading ? read(slot->fd, bytes, sizeof(bytes)) : write(slot->fd, bytes, sizeof(bytes));
	failed = errno;
	setitimer(ITIMER_REAL, &never, NULL);
	errno = failed;
	if (result < 0)
		say_errno();
	else
		say("%zd", result);
}

static void do_pass(struct slot *to, struct slot *from)
{
	char control[CMSG_SPACE(sizeof(int))] = { 0 }, byte = 'x';
	struct iovec io = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr message = { .msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair)) {
		say_errno();
		return;
	}
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(header), &from->fd, sizeof(int));
	if (sendmsg(pair[0], &message, 0) < 0 || recvmsg(pair[1], &message, MSG_CMSG_CLOEXEC) < 0)
		say_errno();
	else {
		int fd = -1;

		header = CMSG_FIRSTHDR(&message);
		if (header)
			memcpy(&fd, CMSG_DATA(header), sizeof(int));
		errno = EMFILE;
		say_fd(to, fd, from->device);
	}
	close(pair[0]);
	close(pair[1]);
}

static void do_map(char **words)
{
	struct slot *slot = slot_of(words[1]);
	size_t length = (size_t)number(words[3]);
	unsigned char *bytes;
	struct stat st;
	void *map;

	/* A touch behind the end of a file is a signal. */
	if (!fstat(slot->fd, &st) && st.st_size < number(words[2]) + (long)length) {
		say("short");
		return;
	}
	bytes = pattern(length, (unsigned long)number(words[4]));
	map = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, slot->fd, number(words[2]));

	if (map == MAP_FAILED) {
		say_errno();
	} else {
		memcpy(map, bytes, length);
		munmap(map, length);
		say("ok");
	}
	free(bytes);
}

/* 0: no new fd can be had; 1: as many as before. */
static void do_limit(int open_again)
{
	struct rlimit limit;
	int lowest;

	getrlimit(RLIMIT_NOFILE, &limit);
	if (open_again) {
		limit.rlim_cur = 1024;
	} else {
		lowest = dup(STDERR_FILENO);
		if (lowest < 0) {
			say_errno();
			return;
		}
		close(lowest);
		limit.rlim_cur = (rlim_t)lowest;
	}
	say_result(setrlimit(RLIMIT_NOFILE, &limit));
}

static int close_devices(void)
{
	int count = 0;

	for (int i = 0; i < SLOTS; i++)
		if (slots[i].device && slots[i].fd >= 0) {
			close(slots[i].fd);
			slots[i] = (struct slot){ .fd = -1 };
			count++;
		}
	return count;
}

/* ---------------------------------------------------------------------------------------------- helpers */

static void perform(char *line);

static int read_line(int fd, char *line)
{
	size_t length = 0;

	while (length < LINE - 1) {
		ssize_t got = read(fd, line + length, 1);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return 0;
		if (line[length] == '\n')
			break;
		length++;
	}
	line[length] = 0;
	return 1;
}

static void write_line(int fd, const char *text)
{
	char line[LINE + 2];
	int length = snprintf(line, sizeof(line), "%s\n", text);

	for (int at = 0; at < length;) {
		ssize_t put = write(fd, line + at, (size_t)(length - at));

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return;
		at += (int)put;
	}
}

static void serve(int in, int out)
{
	char line[LINE];

	while (read_line(in, line)) {
		if (!strncmp(line, "exec ", 5)) {
			static char table[SLOTS * 16];
			char number_in[16], number_out[16];
			size_t length = 0;

			for (int i = 0; i < SLOTS; i++)
				if (slots[i].fd >= 0)
					length += (size_t)snprintf(table + length, sizeof(table) - length, "%d:%d:%d,", i,
								   slots[i].fd, slots[i].device);
			snprintf(number_in, sizeof(number_in), "%d", in);
			snprintf(number_out, sizeof(number_out), "%d", out);
			execl("/proc/self/exe", "performer", "--helper", number_in, number_out, table, folder, sequence, NULL);
			write_line(out, "exec failed");
			continue;
		}
		perform(line);
		write_line(out, outcome);
	}
	_exit(0);
}

/* What is still open after exec, by slot. */
static int resumed(char **argv)
{
	char kept[LINE] = "kept";
	size_t length = 4;

	for (char *at = argv[4]; *at;) {
		int slot = (int)strtol(at, &at, 10), fd = (int)strtol(at + 1, &at, 10), device = (int)strtol(at + 1, &at, 10);

		if (*at == ',')
			at++;
		if (fcntl(fd, F_GETFD) < 0)
			continue;
		slots[slot] = (struct slot){ .fd = fd, .device = device };
		length += (size_t)snprintf(kept + length, sizeof(kept) - length, " %d", slot);
	}
	folder = argv[5];
	sequence = argv[6];
	write_line(atoi(argv[3]), kept);
	serve(atoi(argv[2]), atoi(argv[3]));
	return 0;
}

static void do_fork(struct helper *helper)
{
	int to[2], from[2];

	if (helper->pid > 0) {
		say("none");
		return;
	}
	if (pipe(to) || pipe(from)) {
		say_errno();
		return;
	}
	for (int i = 0; i < 2; i++)
		if ((to[i] = high(to[i])) < 0 || (from[i] = high(from[i])) < 0)
			die("high");
	helper->pid = fork();
	if (helper->pid < 0) {
		say_errno();
		return;
	}
	if (helper->pid == 0) {
		/* The other helpers' pipes are not this one's. */
		for (int i = 0; i < HELPERS; i++)
			if (helpers[i].pid > 0) {
				close(helpers[i].to);
				close(helpers[i].from);
			}
		memset(helpers, 0, sizeof(helpers));
		close(to[1]);
		close(from[0]);
		serve(to[0], from[1]);
	}
	close(to[0]);
	close(from[1]);
	helper->to = to[1];
	helper->from = from[0];
	say("ok");
}

static void ask(struct helper *helper, const char *line)
{
	char answer[LINE];

	if (helper->pid <= 0) {
		say("none");
		return;
	}
	write_line(helper->to, line);
	say("%s", read_line(helper->from, answer) ? answer : "gone");
}

static void end_helper(struct helper *helper, int kill_it)
{
	int status;

	if (helper->pid <= 0) {
		say("none");
		return;
	}
	if (kill_it)
		kill(helper->pid, SIGKILL);
	close(helper->to);
	waitpid(helper->pid, &status, 0);
	close(helper->from);
	helper->pid = 0;
	say("status %x", status);
}

static struct helper *helper_of(const char *word)
{
	return &helpers[number(word) % HELPERS];
}

/* ---------------------------------------------------------------------------------------------- operations */

static void perform(char *line)
{
	char *words[WORDS + 1] = { 0 };
	char *save = NULL;
	char whole[LINE];
	const char *op;
	int count = 0;

	outcome_length = 0;
	outcome[0] = 0;
	if (line[0] == '@') {
		char *rest = strchr(line, ' ');

		ask(helper_of(line + 1), rest + 1);
		return;
	}
	snprintf(whole, sizeof(whole), "%s", line);
	for (char *word = strtok_r(line, " ", &save); word && count < WORDS; word = strtok_r(NULL, " ", &save))
		words[count++] = word;
	op = words[0];
	if (!op)
		return;
	if (!strcmp(op, "open")) {
		say_fd(slot_of(words[1]), open(DEVICE, (int)number(words[2]), 0600), 1);
	} else if (!strcmp(op, "ioctl")) {
		do_ioctl(words);
	} else if (!strcmp(op, "close")) {
		struct slot *slot = slot_of(words[1]);

		say_result(close(slot->fd));
		*slot = (struct slot){ .fd = -1 };
	} else if (!strcmp(op, "dup")) {
		say_fd(slot_of(words[1]), dup(slot_of(words[2])->fd), slot_of(words[2])->device);
	} else if (!strcmp(op, "dupfd")) {
		say_fd(slot_of(words[1]), fcntl(slot_of(words[2])->fd, F_DUPFD_CLOEXEC, 0), slot_of(words[2])->device);
	} else if (!strcmp(op, "dup2")) {
		struct slot *to = slot_of(words[1]), *from = slot_of(words[2]);

		if (to->fd < 0)
			say("none");
		else
			say_fd(to, dup2(from->fd, to->fd), from->device);
	} else if (!strcmp(op, "pass")) {
		do_pass(slot_of(words[1]), slot_of(words[2]));
	} else if (!strcmp(op, "fork")) {
		do_fork(helper_of(words[1]));
	} else if (!strcmp(op, "exec")) {
		ask(helper_of(words[1]), "exec now");
	} else if (!strcmp(op, "end")) {
		end_helper(helper_of(words[1]), 0);
	} else if (!strcmp(op, "kill")) {
		end_helper(helper_of(words[1]), 1);
	} else if (!strcmp(op, "memfd")) {
		say_fd(slot_of(words[1]), memfd_create("file", (unsigned)number(words[2])), 0);
	} else if (!strcmp(op, "file")) {
		do_file(words);
	} else if (!strcmp(op, "unlink")) {
		char path[512];

		named(path, sizeof(path), words[1]);
		say_result(unlink(path));
	} else if (!strcmp(op, "reopen")) {
		char path[64];
		struct slot *from = slot_of(words[2]);

		snprintf(path, sizeof(path), "/proc/self/fd/%d", from->fd);
		say_fd(slot_of(words[1]), open(path, (int)number(words[3])), 0);
	} else if (!strcmp(op, "write") || !strcmp(op, "pwrite")) {
		int positioned = op[0] == 'p';
		size_t length = (size_t)number(words[positioned ? 3 : 2]);
		unsigned char *bytes = pattern(length, (unsigned long)number(words[positioned ? 4 : 3]));
		int fd = slot_of(words[1])->fd;
		ssize_t put = positioned ? pwrite(fd, bytes, length, number(words[2])) : write(fd, bytes, length);

		if (put < 0)
			say_errno();
		else
			say("%zd", put);
		free(bytes);
	} else if (!strcmp(op, "read")) {
		size_t length = (size_t)number(words[2]);
		unsigned char *bytes = malloc(length + 1);
		ssize_t got = read(slot_of(words[1])->fd, bytes, length);

		if (got < 0)
			say_errno();
		else
			say("%zd %016llx", got, (unsigned long long)digest(0xcbf29ce484222325ull, bytes, (size_t)got));
		free(bytes);
	} else if (!strcmp(op, "trunc")) {
		say_result(ftruncate(slot_of(words[1])->fd, number(words[2])));
	} else if (!strcmp(op, "falloc")) {
		say_result(fallocate(slot_of(words[1])->fd, (int)number(words[2]), number(words[3]), number(words[4])));
	} else if (!strcmp(op, "seal")) {
		say_result(fcntl(slot_of(words[1])->fd, F_ADD_SEALS, (int)number(words[2])));
	} else if (!strcmp(op, "seek")) {
		off_t at = lseek(slot_of(words[1])->fd, number(words[2]), (int)number(words[3]));

		if (at < 0)
			say_errno();
		else
			say("%lld", (long long)at);
	} else if (!strcmp(op, "map")) {
		do_map(words);
	} else if (!strcmp(op, "look")) {
		do_look(slot_of(words[1]));
	} else if (!strcmp(op, "flags")) {
		do_flags(slot_of(words[1]));
	} else if (!strcmp(op, "stat")) {
		do_stat(slot_of(words[1]));
	} else if (!strcmp(op, "poll")) {
		struct pollfd poll_fd = { .fd = slot_of(words[1])->fd, .events = POLLIN | POLLOUT };
		int ready = poll(&poll_fd, 1, 0);

		say("%d %x", ready, poll_fd.revents);
	} else if (!strcmp(op, "watch")) {
		struct epoll_event event = { .events = EPOLLIN };
		int epoll = epoll_create1(EPOLL_CLOEXEC);

		say_result(epoll_ctl(epoll, EPOLL_CTL_ADD, slot_of(words[1])->fd, &event));
		close(epoll);
	} else if (!strcmp(op, "get") || !strcmp(op, "put")) {
		do_transfer(slot_of(words[1]), op[0] == 'g');
	} else if (!strcmp(op, "path")) {
		struct stat st;

		if (stat(DEVICE, &st))
			say_errno();
		else
			say("type %o", st.st_mode & S_IFMT);
	} else if (!strcmp(op, "limit")) {
		do_limit((int)number(words[1]));
	} else if (!strcmp(op, "reboot")) {
		/* There is no image; if there were one this would be the jump. */
		say_result(syscall(SYS_reboot, 0xfee1dead, number(words[1]), 0x45584543, 0));
	} else if (!strcmp(op, "closedevices")) {
		int closed = 0;

		for (int i = 0; i < HELPERS; i++)
			if (helpers[i].pid > 0) {
				char answer[LINE];

				write_line(helpers[i].to, "closedevices");
				if (read_line(helpers[i].from, answer))
					closed += atoi(answer);
			}
		closed += close_devices();
		say("%d", closed);
	} else {
		fprintf(stderr, "performer: unknown operation '%s'\n", whole);
		_exit(71);
	}
}

/* ---------------------------------------------------------------------------------------------- sequences */

static void tell(int out, int index)
{
	char line[LINE + 128];

	snprintf(line, sizeof(line), "%s %d %s", sequence, index, outcome);
	write_line(out, line);
}

/* One sequence, in its own process; `ready` is told when it is over and, if it holds, goes on holding. */
static void run(FILE *input, long from, int out, int ready)
{
	char line[LINE];
	int index = 0;

	alarm(LIMIT_S);
	if (fseek(input, from, SEEK_SET))
		die("fseek");
	while (fgets(line, sizeof(line), input)) {
		line[strcspn(line, "\n")] = 0;
		if (!strcmp(line, "E"))
			_exit(0);
		if (!strcmp(line, "H")) {
			alarm(0);
			if (write(ready, "h", 1) != 1)
				_exit(72);
			for (;;)
				pause();
		}
		perform(line);
		tell(out, index++);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	char line[LINE], name[128];
	struct rlimit limit = { 1024, 1024 };
	FILE *input;
	int out, input_fd;

	for (int i = 0; i < SLOTS; i++)
		slots[i].fd = -1;
	signal(SIGPIPE, SIG_IGN);
	if (argc == 7 && !strcmp(argv[1], "--helper"))
		return resumed(argv);
	if (argc != 4) {
		fprintf(stderr, "usage: performer INPUT OUTPUT DIR\n");
		return 64;
	}
	close_range(3, ~0U, 0);
	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 1024;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		die("RLIMIT_NOFILE");
	folder = argv[3];
	umask(0);
	input_fd = high(open(argv[1], O_RDONLY | O_CLOEXEC));
	out = high(open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
	if (input_fd < 0 || out < 0)
		die("input and output");
	fcntl(input_fd, F_SETFD, FD_CLOEXEC);
	fcntl(out, F_SETFD, FD_CLOEXEC);
	input = fdopen(input_fd, "r");
	int holds = 0;
	while (fgets(line, sizeof(line), input)) {
		long from = ftell(input);
		int ready[2], status;
		char byte;
		pid_t pid;

		if (sscanf(line, "S %127s", name) != 1)
			continue;
		sequence = name;
		if (pipe(ready) || (ready[0] = high(ready[0])) < 0 || (ready[1] = high(ready[1])) < 0)
			die("pipe");
		fcntl(ready[1], F_SETFD, FD_CLOEXEC);
		pid = fork();
		if (pid < 0)
			die("fork");
		if (pid == 0) {
			/* An own offset: the parent's must not move. */
			int own = high(open(argv[1], O_RDONLY | O_CLOEXEC));

			close(input_fd);
			close(ready[0]);
			if (own < 0)
				die("input");
			fcntl(own, F_SETFD, FD_CLOEXEC);
			run(fdopen(own, "r"), from, out, ready[1]);
		}
		close(ready[1]);
		/* Helpers hold the write end open until exec or their end, so the byte or the death is waited for, whichever comes. */
		struct pollfd waiting = { .fd = ready[0], .events = POLLIN };
		for (;;) {
			if (poll(&waiting, 1, 20) > 0 && (waiting.revents & POLLIN) && read(ready[0], &byte, 1) == 1) {
				holds = 1;
				break;
			}
			if (waitpid(pid, &status, WNOHANG) == pid) {
				if (status) {
					snprintf(outcome, sizeof(outcome), "died %x", status);
					tell(out, -1);
				}
				break;
			}
		}
		close(ready[0]);
	}
	write_line(out, "END");
	while (holds)
		pause();
	return 0;
}
