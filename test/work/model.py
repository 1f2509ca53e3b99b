"""Tasks on the built-in model: several at once say what each says alone; and the example of a worker of one's own."""
from parent import *

QUESTIONS = ["Tell me a story about a key.", "What is a lease?", "Tell me a story about a bridge.", "What is a context?",
             "Tell me a story about a runner.", "Hello!", "What is a queue?", "Tell me a story about a bell."]


def tasks():
    for i, question in enumerate(QUESTIONS):
        fields = {"max_tokens": 20 + 9 * i, "temperature": 0.8 * (i % 2), "seed": i}
        yield f"t{i}", chat(question, **fields) if i % 3 else complete(question, **fields)


@test
def probe_P50_tasks_at_once_say_what_they_say_alone():
    with Parent("--ctx", "512", "--threads", "1") as p:
        alone = {i: p.do(i, payload).text() for i, payload in tasks()}
    assert len(set(alone.values())) == len(alone), alone
    for options in (["--workers", "4"], ["--workers", "8", "--contexts", "2"], ["--workers", "4", "--sequences", "1"]):
        with Parent("--ctx", "512", "--threads", "1", *options) as p:
            for i, payload in tasks():
                p.send(i, payload)
            equal({i: p.take(i).text() for i in alone}, alone, options)


@test
def probe_P54_the_real_library_prints_nothing_into_the_stream():
    with Parent("--ctx", "256", "--events", "all", "--log", "debug") as p:
        text = p.do("a", chat("Hello!", max_tokens=30)).text()
        equal("".join(e["text"] for e in p.events("token")), text)
        equal({e["event"] for e in p.logs}, {"started", "token"})
        a = p.do("long", complete("word " * 2000))
        equal((a.code(), a.retry), ("BATON_TOO_LONG", False))


@test
def the_example_is_such_a_worker():
    example = os.path.join(BUILD, "bin", "example_worker")
    if not os.path.exists(example):
        raise Skip("the examples are not built")
    with Parent(program=[example]) as p:
        for i, question in enumerate(QUESTIONS):
            p.send(f"t{i}", {"kind": "ask", "question": question})
        answers = [p.take(f"t{i}").result for i in range(len(QUESTIONS))]
        assert all(len(a) > 3 for a in answers), answers
        equal(p.do("t", {"kind": "ask"}).code(), "BATON_INVALID")


if __name__ == "__main__":
    main()
