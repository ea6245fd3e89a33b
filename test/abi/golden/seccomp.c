/*
 * What the C compiler says of seccomp's structs and numbers that src/abi restates. Its output is golden/seccomp.txt;
 * test/abi/seccomp.test.ts compares both with src/abi, and compiles this again where there is a compiler.
 *
 * cc -o seccomp seccomp.c && ./seccomp > seccomp.txt
 */
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/ioctl.h>
#include <linux/seccomp.h>
#include <linux/types.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/syscall.h>

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif
#ifndef SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
#define SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV (1UL << 5)
#endif

#define NUMBER(name, value) printf("%s %lu\n", name, (unsigned long)(value))
#define CONSTANT(name) NUMBER(#name, name)
#define SIZE(type) NUMBER(#type, sizeof(struct type))
#define OFFSET(type, field) NUMBER(#type "." #field, offsetof(struct type, field))
#define CALL(name) NUMBER("call." #name, SYS_##name)

int main(void)
{
	SIZE(seccomp_data);
	OFFSET(seccomp_data, nr);
	OFFSET(seccomp_data, arch);
	OFFSET(seccomp_data, instruction_pointer);
	OFFSET(seccomp_data, args);
	SIZE(seccomp_notif);
	OFFSET(seccomp_notif, id);
	OFFSET(seccomp_notif, pid);
	OFFSET(seccomp_notif, flags);
	OFFSET(seccomp_notif, data);
	SIZE(seccomp_notif_resp);
	OFFSET(seccomp_notif_resp, id);
	OFFSET(seccomp_notif_resp, val);
	OFFSET(seccomp_notif_resp, error);
	OFFSET(seccomp_notif_resp, flags);
	SIZE(seccomp_notif_addfd);
	OFFSET(seccomp_notif_addfd, id);
	OFFSET(seccomp_notif_addfd, flags);
	OFFSET(seccomp_notif_addfd, srcfd);
	OFFSET(seccomp_notif_addfd, newfd);
	OFFSET(seccomp_notif_addfd, newfd_flags);
	SIZE(seccomp_notif_sizes);
	OFFSET(seccomp_notif_sizes, seccomp_notif);
	OFFSET(seccomp_notif_sizes, seccomp_notif_resp);
	OFFSET(seccomp_notif_sizes, seccomp_data);
	SIZE(sock_filter);
	OFFSET(sock_filter, code);
	OFFSET(sock_filter, jt);
	OFFSET(sock_filter, jf);
	OFFSET(sock_filter, k);
	SIZE(sock_fprog);
	OFFSET(sock_fprog, len);
	OFFSET(sock_fprog, filter);
	CONSTANT(SECCOMP_SET_MODE_FILTER);
	CONSTANT(SECCOMP_GET_ACTION_AVAIL);
	CONSTANT(SECCOMP_GET_NOTIF_SIZES);
	CONSTANT(SECCOMP_FILTER_FLAG_NEW_LISTENER);
	CONSTANT(SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
	CONSTANT(SECCOMP_RET_KILL_PROCESS);
	CONSTANT(SECCOMP_RET_USER_NOTIF);
	CONSTANT(SECCOMP_RET_ALLOW);
	CONSTANT(SECCOMP_USER_NOTIF_FLAG_CONTINUE);
	CONSTANT(SECCOMP_ADDFD_FLAG_SETFD);
	CONSTANT(SECCOMP_ADDFD_FLAG_SEND);
	CONSTANT(SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	CONSTANT(SECCOMP_IOCTL_NOTIF_RECV);
	CONSTANT(SECCOMP_IOCTL_NOTIF_SEND);
	CONSTANT(SECCOMP_IOCTL_NOTIF_ID_VALID);
	CONSTANT(SECCOMP_IOCTL_NOTIF_ADDFD);
	CONSTANT(SECCOMP_IOCTL_NOTIF_SET_FLAGS);
	CONSTANT(AUDIT_ARCH_X86_64);
	CONSTANT(AUDIT_ARCH_I386);
	CONSTANT(AUDIT_ARCH_AARCH64);
	CONSTANT(AUDIT_ARCH_ARM);
	NUMBER("BPF_LOAD_WORD", BPF_LD | BPF_W | BPF_ABS);
	NUMBER("BPF_AND", BPF_ALU | BPF_AND | BPF_K);
	NUMBER("BPF_SHIFT_RIGHT", BPF_ALU | BPF_RSH | BPF_K);
	NUMBER("BPF_JUMP", BPF_JMP | BPF_JA);
	NUMBER("BPF_JUMP_EQUAL", BPF_JMP | BPF_JEQ | BPF_K);
	NUMBER("BPF_JUMP_GREATER_OR_EQUAL", BPF_JMP | BPF_JGE | BPF_K);
	NUMBER("BPF_JUMP_ANY_BIT", BPF_JMP | BPF_JSET | BPF_K);
	NUMBER("BPF_RETURN", BPF_RET | BPF_K);
	CALL(open);
	CALL(openat);
	CALL(openat2);
	CALL(creat);
	CALL(ioctl);
	CALL(ftruncate);
	CALL(truncate);
	CALL(fallocate);
	CALL(stat);
	CALL(lstat);
	CALL(fstat);
	CALL(newfstatat);
	CALL(statx);
	CALL(access);
	CALL(faccessat);
	CALL(faccessat2);
	CALL(readlink);
	CALL(readlinkat);
	CALL(kexec_load);
	CALL(kexec_file_load);
	CALL(reboot);
	CALL(io_uring_setup);
	return 0;
}
