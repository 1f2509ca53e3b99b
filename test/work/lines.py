"""The stream itself: what libraries print, whole lines, a parent that reads slowly or not at all."""
import json

from parent import *


@test
def probe_P54_what_is_printed_on_descriptor_1_is_not_on_the_protocols():
    for prints, owner in ((1, "thread"), (200000, "thread"), (1, "process")):
        with Parent("-m", f"fake:len=12,prints={prints}", "--workers", "2", "--owner", owner) as p:
            p.send("a1", chat("one"))
            p.send("a2", chat("two"))
            a, b = p.take("a1"), p.take("a2")
            assert a.result != "printed" and b.text() and a.text(), (a, b)
            equal(p.logs, [])
        assert '{"task_id":"a1","result":"printed"' in p.said(), "it is on stderr"


@test
def probe_P54_lines_on_stderr_are_bounded_and_nobody_need_read_them():
    with Parent("-m", "fake:len=12,prints=300000", "--workers", "2", "--owner", "thread") as p:
        p.do("a1", chat())
    assert max(len(line) for line in p.said().splitlines()) < 5000
    reading, writing = os.pipe()
    with Parent("-m", "fake:len=2,prints=100000", "--owner", "thread", stderr=writing) as p:  # a full pipe holds up no task for good
        os.close(writing)
        equal(p.do("a1", complete(max_tokens=1)).error, None)
        os.close(reading)


@test
def probe_P55_lines_are_whole_under_many_writers_and_a_slow_pipe():
    rng = seed()
    n, workers = (60, 8) if SANITIZER else (200, 16)
    model = "fake:len=60,ctx_train=4000"
    payloads = {f"t{i}": complete(f"prompt {i} " + "\u20ac\n" * rng.randrange(40), max_tokens=1 + rng.randrange(60))
                for i in range(n)}
    with Parent("-m", model) as p:
        expected = {i: p.do(i, payload).text() for i, payload in payloads.items()}
    reading, writing = os.pipe()
    p = Parent("-m", model, "--workers", str(workers), "--events", "all", "--queue", "1000", read=False, stdout=writing)
    os.close(writing)
    feeder = threading.Thread(target=lambda: [p.write(line_of(i, payload)) for i, payload in payloads.items()])
    feeder.start()
    data = b""
    while sum(1 for line in data.split(b"\n") if b'"task_id"' in line) < n + (not data.endswith(b"\n")):
        piece = os.read(reading, rng.choice((1, 7, 100, 4096, 65536)))
        assert piece, p.said()
        data += piece
        if rng.random() < 0.05:
            time.sleep(0.002)
        if len(data) > 1 << 16 and data.count(b'"task_id"') >= n and data.endswith(b"\n"):
            break
    feeder.join()
    p.terminate()
    equal(p.process.wait(BOUND), 0)
    lines = [json.loads(line) for line in data.splitlines()]
    answers = {line["task_id"]: Answer(line["result"], line["error"], line["retry"]) for line in lines
               if "task_id" in line}
    equal(len([line for line in lines if "task_id" in line]), n)
    equal({i: a.text() for i, a in answers.items()}, expected, "each its lone run")
    told = {}
    for line in lines:
        if line.get("event") == "token":
            told[line["task"]] = told.get(line["task"], "") + line["text"]
    for i, text in expected.items():
        assert told.get(i, "") in (text, "") and text.startswith(told.get(i, "")), (i, told.get(i), text)
    os.close(reading)


@test
def probe_P55_a_parent_that_does_not_read_costs_no_memory():
    """Answers and events stop at a bound; what comes in stays in its pipe."""
    p = Parent("-m", "fake:len=400000,ctx_train=500000", "--workers", "2", "--events", "all", read=False)
    p.process.stdout.readline()
    payload = complete("x" * 100000)

    def feed():
        try:
            for i in range(4000):
                p.write(line_of(f"t{i}", payload))
        except (BrokenPipeError, ValueError):
            pass

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()

    def memory():
        with open(f"/proc/{p.process.pid}/status") as f:
            return int([line for line in f if line.startswith("VmRSS")][0].split()[1]) << 10

    seen, still = 0, 0
    while still < 20:
        time.sleep(0.05)
        now = memory()
        still = still + 1 if now <= seen + (1 << 16) else 0
        seen = max(seen, now)
    assert SANITIZER or seen < 300 << 20, seen
    p.process.kill()
    p.process.wait()


if __name__ == "__main__":
    main()
