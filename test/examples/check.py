#!/usr/bin/env python3
"""Runs the examples on the built-in model: each ends with 0, the four policies print the very same answers, and the
others answer the same questions alike. Usage: check.py policies|eventloop|guard_sqlite|python  (BATON_BIN, BATON_LIBRARY)"""
import os
import re
import subprocess
import sys

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


if __name__ == "__main__":
    {"policies": policies, "eventloop": eventloop, "guard_sqlite": guard_sqlite, "python": python}[sys.argv[1]]()
    print("ok")
