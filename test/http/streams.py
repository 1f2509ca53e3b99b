"""Many streams at once over the fake native: each is its lone run; and readers that do not read."""
from client import *


def alone_and_together(model, n, rounds, options, **fields):
    """n prompts one after the other, then all at once, `rounds` times."""
    with Server(model, *options) as s:
        def one(i, stream):
            send = s.chat if i % 2 else s.complete
            r = send(f"Tell me about caller number {i}.", stream=stream, **fields)
            equal(r.status, 200, r.body)
            return r.text(), r.finish()
        alone = [one(i, False) for i in range(n)]
        assert len(set(alone)) > 1
        for k in range(rounds):
            equal(at_once(n, lambda i: one(i, (i + k) % 4 != 0)), alone, f"round {k}")
        s.until(running=0, queued=0, failed=0, refused=0)


@test
def thirty_two_streams_each_carry_their_lone_run():
    model = "fake:len=120,step_us=50"
    rounds = 1 if SANITIZER else 3
    alone_and_together(model, 32, rounds, ["--sequences", "8"])
    alone_and_together(model, 32, rounds, ["--sequences", "8"], temperature=0.8, seed=7)
    alone_and_together(model, 32, rounds, ["--contexts", "2", "--sequences", "1"], temperature=0.8, seed=8)


@test
def probe_P13_a_reader_that_stops_pauses_its_own_stream_only():
    n = 40000 if SANITIZER else 150000
    with Server(f"fake:len={n},ctx_train=200000", "--sequences", "2") as s:
        with s.connect(receive_buffer=4096) as slow:
            s.complete("warm", max_tokens=2000)
            before = s.memory()
            slow.ask("POST", "/v1/completions", {"prompt": "slow", "temperature": 0, "stream": True})
            slow.until(b"data: ")
            slow.data = b""
            for k in range(4):  # neighbours run to their ends beside it
                equal(s.complete("neighbour", max_tokens=n // 4).finish(), "length")
                s.until(running=1)
            grown = s.memory() - before
            print(f"{grown >> 20} MiB more while {n} tokens could have been on their way")
            assert SANITIZER or grown < 12 << 20, grown
        s.until(running=0, cancelled=1)
    with Server("fake:len=3000,ctx_train=20000") as s:
        expected = s.complete("slow").text()
        with s.connect(receive_buffer=4096) as slow:
            slow.ask("POST", "/v1/completions", {"prompt": "slow", "temperature": 0, "stream": True})
            s.until(running=1)
            equal(s.complete("neighbour").finish(), "stop")
            equal(slow.reply().text(), expected)


@test
def probe_P13_a_reader_without_progress_is_cancelled():
    with Server("fake:len=100000,ctx_train=200000", "--stream-idle", "200ms") as s:
        with s.connect(receive_buffer=4096) as slow:
            slow.ask("POST", "/v1/completions", {"prompt": "slow", "temperature": 0, "stream": True})
            s.until(running=0, cancelled=1, connections=1)


main()
