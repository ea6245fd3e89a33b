/*
 * What the C compiler says of the kernel's structs and numbers that src/abi restates: sizes, offsets, and the bytes of filled
 * structs. Its output is golden/liveupdate.txt; test/abi/golden.test.ts compares both with src/abi, and compiles this again
 * where there is a compiler.
 *
 * cc -o liveupdate liveupdate.c && ./liveupdate > liveupdate.txt
 *
 * Headers of Linux before 6.19 have no linux/liveupdate.h, those before 7.0 lack LIVEUPDATE_SESSION_GET_NAME: its structs are
 * restated then, as in Linux 7.3.
 */
#include <linux/ioctl.h>
#include <linux/kexec.h>
#include <linux/reboot.h>
#include <linux/types.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#if __has_include(<linux/liveupdate.h>)
#include <linux/liveupdate.h>
#endif

#ifndef LIVEUPDATE_SESSION_GET_NAME
#define LIVEUPDATE_IOCTL_TYPE 0xBA
#define LIVEUPDATE_SESSION_NAME_LENGTH 64
#define liveupdate_ioctl_create_session restated_create_session
#define liveupdate_ioctl_retrieve_session restated_retrieve_session
#define liveupdate_session_preserve_fd restated_preserve_fd
#define liveupdate_session_retrieve_fd restated_retrieve_fd
#define liveupdate_session_finish restated_finish
#define liveupdate_session_get_name restated_get_name

struct liveupdate_ioctl_create_session {
	__u32 size;
	__s32 fd;
	__u8 name[LIVEUPDATE_SESSION_NAME_LENGTH];
};
struct liveupdate_ioctl_retrieve_session {
	__u32 size;
	__s32 fd;
	__u8 name[LIVEUPDATE_SESSION_NAME_LENGTH];
};
struct liveupdate_session_preserve_fd {
	__u32 size;
	__s32 fd;
	__aligned_u64 token;
};
struct liveupdate_session_retrieve_fd {
	__u32 size;
	__s32 fd;
	__aligned_u64 token;
};
struct liveupdate_session_finish {
	__u32 size;
	__u32 reserved;
};
struct liveupdate_session_get_name {
	__u32 size;
	__u32 reserved;
	__u8 name[LIVEUPDATE_SESSION_NAME_LENGTH];
};
#undef LIVEUPDATE_IOCTL_CREATE_SESSION
#undef LIVEUPDATE_IOCTL_RETRIEVE_SESSION
#undef LIVEUPDATE_SESSION_PRESERVE_FD
#undef LIVEUPDATE_SESSION_RETRIEVE_FD
#undef LIVEUPDATE_SESSION_FINISH
#define LIVEUPDATE_IOCTL_CREATE_SESSION _IO(LIVEUPDATE_IOCTL_TYPE, 0x00)
#define LIVEUPDATE_IOCTL_RETRIEVE_SESSION _IO(LIVEUPDATE_IOCTL_TYPE, 0x01)
#define LIVEUPDATE_SESSION_PRESERVE_FD _IO(LIVEUPDATE_IOCTL_TYPE, 0x40)
#define LIVEUPDATE_SESSION_RETRIEVE_FD _IO(LIVEUPDATE_IOCTL_TYPE, 0x41)
#define LIVEUPDATE_SESSION_FINISH _IO(LIVEUPDATE_IOCTL_TYPE, 0x42)
#define LIVEUPDATE_SESSION_GET_NAME _IO(LIVEUPDATE_IOCTL_TYPE, 0x43)
#endif

#define NUMBER(name, value) printf("%s %lu\n", name, (unsigned long)(value))
#define SIZE(type) NUMBER(#type, sizeof(struct liveupdate_##type))
#define OFFSET(type, field) NUMBER(#type "." #field, offsetof(struct liveupdate_##type, field))

static void bytes(const char *what, const void *data, size_t count)
{
	printf("%s ", what);
	for (size_t at = 0; at < count; at++)
		printf("%02x", ((const unsigned char *)data)[at]);
	printf("\n");
}

int main(void)
{
	struct liveupdate_ioctl_create_session create = { .size = sizeof(create), .fd = -1 };
	struct liveupdate_ioctl_retrieve_session retrieve = { .size = sizeof(retrieve), .fd = 42 };
	struct liveupdate_session_preserve_fd in = { .size = sizeof(in), .fd = 7, .token = 0x0123456789abcdefull };
	struct liveupdate_session_retrieve_fd out = { .size = sizeof(out), .fd = -1, .token = ~0ull };
	struct liveupdate_session_finish finish = { .size = sizeof(finish) };
	struct liveupdate_session_get_name asked = { .size = sizeof(asked) };
	struct liveupdate_session_get_name told = { .size = sizeof(told) };

	NUMBER("LIVEUPDATE_SESSION_NAME_LENGTH", LIVEUPDATE_SESSION_NAME_LENGTH);
	NUMBER("LIVEUPDATE_IOCTL_CREATE_SESSION", LIVEUPDATE_IOCTL_CREATE_SESSION);
	NUMBER("LIVEUPDATE_IOCTL_RETRIEVE_SESSION", LIVEUPDATE_IOCTL_RETRIEVE_SESSION);
	NUMBER("LIVEUPDATE_SESSION_PRESERVE_FD", LIVEUPDATE_SESSION_PRESERVE_FD);
	NUMBER("LIVEUPDATE_SESSION_RETRIEVE_FD", LIVEUPDATE_SESSION_RETRIEVE_FD);
	NUMBER("LIVEUPDATE_SESSION_FINISH", LIVEUPDATE_SESSION_FINISH);
	NUMBER("LIVEUPDATE_SESSION_GET_NAME", LIVEUPDATE_SESSION_GET_NAME);
	SIZE(ioctl_create_session);
	OFFSET(ioctl_create_session, size);
	OFFSET(ioctl_create_session, fd);
	OFFSET(ioctl_create_session, name);
	SIZE(ioctl_retrieve_session);
	OFFSET(ioctl_retrieve_session, size);
	OFFSET(ioctl_retrieve_session, fd);
	OFFSET(ioctl_retrieve_session, name);
	SIZE(session_preserve_fd);
	OFFSET(session_preserve_fd, size);
	OFFSET(session_preserve_fd, fd);
	OFFSET(session_preserve_fd, token);
	SIZE(session_retrieve_fd);
	OFFSET(session_retrieve_fd, size);
	OFFSET(session_retrieve_fd, fd);
	OFFSET(session_retrieve_fd, token);
	SIZE(session_finish);
	OFFSET(session_finish, size);
	OFFSET(session_finish, reserved);
	SIZE(session_get_name);
	OFFSET(session_get_name, size);
	OFFSET(session_get_name, reserved);
	OFFSET(session_get_name, name);

	memcpy(create.name, "luod", 4);
	memset(retrieve.name, 'A', sizeof(retrieve.name) - 1);
	memcpy(told.name, "\xc3\xbc/1", 4);
	bytes("create", &create, sizeof(create));
	bytes("retrieve", &retrieve, sizeof(retrieve));
	bytes("preserve_fd", &in, sizeof(in));
	bytes("retrieve_fd", &out, sizeof(out));
	bytes("finish", &finish, sizeof(finish));
	bytes("get_name.asked", &asked, sizeof(asked));
	bytes("get_name.told", &told, sizeof(told));

	NUMBER("KEXEC_FILE_UNLOAD", KEXEC_FILE_UNLOAD);
	NUMBER("KEXEC_FILE_ON_CRASH", KEXEC_FILE_ON_CRASH);
	NUMBER("KEXEC_FILE_NO_INITRAMFS", KEXEC_FILE_NO_INITRAMFS);
	NUMBER("LINUX_REBOOT_MAGIC1", (unsigned int)LINUX_REBOOT_MAGIC1);
	NUMBER("LINUX_REBOOT_MAGIC2", LINUX_REBOOT_MAGIC2);
	NUMBER("LINUX_REBOOT_CMD_RESTART", LINUX_REBOOT_CMD_RESTART);
	NUMBER("LINUX_REBOOT_CMD_POWER_OFF", LINUX_REBOOT_CMD_POWER_OFF);
	NUMBER("LINUX_REBOOT_CMD_KEXEC", LINUX_REBOOT_CMD_KEXEC);
	NUMBER("SYS_kexec_file_load", SYS_kexec_file_load);
	NUMBER("SYS_reboot", SYS_reboot);
	return 0;
}
