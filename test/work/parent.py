"""A stand-in of runqy's Go worker, from the rules on its stdio protocol (docs/work.md): how it starts a child, what it
sends, and what it makes of each line that comes back, traps included.

A test is a function marked @test; `python3 tasks.py 'probe_P50*'` runs those that match. Waiting is polling with a
bound; nothing asserts how long something took, but where the protocol itself gives the time."""
import fnmatch
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

PROGRAM = os.environ.get("BATON_PROGRAM", "build/dev/bin/baton")
SANITIZER = os.environ.get("BATON_SANITIZE", "")
BUILD = os.environ.get("BATON_BUILD_DIR", "build/dev")
BOUND = 60 if SANITIZER else 20  # seconds until something that must happen is given up on
LINE_MAX = 10 << 20  # a line of the child's that long stops the reader for good
TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Skip(Exception):
    pass


def tool(name, other=None):
    """The path of a program that a test starts: this machine's, or one that `tools/deps --test` has brought."""
    brought = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../.deps/tools")
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", brought])
    found = shutil.which(name, path=path) or other and shutil.which(other, path=path)
    if not found:
        raise Skip(f"there is no {name} (tools/deps --test says why)")
    return found


def main():
    pattern = sys.argv[1] if len(sys.argv) > 1 else "*"
    chosen = [t for t in TESTS if fnmatch.fnmatch(t.__name__, pattern)]
    failed, skipped = [], 0
    for t in chosen:
        began = time.monotonic()
        try:
            t()
            print(f"[       OK ] {t.__name__} ({time.monotonic() - began:.2f} s)", flush=True)
        except Skip as why:
            print(f"[  SKIPPED ] {t.__name__}: {why}", flush=True)
            skipped += 1
        except Exception:
            traceback.print_exc()
            print("[  FAILED  ]", t.__name__, flush=True)
            failed.append(t.__name__)
    print(f"[  PASSED  ] {len(chosen) - len(failed) - skipped} test(s) of {len(chosen)}")
    if chosen and skipped == len(chosen):
        sys.exit(77)
    sys.exit(1 if failed or not chosen else 0)


def equal(a, b, what=""):
    assert a == b, f"{what}: {str(a)[:2000]} is not {str(b)[:2000]}"


def poll(condition, what):
    end = time.monotonic() + BOUND
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.005)


def seed():
    value = int(os.environ.get("BATON_SEED", "0"), 0) or int.from_bytes(os.urandom(4), "little")
    print(f"[   SEED   ] BATON_SEED={value}")
    return random.Random(value)


def line_of(task_id, payload, retry_count=0, kind="task"):
    """As the worker writes it: all six keys, no spaces, <, > and & escaped as Go does."""
    text = json.dumps({"task_id": task_id, "type": kind, "payload": payload, "retry_count": retry_count,
                       "max_retry": 2, "queue": "inf.default"}, separators=(",", ":"), ensure_ascii=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026") + "\n"


def chat(content="hi", **fields):
    return {"kind": "chat", "messages": [{"role": "user", "content": content}], "temperature": 0, **fields}


def complete(prompt="hi", **fields):
    return {"kind": "completion", "prompt": prompt, "temperature": 0, **fields}


class Answer:
    def __init__(self, result, error, retry):
        self.result, self.error, self.retry = result, error, retry

    def __repr__(self):
        return f"Answer({self.result!r}, {self.error!r}, {self.retry})"

    def text(self):
        equal(self.error, None, "the error of an answer")
        choice = self.result["choices"][0]
        return choice["text"] if "text" in choice else choice["message"]["content"]

    def code(self):
        """BATON_BUSY of "BATON_BUSY: text"."""
        assert self.error, self
        name, _, text = self.error.partition(": ")
        assert name.startswith("BATON_") and text, self.error
        return name


class Parent:
    """Starts a child and reads it as the worker does. `answers`: by id, the first line with that id; a second one is
    what the worker calls a response for an unknown task, and lands in `unknown`."""

    def __init__(self, *arguments, environment=None, read=True, ready=True, program=None, stderr=None, stdout=None):
        self.log = tempfile.TemporaryFile("w+", errors="replace")
        self.process = subprocess.Popen([*(program or [PROGRAM, "work"]), *arguments], stdin=subprocess.PIPE,
                                        stdout=stdout or subprocess.PIPE, stderr=stderr or self.log,
                                        env={**os.environ, **(environment or {})})
        self.answers, self.order, self.unknown, self.logs, self.dropped, self.status = {}, [], [], [], [], []
        self.pending, self.stopped = set(), False
        self.story = []  # what was told, in order: ("token", task), ("answer", task)
        self.lock = threading.Lock()
        self.reader = None
        if read:
            self.read()
            if ready:
                poll(lambda: self.status or self.process.poll() is not None, "a status line")
                assert self.status and self.status[0] == {"status": "ready"}, (self.status, self.said())

    def read(self):
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            self._take(line)

    def _take(self, line):
        with self.lock:
            if self.stopped:
                return
            if len(line) >= LINE_MAX:
                self.stopped = True
                return
            try:
                assert line.endswith(b"\n"), line[-100:]
                message = json.loads(line)
                assert isinstance(message, dict), line[:100]
                own = {k.lower(): v for k, v in message.items()}  # the worker takes keys in any case
            except (AssertionError, ValueError):
                self.dropped.append(line)
                return
            task_id = own.get("task_id", "")
            if not self.status and "status" in message and not task_id:
                self.status.append(message)
            elif not isinstance(task_id, str) or not isinstance(own.get("error") or "", str) or \
                    not isinstance(own.get("retry", False), bool):
                self.dropped.append(line)
            elif task_id == "":
                self.logs.append(message)
                self.story.append((message.get("event"), message.get("task")))
            elif task_id in self.pending:
                self.pending.remove(task_id)
                self.order.append(task_id)
                self.story.append(("answer", task_id))
                self.answers[task_id] = Answer(own.get("result"), own.get("error"), own.get("retry"))
            else:
                self.unknown.append(message)

    def write(self, data):
        self.process.stdin.write(data if isinstance(data, bytes) else data.encode())
        self.process.stdin.flush()

    def send(self, task_id, payload, retry_count=0, **how):
        with self.lock:
            self.pending.add(task_id)
        self.write(line_of(task_id, payload, retry_count, **how))

    def cancel(self, task_id):
        self.write(json.dumps({"type": "cancel", "task_id": task_id}) + "\n")

    def take(self, task_id):
        """The answer of a task that was sent."""
        poll(lambda: task_id in self.answers or self.process.poll() is not None and not self.reader.is_alive(),
             f"an answer to {task_id}")
        assert task_id in self.answers, (f"no answer to {task_id}", self.process.poll(), self.said())
        with self.lock:
            return self.answers.pop(task_id)

    def do(self, task_id, payload, **how):
        self.send(task_id, payload, **how)
        return self.take(task_id)

    def events(self, name=None, task=None):
        with self.lock:
            return [e for e in self.logs if (name is None or e.get("event") == name) and
                    (task is None or e.get("task") == task)]

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def end(self):
        """SIGTERM, ten seconds, SIGKILL: as the worker does. The exit code."""
        if self.process.poll() is None:
            self.terminate()
            try:
                self.process.wait(BOUND)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.wait()

    def wait(self):
        code = self.process.wait(BOUND)
        if self.reader:
            self.reader.join(BOUND)
        return code

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        code = self.end()
        said = self.said()
        if kind or code or "Sanitizer" in said:
            print(said[-4000:], file=sys.stderr)
        if not kind:
            equal(code, 0, "the exit code")
            assert "Sanitizer" not in said
            equal(self.dropped, [], "lines that the worker drops")
            equal(self.stopped, False, "the reader has stopped at a line that was too long")
            equal(self.unknown, [], "second lines with a task's id")
            equal(self.pending, set(), "tasks without an answer")


__all__ = [n for n in dir() if not n.startswith("_")]
