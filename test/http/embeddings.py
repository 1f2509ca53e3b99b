"""Vectors, scores and the vocabulary over HTTP: /v1/embeddings, /v1/rerank, /tokenize, /detokenize."""
import base64
import random

from client import *


TEXTS = ["one", "a lease covers the transaction", "two words", "the gate is open"]


def vectors(r):
    equal(r.status, 200, r.body)
    body = r.json()
    equal(body["object"], "list")
    equal([d["index"] for d in body["data"]], list(range(len(body["data"]))))
    equal({d["object"] for d in body["data"]}, {"embedding"})
    return [d["embedding"] for d in body["data"]]


def tokens(s, text):
    return s.ask("POST", "/tokenize", {"content": text, "add_special": True}).json()["tokens"]


def embed(s, given, **fields):
    return s.ask("POST", "/v1/embeddings", {"input": given, **fields})


def unpack(text):
    raw = base64.b64decode(text, validate=True)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


def as_float(x):
    return struct.unpack("<f", struct.pack("<f", x))[0]


def check_vectors(s, width, tokens_of_a_text):
    alone = [vectors(embed(s, t))[0] for t in TEXTS]
    equal({len(v) for v in alone}, {width})
    for v in alone:
        assert abs(sum(x * x for x in v) - 1) < 1e-4, v
    equal(vectors(embed(s, TEXTS)), alone)
    packed = vectors(embed(s, TEXTS, encoding_format="base64"))
    equal([unpack(v) for v in packed], [[as_float(x) for x in v] for v in alone])
    usage = embed(s, TEXTS).json()["usage"]
    equal(usage["prompt_tokens"], usage["total_tokens"])
    equal(usage["prompt_tokens"], sum(embed(s, t).json()["usage"]["prompt_tokens"] for t in TEXTS))
    ids = tokens(s, TEXTS[1])
    equal(len(ids), tokens_of_a_text(TEXTS[1]))
    equal(vectors(embed(s, ids)), [alone[1]])
    equal(vectors(embed(s, [ids, ids])), [alone[1], alone[1]])
    equal(vectors(embed(s, [ids, "one"])), [alone[1], alone[0]])
    equal(vectors(embed(s, TEXTS, dimensions=width)), alone)
    return alone


@test
def vectors_are_what_they_are_alone():
    first = None
    for options in (("--owner", "process"), ("--owner", "thread"), ("--owner", "process", "--exact", "off")):
        with Server("fake:", "--pooling", "mean", "--sequences", "4", *options) as s:
            alone = check_vectors(s, 16, lambda t: len(tokens(s, t)))
            equal(at_once(16, lambda i: vectors(embed(s, TEXTS[i % 4]))[0]), [alone[i % 4] for i in range(16)])
            meta = s.ask("GET", "/v1/models").json()["data"][0]["meta"]
            equal((meta["pooling"], meta["dimensions"]), ("mean", 16))
            first = first or alone
            equal(alone, first, options)


@test
def what_cannot_be_is_refused_by_name():
    with Server("fake:", "--pooling", "mean", "--ctx", "256") as s:
        for body, field in (({}, "input"), ({"input": []}, "input"), ({"input": ""}, "input[0]"), ({"input": 7}, "input[0]"),
                            ({"input": ["a", ""]}, "input[1]"), ({"input": [[1], []]}, "input[1]"),
                            ({"input": [1, "a"]}, "input[0]"), ({"input": [[1 << 40]]}, "input[0]"),
                            ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
                            ({"input": "a", "dimensions": 0}, "dimensions"), ({"input": "a", "dimensions": 15}, "dimensions"),
                            ({"input": ["a"] * 2049}, "input"), ({"input": "a", "user": 1}, "user")):
            r = s.ask("POST", "/v1/embeddings", body)
            equal((r.status, r.error()["param"]), (400, field), str(body)[:80])
        assert "16" in embed(s, "a", dimensions=15).error()["message"]
        r = embed(s, ["short", "x" * 300])
        equal((r.status, r.error()["code"]), (400, "context_length_exceeded"))
        assert "input 1" in r.error()["message"]
        r = s.chat("hello")
        equal((r.status, r.error()["code"]), (400, "unsupported"))
        equal(s.ask("POST", "/v1/rerank", {"query": "q", "documents": ["d"]}).status, 400)
        equal(s.ask("GET", "/v1/embeddings").status, 405)
        equal(s.health()["running"], 0)
    with Server("fake:") as s:
        r = embed(s, "a")
        equal((r.status, r.error()["code"]), (400, "unsupported"))
        equal(s.chat("hello").status, 200)


@test
def documents_are_ranked_best_first():
    with Server("fake:scores=1", "--pooling", "rank") as s:
        def rank(**fields):
            r = s.ask("POST", "/v1/rerank", {"query": "which gate", "documents": TEXTS, **fields})
            equal(r.status, 200, r.body)
            return r.json()
        whole = rank()
        scores = [x["relevance_score"] for x in whole["results"]]
        equal(scores, sorted(scores, reverse=True))
        equal(sorted(x["index"] for x in whole["results"]), [0, 1, 2, 3])
        assert whole["usage"]["total_tokens"] > 0 and "document" not in whole["results"][0]
        equal(rank(top_n=2)["results"], whole["results"][:2])
        named = rank(top_n=1, return_documents=True)["results"][0]
        equal(named["document"]["text"], TEXTS[named["index"]])
        equal(rank(documents=[{"text": t} for t in TEXTS]), whole)
        equal(s.ask("POST", "/rerank", {"query": "which gate", "documents": TEXTS}).json(), whole)
        for body in ({"documents": TEXTS}, {"query": "q"}, {"query": "", "documents": TEXTS}, {"query": "q", "documents": []},
                     {"query": "q", "documents": [1]}, {"query": "q", "documents": TEXTS, "top_n": 0},
                     {"query": "q\0r", "documents": TEXTS}):
            equal(s.ask("POST", "/v1/rerank", body).status, 400, body)


@test
def text_becomes_tokens_and_text_again():
    with Server("fake:") as s:
        text = "A lease, h\u00e9las: 3 \u20ac \U0001f600 " * 5000
        r = s.ask("POST", "/tokenize", {"content": text})
        equal(r.status, 200, r.body[:200])
        equal(len(r.json()["tokens"]), r.json()["count"])
        equal(s.ask("POST", "/detokenize", {"tokens": r.json()["tokens"]}).json()["content"], text)
        equal(s.ask("POST", "/tokenize", {"content": ""}).json(), {"tokens": [], "count": 0})
        equal(s.ask("POST", "/detokenize", {"tokens": []}).json(), {"content": ""})
        for path, body in (("/tokenize", {}), ("/tokenize", {"content": 1}), ("/tokenize", {"content": "a", "add_special": 1}),
                           ("/detokenize", {}), ("/detokenize", {"tokens": [-1]}), ("/detokenize", {"tokens": "a"}),
                           ("/detokenize", {"tokens": [1 << 30]})):
            equal(s.ask("POST", path, body).status, 400, body)


@test
def probe_P08_no_vector_is_anothers():
    with Server("fake:step_us=200", "--pooling", "cls", "--contexts", "2", "--sequences", "3") as s:
        rng = random.Random(seed())
        alone = {}
        for i in range(24):
            alone[i] = vectors(embed(s, f"text {i}"))[0]
        for _ in range(3):
            asked = [[rng.randrange(24) for _ in range(rng.randrange(1, 6))] for _ in range(24)]
            got = at_once(24, lambda k: vectors(embed(s, [f"text {i}" for i in asked[k]])))
            equal(got, [[alone[i] for i in of] for of in asked])


@test
def probe_P22_leaving_frees_the_slot():
    with Server("fake:step_us=20000", "--pooling", "mean", "--sequences", "1") as s:
        for _ in range(3):
            c = s.connect().ask("POST", "/v1/embeddings", {"input": ["x"] * 2000})
            s.until(running=1)
            c.close()
            s.until(running=0)
        equal(len(vectors(embed(s, "a"))), 1)


@test
def probe_P40_a_killed_owner_costs_no_vector():
    with Server("fake:step_us=10000", "--pooling", "mean", "--sequences", "2") as s:
        expected = vectors(embed(s, [f"t {i}" for i in range(40)]))

        def kill(_):
            s.until(running=1)
            for pid in owners(s):
                os.kill(pid, 9)
        got = at_once(2, lambda i: kill(i) if i else embed(s, [f"t {i}" for i in range(40)]))[0]
        equal(vectors(got), expected)


def owners(s):
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as f:
            if int(f.read().rsplit(")", 1)[1].split()[1]) == s.process.pid:
                found.append(int(entry))
    return found


@test
def an_encoder_embeds_without_being_told():
    """Real libllama, with a bert of random weights."""
    if SANITIZER == "thread":
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "bert.gguf")
        subprocess.run([sys.executable, os.path.join(os.path.dirname(__file__), "../../tools/make_gguf.py"), path, "--arch",
                        "bert", "--pooling", "cls"], check=True)
        with Server(path, "--threads", "1") as s:
            meta = s.ask("GET", "/v1/models").json()["data"][0]["meta"]
            equal(meta["pooling"], "cls")
            alone = check_vectors(s, meta["dimensions"], lambda t: len(tokens(s, t)))
            equal(at_once(8, lambda i: vectors(embed(s, TEXTS))), [alone] * 8)
            equal(s.chat("hello").status, 400)


main()
