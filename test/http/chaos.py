"""Clients that do anything at any moment: nothing is lost, nothing is leaked, nobody else notices."""
import codecs
import random

from client import *

BODIES = [
    {"prompt": "a"}, {"prompt": "b", "stream": True}, {"prompt": "c", "max_tokens": 3}, {"prompt": "x" * 3000},
    {"messages": [{"role": "user", "content": "hi"}], "stream": True}, {"prompt": 1}, {},
]


def a_request(rng):
    path = rng.choice(["/v1/completions"] * 4 + ["/v1/chat/completions", "/health", "/v1/models", "/%ff", "/v1/"])
    body = json.dumps(rng.choice(BODIES)).encode()
    head = [f"{rng.choice(['POST'] * 5 + ['GET', 'HEAD', 'OPTIONS', 'PUT'])} {path} HTTP/1.{rng.choice('1110')}"]
    if rng.random() < 0.2:
        head.append("Connection: " + rng.choice(["close", "keep-alive"]))
    if rng.random() < 0.1:
        head.append("Expect: 100-continue")
    if rng.random() < 0.3:
        cut = rng.randrange(len(body))
        body = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:cut], body[cut:]) if p) + b"0\r\n"
        body += rng.choice([b"", b"", b"A: b\r\nAuthorization: Bearer x\r\n"]) + b"\r\n"
        head.append("Transfer-Encoding: chunked")
    else:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def spoilt(rng, data):
    """As it is, or cut, or with some bytes that are others."""
    data = bytearray(data)
    if rng.random() < 0.6:
        return bytes(data)
    if rng.random() < 0.2:
        del data[rng.randrange(len(data)):]
    for _ in range(rng.choice([0, 0, 0, 1, 5])):
        if data:
            data[rng.randrange(len(data))] = rng.randrange(256)
    if rng.random() < 0.05:
        data = bytearray(rng.randbytes(rng.randrange(1, 4000)))
    return bytes(data)


def one(s, rng):
    c = s.connect(receive_buffer=rng.choice([0, 0, 1024]))
    c.socket.settimeout(rng.choice([0.001, 0.01, 0.05, 0.2]))
    try:
        data = b"".join(spoilt(rng, a_request(rng)) for _ in range(rng.choice([1, 1, 2, 5, 40])))
        pieces = rng.choice([1, 1, 2, 5, len(data) if 0 < len(data) < 2000 else 9])
        size = max(1, len(data) // pieces)
        for at in range(0, len(data), size):
            c.send(data[at:at + size])
            if rng.random() < 0.2:
                c.fill()
        while rng.random() < 0.8 and c.fill():
            pass
        codecs.getincrementaldecoder("utf-8")().decode(c.data)  # a cut may be anywhere, but what is there is UTF-8
    except OSError:
        pass
    with contextlib.suppress(OSError):
        rng.choice([c.close, c.reset, c.half_close])()
    c.close()


@test
def probe_P60_whatever_clients_do_nothing_is_lost():
    start = seed()
    rounds = 200 if SANITIZER else 400
    with Server("fake:len=60,step_us=200,ctx_train=4096", "--sequences", "3", "--queue", "2", "--idle-timeout", "2s",
                "--header-timeout", "1s", "--body-timeout", "1s", "--stream-idle", "1s", "--max-connections", "20") as s:
        expected = s.complete("neighbour").text()

        def run(i):
            rng = random.Random(start + i)
            if i == 0:
                for _ in range(20):
                    r = s.complete("neighbour", stream=True)
                    assert r.status in (429, 503) or r.text() == expected, (r.status, r.body)
            else:
                for _ in range(rounds):
                    one(s, rng)
        at_once(7, run)
        h = s.until(running=0, queued=0, connections=1)
        equal(h["accepted"], h["completed"] + h["cancelled"] + h["failed"] + h["timed_out"], "outcomes")
        print(h)
        equal(s.complete("neighbour").text(), expected)


main()
