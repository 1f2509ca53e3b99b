"""Bounds: the queue, sizes, times, connections, and everything that is no valid request."""
import time

from client import *

ENDLESS = "fake:len=100000000,step_us=1000,ctx_train=1000000"


def hold(s, n=1):
    """Connections whose requests run, or wait."""
    return [s.connect().ask("POST", "/v1/completions", {"prompt": "x", "temperature": 0}) for _ in range(n)]


@test
def probe_P30_the_next_waiter_is_refused_at_once():
    with Server(ENDLESS, "--sequences", "2", "--queue", "3", "--queue-timeout", "never") as s:
        held = hold(s, 5)
        s.until(running=2, queued=3)
        for stream in (False, True):
            r = s.complete(stream=stream)
            equal((r.status, r.error()["code"], r.error()["type"]), (429, "queue_full", "rate_limit_error"))
            assert 1 <= int(r.headers["retry-after"]) <= 60
        s.until(running=2, queued=3, refused=2)
        held[4].close()
        s.until(running=2, queued=2)
        held += hold(s)
        s.until(running=2, queued=3)


@test
def probe_P30_refuse_queues_nobody_and_a_timeout_ends_the_wait():
    with Server(ENDLESS, "--sequences", "1", "--when-full", "refuse") as s:
        held = hold(s)
        s.until(running=1)
        r = s.complete()
        equal((r.status, r.error()["code"]), (429, "busy"))
        assert "retry-after" in r.headers
    with Server(ENDLESS, "--sequences", "1", "--queue-timeout", "100ms") as s:
        held = hold(s)
        s.until(running=1)
        r = s.complete(stream=True)
        equal((r.status, r.error()["code"]), (429, "queue_timeout"))
        assert "retry-after" in r.headers
        s.until(running=1, queued=0, timed_out=1)
        held[0].close()


BAD_FIELDS = [  # of a completion: fields, HTTP status, param, code
    ({"prompt": None}, 400, "prompt", "missing_field"),
    ({"prompt": 7}, 400, "prompt", "invalid_value"),
    ({"prompt": []}, 400, "prompt", "invalid_value"),
    ({"prompt": ["a", "b"]}, 400, "prompt", "unsupported_parameter"),
    ({"prompt": [[1], [2]]}, 400, "prompt", "unsupported_parameter"),
    ({"prompt": [1, -1]}, 400, "prompt", "invalid_value"),
    ({"prompt": [1, 1 << 40]}, 400, "prompt", "invalid_value"),
    ({"prompt": [1, 2.5]}, 400, "prompt", "invalid_value"),
    ({"model": "gpt-4"}, 404, "model", "model_not_found"),
    ({"model": 4}, 400, "model", "invalid_value"),
    ({"temperature": -0.1}, 400, "temperature", "invalid_value"),
    ({"temperature": 2.1}, 400, "temperature", "invalid_value"),
    ({"temperature": "0"}, 400, "temperature", "invalid_value"),
    ({"temperature": 1e308}, 400, "temperature", "invalid_value"),
    ({"temperature": True}, 400, "temperature", "invalid_value"),
    ({"top_p": 1.5}, 400, "top_p", "invalid_value"),
    ({"min_p": -1}, 400, "min_p", "invalid_value"),
    ({"top_k": 1.5}, 400, "top_k", "invalid_value"),
    ({"top_k": 1 << 40}, 400, "top_k", "invalid_value"),
    ({"seed": 1.5}, 400, "seed", "invalid_value"),
    ({"seed": "1"}, 400, "seed", "invalid_value"),
    ({"presence_penalty": 3}, 400, "presence_penalty", "invalid_value"),
    ({"frequency_penalty": -3}, 400, "frequency_penalty", "invalid_value"),
    ({"max_tokens": 0}, 400, "max_tokens", "invalid_value"),
    ({"max_tokens": -1}, 400, "max_tokens", "invalid_value"),
    ({"max_tokens": 1 << 40}, 400, "max_tokens", "invalid_value"),
    ({"max_completion_tokens": "9"}, 400, "max_completion_tokens", "invalid_value"),
    ({"n": 2}, 400, "n", "unsupported_parameter"),
    ({"n": 0}, 400, "n", "unsupported_parameter"),
    ({"n": "1"}, 400, "n", "invalid_value"),
    ({"best_of": 3}, 400, "best_of", "unsupported_parameter"),
    ({"stream": 1}, 400, "stream", "invalid_value"),
    ({"stream_options": {"include_usage": True}}, 400, "stream_options", "invalid_value"),
    ({"stream": True, "stream_options": 1}, 400, "stream_options", "invalid_value"),
    ({"stream": True, "stream_options": {"include_usage": 1}}, 400, "stream_options.include_usage", "invalid_value"),
    ({"stop": ""}, 400, "stop", "invalid_value"),
    ({"stop": [1]}, 400, "stop", "invalid_value"),
    ({"stop": ["x"] * 17}, 400, "stop", "invalid_value"),
    ({"logit_bias": [1]}, 400, "logit_bias", "invalid_value"),
    ({"logit_bias": {"a": 1}}, 400, "logit_bias", "invalid_value"),
    ({"logit_bias": {"99999999": 1}}, 400, "logit_bias", "invalid_value"),
    ({"logit_bias": {"-1": 1}}, 400, "logit_bias", "invalid_value"),
    ({"logit_bias": {"1": 101}}, 400, "logit_bias", "invalid_value"),
    ({"logit_bias": {"1": "x"}}, 400, "logit_bias", "invalid_value"),
    ({"logprobs": 0}, 400, "logprobs", "unsupported_parameter"),
    ({"echo": True}, 400, "echo", "unsupported_parameter"),
    ({"suffix": "x"}, 400, "suffix", "unsupported_parameter"),
    ({"tools": [{"type": "function"}]}, 400, "tools", "unsupported_parameter"),
    ({"tool_choice": "required"}, 400, "tool_choice", "unsupported_parameter"),
    ({"functions": [{}]}, 400, "functions", "unsupported_parameter"),
    ({"audio": {"voice": "x"}}, 400, "audio", "unsupported_parameter"),
    ({"modalities": ["audio"]}, 400, "modalities", "unsupported_parameter"),
    ({"response_format": {"type": "json_object"}}, 400, "response_format", "unsupported_parameter"),
    ({"response_format": "text"}, 400, "response_format", "invalid_value"),
    ({"user": 5}, 400, "user", "invalid_value"),
]
FINE_FIELDS = [
    {"user": "me"}, {"n": 1}, {"best_of": 1}, {"tools": []}, {"tools": None}, {"logprobs": None}, {"echo": False},
    {"response_format": {"type": "text"}}, {"temperature": None}, {"unknown": {"deep": [1]}}, {"stop": None},
    {"stop": ["x"] * 16}, {"seed": -(1 << 63)}, {"seed": (1 << 63) - 1}, {"top_p": 0}, {"top_k": -1}, {"top_p": 1},
    {"temperature": 2}, {"logit_bias": {}}, {"presence_penalty": -2, "frequency_penalty": 2}, {"tool_choice": "none"},
]
BAD_MESSAGES = [  # messages, param
    (None, "messages"), ([], "messages"), ("hi", "messages"), ([1], "messages[0]"), ([{"content": "x"}], "messages[0].role"),
    ([{"role": "king", "content": "x"}], "messages[0].role"), ([{"role": "tool", "content": "x"}], "messages[0].role"),
    ([{"role": 1, "content": "x"}], "messages[0].role"), ([{"role": "user"}], "messages[0].content"),
    ([{"role": "user", "content": None}], "messages[0].content"),
    ([{"role": "user", "content": {"x": 1}}], "messages[0].content"),
    ([{"role": "user", "content": "x"}, {"role": "user", "content": [{"type": "image_url"}]}], "messages[1].content[0]"),
    ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0]"),
    ([{"role": "assistant", "content": "x", "tool_calls": [{}]}], "messages[0].tool_calls"),
]


@test
def probe_P60_wrong_fields_are_named_with_value_and_expectation():
    with Server("fake:") as s, s.connect() as c:
        for fields, status, param, code in BAD_FIELDS:
            r = c.ask("POST", "/v1/completions", {"prompt": "x", **fields}).reply()
            equal((r.status, r.error()["param"], r.error()["code"]), (status, param, code), f"{fields}")
            equal(set(r.error()), {"message", "type", "param", "code"})
            assert param.split(".")[0] in r.error()["message"], r.error()
        for messages, param in BAD_MESSAGES:
            r = c.ask("POST", "/v1/chat/completions", {"messages": messages}).reply()
            equal((r.status, r.error()["param"]), (400, param), f"{messages}")
        for fields in FINE_FIELDS:
            r = c.ask("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1, **fields}).reply()
            equal(r.status, 200, f"{fields}: {r.body}")
        equal(s.health()["connections"], 2, "one connection served them all")


@test
def probe_P60_what_is_no_json_is_refused():
    bodies = [
        b"", b"{", b"[]", b"null", b"7", b'"x"', b'{"prompt": "x"} more', b"{'prompt': 1}", b'{"prompt": "\xff"}',
        b'{"prompt": "\xc0\xaf"}', b'{"prompt": "\xed\xa0\x80"}', b'{"prompt": "\\ud800"}', b'{"prompt": "a\\u0000b"}',
        b'{"prompt": "x", "temperature": NaN}', b'{"prompt": "x", "temperature": Infinity}',
        b'{"prompt": "x", "temperature": 1e999}', b'{"prompt": "x", "seed": 99999999999999999999999}',
        b'{"prompt": "x", "prompt": "y"}', b'{"prompt": "x",}', b"[" * 50000, b'{"a":' * 5000, b"\x00",
        b"\xff\xfe{\x00}\x00", b'{"prompt": "x", "max_tokens": --1}', b'{"prompt": "a\nb"}',
    ]
    with Server("fake:") as s, s.connect() as c:
        for body in bodies:
            r = c.ask("POST", "/v1/completions", body).reply()
            equal((r.status, r.error()["code"], r.error()["type"]), (400, "invalid_json", "invalid_request_error"),
                  f"{body[:40]}")
        equal(c.ask("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1}).reply().status, 200)


@test
def probe_P60_a_body_of_tiny_values_takes_no_more_than_its_own_size():
    with Server("fake:", "--body-max", "8M") as s:
        s.complete(max_tokens=1)
        before = s.memory("VmHWM")
        for unit, n in ((b"{}", 2_000_000), (b"[]", 2_000_000), (b"1", 4_000_000)):
            body = b'{"prompt": "x", "junk": [' + b",".join([unit] * n) + b"]}"
            r = s.ask("POST", "/v1/completions", body)
            equal((r.status, r.error()["code"]), (400, "too_many_values"), unit)
        grown = s.memory("VmHWM") - before
        assert SANITIZER or grown < 64 << 20, grown
        quoted = b'{"prompt": "x", "max_tokens": 1, "junk": "' + b'\\"{,[' * 500_000 + b'"}'
        equal(s.ask("POST", "/v1/completions", quoted).status, 200, "in a string they are text")
        many = {"prompt": "x", "max_tokens": 1, "junk": [1] * 1_000_000}
        equal(s.ask("POST", "/v1/completions", many).status, 200)


@test
def probe_P60_what_is_no_http_is_refused():
    cases = [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500, 400),
        (b"GET\r\n\r\n", 400), (b"GET / HTTP/9.1\r\n\r\n", None), (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", None),
        (b"GET /health HTTP/1.1\r\nBad Header\r\n\r\n", 400), (b"GET /%00 HTTP/1.1\r\n\r\n", 400),
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\n\r\n", 400), (b"GET http:// HTTP/1.1\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n", 415),
        (b"CONNECT a:1 HTTP/1.1\r\n\r\n", None),
        # what a proxy in front may read otherwise: where one request ends and the next begins must be beyond doubt
        (b"POST /v1/completions HTTP/1.1\r\nContent-Length : 3\r\n\r\n{}x", 400),
        (b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    ]
    with Server("fake:") as s:
        for data, status in cases:
            with s.connect() as c:
                c.send(data)
                r = c.reply()
                assert r.status == status or status is None and 400 <= r.status < 600, (data, r.status)
                assert r.error()["message"]
                assert r.headers.get("connection") == "close", r.headers
                assert c.closed()
        equal(s.health()["accepted"], 0)


@test
def probe_P60_too_large_is_told_before_it_is_read():
    with Server("fake:", "--body-max", "64K") as s:
        with s.connect() as c:
            c.send(b"POST /v1/completions HTTP/1.1\r\nContent-Length: 65537\r\n\r\n")
            r = c.reply()
            equal((r.status, r.error()["code"]), (413, "body_too_large"))
            assert "65536" in r.error()["message"]
            c.send(b"x" * 1000)
            assert c.closed()
        with s.connect() as c:
            c.send(b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            try:
                for _ in range(66):
                    c.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
            except (ConnectionResetError, BrokenPipeError):
                pass
            equal(c.reply().status, 413)
        body = b'{"max_tokens": 1, "prompt": "x"}'
        equal(s.ask("POST", "/v1/completions", body + b" " * (65536 - len(body))).status, 200)
        for where in (b"GET /" + b"a" * 20000, b"GET / HTTP/1.1\r\nX: " + b"a" * 20000,
                      b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 4000):
            with s.connect() as c:
                c.send(where)
                equal(c.reply().status, 431)
        r = s.ask("POST", "/v1/nothing", b"x" * 70000)
        equal(r.status, 404, "a header that says enough is answered before the body")


def drip(s, start):
    """A byte now and then, until there is an answer; which must be 408 and the end."""
    with s.connect() as c:
        c.send(start)
        c.socket.settimeout(0.02)

        def another():
            c.send(b"x")
            with contextlib.suppress(TimeoutError):
                c.fill()
            return c.data
        poll(another, "an answer to a client that is slow")
        c.socket.settimeout(BOUND)
        r = c.reply()
        equal((r.status, r.error()["code"], r.headers["connection"]), (408, "request_timeout", "close"))


@test
def probe_P60_a_slow_header_is_closed():
    with Server("fake:", "--header-timeout", "150ms", "--body-timeout", "1h", "--idle-timeout", "1h") as s:
        drip(s, b"GET /health HTTP/1.1\r\nX: ")
        s.until(connections=1)


@test
def probe_P60_a_slow_body_is_closed():
    with Server("fake:", "--header-timeout", "1h", "--body-timeout", "150ms", "--idle-timeout", "1h") as s:
        drip(s, b"POST /v1/completions HTTP/1.1\r\nContent-Length: 100000\r\n\r\n")
        s.until(connections=1)


@test
def probe_P60_an_idle_connection_is_closed():
    with Server("fake:len=50,step_us=10000", "--header-timeout", "1h", "--body-timeout", "1h", "--idle-timeout",
                "150ms") as s:
        with s.connect() as c:
            assert c.closed(), "before its first request"
        with s.connect() as c:
            equal(c.ask("POST", "/v1/completions", {"prompt": "x"}).reply().status, 200, "waiting is not idling")
            assert c.closed(), "after a request"
        s.until(connections=1)


@test
def probe_P60_a_thousand_idle_connections_disturb_nobody():
    many_files(2200)
    with Server("fake:") as s:
        before = s.memory()
        idle = [s.connect() for _ in range(1000)]
        s.until(connections=1001)
        grown = s.memory() - before
        for _ in range(20):
            equal(s.complete(max_tokens=2).status, 200)
        equal(idle[500].ask("GET", "/health").reply().status, 200)
        for c in idle:
            c.close()
        s.until(connections=1)
        print(f"{grown / 1000 / 1024:.1f} KiB each")
        assert SANITIZER or grown < (48 if TLS else 16) << 20, grown
    with Server("fake:", "--max-connections", "3") as s:
        held = [s.connect() for _ in range(3)]
        for c in held:
            equal(c.ask("GET", "/health").reply().status, 200)
        with s.connect() as c:
            r = c.reply()
            equal((r.status, r.headers["connection"]), (503, "close"))
        held[0].close()
        poll(lambda: s.connect().ask("GET", "/health").reply().status == 200, "room after one has left")


def descriptors(s):
    return [int(fd) for fd in os.listdir(f"/proc/{s.process.pid}/fd")]


@test
def probe_P60_without_descriptors_it_waits_and_comes_back():
    """Also where no connection is there whose end would be the sign to go on."""
    if TLS:
        return  # a client of TLS cannot even connect then
    with Server("fake:") as s:
        used = descriptors(s)
        lowest = next(fd for fd in range(len(used) + 1) if fd not in used)
        limits = resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE, (lowest, limits[1]))
        with s.connect() as c:
            c.ask("GET", "/health")
            poll(lambda: "no new connections" in s.said(), "a word in the log")
            resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE, limits)
            equal(c.reply().status, 200)
        equal(s.said().count("no new connections"), 1, "it is said once")


@test
def probe_P60_pipelined_requests_are_answered_in_order():
    body = json.dumps({"prompt": "pipe", "temperature": 0, "stream": True}).encode()
    post = b"POST /v1/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with Server("fake:len=20,step_us=500") as s:
        expected = s.complete("pipe").text()
        with s.connect() as c:
            c.send(b"GET /health HTTP/1.1\r\n\r\n" + post + b"\r\nGET /v1/models HTTP/1.1\r\n\r\n" + post +
                   b"GET /nothing HTTP/1.1\r\n\r\n" + b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n")
            equal(c.reply().json()["status"], "ok")
            equal(c.reply().text(), expected)
            equal(c.reply().json()["object"], "list")
            equal(c.reply().text(), expected)
            equal(c.reply().status, 404)
            equal(c.reply().status, 200)
            assert c.closed()
        with s.connect() as c:  # far more than is read ahead
            n = 100 if TLS else 5000  # Python's TLS is not for two threads at once: what is sent must fit into buffers
            c.send(post)
            whole = (b"GET /health HTTP/1.1\r\nX-Pad: " + b"x" * 80 + b"\r\n\r\n") * n
            sender = threading.Thread(target=c.send, args=(whole,))
            sender.start()
            if TLS:
                sender.join()
            equal(c.reply().text(), expected)
            for _ in range(n):
                equal(c.reply().status, 200)
            sender.join()


@test
def probe_P60_a_request_may_come_in_any_pieces():
    body = b'{"prompt": "\xc3\xa9", "temperature": 0, "max_tokens": 2}'
    sized = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    chunked = (b"POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n" + body[:5] + b"\r\n%x;e=1\r\n"
               % (len(body) - 5) + body[5:] + b"\r\n0\r\nTrailer: x\r\n\r\n")
    with Server("fake:") as s, s.connect() as c:
        expected = s.ask("POST", "/v1/completions", body).text()
        for request in (sized, chunked):
            for cut in range(1, len(request), 3 if SANITIZER else 1):
                c.send(request[:cut])
                if cut % 7 == 0:
                    time.sleep(0.001)  # so that the pieces are likely to arrive apart
                c.send(request[cut:])
                equal(c.reply().text(), expected)
        with s.connect() as d:
            for i in range(len(sized)):
                d.send(sized[i:i + 1])
            equal(d.reply().text(), expected)
            d.send(b"POST /v1/completions HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
            equal(d.head()[0], 100)
            d.send(body)
            equal(d.reply().text(), expected)


@test
def probe_P61_a_prompt_longer_than_the_context_is_refused_with_both_numbers():
    with Server("fake:ctx_train=256") as s:
        context = s.ask("GET", "/v1/models").json()["data"][0]["meta"]["context"]
        for stream in (False, True):
            r = s.complete("x" * 1000, stream=stream)
            equal((r.status, r.error()["code"]), (400, "context_length_exceeded"))
            assert "1002" in r.error()["message"] and str(context) in r.error()["message"], r.error()
        s.until(running=0, queued=0)


@test
def probe_P61_a_context_that_fills_ends_with_length_and_harms_no_neighbour():
    with Server("fake:len=100000,ctx_train=256", "--sequences", "2") as s:
        context = s.ask("GET", "/v1/models").json()["data"][0]["meta"]["context"]
        alone = s.complete("neighbour", max_tokens=100).text()
        full, neighbour = at_once(2, lambda i: s.complete("neighbour", max_tokens=100) if i else s.complete("full"))
        equal(full.finish(), "length")
        equal(full.json()["usage"]["total_tokens"], context)
        equal(neighbour.text(), alone)
        equal(s.complete("full", stream=True).finish(), "length")


@test
def probe_P63_a_missing_key_is_told_before_the_body_is_read():
    with tempfile.NamedTemporaryFile("w") as f:
        f.write("# two of them\nsecret-one\n\nsecret-two\r\n")
        f.flush()
        with Server("fake:", "--api-key-file", f.name) as s:
            for header in (b"", b"Authorization: Bearer secret-on\r\n", b"Authorization: Bearer secret-ones\r\n",
                           b"Authorization: secret-one\r\n", b"Authorization: Bearer \r\n",
                           b"Authorization: Bearer " + b"x" * 5000 + b"\r\n", b"Authorization: Bearer # two of them\r\n"):
                with s.connect() as c:
                    c.send(b"POST /v1/completions HTTP/1.1\r\n" + header + b"Content-Length: 1000\r\n\r\n")
                    r = c.reply()
                    equal((r.status, r.error()["code"]), (401, "invalid_api_key"), header)
                    equal(r.headers["www-authenticate"], "Bearer")
                    assert c.closed()
            equal(s.ask("GET", "/v1/models").status, 401)
            equal(s.ask("GET", "/nothing").status, 401)
            equal(s.ask("GET", "/health").status, 200)
            for key in ("secret-one", "secret-two"):
                equal(s.ask("POST", "/v1/completions", {"prompt": "x", "max_tokens": 1},
                            [f"Authorization: Bearer {key}"]).status, 200)
            assert "secret" not in s.said()
            for value in ("Bearer secret-one ", "Bearer secret-one\t "):
                equal(s.ask("GET", "/v1/models", headers=[f"Authorization: {value}"]).status, 200, "trailing blanks")
            with s.connect() as c:  # a key counts for its own request only
                equal(c.ask("GET", "/v1/models", headers=["authorization: bearer secret-two"]).reply().status, 200)
                equal(c.ask("GET", "/v1/models").reply().status, 401)


main()
