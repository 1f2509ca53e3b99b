#!/usr/bin/env python3
"""Runs the examples on the built-in model: each ends with 0, the four policies print the very same answers, and the
others answer the same questions alike. Usage: check.py policies|eventloop|guard_sqlite|python|transcribe  (BATON_BIN,
BATON_LIBRARY; BATON_WHISPER_MODELS if there is libwhisper)"""
import math
import os
import re
import struct
import subprocess
import sys
import tempfile

EXAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "examples")


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode != 0:
        sys.exit(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout, done.stderr


def example(name):
    return run(os.path.join(os.environ["BATON_BIN"], "example_" + name))


def answers(text):
    """{question: answer}, of lines in pairs."""
    lines = text.splitlines()
    found = {lines[i]: lines[i + 1].strip() for i in range(0, len(lines) - 1, 2)}
    if not found or not all(len(answer) > 20 for answer in found.values()):
        sys.exit(f"no answers in:\n{text}")
    return found


def expect(what, holds):
    if not holds:
        sys.exit(f"not so: {what}")


def policies():
    summaries = {"refuse": r"refuse: 6 answers, \d of them refused at first",
                 "wait": r"wait: 6 answers, \d of them after",
                 "pool": r"pool: 6 answers on 3 contexts, [0-9.]+ MiB of weights and [0-9.]+ MiB of caches",
                 "batch": r"batch: 6 answers on 1 context of 3 sequences"}
    first = None
    for name, summary in summaries.items():
        out, err = example(name)
        expect(f"{name} says {summary!r}: {err}", re.search(summary, err))
        first = first or answers(out)
        expect(f"{name} prints six answers, the same as under the other policies:\n{out}",
               len(first) == 6 and answers(out) == first)
        refused = re.search(r"(\d) of them refused", err)
        if refused and int(refused.group(1)):
            expect(f"a refusal names the holder: {err}", re.search(r"in use: thread \d+ .* has (been in|held)", err))
    return first


def eventloop():
    out, err = example("eventloop")
    expect(err, "3 of 3 answers complete" in err)
    expect("streams arrive in pieces: " + err, all(int(n) > 3 for n in re.findall(r"(\d+) pieces", err)))
    waited = answers(example("wait")[0])
    streamed = answers(out)
    expect("streamed answers equal waited ones", len(streamed) == 3 and streamed.items() <= waited.items())


def guard_sqlite():
    out, err = example("guard_sqlite")
    expect(out, out == "20000 rows, 0 threads with a wrong row id\n")
    refused = int(re.search(r"(\d+) entries were refused", err).group(1))
    expect("a refusal names the holder: " + err,
           not refused or re.search(r"the SQLite connection is in use: thread \d+", err) or "is free" in err)


def python():
    # On a private prefix Python has to start with that prefix's C library, too.
    loader = os.environ.get("BATON_LOADER")
    start = [loader, "--library-path", os.path.dirname(loader)] if loader else []
    out, err = run(*start, os.path.realpath(sys.executable), os.path.join(EXAMPLES, "python", "baton_ctypes.py"))
    lines, streamed = out.splitlines()[:6], out.splitlines()[6]
    found = answers("\n".join(lines))
    expect("the stream says what generate says: " + err, "the same, streamed: True" in err)
    expect(streamed, streamed == "streamed: " + found["Tell me a story about a key."])
    expect("Python's answers are C's", found.items() <= answers(example("wait")[0]).items())


def wav(path, seconds=4.2, rate=16000, channels=1, bits=16, kind=1, head=b"RIFF", keep=None):
    """A tone that rises; `keep`: the file is cut off there."""
    n = int(seconds * rate)
    data = b"".join(struct.pack("<h", int(9000 * math.sin(i * (0.05 + i * 1e-6)))) * channels for i in range(n))
    extra = b"LIST" + struct.pack("<I", 3) + b"abc\0"  # of odd length: padded
    frame = channels * bits // 8
    fmt = b"fmt " + struct.pack("<IHHIIHH", 16, kind, channels, rate, rate * frame, frame, bits)
    body = b"WAVE" + extra + fmt + b"data" + struct.pack("<I", len(data)) + data
    with open(path, "wb") as file:
        file.write((head + struct.pack("<I", len(body)) + body)[:keep])


def transcribe():
    program = os.path.join(os.environ["BATON_BIN"], "example_transcribe")
    models = ["fake:"]
    if os.environ.get("BATON_WHISPER_MODELS"):
        models.append(os.path.join(os.environ["BATON_WHISPER_MODELS"], "whisper.bin"))
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "a.wav")
        wav(path)
        for model in models:
            out, err = run(program, model, path, "en")
            lines = out.splitlines()
            expect(f"segments with times: {out}", lines and all(
                re.match(r"\[\d\d:\d\d\.\d{3} --> \d\d:\d\d\.\d{3}\] ", line) for line in lines))
            expect(err, re.search(rf"language en, {len(lines)} segments", err))
            expect("the same again", run(program, model, path, "en")[0] == out)
        wrong = [({"rate": 44100}, "has 44100 samples a second, not 16000"), ({"channels": 2}, "has 2 channels"),
                 ({"bits": 8}, "samples of 8 bits"), ({"kind": 3}, "is not PCM"), ({"head": b"OggS"}, "is no WAV file"),
                 ({"keep": 30}, "is cut off"), ({"keep": 5}, "is no WAV file"), ({"seconds": 0}, "there are no samples"),
                 ({"seconds": 0.05}, "too short")]
        for how, text in wrong:
            wav(path, **how)
            done = subprocess.run([program, "fake:", path], capture_output=True, text=True, timeout=60)
            expect(f"{how}: {done.returncode}, {done.stderr}", done.returncode == 1 and text in done.stderr)
        done = subprocess.run([program, "fake:", "/nowhere.wav"], capture_output=True, text=True, timeout=60)
        expect(done.stderr, done.returncode == 1 and "/nowhere.wav: No such file" in done.stderr)
        wav(path)
        done = subprocess.run([program, path, path], capture_output=True, text=True, timeout=60)
        expect(done.stderr, done.returncode == 1 and ("not a whisper model" in done.stderr or "libwhisper" in done.stderr))


if __name__ == "__main__":
    {"policies": policies, "eventloop": eventloop, "guard_sqlite": guard_sqlite, "python": python,
     "transcribe": transcribe}[sys.argv[1]]()
    print("ok")
