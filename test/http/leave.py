"""Clients that leave: whenever and however they do, what they held is free at once and nobody else notices."""
import random

from client import *

WAYS = {
    "close": lambda c: c.close(),
    "reset": lambda c: c.reset(),
    "half-close": lambda c: c.half_close(),
    # bytes that nobody reads, in front of the end
    "close behind a pipelined request": lambda c: (c.send(b"GET /health HTTP/1.1\r\n\r\n" * 400), c.close()),
}
LONG = {"prompt": "x", "temperature": 0}  # with ENDLESS: minutes
ENDLESS = "fake:len=100000000,step_us=1000,ctx_train=1000000"
SLOW_PREFILL = "fake:token_us=10000,ctx_train=100000"
LONG_PROMPT = "x" * 50000  # eight minutes of prefill
CAREFUL = ("--sequences", "1", "--queue", "1", "--queue-timeout", "never", "--run-timeout", "never")


def is_well(s):
    """Somebody else gets an answer now."""
    equal(s.complete("again", max_tokens=3).status, 200)


@test
def probe_P10_a_stream_dropped_before_its_first_piece_frees_its_slot():
    with Server(SLOW_PREFILL, *CAREFUL) as s:
        for n in range(1, 4):
            c = s.connect().ask("POST", "/v1/completions", {"prompt": LONG_PROMPT, "stream": True})
            s.until(running=1)
            equal(c.data, b"")
            c.close()
            s.until(running=0, queued=0, cancelled=n)


@test
def probe_P22_a_client_that_leaves_in_decode_is_noticed_without_writing():
    with Server(ENDLESS, *CAREFUL) as s:
        n = 0
        for stream in (False, True):
            for name, leave in WAYS.items():
                c = s.connect().ask("POST", "/v1/completions", {**LONG, "stream": stream})
                if stream:
                    c.until(b"data: ")
                s.until(running=1)
                leave(c)
                n += 1
                s.until(running=0, queued=0, cancelled=n)
                c.close()
                is_well(s)


@test
def probe_P22_a_client_that_leaves_in_prefill_is_noticed():
    with Server(SLOW_PREFILL, *CAREFUL) as s:
        n = 0
        for stream in (False, True):
            for name, leave in WAYS.items():
                c = s.connect().ask("POST", "/v1/completions", {"prompt": LONG_PROMPT, "stream": stream})
                s.until(running=1)
                leave(c)
                n += 1
                s.until(running=0, queued=0, cancelled=n)
                c.close()


@test
def probe_P22_a_client_that_leaves_the_queue_touches_nobody():
    with Server(ENDLESS, *CAREFUL) as s, s.connect() as holder:
        holder.ask("POST", "/v1/completions", {**LONG, "stream": True})
        holder.until(b"data: ")
        n = 0
        for stream in (False, True):
            for name, leave in WAYS.items():
                c = s.connect().ask("POST", "/v1/completions", {**LONG, "stream": stream})
                s.until(running=1, queued=1)
                leave(c)
                n += 1
                s.until(running=1, queued=0, cancelled=n)
                c.close()
        holder.data = b""
        holder.until(b"data: ")  # it still streams
        holder.close()
        s.until(running=0)
        is_well(s)


@test
def probe_P22_a_client_that_leaves_in_header_or_body_leaves_nothing():
    with Server("fake:") as s:
        for part in (b"", b"POST /v1/comp", b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99\r\n\r\n{\"prompt\": "):
            for leave in WAYS.values():
                c = s.connect()
                c.send(part)
                leave(c)
                s.until(connections=1, accepted=0)
                c.close()
        is_well(s)


@test
def probe_P22_neighbours_of_those_who_leave_get_their_lone_answers():
    with Server("fake:len=400,step_us=300", "--sequences", "4", "--queue", "100") as s:
        prompts = [f"neighbour {i}" for i in range(4)]
        alone = [s.complete(p).text() for p in prompts]

        def run(i):
            if i < 4:
                return s.complete(prompts[i], stream=True).text()
            for k in range(8):
                with s.connect() as c:
                    c.ask("POST", "/v1/completions", {"prompt": f"leaver {i} {k}", "stream": k % 2 == 0})
                    if k % 4 == 0:
                        c.until(b"data: ")
        equal(at_once(8, run)[:4], alone)
        s.until(running=0, queued=0)


@test
def probe_P24_leaving_while_the_answer_completes_gives_one_outcome():
    rng = random.Random(seed())
    rounds = 100 if SANITIZER else 300
    with Server("fake:len=6,step_us=100", "--sequences", "2") as s:
        expected = s.complete("race").text()
        whole = 0
        for _ in range(rounds):
            c = s.connect().ask("POST", "/v1/completions", {"prompt": "race", "temperature": 0,
                                                            "stream": rng.random() < 0.5})
            c.socket.settimeout(rng.random() * 0.004 + 1e-6)
            try:
                r = c.reply()
                equal(r.text(), expected)
                whole += 1
            except (TimeoutError, BlockingIOError):
                pass
            rng.choice([c.close, c.reset])()
        h = s.until(running=0, queued=0)
        equal(h["accepted"], h["completed"] + h["cancelled"], "outcomes")
        equal(h["failed"] + h["timed_out"], 0)
        assert h["completed"] >= whole + 1, (h, whole)
        print(f"{whole} of {rounds} were whole, {h['cancelled']} cancelled")
        is_well(s)


main()
