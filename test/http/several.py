"""Several models in one server, from a configuration file: who answers, that two never wait for each other, and what is
told of a file that is wrong."""
import re

from client import *

TEXT_KEYS = ["api_key_file", "allow_origin", "chat_template", "lora", "mmproj"]


@contextlib.contextmanager
def ini(text):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "baton.ini")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        yield path


@contextlib.contextmanager
def serving(text, *options):
    with ini(text) as path, Server(None, "-c", path, *options) as s:
        yield s


def run(*arguments):
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=BOUND)


THREE = """
[defaults]
ctx = 512
[model short]
file = fake:len=3
[model long]
file = fake:len=9
ctx = 1024
[model other]
file = fake:len=5,vocab=300
[role fast]
models = short
[role deep]
models = long, fast
"""


def tokens(reply):
    equal(reply.status, 200, reply.body)
    return reply.json()["usage"]["completion_tokens"]


@test
def the_model_field_chooses_by_name_and_by_role():
    with serving(THREE) as s:
        for name, n, who in (("short", 3, "short"), ("long", 9, "long"), ("other", 5, "other"), ("fast", 3, "short"),
                             ("deep", 9, "long"), (None, 3, "short"), ("", 3, "short")):
            fields = {} if name is None else {"model": name}
            for reply in (s.complete(**fields), s.chat(**fields)):
                equal(tokens(reply), n, name)
                equal(reply.json()["model"], who, name)
            events = s.chat(stream=True, **fields).events()
            equal({e["model"] for e in events[:-1]}, {who}, name)


@test
def an_unknown_model_is_404_and_says_what_there_is():
    with serving(THREE) as s:
        for name in ("gpt-4", "fake:len=3", "baton", "Short"):
            r = s.complete(model=name)
            equal((r.status, r.error()["code"], r.error()["param"]), (404, "model_not_found", "model"))
            equal(r.error()["message"], f'there is no model "{name}" here: there are the models short, long, other and '
                                        'the roles fast, deep')
        equal(s.ask("GET", "/v1/models/gpt-4").status, 404)


@test
def the_list_has_models_and_roles():
    with serving(THREE) as s:
        data = s.ask("GET", "/v1/models").json()["data"]
        equal([m["id"] for m in data], ["short", "long", "other", "fast", "deep"])
        equal([m["meta"]["roles"] for m in data[:3]], [["fast", "deep"], ["deep"], []])
        equal([m["meta"]["context"] for m in data[:3]], [512, 1024, 512])
        equal({m["meta"]["state"] for m in data[:3]}, {"ready"})
        equal([m["meta"]["models"] for m in data[3:]], [["short"], ["long", "short"]])
        for m in data:
            equal(s.ask("GET", "/v1/models/" + m["id"]).json(), m)
        equal(s.health()["slots"], 24)


@test
def each_model_has_its_own_vocabulary_and_template():
    with serving(THREE + "[model bare]\nfile = fake:template=0\n") as s:
        equal(s.complete([299], model="other").status, 200)
        r = s.complete([299], model="short")
        equal((r.status, r.error()["code"]), (400, "invalid_value"), r.body)
        equal(s.chat(model="short").status, 200)
        assert s.chat(model="bare").status != 200


@test
def probe_P07_two_models_never_wait_for_each_other():
    with serving("[model busy]\nfile = fake:len=1000000,step_us=20000\nctx = 4096\nsequences = 1\nqueue = 1\n"
                 "[model idle]\nfile = fake:len=20\nsequences = 1\n") as s:
        def state(name):
            return s.ask("GET", "/v1/models/" + name).json()["meta"]
        running = s.connect().ask("POST", "/v1/completions", {"prompt": "x", "model": "busy", "stream": True})
        poll(lambda: state("busy")["running"] == 1, "the first answer begins")
        waiting = s.connect().ask("POST", "/v1/completions", {"prompt": "x", "model": "busy"})
        poll(lambda: state("busy")["queued"] == 1, "the second one waits")
        equal(s.complete(model="busy").error()["code"], "queue_full")
        for _ in range(20):  # its slot and its queue are its own
            equal(s.complete(model="idle").json()["model"], "idle")
        busy = state("busy")
        equal((busy["running"], busy["queued"], state("idle")["running"]), (1, 1, 0))
        waiting.close()
        running.close()
        poll(lambda: state("busy")["running"] + state("busy")["queued"] == 0, "both have left")


@test
def probe_P07_both_models_decode_at_once():
    """Each answer is long enough that one of the two would still run when the other is over, if they took turns."""
    with serving("[model a]\nfile = fake:len=60,step_us=5000\nsequences = 1\n"
                 "[model b]\nfile = fake:len=60,step_us=5000\nsequences = 1\n") as s:
        a = s.connect().ask("POST", "/v1/completions", {"prompt": "x", "model": "a", "stream": True})
        b = s.connect().ask("POST", "/v1/completions", {"prompt": "x", "model": "b", "stream": True})
        for c in (a, b):
            equal(c.head()[0], 200)
            c.until(b"data: ")  # a token of each, before the end of either
        both = poll(lambda: s.until(running=2), "both run")
        equal(both["completed"], 0)
        for c in (a, b):
            c.until(b"data: [DONE]")


@test
def policies_are_each_models_own():
    with serving("[model refuses]\nfile = fake:len=1000000,step_us=20000\nsequences = 1\nwhen_full = refuse\n"
                 "[model stops]\nfile = fake:len=1000000,step_us=1000\nrun_timeout = 50ms\n") as s:
        c = s.connect().ask("POST", "/v1/completions", {"prompt": "x", "model": "refuses", "stream": True})
        s.until(running=1)
        r = s.complete(model="refuses")
        equal((r.status, r.error()["code"]), (429, "busy"))
        equal(s.complete(model="stops").status, 504)
        c.close()


@test
def stopping_ends_what_runs_in_every_model():
    with serving("[model a]\nfile = fake:len=1000000,step_us=2000\n[model b]\nfile = fake:len=1000000,step_us=2000\n",
                 "--drain", "100ms") as s:
        clients = [s.connect().ask("POST", "/v1/completions", {"prompt": "x", "model": m, "stream": True})
                   for m in ("a", "b")]
        s.until(running=2)
        s.process.send_signal(signal.SIGTERM)
        for c in clients:
            assert b'"error"' in c.reply().body
        equal(s.process.wait(BOUND), 0, "the server's exit code")


def owners(s):
    """The server's child processes."""
    with open(f"/proc/{s.process.pid}/task/{s.process.pid}/children") as f:
        return [int(pid) for pid in f.read().split()]


@test
def probe_P40_a_model_whose_owner_dies_is_no_matter_of_the_others():
    models = "".join(f"[model {m}]\nfile = fake:len=60,step_us=5000\nowner = process\n" for m in ("a", "b"))
    with serving(models) as s:
        def restarts():
            text = s.ask("GET", "/metrics").body.decode()
            return [int(n) for n in re.findall(r"^baton_context_restarts_total\{model=\"[ab]\"\} (\d+)$", text, re.M)]
        expected = {m: s.complete("x", model=m).text() for m in ("a", "b")}
        equal((len(owners(s)), restarts()), (2, [0, 0]))
        streams = [s.connect().ask("POST", "/v1/completions", {"prompt": "x", "temperature": 0, "model": m,
                                                               "stream": True}) for m in ("a", "b")]
        s.until(running=2)
        os.kill(owners(s)[0], signal.SIGKILL)
        equal([c.reply().text() for c in streams], [expected["a"], expected["b"]])
        poll(lambda: sorted(restarts()) == [0, 1], "one of them was started again, and only one")
        equal({m["meta"]["state"] for m in s.ask("GET", "/v1/models").json()["data"]}, {"ready"})


@test
def the_built_in_model_stands_beside_others():
    if SANITIZER == "thread":
        return
    with serving("[model tiny]\nfile = builtin\n[model fake]\nfile = fake:len=4\n[role any]\nmodels = fake, tiny\n"
                 ) as s, Server(None) as alone:
        question = "What is a lease?"
        expected = alone.chat(question, max_tokens=32).text()
        answers = at_once(8, lambda i: s.chat(question, max_tokens=32, model=("tiny", "fake")[i % 2]))
        equal({a.text() for a in answers[0::2]}, {expected})
        equal({a.json()["model"] for a in answers[1::2]}, {"fake"})
        equal(s.chat(model="any").json()["model"], "fake")


@test
def a_model_that_cannot_be_loaded_ends_it_by_name():
    with ini("[model good]\nfile = fake:len=1\n[model broken]\nfile = fake:load_fail=1\n") as path:
        r = run("serve", "-c", path, "--port", "0")
        equal((r.returncode, r.stdout), (1, ""))
        assert "baton serve: model broken: " in r.stderr, r.stderr


@test
def probe_P62_faults_are_all_told_with_their_lines():
    with ini("[model a]\nfile = fake:len=1\nqueue = -1\nspeed = 9\n[modle b]\n[model c]\nfile = nowhere.gguf\n") as path:
        for more in ((), ("--check",)):
            r = run("serve", "-c", path, *more)
            equal((r.returncode, r.stdout), (2, ""))
            lines = r.stderr.splitlines()
            equal([re.sub(r":.*", "", line[len(path) + 1:]) for line in lines[:4]], ["3", "4", "5", "7"], r.stderr)
            assert lines[0].endswith('queue is "-1": expected a whole number from 0 to 1048576'), lines
            assert os.path.join(os.path.dirname(path), "nowhere.gguf") in lines[3], lines
            equal(lines[4:], [f"baton serve: {path} has 4 faults"])
    r = run("serve", "-c", "/nowhere.ini")
    equal(r.returncode, 2)
    assert "/nowhere.ini" in r.stderr


@test
def check_prints_a_file_that_means_the_same():
    with ini(THREE) as path:
        first = run("serve", "-c", path, "--check", "--queue", "7", "--port", "1234")
        equal((first.returncode, first.stderr), (0, ""))
        assert first.stdout.count("queue = 7\n") == 3 and "port = 1234\n" in first.stdout, first.stdout
        with ini(first.stdout) as again:
            equal(run("serve", "-c", again, "--check").stdout, first.stdout)
        keys = {m for m in re.findall(r"^;? ?(\w+) (?:=|is not set)", first.stdout, re.M)}
        assert set(TEXT_KEYS) <= keys, keys
    alone = run("serve", "-m", "fake:len=2", "--sequences", "3", "--check")
    equal(alone.returncode, 0)
    assert "file = fake:len=2\n" in alone.stdout and "sequences = 3\n" in alone.stdout


@test
def the_command_line_overrides_the_file():
    with serving("[serve]\nhost = 127.0.0.2\n[model a]\nfile = fake:len=2\nsequences = 4\nctx = 300\n"
                 "[model b]\nfile = fake:len=2\nsequences = 5\n", "--host", "127.0.0.1", "--ctx", "256") as s:
        data = s.ask("GET", "/v1/models").json()["data"]
        equal([(m["meta"]["context"], m["meta"]["sequences"]) for m in data], [(256, 4), (256, 5)])
    with ini("[model a]\nfile = fake:len=2\nsequential = yes\n") as path:
        r = run("serve", "-c", path, "--sequences", "2", "--check")
        equal(r.returncode, 2)
        assert "[model a]: sequential = yes" in r.stderr, r.stderr
        r = run("serve", "-c", path, "-m", "fake:len=1")
        equal(r.returncode, 2)
        assert "--model and --config" in r.stderr, r.stderr


@test
def models_for_other_work_are_left_out_with_a_warning():
    with serving("[model ears]\nfile = fake:len=1\nkind = speech\n[model a]\nfile = fake:len=2\n"
                 "[role listen]\nmodels = ears\n[role any]\nmodels = ears, a\n") as s:
        equal([m["id"] for m in s.ask("GET", "/v1/models").json()["data"]], ["a", "any"])
        equal(s.complete().json()["model"], "a")
        equal(s.complete(model="any").json()["model"], "a")
        equal(s.complete(model="ears").status, 404)
        assert "model ears is not served" in s.said() and "role listen leads to no model" in s.said(), s.said()
    with ini("[model ears]\nfile = fake:len=1\nkind = speech\n") as path:
        equal(run("serve", "-c", path, "--port", "0").returncode, 2)


main()
