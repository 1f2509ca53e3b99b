"""`baton work --nats` and `baton submit`, with a nats-server of their own: skipped where there is none."""
import json

from natsd import *
from parent import *
from sounds import *


def rest(p):
    """What is left of both streams, once the first was read from: communicate would lose what is buffered."""
    out, err = p.stdout.read(), p.stderr.read()
    p.wait(BOUND)
    return out, err


def lone(n, model=MODEL, **more):
    with Parent("-m", model) as p:
        return [p.do("t", complete(f"caller {i}", **more)).text() for i in range(n)]


@test
def tasks_come_and_answers_stream():
    expected = lone(6)
    with Nats() as n:
        n.worker("-m", MODEL, "--workers", "3")
        submits = [n.submit(*words_of(i)) for i in range(6)]
        for p, text in zip(submits, expected):
            out, err = p.communicate(timeout=BOUND)
            equal((p.returncode, out), (0, text + "\n"), err)
        code, lines = n.lines(*words_of(0))
        equal((code, "".join(e["text"] for e in lines if e["event"] == "token")), (0, expected[0]))
        equal([e["event"] for e in lines][-1], "done")
        code, out, err = n.take("--max-tokens", "3", "Hello \u20ac \"quoted\"")
        equal(code, 0, err)
        code, lines = n.lines("--payload", '{"kind":\n"dance"}')
        equal((code, [(e["event"], e["attempt"]) for e in lines]), (1, [("done", 0)]), "bad input is not tried again")
        equal(n.take("--payload", "no json")[0], 1)
        equal(n.take(*words_of(0))[0], 0, "and the worker goes on")


@test
def a_transcription_is_printed_as_it_is_heard():
    ear, payload = ("-m", "fake:", "--kind", "speech"), json.dumps(transcribe(wav(sound(2))))
    with Parent(*ear) as p:
        expected = p.do("t", json.loads(payload)).result["text"]
    with Nats() as n:
        n.worker(*ear)
        code, out, err = n.take("--payload", payload)
        equal((code, out), (0, expected + "\n"), err)


@test
def a_worker_killed_in_mid_task_costs_nobody_an_outcome():
    count = 8
    model = "fake:len=400,step_us=1000"
    expected = lone(count, model)
    with Nats() as n:
        options = ("-m", model, "--workers", "2", "--nats-ack-wait", "1s")
        first, second = n.worker(*options), n.worker(*options)
        submits = [n.submit("--lines", *words_of(i)) for i in range(count)]
        began = [json.loads(p.stdout.readline()) for p in submits[:2]]
        equal([e["event"] for e in began], ["started"] * 2)
        first.process.kill()
        first.process.wait()
        executions = 0
        for i, p in enumerate(submits):
            out, err = rest(p)
            lines = ([began[i]] if i < 2 else []) + [json.loads(line) for line in out.splitlines()]
            done = [e for e in lines if e["event"] == "done"]
            equal((p.returncode, len(done)), (0, 1), err)
            equal(done[0]["result"]["choices"][0]["text"], expected[i])
            executions += len({e["attempt"] for e in lines if e["event"] == "started"})
            last = max(e["attempt"] for e in lines)
            equal("".join(e["text"] for e in lines if e["event"] == "token" and e["attempt"] == last), expected[i])
        print(f"{executions} executions of {count} tasks, {executions - count} of them a second time")
        assert count < executions <= count + 2, "those that the killed one had, and no other"
        second.terminate()
        equal(second.process.wait(BOUND), 0)


@test
def the_text_is_printed_once_whoever_says_it():
    model = "fake:len=600,step_us=1000"
    expected = lone(1, model)[0]
    with Nats() as n:
        options = ("-m", model, "--nats-ack-wait", "1s")
        first = n.worker(*options)
        p = n.submit(*words_of(0))
        text = p.stdout.read(100)
        first.process.kill()
        first.process.wait()
        n.worker(*options)
        out, err = rest(p)
        equal((p.returncode, text + out), (0, expected + "\n"), err)


@test
def a_worker_that_stops_hands_its_tasks_on():
    with Nats() as n:
        model = ("-m", "fake:len=100000,step_us=500,ctx_train=200000", "--ctx", "20000")
        first = n.worker(*model, "--workers", "2", "--drain", "100ms")
        p = n.submit("--lines", *words_of(0, max_tokens=12000))  # which takes longer than any signal
        equal(json.loads(p.stdout.readline())["event"], "started")
        first.terminate()
        equal(first.process.wait(BOUND), 0)
        n.worker("-m", model[1].replace("step_us=500,", ""), *model[2:])
        out, err = rest(p)
        lines = [json.loads(line) for line in out.splitlines()]
        equal((p.returncode, lines[-1]["event"], lines[-1]["attempt"]), (0, "done", 1), err)
        assert any(e["event"] == "again" and "BATON_CLOSED" in e["error"] for e in lines), lines[:3]


@test
def what_fails_again_and_again_is_given_up_and_kept():
    script = ("import json,sys\nprint('{\"status\":\"ready\"}',flush=True)\nfor line in sys.stdin:\n"
              "  t=json.loads(line); how=t['payload']['how']\n"
              "  if how=='exit': sys.exit(1)\n"
              "  print(json.dumps({'task_id':t['task_id'],'error':'as asked','retry':True}),flush=True)\n")
    with Nats() as n, tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(script)
        file.flush()
        n.worker("--exec", f"'{sys.executable}' {file.name}", "--nats-max-deliver", "2")
        for how, text in (("fail", "as asked"), ("exit", "BATON_CRASHED")):
            code, lines = n.lines("--payload", json.dumps({"how": how}))
            equal((code, [(e["event"], e["attempt"]) for e in lines if e["event"] != "started"]),
                  (1, [("again", 0), ("done", 1)]))
            assert text in lines[-1]["error"], lines


@test
def a_worker_that_cannot_be_says_so():
    with Nats() as n:
        w = n.worker("-m", "fake:load_fail=1", ready=False)
        equal(w.process.wait(BOUND), 1)
        assert "load_fail" in w.said(), w.said()
        w = n.worker("-m", MODEL, "--nats-name", "a.b", ready=False)
        equal(w.process.wait(BOUND), 2)
    code, out, err = n.take("x")
    equal(code, 1)
    assert "no connection to NATS" in err, err


if __name__ == "__main__":
    main()
