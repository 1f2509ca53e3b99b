"""Tasks of kind "image" on a stand-in for libstable-diffusion (test/standin): the pixels that are drawn arrive, whose they
are, what cannot be drawn, and what becomes of a task when the library dies. Models are files with words in them."""
import base64
import struct
import zlib

from parent import *

STANDIN = {"BATON_OWNER": os.path.join(BUILD, "bin", "baton-owner-standin")}
MASK = 2**64 - 1


class Folder:
    """A model of each name."""

    def __init__(self, *names):
        self.folder = tempfile.TemporaryDirectory()
        for name in names:
            self.write(name, name)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.path(name)


MODELS = Folder("plain", "slow", "nowhere", "video")


def worker(*options, model="plain", **how):
    return Parent("-m", MODELS.path(model), "--kind", "image", *options, environment=STANDIN, **how)


def image(prompt="a lighthouse", **fields):
    return {"kind": "image", "prompt": prompt, "size": "64x80", "steps": 4, "seed": 1, **fields}


def drawn(prompt, seed, size=(64, 80), negative="", index=0):
    """As the stand-in does it."""
    h = 14695981039346656037
    for byte in prompt.encode() + struct.pack("<q", seed) + negative.encode():
        h = (h ^ byte) * 1099511628211 & MASK
    h = h + index & MASK
    pixels = bytearray()
    for _ in range(size[0] * size[1] * 3):
        h = (h * 6364136223846793005 + 1442695040888963407) & MASK
        pixels.append(h >> 56)
    return bytes(pixels)


def unfiltered(rows, width):
    """The pixels of PNG's filtered rows of RGB."""
    stride, before, out = 3 * width, bytearray(3 * width), bytearray()
    for at in range(0, len(rows), stride + 1):
        how, row = rows[at], bytearray(rows[at + 1:at + 1 + stride])
        for i in range(stride):
            left, above = row[i - 3] if i >= 3 else 0, before[i]
            corner = before[i - 3] if i >= 3 else 0
            guess = left + above - corner
            nearest = min((left, above, corner), key=lambda v: abs(guess - v))
            row[i] = (row[i] + (0, left, above, (left + above) // 2, nearest)[how]) & 255
        out += row
        before = row
    return bytes(out)


def pixels_of(text):
    """(width, height, pixels) of a PNG as base64."""
    png = base64.b64decode(text, validate=True)
    equal(png[:8], b"\x89PNG\r\n\x1a\n")
    at, data = 8, b""
    while at < len(png):
        size, name = struct.unpack(">I4s", png[at:at + 8])
        body = png[at + 8:at + 8 + size]
        equal(zlib.crc32(name + body), struct.unpack(">I", png[at + 8 + size:at + 12 + size])[0])
        if name == b"IHDR":
            width, height, depth, colours = struct.unpack(">IIBB", body[:10])
            equal((depth, colours), (8, 2))
        data += body if name == b"IDAT" else b""
        at += 12 + size
    return width, height, unfiltered(zlib.decompress(data), width)


@test
def probe_P50_an_image_has_openais_shape():
    with worker() as p:
        a = p.do("t", image(n=2, negative_prompt="fog"))
        equal(a.error, None)
        equal(sorted(a.result), ["created", "data", "output_format", "size"])
        equal((a.result["size"], a.result["output_format"]), ("64x80", "png"))
        assert abs(a.result["created"] - time.time()) < 3600, a.result["created"]
        for i, one in enumerate(a.result["data"]):
            equal(sorted(one), ["b64_json", "seed"])
            equal(one["seed"], 1 + i)
            equal(pixels_of(one["b64_json"]), (64, 80, drawn("a lighthouse", 1, negative="fog", index=i)))
        equal(len(a.result["data"]), 2)
        again = p.do("again", image(n=2, negative_prompt="fog"))
        equal(again.result["data"], a.result["data"])
        random = [p.do(f"r{i}", image(seed=None)).result["data"][0] for i in range(2)]
        assert random[0]["seed"] != random[1]["seed"], random
        equal(pixels_of(random[0]["b64_json"])[2], drawn("a lighthouse", random[0]["seed"]))
        equal(p.do("preset", {"kind": "image", "prompt": "x"}).result["size"], "512x512")


@test
def probe_P51_steps_are_told_as_they_are_made():
    with worker("--events", "asked", model="slow") as p:
        equal(p.do("quiet", image()).error, None)
        equal(p.logs, [])
        equal(p.do("told", image(n=2, stream=True)).error, None)
        equal([(e["step"], e["steps"]) for e in p.events("step", "told")], [(i, 4) for i in (1, 2, 3, 4)] * 2)
        assert not any("task_id" in e for e in p.logs), p.logs


@test
def probe_P50_two_contexts_draw_two_at_once():
    with worker("--workers", "2", "--contexts", "2", "--events", "all", model="slow") as p:
        for i in range(2):
            p.send(f"long{i}", image(steps=1000))
        for i in range(2):
            p.send(f"t{i}", image(f"number {i}"))
        for i in range(2):
            poll(lambda: p.events("step", f"long{i}"), "a step of each")
        equal(p.answers, {})
        for i in range(2):
            p.cancel(f"long{i}")
            equal(p.take(f"long{i}").code(), "BATON_CANCELLED")
        for i in range(2):
            one = p.take(f"t{i}").result["data"][0]
            equal(pixels_of(one["b64_json"])[2], drawn(f"number {i}", 1), i)


@test
def probe_P07_a_large_image_is_written_beside_the_other_tasks():
    # with one context: a step of the second says that the worker has all of the first one's pixels
    with worker("--workers", "2", "--contexts", "1", "--events", "all") as p:
        before = 0
        for i in range(4):
            p.send(f"large{i}", image("dark", size="4096x3072"))
            p.send(f"small{i}", image())
            a = p.take(f"large{i}")
            equal((a.error, a.result["size"]), (None, "4096x3072"))
            equal(p.take(f"small{i}").error, None)
            with p.lock:  # a step is left out while much waits to be written
                before += ("step", f"small{i}") in p.story[:p.story.index(("answer", f"large{i}"))]
        assert before > 0, "nothing else went on while four large images were written"


@test
def probe_P20_what_waits_to_be_written_is_cancelled_at_once():
    with worker("--workers", "8", "--contexts", "1", "--events", "all") as p:
        ids = [f"large{i}" for i in range(4)]
        for i in ids:
            p.send(i, image("dark", size="2048x2048"))
        p.send("small", image())
        equal(p.take(ids[0]).error, None)
        for i in ids[1:]:
            p.cancel(i)
        for i in ids[1:]:
            a = p.take(i)
            assert a.error is None or a.code() == "BATON_CANCELLED", a.error
        equal(p.take("small").error, None)
        equal(p.do("after", image()).error, None)


@test
def probe_P52_what_cannot_be_drawn_is_told():
    cases = [({"kind": "image"}, "BATON_INVALID", "prompt is missing"),
             (image(size="huge"), "BATON_INVALID", "size is \"huge\""),
             (image(n=11), "BATON_INVALID", "n is 11"),
             (image(size="4096x4096", n=2), "BATON_INVALID", "pixels"),
             (image(response_format="url"), "BATON_UNSUPPORTED", "b64_json"),
             (image(style="vivid"), "BATON_UNSUPPORTED", "style"),
             (image(sampler="none such"), "BATON_INVALID", "none such"),
             (image("fail"), "BATON_FAILED", "cannot allocate the buffer"),
             (image(model="nobody"), "BATON_NOT_FOUND", "nobody"),
             (image(size="2048x2048"), "BATON_TOO_LONG", "10 MiB"),  # noise, which nothing makes shorter
             (chat(), "BATON_UNSUPPORTED", "kind = image"),
             ({"kind": "embed", "input": "x"}, "BATON_UNSUPPORTED", "\"image\""),
             ({"kind": "transcribe", "audio": "AAAA"}, "BATON_UNSUPPORTED", "does not hear"),
             ({"kind": "paint"}, "BATON_INVALID", "\"transcribe\" or \"image\"")]
    with worker() as p:
        for i, (payload, code, text) in enumerate(cases):
            a = p.do(f"t{i}", payload)
            equal((a.code(), a.retry), (code, code == "BATON_FAILED"), payload)
            assert text in a.error, (payload, a.error)
        equal(p.do("well", image()).error, None)
    with Parent("-m", "fake:") as p:
        a = p.do("text", image())
        equal(a.code(), "BATON_UNSUPPORTED")
        assert "does not draw" in a.error, a.error
    with worker(model="video") as p:
        equal(p.do("t", image()).code(), "BATON_UNSUPPORTED")


@test
def probe_P41_a_library_that_dies_costs_its_task_alone():
    with worker() as p:
        for way in ("abort", "segfault", "exit"):
            a = p.do(way, image(way))
            equal((a.code(), a.retry), ("BATON_CRASHED", True), way)
            equal(p.do("after " + way, image()).error, None)
    with worker("--hang-limit", "3s") as p:
        a = p.do("hang", image("hang"))
        equal((a.code(), a.retry), ("BATON_HUNG", True))
        equal(p.do("after", image()).error, None)
    with worker("--resume", "on") as p:
        a = p.do("again and again", image("segfault"))
        equal((a.code(), a.retry), ("BATON_CRASHED", True))
        assert "alone" in a.error, a.error
        equal(p.do("after", image()).error, None)


@test
def a_cancel_and_a_time_limit_end_what_is_drawn():
    with worker("--events", "all", model="slow") as p:
        p.send("runs", image(steps=1000))
        poll(lambda: p.events("step", "runs"), "a step")
        p.cancel("runs")
        equal(p.take("runs").code(), "BATON_CANCELLED")
        equal(p.do("after", image()).error, None)
    with worker("--run-timeout", "200ms", model="slow") as p:
        a = p.do("long", image(steps=1000))
        equal((a.code(), a.retry), ("BATON_RUN_TIMEOUT", True))


@test
def models_in_a_file_answer_by_kind():
    parts = Folder("unet", "vae")
    ini = parts.write("baton.ini", "[model words]\nfile = fake:\n[model draws]\nkind = image\ndiffusion_model = unet\n"
                                   "vae = vae\n[role painter]\nmodels = draws\n")
    with Parent("-c", ini, environment=STANDIN) as p:
        for name in (None, "draws", "painter"):
            equal(pixels_of(p.do(f"i {name}", image(model=name)).result["data"][0]["b64_json"])[2],
                  drawn("a lighthouse", 1), name)
        equal(p.do("text", chat()).error, None)
        assert "kind = image" in p.do("no", chat(model="draws")).error


@test
def a_worker_that_cannot_draw_says_so_at_its_start():
    cases = [([MODELS.path("nowhere")], STANDIN, 1, "there is no such file: " + MODELS.path("nowhere")),
             ([MODELS.path("not there")], STANDIN, 2, "not there cannot be opened"),
             ([MODELS.path("plain"), "--vae", MODELS.path("not there")], STANDIN, 2, "not there cannot be opened")]
    version = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    if "stable-diffusion" not in version:
        cases.append(([MODELS.path("plain")], {}, 2, "built without libstable-diffusion"))
    for options, environment, code, text in cases:
        p = Parent("-m", *options, "--kind", "image", environment=environment, ready=False)
        equal(p.wait(), code, options)
        assert text in p.said(), (options, p.said())
        equal([s["status"] for s in p.status], ["error"], options)
    for options, text in [([], "needs a model's file"), (["--vae", "x"], "needs a model's file"),
                          (["-m", "x", "--contexts", "2", "--owner", "thread"], "owner = process")]:
        p = Parent("--kind", "image", *options, read=False)
        equal(p.process.wait(BOUND), 2, options)
        assert text in p.said(), (options, p.said())


if __name__ == "__main__":
    main()
