#!/usr/bin/env python3
"""An echo server that knows nothing of luo: systemd's protocols and the standard library only.

The first version binds its port and gives the listening socket to its supervisor (FDSTORE=1); every later one finds it in
LISTEN_FDS. Each connection is answered with the version's name and its own line, then closed.
usage: echo.py PORTFILE [VERSION]
"""
import array
import os
import signal
import socket
import sys


def notify(text, fds=()):
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        s.sendmsg([text.encode()], rights, 0, path)


def listener():
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    if os.environ.get("LISTEN_PID") == str(os.getpid()) and "http" in names:
        return socket.socket(fileno=3 + names.index("http"))
    s = socket.create_server(("127.0.0.1", 0), backlog=128)
    notify("FDSTORE=1\nFDNAME=http", [s.fileno()])
    return s


version = sys.argv[2] if len(sys.argv) > 2 else "v1"
signal.signal(signal.SIGTERM, lambda *_: (notify("STOPPING=1"), sys.exit(0)))
server = listener()
with open(sys.argv[1], "w") as f:
    f.write(str(server.getsockname()[1]))
notify(f"READY=1\nSTATUS=serving {version}")
while True:
    connection, _ = server.accept()
    with connection:
        line = connection.makefile().readline()
        connection.sendall(f"{version} {line}".encode())
