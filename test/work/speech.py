"""Tasks of kind "transcribe" on the fake recogniser: what a WAV file must be, whose they are, company, a crash."""
import struct

from parent import *
from sounds import *

EAR = ("-m", "fake:", "--kind", "speech")
SLOW_EAR = ("-m", "fake:window_us=20000", "--kind", "speech")


def heard(p, file=None, task_id="t", payload=None, **how):
    a = p.do(task_id, payload or transcribe(file, **how))
    equal(a.error, None, "the error of a transcription")
    return a.result


@test
def probe_P50_a_transcription_has_openais_shape():
    with Parent(*EAR) as p:
        whole = heard(p)
        equal(list(whole), ["text"])
        verbose = heard(p, response_format="verbose_json", timestamp_granularities=["segment"])
        equal((verbose["text"], verbose["task"], verbose["duration"]), (whole["text"], "transcribe", 3.0))
        assert verbose["language"] in ("en", "de", "fr", "es"), verbose
        equal([(s["id"], s["start"], s["end"]) for s in verbose["segments"]], [(0, 0, 1), (1, 1, 2), (2, 2, 3)])
        equal("".join(s["text"] for s in verbose["segments"]), whole["text"])
        german = heard(p, language="german", response_format="verbose_json")
        equal(german["language"], "de")
        others = [heard(p, language="de", **fields)["text"]
                  for fields in ({}, {"prompt": "x"}, {"temperature": 0.5}, {"temperature": 0, "prompt": ""})]
        equal(len(set(others)), 3, "prompt and temperature reach the model, and nothing is not something")
        equal(others[0], german["text"])
        equal(heard(p, wav(sound(), tag=0xfffe)), whole, "the extensible format")
        equal(heard(p, wav(sound(), before=chunk(b"LIST", b"odd"))), whole, "a chunk of odd length before")
        equal(heard(p, wav(sound(), size=0xffffffff)), whole, "what a pipe's writer says")
        assert heard(p, wav(sound(pitch=500))) != whole


@test
def probe_P52_audio_that_cannot_be_heard_is_told():
    good = wav(sound())
    cases = [({"kind": "transcribe"}, "audio is missing"),
             ({"kind": "transcribe", "file": "x"}, "not called file"),
             ({"kind": "transcribe", "audio": 7}, "audio is 7: expected"),
             ({"kind": "transcribe", "audio": ""}, "base64"),
             ({"kind": "transcribe", "audio": "not base64!"}, "no base64"),
             ({"kind": "transcribe", "audio": "data:audio/wav;base64,AAAA"}, "no base64"),
             (transcribe(b"ID3 and some music"), "no WAV file"),
             (transcribe(b"RIFF"), "4 bytes that are no WAV file"),
             (transcribe(good[:12]), "there are no samples in its 12 bytes"),
             (transcribe(good[:20]), "cut off"),
             (transcribe(good[:-100]), "says 96000 bytes of samples and has 95900"),
             (transcribe(good[:12] + chunk(b"data", b"1234")), "before it says their format"),
             (transcribe(good[:12] + chunk(b"fmt ", b"1234")), "format has 4 bytes"),
             (transcribe(good[:12] + struct.pack("<4sI", b"LIST", 0xffffffff) + good[12:]), "cut off"),
             (transcribe(wav(sound(), rate=44100)), "44100 samples a second: expected"),
             (transcribe(wav(sound(), channels=2)), "2 channels: expected"),
             (transcribe(wav(sound(), bits=8)), "samples of 8 bits: expected"),
             (transcribe(wav(sound(), tag=3)), "format 3"),
             (transcribe(wav([])), "0 samples"),
             (transcribe(wav(sound(0.05))), "50 ms"),
             (transcribe(language="klingon"), "klingon"),
             (transcribe(language=7), "language is 7"),
             (transcribe(temperature=2), "temperature is 2: expected a number from 0 to 1"),
             (transcribe(prompt=[]), "prompt is []")]
    unsupported = [(transcribe(response_format="srt"), "response_format is \"srt\""),
                   (transcribe(timestamp_granularities=["word"]), "[\"segment\"]"),
                   (transcribe(include=["logprobs"]), "include is"),
                   (transcribe(chunking_strategy="auto"), "chunking_strategy is")]
    with Parent(*EAR) as p:
        for code, list_of in (("BATON_INVALID", cases), ("BATON_UNSUPPORTED", unsupported)):
            for payload, mention in list_of:
                a = p.do("bad", payload)
                equal((a.code(), a.retry), (code, False), mention)
                assert mention in a.error, (mention, a.error)
        a = p.do("long", transcribe(prompt="x" * 5000))
        equal((a.code(), a.retry), ("BATON_TOO_LONG", False))
        heard(p)


@test
def probe_P52_five_minutes_fit_into_a_line_and_seven_do_not():
    if SANITIZER == "thread":
        raise Skip("takes too long under ThreadSanitizer")
    second = sound(1)
    with Parent(*EAR, "--workers", "2") as p:
        p.send("long", transcribe(wav(second * 300), response_format="verbose_json"))
        p.send("short", transcribe())
        a = p.take("long").result
        equal((a["duration"], len(a["segments"])), (300, 300))
        equal(p.take("short").error, None)
        a = p.do("longer", transcribe(wav(second * 420)))
        equal((a.code(), a.retry), ("BATON_TOO_LONG", False))


@test
def any_bytes_are_no_more_than_an_error():
    draw = seed()
    good = wav(sound(0.2))
    with Parent(*EAR) as p:
        for i in range(150):
            broken = bytearray(good[:draw.choice((len(good), draw.randrange(60)))])
            for _ in range(draw.randrange(1, 6)):
                if broken:
                    broken[draw.randrange(min(len(broken), 60))] = draw.randrange(256)
            a = p.do(f"t{i}", transcribe(bytes(broken)))
            assert a.error is None or a.code() == "BATON_INVALID", a


@test
def probe_P50_who_hears_and_who_reads():
    with Parent(*EAR) as p:
        for payload in (chat(), complete(), {"kind": "embed", "input": "x"},
                        {"kind": "score", "query": "a", "documents": ["b"]}):
            a = p.do("t", payload)
            equal((a.code(), a.retry), ("BATON_UNSUPPORTED", False), payload)
            assert "kind = speech" in a.error, a
        equal(p.do("t", {"kind": "image"}).code(), "BATON_UNSUPPORTED")
    with Parent("-m", "fake:len=5") as p:
        a = p.do("t", transcribe())
        equal((a.code(), a.retry), ("BATON_UNSUPPORTED", False))
        assert "does not hear" in a.error, a
    with tempfile.NamedTemporaryFile("w", suffix=".ini") as file:
        file.write("[model small]\nfile = fake:len=5\n[model ear]\nfile = fake:\nkind = speech\n"
                   "[model english]\nfile = fake:english=1\nkind = speech\n[role listen]\nmodels = english\n")
        file.flush()
        with Parent("--config", file.name) as p:
            equal(p.do("t", complete()).result["model"], "small")
            verbose = {"response_format": "verbose_json"}
            equal(heard(p, language="fr", **verbose)["language"], "fr", "the first that hears")
            equal([heard(p, model=name, **verbose)["language"] for name in ("english", "listen")], ["en"] * 2)
            equal(p.do("t", transcribe(model="english", language="fr")).code(), "BATON_INVALID")
            equal(p.do("t", transcribe(model="small")).code(), "BATON_UNSUPPORTED")
            equal(p.do("t", complete(model="ear")).code(), "BATON_UNSUPPORTED")
            equal(p.do("t", transcribe(model="other")).code(), "BATON_NOT_FOUND")


@test
def probe_P50_transcriptions_at_once_say_what_they_say_alone():
    payloads = [transcribe(wav(sound(1 + i % 3, 300 + 40 * i)), language="de") for i in range(8)]
    with Parent(*EAR) as p:
        alone = [heard(p, payload=payload) for payload in payloads]
    equal(len({a["text"] for a in alone}), len(alone))
    for options in (["--workers", "3"], ["--workers", "4", "--contexts", "2"],
                    ["--workers", "4", "--contexts", "2", "--owner", "thread"]):
        with Parent("-m", "fake:window_us=3000", "--kind", "speech", *options) as p:
            for i, payload in enumerate(payloads):
                p.send(f"t{i}", payload)
            equal([p.take(f"t{i}").result for i in range(len(payloads))], alone, options)


@test
def probe_P51_segments_are_told_as_they_are_heard():
    with Parent(*SLOW_EAR, "--events", "asked") as p:
        heard(p, task_id="quiet")
        equal(p.logs, [])
        a = heard(p, task_id="told", stream=True, response_format="verbose_json")
        told = p.events("segment", "told")
        equal([(e["index"], e["start"], e["end"], e["text"]) for e in told],
              [(s["id"], s["start"], s["end"], s["text"]) for s in a["segments"]])
        assert not any("task_id" in e for e in p.logs), p.logs


@test
def probe_P42_an_owner_that_crashes_costs_a_task_or_nothing():
    alone = None
    with Parent(*EAR) as p:
        alone = heard(p)
    with Parent("-m", "fake:crash_at=2,window_us=1000", "--kind", "speech", "--resume", "on", "--events", "all") as p:
        equal([heard(p, task_id=f"t{i}") for i in range(3)], [alone] * 3, "tried again in the next owner")
        for i in range(3):
            equal([e["index"] for e in p.events("segment", f"t{i}")], [0, 1, 2], "each segment once")
    with Parent("-m", "fake:crash_at=2", "--kind", "speech") as p:
        heard(p)
        a = p.do("crashes", transcribe())
        equal((a.code(), a.retry), ("BATON_CRASHED", True))
        assert alone["text"].startswith((a.result or {}).get("partial", "")), a
        equal(heard(p, task_id="again"), alone)


@test
def a_cancel_and_a_time_limit_end_what_is_heard():
    long = transcribe(wav(sound(9)))
    with Parent(*SLOW_EAR, "--workers", "2", "--events", "all") as p:
        p.send("runs", long)
        poll(lambda: p.events("segment", "runs"), "a segment")
        p.send("waits", transcribe())
        p.cancel("runs")
        equal(p.take("runs").code(), "BATON_CANCELLED")
        equal(p.take("waits").error, None)
    with Parent("-m", "fake:hang_at=1", "--kind", "speech", "--run-timeout", "200ms") as p:
        a = p.do("hangs", long)
        equal((a.code(), a.retry), ("BATON_RUN_TIMEOUT", True))
        heard(p)


LONG_TASK = "fake:len=1000000,step_us=300,ctx_train=2000000"


class Both:
    """A worker that hears, and writes beside it: a task that runs on is there, to see it go on."""

    def __init__(self, *options, ear="fake:"):
        self.file = tempfile.NamedTemporaryFile("w", suffix=".ini")
        self.file.write(f"[model ear]\nfile = {ear}\nkind = speech\n[model text]\nfile = {LONG_TASK}\nctx = 500000\n")
        self.file.flush()
        self.parent = Parent("--config", self.file.name, "--events", "all", *options)

    def __enter__(self):
        p = self.parent
        p.send("beside", complete())
        poll(lambda: p.events("token", "beside"), "a token")
        return p

    def __exit__(self, kind, value, trace):
        self.parent.cancel("beside")
        if not kind:
            equal(self.parent.take("beside").code(), "BATON_CANCELLED")
        self.parent.__exit__(kind, value, trace)


def long_audio(seconds=30 if SANITIZER else 240, cut=0):
    file = wav(sound(1) * seconds)
    return transcribe(file[:len(file) - cut])


@test
def probe_P07_a_large_audio_is_read_beside_the_other_tasks():
    large = long_audio(cut=100)
    with Both("--workers", "3") as p:
        between = 0
        for i in range(4):
            a = p.do(f"large{i}", large)
            equal(a.code(), "BATON_INVALID")
            with p.lock:
                story = p.story[p.story.index(("started", f"large{i}")):]
            between += story[:story.index(("answer", f"large{i}"))].count(("token", "beside"))
        assert between > 0, "no token of the neighbour while four large audios were read"


@test
def probe_P20_what_waits_to_be_read_is_cancelled_at_once():
    large = long_audio()
    with Both("--workers", "9", ear=f"fake:window_us={100000 if SANITIZER else 5000}") as p:
        ids = [f"t{i}" for i in range(6)]
        for i in ids:
            p.send(i, large)
        p.send("short", transcribe())
        for i in ids[1:]:
            p.cancel(i)
        for i in ids[1:]:
            equal(p.take(i).code(), "BATON_CANCELLED")
        short = p.take("short").result["text"]
        equal(p.take("t0").error, None)
        p.send("same", large)
        p.send("same", transcribe(), retry_count=1)
        equal(p.take("same").result["text"], short, "the newer attempt")


@test
def probe_P53_a_signal_while_audios_are_read_ends_in_time():
    large = long_audio()
    with Parent(*EAR, "--workers", "6", "--drain", "0ms") as p:
        for i in range(6):
            p.send(f"t{i}", large)
        p.send("late", {"kind": "dance"})
        p.take("late")  # all lines were read
        p.terminate()
        for i in range(6):
            a = p.take(f"t{i}")
            assert a.error is None or (a.code(), a.retry) == ("BATON_CLOSED", True), a
        equal(p.wait(), 0)


@test
def a_kind_without_a_file_is_refused():
    p = Parent("--kind", "speech", read=False)
    equal(p.process.wait(BOUND), 2)
    assert "needs a model's file" in p.said(), p.said()


if __name__ == "__main__":
    main()
