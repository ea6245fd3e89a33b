#!/usr/bin/env python3
"""A counter whose memory lives on in the next kernel. Standard library alone.

    counter.py COMMAND...     count once; COMMAND makes the jump (kexec -e, luoctl emulate kexec)

Started again in the next kernel with the same words, it goes on where it was. It knows which of the two it is by asking for
its session: ENOENT is a first start.
"""
import errno
import fcntl
import mmap
import os
import struct
import subprocess
import sys

# include/uapi/linux/liveupdate.h: the commands are _IO(0xBA, number); every struct begins with its own size.
CREATE_SESSION, RETRIEVE_SESSION = 0xBA00, 0xBA01
PRESERVE_FD, RETRIEVE_FD, FINISH = 0xBA40, 0xBA41, 0xBA42
SESSION = struct.Struct("<Ii64s")  # size, fd (out), name
FILE = struct.Struct("<IiQ")  # size, fd (in or out), token
END = struct.Struct("<II")  # size, reserved

NAME = b"examples/counter.py"
TOKEN = 0
BYTES = 4096


def session(request):
    """The fd of our session. The device is open no longer than this takes: others may need it."""
    device = os.open("/dev/liveupdate", os.O_RDWR | os.O_CLOEXEC)
    try:
        answer = fcntl.ioctl(device, request, SESSION.pack(SESSION.size, -1, NAME))
        return SESSION.unpack(answer)[1]
    finally:
        os.close(device)


def memory():
    """Our memory, as the last kernel left it or new; and whether it is new."""
    try:
        incoming = session(RETRIEVE_SESSION)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
        fd = os.memfd_create("counter", os.MFD_CLOEXEC)
        os.ftruncate(fd, BYTES)
        return fd, True
    fd = FILE.unpack(fcntl.ioctl(incoming, RETRIEVE_FD, FILE.pack(FILE.size, -1, TOKEN)))[1]
    # What came out of a session can be preserved again only after it is finished.
    fcntl.ioctl(incoming, FINISH, END.pack(END.size, 0))
    os.close(incoming)
    return fd, False


def main():
    fd, new = memory()
    count = mmap.mmap(fd, BYTES)
    outgoing = session(CREATE_SESSION)
    fcntl.ioctl(outgoing, PRESERVE_FD, FILE.pack(FILE.size, fd, TOKEN))
    # Preserved memory goes on being used: what is written until the jump is what arrives.
    value = struct.unpack_from("<Q", count)[0] + 1
    struct.pack_into("<Q", count, 0, value)
    print(f"{'began' if new else 'went on'}: {value}", flush=True)
    # `outgoing` stays open in this process until the jump.
    return subprocess.call(sys.argv[1:]) if len(sys.argv) > 1 else 0


if __name__ == "__main__":
    sys.exit(main())
