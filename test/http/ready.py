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
def who_comes_while_owners_restart_is_told_when_to_come_again():
    with Server("fake:load_us=3000000,len=60,step_us=1000", "--sequences", "1", "--queue", "0") as s:
        assert "retry-after" not in s.ask("GET", "/ready").headers
        equal(s.complete(max_tokens=3).status, 200)
        os.kill(owners(s)[0], signal.SIGKILL)
        r = poll(lambda: (x := s.ask("GET", "/ready")).status == 503 and x, "not ready")
        assert 1 <= int(r.headers["retry-after"]) <= 60, r.headers
        poll(lambda: s.ask("GET", "/v1/models").json()["data"][0]["meta"]["state"] == "restarting", "restarting")
        waits = s.connect().ask("POST", "/v1/completions", {"prompt": "x", "max_tokens": 3})
        s.until(running=1)
        refused = s.complete()
        equal((refused.status, refused.error()["code"]), (429, "queue_full"))
        if s.ask("GET", "/ready").status == 503:  # 1 is what is said when nothing restarts
            assert int(refused.headers["retry-after"]) >= 2, refused.headers
        equal(waits.reply().status, 200)
        waits.close()


@test
def ready_tells_what_holds_owners_back():
    for options, told in (((), "no_new_privs"), (("--no-sandbox",), "none: switched off")):
        with Server("fake:", "--contexts", "2", *options) as s:
            for owner in ready(s)[1]["models"][0]["owners"]:
                assert told in owner["sandbox"], owner
                if not options:  # each part, or what this kernel has not
                    assert all(part in owner["sandbox"] for part in ("landlock", "seccomp")), owner


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
def probe_P40_without_resume_a_crash_is_told_with_the_text_so_far():
    with Server("fake:len=60,step_us=2000,lives=1,die=assert@30", "--resume", "off", "--sequences", "2") as s:
        whole, streamed = at_once(2, lambda i: s.complete(f"prompt {i}", max_tokens=60, stream=bool(i)))
        equal((whole.status, whole.error()["code"]), (500, "crashed"))
        assert "FAKE_ASSERT" in whole.error()["message"], whole.error()
        *pieces, last = streamed.events()  # no [DONE]
        equal((streamed.status, last["error"]["code"]), (200, "crashed"))
        assert "FAKE_ASSERT" in last["error"]["message"], last
        choices = [c for e in pieces for c in e["choices"]]
        assert not any(c["finish_reason"] for c in choices), choices
        so_far = "".join(c["text"] for c in choices)
        lone = s.complete("prompt 1", max_tokens=60).text()  # in the next owner
        assert so_far and so_far != lone and lone.startswith(so_far), (so_far, lone)
        m = samples(s)
        equal((m['baton_requests_total{outcome="crashed"}'], m["baton_requests_quarantined_total"]), (2, 0))


def samples(s):
    """What /metrics says, without the model's name, of which there is one."""
    lines = s.ask("GET", "/metrics").body.decode().splitlines()
    found = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name.replace('model="fake",', "").replace('{model="fake"}', ""): float(value) for name, value in found}


@test
def probe_P41_who_ends_its_owner_alone_is_told_so_and_the_rest_are_answered():
    kinds = ("assert", "abort", "segv", "exit0", "exit1", "partial", "garbage", "hang")
    for kind in kinds if not SANITIZER else ("assert", "garbage", "hang"):
        with Server(f"fake:len=40,step_us=2000,poison=arsenic,die={kind}", "--sequences", "4", "--hang-limit",
                    "3s") as s:
            def ask(i):
                return s.complete("arsenic" if i == 2 else f"prompt {i}", max_tokens=40)
            replies = at_once(4, ask)
            equal([r.status for r in replies], [200, 200, 500, 200], kind)
            error = replies[2].error()
            outcome = "hung" if kind == "hang" else "crashed"
            equal(error["code"], outcome, kind)
            if kind == "assert":
                assert "FAKE_ASSERT" in error["message"], error
            poll(lambda: ready(s)[0] == 200, "ready again")
            h = s.health()
            equal((h["status"], h["quarantined"], h["failed"], h["running"]), ("ok", 1, 1, 0), kind)
            owner = ready(s)[1]["models"][0]["owners"][0]
            assert owner["last_end"] and (kind != "assert" or "FAKE_ASSERT" in owner["last_end"]), owner
            m = samples(s)
            told = {name: value for name, value in m.items() if name.startswith("baton_requests_total") and value}
            equal(told, {'baton_requests_total{outcome="completed"}': 3,
                         f'baton_requests_total{{outcome="{outcome}"}}': 1}, kind)
            equal((m["baton_requests_quarantined_total"], m['baton_context_ready{context="0"}']), (1, 1), kind)
            equal(m["baton_context_restarts_total"], owner["restarts"], kind)
            assert owner["restarts"] >= 1


@test
def probe_P41_a_flood_is_nobodys_end():
    with Server("fake:len=40,step_us=2000,poison=arsenic,die=flood", "--sequences", "4") as s:
        def ask(i):
            return s.complete("arsenic" if i == 2 else f"prompt {i}", max_tokens=40)
        equal([r.status for r in at_once(4, ask)], [200] * 4)
        m = samples(s)
        equal((m['baton_requests_total{outcome="completed"}'], m["baton_context_restarts_total"]), (4, 0))
        equal((ready(s)[0], s.health()["status"]), (200, "ok"))


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
