"""How a worker ends: signals, the end of stdin, a parent that dies, an owner that crashes."""
from parent import *

LONG = "fake:len=1000000,step_us=500,ctx_train=2000000"
MODEL = "fake:len=100000,step_us=500,ctx_train=200000"


def busy(p, *ids, **fields):
    for i in ids:
        p.send(i, complete(i, **fields))
    poll(lambda: all(p.events("started", i) for i in ids[:1]), "a start")


@test
def probe_P53_a_signal_while_idle_ends_it_within_a_second():
    for number in (signal.SIGTERM, signal.SIGINT):
        with Parent("-m", "fake:len=3") as p:
            p.do("a1", chat())
            p.process.send_signal(number)
            equal(p.process.wait(10 if SANITIZER else 1), 0, "the exit code, in time")


@test
def probe_P53_a_signal_while_busy_lets_tasks_finish():
    with Parent("-m", MODEL, "--workers", "1", "--events", "all") as p:
        busy(p, "runs", "waits", max_tokens=300)
        p.terminate()
        a = p.take("waits")
        equal((a.code(), a.retry), ("BATON_CLOSED", True))
        a = p.do("late", complete())
        equal((a.code(), a.retry), ("BATON_CLOSED", True))
        equal(p.take("runs").result["usage"]["completion_tokens"], 300)
        equal(p.wait(), 0)


@test
def probe_P53_what_takes_too_long_is_answered_for():
    with Parent("-m", LONG, "--workers", "2", "--events", "all", "--drain", "200ms") as p:
        busy(p, "a", "b")
        p.terminate()
        for i in "ab":
            a = p.take(i)
            equal((a.code(), a.retry), ("BATON_CLOSED", True))
        equal(p.wait(), 0)


@test
def probe_P53_a_second_signal_ends_at_once():
    p = Parent("-m", LONG, "--events", "all", "--drain", "1h")
    busy(p, "a")
    p.terminate()
    poll(lambda: p.do("late", complete()).code() == "BATON_CLOSED", "the first signal")
    p.terminate()
    equal(p.wait(), 1)


@test
def probe_P53_a_hung_native_call_does_not_keep_it():
    p = Parent("-m", "fake:len=1000,hang_at=300", "--events", "all", "--drain", "100ms")
    busy(p, "a")
    p.terminate()
    a = p.take("a")
    equal((a.code(), a.retry), ("BATON_CLOSED", True))
    assert p.wait() in (0, 1), "a call that heeds the abort hook, or one that is left behind"


@test
def probe_P53_the_parent_dies():
    """Both pipes end with their last holder; the worker ends, whatever it is at."""
    script = ("import subprocess,sys,time\n"
              "p=subprocess.Popen(sys.argv[1:],stdin=subprocess.PIPE,stdout=subprocess.PIPE)\n"
              "p.stdout.readline()\n"
              "p.stdin.write(sys.stdin.readline().encode()); p.stdin.flush()\n"
              "p.stdout.readline()\n"
              "print(p.pid, flush=True)\n"
              "time.sleep(600)\n")
    parent = subprocess.Popen([sys.executable, "-c", script, PROGRAM, "work", "-m", LONG, "--events", "all"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    parent.stdin.write(line_of("a", complete()))
    parent.stdin.flush()
    pid = int(parent.stdout.readline())
    worker = os.pidfd_open(pid)
    parent.kill()
    parent.wait()
    import select
    assert select.select([worker], [], [], BOUND)[0], "the worker outlives its parent"


@test
def probe_P53_the_end_of_stdin_is_the_end_of_the_work():
    with Parent("-m", "fake:len=3", "--workers", "2") as p:
        p.process.stdin.close()
        equal(p.wait(), 0)
    with Parent("-m", MODEL, "--workers", "2") as p:
        for i in "abcd":
            p.send(i, complete(max_tokens=20))
        p.process.stdin.close()
        for i in "abcd":
            equal(p.take(i).error, None)
        equal(p.wait(), 0)


@test
def probe_P53_an_internal_failure_never_exits_with_zero():
    for knob in ("crash_at=300", "exit_at=300", "die=assert@300"):
        p = Parent("-m", f"fake:len=1000,{knob}", "--workers", "2", "--events", "all", "--owner", "thread",
                   environment={"ASAN_OPTIONS": "handle_abort=0:handle_segv=0"})
        p.send("a", complete())
        assert p.wait() != 0 and not p.answers, knob
    for knob in ("load_fail=1", "context_fail=1"):
        p = Parent("-m", f"fake:{knob}", ready=False)
        assert p.wait() != 0
        equal(p.status[0]["status"], "error")


@test
def an_owner_that_crashes_costs_at_most_its_tasks():
    with Parent("-m", "fake:len=1000") as p:
        expected = p.do("a", complete()).text()
    with Parent("-m", "fake:len=1000,die=assert@300,lives=1", "--workers", "2") as p:
        equal(p.do("a", complete()).text(), expected, "it goes on in the next owner")
    with Parent("-m", "fake:len=1000,die=assert@300", "--workers", "2", "--resume", "off") as p:
        for _ in range(2):
            a = p.do("a", complete())
            equal((a.code(), a.retry), ("BATON_CRASHED", True))
            assert expected.startswith(a.result["partial"]), a


@test
def probe_P53_a_stdin_that_cannot_be_read_is_a_failure():
    folder = os.open("/", os.O_RDONLY)
    done = subprocess.run([PROGRAM, "work", "-m", "fake:"], stdin=folder, capture_output=True, text=True, timeout=BOUND)
    os.close(folder)
    equal((done.returncode, done.stdout), (1, '{"status": "ready"}\n'.replace(" ", "")), done.stderr)
    assert "standard input" in done.stderr, done.stderr


@test
def probe_P53_a_reader_that_goes_ends_it():
    p = Parent("-m", LONG, "--events", "all", read=False)
    p.process.stdout.readline()
    p.write(line_of("a", complete()))
    p.process.stdout.readline()
    p.process.stdout.close()
    equal(p.process.wait(BOUND), 1)


if __name__ == "__main__":
    main()
