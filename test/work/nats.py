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
def a_client_hears_that_its_task_is_gone_without_an_outcome():
    with Nats() as n:
        p = n.submit("--wait", "never", *words_of(0))
        c = n.client()
        poll(lambda: "state" in c.ask("$JS.API.STREAM.INFO.BATON_TASKS_default") and c.kept("BATON_TASKS_default"), "a task")
        c.ask("$JS.API.STREAM.PURGE.BATON_TASKS_default")
        out, err = p.communicate(timeout=BOUND)
        equal((p.returncode, out), (1, ""), err)
        assert "outcome was lost" in err, err


@test
def a_server_that_comes_back_costs_nobody_an_outcome():
    model = "fake:len=3000,step_us=1000"
    expected = lone(1, model)[0]
    with Nats() as n:
        n.worker("-m", model, "--nats-ack-wait", "1s")
        p = n.submit("--lines", *words_of(0))
        equal(json.loads(p.stdout.readline())["event"], "started")
        n.restart()
        out, err = rest(p)
        lines = [json.loads(line) for line in out.splitlines()]
        done = [e for e in lines if e["event"] == "done"]
        if p.returncode == 0:
            equal((len(done), done[0]["result"]["choices"][0]["text"]), (1, expected), err)
        else:  # told while the client was not back yet
            assert "outcome was lost" in err, err


class failing:
    """A command whose tasks end as their payload says."""

    def __enter__(self):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".py")
        self.file.write(FAILING)
        self.file.flush()
        return f"'{sys.executable}' {self.file.name}"

    def __exit__(self, *_):
        self.file.close()


FAILING = """
import json, sys
print('{"status":"ready"}', flush=True)
for line in sys.stdin:
    t = json.loads(line)
    how = t["payload"]["how"]
    if how == "exit": sys.exit(1)
    if how == "case":
        print(json.dumps({"TASK_ID": t["task_id"], "Result": [1], "Error": "", "Retry": False}), flush=True)
        continue
    print(json.dumps({"task_id": t["task_id"], "error": how == "fail" and "as asked" or None, "retry": True}), flush=True)
"""


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
def probe_P52_a_message_that_is_no_task_has_an_outcome_and_keeps_no_place():
    with Nats() as n:
        n.worker("-m", MODEL)
        c = n.client()
        for payload in (b"", b"no json", b'{},"task_id":"1"', b'{},"task_id":"99"', b'{}}\n{"task_id":"1"', b"{} {}", b'"\xff"',
                        b'{"kind":"chat"', b"\0", b'{"kind":"dance"}', b"[" * 600 + b"]" * 600):
            c.submit(payload)
            done = c.outcome()
            assert done["error"].startswith("BATON_INVALID: ") and done["result"] is None, (payload, done)
        equal(n.take(*words_of(0))[0], 0, "the worker has its place")
        poll(lambda: c.kept("BATON_TASKS_default") == 0, "an empty stream")
        equal(c.kept("BATON_DEAD"), 0, "bad input is nobody's loss")


@test
def probe_P52_a_reply_that_is_to_go_where_it_must_not_is_not_sent():
    with Nats() as n, failing() as command:
        w = n.worker("--exec", command, "--nats-max-deliver", "1")
        c = n.client()
        c.submit(b'{"how":"fail"}')
        c.outcome()
        for reply in (b"a b c", b"a b", b"x" * 5000, b"$JS.API.STREAM.PURGE.BATON_DEAD", b"baton.tasks.default", b"a.*", b">",
                      b"a..b", b".a", b"a.", b"a\tb"):
            c.submit(b'{"how":"well"}', reply=reply)
        c.submit(b'{"how":"well"}')
        equal(c.outcome()["error"], None)
        poll(lambda: c.kept("BATON_TASKS_default") == 0, "the end of all tasks")
        equal(c.kept("BATON_DEAD"), 1, "the worker's rights are not the client's")
        equal((w.said().count("Baton-Reply"), w.said().count("lost"), w.process.poll()), (11, 0, None), w.said())


@test
def a_task_longer_than_the_wait_for_signs_of_life_is_done_once():
    with Nats() as n:
        options = ("-m", "fake:len=1500,step_us=1000", "--ctx", "4000", "--nats-ack-wait", "300ms")
        n.worker(*options), n.worker(*options)
        code, lines = n.lines(*words_of(0))
        equal((code, {e["attempt"] for e in lines}), (0, {0}))
        equal(len([e for e in lines if e["event"] == "started"]), 1)


@test
def probe_P52_an_answer_longer_than_a_message_is_told():
    with Nats() as n, tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write("import json,sys\nprint('{\"status\":\"ready\"}',flush=True)\nfor line in sys.stdin:\n  t=json.loads(line)\n"
                   "  print(json.dumps({'task_id':t['task_id'],'result':'x'*t['payload']}),flush=True)\n")
        file.flush()
        n.worker("--exec", f"'{sys.executable}' {file.name}")
        equal(n.take("--payload", str(2 << 20)), (1, "", "baton submit: BATON_TOO_LONG: the answer is longer than a message "
                                                  "of this NATS server may be\n"))
        equal(n.lines("--payload", str(1000 << 10))[1][-1]["result"], "x" * (1000 << 10))
        equal(n.client().kept("BATON_TASKS_default"), 0)


@test
def a_task_that_kills_its_workers_is_given_up_and_kept():
    payload = json.loads(words_of(0)[1])
    with Nats() as n:
        options = ("-m", "fake:len=100000,step_us=500,ctx_train=200000", "--ctx", "20000", "--nats-ack-wait", "500ms",
                   "--nats-max-deliver", "1")
        first = n.worker(*options)
        p = n.submit("--lines", *words_of(0, max_tokens=12000))
        equal(json.loads(p.stdout.readline())["event"], "started")
        first.process.kill()
        first.process.wait()
        n.worker(*options)
        out, err = rest(p)
        last = json.loads(out.splitlines()[-1])
        equal((p.returncode, last["event"], last["attempt"]), (1, "done", 1), err)
        assert "begun as often as it may be" in last["error"], last
        dead = n.client().dead()
        equal((dead["attempts"], dead["error"], dead["payload"]), (2, last["error"], {**payload, "max_tokens": 12000}))
        equal(n.client().kept("BATON_TASKS_default"), 0)


@test
def probe_P52_a_task_too_large_to_be_kept_with_its_error_stays_where_it_is():
    with Nats() as n, failing() as command:
        n.worker("--exec", command, "--nats-max-deliver", "1", "--nats-ack-wait", "300ms")
        c, other = n.client(), n.client()
        c.submit(json.dumps({"how": "fail", "pad": "x" * 1048510}).encode())
        assert "as asked" in c.outcome()["error"]
        equal(n.take("--payload", '{"how":"well"}')[0], 0, "the worker goes on")
        poll(lambda: "begun as often as it may be" in c.outcome()["error"], "its last delivery")
        equal((other.kept("BATON_DEAD"), other.kept("BATON_TASKS_default")), (0, 1))


@test
def what_fails_again_and_again_is_given_up_and_kept():
    with Nats() as n, failing() as command:
        n.worker("--exec", command, "--nats-max-deliver", "2")
        for how, text in (("fail", "as asked"), ("exit", "BATON_CRASHED")):
            code, lines = n.lines("--payload", json.dumps({"how": how}))
            equal((code, [(e["event"], e["attempt"]) for e in lines if e["event"] != "started"]),
                  (1, [("again", 0), ("done", 1)]))
            assert text in lines[-1]["error"], lines
            dead = n.client().dead()
            equal((dead["attempts"], dead["error"], dead["payload"]), (2, lines[-1]["error"], {"how": how}))
        equal(n.lines("--payload", '{"how":"case"}')[1][-1]["result"], [1], "keys in any case, as runqy reads them")
        equal(n.lines("--payload", '{"how":"well"}')[1][-1]["result"], None)
        poll(lambda: n.client().kept("BATON_TASKS_default") == 0, "an empty stream")


@test
def a_worker_that_cannot_be_says_so():
    with Nats() as n:
        w = n.worker("-m", "fake:load_fail=1", ready=False)
        equal(w.process.wait(BOUND), 1)
        assert "load_fail" in w.said(), w.said()
        for options in (("--nats-name", "a.b"), ("--mode", "one_shot")):
            w = n.worker("-m", MODEL, *options, ready=False)
            equal(w.process.wait(BOUND), 2)
            assert options[1] in w.said(), w.said()
    for options in (("--nats-name", "a"), ("--nats-creds", "a"), ("--nats-max-deliver", "3")):
        w = Parent("-m", MODEL, *options, read=False)
        equal(w.process.wait(BOUND), 2)
        assert "--nats is missing" in w.said(), w.said()
    code, out, err = n.take("x")
    equal(code, 1)
    assert "no connection to NATS" in err, err


if __name__ == "__main__":
    main()
