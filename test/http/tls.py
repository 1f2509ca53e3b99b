"""HTTPS: certificates and keys, what a client is told when it is cut off, handshakes that never end, large amounts both
ways. That the rest is as over HTTP is shown by the other files, run again with BATON_TLS=1."""
import random

import client
from client import *

client.TLS = TLS = Tls()


def run(*arguments):
    return subprocess.run([PROGRAM, "serve", "-m", "fake:len=3", "--port", "0", *arguments], capture_output=True, text=True,
                          timeout=BOUND)


@test
def probe_P62_bad_certificates_and_keys_are_told_by_file():
    other_cert, other_key = TLS.make("other", "elsewhere")
    locked_cert, locked_key = TLS.make("locked", "localhost", "-passout", "pass:secret")
    for arguments, part in (
            (["--tls-cert", TLS.cert], "tls-cert without tls-key"),
            (["--tls-key", TLS.key], "tls-key without tls-cert"),
            (["--tls-cert", "/nowhere.pem", "--tls-key", TLS.key], "certificate /nowhere.pem"),
            (["--tls-cert", TLS.cert, "--tls-key", "/nowhere.pem"], "key /nowhere.pem"),
            (["--tls-cert", TLS.key, "--tls-key", TLS.key], f"certificate {TLS.key}"),
            (["--tls-cert", TLS.cert, "--tls-key", other_key], f"does not belong to the certificate {TLS.cert}"),
            (["--tls-cert", locked_cert, "--tls-key", locked_key], "without a passphrase")):
        r = run(*arguments)
        equal((r.returncode, r.stdout), (2, ""), arguments)
        assert part in r.stderr, (arguments, r.stderr)
    assert other_cert != TLS.cert


@test
def only_tls_of_today_is_spoken():
    with Server("fake:len=3") as s:
        with s.connect() as c:
            equal(c.ask("GET", "/health").reply().status, 200)
            assert c.socket.version() in ("TLSv1.2", "TLSv1.3"), c.socket.version()
        offers = ssl.create_default_context(cafile=TLS.cert)
        offers.set_alpn_protocols(["h2", "http/1.1"])
        with socket.create_connection(("127.0.0.1", s.port), BOUND) as raw, \
                offers.wrap_socket(raw, server_hostname="localhost") as c:
            equal(c.selected_alpn_protocol(), "http/1.1")
        twelve = ssl.create_default_context(cafile=TLS.cert)
        twelve.maximum_version = ssl.TLSVersion.TLSv1_2
        with socket.create_connection(("127.0.0.1", s.port), BOUND) as raw, \
                twelve.wrap_socket(raw, server_hostname="localhost") as c:
            c.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            assert c.recv(100).startswith(b"HTTP/1.1 200 ")
        with socket.create_connection(("127.0.0.1", s.port), BOUND) as raw:  # plain HTTP
            raw.sendall(b"GET /health HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert not raw.recv(100).startswith(b"HTTP")
        equal(s.ask("GET", "/health").status, 200)


def strict(s, request):
    """What comes for this request, and whether its end was said."""
    context = ssl.create_default_context(cafile=TLS.cert)
    context.options &= ~getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)  # which some versions of Python set
    with socket.create_connection(("127.0.0.1", s.port), BOUND) as raw, context.wrap_socket(
            raw, server_hostname="localhost", suppress_ragged_eofs=False) as c:
        c.sendall(request)
        data = b""
        try:
            while more := c.recv(1 << 16):
                data += more
        except ssl.SSLError as e:
            assert isinstance(e, ssl.SSLEOFError) or e.reason == "UNEXPECTED_EOF_WHILE_READING", e
            return data, False
        except ConnectionResetError:
            return data, False
        return data, True


def post(body, version=b"1.0"):
    body = json.dumps(body).encode()
    return b"POST /v1/completions HTTP/%s\r\nContent-Length: %d\r\n\r\n" % (version, len(body)) + body


@test
def a_client_knows_a_whole_stream_from_one_that_was_cut():
    """HTTP/1.0 has no other end than the connection's: it counts only if TLS says so."""
    with Server("fake:len=30,step_us=500") as s:
        data, ended = strict(s, post({"prompt": "x", "stream": True}))
        assert ended and data.endswith(b"data: [DONE]\n\n"), (ended, data[-100:])
    with Server("fake:len=1000000,step_us=1000,ctx_train=200000", "--ctx", "100000", "--drain", "1h") as s:
        results = []
        t = threading.Thread(target=lambda: results.append(strict(s, post({"prompt": "x", "stream": True}))))
        t.start()
        s.until(running=1)
        for n in (1, 2):  # the second signal ends it at once
            s.process.send_signal(signal.SIGTERM)
            poll(lambda: "stopping" in s.said(), "a word in the log")
        equal(s.process.wait(BOUND), 0, "the server's exit code")
        t.join()
        equal(results[0][1], False, "whether the end was said of a stream that was cut")


@test
def handshakes_that_never_end_disturb_nobody():
    with Server("fake:len=3", "--idle-timeout", "500ms") as s:
        stuck = []
        for begin in (b"", b"\x16", b"\x16\x03\x01\x02\x00\x01\x00", b"\x16\x03\x01\x40\x00" + b"\x01" * 500):
            c = socket.create_connection(("127.0.0.1", s.port), BOUND)
            c.sendall(begin)
            stuck.append(c)
        for _ in range(10):
            equal(s.complete().status, 200)
        for c in stuck:  # none lives longer than a connection that asks nothing
            with contextlib.suppress(ConnectionResetError):
                while c.recv(100):
                    pass
            c.close()
        s.until(connections=1)


@test
def noise_in_the_place_of_tls_ends_its_own_connection_only():
    start = seed()
    rng = random.Random(start)
    with Server("fake:len=40,step_us=1000") as s:
        expected = s.complete("neighbour").text()
        neighbour = s.connect().ask("POST", "/v1/completions",
                                    {"prompt": "neighbour", "temperature": 0, "stream": True})
        for _ in range(100):
            with socket.create_connection(("127.0.0.1", s.port), BOUND) as raw, contextlib.suppress(OSError):
                if rng.random() < 0.5:
                    raw.sendall(rng.randbytes(rng.randrange(1, 3000)))
                else:  # noise behind a handshake that was good: written past the layer that would seal it
                    c = TLS.context.wrap_socket(raw, server_hostname="localhost")
                    c.sendall(post({"prompt": "x", "max_tokens": 5}, b"1.1")[:rng.randrange(1, 90)])
                    os.write(c.fileno(), rng.randbytes(rng.randrange(1, 200)))
                    c.close()
        equal(neighbour.reply().text(), expected)
        neighbour.close()
        s.until(running=0, connections=1)


@test
def large_bodies_and_slow_readers_pass_through():
    with Server("fake:len=3000,ctx_train=65536", "--ctx", "60000", "--sequences", "2") as s:
        r = s.complete("y" * 40000, max_tokens=3)
        equal((r.status, r.json()["usage"]["completion_tokens"]), (200, 3))
        equal(s.complete("z" * 3000000).error()["code"], "context_length_exceeded")
        expected = s.complete("slow").text()
        slow = s.connect(receive_buffer=1024).ask("POST", "/v1/completions",
                                                  {"prompt": "slow", "temperature": 0, "stream": True})
        equal(s.complete("slow").text(), expected)  # meanwhile, it does not read
        equal(slow.reply().text(), expected)


@test
def probe_P63_the_key_stays_with_the_server():
    with open(TLS.key, encoding="ascii") as f:
        secret = f.read().splitlines()[1]
    with Server("fake:len=3", "--log", "debug") as s:
        for path in ("/health", "/metrics", "/v1/models", "/ready"):
            assert secret.encode() not in s.ask("GET", path).body
        with socket.create_connection(("127.0.0.1", s.port), BOUND) as raw:
            raw.sendall(b"nonsense\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                raw.recv(100)
        assert secret not in s.said()


main()
