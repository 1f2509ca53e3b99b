"""`baton work --exec`: programs that exist, as children behind one stdio."""
from parent import *

CHILD = os.path.abspath(os.path.join(BUILD, "bin", "work_child"))

SCRIPT = r'''
import json, os, signal, sys, time
out = sys.stdout
def say(**fields): out.write(json.dumps(fields) + "\n"); out.flush()
if "--slow" in sys.argv: time.sleep(0.3)
if "--broken" in sys.argv: say(status="error", error="no weights"); sys.exit(1)
if "--dies" in sys.argv: sys.exit(0)
if "--then-dies" in sys.argv:
    if os.path.exists(sys.argv[-1]): sys.exit(1)
    open(sys.argv[-1], "w").close()
if "--then-hangs" in sys.argv:
    starts = sys.argv[-1] + "/" + str(len(os.listdir(sys.argv[-1])))
    open(starts, "w").close()
    while starts.endswith("/1"): time.sleep(1)
if "--deaf" in sys.argv: signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("loading"); say(status="loading"); say(status="ready")
for line in sys.stdin:
    t = json.loads(line); p = t["payload"] or {}; i = t["task_id"]
    how = p.get("how", "echo")
    if how == "echo": say(task_id=i, result=p, error=None, retry=False)
    elif how == "meet":
        open(os.path.join(p["dir"], i), "w").close()
        while len(os.listdir(p["dir"])) < p["n"]: time.sleep(0.001)
        say(task_id=i, result=os.getpid())
    elif how == "noise":
        sys.stderr.write("x" * (3 << 20)); sys.stderr.flush()
        print("not a line of the protocol"); say(event="progress", task=i, done=0.5); print("[]")
        say(task_id="somebody else's", result=1); print("a word" * 3000)
        out.write('{"TASK_ID":%s,"Result":[1,\t2]}\n' % json.dumps(i)); out.flush()
    elif how == "env": say(task_id=i, result=[os.environ.get(k) for k in ("RUNQY_PYTHON_WORKERS", "BATON_WORKERS")])
    elif how == "failure": say(task_id=i, result=None, error="as asked", retry=True)
    elif how == "types": say(task_id=i, error={"no": "string"})
    elif how == "unknown": say(task_id="unknown", error="Invalid JSON input")
    elif how == "big": say(task_id=i, result="x" * p["n"])
    elif how == "exit": say(task_id=i, result="before") if p.get("first") else None; sys.exit(p["code"])
    elif how == "kill": os.kill(os.getpid(), signal.SIGKILL)
    elif how == "sleep":
        while True: time.sleep(1)
while "--deaf" in sys.argv: time.sleep(1)
'''


class Script:
    """The script as a file: a command has no escapes."""

    def __enter__(self):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".py")
        self.file.write(SCRIPT)
        self.file.flush()
        return self

    def __exit__(self, *_):
        self.file.close()

    def parent(self, *arguments, options="", **how):
        return Parent("--exec", f'"{sys.executable}" \'{self.file.name}\' {options}', *arguments, **how)


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as f:
        return [int(p) for p in f.read().split()]


def gone(pids):
    return poll(lambda: not any(os.path.exists(f"/proc/{p}") for p in pids), f"the end of {pids}")


@test
def children_run_at_once_each_with_one_worker():
    with Script() as s, s.parent("--workers", "4") as p, tempfile.TemporaryDirectory() as folder:
        equal(len(children_of(p.process.pid)), 4)
        for i in range(4):
            p.send(f"t{i}", {"how": "meet", "dir": folder, "n": 4})
        equal(len({p.take(f"t{i}").result for i in range(4)}), 4, "four processes")
        equal(p.do("env", {"how": "env"}).result, ["1", "1"])
        payload = {"x": [1.5, "\u20ac \u2028<&>"]}
        equal(p.do("\"\u20ac\\", payload).result, payload)
        a = p.do("f", {"how": "failure"})
        equal((a.error, a.retry), ("as asked", True))
        for i in range(200):
            p.send(f"n{i}", {"i": i})
        for i in range(200):
            equal(p.take(f"n{i}").result, {"i": i})


@test
def ready_is_said_when_all_are():
    with Script() as s, s.parent("--workers", "2", options="--slow") as p:
        equal(p.do("a", {}).result, {})
    with Script() as s:
        for options in ("--broken", "--dies"):
            p = s.parent("--workers", "2", options=options, ready=False)
            assert p.wait() != 0
            equal(p.status[0]["status"], "error")
            assert "no weights" in p.status[0]["error"] or options == "--dies", p.status
    for command, code in (("/nowhere/program", 2), ("'open", 2), ("  ", 2)):
        p = Parent("--exec", command, ready=False)
        equal((p.wait(), p.status[0]["status"]), (code, "error"), command)


@test
def a_child_that_dies_costs_its_own_task_only():
    with Script() as s, s.parent("--workers", "3") as p, tempfile.TemporaryDirectory() as folder:
        p.send("neighbour", {"how": "meet", "dir": folder, "n": 2})
        for how in ({"how": "exit", "code": 0}, {"how": "exit", "code": 3}, {"how": "kill"}):
            a = p.do("dies", how)
            equal((a.code(), a.retry), ("BATON_CRASHED", True), how)
        before = set(children_of(p.process.pid))
        equal(p.do("first", {"how": "exit", "code": 1, "first": True}).result, "before")
        poll(lambda: len(children_of(p.process.pid)) == 3 and set(children_of(p.process.pid)) != before, "another child")
        for i in range(30):
            p.send(f"t{i}", {"i": i})
        for i in range(30):
            equal(p.take(f"t{i}").result, {"i": i})
        open(os.path.join(folder, "x"), "w").close()
        assert isinstance(p.take("neighbour").result, int)
        poll(lambda: len(children_of(p.process.pid)) == 3, "three children again")


@test
def probe_P51_what_a_child_says_besides_is_not_its_answer():
    with Script() as s, s.parent() as p:
        a = p.do("t", {"how": "noise"})
        equal((a.result, a.error), ([1, 2], None))
        equal(p.events("progress"), [{"event": "progress", "task": "t", "done": 0.5}])
        for how, code, retry in [("types", "BATON_PROTOCOL", False), ("unknown", "BATON_PROTOCOL", False)]:
            a = p.do("t", {"how": how})
            equal((a.code(), a.retry), (code, retry), how)
        for n in (11 << 20, 18 << 20):
            equal(p.do("t", {"how": "big", "n": n}).code(), "BATON_TOO_LONG")
        equal(len(p.do("t", {"how": "big", "n": 9 << 20}).result), 9 << 20)
        equal(p.do("t", {"pad": "x" * (9 << 20)}).error, None)
    said = p.said()
    assert "child 1: not a line" in said and max(len(line) for line in said.splitlines()) < 5000


@test
def a_cancel_is_answered_at_once_and_a_time_limit_ends_its_child():
    with Script() as s, s.parent("--workers", "1", "--run-timeout", "700ms") as p:
        p.send("sleeps", {"how": "sleep"})
        p.cancel("sleeps")
        equal(p.take("sleeps").code(), "BATON_CANCELLED")
        equal(p.do("next", {"x": 1}).result, {"x": 1}, "once the child that slept was replaced")
        a = p.do("sleeps", {"how": "sleep"})
        equal((a.code(), a.retry), ("BATON_RUN_TIMEOUT", True))


@test
def probe_P53_children_end_with_the_worker():
    for options, end in [("", "terminate"), ("--deaf", "terminate"), ("", "close"), ("", "kill")]:
        with Script() as s:
            p = s.parent("--workers", "3", options=options)
            pids = children_of(p.process.pid)
            equal(len(pids), 3)
            p.do("t", {})
            if end == "close":
                p.process.stdin.close()
            else:
                getattr(p.process, end)()
            equal(p.wait(), -9 if end == "kill" else 0, (options, end))
            gone(pids)


@test
def probe_P53_what_never_becomes_ready_again_ends_the_worker():
    with Script() as s, tempfile.TemporaryDirectory() as folder:
        p = s.parent(options=f"--then-dies {folder}/was-there")
        p.send("dies", {"how": "exit", "code": 0})
        equal(p.take("dies").code(), "BATON_CRASHED")
        p.process.send_signal(signal.SIGTERM)
        equal(p.wait(), 0, "a signal ends it while its child is down")


@test
def a_child_that_never_becomes_ready_is_started_again():
    with Script() as s, tempfile.TemporaryDirectory() as folder:
        with s.parent("--start-limit", "2s", options=f"--then-hangs {folder}") as p:
            p.send("dies", {"how": "exit", "code": 0})
            equal(p.take("dies").code(), "BATON_CRASHED")
            equal(p.do("next", {"x": 1}).result, {"x": 1}, "by the third child")
            equal(len(os.listdir(folder)), 3)
    with Script() as s, tempfile.TemporaryDirectory() as folder:
        open(f"{folder}/0", "w").close()
        p = s.parent("--start-limit", "1s", options=f"--then-hangs {folder}", ready=False)
        equal(p.wait(), 1)
        assert "--start-limit" in p.status[0]["error"], p.status


@test
def a_program_with_handlers_is_such_a_child():
    with Parent("--exec", CHILD, "--workers", "2") as p:
        equal(p.do("a1", {"kind": "print"}).result, "1")
        for how, code in [("abort", "BATON_CRASHED"), ("exit0", "BATON_CRASHED"), ("busy", "BATON_BUSY")]:
            equal(p.do("a1", {"kind": "fail", "how": how}).code(), code)
        equal(p.do("a1", {"kind": "echo"}).error, None)


if __name__ == "__main__":
    main()
