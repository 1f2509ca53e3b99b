"""The built-in model behind the server: 32 streams at once carry their lone runs; context limits; sampling fields."""
from client import *

ROUNDS = int(os.environ.get("BATON_ROUNDS", "1" if SANITIZER else "3"))
QUESTIONS = ["What is a lease?", "Tell me a story about a ferry.", "Count from 1 to 20.", "What is a gate?",
             "Who owns a context?", "Tell me a story about a relay race.", "What is a queue?", "Hello!"]


def alone_and_together(options, **fields):
    with Server(None, *options) as s:
        def one(i, stream):
            r = s.chat(QUESTIONS[i % 8] + " " * (i // 8), stream=stream, max_tokens=64 + i, **fields)
            equal(r.status, 200, r.body)
            return r.text(), r.finish()
        equal(s.ask("GET", "/v1/models").json()["data"][0]["meta"]["exact"], "yes")
        alone = [one(i, False) for i in range(32)]
        for k in range(ROUNDS):
            equal(at_once(32, lambda i: one(i, (i + k) % 4 != 0)), alone, f"round {k}")


@test
def thirty_two_streams_carry_their_lone_runs_greedily():
    alone_and_together(["--sequences", "8"])


@test
def thirty_two_streams_carry_their_lone_runs_sampled():
    alone_and_together(["--sequences", "8"], temperature=0.8, seed=1234)


@test
def thirty_two_streams_carry_their_lone_runs_in_two_contexts():
    alone_and_together(["--contexts", "2", "--sequences", "1"])
    alone_and_together(["--contexts", "2", "--sequences", "1"], temperature=0.8, seed=1234)


@test
def sampling_fields_reach_libllama():
    with Server(None) as s:
        greedy = s.chat("Tell me a story.", max_tokens=40).text()
        for fields in ({"top_k": 1}, {"top_p": 0}, {"min_p": 1}):
            equal(s.chat("Tell me a story.", max_tokens=40, temperature=1.5, seed=3, **fields).text(), greedy, fields)
        hot = [s.chat("Tell me a story.", max_tokens=40, temperature=1.5, seed=i).text() for i in (1, 1, 2)]
        equal(hot[0], hot[1])
        assert hot[0] != hot[2]
        for fields in ({"presence_penalty": 2}, {"frequency_penalty": 2}):
            assert s.chat("Tell me a story.", max_tokens=100, **fields).text() != \
                s.chat("Tell me a story.", max_tokens=100).text(), fields


@test
def probe_P61_the_context_is_the_limit():
    with Server(None, "--ctx", "256", "--sequences", "2") as s:
        r = s.chat("story " * 500)
        equal((r.status, r.error()["code"]), (400, "context_length_exceeded"))
        assert "256" in r.error()["message"]
        r = s.complete("Once upon a time", logit_bias={str(i): -100 for i in (0, 1, 2)})
        equal(r.finish(), "length")
        equal(r.json()["usage"]["total_tokens"], 256)


@test
def probe_P22_leaving_frees_the_slot_of_a_real_context():
    with Server(None, "--sequences", "1") as s:
        expected = s.chat("What is a lease?").text()
        for n in range(1, 6):
            c = s.connect().ask("POST", "/v1/completions", {"prompt": "Once " * 300 * (n % 2) + "upon", "stream": True})
            s.until(running=1)
            c.close()
            s.until(running=0)
            equal(s.chat("What is a lease?").text(), expected)


def children(pid):
    """Its child processes and their arguments."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as f, open(f"/proc/{entry}/cmdline") as arguments:
            if int(f.read().rsplit(")", 1)[1].split()[1]) == pid:
                found[int(entry)] = arguments.read().split("\0")
    return found


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@test
def what_the_demo_has_started_ends_with_it():
    for wanted in ("demo", "serve"):  # a race in a child process; the server
        p = subprocess.Popen([PROGRAM, "demo", "--trials", "1000" if wanted == "demo" else "1"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            child = poll(lambda: p.poll() is None and
                         next((c for c, args in children(p.pid).items() if wanted in args), 0), f"a child: {wanted}")
            os.kill(child, signal.SIGSTOP)
        finally:
            p.kill()
            p.wait()
        try:
            os.kill(child, signal.SIGCONT)
            poll(lambda: not lives(child), "the end of the demo's child")
        except ProcessLookupError:
            pass
        except AssertionError:
            os.kill(child, signal.SIGKILL)
            raise


main()
