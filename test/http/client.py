"""What every HTTP test starts with: a server of its own, a client that does exactly what it is told, and a runner.

A test is a function marked @test; `python3 limits.py 'probe_P60*'` runs those that match. Waiting is polling with a
bound; nothing asserts how long something took."""
import contextlib
import fnmatch
import json
import os
import re
import resource
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback

PROGRAM = os.environ.get("BATON_PROGRAM", "build/dev/bin/baton")
SANITIZER = os.environ.get("BATON_SANITIZE", "")
BOUND = 60 if SANITIZER else 15  # seconds until something that must happen is given up on
TESTS = []
SKIPPED = 77


class Tls:
    """A certificate of one's own, made once for a run; without openssl's command the tests that want one are skipped."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory()
        self.cert, self.key = self.make("cert", "localhost")
        self.context = ssl.create_default_context(cafile=self.cert)

    def make(self, name, subject, *more):
        cert, key = (os.path.join(self.folder.name, f"{name}-{what}.pem") for what in ("cert", "key"))
        try:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                            "-keyout", key, "-out", cert, "-days", "2", "-subj", f"/CN={subject}", "-addext",
                            "subjectAltName=IP:127.0.0.1", *(more or ["-nodes"])], check=True, capture_output=True)
        except (OSError, subprocess.SubprocessError) as e:
            print(f"SKIPPED: no certificate can be made here: {e}")
            sys.exit(SKIPPED)
        return cert, key

    def options(self):
        return ["--tls-cert", self.cert, "--tls-key", self.key]


TLS = Tls() if os.environ.get("BATON_TLS") else None  # then every test of the file speaks HTTPS


def test(function):
    TESTS.append(function)
    return function


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else "*"
    chosen = [t for t in TESTS if fnmatch.fnmatch(t.__name__, pattern)]
    failed = []
    for t in chosen:
        try:
            began = time.monotonic()
            t()
            print(f"[       OK ] {t.__name__} ({time.monotonic() - began:.2f} s)", flush=True)
        except Exception:
            traceback.print_exc()
            print("[  FAILED  ]", t.__name__, flush=True)
            failed.append(t.__name__)
    print(f"[  PASSED  ] {len(chosen) - len(failed)} test(s) of {len(chosen)}")
    sys.exit(1 if failed or not chosen else 0)


def poll(condition, what):
    """Until condition() is true; its value."""
    end = time.monotonic() + BOUND
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.005)


def equal(a, b, what=""):
    assert a == b, f"{what}: {a!r} is not {b!r}"


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def error(self):
        return self.json()["error"]

    def events(self):
        """The data of each server-sent event: objects, and "[DONE]"."""
        out = []
        for event in self.body.decode().split("\n\n"):
            if event:
                assert event.startswith("data: "), event
                data = event[len("data: "):]
                out.append(data if data == "[DONE]" else json.loads(data))
        return out

    def text(self):
        """The whole answer, streamed or not."""
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            choice = self.json()["choices"][0]
            return choice["text"] if "text" in choice else choice["message"]["content"]
        events = self.events()
        equal(events[-1], "[DONE]", "the end of a stream")
        pieces = [c for e in events[:-1] for c in e["choices"]]
        return "".join(c["text"] if "text" in c else c["delta"].get("content", "") for c in pieces)

    def finish(self):
        if not self.headers.get("content-type", "").startswith("text/event-stream"):
            return self.json()["choices"][0]["finish_reason"]
        reasons = [c["finish_reason"] for e in self.events()[:-1] for c in e["choices"] if c["finish_reason"]]
        equal(len(reasons), 1, "finish reasons in a stream")
        return reasons[0]


class Client:
    """One connection."""

    def __init__(self, port, receive_buffer=0):
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(BOUND)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if TLS:
            self.socket = TLS.context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Leaves with a RST instead of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def half_close(self):
        socket.socket.shutdown(self.socket, socket.SHUT_WR)  # of TCP, whatever lies on top of it

    def send(self, data):
        self.socket.sendall(data)

    def ask(self, method, path, body=None, headers=()):
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: test", *headers]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        self.method = method
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b""))
        return self

    def fill(self):
        """False at the end of the stream."""
        try:
            more = self.socket.recv(1 << 16)
        except ConnectionResetError:
            more = b""
        self.data += more
        return bool(more)

    def closed(self):
        """True if the server closes without another byte."""
        return self.data == b"" and not self.fill()

    def until(self, mark):
        while mark not in self.data:
            if not self.fill():
                raise EOFError(f"the connection ended before {mark!r}; there was {self.data[:300]!r}")
        head, self.data = self.data.split(mark, 1)
        return head

    def take(self, n):
        while len(self.data) < n:
            if not self.fill():
                raise EOFError(f"the connection ended {n - len(self.data)} bytes too soon")
        head, self.data = self.data[:n], self.data[n:]
        return head

    def head(self):
        lines = self.until(b"\r\n\r\n").decode().split("\r\n")
        match = re.fullmatch(r"HTTP/1\.1 (\d\d\d) [ -~]+", lines[0])
        assert match, lines[0]
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        return int(match.group(1)), headers

    def reply(self):
        status, headers = self.head()
        body = b""
        if status == 100 or status == 204 or getattr(self, "method", "") == "HEAD":
            return Reply(status, headers, b"")
        if headers.get("transfer-encoding") == "chunked":
            while size := int(self.until(b"\r\n"), 16):
                body += self.take(size)
                equal(self.take(2), b"\r\n", "the end of a chunk")
            equal(self.take(2), b"\r\n", "the end of the chunks")
        elif "content-length" in headers:
            body = self.take(int(headers["content-length"]))
        else:
            while self.fill():
                pass
            body, self.data = self.data, b""
        assert "x-request-id" in headers and "date" in headers, headers
        return Reply(status, headers, body)


class Server:
    """`baton serve` on a port of its own; at the end it must stop by SIGTERM, with exit code 0."""

    def __init__(self, model, *options):
        self.arguments = [PROGRAM, "serve", "--port", "0", "--drain", "0s", *(("-m", model) if model else ()),
                          *(TLS.options() if TLS else ()), *options]

    def __enter__(self):
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(self.arguments, stdout=subprocess.PIPE, stderr=self.log, text=True)
        line = self.process.stdout.readline()
        match = re.fullmatch(r"listening on https?://127\.0\.0\.1:(\d+)\n", line)
        if not match:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"no listening line but {line!r}; the log says:\n{self.said()}")
        self.port = int(match.group(1))
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(BOUND)
            except subprocess.TimeoutExpired:
                self.process.kill()
        code = self.process.wait()
        self.process.stdout.close()
        said = self.said()
        if kind or code or "Sanitizer" in said:
            print(said[-4000:], file=sys.stderr)
        if not kind:
            equal(code, 0, "the server's exit code")
            assert "Sanitizer" not in said

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def connect(self, **options):
        return Client(self.port, **options)

    def ask(self, method, path, body=None, headers=()):
        with self.connect() as c:
            return c.ask(method, path, body, headers).reply()

    def complete(self, prompt="hi", **fields):
        return self.ask("POST", "/v1/completions", {"prompt": prompt, "temperature": 0, **fields})

    def chat(self, content="hi", **fields):
        messages = [{"role": "user", "content": content}]
        return self.ask("POST", "/v1/chat/completions", {"messages": messages, "temperature": 0, **fields})

    def health(self):
        return self.ask("GET", "/health").json()

    def until(self, **counts):
        """Until /health says these."""
        return poll(lambda: (h := self.health()) and all(h[k] == v for k, v in counts.items()) and h,
                    f"{counts}, but {self.health()}")

    def memory(self, what="VmRSS"):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(re.search(what + r":\s*(\d+) kB", f.read()).group(1)) << 10


def at_once(n, run):
    """run(i) for i in range(n) on as many threads that start together; the results in order."""
    results, barrier = [None] * n, threading.Barrier(n)

    def work(i):
        try:
            barrier.wait()
            results[i] = (run(i), None)
        except Exception as e:
            results[i] = (None, e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for _, error in results:
        if error:
            raise error
    return [r for r, _ in results]


def many_files(n):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else max(soft, n), hard))


def seed():
    value = int(os.environ.get("BATON_SEED", "0"), 0) or int.from_bytes(os.urandom(4), "little")
    print(f"[   SEED   ] BATON_SEED={value}")
    return value


__all__ = [n for n in dir() if not n.startswith("_")]
