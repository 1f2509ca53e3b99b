"""An owner process that ends under HTTP: /ready tells, /health lives, streams go on, and who is at fault is answered."""
import concurrent.futures
import os
import signal

from client import *

FAKE = "fake:len=60,step_us=3000"


def owners(s):
    with open(f"/proc/{s.process.pid}/task/{s.process.pid}/children") as f:
        return [int(pid) for pid in f.read().split()]


def ready(s):
    r = s.ask("GET", "/ready")
    return r.status, r.json()


@test
def probe_P44_ready_tells_of_an_owner_that_is_stopped_while_the_server_lives():
    with Server("fake:", "--hang-limit", "3s") as s:
        status, body = ready(s)
        equal((status, body["ready"], body["models"][0]["owners"][0]["state"]), (200, True, "ready"))
        equal(s.ask("GET", "/v1/models").json()["data"][0]["meta"]["state"], "ready")
        os.kill(owners(s)[0], signal.SIGSTOP)
        poll(lambda: ready(s)[0] == 503, "not ready")
        equal(s.ask("GET", "/health").status, 200)
        poll(lambda: ready(s)[0] == 200, "ready again")
        owner = ready(s)[1]["models"][0]["owners"][0]
        equal((owner["restarts"], owner["state"]), (1, "ready"))
        assert "hung" in owner["last_end"], owner
        equal(s.health()["restarts"], 1)
        equal(s.complete(max_tokens=3).status, 200)


@test
def probe_P40_answers_go_on_streamed_or_not_when_their_owner_is_killed():
    with Server(FAKE, "--sequences", "4") as s:
        lone = [s.complete(f"prompt {i}", max_tokens=60).text() for i in range(4)]

        def ask(i):
            return s.complete(f"prompt {i}", max_tokens=60, stream=bool(i % 2))

        def kill():
            for restarts in range(3):
                pid = poll(lambda: s.health()["running"] > 0 and owners(s), "something to kill")[0]
                os.kill(pid, signal.SIGKILL)
                poll(lambda: s.health()["restarts"] > restarts and ready(s)[0] == 200, "started again, and ready")

        with concurrent.futures.ThreadPoolExecutor() as pool:
            killing = pool.submit(kill)
            while not killing.done():
                equal([r.text() for r in at_once(4, ask)], lone)
            killing.result()
        h = s.health()
        equal((h["quarantined"], h["restarts"]), (0, 3))


@test
def probe_P41_who_ends_its_owner_alone_is_told_so_and_the_rest_are_answered():
    with Server("fake:len=40,step_us=2000,poison=arsenic,die=assert", "--sequences", "4") as s:
        def ask(i):
            return s.complete("arsenic" if i == 2 else f"prompt {i}", max_tokens=40)
        replies = at_once(4, ask)
        equal([r.status for r in replies], [200, 200, 500, 200])
        error = replies[2].error()
        equal(error["code"], "crashed")
        assert "FAKE_ASSERT" in error["message"], error
        h = s.health()
        equal((h["status"], h["quarantined"], h["failed"]), ("ok", 1, 1))
        assert "FAKE_ASSERT" in ready(s)[1]["models"][0]["owners"][0]["last_end"]


def gone(pid):
    """Ended; whoever inherits it may not have looked yet."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except FileNotFoundError:
        return True


@test
def probe_P45_a_killed_server_leaves_no_owner_though_it_hangs():
    server = Server("fake:die=hang@20,len=60", "--contexts", "2", "--sequences", "1", "--hang-limit", "1h")
    server.__enter__()
    pids = owners(server)
    equal(len(pids), 2)
    with server.connect() as c:
        c.ask("POST", "/v1/completions", {"prompt": "hi", "max_tokens": 60, "stream": True})
        c.until(b"data: ")  # it has begun, and will not get beyond its tenth token
        server.process.kill()
        server.process.wait()
    server.process.stdout.close()
    for pid in pids:
        poll(lambda: gone(pid), f"the end of owner {pid}")


@test
def ready_tells_strangers_neither_names_nor_last_words():
    import tempfile
    with tempfile.NamedTemporaryFile("w") as f:
        f.write("a-secret-key-of-some-length\n")
        f.flush()
        os.chmod(f.name, 0o600)
        with Server("fake:", "--api-key-file", f.name) as s:
            status, body = ready(s)
            equal((status, set(body["models"][0])), (200, {"ready", "owners"}))
            assert "last_end" not in body["models"][0]["owners"][0]
            r = s.ask("GET", "/ready", headers=("Authorization: Bearer a-secret-key-of-some-length",))
            assert "last_end" in r.json()["models"][0]["owners"][0] and r.json()["models"][0]["id"] == "fake"


main()
