"""A counter in Python: every connection is answered with the next number. It survives the replacement of its program."""
import mmap, os, select, socket, struct, sys
from luo import Luo

serving = False

def on(what):
    global serving
    serving = what != "freeze"

def new_memory():
    fd = os.memfd_create("count")
    os.ftruncate(fd, 8)
    return fd

luo = Luo(on)
memory = mmap.mmap(luo.keep("count", new_memory), 8)
port = int(sys.argv[1]) if len(sys.argv) > 1 else 0
server = socket.socket(fileno=luo.keep("listener", lambda: socket.create_server(("127.0.0.1", port)).detach()))
luo.ready()
while True:
    readable, _, _ = select.select([luo.socket] + [server] * serving, [], [], 0 if luo.calls else None)
    if luo.socket in readable or luo.calls:
        luo.answer()
    if server in readable and serving:
        client, _ = server.accept()
        count = struct.unpack("<Q", memory[:])[0] + 1
        memory[:] = struct.pack("<Q", count)
        client.sendall(f"{count} {os.getpid()}\n".encode())
        client.close()
