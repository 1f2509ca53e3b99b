"""A nats-server of a test's own, workers and clients at it."""
import base64
import json
import socket

from parent import *

MODEL = "fake:len=40,step_us=1000"


def words_of(i, **more):
    return "--payload", json.dumps(complete(f"caller {i}", **more))


class Client:
    """As much of NATS' protocol as it takes to publish any bytes and to ask JetStream."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=BOUND)
        self.file = self.socket.makefile("rb")
        self.inbox = f"i{os.urandom(4).hex()}".encode()
        self.send(b'CONNECT {"verbose":false,"headers":true}\r\nSUB %s 1\r\n' % self.inbox)

    def send(self, data):
        self.socket.sendall(data)

    def next(self):
        """What the next message to us says."""
        while True:
            words = self.file.readline().split()
            assert words and words[0] != b"-ERR", words
            if words[0] == b"PING":
                self.send(b"PONG\r\n")
            if words[0] == b"MSG":
                return json.loads(self.file.read(int(words[-1]) + 2))

    def ask(self, subject, **what):
        data = json.dumps(what).encode()
        self.send(b"PUB %s %s %d\r\n%s\r\n" % (subject.encode(), self.inbox, len(data), data))
        return self.next()

    def submit(self, payload, queue="default", reply=None):
        """A task, whatever bytes it is. Its events and its outcome come next."""
        headers = b"NATS/1.0\r\nBaton-Reply: %s\r\n\r\n" % (self.inbox if reply is None else reply)
        self.send(b"HPUB baton.tasks.%s %d %d\r\n%s%s\r\n" % (queue.encode(), len(headers), len(headers) + len(payload),
                                                          headers, payload))

    def outcome(self):
        while True:
            said = self.next()
            if said["event"] == "done":
                return said

    def kept(self, stream):
        """How many messages a stream has."""
        return self.ask(f"$JS.API.STREAM.INFO.{stream}")["state"]["messages"]

    def dead(self, queue="default"):
        """The last task of a queue that was given up."""
        message = self.ask("$JS.API.STREAM.MSG.GET.BATON_DEAD", last_by_subj=f"baton.dead.{queue}")["message"]
        return json.loads(base64.b64decode(message["data"]))


class Nats:
    def __init__(self, *options, scheme="nats", user=""):
        self.options, self.scheme, self.user = options, scheme, user

    def __enter__(self):
        program = tool("nats-server")
        done = subprocess.run([PROGRAM, "submit", "--nats", "nats://127.0.0.1:1", "x"], capture_output=True, text=True)
        if "no NATS" in done.stderr:
            raise Skip("this build has no libnats")
        self.folder = tempfile.TemporaryDirectory()
        self.log = open(f"{self.folder.name}/log", "w+")
        self.command = [program, "-js", "-sd", self.folder.name, "-a", "127.0.0.1", "--ports_file_dir",
                        self.folder.name]
        self.workers = []
        self.start(-1, *self.options)
        self.url = f"{self.scheme}://{self.user}127.0.0.1:{self.port}"
        return self

    def start(self, port, *options):
        """At a port of its own choice, if it is -1: one that was free a moment ago may be somebody else's by now."""
        self.process = subprocess.Popen([*self.command, "-p", str(port), *options], stdout=self.log, stderr=self.log)
        told = f"{self.folder.name}/nats-server_{self.process.pid}.ports"

        def ports():
            assert self.process.poll() is None, self.said()
            try:
                with open(told) as f:
                    return json.load(f)["nats"]
            except (FileNotFoundError, ValueError):
                return None
        self.port = int(poll(ports, "nats-server listens")[0].rsplit(":", 1)[1])

    def restart(self, *options):
        self.process.kill()
        self.process.wait()
        self.start(self.port, *options)

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def __exit__(self, kind, value, trace):
        for w in self.workers:
            if w.process.poll() is None:
                w.process.kill()
                w.process.wait()
            assert "Sanitizer" not in w.said(), w.said()[-4000:]
            if kind:
                print(w.said()[-3000:], file=sys.stderr)
        if kind:
            print(self.said()[-3000:], file=sys.stderr)
        self.process.kill()
        self.process.wait()
        self.log.close()
        self.folder.cleanup()

    def worker(self, *options, ready=True):
        w = Parent("--nats", self.url, *options, read=False)
        self.workers.append(w)
        if ready:
            poll(lambda: "ready for tasks" in w.said() or w.process.poll() is not None, "a worker")
            assert w.process.poll() is None, w.said()
        return w

    def submit(self, *words):
        return subprocess.Popen([PROGRAM, "submit", "--nats", self.url, *words], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def client(self):
        return Client(self.port)

    def take(self, *words):
        p = self.submit(*words)
        out, err = p.communicate(timeout=BOUND)
        return p.returncode, out, err

    def lines(self, *words):
        code, out, err = self.take("--lines", *words)
        return code, [json.loads(line) for line in out.splitlines()]


__all__ = ["MODEL", "Nats", "words_of"]
