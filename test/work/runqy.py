"""The real runqy-worker over Redis, with `baton work` as its child. Skipped, with a word why, where one of them is not
to be had: `tools/deps --test` brings them; $BATON_RUNQY_WORKER is another worker's executable."""
import http.server
import json
import socket

from parent import *

QUEUE = "inference"
SUB = f"{QUEUE}.default"


class Redis:
    """A server of its own on a free port, and as much of a client as is needed."""

    def __init__(self, folder, program):
        poll(lambda: self.start(folder, program), "redis-server listens")

    def start(self, folder, program):
        """False: somebody else has taken the port."""
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.process = subprocess.Popen(["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
                                         "--dir", folder], executable=program, stdout=subprocess.DEVNULL)

        def connect():
            try:
                return self.process.poll() is not None or socket.create_connection(("127.0.0.1", self.port), timeout=BOUND)
            except ConnectionRefusedError:
                return None
        self.socket = poll(connect, "redis-server listens")
        if self.socket is True:
            return False
        self.file = self.socket.makefile("rb")
        return f"process_id:{self.process.pid}\r" in self("INFO", "server")

    def reply(self):
        line = self.file.readline()
        kind, rest = line[:1], line[1:].strip()
        if kind == b"*":
            return [self.reply() for _ in range(int(rest))]
        if kind == b"$":
            return None if int(rest) < 0 else self.file.read(int(rest) + 2)[:-2].decode()
        assert kind != b"-", line
        return int(rest) if kind == b":" else rest.decode()

    def __call__(self, *words):
        parts = [str(w).encode() for w in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self.reply()

    def task(self, task_id):
        flat = self("HGETALL", f"asynq:{{{SUB}}}:t:{task_id}")
        return dict(zip(flat[::2], flat[1::2]))

    def enqueue(self, task_id, payload, max_retry=0):
        self("HSET", f"asynq:{{{SUB}}}:t:{task_id}", "type", "task", "payload", json.dumps(payload), "max_retry",
             max_retry, "retried", 0, "state", "pending")
        self("LPUSH", f"asynq:{{{SUB}}}:pending", task_id)

    def take(self, task_id):
        """The task, once it is over."""
        return poll(lambda: (t := self.task(task_id)).get("state") in ("completed", "archived", "retry") and t,
                    f"an end of {task_id}: {self.task(task_id)}")

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait()


class Runqy:
    """redis-server, what answers /worker/register, a git repository with nothing in it, and the worker."""

    def __init__(self, startup, mode="long_running", concurrency=3):
        self.worker = os.environ.get("BATON_RUNQY_WORKER") or tool("runqy-worker")
        self.server = tool("redis-server", "redis-check-rdb")  # one program, which looks at its name
        tool("git")
        self.startup, self.mode, self.concurrency = startup, mode, concurrency

    def register(self):
        reply = json.dumps({
            "redis": {"addr": f"127.0.0.1:{self.redis.port}", "password": "", "db": 0, "use_tls": False},
            "queue": {"name": QUEUE, "priority": 1}, "sub_queues": [{"name": SUB, "priority": 1}],
            "deployment": {"git_url": f"file://{self.folder}/repository", "branch": "main", "startup_cmd": self.startup,
                           "redis_storage": True, "startup_timeout_secs": 60, "mode": self.mode}}).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def __enter__(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.folder = self.temporary.name
        self.redis = Redis(self.folder, self.server)
        self.register()
        git = ["git", "-C", f"{self.folder}/repository", "-c", "user.name=t", "-c", "user.email=t@localhost"]
        subprocess.run(["git", "init", "-q", "-b", "main", f"{self.folder}/repository"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "nothing"], check=True)
        with open(f"{self.folder}/config.yml", "w") as f:
            f.write(f"server:\n  url: http://127.0.0.1:{self.http.server_port}\n  api_key: k\n"
                    f"worker:\n  queues: [{QUEUE}]\n  concurrency: {self.concurrency}\n  shutdown_timeout: 1s\n"
                    f"deployment:\n  dir: {self.folder}/deployment\n")
        self.log = open(f"{self.folder}/log", "w+")
        self.process = subprocess.Popen([self.worker, "-config", f"{self.folder}/config.yml"], stdout=self.log,
                                        stderr=self.log, cwd=self.folder)
        return self

    def said(self):
        self.log.seek(0)
        return self.log.read()

    def end(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.wait(BOUND + 20)

    def __exit__(self, kind, value, trace):
        self.end()
        said = self.said()
        if kind:
            print(said[-6000:], file=sys.stderr)
        self.log.close()
        self.http.shutdown()
        self.redis.close()
        self.temporary.cleanup()
        if not kind:
            assert "unknown task" not in said, said[-4000:]


def result(task):
    equal(task["state"], "completed", task)
    return json.loads(task["result"])


@test
def the_real_worker_runs_several_tasks_at_once():
    payloads = {f"t{i}": complete(f"caller {i} <&> \u2028", max_tokens=5 + i) for i in range(12)}
    with Parent("-m", "fake:len=30,step_us=2000") as p:
        expected = {i: p.do(i, payload).text() for i, payload in payloads.items()}
    with Runqy(f"{os.path.abspath(PROGRAM)} work -m 'fake:len=30,step_us=2000' --workers 3 --events all") as r:
        for i, payload in payloads.items():
            r.redis.enqueue(i, payload)
        r.redis.enqueue("bad", {"kind": "dance"})
        got = {i: result(r.redis.take(i))["choices"][0]["text"] for i in payloads}
        equal(got, expected)
        bad = r.redis.take("bad")
        assert "BATON_INVALID" in json.dumps(bad), bad
        events = poll(lambda: r.redis("KEYS", "asynq:workers:*:logs"), "events in the log buffer")
        told = r.redis("LRANGE", events[0], 0, -1)
        assert any('token' in line for line in told), told[:3]


@test
def the_real_worker_stops_an_idle_child_in_time():
    with Runqy(f"{os.path.abspath(PROGRAM)} work -m fake:len=5") as r:
        r.redis.enqueue("a", chat())
        result(r.redis.take("a"))
        began = time.monotonic()
        r.end()
        assert SANITIZER or time.monotonic() - began < 9, "it was not killed after ten seconds"


@test
def the_real_worker_runs_one_shots():
    with Runqy(f"{os.path.abspath(PROGRAM)} work -m fake:len=5 --mode one_shot", mode="one_shot", concurrency=2) as r:
        for i in "abc":
            r.redis.enqueue(i, chat(i))
        for i in "abc":
            equal(result(r.redis.take(i))["object"], "chat.completion")


if __name__ == "__main__":
    main()
