"""Handlers of one's own (baton/work.h): child.c under a parent."""
from parent import *

CHILD = os.path.join(BUILD, "bin", "work_child")


def child(*arguments, **how):
    return Parent(*map(str, arguments), program=[CHILD], **how)


@test
def a_handler_gets_its_payload_and_gives_its_answer():
    with child() as p:
        payload = {"kind": "echo", "x": [1.50, "\u20ac\u2028<&>", None], "y": {"a": {}}}
        equal(p.do("a1", payload).result, payload)
        equal(p.do("\"\\ \u20ac", {"kind": "meet", "n": "0"}).result, "\"\\ \u20ac")
        a = p.do("a1", {"kind": "dance"})
        equal((a.code(), a.retry), ("BATON_INVALID", False))
        equal(p.do("a1", None).code(), "BATON_INVALID")


@test
def what_goes_wrong_in_a_handler_is_told():
    with child() as p:
        equal(p.do("none", {"kind": "fail"}).result, None)
        for how, code, retry in [("busy", "BATON_BUSY", True), ("bad", "BATON_INVALID", False),
                                 ("json", "BATON_INVALID", False), ("utf8", "BATON_INVALID", False),
                                 ("big", "BATON_TOO_LONG", False)]:
            a = p.do("t", {"kind": "fail", "how": how})
            equal((a.code(), a.retry), (code, retry), how)
        equal(p.do("well", {"kind": "echo"}).error, None)


@test
def probe_P50_handlers_run_at_once_and_no_more_than_asked():
    with child(4) as p:
        for i in range(4):
            p.send(f"t{i}", {"kind": "meet", "n": "4"})
        for i in range(4):
            equal(p.take(f"t{i}").result, f"t{i}")
    with child(1, environment={"BATON_WORKERS": "3"}) as p:
        for i in range(5):
            p.send(f"t{i}", {"kind": "meet", "n": "4"})
        poll(lambda: not p.answers, "nothing")
        time.sleep(0.05)
        equal(p.answers, {}, "three of them wait for a fourth, which must not come")
        for i in range(5):
            p.cancel(f"t{i}")
        for i in range(5):
            equal(p.take(f"t{i}").code(), "BATON_CANCELLED")


@test
def probe_P51_progress_is_told_beside_the_answer():
    n = 20000
    with child(2, 8000, "events") as p:
        p.send("a", {"kind": "tell", "n": str(n)})
        p.send("b", {"kind": "tell", "n": "3"})
        equal((p.take("b").result, p.take("a").result), ([1, 2], [1, 2]))
        equal([e["data"]["done"] for e in p.events("progress", "a")], list(range(n)))
        equal(len(p.events("progress", "b")), 3)
    with child() as p:
        equal((p.do("a", {"kind": "tell", "n": "3"}).result, p.logs), ([1, 2], []))


@test
def probe_P53_handlers_that_do_not_end_are_left_behind():
    for how, arguments in [("hang", (2, 100)), ("wait", (2, 100))]:
        p = child(*arguments)
        p.send("a", {"kind": "fail", "how": "hang"} if how == "hang" else {"kind": "meet", "n": "9"})
        p.send("b", {"kind": "echo"})
        p.take("b")
        p.terminate()
        a = p.take("a")
        equal((a.code(), p.wait()), ("BATON_CLOSED", 1) if how == "hang" else ("BATON_CANCELLED", 0), how)


@test
def probe_P54_what_a_handler_prints_is_not_in_the_stream():
    with child() as p:
        equal(p.do("a1", {"kind": "print"}).result, "unset")
        equal(p.logs, [])
    assert '"printed"' in p.said()


@test
def probe_P55_lines_of_sixteen_threads_are_whole():
    rng = seed()
    with child(16, 8000, "events") as p:
        texts = {f"t{i}": "\u20ac\n" * rng.randrange(3000) for i in range(400)}
        for i, text in texts.items():
            p.send(i, {"kind": "echo", "text": text} if rng.random() < 0.8 else {"kind": "tell", "n": "50"})
        for i, text in texts.items():
            result = p.take(i).result
            assert result == [1, 2] or result["text"] == text, i


if __name__ == "__main__":
    main()
