"""/metrics: the text that Prometheus reads, and that its numbers are what happened."""
import math
import re

from client import *

LINE = re.compile(r'([a-z][a-z0-9_]*)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)+)\})? (-?[0-9.e+-]+|\+Inf)')


class Metrics:
    """Strict: every line is a sample of the family whose head was last, and no family comes twice."""

    def __init__(self, reply):
        equal(reply.status, 200, reply.body)
        equal(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8")
        self.samples, self.types = {}, {}
        text = reply.body.decode()
        assert text.endswith("\n")
        family = None
        for line in text.splitlines():
            if line.startswith("# HELP "):
                family = line.split(" ", 3)[2]
                assert family not in self.types, family
                continue
            if line.startswith("# TYPE "):
                _, _, name, kind = line.split(" ")
                equal(name, family)
                self.types[name] = kind
                continue
            match = LINE.fullmatch(line)
            assert match, line
            name, labels, value = match.groups()
            base = re.sub(r"_(bucket|sum|count)$", "", name) if self.types[family] == "histogram" else name
            equal(base, family, line)
            if self.types[family] == "counter":
                assert name.endswith("_total"), line
            key = (name, tuple(sorted(re.findall(r'([a-z]+)="((?:[^"\\]|\\.)*)"', labels or ""))))
            assert key not in self.samples, line
            self.samples[key] = float(value)

    def __call__(self, name, **labels):
        return self.samples[(name, tuple(sorted(labels.items())))]

    def buckets(self, name, model):
        found = sorted((float(dict(labels)["le"]), value) for (n, labels), value in self.samples.items()
                       if n == name + "_bucket" and dict(labels)["model"] == model)
        values = [v for _, v in found]
        equal(values, sorted(values), f"{name} rises")
        equal(found[-1], (math.inf, self(name + "_count", model=model)), name)
        return found


def metrics(s):
    return Metrics(s.ask("GET", "/metrics"))


def two_models():
    f = tempfile.NamedTemporaryFile("w", suffix=".ini")
    f.write("[model a]\nfile = fake:len=9,step_us=1000\nsequences = 1\nqueue = 1\n"
            '[model b "quoted\\"]\nfile = fake:len=1000000,step_us=1000\nrun_timeout = 100ms\nsequences = 2\n'
            "[model c]\nfile = fake:len=1000000,step_us=5000\nsequences = 1\nqueue = 0\n")
    f.flush()
    return f


@test
def every_model_has_every_family_from_the_start():
    with two_models() as f, Server(None, "-c", f.name) as s:
        m = metrics(s)
        for model, slots in (("a", 1), ('b \\"quoted\\\\\\"', 2), ("c", 1)):
            equal(m("baton_slots", model=model), slots)
            equal(m("baton_context_ready", model=model, context="0"), 1)
            equal(m("baton_requests_total", model=model, outcome="completed"), 0)
            for name, kind in m.types.items():
                if kind == "histogram":
                    equal({v for _, v in m.buckets(name, model)}, {0.0}, name)
        equal(m("baton_build_info", version="0.1.0"), 1)
        assert m("process_start_time_seconds") > 1.6e9


@test
def what_happened_is_counted():
    with two_models() as f, Server(None, "-c", f.name) as s:
        prompt = answer = 0
        for i in range(5):
            r = s.complete("x" * (i + 1), model="a", stream=i % 2 == 1, stream_options={"include_usage": True}
                           if i % 2 else None)
            usage = r.events()[-2]["usage"] if i % 2 else r.json()["usage"]
            prompt, answer = prompt + usage["prompt_tokens"], answer + usage["completion_tokens"]
        m = metrics(s)
        equal(m("baton_requests_total", model="a", outcome="completed"), 5)
        equal(m("baton_prompt_tokens_total", model="a"), prompt)
        equal(m("baton_generation_tokens_total", model="a"), answer)
        for name in ("baton_time_to_first_token_seconds", "baton_request_queue_time_seconds",
                     "baton_e2e_request_latency_seconds", "baton_request_time_per_output_token_seconds"):
            m.buckets(name, "a")
            equal(m(name + "_count", model="a"), 5, name)
            equal(m(name + "_count", model="c"), 0, name)
        whole, first = (m(f"baton_{n}_seconds_sum", model="a") for n in ("e2e_request_latency", "time_to_first_token"))
        assert whole > first > 0, (whole, first)
        assert m("baton_http_responses_total", code="200") >= 5


@test
def refusals_timeouts_and_leavers_are_told_apart():
    with two_models() as f, Server(None, "-c", f.name) as s:
        b = 'b \\"quoted\\\\\\"'
        equal(s.complete(model='b "quoted\\"').status, 504)
        c = s.connect().ask("POST", "/v1/completions", {"prompt": "x", "model": "c", "stream": True})
        poll(lambda: metrics(s)("baton_generation_tokens_total", model="c") > 0, "tokens are counted as they come")
        equal(metrics(s)("baton_requests_running", model="c"), 1)
        equal(s.complete(model="c").error()["code"], "queue_full")
        equal(s.complete(model="nobody").status, 404)
        c.close()
        poll(lambda: metrics(s)("baton_requests_running", model="c") == 0, "it has left")
        m = metrics(s)
        for model, outcome in ((b, "run_timeout"), ("c", "queue_full"), ("c", "client_gone")):
            equal(m("baton_requests_total", model=model, outcome=outcome), 1, outcome)
        equal(sum(v for (n, _), v in m.samples.items() if n == "baton_requests_total"), 3)
        for code in ("404", "429", "504"):
            equal(m("baton_http_responses_total", code=code), 1, code)


@test
def waiting_is_seen_while_it_lasts_and_in_the_histogram():
    with Server("fake:len=60,step_us=5000", "--sequences", "1") as s:
        def one(i):
            return s.complete("x", max_tokens=40).status
        done = []
        threads = [threading.Thread(target=lambda i=i: done.append(one(i))) for i in range(3)]
        for t in threads:
            t.start()
        m = poll(lambda: (x := metrics(s)) and x("baton_requests_waiting", model="fake") == 2 and x, "two wait")
        equal(m("baton_requests_running", model="fake"), 1)
        for t in threads:
            t.join()
        equal(done, [200] * 3)
        m = metrics(s)
        equal(m("baton_request_queue_time_seconds_count", model="fake"), 3)
        assert m("baton_request_queue_time_seconds_sum", model="fake") > 0
        assert m("baton_time_to_first_token_seconds_sum", model="fake") > \
            m("baton_request_queue_time_seconds_sum", model="fake")


@test
def probe_P63_metrics_name_models_and_so_need_the_key():
    with tempfile.NamedTemporaryFile("w") as keys:
        keys.write("secret\n")
        keys.flush()
        with Server("fake:len=3", "--api-key-file", keys.name) as s:
            equal(s.ask("GET", "/metrics").status, 401)
            r = s.ask("GET", "/metrics", headers=["Authorization: Bearer secret"])
            equal(Metrics(r)("baton_http_responses_total", code="401"), 1)
            assert b"secret" not in r.body


main()
