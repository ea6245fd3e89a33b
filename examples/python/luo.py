"""A member of luod in plain Python: fds by name, and the calls of an update. docs/protocol.md is the contract."""
import json, os, socket, time

class Luo:
    def __init__(self, on):  # on(what) hears go, freeze, cancel: serve and write, except before go and after freeze
        self.on, self.started, self.key, self.phase, self.attempt = on, False, None, "standby", None
        self.hello = self.join()
    def join(self, **resume):
        self.connect(os.environ["LUO_SOCKET"])
        names = {"service": os.environ["LUO_SERVICE"], "secret": os.environ["LUO_SECRET"]}
        return self.request("hello", {"protocol": [1], "client": "luo.py", "join": True, **names, **resume})[0]
    def connect(self, path):
        self.socket, self.buffer, self.fds, self.serial, self.calls = socket.socket(socket.AF_UNIX), b"", [], 0, []
        self.socket.connect(path)
    def send(self, message, fds=()):
        socket.send_fds(self.socket, [json.dumps({**message, "fds": len(fds)}).encode() + b"\n"], fds)
    def receive(self):
        while b"\n" not in self.buffer:
            data, fds, _, _ = socket.recv_fds(self.socket, 65536, 253)
            if not data: raise ConnectionError("luod is gone")
            self.buffer, self.fds = self.buffer + data, self.fds + fds
        line, self.buffer = self.buffer.split(b"\n", 1)
        return (message := json.loads(line or b"{}")), [self.fds.pop(0) for _ in range(message.get("fds", 0))]
    def request(self, method, params, fds=()):
        self.serial += 1
        self.send({"id": self.serial, "method": method, "params": params}, fds)
        while True:
            message, got = self.receive()
            if "id" in message: self.calls.append((message, got))
            if "error" in message: raise RuntimeError(message["error"]["message"])
            if message.get("re") == self.serial: return message["result"], got
    def keep(self, name, make):  # the fd that waits under this name; else that of make(), which is registered
        if name in [one["name"] for one in self.hello["waiting"]]:
            return self.request("claim", {"kind": "fd", "name": name})[1][0]
        spec, fd = {"kind": "fd", "name": name, "compatible": name + "/1", "fds": 1}, make()
        return self.request("register", {"handles": [spec]}, [fd]) and fd
    def ready(self):  # returns at go
        self.request("standby" if self.hello["role"] == "successor" else "ready", {})
        while not self.started: self.answer()
    def work(self, what, phase): self.started, self.key, self.phase, _ = True, None, phase, self.on(what)
    def answer(self):  # one call of luod: whenever its socket is readable, and while calls is not empty
        try: call, fds = self.calls.pop(0) if self.calls else self.receive()
        except OSError: return self.alone()
        for fd in fds: os.close(fd)
        method, params, frozen = call.get("method"), call.get("params", {}), self.started and self.key
        if method == "freeze": self.on(method)
        if "key" in params: self.key, self.attempt, self.phase = params["key"], params["attempt"], "frozen" if self.started else "ready"
        if method == "cancel" and frozen or method == "go" and (frozen or not self.started): self.work(method, "running")
        if "id" in call: self.send({"re": call["id"], "result": {"ok": True}})
        if method == "retire" or method == "cancel" and not self.started: os._exit(0)
        if method == "restore" and self.phase == "ready": self.request("ready", {"attempt": self.attempt})
    def alone(self):  # luod is gone: who is frozen, or ready, goes by the keeper's record; without one it ends, which is safe
        if self.key:
            self.connect(self.hello["keeperSocket"])
            want = {"want": "aborted"} if self.started else {}
            outcome = self.request("decide", {"attempt": self.attempt, "key": self.key, **want})[0]["outcome"]
            if outcome != ("aborted" if self.started else "committed"): os._exit(0)
            self.work("go", "thawed" if self.started else "gone-on")
        try: self.join(resume={"participant": self.hello["participant"], "attempt": self.attempt, "phase": self.phase})
        except OSError: time.sleep(0.01)  # answer() is called again, since a socket that is not connected counts as readable
