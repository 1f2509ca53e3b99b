"""Tasks over the stdio protocol: order, overlap, one line a task, what is wrong with a line, workers and the queue."""
import json

from parent import *

SLOW = "fake:len=30,step_us=2000,abort_on_overlap=1"
FAST = "fake:len=12,abort_on_overlap=1"


def overlaps(p, ids):
    """Pairs of neighbouring tokens that belong to different tasks, beyond one such pair per change of task."""
    tokens = [e["task"] for e in p.events("token") if e["task"] in ids]
    return sum(a != b for a, b in zip(tokens, tokens[1:]))


def lone(model, payloads):
    with Parent("-m", model) as p:
        return [p.do(f"lone{i}", payload).text() for i, payload in enumerate(payloads)]


@test
def probe_P50_ready_then_an_answer_in_the_documented_form():
    with Parent("-m", FAST) as p:
        equal(p.status, [{"status": "ready"}])
        a = p.do("a1", chat())
        equal((a.result["object"], a.error, a.retry), ("chat.completion", None, False))
        b = p.do("\u20ac \u2028\"\\/<&> b", complete(max_tokens=3))
        equal((b.result["object"], b.result["usage"]["completion_tokens"]), ("text_completion", 3))
        equal(b.result["choices"][0]["finish_reason"], "length")
        equal(p.do("a1", chat()).text(), a.text(), "the same id, once it is free again")


@test
def probe_P50_one_worker_is_strictly_sequential():
    with Parent("-m", SLOW, "--events", "all") as p:
        ids = [f"t{i}" for i in range(4)]
        for i in ids:
            p.send(i, chat(i))
        for i in ids:
            p.take(i)
        equal(p.order, ids, "answers in the order of the lines")
        equal(overlaps(p, ids), 3, "a task's tokens stand together")
        equal([e["task"] for e in p.events("started")], ids)


@test
def probe_P50_workers_run_at_once_and_answer_as_they_finish():
    payloads = [complete(f"caller {i}", max_tokens=(8, 4, 25, 2)[i]) for i in range(4)]
    expected = lone(SLOW, payloads)
    with Parent("-m", SLOW, "--workers", "4", "--events", "all") as p:
        p.write("".join(line_of(f"t{i}", payload) for i, payload in enumerate(payloads)))
        p.pending |= {f"t{i}" for i in range(4)}
        for i in range(4):
            equal(p.take(f"t{i}").text(), expected[i], "the same as alone")
        equal(p.order, ["t3", "t1", "t0", "t2"], "the shortest first")
        assert overlaps(p, {f"t{i}" for i in range(4)}) > 4, p.logs
        equal([e["task"] for e in p.events("started")], ["t0", "t1", "t2", "t3"])


@test
def probe_P50_the_environment_overrides_the_number():
    for environment, option, at_once in [({"RUNQY_PYTHON_WORKERS": "3"}, "1", True),
                                         ({"BATON_WORKERS": "3"}, "1", True),
                                         ({"RUNQY_PYTHON_WORKERS": "1", "BATON_WORKERS": "3"}, "1", True),
                                         ({"RUNQY_PYTHON_WORKERS": "3", "BATON_WORKERS": "1"}, "3", False)]:
        with Parent("-m", SLOW, "--workers", option, "--events", "all", environment=environment) as p:
            for i in "abc":
                p.send(i, complete(i, max_tokens=12))
            for i in "abc":
                p.take(i)
            equal(overlaps(p, "abc") > 4, at_once, f"{environment}: tokens of several tasks at once")


@test
def probe_P50_a_number_that_is_none_is_refused():
    for environment, arguments in [({"RUNQY_PYTHON_WORKERS": "0"}, []), ({"BATON_WORKERS": "abc"}, []),
                                   ({"BATON_WORKERS": ""}, []), ({"BATON_WORKERS": "-1"}, []),
                                   ({"RUNQY_PYTHON_WORKERS": "4x", "BATON_WORKERS": "2"}, []),
                                   ({}, ["--workers", "0"]), ({}, ["--workers", "abc"])]:
        p = Parent("-m", FAST, *arguments, environment=environment, read=False)
        equal((p.process.wait(BOUND), p.process.stdout.read()), (2, b""), f"{environment} {arguments}")
        assert "expected a whole number from 1 to" in p.said(), p.said()


@test
def probe_P50_what_cannot_be_loaded_is_told():
    p = Parent("-m", "fake:load_fail=1", ready=False)
    equal(p.wait(), 1)
    equal([s["status"] for s in p.status], ["error"])
    assert p.status[0]["error"].startswith("BATON_BAD_MODEL: "), p.status
    p = Parent("-m", "/nowhere/model.gguf", ready=False)
    assert p.wait() in (1, 2)
    assert "/nowhere/model.gguf" in p.status[0]["error"], p.status


@test
def probe_P02_tasks_wait_for_the_one_slot_and_come_in_order():
    payloads = [chat(f"caller {i}") for i in range(6)]
    expected = lone(SLOW, payloads)
    with Parent("-m", SLOW, "--workers", "6", "--sequences", "1", "--events", "all") as p:
        ids = [f"t{i}" for i in range(6)]
        for i, payload in zip(ids, payloads):
            p.send(i, payload)
        for i, text in zip(ids, expected):
            equal(p.take(i).text(), text)
        equal(p.order, ids)
        equal([e["task"] for e in p.events("started")], ids, "all were given to the model at once")
        equal(overlaps(p, ids), 5, "and it had one of them at a time")


@test
def probe_P06_contexts_run_at_the_same_time():
    with Parent("-m", SLOW, "--workers", "3", "--contexts", "3", "--sequences", "1", "--events", "all") as p:
        for i in "abc":
            p.send(i, complete(i, max_tokens=20))
        for i in "abc":
            p.take(i)
        assert overlaps(p, "abc") > 6, p.logs


@test
def probe_P51_nothing_but_the_answer_has_the_tasks_id():
    with Parent("-m", FAST, "--workers", "2") as p:
        p.send("a1", chat(stream=True))
        p.send("a2", complete(stream=True, stream_options={"include_usage": True}))
        texts = {i: p.take(i).text() for i in ("a1", "a2")}
        equal(p.logs, [], "events that nobody asked for")
    with Parent("-m", FAST, "--workers", "2", "--events", "asked") as p:
        p.send("a1", chat(stream=True))
        p.send("a2", complete(), retry_count=1)
        for i in texts:
            equal(p.take(i).text(), texts[i])
        told = p.events("token")
        equal({(e["task"], e["attempt"]) for e in told}, {("a1", 0)})
        equal("".join(e["text"] for e in told), texts["a1"])
        indices = [e["index"] for e in told]
        equal(indices, sorted(set(indices)))
        assert not any("task_id" in e for e in p.logs), p.logs


@test
def probe_P52_a_line_that_is_no_task_has_an_answer_all_the_same():
    with Parent("-m", FAST, "--workers", "2") as p:
        for payload, code, mention in [(None, "BATON_INVALID", "payload is null"), ([], "BATON_INVALID", "payload"),
                                       ({}, "BATON_INVALID", "payload.kind"),
                                       ({"kind": 7}, "BATON_INVALID", "payload.kind is 7"),
                                       ({"kind": "dance"}, "BATON_INVALID", "dance"),
                                       ({"kind": "image"}, "BATON_UNSUPPORTED", "image"),
                                       ({"kind": "chat"}, "BATON_INVALID", "messages is missing"),
                                       (chat(temperature=9), "BATON_INVALID", "temperature is 9"),
                                       (chat(n=2), "BATON_UNSUPPORTED", "n is 2"),
                                       (chat(model="other"), "BATON_NOT_FOUND", "other")]:
            a = p.do("bad", payload)
            equal((a.code(), a.retry, a.result), (code, False, None), payload)
            assert mention in a.error, a
        a = p.do("odd", chat(), kind="dance")
        equal((a.code(), a.retry), ("BATON_UNSUPPORTED", False))
        for broken in ['{"task_id":"x","type":"task","payload":{"kind":"chat"', '{"task_id":"x"} {}',
                       '{"task_id":"x","payload":{"a":tru}}', '{"task_id":"x","retry_count":"1"}',
                       '{"task_id":"x","type":7}', '{"task_id":"x","payload":"\x01"}', '{"task_id":"x",,}']:
            p.pending.add("x")
            p.write(broken + "\n")
            equal((p.take("x").code(), broken), ("BATON_INVALID", broken))
        for nameless in [b"no json", b"[]", b'{"task_id":7}', b'{"task_id":""}', b"{}", b'{"task_id":"\xff"}', b"\x00"]:
            p.pending.add("unknown")
            p.write(nameless + b"\n")
            a = p.take("unknown")
            equal((a.code(), a.retry), ("BATON_INVALID", False), nameless)
        p.write("\n \r\n")
        equal(p.do("well", chat()).error, None)


@test
def probe_P52_nine_mebibytes_of_prompt_and_seventeen_of_line():
    model = "fake:len=3,ctx_train=20000000,abort_on_overlap=1"
    with Parent("-m", model, "--ctx", "9500000") as p:
        a = p.do("long", complete("x" * (9 << 20), max_tokens=2))
        equal(a.result["usage"]["prompt_tokens"] >= 9 << 20, True, a.result["usage"])
        a = p.do("longer", complete("x" * (17 << 20)))
        equal((a.code(), a.retry), ("BATON_TOO_LONG", False))
        equal(p.do("well", complete()).error, None)


@test
def probe_P52_a_huge_answer_is_told_and_stays_below_the_limit():
    if SANITIZER:
        raise Skip("two million tokens; what is told is tested in fake/task_line, too")
    n = 2 << 20
    with Parent("-m", f"fake:len={n},ctx_train=20000000", "--ctx", str(n + 100), "--workers", "2") as p:
        p.send("huge", complete(logit_bias={"0": 100}))  # a NUL a token, and each takes six bytes as JSON
        p.send("small", complete(max_tokens=3))
        equal(p.take("small").error, None)
        a = p.take("huge")
        equal((a.code(), a.retry), ("BATON_TOO_LONG", False))
        assert "10485758" in a.error or "10 MiB" in a.error, a.error


@test
def probe_P52_the_same_id_again_is_the_newer_attempt():
    with Parent("-m", "fake:len=100000,step_us=500,ctx_train=200000", "--workers", "2", "--events", "all") as p:
        p.send("same", complete("one"))
        poll(lambda: p.events("token", "same"), "a token")
        a = p.do("same", complete("two", max_tokens=5), retry_count=1)
        equal(a.result["usage"]["completion_tokens"], 5)
        p.send("same", complete("one"))
        poll(lambda: len(p.events("started", "same")) == 3, "the third start")
        p.write(line_of("same", complete("one")))  # the very same attempt: still one answer
        p.pending.add("same")
        p.write('{"task_id":"same","retry_count":2,"payload":nonsense}\n')
        equal(p.take("same").code(), "BATON_INVALID")
        equal(p.do("next", complete(max_tokens=2)).error, None)


@test
def probe_P52_an_older_attempt_that_waits_is_dropped():
    with Parent("-m", "fake:len=100000,step_us=500,ctx_train=200000") as p:
        p.send("first", complete(max_tokens=200))
        p.send("same", complete("one", max_tokens=4))
        p.send("same", complete("two", max_tokens=7), retry_count=1)
        equal(p.take("same").result["usage"]["completion_tokens"], 7)
        equal(p.take("first").error, None)


@test
def what_may_pass_may_be_tried_again():
    model = "fake:len=100000,step_us=500,ctx_train=200000"
    with Parent("-m", model, "--backlog", "1", "--events", "all") as p:
        p.send("runs", complete())
        poll(lambda: p.events("started"), "a start")
        p.send("waits", complete(max_tokens=2))
        a = p.do("full", complete())
        equal((a.code(), a.retry), ("BATON_QUEUE_FULL", True))
        p.cancel("runs")
        equal((p.take("runs").code(), p.take("waits").error), ("BATON_CANCELLED", None))
    for options, code in [(["--when-full", "refuse"], "BATON_BUSY"), (["--queue", "0"], "BATON_QUEUE_FULL"),
                          (["--queue-timeout", "50ms"], "BATON_QUEUE_TIMEOUT")]:
        with Parent("-m", model, "--workers", "2", "--sequences", "1", *options, "--events", "all") as p:
            p.send("runs", complete())
            poll(lambda: p.events("token"), "a token")
            a = p.do("other", complete())
            equal((a.code(), a.retry), (code, True))
            p.cancel("runs")
            equal(p.take("runs").retry, False)
    with Parent("-m", model, "--run-timeout", "300ms") as p:
        a = p.do("runs", complete())
        equal((a.code(), a.retry), ("BATON_RUN_TIMEOUT", True))
        assert a.result["partial"], "what there was of the answer"


@test
def vectors_and_scores_are_tasks_too():
    payloads = [{"kind": "embed", "input": ["one", f"caller {i}"]} for i in range(6)]
    with Parent("-m", "fake:", "--pooling", "mean") as p:
        alone = [[d["embedding"] for d in p.do("t", payload).result["data"]] for payload in payloads]
        a = p.do("t", chat())
        equal((a.code(), a.retry), ("BATON_UNSUPPORTED", False))
        a = p.do("t", {"kind": "embed", "input": 7})
        equal((a.code(), a.retry), ("BATON_INVALID", False))
        equal(p.do("t", {"kind": "embed", "input": "x", "dimensions": 3}).code(), "BATON_UNSUPPORTED")
    with Parent("-m", "fake:step_us=500", "--pooling", "mean", "--workers", "3") as p:
        for i, payload in enumerate(payloads):
            p.send(f"t{i}", payload)
        equal([[d["embedding"] for d in p.take(f"t{i}").result["data"]] for i in range(6)], alone)
    with Parent("-m", "fake:scores=1", "--pooling", "rank") as p:
        a = p.do("t", {"kind": "score", "query": "a", "documents": ["b", "c", "d"], "top_n": 2})
        scores = [r["relevance_score"] for r in a.result["results"]]
        equal((len(scores), scores), (2, sorted(scores, reverse=True)))
    with Parent("-m", "fake:") as p:
        equal(p.do("t", {"kind": "embed", "input": "x"}).code(), "BATON_UNSUPPORTED")


@test
def several_models_by_name_and_by_role():
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as file:
        file.write("[work]\nworkers = 4\nevents = asked\n[model small]\nfile = fake:len=5\n"
                   "[model big]\nfile = fake:len=9\nsequential = yes\n[role deep]\nmodels = big, small\n")
        file.flush()
        with Parent("--config", file.name, "--events", "none") as p:
            lengths = {}
            for name in (None, "small", "big", "deep"):
                a = p.do("t", complete(model=name) if name else complete())
                lengths[name] = (a.result["usage"]["completion_tokens"], a.result["model"])
            equal(lengths, {None: (5, "small"), "small": (5, "small"), "big": (9, "big"), "deep": (9, "big")})
            a = p.do("t", complete(model="other", stream=True))
            equal((a.code(), a.retry), ("BATON_NOT_FOUND", False))
        p = Parent("--config", file.name, "-m", "fake:", read=False)
        equal(p.process.wait(BOUND), 2)
        file.write("[work]\nworkers = 0\n")
        file.flush()
        p = Parent("--config", file.name, read=False)
        equal(p.process.wait(BOUND), 2)
        assert ":11:" in p.said() or ":12:" in p.said(), p.said()


@test
def a_model_marked_sequential_stays_so():
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as file:
        file.write("[work]\nworkers = 3\nevents = all\n[model large]\nfile = fake:len=20,step_us=1000\nsequential = yes\n"
                   "[model small]\nfile = fake:len=20,step_us=1000\n")
        file.flush()
        with Parent("--config", file.name) as p:
            for model in ("large", "small"):
                ids = [f"{model}{i}" for i in range(3)]
                for i in ids:
                    p.send(i, complete(i, model=model))
                for i in ids:
                    p.take(i)
                assert (overlaps(p, ids) == 2) == (model == "large"), (model, overlaps(p, ids))


@test
def a_cancel_ends_its_task_and_no_other():
    model = "fake:len=300,step_us=500"
    expected = lone(model, [complete("b", max_tokens=200)])[0]
    with Parent("-m", model, "--workers", "2", "--events", "all") as p:
        for i in "abc":
            p.send(i, complete(i, max_tokens=200))
        poll(lambda: p.events("token", "a") and p.events("token", "b"), "tokens")
        for i in ("c", "a", "a", "nobody"):
            p.cancel(i)
        equal((p.take("a").code(), p.take("c").code()), ("BATON_CANCELLED",) * 2)
        equal(p.take("b").text(), expected, "the neighbour")
        equal(p.events("started", "c"), [])


@test
def one_shot_answers_once_and_ends():
    with Parent("-m", FAST, "--mode", "one_shot") as p:
        p.send("only", chat())
        p.process.stdin.close()
        equal((p.wait(), p.take("only").error), (0, None))
    with Parent("-m", FAST, "--mode", "one_shot") as p:  # stdin stays open: it ends all the same
        p.send("only", {"kind": "dance"})
        equal((p.wait(), p.take("only").code()), (0, "BATON_INVALID"))


@test
def a_file_of_tasks_is_worked_off():
    for workers in "1", "4":
        done = subprocess.run([PROGRAM, "work", "-m", FAST, "--workers", workers], capture_output=True, timeout=BOUND,
                              input="".join(line_of(f"t{i}", chat(str(i))) for i in range(40)).strip().encode())
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        equal((done.returncode, lines[0]), (0, {"status": "ready"}))
        equal(sorted(line["task_id"] for line in lines[1:]), sorted(f"t{i}" for i in range(40)))
        equal([line["error"] for line in lines[1:]], [None] * 40)


if __name__ == "__main__":
    main()
